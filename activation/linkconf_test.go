package activation

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"

	"activationd/internal/fault"
	"activationd/reservation"
	"activationd/supervisor"
)

func TestLinkconf(t *testing.T) {
	ctx := context.Background()
	link := func(l *lab, id, text string) {
		l.t.Helper()
		if err := l.e.Link(ctx, id, []byte(text)); err != nil {
			l.t.Fatalf("Link(%s): %v", id, err)
		}
		synctest.Wait()
	}
	t.Run("before it is announced", func(t *testing.T) {
		bubble(t, nil, func(l *lab) {
			link(l, "r1", "sw1 sw2")
			src := l.source("lab")
			src.says(slot("r1", minute, hour))
			l.loads(1, 0, 0, 0)
			if got := l.get("r1").Devices; !slices.Equal(got, []string{"sw1", "sw2"}) {
				l.t.Errorf("devices %q", got)
			}
			l.sleep(2 * minute)
			if got := string(l.w.run(supervisor.Key{ID: "r1", Phase: Activate, N: 1}).spec.Topology); got != "sw1 sw2" {
				l.t.Errorf("activated with topology %q", got)
			}
			if err := l.e.Link(ctx, "r1", []byte("sw3")); !errors.Is(err, fault.Conflict) {
				l.t.Errorf("Link of what is active: %v, want a conflict", err)
			}
			l.sleep(hour)
			if got := string(l.w.run(supervisor.Key{ID: "r1", Phase: Deactivate, N: 1}).spec.Topology); got != "sw1 sw2" {
				l.t.Errorf("undone with topology %q", got)
			}
		})
	})
	t.Run("after it was announced, and taken away", func(t *testing.T) {
		announced(t, nil, one(hour, 2*hour), func(l *lab, src *fakeSource) {
			link(l, "r1", "sw1")
			if got := l.get("r1"); got.Topology != "sw1" || !slices.Equal(got.Devices, []string{"sw1"}) {
				l.t.Errorf("topology %q, devices %q", got.Topology, got.Devices)
			}
			if err := l.e.Unlink(ctx, "r1"); err != nil {
				l.t.Fatal(err)
			}
			if got := l.get("r1"); got.Topology != "" || len(got.Devices) != 0 {
				l.t.Errorf("topology %q, devices %q", got.Topology, got.Devices)
			}
			if err := l.e.Unlink(ctx, "r1"); !errors.Is(err, fault.NotFound) {
				l.t.Errorf("Unlink of nothing: %v", err)
			}
		})
	})
	t.Run("over a topology of its own", func(t *testing.T) {
		bubble(t, nil, func(l *lab) {
			own, named := slot("own", hour, 2*hour, "sw1", "sw2"), slot("named", hour, 2*hour, "sw7")
			own.Topology, named.Topology = "sw2 sw1", "a" // the source gives it its nodes as devices
			src := l.source("lab")
			src.says(own, named)
			l.loads(2, 0, 0, 0)
			devices := func(id string, want ...string) {
				l.t.Helper()
				if got := l.get(id).Devices; !slices.Equal(got, want) {
					l.t.Errorf("%s has the devices %q, want %q", id, got, want)
				}
			}
			link(l, "own", "sw9")
			link(l, "named", "b")
			devices("own", "sw9")
			devices("named", "sw7")
			own.Label = "announced again"
			src.says(own, named)
			l.loads(0, 1, 0, 0)
			devices("own", "sw9")
			if err := l.e.Unlink(ctx, "own"); err != nil {
				l.t.Fatal(err)
			}
			devices("own", "sw1", "sw2")
		})
	})
	t.Run("while it waits", func(t *testing.T) {
		bubble(t, nil, func(l *lab) {
			link(l, "r1", "sw1")
			l.script("1", Activate, long)
			l.add(NewJob{Locks: []string{"sw1"}})
			src := l.source("lab")
			src.says(slot("r1", 0, 3*hour))
			l.loads(1, 0, 0, 0)
			l.is("r1", "waiting")
			link(l, "r1", "sw2")
			l.is("r1", "activating")
		})
	})
	t.Run("a crash while it waits for what it does not want any more", func(t *testing.T) {
		bubble(t, nil, func(l *lab) {
			link(l, "r1", "sw1")
			l.script("1", Activate, long)
			l.add(NewJob{Locks: []string{"sw1"}})
			src := l.source("lab")
			src.says(slot("r1", 0, 3*hour))
			l.loads(1, 0, 0, 0)
			l.m.dieAfter(1) // when it is written, and nobody has been told
			_ = l.e.Unlink(ctx, "r1")
			synctest.Wait()
			l.restart()
			l.is("r1", "activating")
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
	announced(t, set, rs, func(l *lab, src *fakeSource) {
		l.sleep(2 * hour)
		up, down := l.w.run(supervisor.Key{ID: "r1", Phase: Activate, N: 1}).spec, l.w.run(supervisor.Key{ID: "r1", Phase: Deactivate, N: 1}).spec
		for _, kv := range []string{
			"PATH=/bin", "LAB=two", "COLOUR=red", "USER=lab", "HOME=/lab", "ACTIVATION_ID=r1", "ACTIVATION_PHASE=activate",
			"ACTIVATION_ATTEMPT=1", "ACTIVATION_FENCE=1", "ACTIVATION_OWNER=group7", "ACTIVATION_DEVICES=sw1 sw2",
			"ACTIVATION_START=2000-01-01T00:00:00Z", "ACTIVATION_END=2000-01-01T01:00:00Z", "ACTIVATIOND_SOCKET=/sock",
		} {
			if !slices.Contains(up.Env, kv) {
				l.t.Errorf("no %s in %q", kv, up.Env)
			}
		}
		if slices.Contains(up.Env, "LAB=one") {
			l.t.Error("LAB is there twice")
		}
		if up.Timeout != 5*minute || down.Timeout != 10*minute || up.UID != 7 || up.Umask != 0o22 {
			l.t.Errorf("timeouts %v, %v, uid %d, umask %o", up.Timeout, down.Timeout, up.UID, up.Umask)
		}
		if !slices.Equal(up.Argv, []string{"up"}) || !slices.Equal(down.Argv, []string{"down"}) {
			l.t.Errorf("commands %q, %q", up.Argv, down.Argv)
		}
	})
}
