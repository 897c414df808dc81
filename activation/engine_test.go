package activation

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestJobRunsAtItsInstant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, nil)
		at := time.Now().Add(3*hour + 7*time.Nanosecond)
		id := l.add(NewJob{At: at})
		l.is(id, "scheduled")
		l.sleep(4 * hour)
		l.is(id, "succeeded")
		if began := l.beganAt(id, Activate, 1); !began.Equal(at) {
			t.Errorf("it began at %v, want %v", began, at)
		}
		l.sound()
	})
}
