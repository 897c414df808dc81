package activation_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	. "activationd/activation"

	"activationd/event"
	"activationd/internal/fault"
	"activationd/vlanstore"
)

func withPool(s *Settings) {
	s.Pools = vlanstore.Pools{"x": {Domain: "x", Ranges: []vlanstore.Range{{First: 100, Last: 103}}}}
}

// lease leases one VLAN for each link of a holder.
func (rig *testRig) lease(by Actor, holder string, links ...string) error {
	rig.t.Helper()
	var wants []vlanstore.Want
	for _, link := range links {
		wants = append(wants, vlanstore.Want{Domain: "x", Link: link})
	}
	_, err := rig.e.Lease(context.Background(), by, holder, wants)
	return err
}

// vlans checks the leases.
func (rig *testRig) vlans(want string) {
	rig.t.Helper()
	ls, err := rig.e.VLANs(context.Background(), vlanstore.Filter{})
	if err != nil {
		rig.t.Fatal(err)
	}
	var parts []string
	for _, v := range ls {
		text := fmt.Sprintf("%d %s %s", v.ID, v.State, v.Holder)
		if v.State == vlanstore.Quarantined {
			text += ": " + v.Reason
		}
		parts = append(parts, text)
	}
	if got := strings.Join(parts, ", "); got != want {
		rig.t.Errorf("VLANs: %q, want %q", got, want)
	}
}

// TestVLANsGoWithTheProof follows the leases of a reservation through the ways in which
// it can end.
func TestVLANsGoWithTheProof(t *testing.T) {
	begun := func(t *testing.T, fn func(rig *testRig, src *fakeSource)) {
		t.Helper()
		announced(t, withPool, one(0, hour, "sw1"), func(rig *testRig, src *fakeSource) {
			if err := rig.lease(admin, "r1", "l1", "l2"); err != nil {
				rig.t.Fatal(err)
			}
			rig.vlans("100 leased r1, 101 leased r1")
			fn(rig, src)
		})
	}
	t.Run("proved", func(t *testing.T) {
		begun(t, func(rig *testRig, _ *fakeSource) {
			rig.sleep(59 * minute)
			rig.is("r1", "active")
			rig.vlans("100 leased r1, 101 leased r1")
			rig.script("r1", Deactivate, script{lasts: minute})
			rig.sleep(minute + time.Second)
			rig.is("r1", "deactivating")
			rig.vlans("100 leased r1, 101 leased r1")
			rig.sleep(minute)
			rig.is("r1", "succeeded")
			rig.vlans("")
			if err := rig.lease(admin, "r1", "l1"); !errors.Is(err, fault.Conflict) {
				rig.t.Errorf("a reservation that is over: %v", err)
			}
		})
	})
	t.Run("each attempt gets the same", func(t *testing.T) {
		begun(t, func(rig *testRig, _ *fakeSource) {
			if err := rig.lease(admin, "r1", "l2", "l1"); err != nil {
				rig.t.Error(err)
			}
			rig.vlans("100 leased r1, 101 leased r1")
		})
	})
	t.Run("the daemon dies", func(t *testing.T) {
		begun(t, func(rig *testRig, _ *fakeSource) {
			rig.restart()
			rig.vlans("100 leased r1, 101 leased r1")
		})
	})
	for _, end := range []Trigger{Retry, Forgive} {
		t.Run("unproved, then "+string(end), func(t *testing.T) {
			begun(t, func(rig *testRig, _ *fakeSource) {
				rig.script("r1", Deactivate, fails, fails, fails, quick)
				rig.sleep(2 * hour)
				rig.is("r1", "stuck")
				q := "quarantined r1: deactivate attempt 3 exited with status 1"
				rig.vlans("100 " + q + ", 101 " + q)
				if err := rig.lease(admin, "r1", "l1"); !errors.Is(err, fault.Conflict) {
					rig.t.Errorf("a reservation that is stuck: %v", err)
				}
				rig.do(end, "r1")
				rig.sleep(minute)
				rig.is("r1", "succeeded")
				if end == Retry { // verified later
					rig.vlans("")
					return
				}
				rig.vlans("100 " + q + ", 101 " + q)
			})
		})
	}
	t.Run("cancelled before it began", func(t *testing.T) {
		announced(t, withPool, one(hour, 2*hour, "sw1"), func(rig *testRig, _ *fakeSource) {
			if err := rig.lease(admin, "r1", "l1"); err != nil {
				rig.t.Fatal(err)
			}
			rig.do(Cancel, "r1")
			rig.vlans("")
		})
	})
}

func TestVLANsOfAJob(t *testing.T) {
	bubble(t, withPool, func(rig *testRig) {
		rig.script("2", Activate, fails)
		good, bad := rig.add(NewJob{}), rig.add(NewJob{})
		for _, id := range []string{good, bad} {
			if err := rig.lease(Actor{Name: "root", OnlyOwn: true}, id, "l"); err != nil && !errors.Is(err, fault.Denied) {
				rig.t.Error(err)
			}
			if err := rig.lease(admin, id, "l"); err != nil {
				rig.t.Error(err)
			}
		}
		rig.sleep(minute)
		rig.is(good, "succeeded")
		rig.is(bad, "failed")
		rig.vlans("101 quarantined 2: exited with status 1")
	})
}

func TestWhoMayHoldVLANs(t *testing.T) {
	announced(t, withPool, one(hour, 2*hour, "sw1"), func(rig *testRig, _ *fakeSource) {
		submitter := Actor{Name: "anna", OnlyOwn: true}
		for _, tt := range []struct {
			by     Actor
			holder string
			kind   error
		}{
			{submitter, "r1", fault.Denied}, {submitter, "maintenance", fault.NotFound}, {submitter, "77", fault.NotFound},
			{admin, "77", fault.NotFound}, {admin, "maintenance", nil}, {admin, "r1", nil},
		} {
			if err := rig.lease(tt.by, tt.holder, "l"); !errors.Is(err, tt.kind) {
				rig.t.Errorf("%+v for %s: %v, want %v", tt.by, tt.holder, err, tt.kind)
			}
		}
		rig.vlans("100 leased maintenance, 101 leased r1")
		if ls, err := rig.e.ReleaseVLANs(context.Background(), admin, "maintenance", "", false); err != nil || len(ls) != 1 {
			rig.t.Errorf("release: %v, %v", ls, err)
		}
		if _, err := rig.e.ReleaseVLANs(context.Background(), admin, "maintenance", "", false); !errors.Is(err, fault.NotFound) {
			rig.t.Errorf("release again: %v", err)
		}
		rig.vlans("101 leased r1")
	})
}

// TestKeptDirectory checks that the work directory exists from the first attempt until
// the reservation is finished, and no longer, even if daemons die meanwhile.
func TestKeptDirectory(t *testing.T) {
	kept := func(rig *testRig, want bool) {
		rig.t.Helper()
		synctest.Wait()
		rig.w.mu.Lock()
		defer rig.w.mu.Unlock()
		if rig.w.kept["r1"] != want {
			rig.t.Errorf("kept: %v, want r1's: %v", rig.w.kept, want)
		}
	}
	dirs := func(rig *testRig) (all []string) {
		for _, k := range rig.w.order {
			for _, kv := range rig.w.runs[k].spec.Env {
				if dir, ok := strings.CutPrefix(kv, "ACTIVATION_KEEP_DIR="); ok {
					all = append(all, k.ID+" "+dir)
				}
			}
		}
		return all
	}
	for _, end := range []Trigger{Retry, Forgive, Cancel} {
		t.Run(string(end), func(t *testing.T) {
			announced(t, nil, one(0, hour, "sw1"), func(rig *testRig, _ *fakeSource) {
				rig.add(NewJob{}) // has none
				kept(rig, true)
				rig.script("r1", Activate, fails, quick)
				if end != Cancel {
					rig.script("r1", Deactivate, fails, fails, fails, quick)
				}
				rig.sleep(30 * minute)
				kept(rig, true)
				rig.restart()
				kept(rig, true)
				if end == Cancel {
					rig.do(Cancel, "r1")
				}
				rig.sleep(2 * hour)
				if end != Cancel {
					rig.is("r1", "stuck")
					kept(rig, true)
					rig.do(end, "r1")
					rig.sleep(minute)
				}
				kept(rig, false)
				for _, d := range dirs(rig) {
					if d != "r1 /kept/r1" {
						rig.t.Errorf("a script is given %s", d)
					}
				}
				if len(dirs(rig)) < 2 {
					rig.t.Errorf("only these attempts are given it: %v", dirs(rig))
				}
			})
		})
	}
	t.Run("served again", func(t *testing.T) {
		announced(t, nil, one(0, hour, "sw1"), func(rig *testRig, _ *fakeSource) {
			rig.sleep(minute)
			rig.do(Cancel, "r1")
			rig.sleep(minute)
			kept(rig, false)
			rig.do(Retry, "r1")
			rig.sleep(minute)
			rig.is("r1", "active")
			kept(rig, true)
		})
	})
	// The daemon dies in any of its calls at the end of the slot.
	for calls := range 12 {
		t.Run("dies after "+itoa(calls)+" calls", func(t *testing.T) {
			announced(t, nil, one(0, hour, "sw1"), func(rig *testRig, _ *fakeSource) {
				rig.sleep(30 * minute)
				rig.m.dieAfter(calls)
				rig.sleep(hour)
				rig.restart()
				rig.sleep(hour)
				rig.is("r1", "succeeded")
				kept(rig, false)
			})
		})
	}
}

// TestVLANsInUse: without force, no request of an admin releases VLANs that are on the
// switches for a lab that is up.
func TestVLANsInUse(t *testing.T) {
	announced(t, withPool, one(0, hour, "sw1"), func(rig *testRig, _ *fakeSource) {
		ctx := context.Background()
		if err := rig.lease(admin, "r1", "l1", "l2"); err != nil {
			rig.t.Fatal(err)
		}
		refused := func(what string, err error) {
			rig.t.Helper()
			if !errors.Is(err, fault.Conflict) {
				rig.t.Errorf("%s: %v", what, err)
			}
		}
		rig.sleep(minute)
		rig.is("r1", "active")
		_, err := rig.e.ReleaseVLANs(ctx, admin, "r1", "", false)
		refused("release of all", err)
		_, err = rig.e.ReleaseVLAN(ctx, admin, "x", 100, false)
		refused("release of one", err)
		if _, err := rig.e.QuarantineVLAN(ctx, admin, "x", 101, "odd"); err != nil {
			rig.t.Error(err)
		}
		_, err = rig.e.FreeVLAN(ctx, admin, "x", 101)
		refused("free", err)
		rig.vlans("100 leased r1, 101 quarantined r1: odd (root)")
		if _, err := rig.e.ReleaseVLAN(ctx, admin, "x", 100, true); err != nil {
			rig.t.Errorf("release by force: %v", err)
		}
		rig.sleep(2 * hour)
		rig.is("r1", "succeeded")
		rig.vlans("")
	})
}

// TestVLANOfARemovedJob: that a job was somebody else's is known of its VLANs' events also
// after its record was removed.
func TestVLANOfARemovedJob(t *testing.T) {
	set := func(s *Settings) { withPool(s); s.HistoryAge = MinHistoryAge }
	bubble(t, set, func(rig *testRig) {
		rig.script("1", Activate, script{lasts: minute, exit: 1})
		id := rig.add(NewJob{Order: Order{Owner: "ada", User: &Identity{UID: 1001}}})
		if err := rig.lease(admin, id, "l1"); err != nil {
			t.Fatal(err)
		}
		rig.sleep(hour)
		ctx := context.Background()
		if _, err := rig.e.Get(ctx, id); !errors.Is(err, fault.NotFound) {
			t.Fatalf("Get of a removed job: %v", err)
		}
		since := rig.newest()
		if _, err := rig.e.QuarantineVLAN(ctx, admin, "x", 100, "it said: secret"); err != nil {
			t.Fatal(err)
		}
		enough := errors.New("enough")
		err := rig.e.FollowFor(ctx, Actor{Name: "eve", UID: 1002, OnlyOwn: true}, since, event.Wish{Want: func(*event.Event) bool { return true }}, func(ev *event.Event) error {
			if ev.Reason != "" || ev.Actor != nil {
				t.Errorf("eve reads %+v", ev)
			}
			return enough
		})
		if !errors.Is(err, enough) {
			t.Error(err)
		}
	})
}
