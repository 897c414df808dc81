package ops

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"activationd/activation"
	"activationd/activation/announce"
	"activationd/control"
	"activationd/internal/fault"
	"activationd/schedule"
)

func (d Daemon) reload(ctx context.Context, c control.Caller, in control.ReloadIn) (control.Reply[control.ReloadLine], error) {
	return d.load(ctx, announce.LoadOptions{Force: in.Force, DryRun: in.DryRun, By: actor(c)})
}

func (d Daemon) load(ctx context.Context, o announce.LoadOptions) (control.Reply[control.ReloadLine], error) {
	rep, err := d.Reload(ctx, o)
	if err != nil {
		return control.Reply[control.ReloadLine]{}, err
	}
	return loaded(rep), rep.Err
}

func loaded(rep activation.Report) control.Reply[control.ReloadLine] {
	reply := control.Reply[control.ReloadLine]{Summary: rep.Summary()}
	for _, l := range rep.Lines {
		reply.Lines = append(reply.Lines, control.ReloadLine{What: l.What, ID: l.ID, Source: l.Source, Text: l.Text})
	}
	return reply
}

func (d Daemon) sourcePut(ctx context.Context, c control.Caller, in control.SourcePutIn) (reply control.Reply[control.ReloadLine], err error) {
	content := slices.Concat([]byte(`{"reservations": `), []byte(in.Reservations), []byte("}"))
	rep, err := d.Put(ctx, in.Name, announce.Put{Content: content, Force: in.Force}, announce.LoadOptions{DryRun: in.DryRun, By: actor(c)})
	if err != nil {
		return reply, err
	}
	i := slices.IndexFunc(rep.Lines, func(l activation.ReportLine) bool { // others may have failed, too: the report says so
		return l.What == "failed" && l.Source == in.Name
	})
	switch {
	case i < 0:
		return loaded(rep), nil
	case !in.DryRun:
		return reply, fmt.Errorf("%s: %w", putAgain(rep.Lines[i].Text), fault.Conflict)
	}
	// What would refuse it, and what it would do by force.
	forced, err := d.Put(ctx, in.Name, announce.Put{Content: content, Force: true}, announce.LoadOptions{DryRun: true, By: actor(c)})
	if err != nil {
		return reply, err
	}
	refusal := rep.Lines[i]
	refusal.Text = putAgain(refusal.Text)
	forced.Lines = slices.Insert(forced.Lines, 0, refusal)
	return loaded(forced), nil
}

// putAgain is the text of why a source is not loaded, for a client that puts its content.
func putAgain(text string) string {
	return strings.ReplaceAll(text, "reload with force", "put them again with force")
}

func (d Daemon) sourceShow(ctx context.Context, _ control.Caller, in control.SourceNameIn) (reply control.Reply[control.SourceContent], err error) {
	out := control.SourceContent{Reservations: []json.RawMessage{}}
	content, err := d.Content(ctx, in.Name)
	if err == nil && content != nil {
		err = json.Unmarshal(content, &out)
	}
	return control.Reply[control.SourceContent]{Lines: []control.SourceContent{out}}, err
}

func (d Daemon) kill(ctx context.Context, c control.Caller, in control.KillIn) (control.Reply[control.ReloadLine], error) {
	switch in.Kill {
	case 10:
		return d.load(ctx, announce.LoadOptions{By: actor(c)})
	case 15:
		if err := c.May("kill:15", control.Admin); err != nil {
			return control.Reply[control.ReloadLine]{}, err
		}
		d.askStop(ctx, c, false)
		return control.Reply[control.ReloadLine]{Summary: "stopping"}, nil
	}
	return control.Reply[control.ReloadLine]{}, fmt.Errorf("kill: want 10 (reload) or 15 (stop), have %d: %w", in.Kill, fault.Invalid)
}

// askStop stops the daemon, and records the client that requested it.
func (d Daemon) askStop(ctx context.Context, c control.Caller, drain bool) {
	d.Engine.NoteStop(ctx, actor(c), drain)
	d.Stop(drain)
}

func (d Daemon) stop(ctx context.Context, c control.Caller, in control.StopIn) (control.Reply[control.Nothing], error) {
	d.askStop(ctx, c, in.Drain)
	if in.Drain {
		return control.Reply[control.Nothing]{Summary: "draining: the daemon stops when nothing runs any more"}, nil
	}
	return control.Reply[control.Nothing]{Summary: "stopping; running scripts go on"}, nil
}

// clock returns the machine's clock and zone.
func clock() control.Clock {
	now := time.Now()
	if loc, err := schedule.LoadZone(""); err == nil {
		now = now.In(loc)
	}
	return control.Clock{Now: now, Zone: schedule.LocalName(), Offset: now.Format("-07:00")}
}

func (d Daemon) clock(context.Context, control.Caller, control.Nothing) (control.Reply[control.Clock], error) {
	return control.Reply[control.Clock]{Lines: []control.Clock{clock()}}, nil
}

func (d Daemon) status(ctx context.Context, c control.Caller, _ control.Nothing) (control.Reply[control.StatusOut], error) {
	s, err := d.Engine.Status(ctx)
	if err != nil {
		return control.Reply[control.StatusOut]{}, err
	}
	sources, err := d.Sources(ctx)
	if err != nil {
		return control.Reply[control.StatusOut]{}, err
	}
	out := control.StatusOut{
		Clock:   clock(),
		Started: s.Began, Guard: s.Guard, GuardWhy: s.Why, Generation: s.Generation, Next: s.Next,
		Running: s.Running, Unverified: s.Hanging, States: make(map[string]int), Draining: s.Draining, Logins: s.Logins,
		ClockTrusted: s.Doubt == "", ClockWhy: s.Doubt,
		Sources: []control.SourceStatus{}, Loading: d.loading(), Attention: []control.Attention{},
	}
	for st, n := range s.States {
		out.States[string(st)] = n
	}
	for _, src := range sources {
		out.Sources = append(out.Sources, control.SourceStatus{
			Name: src.Name, Live: src.Live, Rejected: src.Rejected, Over: src.Over, Read: src.Read, Error: src.Error, Failing: src.Failing,
		})
	}
	if out.Paused, err = d.paused(ctx); err != nil {
		return control.Reply[control.StatusOut]{}, err
	}
	d.Status(&out)
	needs, err := d.attention(ctx, c, &out)
	if err != nil {
		return control.Reply[control.StatusOut]{}, err
	}
	out.Attention = append(out.Attention, needs...)
	return control.Reply[control.StatusOut]{
		Summary: fmt.Sprintf("guard=%s generation=%d running=%d", out.Guard, out.Generation, out.Running),
		Lines:   []control.StatusOut{out},
	}, nil
}

// backupPiece is the number of bytes of a backup in one line.
const backupPiece = 192 << 10

func (d Daemon) backup(ctx context.Context, _ control.Caller, in control.BackupIn, send func(control.BackupOut) error) error {
	write, beside := d.Backup, d.QueueStore
	if in.Queues {
		if write, beside = d.BackupQueues, ""; write == nil {
			return fmt.Errorf("queues: they have no file of their own here; a backup without this argument has them: %w", fault.Invalid)
		}
	}
	w := bufio.NewWriterSize(pieces(func(p []byte) error {
		err := send(control.BackupOut{Base64: base64.StdEncoding.EncodeToString(p), Beside: beside})
		beside = ""
		return err
	}), backupPiece)
	if err := write(ctx, w); err != nil {
		return err
	}
	return w.Flush()
}

// pieces is a writer that passes on its input in pieces that fit into a line.
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
