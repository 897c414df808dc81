package ops

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"iter"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"activationd/control"
	"activationd/internal/fault"
	"activationd/internal/trace"
	"activationd/queue"
	"activationd/queue/broker"
	"activationd/schedule/timespec"
	"activationd/store/once"
)

// A Broker keeps queues, and hands out their messages.
type Broker interface {
	Create(ctx context.Context, q queue.Queue, by queue.Actor) (got *queue.Queue, created bool, err error)
	// Delete begins the deletion of a queue. Gone returns when the queue of that number is gone.
	Delete(ctx context.Context, name string, d queue.Deleting, discard bool, by queue.Actor) error
	Gone(ctx context.Context, n uint64) error
	// Push pushes messages in one transaction, and returns what became of each.
	Push(ctx context.Context, messages []broker.NewMessage) []broker.Pushed
	// Queues returns the queues that match one of the patterns, or all.
	Queues(ctx context.Context, patterns ...string) ([]broker.Status, error)
	// Peek returns messages as [queue.Peek] does, and Working those that are in work.
	Peek(ctx context.Context, name string, look queue.Look) ([]broker.Message, error)
	Working(ctx context.Context, name string, body int64) ([]broker.Message, error)
	Message(ctx context.Context, name string, id uint64) (*broker.Message, error)
	// Cancel returns when nothing works on the message any more.
	Cancel(ctx context.Context, name string, id uint64, by queue.Actor) error
	Purge(ctx context.Context, name string, by queue.Actor) (removed int, err error)
	// RetryDead and PurgeDead are about these dead letters, or about all.
	RetryDead(ctx context.Context, name string, by queue.Actor, ids ...uint64) (n int, err error)
	PurgeDead(ctx context.Context, name string, by queue.Actor, ids ...uint64) (n int, err error)
	Pause(ctx context.Context, name string, p *queue.Paused, by queue.Actor) error // nil: resume
	Restart(ctx context.Context, name string, by queue.Actor) error
	// Result returns the result of a message. Over reports whether the message is over: then
	// no result means that none is kept.
	Result(ctx context.Context, name string, id uint64) (r *queue.Result, over bool, err error)
	// Await returns when a message is over.
	Await(ctx context.Context, name string, id uint64) error
	// Listen gives messages to a listener that somebody has started, and Answer takes its answers.
	Listen(ctx context.Context, who broker.Hand, session string, names []string, window int, send func(broker.Delivery) error) error
	Answer(ctx context.Context, session string, id uint64, attempt int, r broker.Reply) (ok bool, err error)
}

// queueOps returns the operations on queues.
func (d Daemon) queueOps() []control.Op {
	return []control.Op{
		control.DeclareBatch("queue push", control.Submitter, "push a message into a queue", d.queuePush).At("POST /queues/{name}/messages").Single().Creates("/queues/{name}/messages/{id}"),
		control.Declare("queue list", control.Viewer, "list queues, and what serves them", d.queueList).At("GET /queues"),
		control.Declare("queue show", control.Viewer, "show a queue, and what serves it", d.queueShow).At("GET /queues/{name}").Single(),
		control.Declare("queue create", control.Operator, "create queues", d.queueCreate).At("POST /queues").Creates("/queues/{name}"),
		control.Declare("queue delete", control.Operator, "delete a queue, and return when it is gone", d.queueDelete).At("DELETE /queues/{name}"),
		control.Declare("queue peek", control.Viewer, "show messages; as submitter, headers and bodies of your own; as operator, of all", d.queuePeek).At("GET /queues/{name}/messages").Pages(control.Paging{After: []string{"id", "priority"}}),
		control.DeclareStream("queue result", control.Submitter, "show what became of a message of your own; as operator, of any", d.queueResult).At("GET /queues/{name}/messages/{id}").Single(),
		control.Declare("queue cancel", control.Submitter, "cancel a message of your own; as operator, any", d.queueCancel).At("POST /queues/{name}/messages/{id}/cancel"),
		control.Declare("queue purge", control.Operator, "remove the messages of a queue that nothing works on, or its dead letters", d.queuePurge).At("POST /queues/{name}/purge"),
		control.Declare("queue dead", control.Operator, "list dead letters, with bodies and last outputs", d.queueDead).At("GET /queues/{name}/dead"),
		control.Declare("queue retry", control.Operator, "make dead letters ready again", d.queueRetry).At("POST /queues/{name}/retry"),
		control.Declare("queue pause", control.Operator, "hand out no more messages of queues", d.queuePause).At("POST /queues/pause"),
		control.Declare("queue resume", control.Operator, "hand out the messages of queues again", d.queueResume).At("POST /queues/resume"),
		control.Declare("queue restart", control.Operator, "replace the processes of listeners when they have finished their messages", d.queueRestart).At("POST /queues/restart"),
		control.DeclareStream("queue listen", control.Operator, "start a listener: get messages of queues", d.queueListen).At("POST /queues/listen"),
		control.Declare("queue answer", control.Operator, "say what became of a message that queue listen sent", d.queueAnswer).At("POST /queues/answer"),
	}
}

func (d Daemon) queuePush(ctx context.Context, c control.Caller, ins []control.QueuePushIn) []control.Result[control.QueuePushOut] {
	results := make([]control.Result[control.QueuePushOut], len(ins))
	now := time.Now()
	messages := make([]broker.NewMessage, 0, len(ins))
	index := make([]int, 0, len(ins))
	waits := make([]time.Duration, len(ins))
	for i := range ins {
		m, err := newMessage(&ins[i], c, now)
		if err == nil {
			waits[i], err = waitOf(&ins[i], &m)
		}
		if err == nil && ins[i].Create {
			err = d.createFor(ctx, c, ins[i].Name)
		}
		if err != nil {
			results[i].Err = err
			continue
		}
		if t := trace.Of(ctx); t != "" && m.Headers[trace.Header] == "" {
			if m.Headers == nil {
				m.Headers = make(map[string]string, 1)
			}
			m.Headers[trace.Header] = t
		}
		messages, index = append(messages, m), append(index, i)
	}
	if len(messages) == 0 {
		return results
	}
	for k, p := range d.Queues.Push(ctx, messages) {
		r := &results[index[k]]
		if p.Err != nil {
			r.Err = full(p.Err)
			continue
		}
		r.Reply.Summary = "id=" + strconv.FormatUint(p.ID, 10)
		r.Reply.Lines = []control.QueuePushOut{{ID: p.ID, Duplicate: p.Duplicate, Replaced: p.Replaced, Dropped: p.Dropped}}
	}
	for i, wait := range waits { // all are pushed by now
		if wait > 0 && results[i].Err == nil {
			out := &results[i].Reply.Lines[0]
			out.Result = d.awaited(ctx, c, ins[i].Name, out.ID, now.Add(min(wait, maxWait)))
		}
	}
	return results
}

// A push waits for the end of its message for maxWait at most: over the line protocol, it is not
// noticed that the client hangs up meanwhile. The result is then kept for keptForWait, if the
// client does not say for how long.
const (
	maxWait     = time.Hour
	keptForWait = time.Hour
)

// waitOf returns how long a client wants to wait for the end of the message that it pushes.
func waitOf(in *control.QueuePushIn, m *broker.NewMessage) (time.Duration, error) {
	if in.Wait == "" {
		return 0, nil
	}
	wait, err := duration("wait", in.Wait)
	switch {
	case err != nil:
		return 0, err
	case in.Keep == "":
		m.Keep = keptForWait
	}
	return *wait, nil
}

// awaited returns what has become of a message when it is over, or else what is known at a time,
// when the client has gone, or when the daemon stops. The message goes on in any case.
func (d Daemon) awaited(ctx context.Context, c control.Caller, name string, id uint64, until time.Time) *control.QueueResult {
	waiting, stop := context.WithDeadline(ctx, until)
	defer stop()
	out := &control.QueueResult{ID: id, Queue: name}
	for last := false; ; {
		r, over, err := d.Queues.Result(context.WithoutCancel(ctx), name, id)
		switch {
		case errors.Is(err, fault.NotFound) || err == nil && over && r == nil:
			out.Outcome = "unknown"
			return out
		case err == nil && r != nil:
			if out.Outcome = r.Outcome; c.Role >= control.Operator || own(c, r.By, r.UID) { // with a key it may be another's
				fillResult(out, r)
			}
			return out
		case err != nil || last:
			return out
		}
		last = d.Queues.Await(waiting, name, id) != nil
	}
}

func fillResult(out *control.QueueResult, r *queue.Result) {
	out.Outcome, out.Last, out.File = r.Outcome, endingOut(&r.Ending), r.File
	out.Body, out.Base64 = bodyOut(r.Body)
}

// createFor creates a queue for a push, if there is none. Below operator, the configuration must
// name the queues that may be made so.
func (d Daemon) createFor(ctx context.Context, c control.Caller, name string) error {
	if _, err := d.Queues.Peek(ctx, name, queue.Look{Most: 1}); !errors.Is(err, fault.NotFound) {
		return err
	}
	if c.Role < control.Operator {
		rules := d.Pools.Rules()
		switch ok, why := rules.Allows(name); {
		case len(rules.Allow) == 0:
			return fmt.Errorf("create: there is no queue %.80q, and only operators may create one, because the configuration has no queues.allow: %w", name, fault.Denied)
		case !ok:
			return fmt.Errorf("create: there is no queue %.80q, and it may not be created: %s: %w", name, why, fault.Denied)
		}
	}
	_, _, err := d.Queues.Create(once.Without(ctx), queue.Queue{Name: name, For: string(c.Kind) + " " + c.Name}, by(c)) // the key of a request is kept with the message
	return err
}

// full gives the error of a push for which there is no room its HTTP status.
func full(err error) error {
	e, ok := errors.AsType[*queue.FullError](err)
	switch {
	case !ok:
		return err
	case e.Queue == "":
		return &control.ReplyError{Code: 507, Description: fault.Text(err)}
	}
	return &control.ReplyError{Code: 429, Description: fault.Text(err)}
}

func newMessage(in *control.QueuePushIn, c control.Caller, now time.Time) (m broker.NewMessage, err error) {
	m = broker.NewMessage{Queue: in.Name, New: queue.New{
		Priority: in.Priority, Key: in.Key, OnDuplicate: in.OnDuplicate, Attempts: in.Attempts, By: c.Name,
	}}
	if c.UID >= 0 {
		m.UID = &c.UID
	}
	switch len(in.Body) {
	case 0:
	case 1:
		m.Body = []byte(in.Body[0])
	default:
		m.Body = []byte(strings.Join(in.Body, ""))
	}
	if m.Headers, err = headers(in.Header); err != nil {
		return m, err
	}
	switch {
	case in.At != "" && in.Delay != "":
		return m, fmt.Errorf("at and delay exclude each other: use one of them: %w", fault.Invalid)
	case in.At != "":
		if m.NotBefore, err = timespec.Typed(in.At, now, time.Local); err != nil {
			return m, fmt.Errorf("at: %w: %w", err, fault.Invalid)
		}
	case in.Delay != "":
		delay, err := duration("delay", in.Delay)
		if err != nil {
			return m, err
		}
		if *delay > 0 {
			m.NotBefore = now.Add(*delay)
		}
	}
	for _, f := range []struct {
		name, text string
		into       *time.Duration
	}{{"unique-for", in.UniqueFor, &m.Unique}, {"timeout", in.Timeout, &m.Timeout}, {"keep", in.Keep, &m.Keep}} {
		if f.text == "" {
			continue
		}
		d, err := duration(f.name, f.text)
		if err != nil {
			return m, err
		}
		*f.into = *d
	}
	return m, nil
}

// headers reads headers; nil if there is none.
func headers(list []string) (map[string]string, error) {
	if len(list) == 0 {
		return nil, nil //nolint:nilnil // most messages have none
	}
	all := make(map[string]string, len(list))
	for _, text := range list {
		name, value, ok := strings.Cut(text, "=")
		if _, twice := all[name]; !ok || name == "" || twice {
			return nil, fmt.Errorf("header: want NAME=VALUE, each name once, have %.80q: %w", text, fault.Invalid)
		}
		all[name] = value
	}
	return all, nil
}

func (d Daemon) queueList(ctx context.Context, _ control.Caller, in control.QueueListIn) (reply control.Reply[control.Queue], err error) {
	all, err := d.chosenQueues(ctx, in.Name)
	if err != nil {
		return reply, err
	}
	return queuesReply(all), nil
}

func (d Daemon) queueShow(ctx context.Context, _ control.Caller, in control.QueueNameIn) (reply control.Reply[control.Queue], err error) {
	if isPattern(in.Name) {
		return reply, fmt.Errorf("name: want the name of one queue, have the pattern %.80q: %w", in.Name, fault.Invalid)
	}
	all, err := d.chosenQueues(ctx, []string{in.Name})
	if err != nil {
		return reply, err
	}
	return queuesReply(all), nil
}

// chosenQueues returns the queues that names and patterns choose, or all. A name that chooses
// none is an error.
func (d Daemon) chosenQueues(ctx context.Context, names []string) ([]broker.Status, error) {
	for _, name := range names {
		if _, err := path.Match(name, ""); err != nil {
			return nil, fmt.Errorf("%.80q is not a pattern: %w", name, fault.Invalid)
		}
	}
	all, err := d.Queues.Queues(ctx, names...)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if slices.ContainsFunc(all, func(s broker.Status) bool { ok, _ := path.Match(name, s.Name); return ok }) {
			continue
		}
		if isPattern(name) {
			return nil, fmt.Errorf("no queue matches %.80q: %w", name, fault.NotFound)
		}
		if _, err := d.Queues.Peek(ctx, name, queue.Look{Most: 1}); err != nil { // it names the most similar one
			return nil, err
		}
		return nil, fmt.Errorf("queue %.80q is being created or deleted; try again: %w", name, fault.Conflict)
	}
	return all, nil
}

func queuesReply(all []broker.Status) (reply control.Reply[control.Queue]) {
	var ready, dead int64
	for i := range all {
		q := queueOut(&all[i])
		ready, dead = ready+q.Ready, dead+q.Dead
		reply.Lines = append(reply.Lines, q)
	}
	reply.Summary = fmt.Sprintf("queues=%d ready=%d dead=%d", len(all), ready, dead)
	return reply
}

func queueOut(s *broker.Status) control.Queue {
	q := control.Queue{
		Name: s.Name, Created: s.Created, By: s.By, Auto: s.For != "", Builtin: s.Builtin, Ordered: s.Ordered,
		Ready: s.Ready, Delayed: s.Delayed, Work: s.InWork, Dead: s.Dead, Bytes: s.Bytes, Oldest: control.Instant{Time: s.Oldest},
		Listener: s.Listener, Instances: s.Instances, Processes: s.Processes, Shared: s.Shared, Reason: cmp.Or(s.Why, s.Fault),
		Total: control.QueueTotal{
			Pushed: s.Pushed, Done: s.Done, Dead: s.Failed, Again: s.Again, Cancelled: s.Cancelled, Dropped: s.Dropped, Expired: s.Expired,
		},
	}
	if s.Listener != "" {
		q.Per = "message"
		if s.Stream {
			q.Per = "stream"
		}
	}
	for _, h := range s.ByHand {
		q.ByHand = append(q.ByHand, control.QueueByHand{User: h.User, PID: h.PID, Since: h.Since, Work: h.InWork})
	}
	if p := s.Paused; p != nil {
		q.Paused = &control.QueueAct{By: p.By, Reason: p.Reason, At: p.At, Until: p.Until, Fault: p.Fault}
	}
	if g := s.Queue.Deleting; g != nil {
		q.Deleting = &control.QueueAct{By: g.By, At: g.At, MoveTo: g.MoveTo}
	}
	q.Status = queueStatus(&q)
	if s.AllPaused && q.Deleting == nil && q.Paused == nil {
		q.Status = "the daemon is paused"
	}
	return q
}

// queueStatus says what serves a queue, in words.
func queueStatus(q *control.Queue) string {
	var words []string
	if q.Listener != "" && !q.Builtin {
		words = append(words, fmt.Sprintf("%d/%d %s", q.Processes, q.Instances, q.Per))
		if q.Shared {
			words[0] += " shared"
		}
	}
	if n := len(q.ByHand); n > 0 {
		words = append(words, fmt.Sprintf("by hand %d", n))
	}
	serves := strings.Join(words, ", ")
	switch {
	case q.Deleting != nil:
		return fmt.Sprintf("being deleted, %d in work", q.Work)
	case q.Paused != nil:
		return pausedStatus(q.Paused)
	case q.Builtin && q.Reason == "":
		return "the daemon"
	case serves == "":
		return "no listener: " + q.Reason
	case q.Reason != "" && q.Listener != "":
		return serves + ": " + q.Reason
	}
	return serves
}

// pausedStatus says until when and why a queue is paused.
func pausedStatus(p *control.QueueAct) string {
	until := ""
	if !p.Until.IsZero() {
		until = " until " + timeText(p.Until)
	}
	if p.Reason == "" {
		return "paused" + until + " by " + p.By
	}
	return "paused" + until + ": " + p.Reason
}

func (d Daemon) queueCreate(ctx context.Context, c control.Caller, in control.QueueCreateIn) (reply control.Reply[control.Queue], err error) {
	created := 0
	for _, name := range in.Name {
		_, isNew, err := d.Queues.Create(ctx, queue.Queue{Name: name, Ordered: in.Ordered}, by(c))
		if err != nil {
			return reply, err
		}
		if isNew {
			created++
		}
	}
	all, err := d.Queues.Queues(ctx, in.Name...)
	reply = queuesReply(all)
	reply.Summary = fmt.Sprintf("queues=%d created=%d", len(in.Name), created)
	return reply, err
}

// queueDelete begins a deletion, and waits for its end. The deletion goes on if the caller stops waiting.
func (d Daemon) queueDelete(ctx context.Context, c control.Caller, in control.QueueDeleteIn) (reply control.Reply[control.QueueCount], err error) {
	switch {
	case in.Keep != "" && in.Discard:
		return reply, fmt.Errorf("keep and discard exclude each other: use one of them: %w", fault.Invalid)
	case in.Keep == in.Name:
		return reply, fmt.Errorf("keep: want another queue than %s: %w", in.Name, fault.Invalid)
	}
	all, err := d.chosenQueues(ctx, []string{in.Name})
	if err != nil {
		return reply, err
	}
	if len(all) != 1 || all[0].Name != in.Name {
		return reply, fmt.Errorf("name: want the name of one queue, have %.80q: %w", in.Name, fault.Invalid)
	}
	if all[0].Builtin {
		return reply, fmt.Errorf("queue %s is the daemon's own; remove the hook from the configuration instead: %w", in.Name, fault.Denied)
	}
	if err := d.Queues.Delete(ctx, in.Name, queue.Deleting{Now: in.Now, MoveTo: in.Keep}, in.Discard, by(c)); err != nil {
		if errors.Is(err, fault.Conflict) && !in.Discard && in.Keep == "" {
			err = fmt.Errorf("%s (--discard or --keep-messages QUEUE): %w", fault.Text(err), fault.Conflict)
		}
		return reply, err
	}
	if err := d.Queues.Gone(ctx, all[0].N); err != nil {
		return reply, err
	}
	s := &all[0]
	n := int(s.Messages + s.Dead)
	reply.Summary = fmt.Sprintf("name=%s messages=%d", in.Name, n)
	reply.Lines = []control.QueueCount{{Queue: in.Name, Count: n}}
	return reply, nil
}

func (d Daemon) queuePause(ctx context.Context, c control.Caller, in control.QueuePauseIn) (control.Reply[control.Queue], error) {
	now := time.Now()
	until, err := pauseEnd(in.Until, now)
	if err == nil && !until.IsZero() && !until.After(now) {
		err = fmt.Errorf("until: %s is in the past: %w", timeText(until), fault.Invalid)
	}
	if err != nil {
		return control.Reply[control.Queue]{}, err
	}
	return d.eachQueue(ctx, in.Name, func(name string) error {
		return d.Queues.Pause(ctx, name, &queue.Paused{Reason: control.OneLine(in.Reason), Until: until}, by(c))
	})
}

func (d Daemon) queueResume(ctx context.Context, c control.Caller, in control.QueueResumeIn) (control.Reply[control.Queue], error) {
	return d.eachQueue(ctx, in.Name, func(name string) error { return d.Queues.Pause(ctx, name, nil, by(c)) })
}

func (d Daemon) queueRestart(ctx context.Context, c control.Caller, in control.QueueResumeIn) (control.Reply[control.Queue], error) {
	return d.eachQueue(ctx, in.Name, func(name string) error { return d.Queues.Restart(ctx, name, by(c)) })
}

// eachQueue does something with each chosen queue, and returns them as they are then.
func (d Daemon) eachQueue(ctx context.Context, names []string, do func(name string) error) (reply control.Reply[control.Queue], err error) {
	all, err := d.chosenQueues(ctx, names)
	if err != nil {
		return reply, err
	}
	for i := range all {
		if err := do(all[i].Name); err != nil {
			return reply, err
		}
	}
	if all, err = d.Queues.Queues(ctx, names...); err != nil {
		return reply, err
	}
	return queuesReply(all), nil
}

func (d Daemon) queueCancel(ctx context.Context, c control.Caller, in control.QueueMessageIn) (reply control.Reply[control.Nothing], err error) {
	if c.Role < control.Operator {
		m, err := d.Queues.Message(ctx, in.Name, in.ID)
		if err != nil {
			return reply, err
		}
		if !own(c, m.By, m.UID) {
			return reply, fmt.Errorf("message %d is of %s; only operators may cancel the messages of others: %w", in.ID, cmp.Or(m.By, "the daemon"), fault.Denied)
		}
	}
	if err := d.Queues.Cancel(ctx, in.Name, in.ID, by(c)); err != nil {
		return reply, err
	}
	reply.Summary = fmt.Sprintf("id=%d", in.ID)
	return reply, nil
}

// by is a caller as queues know it.
func by(c control.Caller) queue.Actor {
	return queue.Actor{Kind: string(c.Kind), Name: c.Name, Role: c.Role.String()}
}

// own reports whether a message is a caller's own. A caller of whom only the address is known
// has none.
func own(c control.Caller, by string, uid *int) bool {
	switch {
	case c.Kind == control.ByAddress:
		return false
	case uid != nil && c.UID >= 0:
		return *uid == c.UID
	}
	return by == c.Name && (uid == nil) == (c.UID < 0)
}

func (d Daemon) queuePurge(ctx context.Context, c control.Caller, in control.QueuePurgeIn) (reply control.Reply[control.QueueCount], err error) {
	ids, err := messageNumbers(in.ID)
	switch {
	case err != nil:
		return reply, err
	case in.Dead:
		return d.counted(in.Name, func() (int, error) { return d.Queues.PurgeDead(ctx, in.Name, by(c), ids...) })
	case len(ids) > 0:
		return reply, fmt.Errorf("id has a meaning only with dead; queue cancel removes one message: %w", fault.Invalid)
	}
	return d.counted(in.Name, func() (int, error) { return d.Queues.Purge(ctx, in.Name, by(c)) })
}

func (d Daemon) queueRetry(ctx context.Context, c control.Caller, in control.QueueDeadIn) (reply control.Reply[control.QueueCount], err error) {
	ids, err := messageNumbers(in.ID)
	if err != nil {
		return reply, err
	}
	return d.counted(in.Name, func() (int, error) { return d.Queues.RetryDead(ctx, in.Name, by(c), ids...) })
}

func (d Daemon) counted(name string, do func() (int, error)) (reply control.Reply[control.QueueCount], err error) {
	n, err := do()
	if err != nil {
		return reply, err
	}
	reply.Summary = fmt.Sprintf("count=%d", n)
	reply.Lines = []control.QueueCount{{Queue: name, Count: n}}
	return reply, nil
}

// messageNumbers reads the numbers of messages.
func messageNumbers(texts []string) (ids []uint64, err error) {
	for _, text := range texts {
		id, err := strconv.ParseUint(text, 10, 64)
		if err != nil || id == 0 {
			return nil, fmt.Errorf("id: %.40q is not the number of a message: %w", text, fault.Invalid)
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// How much peek shows by default, and how many messages are read at once.
const (
	peekLimit = 20
	peekBody  = 200
	peekPage  = 100
	readBody  = 32 << 10
)

func (d Daemon) queuePeek(ctx context.Context, c control.Caller, in control.QueuePeekIn) (reply control.Reply[control.QueueMessage], err error) {
	shown := peekBody
	switch {
	case in.Body == "all":
		shown = queue.MaxBody
	case in.Body != "":
		if shown, err = strconv.Atoi(in.Body); err != nil || shown < 0 {
			return reply, fmt.Errorf("body: want a number of bytes or all, have %.40q: %w", in.Body, fault.Invalid)
		}
	}
	if in.ID != 0 {
		m, err := d.Queues.Message(ctx, in.Name, in.ID)
		if err != nil {
			return reply, err
		}
		reply.Lines = []control.QueueMessage{messageOut(m, in.Name, c, shown)}
		return reply, nil
	}
	if in.Limit < 0 {
		return reply, fmt.Errorf("limit: must be 0 or more: %w", fault.Invalid)
	}
	state := cmp.Or(in.State, "ready")
	after, priority, err := place(in.After)
	if err != nil {
		return reply, err
	}
	look := queue.Look{After: after, Body: int64(max(shown, readBody))} // of larger ones nothing is shown, unless all is
	switch state {
	case "ready", "delayed", "dead":
		look.Where = queue.Where(state)
	case "all":
	case "work":
		all, err := d.Queues.Working(ctx, in.Name, look.Body)
		if err != nil {
			return reply, err
		}
		for i := range all {
			if all[i].ID > after && len(reply.Lines) < cmp.Or(in.Limit, peekLimit) {
				reply.Lines = append(reply.Lines, messageOut(&all[i], in.Name, c, shown))
			}
		}
		return reply, nil
	default:
		return reply, fmt.Errorf("state: want ready, delayed, work, dead or all, have %.40q: %w", in.State, fault.Invalid)
	}
	if after != 0 && look.Where == queue.Ready {
		if priority < 0 {
			m, err := d.Queues.Message(ctx, in.Name, after)
			if err != nil {
				return reply, fmt.Errorf("after: %w", err)
			}
			priority = m.Priority
		}
		look.AfterPriority = priority
	}
	if _, err := d.Queues.Peek(ctx, in.Name, queue.Look{Most: 1}); err != nil { // there is no such queue
		return reply, err
	}
	keep := func(m *broker.Message) bool { return state != "ready" || !m.InWork }
	reply.Each = d.messages(ctx, c, in.Name, look, cmp.Or(in.Limit, peekLimit), shown, keep)
	return reply, nil
}

// place reads after which message a list is continued: an id, or an id and a priority. The
// priority is -1 if it is not given.
func place(text string) (id uint64, priority int, err error) {
	if text == "" {
		return 0, -1, nil
	}
	first, second, both := strings.Cut(text, "/")
	if id, err = strconv.ParseUint(first, 10, 64); err == nil && both {
		priority, err = strconv.Atoi(second)
	} else {
		priority = -1
	}
	if err != nil || both && (priority < 0 || priority > queue.MaxPriority) {
		return 0, 0, fmt.Errorf("after: %.40q is not the id of a message: %w", text, fault.Invalid)
	}
	return id, priority, nil
}

// messages yields messages of a queue, at most that many of those that keep chooses. It reads
// some at once, so that no transaction is open while the client reads.
func (d Daemon) messages(ctx context.Context, c control.Caller, name string, look queue.Look, most, shown int, keep func(*broker.Message) bool) iter.Seq2[control.QueueMessage, error] {
	return func(yield func(control.QueueMessage, error) bool) {
		look.Most = min(most, peekPage)
		if look.Body > readBody {
			look.Most = min(look.Most, 4)
		}
		for {
			page, err := d.Queues.Peek(ctx, name, look)
			if err != nil {
				yield(control.QueueMessage{}, err)
				return
			}
			for i := range page {
				m := &page[i]
				look.After, look.AfterPriority = m.ID, m.Priority
				if !keep(m) {
					continue
				}
				if !yield(messageOut(m, name, c, shown), nil) {
					return
				}
				if most--; most == 0 {
					return
				}
			}
			if len(page) < look.Most {
				return
			}
		}
	}
}

func (d Daemon) queueDead(ctx context.Context, c control.Caller, in control.QueueDeadIn) (reply control.Reply[control.QueueMessage], err error) {
	ids, err := messageNumbers(in.ID)
	if err != nil {
		return reply, err
	}
	for _, id := range ids {
		m, err := d.Queues.Message(ctx, in.Name, id)
		if err != nil {
			return reply, err
		}
		if m.Where != queue.Dead {
			return reply, fmt.Errorf("message %d is not a dead letter: %w", id, fault.Conflict)
		}
		reply.Lines = append(reply.Lines, messageOut(m, in.Name, c, queue.MaxBody))
	}
	if len(ids) > 0 {
		return reply, nil
	}
	if _, err := d.Queues.Peek(ctx, in.Name, queue.Look{Most: 1}); err != nil {
		return reply, err
	}
	look := queue.Look{Where: queue.Dead, Body: queue.MaxBody}
	reply.Each = d.messages(ctx, c, in.Name, look, 1<<30, queue.MaxBody, func(*broker.Message) bool { return true })
	return reply, nil
}

// messageOut translates a message. If the caller may see the body, it shows at most that many bytes of it.
func messageOut(m *broker.Message, name string, c control.Caller, shown int) control.QueueMessage {
	out := control.QueueMessage{
		ID: m.ID, Queue: name, State: string(m.Where), Priority: m.Priority, Pushed: m.PushedAt, By: m.By, Size: m.Size, Attempts: m.State.Attempts,
		DeadSince: control.Instant{Time: m.DeadSince}, Last: endingOut(m.Last),
	}
	if m.Where == queue.Delayed {
		out.NotBefore.Time = m.New.NotBefore
		if at := m.State.NotBefore; !at.IsZero() {
			out.NotBefore.Time = at
		}
	}
	if m.InWork {
		out.State = "work"
		out.Work = &control.QueueWork{Attempt: m.Attempt, Since: m.Since, Listener: m.Listener, Progress: control.Text(m.Progress)}
	}
	if c.Role < control.Operator && !own(c, m.By, m.UID) {
		out.Hidden = true
		if out.Last != nil {
			out.Last.Output = ""
		}
		return out
	}
	out.Key, out.Headers = m.Key, m.Headers
	body := m.Body
	if len(body) > shown {
		body = body[:shown]
		for len(body) > 0 && !utf8.Valid(body) && utf8.Valid(m.Body) {
			body = body[:len(body)-1] // not in the middle of a character
		}
	}
	out.Cut = len(body) < m.Size
	out.Body, out.Base64 = bodyOut(body)
	return out
}

// bodyOut returns a body as text, or else in base64.
func bodyOut(body []byte) (text, encoded string) {
	if utf8.Valid(body) {
		return string(body), ""
	}
	return "", base64.StdEncoding.EncodeToString(body)
}

func endingOut(e *queue.Ending) *control.QueueEnding {
	if e == nil {
		return nil
	}
	out := &control.QueueEnding{
		Attempt: e.Attempt, Started: e.Started, Ended: e.Ended, Signal: e.Signal, Outcome: e.Outcome, Reason: control.Text(e.Text()),
		Output: control.Text(e.Output), Listener: e.Listener,
	}
	if e.How == queue.HowExited && e.Signal == "" {
		out.Exit = &e.Exit
	}
	return out
}

// queueResult sends what became of a message. If the caller wants, it first waits until the message is over.
func (d Daemon) queueResult(ctx context.Context, c control.Caller, in control.QueueResultIn, send func(control.QueueResult) error) error {
	out := control.QueueResult{ID: in.ID, Queue: in.Name}
	for {
		r, over, err := d.Queues.Result(ctx, in.Name, in.ID)
		switch {
		case err != nil:
			return err
		case r != nil:
			if c.Role < control.Operator && !own(c, r.By, r.UID) {
				return fmt.Errorf("message %d is of %s; only operators may see the results of others: %w", in.ID, cmp.Or(r.By, "the daemon"), fault.Denied)
			}
			fillResult(&out, r)
			return send(out)
		case over:
			return fmt.Errorf("no result of message %d is kept in queue %s: either its result was not to be kept so long, or there was no such message: %w", in.ID, in.Name, fault.NotFound)
		case !in.Wait:
			return send(out)
		}
		if err := d.Queues.Await(ctx, in.Name, in.ID); err != nil {
			return err
		}
	}
}
