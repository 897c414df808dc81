package test

import (
	"os"
	"strings"
	"testing"
)

// TestJob is the shortest way through all three programs.
func TestJob(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, "")
	d.start()
	id := d.add("--label", "hello", "--", "sh", "-c", "echo out; echo err >&2; exit 3")
	a := d.ended(id, "failed", 3)
	if len(a.Attempts) != 1 || a.Attempts[0].Exit == nil || *a.Attempts[0].Exit != 3 || a.Attempts[0].Reason != "exited" {
		t.Errorf("attempts: %+v, want one that exited with 3", a.Attempts)
	}
	if got, want := d.must("log", id), "out\nerr"; got != want {
		t.Errorf("log is %q, want %q", got, want)
	}
	if list := d.must("list", "--all"); !strings.Contains(list, "hello") {
		t.Errorf("atctl list --all shows\n%s, want the label", list)
	}
	d.nothingLeft()
	d.stop()
	if _, err := os.Stat(d.cgroup()); err == nil {
		t.Errorf("the daemon has ended, and its cgroup %s is left", d.cgroup())
	}
}
