package activation_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	. "activationd/activation"

	"activationd/internal/fault"
)

// hanging is a script with a process that hangs for an hour after the script's end.
var hanging = script{lasts: time.Second, remains: hour}

// TestHungJob: a job whose process hangs in the kernel keeps its locks until the process
// is gone, also across restarts of the daemon. Its outcome is decided only then. So no
// lock is free while a system call may still be carried out.
func TestHungJob(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		rig.script("1", Activate, hanging)
		first := rig.add(NewJob{Order: Order{Locks: []string{"sw1"}}})
		rig.script("2", Activate, quick)
		next := rig.add(NewJob{Order: Order{Locks: []string{"sw1"}}})
		rig.sleep(minute)
		waits := func() {
			rig.t.Helper()
			rig.is(first, "activating")
			rig.because(first, "exited with status 0; this end is not verified: a process hangs in the kernel")
			rig.is(next, "waiting")
			v, err := rig.e.Get(context.Background(), first)
			if err != nil {
				rig.t.Fatal(err)
			}
			if len(v.WaitsFor) != 1 || !strings.HasPrefix(v.WaitsFor[0], "the end of process 7, which hangs") {
				rig.t.Errorf("it waits for %q", v.WaitsFor)
			}
			s, err := rig.e.Status(context.Background())
			if err != nil || s.Hanging != 1 || s.Running != 0 {
				rig.t.Errorf("status: %d hang, %d run, %v", s.Hanging, s.Running, err)
			}
		}
		waits()
		rig.sound()
		rig.restart()
		rig.sleep(minute)
		waits()
		rig.do(Cancel, first) // too late to change what it did
		rig.sleep(minute)
		rig.is(first, "activating")
		rig.sleep(hour)
		rig.is(first, "succeeded")
		rig.is(next, "succeeded")
	})
}

// TestHungIsForgiven: an operator who knows that the process can do no more harm forgives
// it; that works while no engine runs, too, and only once.
func TestHungIsForgiven(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		rig.script("1", Activate, hanging)
		first := rig.add(NewJob{Order: Order{Locks: []string{"sw1"}}})
		if _, err := rig.e.Do(context.Background(), admin, first, Forgive, ""); !errors.Is(err, fault.Conflict) {
			rig.t.Errorf("a running attempt is forgiven: %v", err)
		}
		rig.sleep(minute)
		rig.do(Forgive, first)
		rig.sleep(time.Second)
		rig.is(first, "succeeded")
		rig.script("2", Activate, quick)
		next := rig.add(NewJob{Order: Order{Locks: []string{"sw1"}}})
		rig.sleep(minute)
		rig.is(next, "succeeded")
		rig.sleep(2 * hour) // its end comes at last, and changes nothing
		rig.is(first, "succeeded")
	})
}

// TestHungReservation: while a process of its activation hangs, a lab is neither active
// nor undone, no other can have its devices, and its VLANs are in quarantine. While a
// process of its deactivation hangs, it is not finished.
func TestHungReservation(t *testing.T) {
	announced(t, func(s *Settings) {
		withPool(s)
		s.Reservations.Retries = 1
	}, one(minute, 4*hour, "sw1"), func(rig *testRig, _ *fakeSource) {
		if err := rig.lease(admin, "r1", "l1"); err != nil {
			rig.t.Fatal(err)
		}
		rig.script("r1", Activate, hanging)
		rig.script("r1", Deactivate, hanging)
		rig.sleep(2 * minute)
		rig.is("r1", "activating")
		rig.vlans("100 quarantined r1: the end of activate attempt 1 is not verified")
		rig.restart()
		rig.is("r1", "activating")
		if _, err := rig.e.FreeVLAN(context.Background(), admin, "x", 100); !errors.Is(err, fault.Conflict) {
			rig.t.Errorf("its VLAN is freed: %v", err)
		}
		rig.sleep(hour)
		rig.is("r1", "active")
		rig.vlans("100 leased r1")
		rig.sleep(3 * hour)
		rig.is("r1", "deactivating")
		rig.vlans("100 quarantined r1: the end of deactivate attempt 1 is not verified")
		rig.sleep(30 * minute)
		rig.is("r1", "deactivating")
		rig.sleep(hour)
		rig.is("r1", "succeeded")
		rig.vlans("")
	})
}

// TestHungUntilTheMachineEnds: after a reboot nothing hangs any more.
func TestHungUntilTheMachineEnds(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		rig.script("1", Activate, script{lasts: time.Second, remains: 1000 * hour})
		id := rig.add(NewJob{})
		rig.sleep(minute)
		rig.is(id, "activating")
		rig.shutDown()
		rig.w.powerLoss()
		rig.boot += "'"
		rig.start()
		rig.sleep(minute)
		rig.is(id, "succeeded")
	})
}
