package activation

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"activationd/store"
	"activationd/supervisor"
)

var errDead = errors.New("the daemon is dead")

// A mortal is what of a daemon can die in the middle of things. From then on
// nothing that it does has an effect.
type mortal struct {
	mu   sync.Mutex
	left int // calls until it dies; negative: it does not
	dead bool
}

// lives counts a call, and reports whether it has an effect.
func (m *mortal) lives() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.left == 0 {
		m.dead = true
	}
	if m.left > 0 {
		m.left--
	}
	return !m.dead
}

func (m *mortal) dieAfter(calls int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.left = calls
}

func (m *mortal) isDead() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.dead
}

// A mortalStore is the store as a daemon sees it that may die before or after a
// commit.
type mortalStore struct {
	store.Store
	m *mortal
	// after is called when a transaction is durable and its maker does not know yet.
	after func()
}

func (s mortalStore) Update(ctx context.Context, fn func(store.Tx) error) error {
	if !s.m.lives() {
		return errDead
	}
	if err := s.Store.Update(ctx, fn); err != nil {
		return err
	}
	if !s.m.lives() {
		return errDead
	}
	if s.after != nil {
		s.after()
	}
	return nil
}

// A lab is a daemon in its world. It lives in a bubble.
type lab struct {
	t         testing.TB
	db        store.Store
	mem       *memStore // db, if it is one
	w         *world
	boot      string
	set       Settings
	srcs      []Source
	e         *Engine
	runs      *fakeRuns
	alarm     *fakeAlarm
	clock     *fakeClock
	m         *mortal
	dieAtOnce int           // the next daemon dies after so many calls; 0: it does not
	loadAvg   atomic.Value  // the load average, a float64; none: 0
	after     func()        // see mortalStore; for daemons that are started from then on
	looks     time.Duration // how often the daemon looks at zones; 0: as ever
	stop      func()
	err       error // Run's
}

const (
	minute = time.Minute
	hour   = time.Hour
)

func testSettings() Settings {
	d := Defaults{
		Activate: []string{"up"}, Deactivate: []string{"down"}, Timeout: hour, UndoTimeout: 10 * minute, Grace: time.Second,
		Retries: 1, UndoRetries: 2, BackoffFirst: 10 * time.Second, BackoffMax: minute, Missed: MissedRun,
	}
	j := d
	j.Retries, j.Timeout = 0, 0
	return Settings{
		MaxParallel: 100, MissedGrace: hour, MaxRemoval: 0.5, Keep: 1000 * hour,
		Jobs: j, Reservations: d, Socket: "/sock",
	}
}

// newLab makes a lab and starts its daemon, with settings as set changes them.
func newLab(t testing.TB, set func(*Settings)) *lab {
	l := &lab{t: t, mem: newMemStore(), w: newWorld(), boot: "boot1", set: testSettings()}
	l.db = l.mem
	if set != nil {
		set(&l.set)
	}
	l.start()
	t.Cleanup(l.shutDown)
	return l
}

// prepare makes a daemon that does not run yet.
func (l *lab) prepare() {
	l.m = &mortal{left: -1}
	if l.dieAtOnce > 0 {
		l.m.left, l.dieAtOnce = l.dieAtOnce, 0
	}
	if l.clock == nil {
		l.clock = &fakeClock{started: time.Now(), synced: true}
	}
	l.runs, l.alarm = newFakeRuns(l.w, l.m), newFakeAlarm(l.clock)
	l.e = New(Parts{
		DB: mortalStore{l.db, l.m, l.after}, Runs: l.runs, Alarm: l.alarm, Clock: l.clock, Boot: l.boot, Nodes: fakeNodes, Log: slog.New(slog.DiscardHandler),
		Load: func() (float64, error) {
			load, _ := l.loadAvg.Load().(float64)
			return load, nil
		},
	}, l.set)
	l.e.SetSources(l.srcs)
}

// start starts a daemon.
func (l *lab) start() {
	l.prepare()
	l.err = nil
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	var wg sync.WaitGroup
	e := l.e
	if l.looks > 0 {
		e.zones.every = l.looks
	}
	wg.Go(func() {
		l.err = e.Run(ctx)
		cancel() // as a daemon ends when its engine does
	})
	wg.Go(func() { _ = e.RunLoads(ctx) })
	go func() { wg.Wait(); close(done) }()
	l.stop = func() { cancel(); <-done }
	synctest.Wait()
}

// shutDown ends the daemon; what runs goes on.
func (l *lab) shutDown() {
	if l.stop == nil {
		return
	}
	l.stop()
	close(l.runs.closing)
	l.runs.wg.Wait()
	l.alarm.Set(time.Time{})
	l.stop = nil
}

// restart ends the daemon and starts another.
func (l *lab) restart() {
	l.shutDown()
	l.start()
}

// sleep lets time pass, and all that happens at its end happen.
func (l *lab) sleep(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// setClock sets the wall clock forward, or back, and lets happen what follows.
func (l *lab) setClock(by time.Duration) {
	l.clock.mu.Lock()
	l.clock.shift += by
	l.clock.mu.Unlock()
	if l.stop != nil {
		l.alarm.stepped()
	}
	synctest.Wait()
}

// now is what the wall clock shows.
func (l *lab) now() time.Time { return l.clock.Now() }

// script has all the runs of an id's phase do that, or the n-th ones those that
// are given one after the other; the last one goes for all that follow.
func (l *lab) script(id, phase string, scripts ...script) {
	l.w.mu.Lock()
	defer l.w.mu.Unlock()
	before := l.w.scripts
	l.w.scripts = func(k supervisor.Key) script {
		if k.ID != id || k.Phase != phase {
			return before(k)
		}
		return scripts[min(k.N, len(scripts))-1]
	}
}

// add adds a job and returns its id.
func (l *lab) add(j NewJob) string {
	l.t.Helper()
	if j.Argv == nil {
		j.Argv = []string{"true"}
	}
	if j.Owner == "" {
		j.Owner = "ada"
	}
	added, err := l.e.Add(context.Background(), []NewJob{j})
	if err != nil || added[0].Err != nil {
		l.t.Fatalf("Add: %v, %v", err, added[0].Err)
	}
	synctest.Wait()
	return added[0].ID
}

var admin = By{Name: "root"}

// do applies an admin's event and lets what follows happen.
func (l *lab) do(ev Event, id string) {
	l.t.Helper()
	if _, err := l.e.Do(context.Background(), admin, id, ev, ""); err != nil {
		l.t.Fatalf("%s %s: %v", ev, id, err)
	}
	synctest.Wait()
}

func (l *lab) get(id string) View {
	l.t.Helper()
	v, err := l.e.Get(context.Background(), id)
	if err != nil {
		l.t.Fatalf("Get(%s): %v", id, err)
	}
	return v
}

// is checks a state, or an outcome.
func (l *lab) is(id, want string) {
	l.t.Helper()
	v := l.get(id)
	got := string(v.State)
	if v.State == Finished {
		got = string(v.Outcome)
	}
	if got != want {
		l.t.Errorf("%s: %s is %s (%s), want %s", time.Now().UTC().Format("15:04:05"), id, got, v.Reason, want)
	}
}

// because checks a reason.
func (l *lab) because(id, want string) {
	l.t.Helper()
	if got := l.get(id).Reason; got != want {
		l.t.Errorf("%s: reason %q, want %q", id, got, want)
	}
}

// ran checks which scripts have begun, all of them, in order: "1.activate.1 ...".
func (l *lab) ran(want string) {
	l.t.Helper()
	l.w.mu.Lock()
	defer l.w.mu.Unlock()
	if got := strings.Join(l.w.names(), " "); got != want {
		l.t.Errorf("began: %q, want %q", got, want)
	}
}

// ranInAnyOrder checks which scripts have begun, where several begin at once.
func (l *lab) ranInAnyOrder(want string) {
	l.t.Helper()
	l.w.mu.Lock()
	defer l.w.mu.Unlock()
	names := l.w.names()
	slices.Sort(names)
	if got := strings.Join(names, " "); got != want {
		l.t.Errorf("began: %q, want %q", got, want)
	}
}

// names lists which scripts have begun, in order. The caller holds mu.
func (w *world) names() []string {
	names := make([]string, 0, len(w.order))
	for _, k := range w.order {
		names = append(names, k.String())
	}
	return names
}

// beganAt returns when a script began.
func (l *lab) beganAt(id, phase string, n int) time.Time {
	l.t.Helper()
	r := l.w.run(supervisor.Key{ID: id, Phase: phase, N: n})
	if r == nil || r.started.IsZero() {
		l.t.Fatalf("%s.%s.%d has not begun", id, phase, n)
	}
	return r.started
}

func itoa(n int) string { return strconv.Itoa(n) }
