package probe

// A State says what the checks have found out about a running instance.
type State string

// The states of an instance.
const (
	Starting State = "starting" // it has not been ready yet
	Ready    State = "ready"
	Unready  State = "unready" // it was ready; it is alive, and must not be used
	Late     State = "late"    // it did not become ready within its limit; final
	Dead     State = "dead"    // its liveness check failed; final
)

// An input of the table of states.
type input string

const (
	passed  input = "passed"  // enough ready checks in a row have succeeded
	failed  input = "failed"  // enough ready checks in a row have failed
	expired input = "expired" // the limit for becoming ready has passed
	died    input = "died"    // enough liveness checks in a row have failed
)

// table has the states that follow. A pair that is not in it changes nothing.
var table = map[State]map[input]State{
	Starting: {passed: Ready, expired: Late, died: Dead},
	Ready:    {failed: Unready, died: Dead},
	Unready:  {passed: Ready, died: Dead},
	Late:     {},
	Dead:     {},
}

func (s State) after(in input) State {
	if next, ok := table[s][in]; ok {
		return next
	}
	return s
}

// final reports whether nothing follows the state.
func (s State) final() bool { return len(table[s]) == 0 }

// A tally counts the results of a check since the last result of the other kind.
type tally struct{ good, bad int }

// count adds a result and returns the input that follows from it, if one does. A check says
// either whether an instance is ready or whether it is alive.
func (t *tally) count(ok bool, c *Check, alive bool) (in input, follows bool) {
	if ok {
		t.good, t.bad = t.good+1, 0
		return passed, !alive && t.good >= c.Successes
	}
	t.good, t.bad = 0, t.bad+1
	if alive {
		return died, t.bad >= c.Failures
	}
	return failed, t.bad >= c.Failures
}
