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
