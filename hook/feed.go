package hook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"activationd/event"
	"activationd/internal/fault"
	"activationd/internal/trace"
	"activationd/queue"
	"activationd/store"
)

// MaxPending is how many undelivered events the queue of a hook has at most. Further ones stay
// in the log of events until there is room.
const MaxPending = 10_000

// A Hook says which events a hook gets.
type Hook struct {
	Name string
	On   []Filter
}

// Queue returns the name of a hook's queue, from which its events are delivered.
func Queue(hook string) string { return QueuePrefix + hook }

// Queues is what a feeder needs of the broker.
type Queues interface {
	Create(ctx context.Context, q queue.Queue, by queue.Actor) (got *queue.Queue, created bool, err error)
	Delete(ctx context.Context, name string, d queue.Deleting, discard bool, by queue.Actor) error
	Feed(ctx context.Context, name string, fn func(store.Tx) ([]queue.New, error)) error
}

// configuration creates and removes the queues of hooks.
var configuration = queue.Actor{Kind: event.BySource, Name: "configuration"}

// Parts are what a feeder uses.
type Parts struct {
	Events *event.Log
	DB     store.Store // that of the queues; it need not be that of the events
	Queues Queues
	Encode func(*event.Event) ([]byte, error) // the JSON of an event
	Log    *slog.Logger
}

// A Feeder pushes the events of hooks into their queues. For each hook it keeps in the store
// the number of the last event that the hook has got, or need not get.
type Feeder struct {
	parts   Parts
	changed chan struct{} // capacity one

	mu     sync.Mutex
	hooks  []Hook
	newest uint64 // a number of the log when these were declared
	known  bool   // hooks are those of the configuration
}

// NewFeeder makes a feeder. It feeds nothing before [Feeder.Configure] is called.
func NewFeeder(p Parts) *Feeder { return &Feeder{parts: p, changed: make(chan struct{}, 1)} }

// Configure says which hooks there are. A hook that there was not before gets the events after
// the number newest, which the caller has from [event.Log.Newest]. One that there is no more is forgotten, with the events that were not delivered.
func (f *Feeder) Configure(hooks []Hook, newest uint64) {
	f.mu.Lock()
	f.hooks, f.newest, f.known = hooks, newest, true
	f.mu.Unlock()
	select {
	case f.changed <- struct{}{}:
	default: // one is there already
	}
}

// retryPause is how long a feeder waits before it tries again to write, or to push into a queue
// that was full.
const retryPause = time.Second

// Run feeds hooks until ctx is done.
func (f *Feeder) Run(ctx context.Context) error {
	feeds := make(map[string]*feed)
	defer func() {
		for _, fd := range feeds {
			fd.stop()
		}
	}()
	retry := time.NewTimer(0)
	retry.Stop()
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-f.changed:
		case <-retry.C:
		}
		if err := f.reconcile(ctx, feeds); err != nil && ctx.Err() == nil {
			f.parts.Log.Error("hooks that are no longer declared cannot be removed; trying again", "err", err)
			retry.Reset(retryPause)
		}
	}
}

// reconcile begins and ends feeds, so that there is one for each hook.
func (f *Feeder) reconcile(ctx context.Context, feeds map[string]*feed) error {
	f.mu.Lock()
	hooks, newest, known := f.hooks, f.newest, f.known
	f.mu.Unlock()
	if !known {
		return nil
	}
	want := make(map[string]Hook)
	for _, h := range hooks {
		want[h.Name] = h
	}
	for name, fd := range feeds {
		if h, ok := want[name]; !ok || !sameFilters(h.On, fd.hook.On) {
			fd.stop()
			delete(feeds, name)
		}
	}
	err := f.forget(ctx, want)
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if feeds[name] == nil {
			feeds[name] = f.begin(ctx, want[name], newest)
		}
	}
	return err
}

func sameFilters(a, b []Filter) bool {
	return slices.EqualFunc(a, b, func(a, b Filter) bool { return a.text == b.text })
}

// cursorKeys + NAME: the cursor of a hook.
const cursorKeys = "hook/"

// A cursor is how far a hook has come.
type cursor struct {
	Seq uint64 `json:"n"`
}

func readCursor(tx store.Tx, name string) (c cursor, ok bool, err error) {
	val := tx.Get(cursorKeys + name)
	if val == nil {
		return c, false, nil
	}
	if err := json.Unmarshal(val, &c); err != nil {
		return c, false, fmt.Errorf("%s: %w", cursorKeys+name, err)
	}
	return c, true, nil
}

func (c cursor) write(tx store.Tx, name string) error {
	val, err := json.Marshal(c)
	if err != nil {
		return err
	}
	return tx.Put(cursorKeys+name, val)
}

// forget removes the queues and cursors of hooks that there are no more.
func (f *Feeder) forget(ctx context.Context, want map[string]Hook) error {
	lost := make(map[string]queue.Counts)
	err := f.parts.DB.View(ctx, func(tx store.Tx) error {
		clear(lost)
		for key := range tx.Scan(cursorKeys, "") {
			name := strings.TrimPrefix(key, cursorKeys)
			if _, there := want[name]; there {
				continue
			}
			lost[name] = queue.Counts{}
			if q, err := queue.Get(tx, Queue(name)); err == nil {
				lost[name] = queue.CountsOf(tx, q.N)
			}
		}
		return nil
	})
	for name, c := range lost {
		gone := f.parts.Queues.Delete(ctx, Queue(name), queue.Deleting{}, true, configuration)
		if gone != nil && !errors.Is(gone, fault.NotFound) {
			err = errors.Join(err, gone)
			continue
		}
		gone = f.parts.DB.Update(ctx, func(tx store.Tx) error { return tx.Delete(cursorKeys + name) })
		if err = errors.Join(err, gone); gone == nil {
			f.parts.Log.Info("a hook is no longer declared", "hook", name, "undelivered", c.Messages, "dead", c.Dead)
		}
	}
	return err
}

// A feed feeds one hook, in a goroutine of its own.
type feed struct {
	f      *Feeder
	hook   Hook
	newest uint64 // the events after it are for the hook, if it is new
	stored uint64 // the cursor in the store
	read   uint64 // up to this number, there are no events for the hook but those it has got
	full   bool   // which the log says already
	cancel context.CancelFunc
	done   chan struct{}
}

func (f *Feeder) begin(ctx context.Context, h Hook, newest uint64) *feed {
	fd := &feed{f: f, hook: h, newest: newest, done: make(chan struct{})}
	ctx, fd.cancel = context.WithCancel(ctx)
	go fd.run(ctx)
	return fd
}

// stop ends the feed and waits for its end.
func (fd *feed) stop() {
	fd.cancel()
	<-fd.done
}

// run follows the log until ctx is done.
func (fd *feed) run(ctx context.Context) {
	defer close(fd.done)
	for pause := retryPause; ; pause = min(2*pause, time.Minute) {
		before := fd.stored
		err := fd.follow(ctx)
		if ctx.Err() != nil {
			fd.keep(ctx)
			return
		}
		if fd.stored != before {
			pause = retryPause
		}
		fd.f.parts.Log.Error("a hook cannot be fed now; trying again", "hook", fd.hook.Name, "err", err, "in", pause)
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// gather is how long events wait for others: so that many share a write, and a hook costs
// those who write events little.
const gather = 20 * time.Millisecond

// lazily is how many events that the hook does not want are passed before the cursor is written.
// After a crash they are read again.
const lazily = 1000

func (fd *feed) follow(ctx context.Context) error {
	if err := fd.open(ctx); err != nil {
		return err
	}
	skipped := 0
	return fd.f.parts.Events.FollowPages(ctx, fd.read, gather, func(page []*event.Event) error {
		var wanted []*event.Event
		for _, e := range page {
			if Wants(fd.hook.On, e) {
				wanted = append(wanted, e)
			}
		}
		last := page[len(page)-1].Seq
		skipped += len(page)
		if len(wanted) == 0 && skipped < lazily {
			fd.read = last
			return nil
		}
		skipped = 0
		return fd.push(ctx, wanted, last)
	})
}

// open creates the hook's queue, and reads the cursor. Without one, the hook is new.
func (fd *feed) open(ctx context.Context) error {
	p := &fd.f.parts
	_, _, err := p.Queues.Create(ctx, queue.Queue{Name: Queue(fd.hook.Name), Builtin: true, Ordered: true}, configuration)
	if err != nil {
		return err
	}
	return p.DB.Update(ctx, func(tx store.Tx) error {
		c, ok, err := readCursor(tx, fd.hook.Name)
		if err == nil && !ok {
			c.Seq = fd.newest
			err = c.write(tx, fd.hook.Name)
		}
		fd.stored, fd.read = c.Seq, c.Seq
		return err
	})
}

// opsOfPush is how many keys a message writes at most.
const opsOfPush = 4

// push pushes events, and notes that the hook has all up to last. It waits while there is no
// room.
func (fd *feed) push(ctx context.Context, events []*event.Event, last uint64) error {
	p := &fd.f.parts
	ops, _ := store.Limits(p.DB)
	most := max(1, (ops-opsOfPush)/opsOfPush)
	for {
		n := min(len(events), most)
		upTo := last
		if n < len(events) {
			upTo = events[n-1].Seq
		}
		messages := make([]queue.New, n)
		for i, e := range events[:n] {
			body, err := p.Encode(e)
			if err != nil {
				return err
			}
			messages[i] = queue.New{Body: body}
			if e.Trace != "" {
				messages[i].Headers = map[string]string{trace.Header: e.Trace}
			}
		}
		err := p.Queues.Feed(ctx, Queue(fd.hook.Name), func(tx store.Tx) ([]queue.New, error) {
			return messages, cursor{Seq: upTo}.write(tx, fd.hook.Name)
		})
		if _, full := errors.AsType[*queue.FullError](err); full {
			if err := fd.wait(ctx, err); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		fd.full, fd.stored, fd.read = false, upTo, upTo
		if events = events[n:]; len(events) == 0 {
			return nil
		}
	}
}

// wait waits for a while because the queue is full.
func (fd *feed) wait(ctx context.Context, why error) error {
	if !fd.full {
		fd.full = true
		fd.f.parts.Log.Warn("a hook has too many undelivered events; further ones wait in the log of events", "hook", fd.hook.Name, "err", why)
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(retryPause):
		return nil
	}
}

// keep writes the cursor at the end of the feed, if events were passed since.
func (fd *feed) keep(ctx context.Context) {
	if fd.read == fd.stored {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), retryPause)
	defer cancel()
	err := fd.f.parts.DB.Update(ctx, func(tx store.Tx) error { return cursor{Seq: fd.read}.write(tx, fd.hook.Name) })
	if err != nil {
		fd.f.parts.Log.Warn("the place of a hook in the log of events cannot be written; some events are read again", "hook", fd.hook.Name, "err", err)
	}
}
