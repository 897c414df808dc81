package device

import (
	"flag"
	"os"
	"testing"
)

// TestMain has eight tests at once, unless somebody says otherwise: most of what they do
// is to wait for a slow line.
func TestMain(m *testing.M) {
	flag.Parse()
	said := false
	flag.Visit(func(f *flag.Flag) { said = said || f.Name == "test.parallel" })
	if !said {
		_ = flag.Set("test.parallel", "8") // it is a flag, and that a number
	}
	os.Exit(m.Run())
}
