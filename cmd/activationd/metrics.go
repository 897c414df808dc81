package main

import (
	"context"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"activationd/activation"
	"activationd/control"
	"activationd/hook"
	"activationd/internal/config"
	"activationd/metrics"
	"activationd/queue/broker"
	"activationd/supervisor"
)

// A gauger reads the parts of the daemon for its metrics, and measures attempts.
type gauger struct {
	*metrics.Recorder

	mu sync.Mutex
	// due has when scripts should start, of the attempts that were claimed and whose start has not
	// been seen yet.
	due map[supervisor.Key]time.Time
}

// startsAtOnce bounds how many runs a reading of the metrics looks for that have started. It reads a
// file for each; the rest are seen by the next one, or when they end.
const startsAtOnce = 1000

// assembleMetrics makes the part that measures the daemon.
func (d *daemon) assembleMetrics() {
	d.gauger = &gauger{due: make(map[supervisor.Key]time.Time)}
	d.gauger.Recorder = metrics.New(metrics.Parts{Version: version(), Revision: revision(), Read: d.reading, Log: d.log})
}

// Claimed implements [activation.Observer].
func (g *gauger) Claimed(key supervisor.Key, _ activation.Kind, due time.Time) {
	if due.IsZero() {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.due[key] = due
}

// Ended implements [activation.Observer].
func (g *gauger) Ended(e activation.End) {
	g.started(e.Key, e.Started)
	took := time.Duration(-1)
	if !e.Started.IsZero() && !e.Ended.IsZero() {
		took = max(0, e.Ended.Sub(e.Started))
	}
	g.Recorder.Ended(string(e.Kind), e.Key.Phase, e.Outcome, took)
	if e.Restarts {
		g.Restarted(e.Service, e.Outcome)
	}
}

// started notes when the script of an attempt was started; zero: it never was.
func (g *gauger) started(key supervisor.Key, at time.Time) {
	g.mu.Lock()
	due, ok := g.due[key]
	delete(g.due, key)
	g.mu.Unlock()
	if ok && !at.IsZero() {
		g.Started(at.Sub(due))
	}
}

// seeStarts notes the starts of scripts that have not ended yet.
func (g *gauger) seeStarts(started func(supervisor.Key) (pid int, at time.Time, ok bool)) {
	g.mu.Lock()
	keys := make([]supervisor.Key, 0, min(len(g.due), startsAtOnce))
	for key := range g.due {
		if len(keys) == startsAtOnce {
			break
		}
		keys = append(keys, key)
	}
	g.mu.Unlock()
	for _, key := range keys {
		if _, at, ok := started(key); ok {
			g.started(key, at)
		}
	}
}

// reading reads the parts of the daemon.
func (d *daemon) reading(ctx context.Context) *metrics.Reading {
	d.gauger.seeStarts(d.runs.Started)
	r := new(metrics.Reading)
	for _, part := range []struct {
		name string
		read func(context.Context, *metrics.Reading) error
	}{
		{metrics.PartEngine, d.readEngine},
		{metrics.PartSources, d.readSources},
		{metrics.PartVLANs, d.readVLANs},
		{metrics.PartServices, d.readServices},
		{metrics.PartDisks, d.readDisks},
		{metrics.PartQueues, d.readQueues},
	} {
		if err := part.read(ctx, r); err != nil {
			d.log.Warn("metrics: a part cannot be read", "part", part.name, "err", err)
			r.Failed = append(r.Failed, part.name)
		}
	}
	return r
}

func (d *daemon) readEngine(ctx context.Context, r *metrics.Reading) error {
	s, err := d.engine.Status(ctx)
	if err != nil {
		return err
	}
	b, err := d.engine.Backlog(ctx)
	if err != nil {
		return err
	}
	if r.Events, err = d.engine.Newest(ctx); err != nil {
		return err
	}
	r.States = make(map[string]int)
	for state, n := range s.States {
		r.States[string(state)] = n
	}
	r.Running, r.Unverified, r.Generation, r.Draining, r.InDoubt, r.Logins = s.Running, s.Hanging, s.Generation, s.Draining, s.Doubt != "", s.Logins
	r.Queued, r.Waits, r.Overdue, r.Conflicting = b.Queued, b.Waits, b.Overdue, b.Conflicting
	pauses, err := d.engine.Pauses(ctx)
	if err != nil {
		return err
	}
	r.Pauses = map[string]int{activation.PauseDaemon: 0, activation.PauseSource: 0, activation.PauseDevice: 0}
	for i := range pauses {
		r.Pauses[pauses[i].What]++
	}
	r.Stores = map[string]int64{"state": d.main.Size()}
	r.Reads = map[string]uint64{"state": d.main.Reads()}
	if d.queues.own != nil {
		r.Stores["queues"], r.Reads["queues"] = d.queues.own.Size(), d.queues.own.Reads()
	}
	return nil
}

func (d *daemon) readSources(ctx context.Context, r *metrics.Reading) error {
	all, err := d.loader.Sources(ctx)
	for _, s := range all {
		r.Sources = append(r.Sources, metrics.Source{
			Name: s.Name, Live: s.Live, Rejected: s.Rejected, Failing: s.Error != "", Read: s.Read,
			Loads: map[string]uint64{"failed": s.Failures, "ok": s.Reads},
		})
	}
	return err
}

func (d *daemon) readVLANs(ctx context.Context, r *metrics.Reading) error {
	all, err := d.engine.Pools(ctx)
	for _, u := range all {
		r.VLANs = append(r.VLANs, metrics.VLANs{Pool: u.Domain, Free: u.Free, Leased: u.Leased, Quarantined: u.Quarantined})
	}
	return err
}

// instanceStates are the states of instances that always have series, so that graphs have no holes.
var instanceStates = []string{"down", "waiting", "starting", "ready", "unready", "draining", "stopping", "backoff", "fatal"}

func (d *daemon) readServices(ctx context.Context, r *metrics.Reading) error {
	all, err := d.roster.Select(ctx, activation.Actor{Role: control.Admin.String()}, nil, "")
	if err != nil {
		return err
	}
	for i := range all {
		record := &all[i].Record
		name := record.Serving.Service
		if n := len(r.Services); n == 0 || r.Services[n-1].Name != name { // they are sorted
			r.Services = append(r.Services, metrics.Service{Name: name, States: make(map[string]int)})
			for _, state := range instanceStates {
				r.Services[n].States[state] = 0
			}
		}
		r.Services[len(r.Services)-1].States[record.InstanceState()]++
	}
	return nil
}

func (d *daemon) readDisks(_ context.Context, r *metrics.Reading) error {
	for _, dir := range []struct{ word, path string }{{"state", d.dirs.State}, {"runtime", d.dirs.Runtime}} {
		var fs syscall.Statfs_t
		if err := syscall.Statfs(dir.path, &fs); err != nil {
			return err
		}
		size := uint64(fs.Bsize)
		r.Disks = append(r.Disks, metrics.Disk{
			Directory: dir.word, Free: fs.Bavail * size, Size: fs.Blocks * size, Inodes: fs.Ffree, AllInodes: fs.Files,
		})
	}
	return nil
}

func (d *daemon) readQueues(ctx context.Context, r *metrics.Reading) error {
	all, err := d.queues.Queues(ctx)
	if err != nil {
		return err
	}
	d.mu.Lock()
	listeners := d.current.Listeners
	d.mu.Unlock()
	createdLast(all, listeners)
	now := time.Now()
	for i := range all {
		q := &all[i]
		if name, ok := strings.CutPrefix(q.Name, hook.QueuePrefix); ok && q.Builtin {
			r.Hooks = append(r.Hooks, metrics.Hook{
				Name: name, Pending: q.Messages, Dead: q.Dead, Delivered: q.Done, Failed: q.Again + q.Failed,
			})
			continue
		}
		r.Queues = append(r.Queues, queueReading(q, now))
	}
	return nil
}

// createdLast puts the queues last that pushes have created, unless a listener names them: of too
// many queues, these have no series.
func createdLast(all []broker.Status, listeners []config.Listener) {
	named := make(map[string]bool)
	for i := range listeners {
		for _, pattern := range listeners[i].Queues {
			named[pattern] = true
		}
	}
	slices.SortStableFunc(all, func(a, b broker.Status) int {
		switch last := a.For != "" && !named[a.Name]; {
		case last == (b.For != "" && !named[b.Name]):
			return 0
		case last:
			return 1
		}
		return -1
	})
}

func queueReading(q *broker.Status, now time.Time) metrics.Queue {
	m := metrics.Queue{
		Name: q.Name, Ready: q.Ready, Delayed: q.Delayed, Work: q.InWork, Dead: q.Dead, Bytes: q.Bytes,
		Processes: q.Processes, Paused: q.Paused != nil || q.AllPaused, Served: q.Listener != "" || len(q.ByHand) > 0, Pushed: q.Pushed,
		Deliveries: map[string]uint64{
			"done": q.Done, "dead": q.Failed, "again": q.Again, "cancelled": q.Cancelled, "expired": q.Expired, "dropped": q.Dropped,
		},
	}
	if !q.Oldest.IsZero() {
		m.Oldest = now.Sub(q.Oldest)
	}
	return m
}
