package queue_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
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

// TestOrdered: in an ordered queue, a message that is to be tried again later keeps its place, and its
// head says until when it blocks those behind it.
func TestOrdered(t *testing.T) {
	r := newRig(t)
	r.q = r.create(queue.Queue{Name: "ordered", Ordered: true})
	a, b := r.push(queue.New{}), r.push(queue.New{})
	later := r.push(queue.New{NotBefore: now.Add(time.Second)})
	r.ok(true, "return", r.giveBack(a, 1, true, time.Minute))
	head := func() (h queue.Head) {
		r.update(func(tx store.Tx) error { h = queue.Heads(tx, r.q.N, 0, 0, 1)[0]; return nil })
		return h
	}
	want := queue.Head{Seq: a, Pushed: now, Attempts: 1, NotBefore: now.Add(time.Minute)}
	r.is("head", head(), want)
	r.update(func(tx store.Tx) error {
		refs, _, err := queue.Promote(tx, now.Add(time.Hour), 10)
		if len(refs) != 1 || refs[0].Seq != later {
			t.Errorf("promoted %+v", refs)
		}
		return err
	})
	r.is("head", head(), want)
	r.ok(true, "return at once", r.giveBack(a, 2, false, 0))
	want.NotBefore = time.Time{}
	r.is("head", head(), want)
	if got := r.heads(); !slices.Equal(got, []uint64{a, b, later}) {
		t.Errorf("ready are %v", got)
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

// A step does something with a rig in a transaction.
type step struct {
	name string
	do   func(store.Tx) error
	kind error
}

func (r *rig) steps(steps []step) {
	r.t.Helper()
	for _, s := range steps {
		if err := r.try(s.do); !errors.Is(err, s.kind) || s.kind == nil && err != nil {
			r.t.Errorf("%s: %v, want %v", s.name, err, s.kind)
		}
	}
}

// pushing is a push of a message with a key. It stores the message's id in id.
func (r *rig) pushing(id *uint64, at time.Time, m queue.New) func(store.Tx) error {
	return func(tx store.Tx) error {
		did, err := queue.Push(tx, at, r.q.Name, queue.Limits{}, m, nil)
		if err == nil {
			*id = did.ID
		}
		return err
	}
}

// must makes an error of a false ok.
func must(fn func(store.Tx) (bool, error)) func(store.Tx) error {
	return func(tx store.Tx) error {
		ok, err := fn(tx)
		if err == nil && !ok {
			err = errors.New("it changed nothing")
		}
		return err
	}
}

// TestKeys: a key is free again in the moment in which its message is not live any more,
// however that ends.
func TestKeys(t *testing.T) {
	ends := map[string]func(r *rig, id uint64) func(store.Tx) error{
		"done":   func(r *rig, id uint64) func(store.Tx) error { return must(r.done(id, 1)) },
		"buried": func(r *rig, id uint64) func(store.Tx) error { return must(r.bury(id, 1)) },
		"cancelled": func(r *rig, id uint64) func(store.Tx) error {
			return func(tx store.Tx) error { _, err := queue.Cancel(tx, now, r.q.N, id, "bob", false, 0); return err }
		},
		"purged": func(r *rig, _ uint64) func(store.Tx) error {
			return func(tx store.Tx) error { _, _, err := queue.Purge(tx, r.q.N, nil, 10); return err }
		},
		"replaced": func(r *rig, id uint64) func(store.Tx) error {
			return func(tx store.Tx) error {
				did, err := queue.Push(tx, now, "q", queue.Limits{}, queue.New{Key: "k", OnDuplicate: queue.DuplicateReplace}, nil)
				if err != nil || did.Replaced != id {
					return errors.Join(err, errors.New("it was not replaced"))
				}
				_, err = queue.Cancel(tx, now, r.q.N, did.ID, "bob", false, 0)
				return err
			}
		},
		"dropped": func(r *rig, _ uint64) func(store.Tx) error {
			return func(tx store.Tx) error {
				_, err := queue.Push(tx, now, "q", queue.Limits{Messages: 1, DropOldest: true}, queue.New{}, nil)
				return err
			}
		},
		"deleted": func(r *rig, _ uint64) func(store.Tx) error {
			return func(tx store.Tx) error {
				_, err := queue.Delete(tx, now, "q", queue.Deleting{}, true, nil)
				if _, err2 := queue.Clear(tx, now, r.q.N, nil, 100); err != nil || err2 != nil {
					return errors.Join(err, err2)
				}
				_, _, err = queue.Create(tx, now, queue.Queue{Name: "q"})
				return err
			}
		},
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			var id, other uint64
			r.steps([]step{
				{"push", r.pushing(&id, now, queue.New{Key: "k"}), nil},
				{"push again", r.pushing(&other, now, queue.New{Key: "k"}), fault.Conflict},
			})
			var duplicate *queue.DuplicateError
			if err := r.try(r.pushing(&other, now, queue.New{Key: "k"})); !errors.As(err, &duplicate) || duplicate.ID != id {
				t.Errorf("the error %v does not name message %d", err, id)
			}
			r.steps([]step{{name, end(r, id), nil}, {"push after that", r.pushing(&other, now, queue.New{Key: "k"}), nil}})
		})
	}
}

// TestWindow: a window keeps a key after its message, but not longer, and a message keeps its
// key after its window.
func TestWindow(t *testing.T) {
	r := newRig(t)
	var a, b uint64
	m := queue.New{Key: "k", Unique: time.Minute}
	end := now.Add(time.Minute)
	expire := func(at time.Time) func(store.Tx) error {
		return func(tx store.Tx) error { _, _, err := queue.ExpireResults(tx, at, 10); return err }
	}
	replace := m
	replace.OnDuplicate = queue.DuplicateReplace
	r.steps([]step{
		{"push", r.pushing(&a, now, m), nil},
		{"push while it lives", r.pushing(&b, now, m), fault.Conflict},
		{"done", func(tx store.Tx) error { return must(r.done(a, 1))(tx) }, nil},
		{"push in the window", r.pushing(&b, end.Add(-1), m), fault.Conflict},
		{"replace in the window", r.pushing(&b, end.Add(-1), replace), fault.Conflict},
		{"push after the window", r.pushing(&b, end, queue.New{Key: "k", Unique: time.Minute}), nil},
		{"the second window ends", expire(end.Add(time.Minute)), nil},
		{"push while it lives", r.pushing(&a, end.Add(time.Hour), m), fault.Conflict},
		{"done", func(tx store.Tx) error { return must(r.done(b, 1))(tx) }, nil},
		{"push after that", r.pushing(&a, now, m), nil},
		{"done", func(tx store.Tx) error { return must(r.done(a, 1))(tx) }, nil},
		{"the third window ends", expire(end), nil},
	})
	r.is("holders", len(r.db.(*memstore.Store).Keys("mq/u/")), 0)
}

// TestDropOldest: a push into a full queue drops what was pushed first and nobody works on,
// and as much as it needs.
func TestDropOldest(t *testing.T) {
	r := newRig(t)
	body := make([]byte, 100)
	working := r.push(queue.New{Body: body})
	a := r.push(queue.New{Body: body, Priority: 9})
	b := r.push(queue.New{Body: body})
	c := r.push(queue.New{Body: body, Priority: 5})
	drop := func(l queue.Limits, size int) (did queue.Pushed, err error) {
		err = r.try(func(tx store.Tx) (err error) {
			l.DropOldest = true
			did, err = queue.Push(tx, now, "q", l, queue.New{Body: make([]byte, size)}, func(seq uint64) bool { return seq == working })
			return err
		})
		return did, err
	}
	for _, tt := range []struct {
		limits queue.Limits
		size   int
		want   []uint64
	}{
		{queue.Limits{Messages: 4}, 100, []uint64{a}},
		{queue.Limits{Bytes: 400}, 150, []uint64{b, c}},
	} {
		if did, err := drop(tt.limits, tt.size); err != nil || !slices.Equal(did.Dropped, tt.want) {
			t.Errorf("pushed with %+v: %+v, %v, want %v to be dropped", tt.limits, did, err, tt.want)
		}
	}
	_, err := drop(queue.Limits{Bytes: 400}, 301)
	var full *queue.FullError
	if !errors.As(err, &full) || full.Queue != "q" || full.Limit != 400 {
		t.Errorf("a message that does not fit beside the one in work: %v", err)
	}
	// A lowered limit is reached in steps.
	for range 40 {
		r.push(queue.New{})
	}
	sizes := []int64{}
	for range 4 {
		if _, err := drop(queue.Limits{Messages: 3}, 0); err != nil {
			t.Fatal(err)
		}
		sizes = append(sizes, r.counts().Messages)
	}
	if want := []int64{28, 13, 3, 3}; !slices.Equal(sizes, want) {
		t.Errorf("the queue has %v messages after each push, want %v", sizes, want)
	}
}

// TestMove: messages of a queue that is deleted go to another one, with what has become of
// them; a key that is taken there is lost, and not the message.
func TestMove(t *testing.T) {
	r := newRig(t)
	to := r.create(queue.Queue{Name: "to"})
	large := []byte(strings.Repeat("x", 100_000))
	a := r.push(queue.New{Body: large, Key: "free", Headers: map[string]string{"a": "b"}})
	b := r.push(queue.New{Key: "taken"})
	dead := r.push(queue.New{Key: "taken later"})
	late := r.push(queue.New{NotBefore: now.Add(time.Hour)})
	working := r.push(queue.New{})
	busy := func(seq uint64) bool { return seq == working }
	r.ok(true, "a fails", r.giveBack(a, 1, true, 0))
	r.ok(true, "dead fails", r.bury(dead, 1))
	r.ok(true, "done, with a result", r.done(r.push(queue.New{Key: "w", Unique: time.Hour}), 1))
	part := func() (gone bool) {
		r.update(func(tx store.Tx) (err error) { gone, err = queue.Clear(tx, now, r.q.N, busy, 20); return err })
		return gone
	}
	r.steps([]step{
		{"push into the other", func(tx store.Tx) error {
			_, err := queue.Push(tx, now, "to", queue.Limits{}, queue.New{Key: "taken"}, nil)
			return err
		}, nil},
		{"delete a queue that is not empty", func(tx store.Tx) error {
			_, err := queue.Delete(tx, now, "q", queue.Deleting{}, false, busy)
			return err
		}, fault.Conflict},
		{"delete", func(tx store.Tx) error {
			_, err := queue.Delete(tx, now, "q", queue.Deleting{MoveTo: "to"}, false, busy)
			return err
		}, nil},
		{"push", r.pushing(new(uint64), now, queue.New{}), fault.Conflict},
		{"create again", func(tx store.Tx) error { _, _, err := queue.Create(tx, now, queue.Queue{Name: "q"}); return err }, fault.Conflict},
		{"delete the other", func(tx store.Tx) error {
			_, err := queue.Delete(tx, now, "to", queue.Deleting{}, true, nil)
			return err
		}, fault.Conflict},
	})
	for range 10 {
		if part() {
			t.Fatal("the queue is gone, with a message in work")
		}
	}
	r.ok(true, "the one in work is done", r.done(working, 1))
	for range 10 {
		if part() {
			break
		}
	}
	if !part() {
		t.Error("the queue is not gone")
	}
	r.is("counts", r.counts(), queue.Counts{})
	old := r.q.N
	r.q = to
	for id, want := range map[uint64]queue.Where{a: queue.Ready, b: queue.Ready, dead: queue.Dead, late: queue.Delayed} {
		m, err := r.load(id)
		if err != nil {
			t.Fatal(err)
		}
		r.is("place", m.Where, want)
		r.is("key", m.Key, map[uint64]string{a: "free", dead: "taken later"}[id])
		if id == a && (string(m.Body) != string(large) || m.State.Attempts != 1 || m.Headers["a"] != "b") {
			t.Errorf("message a is %+v", m.State)
		}
	}
	for _, key := range r.db.(*memstore.Store).Keys("") {
		if strings.Contains(key, "00"+strconv.FormatUint(old, 10)+"/") {
			t.Errorf("the entry %s is left", key)
		}
	}
	if q := r.create(queue.Queue{Name: "q"}); q.N == old {
		t.Error("the number is used again")
	}
}

// TestRetryDead: a dead letter whose key is taken stays one.
func TestRetryDead(t *testing.T) {
	r := newRig(t)
	var ids []uint64
	for _, key := range []string{"k", "", "k", "k", ""} {
		id := r.push(queue.New{Key: key})
		r.ok(true, "bury", r.bury(id, 1))
		ids = append(ids, id)
	}
	var dead []*queue.Message
	r.update(func(tx store.Tx) (err error) { dead, err = queue.DeadLetters(tx, r.q.N, ids[0], 2, 0); return err })
	if len(dead) != 2 || dead[0].ID != ids[1] || dead[1].Last.Output != "boom" || dead[1].DeadSince.IsZero() {
		t.Errorf("the dead letters are %+v", dead)
	}
	retry := func(after uint64, seqs ...uint64) (got []uint64, next uint64, err error) {
		err = r.try(func(tx store.Tx) error {
			got = nil
			refs, n, err := queue.RetryDead(tx, now, r.q.N, seqs, after, 3)
			for _, ref := range refs {
				got = append(got, ref.Seq)
			}
			next = n
			return err
		})
		return got, next, err
	}
	got, next, err := retry(0)
	if err != nil || next != ids[2] || !slices.Equal(got, ids[:2]) {
		t.Errorf("retried %v, next %d, %v", got, next, err)
	}
	if _, _, err := retry(0, ids[2]); !errors.Is(err, fault.Conflict) {
		t.Errorf("retried one whose key is taken: %v", err)
	}
	if got, next, err = retry(next); err != nil || next != 0 || !slices.Equal(got, ids[4:]) {
		t.Errorf("retried %v, next %d, %v", got, next, err)
	}
	m, err := r.load(ids[0])
	if err != nil || m.State.Attempts != 0 || m.Last == nil || !m.DeadSince.IsZero() {
		t.Errorf("a message that was dead: %+v, %v", m.State, err)
	}
}

// TestHolds: a hold ends at its time, which its holder can prolong, and others can't.
func TestHolds(t *testing.T) {
	r := newRig(t)
	a, b := r.push(queue.New{}), r.push(queue.New{Priority: 4})
	hold := func(id uint64, attempt int, who string, after time.Duration) func(store.Tx) (bool, error) {
		return func(tx store.Tx) (bool, error) { return queue.Hold(tx, r.q.N, id, attempt, who, now.Add(after)) }
	}
	expired := func(at time.Time) (ids []uint64, next time.Time) {
		r.update(func(tx store.Tx) error {
			ids = nil
			refs, due := queue.ExpiredHolds(tx, at, 10)
			for _, ref := range refs {
				ids = append(ids, ref.Seq)
			}
			next = due
			return nil
		})
		return ids, next
	}
	r.ok(true, "a", hold(a, 1, "x", time.Minute))
	r.ok(true, "b", hold(b, 1, "y", 2*time.Minute))
	r.ok(false, "b for another", hold(b, 1, "x", time.Hour))
	r.ok(true, "a longer", hold(a, 1, "x", 3*time.Minute))
	if ids, next := expired(now.Add(2 * time.Minute)); !slices.Equal(ids, []uint64{b}) || !next.Equal(now.Add(3*time.Minute)) {
		t.Errorf("expired are %v, next %v", ids, next)
	}
	r.ok(true, "b is returned", r.giveBack(b, 1, true, 0))
	r.ok(false, "b is done late", r.done(b, 1))
	r.ok(true, "a is done", r.done(a, 1))
	if ids, next := expired(now.Add(time.Hour)); len(ids) != 0 || !next.IsZero() {
		t.Errorf("expired are %v, next %v", ids, next)
	}
}

// TestNotices: notices are read in order, and removed in parts.
func TestNotices(t *testing.T) {
	r := newRig(t)
	for i := range 5 {
		r.update(func(tx store.Tx) error {
			return queue.Notify(tx, queue.Notice{Queue: "q", What: queue.NoticeDead, Attempts: i, Time: now})
		})
	}
	var list []queue.Notice
	var last uint64
	r.update(func(tx store.Tx) error { list, last = queue.Notices(tx, 0, 3); return nil })
	if len(list) != 3 || list[2].Attempts != 2 || list[2].Number != last || !list[0].Time.Equal(now) {
		t.Fatalf("the notices are %+v, the last is %d", list, last)
	}
	for _, want := range []bool{true, false} {
		r.ok(want, "more to remove", func(tx store.Tx) (bool, error) { return queue.DropNotices(tx, last, 2) })
	}
	r.update(func(tx store.Tx) error { list, _ = queue.Notices(tx, last, 10); return nil })
	if len(list) != 2 || list[0].Attempts != 3 {
		t.Errorf("after that: %+v", list)
	}
}

// TestLargestBody: the largest body that a store with limits takes can be pushed, and moved.
func TestLargestBody(t *testing.T) {
	r := newRig(t)
	r.create(queue.Queue{Name: "to"})
	size := queue.LargestBody(r.db)
	headers := map[string]string{"h": strings.Repeat("x", 8000)}
	id := r.push(queue.New{Body: make([]byte, size), Headers: headers})
	r.push(queue.New{Body: make([]byte, size)})
	r.update(func(tx store.Tx) error {
		_, err := queue.Delete(tx, now, "q", queue.Deleting{MoveTo: "to"}, false, nil)
		return err
	})
	for gone := false; !gone; {
		r.update(func(tx store.Tx) (err error) { gone, err = queue.Clear(tx, now, r.q.N, nil, 100); return err })
	}
	r.update(func(tx store.Tx) (err error) { r.q, err = queue.Get(tx, "to"); return err })
	m, err := r.load(id)
	if err != nil || int64(len(m.Body)) != size || m.Headers["h"] != headers["h"] {
		t.Errorf("Load: %v", err)
	}
	if queue.LargestBody(memstore.New()) != queue.MaxBody {
		t.Error("a store without limits does not take the largest body")
	}
}

// TestManyInParts: what a queue has goes away in parts that fit into a store with limits.
func TestManyInParts(t *testing.T) {
	const many = 200
	r := newRig(t)
	var ids []uint64
	// quick runs fn without the check of all entries.
	quick := func(fn func(store.Tx) error) {
		t.Helper()
		if err := r.db.Update(t.Context(), fn); err != nil {
			t.Fatal(err)
		}
	}
	fill := func() {
		ids = nil
		for i := range many {
			id := uint64(0)
			quick(r.pushing(&id, now, queue.New{Key: strconv.Itoa(i), Unique: time.Hour, NotBefore: now.Add(time.Duration(i%2) * time.Minute)}))
			ids = append(ids, id)
		}
	}
	bury := func() {
		for _, id := range ids[:many/2] {
			quick(must(r.bury(id, 1)))
		}
	}
	const most = memstore.StrictOps / 16
	parts := func(what string, fn func(tx store.Tx) (more bool, err error)) {
		t.Helper()
		count := 0
		for more := true; more; count++ {
			r.update(func(tx store.Tx) (err error) { more, err = fn(tx); return err })
		}
		if count < 3 {
			t.Errorf("%s: %d parts", what, count)
		}
	}
	fill()
	parts("promote", func(tx store.Tx) (bool, error) {
		_, next, err := queue.Promote(tx, now.Add(time.Hour), most)
		return !next.IsZero(), err
	})
	r.is("delayed", r.counts().Delayed, int64(0))
	bury()
	parts("retry", func(tx store.Tx) (bool, error) {
		_, next, err := queue.RetryDead(tx, now, r.q.N, nil, 0, most)
		return next != 0, err
	})
	r.is("dead", r.counts().Dead, int64(0))
	bury()
	parts("purge the dead", func(tx store.Tx) (more bool, err error) {
		_, more, err = queue.PurgeDead(tx, r.q.N, nil, most)
		return more, err
	})
	parts("purge", func(tx store.Tx) (more bool, err error) {
		_, more, err = queue.Purge(tx, r.q.N, nil, most)
		return more, err
	})
	r.is("counts", r.counts(), queue.Counts{Pushed: many, Failed: many, Dropped: many})
	parts("the ends of windows", func(tx store.Tx) (bool, error) {
		_, next, err := queue.ExpireResults(tx, now.Add(time.Hour), most)
		return !next.IsZero(), err
	})
	fill()
	for i := 0; i < many; i += 2 {
		quick(must(r.done(ids[i], 1)))
	}
	r.update(func(tx store.Tx) error {
		_, err := queue.Delete(tx, now, "q", queue.Deleting{}, true, nil)
		return err
	})
	parts("clear", func(tx store.Tx) (bool, error) {
		gone, err := queue.Clear(tx, now, r.q.N, nil, 100)
		return !gone, err
	})
	if keys := r.db.(*memstore.Store).Keys(""); len(keys) > 0 {
		t.Errorf("the entries %v are left", keys)
	}
}

// TestBounds: what is kept of an attempt is bounded, however much there is.
func TestBounds(t *testing.T) {
	r := newRig(t)
	a, b := r.push(queue.New{}), r.push(queue.New{})
	e := queue.Ending{Output: strings.Repeat("\xff", 1<<20) + "the end", Reason: strings.Repeat("because ", 1000)}
	r.ok(true, "return", func(tx store.Tx) (bool, error) {
		return queue.Return(tx, now, r.q.N, a, 1, true, time.Time{}, &e)
	})
	m, err := r.load(a)
	if err != nil || len(m.Last.Reason) > 1024 || len(m.Last.Output) > 4*queue.MaxOutput || !strings.HasSuffix(m.Last.Output, "the end") {
		t.Errorf("Load: %d bytes of output, %d of the reason, %v", len(m.Last.Output), len(m.Last.Reason), err)
	}
	r.ok(true, "done", func(tx store.Tx) (bool, error) {
		return queue.Done(tx, now, r.q.N, b, 1, bytes.Repeat([]byte("r"), 2*queue.MaxResult), time.Hour, e)
	})
	r.update(func(tx store.Tx) error {
		if res, ok := queue.ResultOf(tx, r.q.N, b); !ok || !res.Truncated || len(res.Body) != queue.MaxResult {
			t.Errorf("ResultOf = %+v, %v", res, ok)
		}
		return nil
	})
}

// TestVerify: each kind of damage is found.
func TestVerify(t *testing.T) {
	db := memstore.New()
	r := &rig{t: t, db: db}
	r.q = r.create(queue.Queue{Name: "q"})
	r.push(queue.New{Key: "k", Unique: time.Hour})
	r.push(queue.New{Key: "l"})
	r.push(queue.New{NotBefore: now.Add(time.Hour)})
	r.push(queue.New{Body: make([]byte, 100_000)})
	dead, held, done := r.push(queue.New{}), r.push(queue.New{}), r.push(queue.New{})
	r.ok(true, "bury", r.bury(dead, 1))
	r.ok(true, "hold", func(tx store.Tx) (bool, error) {
		return queue.Hold(tx, r.q.N, held, 1, "x", now.Add(time.Hour))
	})
	r.ok(true, "done", r.done(done, 1))
	verify := func() error { return db.View(t.Context(), queue.Verify) }
	if err := verify(); err != nil {
		t.Fatal(err)
	}
	keys := db.Keys("mq/")
	kinds := map[string]bool{}
	for _, key := range keys {
		kinds[key[:5]] = true
		val := db.Value(key)
		was := slices.Clone(val)
		db.Set(key, nil)
		if verify() == nil {
			t.Errorf("nothing is found without %s", key)
		}
		// Bodies, and what a result says, can be anything.
		if !strings.HasPrefix(key, "mq/b/") && !strings.HasPrefix(key, "mq/k/") {
			db.Set(key, append(val, 'x'))
			if verify() == nil {
				t.Errorf("nothing is found with %s of %q", key, db.Value(key))
			}
		}
		db.Set(key, was)
		other := key[:len(key)-1] + "!"
		db.Set(other, was)
		if verify() == nil {
			t.Errorf("nothing is found with %s", other)
		}
		db.Set(other, nil)
	}
	if want := 12; len(kinds) != want {
		t.Errorf("there are %d kinds of entries, want %d: %v", len(kinds), want, kinds)
	}
	if err := verify(); err != nil {
		t.Fatal(err)
	}
}

// A failing transaction fails at one of its writes.
type failing struct {
	store.Tx
	left *int // writes until then
}

var errWrite = errors.New("the write failed")

func (f failing) fails() bool { *f.left--; return *f.left == 0 }

func (f failing) Put(key string, val []byte) error {
	if f.fails() {
		return errWrite
	}
	return f.Tx.Put(key, val)
}

func (f failing) Delete(key string) error {
	if f.fails() {
		return errWrite
	}
	return f.Tx.Delete(key)
}

func (f failing) Append(log string, val []byte, n int) error {
	if f.fails() {
		return errWrite
	}
	return f.Tx.Append(log, val, n)
}

// TestFailedWrites has each write of each change fail in turn: the change returns the error.
// The store then writes nothing.
func TestFailedWrites(t *testing.T) {
	r := newRig(t)
	r.create(queue.Queue{Name: "to"})
	keyed := queue.New{Key: "k", Unique: time.Minute, Body: make([]byte, 100_000)}
	delayed := queue.New{NotBefore: now.Add(time.Second), Key: "d", Unique: time.Minute}
	var id, late uint64
	boolean := func(fn func(store.Tx) (bool, error)) func(store.Tx) error {
		return func(tx store.Tx) error { _, err := fn(tx); return err }
	}
	push := func(l queue.Limits, m queue.New) func(store.Tx) error {
		return func(tx store.Tx) error {
			did, err := queue.Push(tx, now, "q", l, m, nil)
			if m.NotBefore.IsZero() {
				id = did.ID
			} else {
				late = did.ID
			}
			return err
		}
	}
	replace := keyed
	replace.OnDuplicate = queue.DuplicateReplace
	for _, c := range []struct {
		name  string
		least int // how many writes there are at least
		do    func(store.Tx) error
	}{
		{"Create", 2, func(tx store.Tx) error { _, _, err := queue.Create(tx, now, queue.Queue{Name: "new"}); return err }},
		{"Push", 7, push(queue.Limits{}, keyed)},
		{"Push to replace", 13, push(queue.Limits{}, replace)},
		{"Push to drop", 7, push(queue.Limits{Messages: 1, DropOldest: true}, queue.New{Key: "l"})},
		{"Push after a window", 6, func(tx store.Tx) error {
			did, err := queue.Push(tx, now.Add(time.Hour), "q", queue.Limits{}, keyed, nil)
			id = did.ID
			return err
		}},
		{"Hold", 3, boolean(func(tx store.Tx) (bool, error) { return queue.Hold(tx, r.q.N, id, 1, "x", now.Add(time.Hour)) })},
		{"Hold again", 3, boolean(func(tx store.Tx) (bool, error) { return queue.Hold(tx, r.q.N, id, 1, "x", now.Add(2*time.Hour)) })},
		{"Return", 5, func(tx store.Tx) error { return boolean(r.giveBack(id, 1, true, time.Minute))(tx) }},
		{"Promote", 3, func(tx store.Tx) error { _, _, err := queue.Promote(tx, now.Add(time.Hour), 10); return err }},
		{"Bury", 4, func(tx store.Tx) error { return boolean(r.bury(id, 2))(tx) }},
		{"RetryDead", 4, func(tx store.Tx) error { _, _, err := queue.RetryDead(tx, now, r.q.N, nil, 0, 10); return err }},
		{"Done", 6, func(tx store.Tx) error { return boolean(r.done(id, 1))(tx) }},
		{"Push with a delay", 5, push(queue.Limits{}, delayed)},
		{"Cancel", 5, func(tx store.Tx) error {
			_, err := queue.Cancel(tx, now, r.q.N, late, "bob", false, time.Hour)
			return err
		}},
		{"ExpireResults", 4, func(tx store.Tx) error { _, _, err := queue.ExpireResults(tx, now.Add(24*time.Hour), 10); return err }},
		{"Push another", 5, push(queue.Limits{}, delayed)},
		{"Purge", 3, func(tx store.Tx) error { _, _, err := queue.Purge(tx, r.q.N, nil, 10); return err }},
		{"Push and bury", 7, func(tx store.Tx) error {
			did, err := queue.Push(tx, now, "q", queue.Limits{}, queue.New{}, nil)
			if err != nil {
				return err
			}
			return boolean(r.bury(did.ID, 1))(tx)
		}},
		{"PurgeDead", 4, func(tx store.Tx) error { _, _, err := queue.PurgeDead(tx, r.q.N, nil, 10); return err }},
		{"SetPaused", 1, func(tx store.Tx) error { _, err := queue.SetPaused(tx, "q", &queue.Paused{At: now}); return err }},
		{"Push and finish", 9, func(tx store.Tx) error {
			if err := push(queue.Limits{}, queue.New{Key: "m", Unique: time.Hour})(tx); err != nil {
				return err
			}
			return boolean(r.done(id, 1))(tx)
		}},
		{"Push what is moved", 7, push(queue.Limits{}, keyed)},
		{"Delete", 1, func(tx store.Tx) error {
			_, err := queue.Delete(tx, now, "q", queue.Deleting{MoveTo: "to"}, false, nil)
			return err
		}},
		{"Clear", 15, func(tx store.Tx) error { _, err := queue.Clear(tx, now, r.q.N, nil, 100); return err }},
		{"Notify", 1, func(tx store.Tx) error { return queue.Notify(tx, queue.Notice{Queue: "q", Time: now}) }},
		{"DropNotices", 1, func(tx store.Tx) error { _, err := queue.DropNotices(tx, 1<<50, 10); return err }},
	} {
		for n := 1; ; n++ {
			left := n
			err := r.try(func(tx store.Tx) error {
				left = n // it may run again
				return c.do(failing{tx, &left})
			})
			if err == nil && left > 0 { // there are fewer writes
				if n-1 < c.least {
					t.Errorf("%s writes only %d times, want %d", c.name, n-1, c.least)
				}
				break
			}
			if !errors.Is(err, errWrite) {
				t.Fatalf("%s, write %d: %v", c.name, n, err)
			}
		}
	}
	if gone, err := r.load(id); !errors.Is(err, fault.NotFound) {
		t.Errorf("the queue is not gone: %+v, %v", gone, err)
	}
}
