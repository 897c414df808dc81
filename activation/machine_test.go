package activation_test

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	. "activationd/activation"
	"activationd/internal/fault"
	"activationd/store"
	"activationd/supervisor"
	"activationd/supervisor/wrapper"
	"activationd/test/harness"
)

// inBubble runs fn in a bubble and passes on its panic; that is how rapid ends a run that
// has failed.
func inBubble(t *testing.T, fn func(t *testing.T)) {
	t.Helper()
	var failure any
	synctest.Test(t, func(t *testing.T) {
		defer func() { failure = recover() }()
		fn(t)
	})
	if fmt.Sprintf("%T", failure) == "rapid.invalidData" { // a separate line: rapid distinguishes failures by the line
		panic(failure)
	}
	if failure != nil {
		panic(failure)
	}
}

// TestRandomHistories does everything that an engine can do, in random order, with
// daemons that die at any moment. After each step it checks the invariants. At the end
// every activation must finish.
//
// When it fails it prints a seed. Use -rapid.checks and -rapid.steps to try more.
func TestRandomHistories(t *testing.T) {
	for range harness.Size(1, 4) { // the race detector makes it thirty times slower
		rapid.Check(t, func(rt *rapid.T) { history(t, rt) })
	}
}

func history(t *testing.T, rt *rapid.T) {
	inBubble(t, func(t *testing.T) {
		m := newMachine(t, rt)
		defer m.l.shutDown()
		rt.Repeat(map[string]func(*rapid.T){
			"":          m.check,
			"add":       m.add,
			"verb":      m.verb,
			"verb2":     m.verb,
			"edit":      m.edit,
			"load":      m.load,
			"link":      m.link,
			"lease":     m.lease,
			"lease2":    m.lease,
			"recur":     m.recur,
			"recur2":    m.recur,
			"serve":     m.serve,
			"serve2":    m.serve,
			"sleep":     m.sleep,
			"sleep2":    m.sleep,
			"die":       m.die,
			"restart":   m.restart,
			"kill":      m.kill,
			"power":     m.power,
			"full":      m.full,
			"configure": m.configure,
			"drain":     m.drain,
			"busy":      m.busy,
			"pause":     m.pause,
			"resume":    m.resume,
		})
		m.finish(rt)
	})
}

// A machine does random things to a rig.
type machine struct {
	l       *testRig
	scripts []script
	calm    bool // all scripts end from now on
	sources []*fakeSource
	rt      *rapid.T

	promises []promise
	ledger   *Ledger
	occurred map[string]string // the activation of each occurrence
	down     map[string]bool   // instances of services that somebody has stopped
	turns    int               // of rolling restarts
}

var (
	testLocks = []string{"a", "b", "c"}
	testIDs   = []string{"r1", "r2", "r3", "r4"}
)

// subset draws some of all.
func subset(t *rapid.T, all []string, label string) (some []string) {
	mask := rapid.IntRange(0, 1<<len(all)-1).Draw(t, label)
	for i, s := range all {
		if mask&(1<<i) != 0 {
			some = append(some, s)
		}
	}
	return some
}

func newMachine(t *testing.T, rt *rapid.T) *machine {
	m := &machine{rt: rt, occurred: make(map[string]string), down: make(map[string]bool)}
	draw := rapid.Custom(func(t *rapid.T) script {
		s := script{
			lasts:   rapid.SampledFrom([]time.Duration{0, time.Second, 20 * time.Second, 10 * minute}).Draw(t, "lasts"),
			exit:    rapid.SampledFrom([]int{0, 0, 0, 1}).Draw(t, "exit"),
			hangs:   rapid.SampledFrom([]bool{false, false, false, true}).Draw(t, "hangs"),
			ignores: rapid.SampledFrom([]bool{false, false, true}).Draw(t, "ignores"),
			late:    rapid.Bool().Draw(t, "late"),
			remains: rapid.SampledFrom([]time.Duration{0, 0, 0, time.Second, 2 * hour}).Draw(t, "remains"),
			onStop:  rapid.SampledFrom([]time.Duration{0, time.Second}).Draw(t, "onStop"),
			birth:   rapid.SampledFrom([]time.Duration{0, 0, time.Second, 5 * minute}).Draw(t, "birth"),
		}
		switch rapid.IntRange(0, 12).Draw(t, "fate") {
		case 0:
			s.noStart = errors.New("no more processes")
		case 1:
			s.reason = wrapper.Lost
		case 2:
			s.reason = wrapper.Failed
		case 3:
			s.noStart = fmt.Errorf("such a command cannot be: %w", fault.Invalid)
		}
		return s
	})
	m.scripts = rapid.SliceOfN(draw, 1, 6).Draw(rt, "scripts")
	m.l = &testRig{t: t, mem: newMemStore(t), w: newWorld(), boot: "boot0", set: testSettings()}
	m.l.set.StopLimit = rapid.SampledFrom([]time.Duration{0, minute, hour}).Draw(rt, "stop limit")
	m.l.looks = 30 * 24 * hour // these zones do not change, and a history lasts for months
	m.l.db, m.ledger = m.l.mem, NewLedger(m.l.mem)
	// If not, the clock is in doubt after a boot that comes long after a death.
	m.l.clock = &fakeClock{started: time.Now(), synced: rapid.Bool().Draw(rt, "synchronised")}
	withPool(&m.l.set)
	m.l.set.Jobs.Timeout = hour
	m.l.set.Jobs.BackoffMax, m.l.set.Reservations.BackoffMax = hour, hour
	m.l.set.HistoryAge = rapid.SampledFrom([]time.Duration{0, minute, 100 * hour}).Draw(rt, "keep")
	m.l.set.EventsCount = 10_000 // some make a hundred thousand
	m.l.set.MaxParallel = rapid.IntRange(1, 3).Draw(rt, "parallel")
	m.l.set.ArmAhead = rapid.SampledFrom([]time.Duration{0, 50 * time.Millisecond}).Draw(rt, "arm")
	m.l.set.Jobs.WaitLimit = rapid.SampledFrom([]time.Duration{0, 5 * minute}).Draw(rt, "limit")
	m.l.set.Reservations.WaitLimit = m.l.set.Jobs.WaitLimit
	m.l.set.BatchLoad = 1.5
	m.l.set.Sources = map[string]Defaults{SourceKey("one"): m.l.set.Reservations, SourceKey("two/2"): m.l.set.Reservations}
	m.l.w.scripts = func(k supervisor.Key) script {
		h := fnv.New32()
		_, _ = h.Write([]byte(k.String()))
		s := m.scripts[int(h.Sum32()%uint32(len(m.scripts)))]
		if k.Phase != Serve {
			s.birth = 0
		}
		if m.calm {
			s.hangs, s.remains, s.noStart = false, 0, nil
		}
		return s
	}
	m.l.w.starts = m.mayStart
	m.l.start()
	for _, name := range []string{"one", "two/2"} {
		m.sources = append(m.sources, m.l.source(name))
	}
	return m
}

// mayStart checks that an attempt is started only within its slot, and only after its
// claim is durable.
func (m *machine) mayStart(k supervisor.Key) error {
	if k.Phase == Serve {
		m.mayServe(k)
	}
	_ = m.l.mem.View(context.Background(), func(tx store.Tx) error {
		t := &Txn{Tx: tx, Moment: Moment{Now: time.Now()}}
		r, err := t.Record(k.ID)
		if err != nil {
			m.l.w.fault("%v starts: %v", k, err)
			return nil
		}
		a := r.OpenAttempt()
		if a == nil || a.Phase != k.Phase || a.N != k.N {
			m.l.w.fault("%v starts, and is not the open attempt", k)
		}
		if p := t.PauseOf(r); p != nil && k.Phase == Activate {
			m.l.w.fault("%v starts in spite of %v", k, p)
		}
		if what := r.Conflict(); what != "" && k.Phase == Activate {
			m.l.w.fault("%v starts before %s", k, what)
		}
		running := 0
		for k := range tx.Scan(RunKey, "") {
			_, id, _ := strings.Cut(strings.TrimPrefix(k, RunKey), "/")
			if other, err := t.Record(id); err == nil && other.Kind != Service && other.State == Activating && !other.Hangs() {
				running++
			}
		}
		if most := m.l.e.Settings().MaxParallel; k.Phase == Activate && running > most {
			m.l.w.fault("%v starts, with which %d run at once; at most %d may", k, running, most)
		}
		if k.Phase == Activate && r.SlotEnded(Moment{Now: time.Now()}) {
			m.l.w.fault("%v starts after its slot", k)
		}
		for _, w := range r.LocksNeeded() {
			if k.Phase == Activate && !slices.Contains(r.LocksHeld, w) {
				m.l.w.fault("%v starts without %s", k, w)
			}
		}
		first := *r
		first.LastN = [2]int{}
		for _, a := range first.ComesAfter() {
			other, err := t.Record(a[0])
			if k.N > 1 || errors.Is(err, fault.NotFound) { // it may have been run again, or forgotten, since
				break
			}
			if err != nil || other.State != Finished || a[1] != "any" && (other.Outcome == Succeeded) != (a[1] == "success") {
				m.l.w.fault("%v starts, after %v: %+v, %v", k, a, other, err)
			}
		}
		if r.TooLate(Moment{Now: time.Now()}) {
			m.l.w.fault("%v starts after its deadline", k)
		}
		return nil
	})
	return nil
}

func (m *machine) check(rt *rapid.T) {
	synctest.Wait()
	rig := m.l
	if rig.err != nil && !rig.m.isDead() && !errors.Is(rig.err, context.Canceled) {
		rt.Fatalf("the engine has failed: %v", rig.err)
	}
	if faults := slices.Concat(rig.unsound(), m.broken(), m.recurred(), m.served(), m.listened(), m.ledger.Faults()); len(faults) > 0 {
		rt.Fatalf("%s\n%s", strings.Join(faults, "\n"), m.dump())
	}
}

func (m *machine) dump() string {
	var b strings.Builder
	fmt.Fprintf(&b, "now %v\n", time.Now().UTC())
	for _, k := range m.l.mem.Keys(RecordKey) {
		fmt.Fprintf(&b, "%s\n", m.l.mem.Value(k))
	}
	return b.String()
}

func (m *machine) ids() []string {
	ids := slices.Clone(testIDs)
	for _, k := range m.l.mem.Keys(RecordKey) {
		if id := strings.TrimLeft(strings.TrimPrefix(k, RecordKey), "0"); IsJob(id) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// mind fails if a verb returns an unexpected error.
func (m *machine) mind(rt *rapid.T, err error) {
	if err == nil || errors.Is(err, errDead) {
		return
	}
	if errors.Is(err, fault.Unavailable) && (m.l.mem.Full() || m.l.e.Draining()) {
		return
	}
	if errors.Is(err, fault.Conflict) || errors.Is(err, fault.NotFound) {
		return
	}
	rt.Fatalf("unexpected: %v", err)
}

// finish waits with scripts that end, and checks that everything finishes.
func (m *machine) finish(rt *rapid.T) {
	rig := m.l
	m.calm = true
	rig.loadAvg.Store(0.0)
	for _, k := range rig.w.live() {
		rig.w.kill(k)
	}
	rig.mem.SetFull(false)
	rig.restart()
	time.Sleep(2 * RetryPause)
	synctest.Wait()
	m.endRecurrences(rt)
	m.endServices(rt)
	m.resumeAll()
	for _, id := range m.ids() {
		if _, err := rig.e.Do(context.Background(), admin, id, Release, ""); err == nil {
			synctest.Wait()
		}
	}
	for range 5 { // a reservation that waits for a stuck one may then be stuck itself
		time.Sleep(48 * hour)
		m.check(rt)
		for _, id := range m.ids() {
			if v, err := rig.e.Get(context.Background(), id); err == nil && v.State == Stuck {
				rig.do(Forgive, id)
			}
		}
	}
	for _, id := range append(m.ids(), testInstances...) {
		if v, err := rig.e.Get(context.Background(), id); err == nil && v.State != Finished {
			rt.Fatalf("%s came to rest in state %s: %s\n%s", id, v.State, v.Reason, m.dump())
		}
	}
	time.Sleep(5000 * hour)
	m.check(rt)
	m.freeVLANs(rt)
	for _, k := range rig.mem.Keys("") {
		if !strings.HasPrefix(k, "n/") && !strings.HasPrefix(k, "v/") && k != "v-pruned" && !strings.HasPrefix(k, "vlan/used/") && !strings.HasPrefix(k, "f/") && !strings.HasPrefix(k, TopologyKey) && !strings.HasPrefix(k, UsageKey) {
			rt.Fatalf("%s is left forever", k)
		}
	}
}
