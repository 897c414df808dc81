package activation_test

import (
	"testing"
	"testing/synctest"
	"time"

	. "activationd/activation"
)

// TestPauseAfterClockSetBack: a pause that began while the clock was ahead is not longer,
// from when the clock was set back, than its setting. This also holds if the daemon was
// down then.
func TestPauseAfterClockSetBack(t *testing.T) {
	for _, down := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			rig := newRig(t, nil)
			rig.setClock(30 * minute)
			rig.script("1", Activate, script{exit: 1}, script{})
			retries := 1
			id := rig.add(NewJob{Order: Order{Retries: &retries}})
			rig.sleep(time.Second)
			rig.is(id, "waiting")
			if down {
				rig.shutDown()
			}
			rig.setClock(-30 * minute)
			if down {
				rig.start()
			}
			rig.sleep(15 * time.Second) // the pause is of 10 s
			rig.is(id, "succeeded")
		})
	}
}
