package activation_test

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	. "activationd/activation"
	"activationd/activation/announce"
	"activationd/activation/recurring"

	"activationd/store"
	"activationd/store/memstore"
	"activationd/supervisor"
)

var errDead = errors.New("the daemon is dead")

// A mortal counts the calls of a daemon that can die between any two of them. After its
// death no call has an effect.
type mortal struct {
	mu   sync.Mutex
	left int // calls until it dies; negative: it does not die
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

// A mortalStore is the store as a mortal daemon sees it. The daemon may die before or
// after a commit.
type mortalStore struct {
	store.Store
	m *mortal
	// after is called when a transaction is durable, before its caller knows that.
	after func()
}

// Limits implements [store.Limiter].
func (s mortalStore) Limits() (ops, bytes int) { return store.Limits(s.Store) }

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

// A testRig is a daemon and its world, in a bubble.
type testRig struct {
	t         testing.TB
	db        store.Store
	mem       *memstore.Store // db, if it is a memory store
	w         *world
	boot      string
	host      string         // empty: lab1
	zone      *time.Location // of reports; nil: UTC
	set       Settings
	srcs      []announce.Source
	conf      atomic.Pointer[announce.Configuration]
	loader    *announce.Loader
	e         *Engine
	book      *recurring.Book
	rules     []recurring.Rule // the recurrences that the configuration declares
	runs      *fakeRuns
	alarm     *fakeAlarm
	clock     *fakeClock
	m         *mortal
	dieAtOnce int           // the next daemon dies after so many calls; 0: it does not die
	loadAvg   atomic.Value  // the load average, a float64; none: 0
	onTurn    atomic.Value  // called before the transaction of a turn, a func(); none: nothing is
	producers func(*Engine) // registers more producers, with daemons that are started from then on
	after     func()        // see mortalStore; for daemons that are started from then on
	looks     time.Duration // how often the daemon looks at zones; 0: the default
	paused    func(bool)    // see Parts.Paused; for daemons that are started from then on
	observer  Observer      // see Parts.Observer; likewise
	told      told          // what the events of all daemons say
	older     bool          // some records were written by a daemon without a log of events
	stop      func()
	err       error // Run's
}

var (
	storeKind = flag.String("store", "", "the store of the tests: plain, or strict, which has conflicts and limits; none: strict for one test in four")
	storeSeed = flag.Uint64("storeseed", 0, "of the choice and of the strict store's conflicts; 0: by chance")
)

// newMemStore returns an empty store.
func newMemStore(t testing.TB) *memstore.Store {
	seed := *storeSeed
	if seed == 0 {
		seed = rand.Uint64N(1e6) + 1
	}
	if *storeKind == "plain" || *storeKind == "" && seed%4 > 0 {
		return memstore.New()
	}
	t.Logf("on a strict store; again with -storeseed=%d -store=strict", seed)
	return memstore.Strict(seed)
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
		MaxParallel: 100, MissedGrace: hour, MaxRemoval: 0.5, HistoryAge: 1000 * hour, BatchInterval: minute,
		Jobs: j, Reservations: d, Socket: "/sock",
	}
}

// newRig makes a rig and starts its daemon. Set changes the settings.
func newRig(t testing.TB, set func(*Settings)) *testRig {
	rig := &testRig{t: t, mem: newMemStore(t), w: newWorld(), boot: "boot1", set: testSettings()}
	rig.db = rig.mem
	if set != nil {
		set(&rig.set)
	}
	rig.start()
	t.Cleanup(rig.shutDown)
	return rig
}

// prepare makes a daemon but does not start it.
func (rig *testRig) prepare() {
	rig.m = &mortal{left: -1}
	if rig.dieAtOnce > 0 {
		rig.m.left, rig.dieAtOnce = rig.dieAtOnce, 0
	}
	if rig.clock == nil {
		rig.clock = &fakeClock{started: time.Now(), synced: true}
	}
	rig.runs, rig.alarm = newFakeRuns(rig.w, rig.m), newFakeAlarm(rig.clock)
	var db store.Store = mortalStore{rig.db, rig.m, rig.after}
	if shared, ok := rig.db.(*memstore.Session); ok { // with sessions and watches
		db = shared
	}
	rig.e = New(Parts{
		DB: db, Runs: rig.runs, Alarm: rig.alarm, Clock: rig.clock, Host: cmp.Or(rig.host, "lab1"), Boot: rig.boot, Nodes: fakeNodes, Zone: cmp.Or(rig.zone, time.UTC), Log: slog.New(outside{}), Paused: rig.paused, Observer: rig.observer,
		LoadAverage: func() (float64, error) {
			outsideOnly("the load average is read")
			if fn, _ := rig.onTurn.Load().(func()); fn != nil {
				fn()
			}
			load, _ := rig.loadAvg.Load().(float64)
			return load, nil
		},
	}, rig.set)
	rig.book = recurring.New(rig.e)
	rig.book.LookEvery = rig.looks
	if rig.producers != nil {
		rig.producers(rig.e)
	}
	conf := rig.configure()
	conf.Settings = rig.set
	rig.loader = announce.NewLoader(rig.e, conf, fakeNodes, slog.New(outside{}))
}

// configure sets the daemon's configuration, without settings, for the next load.
func (rig *testRig) configure() announce.Configuration {
	conf := announce.Configuration{Sources: slices.Clone(rig.srcs), Declare: declares(rig.book, rig.rules)}
	rig.conf.Store(&conf)
	return conf
}

// declares returns the Declare function of a configuration with some recurrences.
func declares(book *recurring.Book, rules []recurring.Rule) func(context.Context, bool) ([]func(*Txn) (Report, error), error) {
	return func(ctx context.Context, _ bool) ([]func(*Txn) (Report, error), error) {
		return book.Declare(ctx, rules)
	}
}

// declare sets the recurrences that the next load declares.
func (rig *testRig) declare(rules ...recurring.Rule) {
	rig.rules = rules
	rig.configure()
}

// start starts a daemon.
func (rig *testRig) start() {
	rig.prepare()
	rig.err = nil
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	var wg sync.WaitGroup
	e, loader, book := rig.e, rig.loader, rig.book
	wg.Go(func() {
		rig.err = e.Run(ctx)
		cancel() // as a daemon ends when its engine does
	})
	wg.Go(func() {
		_ = loader.Run(ctx, func(context.Context) (announce.Configuration, error) {
			conf := *rig.conf.Load()
			conf.Settings = *e.Settings()
			return conf, nil
		})
	})
	wg.Go(func() { _ = book.Run(ctx) })
	go func() { wg.Wait(); close(done) }()
	rig.stop = func() { cancel(); <-done }
	synctest.Wait()
}

// shutDown stops the daemon; runs continue.
func (rig *testRig) shutDown() {
	if rig.stop == nil {
		return
	}
	rig.stop()
	close(rig.runs.closing)
	rig.runs.wg.Wait()
	rig.alarm.Set(time.Time{})
	rig.stop = nil
}

// restart ends the daemon and starts another.
func (rig *testRig) restart() {
	rig.shutDown()
	rig.start()
}

// sleep lets time pass, and waits for all that is due at its end.
func (rig *testRig) sleep(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// setClock sets the wall clock forward, or back, and waits for the consequences.
func (rig *testRig) setClock(by time.Duration) {
	rig.clock.mu.Lock()
	rig.clock.shift += by
	rig.clock.mu.Unlock()
	if rig.stop != nil {
		rig.alarm.stepped()
	}
	synctest.Wait()
}

// now is what the wall clock shows.
func (rig *testRig) now() time.Time { return rig.clock.Now() }

// script sets what the runs of an id's phase do. With several scripts, the n-th run does
// the n-th; the last one is for all later runs.
func (rig *testRig) script(id, phase string, scripts ...script) {
	rig.w.mu.Lock()
	defer rig.w.mu.Unlock()
	before := rig.w.scripts
	rig.w.scripts = func(k supervisor.Key) script {
		if k.ID != id || k.Phase != phase {
			return before(k)
		}
		return scripts[min(k.N, len(scripts))-1]
	}
}

// add adds a job and returns its id.
func (rig *testRig) add(j NewJob) string {
	rig.t.Helper()
	if j.Argv == nil {
		j.Argv = []string{"true"}
	}
	if j.Owner == "" {
		j.Owner = "ada"
	}
	added, err := rig.e.Add(context.Background(), admin, []NewJob{j})
	if err != nil || added[0].Err != nil {
		rig.t.Fatalf("Add: %v, %v", err, added[0].Err)
	}
	synctest.Wait()
	return added[0].ID
}

// newest returns a number to follow events from.
func (rig *testRig) newest() uint64 { return newest(rig.t, rig.e) }

func newest(t testing.TB, e *Engine) uint64 {
	t.Helper()
	n, err := e.Newest(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return n
}

var admin = Actor{Name: "root"}

// do applies an operator's trigger and waits for the consequences.
func (rig *testRig) do(on Trigger, id string) {
	rig.t.Helper()
	if _, err := rig.e.Do(context.Background(), admin, id, on, ""); err != nil {
		rig.t.Fatalf("%s %s: %v", on, id, err)
	}
	synctest.Wait()
}

func (rig *testRig) get(id string) View {
	rig.t.Helper()
	v, err := rig.e.Get(context.Background(), id)
	if err != nil {
		rig.t.Fatalf("Get(%s): %v", id, err)
	}
	return v
}

// is checks the state, or the outcome, of an activation.
func (rig *testRig) is(id, want string) {
	rig.t.Helper()
	v := rig.get(id)
	got := string(v.State)
	if v.State == Finished {
		got = string(v.Outcome)
	}
	if got != want {
		rig.t.Errorf("%s: %s is %s (%s), want %s", time.Now().UTC().Format("15:04:05"), id, got, v.Reason, want)
	}
}

// because checks the reason of an activation.
func (rig *testRig) because(id, want string) {
	rig.t.Helper()
	if got := rig.get(id).Reason; got != want {
		rig.t.Errorf("%s: reason %q, want %q", id, got, want)
	}
}

// ran checks which scripts have begun, in order: "1.activate.1 ...".
func (rig *testRig) ran(want string) {
	rig.t.Helper()
	rig.w.mu.Lock()
	defer rig.w.mu.Unlock()
	if got := strings.Join(rig.w.names(), " "); got != want {
		rig.t.Errorf("began: %q, want %q", got, want)
	}
}

// ranInAnyOrder checks which scripts have begun, when several begin at once.
func (rig *testRig) ranInAnyOrder(want string) {
	rig.t.Helper()
	rig.w.mu.Lock()
	defer rig.w.mu.Unlock()
	names := rig.w.names()
	slices.Sort(names)
	if got := strings.Join(names, " "); got != want {
		rig.t.Errorf("began: %q, want %q", got, want)
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
func (rig *testRig) beganAt(id, phase string, n int) time.Time {
	rig.t.Helper()
	r := rig.w.run(supervisor.Key{ID: id, Phase: phase, N: n})
	if r == nil || r.started.IsZero() {
		rig.t.Fatalf("%s.%s.%d has not begun", id, phase, n)
	}
	return r.started
}

func itoa(n int) string { return strconv.Itoa(n) }
