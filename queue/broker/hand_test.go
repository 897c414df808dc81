package broker

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"activationd/internal/fault"
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

// inHand starts a listener by hand, and returns what it is sent, its end and its session.
func (r *rig) inHand(session, name string) (got chan Delivery, end chan error, is string) {
	got, end = make(chan Delivery, 100), make(chan error, 1)
	b, ctx := r.b, r.ctx
	go func() {
		end <- b.Listen(ctx, Hand{User: "root"}, session, []string{name}, 2, func(d Delivery) error {
			got <- d
			return nil
		})
	}()
	synctest.Wait()
	select {
	case d := <-got:
		return got, end, d.Session
	default:
		r.t.Fatal("no session")
		return nil, nil, ""
	}
}

// next is what a listener is sent next: a message, the recall of one, or nothing.
func next(got chan Delivery) string {
	synctest.Wait()
	select {
	case d := <-got:
		if d.Message == nil {
			return fmt.Sprintf("recall %d", d.Recall)
		}
		return fmt.Sprintf("message %d, attempt %d", d.Message.ID, d.Attempt)
	default:
		return "nothing"
	}
}

// TestRecall checks that a listener that somebody has started is asked to give up what reaches
// its timeout or is cancelled, over a restart of the daemon, too, and that nobody else gets the message
// before it has answered.
func TestRecall(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.create("q")
		timeout := func(m *queue.New) { m.Timeout = 10 * time.Second }
		want := func(what, got, want string) {
			t.Helper()
			if got != want {
				t.Errorf("%s: %s, want %s", what, got, want)
			}
		}
		answer := func(session string, id uint64, attempt int) {
			t.Helper()
			if ok, err := r.b.Answer(r.ctx, session, id, attempt, Reply{Ending: queue.Ending{How: queue.HowExited, Exit: -1, Signal: "TERM"}}); !ok || err != nil {
				t.Errorf("an answer about message %d: %t, %v", id, ok, err)
			}
		}
		got, end, session := r.inHand("", "q")
		id := r.push("q", "", timeout)
		want("a push", next(got), fmt.Sprintf("message %d, attempt 1", id))
		r.die()
		if err := <-end; err == nil {
			t.Error("no error although the daemon is gone")
		}
		r.start()
		got, _, _ = r.inHand(session, "q")
		want("the same message again", next(got), fmt.Sprintf("message %d, attempt 1", id))
		time.Sleep(11 * time.Second)
		want("its timeout", next(got), fmt.Sprintf("recall %d", id))
		time.Sleep(20 * time.Second)
		want("before the answer", next(got), "nothing")
		r.is("q", id, "in work 1")
		answer(session, id, 1)
		time.Sleep(2 * time.Second)
		want("after the answer", next(got), fmt.Sprintf("message %d, attempt 2", id))
		time.Sleep(11 * time.Second)
		want("its second timeout", next(got), fmt.Sprintf("recall %d", id))
		cancelled := make(chan error, 1)
		id = r.push("q", "")
		want("another push", next(got), fmt.Sprintf("message %d, attempt 1", id))
		for range 2 { // the second time nothing is new
			go func() { cancelled <- r.b.Cancel(r.ctx, "q", id, queue.Actor{Name: "ada"}) }()
			synctest.Wait()
		}
		want("a cancel", next(got), fmt.Sprintf("recall %d", id))
		if len(cancelled) > 0 {
			t.Errorf("cancel returns before the answer: %v", <-cancelled)
		}
		answer(session, id, 1)
		for range 2 {
			if err := <-cancelled; err != nil {
				t.Errorf("cancel: %v", err)
			}
		}
		r.check()
	})
}

// TestDeafHand checks that a listener that does not give a message up in time loses its
// connection.
func TestDeafHand(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.create("q")
		got, end, _ := r.inHand("", "q")
		id := r.push("q", "", func(m *queue.New) { m.Timeout = time.Second })
		if m := next(got); m != fmt.Sprintf("message %d, attempt 1", id) {
			t.Error(m)
		}
		time.Sleep(patienceWithHands + 2*time.Second)
		synctest.Wait()
		select {
		case err := <-end:
			if !errors.Is(err, fault.Conflict) {
				t.Errorf("its end: %v", err)
			}
		default:
			t.Error("it is still connected")
		}
		r.check()
	})
}
