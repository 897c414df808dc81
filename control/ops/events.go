package ops

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"activationd/activation"
	"activationd/activation/service"
	"activationd/control"
	"activationd/event"
	"activationd/internal/fault"
	"activationd/internal/timetext"
)

// events sends stored events if the request wants them, and then events as they happen.
func (d Daemon) events(ctx context.Context, c control.Caller, in control.EventsIn, send func(control.Event) error) error {
	after, from, err := d.after(ctx, in.Since)
	if err != nil {
		return err
	}
	patterns := make([]event.Pattern, len(in.Topic))
	for i, text := range in.Topic {
		if patterns[i], err = event.ParsePattern(text); err != nil {
			return fmt.Errorf("topic: %w", err)
		}
	}
	outcomes := commas(in.Outcome)
	var gap *event.Event // not sent yet: it matters if no event from before the time follows
	return d.Engine.FollowFor(ctx, actor(c), after, func(ev *event.Event) error {
		matches := func(p event.Pattern) bool { return p.Match(ev.Topic) }
		if !from.IsZero() && ev.What == event.Gap {
			gap = ev
			return nil
		}
		if gap != nil && !ev.Time.Before(from) {
			if err := send(wireEvent(gap)); err != nil {
				return err
			}
		}
		gap = nil
		switch {
		case ev.What == event.Gap: // it may replace events that the request wants
		case ev.Time.Before(from),
			in.ID != "" && in.ID != ev.ID && service.Key(in.ID) != ev.ID,
			len(patterns) > 0 && !slices.ContainsFunc(patterns, matches),
			in.Owner != "" && in.Owner != ev.Owner,
			in.Kind != "" && in.Kind != ev.Kind,
			in.By != "" && (ev.Actor == nil || in.By != ev.Actor.Name),
			len(outcomes) > 0 && !slices.Contains(outcomes, ev.Outcome),
			in.Failed && !reportsFailure(ev):
			return nil
		}
		return send(wireEvent(ev))
	})
}

// publish stores an event with a text for whoever follows its topic.
func (d Daemon) publish(ctx context.Context, c control.Caller, in control.PublishIn) (reply control.Reply[control.PublishOut], err error) {
	ev, err := event.Publish(in.Topic, in.Text)
	if err != nil {
		return reply, err
	}
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
func (d Daemon) after(ctx context.Context, since string) (n uint64, from time.Time, err error) {
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
