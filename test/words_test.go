package test

import (
	"strings"
	"testing"
)

// TestWords checks what atctl says to people who have made a mistake: it names things as
// they do, names each once, and what it advises is possible.
func TestWords(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, "")
	d.Start()
	d.must("every", "add", "poll", "--cron", "@yearly", "--", "true")
	good, bad := d.add("--", "true"), d.add("--", "false")
	later := d.add("--in", "1h", "--", "true")
	d.ended(good, "succeeded", 0)
	d.ended(bad, "failed", 1)
	tests := []struct {
		args   string
		status int
		says   string // the whole of it
	}{
		{"add --at half-past-ten -- true", 2, `at: "half-past-ten" is not a time: write it like "2099-12-21 10:00", "10:00", "noon tomorrow", ` +
			`"monday 10am", "now + 5 minutes", or 2099-12-21T10:00:00+01:00`},
		{"cancel 99999", 3, "there is no job 99999"},
		{"cancel -k 99998 99999", 3, "there is no job 99998\natctl: there is no job 99999"},
		{"show 6@x", 3, "there is no reservation 6@x"},
		{"why x", 3, "there is no job or reservation x"},
		{"add --after 1:sccess -- true", 2, `after: "1:sccess": after the colon, want success, failure or any, have "sccess"`},
		{"add --after 77 -- true", 3, "after: there is no job 77"},

		{"why poll", 3, "poll is a recurrence; atctl every show poll shows it, and which occurrences it skipped and why; atctl list --all --every poll lists its jobs"},
		{"hold poll", 3, "poll is a recurrence; atctl every hold poll keeps it from occurring; atctl list --all --every poll lists its jobs"},
		{"cancel poll", 3, "poll is a recurrence; atctl every remove poll removes it; atctl list --all --every poll lists its jobs"},
		{"wait poll", 125, "poll is a recurrence; atctl list --all --every poll lists its jobs"},
		{"edit poll --label x", 3, "poll is a recurrence; atctl every edit poll changes it; atctl list --all --every poll lists its jobs"},
		{"retry poll", 3, "poll is a recurrence; atctl every run poll runs its job once; atctl list --all --every poll lists its jobs"},

		{"run " + good, 4, good + ": cannot run: it has succeeded; retry runs it again"},
		{"hold " + good, 4, good + ": cannot hold: it has succeeded"},
		{"forgive " + bad, 4, bad + ": cannot forgive: it has failed"},
		{"retry " + later, 4, later + ": cannot retry: it is scheduled; only a finished or stuck one can be retried; run starts it now"},
		{"retry " + good + " " + bad, 4, good + " has succeeded; to run it again, retry it alone"},
		{"release " + later, 4, later + ": cannot release: it is scheduled, not held"},
		{"edit " + bad + " --label x", 4, bad + ": cannot edit: it has failed; only a job that has not begun can be edited"},
	}
	for _, tt := range tests {
		out := d.atctl(strings.Fields(tt.args)...)
		if want := "atctl: " + tt.says; out.status != tt.status || strings.TrimSpace(out.err) != want {
			t.Errorf("atctl %s: status %d, %q; want %d, %q", tt.args, out.status, out.err, tt.status, want)
		}
	}
	for _, in := range []string{"5min", "5 minutes", "1 hour 30 minutes"} {
		d.add("--in", in, "--", "true")
	}
	for _, at := range []string{"noon tomorrow", "monday 10:00", "21.12.2099", "now + 5 minutes"} {
		d.add("--at", at, "--", "true")
	}
	d.must("retry", good)
	if a := d.ended(good, "succeeded", 0); len(a.Attempts) != 2 {
		t.Errorf("after retry it has the attempts %+v, want 2", a.Attempts)
	}
}
