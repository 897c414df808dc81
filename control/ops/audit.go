package ops

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"activationd/control"
	"activationd/event"
	"activationd/internal/fault"
)

// audit sends what clients requested and what sources changed, as events.
func (d Daemon) audit(ctx context.Context, c control.Caller, in control.AuditIn, send func(control.Event) error) error {
	q := event.Query{By: in.By, IDs: in.ID}
	var err error
	if q.Since, q.Until, err = lookBack(in.Since, in.Until, time.Now()); err != nil {
		return err
	}
	if in.N < 0 {
		return fmt.Errorf("n: want 0 or more, have %d: %w", in.N, fault.Invalid)
	}
	actions := commas(in.Action)
	if len(actions) == 1 {
		q.Action = actions[0] // which the log can find faster
	}
	match := strings.ToLower(in.Match)
	var newest []control.Event
	err = d.Engine.Acts(ctx, actor(c), q, func(ev *event.Event) error {
		if len(actions) > 0 && !slices.Contains(actions, ev.Action) || match != "" && !mentions(ev, match) {
			return nil
		}
		out := wireEvent(ev)
		if in.N == 0 {
			return send(out)
		}
		if newest = append(newest, out); len(newest) >= 2*in.N+pageOfActs {
			newest = slices.Delete(newest, 0, len(newest)-in.N)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, out := range newest[max(0, len(newest)-in.N):] {
		if err := send(out); err != nil {
			return err
		}
	}
	return nil
}

// pageOfActs is how many acts are collected before the older ones among them are dropped.
const pageOfActs = 1000

// mentions reports whether an event has a text, which is in lower case.
func mentions(ev *event.Event, text string) bool {
	has := func(s string) bool { return strings.Contains(strings.ToLower(s), text) }
	return has(ev.ID) || has(ev.Label) || has(ev.Owner) || has(ev.Reason) || has(ev.Source) || has(ev.Actor.Name) || has(ev.Action) ||
		slices.ContainsFunc(ev.Changes, func(c event.Change) bool { return has(c.Field) || has(c.From) || has(c.To) })
}
