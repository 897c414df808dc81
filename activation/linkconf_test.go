package activation_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"

	. "activationd/activation"

	"activationd/internal/fault"
	"activationd/reservation"
	"activationd/supervisor"
)

func TestLinkconf(t *testing.T) {
	ctx := context.Background()
	link := func(rig *testRig, id, text string) {
		rig.t.Helper()
		if err := rig.e.Link(ctx, admin, id, []byte(text)); err != nil {
			rig.t.Fatalf("Link(%s): %v", id, err)
		}
		synctest.Wait()
	}
	t.Run("before it is announced", func(t *testing.T) {
		bubble(t, nil, func(rig *testRig) {
			link(rig, "r1", "sw1 sw2")
			src := rig.source("lab")
			src.says(slot("r1", minute, hour))
			rig.loads(1, 0, 0, 0)
			if got := rig.get("r1").Devices; !slices.Equal(got, []string{"sw1", "sw2"}) {
				rig.t.Errorf("devices %q", got)
			}
			rig.sleep(2 * minute)
			if got := string(rig.w.run(supervisor.Key{ID: "r1", Phase: Activate, N: 1}).spec.Topology); got != "sw1 sw2" {
				rig.t.Errorf("activated with topology %q", got)
			}
			if err := rig.e.Link(ctx, admin, "r1", []byte("sw3")); !errors.Is(err, fault.Conflict) {
				rig.t.Errorf("Link of an active reservation: %v, want a conflict", err)
			}
			rig.sleep(hour)
			if got := string(rig.w.run(supervisor.Key{ID: "r1", Phase: Deactivate, N: 1}).spec.Topology); got != "sw1 sw2" {
				rig.t.Errorf("undone with topology %q", got)
			}
		})
	})
	t.Run("after it was announced, and taken away", func(t *testing.T) {
		announced(t, nil, one(hour, 2*hour), func(rig *testRig, src *fakeSource) {
			has := func(topology string, devices ...string) {
				rig.t.Helper()
				if got := rig.get("r1"); got.Topology != topology || !slices.Equal(got.Devices, devices) {
					rig.t.Errorf("topology %q, devices %q; want %q, %q", got.Topology, got.Devices, topology, devices)
				}
			}
			link(rig, "r1", "sw1")
			has("sw1", "sw1")
			if err := rig.e.Unlink(ctx, admin, "r1"); err != nil {
				rig.t.Fatal(err)
			}
			has("")
			if err := rig.e.Unlink(ctx, admin, "r1"); !errors.Is(err, fault.NotFound) {
				rig.t.Errorf("Unlink without a topology: %v", err)
			}
		})
	})
	t.Run("over a topology of its own", func(t *testing.T) {
		bubble(t, nil, func(rig *testRig) {
			own, named := slot("own", hour, 2*hour, "sw1", "sw2"), slot("named", hour, 2*hour, "sw7")
			own.Topology, named.Topology = "sw2 sw1", "a" // the source sets its nodes as devices
			src := rig.source("lab")
			src.says(own, named)
			rig.loads(2, 0, 0, 0)
			devices := func(id string, want ...string) {
				rig.t.Helper()
				if got := rig.get(id).Devices; !slices.Equal(got, want) {
					rig.t.Errorf("%s has the devices %q, want %q", id, got, want)
				}
			}
			link(rig, "own", "sw9")
			link(rig, "named", "b")
			devices("own", "sw9")
			devices("named", "sw7")
			own.Label = "announced again"
			src.says(own, named)
			rig.loads(0, 1, 0, 0)
			devices("own", "sw9")
			if err := rig.e.Unlink(ctx, admin, "own"); err != nil {
				rig.t.Fatal(err)
			}
			devices("own", "sw1", "sw2")
		})
	})
	t.Run("while it waits", func(t *testing.T) {
		bubble(t, nil, func(rig *testRig) {
			link(rig, "r1", "sw1")
			rig.script("1", Activate, long)
			rig.add(NewJob{Order: Order{Locks: []string{"sw1"}}})
			src := rig.source("lab")
			src.says(slot("r1", 0, 3*hour))
			rig.loads(1, 0, 0, 0)
			rig.is("r1", "waiting")
			link(rig, "r1", "sw2")
			rig.is("r1", "activating")
		})
	})
	t.Run("a crash while it waits for what it does not want any more", func(t *testing.T) {
		bubble(t, nil, func(rig *testRig) {
			link(rig, "r1", "sw1")
			rig.script("1", Activate, long)
			rig.add(NewJob{Order: Order{Locks: []string{"sw1"}}})
			src := rig.source("lab")
			src.says(slot("r1", 0, 3*hour))
			rig.loads(1, 0, 0, 0)
			rig.m.dieAfter(1) // when it is written, before the engine is notified
			_ = rig.e.Unlink(ctx, admin, "r1")
			synctest.Wait()
			rig.restart()
			rig.is("r1", "activating")
		})
	})
}

func TestSpec(t *testing.T) {
	set := func(s *Settings) {
		s.BaseEnv = []string{"PATH=/bin", "LANG=C"}
		s.Reservations.Env = map[string]string{"LAB": "one", "COLOUR": "red"}
		s.Umask, s.SwitchUsers = 0o22, true
		s.Reservations.User = &Identity{UID: 7, GID: 8, Name: "lab", Home: "/lab", Shell: "/bin/sh"}
	}
	rs := func() []reservation.Reservation {
		r := slot("r1", 0, hour, "sw1", "sw2")
		r.Env = map[string]string{"LAB": "two"}
		r.Timeout = new(5 * minute)
		return []reservation.Reservation{r}
	}
	announced(t, set, rs, func(rig *testRig, src *fakeSource) {
		rig.sleep(2 * hour)
		up, down := rig.w.run(supervisor.Key{ID: "r1", Phase: Activate, N: 1}).spec, rig.w.run(supervisor.Key{ID: "r1", Phase: Deactivate, N: 1}).spec
		for _, kv := range []string{
			"PATH=/bin", "LAB=two", "COLOUR=red", "USER=lab", "HOME=/lab", "ACTIVATION_ID=r1", "ACTIVATION_PHASE=activate",
			"ACTIVATION_ATTEMPT=1", fmt.Sprintf("ACTIVATION_FENCE=%d", rig.get("r1").Attempts[0].Fence), "ACTIVATION_OWNER=group7", "ACTIVATION_DEVICES=sw1 sw2",
			"ACTIVATION_START=2000-01-01T00:00:00Z", "ACTIVATION_END=2000-01-01T01:00:00Z", "ACTIVATIOND_SOCKET=/sock",
		} {
			if !slices.Contains(up.Env, kv) {
				rig.t.Errorf("no %s in %q", kv, up.Env)
			}
		}
		if slices.Contains(up.Env, "LAB=one") {
			rig.t.Error("LAB is there twice")
		}
		if up.Timeout != 5*minute || down.Timeout != 10*minute || up.UID != 7 || up.Umask != 0o22 {
			rig.t.Errorf("timeouts %v, %v, uid %d, umask %o", up.Timeout, down.Timeout, up.UID, up.Umask)
		}
		if !slices.Equal(up.Argv, []string{"up"}) || !slices.Equal(down.Argv, []string{"down"}) {
			rig.t.Errorf("commands %q, %q", up.Argv, down.Argv)
		}
	})
}
