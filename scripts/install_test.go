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
	out, err := exec.CommandContext(t.Context(), "make", "-C", "..", "install-at", "BIN="+t.TempDir(), "DESTDIR="+dest, "PREFIX=/opt/lab").CombinedOutput()
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
	man := dest + "/opt/lab/share/man/"
	faults, err := os.ReadFile(man + "man1/at.1")
	if err != nil || !strings.Contains(string(faults), "\n.SH WHERE AT HAS A FAULT\n") {
		t.Errorf("at's manual page says nothing of at's faults: %v", err)
	}
	for _, name := range []string{"atq", "atrm", "batch"} {
		if see, err := os.ReadFile(man + "man1/" + name + ".1"); err != nil || string(see) != ".so man1/at.1\n" {
			t.Errorf("%s's manual page: %q, %v", name, see, err)
		}
	}
	unit, err := os.ReadFile(dest + "/opt/lab/lib/systemd/system/activationd.service")
	if err != nil || !strings.Contains(string(unit), "\nExecStart=/opt/lab/bin/activationd\n") {
		t.Errorf("the unit: %v\n%s", err, unit)
	}
}

// TestManual has a formatter of manual pages find no fault with ours.
func TestManual(t *testing.T) {
	if _, err := exec.LookPath("mandoc"); err != nil {
		t.Skip("mandoc is not installed")
	}
	dir := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "./manual", dir).CombinedOutput(); err != nil {
		t.Fatalf("manual: %v\n%s", err, out)
	}
	for _, page := range []string{"/man1/at.1", "/man1/atctl.1", "/man8/activationd.8"} {
		out, err := exec.CommandContext(t.Context(), "mandoc", "-T", "lint", "-W", "error", dir+page).CombinedOutput()
		if err != nil || len(out) > 0 {
			t.Errorf("%s: %v\n%s", page, err, out)
		}
		text, err := exec.CommandContext(t.Context(), "mandoc", "-T", "ascii", dir+page).Output()
		if err != nil || strings.Contains(string(text), "](") || strings.Contains(string(text), "\n| ") {
			t.Errorf("%s: %v, or its Markdown shows", page, err)
		}
	}
}
