package main

import (
	"os/exec"
	"path/filepath"
	"testing"
)

// The example works as it stands.
func TestRun(t *testing.T) {
	atwrap := filepath.Join(t.TempDir(), "atwrap")
	if out, err := exec.Command("go", "build", "-o", atwrap, "activationd/cmd/atwrap").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := run(atwrap); err != nil {
		t.Error(err)
	}
}
