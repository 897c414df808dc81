package activation_test

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"
	"testing/synctest"

	. "activationd/activation"
	"activationd/store"
)

// TestListContinued walks through a list page by page while jobs come and go: each that is there all
// the time is found exactly once, and all are in order.
func TestListContinued(t *testing.T) { synctest.Test(t, testListContinued) }

func testListContinued(t *testing.T) {
	rig := newRig(t, nil)
	random := rand.New(rand.NewPCG(1, 2))
	add := func() string { return rig.add(NewJob{Order: Order{Argv: []string{"x"}}, Hold: true}) }
	var ids []string
	for range 150 {
		ids = append(ids, add())
	}
	stays := make(map[string]bool)
	for i, id := range ids {
		stays[id] = i%3 > 0
	}
	seen := make(map[string]int)
	last := 0
	for after, pages := "", 0; ; pages++ {
		n := 0
		err := rig.e.List(t.Context(), Filter{Sort: "id", Limit: 7, After: after}, func(v View) error {
			n++
			seen[v.ID]++
			number, err := strconv.Atoi(v.ID)
			if err != nil || number <= last {
				return fmt.Errorf("%s comes after %d", v.ID, last)
			}
			after, last = v.ID, number
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if n < 7 {
			break
		}
		if pages > 100 {
			t.Fatal("the list has no end")
		}
		if pages < 20 {
			add()
		}
		for range 3 { // also the one at which the next page begins
			id := ids[random.IntN(len(ids))]
			if random.IntN(3) == 0 {
				id = after
			}
			if !stays[id] {
				err := rig.db.Update(t.Context(), func(tx store.Tx) error { return tx.Delete(Key(id)) })
				if err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	for id, stay := range stays {
		if n := seen[id]; stay && n != 1 || n > 1 {
			t.Errorf("job %s was listed %d times", id, n)
		}
	}
	for _, f := range []Filter{{After: "7"}, {After: "7", Sort: "owner"}, {After: "7", Sort: "id", Reverse: true}} {
		if err := rig.e.List(t.Context(), f, func(View) error { return nil }); err == nil {
			t.Errorf("a list %+v was continued", f)
		}
	}
}
