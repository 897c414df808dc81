package activation

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"activationd/reservation"
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

// lives counts a call, and tells whether it has an effect.
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
	m         *mortal
	dieAtOnce int    // the next daemon dies after so many calls; 0: it does not
	after     func() // see mortalStore; for daemons that are started from then on
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
	l.runs, l.alarm = newFakeRuns(l.w, l.m), newFakeAlarm()
	l.e = New(Parts{
		DB: mortalStore{l.db, l.m, l.after}, Runs: l.runs, Alarm: l.alarm, Boot: l.boot, Nodes: fakeNodes, Log: slog.New(slog.DiscardHandler),
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
	names := make([]string, 0, len(l.w.order))
	for _, k := range l.w.order {
		names = append(names, k.String())
	}
	if got := strings.Join(names, " "); got != want {
		l.t.Errorf("began: %q, want %q", got, want)
	}
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

// A fakeSource is a source whose content the test sets.
type fakeSource struct {
	name string
	mu   sync.Mutex
	set  reservation.Set
	err  error
	gate chan struct{} // if not nil: Load waits for it
	read int
}

func (s *fakeSource) Name() string { return s.name }

func (s *fakeSource) Load(ctx context.Context) (reservation.Set, error) {
	s.mu.Lock()
	s.read++
	set, err, gate := s.set, s.err, s.gate
	s.mu.Unlock()
	set.Reservations = slices.Clone(set.Reservations)
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
		}
	}
	return set, err
}

func (s *fakeSource) LoadIfChanged(ctx context.Context, fingerprint string) (reservation.Set, bool, error) {
	set, err := s.Load(ctx)
	if err == nil && fingerprint != "" && set.Fingerprint == fingerprint {
		return reservation.Set{Fingerprint: fingerprint}, true, nil
	}
	return set, false, err
}

func (s *fakeSource) Watch(ctx context.Context, changed func()) error {
	<-ctx.Done()
	return nil
}

// says sets the source's content.
func (s *fakeSource) says(rs ...reservation.Reservation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.set.Reservations = rs
	h := ""
	for _, r := range rs {
		h += fmt.Sprintf("%x", r.Hash())
	}
	s.set.Fingerprint = cmp.Or(h, "empty")
}

// fakeNodes reads a topology of our own: the nodes' names, with blanks between.
func fakeNodes(text string) ([]string, error) { return strings.Fields(text), nil }

// source adds a source to the lab.
func (l *lab) source(name string) *fakeSource {
	s := &fakeSource{name: name}
	s.says()
	l.srcs = append(l.srcs, Source{Source: s, Missed: MissedRun})
	l.e.SetSources(l.srcs)
	synctest.Wait()
	return s
}

// load loads, and returns the counts.
func (l *lab) load(o LoadOptions) Report {
	l.t.Helper()
	rep, err := l.e.Load(context.Background(), o)
	if err != nil {
		l.t.Fatalf("Load: %v", err)
	}
	synctest.Wait()
	return rep
}

// loads checks the counts of a load.
func (l *lab) loads(added, changed, removed, rejected int) Report {
	l.t.Helper()
	rep := l.load(LoadOptions{})
	if rep.Added != added || rep.Changed != changed || rep.Removed != removed || rep.Rejected != rejected {
		l.t.Errorf("load: %s, want added=%d changed=%d removed=%d rejected=%d (%v)", rep.Summary(), added, changed, removed, rejected, rep.Lines)
	}
	return rep
}

// slot makes a reservation, from and to so far from now.
func slot(id string, from, to time.Duration, devices ...string) reservation.Reservation {
	now := time.Now()
	return reservation.Reservation{ID: id, Owner: "group7", Start: now.Add(from), End: now.Add(to), Devices: devices, Where: id + ".yml:1"}
}

func itoa(n int) string { return strconv.Itoa(n) }

// sound checks what must hold at any time, whatever happened.
func (l *lab) sound() {
	l.t.Helper()
	for _, f := range l.unsound() {
		l.t.Error(f)
	}
}

// unsound lists what is not as it must be.
func (l *lab) unsound() (faults []string) {
	l.w.mu.Lock()
	faults = append(faults, l.w.faults...)
	l.w.mu.Unlock()
	_ = l.db.View(context.Background(), func(tx store.Tx) error {
		faults = append(faults, checkStore(tx)...)
		if l.stop != nil && !l.m.isDead() && (l.mem == nil || !l.mem.full.Load()) {
			faults = append(faults, l.checkRest(tx)...)
		}
		return nil
	})
	return faults
}

// checkStore checks what must hold of the records and their indexes at any
// time, also when no daemon runs.
func checkStore(tx store.Tx) (faults []string) {
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	want := make(map[string]string)
	states := make(map[State]uint64)
	holders := make(map[string]string)
	for k, data := range tx.Scan(recordKey, "") {
		r, err := decode(k, data)
		if err != nil {
			fault("%v", err)
			continue
		}
		states[r.State]++
		for _, en := range r.index() {
			want[en.key] = string(en.val)
		}
		for _, lock := range r.Held {
			if other := holders[lock]; other != "" {
				fault("%s is held by %s and %s", lock, other, r.ID)
			}
			holders[lock] = r.ID
		}
		busy := slices.Contains([]State{Activating, Active, Deactivating, Stuck}, r.State)
		if len(r.Held) > 0 && !busy && !r.Dirty {
			fault("%s is %s and holds %v", r.ID, r.State, r.Held)
		}
		if (r.State == Finished) != (r.Outcome != "") {
			fault("%s is %s with outcome %q", r.ID, r.State, r.Outcome)
		}
		if r.open() != nil && r.State != Activating && r.State != Deactivating {
			fault("%s is %s with an open attempt", r.ID, r.State)
		}
		if r.open() == nil && r.State == Activating {
			fault("%s is activating without an attempt", r.ID)
		}
		if r.Line > 0 && r.State != Waiting {
			fault("%s is in line and %s", r.ID, r.State)
		}
	}
	for _, prefix := range []string{startKey, instantKey, runKey, activeKey, holderKey, queueKey, sourceKey} {
		for k, v := range tx.Scan(prefix, "") {
			if val, ok := want[k]; !ok || val != string(v) {
				fault("index: %s=%q is of no record", k, v)
			}
			delete(want, k)
		}
	}
	for _, k := range slices.Sorted(maps.Keys(want)) {
		fault("index: %s is missing", k)
	}
	for _, s := range States {
		if n := number(tx, stateNumber+string(s)); n != states[s] {
			fault("%d are %s, counted %d", states[s], s, n)
		}
	}
	return faults
}

// checkRest checks that a daemon which is at rest has nothing to do.
func (l *lab) checkRest(tx store.Tx) (faults []string) {
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	t := l.e.begin(tx)
	open := make(map[supervisor.Key]bool)
	running := 0
	var next time.Time
	for k, data := range tx.Scan(recordKey, "") {
		r, err := decode(k, data)
		if err != nil {
			continue
		}
		if a := r.open(); a != nil {
			open[supervisor.Key{ID: r.ID, Phase: a.Phase, N: a.N}] = true
			if a.Phase == Activate {
				running++
			}
		}
		at, armable := r.due()
		if armable {
			at = at.Add(-t.set.ArmAhead)
		}
		next = earliest(next, at)
	}
	if at := l.alarm.wanted(); !at.Equal(next) && !(at.IsZero() && next.IsZero()) {
		fault("the alarm is set for %v, the next instant is %v", at, next)
	}
	if int(l.e.running.Load()) != running || l.e.open != len(open) {
		fault("%d attempts are open, %d of activate; the engine counts %d, %d", len(open), running, l.e.open, l.e.running.Load())
	}
	free := t.set.MaxParallel - running
	for k, data := range tx.Scan(recordKey, "") {
		r, err := decode(k, data)
		if err != nil {
			continue
		}
		ev := r.decide(t.set.look(r, t.now))
		waits := r.Line > 0 && (t.blocker(r) != "" || free <= 0 || l.e.Draining())
		if ev != noEvent && (ev != Grant || !waits) {
			fault("%s is %s at rest, but %s is due; %q", r.ID, r.State, ev, r.Reason)
		}
	}
	for _, k := range l.w.live() {
		if !open[k] {
			fault("%v runs, and no record knows", k)
		}
	}
	for k := range open {
		if r := l.w.run(k); r == nil || r.over() {
			fault("%v is open, but does not run", k)
		}
	}
	return faults
}
