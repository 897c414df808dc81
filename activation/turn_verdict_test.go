package activation

import (
	"testing"
	"time"

	"activationd/supervisor/wrapper"
)

// The attempt is held at the last moment, and released before its end is known. The hold
// stopped it, so it was not a try. Kill loops showed that the job failed instead.
func TestVerdictOfAStop(t *testing.T) {
	for _, tt := range []struct {
		name string
		r    Record
		want Trigger
	}{
		{"by a hold", Record{Life: Life{Stopped: true, HoldNext: true}}, Void},
		{"by a hold that was taken back", Record{Life: Life{Stopped: true}}, Void},
		{"by a cancel", Record{Life: Life{Stopped: true, ending: ending{PendingOutcome: Cancelled}}}, Spent},
		{"by somebody else", Record{}, Spent},
	} {
		r := tt.r
		r.Kind, r.State = Job, Activating
		a := &Attempt{Phase: Activate, N: 1, Result: wrapper.Result{Reason: wrapper.Stopped, Exit: -1}}
		if got := (&turn{Txn: &Txn{Moment: Moment{Now: time.Unix(1, 0)}, Settings: &Settings{}}}).verdict(&r, a); got != tt.want {
			t.Errorf("stopped %s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

// TestUnbornByKills kills the daemon between claims and starts. A job that never ran must
// not be lost by that: an attempt that never had a wrapper costs nothing, and one that
// shows no start counts.
func TestUnbornByKills(t *testing.T) {
	turn := &turn{Txn: &Txn{Moment: Moment{Now: time.Unix(1, 0)}, Settings: &Settings{}}}
	r := Record{}
	for n := range 3 * maxUnprovenStarts {
		a := &Attempt{Phase: Activate, Result: wrapper.Result{Reason: wrapper.Unborn}}
		if got := turn.verdict(&r, a); got != Void || r.UnprovenStarts != 0 {
			t.Fatalf("after kill %d the verdict is %s, with %d voids", n+1, got, r.UnprovenStarts)
		}
	}
	for n := range maxUnprovenStarts + 1 {
		a := &Attempt{Phase: Activate, Result: wrapper.Result{Reason: wrapper.Void}}
		want := Void
		if n == maxUnprovenStarts {
			want = Spent
		}
		if got := turn.verdict(&r, a); got != want {
			t.Errorf("void attempt %d: the verdict is %s, want %s", n+1, got, want)
		}
	}
}
