package supervisor_test

import (
	"os"
	"strings"
	"testing"

	"activationd/supervisor/wrapper"
)

// TestScriptIsNotSpared starts a script under a wrapper whose oom_score_adj is
// another than 0, which is the script's, but not the wrapper's.
func TestScriptIsNotSpared(t *testing.T) {
	const file = "/proc/self/oom_score_adj"
	was, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	// More likely to be killed instead of less: that needs no capability.
	if err := os.WriteFile(file, []byte("300"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.WriteFile(file, was, 0o644); err != nil {
			t.Error(err)
		}
	})
	b := newBench(t, "")
	b.ResetOOM()
	b.run(shell("cat /proc/self/oom_score_adj /proc/$PPID/oom_score_adj"))
	if got := b.file("log"); got != "0\n300\n" {
		t.Errorf("the script and its wrapper have %q, want 0 and 300", got)
	}
}

// TestAtMost lowers limits to those of who asked for the run.
func TestAtMost(t *testing.T) {
	b := newBench(t, "")
	spec := shell("ulimit -Sn; ulimit -Hn; ulimit -Sc; ulimit -Hc; ulimit -Sf")
	spec.Limits = []wrapper.Limit{{Name: "core", Soft: 1024, Hard: 2048}, {Name: "fsize", Soft: 512 << 10, Hard: 512 << 10}}
	spec.AtMost = []wrapper.Limit{
		{Name: "nofile", Soft: 77, Hard: 77},                    // has a limit of the daemon's
		{Name: "core", Soft: 4096, Hard: 1024},                  // and one of the configuration's
		{Name: "fsize", Soft: 2 << 20, Hard: wrapper.Unlimited}, // which is lower already
	}
	b.run(spec)
	want := "77 77 2 2 1024" // in units of 512 bytes
	if got := strings.Join(strings.Fields(b.file("log")), " "); got != want {
		t.Errorf("limits are %q, want %q", got, want)
	}
}
