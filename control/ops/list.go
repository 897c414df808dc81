package ops

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"activationd/activation"
	"activationd/control"
	"activationd/internal/fault"
	"activationd/internal/timetext"
)

// get returns the part of an activation that the caller may see.
func (d Daemon) get(ctx context.Context, c control.Caller, id string) (activation.View, error) {
	v, err := d.Engine.Get(ctx, id)
	return v.For(actor(c)), err
}

func (d Daemon) list(ctx context.Context, c control.Caller, in control.ListIn) (control.Reply[control.Activation], error) {
	unused, others, err := d.listUnused(ctx, &in)
	if err != nil {
		return control.Reply[control.Activation]{}, err
	}
	f, err := filter(&in, time.Now())
	if err != nil {
		return control.Reply[control.Activation]{}, err
	}
	f.By = actor(c)
	merge := f.Sort == "id" && !f.Reverse
	if merge { // otherwise they come last
		slices.SortFunc(unused, func(a, b control.Activation) int { return activation.CompareIDs(a.ID, b.ID) })
		unused = slices.DeleteFunc(unused, func(a control.Activation) bool { return in.After != "" && activation.CompareIDs(a.ID, in.After) <= 0 })
	}
	notice, err := d.unknownDevices(ctx, f)
	if err != nil {
		return control.Reply[control.Activation]{}, err
	}
	return control.Reply[control.Activation]{Summary: control.Noticed(notice), Each: func(yield func(control.Activation, error) bool) {
		n := 0
		row := func(a control.Activation) error {
			if n++; !yield(a, nil) || n == in.Limit {
				return errEnough
			}
			return nil
		}
		var err error
		if others {
			err = d.Engine.List(ctx, f, func(v activation.View) error {
				for merge && len(unused) > 0 && activation.CompareIDs(unused[0].ID, v.ID) <= 0 {
					first := unused[0]
					unused = unused[1:]
					if err := row(first); err != nil {
						return err
					}
				}
				return row(wire(&v))
			})
		}
		for i := 0; err == nil && i < len(unused); i++ {
			err = row(unused[i])
		}
		if err != nil && !errors.Is(err, errEnough) {
			yield(control.Activation{}, err)
		}
	}}, nil
}

// filter reads what a list chooses.
func filter(in *control.ListIn, now time.Time) (f activation.Filter, err error) {
	f = activation.Filter{
		Owner: in.Owner, Kind: activation.Kind(in.Kind), Label: in.Label, ID: in.ID, From: in.Every, Tags: commas(in.Tag),
		Devices: commas(in.Device), Text: in.Match, Sort: in.Sort, Reverse: in.Reverse, Limit: in.Limit, After: in.After,
	}
	invalid := func(format string, args ...any) (activation.Filter, error) {
		return activation.Filter{}, fmt.Errorf(format+": %w", append(args, fault.Invalid)...)
	}
	switch f.Kind {
	case "", activation.Job, activation.Reservation, activation.Service:
	default:
		return invalid("kind: want job, reservation or service, have %q", in.Kind)
	}
	if f.Limit < 0 {
		return invalid("limit: want 0 or more, have %d", f.Limit)
	}
	if f.Verb = in.Verb; f.Verb != "" && !slices.Contains(activation.Verbs(), f.Verb) {
		return invalid("verb: want %s, have %q", oneOf(activation.Verbs()), f.Verb)
	}
	if f.Sort != "" && !slices.Contains(activation.SortWords(), f.Sort) {
		return invalid("sort: want %s, have %q", oneOf(activation.SortWords()), f.Sort)
	}
	var states, outcomes []activation.Condition
	for _, word := range commas(in.State) {
		c, ok := condition(word)
		switch {
		case word == "all":
			f.Finished = true
		case ok:
			states = append(states, c)
		default:
			return invalid("state: want all, %s, have %q", oneOf(append(conditionWords(false), unusedWords()...)), word)
		}
	}
	for _, word := range commas(in.Outcome) {
		c, ok := condition(word)
		if !ok || c.Outcome == "" {
			return invalid("outcome: want %s, have %q", oneOf(conditionWords(true)), word)
		}
		outcomes = append(outcomes, c)
	}
	for _, list := range [][]activation.Condition{states, outcomes} {
		if len(list) > 0 {
			f.In = append(f.In, list)
		}
	}
	if in.Failed {
		f.In = append(f.In, failures)
	}
	f.Finished = f.Finished || in.Since != "" || in.Until != ""
	f.Since, f.Until, err = lookBack(in.Since, in.Until, now)
	return f, err
}

// lookBack reads the times since which and until which something is wanted. An empty text
// gives the zero time.
func lookBack(since, until string, now time.Time) (from, to time.Time, err error) {
	for _, t := range []struct {
		name, text string
		at         *time.Time
	}{{"since", since, &from}, {"until", until, &to}} {
		if t.text == "" {
			continue
		}
		if *t.at, err = timetext.Past(t.text, now, from, time.Local); err != nil {
			return from, to, fmt.Errorf("%s: %w: %w", t.name, err, fault.Invalid)
		}
	}
	if !to.IsZero() && to.Before(from) {
		err = fmt.Errorf("until: %s is before since, %s: %w", timeText(to), timeText(from), fault.Invalid)
	}
	return from, to, err
}

// conditions are what the words for a state choose: the states, and what [control.Status]
// shows instead of some of them.
var conditions = [...]struct {
	word string
	activation.Condition
}{
	{"scheduled", activation.Condition{State: activation.Scheduled}},
	{"held", activation.Condition{State: activation.Held}},
	{"waiting", activation.Condition{State: activation.Waiting}},
	{"running", activation.Condition{State: activation.Activating, Kind: activation.Job}},
	{"activating", activation.Condition{State: activation.Activating}},
	{"active", activation.Condition{State: activation.Active}},
	{"deactivating", activation.Condition{State: activation.Deactivating}},
	{"stuck", activation.Condition{State: activation.Stuck}},
	{"conflicting", activation.Condition{Conflicting: true}},
	{"finished", activation.Condition{State: activation.Finished}},
	{"succeeded", ended(activation.Succeeded)},
	{"failed", ended(activation.Failed)},
	{"timed_out", ended(activation.TimedOut)},
	{"cancelled", ended(activation.Cancelled)},
	{"missed", ended(activation.Missed)},
	{"lost", ended(activation.Lost)},
}

// failures are the ends that somebody should know of: all but success, and but what somebody
// cancelled.
var failures = []activation.Condition{
	ended(activation.Failed), ended(activation.TimedOut), ended(activation.Missed), ended(activation.Lost), {State: activation.Stuck},
}

func ended(o activation.Outcome) activation.Condition {
	return activation.Condition{State: activation.Finished, Outcome: o}
}

// condition returns what a word for a state chooses, and reports whether it is one.
func condition(word string) (activation.Condition, bool) {
	for _, c := range conditions {
		if c.word == strings.ToLower(word) {
			return c.Condition, true
		}
	}
	return activation.Condition{}, false
}

// conditionWords returns the words for states, or those for outcomes alone.
func conditionWords(outcomes bool) (words []string) {
	for _, c := range conditions {
		if !outcomes || c.Outcome != "" {
			words = append(words, c.word)
		}
	}
	return words
}

// oneOf names the words of which one is wanted.
func oneOf(words []string) string {
	n := len(words) - 1
	return strings.Join(words[:n], ", ") + " or " + words[n]
}

// wire translates an activation.
func wire(v *activation.View) control.Activation {
	a := control.Activation{
		ID: v.ID, Kind: string(v.Kind), Owner: v.Owner, State: string(v.State), Outcome: string(v.Outcome),
		Status:  status(&v.Record),
		Planned: v.Start, Started: control.Instant{Time: v.Started()}, Ended: control.Instant{Time: v.Ended()},
		Due: control.Instant{Time: v.NextDue()}, Start: control.Instant{Time: v.Start}, End: control.Instant{Time: v.End},
		Label: v.Label, Reason: v.Reason,
	}
	if v.State == activation.Finished && !a.Started.IsZero() {
		took := a.Ended.Sub(a.Started.Time).Round(time.Millisecond).Seconds()
		a.Took = &took
	}
	if v.Kind == activation.Job {
		if a.End = a.Ended; !a.Started.IsZero() || v.State == activation.Finished {
			a.Start = a.Started
		}
	}
	if last := v.LastAttempt(activation.Activate); last != nil {
		a.Exit, a.Signal = exit(last)
	}
	if a.Occurrence = v.Occurrence; v.Serving == nil {
		a.Every = v.From
	}
	a.Priority, a.Tags, a.Hidden, a.Can = v.Priority, v.Tags, v.Hidden, v.Can
	a.Version = v.Version
	a.Conflicts = conflictLines(v.Conflicts)
	if p := v.Progress; p != nil && v.Running() {
		a.Progress = &control.Progress{Text: p.Text, At: p.At}
		if p.Percent >= 0 {
			a.Progress.Percent = &p.Percent
		}
	}
	if v.Kind == activation.Job {
		a.Command, a.Script = beginning(control.ShellWords(v.Argv)), control.Text(v.Record.Script)
	}
	return a
}

// beginning returns the part of a command for which a list has room, in one line.
func beginning(command string) string {
	const most = 60
	command = control.OneLine(command)
	for i := range command {
		if i > most {
			return command[:i] + "..."
		}
	}
	return command
}

// status is the word for r that users read.
func status(r *activation.Record) string {
	if r.Serving != nil {
		return r.InstanceState()
	}
	return control.Status(string(r.Kind), string(r.State), string(r.Outcome))
}
