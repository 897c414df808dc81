package activation

import (
	"context"
	"fmt"
	"strings"

	"activationd/internal/fault"
	"activationd/store"
	"activationd/supervisor"
)

// recover takes up what an earlier daemon left: it adopts what runs, collects
// what has ended meanwhile, and lists all that has to be looked at because of
// that. The comparison that every turn makes does the rest.
func (e *Engine) recover(ctx context.Context) (work, error) {
	var w work
	var open []supervisor.Key
	var stops []supervisor.Key
	var running int
	err := e.parts.DB.Update(ctx, func(tx store.Tx) error {
		open, stops, running = nil, nil, 0
		w = work{}
		t := e.begin(tx)
		last := string(tx.Get(bootID))
		e.rebooted = last != "" && last != e.parts.Boot
		for k := range tx.Scan(runKey, "") {
			r, err := t.get(strings.TrimPrefix(k, runKey))
			if err != nil {
				return err
			}
			a := r.open()
			if a == nil {
				return fmt.Errorf("the index has an open attempt of %s, its record has none: %w", r.ID, fault.Internal)
			}
			open = append(open, supervisor.Key{ID: r.ID, Phase: a.Phase, N: a.N})
			if r.Ending != "" && a.Phase == Activate {
				stops = append(stops, open[len(open)-1])
			}
			if a.Phase == Activate {
				running++
			}
		}
		lines := make(map[string]bool)
		for k := range tx.Scan(queueKey, "") {
			lines[k[strings.LastIndexByte(k, '/')+1:]] = true
		}
		for id := range lines {
			w.ids = append(w.ids, id)
		}
		if err := e.undoActive(t); err != nil {
			return err
		}
		e.hub.publish(t.news)
		if last == e.parts.Boot {
			return nil
		}
		return tx.Put(bootID, []byte(e.parts.Boot))
	})
	if err != nil {
		return w, err
	}
	e.running.Store(int64(running))
	e.open = len(open)
	for _, k := range open {
		found, err := e.parts.Runs.Adopt(k)
		if err != nil {
			return w, err
		}
		if found.State != supervisor.Running {
			w.exits = append(w.exits, supervisor.Exit{Key: k, Result: found.Result})
		}
		e.parts.Log.Info("took up a run", "run", k, "found", found.State, "reason", found.Result.Reason)
	}
	for _, k := range stops { // the earlier daemon may have been killed before it could say so
		if err := e.parts.Runs.Stop(k); err != nil {
			e.parts.Log.Error("cannot stop a run", "run", k, "err", err)
		}
	}
	e.poke()
	return w, nil
}

// undoActive has what was active before the machine was started anew undone,
// and activated again while its slot lasts: a lab does not outlive a power loss.
func (e *Engine) undoActive(t *txn) error {
	if !e.rebooted {
		return nil
	}
	var ids []string
	for k := range t.Scan(activeKey, "") {
		ids = append(ids, strings.TrimPrefix(k, activeKey))
	}
	for _, id := range ids {
		r, err := t.get(id)
		if err != nil {
			return err
		}
		old := r.clone()
		r.Renew, r.Ending = true, Lost // lost only if its slot ends before it is up again
		if err := t.apply(r, Reboot, "the machine was started anew while the lab was up"); err != nil {
			return err
		}
		if err := t.save(old, r); err != nil {
			return err
		}
	}
	return nil
}
