package activation

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"activationd/internal/fault"
	"activationd/supervisor"
)

func TestMoved(t *testing.T) {
	start := time.Duration(0)
	moved := func(name, state string, from, to time.Duration, fn func(l *lab)) {
		t.Run(name, func(t *testing.T) {
			announced(t, nil, one(start, 2*hour, "sw1"), func(l *lab, src *fakeSource) {
				switch state {
				case "active":
					l.sleep(minute)
				case "waiting":
					l.do(Cancel, "r1")
					l.sleep(minute)
					l.script("1", Activate, long)
					l.add(NewJob{Locks: []string{"sw1"}})
					src.says(slot("r1", 0, 2*hour, "sw1"))
					l.load(LoadOptions{})
					l.do(Retry, "r1")
				}
				l.is("r1", state)
				src.says(slot("r1", from, to, "sw1"))
				l.loads(0, 1, 0, 0)
				fn(l)
			})
		})
	}
	moved("to the future while active", "active", hour, 2*hour, func(l *lab) {
		l.is("r1", "deactivating")
		l.sleep(minute)
		l.is("r1", "scheduled")
		l.because("r1", "was undone, to be served again: its reservation was changed")
		l.sleep(90 * minute)
		l.is("r1", "active")
		l.ran("r1.activate.1 r1.deactivate.1 r1.activate.2")
	})
	moved("to the future while activating", "activating", hour, 2*hour, func(l *lab) {
		l.sleep(minute)
		l.is("r1", "scheduled")
		l.sleep(90 * minute)
		l.is("r1", "active")
	})
	moved("end later while active", "active", -minute, 5*hour, func(l *lab) {
		l.sleep(3 * hour)
		l.is("r1", "active")
		l.sleep(2*hour + minute)
		l.is("r1", "succeeded")
	})
	moved("end sooner while active", "active", -minute, hour, func(l *lab) {
		l.sleep(hour)
		l.is("r1", "deactivating")
	})
	moved("end has passed while active", "active", -minute, -time.Second, func(l *lab) {
		l.is("r1", "deactivating")
		l.sleep(minute)
		l.is("r1", "succeeded")
	})
	moved("to the future while waiting", "waiting", 90*minute, 3*hour, func(l *lab) {
		l.is("r1", "scheduled")
		job := l.add(NewJob{Locks: []string{"sw1"}})
		l.sleep(hour)
		l.is(job, "activating") // it does not stand in the way
		l.sleep(hour)
		l.is("r1", "active")
	})
	moved("end later while waiting keeps its place", "waiting", 0, 5*hour, func(l *lab) {
		l.is("r1", "waiting")
		job := l.add(NewJob{Locks: []string{"sw1"}})
		l.sleep(hour)
		l.is("r1", "activating")
		l.is(job, "waiting")
	})
	start = hour
	moved("to now while scheduled", "scheduled", 0, hour, func(l *lab) {
		l.is("r1", "activating")
	})
	moved("to another future while scheduled", "scheduled", 3*hour, 4*hour, func(l *lab) {
		l.sleep(2 * hour)
		l.is("r1", "scheduled")
		l.sleep(90 * minute)
		l.is("r1", "active")
	})
	moved("to the past while scheduled", "scheduled", -2*hour, -hour, func(l *lab) {
		l.is("r1", "missed")
	})
}

func TestMovedWhileArmed(t *testing.T) {
	announced(t, func(s *Settings) { s.ArmAhead = time.Second }, one(hour, 2*hour), func(l *lab, src *fakeSource) {
		l.sleep(hour - time.Second)
		l.is("r1", "activating")
		at := time.Now().Add(1500 * time.Millisecond) // half a second later than it was
		src.says(slot("r1", 1500*time.Millisecond, hour))
		l.loads(0, 1, 0, 0)
		l.sleep(minute)
		l.is("r1", "active")
		l.ran("r1.activate.2") // the first was disarmed, and nothing had to be undone
		if began := l.beganAt("r1", Activate, 2); !began.Equal(at) {
			l.t.Errorf("it began at %v, want %v", began, at)
		}
	})
}

func TestDevicesChange(t *testing.T) {
	t.Run("while active: the old ones are held and undone", func(t *testing.T) {
		announced(t, nil, one(0, hour, "sw1"), func(l *lab, src *fakeSource) {
			l.sleep(minute)
			src.says(slot("r1", -minute, hour, "sw2"))
			rep := l.loads(0, 1, 0, 0)
			if !slices.ContainsFunc(rep.Lines, func(l ReportLine) bool { return l.What == "notice" && l.ID == "r1" }) {
				l.t.Errorf("nothing says that the old devices are in use: %v", rep.Lines)
			}
			l.is("r1", "active")
			job := l.add(NewJob{Locks: []string{"sw1"}})
			l.is(job, "waiting")
			l.sleep(2 * hour)
			env := l.w.run(supervisor.Key{ID: "r1", Phase: Deactivate, N: 1}).spec.Env
			if !slices.Contains(env, "ACTIVATION_DEVICES=sw1") {
				l.t.Errorf("undone with %q", env)
			}
		})
	})
	t.Run("while waiting: it is in line for the new ones", func(t *testing.T) {
		bubble(t, nil, func(l *lab) {
			src := l.source("lab")
			l.script("1", Activate, long)
			l.add(NewJob{Locks: []string{"sw1"}})
			src.says(slot("r1", 0, 2*hour, "sw1"))
			l.loads(1, 0, 0, 0)
			behind := l.add(NewJob{Locks: []string{"sw1"}})
			src.says(slot("r1", 0, 2*hour, "sw2"))
			l.loads(0, 1, 0, 0)
			l.is("r1", "activating")
			l.sleep(hour)
			l.is(behind, "activating")
		})
	})
	t.Run("while activating: the next try is for the old ones", func(t *testing.T) {
		bubble(t, nil, func(l *lab) {
			src := l.source("lab")
			l.script("r1", Activate, fails, quick)
			l.script("1", Activate, long)
			l.add(NewJob{Locks: []string{"sw2"}})
			r := slot("r1", 0, 2*hour, "sw1")
			r.Topology = "old"
			src.says(r)
			l.loads(1, 0, 0, 0)
			r.Topology, r.Devices = "new", []string{"sw2"}
			src.says(r)
			l.loads(0, 1, 0, 0)
			l.sleep(minute)
			l.is("r1", "active") // it does not wait for another's device with half of its own done
			l.sleep(3 * hour)
			for _, k := range []supervisor.Key{{ID: "r1", Phase: Activate, N: 2}, {ID: "r1", Phase: Deactivate, N: 1}} {
				spec := l.w.run(k).spec
				if string(spec.Topology) != "old" || !slices.Contains(spec.Env, "ACTIVATION_DEVICES=sw1") {
					l.t.Errorf("%v: topology %q, %q", k, spec.Topology, spec.Env)
				}
			}
		})
	})
	t.Run("between two tries: what is half done is undone first", func(t *testing.T) {
		bubble(t, nil, func(l *lab) {
			src := l.source("lab")
			l.script("r1", Activate, fails, quick)
			src.says(slot("r1", 0, 2*hour, "sw1"))
			l.loads(1, 0, 0, 0)
			l.sleep(2 * time.Second)
			l.is("r1", "waiting")
			src.says(slot("r1", 0, 2*hour, "sw2"))
			l.loads(0, 1, 0, 0)
			l.sleep(minute)
			l.is("r1", "active")
			l.ran("r1.activate.1 r1.deactivate.1 r1.activate.2")
			if got := l.get("r1").Held; !slices.Equal(got, []string{"sw2"}) {
				l.t.Errorf("it holds %q", got)
			}
		})
	})
}

func TestHeldBetweenTwoTries(t *testing.T) {
	announced(t, func(s *Settings) { s.ArmAhead = time.Second }, one(hour, 3*hour, "sw1"), func(l *lab, src *fakeSource) {
		l.script("r1", Activate, fails, script{noStart: errors.New("no more processes")}, quick)
		l.sleep(hour + 2*time.Second)
		l.is("r1", "waiting")
		l.do(Hold, "r1")
		job := l.add(NewJob{Locks: []string{"sw1"}})
		l.is(job, "waiting") // what was half done is still there
		l.do(Release, "r1")  // what does not start now does not undo it either
		l.sleep(minute)
		l.is("r1", "active")
		l.is(job, "waiting")
		l.sleep(3 * hour)
		l.is("r1", "succeeded")
		l.is(job, "succeeded")
	})
}

// What is held between two attempts, and changed meanwhile, is undone as it was before it
// is served as it is now.
func TestChangedWhileHeld(t *testing.T) {
	announced(t, nil, one(minute, 10*hour, "sw1"), func(l *lab, src *fakeSource) {
		l.script("r1", Activate, fails, quick)
		l.sleep(minute + 2*time.Second)
		l.do(Hold, "r1")
		l.is("r1", "held")
		src.says(slot("r1", -2*time.Second, 10*hour, "sw2"))
		l.loads(0, 1, 0, 0)
		l.is("r1", "held")
		waits := l.add(NewJob{Locks: []string{"sw1"}})
		l.is(waits, "waiting") // half a lab is on it
		if _, err := l.e.Do(context.Background(), admin, "r1", RunNow, ""); !errors.Is(err, fault.Conflict) || !strings.Contains(err.Error(), "release it") {
			l.t.Errorf("run: %v", err)
		}
		l.do(Release, "r1")
		l.sleep(minute)
		l.is("r1", "active")
		l.is(waits, "succeeded")
		// What was undone lets both go on at once.
		l.ranInAnyOrder("1.activate.1 r1.activate.1 r1.activate.2 r1.deactivate.1")
		if l.beganAt(waits, "activate", 1).Before(l.beganAt("r1", "deactivate", 1)) {
			l.t.Error("the job began before sw1 was given back")
		}
		if got := l.get("r1").Held; !slices.Equal(got, []string{"sw2"}) {
			l.t.Errorf("it holds %q", got)
		}
	})
}
