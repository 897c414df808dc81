package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"activationd/device"
	"activationd/internal/fault"
)

// Work brings plans to devices and undoes them. It works on all devices of a plan at once. Its
// methods may be killed at any point and called again.
type Work struct {
	// Activation is the activation for which the work is done, for messages.
	Activation string
	// Locks is a directory with a lock for each device, so that one process at a time writes
	// to it. If it is "", devices are not locked.
	Locks string
	// Transcripts is the directory with a NAME.transcript for each device, to which the
	// session is added. If it is "", no transcript is kept.
	Transcripts string
	// Getenv returns the secrets that are in the environment.
	Getenv func(string) string
	// Say is called with messages about a device, by several goroutines. It may be nil.
	Say func(device, text string)
	// Progress is called with the number of lines of a long configuration that have arrived on
	// a device, by several goroutines. It may be nil.
	Progress func(device string, lines, of int)
	// Logins tells the daemon of a step of a login to a device. It returns why the login must
	// not be tried, or "" if it may be tried, or an error if the daemon could not be asked. It
	// is called by several goroutines. It may be nil.
	Logins func(context.Context, LoginStep) (closed string, err error)

	logins logins
}

func (w *Work) say(name, format string, args ...any) {
	if w.Say != nil {
		w.Say(name, device.MaskSecrets(fmt.Sprintf(format, args...)))
	}
}

// A task is work on one device.
type task func(ctx context.Context, t *deviceSession, d *DevicePlan, p *Platform) error

// each does a task for all devices of a plan at once. All errors are returned.
func (w *Work) each(ctx context.Context, p *Plan, all map[string]*Platform, do task) error {
	errs := make([]error, len(p.Devices))
	var wg sync.WaitGroup
	for i := range p.Devices {
		d := &p.Devices[i]
		wg.Go(func() {
			errs[i] = w.on(ctx, d, all[d.Platform], do)
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// on does a task for one device. Meanwhile the device is locked, and the task has a time limit.
func (w *Work) on(ctx context.Context, d *DevicePlan, p *Platform, do task) error {
	t, err := w.sessionWith(d, p) // while others may still have the lock
	if err != nil {
		return err
	}
	unlock, err := w.lockDevice(ctx, d.Name)
	if err != nil {
		return errors.Join(err, t.close())
	}
	defer unlock()
	limit := timeLimit(len(d.Apply)+len(d.Undo), d.Duration)
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("%s: did not finish within %v: %w", d.Name, limit, fault.Unavailable))
	defer cancel()
	return errors.Join(do(ctx, t, d, p), t.close())
}

// A deviceSession is a device to talk to, and the transcript of what is said.
type deviceSession struct {
	device.Target
	tr    *device.Transcript
	close func() error
	say   func(format string, args ...any)
}

func (w *Work) sessionWith(d *DevicePlan, p *Platform) (*deviceSession, error) {
	if p == nil {
		return nil, fmt.Errorf("%s: platform %s: is not loaded: %w", d.Name, d.Platform, fault.Internal)
	}
	t, err := d.Access.Target(d.Name, p, w.Getenv)
	if err != nil {
		return nil, err
	}
	t.Guard = guard{w}
	say := func(format string, args ...any) { w.say(d.Name, format, args...) }
	t.Notice = func(n device.Notice) { say("%s", n) }
	if w.Transcripts == "" {
		return &deviceSession{t, nil, func() error { return nil }, say}, nil
	}
	f, err := os.OpenFile(filepath.Join(w.Transcripts, d.Name+".transcript"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", d.Name, err, fault.Unavailable)
	}
	tr := device.NewTranscript(f)
	tr.Mask(device.SecretsOf(d.Apply...)...)
	return &deviceSession{t, tr, func() error { return errors.Join(tr.Err(), f.Close()) }, say}, nil
}

// maxAttempts is how often a device that is not reachable is tried.
const maxAttempts = 3

// do calls a function with an open session, and again with another one if the device was not
// reachable. The function must do no harm when it is repeated.
func (t *deviceSession) do(ctx context.Context, do func(*device.Session) error) error {
	pause := time.Second
	for n := 1; ; n++ {
		s, err := device.Open(ctx, t.Target, t.tr)
		if err == nil {
			err = do(s)
			_ = s.Close() // it always returns nil
		}
		if err == nil || !errors.Is(err, fault.Unavailable) || ctx.Err() != nil || n == maxAttempts {
			return err
		}
		t.say("try %d of %d: %s", n, maxAttempts, fault.Text(err))
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
		pause *= 2
	}
}
