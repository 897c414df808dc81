package ops

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
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
	if in.Limit < 0 {
		return fmt.Errorf("limit: want 0 or more, have %d: %w", in.Limit, fault.Invalid)
	}
	if q.After, err = eventNumber(in.After); err != nil {
		return err
	}
	if in.N > 0 && in.Limit > 0 {
		in.N = min(in.N, in.Limit)
	}
	actions := commas(in.Action)
	if len(actions) == 1 {
		q.Action = actions[0] // which the log can find faster
	}
	match := strings.ToLower(in.Match)
	var newest []control.Event
	sent := 0
	err = d.Engine.Acts(ctx, actor(c), q, func(ev *event.Event) error {
		if len(actions) > 0 && !slices.Contains(actions, ev.Action) || match != "" && !mentions(ev, match) {
			return nil
		}
		out := wireEvent(ev)
		if in.N == 0 {
			return sending(&sent, in.Limit, send, out)
		}
		if newest = append(newest, out); len(newest) >= 2*in.N+pageOfActs {
			newest = slices.Delete(newest, 0, len(newest)-in.N)
		}
		return nil
	})
	if err != nil {
		return ignoreEnough(err)
	}
	for _, out := range newest[max(0, len(newest)-in.N):] {
		if err := send(out); err != nil {
			return err
		}
	}
	return nil
}

// errEnough ends a list that has as many lines as were wanted.
var errEnough = errors.New("enough")

func ignoreEnough(err error) error {
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// sending sends an event, and returns errEnough if that was the last of so many that are wanted; 0:
// all are.
func sending(sent *int, limit int, send func(control.Event) error, out control.Event) error {
	if err := send(out); err != nil {
		return err
	}
	if *sent++; *sent == limit {
		return errEnough
	}
	return nil
}

// eventNumber reads the number of the event after which a list is continued; none: 0.
func eventNumber(after string) (n uint64, err error) {
	if after == "" {
		return 0, nil
	}
	if n, err = strconv.ParseUint(after, 10, 64); err != nil {
		err = fmt.Errorf("after: %.40q is not the number of an event: %w", after, fault.Invalid)
	}
	return n, err
}

// pageOfActs is how many acts are collected before the older ones among them are dropped.
const pageOfActs = 1000

// mentions reports whether an event has a text, which is in lower case.
func mentions(ev *event.Event, text string) bool {
	has := func(s string) bool { return strings.Contains(strings.ToLower(s), text) }
	return has(ev.ID) || has(ev.Label) || has(ev.Owner) || has(ev.Reason) || has(ev.Source) || has(ev.Action) || has(ev.Topic) || has(ev.Text) ||
		ev.Actor != nil && has(ev.Actor.Name) ||
		slices.ContainsFunc(ev.Changes, func(c event.Change) bool { return has(c.Field) || has(c.From) || has(c.To) })
}
