package activation_test

import (
	"context"
	"errors"
	"testing"
	"time"

	. "activationd/activation"

	"activationd/internal/fault"
	"activationd/store"
)

// The next due time is that of an activation, not the time at which history is removed.
func TestStatusNext(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		next := func() time.Time {
			s, err := rig.e.Status(context.Background())
			if err != nil {
				rig.t.Fatal(err)
			}
			return s.Next
		}
		rig.add(NewJob{})
		rig.sleep(minute)
		if got := next(); !got.IsZero() {
			rig.t.Errorf("with nothing but history, next is in %v", time.Until(got))
		}
		at := time.Now().Add(2000 * hour) // after the history is forgotten
		rig.add(NewJob{At: at})
		if got := next(); !got.Equal(at) {
			rig.t.Errorf("next is %v, want %v", got, at)
		}
		s := rig.source("src")
		s.says(slot("1@x", -hour, 1500*hour, "r1"))
		want := time.Now().Add(1500 * hour)
		rig.loads(1, 0, 0, 0)
		rig.sleep(minute)
		rig.is("1@x", "active")
		if got := next(); !got.Equal(want) {
			rig.t.Errorf("next is %v, want the end of the slot, %v", got, want)
		}
	})
}

// An earlier version kept the ends of finished activations among all other due times.
func TestFinishedInTheIndexOfInstants(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		id := rig.add(NewJob{})
		rig.sleep(minute)
		at := Instant(rig.get(id).Until) + "/" + id
		rig.shutDown()
		err := rig.db.Update(context.Background(), func(tx store.Tx) error {
			return errors.Join(tx.Delete(ForgetKey+at), tx.Put(InstantKey+at, []byte(PriorityPrefix(0))))
		})
		if err != nil {
			rig.t.Fatal(err)
		}
		rig.start()
		rig.sleep(2000 * hour)
		if _, err := rig.e.Get(context.Background(), id); !errors.Is(err, fault.NotFound) {
			rig.t.Errorf("Get of a record that had to be removed: %v", err)
		}
		if keys := rig.mem.Keys("d/"); len(keys) != 0 {
			rig.t.Errorf("left in the index: %q", keys)
		}
	})
}
