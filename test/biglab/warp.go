package biglab

import (
	"context"
	"io/fs"
	"os"
	"sync"
	"time"

	"activationd/activation"
	"activationd/schedule"
	"activationd/supervisor"
	"activationd/supervisor/wrapper"
)

// A warp is an engine's clock, alarm and supervisor. The clock stands still while the engine has
// something to do, and then goes on to when something is due. Runs end at once.
type warp struct {
	mu    sync.Mutex
	now   time.Time
	want  time.Time // the alarm's
	wakes chan schedule.Wake
	exits chan supervisor.Exit
	runs  int
}

func newWarp(at time.Time) *warp {
	return &warp{now: at, wakes: make(chan schedule.Wake, 1), exits: make(chan supervisor.Exit, 1<<16)}
}

// goTo lets the engine do all that is due until a time.
func (w *warp) goTo(ctx context.Context, e *activation.Engine, end time.Time) error {
	for {
		// Twice: it may have answered before it took what was there.
		for range 2 {
			if err := e.Alive(ctx); err != nil {
				return err
			}
		}
		if len(w.exits) > 0 || len(w.wakes) > 0 {
			continue
		}
		w.mu.Lock()
		over := w.want.IsZero() || w.want.After(end)
		switch {
		case over:
			w.now = end
		case w.want.After(w.now):
			w.now = w.want
		}
		w.mu.Unlock()
		if over {
			return nil
		}
		select {
		case w.wakes <- schedule.Wake{}:
		default:
		}
	}
}

func (w *warp) Now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

// Uptime is that of the machine at that time, which may be before its start: so the daemon that goes
// on with the store trusts the clock.
func (w *warp) Uptime() time.Duration { return schedule.Clock{}.Uptime() - time.Since(w.Now()) }
func (w *warp) Synchronised() bool    { return true }

func (w *warp) Set(at time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.want = at
}

func (w *warp) C() <-chan schedule.Wake { return w.wakes }

func (w *warp) Start(k supervisor.Key, _ wrapper.Spec) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	x := supervisor.Exit{Key: k, Result: wrapper.Result{Reason: wrapper.Exited, Started: w.now, Ended: w.now}}
	if w.runs++; w.runs%failing == 0 && k.Phase == activation.Activate {
		x.Result.Exit = 1
	}
	w.exits <- x
	return nil
}

func (w *warp) Exits() <-chan supervisor.Exit                                  { return w.exits }
func (w *warp) Adopt(supervisor.Key) (supervisor.Found, error)                 { return supervisor.Found{}, nil }
func (w *warp) Stop(supervisor.Key) error                                      { return nil }
func (w *warp) Kill(supervisor.Key) error                                      { return nil }
func (w *warp) AwaitStart(supervisor.Key) error                                { return nil }
func (w *warp) Begins() <-chan supervisor.Key                                  { return nil }
func (w *warp) Frozen(supervisor.Key) string                                   { return "" }
func (w *warp) RunDir(supervisor.Key) string                                   { return "" }
func (w *warp) Files(supervisor.Key) ([]supervisor.File, error)                { return nil, nil }
func (w *warp) Open(supervisor.Key, string) (*os.File, error)                  { return nil, fs.ErrNotExist }
func (w *warp) Workdir(string, int, int) (string, error)                       { return "", nil }
func (w *warp) RemoveWorkdir(context.Context, string) error                    { return nil }
func (w *warp) Workdirs() ([]string, error)                                    { return nil, nil }
func (w *warp) Remove(context.Context, supervisor.Key) error                   { return nil }
func (w *warp) Size(supervisor.Key) int64                                      { return 0 }
func (w *warp) Guard() (guard, why string)                                     { return "", "" }
func (w *warp) Started(supervisor.Key) (int, time.Time, bool)                  { return 0, time.Time{}, false }
func (w *warp) CloseSockets(func() (_, _ []string, _ error)) ([]string, error) { return nil, nil }
