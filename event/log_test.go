package event

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"activationd/internal/object/objecttest"
	"activationd/store"
	"activationd/store/bolt"
	"activationd/store/memstore"
)

var errEnough = errors.New("enough")

// start is the time of the first event of a test; each later one is a second after the
// one before.
var start = time.Date(2026, 11, 30, 10, 0, 0, 0, time.UTC)

// A testLog is the log of a store.
type testLog struct {
	*Log
	t  *testing.T
	db store.Store
	n  int // events so far
}

func newTestLog(t *testing.T) *testLog {
	l := &testLog{t: t, db: memstore.Strict(1)}
	l.restart()
	return l
}

// restart makes a new log on the store, as another daemon would.
func (l *testLog) restart() { l.Log = New(l.db) }

// put appends so many events in one transaction. Their reasons are numbers from 1 on.
func (l *testLog) put(n int) {
	l.t.Helper()
	var events []*Event
	for i := range n {
		at := l.n + i + 1
		events = append(events, &Event{Time: start.Add(time.Duration(at-1) * time.Second), Topic: Topic("test", "x"), What: "test", Reason: fmt.Sprint(at)})
	}
	l.append(events...)
	l.n += n
}

// append appends events in one transaction.
func (l *testLog) append(events ...*Event) {
	l.t.Helper()
	var w Written
	err := l.db.Update(l.t.Context(), func(tx store.Tx) (err error) {
		w, err = Append(tx, events...)
		return err
	})
	if err != nil {
		l.t.Fatal(err)
	}
	l.Committed(w)
}

// pruneTo calls [Log.Prune], with the events to keep.
func (l *testLog) pruneTo(keep int, before time.Time) time.Time {
	l.t.Helper()
	return l.prune(Retention{Count: keep, Since: before})
}

func (l *testLog) prune(keep Retention) time.Time {
	l.t.Helper()
	oldest, err := l.Prune(l.t.Context(), keep)
	if err != nil {
		l.t.Fatal(err)
	}
	return oldest
}

// all reads all events after a number: their reasons, with "gap" for a gap.
func (l *testLog) all(after uint64) (words []string, last uint64) {
	l.t.Helper()
	for {
		page, err := l.Read(l.t.Context(), after)
		if err != nil {
			l.t.Fatal(err)
		}
		if len(page) == 0 {
			return words, after
		}
		for _, e := range page {
			words = append(words, word(e))
			after = e.Seq
		}
	}
}

func word(e *Event) string {
	switch {
	case e.What == Gap && e.Reset:
		return "reset"
	case e.What == Gap:
		return "gap"
	}
	return e.Reason
}

// counted returns the numbers from one to another, as words.
func counted(from, to int, before ...string) []string {
	for i := from; i <= to; i++ {
		before = append(before, fmt.Sprint(i))
	}
	return before
}

func (l *testLog) has(after uint64, want []string) (last uint64) {
	l.t.Helper()
	got, last := l.all(after)
	if !slices.Equal(got, want) {
		l.t.Errorf("after %d: %.200q, want %.200q", after, got, want)
	}
	return last
}

func TestRead(t *testing.T) {
	l := newTestLog(t)
	l.has(0, nil)
	l.put(3)
	middle := l.has(0, counted(1, 3))
	newest, err := l.Newest(t.Context())
	if err != nil || newest != middle {
		t.Errorf("Newest = %d, %v; the last event is %d", newest, err, middle)
	}
	l.put(pageEvents * 2)
	l.put(1)
	l.has(middle, counted(4, l.n))
	l.has(0, counted(1, l.n))

	// An event of a transaction that fails is not in the log.
	err = l.db.Update(t.Context(), func(tx store.Tx) error {
		_, err := Append(tx, &Event{Reason: "no"})
		return errors.Join(err, errEnough)
	})
	if !errors.Is(err, errEnough) {
		t.Fatal(err)
	}
	l.put(1)
	l.has(0, counted(1, l.n))
}

func TestNumbersRiseOverRestarts(t *testing.T) {
	l := newTestLog(t)
	path, last := t.TempDir()+"/state.db", uint64(0)
	for range 3 {
		db, err := bolt.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		l.db = db
		l.restart()
		l.put(2)
		page, err := l.Read(t.Context(), last)
		if err != nil || len(page) != 2 || page[0].Seq <= last || page[1].Seq <= page[0].Seq {
			t.Fatalf("after %d: %v, %v", last, page, err)
		}
		last = page[1].Seq
		l.restart()
		if n, err := l.Newest(t.Context()); err != nil || n < last {
			t.Errorf("Newest = %d, %v; the last event is %d", n, err, last)
		}
		l.pruneTo(1, time.Time{})
		l.pruneTo(0, start.Add(time.Hour)) // the numbers of removed events are not used again
		l.has(last, nil)
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestTopics tests that a topic is read as it was written, whether it follows from the other
// fields or not.
func TestTopics(t *testing.T) {
	l := newTestLog(t)
	events := []Event{
		{Topic: "activation.7.waiting", What: "state", ID: "7", State: "waiting"},
		{What: "attempt.ended", ID: "r1.x", State: "waiting"},
		{Topic: "activation.r1%2Ex.attempt.ended", What: "attempt.ended", ID: "r1.x", State: "waiting"},
		{Topic: "recurrence.nightly.held", What: "recurrence.held", ID: "nightly"},
		{Topic: "load", What: "load"},
	}
	for _, e := range events {
		e.Time = start
		l.append(&e)
	}
	page, err := l.Read(t.Context(), 0)
	if err != nil || len(page) != len(events) {
		t.Fatalf("%v, %v", page, err)
	}
	for i, e := range page {
		if e.Topic != cmp.Or(events[i].Topic, "activation.r1%2Ex.attempt.ended") || e.What != events[i].What || e.State != events[i].State {
			t.Errorf("read: %+v, want %+v", e, events[i])
		}
	}
}

func TestFields(t *testing.T) {
	l := newTestLog(t)
	want := Event{
		Time: start.Local(), Topic: "activation.7.attempt.ended", What: "attempt.ended", ID: "7", Kind: "job", Host: "lab1",
		Actor: &Actor{Kind: "uid", Name: "ada", Role: "submitter"}, Action: "edit", Owner: "bob", OwnerUID: new(0), State: "activating",
		Label: "nightly", Changes: []Change{{"priority", "0", "5"}, {Field: "env", To: "PATH changed"}}, Source: "lab.yml", Load: 18,
		WaitsFor: "lock", Outcome: "failed", Phase: "activate", Attempt: 2, Result: "exited", Exit: new(0), Signal: "KILL",
		Failed: true, Reason: "in words\n\x00",
	}
	given := want
	given.Topic = ""
	l.append(&given)
	const golden = `{"v":1,"t":1796032800000000000,"n":1,"c":"edit","k":"job","h":"lab1",` +
		`"a":{"k":"uid","n":"ada","r":"submitter"},"o":"bob","u":0,"so":"lab.yml","ld":18,"e":[{"w":"attempt.ended","i":"7","l":"nightly",` +
		`"g":[{"f":"priority","o":"0","t":"5"},{"f":"env","t":"PATH changed"}],"s":"activating","f":"lock",` +
		`"oc":"failed","p":"activate","n":2,"r":"exited","e":0,"sg":"KILL","x":true,"y":"in words\n\u0000"}]}`
	_ = l.db.View(t.Context(), func(tx store.Tx) error {
		for _, v := range tx.Scan(logKey, "") {
			if string(v) != golden {
				t.Errorf("stored: %s\nwant: %s", v, golden)
			}
		}
		return nil
	})
	for range 2 {
		page, err := l.Read(t.Context(), 0)
		if err != nil || len(page) != 1 {
			t.Fatalf("%v, %v", page, err)
		}
		want.Seq = page[0].Seq
		if got := *page[0]; !reflect.DeepEqual(got, want) {
			t.Errorf("read: %+v, want %+v", got, want)
		}
		l.restart() // now without the event in memory
	}
}

func TestLongReason(t *testing.T) {
	l := newTestLog(t)
	reason := strings.Repeat("ä", maxReason)
	l.append(&Event{Reason: reason})
	page, err := l.Read(t.Context(), 0)
	if err != nil || len(page) != 1 {
		t.Fatalf("%v, %v", page, err)
	}
	if got := page[0].Reason; len(got) > maxReason+len(" ...") || !strings.HasPrefix(got, "ää") || !strings.HasSuffix(got, "ä ...") {
		t.Errorf("%d bytes are left, which begin with %.20q", len(got), got)
	}
}

// A text that is not valid UTF-8 looks the same to all readers, whether they read it from
// memory or from the store.
func TestInvalidText(t *testing.T) {
	l := newTestLog(t)
	l.append(&Event{Reason: "a\xffb"})
	for range 2 {
		l.has(0, []string{"a\ufffdb"})
		l.restart()
	}
}

// An event that this program cannot read blocks no reader, and is not skipped silently.
func TestUnreadable(t *testing.T) {
	for _, text := range []string{"nonsense", `{"v":99,"what":"test"}`} {
		l := newTestLog(t)
		l.put(1)
		if err := l.db.Update(t.Context(), func(tx store.Tx) error { return tx.Append(logKey, []byte(text), 1) }); err != nil {
			t.Fatal(err)
		}
		l.put(2)
		l.has(0, []string{"1", "gap", "2", "3"})
		l.pruneTo(3, time.Time{})
		l.has(0, []string{"gap", "2", "3"})
	}
}

// TestEncodeAsPackageJSON compares the encoding of entries that are filled by chance, every field
// of them, with that of package json.
func TestEncodeAsPackageJSON(t *testing.T) {
	seed := time.Now().UnixNano()
	rnd := rand.New(rand.NewPCG(0, uint64(seed)))
	for range 3000 {
		var s stored
		objecttest.Fill(rnd, &s)
		s.Events = make([]single, 1+rnd.IntN(3))
		for i := range s.Events {
			s.Events[i].Event = new(Event)
			objecttest.Fill(rnd, &s.Events[i])
		}
		got, err := s.encode()
		if err != nil {
			t.Fatal(err)
		}
		want, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != string(want) {
			t.Fatalf("seed %d: got\n%s\nwant\n%s", seed, got, want)
		}
	}
}

// Events of one transaction that have a time, a host and more in common are stored as one
// entry. Each still has its own number, and readers may begin with any of them.
func TestSharedEntries(t *testing.T) {
	l := newTestLog(t)
	actor := &Actor{Kind: "uid", Name: "ada"}
	var want []*Event
	const n = entryEvents + 44
	for i := range 2 * n {
		e := &Event{Time: start, What: State, ID: fmt.Sprint(i), State: "scheduled", Actor: actor, Owner: "ada", OwnerUID: new(7), Reason: fmt.Sprint(i + 1)}
		if i >= n {
			e.Actor = &Actor{Kind: "uid", Name: "eve"}
			switch i % 3 { // those of several owners share one, too
			case 0:
				e.Owner, e.OwnerUID = "bob", new(8)
			case 1:
				e.Owner, e.OwnerUID = "", nil
			}
		}
		e.Topic = e.Subject()
		want = append(want, e)
	}
	l.append(want...)
	count := func() (n int) {
		_ = l.db.View(t.Context(), func(tx store.Tx) error {
			n = 0
			for range entries(tx, 0) {
				n++
			}
			return nil
		})
		return n
	}
	if got := count(); got != 4 {
		t.Errorf("%d events are in %d entries, want 4", len(want), got)
	}
	for _, after := range []uint64{0, 1, entryEvents - 1, entryEvents, n - 1, n, 2*n - 1} {
		l.restart() // without the tail in memory
		l.has(after, counted(int(after)+1, 2*n))
	}
	for after, e := range want {
		page, err := l.Read(t.Context(), uint64(after))
		if err != nil || page[0].Seq != uint64(after+1) {
			t.Fatalf("after %d: %v, %v", after, page, err)
		}
		got := *page[0]
		if got.Topic != e.Topic || got.What != e.What || got.ID != e.ID || !got.Time.Equal(e.Time) || *got.Actor != *e.Actor || !got.ofOwnerOf(e) {
			t.Fatalf("read: %+v, want %+v", got, e)
		}
	}

	// An entry goes when none of its events need be kept.
	l.pruneTo(n+1, time.Time{})
	l.restart()
	l.has(0, counted(entryEvents+1, 2*n, "gap"))
	l.pruneTo(n, time.Time{})
	l.restart()
	l.has(0, counted(n+1, 2*n, "gap"))
	if got := count(); got != 2 {
		t.Errorf("%d entries are left, want 2", got)
	}
}

func TestPruneByCount(t *testing.T) {
	l := newTestLog(t)
	const many = 300 // more than one transaction of the strict store removes
	l.put(many)
	if oldest := l.pruneTo(many, time.Time{}); !oldest.Equal(start) {
		t.Errorf("the oldest is of %v", oldest)
	}
	first := l.has(0, counted(1, many))
	if oldest := l.pruneTo(5, time.Time{}); !oldest.Equal(start.Add((many - 5) * time.Second)) {
		t.Errorf("the oldest is of %v", oldest)
	}
	l.restart() // without the tail in memory
	l.has(0, counted(many-4, many, "gap"))
	l.has(first, nil)
	gap, err := l.Read(t.Context(), 3)
	if err != nil || gap[0].From != 4 || gap[0].Seq != gap[1].Seq-1 || gap[0].Reset {
		t.Errorf("the gap is %+v, %v", gap[0], err)
	}
	// A reader that continues from the gap does not get it again.
	l.has(gap[0].Seq, counted(many-4, many))
	l.pruneTo(0, time.Time{})
	l.has(gap[0].Seq, counted(many-4, many))
}

func TestPruneByAge(t *testing.T) {
	l := newTestLog(t)
	const many = 300 // as above
	l.put(many + 10)
	if oldest := l.pruneTo(0, start.Add(many*time.Second)); !oldest.Equal(start.Add(many * time.Second)) {
		t.Errorf("the oldest is of %v", oldest)
	}
	l.restart()
	last := l.has(0, counted(many+1, l.n, "gap"))
	if oldest := l.pruneTo(1, start.Add(time.Hour)); !oldest.IsZero() {
		t.Errorf("the oldest is of %v, and none should be left", oldest)
	}
	l.restart()
	l.has(0, []string{"gap"})
	l.has(last, nil)
	l.put(1)
	l.has(last, counted(l.n, l.n))
}

func TestFull(t *testing.T) {
	l := newTestLog(t)
	full := func() bool {
		select {
		case <-l.Full():
			return true
		default:
			return false
		}
	}
	l.pruneTo(80, time.Time{})
	l.put(9)
	if full() {
		t.Error("full after 9 of 80")
	}
	l.put(1)
	if !full() {
		t.Error("not full after 10 of 80")
	}
	l.pruneTo(0, time.Time{})
	l.put(1000)
	if full() {
		t.Error("full although any number is kept")
	}
}

// A number that is greater than all in the log is from another log.
func TestReset(t *testing.T) {
	l := newTestLog(t)
	l.put(3)
	newest, err := l.Newest(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	l.has(newest+1, counted(1, 3, "reset"))
	l.has(store.MaxNumber*2, counted(1, 3, "reset"))
	l.pruneTo(1, time.Time{})
	l.restart()
	l.has(1<<60, counted(3, 3, "reset"))
	empty := newTestLog(t)
	last := empty.has(1, []string{"reset"})
	empty.put(1)
	empty.has(last, counted(1, 1))
}

// follow collects reasons until there are so many, and then sends them.
func (l *testLog) follow(after uint64, n int, each func(*Event)) <-chan []string {
	done := make(chan []string, 1)
	go func() {
		var got []string
		err := l.Follow(l.t.Context(), after, func(e *Event) error {
			each(e)
			if got = append(got, word(e)); len(got) == n {
				return errEnough
			}
			return nil
		})
		if !errors.Is(err, errEnough) {
			l.t.Errorf("Follow: %v", err)
		}
		done <- got
	}()
	return done
}

func TestFollow(t *testing.T) {
	l := newTestLog(t)
	l.put(10)
	const n = 1000
	var all []<-chan []string
	for range 8 {
		all = append(all, l.follow(0, n, func(*Event) {}))
	}
	for l.n < n {
		l.put(min(l.n%7+1, n-l.n))
	}
	for i, done := range all {
		if got := <-done; !slices.Equal(got, counted(1, n)) {
			t.Errorf("follower %d got %.100q", i, got)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	err := l.Follow(ctx, 0, func(e *Event) error {
		if e.Reason == fmt.Sprint(n) {
			cancel()
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Follow after its context was done: %v", err)
	}
}

// A follower that is slower than the pruning gets one gap and continues. A fast one gets
// all events.
func TestSlowFollower(t *testing.T) {
	l := newTestLog(t)
	l.put(1)
	const more = tailEvents + pageEvents
	var once sync.Once
	reached, goOn := make(chan struct{}), make(chan struct{})
	slow := l.follow(0, 1+1+5, func(*Event) {
		once.Do(func() { close(reached); <-goOn })
	})
	fast := l.follow(0, 1+more, func(*Event) {})
	<-reached
	l.put(more)
	if got := <-fast; !slices.Equal(got, counted(1, l.n)) {
		t.Errorf("the fast one got %.100q", got)
	}
	l.pruneTo(5, time.Time{})
	close(goOn)
	if got := <-slow; !slices.Equal(got, counted(l.n-4, l.n, "1", "gap")) {
		t.Errorf("the slow one got %.100q", got)
	}
}

// The newest events are decoded once for all followers, and the copies in memory are
// bounded.
func TestTailIsBounded(t *testing.T) {
	l := newTestLog(t)
	for range 3 {
		l.put(tailEvents - 1)
		last := uint64(0)
		for range 2 {
			_, last = l.all(last)
		}
		if n := len(l.tail.events); n > tailEvents {
			t.Errorf("the tail has %d events", n)
		}
	}
	newest, _ := l.Newest(t.Context())
	one, err1 := l.Read(t.Context(), newest-3)
	two, err2 := l.Read(t.Context(), newest-3)
	if err1 != nil || err2 != nil || len(one) != 3 || one[0] != two[0] {
		t.Errorf("%v and %v are not the same", one, two)
	}
}
