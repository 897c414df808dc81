package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"activationd/device"
	"activationd/internal/fault"
)

// Work is what brings plans to devices and takes them off again. All devices of a plan
// are worked on at once. Its methods may be killed at any point and called again.
type Work struct {
	// Activation is for whom, in messages.
	Activation string
	// Locks is the directory by which those who write to a device wait for each other;
	// "": they don't.
	Locks string
	// Transcripts is the directory where NAME.transcript is added to; "": nowhere.
	Transcripts string
	// Getenv finds the secrets that are in the environment.
	Getenv func(string) string
	// Say is told of what is done with a device. It may be nil; it is called by several
	// goroutines.
	Say func(device, text string)
	// Logins tells the daemon of a step of a login to a device. It returns why the login must
	// not be tried, "" if it may; an error is that nobody could be asked. It may be nil;
	// it is called by several goroutines.
	Logins func(context.Context, LoginStep) (closed string, err error)

	logins logins
}

func (w *Work) say(name, format string, args ...any) {
	if w.Say != nil {
		w.Say(name, device.MaskSecrets(fmt.Sprintf(format, args...)))
	}
}

// each does one thing with all devices of a plan at once, each locked and within its
// time. All errors are returned.
func (w *Work) each(ctx context.Context, p *Plan, do func(ctx context.Context, d *DevicePlan) error) error {
	errs := make([]error, len(p.Devices))
	var wg sync.WaitGroup
	for i := range p.Devices {
		d := &p.Devices[i]
		wg.Go(func() {
			unlock, err := w.lockDevice(ctx, d.Name)
			if err != nil {
				errs[i] = err
				return
			}
			defer unlock()
			limit := most(len(d.Apply)+len(d.Undo), d.Duration)
			ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("%s: not done within %v: %w", d.Name, limit, fault.Unavailable))
			defer cancel()
			errs[i] = do(ctx, d)
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// A talker is a device, and where what is said with it is kept.
type talker struct {
	device.Target
	tr    *device.Transcript
	close func() error
	say   func(format string, args ...any)
}

func (w *Work) talker(d *DevicePlan, all map[string]*Platform) (*talker, error) {
	p := all[d.Platform]
	if p == nil {
		return nil, fmt.Errorf("%s: platform %s: is not loaded: %w", d.Name, d.Platform, fault.Internal)
	}
	t, err := d.Way.Target(d.Name, p, w.Getenv)
	if err != nil {
		return nil, err
	}
	t.Guard = guard{w}
	say := func(format string, args ...any) { w.say(d.Name, format, args...) }
	t.Notice = func(n device.Notice) { say("%s", n) }
	if w.Transcripts == "" {
		return &talker{t, nil, func() error { return nil }, say}, nil
	}
	f, err := os.OpenFile(filepath.Join(w.Transcripts, d.Name+".transcript"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", d.Name, err, fault.Unavailable)
	}
	tr := device.NewTranscript(f)
	tr.Mask(device.SecretsOf(d.Apply...)...)
	return &talker{t, tr, func() error { return errors.Join(tr.Err(), f.Close()) }, say}, nil
}

// tries is how often something is tried on a device that is away.
const attempts = 3

// session does something in a session, again in another one if the device was away.
// What it does must do no harm twice.
func (t *talker) session(ctx context.Context, do func(*device.Session) error) error {
	pause := time.Second
	for n := 1; ; n++ {
		s, err := device.Open(ctx, t.Target, t.tr)
		if err == nil {
			err = do(s)
			_ = s.Close() // it returns nil
		}
		if err == nil || !errors.Is(err, fault.Unavailable) || ctx.Err() != nil || n == attempts {
			return err
		}
		t.say("try %d of %d: %s", n, attempts, fault.Text(err))
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
		pause *= 2
	}
}

// failures are the checks that fail, as text. Each command is given once.
func failures(ctx context.Context, s *device.Session, checks []Check) ([]string, map[string]string, error) {
	said := map[string]string{}
	var failed []string
	for _, c := range checks {
		answer, ok := said[c.Show]
		if !ok {
			var err error
			answer, err = s.Show(ctx, c.Show)
			if refused, isLine := errors.AsType[*device.LineError](err); isLine {
				answer = refused.Said // what isn't there may be an error to ask for
			} else if err != nil {
				return nil, nil, err
			}
			said[c.Show] = answer
		}
		if why := c.Failed(answer); why != "" {
			failed = append(failed, c.About+": "+why)
		}
	}
	return failed, said, nil
}

// lines gives lines, and goes on after those that are refused: what is to be undone
// may not be there. It returns what was refused.
func tolerant(ctx context.Context, s *device.Session, lines []string, atOnce bool) (refused []string, err error) {
	for len(lines) > 0 {
		err := s.Configure(ctx, lines)
		e, ok := errors.AsType[*device.LineError](err)
		if !ok {
			return refused, err
		}
		if e.Number < 1 || e.Number > len(lines) {
			return append(refused, e.Error()), nil // the commit: reading back tells
		}
		refused = append(refused, e.Error())
		lines = after(lines, e.Number-1, atOnce)
	}
	return refused, nil
}

// after returns the lines that are left when one was refused: those behind it that do
// not stand under it, with the blocks that they are in. With a commit at the end all
// others, as nothing was done yet.
func after(lines []string, refused int, atOnce bool) []string {
	next := refused + 1
	for next < len(lines) && indentOf(lines[next]) > indentOf(lines[refused]) {
		next++
	}
	if next == len(lines) && !atOnce {
		return nil
	}
	if atOnce {
		return slices.DeleteFunc(slices.Concat(lines[:refused], lines[next:]), func(l string) bool { return deletesAgain(l, lines[refused]) })
	}
	var parents []string
	for i, depth := refused-1, indentOf(lines[next]); i >= 0 && depth > 0; i-- {
		if in := indentOf(lines[i]); in < depth {
			parents, depth = append([]string{lines[i]}, parents...), in
		}
	}
	return append(parents, lines[next:]...)
}

func indentOf(l string) int { return len(l) - len(strings.TrimLeft(l, " ")) }

// Verify reads back from all devices whether what the plan wants is there. The kind of
// the error is [fault.Conflict] when it isn't.
func (w *Work) Verify(ctx context.Context, p *Plan, all map[string]*Platform) error {
	return w.each(ctx, p, func(ctx context.Context, d *DevicePlan) error {
		t, err := w.talker(d, all)
		if err != nil {
			return err
		}
		err = t.session(ctx, func(s *device.Session) error {
			failed, err := lacking(ctx, s, d, all[d.Platform])
			if err != nil {
				return err
			}
			if len(failed) > 0 {
				return fmt.Errorf("%s: is not as it was configured: %s: %w", d.Name, strings.Join(failed, "; "), fault.Conflict)
			}
			return nil
		})
		if err == nil {
			w.say(d.Name, "verified: %d lines", len(d.Apply)-len(d.Unverified))
			for _, l := range d.Unverified {
				w.say(d.Name, "not verified, as it can't be read back as it was written: %s", l)
			}
		}
		return errors.Join(err, t.close())
	})
}

// showRunning returns a device's configuration, whole: of an answer that was cut nobody
// can tell what lacks in it.
func showRunning(ctx context.Context, s *device.Session, p *Platform) (string, error) {
	running, err := s.Show(ctx, p.dialect.running)
	if err != nil {
		return "", err
	}
	lines := strings.Split(strings.TrimSpace(running), "\n")
	last := strings.TrimSpace(lines[len(lines)-1])
	if re := p.dialect.complete; last == "" || re != nil && !re.MatchString(last) {
		return "", fmt.Errorf("%q ends with %.80q: that is not a whole configuration: %w", p.dialect.running, last, fault.Unavailable)
	}
	return running, nil
}

// lacking returns what a device doesn't have of its plan.
func lacking(ctx context.Context, s *device.Session, d *DevicePlan, p *Platform) ([]string, error) {
	failed, _, err := failures(ctx, s, d.Applied)
	if err != nil || !d.Whole {
		return failed, err
	}
	running, err := showRunning(ctx, s, p)
	if err != nil {
		return nil, err
	}
	for _, l := range p.dialect.missing(d.Apply, running) {
		failed = append(failed, fmt.Sprintf("its configuration has no %q", l))
	}
	return failed, nil
}
