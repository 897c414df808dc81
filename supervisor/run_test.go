package supervisor_test

import (
	"strconv"
	"testing"

	"activationd/supervisor/wrapper"
)

func itoa(n int) string { return strconv.Itoa(n) }

func TestExit(t *testing.T) {
	b := newBench(t, "")
	r := b.run(shell("echo hello; exit 3"))
	if r.Reason != wrapper.Exited || r.Exit != 3 || r.Text != "" || r.Leftovers != 0 {
		t.Errorf("result = %+v, want exited with 3", r)
	}
	t.Logf("%+v", r)
	if got := b.file("log"); got != "hello\n" {
		t.Errorf("log = %q, want hello", got)
	}
	b.nothingLeft()
}
