package activation_test

import (
	"bytes"
	"context"
	"errors"
	"testing"

	. "activationd/activation"

	"activationd/internal/fault"
	"activationd/reservation"
	"activationd/supervisor"
)

// TestUndoPlan keeps a plan in the store. The deactivation finds it on another host,
// where there is no work directory. The plan is removed when the deactivation is
// verified.
func TestUndoPlan(t *testing.T) {
	plan := bytes.Repeat([]byte("undo "), 200_000) // several parts
	ctx := context.Background()
	twoHosts(t, func(a, b *testRig) {
		fence := func(rig *testRig) uint64 {
			as := rig.get("r1").Attempts
			return as[len(as)-1].Fence
		}
		a.script("r1", Activate, script{lasts: minute})
		b.script("r1", Deactivate, script{lasts: minute})
		src := a.source("lab")
		src.says(slot("r1", 0, hour, "sw1"))
		a.loads(1, 0, 0, 0)
		if err := a.e.KeepPlan(ctx, admin, "r1", fence(a)-1, plan); !errors.Is(err, fault.Conflict) {
			a.t.Errorf("KeepPlan of another run: %v, want a conflict", err)
		}
		if err := a.e.KeepPlan(ctx, admin, "r1", fence(a), plan); err != nil {
			a.t.Fatal(err)
		}
		a.sleep(2 * minute)
		a.is("r1", "active")
		if err := a.e.KeepPlan(ctx, admin, "r1", fence(a), nil); !errors.Is(err, fault.Conflict) {
			a.t.Errorf("KeepPlan after the run's end: %v, want a conflict", err)
		}
		a.shutDown() // and its work directory with it
		b.start()
		b.w.mu.Lock()
		began := make(chan struct{})
		b.w.began = func(r *worldRun) {
			if r.key == (supervisor.Key{ID: "r1", Phase: Deactivate, N: 1}) {
				close(began)
			}
		}
		b.w.mu.Unlock()
		b.sleep(hour - 2*minute)
		<-began
		found, err := b.e.UndoPlan(ctx, admin, "r1")
		if err != nil || !bytes.Equal(found, plan) {
			b.t.Errorf("the plan has %d bytes, %v, want %d", len(found), err, len(plan))
		}
		b.onHost("r1", "b")
		b.sleep(2 * minute)
		b.is("r1", "succeeded")
		if _, err := b.e.UndoPlan(ctx, admin, "r1"); !errors.Is(err, fault.NotFound) {
			b.t.Errorf("the plan of an undone reservation: %v", err)
		}
	})
}

// TestUndoPlanOfAnEarlierLife: a plan from before the last deactivation is not used
// again, and an incomplete plan is never used.
func TestUndoPlanOfAnEarlierLife(t *testing.T) {
	ctx := context.Background()
	announced(t, nil, func() []reservation.Reservation { return []reservation.Reservation{slot("r1", 0, 10*hour, "sw1")} }, func(rig *testRig, _ *fakeSource) {
		rig.sleep(minute)
		rig.is("r1", "active")
		if _, err := rig.e.UndoPlan(ctx, admin, "r1"); !errors.Is(err, fault.NotFound) {
			rig.t.Errorf("UndoPlan = %v, want not-found", err)
		}
	})
}
