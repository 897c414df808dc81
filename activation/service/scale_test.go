package service_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"activationd/activation"
	"activationd/activation/service"
	"activationd/activation/service/probe"
	"activationd/internal/fault"
	"activationd/store/memstore"
)

// A world has a roster, and an engine that does not run: its records stay as the roster makes
// them.
type world struct {
	t      *testing.T
	engine *activation.Engine
	roster *service.Roster
}

type noRuns struct{ activation.Runs }

var root = activation.Actor{Kind: "uid", Name: "root", Role: "admin"}

func newWorld(t *testing.T, db *memstore.Store) *world {
	e := activation.New(activation.Parts{DB: db, Runs: noRuns{}, Log: slog.New(slog.DiscardHandler)}, activation.Settings{})
	return &world{t, e, service.NewRoster(e)}
}

// declare applies declarations, and returns the report's lines.
func (w *world) declare(dryRun bool, rejected []*service.Fault, all ...*service.Declaration) string {
	w.t.Helper()
	steps, err := w.roster.Declare(context.Background(), all, rejected, dryRun)
	if err != nil {
		w.t.Fatal(err)
	}
	var lines []string
	for _, step := range steps {
		err := w.engine.Update(context.Background(), func(t *activation.Txn) error {
			rep, err := step(t)
			for _, l := range rep.Lines {
				line := l.What + " " + l.ID
				if l.Text != "" {
					line += ": " + l.Text
				}
				lines = append(lines, line)
			}
			if dryRun {
				return errors.Join(err, fault.Conflict) // writes nothing
			}
			return err
		})
		if err != nil && !dryRun {
			w.t.Fatal(err)
		}
	}
	return strings.Join(lines, "\n")
}

// is checks which instances there are, and which of them are down.
func (w *world) is(want string) {
	w.t.Helper()
	all, err := w.roster.Select(context.Background(), root, nil, "")
	if err != nil {
		w.t.Fatal(err)
	}
	var got []string
	for i := range all {
		one := all[i].ID
		if all[i].Down() {
			one += " down"
		}
		got = append(got, one)
	}
	if have := strings.Join(got, ", "); have != want {
		w.t.Errorf("instances %s, want %s", have, want)
	}
}

func (w *world) scale(name string, n int) error {
	_, err := w.roster.Scale(context.Background(), root, name, n)
	return err
}

func (w *world) mustScale(name string, n int) {
	w.t.Helper()
	if err := w.scale(name, n); err != nil {
		w.t.Fatal(err)
	}
}

// stop stops the instances of a service.
func (w *world) stop(ids ...string) {
	w.t.Helper()
	for _, id := range ids {
		if _, err := w.engine.Down(context.Background(), root, id); err != nil {
			w.t.Fatal(err)
		}
	}
}

func declared(name string, instances int, listen ...string) *service.Declaration {
	d := service.New(name)
	d.Command, d.Instances, d.Listen = []string{"/bin/serve"}, instances, listen
	return d
}

// The number that somebody wants stays until it is taken back, or the service is gone.
func TestScale(t *testing.T) {
	db := memstore.New()
	w := newWorld(t, db)
	w.declare(false, nil, declared("shop/web", 2))
	w.mustScale("shop/web", 5)
	w.is("shop_web@1, shop_web@2, shop_web@3, shop_web@4, shop_web@5")
	if got := w.declare(false, nil, declared("shop/web", 3)); got != "" {
		t.Errorf("a load said\n%s", got)
	}
	w = newWorld(t, db) // the daemon is started again
	w.declare(false, nil, declared("shop/web", 3))
	w.is("shop_web@1, shop_web@2, shop_web@3, shop_web@4, shop_web@5")
	w.mustScale("shop_*", 2)
	w.is("shop_web@1, shop_web@2")
	w.mustScale("shop/web", 0)
	w.is("shop_web@1, shop_web@2, shop_web@3")
	if got := w.declare(false, nil, declared("shop/web", 1)); got != "removed shop_web@3\nremoved shop_web@2" {
		t.Errorf("a load with fewer instances said\n%s", got)
	}

	w.mustScale("shop/web", 2)
	d := declared("shop/web", 1)
	w.declare(false, []*service.Fault{{Service: d, Key: "env_file", Text: "no such file"}})
	w.is("shop_web@1, shop_web@2") // a service that cannot be read now is not gone
	w.mustScale("shop/web", 3)
	w.declare(true, nil)
	w.is("shop_web@1, shop_web@2, shop_web@3")
	w.declare(false, nil)
	w.is("")
	w.declare(false, nil, d)
	w.is("shop_web@1")
}

// New instances are down if all others are, wherever the number comes from.
func TestScaleDown(t *testing.T) {
	w := newWorld(t, memstore.New())
	w.declare(false, nil, declared("web", 2))
	w.stop("web@1")
	w.mustScale("web", 3)
	w.is("web@1 down, web@2, web@3")
	w.stop("web@2", "web@3")
	w.mustScale("web", 4)
	w.is("web@1 down, web@2 down, web@3 down, web@4 down")
	w.mustScale("web", 0)
	w.declare(false, nil, declared("web", 3))
	w.is("web@1 down, web@2 down, web@3 down")

	manual := declared("manual", 1)
	manual.Autostart = false
	w.declare(false, nil, manual)
	w.is("manual@1 down")
	if _, err := w.engine.Up(t.Context(), root, "manual@1"); err != nil {
		t.Fatal(err)
	}
	w.mustScale("manual", 2)
	w.is("manual@1, manual@2")
}

// A number with which two instances would be at one address is refused. If the configuration
// makes it so later, the declared number is in force, and the load says so.
func TestScaleChecksAddresses(t *testing.T) {
	w := newWorld(t, memstore.New())
	api := declared("api", 1, "127.0.0.1:8003")
	web := declared("web", 2, "127.0.0.1:8000+{{instance}}")
	ready := declared("ready", 1)
	check := service.Check{Kind: probe.TCP, Target: "127.0.0.1:9000"}.WithDefaults(false)
	ready.Ready = &check
	w.declare(false, nil, api, web, ready)
	for _, tt := range []struct {
		name string
		n    int
		want string
		kind error
	}{
		{"web", 3, "instance 3 would be at 127.0.0.1:8003", fault.Invalid},
		{"ready", 2, "instances 1 and 2 would both be at 127.0.0.1:9000", fault.Invalid},
		{"*", 2, "would both be at", fault.Invalid},
		{"web", 1001, "from 1 to 1000", fault.Invalid},
		{"web@1", 3, "name the service web", fault.Invalid},
		{"wed", 3, "no service wed", fault.NotFound},
	} {
		err := w.scale(tt.name, tt.n)
		if !errors.Is(err, tt.kind) || !strings.Contains(fmt.Sprint(err), tt.want) {
			t.Errorf("scale %s %d: %v, want %q", tt.name, tt.n, err, tt.want)
		}
	}
	w.is("api@1, ready@1, web@1, web@2")

	w.declare(false, nil, web)
	w.mustScale("web", 3)
	got := w.declare(false, nil, api, web)
	want := "added api@1\nremoved web@3\nnotice web: runs 2 instances, as declared, not 3 as scaled by root: web.listen: instance 3 would be at 127.0.0.1:8003, as instance 1 of api (:0) is"
	if got != want {
		t.Errorf("a load said\n%s\nwant\n%s", got, want)
	}
	w.declare(false, nil, web)
	w.is("web@1, web@2, web@3")
}
