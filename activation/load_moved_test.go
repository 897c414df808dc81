package activation_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	. "activationd/activation"
	"activationd/activation/announce"

	"activationd/internal/fault"
	"activationd/supervisor"
)

func TestMoved(t *testing.T) {
	start := time.Duration(0)
	moved := func(name, state string, from, to time.Duration, fn func(rig *testRig)) {
		t.Run(name, func(t *testing.T) {
			announced(t, nil, one(start, 2*hour, "sw1"), func(rig *testRig, src *fakeSource) {
				switch state {
				case "active":
					rig.sleep(minute)
				case "waiting":
					rig.do(Cancel, "r1")
					rig.sleep(minute)
					rig.script("1", Activate, long)
					rig.add(NewJob{Order: Order{Locks: []string{"sw1"}}})
					src.says(slot("r1", 0, 2*hour, "sw1"))
					rig.load(announce.LoadOptions{})
					rig.do(Retry, "r1")
				}
				rig.is("r1", state)
				src.says(slot("r1", from, to, "sw1"))
				rig.loads(0, 1, 0, 0)
				fn(rig)
			})
		})
	}
	moved("to the future while active", "active", hour, 2*hour, func(rig *testRig) {
		rig.is("r1", "deactivating")
		rig.sleep(minute)
		rig.is("r1", "scheduled")
		rig.because("r1", "was undone, to be served again: its reservation was changed")
		rig.sleep(90 * minute)
		rig.is("r1", "active")
		rig.ran("r1.activate.1 r1.deactivate.1 r1.activate.2")
	})
	moved("to the future while activating", "activating", hour, 2*hour, func(rig *testRig) {
		rig.sleep(minute)
		rig.is("r1", "scheduled")
		rig.sleep(90 * minute)
		rig.is("r1", "active")
	})
	moved("end later while active", "active", -minute, 5*hour, func(rig *testRig) {
		rig.sleep(3 * hour)
		rig.is("r1", "active")
		rig.sleep(2*hour + minute)
		rig.is("r1", "succeeded")
	})
	moved("end sooner while active", "active", -minute, hour, func(rig *testRig) {
		rig.sleep(hour)
		rig.is("r1", "deactivating")
	})
	moved("end has passed while active", "active", -minute, -time.Second, func(rig *testRig) {
		rig.is("r1", "deactivating")
		rig.sleep(minute)
		rig.is("r1", "succeeded")
	})
	moved("to the future while waiting", "waiting", 90*minute, 3*hour, func(rig *testRig) {
		rig.is("r1", "scheduled")
		job := rig.add(NewJob{Order: Order{Locks: []string{"sw1"}}})
		rig.sleep(hour)
		rig.is(job, "activating") // the reservation does not block it
		rig.sleep(hour)
		rig.is("r1", "active")
	})
	moved("end later while waiting keeps its place", "waiting", 0, 5*hour, func(rig *testRig) {
		rig.is("r1", "waiting")
		job := rig.add(NewJob{Order: Order{Locks: []string{"sw1"}}})
		rig.sleep(hour)
		rig.is("r1", "activating")
		rig.is(job, "waiting")
	})
	start = hour
	moved("to now while scheduled", "scheduled", 0, hour, func(rig *testRig) {
		rig.is("r1", "activating")
	})
	moved("to another future while scheduled", "scheduled", 3*hour, 4*hour, func(rig *testRig) {
		rig.sleep(2 * hour)
		rig.is("r1", "scheduled")
		rig.sleep(90 * minute)
		rig.is("r1", "active")
	})
	moved("to the past while scheduled", "scheduled", -2*hour, -hour, func(rig *testRig) {
		rig.is("r1", "missed")
	})
}

func TestMovedWhileArmed(t *testing.T) {
	announced(t, func(s *Settings) { s.ArmAhead = time.Second }, one(hour, 2*hour), func(rig *testRig, src *fakeSource) {
		rig.sleep(hour - time.Second)
		rig.is("r1", "activating")
		at := time.Now().Add(1500 * time.Millisecond) // half a second later than before
		src.says(slot("r1", 1500*time.Millisecond, hour))
		rig.loads(0, 1, 0, 0)
		rig.sleep(minute)
		rig.is("r1", "active")
		rig.ran("r1.activate.2") // the first attempt was disarmed, and nothing had to be undone
		if began := rig.beganAt("r1", Activate, 2); !began.Equal(at) {
			rig.t.Errorf("it began at %v, want %v", began, at)
		}
	})
}

func TestDevicesChange(t *testing.T) {
	t.Run("while active: the old ones are held and undone", func(t *testing.T) {
		announced(t, nil, one(0, hour, "sw1"), func(rig *testRig, src *fakeSource) {
			rig.sleep(minute)
			src.says(slot("r1", -minute, hour, "sw2"))
			rep := rig.loads(0, 1, 0, 0)
			if !slices.ContainsFunc(rep.Lines, func(l ReportLine) bool { return l.What == "notice" && l.ID == "r1" }) {
				rig.t.Errorf("nothing says that the old devices are in use: %v", rep.Lines)
			}
			rig.is("r1", "active")
			job := rig.add(NewJob{Order: Order{Locks: []string{"sw1"}}})
			rig.is(job, "waiting")
			rig.sleep(2 * hour)
			env := rig.w.run(supervisor.Key{ID: "r1", Phase: Deactivate, N: 1}).spec.Env
			if !slices.Contains(env, "ACTIVATION_DEVICES=sw1") {
				rig.t.Errorf("undone with %q", env)
			}
		})
	})
	t.Run("while waiting: it is queued for the new ones", func(t *testing.T) {
		bubble(t, nil, func(rig *testRig) {
			src := rig.source("lab")
			rig.script("1", Activate, long)
			rig.add(NewJob{Order: Order{Locks: []string{"sw1"}}})
			src.says(slot("r1", 0, 2*hour, "sw1"))
			rig.loads(1, 0, 0, 0)
			behind := rig.add(NewJob{Order: Order{Locks: []string{"sw1"}}})
			src.says(slot("r1", 0, 2*hour, "sw2"))
			rig.loads(0, 1, 0, 0)
			rig.is("r1", "activating")
			rig.sleep(hour)
			rig.is(behind, "activating")
		})
	})
	t.Run("while activating: the next try is for the old ones", func(t *testing.T) {
		bubble(t, nil, func(rig *testRig) {
			src := rig.source("lab")
			rig.script("r1", Activate, fails, quick)
			rig.script("1", Activate, long)
			rig.add(NewJob{Order: Order{Locks: []string{"sw2"}}})
			r := slot("r1", 0, 2*hour, "sw1")
			r.Topology = "old"
			src.says(r)
			rig.loads(1, 0, 0, 0)
			r.Topology, r.Devices = "new", []string{"sw2"}
			src.says(r)
			rig.loads(0, 1, 0, 0)
			rig.sleep(minute)
			rig.is("r1", "active") // it does not wait for a device of another while it is half activated
			rig.sleep(3 * hour)
			for _, k := range []supervisor.Key{{ID: "r1", Phase: Activate, N: 2}, {ID: "r1", Phase: Deactivate, N: 1}} {
				spec := rig.w.run(k).spec
				if string(spec.Topology) != "old" || !slices.Contains(spec.Env, "ACTIVATION_DEVICES=sw1") {
					rig.t.Errorf("%v: topology %q, %q", k, spec.Topology, spec.Env)
				}
			}
		})
	})
	t.Run("between two tries: what is half done is undone first", func(t *testing.T) {
		bubble(t, nil, func(rig *testRig) {
			src := rig.source("lab")
			rig.script("r1", Activate, fails, quick)
			src.says(slot("r1", 0, 2*hour, "sw1"))
			rig.loads(1, 0, 0, 0)
			rig.sleep(2 * time.Second)
			rig.is("r1", "waiting")
			src.says(slot("r1", 0, 2*hour, "sw2"))
			rig.loads(0, 1, 0, 0)
			rig.sleep(minute)
			rig.is("r1", "active")
			rig.ran("r1.activate.1 r1.deactivate.1 r1.activate.2")
			if got := rig.get("r1").LocksHeld; !slices.Equal(got, []string{"sw2"}) {
				rig.t.Errorf("it holds %q", got)
			}
		})
	})
}

func TestHeldBetweenTwoTries(t *testing.T) {
	announced(t, func(s *Settings) { s.ArmAhead = time.Second }, one(hour, 3*hour, "sw1"), func(rig *testRig, src *fakeSource) {
		rig.script("r1", Activate, fails, script{noStart: errors.New("no more processes")}, quick)
		rig.sleep(hour + 2*time.Second)
		rig.is("r1", "waiting")
		rig.do(Hold, "r1")
		job := rig.add(NewJob{Order: Order{Locks: []string{"sw1"}}})
		rig.is(job, "waiting") // its half-done work is still there
		rig.do(Release, "r1")  // as it does not start now, it undoes nothing either
		rig.sleep(minute)
		rig.is("r1", "active")
		rig.is(job, "waiting")
		rig.sleep(3 * hour)
		rig.is("r1", "succeeded")
		rig.is(job, "succeeded")
	})
}

// A reservation that is held between two attempts, and changed meanwhile, is undone as it
// was before it is served as it is now.
func TestChangedWhileHeld(t *testing.T) {
	announced(t, nil, one(minute, 10*hour, "sw1"), func(rig *testRig, src *fakeSource) {
		rig.script("r1", Activate, fails, quick)
		rig.sleep(minute + 2*time.Second)
		rig.do(Hold, "r1")
		rig.is("r1", "held")
		src.says(slot("r1", -2*time.Second, 10*hour, "sw2"))
		rig.loads(0, 1, 0, 0)
		rig.is("r1", "held")
		waits := rig.add(NewJob{Order: Order{Locks: []string{"sw1"}}})
		rig.is(waits, "waiting") // half a lab is on it
		if _, err := rig.e.Do(context.Background(), admin, "r1", RunNow, ""); !errors.Is(err, fault.Conflict) || !strings.Contains(err.Error(), "release does that") {
			rig.t.Errorf("run: %v", err)
		}
		rig.do(Release, "r1")
		rig.sleep(minute)
		rig.is("r1", "active")
		rig.is(waits, "succeeded")
		// Once it is undone, both continue at once.
		rig.ranInAnyOrder("1.activate.1 r1.activate.1 r1.activate.2 r1.deactivate.1")
		if rig.beganAt(waits, "activate", 1).Before(rig.beganAt("r1", "deactivate", 1)) {
			rig.t.Error("the job began before sw1 was released")
		}
		if got := rig.get("r1").LocksHeld; !slices.Equal(got, []string{"sw2"}) {
			rig.t.Errorf("it holds %q", got)
		}
	})
}
