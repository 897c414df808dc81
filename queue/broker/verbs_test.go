package broker

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"activationd/internal/fault"
	"activationd/queue"
	"activationd/store"
)

var ann = queue.Actor{Kind: "uid", Name: "ann", Role: "operator"}

// TestWaiters checks that those who wait for a message learn of its end, whatever removes it.
func TestWaiters(t *testing.T) {
	p := newPlace(t, per("full", "true"))
	p.set.Listeners[0].Limits = queue.Limits{Messages: 1, DropOldest: true}
	r := p.start()
	key := func(m *queue.New) { m.Key = "k" }
	for _, tt := range []struct {
		name, queue string
		remove      func(id uint64) error
		outcome     string // of the result that is kept; empty: none is
	}{
		{"cancelled", "a", func(id uint64) error { return r.Cancel(t.Context(), "a", id, ann) }, "cancelled"},
		{"purged", "b", func(uint64) error { _, err := r.Purge(t.Context(), "b", ann); return err }, ""},
		{"replaced", "c", func(uint64) error {
			return r.Push(t.Context(), []NewMessage{{Queue: "c", New: queue.New{Key: "k", OnDuplicate: queue.DuplicateReplace}}})[0].Err
		}, ""},
		{"dropped for another", "full", func(uint64) error { return r.Push(t.Context(), []NewMessage{{Queue: "full"}})[0].Err }, ""},
		{"discarded with its queue", "d", func(uint64) error { return r.Delete(t.Context(), "d", queue.Deleting{}, true, ann) }, ""},
	} {
		q := r.create(tt.queue)
		if err := r.Pause(t.Context(), tt.queue, &queue.Paused{}, ann); err != nil {
			t.Fatal(err)
		}
		id := r.push(tt.queue, "x", key)
		over := make(chan error, 1)
		go func() { over <- r.Await(t.Context(), tt.queue, id) }()
		for waits := false; !waits; time.Sleep(time.Millisecond) {
			if err := r.ask(t.Context(), func(context.Context) error { waits = len(r.waiters[id]) > 0; return nil }); err != nil {
				t.Fatal(err)
			}
		}
		if err := tt.remove(id); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		if err := <-over; err != nil {
			t.Errorf("%s: Await: %v", tt.name, err)
		}
		if tt.queue == "d" {
			if err := r.Gone(t.Context(), q.N); err != nil {
				t.Error(err)
			}
			continue
		}
		res, isOver, err := r.Result(t.Context(), tt.queue, id)
		got := ""
		if res != nil {
			got = res.Outcome
		}
		if err != nil || !isOver || got != tt.outcome {
			t.Errorf("%s: the result is %q, over %t, %v, want %q", tt.name, got, isOver, err, tt.outcome)
		}
	}
}

// A counted store counts transactions that write.
type counted struct {
	store.Store
	n *atomic.Int64
}

func (c counted) Update(ctx context.Context, fn func(store.Tx) error) error {
	c.n.Add(1)
	return c.Store.Update(ctx, fn)
}

// TestPushTogether pushes many messages, of which some are refused. The others are pushed in
// order, and not each in a transaction of its own.
func TestPushTogether(t *testing.T) {
	p := newPlace(t, per("mails", "true"))
	var writes atomic.Int64
	p.db = func(db store.Store) store.Store { return counted{db, &writes} }
	r := p.start()
	r.create("mails")
	if err := r.Pause(t.Context(), "mails", &queue.Paused{}, ann); err != nil {
		t.Fatal(err)
	}
	ms := make([]NewMessage, 256)
	for i := range ms {
		ms[i].Queue = "mails"
	}
	ms[17].Key, ms[200].Key = "k", "k"
	ms[100].Queue = "none"
	before := writes.Load()
	pushed := r.Push(t.Context(), ms)
	last := uint64(0)
	for i, p := range pushed {
		want := map[int]fault.Kind{100: fault.NotFound, 200: fault.Conflict}[i]
		if got := fault.Of(p.Err); p.Err != nil && got != want || p.Err == nil && (want != "" || p.ID <= last) {
			t.Errorf("message %d: id %d after %d, %v, want %q", i, p.ID, last, p.Err, want)
		}
		if p.Err == nil {
			last = p.ID
		}
	}
	if n := writes.Load() - before; n > 40 {
		t.Errorf("%d transactions", n)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	for i, p := range r.Push(ctx, ms) {
		if p.Err == nil {
			t.Errorf("message %d is pushed for a client that is gone", i)
		}
	}
	list, err := r.Queues(t.Context())
	if err != nil || list[0].Ready != 254 {
		t.Errorf("the queue has %+v, %v", list, err)
	}
}

// TestLimitsOfDenied: a queue that may not be served still has its limits.
func TestLimitsOfDenied(t *testing.T) {
	p := newPlace(t, per("full", "true"))
	p.set.Listeners[0].Limits = queue.Limits{Messages: 1}
	p.set.Allowed = func(string) (bool, string) { return false, "not today" }
	r := p.start()
	r.create("full")
	r.push("full", "x")
	if got := r.Push(t.Context(), []NewMessage{{Queue: "full"}})[0].Err; fault.Of(got) != fault.Unavailable {
		t.Errorf("a second message: %v", got)
	}
}

// TestWorking lists what is in work, and nothing else.
func TestWorking(t *testing.T) {
	p := newPlace(t, per("pool", "sleep", "60"))
	p.set.Listeners[0].Instances = 1
	r := p.start()
	r.create("pool")
	a := r.push("pool", "long body")
	r.push("pool", "waits")
	for {
		list, err := r.Working(t.Context(), "pool", 5)
		if err != nil {
			t.Fatal(err)
		}
		if len(list) > 0 {
			if m := list[0]; len(list) != 1 || m.ID != a || !m.InWork || m.Attempt != 1 || m.Listener != "pool" || m.Body != nil || m.Size != 9 {
				t.Errorf("in work are %+v", list)
			}
			break
		}
		time.Sleep(time.Millisecond)
	}
	if err := r.Cancel(t.Context(), "pool", a, queue.Actor{}); err != nil {
		t.Error(err)
	}
}
