package activation

import (
	"testing"

	"activationd/supervisor"
)

func TestReboot(t *testing.T) {
	reboot := func(l *lab) {
		l.shutDown()
		l.w.powerLoss()
		l.boot += "'"
		l.start()
	}
	t.Run("what was active is undone and activated again", func(t *testing.T) {
		announced(t, nil, one(0, 2*hour, "sw1"), func(l *lab, src *fakeSource) {
			l.sleep(minute)
			reboot(l)
			l.is("r1", "deactivating")
			l.sleep(minute)
			l.is("r1", "active")
			l.ran("r1.activate.1 r1.deactivate.1 r1.activate.2")
			l.sleep(2 * hour)
			l.is("r1", "succeeded")
		})
	})
	t.Run("what ran is lost, undone and activated again", func(t *testing.T) {
		announced(t, nil, one(0, 2*hour, "sw1"), func(l *lab, src *fakeSource) {
			reboot(l)
			l.is("r1", "deactivating")
			l.sleep(minute)
			l.is("r1", "active")
		})
	})
	t.Run("what had just come up when the machine went down", func(t *testing.T) {
		announced(t, nil, one(0, 2*hour, "sw1"), func(l *lab, src *fakeSource) {
			l.shutDown() // before its end is recorded
			l.sleep(minute)
			l.boot += "'"
			l.start()
			l.is("r1", "deactivating")
			l.sleep(minute)
			l.is("r1", "active")
			l.ran("r1.activate.1 r1.deactivate.1 r1.activate.2")
		})
	})
	t.Run("a job that ran is lost", func(t *testing.T) {
		bubble(t, nil, func(l *lab) {
			id := l.add(NewJob{})
			reboot(l)
			l.is(id, "lost")
		})
	})
	// The run directory may have gone with the power, with all that it said.
	t.Run("a job that was claimed may have run", func(t *testing.T) {
		bubble(t, nil, func(l *lab) {
			id := l.add(NewJob{})
			l.shutDown()
			l.w.powerLoss()
			delete(l.w.runs, supervisor.Key{ID: id, Phase: Activate, N: 1})
			l.boot += "'"
			l.start()
			l.is(id, "lost")
			l.ran("1.activate.1")
		})
	})
	// Dying again before it has taken all that up must change nothing.
	for calls := range 8 {
		t.Run("and the daemon dies after "+itoa(calls)+" calls", func(t *testing.T) {
			bubble(t, nil, func(l *lab) {
				src := l.source("lab")
				src.says(slot("r1", 0, 2*hour), slot("r2", minute, 2*hour))
				l.loads(2, 0, 0, 0)
				l.script("1", Activate, long)
				l.sleep(minute)
				id := l.add(NewJob{})
				l.is("r1", "active")
				l.is("r2", "activating")
				l.dieAtOnce = calls
				reboot(l)
				l.restart()
				l.sleep(minute)
				l.is(id, "lost")
				l.is("r1", "active")
				l.is("r2", "active")
				began := make(map[string]int)
				for _, k := range l.w.order {
					began[k.ID+" "+k.Phase]++
				}
				for what, want := range map[string]int{
					"r1 activate": 2, "r1 deactivate": 1, "r2 activate": 2, "r2 deactivate": 1, "1 activate": 1,
				} {
					if began[what] != want {
						l.t.Errorf("%s began %d times, want %d", what, began[what], want)
					}
				}
			})
		})
	}
	t.Run("its slot ended meanwhile", func(t *testing.T) {
		announced(t, nil, one(0, 2*hour, "sw1"), func(l *lab, src *fakeSource) {
			l.sleep(minute)
			l.shutDown()
			l.sleep(3 * hour)
			l.boot += "'"
			l.start()
			l.sleep(minute)
			l.is("r1", "lost")
			l.ran("r1.activate.1 r1.deactivate.1")
		})
	})
}
