package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"activationd/control"
	"activationd/internal/fault"
)

// fakeQueueOps answer like a daemon whose queues are always the same. They record requests
// for changes.
func fakeQueueOps() []control.Op {
	noted := func(op string) control.Op {
		return control.Declare("queue "+op, control.Operator, "", func(_ context.Context, _ caller, in control.QueuePauseIn) (r control.Reply[control.Queue], err error) {
			return r, noteRequest("queue "+op, strings.Join(in.Name, " "), in.Reason)
		})
	}
	return []control.Op{
		control.Declare("queue list", control.Viewer, "", fakeQueues),
		control.Declare("queue create", control.Operator, "", func(_ context.Context, _ caller, in control.QueueCreateIn) (r control.Reply[control.Queue], err error) {
			return r, noteRequest("queue create", strings.Join(in.Name, " "), fmt.Sprint(in.Ordered))
		}),
		control.Declare("queue delete", control.Operator, "", func(_ context.Context, _ caller, in control.QueueDeleteIn) (r control.Reply[control.QueueCount], err error) {
			if !in.Discard && in.Keep == "" {
				return r, fmt.Errorf("queue %s has 3 messages and 1 dead letter: %w", in.Name, fault.Conflict)
			}
			return r, noteRequest("queue delete", in.Name, fmt.Sprint(in.Now, in.Discard), in.Keep)
		}),
		control.DeclareBatch("queue push", control.Submitter, "", func(_ context.Context, _ caller, ins []control.QueuePushIn) (all []control.Result[control.QueuePushOut]) {
			for _, in := range ins {
				all = append(all, fakePush(in))
			}
			return all
		}),
		control.Declare("queue peek", control.Viewer, "", fakePeek),
		control.Declare("queue dead", control.Operator, "", func(_ context.Context, _ caller, _ control.QueueDeadIn) (r control.Reply[control.QueueMessage], err error) {
			r.Lines = []control.QueueMessage{deadLetter(), deadLetter()}
			r.Lines[1].ID, r.Lines[1].Last = 1048, &control.QueueEnding{Attempt: 1, Signal: "KILL", Outcome: "dead", Reason: "was terminated by signal 9"}
			return r, nil
		}),
		control.Declare("queue retry", control.Operator, "", func(_ context.Context, _ caller, in control.QueueDeadIn) (r control.Reply[control.QueueCount], err error) {
			r.Lines = []control.QueueCount{{Queue: in.Name, Count: 2}}
			return r, noteRequest("queue retry", in.Name, strings.Join(in.ID, " "))
		}),
		control.Declare("queue purge", control.Operator, "", func(_ context.Context, _ caller, in control.QueuePurgeIn) (r control.Reply[control.QueueCount], err error) {
			r.Lines = []control.QueueCount{{Queue: in.Name, Count: 5}}
			return r, noteRequest("queue purge", in.Name, fmt.Sprint(in.Dead), strings.Join(in.ID, " "))
		}),
		control.Declare("queue cancel", control.Submitter, "", func(_ context.Context, _ caller, in control.QueueMessageIn) (r control.Reply[control.Nothing], err error) {
			return r, noteRequest("queue cancel", in.Name, fmt.Sprint(in.ID))
		}),
		control.DeclareStream("queue result", control.Submitter, "", fakeResult),
		control.Declare("queue allow", control.Operator, "", func(_ context.Context, _ caller, in control.QueueAllowIn) (r control.Reply[control.QueueAllowed], err error) {
			r.Lines = []control.QueueAllowed{{Name: "mails", Exists: true, Allowed: true}, {Name: "new", Allowed: true}}
			return r, noteRequest("queue allow", strings.Join(in.Name, " "), fmt.Sprint(in.Only))
		}),
		control.Declare("queue deny", control.Operator, "", func(_ context.Context, _ caller, in control.QueueAllowIn) (r control.Reply[control.QueueAllowed], err error) {
			r.Lines = []control.QueueAllowed{{Name: "mails", Exists: true, Reason: "denied by pools.json line 3"}}
			return r, noteRequest("queue deny", strings.Join(in.Name, " "))
		}),
		control.Declare("queue allowed", control.Viewer, "", func(context.Context, caller, control.QueueListIn) (r control.Reply[control.QueueAllowed], err error) {
			return r, fmt.Errorf("queues.pools is not set: %w", fault.Conflict)
		}),
		noted("pause"), noted("resume"), noted("restart"),
	}
}

func fakeQueues(context.Context, caller, control.QueueListIn) (r control.Reply[control.Queue], err error) {
	add := func(name string, ready, delayed, work, dead int64, status string) {
		r.Lines = append(r.Lines, control.Queue{Name: name, Ready: ready, Delayed: delayed, Work: work, Dead: dead, Status: status})
	}
	add("_model_Invoice", 1204, 17, 2, 0, "2/4 message")
	add("a_queue_with_a_name_that_is_longer_than_others", 0, 0, 0, 0, "no listener: denied by pools.json line 3")
	add("io_disk", 0, 0, 1, 0, "1/1 stream, by hand 1")
	add("mails", 3, 0, 0, 1, "paused: the listener mail cannot run: /usr/local/bin/mail: no such file or directory")
	return r, nil
}

// fakePush accepts a message, and writes its body into a file.
func fakePush(in control.QueuePushIn) (r control.Result[control.QueuePushOut]) {
	if in.Name == "full" {
		r.Err = &control.ReplyError{Code: 429, Description: "queue full has 10 of at most 10 messages"}
		return r
	}
	out := control.QueuePushOut{ID: 1047}
	if in.Wait != "" {
		out.Result = &control.QueueResult{ID: out.ID, Queue: in.Name}
		if in.Name == "mails" {
			out.Result.Outcome, out.Result.Body = "done", "42\n"
		}
	}
	switch in.Name { // its result is that of this message
	case "fails":
		out.ID = 1048
	case "goes":
		out.ID = 1049
	}
	if in.Key == "taken" && in.OnDuplicate == "ignore" {
		out = control.QueuePushOut{ID: 7, Duplicate: true}
	}
	r.Reply = control.Reply[control.QueuePushOut]{Summary: fmt.Sprintf("id=%d", out.ID), Lines: []control.QueuePushOut{out}}
	body := in.Body
	in.Body = nil
	r.Err = errors.Join(os.WriteFile("body", []byte(strings.Join(body, "")), 0o600), noteRequest("queue push", fmt.Sprintf("%+v", in), fmt.Sprint(len(body))))
	return r
}

func fakeDay() time.Time { return time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC) }

func deadLetter() control.QueueMessage {
	day, exit := fakeDay(), 3
	return control.QueueMessage{
		ID: 1047, Queue: "mails", State: "dead", Pushed: day, By: "ada", Size: 6, Body: "hello\n", Attempts: 3, Headers: map[string]string{"to": "bob", "cc": "eve"},
		DeadSince: control.Instant{Time: day.Add(time.Hour)},
		Last:      &control.QueueEnding{Attempt: 3, Started: day, Ended: day.Add(time.Hour), Exit: &exit, Outcome: "dead", Reason: "exited with status 3", Output: "no such user\nbye\n"},
	}
}

func fakePeek(_ context.Context, _ caller, in control.QueuePeekIn) (r control.Reply[control.QueueMessage], err error) {
	if in.ID != 0 && in.ID != 1047 {
		return r, fmt.Errorf("there is no message %d: %w", in.ID, fault.NotFound)
	}
	if in.ID == 1047 {
		r.Lines = []control.QueueMessage{deadLetter()}
		return r, nil
	}
	day := fakeDay()
	r.Lines = []control.QueueMessage{
		{ID: 1051, State: "work", Pushed: day, By: "ada", Size: 3, Body: "abc", Attempts: 1, Work: &control.QueueWork{Attempt: 2, Since: day, Listener: "model", Progress: "half"}},
		{ID: 1052, State: "ready", Priority: 9, Pushed: day, By: "bob", Size: 40_000, Body: "a long story", Cut: true},
		{ID: 1053, State: "delayed", Pushed: day, NotBefore: control.Instant{Time: day.Add(time.Hour)}, By: "bob", Size: 5, Hidden: true},
		{ID: 1054, State: "ready", Pushed: day, By: "ada", Size: 2, Base64: base64.StdEncoding.EncodeToString([]byte{0xff, 0})},
	}
	return r, noteRequest("queue peek", in.Name, in.State, in.Body, fmt.Sprint(in.Limit))
}

func fakeResult(ctx context.Context, _ caller, in control.QueueResultIn, send func(control.QueueResult) error) error {
	r := control.QueueResult{ID: in.ID, Queue: in.Name}
	switch in.ID {
	case 1047:
		r.Outcome, r.Body = "done", "42\n"
	case 1048:
		r.Outcome, r.Last = "dead", deadLetter().Last
	case 1049:
		r.Outcome, r.Last = "cancelled", &control.QueueEnding{Outcome: "cancelled", Reason: "cancelled by ada"}
	case 1050:
		r.Outcome, r.Base64 = "done", base64.StdEncoding.EncodeToString([]byte{0xff, 0, '\n'})
	case 1051:
		if in.Wait { // the first daemon stops before it is over
			if err := noteRequest("queue result"); err != nil {
				return err
			}
			data, err := os.ReadFile("requests")
			if err != nil {
				return err
			}
			if strings.Count(string(data), "queue result") > 1 {
				r.Outcome, r.Body = "done", "late\n"
				return send(r)
			}
			<-ctx.Done()
			return fmt.Errorf("the daemon stops: %w", fault.Unavailable)
		}
	default:
		return fmt.Errorf("no result of message %d is kept: %w", in.ID, fault.NotFound)
	}
	return send(r)
}
