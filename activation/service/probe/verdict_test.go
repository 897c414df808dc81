package probe

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestTable shows the whole table.
func TestTable(t *testing.T) {
	const want = `
starting passed: ready
starting expired: late
starting died: dead
ready failed: unready
ready died: dead
unready passed: ready
unready died: dead
`
	var got strings.Builder
	got.WriteByte('\n')
	for _, s := range []State{Starting, Ready, Unready, Late, Dead} {
		for _, in := range []input{passed, failed, expired, died} {
			if next := s.after(in); next != s {
				fmt.Fprintf(&got, "%s %s: %s\n", s, in, next)
			}
		}
		if final := s == Late || s == Dead; s.final() != final {
			t.Errorf("%s: final is %v", s, s.final())
		}
	}
	if got.String() != want {
		t.Errorf("the table is%s\nand should be%s", got.String(), want)
	}
}

// TestVerdicts compares the states with what the whole history of results says. Each letter
// is a result: r and f of the ready check, a and d of the liveness check.
func TestVerdicts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := Check{Failures: rapid.IntRange(1, 4).Draw(t, "failures"), Successes: rapid.IntRange(1, 3).Draw(t, "successes")}
		history := rapid.StringMatching(`[rf]{0,10}([rfad]|rrr|fff){0,40}`).Draw(t, "history")
		state := Starting
		var ready, alive tally
		for i, r := range history {
			of, isAlive := &ready, false
			if r == 'a' || r == 'd' {
				of, isAlive = &alive, true
			}
			if in, follows := of.count(r == 'r' || r == 'a', &c, isAlive); follows {
				state = state.after(in)
			}
			if want := reference(history[:i+1], &c); state != want {
				t.Fatalf("after %s: %s, want %s", history[:i+1], state, want)
			}
		}
	})
}

// reference reads a history backwards: the newest run of equal results that is long enough
// decides.
func reference(history string, c *Check) State {
	ofReady := strings.Map(only("rf"), history)
	ofAlive := strings.Map(only("ad"), history)
	if strings.Contains(ofAlive, strings.Repeat("d", c.Failures)) {
		// What the ready check said before that does not matter, and after it nothing does.
		return Dead
	}
	good := strings.LastIndex(ofReady, strings.Repeat("r", c.Successes))
	bad := strings.LastIndex(ofReady, strings.Repeat("f", c.Failures))
	switch {
	case good < 0:
		return Starting
	case bad > good:
		return Unready
	}
	return Ready
}

func only(letters string) func(rune) rune {
	return func(r rune) rune {
		if strings.ContainsRune(letters, r) {
			return r
		}
		return -1
	}
}
