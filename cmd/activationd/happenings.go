package main

import (
	"context"
	"log/slog"

	"activationd/activation"
)

// logHappenings logs what becomes of activations, from the happening after since on.
// It is a task of its own: a log that is slow to take a line delays nobody's start, and
// loses lines at worst.
func (c *core) logHappenings(since uint64) func(context.Context) error {
	return func(ctx context.Context) error {
		return c.engine.Follow(ctx, since, func(h activation.Happening) error {
			if h.Seq > since+1 && since > 0 {
				c.log.Warn("what happened meanwhile is not logged", "happenings", h.Seq-since-1)
			}
			since = h.Seq
			if level := levelOf(h); (h.ID != "" || h.Failed) && c.log.Enabled(ctx, level) {
				c.log.LogAttrs(ctx, level, h.What, attrsOf(h)...)
			}
			return nil
		})
	}
}

// levelOf is how much a happening matters to whoever looks after the daemon.
func levelOf(h activation.Happening) slog.Level {
	switch {
	case h.State == string(activation.Stuck) && h.What == "state":
		return slog.LevelError
	case h.Failed, h.Outcome != "" && h.Outcome != activation.Succeeded && h.Outcome != activation.Cancelled:
		return slog.LevelWarn
	case h.N > 0, h.Outcome != "", h.State == string(activation.Active):
		return slog.LevelInfo
	}
	return slog.LevelDebug
}

func attrsOf(h activation.Happening) []slog.Attr {
	var attrs []slog.Attr
	add := func(key, value string) {
		if value != "" {
			attrs = append(attrs, slog.String(key, value))
		}
	}
	add("id", h.ID)
	add("state", h.State)
	add("outcome", string(h.Outcome))
	add("phase", h.Phase)
	if h.N > 0 {
		attrs = append(attrs, slog.Int("attempt", h.N))
	}
	add("reason", h.Reason)
	return attrs
}
