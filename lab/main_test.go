package lab

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"activationd/test/harness"
)

// TestMain tries properties less often than rapid would: a case is a whole laboratory.
// Other tests wait for models of slow devices.
func TestMain(m *testing.M) {
	if err := errors.Join(harness.Checks(25), harness.Parallel(8)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}
