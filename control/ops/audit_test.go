package ops_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"activationd/activation"
	"activationd/activation/announce"
	"activationd/activation/booking"
	"activationd/activation/recurring"
	"activationd/activation/service"
	"activationd/control"
	"activationd/control/ops"
	"activationd/internal/fault"
	"activationd/queue"
	"activationd/queue/broker"
	"activationd/queue/pools"
	"activationd/schedule"
	"activationd/store"
	"activationd/store/memstore"
	"activationd/supervisor"
	"activationd/vlanstore"
)

// An ask is a request of TestEveryChangeIsAudited.
type ask struct {
	op     string
	in     any
	action string // of the acts that follow from it; empty: the operation's name
	before func() // what must be done before
}

// TestEveryChangeIsAudited calls each operation that changes something, and finds that in the
// audit. The others are listed here, so that no operation can be forgotten.
func TestEveryChangeIsAudited(t *testing.T) {
	changesNothing := strings.Fields("list show input why log wait locks clock status events audit next atq atcat backup calendar free")
	changesNothing = append(changesNothing, "every list", "every show", "vlan pools", "vlan list", "vlan sections", "login list", "plan show", "files", "file", "pauses", "service list", "service env", "service places", "book list", "book quota",
		"queue list", "queue show", "queue peek", "queue result", "queue dead", "queue allowed", "queue listen", "queue answer", "report", "source show")
	// What a script does for its own activation follows from that; a section changes no state;
	// forgive needs a stuck reservation, and shares its code with the other verbs. What is published changes nothing, and its event has its actor.
	// A message has who pushed it, and an event for each would cost as much as the message; the same holds for who has worked it off.
	others := []string{"progress", "publish", "plan keep", "login try", "vlan section", "forgive"}

	d := auditDaemon(t)
	digest := strings.Repeat("ab", 32)
	login := func(step string) any {
		return &control.LoginIn{Step: step, Device: "sw1", User: "lab", What: "password", Digest: digest}
	}
	far := control.AddIn{In: "20d", Arg: []string{"true"}}
	link := control.VLANAllocIn{Holder: "by-hand", Link: []string{"a", "b"}, Domain: []string{"e"}}
	web := control.ServiceIn{Name: []string{"web"}}
	message := control.QueueMessageIn{Name: "mails"}
	declared := service.New("web")
	declared.Command = []string{"true"}
	steps, err := d.roster.Declare(t.Context(), []*service.Declaration{declared}, nil, false)
	for _, step := range steps {
		err = errors.Join(err, d.engine.Update(t.Context(), func(t *activation.Txn) error {
			_, err := step(t)
			return err
		}))
	}
	if err != nil {
		t.Fatal(err)
	}
	asks := []ask{
		{op: "add", in: &far}, // 1
		{op: "edit", in: &control.EditIn{ID: "1", JobEdit: control.JobEdit{Label: "x"}}},
		{op: "hold", in: &control.VerbIn{ID: "1"}},
		{op: "release", in: &control.VerbIn{ID: "1"}},
		{op: "run", in: &control.VerbIn{ID: "1"}},
		{op: "cancel", in: &control.CancelIn{ID: "1", Reason: "enough"}},
		{op: "retry", in: &control.RetryIn{ID: "1"}},
		{op: "at", in: &control.AtIn{When: 4_000_000_000, Script: []string{"true"}}, action: "add"}, // 2
		{op: "atrm", in: &control.AtIDsIn{ID: []string{"2"}}, action: "cancel"},
		{op: "import-at", in: &control.ImportAtIn{AtIn: control.AtIn{When: 4_000_000_000, Script: []string{"true"}}, User: "0:0", Spool: "a1"}, action: "add"},
		{op: "every add", in: &control.EveryAddIn{Name: "nightly", RuleIn: control.RuleIn{Every: "9h"}, AddIn: control.AddIn{Arg: []string{"true"}}}},
		{op: "every edit", in: &control.EveryEditIn{Name: "nightly", RuleIn: control.RuleIn{Every: "8h"}, JobEdit: control.JobEdit{Label: "x"}}},
		{op: "every hold", in: &control.EveryVerbIn{Name: "nightly"}},
		{op: "every release", in: &control.EveryVerbIn{Name: "nightly"}},
		{op: "every run", in: &control.NameIn{Name: "nightly"}},
		{op: "every remove", in: &control.EveryVerbIn{Name: "nightly"}},
		{op: "linkconf", in: &control.LinkconfIn{Resid: "1@x", Topology: "{}"}},
		{op: "dellinkconf", in: &control.DellinkconfIn{Delresid: "1@x"}},
		{op: "book add", in: &control.BookAddIn{Devices: []string{"r1"}, From: "2099-12-21 10:00", For: "2h"}}, // 1@book
		{op: "book extend", in: &control.BookExtendIn{ID: "1@book", By: "1h"}},
		{op: "book edit", in: &control.BookEditIn{ID: "1@book", Devices: []string{"r2"}}},
		{op: "book end", in: &control.BookEndIn{ID: "1@book"}},
		{op: "vlan alloc", in: &link},
		{op: "vlan release", in: &control.VLANReleaseIn{Holder: "by-hand"}},
		{op: "vlan quarantine", in: &control.VLANQuarantineIn{Domain: "e", ID: 12, Reason: "broken"}},
		{op: "vlan free", in: &control.VLANIn{Domain: "e", ID: 12}},
		{op: "login try", in: login(activation.LoginBegin), action: "-"},
		{op: "login try", in: login(activation.LoginRefused), action: "-"},
		{op: "login retry", in: &control.DeviceIn{Device: "sw1"}},
		{op: "pause", in: &control.PauseIn{What: "device", Name: "sw1", Until: "2h", Reason: "broken"}},
		{op: "resume", in: &control.ResumeIn{What: "device", Name: "sw1"}},
		{op: "service stop", in: &control.ServiceStopIn{ServiceIn: web}},
		{op: "service start", in: &control.ServiceStartIn{ServiceIn: web}},
		{op: "service restart", in: &control.ServiceRestartIn{ServiceIn: web}},
		{op: "service scale", in: &control.ServiceScaleIn{Name: "web", Instances: 2}},
		{op: "service scale", in: &control.ServiceScaleIn{Name: "web", Declared: true}},
		{op: "queue create", in: &control.QueueCreateIn{Name: []string{"mails"}}},
		{op: "queue push", in: &control.QueuePushIn{Name: "mails", Body: []string{"x"}}, action: "-"}, // 1
		{op: "queue pause", in: &control.QueuePauseIn{Name: []string{"mails"}, Reason: "broken"}},
		{op: "resume", in: &control.ResumeIn{What: "queue", Name: "mails"}, action: "queue resume"},
		{op: "pause", in: &control.PauseIn{What: "queue", Name: "mails", Reason: "broken"}, action: "queue pause"},
		{op: "queue restart", in: &control.QueueResumeIn{Name: []string{"mails"}}},
		{op: "queue resume", in: &control.QueueResumeIn{Name: []string{"mails"}}},
		{op: "queue cancel", in: &message, before: func() { message.ID = d.message().ID }},
		{op: "queue retry", in: &control.QueueDeadIn{Name: "mails"}, before: d.deadLetter},
		{op: "queue purge", in: &control.QueuePurgeIn{Name: "mails"}},
		{op: "queue delete", in: &control.QueueDeleteIn{Name: "mails"}},
		{op: "queue allow", in: &control.QueueAllowIn{Name: []string{"mails"}, Only: true}},
		{op: "queue deny", in: &control.QueueAllowIn{Name: []string{"mails"}}},
		{op: "reload", in: new(control.ReloadIn)},
		{op: "source put", in: &control.SourcePutIn{Name: "portal", Reservations: "[]"}, action: "reload"},
		{op: "kill", in: &control.KillIn{Kill: 10}, action: "reload"},
		{op: "stop", in: &control.StopIn{Drain: true}},
	}
	left := make(map[string]bool)
	for _, op := range d.Ops() {
		left[op.Name] = true
	}
	for _, name := range append(changesNothing, others...) {
		if !left[name] {
			t.Errorf("there is no operation %s", name)
		}
		delete(left, name)
	}
	before := d.acts(admin, control.AuditIn{})
	for _, a := range asks {
		delete(left, a.op)
		if a.before != nil {
			a.before()
		}
		if err := d.call(admin, a.op, a.in); err != nil {
			t.Errorf("%s: %v", a.op, err)
		}
		d.tellOfQueues()
		after := d.acts(admin, control.AuditIn{})
		added := after[len(before):]
		before = after
		want := a.action
		switch want {
		case "":
			want = a.op
		case "-":
			want = ""
		}
		if want == "" && len(added) > 0 || want != "" && len(added) == 0 {
			t.Errorf("%s added the acts %v", a.op, added)
		}
		for _, ev := range added {
			if ev.Action != want || ev.Actor == nil || ev.Actor.Name != "root" || ev.Actor.Kind != "uid" || ev.Actor.Role != "admin" {
				t.Errorf("%s added the act %+v of %v, want %s of root", a.op, ev, ev.Actor, want)
			}
		}
	}
	for name := range left {
		t.Errorf("nothing is known about the operation %s", name)
	}

	// Filters.
	all := d.acts(admin, control.AuditIn{})
	for _, tt := range []struct {
		name string
		in   control.AuditIn
		want func(control.Event) bool
	}{
		{"an id", control.AuditIn{ID: []string{"1"}}, func(ev control.Event) bool { return ev.ID == "1" }},
		{"actions", control.AuditIn{Action: []string{"vlan free,hold", "stop"}},
			func(ev control.Event) bool { return slices.Contains([]string{"vlan free", "hold", "stop"}, ev.Action) }},
		{"an action and another id", control.AuditIn{Action: []string{"hold"}, ID: []string{"2"}}, func(control.Event) bool { return false }},
		{"somebody else", control.AuditIn{By: "ada"}, func(control.Event) bool { return false }},
		{"a text in the reason", control.AuditIn{Match: "ENOUGH"}, func(ev control.Event) bool { return strings.Contains(ev.Reason, "enough") }},
		{"a text in a change", control.AuditIn{Match: "label"}, func(ev control.Event) bool {
			return slices.ContainsFunc(ev.Changes, func(c control.Change) bool { return c.Field == "label" })
		}},
		{"since then", control.AuditIn{Since: "1h"}, func(control.Event) bool { return true }},
		{"before then", control.AuditIn{Until: "1h"}, func(control.Event) bool { return false }},
		{"the last", control.AuditIn{N: 1}, func(ev control.Event) bool { return ev.Action == "stop" }},
		{"more than all", control.AuditIn{N: 1000}, func(control.Event) bool { return true }},
	} {
		want := slices.DeleteFunc(slices.Clone(all), func(ev control.Event) bool { return !tt.want(ev) })
		if got := d.acts(admin, tt.in); fmt.Sprint(seqs(got)) != fmt.Sprint(seqs(want)) {
			t.Errorf("%s: events %v, want %v", tt.name, seqs(got), seqs(want))
		}
	}
	for _, bad := range []control.AuditIn{{Since: "soon"}, {Until: "2026-13-01"}, {Since: "1h", Until: "2h"}, {N: -1}} {
		if err := d.stream(admin, "audit", &bad, func(any) error { return nil }); err == nil {
			t.Errorf("%+v is accepted", bad)
		}
	}

	// A submitter sees the acts about others' jobs neither in audit nor in why, but those about
	// everything else.
	eve := control.Caller{Kind: control.ByUID, Role: control.Submitter, Name: "eve", UID: 1002}
	for _, ev := range d.acts(eve, control.AuditIn{}) {
		if ev.Kind == "job" || ev.Action == "every edit" {
			t.Errorf("eve sees %+v", ev)
		}
	}
	if got := d.acts(eve, control.AuditIn{Action: []string{"reload"}}); len(got) != 3 {
		t.Errorf("eve sees the reloads %v", got)
	}
	if err := d.call(eve, "add", &far); err != nil {
		t.Fatal(err)
	}
	if got := d.acts(eve, control.AuditIn{Action: []string{"add"}}); len(got) != 1 || got[0].Owner != "eve" {
		t.Errorf("eve sees the submissions %v", got)
	}
	d.why(eve, "1", "job 1 of root", "submitted by root", "it is waiting")
}

func seqs(events []control.Event) (all []uint64) {
	for _, ev := range events {
		all = append(all, ev.Seq)
	}
	return all
}

// An audited is a daemon whose engine runs nothing.
type audited struct {
	*control.Registry
	t      *testing.T
	engine *activation.Engine
	roster *service.Roster
	queues *broker.Broker
	stored store.Store // of the queues
	pools  *pools.File
}

func auditDaemon(t *testing.T) *audited {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	nodes := func(string) ([]string, error) { return []string{"r1"}, nil }
	set := activation.Settings{Pools: vlanPools(map[string]string{"e": "10-14"})}
	engine := activation.New(activation.Parts{DB: memstore.New(), Nodes: nodes, Runs: noRuns{}, Log: log}, set)
	book := recurring.New(engine)
	engine.Register("", book)
	roster := service.NewRoster(engine)
	desk := booking.New(engine, nodes)
	desk.Configure(&booking.Rules{Devices: []string{"*"}, Missed: "run"})
	loader := announce.NewLoader(engine, announce.Configuration{Settings: set}, nodes, log)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 2)
	go func() {
		done <- loader.Run(ctx, func(context.Context) (announce.Configuration, error) {
			return announce.Configuration{Settings: set}, nil
		})
	}()
	stored := memstore.New()
	alarm, err := schedule.NewTimer()
	if err != nil {
		t.Fatal(err)
	}
	queues := broker.New(broker.Parts{DB: stored, Runs: noDeliveries{}, Alarm: alarm, Log: log, Journal: filepath.Join(t.TempDir(), "deliveries")}, broker.Settings{})
	go func() { done <- queues.Run(ctx) }()
	list := pools.NewFile(func(pools.Rules, error) {})
	list.Configure(filepath.Join(t.TempDir(), "pools.json"), nil, nil)
	t.Cleanup(func() { stop(); <-done; <-done })
	return &audited{ops.Registry(ops.Daemon{
		Engine: engine, Recurrences: book, Services: roster, Bookings: desk, Sections: new(vlanstore.Sections), Queues: queues, Pools: list, Reload: loader.Load, Put: loader.Put, Content: loader.Content, Unused: loader.Unused,
		Declared: func() ([]*service.Declaration, []*service.Fault, error) { return nil, nil, nil },
		Places:   func() []control.ServicePlace { return nil },
		Identity: func(c control.Caller) (*activation.Identity, error) {
			return &activation.Identity{UID: c.UID, Name: c.Name}, nil
		},
		MayAt:  func(control.Caller) error { return nil },
		User:   func(string) (string, bool) { return "root", true },
		UserID: func(string) (int, bool) { return 0, false },
		Stop:   func(bool) {},
		Topology: func(name string) ([]byte, error) {
			return nil, fmt.Errorf("%s: there is no such file: %w", name, fault.Invalid)
		},
	}), t, engine, roster, queues, stored, list}
}

// noDeliveries has none.
type noDeliveries struct{ broker.Runs }

func (noDeliveries) Exits() <-chan supervisor.Exit   { return nil }
func (noDeliveries) Begins() <-chan supervisor.Key   { return nil }
func (noDeliveries) List() ([]supervisor.Key, error) { return nil, nil }

// tellOfQueues makes events of what the queues note, as the daemon does.
func (d *audited) tellOfQueues() {
	d.t.Helper()
	var notices []queue.Notice
	err := d.stored.Update(d.t.Context(), func(tx store.Tx) error {
		var last uint64
		notices, last = queue.Notices(tx, 0, 100)
		_, err := queue.DropNotices(tx, last, 100)
		return err
	})
	for _, n := range notices {
		err = errors.Join(err, d.engine.Update(d.t.Context(), func(t *activation.Txn) error { t.Emit(ops.QueueEvent(n)); return nil }))
	}
	if err != nil {
		d.t.Fatal(err)
	}
}

// message is the first message of the queue mails.
func (d *audited) message() broker.Message {
	d.t.Helper()
	list, err := d.queues.Peek(d.t.Context(), "mails", queue.Look{})
	if err != nil || len(list) == 0 {
		d.t.Fatal("no message: ", err)
	}
	return list[0]
}

// deadLetter pushes a message into the queue mails, and makes it a dead letter.
func (d *audited) deadLetter() {
	d.t.Helper()
	p := d.queues.Push(d.t.Context(), []broker.NewMessage{{Queue: "mails", New: queue.New{By: "root", UID: new(0), Body: []byte("secret")}}})
	err := d.stored.Update(d.t.Context(), func(tx store.Tx) error {
		q, err := queue.Get(tx, "mails")
		if err != nil {
			return err
		}
		_, err = queue.Bury(tx, time.Now(), q.N, p[0].ID, 1, queue.Ending{How: queue.HowExited, Exit: 3, Output: "secret, too"})
		return err
	})
	if err != nil {
		d.t.Fatal(err)
	}
}

// noRuns has none.
type noRuns struct{ activation.Runs }

func (d *audited) call(c control.Caller, name string, in any) error {
	d.t.Helper()
	c.Kind = control.ByUID
	answer := d.Lookup(name).Call(d.t.Context(), c, in)[0]
	if answer.Lines != nil {
		for _, err := range answer.Lines {
			if err != nil {
				return err
			}
		}
	}
	return answer.Err
}

func (d *audited) stream(c control.Caller, name string, in any, send func(any) error) error {
	c.Kind = control.ByUID
	return d.Lookup(name).Stream(d.t.Context(), c, in, send)
}

func (d *audited) acts(c control.Caller, in control.AuditIn) (all []control.Event) {
	d.t.Helper()
	err := d.stream(c, "audit", &in, func(out any) error {
		ev, ok := out.(control.Event)
		if !ok {
			d.t.Fatalf("audit sent %T", out)
		}
		all = append(all, ev)
		return nil
	})
	if err != nil {
		d.t.Fatal(err)
	}
	return all
}

// why checks the beginnings of all lines of an explanation.
func (d *audited) why(c control.Caller, id string, want ...string) {
	d.t.Helper()
	var got []string
	err := d.stream(c, "why", &control.IDIn{ID: id}, func(out any) error {
		l, ok := out.(control.WhyLine)
		if !ok {
			d.t.Fatalf("why sent %T", out)
		}
		got = append(got, l.Text)
		return nil
	})
	if err != nil || !slices.EqualFunc(got, want, strings.HasPrefix) {
		d.t.Errorf("why %s: %v, %q\nwant: %q", id, err, got, want)
	}
}

// Events can be narrowed, also to those from a time on.
func TestEventFilters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := auditDaemon(t)
		ada := control.Caller{Role: control.Operator, Name: "ada", UID: 1001}
		rule := control.EveryAddIn{Name: "poll", RuleIn: control.RuleIn{Every: "9h"}, AddIn: control.AddIn{Arg: []string{"true"}}}
		for _, err := range []error{
			d.call(ada, "add", &control.AddIn{In: "20d", Arg: []string{"true"}}),
			d.call(admin, "add", &control.AddIn{In: "20d", Arg: []string{"true"}}),
			d.call(admin, "every add", &rule),
			d.call(ada, "cancel", &control.CancelIn{ID: "2"}),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(2 * time.Hour)
		for _, tt := range []struct {
			in   control.EventsIn
			want string
		}{
			{control.EventsIn{}, "1:scheduled 2:scheduled poll: 2:finished"},
			{control.EventsIn{ID: "1"}, "1:scheduled"},
			{control.EventsIn{Owner: "root"}, "2:scheduled poll: 2:finished"},
			{control.EventsIn{Kind: "job"}, "1:scheduled 2:scheduled 2:finished"},
			{control.EventsIn{By: "ada"}, "1:scheduled 2:finished"},
			{control.EventsIn{Outcome: []string{"failed,cancelled"}}, "2:finished"},
			{control.EventsIn{Outcome: []string{"failed"}}, ""},
			{control.EventsIn{Failed: true}, ""},
			{control.EventsIn{Since: "3h"}, "1:scheduled 2:scheduled poll: 2:finished"},
			{control.EventsIn{Since: "1h"}, ""},
		} {
			if tt.in.Since == "" {
				tt.in.Since = "0"
			}
			ctx, stop := context.WithCancel(t.Context())
			var got []string
			done := make(chan error)
			go func() {
				done <- d.Lookup("events").Stream(ctx, admin, &tt.in, func(out any) error {
					if ev, ok := out.(control.Event); ok {
						got = append(got, ev.ID+":"+ev.State)
					}
					return nil
				})
			}()
			synctest.Wait()
			stop()
			if err := <-done; !errors.Is(err, context.Canceled) {
				t.Errorf("%+v: %v", tt.in, err)
			}
			if text := strings.Join(got, " "); text != tt.want {
				t.Errorf("%+v: %q, want %q", tt.in, text, tt.want)
			}
		}
	})
}
