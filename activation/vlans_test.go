package activation

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"activationd/internal/fault"
	"activationd/vlanstore"
)

func withPool(s *Settings) {
	s.Pools = vlanstore.Pools{"x": {Domain: "x", Ranges: []vlanstore.Range{{First: 100, Last: 103}}}}
}

// lease has holder ask for one VLAN for each link.
func (l *lab) lease(by By, holder string, links ...string) error {
	l.t.Helper()
	var wants []vlanstore.Want
	for _, link := range links {
		wants = append(wants, vlanstore.Want{Domain: "x", Link: link})
	}
	_, err := l.e.Lease(context.Background(), by, holder, wants)
	return err
}

// vlans checks who has what.
func (l *lab) vlans(want string) {
	l.t.Helper()
	ls, err := l.e.VLANs(context.Background(), vlanstore.Filter{})
	if err != nil {
		l.t.Fatal(err)
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
		l.t.Errorf("VLANs: %q, want %q", got, want)
	}
}

// TestVLANsGoWithTheProof follows the leases of a reservation through the ways
// that it can end.
func TestVLANsGoWithTheProof(t *testing.T) {
	begun := func(t *testing.T, fn func(l *lab, src *fakeSource)) {
		t.Helper()
		announced(t, withPool, one(0, hour, "sw1"), func(l *lab, src *fakeSource) {
			if err := l.lease(admin, "r1", "l1", "l2"); err != nil {
				l.t.Fatal(err)
			}
			l.vlans("100 leased r1, 101 leased r1")
			fn(l, src)
		})
	}
	t.Run("proved", func(t *testing.T) {
		begun(t, func(l *lab, _ *fakeSource) {
			l.sleep(59 * minute)
			l.is("r1", "active")
			l.vlans("100 leased r1, 101 leased r1")
			l.script("r1", Deactivate, script{lasts: minute})
			l.sleep(minute + time.Second)
			l.is("r1", "deactivating")
			l.vlans("100 leased r1, 101 leased r1")
			l.sleep(minute)
			l.is("r1", "succeeded")
			l.vlans("")
			if err := l.lease(admin, "r1", "l1"); !errors.Is(err, fault.Conflict) {
				l.t.Errorf("one that is over: %v", err)
			}
		})
	})
	t.Run("each attempt gets the same", func(t *testing.T) {
		begun(t, func(l *lab, _ *fakeSource) {
			if err := l.lease(admin, "r1", "l2", "l1"); err != nil {
				l.t.Error(err)
			}
			l.vlans("100 leased r1, 101 leased r1")
		})
	})
	t.Run("the daemon dies", func(t *testing.T) {
		begun(t, func(l *lab, _ *fakeSource) {
			l.restart()
			l.vlans("100 leased r1, 101 leased r1")
		})
	})
	for _, end := range []Event{Retry, Forgive} {
		t.Run("unproved, then "+string(end), func(t *testing.T) {
			begun(t, func(l *lab, _ *fakeSource) {
				l.script("r1", Deactivate, fails, fails, fails, quick)
				l.sleep(2 * hour)
				l.is("r1", "stuck")
				q := "quarantined r1: deactivate attempt 3 exited with status 1"
				l.vlans("100 " + q + ", 101 " + q)
				if err := l.lease(admin, "r1", "l1"); !errors.Is(err, fault.Conflict) {
					l.t.Errorf("one that is stuck: %v", err)
				}
				l.do(end, "r1")
				l.sleep(minute)
				l.is("r1", "succeeded")
				if end == Retry { // a later proof
					l.vlans("")
					return
				}
				l.vlans("100 " + q + ", 101 " + q)
			})
		})
	}
	t.Run("cancelled before it began", func(t *testing.T) {
		announced(t, withPool, one(hour, 2*hour, "sw1"), func(l *lab, _ *fakeSource) {
			if err := l.lease(admin, "r1", "l1"); err != nil {
				l.t.Fatal(err)
			}
			l.do(Cancel, "r1")
			l.vlans("")
		})
	})
}

func TestVLANsOfAJob(t *testing.T) {
	bubble(t, withPool, func(l *lab) {
		l.script("2", Activate, fails)
		good, bad := l.add(NewJob{}), l.add(NewJob{})
		for _, id := range []string{good, bad} {
			if err := l.lease(By{Name: "root", OnlyOwn: true}, id, "l"); err != nil && !errors.Is(err, fault.Denied) {
				l.t.Error(err)
			}
			if err := l.lease(admin, id, "l"); err != nil {
				l.t.Error(err)
			}
		}
		l.sleep(minute)
		l.is(good, "succeeded")
		l.is(bad, "failed")
		l.vlans("101 quarantined 2: activate attempt 1 exited with status 1")
	})
}

func TestWhoMayHoldVLANs(t *testing.T) {
	announced(t, withPool, one(hour, 2*hour, "sw1"), func(l *lab, _ *fakeSource) {
		submitter := By{Name: "anna", OnlyOwn: true}
		for _, tt := range []struct {
			by     By
			holder string
			kind   error
		}{
			{submitter, "r1", fault.Denied}, {submitter, "maintenance", fault.NotFound}, {submitter, "77", fault.NotFound},
			{admin, "77", fault.NotFound}, {admin, "maintenance", nil}, {admin, "r1", nil},
		} {
			if err := l.lease(tt.by, tt.holder, "l"); !errors.Is(err, tt.kind) {
				l.t.Errorf("%+v for %s: %v, want %v", tt.by, tt.holder, err, tt.kind)
			}
		}
		l.vlans("100 leased maintenance, 101 leased r1")
		if ls, err := l.e.ReleaseVLANs(context.Background(), admin, "maintenance", "", false); err != nil || len(ls) != 1 {
			l.t.Errorf("release: %v, %v", ls, err)
		}
		if _, err := l.e.ReleaseVLANs(context.Background(), admin, "maintenance", "", false); !errors.Is(err, fault.NotFound) {
			l.t.Errorf("release again: %v", err)
		}
		l.vlans("101 leased r1")
	})
}

// TestKeptDirectory is there from the first attempt on until the reservation
// is finished, and no longer, whatever becomes of the daemon meanwhile.
func TestKeptDirectory(t *testing.T) {
	kept := func(l *lab, want bool) {
		l.t.Helper()
		synctest.Wait()
		l.w.mu.Lock()
		defer l.w.mu.Unlock()
		if l.w.kept["r1"] != want {
			l.t.Errorf("kept: %v, want r1's: %v", l.w.kept, want)
		}
	}
	dirs := func(l *lab) (all []string) {
		for _, k := range l.w.order {
			for _, kv := range l.w.runs[k].spec.Env {
				if dir, ok := strings.CutPrefix(kv, "ACTIVATION_KEEP_DIR="); ok {
					all = append(all, k.ID+" "+dir)
				}
			}
		}
		return all
	}
	for _, end := range []Event{Retry, Forgive, Cancel} {
		t.Run(string(end), func(t *testing.T) {
			announced(t, nil, one(0, hour, "sw1"), func(l *lab, _ *fakeSource) {
				l.add(NewJob{}) // has none
				kept(l, true)
				l.script("r1", Activate, fails, quick)
				if end != Cancel {
					l.script("r1", Deactivate, fails, fails, fails, quick)
				}
				l.sleep(30 * minute)
				kept(l, true)
				l.restart()
				kept(l, true)
				if end == Cancel {
					l.do(Cancel, "r1")
				}
				l.sleep(2 * hour)
				if end != Cancel {
					l.is("r1", "stuck")
					kept(l, true)
					l.do(end, "r1")
					l.sleep(minute)
				}
				kept(l, false)
				for _, d := range dirs(l) {
					if d != "r1 /kept/r1" {
						l.t.Errorf("a script is given %s", d)
					}
				}
				if len(dirs(l)) < 2 {
					l.t.Errorf("only these attempts are given it: %v", dirs(l))
				}
			})
		})
	}
	t.Run("served again", func(t *testing.T) {
		announced(t, nil, one(0, hour, "sw1"), func(l *lab, _ *fakeSource) {
			l.sleep(minute)
			l.do(Cancel, "r1")
			l.sleep(minute)
			kept(l, false)
			l.do(Retry, "r1")
			l.sleep(minute)
			l.is("r1", "active")
			kept(l, true)
		})
	})
	// Whatever call the daemon dies in at the end of the slot.
	for calls := range 12 {
		t.Run("dies after "+itoa(calls)+" calls", func(t *testing.T) {
			announced(t, nil, one(0, hour, "sw1"), func(l *lab, _ *fakeSource) {
				l.sleep(30 * minute)
				l.m.dieAfter(calls)
				l.sleep(hour)
				l.restart()
				l.sleep(hour)
				l.is("r1", "succeeded")
				kept(l, false)
			})
		})
	}
}

// TestVLANsInUse: no word of an admin's that is not forced gives another what is on
// the switches for a lab that is up.
func TestVLANsInUse(t *testing.T) {
	announced(t, withPool, one(0, hour, "sw1"), func(l *lab, _ *fakeSource) {
		ctx := context.Background()
		if err := l.lease(admin, "r1", "l1", "l2"); err != nil {
			l.t.Fatal(err)
		}
		refused := func(what string, err error) {
			l.t.Helper()
			if !errors.Is(err, fault.Conflict) {
				l.t.Errorf("%s: %v", what, err)
			}
		}
		l.sleep(minute)
		l.is("r1", "active")
		_, err := l.e.ReleaseVLANs(ctx, admin, "r1", "", false)
		refused("release of all", err)
		_, err = l.e.ReleaseVLAN(ctx, admin, "x", 100, false)
		refused("release of one", err)
		if _, err := l.e.QuarantineVLAN(ctx, admin, "x", 101, "odd"); err != nil {
			l.t.Error(err)
		}
		_, err = l.e.FreeVLAN(ctx, admin, "x", 101)
		refused("free", err)
		l.vlans("100 leased r1, 101 quarantined r1: odd (root)")
		if _, err := l.e.ReleaseVLAN(ctx, admin, "x", 100, true); err != nil {
			l.t.Errorf("release by force: %v", err)
		}
		l.sleep(2 * hour)
		l.is("r1", "succeeded")
		l.vlans("")
	})
}
