package broker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"activationd/internal/fault"
	"activationd/queue"
	"activationd/store"
	"activationd/store/memstore"
	"activationd/supervisor"
	"activationd/supervisor/wrapper"
)

// A rig is a broker, in a bubble, with a world that outlives it.
type rig struct {
	t    testing.TB
	w    *world
	mem  *memstore.Store
	set  Settings
	dir  string
	log  bytes.Buffer
	step atomic.Int64 // of the wall clock

	b     *Broker
	m     *mortal
	runs  *fakeRuns
	alarm *fakeAlarm
	ctx   context.Context // ends with the daemon
	stop  func()
	err   error // of Run
	prep  func(*failures)
}

// inBubble runs fn in a bubble with a rig, and ends its processes.
func inBubble(t *testing.T, fn func(t *testing.T, r *rig), listeners ...Listener) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, dir, memstore.New(), listeners...)
		defer r.end()
		r.start()
		fn(t, r)
	})
}

func newRig(t testing.TB, dir string, mem *memstore.Store, listeners ...Listener) *rig {
	return &rig{t: t, w: newWorld(dir), mem: mem, set: Settings{Listeners: listeners}, dir: dir}
}

// fake returns a listener whose processes are those of a world.
func fake(name string, change ...func(*Listener)) Listener {
	l := Listener{
		Name: name, Queues: []string{name}, Instances: 1, Window: 1, Grace: time.Second, Version: "1",
		Policy:  queue.Policy{Attempts: 3},
		Prepare: func() (wrapper.Spec, error) { return wrapper.Spec{Argv: []string{name}, UID: -1, GID: -1}, nil },
	}
	for _, c := range change {
		c(&l)
	}
	return l
}

func streams(l *Listener) { l.Stream = true }

func instances(n int) func(*Listener) { return func(l *Listener) { l.Instances = n } }

func (r *rig) now() time.Time { return time.Now().Round(0).Add(time.Duration(r.step.Load())) }

// setClock sets the wall clock forward, or back.
func (r *rig) setClock(by time.Duration) {
	r.step.Add(int64(by))
	r.alarm.stepped()
	synctest.Wait()
}

// start starts a daemon's broker.
func (r *rig) start() {
	r.m = newMortal(filepath.Join(r.dir, "journal"))
	r.runs = newFakeRuns(r.w, r.m)
	if r.prep != nil {
		r.prep(&r.runs.failures)
	}
	r.alarm = newFakeAlarm(r.now)
	r.err = nil
	log := slog.New(slog.NewTextHandler(&r.log, nil))
	r.b = New(Parts{DB: mortalStore{r.mem, r.m}, Runs: r.runs, Alarm: r.alarm, Now: r.now, Log: log, Journal: filepath.Join(r.dir, "journal")}, r.set)
	ctx, cancel := context.WithCancel(context.Background())
	r.ctx = ctx
	go func() {
		select {
		case <-r.m.dead:
			cancel()
		case <-ctx.Done():
		}
	}()
	done := make(chan struct{})
	b, m, runs, alarm := r.b, r.m, r.runs, r.alarm
	go func() {
		defer close(done)
		err := b.Run(ctx)
		if ctx.Err() == nil && !m.isDead() {
			r.err = err
			r.w.mu.Lock()
			r.w.fault("the broker ends: %v", err)
			r.w.mu.Unlock()
		}
		cancel()
	}()
	r.stop = func() {
		cancel()
		<-done
		alarm.stop()
		runs.close()
		r.stop = nil
	}
	synctest.Wait()
}

// die ends the daemon without a cleanup.
func (r *rig) die() {
	if r.stop == nil {
		return
	}
	r.m.dieAfter(0)
	r.m.lives()
	synctest.Wait()
	r.stop()
	if err := r.m.undo(); err != nil {
		r.t.Error(err)
	}
	synctest.Wait()
}

func (r *rig) restart() {
	r.die()
	r.start()
}

// end ends everything.
func (r *rig) end() {
	r.die()
	for _, k := range r.w.live() {
		r.w.kill(k)
	}
	synctest.Wait()
}

// inRun calls fn while the broker does nothing, unless it has ended, or cannot begin or write.
func (r *rig) inRun(fn func()) {
	_ = r.b.ask(context.Background(), func(context.Context) error {
		fn()
		return nil
	})
	synctest.Wait()
}

// check fails the test if something is wrong.
func (r *rig) check() {
	r.t.Helper()
	if faults := r.faults(); len(faults) > 0 {
		r.t.Fatalf("%s\n%s", strings.Join(faults, "\n"), &r.log)
	}
}

func (r *rig) faults() []string {
	synctest.Wait()
	r.w.mu.Lock()
	faults := slices.Clone(r.w.faults)
	r.w.mu.Unlock()
	err := r.mem.View(context.Background(), func(tx store.Tx) error {
		if err := queue.Verify(tx); err != nil {
			faults = append(faults, err.Error())
		}
		return nil
	})
	if err != nil {
		faults = append(faults, err.Error())
	}
	if !r.mem.Full() {
		r.inRun(func() { faults = append(faults, r.b.check(r.mem, r.now())...) })
	}
	return faults
}

// check says what is wrong with what a broker has in memory, when it has nothing to do.
func (b *Broker) check(db store.Store, now time.Time) (faults []string) {
	bad := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	inWork, running, busy := make(map[*line]int), make(map[*pool]int), make(map[*process]int)
	for id, w := range b.work {
		inWork[w.line]++
		if w.id != id {
			bad("message %d is in work as %d", w.id, id)
		}
		if w.over {
			bad("what became of message %d is not recorded", id)
		}
		if w.ran && !w.released {
			running[w.pool]++
		}
		if s := w.process; s != nil {
			if s.works[id] != w || b.processes[s.key] != s {
				bad("message %d is in work by a process that does not have it", id)
			}
			if !w.released {
				busy[s]++
			}
		}
		if b.lines[w.line.N] != w.line {
			bad("message %d is in work, and its queue is gone", id)
		}
	}
	if len(b.pending) > 0 || len(b.acknowledge) > 0 {
		bad("%d outcomes and %d outputs are pending", len(b.pending), len(b.acknowledge))
	}
	for k, w := range b.runs {
		if b.work[w.id] != w || w.run != k {
			bad("the run %v works on nothing", k)
		}
	}
	for n, ln := range b.lines {
		if ln.N != n || ln.inWork != inWork[ln] {
			bad("queue %s has %d in work, and should have %d", ln.Name, ln.inWork, inWork[ln])
		}
		if p := ln.pool; p != nil && (!slices.Contains(p.lines, ln) || b.pools[p.key] != p) {
			bad("queue %s is not among those of its pool", ln.Name)
		}
	}
	for key, p := range b.pools {
		if p.key != key || p.running != running[p] {
			bad("pool %s has %d running, and should have %d", key, p.running, running[p])
		}
		if len(p.lines) == 0 && p.running == 0 && len(p.processes) == 0 {
			bad("pool %s has nothing, and is there", key)
		}
		for _, s := range p.processes {
			if b.processes[s.key] != s || s.busy != busy[s] {
				bad("process %v has %d in work, and should have %d", s.key, s.busy, busy[s])
			}
			if !b.failing && s.busy > p.l.Window && s.retired == "" && p.l.Window > 0 { // 0: it is to end
				bad("process %v has %d in work at once, of %d", s.key, s.busy, p.l.Window)
			}
		}
	}
	for k, s := range b.processes {
		if !slices.Contains(s.pool.processes, s) {
			bad("process %v is in no pool", k)
		}
	}
	_ = db.View(context.Background(), func(tx store.Tx) error {
		for _, ln := range b.lines {
			if q, err := queue.ByNumber(tx, ln.N); err != nil {
				bad("queue %s: %v", ln.Name, err)
			} else if fmt.Sprintf("%+v %+v", q.Paused, q.Deleting) != fmt.Sprintf("%+v %+v", ln.Paused, ln.Deleting) {
				bad("queue %s is %+v %+v and not %+v %+v", ln.Name, ln.Paused, ln.Deleting, q.Paused, q.Deleting)
			}
			faults = append(faults, b.checkReady(tx, ln, now)...)
		}
		for q, err := range queue.All(tx) {
			if err != nil || b.lines[q.N] == nil {
				bad("queue %s is not known: %v", q.Name, err)
			}
		}
		return nil
	})
	return faults
}

// checkReady says which messages of a line are forgotten, or should be in work.
func (b *Broker) checkReady(tx store.Tx, ln *line, now time.Time) (faults []string) {
	bad := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	for p := range ln.windows {
		win := &ln.windows[p]
		if !slices.IsSortedFunc(win.heads, bySeq) {
			bad("queue %s: the heads of priority %d are not in order", ln.Name, p)
		}
		for _, h := range queue.Heads(tx, ln.N, p, 0, 1<<20) {
			known := slices.ContainsFunc(win.heads, func(k queue.Head) bool { return k.Seq == h.Seq })
			if !b.inWork(h.Seq) && !known && !(h.Seq > win.after && win.more) {
				bad("queue %s: message %d of priority %d is forgotten", ln.Name, h.Seq, p)
			}
			if known && b.inWork(h.Seq) {
				bad("queue %s: message %d is in work, and to be handed out", ln.Name, h.Seq)
			}
			if !b.failing && !b.inWork(h.Seq) && b.open(ln) && ln.pool != nil && ln.pool.free(b.tick()) > 0 && !ln.Ordered {
				bad("queue %s: message %d of priority %d could be handed out", ln.Name, h.Seq, p)
			}
		}
	}
	return faults
}

func (r *rig) create(name string, change ...func(*queue.Queue)) *queue.Queue {
	r.t.Helper()
	q := queue.Queue{Name: name}
	for _, c := range change {
		c(&q)
	}
	got, _, err := r.b.Create(r.ctx, q, ann)
	if err != nil {
		r.t.Fatal(err)
	}
	synctest.Wait()
	return got
}

func ordered(q *queue.Queue) { q.Ordered = true }

// push pushes a message, whose result is kept.
func (r *rig) push(name, body string, change ...func(*queue.New)) uint64 {
	r.t.Helper()
	id := r.pushNoWait(name, body, change...)
	synctest.Wait()
	return id
}

func (r *rig) pushNoWait(name, body string, change ...func(*queue.New)) uint64 {
	r.t.Helper()
	m := NewMessage{Queue: name, New: queue.New{Body: []byte(body), Keep: 1000 * time.Hour}}
	for _, c := range change {
		c(&m.New)
	}
	p := r.b.Push(r.ctx, []NewMessage{m})[0]
	if p.Err != nil {
		r.t.Fatal(p.Err)
	}
	return p.ID
}

func priority(n int) func(*queue.New) { return func(m *queue.New) { m.Priority = n } }

// fate says where a message is, or what became of it.
func (r *rig) fate(name string, id uint64) string {
	r.t.Helper()
	synctest.Wait()
	fate := ""
	err := r.mem.View(context.Background(), func(tx store.Tx) error {
		q, err := queue.Get(tx, name)
		if err != nil {
			return err
		}
		m, err := queue.Load(tx, q.N, id)
		switch {
		case err == nil:
			fate = fmt.Sprintf("%s %d", m.Where, m.State.Attempts)
		case !errors.Is(err, fault.NotFound):
			return err
		default:
			fate = "gone"
			if res, ok := queue.ResultOf(tx, q.N, id); ok {
				fate = fmt.Sprintf("%s %d", res.Outcome, res.Attempt)
			}
		}
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	r.inRun(func() {
		if w := r.b.work[id]; w != nil {
			fate = fmt.Sprintf("in work %d", w.attempt)
		}
	})
	return fate
}

// is fails the test unless a message has a fate.
func (r *rig) is(name string, id uint64, want string) {
	r.t.Helper()
	if got := r.fate(name, id); got != want {
		r.t.Errorf("message %d is %q, want %q\n%s", id, got, want, &r.log)
	}
}

func (r *rig) status(name string) Status {
	r.t.Helper()
	list, err := r.b.Queues(r.ctx, name)
	if err != nil || len(list) != 1 {
		r.t.Fatalf("status of %s: %v, %v", name, list, err)
	}
	return list[0]
}

func equal(a, b []uint64) bool { return slices.Equal(a, b) }

// acts sets what processes do from now on.
func (r *rig) acts(fn func(supervisor.Key, *wrapper.Spec) act) {
	r.w.mu.Lock()
	defer r.w.mu.Unlock()
	r.w.act = fn
}

// replies sets what stream listeners do with messages from now on.
func (r *rig) replies(fn func(delivery) reply) {
	r.w.mu.Lock()
	defer r.w.mu.Unlock()
	r.w.reply = fn
}

// fails sets what fails from now on; see fakeRuns.
func (r *rig) fails(fn func(*failures)) {
	r.runs.mu.Lock()
	defer r.runs.mu.Unlock()
	fn(&r.runs.failures)
}

// message returns a message that is there.
func (r *rig) message(name string, id uint64) *queue.Message {
	r.t.Helper()
	var m *queue.Message
	err := r.mem.View(context.Background(), func(tx store.Tx) error {
		q, err := queue.Get(tx, name)
		if err == nil {
			m, err = queue.Load(tx, q.N, id)
		}
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return m
}

func (r *rig) configure(listeners ...Listener) {
	r.set = Settings{Listeners: listeners}
	r.b.Configure(r.set)
	synctest.Wait()
}
