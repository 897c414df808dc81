package ops

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"activationd/activation"
	"activationd/activation/recurring"
	"activationd/control"
	"activationd/internal/fault"
	"activationd/schedule"
)

// everyOps returns the operations on recurrences.
func (d Daemon) everyOps() []control.Op {
	return []control.Op{
		control.Declare("every add", control.Submitter, "add a recurrence", d.everyAdd).At("POST /recurrences").Single().Creates("/recurrences/{name}"),
		control.Declare("every edit", control.Submitter, "change a recurrence, and keep its history", d.everyEdit).At("PATCH /recurrences/{name}").Single(),
		control.Declare("every list", control.Viewer, "list recurrences", d.everyList).At("GET /recurrences"),
		control.Declare("every show", control.Viewer, "show one recurrence, with its skipped occurrences", d.everyShow).At("GET /recurrences/{name}").Single(),
		control.Declare("every remove", control.Submitter, "remove a recurrence; its running jobs go on", d.everyRemove).At("DELETE /recurrences/{name}").Single(),
		control.Declare("every hold", control.Submitter, "stop a recurrence from making jobs", d.everyHold).At("POST /recurrences/{name}/hold").Single(),
		control.Declare("every release", control.Submitter, "let a held recurrence make jobs again, from now on", d.everyRelease).At("POST /recurrences/{name}/release").Single(),
		control.Declare("every run", control.Submitter, "run the job of a recurrence once, now", d.everyRun).At("POST /recurrences/{name}/run").Single().Creates("/activations/{id}"),
		control.Declare("next", control.Viewer, "list the next occurrences of a recurrence, or of a rule", d.next).At("GET /occurrences"),
	}
}

func (d Daemon) everyAdd(ctx context.Context, c control.Caller, in control.EveryAddIn) (reply control.Reply[control.EveryAddOut], err error) {
	owner, user, err := d.ownerOf(c, in.User)
	if err != nil {
		return reply, err
	}
	now := time.Now()
	if in.At != "" || in.In != "" || in.Deadline != "" || len(in.After) > 0 || in.AddIn.Hold {
		return reply, fmt.Errorf("at, in, after, deadline and hold are not for recurrences: use cron, calendar or every, and hold the recurrence when it is added: %w", fault.Invalid)
	}
	rule, err := ParseRule(in.Name, in.RuleIn, now)
	if err != nil {
		return reply, err
	}
	if rule.Job, err = newJob(&in.AddIn, now); err != nil {
		return reply, err
	}
	rule.Job.Owner, rule.Job.User = owner, user
	r, err := d.Recurrences.Add(ctx, actor(c), rule)
	if err != nil {
		return reply, err
	}
	one, err := oneRecurrence(&recurring.View{Recurrence: *r})
	if err != nil {
		return reply, err
	}
	out := control.EveryAddOut{Recurrence: one.Lines[0], Notices: d.notices(in.AddIn.Notices, &r.Job.Order)}
	return control.Reply[control.EveryAddOut]{Summary: one.Summary, Lines: []control.EveryAddOut{out}}, nil
}

func (d Daemon) everyEdit(ctx context.Context, c control.Caller, in control.EveryEditIn) (reply control.Reply[control.EveryAddOut], err error) {
	now := time.Now()
	who := actor(c)
	var unknown error
	if c.UID >= 0 {
		who.As, unknown = d.Identity(c)
	}
	r, err := d.Recurrences.Edit(ctx, who, in.Name, func(rule *recurring.Rule) error {
		if unknown != nil && rule.Job.User != nil && rule.Job.User.UID == c.UID { // other callers cannot change the command
			return unknown
		}
		return changeRule(rule, &in, now)
	}, recurrenceIs(in.Version)...)
	if err != nil {
		return reply, err
	}
	v, err := d.Recurrences.Get(ctx, in.Name, 0)
	if err != nil {
		return reply, err
	}
	one, err := oneRecurrence(&v)
	if err != nil {
		return reply, err
	}
	out := control.EveryAddOut{Recurrence: one.Lines[0], Notices: d.notices(changesRun(&in.JobEdit), &r.Job.Order)}
	return control.Reply[control.EveryAddOut]{Summary: one.Summary, Lines: []control.EveryAddOut{out}}, nil
}

// ownerOf returns the owner of what a caller adds for a user, and as whom it runs. Without a name
// that is the caller.
func (d Daemon) ownerOf(c control.Caller, name string) (string, *activation.Identity, error) {
	if name == "" || name == c.Name {
		user, err := d.Identity(c)
		return c.Name, user, err
	}
	if err := c.May("every add for other users", control.Admin); err != nil {
		return "", nil, err
	}
	uid, ok := d.UserID(name)
	if !ok {
		return "", nil, fmt.Errorf("there is no user %s: %w", name, fault.NotFound)
	}
	user, err := d.Identity(control.Caller{Role: control.Submitter, Name: name, UID: uid, GID: -1, Via: c.Via})
	if err != nil {
		return "", nil, err
	}
	if user.UID != uid {
		return "", nil, fmt.Errorf("this daemon does not run as root, so its jobs cannot run as %s: %w", name, fault.Denied)
	}
	return user.Name, user, nil
}

// changeRule sets the fields that are given.
func changeRule(rule *recurring.Rule, in *control.EveryEditIn, now time.Time) error {
	err := clearFields(&rule.Job, in.Clear, map[string]func(){
		"tz": func() { rule.Zone = "" }, "jitter": func() { rule.Jitter = 0 },
		"start": func() { rule.Start = time.Time{} }, "end": func() { rule.End = time.Time{} },
	})
	if err != nil {
		return err
	}
	if in.TZ != "" {
		rule.Zone = in.TZ
	}
	given := in.RuleIn
	given.TZ = rule.Zone // times are in it
	parsed, err := ParseRule(in.Name, given, now)
	if err != nil {
		return err
	}
	if in.Cron != "" || in.Calendar != "" || in.Every != "" {
		rule.Cron, rule.Calendar, rule.Every = parsed.Cron, parsed.Calendar, parsed.Every
	}
	for _, f := range []struct {
		text string
		set  func()
	}{
		{in.Overlap, func() { rule.Overlap = parsed.Overlap }},
		{in.Jitter, func() { rule.Jitter = parsed.Jitter }},
		{in.CatchUp, func() { rule.CatchUp = parsed.CatchUp }},
		{in.Start, func() { rule.Start = parsed.Start }},
		{in.End, func() { rule.End = parsed.End }},
	} {
		if f.text != "" {
			f.set()
		}
	}
	return changeJob(&rule.Job, &in.JobEdit)
}

// ParseRule reads a rule without its job; relative times in it count from now. The error has
// all that cannot be read. The rule has something sound in its place, so that a check of the
// rule does not report it again.
func ParseRule(name string, in control.RuleIn, now time.Time) (r recurring.Rule, err error) {
	r = recurring.Rule{Name: name, Cron: in.Cron, Calendar: in.Calendar, Zone: in.TZ, Overlap: in.Overlap}
	var errs []error
	if in.Every != "" {
		if r.Every, err = schedule.ParseInterval(in.Every); err != nil {
			errs = append(errs, fmt.Errorf("every: %w: %w", err, fault.Invalid))
			r.Every = time.Hour
		}
	}
	jitter, err := duration("jitter", in.Jitter)
	errs = append(errs, err)
	if jitter != nil {
		r.Jitter = *jitter
	}
	r.CatchUp, err = ParseCatchUp(in.CatchUp)
	errs = append(errs, err)
	if _, err := schedule.LoadZone(in.TZ); err != nil {
		errs = append(errs, fmt.Errorf("tz: %w: %w", err, fault.Invalid))
		in.TZ, r.Zone = "", ""
	}
	for _, t := range []struct {
		name, text string
		into       *time.Time
	}{{"start", in.Start, &r.Start}, {"end", in.End, &r.End}} {
		if t.text == "" {
			continue
		}
		*t.into, err = instant(t.name, t.text, now, in.TZ)
		errs = append(errs, err)
	}
	return r, errors.Join(errs...)
}

// ParseCatchUp reads how many missed occurrences are to run.
func ParseCatchUp(text string) (int, error) {
	switch text {
	case "", "none":
		return 0, nil
	case "last":
		return 1, nil
	case "all":
		return recurring.MaxCatchUp, nil
	}
	n, err := strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(text, "all up to")))
	if err != nil || n < 0 || n > recurring.MaxCatchUp {
		return 0, fmt.Errorf("catch-up: want none, last, all or a number up to %d, have %q: %w", recurring.MaxCatchUp, text, fault.Invalid)
	}
	return n, nil
}

// recurrenceIs is as [bookingIs].
func recurrenceIs(versions []string) []recurring.Condition {
	if len(versions) == 0 {
		return nil
	}
	return []recurring.Condition{func(r *recurring.Recurrence) error {
		is, err := r.Version()
		if err == nil && !slices.Contains(versions, is) {
			err = hasChanged(r.Name, recurrence(&recurring.View{Recurrence: *r}).State)
		}
		return err
	}}
}

func oneRecurrence(v *recurring.View) (reply control.Reply[control.Recurrence], err error) {
	r := recurrence(v)
	if r.Version, err = v.Version(); err != nil {
		return reply, err
	}
	return control.Reply[control.Recurrence]{Summary: "name=" + r.Name + " state=" + r.State, Lines: []control.Recurrence{r}}, nil
}

// recurrence translates a recurrence.
func recurrence(v *recurring.View) control.Recurrence {
	r := control.Recurrence{
		Name: v.Name, Owner: v.Owner, State: "waiting", When: v.When(), Next: control.Instant{Time: v.Next}, Due: control.Instant{Time: v.Due},
		Command: beginning(control.ShellWords(v.Job.Argv)), Script: control.Text(v.Job.Script), Label: v.Job.Label, Tags: v.Job.Tags, Reason: v.HoldReason, Declared: v.Declared,
		Running: slices.Concat([]string{}, v.Members), Begun: v.Tally.Begun, Skipped: v.Tally.Skipped, Outcomes: map[string]int{},
	}
	switch {
	case v.HoldReason != "":
		r.State = "held"
		r.Next, r.Due = control.Instant{}, control.Instant{}
	case len(v.Members) > 0:
		r.State = "running"
	case v.Next.IsZero() && strings.TrimSpace(strings.ToLower(v.Cron)) != "@reboot":
		r.State = "over"
	}
	for o, n := range v.Tally.Outcomes {
		if n > 0 {
			r.Outcomes[string(o)] = int(n)
		}
	}
	if v.Tally.EndedID != "" {
		r.Last = &control.Ended{ID: v.Tally.EndedID, Outcome: string(v.Tally.LastOutcome), End: v.Tally.LastEnd}
	}
	return r
}

func (d Daemon) everyList(ctx context.Context, c control.Caller, in control.EveryListIn) (reply control.Reply[control.Recurrence], err error) {
	if in.Verb != "" && !slices.Contains(recurring.Verbs(), in.Verb) {
		return reply, fmt.Errorf("verb: want %s, have %q: %w", oneOf(recurring.Verbs()), in.Verb, fault.Invalid)
	}
	tags := commas(in.Tag)
	all, err := d.Recurrences.List(ctx, in.Owner)
	for _, v := range all {
		v = v.For(actor(c))
		if in.Label != "" && !activation.Like(in.Label, v.Job.Label) ||
			slices.ContainsFunc(tags, func(tag string) bool { return !slices.Contains(v.Job.Tags, tag) }) {
			continue
		}
		r := recurrence(&v)
		r.Can = v.Can(actor(c), in.Verb)
		reply.Lines = append(reply.Lines, r)
	}
	return reply, err
}

// showSkips is how many series of skipped occurrences are shown.
const showSkips = 100

func (d Daemon) everyShow(ctx context.Context, c control.Caller, in control.NameIn) (reply control.Reply[control.RecurrenceDetail], err error) {
	v, err := d.Recurrences.Get(ctx, in.Name, showSkips)
	if err != nil {
		return reply, err
	}
	version, err := v.Version()
	if err != nil {
		return reply, err
	}
	v = v.For(actor(c))
	out := control.RecurrenceDetail{
		Recurrence: recurrence(&v), Cron: v.Cron, Calendar: v.Calendar, TZ: v.Zone, Overlap: v.Overlap, CatchUp: v.CatchUp,
		Start: control.Instant{Time: v.Start}, End: control.Instant{Time: v.End},
		Argv: v.Job.Argv, Dir: v.Job.Dir, Locks: v.Job.Locks, Priority: v.Job.Priority, Created: v.Created, Skips: []control.Skip{},
	}
	out.Version = version
	if v.Inputs {
		out.Stdin = stdin(&v.Job.Order)
		out.Env, out.Masked = variables(d.Engine.Settings().Jobs.Env, v.Job.Env)
	}
	if out.Last != nil {
		switch last, err := d.get(ctx, c, out.Last.ID); {
		case err == nil:
			out.Last.Reason = last.Reason
		case !errors.Is(err, fault.NotFound):
			return reply, err
		}
	}
	out.Bytes = control.ShowBytes(&out.Argv, new([]string), &out.Dir)
	if v.Every > 0 {
		out.Every = v.Every.String()
	}
	if v.Jitter > 0 {
		out.Jitter = v.Jitter.String()
	}
	if v.Job.Timeout != nil {
		out.Timeout = v.Job.Timeout.String()
	}
	if v.Job.Retries != nil {
		out.Retries = *v.Job.Retries
	}
	for _, s := range v.Skips {
		out.Skips = append(out.Skips, control.Skip{From: s.From, To: s.To, Count: s.Count, More: s.More, Reason: s.Reason})
	}
	reply.Lines = []control.RecurrenceDetail{out}
	return reply, nil
}

func (d Daemon) everyRemove(ctx context.Context, c control.Caller, in control.EveryVerbIn) (control.Reply[control.Nothing], error) {
	if err := d.Recurrences.Remove(ctx, actor(c), in.Name, recurrenceIs(in.Version)...); err != nil {
		return control.Reply[control.Nothing]{}, err
	}
	return control.Reply[control.Nothing]{Summary: in.Name + " is removed"}, nil
}

func (d Daemon) everyHold(ctx context.Context, c control.Caller, in control.EveryVerbIn) (control.Reply[control.Recurrence], error) {
	return d.changed(ctx, c, in, d.Recurrences.Hold)
}

func (d Daemon) everyRelease(ctx context.Context, c control.Caller, in control.EveryVerbIn) (control.Reply[control.Recurrence], error) {
	return d.changed(ctx, c, in, d.Recurrences.Release)
}

func (d Daemon) changed(ctx context.Context, c control.Caller, in control.EveryVerbIn,
	change func(context.Context, activation.Actor, string, ...recurring.Condition) (*recurring.Recurrence, error)) (reply control.Reply[control.Recurrence], err error) {
	if _, err := change(ctx, actor(c), in.Name, recurrenceIs(in.Version)...); err != nil {
		return reply, err
	}
	v, err := d.Recurrences.Get(ctx, in.Name, 0)
	if err != nil {
		return reply, err
	}
	return oneRecurrence(&v)
}

func (d Daemon) everyRun(ctx context.Context, c control.Caller, in control.NameIn) (reply control.Reply[control.AddOut], err error) {
	id, err := d.Recurrences.RunOnce(ctx, actor(c), in.Name)
	if err != nil {
		return reply, err
	}
	return control.Reply[control.AddOut]{Summary: "id=" + id, Lines: []control.AddOut{{ID: id, Due: time.Now()}}}, nil
}

// maxComing is the largest number of occurrences in a reply.
const maxComing = 10_000

func (d Daemon) next(ctx context.Context, _ control.Caller, in control.NextIn) (reply control.Reply[control.Coming], err error) {
	if in.N == 0 {
		in.N = 10
	}
	if in.N < 0 || in.N > maxComing {
		return reply, fmt.Errorf("n: want 1 to %d, have %d: %w", maxComing, in.N, fault.Invalid)
	}
	now := time.Now()
	given := in.Cron != "" || in.Calendar != "" || in.Every != ""
	if in.Name != "" && (given || in.Start != "" || in.End != "" || in.TZ != "") {
		return reply, fmt.Errorf("a name and a rule exclude each other: use one of them: %w", fault.Invalid)
	}
	after, anchor := now, now
	var rule recurring.Rule
	if given {
		rule, err = ParseRule("", control.RuleIn{Cron: in.Cron, Calendar: in.Calendar, Every: in.Every, TZ: in.TZ, Start: in.Start, End: in.End}, now)
	} else {
		var v recurring.View
		v, err = d.Recurrences.Get(ctx, in.Name, 0)
		rule, anchor = v.Rule, v.Created
		if v.HoldReason == "" && !v.Next.IsZero() {
			after = v.Next.Add(-1) // it may be overdue, or the clock may have been set back
		}
	}
	if err != nil {
		return reply, err
	}
	if in.From != "" {
		if after, err = instant("from", in.From, now, rule.Zone); err != nil {
			return reply, err
		}
		after = after.Add(-1)
	}
	coming, err := rule.Upcoming(after, anchor, in.N)
	for _, at := range coming {
		reply.Lines = append(reply.Lines, control.Coming{
			Occurrence: at.Occurrence, Due: at.Due, Local: at.Occurrence.Format(time.RFC3339Nano),
		})
	}
	return reply, err
}
