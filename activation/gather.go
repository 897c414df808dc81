package activation

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"

	"activationd/internal/fault"
	"activationd/store/once"
)

// A gathering joins the jobs of concurrent calls of [Engine.Add] by one actor: while the
// jobs of some calls are written, those of the next gather, and get one transaction. So
// what each transaction costs is shared, and so are the events of one actor.
type gathering struct {
	mu    sync.Mutex
	lanes map[Actor]*lane // of actors who are adding jobs
}

// A lane has the calls of one actor.
type lane struct {
	users   int           // the number of calls
	busy    chan struct{} // capacity one: holds a value while jobs are written
	crowded bool          // the jobs written last were of several calls; used only by the call that fills busy
	next    *gathered     // the jobs that gather; nil: there are none
}

// gathered are jobs that are added together.
type gathered struct {
	jobs  []*NewJob
	ids   []string
	calls int
	added []Added
	err   error
	done  chan struct{} // closed when added and err are set
}

// When gatherMost jobs have gathered, no other call joins them. So a transaction does not
// delay starts that are due.
const gatherMost = 256

// enter adds a call's jobs to those that gather. At is the place of the call's first job among
// them. The call whose place is 0 has to write all of them.
func (g *gathering) enter(by Actor, jobs []NewJob, ids []string) (l *lane, all *gathered, at int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.lanes == nil {
		g.lanes = make(map[Actor]*lane)
	}
	if l = g.lanes[by]; l == nil {
		l = &lane{busy: make(chan struct{}, 1)}
		g.lanes[by] = l
	}
	l.users++
	if l.next == nil || len(l.next.jobs) >= gatherMost {
		l.next = &gathered{done: make(chan struct{})}
	}
	all, at = l.next, len(l.next.jobs)
	for i := range jobs {
		all.jobs = append(all.jobs, &jobs[i])
	}
	all.ids = append(all.ids, ids...)
	all.calls++
	return l, all, at
}

// end ends the gathering of jobs: no call joins them any more.
func (g *gathering) end(l *lane, all *gathered) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if l.next == all {
		l.next = nil
	}
}

func (g *gathering) leave(by Actor, l *lane) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if l.users--; l.users == 0 {
		delete(g.lanes, by)
	}
}

// addTogether adds jobs together with those of other calls by the same actor.
func (e *Engine) addTogether(ctx context.Context, by Actor, jobs []NewJob, ids []string) ([]Added, error) {
	if once.Of(ctx) { // each has a transaction of its own, which writes its key
		return e.addAlone(ctx, by, jobs, ids)
	}
	l, all, at := e.gathering.enter(by, jobs, ids)
	defer e.gathering.leave(by, l)
	if at == 0 {
		e.addGathered(context.WithoutCancel(ctx), by, l, all)
	}
	<-all.done
	return all.added[at : at+len(jobs)], all.err
}

// addAlone adds jobs under the key of their request. If one is not valid, none is added, and the
// key can be used again.
func (e *Engine) addAlone(ctx context.Context, by Actor, jobs []NewJob, ids []string) ([]Added, error) {
	added := make([]Added, len(jobs))
	err := e.UpdateBy(ctx, by, func(t *Txn) (err error) {
		if e.Draining() {
			return errDraining
		}
		for i := range jobs {
			if added[i], err = t.addJob(&jobs[i], ids[i]); err == nil {
				err = added[i].Err
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	return added, err
}

// errDraining is why no job is added while the daemon is being drained.
var errDraining = fmt.Errorf("the daemon is being drained and takes no new work: %w", fault.Unavailable)

// addGathered waits until the jobs before are written, and then adds all that have gathered.
func (e *Engine) addGathered(ctx context.Context, by Actor, l *lane, all *gathered) {
	l.busy <- struct{}{}
	if l.crowded {
		runtime.Gosched() // so that the callers whose jobs were just written can add their next ones
	}
	e.gathering.end(l, all)
	l.crowded = all.calls > 1
	all.added = make([]Added, len(all.jobs))
	all.err = fmt.Errorf("adding the jobs was given up: %w", fault.Unavailable) // if the store panics
	defer func() {
		<-l.busy
		close(all.done)
	}()
	if e.addInTurn(by, all) {
		return
	}
	all.err = e.addAll(ctx, by, all)
}

// An addition is jobs that are due at once. Run adds them in the transaction that claims them, so they start
// earlier by the time of one transaction. They are handed over only while Run waits for work, so no caller waits for
// another transaction of Run.
type addition struct {
	by   Actor
	all  *gathered
	done chan bool // receives true if they were added, or if that failed, with the error in all; false if they must be added in another way
}

// addedInTurn bounds how many jobs Run adds at once, because the reply to them waits for the whole transaction of Run.
const addedInTurn = 8

// addInTurn lets Run add jobs if they are few and due at once, and if Run waits for work. It returns false if the jobs
// must be added in another way: then nothing was written. If it returns true, all has the result.
func (e *Engine) addInTurn(by Actor, all *gathered) bool {
	if len(all.jobs) > addedInTurn || e.Draining() {
		return false
	}
	for _, j := range all.jobs {
		if !j.At.IsZero() || j.Hold {
			return false
		}
	}
	a := &addition{by, all, make(chan bool, 1)}
	select {
	case e.additions <- a:
		return <-a.done
	default:
		return false
	}
}

// add adds the jobs of an addition.
func (t *turn) add(a *addition) (err error) {
	if a == nil {
		return nil
	}
	if t.draining { // since the addition was handed over
		return errDraining
	}
	t.actor = a.by.Event()
	for i := range a.all.jobs {
		if a.all.added[i], err = t.addJob(a.all.jobs[i], a.all.ids[i]); err != nil {
			return err
		}
	}
	t.actor = nil
	return nil
}

// answer ends the addition, if there is one. Its jobs were added, or the transaction failed with err.
func (w *work) answer(err error) {
	a := w.add
	if a == nil {
		return
	}
	w.add = nil
	if a.all.err = err; errors.Is(err, context.Canceled) {
		a.all.err = fmt.Errorf("adding the jobs was given up, because the daemon ends: %w", fault.Unavailable)
	}
	a.done <- !errors.Is(err, errTooMuch)
}

// addAll adds the jobs in one transaction, if the store takes it.
func (e *Engine) addAll(ctx context.Context, by Actor, all *gathered) error {
	update := func(fn func(*Txn) error) error { return e.UpdateBy(ctx, by, fn) }
	done, err := e.Slices(len(all.jobs), update, func(t *Txn, i int) (err error) {
		if e.Draining() {
			return errDraining
		}
		all.added[i], err = t.addJob(all.jobs[i], all.ids[i])
		return err
	})
	if done == 0 {
		return err
	}
	for i := done; i < len(all.jobs); i++ {
		all.added[i] = Added{Err: err}
	}
	return nil
}
