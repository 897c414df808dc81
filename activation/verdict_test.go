package activation

import (
	"testing"
	"time"

	"activationd/supervisor/wrapper"
)

// Held at the last moment and released before the attempt's end was known: the
// stop was the hold's, so that it was no try. Kill loops found it to fail the job.
func TestVerdictOfAStop(t *testing.T) {
	for _, tt := range []struct {
		name string
		r    Record
		want Event
	}{
		{"by a hold", Record{Stopped: true, Pause: true}, Void},
		{"by a hold that was taken back", Record{Stopped: true}, Void},
		{"by a cancel", Record{Stopped: true, Ending: Cancelled}, Spent},
		{"by somebody else", Record{}, Spent},
	} {
		r := tt.r
		r.Kind, r.State = Job, Activating
		a := &Attempt{Phase: Activate, N: 1, Result: wrapper.Result{Reason: wrapper.Stopped, Exit: -1}}
		if got := (&turn{txn: &txn{moment: moment{now: time.Unix(1, 0)}, set: &Settings{}}}).verdict(&r, a); got != tt.want {
			t.Errorf("stopped %s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

// TestUnbornByKills keeps out that kills of the daemon, each of which may come between a
// claim and its start, have a job lost that never ran: an attempt that never had a wrapper
// costs nothing, and one of which nothing shows a start counts.
func TestUnbornByKills(t *testing.T) {
	turn := &turn{txn: &txn{moment: moment{now: time.Unix(1, 0)}, set: &Settings{}}}
	r := Record{}
	for n := range 3 * maxVoids {
		a := &Attempt{Phase: Activate, Result: wrapper.Result{Reason: wrapper.Unborn}}
		if got := turn.verdict(&r, a); got != Void || r.Voids != 0 {
			t.Fatalf("after kill %d the verdict is %s, with %d voids", n+1, got, r.Voids)
		}
	}
	for n := range maxVoids + 1 {
		a := &Attempt{Phase: Activate, Result: wrapper.Result{Reason: wrapper.Void}}
		want := Void
		if n == maxVoids {
			want = Spent
		}
		if got := turn.verdict(&r, a); got != want {
			t.Errorf("void attempt %d: the verdict is %s, want %s", n+1, got, want)
		}
	}
}
