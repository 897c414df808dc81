package activation_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	. "activationd/activation"
	"activationd/internal/fault"
	"activationd/store"
	"activationd/supervisor"
)

// Bounds of what histories declare.
const (
	mostDrain = minute
	mostFatal = 3 * hour
)

var testInstances = []string{"db@1", "web@1", "web@2", "edge@1"}

// serve does something with an instance of a service.
func (m *machine) serve(rt *rapid.T) {
	ctx := context.Background()
	id := rapid.SampledFrom(testInstances).Draw(rt, "instance")
	what := rapid.SampledFrom([]string{"declare", "declare", "remove", "up", "down", "restart", "turn", "check", "check"}).Draw(rt, "what")
	var err error
	switch what {
	case "declare":
		i := m.instance(rt, id)
		err = m.l.e.Update(ctx, func(t *Txn) error {
			_, err := t.SetInstance(i, "declared")
			return err
		})
	case "remove":
		err = m.l.e.Update(ctx, func(t *Txn) error { return t.RemoveInstance(id, "no longer declared") })
		m.wantsDown(id, false, err)
	case "up":
		m.wantsDown(id, false, nil)
		_, err = m.l.e.Up(ctx, admin, id)
	case "down":
		_, err = m.l.e.Down(ctx, admin, id)
		m.wantsDown(id, true, err)
	case "restart":
		m.wantsDown(id, false, nil)
		if _, err = m.l.e.Restart(ctx, admin, id); fault.Of(err) == fault.Conflict {
			if v, fail := m.l.e.Get(ctx, id); fail == nil && v.PendingOutcome == "" {
				rt.Fatalf("restart of %s is refused: %v", id, err)
			}
		}
	case "turn": // of a rolling restart, which comes to no instance that is down
		i := m.instance(rt, id)
		m.turns++ // two reports with one reason would look like one that came twice
		err = m.l.e.Update(ctx, func(t *Txn) error {
			if r, err := t.Record(id); err == nil && (r.State == Held || r.HoldNext) {
				return nil
			}
			return t.RestartInstance(i, fmt.Sprintf("in turn %d", m.turns))
		})
	case "check":
		on := rapid.SampledFrom([]Trigger{Ready, Ready, Unready, Restart}).Draw(rt, "says")
		run := 1
		if v, fail := m.l.e.Get(ctx, id); fail == nil {
			run = max(0, v.LastN[0]-rapid.SampledFrom([]int{0, 0, 0, 1}).Draw(rt, "ago"))
		}
		err = m.l.e.Check(ctx, id, run, on, "said "+string(on))
	}
	m.mind(rt, err)
}

// instance is a declaration of an instance. Web needs db, and edge needs both.
func (m *machine) instance(rt *rapid.T, id string) Instance {
	name, number, _ := strings.Cut(id, "@")
	n, err := strconv.Atoi(number)
	if err != nil {
		rt.Fatal(err)
	}
	started := rapid.Bool().Draw(rt, "started")
	needs := map[string][]Need{"web": {{Service: "db", Started: started}}, "edge": {{Service: "web", Started: started}, {Service: "db"}}}[name]
	i := serving(name, n, needs...)
	i.Hash = rapid.SampledFrom([][]byte{[]byte("1"), []byte("2")}).Draw(rt, "hash")
	i.Argv = []string{"serve", string(i.Hash)}
	i.BackoffFirst, i.BackoffMax = 10*minute, 3*hour // a day of shorter ones would be thousands of runs
	i.Checked = rapid.Bool().Draw(rt, "checked")
	i.AsDeclared.Restart = rapid.SampledFrom([]string{RestartAlways, RestartAlways, RestartOnFailure, RestartNever}).Draw(rt, "policy")
	i.StartLimit = rapid.SampledFrom([]int{0, 1, 3}).Draw(rt, "limit")
	i.FatalRetry = rapid.SampledFrom([]time.Duration{0, mostFatal}).Draw(rt, "fatal")
	i.Stable = rapid.SampledFrom([]time.Duration{minute, hour}).Draw(rt, "stable")
	i.Listen = rapid.SampledFrom([][]string{nil, {"/run/" + name}, {"/run/" + name, "/run/" + id}}).Draw(rt, "listens")
	i.Hash = append(i.Hash, strconv.Itoa(len(i.Listen))...)
	i.Drain = rapid.SampledFrom([]time.Duration{0, 0, mostDrain}).Draw(rt, "drain")
	i.Live = fmt.Append(nil, i)
	i.Down = rapid.IntRange(0, 4).Draw(rt, "down") == 0
	return i
}

// wantsDown notes whether an instance is known to be wanted down. A request that failed may
// have been carried out, or not.
func (m *machine) wantsDown(id string, down bool, err error) { m.down[id] = down && err == nil }

// mayServe checks that a run of an instance begins alone, and only if nobody wants it down.
func (m *machine) mayServe(k supervisor.Key) {
	for other, r := range m.l.w.runs { // the world is locked here
		if other.ID == k.ID && other.N != k.N && !r.over() {
			m.l.w.fault("%v starts beside %v", k, other)
		}
	}
	if m.down[k.ID] {
		m.l.w.fault("%v starts, and was stopped", k)
	}
}

// served checks that each instance that is wanted has a run, an instant at which it gets one, or
// something named for which it waits, that the process of one that is ready exists, and that no
// pause ends later than it may, by the clock as it is set now.
func (m *machine) served() (faults []string) {
	rig := m.l
	if rig.stop == nil || rig.m.isDead() || rig.mem.Full() {
		return nil
	}
	_ = rig.db.View(context.Background(), func(tx store.Tx) error {
		faults = nil
		t := &Txn{Tx: tx}
		for _, id := range testInstances {
			r, err := t.Record(id)
			if err != nil || r.State == Finished || r.State == Held {
				continue
			}
			if run := rig.w.run(supervisor.Key{ID: id, Phase: Serve, N: r.LastN[0]}); r.Ready() && (run == nil || run.started.IsZero()) {
				faults = append(faults, fmt.Sprintf("%s is ready without a process", id))
			}
			now := rig.now()
			if late := r.Serving.DrainUntil.Sub(now); late > mostDrain && !r.Stopped {
				faults = append(faults, fmt.Sprintf("%s drains for another %v", id, late))
			}
			if late := r.RetryAt.Sub(now); late > r.RetryIn {
				faults = append(faults, fmt.Sprintf("%s pauses for another %v, want %v at most", id, late, r.RetryIn))
			}
			if late := r.Until.Sub(now); r.State == Stuck && late > mostFatal {
				faults = append(faults, fmt.Sprintf("%s stays fatal for another %v", id, late))
			}
			fatal := r.State == Stuck && r.Serving.FatalRetry == 0
			waits := r.State == Waiting && r.Reason != ""
			if r.OpenAttempt() == nil && !fatal && !waits && r.Until.IsZero() && r.RetryAt.IsZero() {
				faults = append(faults, fmt.Sprintf("%s is %s (%s), has no run and waits for nothing", id, r.State, r.Reason))
			}
		}
		return nil
	})
	return faults
}

// listened checks that the sockets exist that some instance needs, or a run has, and no others.
func (m *machine) listened() (faults []string) {
	rig := m.l
	if rig.stop == nil || rig.m.isDead() || rig.mem.Full() {
		return nil
	}
	needed := make(map[string]bool)
	_ = rig.db.View(context.Background(), func(tx store.Tx) error {
		clear(needed)
		t := &Txn{Tx: tx}
		for _, id := range testInstances {
			if r, err := t.Record(id); err == nil && r.State != Finished && r.State != Held && r.State != Stuck {
				for _, a := range append(r.Serving.Listen, r.Serving.Before...) {
					needed[a] = true
				}
			}
		}
		return nil
	})
	rig.w.mu.Lock()
	defer rig.w.mu.Unlock()
	for _, r := range rig.w.runs {
		if !r.ended() {
			for _, a := range r.spec.Addresses {
				needed[a] = true
			}
		}
	}
	for a := range rig.w.sockets {
		if !needed[a] {
			faults = append(faults, fmt.Sprintf("nobody needs the socket %s, and it is open", a))
		}
	}
	for _, r := range rig.w.runs {
		for _, a := range r.spec.Addresses {
			if !r.ended() && !rig.w.sockets[a] {
				faults = append(faults, fmt.Sprintf("%v has no socket at %s", r.key, a))
			}
		}
	}
	return faults
}

// endServices removes all instances.
func (m *machine) endServices(rt *rapid.T) {
	for _, id := range testInstances {
		err := m.l.e.Update(context.Background(), func(t *Txn) error { return t.RemoveInstance(id, "at the end") })
		if err != nil && fault.Of(err) != fault.NotFound {
			rt.Fatal(err)
		}
	}
}

// setClock sets the clock back or forth.
func (m *machine) setClock(rt *rapid.T) {
	if m.l.m.isDead() {
		rt.Skip("no daemon runs")
	}
	if rapid.Bool().Draw(rt, "back") {
		m.l.setClock(-rapid.SampledFrom([]time.Duration{time.Second, 40 * minute, 5 * hour}).Draw(rt, "by"))
	} else {
		m.l.setClock(rapid.SampledFrom([]time.Duration{time.Second, 40 * minute, 5 * hour}).Draw(rt, "by"))
	}
}

// TestRandomServices is TestRandomHistories for services alone, with a clock that is set back and
// forth.
func TestRandomServices(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		inBubble(t, func(t *testing.T) {
			m := newMachine(t, rt)
			defer m.l.shutDown()
			rt.Repeat(map[string]func(*rapid.T){
				"":        m.check,
				"serve":   m.serve,
				"serve2":  m.serve,
				"serve3":  m.serve,
				"sleep":   m.sleep,
				"clock":   m.setClock,
				"die":     m.die,
				"restart": m.restart,
				"kill":    m.kill,
				"power":   m.power,
				"full":    m.full,
				"drain":   m.drain,
			})
			m.finish(rt)
		})
	})
}
