package activation

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"activationd/event"
	"activationd/internal/fault"
	"activationd/supervisor"
	"activationd/supervisor/wrapper"
)

// startersAtOnce is how many wrappers are started or adopted at once.
const startersAtOnce = 4

// each calls fn with 0 to n-1, several at once, and waits for all.
func each(n int, fn func(int)) {
	todo := make(chan int)
	var wg sync.WaitGroup
	for range min(startersAtOnce, n) {
		wg.Go(func() {
			for i := range todo {
				fn(i)
			}
		})
	}
	for i := range n {
		todo <- i
	}
	close(todo)
	wg.Wait()
}

// exitNoExec is the exit status for a command that cannot be run, as in shells.
const exitNoExec = 126

// trustedClock is what activations wait for that may be over: see [Record.mayBeOver].
const trustedClock = "a trusted clock: it was set to a time after the end"

// nextStart is what due activations wait for while the daemon is drained.
const nextStart = "the daemon's next start: it is being drained"

// waitsFor begins the reason of a waiting record; see [waitKind].
const waitsFor = "waits for "

// grant claims r's next attempt, or queues r for what is missing.
func (t *turn) grant(r *Record) (claimed, changed bool, err error) {
	switch {
	case r.policy().serves:
		return t.grantInstance(r)
	case r.State == Deactivating:
		return true, true, t.claim(r, Deactivate)
	}
	if lacks := t.awaited(r); lacks != "" {
		changed = r.WaitsOn != waitsOnEnd
		r.Queued = 0
		t.wait(r, waitsOnEnd, lacks)
		return false, changed, nil
	}
	if p := t.pauseOf(r); p != nil {
		return false, t.awaitResume(r, p), nil
	}
	if r.WaitsOn == waitsOnPause {
		r.Until = time.Time{} // it was the end of its patience with the pause
	}
	if lacks := r.conflict(); lacks != "" {
		changed = r.WaitsOn != waitsOnConflict
		r.Queued = 0
		t.wait(r, waitsOnConflict, lacks)
		return false, changed, nil
	}
	lacks := t.blocker(r)
	on := waitsOnLocks
	switch {
	case lacks != "":
	case t.draining:
		lacks, on = nextStart, waitsOnStart
	case t.free() <= 0:
		lacks, on = fmt.Sprintf("a free slot: %d run", t.activate), waitsOnSlot
	case r.mayBeOver(t.Moment):
		lacks, on = trustedClock, waitsOnClock
	default:
		if t.ahead(r) >= t.free() {
			lacks, on = "a free slot", waitsOnSlot
		}
	}
	if lacks == "" {
		lacks, on = t.busy(r), waitsOnLoadAvg
	}
	if lacks == "" {
		return true, true, t.claim(r, Activate)
	}
	if on == waitsOnLocks && !t.draining {
		if err := t.makeWay(r); err != nil {
			return false, false, err
		}
	}
	if r.WaitsOn == on {
		return false, false, nil // Engine.Get says what it waits for now
	}
	if r.Queued == 0 {
		t.enqueue(r)
	}
	t.wait(r, on, lacks)
	return false, true, nil
}

// wait makes r wait.
func (t *turn) wait(r *Record, on waitKind, lacks string) {
	began := r.WaitsOn != on
	r.WaitsOn, r.Reason = on, waitsFor+lacks
	r.RetryAt, r.RetryIn = time.Time{}, 0 // the pause before this try is over, also if the clock is set
	if on != waitsOnPause {
		r.PausedBy = ""
	}
	if began {
		t.happened(r, "waits", event.Event{WaitsFor: string(on), Reason: r.Reason})
	}
}

// ahead counts the records before r in the queue for a slot, but stops at the number of
// free slots.
func (t *turn) ahead(r *Record) int {
	n := 0
	for place, id := range t.queuedForSlot() {
		if id == r.ID || place > r.queuePosition() || n == t.free() {
			break
		}
		n++
	}
	return n
}

// queuedForSlot yields the places and ids of the queue for a slot. Records that wait for
// the clock to be trusted are in that queue, too; they are left out, because no slot
// helps them.
func (t *turn) queuedForSlot() iter.Seq2[string, string] {
	prefix := queueKey + slotQueue + "/"
	return func(yield func(place, id string) bool) {
		for k := range t.Scan(prefix, "") {
			place, id, _ := strings.Cut(strings.TrimPrefix(k, prefix), "/")
			if t.Doubt {
				if r, err := t.Record(id); err == nil && r.mayBeOver(t.Moment) {
					continue
				}
			}
			if !yield(place, id) {
				return
			}
		}
	}
}

// claim opens r's next attempt of a phase. Its transaction is the only durable write on
// the way to the start.
func (t *turn) claim(r *Record, phase string) error {
	i := phaseIndex(phase)
	r.LastN[i]++
	a := Attempt{Phase: phase, N: r.LastN[i], Claimed: t.Now, Open: true, Host: t.host, Boot: t.Boot, Fence: t.Stamp()}
	why := r.PendingReason // for a deactivation
	if phase == Activate {
		why = ""
		if a.First = !r.NeedsUndo; a.First {
			if err := t.fixTopology(r.ID); err != nil {
				return err
			}
			r.LocksHeld, r.NeedsUndo = slices.Clone(r.neededLocks()), r.policy().undoes
		}
		if at := r.activateAt(); r.Urgency == OnTime && r.Tries == 0 && at.After(t.Now) { // after the clock was set back, a later try does not wait again
			a.NotBefore = at
		}
		r.Progress = nil
	}
	if phase == Serve {
		if err := t.noteSockets(r); err != nil {
			return err
		}
	}
	t.take(phase)
	t.observeClaim(r, &a)
	if err := t.addAttempt(r, a); err != nil {
		return err
	}
	if err := t.Apply(r, Grant, why); err != nil {
		return err
	}
	key := supervisor.Key{ID: r.ID, Phase: phase, N: a.N}
	t.starts = append(t.starts, start{key: key, spec: t.spec(r, &a), workdir: r.policy().undoes, mail: r.MailOf, user: t.Settings.switchTo(r)})
	t.happened(r, "attempt.started", event.Event{Reason: cmp.Or(strings.TrimSpace(r.Name(&a)), "attempt 1"), Phase: phase, Attempt: a.N})
	return nil
}

// addAttempt adds an attempt to the record. Only the newest are kept. Of several in a row
// that could not be started only the last is kept.
func (t *turn) addAttempt(r *Record, a Attempt) error {
	drop, n := -1, len(r.Attempts)
	if n >= keepAttempts {
		if drop = 0; r.began() == 0 {
			drop = 1
		}
	}
	if n > 0 {
		switch r.Attempts[n-1].Result.Reason {
		case wrapper.NotStarted, wrapper.Unborn:
			drop = n - 1
		}
	}
	if drop >= 0 {
		if err := t.removeRunDir(r.ID, &r.Attempts[drop]); err != nil {
			return err
		}
		r.Attempts = slices.Delete(r.Attempts, drop, drop+1)
	}
	r.Attempts = append(r.Attempts, a)
	return nil
}

func phaseIndex(phase string) int {
	if phase == Deactivate {
		return 1
	}
	return 0
}

// start starts the claimed attempts, several at once, and returns an exit for each that
// could not be started.
func (e *Engine) start(starts []start) (failed []supervisor.Exit) {
	if len(starts) == 0 {
		return nil
	}
	errs := make([]error, len(starts))
	each(len(starts), func(i int) {
		key, spec := starts[i].key, starts[i].spec
		if errs[i] = e.become(&spec, starts[i].user); errs[i] != nil {
			return
		}
		if starts[i].workdir && e.parts.Trust != nil {
			if errs[i] = e.parts.Trust(spec.Argv, spec.Env, spec.UID); errs[i] != nil {
				return
			}
		}
		if starts[i].workdir {
			dir, err := e.workdir(key.ID, spec.UID, spec.GID)
			if err != nil {
				errs[i] = err
				return
			}
			spec.Env = append(spec.Env, "ACTIVATION_KEEP_DIR="+dir)
		}
		if about := starts[i].mail; about != "" {
			var err error
			if spec.Stdin, err = letter(e.parts.Runs, spec.Stdin, about); err != nil {
				errs[i] = fmt.Errorf("output of %s: %w", about, err)
				return
			}
		}
		errs[i] = e.parts.Runs.Start(key, spec)
	})
	now := e.parts.Clock.Now().Round(0)
	for i, err := range errs {
		if err == nil {
			continue
		}
		e.parts.Log.Error("cannot start a run", "run", starts[i].key, "err", err)
		res := wrapper.Result{Reason: wrapper.NotStarted, Text: fault.Text(err), Exit: -1, Ended: now}
		if errors.Is(err, fault.Invalid) || errors.Is(err, fault.Denied) || // it would fail again the next time
			starts[i].key.Phase == Serve && (errors.Is(err, fault.Conflict) || errors.Is(err, fault.NotFound)) { // or until somebody frees its address
			res.Reason, res.Exit = wrapper.Failed, exitNoExec
		}
		failed = append(failed, supervisor.Exit{Key: starts[i].key, Result: res})
	}
	return failed
}
