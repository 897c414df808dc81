package scripts

import (
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// program is the program of a unit.
var program = regexp.MustCompile(`/usr/(bin|libexec/activationd)/activationd(-spawn)?\b`)

var update = flag.Bool("update", false, "rewrite the golden files")

// unitFiles puts the units, whose program is one that exists, and perhaps one of the drop-in
// files in examples, into a directory.
func unitFiles(t *testing.T, dropIn string) string {
	t.Helper()
	dir := t.TempDir()
	put := func(from, to string) {
		text, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, program.ReplaceAll(text, []byte("/bin/true")), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"activationd.service", "activationd.socket", "activationd-spawn.service", "activationd-spawn.socket"} {
		put("units/"+name, filepath.Join(dir, name))
	}
	if dropIn != "" {
		put("../examples/systemd/activationd-"+dropIn+".conf", filepath.Join(dir, "activationd.service.d", dropIn+".conf"))
	}
	return dir
}

// systemdAnalyze runs systemd-analyze, and skips the test if there is none.
func systemdAnalyze(t *testing.T, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("systemd-analyze is not installed")
	}
	cmd := exec.CommandContext(t.Context(), "systemd-analyze", args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "SYSTEMD_COLORS=0", "SYSTEMD_LOG_TARGET=console")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("systemd-analyze %v: %v\n%s", args, err, out)
	}
	return string(out)
}

// TestUnitsAreValid checks that systemd has nothing to say about the units.
func TestUnitsAreValid(t *testing.T) {
	for _, dropIn := range []string{"", "strict", "split"} {
		dir := unitFiles(t, dropIn)
		// The manual pages that Documentation= names are not installed here.
		if out := systemdAnalyze(t, "verify", "--man=no", dir+"/activationd.service", dir+"/activationd.socket",
			dir+"/activationd-spawn.service", dir+"/activationd-spawn.socket"); out != "" {
			t.Errorf("drop-in file %q: systemd-analyze verify:\n%s", dropIn, out)
		}
	}
}

// TestUnitsSecurity compares what systemd says about the restrictions of the unit with
// golden files, so that a change is seen. Other versions of systemd look at other things:
// each has files of its own.
func TestUnitsSecurity(t *testing.T) {
	version, ok := strings.CutPrefix(systemdAnalyze(t, "--version"), "systemd ")
	version = regexp.MustCompile(`^\d*`).FindString(version)
	if !ok || version == "" {
		t.Fatal("systemd-analyze does not say its version")
	}
	for name, what := range map[string]struct{ dropIn, unit string }{
		"unit": {"", "activationd"}, "strict": {"strict", "activationd"}, "split": {"split", "activationd"}, "spawn": {"", "activationd-spawn"},
	} {
		t.Run(name, func(t *testing.T) {
			got := security(t, unitFiles(t, what.dropIn), what.unit+".service")
			golden := filepath.Join("testdata", "security-"+name+"-"+version+".golden")
			if *update {
				if err := os.MkdirAll("testdata", 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if os.IsNotExist(err) {
				t.Skipf("there is no golden file for systemd %s; -update makes one", version)
			}
			if err != nil || got != string(want) {
				t.Errorf("%v: systemd-analyze security says now (-update accepts it)\n%s\nwant %s:\n%s", err, got, golden, want)
			}
		})
	}
}

// security returns the exposure of a unit, and which setting has which part in it.
func security(t *testing.T, dir, name string) string {
	t.Helper()
	unit := filepath.Join(dir, name)
	overall := regexp.MustCompile(`exposure level for ` + regexp.QuoteMeta(name) + `: ([0-9.]+)`).FindStringSubmatch(
		systemdAnalyze(t, "security", "--offline=true", "--no-pager", unit))
	var settings []struct{ Name, Description, Exposure string }
	if err := json.Unmarshal([]byte(systemdAnalyze(t, "security", "--offline=true", "--json=short", unit)), &settings); err != nil || overall == nil {
		t.Fatalf("systemd-analyze security: %v, overall exposure %v", err, overall)
	}
	slices.SortFunc(settings, func(a, b struct{ Name, Description, Exposure string }) int { return cmp.Compare(a.Name, b.Name) })
	var b strings.Builder
	fmt.Fprintf(&b, "overall %s\n", overall[1])
	for _, s := range settings {
		fmt.Fprintf(&b, "%-3s  %s  %s\n", cmp.Or(s.Exposure, "-"), s.Name, s.Description)
	}
	return b.String()
}
