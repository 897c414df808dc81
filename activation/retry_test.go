package activation

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestPauseAfterClockSetBack: a pause that began while the clock was ahead is no longer,
// from when it was set back, than it was to be; so also if that was while the daemon was
// down.
func TestPauseAfterClockSetBack(t *testing.T) {
	for _, down := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			l := newLab(t, nil)
			l.setClock(30 * minute)
			l.script("1", Activate, script{exit: 1}, script{})
			retries := 1
			id := l.add(NewJob{Retries: &retries})
			l.sleep(time.Second)
			l.is(id, "waiting")
			if down {
				l.shutDown()
			}
			l.setClock(-30 * minute)
			if down {
				l.start()
			}
			l.sleep(15 * time.Second) // the pause is of 10 s
			l.is(id, "succeeded")
		})
	}
}
