package hook

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"activationd/control"
	"activationd/internal/trace"
	"activationd/queue"
)

// Deliver posts the event in the body of a message from a hook's queue. It returns how the attempt ended.
func (p *Poster) Deliver(ctx context.Context, m *queue.Message, attempt int) (result []byte, e queue.Ending) {
	e = queue.Ending{Attempt: attempt, Started: time.Now(), How: queue.HowExited}
	ev, err := eventOf(m.Body)
	if err != nil {
		e.How, e.Outcome, e.Reason, e.Ended = queue.HowError, queue.OutcomeDead, err.Error(), e.Started
		return nil, e
	}
	v, err := p.Post(ctx, ev.Seq, m.Body, m.Headers[trace.Header])
	e.Ended, e.Reason, e.Pause = time.Now(), v.Reason, v.After
	switch {
	case err != nil: // the daemon stops, or the message was cancelled
		e.How, e.Reason = queue.HowStopped, err.Error()
	case v.Outcome == Again:
		e.How = queue.HowError
	case v.Outcome == Dead:
		e.How, e.Outcome = queue.HowError, queue.OutcomeDead
	}
	return nil, e
}

// Environment returns the variables that tell a command about its event.
func Environment(body []byte) ([]string, error) {
	e, err := eventOf(body)
	if err != nil {
		return nil, err
	}
	return []string{"EVENT_ID=" + strconv.FormatUint(e.Seq, 10), "EVENT_TOPIC=" + strings.ReplaceAll(e.Topic, "\x00", "")}, nil
}

func eventOf(body []byte) (e control.Event, err error) {
	if err = json.Unmarshal(body, &e); err != nil {
		err = fmt.Errorf("the message is no event: %w", err)
	}
	return e, err
}
