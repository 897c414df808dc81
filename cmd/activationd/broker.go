package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"activationd/activation"
	"activationd/control/ops"
	"activationd/control/web"
	"activationd/event"
	"activationd/internal/config"
	"activationd/internal/fault"
	"activationd/queue"
	"activationd/queue/broker"
	"activationd/queue/pools"
	"activationd/schedule"
	"activationd/store"
	"activationd/store/bolt"
	"activationd/supervisor"
	"activationd/supervisor/wrapper"
)

// A messaging is what serves the queues.
type messaging struct {
	*broker.Broker
	db    store.Backend // the daemon's own store, or that of queues alone
	own   *bolt.DB      // the latter; nil: there is none
	runs  *supervisor.Supervisor
	timer *schedule.Timer
	pools *pools.File   // which queues are served
	other chan struct{} // others are served than before; capacity one
}

// queueRuns is a supervisor as the broker uses it.
type queueRuns struct{ *supervisor.Supervisor }

func (r queueRuns) Stream(k supervisor.Key) (broker.Stream, error) {
	s, err := r.Supervisor.Stream(k)
	if err != nil { // not a nil *Stream in an interface
		return nil, err
	}
	return s, nil
}

// assembleQueues makes the parts that serve the queues. The processes of listeners have a supervisor
// of their own: the engine knows nothing of them.
func (d *daemon) assembleQueues() (err error) {
	q := &messaging{db: d.db, other: make(chan struct{}, 1)}
	q.pools = pools.NewFile(func(pools.Rules, error) {
		select {
		case q.other <- struct{}{}:
		default: // it is known already
		}
	})
	d.queues = q
	d.readPools(d.started)
	if path := d.started.Queues.Store; path != "" {
		if q.own, err = bolt.Open(path); err != nil {
			return err
		}
		q.own.OnCommit(d.gauger.Committed)
		q.db = q.own
	}
	guard, _ := d.runs.Guard()
	q.runs, err = d.supervise(supervisor.Config{
		Atwrap: d.atwrap, RunsDir: d.dirs.Deliveries, ConfigRoot: d.dirs.ConfigRoot, WorkdirsDir: d.dirs.Bodies, Guard: guard, Log: d.log,
	})
	if err != nil {
		return err
	}
	if q.timer, err = schedule.NewTimer(); err != nil {
		return err
	}
	q.Broker = broker.New(broker.Parts{
		DB: q.db, Runs: queueRuns{q.runs}, Alarm: q.timer, Log: d.log, Journal: filepath.Join(filepath.Dir(d.dirs.Deliveries), "deliveries"),
		Paused: true, // until the engine says whether the daemon is paused
	}, d.listeners(d.started, &d.inForce.Settings))
	return nil
}

// backup copies the store of queues; nil if they have none of their own.
func (q *messaging) backup() func(context.Context, io.Writer) error {
	if q.own == nil {
		return nil
	}
	return q.own.Backup
}

// allowed reports whether a queue may be served, and if not, why. The daemon's own are.
func (q *messaging) allowed(name string) (bool, string) {
	if strings.Contains(name, "/") {
		return true, ""
	}
	return q.pools.Rules().Allows(name)
}

// readPools reads which queues may be served.
func (d *daemon) readPools(c *configuration) {
	d.queues.pools.Configure(c.Queues.Pools, c.Queues.Allow, c.Queues.Deny)
}

// route returns what a request at a path of HTTP pushes by the routes that are in force.
func (d *daemon) route(path string) (*web.Push, bool) {
	d.mu.Lock()
	routes := d.current.Queues.Routes
	d.mu.Unlock()
	for i := range routes {
		if name, headers, ok := routes[i].Push(path); ok {
			return &web.Push{Queue: name, Headers: headers, Forward: routes[i].Forward, Create: routes[i].Create}, true
		}
	}
	return nil, false
}

// watchPools has queues served, or not any more, when the file that lists them has changed. It
// tells if the file cannot be read.
func (d *daemon) watchPools(ctx context.Context) error {
	told := ""
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-d.queues.other:
		}
		d.mu.Lock()
		set := d.inForce.Settings
		d.queues.Configure(d.listeners(d.current, &set))
		d.mu.Unlock()
		wrong := ""
		if err := d.queues.pools.Err(); err != nil {
			wrong = fault.Text(err)
		}
		if wrong == told {
			continue
		}
		ev := event.Event{Topic: "daemon.pools.read", What: "pools.read"}
		if wrong != "" {
			d.log.Error("queues: the list of those that are served cannot be read; the last good one is in force", "err", wrong)
			ev = event.Event{Topic: "daemon.pools.failed", What: "pools.failed", Failed: true, Reason: wrong}
		}
		err := d.engine.Update(ctx, func(t *activation.Txn) error { t.Emit(ev); return nil })
		if err != nil && ctx.Err() == nil {
			d.log.Error("queues: an event cannot be written", "err", err)
			continue
		}
		told = wrong
	}
}

// close closes what assembleQueues opened. Listeners go on.
func (q *messaging) close() error {
	if q == nil {
		return nil
	}
	if q.runs != nil {
		q.runs.Close()
	}
	if q.own != nil {
		return q.own.Close()
	}
	return nil
}

// listeners translates the listeners of a configuration.
func (d *daemon) listeners(c *configuration, set *activation.Settings) broker.Settings {
	s := broker.Settings{Allowed: d.queues.allowed, Created: c.Queues.MaxCreated, Limits: queue.Limits{
		Body: int64(c.Queues.MaxBody), AllMessages: int64(c.Queues.MaxMessages), AllBytes: int64(c.Queues.MaxBytes),
	}}
	for i := range c.Hooks {
		s.Listeners = append(s.Listeners, d.hookListener(&c.Hooks[i], set))
	}
	for i := range c.Listeners {
		s.Listeners = append(s.Listeners, d.listener(&c.Listeners[i], set))
	}
	return s
}

func (d *daemon) listener(l *config.Listener, set *activation.Settings) broker.Listener {
	policy := queue.Policy{Attempts: l.Attempts, Backoff: l.Backoff.First, BackoffMax: l.Backoff.Max, Exits: make(map[int]queue.Verdict)}
	for status, verdict := range l.Exits.Verdicts() {
		policy.Exits[status] = queue.Verdict(verdict)
	}
	together := map[string]broker.Together{config.Strict: broker.Strict, config.Weighted: broker.Weighted}[l.Together]
	return broker.Listener{
		Name: l.Name, Command: l.Command, Queues: l.Queues, Together: together, Weights: l.Weights, Stream: l.Per == config.PerStream, Instances: l.Instances, Window: l.Window,
		Policy: policy, Timeout: l.Timeout, Grace: l.Grace, MaxWait: l.MaxWait, Keep: l.Keep,
		Limits:  queue.Limits{Messages: int64(l.MaxMessages), Bytes: int64(l.MaxBytes), DropOldest: l.Overflow == config.DropOldest},
		Replace: broker.Replace{Messages: l.Replace.Messages, Age: l.Replace.Age, Memory: int64(l.Replace.Memory)},
		Version: versionOf(l), Prepare: func() (wrapper.Spec, error) { return d.specOf(l, set) },
	}
}

// listenerLog bounds the beginning and the end of an output that are kept while it is not known what
// becomes of the message: the runtime directory is in memory on most machines.
const listenerLog = 128 << 10

// specOf returns what a process of a listener runs as, and within which limits.
func (d *daemon) specOf(l *config.Listener, set *activation.Settings) (wrapper.Spec, error) {
	spec := wrapper.Spec{
		Argv: l.Command, Dir: l.Directory, UID: -1, GID: -1, Umask: set.Umask, Nice: set.Nice, NoNewPrivs: set.NoNewPrivs,
		LogHead: min(set.LogHead, listenerLog), LogTail: min(set.LogTail, listenerLog), Grace: l.Grace,
	}
	if l.Per == config.PerStream {
		spec.LogRotate, spec.LogKeep = 2*listenerLog, 1
	}
	if l.Umask != nil {
		spec.Umask = int(*l.Umask)
	}
	if l.Nice != nil {
		spec.Nice = *l.Nice
	}
	var limits []wrapper.Limit
	for _, name := range slices.Sorted(maps.Keys(l.Limits)) {
		limits = append(limits, wrapper.Limit{Name: name, Soft: l.Limits[name].Soft, Hard: l.Limits[name].Hard})
	}
	spec.Limits = activation.OverLimits(set.Limits, limits)
	user := d.users.own()
	if l.User != "" {
		id, err := lookupIdentity(l.User)
		if err != nil {
			return spec, err
		}
		user = id
	}
	if l.Group != "" {
		id := *user
		var err error
		if id.GID, err = lookupGroup(l.Group); err != nil {
			return spec, err
		}
		user = &id
	}
	if set.SwitchUsers && (l.User != "" || l.Group != "") {
		spec.UID, spec.GID, spec.Groups = user.UID, user.GID, user.Groups
	}
	env := slices.Concat(set.BaseEnv, []string{
		"USER=" + user.Name, "LOGNAME=" + user.Name, "HOME=" + user.Home, "SHELL=" + user.Shell, "ACTIVATIOND_SOCKET=" + set.Socket,
	})
	for _, name := range slices.Sorted(maps.Keys(l.Environment)) {
		env = append(env, name+"="+l.Environment[name])
	}
	spec.Env = activation.LastWins(env)
	return spec, d.host.runsTrusted(spec.Argv, spec.Env, spec.UID)
}

// versionOf differs if a listener's process has to be another one.
func versionOf(l *config.Listener) string {
	h := sha256.New()
	_, _ = fmt.Fprintf(h, "%q %q %q %q %q", l.Per, l.Command, l.User, l.Group, l.Directory)
	for _, name := range slices.Sorted(maps.Keys(l.Environment)) {
		_, _ = fmt.Fprintf(h, " %q=%q", name, l.Environment[name])
	}
	for _, name := range slices.Sorted(maps.Keys(l.Limits)) {
		_, _ = fmt.Fprintf(h, " %q=%v", name, l.Limits[name])
	}
	for _, n := range []*int{intOf(l.Umask), l.Nice} {
		if n != nil {
			_, _ = fmt.Fprintf(h, " %d", *n)
		} else {
			_, _ = fmt.Fprint(h, " -")
		}
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// noticed is the key, in the daemon's store, of the number of the last notice of queues that
// has become an event.
const noticed = "queues/noticed"

// noticesAtOnce is how many notices become events in one transaction.
const noticesAtOnce = 100

// tellEvents makes events of what the queues note, each once: the queues may have another
// store, so the number of the last one is written together with its event.
func (d *daemon) tellEvents(ctx context.Context) error {
	checked := false
	for {
		var more bool
		var err error
		if !checked {
			err = d.checkNoticed(ctx)
			checked = err == nil
		}
		if err == nil {
			more, err = d.tellSome(ctx)
		}
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			d.log.Error("queues: events cannot be written; trying again", "err", err)
		case more:
			continue
		}
		retry := time.NewTimer(time.Minute)
		if err != nil {
			retry.Reset(time.Second)
		}
		select {
		case <-ctx.Done():
			retry.Stop()
			return context.Cause(ctx)
		case <-retry.C:
		case <-d.queues.Noticed():
			retry.Stop()
		}
	}
}

// checkNoticed begins with the first notice again if the store of queues is another one than before, or an older copy
// of it: then its numbers are lower than that of the last notice that has become an event.
func (d *daemon) checkNoticed(ctx context.Context) error {
	var number uint64
	err := d.queues.db.Update(ctx, func(tx store.Tx) error {
		number = tx.Stamp()
		return nil
	})
	if err != nil {
		return err
	}
	return d.engine.Update(ctx, func(t *activation.Txn) error {
		if last, _ := strconv.ParseUint(string(t.Get(noticed)), 10, 64); last <= number {
			return nil
		}
		return t.Delete(noticed)
	})
}

func (d *daemon) tellSome(ctx context.Context) (more bool, err error) {
	var last uint64
	err = d.engine.View(ctx, func(t *activation.Txn) error {
		last, _ = strconv.ParseUint(string(t.Get(noticed)), 10, 64)
		return nil
	})
	if err != nil {
		return false, err
	}
	var notices []queue.Notice
	upTo := last
	err = d.queues.db.View(ctx, func(tx store.Tx) error {
		notices, upTo = queue.Notices(tx, last, noticesAtOnce)
		return nil
	})
	if err != nil || len(notices) == 0 {
		return false, err
	}
	err = d.engine.Update(ctx, func(t *activation.Txn) error {
		for _, n := range notices {
			t.Emit(ops.QueueEvent(n))
		}
		return t.Put(noticed, strconv.AppendUint(nil, upTo, 10))
	})
	if err != nil {
		return false, err
	}
	return true, d.queues.db.Update(ctx, func(tx store.Tx) error {
		_, err := queue.DropNotices(tx, upTo, noticesAtOnce)
		return err
	})
}

func intOf(m *config.Mode) *int {
	if m == nil {
		return nil
	}
	n := int(*m)
	return &n
}
