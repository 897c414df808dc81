package activation

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"activationd/internal/fault"
	"activationd/schedule"
	"activationd/store"
	"activationd/supervisor"
	"activationd/supervisor/wrapper"
)

// Runs is what an engine needs of a supervisor; *supervisor.Supervisor is the
// real one.
type Runs interface {
	Start(supervisor.Key, wrapper.Spec) error
	Adopt(supervisor.Key) (supervisor.Found, error)
	Stop(supervisor.Key) error
	Exits() <-chan supervisor.Exit // one for each Start that succeeded and each Adopt that said Running
	Started(supervisor.Key) (pid int, at time.Time, ok bool)
	Frozen(supervisor.Key) string // the cgroup that keeps its processes from running because it is frozen; empty: none
	RunDir(supervisor.Key) string
	// Keep makes an activation's directory, if it is not there, for a user (-1 is
	// the daemon's own), Unkeep removes it, as far as it comes until ctx is done, and
	// Kept lists those there are. Remove does as Unkeep with the evidence of a run.
	Keep(id string, uid, gid int) (dir string, err error)
	Unkeep(ctx context.Context, id string) error
	Kept() (ids []string, err error)
	Remove(ctx context.Context, k supervisor.Key) error
	Size(supervisor.Key) int64 // bytes that the evidence of a run that has ended takes
	Guard() (guard, why string)
}

// An Alarm wakes the engine at an instant of the wall clock; *schedule.Timer is
// the real one.
type Alarm interface {
	Set(time.Time)           // zero: never
	C() <-chan schedule.Wake // at the instant, and whenever the clock was set
}

// Parts are what an engine works with.
type Parts struct {
	DB    store.Store
	Runs  Runs
	Alarm Alarm
	Clock Clock  // nil: the kernel's
	Boot  string // an id of this boot of the machine, such as /proc/sys/kernel/random/boot_id
	// Nodes names the nodes of a topology, or says what is wrong with it.
	Nodes func(topology string) ([]string, error)
	// Load is the load average of the last minute; nil: batch jobs do not wait.
	Load func() (float64, error)
	// User says as whom a run is to run now that was asked for as a user was then:
	// his groups may be others, and he may be gone, which is fault.Denied. It is
	// asked before each start, if the daemon may switch users; nil: nothing changes.
	User func(then Identity) (*Identity, error)
	// Trust says, before each start of a reservation's script, whether what it executes
	// is what somebody wanted who may say so; an error of kind fault.Denied is that
	// others could have changed it. The uid is -1 for the daemon's own. Nil: it is.
	Trust func(argv, env []string, uid int) error
	Log   *slog.Logger
}

// An Engine makes so what the records say. Make it with [New]; [Engine.Run] is
// its goroutine, and the verbs may be called from any other, also before Run.
type Engine struct {
	parts Parts
	hub   *hub
	set   atomic.Pointer[Settings]
	began time.Time

	alive chan chan struct{} // Run answers by closing
	poked chan struct{}      // capacity one: something is in touched, or the settings changed
	mu    sync.Mutex
	// touched are the ids that a verb changed and Run has to look at.
	touched []string
	// draining is closed when no more attempts of phase activate shall be claimed.
	draining bool
	idle     chan struct{} // closed by Run when it drains and nothing runs any more

	wakeAt   atomic.Int64  // for when the alarm is set, in Unix nanoseconds; written by Run only
	running  atomic.Int64  // open attempts of phase activate; written by Run only
	open     int           // open attempts of both phases; Run's own
	looked   time.Time     // when the load average was looked at for a batch job; Run's own
	newBoot  bool          // the machine was started anew, and the store does not know; Run's own, until its first turn
	doubted  bool          // the clock was in doubt at the last turn; Run's own
	rebooted bool          // the same, and there was a daemon before; Run's own, until its first turn
	evidence chan struct{} // capacity one: there is evidence to be removed, or something in kept.over
	kept     keeper

	loader loader
	watch  watch
	zones  zones
}

// New makes an engine on what the store holds. It starts nothing.
func New(p Parts, set Settings) *Engine {
	if p.Clock == nil {
		p.Clock = schedule.Clock{}
	}
	now := p.Clock.Now()
	e := &Engine{
		parts: p, watch: watch{clock: p.Clock, boot: p.Boot}, hub: newHub(now), began: now,
		zones: zones{every: zonesEvery}, alive: make(chan chan struct{}), poked: make(chan struct{}, 1), idle: make(chan struct{}),
		evidence: make(chan struct{}, 1),
	}
	e.loader.init()
	e.Configure(set)
	return e
}

// minKeep is how long what is finished is kept at least, so that whoever waits
// for its end can see it.
const minKeep = time.Minute

// Configure puts other settings in force, for what is claimed from now on.
func (e *Engine) Configure(set Settings) {
	set.MaxParallel = max(1, set.MaxParallel)
	set.Keep = max(minKeep, set.Keep)
	set.BatchInterval = max(minBatchInterval, set.BatchInterval)
	e.set.Store(&set)
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

// Drain makes Run claim no more attempts of phase activate. The channel that it
// returns is closed when none of any phase runs any more.
func (e *Engine) Drain() <-chan struct{} {
	e.mu.Lock()
	e.draining = true
	e.mu.Unlock()
	e.poke()
	return e.idle
}

// Draining reports whether [Engine.Drain] was asked for.
func (e *Engine) Draining() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.draining
}

// update runs fn in a transaction, and publishes what happened in it once it is
// durable. Who was waiting for what it freed is touched.
func (e *Engine) update(ctx context.Context, fn func(*txn) error) error {
	var t *txn
	var heads []string
	err := e.parts.DB.Update(ctx, func(tx store.Tx) error {
		t = e.begin(tx) // fn may run again
		if err := fn(t); err != nil {
			return err
		}
		heads = t.heads()
		return nil
	})
	if err != nil {
		return err
	}
	e.hub.publish(t.news)
	e.unkeep(t.over)
	if len(heads) > 0 {
		e.touch(heads...)
	}
	return nil
}

func (e *Engine) begin(tx store.Tx) *txn {
	return &txn{Tx: tx, moment: e.watch.look(tx), began: e.began.Round(0), set: e.set.Load(), log: e.parts.Log, parts: &e.parts, zones: &e.zones}
}

// retryPause is how long Run waits before it tries again to write what it could
// not, or to find out what has become of a run.
const retryPause = time.Second

// Run does what the records say until ctx is done, or the store has failed for
// good. It lets go of what runs and stops none of it: the next daemon adopts it.
func (e *Engine) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var sweeper sync.WaitGroup
	sweeper.Go(func() { e.sweep(ctx) })
	defer sweeper.Wait()
	defer cancel(nil)
	var w work
	retry := time.NewTimer(0)
	defer retry.Stop()
	rules := time.NewTicker(e.zones.every)
	rules.Stop()
	defer rules.Stop()
	watching := false
	for {
		select {
		case <-ctx.Done():
		case <-retry.C:
		case wake := <-e.parts.Alarm.C():
			w.steady = w.steady && !wake.Stepped
		case <-rules.C:
			if !e.zones.changed() {
				continue
			}
			w.steady = false
		case <-e.poked:
		case pong := <-e.alive:
			close(pong)
			continue
		case x := <-e.parts.Runs.Exits():
			w.exits = append(w.exits, x)
		}
		if ctx.Err() != nil { // select picks either when both are ready
			if err := e.keepTime(ctx); err != nil {
				e.parts.Log.Warn("cannot write down what time it is", "err", err)
			}
			return context.Cause(ctx)
		}
		w.steady = w.steady && !e.zones.asked()
		w.exits = e.moreExits(w.exits)
		w.ids = append(w.ids, e.takeTouched()...)
		err := e.recover(ctx, &w)
		if err == nil {
			err = e.turns(ctx, &w)
		}
		switch {
		case errors.Is(err, fault.Unavailable): // no space left: what is to be done stays to be done
			e.parts.Log.Error("cannot write; trying again", "err", err, "in", retryPause)
			retry.Reset(retryPause)
		case err != nil:
			return err
		case len(w.adopt) > 0:
			retry.Reset(retryPause)
		}
		if !watching && e.zones.some() { // a daemon without such recurrences sleeps
			watching = true
			rules.Reset(e.zones.every)
		}
		e.checkIdle()
	}
}

// moreExits takes the exits that are there already, so that they share a write.
func (e *Engine) moreExits(exits []supervisor.Exit) []supervisor.Exit {
	for len(exits) < maxTurn {
		select {
		case x := <-e.parts.Runs.Exits():
			exits = append(exits, x)
		default:
			return exits
		}
	}
	return exits
}

// Alive returns nil when Run answers, which it does between two turns, and an
// error when it does not until ctx is done.
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
	if e.open > 0 || !e.Draining() {
		return
	}
	select {
	case <-e.idle:
	default:
		close(e.idle)
	}
}
