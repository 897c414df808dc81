package activation

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"activationd/internal/fault"
	"activationd/supervisor"
	"activationd/supervisor/wrapper"
	"activationd/vlanstore"
)

// recover resumes the work of an earlier daemon. It adopts the runs that still run,
// collects the results of those that ended meanwhile, and lists the records that may be
// due; the turns do the rest. Runs whose state cannot be determined are tried again with
// each call.
func (e *Engine) recover(ctx context.Context, w *work) error {
	if !w.recovered {
		if err := e.survey(ctx, w); err != nil {
			return fmt.Errorf("resuming the work of an earlier daemon: %w", err)
		}
		w.recovered = true
		e.tellPaused(ctx)
		if err := e.parts.DB.View(ctx, vlanstore.Verify); err != nil && ctx.Err() == nil {
			e.parts.Log.Error("the records of VLANs are damaged; check that no VLAN is used twice, and restore a backup", "err", err)
		}
		e.findWorkdirs(ctx)
		if err := e.removeOrphans(ctx); err != nil && ctx.Err() == nil {
			e.parts.Log.Error("cannot remove the stored input of jobs that were not added; trying again at the next start", "err", err)
		}
		token(e.sweepNow)
	}
	// A few at a time, so that Run can answer and start what is due in between. After a
	// reboot all at once: none of them runs, so that is quick.
	// First of all those that have sockets, because a run that starts may need these.
	todo, later := w.adopt, []openRun(nil)
	withSockets := 0
	for withSockets < len(todo) && todo[withSockets].sockets {
		withSockets++
	}
	if n := max(adoptAtOnce, withSockets); len(todo) > n && !todo[0].rebooted {
		todo, later = todo[:n], todo[n:]
		e.poke()
	}
	founds := make([]supervisor.Found, len(todo))
	errs := make([]error, len(todo))
	each(len(todo), func(i int) { founds[i], errs[i] = e.adopt(todo[i]) })
	w.adopt = later
	for i, run := range todo {
		k := run.key
		if errs[i] != nil {
			e.parts.Log.Error("cannot find out whether a run still runs; trying again", "run", k, "err", errs[i], "in", retryPause)
			w.adopt = append(w.adopt, run)
			continue
		}
		e.parts.Log.Info("adopted a run", "run", k, "found", founds[i].State, "reason", founds[i].Result.Reason)
		if founds[i].State != supervisor.Running {
			w.exits = append(w.exits, supervisor.Exit{Key: k, Result: founds[i].Result})
		} else {
			if !run.begun {
				e.awaitStart(k, w)
			}
			e.stopIfAsked(ctx, k)
		}
	}
	return nil
}

// adoptAtOnce bounds how many runs are adopted between two turns.
const adoptAtOnce = 64

// An openRun is an attempt whose end is not recorded.
type openRun struct {
	key      supervisor.Key
	rebooted bool // the machine was started again since it was claimed
	sockets  bool // it has a socket that no run before it in the list has
	begun    bool // its process is known to exist
}

// adopt finds out whether a run still runs, or how it ended.
func (e *Engine) adopt(run openRun) (supervisor.Found, error) {
	found, err := e.parts.Runs.Adopt(run.key)
	switch {
	case !run.rebooted:
	case err != nil: // no process survives a reboot
		return supervisor.Found{State: supervisor.Lost, Result: wrapper.Result{Reason: wrapper.Lost, Text: fault.Text(err), Exit: -1}}, nil
	case found.State == supervisor.Void, found.State == supervisor.Unborn:
		// Its directory shows no start, but a power loss may have removed that.
		found.State, found.Result.Reason = supervisor.Lost, wrapper.Lost
		found.Result.Text = "the machine went down meanwhile"
	}
	return found, err
}

// stopIfAsked stops an adopted run, if a stop was requested while no daemon ran.
func (e *Engine) stopIfAsked(ctx context.Context, k supervisor.Key) {
	var r *Record
	err := e.View(ctx, func(t *Txn) (err error) {
		r, err = t.Record(k.ID)
		return err
	})
	if err != nil {
		e.parts.Log.Error("cannot read whether a run must be stopped", "run", k, "err", err)
	} else if r.Stopped {
		e.stop(k)
		if r.Serving != nil && r.Serving.Killed == k.N {
			e.kill(k)
		}
	}
}

// survey reads the open attempts that an earlier daemon left. It changes nothing.
func (e *Engine) survey(ctx context.Context, w *work) error {
	return e.View(ctx, func(t *Txn) error {
		if err := t.complete(); err != nil {
			return err
		}
		e.newBoot = string(t.Get(bootID+t.host)) != e.parts.Boot
		w.adopt, w.ids, e.early = nil, nil, early{}
		running, others := 0, 0
		known := make(map[string]bool) // the addresses of sockets
		for k := range t.Scan(ofHost(runKey, t.host), "") {
			id := strings.TrimPrefix(k, ofHost(runKey, t.host))
			r, err := t.Record(id)
			if err != nil || r.openAttempt() == nil {
				t.Log(slog.LevelError, "a record with an open attempt cannot be read; it is left alone", "id", id, "err", err)
				continue
			}
			a := r.openAttempt()
			o := openRun{key: supervisor.Key{ID: r.ID, Phase: a.Phase, N: a.N}, rebooted: t.rebooted(a), begun: a.Begun}
			if r.Serving != nil {
				for _, address := range slices.Concat(r.Serving.Listen, r.Serving.Before) {
					o.sockets, known[address] = o.sockets || !known[address], true
				}
			}
			if e.early.last.Before(a.NotBefore) { // the earlier daemon may have claimed it early
				e.early.last = a.NotBefore
			}
			w.adopt = append(w.adopt, o)
			w.ids = append(w.ids, r.ID)
			switch {
			case a.Phase == Serve, a.Hangs():
				others++
			case a.Phase == Activate:
				running++
			}
		}
		slices.SortStableFunc(w.adopt, func(a, b openRun) int {
			switch {
			case a.sockets == b.sockets:
				return 0
			case a.sockets:
				return -1
			}
			return 1
		})
		e.budget = budget{activate: running, open: len(w.adopt) - others}
		w.ids = append(w.ids, t.firstInQueues()...)
		w.ids = append(w.ids, t.awaitedNoMore()...)
		w.ids = append(w.ids, t.queuedThoughPaused()...)
		w.ids = append(w.ids, t.Instances("")...) // one may wait for this start
		return nil
	})
}

// countedAtOnce bounds how many records are counted when the daemon starts. Counting
// more would delay the activations that are due, so then none are counted.
const countedAtOnce = 100_000

// complete checks the number of records, if there are not too many. A damaged page of
// the file may look valid, but have fewer records; no other check finds that.
func (t *Txn) complete() error {
	want, have := 0, 0
	for _, n := range t.stateCounts() {
		want += n
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

// firstInQueues lists the record that is first in the queue of each lock.
func (t *Txn) firstInQueues() (ids []string) {
	for from := queueKey; ; {
		more := false
		for k := range t.Scan(queueKey, from) {
			lock, rest, _ := strings.Cut(strings.TrimPrefix(k, queueKey), "/")
			_, id, _ := strings.Cut(rest, "/")
			ids = append(ids, id)
			from, more = queueKey+lock+"0", true // after the last key that begins with lock and a slash
			break
		}
		if !more {
			return ids
		}
	}
}

// boot records that this host was started again. Reservations that were active there are
// undone, and activated again while their slots last: a lab does not survive a power
// loss.
func (t *turn) boot() error {
	if t.Get(bootID+t.host) == nil { // it is the first daemon
		return t.Put(bootID+t.host, []byte(t.Boot))
	}
	var ids []string
	prefix := ofHost(activeKey, t.host)
	for k, boot := range t.Scan(prefix, "") {
		if string(boot) != t.Boot {
			ids = append(ids, strings.TrimPrefix(k, prefix))
		}
	}
	for _, id := range ids {
		if t.unfinished = t.Full(); t.unfinished {
			return nil
		}
		r, err := t.Record(id)
		if err != nil {
			t.Log(slog.LevelError, "a record cannot be read; it is left alone", "id", id, "err", err)
			continue
		}
		old := r.clone()
		if err := t.undoAfterReboot(r); err != nil {
			return err
		}
		if err := t.Save(old, r); err != nil {
			return err
		}
	}
	if err := t.wake(Rebooted); err != nil || t.unfinished {
		return err
	}
	return t.Put(bootID+t.host, []byte(t.Boot))
}

// undoAfterReboot undoes a lab that was up when the machine went down.
func (t *turn) undoAfterReboot(r *Record) error {
	r.serveAgainIf(true)
	r.PendingOutcome = Lost // only if its slot ends before it is up again
	return t.Apply(r, Reboot, "the machine was started again while the lab was up")
}
