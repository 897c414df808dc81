package ops

import (
	"context"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"activationd/control"
	"activationd/internal/fault"
	"activationd/queue"
	"activationd/queue/broker"
)

// queueListen sends messages to a listener that somebody has started.
func (d Daemon) queueListen(ctx context.Context, c control.Caller, in control.QueueListenIn, send func(control.QueueDelivery) error) error {
	return d.Queues.Listen(ctx, broker.Hand{User: c.Name, PID: c.PID}, in.Session, in.Name, max(1, in.Window), func(del broker.Delivery) error {
		if del.Recall != 0 {
			return send(control.QueueDelivery{Recall: del.Recall})
		}
		if del.Message == nil {
			first := control.QueueDelivery{Session: del.Session}
			if l := del.Listener; l != nil && l.Command != nil {
				first.Command, first.Per = l.Command, "message"
				if l.Stream {
					first.Per = "stream"
				}
			}
			return send(first)
		}
		m := del.Message
		out := control.QueueDelivery{ID: m.ID, Attempt: del.Attempt, Queue: del.Queue, Priority: m.Priority, Headers: m.Headers, Env: del.Env, Again: del.Again}
		if utf8.Valid(m.Body) {
			out.Body = string(m.Body)
		} else {
			out.Base64 = base64.StdEncoding.EncodeToString(m.Body)
		}
		return send(out)
	})
}

func (d Daemon) queueAnswer(ctx context.Context, _ control.Caller, in control.QueueAnswerIn) (reply control.Reply[control.QueueAnswered], err error) {
	r, err := answerOf(&in)
	if err != nil {
		return reply, err
	}
	ok, err := d.Queues.Answer(ctx, in.Session, in.ID, in.Attempt, r)
	if err != nil {
		return reply, err
	}
	reply.Summary = fmt.Sprintf("id=%d accepted=%t", in.ID, ok)
	reply.Lines = []control.QueueAnswered{{ID: in.ID, Accepted: ok}}
	return reply, nil
}

// answerOf translates an answer.
func answerOf(in *control.QueueAnswerIn) (r broker.Reply, err error) {
	ends := 0
	for _, given := range []bool{in.Done, in.Exit != "", in.Signal != "", in.Error != ""} {
		if given {
			ends++
		}
	}
	if ends != 1 {
		return r, fmt.Errorf("want one of done, exit, signal and error: %w", fault.Invalid)
	}
	r.Ending = queue.Ending{How: queue.HowExited, Exit: -1, Signal: in.Signal, Reason: in.Error, Output: strings.Join(in.Output, "")}
	r.Result = []byte(strings.Join(in.Result, ""))
	if n, err := strconv.Atoi(in.Signal); err == nil {
		r.Signal = strings.TrimPrefix(unix.SignalName(unix.Signal(n)), "SIG")
	}
	switch {
	case in.Done:
		r.Exit = 0
	case in.Error != "":
		r.How = queue.HowError
	case in.Exit != "":
		if r.Exit, err = strconv.Atoi(in.Exit); err != nil || r.Exit < 0 || r.Exit > 255 {
			return r, fmt.Errorf("exit: want a status from 0 to 255, have %.40q: %w", in.Exit, fault.Invalid)
		}
	}
	switch {
	case in.Again == "dead":
		r.Dead = true
	case in.Again != "":
		after, err := duration("again", in.Again)
		if err != nil {
			return r, err
		}
		r.After = *after
	}
	if r.Dead && in.Done {
		return r, fmt.Errorf("again has no meaning with done: %w", fault.Invalid)
	}
	return r, nil
}
