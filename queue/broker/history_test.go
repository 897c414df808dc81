//go:build !race

// The race detector of Go 1.26.8 ends itself in one of several runs of these histories, by
// "ThreadSanitizer: CHECK failed" in tsan_rtl.cpp. So they run without it; all other tests
// run with it.

package broker

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"activationd/internal/fault"
	"activationd/queue"
	"activationd/store"
	"activationd/store/memstore"
	"activationd/supervisor"
	"activationd/supervisor/wrapper"
	"activationd/test/harness"
)

// TestRandomHistories does everything that a broker can do, in random order, with daemons that
// die at any moment and listeners that do whatever a listener can do. After each step it checks
// the invariants. At the end, each message must have come to its end.
//
// When it fails it prints a seed. Use -rapid.checks and -rapid.steps to try more.
func TestRandomHistories(t *testing.T) {
	for range harness.Size(1, 4) {
		rapid.Check(t, func(rt *rapid.T) {
			var failure any
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				defer func() { failure = recover() }()
				m := newMachine(t, dir, rt)
				defer m.r.end()
				rt.Repeat(map[string]func(*rapid.T){
					"": m.check, "push": m.push, "push2": m.push, "push3": m.push, "create": m.create, "delete": m.delete, "pause": m.pause, "resume": m.resume, "pauseAll": m.pauseAll, "cancel": m.cancel,
					"purge": m.purge, "retry": m.retryDead, "purgeDead": m.purgeDead, "restart": m.restart, "configure": m.configure, "sleep": m.sleep, "sleep2": m.sleep,
					"die": m.die, "stop": m.stop, "kill": m.kill, "full": m.full, "await": m.await,
				})
				m.finish(rt)
			})
			if fmt.Sprintf("%T", failure) == "rapid.invalidData" { // a separate line: rapid distinguishes failures by the line
				panic(failure)
			}
			if failure != nil {
				panic(failure)
			}
		})
	}
}

// A machine does random things to a rig.
type machine struct {
	r        *rig
	seed     uint32
	calm     bool // all listeners do as they should from now on; guarded by the world's mu
	pushed   map[uint64]bool
	excused  map[uint64]bool // that may be gone
	last     map[uint64]uint64
	deleting map[uint64]bool // queues whose messages go with them
	awaiting int
	died     atomic.Bool
	woken    chan error
}

var historyNames = []string{"per", "io", "line", "t1", "t2"}

// historyListeners are the variants of the configuration.
func historyListeners(variant int) []Listener {
	short := func(l *Listener) {
		l.Policy.Backoff, l.Policy.BackoffMax, l.Timeout, l.MaxWait = 2*time.Second, time.Minute, 20*time.Second, time.Minute
	}
	all := []Listener{
		fake("per", instances(2), short),
		fake("io", short, streams, instances(2), func(l *Listener) {
			l.Window, l.Replace = 3, Replace{Messages: 5, Age: 5 * time.Minute}
		}),
		fake("line", short, func(l *Listener) { l.Limits = queue.Limits{Messages: 5, DropOldest: true} }),
		fake("t", short, streams, func(l *Listener) {
			l.Queues, l.Together, l.Weights, l.Window = []string{"t*"}, Weighted, map[string]int{"t1": 3}, 2
		}),
	}
	switch variant {
	case 1: // another version
		for i := range all {
			all[i].Version = "2"
		}
	case 2: // the kinds are exchanged
		for i := range all {
			all[i].Stream = !all[i].Stream
		}
	case 3: // two are gone
		return all[2:]
	}
	return all
}

func newMachine(t *testing.T, dir string, rt *rapid.T) *machine {
	m := &machine{
		seed: rapid.Uint32().Draw(rt, "seed"), pushed: make(map[uint64]bool), excused: make(map[uint64]bool), last: make(map[uint64]uint64), deleting: make(map[uint64]bool),
		woken: make(chan error, 10_000),
	}
	mem := memstore.New()
	if rapid.IntRange(0, 3).Draw(rt, "strict") == 0 {
		mem = memstore.Strict(uint64(m.seed))
	}
	m.r = newRig(t, dir, mem, historyListeners(0)...)
	m.r.w.act, m.r.w.reply = m.act, m.reply
	m.r.w.space = rapid.SampledFrom([]int{0, 4200, 8500}).Draw(rt, "space")
	m.r.start()
	return m
}

// pick draws a number by what it is for, always the same.
func (m *machine) draw(n uint32, what ...any) int {
	h := fnv.New32a()
	_, _ = fmt.Fprint(h, m.seed, what)
	return int((h.Sum32() >> 8) % n)
}

func (m *machine) isCalm() bool {
	m.r.w.mu.Lock()
	defer m.r.w.mu.Unlock()
	return m.calm
}

func (m *machine) act(k supervisor.Key, spec *wrapper.Spec) act {
	if m.isCalm() {
		return act{lasts: map[bool]time.Duration{false: time.Second}[spec.Stream]}
	}
	n := m.draw(100, k.String())
	a := act{birth: []time.Duration{0, 0, time.Second}[n%3]}
	switch {
	case n < 2:
		a.noStart = fmt.Errorf("no processes: %w", fault.Unavailable)
	case n < 4:
		a.reason = wrapper.Failed
	case n < 6:
		a.reason = wrapper.Void
	case n < 8:
		a.reason = wrapper.Lost
	}
	a.ignores = n%7 == 0
	if spec.Stream {
		switch n % 10 {
		case 0:
			a.lasts, a.status = 30*time.Second, 1
		case 1:
			a.noRoom = true
		case 2:
			a.deaf = true
		case 3:
			a.lasts, a.status = time.Second, 127
		}
		return a
	}
	_, id, _ := parseMessageKey(k)
	m.limit(delivery{ID: id, Attempt: k.N, Body: string(spec.Stdin)})
	a.lasts = []time.Duration{0, time.Second, 15 * time.Second, time.Hour}[n%4]
	a.status = []int{0, 0, 0, 0, 1, 65, 75, 127}[n%8]
	if n%11 == 0 {
		a.signal = 9
	}
	return a
}

func (m *machine) reply(d delivery) reply {
	m.limit(d)
	good := reply{after: time.Second, lines: []string{`{"id":%d,"ok":true,"attempt":%a}`}, good: true}
	if m.isCalm() {
		return good
	}
	after := []time.Duration{0, time.Second, 15 * time.Second, 25 * time.Second}[m.draw(4, "after", d.ID, d.Attempt)]
	gives := m.draw(2, "gives", d.ID) == 0
	switch m.draw(16, "reply", d.ID, d.Attempt) {
	case 0:
		return reply{after: after, gives: gives, charge: true, lines: []string{`{"id":%d,"error":"no","attempt":%a}`}}
	case 1:
		return reply{after: after, gives: gives, charge: true, lines: []string{`{"id":%d,"error":"no","again":"5s"}`}}
	case 2:
		return reply{after: after, charge: true, lines: []string{`{"id":%d,"again":"dead"}`}}
	case 3:
		return reply{after: after, lines: []string{`what is this?`}}
	case 4:
		return reply{after: time.Hour, gives: gives}
	case 5: // twice
		return reply{after: after, good: true, lines: []string{`{"id":%d,"ok":true,"attempt":%a}`, `{"id":%d,"error":"no","attempt":%a}`}}
	case 6: // of what it never had
		return reply{after: after, good: true, lines: []string{`{"id":%d,"ok":true}`, `{"id":999999,"ok":true}`}}
	case 7:
		return reply{after: after, crash: true}
	case 8:
		good.lines = append([]string{}, `{"id":%d,"ok":true,"attempt":%a,"result":"`+strings.Repeat("x", 1000)+`"}`)
	}
	good.after = after
	return good
}

// limit checks that a message has not more attempts than it may have.
func (m *machine) limit(d delivery) {
	body := d.Body
	if d.BodyFile != "" {
		data, err := os.ReadFile(d.BodyFile)
		if errors.Is(err, os.ErrNotExist) && m.died.Load() { // a dead daemon still removes files, unlike a real one
			return
		}
		if err != nil {
			m.r.w.mu.Lock()
			m.r.w.fault("the body of message %d: %v", d.ID, err)
			m.r.w.mu.Unlock()
		}
		body = string(data)
	}
	var most int
	if _, err := fmt.Sscanf(body, "at most %d", &most); err != nil || d.Attempt > most {
		m.r.w.mu.Lock()
		m.r.w.fault("attempt %d of message %d, which has %.40q", d.Attempt, d.ID, body)
		m.r.w.mu.Unlock()
	}
}

func (m *machine) name(rt *rapid.T) string { return rapid.SampledFrom(historyNames).Draw(rt, "name") }

// alive skips the step if no daemon runs, and starts one that has died.
func (m *machine) alive(rt *rapid.T) {
	if m.r.m.isDead() {
		m.r.die()
		m.r.start()
	}
	_ = rt
}

// call calls a verb, which a daemon may not survive.
func (m *machine) call(rt *rapid.T, fn func(ctx context.Context) error) {
	m.alive(rt)
	ctx := m.r.ctx
	done := async(func() error { return fn(ctx) })
	err := ended(done)
	switch {
	case err == nil, errors.Is(err, errGoesOn), errors.Is(err, errDead), m.r.m.isDead():
	case errors.Is(err, fault.Conflict), errors.Is(err, fault.NotFound), errors.Is(err, context.Canceled):
	case errors.Is(err, fault.Unavailable):
	default:
		rt.Fatalf("unexpected: %v", err)
	}
}

func (m *machine) create(rt *rapid.T) {
	name := m.name(rt)
	m.call(rt, func(ctx context.Context) error {
		_, _, err := m.r.b.Create(ctx, queue.Queue{Name: name, Ordered: name == "line"}, ann)
		return err
	})
}

func (m *machine) push(rt *rapid.T) {
	n := rapid.IntRange(1, 4).Draw(rt, "messages")
	var all []NewMessage
	for range n {
		limit := rapid.SampledFrom([]int{0, 0, 1, 5}).Draw(rt, "attempts")
		most := limit
		if most == 0 {
			most = 3
		}
		body := fmt.Sprintf("at most %d ", most)
		if rapid.IntRange(0, 9).Draw(rt, "large") == 0 {
			body += strings.Repeat("x", 5000)
		}
		nm := NewMessage{Queue: m.name(rt), New: queue.New{
			Body: []byte(body), Attempts: limit, Keep: 80_000 * time.Hour, Priority: rapid.SampledFrom([]int{0, 0, 0, 5, 9}).Draw(rt, "priority"),
			Timeout: rapid.SampledFrom([]time.Duration{0, 0, 10 * time.Second}).Draw(rt, "timeout"),
		}}
		if rapid.IntRange(0, 3).Draw(rt, "delayed") == 0 {
			nm.NotBefore = time.Now().Add(time.Duration(rapid.IntRange(-5, 60).Draw(rt, "delay")) * time.Second)
		}
		if rapid.IntRange(0, 3).Draw(rt, "keyed") == 0 {
			nm.Key = rapid.SampledFrom([]string{"k1", "k2"}).Draw(rt, "key")
			nm.OnDuplicate = rapid.SampledFrom([]string{queue.DuplicateRefuse, queue.DuplicateIgnore, queue.DuplicateReplace}).Draw(rt, "duplicate")
		}
		all = append(all, nm)
	}
	m.alive(rt)
	for _, p := range m.r.b.Push(m.r.ctx, all) {
		if errors.Is(p.Err, fault.Invalid) {
			rt.Fatal(p.Err)
		}
		if p.Err != nil || p.Duplicate {
			continue
		}
		m.pushed[p.ID] = true
		for _, id := range append(p.Dropped, p.Replaced) {
			m.excused[id] = true
		}
	}
	if m.r.m.isDead() { // some may have been removed for those whose push was not answered
		m.excuse(func(*queue.Queue) bool { return true }, true)
	}
}

// excuse notes that messages may be gone: all of some queues, or those that may be replaced.
func (m *machine) excuse(of func(*queue.Queue) bool, replaceable bool) {
	_ = m.r.mem.View(context.Background(), func(tx store.Tx) error {
		for q, err := range queue.All(tx) {
			if err != nil || !of(q) {
				continue
			}
			for msg, err := range queue.Peek(tx, q.N, queue.Look{}) {
				if err == nil && (!replaceable || msg.Key != "" || q.Name == "line") {
					m.excused[msg.ID] = true
				}
			}
		}
		return nil
	})
	if replaceable {
		for id := range m.pushed {
			if !m.there(id) {
				m.excused[id] = true
			}
		}
	}
}

func (m *machine) there(id uint64) bool {
	there := false
	_ = m.r.mem.View(context.Background(), func(tx store.Tx) error {
		there = false
		for q, err := range queue.All(tx) {
			if err == nil {
				_, err := queue.Load(tx, q.N, id)
				_, over := queue.ResultOf(tx, q.N, id)
				there = there || err == nil || over
			}
		}
		return nil
	})
	return there
}

func (m *machine) delete(rt *rapid.T) {
	if rapid.IntRange(0, 2).Draw(rt, "really") > 0 {
		return
	}
	name, d := m.name(rt), queue.Deleting{Now: rapid.Bool().Draw(rt, "now")}
	if rapid.Bool().Draw(rt, "move") {
		if d.MoveTo = m.name(rt); d.MoveTo == name {
			return
		}
	}
	discard := rapid.Bool().Draw(rt, "discard")
	if d.MoveTo == "" {
		m.excuse(func(q *queue.Queue) bool { return q.Name == name }, false)
	}
	if d.MoveTo != "" && d.Now { // attempts that are ended for that do not count
		m.each(name, func(id uint64) {
			m.r.w.mu.Lock()
			defer m.r.w.mu.Unlock()
			m.r.w.account(id).moved = true
		})
	}
	m.call(rt, func(ctx context.Context) error { return m.r.b.Delete(ctx, name, d, discard, ann) })
}

// each calls fn for each message of a queue.
func (m *machine) each(name string, fn func(id uint64)) {
	_ = m.r.mem.View(context.Background(), func(tx store.Tx) error {
		q, err := queue.Get(tx, name)
		if err != nil {
			return nil //nolint:nilerr // then there are none
		}
		for msg, err := range queue.Peek(tx, q.N, queue.Look{}) {
			if err == nil {
				fn(msg.ID)
			}
		}
		return nil
	})
}

func (m *machine) pause(rt *rapid.T) {
	name := m.name(rt)
	m.call(rt, func(ctx context.Context) error {
		p := &queue.Paused{Reason: "why not"}
		if d := rapid.SampledFrom([]time.Duration{0, time.Second, time.Hour}).Draw(rt, "until"); d > 0 {
			p.Until = m.r.now().Add(d)
		}
		return m.r.b.Pause(ctx, name, p, ann)
	})
}

func (m *machine) pauseAll(rt *rapid.T) { m.r.b.PauseAll(rapid.Bool().Draw(rt, "all")) }

func (m *machine) resume(rt *rapid.T) {
	name := m.name(rt)
	m.call(rt, func(ctx context.Context) error { return m.r.b.Pause(ctx, name, nil, ann) })
}

// some draws one of the messages that are there.
func (m *machine) some(rt *rapid.T) (name string, id uint64) {
	name = m.name(rt)
	var ids []uint64
	_ = m.r.mem.View(context.Background(), func(tx store.Tx) error {
		ids = nil
		q, err := queue.Get(tx, name)
		if err != nil {
			return nil //nolint:nilerr // then there are none
		}
		for msg, err := range queue.Peek(tx, q.N, queue.Look{}) {
			if err == nil {
				ids = append(ids, msg.ID)
			}
		}
		return nil
	})
	if len(ids) == 0 {
		return name, 1
	}
	return name, rapid.SampledFrom(ids).Draw(rt, "id")
}

func (m *machine) cancel(rt *rapid.T) {
	name, id := m.some(rt)
	m.excused[id] = true // its result may be gone with its queue
	m.call(rt, func(ctx context.Context) error { return m.r.b.Cancel(ctx, name, id, ann) })
}

func (m *machine) await(rt *rapid.T) {
	name, id := m.some(rt)
	m.alive(rt)
	b, ctx := m.r.b, m.r.ctx
	m.awaiting++
	go func() { m.woken <- b.Await(ctx, name, id) }()
}

func (m *machine) purge(rt *rapid.T) {
	if rapid.IntRange(0, 2).Draw(rt, "really") > 0 {
		return
	}
	name := m.name(rt)
	m.excuse(func(q *queue.Queue) bool { return q.Name == name }, false)
	m.call(rt, func(ctx context.Context) error {
		_, err := m.r.b.Purge(ctx, name, ann)
		return err
	})
}

func (m *machine) deadOf(name string) (ids []uint64) {
	_ = m.r.mem.View(context.Background(), func(tx store.Tx) error {
		ids = nil
		q, err := queue.Get(tx, name)
		if err != nil {
			return nil //nolint:nilerr // then there are none
		}
		for msg, err := range queue.Peek(tx, q.N, queue.Look{Where: queue.Dead}) {
			if err == nil {
				ids = append(ids, msg.ID)
			}
		}
		return nil
	})
	return ids
}

func (m *machine) retryDead(rt *rapid.T) {
	name := m.name(rt)
	for _, id := range m.deadOf(name) {
		m.r.w.forgive(id)
	}
	m.call(rt, func(ctx context.Context) error {
		_, err := m.r.b.RetryDead(ctx, name, ann)
		return err
	})
}

func (m *machine) purgeDead(rt *rapid.T) {
	name := m.name(rt)
	for _, id := range m.deadOf(name) {
		m.excused[id] = true
	}
	m.call(rt, func(ctx context.Context) error {
		_, err := m.r.b.PurgeDead(ctx, name, ann)
		return err
	})
}

func (m *machine) restart(rt *rapid.T) {
	name := m.name(rt)
	m.call(rt, func(ctx context.Context) error { return m.r.b.Restart(ctx, name, ann) })
}

func (m *machine) configure(rt *rapid.T) {
	m.set(rapid.IntRange(0, 3).Draw(rt, "variant"))
}

func (m *machine) set(variant int) {
	m.r.set = Settings{Listeners: historyListeners(variant)}
	m.r.b.Configure(m.r.set)
	synctest.Wait()
}

func (m *machine) sleep(rt *rapid.T) {
	time.Sleep(rapid.SampledFrom([]time.Duration{time.Millisecond, time.Second, 10 * time.Second, time.Minute, time.Hour}).Draw(rt, "sleep"))
}

// die has the daemon die after some of its next effects.
func (m *machine) die(rt *rapid.T) {
	m.died.Store(true)
	m.r.m.dieAfter(rapid.IntRange(0, 25).Draw(rt, "effects"))
}

// stop ends the daemon as it should be ended.
func (m *machine) stop(rt *rapid.T) {
	m.alive(rt)
	m.r.stop()
	synctest.Wait()
	m.r.start()
}

func (m *machine) kill(rt *rapid.T) {
	if live := m.r.w.live(); len(live) > 0 {
		m.r.w.kill(rapid.SampledFrom(live).Draw(rt, "run"))
	}
}

func (m *machine) full(rt *rapid.T) {
	m.r.mem.SetFull(rapid.IntRange(0, 2).Draw(rt, "full") == 0)
}

func (m *machine) check(rt *rapid.T) {
	synctest.Wait()
	if m.r.m.isDead() {
		m.r.die()
		m.r.start()
	}
	faults := append(m.r.faults(), m.lost()...)
	if len(faults) > 0 {
		rt.Fatalf("%s\n%s", strings.Join(faults, "\n"), &m.r.log)
	}
}

// lost returns what is wrong with what became of messages.
func (m *machine) lost() (faults []string) {
	where := make(map[uint64]uint64)
	results := make(map[uint64]*queue.Result)
	_ = m.r.mem.View(context.Background(), func(tx store.Tx) error {
		clear(where)
		clear(results)
		for q, err := range queue.All(tx) {
			if err != nil {
				continue
			}
			if q.Deleting != nil && q.Deleting.MoveTo == "" {
				m.deleting[q.N] = true
			}
			for msg, err := range queue.Peek(tx, q.N, queue.Look{}) {
				if err != nil {
					return err
				}
				if _, twice := where[msg.ID]; twice {
					faults = append(faults, fmt.Sprintf("message %d is there twice", msg.ID))
				}
				where[msg.ID] = q.N
			}
			for id := range m.pushed {
				if res, ok := queue.ResultOf(tx, q.N, id); ok && res.Outcome != queue.OutcomeDead {
					results[id] = res
				}
			}
		}
		return nil
	})
	m.r.w.mu.Lock()
	defer m.r.w.mu.Unlock()
	for id := range m.pushed {
		n, there := where[id]
		res := results[id]
		if there {
			m.last[id] = n
		}
		switch good := m.r.w.account(id).good; {
		case there && res != nil:
			faults = append(faults, fmt.Sprintf("message %d is there, and %s", id, res.Outcome))
		case there:
		case res != nil && res.Outcome == queue.OutcomeDone && !good:
			faults = append(faults, fmt.Sprintf("message %d is done, and nobody has worked it off", id))
		case res == nil && !good && !m.excused[id] && !m.deleting[m.last[id]]:
			faults = append(faults, fmt.Sprintf("message %d of queue %d is lost", id, m.last[id]))
		}
	}
	return faults
}

// finish waits with listeners that do as they should, and checks that all messages come to
// their ends.
func (m *machine) finish(rt *rapid.T) {
	r := m.r
	r.w.mu.Lock()
	m.calm = true
	r.w.mu.Unlock()
	r.mem.SetFull(false)
	r.die()
	for _, k := range r.w.live() {
		r.w.kill(k)
	}
	synctest.Wait()
	r.start()
	m.set(0)
	for range 5 {
		for _, name := range historyNames {
			m.call(rt, func(ctx context.Context) error { return r.b.Pause(ctx, name, nil, ann) })
		}
		time.Sleep(24 * time.Hour)
		m.check(rt)
	}
	err := r.mem.View(context.Background(), func(tx store.Tx) error {
		for q, err := range queue.All(tx) {
			if err != nil {
				return err
			}
			if q.Deleting != nil {
				rt.Fatalf("queue %s is being deleted forever\n%s", q.Name, &r.log)
			}
			if c := queue.CountsOf(tx, q.N); c.Messages != 0 {
				rt.Fatalf("queue %+v has %+v\n%s", q, c, &r.log)
			}
		}
		return nil
	})
	if err != nil {
		rt.Fatal(err)
	}
	for _, k := range r.w.dirs() {
		if run := r.runs.run(k); run.isOver() || k.Phase != listenerPhase {
			rt.Fatalf("the directory of %v is left\n%s", k, &r.log)
		}
	}
	if n := len(m.woken); n != m.awaiting {
		rt.Fatalf("%d of %d calls that waited for the end of a message did not return", m.awaiting-n, m.awaiting)
	}
	r.die()
}
