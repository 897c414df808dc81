package activation

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"activationd/event"
	"activationd/internal/fault"
	"activationd/schedule"
	"activationd/store"
	"activationd/store/once"
	"activationd/supervisor"
	"activationd/supervisor/wrapper"
	"activationd/vlanstore"
)

// Runs is the part of a supervisor that an engine uses; [supervisor.Supervisor] is the
// real one.
type Runs interface {
	// Start starts a run. CloseSockets closes listening sockets of runs.
	Start(supervisor.Key, wrapper.Spec) error
	CloseSockets(look func() (needed, noted []string, err error)) (closed []string, err error)
	Adopt(supervisor.Key) (supervisor.Found, error)
	Stop(supervisor.Key) error
	Kill(supervisor.Key) error     // without waiting any longer; Stop came before
	Exits() <-chan supervisor.Exit // one for each Start that succeeded and each Adopt that said Running
	// AwaitStart has Begins yield a run when its script has been started, or at once if it has.
	AwaitStart(supervisor.Key) error
	Begins() <-chan supervisor.Key
	Started(supervisor.Key) (pid int, at time.Time, ok bool)
	Frozen(supervisor.Key) string // the frozen cgroup that its processes are in; empty: none
	RunDir(supervisor.Key) string
	Open(k supervisor.Key, name string) (*os.File, error) // a file of the run's directory, for reading
	Files(supervisor.Key) ([]supervisor.File, error)      // of the run's configuration directory; fs.ErrNotExist: there is none
	// Workdir makes an activation's work directory for a user, if there is none; -1 is
	// the daemon's own user. RemoveWorkdir removes it, or as much of it as it can until
	// ctx is done. Workdirs lists the activations that have one. Remove is RemoveWorkdir
	// for the directory of a run.
	Workdir(id string, uid, gid int) (dir string, err error)
	RemoveWorkdir(ctx context.Context, id string) error
	Workdirs() (ids []string, err error)
	Remove(ctx context.Context, k supervisor.Key) error
	Size(supervisor.Key) int64 // the size in bytes of the directory of a run that has ended
	Guard() (guard, why string)
}

// An Alarm wakes the engine at a time of the wall clock; *schedule.Timer is the real one.
type Alarm interface {
	Set(time.Time)           // zero: never
	C() <-chan schedule.Wake // at that time, and whenever the clock was set
}

// Parts are the parts of the program that an engine uses.
type Parts struct {
	DB    store.Store
	Runs  Runs
	Alarm Alarm
	Clock Clock  // nil: the kernel's
	Boot  string // an id of this boot of the machine, such as /proc/sys/kernel/random/boot_id
	// Host is the name of this machine, such as its host name. A store that only one host
	// uses keeps the first name that it was given, even if the machine is renamed. With a
	// store that several hosts share, each host must always give the same name, its own.
	Host string
	// Nodes returns the names of a topology's nodes, or an error if the topology is
	// invalid.
	Nodes func(topology string) ([]string, error)
	// LoadAverage returns the load average of the last minute; nil: batch jobs do not
	// wait.
	LoadAverage func() (float64, error)
	// User returns the user as whom a run runs now, given the user at the time of the
	// request: the groups may have changed since. The error is fault.Denied if that user
	// no longer exists. It is called before each start if the daemon can switch users;
	// nil: users never change.
	User func(then Identity) (*Identity, error)
	// Missing says what keeps a command from being started now; nil: nobody looks.
	Missing func(wrapper.Command) string
	// Trust checks, before each start of a reservation's script, that no unauthorised
	// user could have changed what it executes. If one could, the error is fault.Denied.
	// The uid is -1 for the daemon's own user. Nil: no check.
	Trust func(argv, env []string, uid int) error
	Zone  *time.Location // of the months for which reports are made; nil: the local one
	// Paused is called with whether the daemon is paused: when Run begins, and after each
	// change, in the order of the changes. Nil: nobody wants to know.
	Paused func(bool)
	// Observer learns of attempts as they are claimed and as they end. Nil: nobody measures.
	Observer Observer
	Log      *slog.Logger
}

// An Engine carries out what the records say. Make it with [New]; [Engine.Run] is its
// goroutine. The verbs may be called from any other goroutine, also before Run.
type Engine struct {
	parts    Parts
	home     home
	events   *event.Log
	settings atomic.Pointer[Settings]
	began    time.Time

	alive     chan chan struct{} // Run answers by closing
	additions chan *addition     // Run answers each
	poked     chan struct{}      // capacity one: touched is not empty, or the settings changed
	mu        sync.Mutex
	// touched are the ids that a verb changed and Run has to look at.
	touched []string
	// draining is set when no more attempts of phase activate may be claimed.
	draining bool
	idle     chan struct{} // closed by Run when it is draining and no attempt runs any more

	wakeAt   atomic.Int64  // the time for which the alarm is set, in Unix nanoseconds; written by Run only
	entered  atomic.Int64  // how many records were added since that do not move it by themselves
	cost     atomic.Int64  // what a start takes, in nanoseconds, as a [time.Duration]: see costAfter; written by Run only
	budget   budget        // used by Run only
	early    early         // used by Run only
	newBoot  bool          // the machine was started again, and not all consequences are written yet; used by Run only
	doubted  bool          // the clock was in doubt at the last turn; used by Run only
	sweepNow chan struct{} // capacity one: run directories or work directories must be removed
	workdirs workdirs
	pruneNow chan struct{} // capacity one: the settings may allow fewer events
	closeNow chan struct{} // capacity one: instances may need fewer sockets
	behind   atomic.Bool   // the marks of conflicts may not be what they should be: see Judge
	judgeNow chan struct{} // capacity one: conflicts must be judged again; its reader is who loads reservations
	adopted  chan struct{} // closed by Run when it knows of all runs of an earlier daemon

	telling   sync.Mutex // one call of Parts.Paused at a time
	gathering gathering
	watch     watch
	producers producers
	wake      bool // all producers must be woken
}

// New makes an engine for the activations in a store. It starts nothing.
func New(p Parts, set Settings) *Engine {
	if p.Clock == nil {
		p.Clock = schedule.Clock{}
	}
	now := p.Clock.Now()
	e := &Engine{
		parts: p, watch: watch{clock: p.Clock, boot: p.Boot}, events: event.New(p.DB), began: now,
		alive: make(chan chan struct{}), additions: make(chan *addition), poked: make(chan struct{}, 1), idle: make(chan struct{}),
		sweepNow: make(chan struct{}, 1), pruneNow: make(chan struct{}, 1), closeNow: make(chan struct{}, 1), judgeNow: make(chan struct{}, 1), adopted: make(chan struct{}), producers: make(producers),
	}
	e.settings.Store(set.bounded())
	e.cost.Store(int64(usualCost))
	e.behind.Store(true) // the limits may have changed since the last daemon
	return e
}

// minHistoryAge is how long a finished activation is kept at least, so that clients that
// wait for its end can read it.
const minHistoryAge = time.Minute

// bounded returns settings that are within the engine's limits.
func (s Settings) bounded() *Settings {
	s.MaxParallel = max(1, s.MaxParallel)
	s.HistoryAge = max(minHistoryAge, s.HistoryAge)
	if s.UsageAge != 0 {
		s.UsageAge = max(s.HistoryAge, s.UsageAge)
	}
	s.BatchInterval = max(minBatchInterval, s.BatchInterval)
	return &s
}

// Configure puts new settings in force, for attempts that are claimed from now on.
func (e *Engine) Configure(set Settings) {
	was := e.settings.Swap(set.bounded())
	if was.MaxParallel != max(1, set.MaxParallel) || !maps.EqualFunc(was.Pools, set.Pools, func(a, b vlanstore.Pool) bool { return a.String() == b.String() }) {
		e.behind.Store(true)
		token(e.judgeNow)
	}
	token(e.pruneNow)
	e.poke()
}

// poke makes Run take a turn. It does not wait.
func (e *Engine) poke() { token(e.poked) }

// token puts a token into a channel that has room for one.
func token(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default: // one is there already
	}
}

// touch makes Run look at records.
func (e *Engine) touch(ids ...string) {
	e.mu.Lock()
	e.touched = append(e.touched, ids...)
	e.mu.Unlock()
	e.poke()
}

func (e *Engine) takeTouched() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	ids := e.touched
	e.touched = nil
	return ids
}

// Drain makes Run claim no more attempts of phase activate. The channel that it returns
// is closed when no attempt of either phase runs any more.
func (e *Engine) Drain() <-chan struct{} {
	e.mu.Lock()
	e.draining = true
	e.mu.Unlock()
	e.poke()
	return e.idle
}

// Draining reports whether [Engine.Drain] was called.
func (e *Engine) Draining() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.draining
}

// View runs fn, perhaps several times, in a transaction that changes nothing.
func (e *Engine) View(ctx context.Context, fn func(*Txn) error) error {
	var t *Txn
	if err := e.prepare(ctx); err != nil {
		return err
	}
	m, loadAvg := e.watch.read(), e.loadAverage()
	err := e.parts.DB.View(ctx, func(tx store.Tx) error {
		t = e.newTxn(tx, m)
		t.loadAvg = loadAvg
		return fn(t)
	})
	if t != nil {
		e.log(t.lines)
	}
	return err
}

// Update runs fn, perhaps several times, in a transaction, and carries out its effects
// once it is durable.
func (e *Engine) Update(ctx context.Context, fn func(*Txn) error) error {
	return e.commit(ctx, fn, func(t *Txn) {
		if t.rearm {
			e.poke()
		} else {
			e.nudge(t.next, t.entered)
		}
	})
}

// commit does every write: it runs fn in a transaction and, once that is durable, calls
// then and carries out the effects.
func (e *Engine) commit(ctx context.Context, fn func(*Txn) error, then func(*Txn)) error {
	var t *Txn
	if err := e.prepare(ctx); err != nil {
		return err
	}
	m := e.watch.read()
	err := once.Update(ctx, e.parts.DB, func(tx store.Tx) error {
		t = e.newTxn(tx, m)
		if err := fn(t); err != nil {
			return err
		}
		once.Known(ctx, t.about())
		t.later = t.drain()
		if err := t.finish(); err != nil {
			return err
		}
		return t.tooMuch()
	})
	if err != nil {
		return err
	}
	then(t)
	e.carryOut(&t.effects)
	return nil
}

// effects are the effects of a transaction outside of the store, once it is durable.
type effects struct {
	events   []*event.Event
	written  event.Written // the same, in the store
	lines    []logLine
	finished []string  // reservations whose work directories must be removed
	freed    []string  // locks that activations may be waiting for
	later    []string  // ids of records that Run has to look at
	next     time.Time // the first due time that the transaction entered
	entered  int       // how many it entered
	rearm    bool      // a producer entered or removed an instant
	stops    []supervisor.Key
	kills    []supervisor.Key
	sweep    bool // run directories must be removed
	judged   bool // all conflicts were judged
	unjudged bool // conflicts must be judged again
	sockets  bool // an instance may need fewer sockets than before
	pausing  bool // the daemon was paused, or is not paused any more
	observed []func(Observer)
}

type logLine struct {
	level slog.Level
	msg   string
	args  []any
}

func (e *Engine) carryOut(f *effects) {
	e.log(f.lines)
	e.events.Committed(f.written)
	e.removeWorkdirs(f.finished)
	if o := e.parts.Observer; o != nil {
		for _, tell := range f.observed {
			tell(o)
		}
	}
	for _, k := range f.stops {
		e.stop(k)
	}
	for _, k := range f.kills {
		e.kill(k)
	}
	if f.sweep {
		token(e.sweepNow)
	}
	if f.judged {
		e.behind.Store(false)
	}
	if f.unjudged {
		e.behind.Store(true)
		token(e.judgeNow)
	}
	if f.sockets {
		token(e.closeNow)
	}
	if len(f.later) > 0 {
		e.touch(f.later...)
	}
	if f.pausing {
		e.tellPaused(context.Background())
	}
}

func (e *Engine) log(lines []logLine) {
	for _, l := range lines {
		e.parts.Log.Log(context.Background(), l.level, l.msg, l.args...)
	}
}

func (e *Engine) newTxn(tx store.Tx, m Moment) *Txn {
	return &Txn{Tx: e.measured(tx), Moment: m, host: e.home.host, Boot: e.parts.Boot, Began: e.began.Round(0), Settings: e.settings.Load(), parts: &e.parts, producers: e.producers}
}

// retryPause is how long Run waits before it tries again to write, or to find out whether
// a run has ended.
const retryPause = time.Second

// Run carries out what the records say until ctx is done or the store fails for good. It
// leaves all runs running: the next daemon adopts them.
func (e *Engine) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var sweepers sync.WaitGroup
	sweepers.Go(func() { e.sweep(ctx) })
	sweepers.Go(func() { e.pruneEvents(ctx) })
	sweepers.Go(func() { e.closeSockets(ctx) })
	defer sweepers.Wait()
	defer cancel(nil)
	var w work
	retry := time.NewTimer(0)
	defer retry.Stop()
	var changes changes
	for {
		select {
		case <-ctx.Done():
		case <-retry.C:
		case <-changes.runs: // another host may want a run stopped
			w.ids = append(w.ids, e.openRuns(ctx)...)
		case <-changes.instants:
		case wake := <-e.parts.Alarm.C():
			w.steady = w.steady && !wake.Stepped
		case <-e.poked:
		case pong := <-e.alive:
			close(pong)
			continue
		case w.add = <-e.additions:
		case x := <-e.parts.Runs.Exits():
			w.exits = append(w.exits, x)
		case k := <-e.parts.Runs.Begins():
			w.begins = append(w.begins, k)
		}
		if ctx.Err() != nil { // select picks either when both are ready
			w.answer(ctx.Err())
			if err := e.keepTime(ctx); err != nil {
				e.parts.Log.Warn("cannot record the time", "err", err)
			}
			return context.Cause(ctx)
		}
		if e.takeWake() {
			w.steady = false
		}
		e.more(&w)
		err := e.recover(ctx, &w)
		if err == nil {
			err = e.turns(ctx, &w)
		}
		w.answer(err)
		switch {
		case ctx.Err() != nil: // the loop ends, and its last transaction may have failed because of that
		case errors.Is(err, fault.Unavailable): // no space left: the work stays in w
			e.parts.Log.Error("cannot write; trying again", "err", err, "in", retryPause)
			retry.Reset(retryPause)
		case err != nil:
			return err
		case len(w.adopt) > 0:
			retry.Reset(retryPause)
		case w.recovered && !w.adopted:
			w.adopted = true
			close(e.adopted)
		}
		if changes.runs == nil && w.recovered {
			changes = e.watchOthers(ctx)
		}
		e.checkIdle()
	}
}

// more adds to w what else is already there to be done, so that it shares a write.
func (e *Engine) more(w *work) {
	w.ids = append(w.ids, e.takeTouched()...)
	for len(w.exits)+len(w.begins) < maxTurn {
		select {
		case x := <-e.parts.Runs.Exits():
			w.exits = append(w.exits, x)
		case k := <-e.parts.Runs.Begins():
			w.begins = append(w.begins, k)
		default:
			return
		}
	}
}

// Alive returns nil when Run answers, which it does between two turns, and an error if
// ctx is done first.
func (e *Engine) Alive(ctx context.Context) error {
	pong := make(chan struct{})
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case e.alive <- pong:
		<-pong
		return nil
	}
}

func (e *Engine) checkIdle() {
	if e.budget.open > 0 || !e.Draining() {
		return
	}
	select {
	case <-e.idle:
	default:
		close(e.idle)
	}
}
