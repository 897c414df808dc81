package scripts

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestInstall checks that a daemon finds what `make install` has installed with
// it, wherever that is: its wrapper and the scripts that are its default.
func TestInstall(t *testing.T) {
	if testing.Short() {
		t.Skip("builds everything, as it is built to be installed")
	}
	dest := t.TempDir()
	out, err := exec.CommandContext(t.Context(), "make", "-C", "..", "install", "BIN="+t.TempDir(), "DESTDIR="+dest, "PREFIX=/opt/lab").CombinedOutput()
	if err != nil {
		t.Fatalf("make install: %v\n%s", err, out)
	}
	config := filepath.Join(dest, "d.yaml")
	err = os.WriteFile(config, []byte("sources: [{files: .}]\n"), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	check := exec.CommandContext(t.Context(), dest+"/opt/lab/bin/activationd", "--check-config", "--config", config,
		"--state-dir", dest+"/state", "--runtime-dir", dest+"/run")
	check.Env = []string{"PATH=/nowhere"}
	out, err = check.CombinedOutput()
	if err != nil || strings.Contains(string(out), "notice") || !strings.Contains(string(out), dest+"/opt/lab/bin/atwrap") {
		t.Errorf("--check-config: %v, and not all was found\n%s", err, out)
	}
	unit, err := os.ReadFile(dest + "/opt/lab/lib/systemd/system/activationd.service")
	if err != nil || !strings.Contains(string(unit), "\nExecStart=/opt/lab/bin/activationd\n") {
		t.Errorf("the unit: %v\n%s", err, unit)
	}
}
