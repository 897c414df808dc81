package queue_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"activationd/internal/fault"
	"activationd/queue"
	"activationd/store"
	"activationd/store/memstore"
)

var now = time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)

// A rig is a store with a queue that is called "q".
type rig struct {
	t  testing.TB
	db store.Store
	q  *queue.Queue
}

func newRig(t testing.TB) *rig {
	t.Helper()
	r := &rig{t: t, db: memstore.Strict(1)}
	r.q = r.create(queue.Queue{Name: "q", By: "ada"})
	return r
}

func (r *rig) create(q queue.Queue) (got *queue.Queue) {
	r.t.Helper()
	r.update(func(tx store.Tx) (err error) {
		got, _, err = queue.Create(tx, now, q)
		return err
	})
	return got
}

// try runs fn in a transaction, checks all entries afterwards, and returns fn's error.
func (r *rig) try(fn func(store.Tx) error) error {
	r.t.Helper()
	err := r.db.Update(context.Background(), fn)
	if err := r.db.View(context.Background(), queue.Verify); err != nil {
		r.t.Fatal(err)
	}
	return err
}

func (r *rig) update(fn func(store.Tx) error) {
	r.t.Helper()
	if err := r.try(fn); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) push(m queue.New) (id uint64) {
	r.t.Helper()
	r.update(func(tx store.Tx) error {
		did, err := queue.Push(tx, now, r.q.Name, queue.Limits{}, m, nil)
		id = did.ID
		return err
	})
	return id
}

// heads returns the ids of all ready messages in the order of their delivery.
func (r *rig) heads() (ids []uint64) {
	r.t.Helper()
	r.update(func(tx store.Tx) error {
		ids = nil
		for p := queue.MaxPriority; p >= 0; p-- {
			for _, h := range queue.Heads(tx, r.q.N, p, 0, 100) {
				ids = append(ids, h.Seq)
			}
		}
		return nil
	})
	return ids
}

func (r *rig) load(id uint64) (m *queue.Message, err error) {
	r.t.Helper()
	err = r.db.View(context.Background(), func(tx store.Tx) (err error) {
		m, err = queue.Load(tx, r.q.N, id)
		return err
	})
	return m, err
}

func (r *rig) counts() (c queue.Counts) {
	r.t.Helper()
	r.update(func(tx store.Tx) error { c = queue.CountsOf(tx, r.q.N); return nil })
	return c
}

// ok runs fn, which must report whether it changed something as wanted.
func (r *rig) ok(want bool, what string, fn func(store.Tx) (bool, error)) {
	r.t.Helper()
	var got bool
	r.update(func(tx store.Tx) (err error) {
		got, err = fn(tx)
		return err
	})
	if got != want {
		r.t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func (r *rig) done(id uint64, attempt int) func(store.Tx) (bool, error) {
	return func(tx store.Tx) (bool, error) {
		return queue.Done(tx, now, r.q.N, id, attempt, []byte("result"), time.Hour, queue.Ending{})
	}
}

func (r *rig) giveBack(id uint64, attempt int, count bool, after time.Duration) func(store.Tx) (bool, error) {
	return func(tx store.Tx) (bool, error) {
		return queue.Return(tx, now, r.q.N, id, attempt, count, now.Add(after), &queue.Ending{Exit: 1, Output: "boom"})
	}
}

func (r *rig) bury(id uint64, attempt int) func(store.Tx) (bool, error) {
	return func(tx store.Tx) (bool, error) {
		return queue.Bury(tx, now, r.q.N, id, attempt, queue.Ending{Exit: 65, Output: "boom"})
	}
}

func (r *rig) is(what string, got, want any) {
	r.t.Helper()
	if got != want {
		r.t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// TestOrder: by priority, then by push; what is returned keeps its place.
func TestOrder(t *testing.T) {
	r := newRig(t)
	a := r.push(queue.New{Body: []byte("a")})
	b := r.push(queue.New{Body: []byte("b"), Priority: 9})
	c := r.push(queue.New{Body: []byte("c")})
	d := r.push(queue.New{Body: []byte("d"), NotBefore: now.Add(time.Minute), Priority: 5})
	check := func(want ...uint64) {
		t.Helper()
		if got := r.heads(); !slices.Equal(got, want) {
			t.Errorf("ready are %v, want %v", got, want)
		}
	}
	check(b, a, c)
	r.ok(true, "return a", r.giveBack(a, 1, true, time.Second))
	check(b, c)
	promote := func(at time.Time, most int) (n int, next time.Time) {
		r.update(func(tx store.Tx) error {
			refs, due, err := queue.Promote(tx, at, most)
			n, next = len(refs), due
			return err
		})
		return n, next
	}
	if n, next := promote(now, 10); n != 0 || !next.Equal(now.Add(time.Second)) {
		t.Errorf("promoted too early: %d, next %v", n, next)
	}
	if n, next := promote(now.Add(time.Second), 10); n != 1 || !next.Equal(now.Add(time.Minute)) {
		t.Errorf("promoted %d, next %v", n, next)
	}
	check(b, a, c)
	if n, next := promote(now.Add(time.Hour), 10); n != 1 || !next.IsZero() {
		t.Errorf("promoted %d, next %v", n, next)
	}
	check(b, d, a, c)
	m, err := r.load(a)
	if err != nil || m.State.Attempts != 1 || m.Last == nil || m.Last.Output != "boom" || string(m.Body) != "a" || !m.State.NotBefore.IsZero() {
		t.Errorf("Load = %+v, %v", m, err)
	}
}

// TestLateAnswers: an answer of an attempt that is over changes nothing.
func TestLateAnswers(t *testing.T) {
	r := newRig(t)
	a := r.push(queue.New{By: "ada", UID: new(1000)})
	r.ok(false, "attempt 2 before attempt 1", r.done(a, 2))
	r.ok(true, "attempt 1 fails", r.giveBack(a, 1, true, 0))
	was := r.counts()
	r.ok(false, "attempt 1 is done late", r.done(a, 1))
	r.ok(false, "attempt 1 fails late", r.giveBack(a, 1, true, time.Hour))
	r.ok(false, "attempt 1 is dead late", r.bury(a, 1))
	r.ok(false, "attempt 1 is held late", func(tx store.Tx) (bool, error) { return queue.Hold(tx, r.q.N, a, 1, "x", now.Add(1)) })
	r.is("counts after late answers", r.counts(), was)
	r.ok(true, "attempt 2 did not begin", r.giveBack(a, 2, false, 0))
	r.ok(true, "attempt 2 is delayed", r.giveBack(a, 2, true, time.Hour))
	r.ok(false, "attempt 3 while it is delayed", r.done(a, 3))
	r.update(func(tx store.Tx) error { _, _, err := queue.Promote(tx, now.Add(time.Hour), 1); return err })
	r.ok(true, "attempt 3 is done", r.done(a, 3))
	r.ok(false, "attempt 3 is done twice", r.done(a, 3))
	r.is("counts", r.counts(), queue.Counts{Pushed: 1, Done: 1, Again: 2})
	r.update(func(tx store.Tx) error {
		res, found := queue.ResultOf(tx, r.q.N, a)
		if !found || string(res.Body) != "result" || res.Outcome != queue.OutcomeDone || res.Attempt != 3 || res.By != "ada" || *res.UID != 1000 {
			t.Errorf("ResultOf = %+v, %v", res, found)
		}
		return nil
	})
}

// TestSize: a message says how large its body is, also if that is not read.
func TestSize(t *testing.T) {
	r := newRig(t)
	for _, size := range []int{0, 9, 10, 11, 100_000} {
		r.push(queue.New{Body: make([]byte, size)})
	}
	var got string
	r.update(func(tx store.Tx) error {
		got = ""
		for m, err := range queue.Peek(tx, r.q.N, queue.Look{Body: 10}) {
			if err != nil {
				return err
			}
			got += fmt.Sprintf("%d:%d ", m.Size, len(m.Body))
		}
		return nil
	})
	r.is("sizes, and what was read", got, "0:0 9:9 10:10 11:0 100000:0 ")
}

// TestErrors are the ways in which a push is refused.
func TestErrors(t *testing.T) {
	r := newRig(t)
	r.create(queue.Queue{Name: "hook/mail", Builtin: true})
	r.push(queue.New{Key: "taken"})
	push := func(name string, l queue.Limits, m queue.New) func(tx store.Tx) error {
		return func(tx store.Tx) error { _, err := queue.Push(tx, now, name, l, m, nil); return err }
	}
	create := func(q queue.Queue) func(tx store.Tx) error {
		return func(tx store.Tx) error { _, _, err := queue.Create(tx, now, q); return err }
	}
	for _, tt := range []struct {
		name string
		do   func(store.Tx) error
		kind error
		says string
	}{
		{"no such queue", push("qq", queue.Limits{}, queue.New{}), fault.NotFound, `there is no queue "qq"`},
		{"a similar name", push("hook/mial", queue.Limits{}, queue.New{}), fault.NotFound, "the most similar name is hook/mail"},
		{"a taken key", push("q", queue.Limits{}, queue.New{Key: "taken"}), fault.Conflict, "has the key"},
		{"too many", push("q", queue.Limits{Messages: 1}, queue.New{}), fault.Unavailable, "queue q has 1 of at most 1 messages"},
		{"too many bytes", push("q", queue.Limits{Bytes: 1}, queue.New{Body: []byte("ab")}), fault.Unavailable, "queue q has 0 of at most 1 bytes"},
		{"too many in all", push("q", queue.Limits{AllMessages: 1}, queue.New{}), fault.Unavailable, "the queues together have 1 of at most 1 messages"},
		{"a large body", push("q", queue.Limits{Body: 1}, queue.New{Body: []byte("ab")}), fault.Invalid, "at most 1"},
		{"a priority", push("q", queue.Limits{}, queue.New{Priority: 10}), fault.Invalid, "priority is 10"},
		{"a header", push("q", queue.Limits{}, queue.New{Headers: map[string]string{"a b": ""}}), fault.Invalid, `header "a b"`},
		{"a header of two lines", push("q", queue.Limits{}, queue.New{Headers: map[string]string{"a": "1\n2"}}), fault.Invalid, "not a line"},
		{"no key", push("q", queue.Limits{}, queue.New{OnDuplicate: queue.DuplicateIgnore}), fault.Invalid, "no key"},
		{"what to do", push("q", queue.Limits{}, queue.New{Key: "k", OnDuplicate: "x"}), fault.Invalid, `"x"`},
		{"no name", create(queue.Queue{}), fault.Invalid, "1 to 128"},
		{"a built-in name", create(queue.Queue{Name: "hook/x"}), fault.Invalid, "not a valid name"},
		{"two slashes", create(queue.Queue{Name: "hook/x/y", Builtin: true}), fault.Invalid, "not a valid name"},
		{"another kind", create(queue.Queue{Name: "q", Ordered: true}), fault.Conflict, "another kind"},
	} {
		if err := r.try(tt.do); !errors.Is(err, tt.kind) || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v, want %v, %q", tt.name, err, tt.kind, tt.says)
		}
	}
}
