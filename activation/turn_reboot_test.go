package activation_test

import (
	"testing"

	. "activationd/activation"

	"activationd/supervisor"
)

func TestReboot(t *testing.T) {
	reboot := func(rig *testRig) {
		rig.shutDown()
		rig.w.powerLoss()
		rig.boot += "'"
		rig.start()
	}
	t.Run("what was active is undone and activated again", func(t *testing.T) {
		announced(t, nil, one(0, 2*hour, "sw1"), func(rig *testRig, src *fakeSource) {
			rig.sleep(minute)
			reboot(rig)
			rig.is("r1", "deactivating")
			rig.sleep(minute)
			rig.is("r1", "active")
			rig.ran("r1.activate.1 r1.deactivate.1 r1.activate.2")
			rig.sleep(2 * hour)
			rig.is("r1", "succeeded")
		})
	})
	t.Run("what ran is lost, undone and activated again", func(t *testing.T) {
		announced(t, nil, one(0, 2*hour, "sw1"), func(rig *testRig, src *fakeSource) {
			reboot(rig)
			rig.is("r1", "deactivating")
			rig.sleep(minute)
			rig.is("r1", "active")
		})
	})
	t.Run("what had just come up when the machine went down", func(t *testing.T) {
		announced(t, nil, one(0, 2*hour, "sw1"), func(rig *testRig, src *fakeSource) {
			rig.shutDown() // before its end is recorded
			rig.sleep(minute)
			rig.boot += "'"
			rig.start()
			rig.is("r1", "deactivating")
			rig.sleep(minute)
			rig.is("r1", "active")
			rig.ran("r1.activate.1 r1.deactivate.1 r1.activate.2")
		})
	})
	t.Run("a job that ran is lost", func(t *testing.T) {
		bubble(t, nil, func(rig *testRig) {
			id := rig.add(NewJob{})
			reboot(rig)
			rig.is(id, "lost")
		})
	})
	// The run directory may be lost with the power, and with it all traces of the run.
	t.Run("a job that was claimed may have run", func(t *testing.T) {
		bubble(t, nil, func(rig *testRig) {
			id := rig.add(NewJob{})
			rig.shutDown()
			rig.w.powerLoss()
			delete(rig.w.runs, supervisor.Key{ID: id, Phase: Activate, N: 1})
			rig.boot += "'"
			rig.start()
			rig.is(id, "lost")
			rig.ran("1.activate.1")
		})
	})
	// If the next daemon dies again before it has handled all that, nothing changes.
	for calls := range 8 {
		t.Run("and the daemon dies after "+itoa(calls)+" calls", func(t *testing.T) {
			bubble(t, nil, func(rig *testRig) {
				src := rig.source("lab")
				src.says(slot("r1", 0, 2*hour), slot("r2", minute, 2*hour))
				rig.loads(2, 0, 0, 0)
				rig.script("1", Activate, long)
				rig.sleep(minute)
				id := rig.add(NewJob{})
				rig.is("r1", "active")
				rig.is("r2", "activating")
				rig.dieAtOnce = calls
				reboot(rig)
				rig.restart()
				rig.sleep(minute)
				rig.is(id, "lost")
				rig.is("r1", "active")
				rig.is("r2", "active")
				began := make(map[string]int)
				for _, k := range rig.w.order {
					began[k.ID+" "+k.Phase]++
				}
				for what, want := range map[string]int{
					"r1 activate": 2, "r1 deactivate": 1, "r2 activate": 2, "r2 deactivate": 1, "1 activate": 1,
				} {
					if began[what] != want {
						rig.t.Errorf("%s began %d times, want %d", what, began[what], want)
					}
				}
			})
		})
	}
	t.Run("its slot ended meanwhile", func(t *testing.T) {
		announced(t, nil, one(0, 2*hour, "sw1"), func(rig *testRig, src *fakeSource) {
			rig.sleep(minute)
			rig.shutDown()
			rig.sleep(3 * hour)
			rig.boot += "'"
			rig.start()
			rig.sleep(minute)
			rig.is("r1", "lost")
			rig.ran("r1.activate.1 r1.deactivate.1")
		})
	})
}
