package activation_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	. "activationd/activation"

	"activationd/internal/fault"
	"activationd/store"
	"activationd/store/memstore"
	"activationd/supervisor"
)

// twoHosts has two daemons on two hosts with one store. The second is not started.
func twoHosts(t *testing.T, fn func(a, b *testRig)) {
	for kind, mem := range map[string]*memstore.Store{"plain": memstore.New(), "strict": memstore.Strict(1)} {
		t.Run(kind, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rigOf := func(name string) *testRig {
					rig := &testRig{t: t, db: mem.Session(name), w: newWorld(), host: name, boot: "boot of " + name, set: testSettings()}
					withPool(&rig.set)
					return rig
				}
				a, b := rigOf("a"), rigOf("b")
				a.start()
				defer a.shutDown()
				defer b.shutDown()
				fn(a, b)
				var faults []string
				err := mem.View(t.Context(), func(tx store.Tx) error {
					faults = CheckStore(tx)
					return nil
				})
				for _, f := range faults {
					t.Error(f)
				}
				if err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// onHost checks on which host the newest attempt of an activation is.
func (rig *testRig) onHost(id, want string) {
	rig.t.Helper()
	as := rig.get(id).Attempts
	if len(as) == 0 || as[len(as)-1].Host != want {
		rig.t.Errorf("%s is not on %s: %+v", id, want, as)
	}
}

// TestOtherHost: a daemon that starts, with another boot id and without the runs of
// another host, neither judges nor undoes that host's activations.
func TestOtherHost(t *testing.T) {
	twoHosts(t, func(a, b *testRig) {
		a.script("1", Activate, long)
		src := a.source("lab")
		src.says(slot("r1", 0, 20*hour, "sw1"))
		a.loads(1, 0, 0, 0)
		a.sleep(minute)
		id := a.add(NewJob{})
		b.start()
		for range 2 {
			b.is(id, "activating")
			b.is("r1", "active")
			b.shutDown()
			b.boot += "'"
			b.start()
		}
		b.ran("")
		if s, err := b.e.Status(context.Background()); err != nil || s.Running != 1 || s.States[Active] != 1 {
			b.t.Errorf("status: %+v, %v", s, err)
		}
		_, logs, err := b.e.Logs(context.Background(), admin, id)
		if err != nil || len(logs) != 1 {
			b.t.Fatalf("%d logs, %v, want 1", len(logs), err)
		}
		if _, err := logs[0].Open(); !errors.Is(err, fault.Unavailable) {
			b.t.Errorf("the log of a run on another host: %v, want unavailable", err)
		}
		b.sleep(2 * hour)
		b.is(id, "succeeded")
		b.onHost(id, "a")
		a.ran("r1.activate.1 " + id + ".activate.1")
	})
}

// TestStopOnOtherHost: wherever an activation is cancelled, its own host stops it.
func TestStopOnOtherHost(t *testing.T) {
	twoHosts(t, func(a, b *testRig) {
		a.script("1", Activate, hangs)
		id := a.add(NewJob{})
		b.start()
		b.do(Cancel, id)
		b.sleep(minute)
		b.is(id, "cancelled")
		b.onHost(id, "a")
		b.ran("")
	})
}

// TestOneHostStartsAgain: the restart of a host's machine concerns only its own attempts.
func TestOneHostStartsAgain(t *testing.T) {
	twoHosts(t, func(a, b *testRig) {
		a.script("1", Activate, long)
		b.script("2", Activate, long)
		src := a.source("lab")
		src.says(slot("r1", 0, 20*hour, "sw1"))
		a.loads(1, 0, 0, 0)
		a.sleep(minute)
		first := a.add(NewJob{})
		a.shutDown()
		b.start()
		second := b.add(NewJob{})
		b.onHost(second, "b")
		for _, k := range a.w.live() { // the machine goes down
			a.w.kill(k)
		}
		b.sleep(minute)
		b.is(first, "activating") // the other host does not know
		a.boot = "another"
		a.start()
		a.is(first, "lost")
		a.is(second, "activating")
		a.sleep(minute)
		a.is("r1", "active") // it was undone and activated again
		if n := len(a.get("r1").Attempts); n != 3 {
			a.t.Errorf("r1 has %d attempts, want 3", n)
		}
		b.sleep(2 * hour)
		b.is(second, "succeeded")
		b.onHost(second, "b")
		b.sleep(20 * hour)
		b.is("r1", "succeeded")
	})
}

// TestOneOfTwoClaims: an activation that both hosts see as due is started once.
func TestOneOfTwoClaims(t *testing.T) {
	twoHosts(t, func(a, b *testRig) {
		b.start()
		var ids []string
		for range 20 {
			ids = append(ids, a.add(NewJob{At: time.Now().Add(minute), Order: Order{Locks: []string{"sw1:shared"}}}))
		}
		a.sleep(2 * minute)
		for _, id := range ids {
			a.is(id, "succeeded")
			k := supervisor.Key{ID: id, Phase: Activate, N: 1}
			if (a.w.run(k) == nil) == (b.w.run(k) == nil) {
				a.t.Errorf("%s ran on both or on none", id)
			}
		}
	})
}

// TestRenamedHost: a host that was renamed is the same as before.
func TestRenamedHost(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		rig.script("1", Activate, long)
		id := rig.add(NewJob{})
		rig.host = "renamed"
		rig.restart()
		rig.onHost(id, "lab1")
		rig.sleep(2 * hour)
		rig.is(id, "succeeded")
		rig.onHost(rig.add(NewJob{}), "lab1")
	})
}
