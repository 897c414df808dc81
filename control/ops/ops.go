// Package ops declares the daemon's operations, each once, and connects them with the
// engine. Every face of the daemon serves the operations that [Registry] returns.
//
// It is the only package that knows both the wire forms of package control and the core's
// types of package activation, and translates between them.
package ops

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"activationd/activation"
	"activationd/activation/announce"
	"activationd/activation/booking"
	"activationd/activation/recurring"
	"activationd/activation/service"
	"activationd/control"
	"activationd/internal/fault"
	"activationd/vlanstore"
)

// A Daemon has what the operations need.
type Daemon struct {
	Engine      *activation.Engine
	Recurrences *recurring.Book
	Services    *service.Roster
	Bookings    *booking.Desk
	Queues      Broker
	Pools       Pools
	// Declared reads the services as they are declared now, and those that cannot be read. They
	// are in force after the next load.
	Declared func() ([]*service.Declaration, []*service.Fault, error)
	// Identity returns the user as whom a caller's jobs run; nil is the daemon's user. It
	// refuses callers who may not run jobs, with fault.Denied.
	Identity func(control.Caller) (*activation.Identity, error)
	// Places returns where .env files declare services.
	Places func() []control.ServicePlace
	// Topology reads the file of a topology.
	Topology func(name string) ([]byte, error)
	// MayAt refuses callers who may not use at(1), with fault.Denied.
	MayAt func(control.Caller) error
	// User returns the name of a user, and reports whether the user exists.
	User func(nameOrNumber string) (string, bool)
	// UserID returns the uid of a user, and reports whether the user exists.
	UserID func(name string) (int, bool)
	Backup func(context.Context, io.Writer) error
	// BackupQueues copies the queues if they have a file of their own, QueueStore. Otherwise it
	// is nil.
	BackupQueues func(context.Context, io.Writer) error
	QueueStore   string
	// Sections are the critical sections of scripts.
	Sections *vlanstore.Sections
	// Stop has the daemon stop, at once or when nothing runs any more. It does not wait.
	Stop func(drain bool)
	// Status adds the fields that the engine does not know, and what needs attention in
	// them.
	Status func(*control.StatusOut)
	// Sources returns how the last load of each source went.
	Sources func(context.Context) ([]announce.SourceStatus, error)
	// Loaded is closed when the first load has ended.
	Loaded <-chan struct{}
	// Unused returns the reservations with an id that sources have and that are not in
	// force; if the id is empty, all of them.
	Unused func(ctx context.Context, id string) ([]announce.Unused, error)
	// Inventory returns the laboratory's devices that users can have, with their kinds; nil if
	// the daemon has no inventory.
	Inventory func() (map[string][]string, error)
	// Hooks returns the hooks that need attention.
	Hooks func(context.Context) ([]control.Attention, error)
	// Put puts new content into a source.
	Put func(ctx context.Context, source string, p announce.Put, o announce.LoadOptions) (activation.Report, error)
	// Content returns what was put into a source last; nil: nothing was.
	Content func(ctx context.Context, source string) ([]byte, error)
	// Reload reads the configuration and all sources again.
	Reload func(context.Context, announce.LoadOptions) (activation.Report, error)
}

// Registry returns all operations.
func Registry(d Daemon) *control.Registry {
	verb := func(name string, role control.Role, on activation.Trigger, help string) control.Op {
		return control.Declare(name, role, help, func(ctx context.Context, c control.Caller, in control.VerbIn) (control.Reply[control.Activation], error) {
			reply, err := d.do(ctx, c, in.ID, on, "", unless{in.Was, in.Version})
			return reply, d.notAnID(ctx, name, in.ID, err)
		}).At("POST /activations/{id}/" + name).Single()
	}
	return control.NewRegistry(append([]control.Op{
		control.DeclareBatch("add", control.Submitter, "add a job", d.add).At("POST /activations").Single().Creates("/activations/{id}"),
		control.Declare("list", control.Viewer, "list jobs and reservations", d.list).At("GET /activations").Pages(control.Paging{After: []string{"id"}, Order: map[string]string{"sort": "id", "reverse": "no"}}),
		control.Declare("show", control.Viewer, "show a job or reservation, with its attempts", d.show).At("GET /activations/{id}").Single(),
		control.DeclareStream("why", control.Viewer, "explain why a job or reservation is in its state", d.why).At("GET /activations/{id}/why"),
		control.DeclareStream("log", control.Viewer, "print the output of your own jobs; as operator, of all jobs and reservations", d.logs).At("GET /activations/{id}/log").Resuming("next"),
		control.Declare("files", control.Viewer, "list the files of the attempts of your own jobs; as operator, of all jobs and reservations", d.files).At("GET /activations/{id}/files"),
		control.DeclareStream("file", control.Viewer, "send a file of an attempt, in pieces of base64; as operator, of others only differences and transcripts", d.file).At("GET /activations/{id}/file"),
		control.DeclareStream("input", control.Viewer, "send the script or standard input of a job of your own; as admin, of any, in pieces of base64", d.input).At("GET /inputs"),
		control.DeclareStream("wait", control.Viewer, "wait until a job or reservation is finished", d.wait).At("GET /activations/{id}/end").Single(),
		control.Declare("edit", control.Submitter, "change a job that has not begun", d.edit).At("PATCH /activations/{id}").Single(),
		control.Declare("progress", control.Submitter, "report the progress of a script", d.progress).At("POST /activations/{id}/progress"),
		control.Declare("locks", control.Viewer, "list locks, with the jobs and reservations that hold them and wait for them", d.locks).At("GET /locks"),
		control.Declare("cancel", control.Submitter, "cancel a job or reservation: its script is stopped, and a reservation is deactivated", d.cancel).At("POST /activations/{id}/cancel").Single(),
		verb("hold", control.Submitter, activation.Hold, "keep a job or reservation from starting"),
		verb("release", control.Submitter, activation.Release, "let a held job or reservation start again"),
		verb("run", control.Submitter, activation.RunNow, "start a scheduled job or reservation now"),
		control.Declare("retry", control.Submitter, "run a job or reservation that is over, or a stuck deactivation, again", d.retry).At("POST /activations/{id}/retry").Single(),
		verb("forgive", control.Admin, activation.Forgive, "mark a stuck reservation as deactivated, or a hanging attempt as ended"),
		control.Declare("reload", control.Operator, "read all sources and the configuration again", d.reload).At("POST /reload"),
		control.Declare("source put", control.Operator, "announce all reservations of a source, instead of those that were announced before", d.sourcePut).At("PUT /sources/{name}/reservations"),
		control.Declare("source show", control.Operator, "show what was put into a source last", d.sourceShow).At("GET /sources/{name}/reservations").Single(),
		control.Declare("linkconf", control.Operator, "attach a topology to a reservation", d.linkconf).At("PUT /activations/{resid}/topology"),
		control.Declare("dellinkconf", control.Operator, "detach a topology from a reservation", d.dellinkconf).At("DELETE /activations/{delresid}/topology"),
		control.Declare("kill", control.Operator, "10: reload; 15: stop the daemon (admin)", d.kill).At("POST /kill"),
		control.Declare("clock", control.NoRole, "show the time and the zone of the daemon", d.clock).At("GET /clock").Single(),
		control.Declare("status", control.Viewer, "show the state of the daemon", d.status).At("GET /status").Single(),
		control.DeclareStream("events", control.Viewer, "follow events", (&followers{Daemon: d}).follow).At("GET /events").Resuming("since").Pages(control.Paging{After: []string{"seq"}}),
		control.Declare("publish", control.Submitter, "publish a text: an event for whoever follows its topic", d.publish).At("POST /events").Single(),
		control.DeclareStream("audit", control.Viewer, "list who requested what; as submitter, about your own jobs and everything but jobs", d.audit).At("GET /audit").Pages(control.Paging{After: []string{"seq"}, Order: map[string]string{"n": "0"}}),
		control.Declare("report", control.Viewer, "report what was used in some months, by owner, device or tag; below operator, of your own", d.report).At("GET /report"),
		control.DeclareStream("backup", control.Admin, "copy the daemon's state, in pieces of base64", d.backup).At("GET /backup"),
		control.Declare("stop", control.Admin, "stop the daemon; running scripts go on", d.stop).At("POST /stop"),
	}, slices.Concat(d.vlanOps(), d.loginOps(), d.planOps(), d.pauseOps(), d.everyOps(), d.serviceOps(), d.queueOps(), d.poolOps(), d.calendarOps(), d.atOps(), d.bookOps())...)...)
}

// actor returns a caller as the engine knows it. Below operator, callers may act on their
// own jobs only, and a caller of whom only the address is known has no jobs.
func actor(c control.Caller) activation.Actor {
	return activation.Actor{
		Kind: string(c.Kind), Name: c.Name, Role: c.Role.String(), UID: c.UID, OnlyOwn: c.Role < control.Operator,
		NoJobs: c.Kind == control.ByAddress && c.Role < control.Admin, NoInputs: c.Role < control.Admin,
	}
}

func (d Daemon) do(ctx context.Context, c control.Caller, id string, on activation.Trigger, why string, u unless) (control.Reply[control.Activation], error) {
	still, err := u.condition()
	if err != nil {
		return control.Reply[control.Activation]{}, err
	}
	r, err := d.Engine.DoIf(ctx, actor(c), id, on, why, still)
	if err != nil {
		return control.Reply[control.Activation]{}, err
	}
	a, err := changed(r)
	return control.Reply[control.Activation]{
		Summary: fmt.Sprintf("id=%s state=%s", a.ID, a.State),
		Lines:   []control.Activation{a},
	}, err
}

// changed is what a verb returns of an activation.
func changed(r *activation.Record) (control.Activation, error) {
	version, err := r.Version()
	return wire(&activation.View{Record: *r, Version: version}), err
}

// An unless says what an activation must still be, or a verb does nothing: in one of these
// states, and one of these versions. Empty lists are no conditions.
type unless struct{ was, version []string }

// condition returns a condition for a verb.
func (u unless) condition() (func(*activation.Record) error, error) {
	still, err := stillIs(u.was)
	if err != nil || len(u.version) == 0 {
		return still, err
	}
	return func(r *activation.Record) error {
		is, err := r.Version()
		switch {
		case err != nil:
			return err
		case !slices.Contains(u.version, is):
			return hasChanged(r.ID, status(r))
		case still != nil:
			return still(r)
		}
		return nil
	}, nil
}

// hasChanged is the error of a change that depends on another version than the present one.
func hasChanged(id, is string) error {
	return &control.ReplyError{Code: 412, Description: fmt.Sprintf("%s has changed since it was read; it is %s now; read it again", id, is)}
}

// stillIs returns a condition for a verb: the activation is still in one of these states, which
// [condition] knows.
func stillIs(was []string) (func(*activation.Record) error, error) {
	if len(was) == 0 {
		return nil, nil
	}
	var states []activation.Condition
	for _, word := range commas(was) {
		c, ok := condition(word)
		if !ok {
			return nil, fmt.Errorf("was: want %s, have %q: %w", oneOf(conditionWords(false)), word, fault.Invalid)
		}
		states = append(states, c)
	}
	return func(r *activation.Record) error {
		if slices.ContainsFunc(states, func(c activation.Condition) bool { return c.Met(r) }) {
			return nil
		}
		return fmt.Errorf("%s is %s now, and was not when it was chosen: %w", r.ID, status(r), fault.Conflict)
	}, nil
}

func (d Daemon) cancel(ctx context.Context, c control.Caller, in control.CancelIn) (control.Reply[control.Activation], error) {
	why := ""
	if in.Reason != "" {
		why = fmt.Sprintf("cancelled by %s: %s", c.Name, control.OneLine(in.Reason))
	}
	reply, err := d.do(ctx, c, in.ID, activation.Cancel, why, unless{in.Was, in.Version})
	return reply, d.notAnID(ctx, "cancel", in.ID, err)
}

func (d Daemon) retry(ctx context.Context, c control.Caller, in control.RetryIn) (reply control.Reply[control.Activation], err error) {
	if in.Failed {
		if v, err := d.Engine.Get(ctx, in.ID); err == nil && v.Outcome == activation.Succeeded {
			return reply, fmt.Errorf("%s has succeeded; to run it again, retry it alone: %w", in.ID, fault.Conflict)
		}
	}
	reply, err = d.do(ctx, c, in.ID, activation.Retry, "", unless{in.Was, in.Version})
	return reply, d.notAnID(ctx, "retry", in.ID, err)
}

// notAnID returns the error of an operation on the job or reservation id. If there is none,
// but a service or a recurrence of that name, it says what to do with that instead.
func (d Daemon) notAnID(ctx context.Context, op, id string, err error) error {
	if !errors.Is(err, fault.NotFound) {
		return err
	}
	if _, unknown := d.Engine.Get(ctx, id); !errors.Is(unknown, fault.NotFound) {
		return err
	}
	if d.Services != nil && !strings.ContainsAny(id, "*?[\\") {
		if all, unknown := d.Services.Select(ctx, activation.Actor{}, []string{id}, ""); unknown == nil && len(all) > 0 {
			return fmt.Errorf("%s is a service; name an instance of it, such as %s, or see atctl service --help: %w", id, all[0].ID, fault.NotFound)
		}
	}
	if d.Recurrences == nil {
		return err
	}
	if _, unknown := d.Recurrences.Get(ctx, id, 0); unknown != nil {
		return err
	}
	does := map[string]string{
		"hold": "atctl every hold %s keeps it from occurring", "release": "atctl every release %s lets it occur again",
		"run": "atctl every run %s runs its job once", "retry": "atctl every run %s runs its job once", "cancel": "atctl every remove %s removes it",
		"show": "atctl every show %s shows it", "edit": "atctl every edit %s changes it", "why": "atctl every show %s shows it, and which occurrences it skipped and why",
	}
	hint := "atctl list --all --every %s lists its jobs"
	if what := does[op]; what != "" {
		hint = what + "; " + hint
	}
	return fmt.Errorf("%s is a recurrence; %s: %w", id, strings.ReplaceAll(hint, "%s", id), fault.NotFound)
}
