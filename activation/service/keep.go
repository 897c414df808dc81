package service

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"time"

	"activationd/activation"
	"activationd/activation/service/probe"
	"activationd/event"
	"activationd/internal/fault"
	"activationd/supervisor"
	"activationd/supervisor/wrapper"
)

// A Place is where the checks of instances are made.
type Place struct {
	// Command runs a command as an instance runs, and kills it with all its processes when ctx
	// ends.
	Command func(ctx context.Context, r *activation.Record, argv []string) error
	// Log opens the log of a run; see [probe.Instance].
	Log func(k supervisor.Key, back int) (*os.File, error)
	// Notices yields what runs have reported by sd_notify(3), and Notified is what one has
	// reported so far.
	Notices  <-chan supervisor.Notice
	Notified func(supervisor.Key) (wrapper.Notified, bool)
	// Report is the log of the daemon.
	Report *slog.Logger
}

// Run checks the instances that have checks, and carries out rolling restarts, until ctx is
// done. It tells the engine what comes of it.
func (o *Roster) Run(ctx context.Context, place Place) error {
	k := &keeper{roster: o, place: place, runs: make(map[string]supervisor.Key)}
	k.probes = probe.New(func(r probe.Report) { k.report(ctx, r) })
	o.mu.Lock()
	o.probes = k.probes
	o.mu.Unlock()
	done := make(chan error, 3)
	go func() { done <- k.probes.Run(ctx) }()
	go func() { done <- k.listen(ctx) }()
	go func() { done <- k.followRollouts(ctx) }()
	err := k.follow(ctx)
	return errors.Join(err, <-done, <-done, <-done)
}

// Lacks says why an instance that is starting is not ready yet, as far as its checks know.
func (o *Roster) Lacks(r *activation.Record) string {
	o.mu.Lock()
	probes := o.probes
	o.mu.Unlock()
	a := r.LastAttempt("")
	if probes == nil || a == nil {
		return ""
	}
	return probes.Lacks(supervisor.Key{ID: r.ID, Phase: a.Phase, N: a.N}.String())
}

// A keeper hands the runs of instances to the probes. Its goroutine is Run's caller; rolls is
// followRollouts'.
type keeper struct {
	roster *Roster
	place  Place
	probes *probe.Keeper
	runs   map[string]supervisor.Key // those that are checked, by instance
	rolls  map[string]bool           // the services whose rollouts go on
}

// listen hands on what runs report.
func (k *keeper) listen(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case n := <-k.place.Notices:
			k.probes.Notified(n.Key.String(), notice(&n.Notified))
		}
	}
}

// notice translates what a run has reported. It has reported to its watchdog now if it did so
// within the last second: a notice may be about something else.
func notice(n *wrapper.Notified) probe.Notice {
	said := probe.Notice{
		Ready: !n.Ready.IsZero(), Status: n.Status, Extend: max(0, time.Until(n.Extended)),
		Watchdog: time.Since(n.Watchdog) < time.Second, Trigger: !n.Trigger.IsZero(),
	}
	switch {
	case !n.Stopping.IsZero():
		said.Unready = "it is about to end"
	case !n.Reloading.IsZero():
		said.Unready = "it reloads"
	}
	return said
}

// follow looks at all instances, and then at each of which an event says that a run has
// started or ended. It looks at all again after a new set of declarations.
func (k *keeper) follow(ctx context.Context) error {
	for {
		newest, err := k.roster.engine.Newest(ctx)
		if err != nil {
			return err
		}
		changed := k.roster.changes()
		if err := k.lookAtAll(ctx); err != nil {
			return err
		}
		until, again := context.WithCancelCause(ctx)
		go func() {
			select {
			case <-changed:
			case <-until.Done():
			}
			again(errChanged)
		}()
		err = k.roster.engine.Follow(until, newest, func(e *event.Event) error {
			switch {
			case e.What == event.Gap:
				return errChanged
			case e.Kind != string(activation.Service), e.What != "attempt.started" && e.What != "attempt.ended":
				return nil
			}
			return k.look(until, e.ID)
		})
		again(errChanged)
		if ctx.Err() != nil || !errors.Is(err, errChanged) {
			return err
		}
	}
}

var errChanged = errors.New("the declarations have changed")

// changes returns a channel that is closed when another set of declarations is in force.
func (o *Roster) changes() <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.changed
}

func (k *keeper) lookAtAll(ctx context.Context) error {
	all, err := k.roster.Select(ctx, activation.Actor{}, nil, "")
	if err != nil {
		return err
	}
	for i := range all {
		k.set(&all[i])
	}
	return nil
}

func (k *keeper) look(ctx context.Context, id string) error {
	all, err := k.roster.Select(ctx, activation.Actor{}, []string{id}, "")
	if errors.Is(err, fault.NotFound) {
		k.forget(id)
		return nil
	}
	if err != nil {
		return err
	}
	k.set(&all[0])
	return nil
}

func (k *keeper) forget(id string) {
	if run, ok := k.runs[id]; ok {
		k.probes.Stop(run.String())
		delete(k.runs, id)
	}
}

// set checks an instance's run from now on, if it has one and is declared.
func (k *keeper) set(s *Status) {
	a := s.LastAttempt("")
	if a == nil || !a.Open || s.Declaration == nil {
		k.forget(s.ID)
		return
	}
	run := supervisor.Key{ID: s.ID, Phase: a.Phase, N: a.N}
	if before, ok := k.runs[s.ID]; ok && before != run {
		k.forget(s.ID)
	}
	i, err := s.Declaration.Instance(s.Serving.N)
	if err == nil && i.Ready == nil && i.Alive == nil {
		k.forget(s.ID)
		return
	}
	if err == nil {
		r := s.Record
		err = k.probes.Start(run.String(), probe.Instance{
			Ready: i.Ready, Alive: i.Alive, Within: s.Declaration.ReadyTimeout, Started: a.Claimed, Was: was(&r),
			Runner: runner{k.place, &r}, Log: func(back int) (*os.File, error) { return k.place.Log(run, back) },
		})
	}
	if err != nil {
		k.place.Report.Error("an instance cannot be checked", "id", s.ID, "err", err)
		return
	}
	k.runs[s.ID] = run
	if n, ok := k.place.Notified(run); s.Serving.Notify && ok { // before this daemon followed it
		k.probes.Notified(run.String(), notice(&n))
	}
}

// was is what is known of a run from before.
func was(r *activation.Record) probe.State {
	switch {
	case r.State == activation.Active && r.Serving.Unready != "":
		return probe.Unready
	case r.State == activation.Active:
		return probe.Ready
	}
	return probe.Starting
}

// A runner runs the commands of an instance's checks.
type runner struct {
	place  Place
	record *activation.Record
}

func (r runner) Run(ctx context.Context, argv []string) error {
	return r.place.Command(ctx, r.record, argv)
}

// report tells the engine what a check has found out. It tries again while the store cannot
// write.
func (k *keeper) report(ctx context.Context, r probe.Report) {
	run, ok := supervisor.ParseKey(r.Key)
	on, known := map[probe.State]activation.Trigger{
		probe.Ready: activation.Ready, probe.Unready: activation.Unready, probe.Late: activation.Restart, probe.Dead: activation.Restart,
	}[r.State]
	if !ok || !known {
		return
	}
	for {
		err := k.roster.engine.Check(ctx, run.ID, run.N, on, r.Reason)
		if err == nil || ctx.Err() != nil {
			return
		}
		k.place.Report.Error("cannot record what a check has found out; trying again", "run", r.Key, "state", r.State, "err", err)
		if !errors.Is(err, fault.Unavailable) {
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}
