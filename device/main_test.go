package device

import (
	"fmt"
	"os"
	"testing"

	"activationd/test/harness"
)

// TestMain runs eight tests at once, as most of them wait for slow lines.
func TestMain(m *testing.M) {
	if err := harness.Parallel(8); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}
