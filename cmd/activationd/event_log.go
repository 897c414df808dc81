package main

import (
	"context"
	"log/slog"
	"time"

	"activationd/activation"
	"activationd/event"
)

// logDelay bounds how much later than an event its line in the log may be. The line has the
// event's time.
const logDelay = 20 * time.Millisecond

// logEvents logs the events that follow since. It is a task of its own, so that a log that is
// slow to take a line delays no start: at worst the log lacks events, and says so.
func (d *daemon) logEvents(since uint64) func(context.Context) error {
	return func(ctx context.Context) error {
		return d.engine.Events().FollowSlowly(ctx, since, logDelay, func(ev *event.Event) error {
			if ev.What == event.Gap {
				d.log.Warn("events are not logged, as the log is slow", "from", ev.From, "to", ev.Seq)
				return nil
			}
			if level := levelOf(ev); (ev.ID != "" || ev.Failed) && d.log.Enabled(ctx, level) {
				r := slog.NewRecord(ev.Time, level, ev.What, 0)
				r.AddAttrs(attrsOf(ev)...)
				_ = d.log.Handler().Handle(ctx, r) // a log that fails stops nothing
			}
			return nil
		})
	}
}

// levelOf returns the level at which an event is logged.
func levelOf(ev *event.Event) slog.Level {
	outcome := activation.Outcome(ev.Outcome)
	switch {
	case ev.State == string(activation.Stuck) && ev.What == event.State:
		return slog.LevelError
	case ev.Failed, outcome != "" && outcome != activation.Succeeded && outcome != activation.Cancelled:
		return slog.LevelWarn
	case ev.Attempt > 0, outcome != "", ev.State == string(activation.Active), ev.What == "over":
		return slog.LevelInfo
	}
	return slog.LevelDebug
}

func attrsOf(ev *event.Event) []slog.Attr {
	var attrs []slog.Attr
	add := func(key, value string) {
		if value != "" {
			attrs = append(attrs, slog.String(key, value))
		}
	}
	add("id", ev.ID)
	add("state", ev.State)
	add("outcome", ev.Outcome)
	add("phase", ev.Phase)
	if ev.Attempt > 0 {
		attrs = append(attrs, slog.Int("attempt", ev.Attempt))
	}
	add("reason", ev.Reason)
	if by := ev.Actor; by != nil {
		add("by", by.Name)
	}
	return attrs
}
