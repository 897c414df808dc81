package hook

import (
	"context"
	"errors"
	"fmt"
	"time"

	"activationd/internal/fault"
	"activationd/queue"
	"activationd/store"
)

// A Trouble is a hook whose events are not delivered.
type Trouble struct {
	Hook   string
	Since  time.Time
	Text   string
	Dead   bool // there are dead letters: somebody must decide about them
	Paused bool // its queue is paused
}

// failing is how many attempts in a row must have failed before that is a trouble.
const failing = 2

// Troubles returns the hooks whose events are not delivered, by name.
func (f *Feeder) Troubles(ctx context.Context) (all []Trouble, err error) {
	f.mu.Lock()
	hooks := f.hooks
	f.mu.Unlock()
	err = f.parts.DB.View(ctx, func(tx store.Tx) error {
		all = nil
		for _, h := range hooks {
			t, err := troubleOf(tx, h.Name)
			if err != nil {
				return err
			}
			if t.Text != "" {
				all = append(all, t)
			}
		}
		return nil
	})
	return all, err
}

// troubleOf returns the worst trouble of a hook; without a text, there is none.
func troubleOf(tx store.Tx, name string) (t Trouble, err error) {
	t.Hook = name
	q, err := queue.Get(tx, Queue(name))
	if errors.Is(err, fault.NotFound) { // it has just been declared
		return t, nil
	}
	if err != nil {
		return t, err
	}
	c := queue.CountsOf(tx, q.N)
	wait := fmt.Sprintf("%d events wait", c.Messages)
	if c.Messages == 1 {
		wait = "1 event waits"
	}
	if q.Paused != nil {
		t.Paused, t.Since, t.Text = true, q.Paused.At, fmt.Sprintf("is paused: %s; %s", q.Paused.Reason, wait)
		return t, nil
	}
	for _, head := range queue.Heads(tx, q.N, 0, 0, 1) {
		if head.Attempts < failing {
			continue
		}
		m, err := queue.Load(tx, q.N, head.Seq)
		if err != nil {
			return t, err
		}
		t.Since, t.Text = m.PushedAt, fmt.Sprintf("%d attempts have failed%s; %s", head.Attempts, reason(m), wait)
		return t, nil
	}
	if c.Dead == 0 {
		return t, nil
	}
	letters, err := queue.DeadLetters(tx, q.N, 0, 1, 0)
	if err != nil || len(letters) == 0 {
		return t, err
	}
	m := letters[0]
	t.Dead, t.Since, t.Text = true, m.State.DeadSince, fmt.Sprintf("%d events could not be delivered, the first%s", c.Dead, reason(m))
	if c.Dead == 1 {
		t.Text = "an event could not be delivered" + reason(m)
	}
	return t, nil
}

// reason is why the last attempt to deliver a message has failed.
func reason(m *queue.Message) string {
	e := m.State.Last
	switch {
	case e == nil:
		return ""
	case e.Reason != "":
		return ": " + e.Reason
	case e.Signal != "":
		return ": ended by the signal " + e.Signal
	}
	return fmt.Sprintf(": exited with status %d", e.Exit)
}
