package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"activationd/internal/fault"
	"activationd/queue"
	"activationd/schedule"
	"activationd/store"
	"activationd/store/once"
	"activationd/supervisor"
	"activationd/supervisor/wrapper"
)

// Runs starts and follows processes; *supervisor.Supervisor is the real one. It must be
// the broker's own: the broker takes all exits, and owns all run directories.
type Runs interface {
	Start(supervisor.Key, wrapper.Spec) error
	Adopt(supervisor.Key) (supervisor.Found, error)
	Stop(supervisor.Key) error
	Exits() <-chan supervisor.Exit
	Started(supervisor.Key) (pid int, at time.Time, ok bool)
	Open(k supervisor.Key, name string) (*os.File, error)
	RunDir(k supervisor.Key) string
	Remove(ctx context.Context, k supervisor.Key) error
	List() ([]supervisor.Key, error)
	// Stream returns the input and output of a run that was started with them.
	Stream(supervisor.Key) (Stream, error)
	// AwaitStart has Begins yield a run when its program has been started.
	AwaitStart(supervisor.Key) error
	Begins() <-chan supervisor.Key
	// Workdir makes a directory that only a user can read, and RemoveWorkdir removes it.
	Workdir(id string, uid, gid int) (dir string, err error)
	RemoveWorkdir(ctx context.Context, id string) error
}

// An Alarm wakes the broker at a time of the wall clock; *schedule.Timer is the real one.
type Alarm interface {
	Set(time.Time) // zero: never
	C() <-chan schedule.Wake
}

// Parts are the parts of the program that a broker uses.
type Parts struct {
	DB    store.Store
	Runs  Runs
	Alarm Alarm
	Now   func() time.Time // the wall clock; nil: that of package time
	Log   *slog.Logger
	// Journal is the path of the file that says what stream listeners have in work.
	Journal string
	// Paused is set if nothing is to be handed out before [Broker.PauseAll] is called.
	Paused bool
}

// Settings say which listeners there are.
type Settings struct {
	Listeners []Listener // the first that matches serves a queue
	// Allowed says whether a queue may be served; if not, it says why.
	Allowed func(queue string) (ok bool, why string)
	Limits  queue.Limits // the bounds over all queues, and of a body
	Created int          // how many queues may be there at a time that one client has created by pushes; 0: any number
}

// A Broker hands the messages of a store's queues to listeners.
type Broker struct {
	parts    Parts
	settings atomic.Pointer[Settings]
	asks     chan ask
	poked    chan struct{} // capacity one
	ends     chan *end     // of deliveries that are no runs of their own
	outputs  chan *output
	writable chan *process // whose input has room
	noticed  chan struct{} // capacity one
	over     chan struct{} // closed when Run has ended
	started  chan struct{} // closed by Run when it knows what an earlier daemon left

	leftovers leftovers

	askedToPause atomic.Bool // as PauseAll was called last

	mu      sync.Mutex
	hints   []hint               // of what was committed by others than Run
	waiters map[uint64][]*waiter // by the message's id

	// What follows is used by Run only.
	set       *Settings
	lines     map[uint64]*line // by the queue's number
	pools     map[string]*pool
	work      map[uint64]*work // by the message's id
	runs      map[supervisor.Key]*work
	pending   []*outcome                   // not recorded yet
	allPaused bool                         // see PauseAll
	nextDue   time.Time                    // when a delayed message, a kept result or a hold is due; zero: none
	alarmAt   time.Time                    // for which the alarm is set; zero: it is not
	pauseEnd  time.Time                    // when the first of the pauses of queues may end; zero: none has an end
	kept      map[supervisor.Key]time.Time // runs whose directories have results, and until when
	orphans   map[supervisor.Key]bool      // runs that are being ended because their messages are gone
	ready     bool
	ctx       context.Context // of Run, for its goroutines
	helpers   sync.WaitGroup

	failing     bool                    // the last turn could not be finished
	logs        limiter                 // of lines that could be many
	unadopted   map[supervisor.Key]bool // runs of an earlier daemon of which nothing can be found out now
	adoptAt     time.Time               // when that is tried again, by tick
	adopted     map[supervisor.Key]bool // by recover
	processes   map[supervisor.Key]*process
	hands       map[string]*hand // by session
	lastStart   int64            // the number of the process that was started last
	journal     journal
	acknowledge []*output // whose answers are pending
	ignoredLogs limiter
	ignored     uint64 // answers about messages that a listener did not have
}

// New makes a broker. It starts nothing.
func New(p Parts, set Settings) *Broker {
	if p.Now == nil {
		p.Now = time.Now
	}
	b := &Broker{
		parts: p, asks: make(chan ask), poked: make(chan struct{}, 1), ends: make(chan *end), outputs: make(chan *output), writable: make(chan *process), noticed: make(chan struct{}, 1), started: make(chan struct{}),
		lines: make(map[uint64]*line), pools: make(map[string]*pool), work: make(map[uint64]*work), runs: make(map[supervisor.Key]*work), waiters: make(map[uint64][]*waiter), kept: make(map[supervisor.Key]time.Time), orphans: make(map[supervisor.Key]bool),
		leftovers: leftovers{keys: make(map[supervisor.Key]bool), wake: make(chan struct{}, 1)},
		unadopted: make(map[supervisor.Key]bool), adopted: make(map[supervisor.Key]bool),
		processes: make(map[supervisor.Key]*process), hands: make(map[string]*hand), over: make(chan struct{}), journal: journal{path: p.Journal},
	}
	b.settings.Store(&set)
	b.askedToPause.Store(p.Paused)
	return b
}

// tick is a clock that nobody can set. It measures durations that are not stored: of attempts, of
// pauses, and the ages of processes. Times that are stored come from Parts.Now, because they must
// have a meaning to other processes, too.
func (b *Broker) tick() time.Time { return time.Now() }

// Configure puts new settings in force. Messages in work are finished by the listeners that have
// them.
func (b *Broker) Configure(set Settings) {
	b.settings.Store(&set)
	b.poke()
}

func (b *Broker) poke() { token(b.poked) }

// token puts a token into a channel that has room for one.
func token(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default: // one is there already
	}
}

// Noticed yields a value after notices have been written, one for any number of them; see
// [queue.Notices].
func (b *Broker) Noticed() <-chan struct{} { return b.noticed }

// update runs fn in a transaction that writes notices.
func (b *Broker) update(ctx context.Context, fn func(store.Tx) error) error {
	err := once.Update(ctx, b.parts.DB, fn)
	if err == nil {
		b.tell()
	}
	return err
}

func (b *Broker) tell() { token(b.noticed) }

// A hint says what a committed transaction changed: a queue, or a message of it.
type hint struct {
	queue uint64
	head  queue.Head // zero: the queue itself
	due   time.Time  // the message is delayed until then; zero: it is ready
	over  time.Time  // when the window of its key is over; zero: it has none
}

func (b *Broker) hint(hints ...hint) {
	b.mu.Lock()
	b.hints = append(b.hints, hints...)
	b.mu.Unlock()
	b.poke()
}

func (b *Broker) takeHints() []hint {
	b.mu.Lock()
	defer b.mu.Unlock()
	hints := b.hints
	b.hints = nil
	return hints
}

// An ask is something that Run does for another goroutine, between two turns.
type ask struct {
	do    func(ctx context.Context) error
	done  chan error
	looks bool // it changes nothing in the store, so it is also done while nothing can be written
}

var errOver = fmt.Errorf("the daemon is stopping; try again in a moment: %w", fault.Unavailable)

// ask has Run call do, and returns its error.
func (b *Broker) ask(ctx context.Context, do func(context.Context) error) error {
	with := do
	if once.Of(ctx) {
		with = func(run context.Context) error { return do(once.Carry(run, ctx)) }
	}
	return b.request(ctx, ask{do: with, done: make(chan error, 1)})
}

// look is ask for what changes nothing in the store.
func (b *Broker) look(ctx context.Context, do func(context.Context) error) error {
	return b.request(ctx, ask{do: do, done: make(chan error, 1), looks: true})
}

func (b *Broker) request(ctx context.Context, a ask) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-b.over:
		return errOver
	case b.asks <- a:
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case err := <-a.done:
		return err
	case <-b.over:
	}
	select {
	case err := <-a.done: // it was done before that
		return err
	default:
		return errOver
	}
}

// retryPause is how long Run waits before it tries again to write.
const retryPause = time.Second

// Run hands out messages until ctx is done or the store fails for good. It leaves all
// processes running: the next daemon adopts them.
func (b *Broker) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	b.ctx = ctx
	defer close(b.over)
	defer b.helpers.Wait()
	defer cancel(nil)
	b.helpers.Go(func() { b.sweep(ctx) })
	retry := time.NewTimer(0)
	defer retry.Stop()
	for {
		var asked *ask
		select {
		case <-ctx.Done():
		case <-retry.C:
		case <-b.poked:
		case <-b.parts.Alarm.C():
			b.lookEverywhere()
		case x := <-b.parts.Runs.Exits():
			b.exited(x)
		case k := <-b.parts.Runs.Begins():
			b.began(k)
		case o := <-b.outputs:
			b.answered(o)
		case s := <-b.writable:
			s.waiting, s.pool.dirty = false, true
			b.send(s)
			b.flushMarks()
		case e := <-b.ends:
			b.ended(e)
		case a := <-b.asks:
			asked = &a
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		b.more()
		err := b.turn(ctx, asked)
		failed := b.failing
		b.failing = err != nil
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, fault.Unavailable): // no space left: what is pending stays
			if !failed || b.logs.may(b.tick()) {
				b.parts.Log.Error("queues: cannot read or write; trying again", "err", err, "in", retryPause)
			}
			retry.Reset(retryPause)
		case err != nil:
			return fmt.Errorf("queues: %w", err)
		}
	}
}

// maxTurn bounds the ends that are recorded in one transaction, and the messages that are handed
// out in one turn, so that verbs and answers do not wait long.
const maxTurn = 256

// more takes what else has already ended, so that it shares a write.
func (b *Broker) more() {
	for range maxTurn {
		select {
		case x := <-b.parts.Runs.Exits():
			b.exited(x)
		case k := <-b.parts.Runs.Begins():
			b.began(k)
		case o := <-b.outputs:
			b.answered(o)
		case e := <-b.ends:
			b.ended(e)
		default:
			return
		}
	}
}

// turn takes everything that is due.
func (b *Broker) turn(ctx context.Context, asked *ask) error {
	now, tick := b.parts.Now(), b.tick()
	if !b.ready {
		if err := b.recover(ctx); err != nil {
			return b.refuse(asked, err)
		}
		b.ready = true
		close(b.started)
	}
	if set := b.settings.Load(); set != b.set {
		b.set = set
		b.reconfigure()
	}
	// The alarm may have gone off unheard while something else began this turn, and setting it
	// again takes that back.
	if at := b.alarmAt; !at.IsZero() && !now.Before(at) {
		b.lookEverywhere()
	}
	b.pauseAll()
	b.expire()
	b.endPauses(now)
	if err := b.adoptAgain(); err != nil {
		return b.refuse(asked, err)
	}
	if len(b.pending) > 0 && !b.failing { // the next messages are worked on while the outcomes are written
		if err := b.hand(ctx); err != nil {
			return b.refuse(asked, err)
		}
	}
	if err := b.record(ctx); err != nil {
		return b.refuse(asked, err)
	}
	if asked != nil {
		asked.done <- asked.do(ctx)
	}
	if err := b.promote(ctx); err != nil {
		return err
	}
	if err := b.clear(ctx); err != nil {
		return err
	}
	if err := b.hand(ctx); err != nil {
		return err
	}
	b.alarmAt = b.alarm(now, tick)
	b.parts.Alarm.Set(b.alarmAt)
	return nil
}

// lookEverywhere has all pools look for messages again.
func (b *Broker) lookEverywhere() {
	for _, p := range b.pools {
		p.dirty = true
	}
}

// hand takes what others have committed, and hands out messages.
func (b *Broker) hand(ctx context.Context) error {
	if err := b.follow(ctx); err != nil {
		return err
	}
	return b.deliver(ctx)
}

func (b *Broker) refuse(asked *ask, err error) error {
	switch {
	case asked == nil:
	case asked.looks && b.ready:
		asked.done <- asked.do(b.ctx)
	default:
		asked.done <- err
	}
	return err
}
