package ops

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"activationd/activation"
	"activationd/control"
	"activationd/internal/fault"
)

// edit changes a job that has not begun.
func (d Daemon) edit(ctx context.Context, c control.Caller, in control.EditIn) (reply control.Reply[control.EditOut], err error) {
	now := time.Now()
	who := actor(c)
	var unknown error
	if c.UID >= 0 {
		who.As, unknown = d.Identity(c)
	}
	still, err := unless{in.Was, in.Version}.condition()
	if err != nil {
		return reply, err
	}
	r, err := d.Engine.EditIf(ctx, who, in.ID, still, func(j *activation.NewJob, start time.Time) error {
		if unknown != nil && j.User != nil && j.User.UID == c.UID { // other callers cannot change the command
			return unknown
		}
		return change(j, &in, start, now)
	})
	if err = d.notAnID(ctx, "edit", in.ID, err); err != nil {
		return reply, err
	}
	out := control.EditOut{}
	if out.Activation, err = changed(r); err != nil {
		return reply, err
	}
	out.Notices = d.notices(changesRun(&in.JobEdit), &r.Order)
	return control.Reply[control.EditOut]{
		Summary: fmt.Sprintf("id=%s state=%s", out.ID, out.State),
		Lines:   []control.EditOut{out},
	}, nil
}

// changesRun reports whether in changes what runs.
func changesRun(in *control.JobEdit) bool {
	return len(in.Arg) > 0 || in.Script != "" || in.Dir != "" || len(in.Env) > 0
}

// clearFields removes fields, or sets them to the configuration's defaults. Fields has those that
// only some kinds of jobs have, with functions that remove them.
func clearFields(j *activation.NewJob, names []string, fields map[string]func()) error {
	maps.Copy(fields, map[string]func(){
		"lock": func() { j.Locks = nil }, "label": func() { j.Label = "" }, "tag": func() { j.Tags = nil }, "env": func() { j.Env = nil },
		"timeout": func() { j.Timeout = nil }, "grace": func() { j.Grace = nil },
		"retries": func() { j.Retries = nil }, "backoff": func() { j.Backoff = nil },
	})
	for _, list := range names {
		for name := range strings.SplitSeq(list, ",") {
			if fields[name] == nil {
				return fmt.Errorf("clear: want one of %s, have %q: %w",
					strings.Join(slices.Sorted(maps.Keys(fields)), ", "), name, fault.Invalid)
			}
			fields[name]()
		}
	}
	return nil
}

// change sets the fields of a job that are given.
func change(j *activation.NewJob, in *control.EditIn, start, now time.Time) (err error) {
	if err := clearFields(j, in.Clear, map[string]func(){"deadline": func() { j.Deadline = time.Time{} }}); err != nil {
		return err
	}
	if j.At, err = when(in.At, in.In, now); err != nil {
		return err
	}
	if !j.At.IsZero() {
		start = j.At
	}
	if in.Deadline != "" {
		if j.Deadline, err = deadline(in.Deadline, start, now); err != nil {
			return err
		}
	}
	return changeJob(j, &in.JobEdit)
}

// changeJob sets the fields that are given.
func changeJob(j *activation.NewJob, in *control.JobEdit) (err error) {
	switch {
	case in.Script != "" && len(in.Arg) > 0:
		return fmt.Errorf("script cannot be used together with arg: %w", fault.Invalid)
	case in.Script != "":
		j.Argv, j.Stdin, j.Script = []string{shell}, []byte(in.Script), control.ScriptTitle(cmp.Or(in.Title, in.Script))
	case len(in.Arg) > 0:
		j.Argv, j.Stdin, j.Script = in.Arg, nil, ""
	}
	if len(in.Env) > 0 {
		if j.Env = maps.Clone(j.Env); j.Env == nil {
			j.Env = make(map[string]string)
		}
		if err := setEnv(j.Env, in.Env); err != nil {
			return err
		}
	}
	for _, t := range []struct {
		name, text string
		field      **time.Duration
	}{{"timeout", in.Timeout, &j.Timeout}, {"grace", in.Grace, &j.Grace}, {"backoff", in.Backoff, &j.Backoff}} {
		d, err := duration(t.name, t.text)
		if err != nil {
			return err
		}
		if d != nil {
			*t.field = d
		}
	}
	if in.Retries != "" {
		if j.Retries, err = retries(in.Retries); err != nil {
			return err
		}
	}
	if in.Priority != "" {
		if j.Priority, err = strconv.Atoi(in.Priority); err != nil {
			return fmt.Errorf("priority: %q is not a whole number: %w", in.Priority, fault.Invalid)
		}
	}
	for _, s := range []struct {
		text  string
		field *string
	}{{in.Dir, &j.Dir}, {in.Label, &j.Label}, {in.Missed, &j.Missed}} {
		if s.text != "" {
			*s.field = s.text
		}
	}
	if len(in.Lock) > 0 {
		j.Locks = in.Lock
	}
	if len(in.Tag) > 0 {
		j.Tags = commas(in.Tag)
	}
	return nil
}

func (d Daemon) progress(ctx context.Context, c control.Caller, in control.ProgressIn) (control.Reply[control.Nothing], error) {
	p := activation.Progress{Percent: -1, Text: control.OneLine(in.Text)}
	if in.Percent != "" {
		n, err := strconv.Atoi(strings.TrimSuffix(in.Percent, "%"))
		if err != nil || n < 0 {
			return control.Reply[control.Nothing]{}, fmt.Errorf("percent: want 0 to 100, have %q: %w", in.Percent, fault.Invalid)
		}
		p.Percent = n
	}
	if err := d.Engine.Progress(ctx, actor(c), in.ID, p); err != nil {
		return control.Reply[control.Nothing]{}, err
	}
	return control.Reply[control.Nothing]{Summary: "noted"}, nil
}

func (d Daemon) locks(ctx context.Context, _ control.Caller, _ control.Nothing) (control.Reply[control.Lock], error) {
	uses, err := d.Engine.Locks(ctx)
	reply := control.Reply[control.Lock]{}
	for _, u := range uses {
		l := control.Lock{Lock: u.Lock, ID: u.ID, Want: u.Request, What: "holds", For: u.WaitsFor}
		if u.Waiting {
			l.What = "waits"
		}
		reply.Lines = append(reply.Lines, l)
	}
	return reply, err
}
