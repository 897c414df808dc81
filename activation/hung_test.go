package activation

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"activationd/internal/fault"
)

// hanging is a script of which a process hangs for an hour after its end.
var hanging = script{lasts: time.Second, remains: hour}

// TestHungJob: a job whose process hangs in the kernel keeps its locks until that
// is gone, over restarts of the daemon, and only then its end is what it is. It
// keeps out a lock that is free while a system call may still be carried out.
func TestHungJob(t *testing.T) {
	bubble(t, nil, func(l *lab) {
		l.script("1", Activate, hanging)
		first := l.add(NewJob{Locks: []string{"sw1"}})
		l.script("2", Activate, quick)
		next := l.add(NewJob{Locks: []string{"sw1"}})
		l.sleep(minute)
		waits := func() {
			l.t.Helper()
			l.is(first, "activating")
			l.because(first, "activate attempt 1 exited with status 0; this end is not verified: a process hangs in the kernel")
			l.is(next, "waiting")
			v, err := l.e.Get(context.Background(), first)
			if err != nil {
				l.t.Fatal(err)
			}
			if len(v.WaitsFor) != 1 || !strings.HasPrefix(v.WaitsFor[0], "the end of process 7, which hangs") {
				l.t.Errorf("it waits for %q", v.WaitsFor)
			}
			s, err := l.e.Status(context.Background())
			if err != nil || s.Hanging != 1 || s.Running != 0 {
				l.t.Errorf("status: %d hang, %d run, %v", s.Hanging, s.Running, err)
			}
		}
		waits()
		l.sound()
		l.restart()
		l.sleep(minute)
		waits()
		l.do(Cancel, first) // too late to change what it did
		l.sleep(minute)
		l.is(first, "activating")
		l.sleep(hour)
		l.is(first, "succeeded")
		l.is(next, "succeeded")
	})
}

// TestHungIsForgiven: somebody who knows that the process can do no harm any more
// lets go of it; also while no daemon runs the engine, and only once.
func TestHungIsForgiven(t *testing.T) {
	bubble(t, nil, func(l *lab) {
		l.script("1", Activate, hanging)
		first := l.add(NewJob{Locks: []string{"sw1"}})
		if _, err := l.e.Do(context.Background(), admin, first, Forgive, ""); !errors.Is(err, fault.Conflict) {
			l.t.Errorf("one that runs is forgiven: %v", err)
		}
		l.sleep(minute)
		l.do(Forgive, first)
		l.sleep(time.Second)
		l.is(first, "succeeded")
		l.script("2", Activate, quick)
		next := l.add(NewJob{Locks: []string{"sw1"}})
		l.sleep(minute)
		l.is(next, "succeeded")
		l.sleep(2 * hour) // its end comes at last, and changes nothing
		l.is(first, "succeeded")
	})
}

// TestHungReservation: while a process of its activation hangs, a lab is neither
// active nor undone, its devices are nobody else's and its VLANs in quarantine;
// while one of its deactivation does, it is not finished.
func TestHungReservation(t *testing.T) {
	announced(t, func(s *Settings) {
		withPool(s)
		s.Reservations.Retries = 1
	}, one(minute, 4*hour, "sw1"), func(l *lab, _ *fakeSource) {
		if err := l.lease(admin, "r1", "l1"); err != nil {
			l.t.Fatal(err)
		}
		l.script("r1", Activate, hanging)
		l.script("r1", Deactivate, hanging)
		l.sleep(2 * minute)
		l.is("r1", "activating")
		l.vlans("100 quarantined r1: the end of activate attempt 1 is not verified")
		l.restart()
		l.is("r1", "activating")
		if _, err := l.e.FreeVLAN(context.Background(), admin, "x", 100); !errors.Is(err, fault.Conflict) {
			l.t.Errorf("its VLAN is freed: %v", err)
		}
		l.sleep(hour)
		l.is("r1", "active")
		l.vlans("100 leased r1")
		l.sleep(3 * hour)
		l.is("r1", "deactivating")
		l.vlans("100 quarantined r1: the end of deactivate attempt 1 is not verified")
		l.sleep(30 * minute)
		l.is("r1", "deactivating")
		l.sleep(hour)
		l.is("r1", "succeeded")
		l.vlans("")
	})
}

// TestHungUntilTheMachineEnds: nothing hangs any more after a reboot.
func TestHungUntilTheMachineEnds(t *testing.T) {
	bubble(t, nil, func(l *lab) {
		l.script("1", Activate, script{lasts: time.Second, remains: 1000 * hour})
		id := l.add(NewJob{})
		l.sleep(minute)
		l.is(id, "activating")
		l.shutDown()
		l.w.powerLoss()
		l.boot += "'"
		l.start()
		l.sleep(minute)
		l.is(id, "succeeded")
	})
}
