package activation

import (
	"context"
	"fmt"
	"strings"

	"activationd/internal/fault"
	"activationd/store"
	"activationd/supervisor"
	"activationd/supervisor/wrapper"
	"activationd/vlanstore"
)

// recover takes up what an earlier daemon left: it adopts what runs, collects
// what has ended meanwhile, and lists those whose turn may have come. The
// comparison that every turn makes does the rest. Where it is not known what
// has become of a run, it is tried again with each call.
func (e *Engine) recover(ctx context.Context, w *work) error {
	if !w.recovered {
		if err := e.survey(ctx, w); err != nil {
			return fmt.Errorf("taking up what an earlier daemon left: %w", err)
		}
		w.recovered = true
		if err := e.parts.DB.View(ctx, vlanstore.Verify); err != nil && ctx.Err() == nil {
			e.parts.Log.Error("what the state has of VLANs is not sound; see that nobody has one twice, and restore a backup", "err", err)
		}
		e.findKept(ctx)
		token(e.evidence)
	}
	// Some at a time, that Run may answer and start what is due between them;
	// after a reboot all, because nothing of it runs: that is quick, and one
	// turn must hear of it all.
	todo, later := w.adopt, []supervisor.Key(nil)
	if n := adoptAtOnce; len(todo) > n && !e.rebooted {
		todo, later = todo[:n], todo[n:]
		e.poke()
	}
	founds := make([]supervisor.Found, len(todo))
	errs := make([]error, len(todo))
	each(len(todo), func(i int) { founds[i], errs[i] = e.adopt(todo[i]) })
	w.adopt = later
	for i, k := range todo {
		if errs[i] != nil {
			e.parts.Log.Error("cannot find out whether a run goes on; trying again", "run", k, "err", errs[i], "in", retryPause)
			w.adopt = append(w.adopt, k)
			continue
		}
		e.parts.Log.Info("took up a run", "run", k, "found", founds[i].State, "reason", founds[i].Result.Reason)
		if founds[i].State != supervisor.Running {
			w.exits = append(w.exits, supervisor.Exit{Key: k, Result: founds[i].Result})
		} else {
			e.stopIfAsked(ctx, k)
		}
	}
	return nil
}

// adoptAtOnce bounds how many runs are adopted between two turns.
const adoptAtOnce = 64

// adopt finds out what has become of a run.
func (e *Engine) adopt(k supervisor.Key) (supervisor.Found, error) {
	found, err := e.parts.Runs.Adopt(k)
	switch {
	case !e.rebooted:
	case err != nil: // nothing outlives the machine's end
		return supervisor.Found{State: supervisor.Lost, Result: wrapper.Result{Reason: wrapper.Lost, Text: fault.Text(err), Exit: -1}}, nil
	case found.State == supervisor.Void, found.State == supervisor.Unborn:
		// Its directory shows nothing of it, but may have lost that with the power.
		found.State, found.Result.Reason = supervisor.Lost, wrapper.Lost
		found.Result.Text = "the machine went down meanwhile"
	}
	return found, err
}

// stopIfAsked stops a run that has just been adopted, if that was decided while
// nobody could do it.
func (e *Engine) stopIfAsked(ctx context.Context, k supervisor.Key) {
	var r *Record
	err := e.parts.DB.View(ctx, func(tx store.Tx) (err error) {
		r, err = e.begin(tx).get(k.ID)
		return err
	})
	if err != nil {
		e.parts.Log.Error("cannot read whether a run is to be stopped", "run", k, "err", err)
	} else if r.Stopped {
		e.stop(k)
	}
}

// survey reads what an earlier daemon left. It changes nothing.
func (e *Engine) survey(ctx context.Context, w *work) error {
	return e.parts.DB.View(ctx, func(tx store.Tx) error {
		t := e.begin(tx)
		if err := t.complete(); err != nil {
			return err
		}
		last := string(tx.Get(bootID))
		e.newBoot, e.rebooted = last != e.parts.Boot, last != "" && last != e.parts.Boot
		w.adopt, w.ids = nil, nil
		running, hung := 0, 0
		for k := range tx.Scan(runKey, "") {
			id := strings.TrimPrefix(k, runKey)
			r, err := t.get(id)
			if err != nil || r.open() == nil {
				e.parts.Log.Error("leaving alone a record with an open attempt that cannot be read", "id", id, "err", err)
				continue
			}
			a := r.open()
			w.adopt = append(w.adopt, supervisor.Key{ID: r.ID, Phase: a.Phase, N: a.N})
			w.ids = append(w.ids, r.ID)
			switch {
			case a.Hangs():
				hung++
			case a.Phase == Activate:
				running++
			}
		}
		e.running.Store(int64(running))
		e.open = len(w.adopt) - hung
		w.ids = append(w.ids, t.firstInLine()...)
		w.ids = append(w.ids, t.awaitedNoMore()...)
		return nil
	})
}

// countedAtOnce is up to how many records are counted when the daemon starts; of
// more, that would keep those waiting who are due.
const countedAtOnce = 100_000

// complete reports whether the records are all there: a page of the file that was
// damaged so that it is sound, but has fewer, shows nowhere else.
func (t *txn) complete() error {
	want, have := 0, 0
	for _, s := range States {
		want += int(number(t, stateNumber+string(s)))
	}
	if want > countedAtOnce {
		return nil
	}
	for range t.Scan(recordKey, "") {
		have++
	}
	if have != want {
		return fmt.Errorf("the state has %d activations, and should have %d: it is damaged; stop activationd, move the state file away, and put the newest backup in its place: %w", have, want, fault.Invalid)
	}
	return nil
}

// firstInLine lists who is first in line for any lock.
func (t *txn) firstInLine() (ids []string) {
	for from := queueKey; ; {
		more := false
		for k := range t.Scan(queueKey, from) {
			lock, rest, _ := strings.Cut(strings.TrimPrefix(k, queueKey), "/")
			_, id, _ := strings.Cut(rest, "/")
			ids = append(ids, id)
			from, more = queueKey+lock+"0", true // after the last that begins with lock and a slash
			break
		}
		if !more {
			return ids
		}
	}
}

// boot notes that the machine was started anew. What was active then is undone,
// and activated again while its slot lasts: a lab does not outlive a power loss.
func (t *turn) boot(id string) error {
	if err := t.Put(bootID, []byte(id)); err != nil || !t.rebooted {
		return err
	}
	if err := t.atBoot(); err != nil {
		return err
	}
	var ids []string
	for k := range t.Scan(activeKey, "") {
		ids = append(ids, strings.TrimPrefix(k, activeKey))
	}
	for _, id := range ids {
		r, err := t.get(id)
		if err != nil {
			t.log.Error("leaving a record alone that cannot be read", "id", id, "err", err)
			continue
		}
		old := r.clone()
		if err := t.undoAfterReboot(r); err != nil {
			return err
		}
		if err := t.save(old, r); err != nil {
			return err
		}
	}
	return nil
}

// undoAfterReboot has a lab undone that was up when the machine went down.
func (t *turn) undoAfterReboot(r *Record) error {
	r.Renew, r.Ending = !r.Quit, Lost // lost only if its slot ends before it is up again
	return t.apply(r, Reboot, "the machine was started anew while the lab was up")
}
