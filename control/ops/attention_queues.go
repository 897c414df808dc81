package ops

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"activationd/control"
	"activationd/internal/fault"
	"activationd/queue/broker"
)

// queuesPatience is how long status waits for the state of queues. A daemon that has just
// started first finds out what the former one left.
const queuesPatience = 2 * time.Second

// queuesNeed adds the queues that need a person: those that stand still come first.
func (d Daemon) queuesNeed(ctx context.Context, l *needList, s *control.StatusOut) error {
	if err := d.Pools.Err(); err != nil {
		*l = append(*l, control.Attention{
			Kind: control.NeedsQueue, Text: "the list of the queues that are served cannot be read: " + control.OneLine(fault.Text(err)), Try: "atctl queue allowed",
		})
	}
	within, stop := context.WithTimeout(ctx, queuesPatience)
	defer stop()
	all, err := d.Queues.Queues(within)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return nil
	}
	if err != nil {
		return err
	}
	var needs []control.Attention
	s.Queues = new(control.QueuesStatus)
	for i := range all {
		q := &all[i]
		if q.Builtin { // hooks have lines of their own
			continue
		}
		s.Queues.Queues++
		s.Queues.Ready += q.Ready
		s.Queues.Delayed += q.Delayed
		s.Queues.Work += q.InWork
		s.Queues.Dead += q.Dead
		if a := queueNeeds(q); a.Text != "" {
			needs = append(needs, a)
		}
	}
	slices.SortStableFunc(needs, func(a, b control.Attention) int { return b.Since.Compare(a.Since) })
	*l = append(*l, needs[:min(len(needs), examples)]...)
	l.more(control.NeedsQueue, len(needs), examples, "atctl queue list")
	return nil
}

// queueNeeds says why a queue needs a person; without a text it does not.
func queueNeeds(s *broker.Status) control.Attention {
	a := control.Attention{Kind: control.NeedsQueue, ID: s.Name}
	switch {
	case s.Paused != nil && s.Paused.Fault:
		a.Since, a.Text = s.Paused.At, "paused, as its listener cannot run: "+strings.TrimPrefix(control.OneLine(s.Paused.Reason), "its listener cannot run: ")
		a.Try = "when it is fixed: atctl queue resume " + s.Name
	case s.Fault != "":
		a.Text, a.Try = "its listener cannot be started: "+control.OneLine(s.Fault), "atctl queue list"
	case s.Dead == 1:
		a.Text, a.Try = "1 dead letter", "atctl queue dead "+s.Name
	case s.Dead > 1:
		a.Text, a.Try = fmt.Sprintf("%d dead letters", s.Dead), "atctl queue dead "+s.Name
	}
	return a
}
