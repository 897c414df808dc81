// Package ops declares the daemon's operations, each once, and binds them to
// the engine: every face of the daemon is made of what [Registry] returns.
//
// It is the one place that knows both the wire forms of package control and the
// core's types of package activation, and translates between them.
package ops

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"activationd/activation"
	"activationd/control"
	"activationd/internal/fault"
	"activationd/vlanstore"
)

// A Daemon is what the operations need beside the engine.
type Daemon struct {
	Engine *activation.Engine
	// Identity is the user as whom a caller's jobs run: nil is the daemon's own.
	// It refuses callers who may not have any, with fault.Denied.
	Identity func(control.Caller) (*activation.Identity, error)
	// Topology reads a topology's file, by its name.
	Topology func(name string) ([]byte, error)
	// MayAt refuses callers who may not use at(1), with fault.Denied.
	MayAt func(control.Caller) error
	// User returns the name of a user, who is named or numbered, if there is one.
	User   func(nameOrNumber string) (string, bool)
	Backup func(context.Context, io.Writer) error
	// Sections are the scripts' mutexes.
	Sections *vlanstore.Sections
	// Stop asks the daemon to end, at once or when nothing runs any more. It does
	// not wait.
	Stop func(drain bool)
	// Status adds what only the daemon knows of itself.
	Status func(*control.StatusOut)
	// Reload does what RELOAD asks for.
	Reload func(context.Context, activation.LoadOptions) (activation.Report, error)
}

// Registry returns all operations.
func Registry(d Daemon) *control.Registry {
	verb := func(name string, role control.Role, ev activation.Event, help string) control.Op {
		return control.Declare(name, role, help, func(ctx context.Context, c control.Caller, in control.IDIn) (control.Reply[control.Activation], error) {
			return d.do(ctx, c, in.ID, ev, "")
		})
	}
	return control.NewRegistry(append([]control.Op{
		control.DeclareBatch("add", control.Submitter, "add a job", d.add),
		control.Declare("list", control.Viewer, "list activations", d.list),
		control.Declare("show", control.Viewer, "show one activation with its attempts", d.show),
		control.DeclareStream("why", control.Viewer, "explain why an activation is in its state", d.why),
		control.DeclareStream("log", control.Viewer, "the output of an attempt; your own jobs', or all as operator", d.logs),
		control.DeclareStream("wait", control.Viewer, "wait for an activation's end", d.wait),
		control.Declare("edit", control.Submitter, "change a job that has not begun", d.edit),
		control.Declare("progress", control.Submitter, "tell how far a script has come", d.progress),
		control.Declare("locks", control.Viewer, "who holds each lock, and who waits for it", d.locks),
		control.Declare("cancel", control.Submitter, "cancel an activation: what runs is stopped and undone", d.cancel),
		verb("hold", control.Submitter, activation.Hold, "keep an activation from starting"),
		verb("release", control.Submitter, activation.Release, "let a held activation go on"),
		verb("run", control.Submitter, activation.RunNow, "run a scheduled activation now"),
		verb("retry", control.Submitter, activation.Retry, "try again what is stuck or has failed"),
		verb("forgive", control.Admin, activation.Forgive, "end what is stuck, or hangs, as if it had been undone, or had ended"),
		control.Declare("reload", control.Operator, "read all sources and the configuration again", d.reload),
		control.Declare("linkconf", control.Operator, "attach a topology to a reservation", d.linkconf),
		control.Declare("dellinkconf", control.Operator, "take an attached topology away", d.dellinkconf),
		control.Declare("kill", control.Operator, "10: reload; 15: stop the daemon (admin)", d.kill),
		control.Declare("status", control.Viewer, "the daemon's own state", d.status),
		control.DeclareStream("events", control.Viewer, "follow what happens", d.events),
		control.DeclareStream("backup", control.Admin, "a copy of the state, in pieces of base64", d.backup),
		control.Declare("stop", control.Admin, "stop the daemon; what runs goes on", d.stop),
	}, slices.Concat(d.vlanOps(), d.loginOps(), d.everyOps(), d.atOps())...)...)
}

// by is who asks, for the engine: below operator one has only one's own jobs, and
// who is known by his address only has nobody's.
func by(c control.Caller) activation.By {
	return activation.By{
		Name: c.Name, UID: c.UID, OnlyOwn: c.Role < control.Operator,
		NoJobs: c.Anonymous && c.Role < control.Admin,
	}
}

// get returns as much of an activation as the caller may see.
func (d Daemon) get(ctx context.Context, c control.Caller, id string) (activation.View, error) {
	v, err := d.Engine.Get(ctx, id)
	return v.For(by(c)), err
}

func (d Daemon) do(ctx context.Context, c control.Caller, id string, ev activation.Event, why string) (control.Reply[control.Activation], error) {
	r, err := d.Engine.Do(ctx, by(c), id, ev, why)
	if err != nil {
		return control.Reply[control.Activation]{}, err
	}
	a := wire(&activation.View{Record: *r})
	return control.Reply[control.Activation]{
		Summary: fmt.Sprintf("id=%s state=%s", a.ID, a.State),
		Lines:   []control.Activation{a},
	}, nil
}

func (d Daemon) cancel(ctx context.Context, c control.Caller, in control.CancelIn) (control.Reply[control.Activation], error) {
	why := ""
	if in.Reason != "" {
		why = fmt.Sprintf("cancelled by %s: %s", c.Name, control.OneLine(in.Reason))
	}
	return d.do(ctx, c, in.ID, activation.Cancel, why)
}

func (d Daemon) show(ctx context.Context, c control.Caller, in control.IDIn) (control.Reply[control.Detail], error) {
	v, err := d.get(ctx, c, in.ID)
	if err != nil {
		return control.Reply[control.Detail]{}, err
	}
	return control.Reply[control.Detail]{Lines: []control.Detail{d.detail(&v)}}, nil
}

func (d Daemon) list(ctx context.Context, c control.Caller, in control.ListIn) (control.Reply[control.Activation], error) {
	f := activation.Filter{Owner: in.Owner, Label: in.Label, Tags: commas(in.Tag), Kind: activation.Kind(in.Kind), Recurrence: in.Every, By: by(c)}
	switch f.Kind {
	case "", activation.Job, activation.Reservation:
	default:
		return control.Reply[control.Activation]{}, fmt.Errorf("kind: want job or reservation, have %q: %w", in.Kind, fault.Invalid)
	}
	for _, s := range in.State {
		for s := range strings.SplitSeq(s, ",") {
			if s == "all" {
				f.Finished = true
				continue
			}
			if err := knownState(s); err != nil {
				return control.Reply[control.Activation]{}, err
			}
			f.States = append(f.States, activation.State(s))
		}
	}
	if f.Finished {
		f.States = nil
	}
	errEnough := errors.New("enough")
	n := 0
	return control.Reply[control.Activation]{Each: func(yield func(control.Activation, error) bool) {
		err := d.Engine.List(ctx, f, func(v activation.View) error {
			n++
			if !yield(wire(&v), nil) || in.Limit > 0 && n >= in.Limit {
				return errEnough
			}
			return nil
		})
		if err != nil && !errors.Is(err, errEnough) {
			yield(control.Activation{}, err)
		}
	}}, nil
}

func knownState(s string) error {
	for _, st := range activation.States {
		if string(st) == s {
			return nil
		}
	}
	return fmt.Errorf("state: want all or one of %v, have %q: %w", activation.States, s, fault.Invalid)
}

func (d Daemon) wait(ctx context.Context, c control.Caller, in control.IDIn, send func(control.WaitOut) error) error {
	v, err := d.Engine.Wait(ctx, in.ID)
	if err != nil {
		return err
	}
	v = v.For(by(c))
	return send(control.WaitOut{Activation: wire(&v), Exit: exitStatus(&v)})
}

func (d Daemon) why(ctx context.Context, c control.Caller, in control.IDIn, send func(control.WhyLine) error) error {
	v, err := d.get(ctx, c, in.ID)
	if err != nil {
		return err
	}
	lines := explain(&v)
	if !v.Hidden {
		closed, err := d.Engine.Logins(ctx, v.ID)
		if err != nil {
			return err
		}
		for _, l := range closed {
			lines = append(lines, control.WhyLine{Time: l.Since, Text: l.String()})
		}
	}
	for _, l := range lines {
		if err := send(l); err != nil {
			return err
		}
	}
	return nil
}

func (d Daemon) reload(ctx context.Context, _ control.Caller, in control.ReloadIn) (control.Reply[control.ReloadLine], error) {
	return d.load(ctx, activation.LoadOptions{Force: in.Force, DryRun: in.DryRun})
}

func (d Daemon) load(ctx context.Context, o activation.LoadOptions) (control.Reply[control.ReloadLine], error) {
	rep, err := d.Reload(ctx, o)
	if err != nil {
		return control.Reply[control.ReloadLine]{}, err
	}
	reply := control.Reply[control.ReloadLine]{Summary: rep.Summary()}
	for _, l := range rep.Lines {
		reply.Lines = append(reply.Lines, control.ReloadLine{What: l.What, ID: l.ID, Source: l.Source, Text: control.OneLine(l.Text)})
	}
	return reply, rep.Err
}

func (d Daemon) kill(ctx context.Context, c control.Caller, in control.KillIn) (control.Reply[control.ReloadLine], error) {
	switch in.Kill {
	case 10:
		return d.load(ctx, activation.LoadOptions{})
	case 15:
		if err := c.May("kill:15", control.Admin); err != nil {
			return control.Reply[control.ReloadLine]{}, err
		}
		d.Stop(false)
		return control.Reply[control.ReloadLine]{Summary: "stopping"}, nil
	}
	return control.Reply[control.ReloadLine]{}, fmt.Errorf("kill: want 10 (reload) or 15 (stop), have %d: %w", in.Kill, fault.Invalid)
}

func (d Daemon) stop(_ context.Context, _ control.Caller, in control.StopIn) (control.Reply[control.Nothing], error) {
	d.Stop(in.Drain)
	if in.Drain {
		return control.Reply[control.Nothing]{Summary: "draining: the daemon stops when nothing runs any more"}, nil
	}
	return control.Reply[control.Nothing]{Summary: "stopping; what runs goes on"}, nil
}

func (d Daemon) linkconf(ctx context.Context, _ control.Caller, in control.LinkconfIn) (control.Reply[control.Nothing], error) {
	text := []byte(in.Topology)
	if !strings.HasPrefix(strings.TrimSpace(in.Topology), "{") {
		var err error
		if text, err = d.Topology(in.Topology); err != nil {
			return control.Reply[control.Nothing]{}, err
		}
	}
	if err := d.Engine.Link(ctx, in.Resid, text); err != nil {
		return control.Reply[control.Nothing]{}, err
	}
	return control.Reply[control.Nothing]{Summary: "topology attached to " + in.Resid}, nil
}

func (d Daemon) dellinkconf(ctx context.Context, _ control.Caller, in control.DellinkconfIn) (control.Reply[control.Nothing], error) {
	if err := d.Engine.Unlink(ctx, in.Delresid); err != nil {
		return control.Reply[control.Nothing]{}, err
	}
	return control.Reply[control.Nothing]{Summary: "topology taken from " + in.Delresid}, nil
}

func (d Daemon) status(ctx context.Context, _ control.Caller, _ control.Nothing) (control.Reply[control.StatusOut], error) {
	s, err := d.Engine.Status(ctx)
	if err != nil {
		return control.Reply[control.StatusOut]{}, err
	}
	out := control.StatusOut{
		Started: s.Began, Guard: s.Guard, GuardWhy: s.Why, Generation: s.Generation, Next: s.Next,
		Running: s.Running, Unverified: s.Hanging, States: make(map[string]int), Draining: s.Draining, Logins: s.Logins,
		ClockTrusted: s.Doubt == "", ClockWhy: s.Doubt,
		Sources: []control.SourceStatus{},
	}
	for st, n := range s.States {
		out.States[string(st)] = n
	}
	for _, src := range s.Sources {
		out.Sources = append(out.Sources, control.SourceStatus{Name: src.Name, Live: src.Live, Read: src.Read, Error: src.Error})
	}
	d.Status(&out)
	return control.Reply[control.StatusOut]{
		Summary: fmt.Sprintf("guard=%s generation=%d running=%d", out.Guard, out.Generation, out.Running),
		Lines:   []control.StatusOut{out},
	}, nil
}

func (d Daemon) events(ctx context.Context, c control.Caller, in control.EventsIn, send func(control.Event) error) error {
	return d.Engine.FollowFor(ctx, by(c), in.Since, func(h activation.Happening) error {
		if in.ID != "" && in.ID != h.ID {
			return nil
		}
		return send(control.Event{Seq: h.Seq, Time: h.Time, What: h.What, ID: h.ID, State: h.State, Reason: h.Reason,
			Outcome: string(h.Outcome), Phase: h.Phase, Attempt: h.N})
	})
}

// backupPiece is how many bytes of a backup go into one line.
const backupPiece = 192 << 10

func (d Daemon) backup(ctx context.Context, _ control.Caller, _ control.Nothing, send func(control.BackupOut) error) error {
	w := bufio.NewWriterSize(pieces(func(p []byte) error {
		return send(control.BackupOut{Base64: base64.StdEncoding.EncodeToString(p)})
	}), backupPiece)
	if err := d.Backup(ctx, w); err != nil {
		return err
	}
	return w.Flush()
}

// pieces is a writer that hands on what is written to it, in pieces that fit
// into a line.
type pieces func([]byte) error

func (f pieces) Write(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		piece := p[n:min(len(p), n+backupPiece)]
		if err := f(piece); err != nil {
			return n, err
		}
		n += len(piece)
	}
	return n, nil
}

// rfc3339 is the form of times in explanations.
func rfc3339(t time.Time) string { return t.Format(time.RFC3339) }
