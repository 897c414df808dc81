package test

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestJob is the shortest way through all three programs.
func TestJob(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, "")
	d.Start()
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

// TestLogTellsOfActivations checks that the daemon's log has the outcome of each
// activation.
func TestLogTellsOfActivations(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, "reservations: {activate: ['true'], deactivate: ['false'], deactivate_retries: 0}\nsources: [{files: DIR/res.yaml}]\nlogging: {format: json}\n")
	d.write("res.yaml", yaml(), 0o644)
	d.Start()
	good := d.add("--", "true")
	d.wait(good)
	bad := d.add("--", "false")
	d.wait(bad)
	d.announce(resv{id: "1@x", start: time.Now().Add(-time.Hour), end: time.Now().Add(time.Hour)})
	d.InState("1@x", "active")
	d.must("cancel", "1@x")
	d.InState("1@x", "stuck")
	d.write("res.yaml", "reservations:\n- {id: 2@x, start: soon}\n- {start: soon}\n- {id: 8@x, start: 2020-01-01T10:00:00Z, end: 2020-01-01T12:00:00Z}\n", 0o644) // and nobody waits for the load
	type line struct {
		Level, Msg, ID, State, Outcome, Phase string
		Attempt                               int
	}
	want := []line{
		{"INFO", "attempt.started", good, "activating", "", "activate", 1},
		{"INFO", "attempt.ended", good, "activating", "", "activate", 1},
		{"INFO", "state", good, "finished", "succeeded", "", 0},
		{"WARN", "attempt.ended", bad, "activating", "", "activate", 1},
		{"WARN", "state", bad, "finished", "failed", "", 0},
		{"INFO", "state", "1@x", "active", "", "", 0},
		{"WARN", "attempt.ended", "1@x", "deactivating", "", "deactivate", 1},
		{"ERROR", "state", "1@x", "stuck", "", "", 0},
		{"WARN", "rejected", "2@x", "", "", "", 0},
		{"WARN", "rejected", "", "", "", "", 0},
		{"INFO", "over", "8@x", "", "", "", 0},
	}
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		missing := slices.Clone(want)
		for text := range strings.Lines(d.read(d.dir + "/daemon.log")) {
			var l line
			if json.Unmarshal([]byte(text), &l) == nil && len(missing) > 0 && l == missing[0] {
				missing = missing[1:]
			}
		}
		if len(missing) == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("the log does not tell, or not in order: %+v", missing)
		}
	}
}
