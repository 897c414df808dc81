package broker

import (
	"context"
	"errors"
	"testing"

	"activationd/queue"
)

// A listening is a listener that a test has started by hand.
type listening struct {
	got  chan Delivery
	end  chan error
	stop context.CancelFunc
}

func (r *running) listen(session string, window int, names ...string) (*listening, string) {
	r.t.Helper()
	ctx, cancel := context.WithCancel(r.t.Context())
	l := &listening{make(chan Delivery, 100), make(chan error, 1), cancel}
	go func() {
		l.end <- r.Listen(ctx, Hand{User: "root", PID: 1}, session, names, window, func(d Delivery) error {
			l.got <- d
			return nil
		})
	}()
	select {
	case d := <-l.got:
		return l, d.Session
	case err := <-l.end:
		r.t.Fatal(err)
		return nil, ""
	}
}

// TestByHand checks that each message goes to exactly one of the listeners, and that one whose
// connection ends returns what it has at once.
func TestByHand(t *testing.T) {
	p := newPlace(t)
	r := p.start()
	r.create("pool")
	a, session := r.listen("", 1, "pool")
	first := r.push("pool", "1")
	d := <-a.got
	if d.Message.ID != first || d.Attempt != 1 {
		t.Errorf("got %+v, want message %d", d, first)
	}
	b, other := r.listen("", 1, "pool")
	second := r.push("pool", "2")
	if d := <-b.got; d.Message.ID != second {
		t.Errorf("got %+v, want message %d", d, second)
	}
	if ok, err := r.Answer(t.Context(), other, first, 1, Reply{Ending: queue.Ending{How: queue.HowExited}}); ok || err != nil {
		t.Errorf("an answer about the message of another one: %t, %v", ok, err)
	}
	a.stop()
	if err := <-a.end; !errors.Is(err, context.Canceled) {
		t.Errorf("end of the first: %v", err)
	}
	if ok, err := r.Answer(t.Context(), session, first, 1, Reply{Ending: queue.Ending{How: queue.HowExited}}); ok || err != nil {
		t.Errorf("a late answer: %t, %v", ok, err)
	}
	if ok, err := r.Answer(t.Context(), other, second, 1, Reply{Ending: queue.Ending{How: queue.HowExited}, Result: []byte("two")}); !ok || err != nil {
		t.Errorf("an answer: %t, %v", ok, err)
	}
	if res := r.result("pool", second); string(res.Body) != "two" {
		t.Errorf("result %+v", res)
	}
	d = <-b.got
	if d.Message.ID != first || d.Attempt != 2 {
		t.Errorf("got %+v, want message %d again", d, first)
	}
	// Over a restart of the daemon it keeps its message.
	r.stop()
	if err := <-b.end; err == nil {
		t.Error("no error although the daemon has ended")
	}
	r = p.start()
	c, _ := r.listen(other, 1, "pool")
	if d := <-c.got; d.Message.ID != first || d.Attempt != 2 || !d.Again {
		t.Errorf("got %+v, want message %d that it had", d, first)
	}
	if ok, err := r.Answer(t.Context(), other, first, 2, Reply{Ending: queue.Ending{How: queue.HowExited}}); !ok || err != nil {
		t.Errorf("an answer: %t, %v", ok, err)
	}
	if err := r.Delete(t.Context(), "pool", queue.Deleting{}, false, queue.Actor{Name: "ada"}); err != nil {
		t.Fatal(err)
	}
	if err := <-c.end; err != nil {
		t.Errorf("the end of the queue: %v", err)
	}
}
