package queue_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"activationd/internal/fault"
	"activationd/queue"
	"activationd/store"
	"activationd/store/memstore"
)

// A modelMessage is a message as it should be.
type modelMessage struct {
	id       uint64
	m        queue.New
	pushed   time.Time
	where    queue.Where
	until    time.Time // it waits until then: it is delayed, or blocks an ordered queue
	attempts int
	held     string
	cancel   string
	last     string // how the last attempt ended
}

func (m *modelMessage) size() int64 {
	n := int64(len(m.m.Body))
	for name, val := range m.m.Headers {
		n += int64(len(name) + len(val))
	}
	return n
}

func (m *modelMessage) live() bool { return m.where != queue.Dead }

// idle reports whether nobody works on a message that lives.
func (w *world) idle(m *modelMessage) bool { return !w.inWork[m.id] && m.held == "" && m.cancel == "" }

type modelWindow struct {
	id    uint64
	until time.Time
}

type modelResult struct {
	outcome string
	until   time.Time
}

type modelQueue struct {
	queue.Queue
	messages map[uint64]*modelMessage
	windows  map[string]modelWindow
	results  map[uint64]modelResult
	ever     queue.Counts // only what there was since the queue was created
}

// A world is a store, and what should be in it. The model has no indexes: it looks at all it
// has.
type world struct {
	rt     *rapid.T
	db     *memstore.Store
	now    time.Time
	queues map[string]*modelQueue
	inWork map[uint64]bool
	ids    map[uint64]bool // all that there ever were
}

func (w *world) update(fn func(store.Tx) error) error { return w.db.Update(context.Background(), fn) }

// must runs fn, which must not fail.
func (w *world) must(fn func(store.Tx) error) {
	w.rt.Helper()
	if err := w.update(fn); err != nil {
		w.rt.Fatal(err)
	}
}

// wants checks that an error is of a kind; nil: there is none.
func (w *world) wants(what string, err, kind error) {
	w.rt.Helper()
	if !errors.Is(err, kind) || kind == nil && err != nil {
		w.rt.Fatalf("%s: %v, want %v", what, err, kind)
	}
}

func (w *world) busy(seq uint64) bool { return w.inWork[seq] }

// anyQueue draws a queue, one of those that prefer accepts if there are any.
func (w *world) anyQueue(prefer ...func(*modelQueue) bool) *modelQueue {
	names := slices.Sorted(maps.Keys(w.queues))
	for _, accepts := range prefer {
		if some := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return !accepts(w.queues[name]) }); len(some) > 0 {
			names = some
		}
	}
	if len(names) == 0 {
		w.rt.Skip("no queue")
	}
	return w.queues[rapid.SampledFrom(names).Draw(w.rt, "queue")]
}

// anyMessage draws a message that choose accepts.
func (w *world) anyMessage(choose func(*modelMessage) bool) (*modelQueue, *modelMessage) {
	type pair struct {
		q  *modelQueue
		id uint64
	}
	var all []pair
	for _, name := range slices.Sorted(maps.Keys(w.queues)) {
		q := w.queues[name]
		for _, id := range slices.Sorted(maps.Keys(q.messages)) {
			if choose(q.messages[id]) {
				all = append(all, pair{q, id})
			}
		}
	}
	if len(all) == 0 {
		w.rt.Skip("no message")
	}
	p := rapid.SampledFrom(all).Draw(w.rt, "message")
	return p.q, p.q.messages[p.id]
}

// sorted returns the messages that choose accepts, by id.
func (q *modelQueue) sorted(choose func(*modelMessage) bool) (ms []*modelMessage) {
	for _, id := range slices.Sorted(maps.Keys(q.messages)) {
		if choose(q.messages[id]) {
			ms = append(ms, q.messages[id])
		}
	}
	return ms
}

// keyOf returns who has a key: a live message, or else the window that keeps it.
func (q *modelQueue) keyOf(key string, now time.Time) (live *modelMessage, window modelWindow, taken bool) {
	for _, m := range q.messages {
		if m.m.Key == key && m.live() {
			return m, q.windows[key], true
		}
	}
	window = q.windows[key]
	return nil, window, window.until.After(now)
}

func (q *modelQueue) totals() (c queue.Counts) {
	c = q.ever
	for _, m := range q.messages {
		switch m.where {
		case queue.Dead:
			c.Dead++
			c.DeadBytes += m.size()
			continue
		case queue.Delayed:
			c.Delayed++
		}
		c.Messages++
		c.Bytes += m.size()
	}
	return c
}

func (w *world) create() {
	q := queue.Queue{Name: rapid.SampledFrom([]string{"a", "b", "c"}).Draw(w.rt, "name"), Ordered: rapid.Bool().Draw(w.rt, "ordered"), By: "ada"}
	var got *queue.Queue
	var created bool
	err := w.update(func(tx store.Tx) (err error) {
		got, created, err = queue.Create(tx, w.now, q)
		return err
	})
	had := w.queues[q.Name]
	switch {
	case had == nil:
		w.wants("create", err, nil)
		if !created {
			w.rt.Fatal("it was not created")
		}
		for _, other := range w.queues {
			if other.N == got.N {
				w.rt.Fatalf("queues %s and %s have the number %d", other.Name, q.Name, got.N)
			}
		}
		w.queues[q.Name] = &modelQueue{
			Queue: *got, messages: map[uint64]*modelMessage{}, windows: map[string]modelWindow{}, results: map[uint64]modelResult{},
		}
	case had.Deleting != nil || had.Ordered != q.Ordered:
		w.wants("create again", err, fault.Conflict)
	default:
		w.wants("create again", err, nil)
		if created || got.N != had.N {
			w.rt.Fatalf("created again: %+v", got)
		}
	}
}

// drawNew draws a message. Few keys and sizes make duplicates and full queues likely.
func (w *world) drawNew() queue.New {
	m := queue.New{
		Body:     bytes.Repeat([]byte(rapid.StringMatching("[a-z]").Draw(w.rt, "letter")), rapid.SampledFrom([]int{0, 1, 10, 100, 100, 33_000, 140_000}).Draw(w.rt, "size")),
		Priority: rapid.SampledFrom([]int{0, 0, 0, 5, 9}).Draw(w.rt, "priority"),
	}
	if rapid.IntRange(0, 4).Draw(w.rt, "delayed") == 0 {
		m.NotBefore = w.now.Add(time.Duration(rapid.IntRange(-5, 20).Draw(w.rt, "delay")) * time.Second)
	}
	if m.Key = rapid.SampledFrom([]string{"", "", "k", "k", "l/m"}).Draw(w.rt, "key"); m.Key != "" {
		m.OnDuplicate = rapid.SampledFrom([]string{"", queue.DuplicateRefuse, queue.DuplicateIgnore, queue.DuplicateReplace}).Draw(w.rt, "on duplicate")
		m.Unique = time.Duration(rapid.SampledFrom([]int{0, 0, 5, 60}).Draw(w.rt, "window")) * time.Second
	}
	if rapid.IntRange(0, 4).Draw(w.rt, "more") == 0 {
		uid := rapid.IntRange(-1, 1).Draw(w.rt, "uid")
		m.UID, m.By, m.Attempts, m.Timeout, m.Keep = &uid, "ada", 3, time.Minute, time.Hour
		m.Headers = map[string]string{"Content-Type": "text/plain", "x": ""}
	}
	return m
}

func (w *world) push() {
	q := w.anyQueue()
	var limits queue.Limits
	if rapid.IntRange(0, 2).Draw(w.rt, "limited") == 0 {
		limits = queue.Limits{
			Messages:    int64(rapid.IntRange(0, 6).Draw(w.rt, "messages")),
			Bytes:       int64(rapid.SampledFrom([]int{0, 300, 50_000}).Draw(w.rt, "bytes")),
			Body:        int64(rapid.SampledFrom([]int{0, 0, 100}).Draw(w.rt, "body")),
			AllMessages: int64(rapid.SampledFrom([]int{0, 0, 10}).Draw(w.rt, "all messages")),
			AllBytes:    int64(rapid.SampledFrom([]int{0, 0, 200_000}).Draw(w.rt, "all bytes")),
			DropOldest:  rapid.Bool().Draw(w.rt, "drop"),
		}
	}
	ms := make([]queue.New, rapid.SampledFrom([]int{1, 1, 1, 3}).Draw(w.rt, "count"))
	for i := range ms {
		ms[i] = w.drawNew()
	}
	var did []queue.Pushed
	err := w.update(func(tx store.Tx) (err error) {
		did, err = queue.PushAll(tx, w.now, q.Name, limits, ms, w.busy)
		return err
	})
	// The model is changed as a copy: if one message is refused, none is pushed.
	was := maps.Clone(q.messages)
	windows, ever := maps.Clone(q.windows), q.ever
	for i, m := range ms {
		var d queue.Pushed
		if err == nil {
			d = did[i]
		}
		if kind := w.pushOne(q, limits, m, d); kind != nil {
			q.messages, q.windows, q.ever = was, windows, ever
			w.wants("push", err, kind)
			return
		}
	}
	w.wants("push", err, nil)
	for id := range was {
		if q.messages[id] == nil {
			delete(w.inWork, id)
		}
	}
}

// pushOne pushes into the model. It returns the kind of the error that there should be.
func (w *world) pushOne(q *modelQueue, limits queue.Limits, m queue.New, did queue.Pushed) error {
	if q.Deleting != nil {
		return fault.Conflict
	}
	if limits.Body > 0 && int64(len(m.Body)) > limits.Body {
		return fault.Invalid
	}
	var replaced uint64
	if live, window, taken := q.keyOf(m.Key, w.now); m.Key != "" {
		switch {
		case !taken:
		case m.OnDuplicate == queue.DuplicateIgnore:
			id := window.id
			if live != nil {
				id = live.id
			}
			if did.ID != 0 && (!did.Duplicate || did.ID != id) {
				w.rt.Fatalf("the push of a duplicate of %d that is to be ignored: %+v", id, did)
			}
			return nil
		case m.OnDuplicate == queue.DuplicateReplace && live != nil && w.idle(live):
			replaced = live.id
			delete(q.messages, live.id)
			q.ever.Dropped++
		default:
			return fault.Conflict
		}
		delete(q.windows, m.Key)
	}
	var dropped []uint64
	for size := (&modelMessage{m: m}).size(); w.isFull(q, limits, size); {
		ready := q.sorted(func(m *modelMessage) bool { return m.where == queue.Ready && w.idle(m) })
		if !limits.DropOldest || len(ready) == 0 {
			return fault.Unavailable
		}
		dropped = append(dropped, ready[0].id)
		delete(q.messages, ready[0].id)
		q.ever.Dropped++
	}
	switch {
	case did.ID == 0: // the push has failed at another message
		did = queue.Pushed{ID: 1<<52 + uint64(len(q.messages)) + q.ever.Pushed, Replaced: replaced, Dropped: dropped}
	case w.ids[did.ID]:
		w.rt.Fatalf("the id %d is used twice", did.ID)
	default:
		w.ids[did.ID] = true
	}
	if did.Duplicate || did.Replaced != replaced || !slices.Equal(did.Dropped, dropped) {
		w.rt.Fatalf("pushed: %+v, want replaced %d and dropped %v", did, replaced, dropped)
	}
	added := &modelMessage{id: did.ID, m: m, pushed: w.now, where: queue.Ready}
	if m.NotBefore.After(w.now) {
		added.where, added.until = queue.Delayed, m.NotBefore
	}
	q.messages[did.ID] = added
	q.ever.Pushed++
	if m.Unique > 0 {
		q.windows[m.Key] = modelWindow{did.ID, w.now.Add(m.Unique)}
	}
	return nil
}

func (w *world) isFull(q *modelQueue, l queue.Limits, size int64) bool {
	c := q.totals()
	var messages, bytes int64
	for _, other := range w.queues {
		o := other.totals()
		messages += o.Messages + o.Dead
		bytes += o.Bytes + o.DeadBytes
	}
	return l.Messages > 0 && c.Messages >= l.Messages || l.Bytes > 0 && c.Bytes+size > l.Bytes ||
		l.AllMessages > 0 && messages >= l.AllMessages || l.AllBytes > 0 && bytes+size > l.AllBytes
}

// take hands a ready message to nobody in particular.
func (w *world) take() {
	_, m := w.anyMessage(func(m *modelMessage) bool { return m.where == queue.Ready && w.idle(m) })
	w.inWork[m.id] = true
}

// attempt draws a number: mostly that of the current attempt.
func (w *world) attempt(m *modelMessage) (attempt int, current bool) {
	attempt = m.attempts + rapid.SampledFrom([]int{1, 1, 1, 1, 0, 2}).Draw(w.rt, "attempt")
	return attempt, attempt == m.attempts+1 && m.where == queue.Ready
}

func all(*modelMessage) bool { return true }

func ready(m *modelMessage) bool { return m.where == queue.Ready }

// mostly draws a choice that is true most of the time for ready messages, on which work ends.
func (w *world) mostly() func(*modelMessage) bool {
	if rapid.IntRange(0, 5).Draw(w.rt, "any message") == 0 {
		return all
	}
	return ready
}

func (w *world) isOK(what string, got, want bool) {
	w.rt.Helper()
	if got != want {
		w.rt.Fatalf("%s: ok is %v, want %v", what, got, want)
	}
}

func (w *world) done() {
	q, m := w.anyMessage(w.mostly())
	attempt, current := w.attempt(m)
	keep := time.Duration(rapid.SampledFrom([]int{0, 10, 60}).Draw(w.rt, "keep")) * time.Second
	outcome := rapid.SampledFrom([]string{"", queue.OutcomeDone, queue.OutcomeCancelled, queue.OutcomeExpired}).Draw(w.rt, "outcome")
	var ok bool
	w.must(func(tx store.Tx) (err error) {
		ok, err = queue.Done(tx, w.now, q.N, m.id, attempt, []byte("result\n"+string(m.m.Body[:min(3, len(m.m.Body))])), keep, queue.Ending{Outcome: outcome})
		return err
	})
	w.isOK("done", ok, current)
	if ok {
		w.finish(q, m, cmp.Or(outcome, queue.OutcomeDone), keep)
	}
}

func (w *world) finish(q *modelQueue, m *modelMessage, outcome string, keep time.Duration) {
	delete(q.messages, m.id)
	delete(w.inWork, m.id)
	switch outcome {
	case queue.OutcomeDone:
		q.ever.Done++
	case queue.OutcomeCancelled:
		q.ever.Cancelled++
	case queue.OutcomeExpired:
		q.ever.Expired++
	}
	if keep > 0 {
		q.results[m.id] = modelResult{outcome, w.now.Add(keep)}
	}
}

func (w *world) giveBack() {
	q, m := w.anyMessage(w.mostly())
	attempt, current := w.attempt(m)
	count := rapid.Bool().Draw(w.rt, "count")
	var at time.Time
	if rapid.Bool().Draw(w.rt, "later") {
		at = w.now.Add(time.Duration(rapid.IntRange(0, 30).Draw(w.rt, "delay")) * time.Second)
	}
	var e *queue.Ending
	if rapid.Bool().Draw(w.rt, "ending") {
		e = &queue.Ending{Exit: 1, Reason: fmt.Sprint("attempt ", attempt)}
	}
	var ok bool
	w.must(func(tx store.Tx) (err error) {
		ok, err = queue.Return(tx, w.now, q.N, m.id, attempt, count, at, e)
		return err
	})
	w.isOK("return", ok, current)
	if !ok {
		return
	}
	delete(w.inWork, m.id)
	m.held, m.until = "", time.Time{}
	if count {
		m.attempts = attempt
		q.ever.Again++
	}
	if e != nil {
		m.last = e.Reason
	}
	if at.After(w.now) {
		m.until = at
		if !q.Ordered {
			m.where = queue.Delayed
		}
	}
}

func (w *world) bury() {
	q, m := w.anyMessage(w.mostly())
	attempt, current := w.attempt(m)
	var ok bool
	w.must(func(tx store.Tx) (err error) {
		ok, err = queue.Bury(tx, w.now, q.N, m.id, attempt, queue.Ending{Exit: 65, Reason: "bad data"})
		return err
	})
	w.isOK("bury", ok, current)
	if ok {
		delete(w.inWork, m.id)
		q.ever.Failed++
		*m = modelMessage{id: m.id, m: m.m, pushed: m.pushed, where: queue.Dead, attempts: attempt, last: "bad data"}
	}
}

func (w *world) hold() {
	q, m := w.anyMessage(w.mostly())
	attempt, current := w.attempt(m)
	who := rapid.SampledFrom([]string{"ada", "bob"}).Draw(w.rt, "who")
	until := w.now.Add(time.Duration(rapid.IntRange(1, 30).Draw(w.rt, "visible")) * time.Second)
	var ok bool
	w.must(func(tx store.Tx) (err error) {
		ok, err = queue.Hold(tx, q.N, m.id, attempt, who, until)
		return err
	})
	w.isOK("hold", ok, current && (m.held == "" || strings.HasPrefix(m.held, who)))
	if ok {
		m.held = who + " " + until.Format(time.RFC3339)
	}
}

func (w *world) cancel() {
	q, m := w.anyMessage(all)
	keep := time.Duration(rapid.SampledFrom([]int{0, 10}).Draw(w.rt, "keep")) * time.Second
	working := m.held != "" || w.inWork[m.id]
	var removed bool
	err := w.update(func(tx store.Tx) (err error) {
		removed, err = queue.Cancel(tx, w.now, q.N, m.id, "bob", working, keep)
		return err
	})
	if m.where == queue.Dead {
		w.wants("cancel a dead letter", err, fault.Conflict)
		return
	}
	w.wants("cancel", err, nil)
	if removed == working {
		w.rt.Fatalf("cancelled: removed is %v, in work %v", removed, working)
	}
	if m.cancel = "bob"; removed {
		w.finish(q, m, queue.OutcomeCancelled, keep)
	}
}

// promote makes due messages ready, in parts.
func (w *world) promote() {
	most := rapid.IntRange(1, 4).Draw(w.rt, "most")
	var got []uint64
	for {
		var refs []queue.Ref
		var next time.Time
		w.must(func(tx store.Tx) (err error) {
			refs, next, err = queue.Promote(tx, w.now, most)
			return err
		})
		for _, r := range refs {
			got = append(got, r.Seq)
		}
		if len(refs) > most {
			w.rt.Fatalf("promoted %d of at most %d", len(refs), most)
		}
		if next.IsZero() || next.After(w.now) {
			w.isNext("Promote", next, func(q *modelQueue) (times []time.Time) {
				for _, m := range q.messages {
					if m.where == queue.Delayed {
						times = append(times, m.until)
					}
				}
				return times
			})
			break
		}
	}
	var want []uint64
	for _, q := range w.queues {
		for _, m := range q.messages {
			if m.where == queue.Delayed && !m.until.After(w.now) {
				m.where, m.until = queue.Ready, time.Time{}
				want = append(want, m.id)
			}
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		w.rt.Fatalf("promoted %v, want %v", got, want)
	}
}

// isNext checks what a function says is due next: the first of the times that are not over.
func (w *world) isNext(what string, next time.Time, times func(*modelQueue) []time.Time) {
	w.rt.Helper()
	var want time.Time
	for _, q := range w.queues {
		for _, at := range times(q) {
			if at.After(w.now) && (want.IsZero() || at.Before(want)) {
				want = at
			}
		}
	}
	if !next.Equal(want) {
		w.rt.Fatalf("%s: next is %v, want %v", what, next, want)
	}
}

func (w *world) expire() {
	most := rapid.IntRange(1, 4).Draw(w.rt, "most")
	for {
		var next time.Time
		w.must(func(tx store.Tx) (err error) {
			_, next, err = queue.ExpireResults(tx, w.now, most)
			return err
		})
		if next.IsZero() || next.After(w.now) {
			w.isNext("ExpireResults", next, func(q *modelQueue) (times []time.Time) {
				for _, r := range q.results {
					times = append(times, r.until)
				}
				for _, win := range q.windows {
					times = append(times, win.until)
				}
				return times
			})
			break
		}
	}
	for _, q := range w.queues {
		maps.DeleteFunc(q.results, func(_ uint64, r modelResult) bool { return !r.until.After(w.now) })
		maps.DeleteFunc(q.windows, func(_ string, win modelWindow) bool { return !win.until.After(w.now) })
	}
}

func (w *world) purge() {
	q := w.anyQueue()
	most := rapid.IntRange(1, 5).Draw(w.rt, "most")
	for more := true; more; {
		w.must(func(tx store.Tx) (err error) {
			_, more, err = queue.Purge(tx, q.N, w.busy, most)
			return err
		})
	}
	maps.DeleteFunc(q.messages, func(_ uint64, m *modelMessage) bool {
		if !m.live() || !w.idle(m) {
			return false
		}
		q.ever.Dropped++
		return true
	})
}

func dead(m *modelMessage) bool { return m.where == queue.Dead }

func (w *world) purgeDead() {
	if rapid.Bool().Draw(w.rt, "one") {
		q, m := w.anyMessage(all)
		err := w.update(func(tx store.Tx) error { _, _, err := queue.PurgeDead(tx, q.N, []uint64{m.id}, 1); return err })
		if !dead(m) {
			w.wants("purge a live message", err, fault.Conflict)
			return
		}
		w.wants("purge a dead letter", err, nil)
		delete(q.messages, m.id)
		q.ever.Dropped++
		return
	}
	q := w.anyQueue()
	for more := true; more; {
		w.must(func(tx store.Tx) (err error) {
			_, more, err = queue.PurgeDead(tx, q.N, nil, 2)
			return err
		})
	}
	for _, m := range q.sorted(dead) {
		delete(q.messages, m.id)
		q.ever.Dropped++
	}
}

// revive retries a dead letter in the model, unless its key is taken.
func (w *world) revive(q *modelQueue, m *modelMessage) bool {
	if m.m.Key != "" {
		live, window, taken := q.keyOf(m.m.Key, w.now)
		if live != nil || taken && window.id != m.id {
			return false
		}
		if window.id != m.id {
			delete(q.windows, m.m.Key)
		}
	}
	m.where, m.attempts = queue.Ready, 0
	return true
}

func (w *world) retryDead() {
	if rapid.Bool().Draw(w.rt, "one") {
		q, m := w.anyMessage(all)
		err := w.update(func(tx store.Tx) error {
			_, _, err := queue.RetryDead(tx, w.now, q.N, []uint64{m.id}, 0, 1)
			return err
		})
		if q.Deleting != nil || !dead(m) || !w.revive(q, m) {
			w.wants("retry", err, fault.Conflict)
			return
		}
		w.wants("retry", err, nil)
		return
	}
	q := w.anyQueue()
	var want, got []uint64
	var err error
	for after, more := uint64(0), true; more; {
		var refs []queue.Ref
		var next uint64
		err = w.update(func(tx store.Tx) (err error) {
			refs, next, err = queue.RetryDead(tx, w.now, q.N, nil, after, 2)
			return err
		})
		for _, r := range refs {
			got = append(got, r.Seq)
		}
		after, more = next, next != 0
	}
	if q.Deleting != nil {
		w.wants("retry", err, fault.Conflict)
		return
	}
	w.wants("retry", err, nil)
	for _, m := range q.sorted(dead) {
		if w.revive(q, m) {
			want = append(want, m.id)
		}
	}
	if !slices.Equal(got, want) {
		w.rt.Fatalf("retried %v, want %v", got, want)
	}
}

func (w *world) pause() {
	q := w.anyQueue()
	var p *queue.Paused
	if rapid.Bool().Draw(w.rt, "pause") {
		p = &queue.Paused{By: "ada", Reason: "repair", At: w.now}
	}
	w.must(func(tx store.Tx) error { _, err := queue.SetPaused(tx, q.Name, p); return err })
	q.Paused = p
}

func (w *world) remove() {
	q := w.anyQueue()
	d := queue.Deleting{By: "ada", Now: rapid.Bool().Draw(w.rt, "now")}
	discard := rapid.Bool().Draw(w.rt, "discard")
	if rapid.IntRange(0, 2).Draw(w.rt, "move") > 0 {
		d.MoveTo = w.anyQueue(func(other *modelQueue) bool { return other != q && other.Deleting == nil }).Name
	}
	err := w.update(func(tx store.Tx) error {
		_, err := queue.Delete(tx, w.now, q.Name, d, discard, w.busy)
		return err
	})
	wanted := false
	for _, other := range w.queues {
		wanted = wanted || other.Deleting != nil && other.Deleting.MoveTo == q.Name
	}
	waiting := len(q.sorted(func(m *modelMessage) bool { return !w.inWork[m.id] }))
	switch {
	case q.Deleting != nil:
		w.wants("delete again", err, nil)
		q.Deleting.Now = q.Deleting.Now || d.Now
		return
	case wanted:
		w.wants("delete what another is moved to", err, fault.Conflict)
		return
	case d.MoveTo == q.Name:
		w.wants("move to itself", err, fault.Invalid)
		return
	case d.MoveTo != "" && w.queues[d.MoveTo].Deleting != nil:
		w.wants("move to what is being deleted", err, fault.Conflict)
		return
	case d.MoveTo == "" && !discard && waiting > 0:
		w.wants(fmt.Sprintf("delete with %d messages", waiting), err, fault.Conflict)
		return
	}
	w.wants("delete", err, nil)
	d.At = w.now
	q.Deleting = &d
}

func (w *world) clear() {
	q := w.anyQueue(func(q *modelQueue) bool { return q.Deleting != nil })
	if q.Deleting == nil {
		w.wants("clear", w.update(func(tx store.Tx) error { _, err := queue.Clear(tx, w.now, q.N, w.busy, 10); return err }), fault.Conflict)
		return
	}
	most := rapid.IntRange(1, 60).Draw(w.rt, "most")
	gone := false
	for writes := true; writes && !gone; {
		was := w.db.Commits()
		w.must(func(tx store.Tx) (err error) {
			gone, err = queue.Clear(tx, w.now, q.N, w.busy, most)
			return err
		})
		writes = w.db.Commits() != was
		if err := w.db.View(context.Background(), queue.Verify); err != nil {
			w.rt.Fatal(err)
		}
	}
	to := w.queues[q.Deleting.MoveTo]
	for _, m := range q.sorted(func(m *modelMessage) bool { return !w.inWork[m.id] }) {
		delete(q.messages, m.id)
		q.ever.Dropped++
		if to == nil {
			continue
		}
		moved := *m
		moved.held, moved.cancel, moved.m.Unique = "", "", 0
		if moved.m.Key != "" && m.live() {
			if _, _, taken := to.keyOf(m.m.Key, w.now); taken {
				moved.m.Key = ""
			} else {
				delete(to.windows, m.m.Key)
			}
		}
		if m.where == queue.Ready && !m.until.IsZero() && !to.Ordered {
			moved.where = queue.Delayed
		}
		to.messages[m.id] = &moved
		to.ever.Pushed++
	}
	if gone != (len(q.messages) == 0) {
		w.rt.Fatalf("queue %s is gone: %v, with %d messages in work", q.Name, gone, len(q.messages))
	}
	if gone {
		delete(w.queues, q.Name)
	}
}

func (w *world) wait() {
	w.now = w.now.Add(time.Duration(rapid.SampledFrom([]int{1, 5, 20, 70}).Draw(w.rt, "seconds")) * time.Second)
}

// check compares the store with the model.
func (w *world) check() {
	err := w.db.View(context.Background(), func(tx store.Tx) error {
		if err := queue.Verify(tx); err != nil {
			return err
		}
		names := []string{}
		for q, err := range queue.All(tx) {
			if err != nil {
				return err
			}
			names = append(names, q.Name)
			mq := w.queues[q.Name]
			if mq == nil {
				return fmt.Errorf("there is a queue %s", q.Name)
			}
			if err := w.checkQueue(tx, mq, q); err != nil {
				return fmt.Errorf("queue %s: %w", q.Name, err)
			}
		}
		if want := slices.Sorted(maps.Keys(w.queues)); !slices.Equal(names, want) {
			return fmt.Errorf("there are the queues %v, want %v", names, want)
		}
		var held []uint64
		for _, r := range queue.Holds(tx) {
			held = append(held, r.Seq)
		}
		var want []uint64
		for _, q := range w.queues {
			for _, m := range q.messages {
				if m.held != "" {
					want = append(want, m.id)
				}
			}
		}
		slices.Sort(held)
		slices.Sort(want)
		if !slices.Equal(held, want) {
			return fmt.Errorf("held are %v, want %v", held, want)
		}
		return nil
	})
	if err != nil {
		w.rt.Fatal(err)
	}
	// No entry is of a queue that is gone. The numbers of queues are in the keys.
	numbers := map[string]bool{}
	for _, q := range w.queues {
		numbers[fmt.Sprintf("%016d", q.N)] = true
	}
	for _, key := range w.db.Keys("") {
		parts := strings.Split(key, "/")
		n := parts[2]
		if strings.Contains("dhe", parts[1]) {
			n = parts[3]
		}
		if parts[1] != "q" && !numbers[n] {
			w.rt.Fatalf("the entry %s is left", key)
		}
	}
}

func (w *world) checkQueue(tx store.Tx, q *modelQueue, got *queue.Queue) error {
	if got.N != q.N || got.Ordered != q.Ordered || got.By != q.By || (got.Paused == nil) != (q.Paused == nil) || (got.Deleting == nil) != (q.Deleting == nil) {
		return fmt.Errorf("it is %+v, want %+v", got, q.Queue)
	}
	if q.Deleting != nil && (got.Deleting.Now != q.Deleting.Now || got.Deleting.MoveTo != q.Deleting.MoveTo || !got.Deleting.At.Equal(q.Deleting.At)) {
		return fmt.Errorf("its deletion is %+v, want %+v", got.Deleting, q.Deleting)
	}
	if c, want := queue.CountsOf(tx, q.N), q.totals(); c != want {
		return fmt.Errorf("its numbers are\n%+v, want\n%+v", c, want)
	}
	if other, err := queue.ByNumber(tx, q.N); err != nil || other.Name != q.Name {
		return fmt.Errorf("ByNumber = %+v, %w", other, err)
	}
	var order []uint64
	for p := queue.MaxPriority; p >= 0; p-- {
		want := q.sorted(func(m *modelMessage) bool { return ready(m) && m.m.Priority == p })
		var heads []queue.Head
		for after, more := uint64(0), true; more; {
			page := queue.Heads(tx, q.N, p, after, 2)
			heads = append(heads, page...)
			if more = len(page) == 2; more {
				after = page[1].Seq
			}
		}
		if len(heads) != len(want) {
			return fmt.Errorf("%d messages of priority %d are ready, want %d", len(heads), p, len(want))
		}
		for i, h := range heads {
			m := want[i]
			order = append(order, m.id)
			wanted := queue.Head{Seq: m.id, Priority: p, Pushed: m.pushed, Attempts: m.attempts, Held: m.held != "", Cancelled: m.cancel != "", NotBefore: m.until}
			if h != wanted {
				return fmt.Errorf("the head is\n%+v, want\n%+v", h, wanted)
			}
		}
	}
	if peeked, err := ids(queue.Peek(tx, q.N, queue.Look{Where: queue.Ready})); err != nil || !slices.Equal(peeked, order) {
		return fmt.Errorf("Peek: %v, want %v: %w", peeked, order, err)
	}
	for i, id := range order {
		look := queue.Look{Where: queue.Ready, After: id, AfterPriority: q.messages[id].m.Priority, Most: 1}
		if peeked, err := ids(queue.Peek(tx, q.N, look)); err != nil || !slices.Equal(peeked, order[i+1:min(i+2, len(order))]) {
			return fmt.Errorf("Peek after %d: %v: %w", id, peeked, err)
		}
	}
	for where, choose := range map[queue.Where]func(*modelMessage) bool{"": all, queue.Dead: dead, queue.Delayed: func(m *modelMessage) bool { return m.where == queue.Delayed }} {
		var want []uint64
		for _, m := range q.sorted(choose) {
			want = append(want, m.id)
		}
		if peeked, err := ids(queue.Peek(tx, q.N, queue.Look{Where: where})); err != nil || !slices.Equal(peeked, want) {
			return fmt.Errorf("Peek %q: %v, want %v: %w", where, peeked, want, err)
		}
	}
	for id := range w.ids {
		if err := w.checkMessage(tx, q, id); err != nil {
			return fmt.Errorf("message %d: %w", id, err)
		}
	}
	for _, key := range []string{"k", "l/m"} {
		live, _, _ := q.keyOf(key, w.now)
		seq, ok := queue.KeyHolder(tx, q.N, key)
		if ok != (live != nil) || ok && seq != live.id {
			return fmt.Errorf("message %d, %v has the key %s, want %+v", seq, ok, key, live)
		}
	}
	return nil
}

func (w *world) checkMessage(tx store.Tx, q *modelQueue, id uint64) error {
	m := q.messages[id]
	got, err := queue.Load(tx, q.N, id)
	if isReady := queue.IsReady(tx, q.N, id); isReady != (m != nil && ready(m)) {
		return fmt.Errorf("IsReady = %v", isReady)
	}
	res, found := queue.ResultOf(tx, q.N, id)
	want, kept := q.results[id]
	if m != nil && dead(m) {
		want, kept = modelResult{outcome: queue.OutcomeDead}, true
	}
	if found != kept || found && (res.Outcome != want.outcome || !res.Until.Equal(want.until)) {
		return fmt.Errorf("ResultOf = %+v, %v, want %+v, %v", res, found, want, kept)
	}
	if m == nil {
		if !errors.Is(err, fault.NotFound) {
			return fmt.Errorf("Load = %+v, %w, want %w", got, err, fault.NotFound)
		}
		return nil
	}
	if err != nil {
		return err
	}
	var held, cancel, last string
	if got.Held != nil {
		held = got.Held.Who + " " + got.Held.Until.Format(time.RFC3339)
	}
	if got.Cancel != nil {
		cancel = got.Cancel.By
	}
	if got.Last != nil {
		last = got.Last.Reason
	}
	until := m.until
	if m.where == queue.Delayed && got.State.NotBefore.IsZero() {
		until = time.Time{} // it is what the sender said
		if !got.New.NotBefore.Equal(m.until) {
			return fmt.Errorf("it is delayed until %v, want %v", got.New.NotBefore, m.until)
		}
	}
	switch {
	case got.ID != id || got.Queue != q.N || got.Where != m.where || got.State.Attempts != m.attempts || held != m.held || cancel != m.cancel || last != m.last || !got.State.NotBefore.Equal(until):
		return fmt.Errorf("it is\n%+v %q %q %q, want\n%+v", got.State, held, cancel, last, m)
	case !got.PushedAt.Equal(m.pushed) || got.Priority != m.m.Priority || got.Key != m.m.Key || got.Unique != m.m.Unique || got.New.Attempts != m.m.Attempts ||
		got.Timeout != m.m.Timeout || got.Keep != m.m.Keep || got.By != m.m.By || (got.UID == nil) != (m.m.UID == nil) || got.UID != nil && *got.UID != *m.m.UID:
		return fmt.Errorf("it was pushed as\n%+v, want\n%+v", got.New, m.m)
	case !bytes.Equal(got.Body, m.m.Body) || !maps.Equal(got.Headers, m.m.Headers):
		return fmt.Errorf("its body has %d bytes, want %d; its headers are %v", len(got.Body), len(m.m.Body), got.Headers)
	}
	return nil
}

func ids(seq func(func(*queue.Message, error) bool)) (ids []uint64, err error) {
	for m, err := range seq {
		if err != nil {
			return nil, err
		}
		ids = append(ids, m.ID)
	}
	return ids, nil
}

// TestModel does random things with some queues and compares with a model after each.
func TestModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := &world{rt: rt, now: now, queues: map[string]*modelQueue{}, inWork: map[uint64]bool{}, ids: map[uint64]bool{}}
		if w.db = memstore.New(); rapid.Bool().Draw(rt, "strict") {
			w.db = memstore.Strict(rapid.Uint64().Draw(rt, "conflicts"))
		}
		actions := map[string]func(*rapid.T){}
		for name, do := range map[string]func(){
			"create": w.create, "push": w.push, "push more": w.push, "push still more": w.push, "create more": w.create, "take": w.take, "done": w.done,
			"return": w.giveBack, "bury": w.bury, "hold": w.hold, "cancel": w.cancel, "promote": w.promote, "expire": w.expire, "purge": w.purge, "purge dead": w.purgeDead,
			"retry dead": w.retryDead, "pause": w.pause, "delete": w.remove, "clear": w.clear, "wait": w.wait,
		} {
			actions[name] = func(rt *rapid.T) {
				w.rt = rt
				do()
			}
		}
		actions[""] = func(rt *rapid.T) {
			w.rt = rt
			w.check()
		}
		w.create()
		rt.Repeat(actions)
	})
}
