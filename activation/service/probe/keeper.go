package probe

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"
)

// Limit is how many checks are made at once. Checks that are overdue do not count.
const Limit = 16

// An Instance is what a [Keeper] needs to know of a run.
type Instance struct {
	Ready *Check // nil: it is ready as soon as it runs
	Alive *Check // nil: it is alive as long as it runs. Not checked before it was ready

	// Within is the time, from the call of Start, within which the instance must become ready.
	// 0 is no limit; a check of kind Delay needs none. Progress that the instance reports
	// extends it.
	Within time.Duration

	Started time.Time // when the run was started; a Delay counts from then
	Was     State     // what was known before, of a run that this keeper has not seen start; "" is Starting

	Runner Runner // for checks of kind Exec
	// Log opens the run's log, for checks of kind Log: the file that is written now (0), or
	// the one that was written as many rotations ago. If there is none, the error is
	// fs.ErrNotExist.
	Log func(back int) (*os.File, error)
}

// A Notice is what an instance has said by sd_notify.
type Notice struct {
	Ready    bool          // READY=1
	Unready  string        // why it is not ready for now: it reloads (RELOADING=1) or is about to end (STOPPING=1)
	Status   string        // STATUS=...
	Extend   time.Duration // EXTEND_TIMEOUT_USEC=...
	Watchdog bool          // WATCHDOG=1
	Trigger  bool          // WATCHDOG=trigger: it asks to be taken for dead
}

// A Report is a change of an instance's state.
type Report struct {
	Key    string
	State  State
	Reason string // why it is unready, late or dead
}

// A Keeper checks instances and reports what becomes of them. [New] makes one.
type Keeper struct {
	report func(Report)
	asked  func(*watch) func(context.Context) error // how a check is made; another one in a test without sockets

	wake    chan struct{} // has room for one
	results chan result

	mu       sync.Mutex
	requests []func(now time.Time) // by whoever calls Start, Stop or Notified
	turns    int                   // how often Run has woken up
	lacks    map[string]string     // by key, what instances lack that start

	// Run's own.
	instances map[string]*instance
	running   int  // checks that are being made and are not overdue
	waiting   bool // checks are due, and too many are being made
}

type instance struct {
	Instance
	key   string
	state State
	ready *watch // nil: no check
	alive *watch // nil: no check
	began time.Time
	limit time.Time // when it is late; zero: never
	said  string    // its last STATUS
	why   string    // why its ready check failed last
}

// A watch is one check of one instance.
type watch struct {
	Check
	of       *instance
	alive    bool
	question *question // nil: nothing is asked
	tally    tally
	asks     int       // how often it was made
	made     time.Time // when it was begun last
	due      time.Time // when it is made next; zero: it is not
	over     bool      // it will not be made again

	cancel   context.CancelFunc // nil: it is not being made
	deadline time.Time          // until when it is; zero: it is overdue
}

type result struct {
	watch *watch
	err   error
}

// New returns a keeper that calls report from the goroutine of Run, in order. While it is in
// report, nothing else is checked or reported. Report can call Start, Stop and Notified.
func New(report func(Report)) *Keeper {
	return &Keeper{
		report:    report,
		asked:     func(w *watch) func(context.Context) error { return w.question.ask },
		wake:      make(chan struct{}, 1),
		results:   make(chan result),
		instances: make(map[string]*instance),
		lacks:     make(map[string]string),
	}
}

// Start tells the keeper of a run. The key names the run, not the instance, so that no report
// can be about another run. A second Start with the same key replaces the checks, if they are
// others; what is known of the run stays, whatever Was says.
func (k *Keeper) Start(key string, i Instance) error {
	in := &instance{Instance: i, key: key, state: i.Was}
	if in.state == "" {
		in.state = Starting
	}
	var err error
	if in.ready, err = in.newWatch(i.Ready, false); err != nil {
		return err
	}
	if in.alive, err = in.newWatch(i.Alive, true); err != nil {
		return err
	}
	k.request(func(now time.Time) {
		if old := k.instances[key]; old != nil {
			if reflect.DeepEqual(old.Ready, i.Ready) && reflect.DeepEqual(old.Alive, i.Alive) && old.Within == i.Within {
				return
			}
			in.state, in.began, in.limit, in.said = old.state, old.began, old.limit, old.said
			k.forget(key)
		}
		k.instances[key] = in
		k.note(in)
		k.begin(in, now)
	})
	return nil
}

// Stop tells the keeper that a run has ended, or is about to end. A report that is already on
// its way may still arrive.
func (k *Keeper) Stop(key string) { k.request(func(time.Time) { k.forget(key) }) }

// Notified tells the keeper what an instance has said. Of a run that it does not know, it
// ignores it.
func (k *Keeper) Notified(key string, n Notice) {
	k.request(func(now time.Time) {
		if in := k.instances[key]; in != nil && !in.state.final() {
			k.notified(in, n, now)
		}
	})
}

func (k *Keeper) request(r func(now time.Time)) {
	k.mu.Lock()
	k.requests = append(k.requests, r)
	k.mu.Unlock()
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// Run checks instances until ctx ends.
func (k *Keeper) Run(ctx context.Context) error {
	var asking sync.WaitGroup
	defer func() {
		asking.Wait()
		for w := range k.watches {
			if w.question != nil {
				w.question.close()
			}
		}
	}()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	var planned time.Time // when the timer fires; zero: it is stopped
	var fired time.Time   // when it fired last
	plan := func(t time.Time) {
		planned = t
		if planned.IsZero() {
			timer.Stop()
			return
		}
		if soon := fired.Add(tick); planned.Before(soon) {
			planned = soon
		}
		timer.Reset(time.Until(planned))
	}
	for {
		select {
		case <-ctx.Done():
		case <-k.wake:
		case r := <-k.results:
			now, full := time.Now(), k.waiting
			k.answered(r, now)
			if !full && ctx.Err() == nil { // only this instance has changed
				if t := earlier(planned, r.watch.of.next(now)); !t.Equal(planned) {
					plan(t)
				}
				continue
			}
		case <-timer.C:
			fired = time.Now()
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		k.mu.Lock()
		k.turns++
		requests := k.requests
		k.requests = nil
		k.mu.Unlock()
		for _, r := range requests {
			r(time.Now())
		}
		k.takeAnswers()
		now := time.Now()
		if late := now.Sub(planned); !planned.IsZero() && late > slack {
			k.postpone(late + slack)
		}
		k.expire(now)
		k.waiting = false
		for _, w := range k.due(now) {
			k.ask(ctx, &asking, w, now)
		}
		plan(k.next(now))
	}
}

// tick is the shortest time between two firings of the timer: many checks that are due at
// almost the same time are begun together.
const tick = 20 * time.Millisecond

// slack is how late the keeper may be. If it is later, the daemon was stopped, or had no
// processor: what it waits for may have happened, and nothing has told it yet. So that time
// does not count against the instances.
const slack = time.Second

// postpone moves everything that is to happen by a certain time.
func (k *Keeper) postpone(by time.Duration) {
	for _, in := range k.instances {
		if !in.limit.IsZero() {
			in.limit = in.limit.Add(by)
		}
	}
	for w := range k.watches {
		if !w.deadline.IsZero() {
			w.deadline = w.deadline.Add(by)
		}
		if w.Kind == Notify && !w.due.IsZero() {
			w.due = w.due.Add(by)
		}
	}
}

// next returns when the timer must fire; zero: it need not.
func (k *Keeper) next(now time.Time) time.Time {
	var next time.Time
	for _, in := range k.instances {
		next = earlier(next, in.next(now))
	}
	return next
}

// next returns when something is to be done about an instance; zero: never. A check that is
// due already waits for the end of another one, because a check is never planned for the present moment.
func (in *instance) next(now time.Time) time.Time {
	var next time.Time
	if !in.asking(now) {
		next = in.limit
	}
	for _, w := range []*watch{in.ready, in.alive} {
		if w == nil {
			continue
		}
		next = earlier(next, w.deadline)
		if w.due.After(now) {
			next = earlier(next, w.due)
		}
	}
	return next
}

// earlier returns the earlier of two times, of which zero is never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// asking reports whether the instance may be found to be ready in a moment: its ready check is
// being made, or is due for the last time before it is late.
func (in *instance) asking(now time.Time) bool {
	w := in.ready
	return w != nil && (!w.deadline.IsZero() || !w.due.IsZero() && !w.due.After(now) && w.made.Before(in.limit))
}

// expire ends checks that do not answer, and finds instances that are late.
func (k *Keeper) expire(now time.Time) {
	for w := range k.watches {
		if !w.deadline.IsZero() && !w.deadline.After(now) {
			k.abandon(w)
			k.judge(w, fmt.Errorf("no answer within %v", w.Timeout), now)
		}
	}
	for _, in := range k.instances {
		if in.limit.IsZero() || in.limit.After(now) || in.asking(now) {
			continue
		}
		reason := "not ready after " + roughly(now.Sub(in.began))
		if lacks := in.lacks(); lacks != "" {
			reason += ": " + lacks
		}
		k.enter(in, expired, reason, now)
	}
}

// lacks says why an instance that starts is not ready, as far as that is known.
func (in *instance) lacks() string {
	why := in.why
	if in.ready != nil && in.ready.Kind == Notify {
		why = "it has not reported READY=1"
	}
	if in.said != "" {
		why += "; its last status: " + in.said
	}
	return strings.TrimPrefix(why, "; ")
}

// note keeps what an instance that starts lacks, for [Keeper.Lacks].
func (k *Keeper) note(in *instance) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if delete(k.lacks, in.key); in.state == Starting && k.instances[in.key] == in {
		k.lacks[in.key] = in.lacks()
	}
}

// Lacks says why the instance of a run is not ready yet; empty: it was ready, or that is not
// known.
func (k *Keeper) Lacks(key string) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.lacks[key]
}

func roughly(d time.Duration) string {
	if d < time.Second {
		return d.Round(time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

// answered takes the result of a check, and plans the next one.
func (k *Keeper) answered(r result, now time.Time) {
	w := r.watch
	w.cancel()
	w.cancel = nil
	if w.over {
		w.question.close()
		return
	}
	if !w.deadline.IsZero() { // otherwise it was overdue, and has been counted
		w.deadline = time.Time{}
		k.running--
		k.judge(w, r.err, now)
	}
	if !w.over {
		w.due = now.Add(w.pause())
	}
}

// pause returns the time until the next check. The first checks of an instance that starts
// follow each other quickly.
func (w *watch) pause() time.Duration {
	d := w.Interval
	if w.of.state == Starting {
		d = min(d, 50*time.Millisecond<<min(w.asks, 10))
	}
	return d*9/10 + rand.N(d/5+1) + 1 // never 0: see next
}

// judge counts the result of a check.
func (k *Keeper) judge(w *watch, err error, now time.Time) {
	var reason string
	if err != nil {
		reason = w.String() + ": " + err.Error()
	}
	if !w.alive {
		w.of.why = reason
		k.note(w.of)
	}
	in, follows := w.tally.count(err == nil, &w.Check, w.alive)
	if !follows {
		return
	}
	if n := w.tally.bad; n > 1 {
		reason += fmt.Sprintf(" (%d times in a row)", n)
	}
	k.enter(w.of, in, reason, now)
}

// notified takes what an instance has said.
func (k *Keeper) notified(in *instance, n Notice, now time.Time) {
	if n.Status != "" && n.Status != in.said {
		in.said = n.Status
		k.note(in)
		in.extend(now.Add(in.Within))
	}
	if n.Extend > 0 {
		in.extend(now.Add(n.Extend))
	}
	if in.ready != nil && in.ready.Kind == Notify {
		if n.Ready {
			k.enter(in, passed, "", now)
		}
		if n.Unready != "" {
			k.enter(in, failed, n.Unready, now)
		}
	}
	if w := in.alive; n.Watchdog && w != nil && w.Kind == Notify && !w.due.IsZero() {
		w.due = now.Add(w.Timeout)
		k.judge(w, nil, now)
	}
	if n.Trigger {
		k.enter(in, died, "it sent WATCHDOG=trigger", now)
	}
}

// extend makes the instance late at t, if that is not earlier than it was.
func (in *instance) extend(t time.Time) {
	if !in.limit.IsZero() && in.limit.Before(t) {
		in.limit = t
	}
}

// takeAnswers takes the answers that are there.
func (k *Keeper) takeAnswers() {
	for {
		select {
		case r := <-k.results:
			k.answered(r, time.Now())
		default:
			return
		}
	}
}

// newWatch returns what watches a check; nil for no check.
func (in *instance) newWatch(c *Check, alive bool) (*watch, error) {
	if c == nil {
		return nil, nil
	}
	w := &watch{Check: c.WithDefaults(alive), of: in, alive: alive}
	if err := w.Validate(alive); err != nil {
		return nil, err
	}
	var err error
	w.question, err = w.Check.question(&in.Instance)
	return w, err
}

// begin plans the checks of an instance that the keeper did not know.
func (k *Keeper) begin(in *instance, now time.Time) {
	if in.began.IsZero() {
		in.began = now
	}
	if in.state == Starting && in.Within > 0 && in.ready != nil && in.ready.Kind != Delay {
		if limit := in.began.Add(in.Within); limit.After(in.limit) {
			in.limit = limit
		}
	} else {
		in.limit = time.Time{}
	}
	w := in.ready
	switch {
	case in.state.final():
		return
	case w == nil:
		k.enter(in, passed, "", now)
	case in.state == Ready && w.once(), w.Kind == Notify:
	case w.Kind == Delay:
		// As a time from now: the clock may have been set since, or may be set.
		w.due = now.Add(w.Delay - min(max(now.Sub(in.Started), 0), w.Delay))
	case in.state == Starting:
		w.due = now
	default:
		// A daemon that starts may make many runs known at once.
		w.due = now.Add(rand.N(w.Interval) + 1)
	}
	if in.state == Ready || in.state == Unready {
		k.live(in, now)
	}
}

// live begins the liveness check of an instance that has become ready.
func (k *Keeper) live(in *instance, now time.Time) {
	w := in.alive
	switch {
	case w == nil || !w.due.IsZero() || w.cancel != nil:
	case w.Kind == Notify:
		w.due = now.Add(w.Timeout)
	default:
		w.due = now.Add(rand.N(w.Interval) + 1)
	}
}

// enter applies an input to an instance, and reports the change if there is one.
func (k *Keeper) enter(in *instance, by input, reason string, now time.Time) {
	next := in.state.after(by)
	if next == in.state {
		return
	}
	in.state = next
	in.limit = time.Time{}
	k.note(in)
	switch {
	case next.final():
		k.end(in)
	case next == Ready:
		if w := in.ready; w != nil && w.once() && w.Kind != Notify {
			k.rest(w)
		}
		k.live(in, now)
	}
	k.report(Report{in.key, next, reason})
}

// forget ends the checks of a run.
func (k *Keeper) forget(key string) {
	if in := k.instances[key]; in != nil {
		k.end(in)
		delete(k.instances, key)
		k.note(in)
	}
}

func (k *Keeper) end(in *instance) {
	for _, w := range []*watch{in.ready, in.alive} {
		if w != nil {
			k.rest(w)
		}
	}
}

// rest ends a check: it is not made again.
func (k *Keeper) rest(w *watch) {
	w.due, w.over = time.Time{}, true
	if w.cancel != nil {
		k.abandon(w)
	} else if w.question != nil {
		w.question.close()
	}
}

// abandon cancels a check that is being made. Its result will not count.
func (k *Keeper) abandon(w *watch) {
	w.cancel()
	if !w.deadline.IsZero() { // it is not overdue yet
		w.deadline = time.Time{}
		k.running--
	}
}

// due returns the checks that are due, the longest due first.
func (k *Keeper) due(now time.Time) []*watch {
	var ws []*watch
	for w := range k.watches {
		if !w.due.IsZero() && !w.due.After(now) {
			ws = append(ws, w)
		}
	}
	slices.SortFunc(ws, func(a, b *watch) int { return cmp.Or(a.due.Compare(b.due), cmp.Compare(a.of.key, b.of.key)) })
	return ws
}

// watches iterates over all checks.
func (k *Keeper) watches(yield func(*watch) bool) {
	for _, in := range k.instances {
		for _, w := range []*watch{in.ready, in.alive} {
			if w != nil && !yield(w) {
				return
			}
		}
	}
}

// ask makes a check that is due, unless too many are being made.
func (k *Keeper) ask(ctx context.Context, asking *sync.WaitGroup, w *watch, now time.Time) {
	switch {
	case w.over: // because of another check in this turn
	case w.Kind == Delay:
		w.due = time.Time{}
		k.enter(w.of, passed, "", now)
	case w.Kind == Notify:
		w.due = now.Add(w.Timeout)
		k.judge(w, fmt.Errorf("no WATCHDOG=1 for %v", w.Timeout), now)
	case k.running >= Limit:
		k.waiting = true
	default:
		k.running++
		w.asks++
		asked, cancel := context.WithCancel(ctx)
		w.due, w.made, w.cancel, w.deadline = time.Time{}, now, cancel, now.Add(w.Timeout)
		ask := k.asked(w)
		asking.Go(func() {
			err := ask(asked)
			select {
			case k.results <- result{w, err}:
			case <-ctx.Done():
				w.question.close()
			}
		})
	}
}
