package activation

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"

	"activationd/internal/fault"
	"activationd/supervisor"
	"activationd/supervisor/wrapper"
)

// startersAtOnce is how many wrappers are started, or adopted, side by side.
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

// exitNoExec is the status of a command that cannot be run, as shells have it.
const exitNoExec = 126

// trustedClock is what those lack who may be over: see [Record.mayBeOver].
const trustedClock = "a clock that is trusted: it was set to after the end"

// waitsFor begins the reason of one who is in line.
const waitsFor = "waits for "

// grant claims r's next attempt, or puts r in line for what it lacks.
func (t *turn) grant(r *Record) (claimed, changed bool, err error) {
	if r.State == Deactivating {
		return true, true, t.claim(r, Deactivate)
	}
	if lacks := t.awaited(r); lacks != "" {
		changed = !r.Awaits || r.Line > 0
		r.Line, r.ForSlot, r.ForLoad, r.Awaits, r.Reason = 0, false, false, true, waitsFor+lacks
		return false, changed, nil
	}
	lacks := t.blocker(r)
	forSlot, forLoad := false, false
	switch {
	case lacks != "":
	case t.draining:
		lacks, forSlot = "the daemon's next start: it is being drained", true
	case t.free <= 0:
		lacks, forSlot = fmt.Sprintf("a free slot: %d run", t.set.MaxParallel-t.free), true
	case r.mayBeOver(t.moment):
		lacks, forSlot = trustedClock, true
	default:
		if t.ahead(r) >= t.free {
			lacks, forSlot = "a free slot", true
		}
	}
	if lacks == "" {
		lacks = t.busy(r)
		forLoad = lacks != ""
	}
	if lacks == "" {
		return true, true, t.claim(r, Activate)
	}
	if r.Line > 0 && r.ForSlot == forSlot && r.ForLoad == forLoad && strings.HasPrefix(r.Reason, waitsFor) {
		return false, false, nil // what it waits for now is told to whoever asks: see view
	}
	if r.Line == 0 {
		if r.Line, err = count(t, lineNumber); err != nil {
			return false, false, err
		}
		if limit := t.set.Of(r).WaitLimit; limit > 0 && r.AtJob == nil {
			r.Until = t.now.Add(limit)
		}
	}
	r.ForSlot, r.ForLoad, r.Awaits, r.Reason = forSlot, forLoad, false, waitsFor+lacks
	return false, true, nil
}

// ahead counts those in line for a slot who came before r, no further than there
// are free slots.
func (t *turn) ahead(r *Record) int {
	n := 0
	for place, id := range t.slotLine() {
		if id == r.ID || place > r.position() || n == t.free {
			break
		}
		n++
	}
	return n
}

// slotLine has who is in line for a slot, with the place there. Whoever waits for the
// clock to be trusted stands there, too, and is left out: no slot helps.
func (t *turn) slotLine() iter.Seq2[string, string] {
	prefix := queueKey + slotQueue + "/"
	return func(yield func(place, id string) bool) {
		for k := range t.Scan(prefix, "") {
			place, id, _ := strings.Cut(strings.TrimPrefix(k, prefix), "/")
			if t.doubt {
				if r, err := t.get(id); err == nil && r.mayBeOver(t.moment) {
					continue
				}
			}
			if !yield(place, id) {
				return
			}
		}
	}
}

// claim opens r's next attempt of a phase. The transaction that it is in is the
// one durable write on the way to the start.
func (t *turn) claim(r *Record, phase string) error {
	n, err := count(t, fence)
	if err != nil {
		return err
	}
	i := phaseIndex(phase)
	r.Ns[i]++
	a := Attempt{Phase: phase, N: r.Ns[i], Claimed: t.now, Open: true}
	why := r.Cause // of a deactivation
	if phase == Activate {
		why = ""
		if a.First = !r.Dirty; a.First {
			if err := t.fixTopology(r.ID); err != nil {
				return err
			}
			r.Held, r.Dirty = slices.Clone(r.needs()), r.slot()
		}
		if at := r.activateAt(); !r.Late && r.Tries == 0 && at.After(t.now) { // a clock that was set back has no try wait for it again
			a.NotBefore = at
		}
		r.Progress = nil
		t.free--
		t.started++
	}
	t.opened++
	if err := t.open(r, a); err != nil {
		return err
	}
	if err := t.apply(r, Grant, why); err != nil {
		return err
	}
	key := supervisor.Key{ID: r.ID, Phase: phase, N: a.N}
	t.starts = append(t.starts, start{key: key, spec: t.spec(r, &a, n), kept: r.slot(), mail: r.MailOf, user: t.set.switchTo(r)})
	t.news = append(t.news, Happening{Time: t.now, What: "attempt.started", ID: r.ID, State: string(r.State),
		Reason: fmt.Sprintf("%s attempt %d", phase, a.N), Phase: phase, N: a.N})
	return nil
}

// open notes a new attempt. Of many only the newest are kept, and of those in a row
// that could not be started only the last: they are no attempts, and take no room.
func (t *turn) open(r *Record, a Attempt) error {
	drop, n := -1, len(r.Attempts)
	if n >= keepAttempts {
		drop = 0
	}
	if n > 0 {
		switch r.Attempts[n-1].Result.Reason {
		case wrapper.NotStarted, wrapper.Unborn:
			drop = n - 1
		}
	}
	if drop >= 0 {
		old := r.Attempts[drop]
		if err := t.discard(supervisor.Key{ID: r.ID, Phase: old.Phase, N: old.N}); err != nil {
			return err
		}
		t.swept = true
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

// start starts what has been claimed, several at once, and returns an exit for
// each that could not be.
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
		if starts[i].kept && e.parts.Trust != nil {
			if errs[i] = e.parts.Trust(spec.Argv, spec.Env, spec.UID); errs[i] != nil {
				return
			}
		}
		if starts[i].kept {
			dir, err := e.keep(key.ID, spec.UID, spec.GID)
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
		if errors.Is(err, fault.Invalid) || errors.Is(err, fault.Denied) { // it will not be better the next time
			res.Reason, res.Exit = wrapper.Failed, exitNoExec
		}
		failed = append(failed, supervisor.Exit{Key: starts[i].key, Result: res})
	}
	return failed
}
