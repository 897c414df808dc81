package ops

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"activationd/activation"
	"activationd/activation/service"
	"activationd/control"
	"activationd/event"
	"activationd/internal/fault"
	"activationd/internal/timetext"
	"activationd/internal/trace"
)

// followers are the clients of the operation events.
type followers struct {
	Daemon

	last atomic.Pointer[wired]
}

// wired is an event as clients get it.
type wired struct {
	of  *event.Event
	out control.Event
}

// follow sends stored events if the request wants them, and then events as they happen.
func (a *followers) follow(ctx context.Context, c control.Caller, in control.EventsIn, send func(control.Event) error) error {
	f, err := a.follower(ctx, &in)
	if err != nil {
		return err
	}
	f.send = send
	if in.Newest > 0 {
		return a.newest(ctx, c, f, &in)
	}
	if f.stored {
		return ignoreEnough(a.Engine.StoredFor(ctx, actor(c), f.after, f.take))
	}
	return a.Engine.FollowFor(ctx, actor(c), f.after, f.wish, f.take)
}

// wire translates an event. Thousands of clients may get the same one, one after the other.
func (a *followers) wire(ev *event.Event) control.Event {
	last := a.last.Load()
	if last == nil || last.of != ev {
		last = &wired{ev, wireEvent(ev)}
		last.out.Share()
		a.last.Store(last)
	}
	return last.out
}

// An eventFollower sends events to a client.
type eventFollower struct {
	all    *followers
	stored bool // only events that are stored already
	limit  int  // how many; 0: all
	after  uint64
	from   time.Time // what was before is not sent
	wish   event.Wish
	gap    *event.Event // not sent yet: it matters if no event from before the time follows
	sent   int
	send   func(control.Event) error
}

func (a *followers) follower(ctx context.Context, in *control.EventsIn) (f *eventFollower, err error) {
	f = &eventFollower{all: a, stored: in.Limit > 0, limit: in.Limit}
	switch {
	case in.Limit < 0:
		return nil, fmt.Errorf("limit: want 0 or more, have %d: %w", in.Limit, fault.Invalid)
	case in.Newest < 0 || in.Newest > mostNewest:
		return nil, fmt.Errorf("newest: want 0 to %d, have %d: %w", mostNewest, in.Newest, fault.Invalid)
	case in.Newest > 0 && in.Limit > 0:
		return nil, fmt.Errorf("newest: give either limit or newest, not both: %w", fault.Invalid)
	case in.Newest == 0 && in.Before != "":
		return nil, fmt.Errorf("before: it needs newest, the number of events that are wanted: %w", fault.Invalid)
	case in.Newest > 0 && in.Since == "":
		in.Since = "0"
	case f.stored && in.Since == "":
		in.Since = "0"
	}
	f.after, f.from, err = a.after(ctx, in.Since)
	if err == nil && in.After != "" {
		f.after, err = eventNumber(in.After)
	}
	if err == nil {
		f.wish, err = eventWish(in, f.from)
	}
	return f, err
}

// Limits of a search for the newest events.
const (
	mostNewest   = 10_000 // how many it can return
	newestAtOnce = 1024   // how many numbers it goes back at a time
	newestSearch = 20_000 // how many numbers it goes back at most
)

// newest sends the newest stored events that a client wants, the oldest of them first. It goes back
// in the log in steps, so that it reads no more than it needs.
func (a *followers) newest(ctx context.Context, c control.Caller, f *eventFollower, in *control.EventsIn) error {
	before, err := eventNumber(in.Before)
	if err != nil {
		return err
	}
	tip, err := a.Engine.Newest(ctx)
	if err != nil {
		return err
	}
	if before == 0 || before > tip {
		before = tip + 1
	}
	last := max(f.after, before-min(before, newestSearch)) // the numbers that are searched are greater
	var found []control.Event
	over := false // there are no older ones that are wanted
	for end := before; !over && end > last+1 && len(found) < in.Newest; {
		from := max(last, end-min(end, newestAtOnce))
		var part []control.Event
		err := a.Engine.StoredFor(ctx, actor(c), from, func(ev *event.Event) error {
			switch removed := ev.What == event.Gap && ev.From == from+1; {
			case removed && ev.Reason == "", ev.Time.Before(f.from):
				over = true
			case ev.Seq >= end:
				return errEnough
			case ev.What == event.Gap || f.wish.Want(ev):
				part = append(part, a.wire(ev))
			}
			return nil
		})
		if err = ignoreEnough(err); err != nil {
			return err
		}
		found, end = append(part, found...), from+1
	}
	if !over && len(found) < in.Newest && last > f.after {
		gap := control.Event{
			Seq: last, Time: time.Now(), What: event.Gap, Topic: event.Gap, From: f.after + 1,
			Reason: "these events were not searched; go on with before",
		}
		if err := f.send(gap); err != nil {
			return err
		}
	}
	for _, out := range found[max(0, len(found)-in.Newest):] {
		if err := f.send(out); err != nil {
			return err
		}
	}
	return nil
}

// take sends an event, if its client wants it.
func (f *eventFollower) take(ev *event.Event) error {
	if !f.from.IsZero() && ev.What == event.Gap {
		f.gap = ev
		return nil
	}
	if f.gap != nil && !ev.Time.Before(f.from) {
		if err := sending(&f.sent, f.limit, f.send, f.all.wire(f.gap)); err != nil {
			return err
		}
	}
	f.gap = nil
	if ev.What != event.Gap && (ev.Time.Before(f.from) || !f.wish.Want(ev)) { // the caller may not see what others do
		return nil
	}
	return sending(&f.sent, f.limit, f.send, f.all.wire(ev))
}

// eventWish returns the wish for the events that a request wants, and all from before a time.
func eventWish(in *control.EventsIn, from time.Time) (wish event.Wish, err error) {
	patterns := make([]event.Pattern, len(in.Topic))
	for i, text := range in.Topic {
		if patterns[i], err = event.ParsePattern(text); err != nil {
			return wish, fmt.Errorf("topic: %w", err)
		}
	}
	outcomes, actions, match := commas(in.Outcome), commas(in.Action), strings.ToLower(in.Match)
	wish.Want = func(ev *event.Event) bool {
		matches := func(p event.Pattern) bool { return p.Match(ev.Topic) }
		return ev.Time.Before(from) || (in.ID == "" || in.ID == ev.ID || service.Key(in.ID) == ev.ID) &&
			(len(patterns) == 0 || slices.ContainsFunc(patterns, matches)) &&
			(in.Owner == "" || in.Owner == ev.Owner) &&
			(in.Kind == "" || in.Kind == ev.Kind) &&
			(in.By == "" || ev.Actor != nil && in.By == ev.Actor.Name) &&
			(len(outcomes) == 0 || slices.Contains(outcomes, ev.Outcome)) &&
			(len(actions) == 0 || ev.Action != "" && slices.Contains(actions, "all") || slices.Contains(actions, ev.Action)) &&
			(match == "" || mentions(ev, match)) &&
			(!in.Failed || reportsFailure(ev))
	}
	same := *in
	if same.Since, same.After = "", ""; !from.IsZero() {
		same.Since = from.String()
	}
	key, err := json.Marshal(same)
	wish.Key = string(key)
	return wish, err
}

// publish stores an event with a text for whoever follows its topic.
func (d Daemon) publish(ctx context.Context, c control.Caller, in control.PublishIn) (reply control.Reply[control.PublishOut], err error) {
	ev, err := event.Publish(in.Topic, in.Text)
	if err != nil {
		return reply, err
	}
	ev.Trace = trace.Of(ctx)
	since, err := d.Engine.Newest(ctx)
	if err == nil {
		err = d.Engine.UpdateBy(ctx, actor(c), func(t *activation.Txn) error {
			t.Emit(ev)
			return nil
		})
	}
	if err != nil {
		return reply, err
	}
	return control.Reply[control.PublishOut]{
		Summary: "topic=" + in.Topic,
		Lines:   []control.PublishOut{{Topic: in.Topic, Since: since}},
	}, nil
}

// reportsFailure reports whether an event reports a failure.
func reportsFailure(ev *event.Event) bool {
	switch activation.Outcome(ev.Outcome) {
	case "", activation.Succeeded, activation.Cancelled:
		return ev.Failed || ev.What == event.State && ev.State == string(activation.Stuck)
	}
	return true
}

// after returns the number of the event after which the events begin that a client wants,
// and the time from which on it wants them. If it says nothing, these are new events.
func (d *Daemon) after(ctx context.Context, since string) (n uint64, from time.Time, err error) {
	if since == "" {
		n, err = d.Engine.Newest(ctx)
		return n, from, err
	}
	if n, err = strconv.ParseUint(since, 10, 64); err == nil {
		return n, from, nil
	}
	if from, err = timetext.Past(since, time.Now(), from, time.Local); err != nil {
		err = fmt.Errorf("since: not the number of an event, and not a time: %w: %w", err, fault.Invalid)
	}
	return 0, from, err
}

// EncodeEvent returns the JSON of an event, as an operator gets it from the operation events.
func EncodeEvent(ev *event.Event) ([]byte, error) {
	out := wireEvent(ev)
	out.Time = out.Time.UTC()
	return json.Marshal(out)
}

// wireEvent translates an event.
func wireEvent(ev *event.Event) control.Event {
	out := control.Event{
		Seq: ev.Seq, Time: ev.Time, What: ev.What, Topic: ev.Topic, ID: ev.ID, Kind: ev.Kind, Owner: ev.Owner, Host: ev.Host,
		State: ev.State, Reason: ev.Reason, WaitsFor: ev.WaitsFor, Outcome: ev.Outcome, Phase: ev.Phase, Attempt: ev.Attempt,
		Result: ev.Result, Exit: ev.Exit, Signal: ev.Signal, Failed: reportsFailure(ev), From: ev.From, Reset: ev.Reset,
		Text: ev.Text, Label: ev.Label, Action: ev.Action, Source: ev.Source, Generation: ev.Load, Changes: wireChanges(ev.Changes),
	}
	if ev.Actor != nil {
		out.Actor = wireActor(ev.Actor)
	}
	return out
}

func wireActor(a *event.Actor) *control.Actor {
	return &control.Actor{Kind: a.Kind, Name: a.Name, Role: a.Role}
}

func wireChanges(all []event.Change) (out []control.Change) {
	for _, c := range all {
		out = append(out, control.Change(c))
	}
	return out
}
