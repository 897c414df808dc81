package activation

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"activationd/internal/fault"
	"activationd/loginstore"
	"activationd/supervisor"
	"activationd/supervisor/wrapper"
)

// A View is a record together with facts that follow from other records.
type View struct {
	Record
	WaitsFor []string // the reasons why it does not run: "lock sw1, held by 1042@ostrava"
	Pause    *Pause   // the pause that keeps it from beginning, or will when it is due; nil: none
	Topology string   // the text of the topology in force
	Hidden   bool     // the parts that the client may not see are left out, see [View.For]
	Inputs   bool     // the client may see the input and the variables
	Version  string   // from [Engine.Get]: see [Record.Version]
	Can      bool     // in a list: the client can carry out [Filter.Verb]
}

// Get returns one activation. The error is fault.NotFound when there is none.
func (e *Engine) Get(ctx context.Context, id string) (View, error) {
	var v View
	err := e.View(ctx, func(t *Txn) error {
		r, err := t.Record(id)
		if err != nil {
			return err
		}
		v = t.view(r)
		if v.Version, err = r.Version(); err != nil {
			return err
		}
		for _, which := range []string{"applied", "link", "source"} {
			if which == "applied" && !r.NeedsUndo && r.State != Active {
				continue
			}
			if text := t.topology(id, which); text != nil {
				v.Topology = string(text)
				break
			}
		}
		return nil
	})
	if err == nil && v.Running() {
		if cgroup := e.parts.Runs.Frozen(e.seeRun(&v)); cgroup != "" {
			v.WaitsFor = append(v.WaitsFor, "the thaw of cgroup "+cgroup+", which is frozen")
		}
	}
	return v, err
}

// seeRun fills in when the open attempt of v started its script, and returns the attempt's
// key.
func (e *Engine) seeRun(v *View) supervisor.Key {
	a := v.openAttempt()
	k := supervisor.Key{ID: v.ID, Phase: a.Phase, N: a.N}
	a.Result.PID, a.Result.Started, _ = e.parts.Runs.Started(k)
	return k
}

func (t *Txn) view(r *Record) View {
	v := View{Record: *r.clone()}
	if r.RetryAt.After(t.Now) && r.openAttempt() == nil && (r.State == Waiting || r.State == Deactivating) {
		v.Reason += "; the next try is due at " + TimeText(r.RetryAt)
	}
	if r.State == Scheduled && t.PassedOver(r.activateAt()) {
		v.Reason = "its time was passed over when the clock was set, and the clock is not trusted yet: it waits " + t.believedBy()
	}
	if a := r.hangs(); a != nil {
		v.WaitsFor = append(v.WaitsFor, "the end of process "+wrapper.HungText(a.Result.Hung)+
			", which hangs in the kernel and cannot be killed; if it can do no more harm, forgive "+r.ID)
	}
	if r.State == Waiting || r.State == Scheduled || r.State == Held {
		if v.Pause = t.pauseOf(r); v.Pause != nil && r.State != Waiting && !v.Pause.Until.IsZero() && !v.Pause.Until.After(r.activateAt()) {
			v.Pause = nil
		}
	}
	if r.State == Waiting && r.WaitsOn != waitsOnRetry {
		if on, what := t.waits(r); what != "" { // as of now, not as of when it was queued
			v.WaitsOn, v.WaitsFor = on, append(v.WaitsFor, what)
			if on != r.WaitsOn || on != waitsOnSlot { // for a slot the record's reason says more
				v.Reason = waitsFor + what
			}
		}
	}
	return v
}

// waits says what r, which is waiting, waits for now; empty: nothing, it is about to
// start.
func (t *Txn) waits(r *Record) (on waitKind, what string) {
	if r.WaitsOn == waitsOnEnd {
		return waitsOnEnd, t.awaited(r)
	}
	if p := t.pauseOf(r); p != nil {
		return waitsOnPause, p.String()
	}
	if what := r.conflict(); what != "" {
		return waitsOnConflict, what
	}
	b := t.blocker(r)
	switch {
	case b != "":
		return waitsOnLocks, b
	case r.mayBeOver(t.Moment):
		return waitsOnClock, trustedClock
	case r.WaitsOn == waitsOnSlot:
		return waitsOnSlot, "a free slot"
	case r.WaitsOn == waitsOnStart:
		return waitsOnStart, nextStart
	case r.WaitsOn == waitsOnLoadAvg:
		return waitsOnLoadAvg, t.waitsForLoadAvg()
	}
	return r.WaitsOn, ""
}

// Wait waits until an activation is finished, and returns it. The error is fault.NotFound
// when there is none, and the cause of ctx when that is done first.
func (e *Engine) Wait(ctx context.Context, id string) (View, error) {
	errFinished := errors.New("finished")
	look := func() (v View, err error) {
		if v, err = e.Get(ctx, id); err == nil && v.State == Finished {
			err = errFinished
		}
		return v, err
	}
	since, err := e.Newest(ctx)
	if err != nil {
		return View{}, err
	}
	v, err := look()
	if err == nil {
		err = e.Follow(ctx, since, Concerns(v.ID, func() (err error) {
			v, err = look()
			return err
		}))
	}
	if errors.Is(err, errFinished) {
		return v, nil
	}
	return v, err
}

// A Log is an attempt with its output.
type Log struct {
	Attempt Attempt
	engine  *Engine
	run     supervisor.Key
}

// An Output is the opened output of an attempt.
type Output = supervisor.Output

// here returns an error if the attempt has no directory on this host: fs.ErrNotExist if it did not run.
func (l Log) here(what string) error {
	switch l.Attempt.Result.Reason {
	case wrapper.NotStarted, wrapper.Void, wrapper.Unborn: // a directory of its name may be another run's, from before a backup was restored
		return fmt.Errorf("%s attempt %d did not run: %w", l.Attempt.Phase, l.Attempt.N, fs.ErrNotExist)
	}
	if host := l.Attempt.Host; host != "" && host != l.engine.home.host {
		return fmt.Errorf("the %s of %s attempt %d is on host %s: ask its daemon: %w", what, l.Attempt.Phase, l.Attempt.N, host, fault.Unavailable)
	}
	return nil
}

// Open opens the output for reading. The caller closes it. The error is fs.ErrNotExist if
// the attempt has written nothing yet or its output was removed, and of kind
// fault.Unavailable if the output is on another host.
func (l Log) Open() (*Output, error) {
	if err := l.here("output"); err != nil {
		return nil, err
	}
	return supervisor.OpenOutput(func(name string) (*os.File, error) { return l.engine.parts.Runs.Open(l.run, name) })
}

// A File is a file of the configuration directory of an attempt.
type File = supervisor.File

// Files lists the files of the attempt's configuration directory, also while it runs: 1000 at most, with none whose
// name begins with a dot. The errors are those of Open.
func (l Log) Files() ([]File, error) {
	if err := l.here("configuration directory"); err != nil {
		return nil, err
	}
	return l.engine.parts.Runs.Files(l.run)
}

// OpenFile opens one of Files for reading. The caller closes it. It is of kind fault.Invalid to ask for something
// that Files does not list.
func (l Log) OpenFile(name string) (*os.File, error) {
	if err := l.here("configuration directory"); err != nil {
		return nil, err
	}
	return l.engine.parts.Runs.Open(l.run, wrapper.ConfigDir+"/"+name)
}

// Logs returns an activation and its attempts with their output, the oldest first. The
// error is of kind fault.Denied if by may not see the activation.
func (e *Engine) Logs(ctx context.Context, by Actor, id string) (View, []Log, error) {
	v, err := e.Get(ctx, id)
	if err != nil {
		return v, nil, err
	}
	if err := by.check(&v.Record); err != nil {
		return v.For(by), nil, err
	}
	logs := make([]Log, len(v.Attempts))
	for i, a := range v.Attempts { // the id may have been given as 07
		logs[i] = Log{Attempt: a, engine: e, run: supervisor.Key{ID: v.ID, Phase: a.Phase, N: a.N}}
	}
	return v, logs, nil
}

// Settings returns the settings in force.
func (e *Engine) Settings() *Settings { return e.settings.Load() }

// NextDue is when the activation's next step is due; zero if the time brings none: it is
// finished or stuck, say, or a job is held or runs.
func (r *Record) NextDue() time.Time {
	switch at, _ := r.due(); {
	case r.State == Finished:
		return time.Time{}
	case at.Equal(atOnce):
		return r.Since
	default:
		return at
	}
}

// listedAt is the time that decides its place in a list, while it is not finished.
func (r *Record) listedAt() time.Time {
	if at := r.NextDue(); !at.IsZero() {
		return at
	}
	return r.activateAt()
}

// SourceName is the name of the source that announces the reservation; empty: none.
func (r *Record) SourceName() string { return SourceName(r.Source) }

// RunDir returns the directory of an attempt.
func (e *Engine) RunDir(id string, a Attempt) string {
	return e.parts.Runs.RunDir(supervisor.Key{ID: id, Phase: a.Phase, N: a.N})
}

// A Status is the engine's own state.
type Status struct {
	Began      time.Time
	Guard, Why string
	Generation uint64
	Next       time.Time // the next time at which an unfinished activation is due; zero: none
	Running    int       // open attempts
	Hanging    int       // open attempts whose script has ended, but not all of its processes
	States     map[State]int
	Draining   bool
	Doubt      string // why the clock is not trusted; empty: it is trusted
	Logins     int    // logins that devices refused, and that are not tried again
}

// Status returns the engine's own state. It reads no records, so it is fast however many
// there are.
func (e *Engine) Status(ctx context.Context) (Status, error) {
	var s Status
	guard, why := e.parts.Runs.Guard()
	err := e.View(ctx, func(t *Txn) error {
		s = Status{Began: e.began, Guard: guard, Why: why, States: make(map[State]int), Draining: e.Draining()}
		s.Doubt = t.why()
		s.Generation = number(t, generation)
		s.Next = earliest(first(t, startKey), first(t, instantKey))
		for _, mark := range t.Scan(runKey, "") {
			if string(mark) == hangsMark {
				s.Hanging++
			} else {
				s.Running++
			}
		}
		counts := t.stateCounts()
		for _, st := range States {
			s.States[st] = counts[st]
		}
		closed, err := loginstore.List(t, (*loginstore.Login).Closed)
		s.Logins = len(closed)
		return err
	})
	return s, err
}
