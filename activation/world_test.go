package activation_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"activationd/internal/fault"
	"activationd/schedule"
	"activationd/supervisor"
	"activationd/supervisor/wrapper"
)

// A script says what a run in the fake world does.
type script struct {
	lasts   time.Duration // from the script's beginning to its end
	exit    int
	reason  string        // empty: wrapper.Exited
	hangs   bool          // it runs until it is stopped, or its timeout
	onStop  time.Duration // from being asked to stop to the end
	ignores bool          // it ignores the stop and ends by itself
	remains time.Duration // how long one of its processes hangs after its end
	late    bool          // the stop comes too late to disarm it
	birth   time.Duration // from the start of its wrapper to that of its process
	noStart error         // Start fails
}

// A world is the true state of the runs: they outlive the daemons that start them.
type world struct {
	mu      sync.Mutex
	scripts func(k supervisor.Key) script
	runs    map[supervisor.Key]*worldRun
	order   []supervisor.Key             // the order in which scripts began
	began   func(*worldRun)              // called when a script begins, with mu held
	starts  func(k supervisor.Key) error // called for each Start
	slow    atomic.Int64                 // how long a start takes, a [time.Duration]
	removed []supervisor.Key
	kept    map[string]bool // the work directories that exist
	sockets map[string]bool // the files of Unix sockets that exist
	unclear int             // how many calls of Adopt fail
	faults  []string
	runDir  string // the parent of the run directories; empty: there are none
}

// A worldRun is one run.
type worldRun struct {
	key     supervisor.Key
	spec    wrapper.Spec
	script  script
	started time.Time // when its script began
	stopped bool
	result  wrapper.Result
	done    chan struct{} // closed at its end
	gone    chan struct{} // closed when none of its processes hangs any more
	born    chan struct{} // closed when its script begins
	timers  []*time.Timer
}

func newWorld() *world {
	return &world{
		runs:    make(map[supervisor.Key]*worldRun),
		kept:    make(map[string]bool),
		sockets: make(map[string]bool),
		scripts: func(supervisor.Key) script { return script{lasts: time.Second} },
	}
}

func (w *world) fault(format string, args ...any) {
	w.faults = append(w.faults, fmt.Sprintf(format, args...))
}

// ended reports whether the script has ended, over whether all of its processes have.
func (r *worldRun) ended() bool { return isClosed(r.done) }
func (r *worldRun) over() bool  { return isClosed(r.gone) }

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// after calls fn later, with mu held, unless the run is over by then.
func (w *world) after(r *worldRun, d time.Duration, fn func()) {
	r.timers = append(r.timers, time.AfterFunc(d, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if !r.ended() {
			fn()
		}
	}))
}

func (w *world) start(k supervisor.Key, spec wrapper.Spec) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.starts != nil {
		if err := w.starts(k); err != nil {
			return err
		}
	}
	if w.runs[k] != nil {
		w.fault("%v is started twice", k)
		return errors.New("there is such a run")
	}
	s := w.scripts(k)
	if s.noStart != nil {
		return s.noStart
	}
	r := &worldRun{key: k, spec: spec, script: s, done: make(chan struct{}), gone: make(chan struct{}), born: make(chan struct{})}
	w.runs[k] = r
	wait := s.birth
	if !spec.NotBefore.IsZero() {
		wait = max(wait, time.Until(spec.NotBefore))
	}
	if wait > 0 {
		w.after(r, wait, func() { w.begin(r) })
	} else {
		w.begin(r)
	}
	return nil
}

func (w *world) begin(r *worldRun) {
	r.started = time.Now()
	close(r.born)
	w.order = append(w.order, r.key)
	if w.began != nil {
		w.began(r)
	}
	if r.spec.Timeout > 0 {
		w.after(r, r.spec.Timeout, func() { w.end(r, wrapper.TimedOut, 143) })
	}
	if !r.script.hangs {
		w.after(r, r.script.lasts, func() {
			if r.script.reason == "" {
				r.script.reason = wrapper.Exited
			}
			w.end(r, r.script.reason, r.script.exit)
		})
	}
}

func (w *world) end(r *worldRun, reason string, exit int) {
	if r.ended() {
		return
	}
	r.result = wrapper.Result{Reason: reason, Exit: exit, Started: r.started, Ended: time.Now()}
	for _, t := range r.timers {
		t.Stop()
	}
	if r.script.remains > 0 && !r.started.IsZero() {
		r.result.Hung = []wrapper.Hung{{PID: 7, Born: 1}}
		time.AfterFunc(r.script.remains, func() {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.vanish(r)
		})
	} else {
		close(r.gone)
	}
	close(r.done)
}

// vanish ends the hanging processes of a run.
func (w *world) vanish(r *worldRun) {
	if r.ended() && !r.over() {
		r.result.Hung = nil
		close(r.gone)
	}
}

func (w *world) stop(k supervisor.Key) {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := w.runs[k]
	if r == nil || r.ended() {
		return
	}
	r.stopped = true
	switch {
	case r.started.IsZero() && r.script.late:
		w.after(r, time.Until(r.spec.NotBefore)+1, func() { w.end(r, wrapper.Stopped, 143) })
	case r.started.IsZero():
		w.end(r, wrapper.Disarmed, -1)
	case r.script.ignores:
	default:
		w.after(r, r.script.onStop, func() { w.end(r, wrapper.Stopped, 143) })
	}
}

// killed ends what a run's wrapper was asked to stop.
func (w *world) killed(k supervisor.Key) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if r := w.runs[k]; r != nil && !r.ended() && r.stopped {
		w.end(r, wrapper.Stopped, 137)
	}
}

// kill ends a run's wrapper without a result.
func (w *world) kill(k supervisor.Key) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if r := w.runs[k]; r != nil {
		w.end(r, wrapper.Lost, -1)
		w.vanish(r)
	}
}

// powerLoss ends all runs.
func (w *world) powerLoss() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range w.runs {
		w.end(r, wrapper.Lost, -1)
		w.vanish(r)
	}
}

// live lists the runs that have not ended.
func (w *world) live() []supervisor.Key {
	w.mu.Lock()
	defer w.mu.Unlock()
	var keys []supervisor.Key
	for k, r := range w.runs {
		if !r.over() {
			keys = append(keys, k)
		}
	}
	return keys
}

func (w *world) run(k supervisor.Key) *worldRun {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.runs[k]
}

// fakeRuns is a daemon's view of the world: a supervisor.
type fakeRuns struct {
	w       *world
	mortal  *mortal
	exits   chan supervisor.Exit
	begins  chan supervisor.Key
	closing chan struct{}
	wg      sync.WaitGroup

	mu       sync.Mutex
	followed map[supervisor.Key]bool
	sockets  map[string]bool // the addresses of the open ones
}

func newFakeRuns(w *world, m *mortal) *fakeRuns {
	return &fakeRuns{w: w, mortal: m, exits: make(chan supervisor.Exit), begins: make(chan supervisor.Key), closing: make(chan struct{}), followed: make(map[supervisor.Key]bool), sockets: make(map[string]bool)}
}

func (f *fakeRuns) follow(r *worldRun) {
	f.mu.Lock()
	f.followed[r.key] = true
	f.mu.Unlock()
	f.wg.Go(func() {
		select {
		case <-f.closing:
			return
		case <-r.done:
		}
		for over := false; !over; {
			f.w.mu.Lock()
			x := supervisor.Exit{Key: r.key, Result: r.result}
			f.w.mu.Unlock()
			over = len(x.Result.Hung) == 0
			select {
			case <-f.closing:
				return
			case f.exits <- x:
			}
			select {
			case <-f.closing:
				return
			case <-r.gone:
			}
		}
	})
}

func (f *fakeRuns) Start(k supervisor.Key, spec wrapper.Spec) error {
	outsideOnly("a run is started")
	if !f.mortal.lives() {
		return errDead
	}
	if err := f.listen(spec.Addresses); err != nil {
		return err
	}
	time.Sleep(time.Duration(f.w.slow.Load()))
	if err := f.w.start(k, spec); err != nil {
		return err
	}
	if !f.mortal.lives() {
		return errDead
	}
	f.follow(f.w.run(k))
	return nil
}

// listen opens sockets. An address is in use while a run has its socket and this daemon has not.
func (f *fakeRuns) listen(addresses []string) error {
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, a := range addresses {
		for _, r := range f.w.runs {
			if !r.ended() && !f.sockets[a] && slices.Contains(r.spec.Addresses, a) {
				return fmt.Errorf("%s is in use: %w", a, fault.Conflict)
			}
		}
	}
	for _, a := range addresses {
		f.sockets[a], f.w.sockets[a] = true, true
	}
	return nil
}

func (f *fakeRuns) CloseSockets(look func() (needed, noted []string, err error)) (closed []string, err error) {
	outsideOnly("sockets are closed")
	if !f.mortal.lives() {
		return nil, errDead
	}
	needed, noted, err := look()
	if err != nil {
		return nil, err
	}
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, a := range noted {
		if !slices.Contains(needed, a) {
			delete(f.sockets, a)
			delete(f.w.sockets, a)
			closed = append(closed, a)
		}
	}
	if !f.mortal.lives() {
		return nil, errDead
	}
	return closed, nil
}

func (f *fakeRuns) Adopt(k supervisor.Key) (supervisor.Found, error) {
	outsideOnly("a run is adopted")
	if !f.mortal.lives() {
		return supervisor.Found{}, errDead
	}
	f.w.mu.Lock()
	unclear := f.w.unclear > 0
	f.w.unclear = max(0, f.w.unclear-1)
	f.w.mu.Unlock()
	if unclear {
		return supervisor.Found{}, errors.New("too many open files")
	}
	r := f.w.run(k)
	switch {
	case r == nil:
		return supervisor.Found{State: supervisor.Unborn, Result: wrapper.Result{
			Reason: wrapper.Unborn, Text: "the daemon ended before it could start it", Exit: -1, Ended: time.Now(),
		}}, nil
	case !r.over():
		f.mu.Lock()
		for _, a := range r.spec.Addresses {
			f.sockets[a] = true
		}
		f.mu.Unlock()
		f.follow(r)
		return supervisor.Found{State: supervisor.Running}, nil
	case r.result.Reason == wrapper.Lost:
		return supervisor.Found{State: supervisor.Lost, Result: r.result}, nil
	}
	return supervisor.Found{State: supervisor.Ended, Result: r.result}, nil
}

func (f *fakeRuns) Stop(k supervisor.Key) error {
	outsideOnly("a run is stopped")
	f.mu.Lock()
	followed := f.followed[k]
	f.mu.Unlock()
	if f.mortal.lives() && followed { // a run that is not followed cannot be stopped
		f.w.stop(k)
	}
	return nil
}

func (f *fakeRuns) Kill(k supervisor.Key) error {
	outsideOnly("a run is killed")
	f.mu.Lock()
	followed := f.followed[k]
	f.mu.Unlock()
	if f.mortal.lives() && followed {
		f.w.killed(k)
	}
	return nil
}

func (f *fakeRuns) Exits() <-chan supervisor.Exit { return f.exits }

func (f *fakeRuns) AwaitStart(k supervisor.Key) error {
	outsideOnly("the start of a run is awaited")
	r := f.w.run(k)
	if !f.mortal.lives() || r == nil {
		return nil
	}
	f.wg.Go(func() {
		select {
		case <-f.closing:
			return
		case <-r.done:
		case <-r.born:
		}
		if isClosed(r.born) {
			select {
			case <-f.closing:
			case f.begins <- k:
			}
		}
	})
	return nil
}

func (f *fakeRuns) Begins() <-chan supervisor.Key { return f.begins }

func (f *fakeRuns) Started(k supervisor.Key) (int, time.Time, bool) {
	outsideOnly("whether a run has started is read")
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	r := f.w.runs[k]
	if r == nil || r.started.IsZero() {
		return 0, time.Time{}, false
	}
	return 1, r.started, true
}

func (f *fakeRuns) Frozen(supervisor.Key) string {
	outsideOnly("whether a run is frozen is read")
	return ""
}

func (f *fakeRuns) Files(supervisor.Key) ([]supervisor.File, error) { return nil, os.ErrNotExist }

func (f *fakeRuns) Size(supervisor.Key) int64 {
	outsideOnly("a directory is measured")
	return 4096
}

func (f *fakeRuns) RunDir(k supervisor.Key) string {
	return cmp.Or(f.w.runDir, "/runs") + "/" + k.String()
}

func (f *fakeRuns) Open(k supervisor.Key, name string) (*os.File, error) {
	outsideOnly("a file is opened")
	return os.Open(filepath.Join(f.RunDir(k), name))
}

func (f *fakeRuns) Workdir(id string, _, _ int) (string, error) {
	outsideOnly("a directory is made")
	if f.mortal.lives() {
		f.w.mu.Lock()
		defer f.w.mu.Unlock()
		f.w.kept[id] = true
	}
	return "/kept/" + id, nil
}

func (f *fakeRuns) RemoveWorkdir(_ context.Context, id string) error {
	outsideOnly("a directory is removed")
	if f.mortal.lives() {
		f.w.mu.Lock()
		defer f.w.mu.Unlock()
		for k, r := range f.w.runs {
			if k.ID == id && !r.ended() {
				f.w.fault("the directory of %s is removed while %v runs", id, k)
			}
		}
		delete(f.w.kept, id)
	}
	return nil
}

func (f *fakeRuns) Workdirs() ([]string, error) {
	outsideOnly("directories are listed")
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	return slices.Sorted(maps.Keys(f.w.kept)), nil
}

func (f *fakeRuns) Remove(_ context.Context, k supervisor.Key) error {
	outsideOnly("a directory is removed")
	if f.mortal.lives() {
		f.w.mu.Lock()
		defer f.w.mu.Unlock()
		if r := f.w.runs[k]; r != nil && !r.over() {
			return errors.New("it runs")
		}
		delete(f.w.runs, k)
		f.w.removed = append(f.w.removed, k)
	}
	return nil
}

func (f *fakeRuns) Guard() (string, string) { return "fake", "" }

// A fakeAlarm is an alarm on the bubble's clock.
type fakeAlarm struct {
	mu    sync.Mutex
	timer *time.Timer
	want  time.Time
	c     chan schedule.Wake
	rings int
	clock *fakeClock
}

func newFakeAlarm(c *fakeClock) *fakeAlarm {
	return &fakeAlarm{c: make(chan schedule.Wake, 1), clock: c}
}

func (a *fakeAlarm) Set(at time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.timer != nil {
		a.timer.Stop()
	}
	a.want = at
	if !at.IsZero() {
		a.timer = time.AfterFunc(max(0, at.Sub(a.clock.Now())), a.ring)
	}
}

func (a *fakeAlarm) ring() {
	a.mu.Lock()
	a.rings++
	a.mu.Unlock()
	select {
	case a.c <- schedule.Wake{}:
	default:
	}
}

// rung is how often it woke the engine at its time.
func (a *fakeAlarm) rung() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.rings
}

// stepped reports that the clock was set, after which it is armed again.
func (a *fakeAlarm) stepped() {
	a.mu.Lock()
	want := a.want
	a.mu.Unlock()
	a.Set(want)
	select {
	case <-a.c:
	default:
	}
	a.c <- schedule.Wake{Stepped: true}
}

func (a *fakeAlarm) C() <-chan schedule.Wake { return a.c }

func (a *fakeAlarm) wanted() time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.want
}

// A fakeClock is the bubble's clock, but can be set.
type fakeClock struct {
	mu      sync.Mutex
	started time.Time // when the machine was
	shift   time.Duration
	synced  bool
}

func (c *fakeClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.shift)
}

func (c *fakeClock) Uptime() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Since(c.started)
}

func (c *fakeClock) Synchronised() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.synced
}
