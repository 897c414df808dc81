package activation_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	. "activationd/activation"
	"activationd/activation/announce"

	"activationd/store"
)

// attention returns the ids of what needs attention, with the number of all in each kind:
// "stuck 1: 1@x; unverified 0:; failed 2: 3 2".
func (rig *testRig) attention(by Actor, most int) string {
	rig.t.Helper()
	a, err := rig.e.Attention(context.Background(), by, most)
	if err != nil {
		rig.t.Fatal(err)
	}
	text := func(s Sample) string {
		ids := ""
		for _, v := range s.Views {
			ids += " " + v.ID
		}
		return fmt.Sprintf("%d:%s", s.All, ids)
	}
	return fmt.Sprintf("stuck %s; unverified %s; failed %s", text(a.Stuck), text(a.Hanging), text(a.Failed))
}

func (rig *testRig) needs(by Actor, want string) {
	rig.t.Helper()
	if got := rig.attention(by, 3); got != want {
		rig.t.Errorf("what needs the attention of %s: %s, want %s", by.Name, got, want)
	}
}

// TestAttention checks which activations need attention, for how long, and whose.
func TestAttention(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		ada, eve := Actor{Name: "ada", UID: 1001, OnlyOwn: true}, Actor{Name: "eve", UID: 1002, OnlyOwn: true}
		rig.needs(admin, "stuck 0:; unverified 0:; failed 0:")
		order := func(owner string, uid int) Order {
			return Order{Owner: owner, User: &Identity{UID: uid, Name: owner}, Argv: []string{"true"}}
		}
		bad := script{exit: 1}
		rig.script("1", Activate, quick)
		rig.script("2", Activate, bad)
		rig.script("3", Activate, bad)
		rig.script("5", Activate, hanging)
		rig.add(NewJob{Order: order("ada", 1001)})
		rig.add(NewJob{Order: order("ada", 1001)})
		rig.add(NewJob{Order: order("eve", 1002)})
		cancelled := rig.add(NewJob{Order: order("ada", 1001), At: time.Now().Add(hour)})
		rig.do(Cancel, cancelled)
		rig.add(NewJob{Order: order("ada", 1001)})
		rig.script("1@x", Activate, bad)
		rig.script("2@x", Deactivate, bad)
		s := rig.source("src")
		s.says(slot("1@x", 0, 2*minute, "r1"), slot("2@x", 0, 2*minute, "r2"))
		rig.load(announce.LoadOptions{})
		rig.sleep(20 * minute)
		rig.is("1@x", "failed")
		rig.is("2@x", "stuck")
		rig.needs(admin, "stuck 1: 2@x; unverified 1: 5; failed 3: 1@x 3 2")
		rig.needs(ada, "stuck 1: 2@x; unverified 1: 5; failed 2: 1@x 2")
		rig.needs(eve, "stuck 1: 2@x; unverified 0:; failed 2: 1@x 3")
		rig.needs(Actor{Name: "loopback", UID: -1, NoJobs: true}, "stuck 1: 2@x; unverified 0:; failed 1: 1@x")
		if got, want := rig.attention(admin, 1), "stuck 1: 2@x; unverified 1: 5; failed 3: 1@x"; got != want {
			t.Errorf("with one example of each: %s, want %s", got, want)
		}

		rig.restart()
		rig.needs(admin, "stuck 1: 2@x; unverified 1: 5; failed 3: 1@x 3 2")
		rig.script("3", Activate, bad, quick)
		rig.do(Retry, "3")
		rig.sleep(minute)
		rig.is("3", "succeeded")
		rig.do(Forgive, "2@x")
		rig.needs(admin, "stuck 0:; unverified 1: 5; failed 2: 1@x 2")
		rig.sleep(time.Until(rig.get("2").Since.Add(FailedFor + time.Second)))
		rig.needs(admin, "stuck 0:; unverified 0:; failed 1: 1@x")
		rig.sleep(hour)
		rig.needs(admin, "stuck 0:; unverified 0:; failed 0:")
	})
}

// TestAttentionOfAnnounced: the index has a reservation that ended early under the end of
// its slot.
func TestAttentionOfAnnounced(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		rig.script("1@x", Activate, script{exit: 1})
		s := rig.source("src")
		s.says(slot("1@x", 0, 100*hour, "r1"))
		rig.load(announce.LoadOptions{})
		rig.sleep(20 * minute)
		rig.is("1@x", "failed")
		rig.needs(admin, "stuck 0:; unverified 0:; failed 1: 1@x")
		rig.sleep(24 * hour)
		rig.needs(admin, "stuck 0:; unverified 0:; failed 0:")
	})
}

// TestAttentionAfterAnUpgrade: an earlier version did not write into the index which
// activations had failed.
func TestAttentionAfterAnUpgrade(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		rig.script("2", Activate, script{exit: 1})
		rig.add(NewJob{})
		rig.add(NewJob{})
		rig.sleep(minute)
		err := rig.db.Update(context.Background(), func(tx store.Tx) error {
			for k := range tx.Scan(FinishedKey, "") {
				if err := tx.Put(k, nil); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		rig.needs(admin, "stuck 0:; unverified 0:; failed 1: 2")
	})
}
