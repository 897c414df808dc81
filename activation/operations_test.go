package activation_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing/synctest"
	"time"

	. "activationd/activation"
	"activationd/activation/announce"

	"pgregory.net/rapid"

	"activationd/internal/fault"
	"activationd/reservation"
	"activationd/supervisor"
	"activationd/supervisor/wrapper"
)

func (m *machine) add(rt *rapid.T) {
	j := NewJob{Order: Order{Owner: "ada", Argv: []string{"true"}}}
	j.At = time.Now().Add(rapid.SampledFrom([]time.Duration{0, 20 * time.Millisecond, time.Second, 10 * minute, 3 * hour}).Draw(rt, "in"))
	for _, lock := range subset(rt, testLocks, "locks") {
		j.Locks = append(j.Locks, lock+rapid.SampledFrom([]string{"", "", ":shared", "=1/2", "=2/3"}).Draw(rt, "how"))
	}
	j.Priority = rapid.SampledFrom([]int{0, 0, -5, 7, MaxPriority}).Draw(rt, "priority")
	if rapid.IntRange(0, 3).Draw(rt, "deadline") == 0 {
		j.Deadline = j.At.Add(rapid.SampledFrom([]time.Duration{10 * time.Millisecond, minute, hour}).Draw(rt, "deadline in"))
	}
	if rapid.IntRange(0, 3).Draw(rt, "after") == 0 {
		j.After = []string{rapid.SampledFrom(m.ids()).Draw(rt, "after") + rapid.SampledFrom([]string{"", ":failure", ":any"}).Draw(rt, "end")}
	}
	if rapid.Bool().Draw(rt, "retry") {
		j.Retries = new(rapid.IntRange(0, 2).Draw(rt, "retries"))
	}
	j.Missed = rapid.SampledFrom([]string{"", MissedSkip}).Draw(rt, "missed")
	j.Hold = rapid.IntRange(0, 5).Draw(rt, "hold") == 0
	if rapid.IntRange(0, 3).Draw(rt, "at") == 0 {
		j.AtJob = &AtJob{Queue: rapid.SampledFrom([]string{"a", "b", "Z"}).Draw(rt, "queue")}
		j.At = j.At.Add(-rapid.SampledFrom([]time.Duration{0, 0, 1000 * hour}).Draw(rt, "late"))
	}
	added, err := m.l.e.Add(context.Background(), admin, []NewJob{j})
	m.mind(rt, err)
	if err == nil {
		m.mind(rt, added[0].Err)
	}
}

func (m *machine) verb(rt *rapid.T) {
	id := rapid.SampledFrom(m.ids()).Draw(rt, "id")
	on := rapid.SampledFrom([]Trigger{Cancel, Hold, Release, RunNow, Retry, Forgive}).Draw(rt, "verb")
	_, err := m.l.e.Do(context.Background(), admin, id, on, "")
	m.mind(rt, err)
}

func (m *machine) edit(rt *rapid.T) {
	id := rapid.SampledFrom(m.ids()).Draw(rt, "id")
	_, err := m.l.e.Edit(context.Background(), admin, id, func(j *NewJob, _ time.Time) error {
		j.Priority = rapid.IntRange(-3, 3).Draw(rt, "priority")
		if rapid.Bool().Draw(rt, "move") {
			j.At = time.Now().Add(rapid.SampledFrom([]time.Duration{0, time.Second, 10 * minute}).Draw(rt, "in"))
		}
		if rapid.Bool().Draw(rt, "relock") {
			j.Locks = subset(rt, testLocks, "locks")
		}
		return nil
	})
	if !errors.Is(err, fault.Invalid) { // its deadline may be over, or before its new start
		m.mind(rt, err)
	}
}

func (m *machine) load(rt *rapid.T) {
	for _, s := range m.sources {
		var rs []reservation.Reservation
		for _, id := range subset(rt, testIDs, s.name) {
			from := rapid.SampledFrom([]time.Duration{-hour, -time.Second, 0, 30 * time.Millisecond, minute, hour}).Draw(rt, "from")
			lasts := rapid.SampledFrom([]time.Duration{10 * time.Millisecond, minute, hour, 5 * hour}).Draw(rt, "lasts")
			r := slot(id, from, from+lasts, subset(rt, testLocks, "devices")...)
			if len(r.Devices) == 0 {
				r.Devices = nil
			}
			slices.Sort(r.Devices)
			r.Priority = rapid.SampledFrom([]int{0, 0, 0, 1}).Draw(rt, "priority")
			r.VLANs = rapid.SampledFrom([]map[string]int{nil, nil, {"x": 3}}).Draw(rt, "VLANs")
			r.Missed = rapid.SampledFrom([]string{"", MissedSkip}).Draw(rt, "missed")
			if rapid.IntRange(0, 3).Draw(rt, "lead") == 0 {
				r.Lead = new(minute)
			}
			if rapid.IntRange(0, 3).Draw(rt, "tail") == 0 {
				r.Tail = new(lasts / 2)
			}
			rs = append(rs, r)
		}
		s.says(rs...)
		s.mu.Lock()
		s.err = nil
		if rapid.IntRange(0, 9).Draw(rt, "err") == 0 {
			s.err = fmt.Errorf("no such file: %w", fault.Unavailable)
		}
		s.mu.Unlock()
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_, err := m.l.loader.Load(ctx, announce.LoadOptions{
		Force:  rapid.Bool().Draw(rt, "force"),
		DryRun: rapid.IntRange(0, 5).Draw(rt, "dry") == 0,
	})
	if !m.l.m.isDead() || !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
		m.mind(rt, err)
	}
}

func (m *machine) link(rt *rapid.T) {
	id := rapid.SampledFrom(testIDs).Draw(rt, "id")
	if rapid.Bool().Draw(rt, "unlink") {
		m.mind(rt, m.l.e.Unlink(context.Background(), admin, id))
		return
	}
	nodes := subset(rt, testLocks, "nodes")
	m.mind(rt, m.l.e.Link(context.Background(), admin, id, []byte(strings.Join(nodes, " "))))
}

func (m *machine) sleep(rt *rapid.T) {
	d := rapid.SampledFrom([]time.Duration{
		time.Millisecond, 30 * time.Millisecond, time.Second, 10 * time.Second, minute, 10 * minute, 2 * hour, 24 * hour,
	}).Draw(rt, "for")
	if m.l.mem.Full() || m.l.set.BatchInterval < minute { // it tries again, or reads the load average, every second
		d = min(d, minute)
	}
	time.Sleep(d)
}

// die makes the daemon die soon: before or after one of its next calls.
func (m *machine) die(rt *rapid.T) {
	m.l.m.dieAfter(rapid.IntRange(0, 12).Draw(rt, "calls"))
}

func (m *machine) restart(rt *rapid.T) {
	m.l.w.mu.Lock()
	m.l.w.unclear = rapid.SampledFrom([]int{0, 0, 1, 2}).Draw(rt, "unclear")
	m.l.w.mu.Unlock()
	m.l.restart()
	time.Sleep(2 * RetryPause)
}

func (m *machine) kill(rt *rapid.T) {
	live := m.l.w.live()
	if len(live) == 0 {
		rt.Skip("nothing runs")
	}
	slices.SortFunc(live, func(a, b supervisor.Key) int { return strings.Compare(a.String(), b.String()) })
	k := rapid.SampledFrom(live).Draw(rt, "run")
	if rapid.Bool().Draw(rt, "disarm") {
		if r := m.l.w.run(k); r.started.IsZero() {
			m.l.w.mu.Lock()
			m.l.w.end(r, wrapper.Disarmed, -1)
			m.l.w.mu.Unlock()
			return
		}
	}
	m.l.w.kill(k)
}

func (m *machine) power(rt *rapid.T) {
	m.l.shutDown()
	m.l.w.powerLoss()
	m.l.boot += "'"
	time.Sleep(time.Second) // two boots must differ in time, which distinguishes their occurrences
	if rapid.Bool().Draw(rt, "died again") {
		m.l.dieAtOnce = rapid.IntRange(0, 6).Draw(rt, "calls")
	}
	m.l.start()
}

func (m *machine) full(*rapid.T) {
	m.l.mem.SetFull(!m.l.mem.Full())
	time.Sleep(2 * RetryPause)
}

func (m *machine) configure(rt *rapid.T) {
	m.l.set.MaxParallel = rapid.IntRange(1, 3).Draw(rt, "parallel")
	m.l.set.ArmAhead = rapid.SampledFrom([]time.Duration{0, 50 * time.Millisecond, 2 * time.Second}).Draw(rt, "arm")
	m.l.set.BatchInterval = rapid.SampledFrom([]time.Duration{0, minute, hour}).Draw(rt, "interval")
	m.l.e.Configure(m.l.set)
}

// busy makes the load average high or low.
func (m *machine) busy(rt *rapid.T) {
	m.l.loadAvg.Store(rapid.SampledFrom([]float64{0, 1.4, 9}).Draw(rt, "load"))
}

func (m *machine) drain(rt *rapid.T) {
	if rapid.IntRange(0, 2).Draw(rt, "really") == 0 {
		m.l.e.Drain()
	}
}

var pausable = []Pause{{What: PauseDaemon}, {What: PauseSource, Name: "one"}, {What: PauseSource, Name: "two/2"}, {What: PauseDevice, Name: "a"}, {What: PauseDevice, Name: "b"}}

func (m *machine) pause(rt *rapid.T) {
	p := rapid.SampledFrom(pausable).Draw(rt, "what")
	p.Reason = rapid.SampledFrom([]string{"", "it is broken"}).Draw(rt, "reason")
	if d := rapid.SampledFrom([]time.Duration{0, 20 * time.Millisecond, time.Second, 10 * minute, 3 * hour}).Draw(rt, "until"); d > 0 {
		p.Until = time.Now().Add(d)
	}
	_, err := m.l.e.Pause(context.Background(), admin, p)
	m.mind(rt, err)
}

func (m *machine) resume(rt *rapid.T) {
	p := rapid.SampledFrom(pausable).Draw(rt, "what")
	_, err := m.l.e.Resume(context.Background(), admin, p.What, p.Name)
	m.mind(rt, err)
}

func (m *machine) resumeAll() {
	for _, p := range pausable {
		_, _ = m.l.e.Resume(context.Background(), admin, p.What, p.Name)
	}
	synctest.Wait()
}
