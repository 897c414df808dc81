package hook

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"activationd/control"
	"activationd/event"
	"activationd/internal/fault"
	"activationd/queue"
	"activationd/queue/broker"
	"activationd/schedule"
	"activationd/store"
	"activationd/store/memstore"
	"activationd/supervisor"
	"activationd/supervisor/wrapper"
)

// An alarm is [broker.Alarm] by the time of a bubble.
type alarm struct {
	c chan schedule.Wake
	t *time.Timer
}

func newAlarm() *alarm {
	a := &alarm{c: make(chan schedule.Wake, 1)}
	a.t = time.AfterFunc(time.Hour, func() {
		select {
		case a.c <- schedule.Wake{}:
		default:
		}
	})
	a.t.Stop()
	return a
}

func (a *alarm) C() <-chan schedule.Wake { return a.c }

func (a *alarm) Set(at time.Time) {
	if at.IsZero() {
		a.t.Stop()
		return
	}
	a.t.Reset(max(0, time.Until(at)))
}

// noRuns is [broker.Runs] without processes.
type noRuns struct{ exits chan supervisor.Exit }

var errNoRuns = errors.New("there are no processes here")

func (noRuns) Start(supervisor.Key, wrapper.Spec) error             { return errNoRuns }
func (noRuns) Adopt(supervisor.Key) (f supervisor.Found, err error) { return f, errNoRuns }
func (noRuns) Stop(supervisor.Key) error                            { return errNoRuns }
func (r noRuns) Exits() <-chan supervisor.Exit                      { return r.exits }
func (noRuns) Started(supervisor.Key) (int, time.Time, bool)        { return 0, time.Time{}, false }
func (noRuns) Open(supervisor.Key, string) (*os.File, error)        { return nil, os.ErrNotExist }
func (noRuns) RunDir(supervisor.Key) string                         { return "" }
func (noRuns) Files(supervisor.Key) ([]supervisor.File, error)      { return nil, nil }
func (noRuns) Remove(context.Context, supervisor.Key) error         { return nil }
func (noRuns) List() ([]supervisor.Key, error)                      { return nil, nil }
func (noRuns) Stream(supervisor.Key) (broker.Stream, error)         { return nil, errNoRuns }
func (noRuns) AwaitStart(supervisor.Key) error                      { return errNoRuns }
func (noRuns) Begins() <-chan supervisor.Key                        { return nil }
func (noRuns) Workdir(string, int, int) (string, error)             { return "", errNoRuns }
func (noRuns) RemoveWorkdir(context.Context, string) error          { return nil }

// A roundTripper is a receiver, without a network.
type roundTripper func(*http.Request) *http.Response

func (r roundTripper) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := req.Context().Err(); err != nil {
		return nil, err
	}
	return r(req), nil
}

func answer(status int, header ...string) *http.Response {
	resp := &http.Response{StatusCode: status, Status: fmt.Sprintf("%d %s", status, http.StatusText(status)), Header: http.Header{}, Body: io.NopCloser(strings.NewReader(""))}
	for i := 0; i < len(header); i += 2 {
		resp.Header.Set(header[i], header[i+1])
	}
	return resp
}

// drain returns what is in a channel.
func drain[T any](c chan T) (all []T) {
	for len(c) > 0 {
		all = append(all, <-c)
	}
	return all
}

// A whole is a log of events, a broker and a feeder, as the daemon has them.
type whole struct {
	t      *testing.T
	db     store.Store // of the queues
	log    *event.Log
	events store.Store
	broker *broker.Broker
	feeder *Feeder
	stop   func() // the broker and the feeder, as the end of a daemon does
}

// policy is that of hooks, unless the configuration says otherwise.
var policy = queue.Policy{Attempts: 20, Backoff: 5 * time.Second, BackoffMax: 30 * time.Minute}

func newWhole(t *testing.T) *whole {
	w := &whole{t: t, db: memstore.New(), events: memstore.New()}
	w.log = event.New(w.events)
	return w
}

// start starts a daemon's parts with hooks that post to receivers.
func (w *whole) start(hooks []Hook, receivers map[string]roundTripper) {
	w.t.Helper()
	set := broker.Settings{}
	for name, r := range receivers {
		p := newPoster(Post{URL: "http://" + name + ".example/", Timeout: 30 * time.Second}, r)
		set.Listeners = append(set.Listeners, broker.Listener{
			Name: name, Queues: []string{Queue(name)}, Instances: 1, Window: 1, Policy: policy, Limits: queue.Limits{Messages: MaxPending}, Do: p.Deliver,
		})
	}
	log := slog.New(slog.NewTextHandler(w.t.Output(), nil))
	w.broker = broker.New(broker.Parts{
		DB: w.db, Runs: noRuns{make(chan supervisor.Exit)}, Alarm: newAlarm(), Log: log, Journal: filepath.Join(w.t.TempDir(), "journal"),
	}, set)
	w.log = event.New(w.events) // it remembers nothing
	w.feeder = NewFeeder(Parts{Events: w.log, DB: w.db, Queues: w.broker, Encode: encode, Log: log})
	w.configure(hooks)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = w.broker.Run(ctx) })
	running.Go(func() { _ = w.feeder.Run(ctx) })
	w.stop = func() {
		cancel()
		running.Wait()
	}
	synctest.Wait()
}

// configure declares hooks, as the daemon does.
func (w *whole) configure(hooks []Hook) { w.feeder.Configure(hooks, w.newest()) }

func (w *whole) newest() uint64 {
	w.t.Helper()
	n, err := w.log.Newest(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

// encode is a simple form of the JSON of an event.
func encode(e *event.Event) ([]byte, error) {
	return json.Marshal(control.Event{Seq: e.Seq, Time: e.Time, What: e.What, Topic: e.Topic, Text: e.Text, From: e.From, Reset: e.Reset})
}

// emit writes events as the engine does, and returns the time that this took.
func (w *whole) emit(topic string, texts ...string) time.Duration {
	w.t.Helper()
	before := time.Now()
	var events []*event.Event
	for _, text := range texts {
		events = append(events, &event.Event{Time: before, Topic: topic, What: event.Published, Text: text})
	}
	var written event.Written
	err := w.events.Update(w.t.Context(), func(tx store.Tx) (err error) {
		written, err = event.Append(tx, events...)
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.log.Committed(written)
	return time.Since(before)
}

// counts are those of the queue of a hook.
func (w *whole) counts(name string) (c queue.Counts) {
	w.t.Helper()
	err := w.db.View(w.t.Context(), func(tx store.Tx) error {
		q, err := queue.Get(tx, Queue(name))
		if err != nil {
			return err
		}
		c = queue.CountsOf(tx, q.N)
		return queue.Verify(tx)
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// texts are what the events in the queue of a hook say, in order.
func (w *whole) texts(name string) (all []string) {
	w.t.Helper()
	err := w.db.View(w.t.Context(), func(tx store.Tx) error {
		all = nil
		q, err := queue.Get(tx, Queue(name))
		if err != nil {
			return err
		}
		for m, err := range queue.Peek(tx, q.N, queue.Look{Body: 1 << 20}) {
			if err != nil {
				return err
			}
			var e control.Event
			if err := json.Unmarshal(m.Body, &e); err != nil {
				return err
			}
			all = append(all, cmp.Or(e.Text, e.What))
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return all
}

// TestReceiverIsDownForAnHour has a receiver that answers 500 for an hour, while events go on.
// Then it gets all of them, in order, and nobody who wrote an event had to wait.
func TestReceiverIsDownForAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		got, tried := make(chan string, 1000), make(chan string, 1000)
		receiver := func(r *http.Request) *http.Response {
			id := r.Header.Get("X-Event-ID")
			if tried <- id; time.Since(began) < time.Hour {
				return answer(500)
			}
			var e control.Event
			if err := json.NewDecoder(r.Body).Decode(&e); err != nil || strconv.FormatUint(e.Seq, 10) != id {
				t.Errorf("X-Event-ID is %s, the event is %+v, %v", id, e, err)
			}
			got <- e.Text
			return answer(200)
		}
		w := newWhole(t)
		w.start([]Hook{{"oncall", filters(t, "build.#")}}, map[string]roundTripper{"oncall": receiver})
		var want []string
		for i := range 120 {
			text := strconv.Itoa(i)
			if took := w.emit("build.done", text) + w.emit("other.done", text); took > 0 {
				t.Errorf("writing event %d took %v", i, took)
			}
			want = append(want, text)
			time.Sleep(time.Minute)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if all := drain(got); !slices.Equal(all, want) {
			t.Errorf("it got %q", all)
		}
		attempts, worst := make(map[string]int), 0
		for _, id := range drain(tried) {
			attempts[id]++
			worst = max(worst, attempts[id])
		}
		if worst < 5 || worst > policy.Attempts || len(attempts) != len(want) {
			t.Errorf("%d events were tried, the one with the most %d times", len(attempts), worst)
		}
		if c := w.counts("oncall"); c.Messages != 0 || c.Dead != 0 || c.Done != 120 {
			t.Errorf("the queue has %+v", c)
		}
		w.stop()
	})
}

// TestRefusedForGood has a receiver that does not take some events: they become dead letters, at
// once or when their attempts are used up, and those behind them are delivered.
func TestRefusedForGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got, pauses := make(chan string, 100), make(chan time.Duration, 100) // from one attempt of "later" to the next
		last, tries := time.Time{}, 0
		receiver := func(r *http.Request) *http.Response {
			var e control.Event
			_ = json.NewDecoder(r.Body).Decode(&e)
			switch e.Text {
			case "gone":
				return answer(410)
			case "wrong":
				return answer(400)
			case "later":
				if tries++; tries > 1 {
					pauses <- time.Since(last)
				}
				if last = time.Now(); tries < 4 {
					return answer(503, "Retry-After", "600")
				}
			}
			got <- e.Text
			return answer(204)
		}
		w := newWhole(t)
		w.start([]Hook{{"a", filters(t, "#")}}, map[string]roundTripper{"a": receiver})
		w.emit("x", "1", "gone", "2", "wrong", "3", "later", "4")
		time.Sleep(time.Minute)
		synctest.Wait()
		if all := drain(got); !slices.Equal(all, []string{"1", "2"}) {
			t.Errorf("after a minute it has got %q", all)
		}
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		if all := drain(got); !slices.Equal(all, []string{"3", "later", "4"}) {
			t.Errorf("then it has got %q", all)
		}
		if all := drain(pauses); len(all) != 3 || slices.Min(all) < 10*time.Minute {
			t.Errorf("what was to be tried after ten minutes was tried after %v", all)
		}
		if c := w.counts("a"); c.Messages != 0 || c.Dead != 2 || c.Failed != 2 {
			t.Errorf("the queue has %+v", c)
		}
		w.stop()
	})
}

// TestHooksComeAndGo adds, changes and removes hooks while events go on.
func TestHooksComeAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWhole(t)
		settle := func() {
			time.Sleep(time.Second)
			synctest.Wait()
		}
		hooks := func(patterns ...string) []Hook { return []Hook{{"a", filters(t, patterns...)}} }
		check := func(what string, want ...string) {
			t.Helper()
			settle()
			if got := w.texts("a"); !slices.Equal(got, want) {
				t.Errorf("%s: the queue has %q, want %q", what, got, want)
			}
		}
		w.emit("x", "before")
		w.start(hooks("x.#"), nil)
		check("a new hook")
		w.emit("x", "1")
		w.emit("y", "2")
		check("an event for it", "1")
		w.configure(hooks("y.#"))
		settle()
		w.emit("y", "3")
		check("another filter, which is not for what was before", "1", "3")
		w.stop()
		w.emit("y", "4")
		w.emit("x", "5")
		w.start(hooks("y.#"), nil)
		w.emit("y", "6")
		check("events while there was no daemon", "1", "3", "4", "6")
		w.configure(append(hooks("y.#"), Hook{"b", filters(t, "#")}))
		check("another hook", "1", "3", "4", "6")
		w.configure(nil)
		settle()
		err := w.db.View(t.Context(), func(tx store.Tx) error {
			for key := range tx.Scan(cursorKeys, "") {
				t.Errorf("of hooks that were removed there is %s", key)
			}
			_, err := queue.Get(tx, Queue("a"))
			return err
		})
		if !errors.Is(err, fault.NotFound) {
			t.Errorf("the queue of a hook that was removed: %v", err)
		}
		w.emit("y", "7")
		w.configure(hooks("y.#"))
		w.emit("y", "8")
		check("a hook that comes back is new", "8")
		w.stop()
	})
}

// TestGap removes events before a hook has got them: the hook learns of it.
func TestGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWhole(t)
		w.start([]Hook{{"a", filters(t, "x.#")}}, nil)
		w.emit("x", "1")
		time.Sleep(time.Second)
		w.stop()
		w.emit("x", "2")
		w.emit("x", "3")
		w.emit("x", "4")
		if _, err := w.log.Prune(t.Context(), event.Retention{Count: 1}); err != nil {
			t.Fatal(err)
		}
		w.start([]Hook{{"a", filters(t, "x.#")}}, nil)
		time.Sleep(time.Second)
		if got := w.texts("a"); !slices.Equal(got, []string{"1", "gap", "4"}) {
			t.Errorf("the queue has %q", got)
		}
		w.stop()
	})
}

// TestPassedEventsAreNoGap removes events that a hook has passed because they were not for it.
func TestPassedEventsAreNoGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWhole(t)
		w.start([]Hook{{"a", filters(t, "x.#")}}, nil)
		for i := range 30 {
			w.emit("y", strconv.Itoa(i))
		}
		time.Sleep(time.Second)
		w.stop() // its place is written now
		if _, err := w.log.Prune(t.Context(), event.Retention{Count: 1}); err != nil {
			t.Fatal(err)
		}
		w.start([]Hook{{"a", filters(t, "x.#")}}, nil)
		w.emit("x", "1")
		time.Sleep(time.Second)
		if got := w.texts("a"); !slices.Equal(got, []string{"1"}) {
			t.Errorf("the queue has %q", got)
		}
		w.stop()
	})
}

// unreliable is a broker whose store fails at times, before it has written something, and
// whose queues are full at times. It stands for a daemon that dies at any instant, too: what
// Feed has written is all that remains.
type unreliable struct {
	db  store.Store
	rnd *rand.Rand
}

func (u *unreliable) Create(ctx context.Context, q queue.Queue, _ queue.Actor) (got *queue.Queue, created bool, err error) {
	err = u.db.Update(ctx, func(tx store.Tx) (err error) {
		got, created, err = queue.Create(tx, time.Now(), q)
		return err
	})
	return got, created, err
}

func (u *unreliable) Delete(context.Context, string, queue.Deleting, bool, queue.Actor) error {
	return errNoRuns
}

func (u *unreliable) Feed(ctx context.Context, name string, fn func(store.Tx) ([]queue.New, error)) error {
	switch u.rnd.IntN(6) {
	case 0:
		return fmt.Errorf("the disk is on fire: %w", fault.Unavailable)
	case 1:
		return &queue.FullError{Queue: name}
	}
	return u.db.Update(ctx, func(tx store.Tx) error {
		messages, err := fn(tx)
		if err == nil && len(messages) > 0 {
			_, err = queue.PushAll(tx, time.Now(), name, queue.Limits{}, messages, nil)
		}
		return err
	})
}

// TestEachEventOnce stops feeders at random, one after the other, while events are written, in
// a store that runs transactions twice and takes few keys in one. Each event for the hook is
// pushed once, in order.
func TestEachEventOnce(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	synctest.Test(t, func(t *testing.T) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		w := newWhole(t)
		w.db = memstore.Strict(seed)
		log := slog.New(slog.DiscardHandler)
		var want []string
		n := 0
		for i := range uint64(60) {
			f := NewFeeder(Parts{Events: w.log, DB: w.db, Queues: &unreliable{w.db, rand.New(rand.NewPCG(seed, i+1))}, Encode: encode, Log: log})
			f.Configure([]Hook{{"a", filters(t, "x.#")}}, w.newest())
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan struct{})
			go func() {
				defer close(done)
				_ = f.Run(ctx)
			}()
			if n == 0 {
				synctest.Wait() // the hook is not new any more
			}
			for range rnd.IntN(5) {
				topic := []string{"x.a", "y"}[rnd.IntN(2)]
				var texts []string
				for range 1 + rnd.IntN(60) {
					n++
					texts = append(texts, strconv.Itoa(n))
				}
				w.emit(topic, texts...)
				if topic != "y" {
					want = append(want, texts...)
				}
				time.Sleep(time.Duration(rnd.IntN(3000)) * time.Millisecond)
			}
			cancel()
			<-done
		}
		f := NewFeeder(Parts{Events: w.log, DB: w.db, Queues: &unreliable{w.db, rnd}, Encode: encode, Log: log})
		f.Configure([]Hook{{"a", filters(t, "x.#")}}, w.newest())
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- f.Run(ctx) }()
		time.Sleep(time.Hour)
		if got := w.texts("a"); !slices.Equal(got, want) {
			t.Errorf("the queue has %d events, want %d", len(got), len(want))
		}
		cancel()
		<-done
	})
}
