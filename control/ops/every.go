package ops

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"activationd/activation"
	"activationd/control"
	"activationd/internal/fault"
	"activationd/schedule"
)

// everyOps are the operations on recurrences.
func (d Daemon) everyOps() []control.Op {
	return []control.Op{
		control.Declare("every add", control.Submitter, "add a recurrence", d.everyAdd),
		control.Declare("every list", control.Viewer, "list recurrences", d.everyList),
		control.Declare("every show", control.Viewer, "show one recurrence, and what was skipped of it", d.everyShow),
		control.Declare("every remove", control.Submitter, "remove a recurrence; what runs of it goes on", d.everyRemove),
		control.Declare("every hold", control.Submitter, "keep a recurrence from occurring", d.everyHold),
		control.Declare("every release", control.Submitter, "let a held recurrence occur again, from now on", d.everyRelease),
		control.Declare("every run", control.Submitter, "run what recurs once, now", d.everyRun),
		control.Declare("next", control.Viewer, "the coming instants of a recurrence, or of a rule", d.next),
	}
}

func (d Daemon) everyAdd(ctx context.Context, c control.Caller, in control.EveryAddIn) (reply control.Reply[control.Recurrence], err error) {
	user, err := d.Identity(c)
	if err != nil {
		return reply, err
	}
	now := time.Now()
	if in.At != "" || in.In != "" || in.Deadline != "" || len(in.After) > 0 || in.AddIn.Hold {
		return reply, fmt.Errorf("at, in, after, deadline and hold are not for what recurs: give cron, calendar or every, and hold it once it is added: %w", fault.Invalid)
	}
	rule, err := ParseRule(in.Name, in.RuleIn, now)
	if err != nil {
		return reply, err
	}
	if rule.Job, err = newJob(&in.AddIn, now); err != nil {
		return reply, err
	}
	rule.Job.Owner, rule.Job.User = c.Name, user
	r, err := d.Engine.AddRecurrence(ctx, rule)
	if err != nil {
		return reply, err
	}
	return oneRecurrence(&activation.RecurrenceView{Recurrence: *r}), nil
}

// ParseRule reads a rule, all but what runs; now is what its times are relative to.
func ParseRule(name string, in control.RuleIn, now time.Time) (r activation.Rule, err error) {
	r = activation.Rule{Name: name, Cron: in.Cron, Calendar: in.Calendar, Zone: in.TZ, Overlap: in.Overlap}
	if in.Every != "" {
		if r.Every, err = schedule.ParseInterval(in.Every); err != nil {
			return r, fmt.Errorf("every: %w: %w", err, fault.Invalid)
		}
	}
	jitter, err := duration("jitter", in.Jitter)
	if err != nil {
		return r, err
	}
	if jitter != nil {
		r.Jitter = *jitter
	}
	if r.CatchUp, err = ParseCatchUp(in.CatchUp); err != nil {
		return r, err
	}
	if _, err := schedule.LoadZone(in.TZ); err != nil {
		return r, fmt.Errorf("tz: %w: %w", err, fault.Invalid)
	}
	for _, t := range []struct {
		name, text string
		into       *time.Time
	}{{"start", in.Start, &r.Start}, {"end", in.End, &r.End}} {
		if t.text == "" {
			continue
		}
		if *t.into, err = instant(t.name, t.text, now, in.TZ); err != nil {
			return r, err
		}
	}
	return r, nil
}

// ParseCatchUp reads how many of the occurrences that were missed are to run.
func ParseCatchUp(text string) (int, error) {
	switch text {
	case "", "none":
		return 0, nil
	case "last":
		return 1, nil
	case "all":
		return activation.MaxCatchUp, nil
	}
	n, err := strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(text, "all up to")))
	if err != nil || n < 0 || n > activation.MaxCatchUp {
		return 0, fmt.Errorf("catch-up: want none, last, all or a number up to %d, have %q: %w", activation.MaxCatchUp, text, fault.Invalid)
	}
	return n, nil
}

func oneRecurrence(v *activation.RecurrenceView) control.Reply[control.Recurrence] {
	r := recurrence(v)
	return control.Reply[control.Recurrence]{Summary: "name=" + r.Name + " state=" + r.State, Lines: []control.Recurrence{r}}
}

// recurrence translates one.
func recurrence(v *activation.RecurrenceView) control.Recurrence {
	r := control.Recurrence{
		Name: v.Name, Owner: v.Owner, State: "waiting", When: v.When(), Next: control.Instant{Time: v.Next}, Due: control.Instant{Time: v.Due},
		Command: beginning(control.Text(strings.Join(v.Job.Argv, " "))), Label: v.Job.Label, Reason: v.Held, Declared: v.Declared,
		Running: slices.Concat([]string{}, v.Members), Begun: v.Tally.Begun, Skipped: v.Tally.Skipped, Outcomes: map[string]int{},
	}
	switch {
	case v.Held != "":
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
	all, err := d.Engine.Recurrences(ctx, in.Owner)
	for _, v := range all {
		v = v.For(by(c))
		reply.Lines = append(reply.Lines, recurrence(&v))
	}
	return reply, err
}

// showSkips is how many rows of what was skipped are shown.
const showSkips = 100

func (d Daemon) everyShow(ctx context.Context, c control.Caller, in control.NameIn) (reply control.Reply[control.RecurrenceDetail], err error) {
	v, err := d.Engine.Recurrence(ctx, in.Name, showSkips)
	if err != nil {
		return reply, err
	}
	v = v.For(by(c))
	out := control.RecurrenceDetail{
		Recurrence: recurrence(&v), Cron: v.Cron, Calendar: v.Calendar, TZ: v.Zone, Overlap: v.Overlap, CatchUp: v.CatchUp,
		Start: control.Instant{Time: v.Start}, End: control.Instant{Time: v.End},
		Argv: v.Job.Argv, Dir: v.Job.Dir, Locks: v.Job.Locks, Priority: v.Job.Priority, Tags: v.Job.Tags, Created: v.Created, Skips: []control.Skip{},
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

func (d Daemon) everyRemove(ctx context.Context, c control.Caller, in control.NameIn) (control.Reply[control.Nothing], error) {
	if err := d.Engine.RemoveRecurrence(ctx, by(c), in.Name); err != nil {
		return control.Reply[control.Nothing]{}, err
	}
	return control.Reply[control.Nothing]{Summary: in.Name + " is removed"}, nil
}

func (d Daemon) everyHold(ctx context.Context, c control.Caller, in control.NameIn) (control.Reply[control.Recurrence], error) {
	return d.changed(ctx, c, in.Name, d.Engine.HoldRecurrence)
}

func (d Daemon) everyRelease(ctx context.Context, c control.Caller, in control.NameIn) (control.Reply[control.Recurrence], error) {
	return d.changed(ctx, c, in.Name, d.Engine.ReleaseRecurrence)
}

func (d Daemon) changed(ctx context.Context, c control.Caller, name string,
	change func(context.Context, activation.By, string) (*activation.Recurrence, error)) (reply control.Reply[control.Recurrence], err error) {
	if _, err := change(ctx, by(c), name); err != nil {
		return reply, err
	}
	v, err := d.Engine.Recurrence(ctx, name, 0)
	if err != nil {
		return reply, err
	}
	return oneRecurrence(&v), nil
}

func (d Daemon) everyRun(ctx context.Context, c control.Caller, in control.NameIn) (reply control.Reply[control.AddOut], err error) {
	id, err := d.Engine.RunRecurrence(ctx, by(c), in.Name)
	if err != nil {
		return reply, err
	}
	return control.Reply[control.AddOut]{Summary: "id=" + id, Lines: []control.AddOut{{ID: id, Due: time.Now()}}}, nil
}

// maxComing is how many instants are told at most.
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
		return reply, fmt.Errorf("a name and a rule exclude each other: give one of them: %w", fault.Invalid)
	}
	after, anchor := now, now
	var rule activation.Rule
	if given {
		rule, err = ParseRule("", control.RuleIn{Cron: in.Cron, Calendar: in.Calendar, Every: in.Every, TZ: in.TZ, Start: in.Start, End: in.End}, now)
	} else {
		var v activation.RecurrenceView
		v, err = d.Engine.Recurrence(ctx, in.Name, 0)
		rule, anchor = v.Rule, v.Created
		if v.Held == "" && !v.Next.IsZero() {
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
	coming, err := rule.Coming(after, anchor, in.N)
	for _, at := range coming {
		reply.Lines = append(reply.Lines, control.Coming(at))
	}
	return reply, err
}
