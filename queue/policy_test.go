package queue_test

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"activationd/queue"
)

// TestDecide is the table of verdicts, with numbers of sysexits.h and of shells.
func TestDecide(t *testing.T) {
	exit := func(status int) queue.Ending { return queue.Ending{How: queue.HowExited, Exit: status} }
	how := func(how string) queue.Ending { return queue.Ending{How: how} }
	policy := queue.Policy{Attempts: 3, Backoff: 10 * time.Second, BackoffMax: time.Minute}
	settable := policy
	settable.Exits = map[int]queue.Verdict{0: queue.VerdictAgain, 1: queue.VerdictDead, 2: queue.VerdictFault, 65: queue.VerdictAgain, 75: queue.VerdictDone}
	endless := queue.Policy{Backoff: time.Second, BackoffMax: time.Minute}
	const s = time.Second
	done := queue.Decision{Verdict: queue.VerdictDone, Count: true}
	dead := queue.Decision{Verdict: queue.VerdictDead, Count: true}
	fault := queue.Decision{Verdict: queue.VerdictFault}
	again := func(after time.Duration) queue.Decision {
		return queue.Decision{Verdict: queue.VerdictAgain, Count: true, After: after}
	}
	free := func(after time.Duration) queue.Decision {
		return queue.Decision{Verdict: queue.VerdictAgain, After: after}
	}
	for _, tt := range []struct {
		name    string
		policy  queue.Policy
		attempt int
		e       queue.Ending
		want    queue.Decision
	}{
		{"success", policy, 1, exit(0), done},
		{"success at the last attempt", policy, 3, exit(0), done},
		{"EX_DATAERR", policy, 1, exit(65), dead},
		{"EX_TEMPFAIL", policy, 1, exit(75), again(10 * s)},
		{"EX_TEMPFAIL, again", policy, 2, exit(75), again(20 * s)},
		{"EX_TEMPFAIL, attempts used up", policy, 3, exit(75), dead},
		{"cannot be executed", policy, 1, exit(126), fault},
		{"is not found", policy, 3, exit(127), fault},
		{"cannot be started", policy, 3, how(queue.HowFailed), fault},
		{"another status", policy, 1, exit(1), again(10 * s)},
		{"EX_USAGE", policy, 1, exit(64), again(10 * s)},
		{"EX_CONFIG", policy, 2, exit(78), again(20 * s)},
		{"another status, attempts used up", policy, 3, exit(1), dead},
		{"more attempts than there are now", policy, 7, exit(1), dead},
		{"a signal", policy, 1, queue.Ending{How: queue.HowExited, Signal: "KILL"}, again(10 * s)},
		{"a signal, attempts used up", policy, 3, queue.Ending{How: queue.HowExited, Signal: "SEGV"}, dead},
		{"a timeout", policy, 1, how(queue.HowTimedOut), again(10 * s)},
		{"a timeout, attempts used up", policy, 3, how(queue.HowTimedOut), dead},
		{"its listener is gone", policy, 1, how(queue.HowLost), again(0)},
		{"its listener is gone again", policy, 2, how(queue.HowLost), again(10 * s)},
		{"the wrapper was killed, attempts used up", policy, 3, how(queue.HowLost), dead},
		{"a stream's answer", policy, 1, how(queue.HowError), again(10 * s)},
		{"a way to end that is not known", policy, 1, how("else"), again(10 * s)},
		{"ended by the daemon", policy, 3, how(queue.HowStopped), free(0)},
		{"disarmed", policy, 3, how(queue.HowDisarmed), free(10 * s)},
		{"never started", policy, 3, how(queue.HowNotStarted), free(10 * s)},
		{"never ran", policy, 3, how(queue.HowVoid), free(10 * s)},
		{"never had a wrapper", policy, 3, how(queue.HowUnborn), free(10 * s)},
		{"0 is again", settable, 1, exit(0), again(10 * s)},
		{"1 is dead", settable, 1, exit(1), dead},
		{"2 is a fault", settable, 1, exit(2), fault},
		{"65 is again", settable, 2, exit(65), again(20 * s)},
		{"75 is done", settable, 3, exit(75), done},
		{"126 is as usual", settable, 1, exit(126), fault},
		{"a table is not for signals", settable, 1, queue.Ending{How: queue.HowExited, Signal: "TERM"}, again(10 * s)},
		{"as often as it takes", endless, 100, exit(1), again(time.Minute)},
		{"as often as there are numbers", endless, math.MaxInt, exit(1), again(time.Minute)},
		{"without a pause", queue.Policy{}, 5, exit(1), again(0)},
		{"a pause that is not bounded", queue.Policy{Backoff: time.Second}, 11, exit(1), again(1024 * s)},
		{"a pause that begins at its bound", queue.Policy{Backoff: time.Hour, BackoffMax: time.Minute}, 1, exit(1), again(time.Minute)},
	} {
		if got := tt.policy.Decide(tt.attempt, tt.e, func(int64) int64 { return 0 }); got != tt.want {
			t.Errorf("%s: %+v, want %+v", tt.name, got, tt.want)
		}
	}
}

// TestPause: pauses double up to their bound, and chance shortens them by at most a half.
func TestPause(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	rnd := rand.New(rand.NewPCG(seed, 0))
	p := queue.Policy{Backoff: time.Second, BackoffMax: 40 * time.Second}
	differ := false
	for range 1000 {
		attempt := 1 + rnd.IntN(12)
		want := min(time.Second<<(attempt-1), 40*time.Second)
		got := p.Decide(attempt, queue.Ending{How: queue.HowTimedOut}, rnd.Int64N).After
		if got < want/2 || got > want {
			t.Fatalf("seed %d: the pause after attempt %d is %v, want %v to %v", seed, attempt, got, want/2, want)
		}
		differ = differ || got != want
	}
	if !differ {
		t.Errorf("seed %d: chance shortens no pause", seed)
	}
	if got := p.Decide(3, queue.Ending{How: queue.HowTimedOut}, func(n int64) int64 { return n - 1 }).After; got != 2*time.Second {
		t.Errorf("the shortest pause after attempt 3 is %v, want 2s", got)
	}
}
