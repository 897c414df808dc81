package activation

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"strings"
	"time"

	"activationd/event"
	"activationd/supervisor"
	"activationd/supervisor/wrapper"
)

// awaitStart has the engine learn when the process of an instance's run exists. If that is not
// possible, the run counts as begun: it should not wait for that forever.
func (e *Engine) awaitStart(k supervisor.Key, w *work) {
	if k.Phase != Serve {
		return
	}
	if err := e.parts.Runs.AwaitStart(k); err != nil {
		e.parts.Log.Warn("cannot learn when the process of a run begins", "run", k, "err", err)
		w.begins = append(w.begins, k)
	}
}

// begun records that the process of an instance's run exists.
func (t *turn) begun(k supervisor.Key) error {
	r, err := t.Record(k.ID)
	if err != nil {
		t.Log(slog.LevelWarn, "the beginning of an unknown run", "run", k, "err", err)
		return nil
	}
	old := r.clone()
	a := r.openAttempt()
	if a == nil || a.Phase != k.Phase || a.N != k.N || a.Begun {
		return nil
	}
	a.Begun = true
	t.Later(t.dependents(ServiceFrom(r.Serving.Service))...)
	if _, err := t.advance(r); err != nil {
		return err
	}
	return t.put(old, r)
}

// Check tells what a check found out about an instance's run: it is ready, it is not ready,
// or it has to be replaced, which counts as a failure. What a check says of an earlier run
// changes nothing.
func (e *Engine) Check(ctx context.Context, id string, run int, on Trigger, why string) error {
	return e.Update(ctx, func(t *Txn) error {
		r, err := t.Record(id)
		if err != nil || r.Kind != Service {
			return err
		}
		a := r.openAttempt()
		if a == nil || a.N != run || r.leaving() {
			return nil
		}
		old := r.clone()
		if r.State == Activating && !a.Begun {
			if a.Passed = on == Ready; on != Restart {
				return t.Save(old, r)
			}
		}
		switch {
		case on == Unready && r.State == Active:
			r.Serving.Unready = why
			t.happened(r, "unready", event.Event{Reason: why})
		case on == Ready && r.Serving.Unready != "":
			t.happened(r, "ready", event.Event{})
		case on == Restart:
			r.Serving.Stop = &ServiceStop{Why: why, Fault: true}
		}
		if err := t.Apply(r, on, why); err != nil {
			return err
		}
		if on == Ready {
			r.Serving.Unready = ""
			t.Later(t.dependents(ServiceFrom(r.Serving.Service))...)
		}
		t.Later(id)
		return t.Save(old, r)
	})
}

// Restart replaces the runs of instances, also of those that are being stopped, or starts them,
// on behalf of an actor.
func (e *Engine) Restart(ctx context.Context, by Actor, ids ...string) ([]*Record, error) {
	return e.instanceVerb(ctx, by, ids, "restarted by "+by.Name, func(t *Txn, r *Record, why string) error {
		return t.runAgain(r, why, "service restart")
	})
}

// RestartInstance makes an instance as it is declared, as [Txn.SetInstance] does, and replaces
// its run also if nothing has changed. It is for one that is not down.
func (t *Txn) RestartInstance(i Instance, why string) error {
	if _, err := t.SetInstance(i, why); err != nil {
		return err
	}
	r, err := t.Record(InstanceID(i.Service, i.N))
	if err != nil || r.openAttempt() != nil && r.Serving.Stop != nil && !r.Serving.Stop.Fault { // it is being replaced
		return err
	}
	old := r.clone()
	if err := t.runAgain(r, why, ""); err != nil {
		return err
	}
	t.Later(r.ID)
	return t.Save(old, r)
}

// Up starts instances that are down or are being stopped, wait for their next try, or are fatal.
func (e *Engine) Up(ctx context.Context, by Actor, ids ...string) ([]*Record, error) {
	return e.instanceVerb(ctx, by, ids, "started by "+by.Name, func(t *Txn, r *Record, why string) error {
		if r.openAttempt() != nil && !r.HoldNext {
			return nil
		}
		return t.runAgain(r, why, "service start")
	})
}

// Down stops instances. They stay down until somebody starts them.
func (e *Engine) Down(ctx context.Context, by Actor, ids ...string) ([]*Record, error) {
	return e.instanceVerb(ctx, by, ids, "stopped by "+by.Name, func(t *Txn, r *Record, why string) error {
		if r.State == Held || r.HoldNext {
			return nil
		}
		r.afresh()
		return t.apply(r, Hold, why, "service stop")
	})
}

// runAgain gives an instance another run, once its open one has ended.
func (t *Txn) runAgain(r *Record, why, action string) error {
	on := RunNow
	if r.openAttempt() != nil {
		on, r.Serving.Stop = Restart, &ServiceStop{Why: why}
	}
	if r.HoldNext { // it is being stopped
		on, r.Serving.StopBy = Release, time.Time{}
		t.stopWith(r)
	}
	r.afresh()
	return t.apply(r, on, why, action)
}

// instanceVerb changes instances on behalf of an actor, and returns their records. If the store
// takes that in one transaction, an error means that none is changed.
func (e *Engine) instanceVerb(ctx context.Context, by Actor, ids []string, why string, fn func(*Txn, *Record, string) error) ([]*Record, error) {
	all := make([]*Record, len(ids))
	update := func(fn func(*Txn) error) error { return e.UpdateBy(ctx, by, fn) }
	_, err := e.Slices(len(ids), update, func(t *Txn, i int) error {
		r, err := t.Record(ids[i])
		if err != nil {
			return err
		}
		if r.Kind != Service || r.State == Finished {
			return unknown(r.ID)
		}
		if err := by.check(r); err != nil {
			return err
		}
		old := r.clone()
		if err := fn(t, r, why); err != nil {
			return err
		}
		all[i] = r
		t.Later(r.ID)
		return t.Save(old, r)
	})
	return all, err
}

// Process returns the process of an open run, and when it was started; zero: not known yet.
func (e *Engine) Process(id string, a *Attempt) (pid int, started time.Time) {
	pid, started, _ = e.parts.Runs.Started(supervisor.Key{ID: id, Phase: a.Phase, N: a.N})
	return pid, started
}

// CheckSpec returns how the command of a check of an instance runs: as the instance's user, in
// its directory and with its environment.
func (e *Engine) CheckSpec(ctx context.Context, r *Record) (spec wrapper.Spec, err error) {
	err = e.View(ctx, func(t *Txn) error {
		a := r.LastAttempt("")
		if a == nil {
			return unknown(r.ID)
		}
		spec = (&turn{Txn: t}).spec(r, a)
		return nil
	})
	if err != nil {
		return spec, err
	}
	err = e.become(&spec, e.Settings().switchTo(r))
	return spec, err
}

// Environments returns the variables with which the process of an instance was started, and
// those with which it would be started by another order. What differs from run to run is left
// out. Runs is nil if no process runs.
func (e *Engine) Environments(r *Record, o Order) (runs, then map[string]string, err error) {
	next, set := *r, e.Settings()
	next.Order = o
	then = variablesOf(environment(set, set.Of(&next), &next, Serve, 1, 0, set.userOf(&next)))
	a := r.openAttempt()
	if a == nil {
		return nil, then, nil
	}
	f, err := e.parts.Runs.Open(supervisor.Key{ID: r.ID, Phase: a.Phase, N: a.N}, wrapper.SpecFile)
	if errors.Is(err, fs.ErrNotExist) { // it is about to be started
		return nil, then, nil
	}
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(f)
	if err != nil {
		return nil, nil, err
	}
	spec, err := wrapper.ParseSpec(string(data))
	if err != nil {
		return nil, nil, err
	}
	return variablesOf(spec.Env), then, nil
}

// variablesOf returns variables by their names, except those that tell a run about itself.
func variablesOf(env []string) map[string]string {
	all := make(map[string]string, len(env))
	for _, kv := range env {
		if name, value, _ := strings.Cut(kv, "="); !strings.HasPrefix(name, "ACTIVATION") {
			all[name] = value
		}
	}
	return all
}
