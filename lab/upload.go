package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"activationd/device"
	"activationd/internal/fault"
)

// The content of the directory in which a plan is kept.
const (
	keptPlan   = "plan"   // the plan that is applied, whole or in part
	keptBefore = "before" // in keptPlan: the state of each device before it was touched
	keptNew    = "new"    // a plan that is being written
	keptGone   = "gone"   // a plan that is undone, and whose files are being removed
)

// ReadKept reads the plan that is kept in a directory, as [ReadPlan] does.
func ReadKept(keep string) (*Plan, map[string]*Platform, error) {
	return ReadPlan(filepath.Join(keep, keptPlan))
}

// Upload copies the plan in dir to the directory keep, then stores the state of each
// device there, and then sends the plan. If keep has another plan, that is undone first.
// The error joins those of all devices. Erase then undoes what was sent.
func (w *Work) Upload(ctx context.Context, dir, keep string) error {
	_, _, err := w.upload(ctx, dir, keep, false)
	return err
}

// Apply is Upload and then Verify. Switches are verified in the session that has sent their
// lines, as far as possible (see readBack): other labs wait for them meanwhile.
func (w *Work) Apply(ctx context.Context, dir, keep string) error {
	p, all, err := w.upload(ctx, dir, keep, true)
	if err != nil {
		return err
	}
	p.Devices = slices.DeleteFunc(p.Devices, func(d DevicePlan) bool { return d.verified })
	return w.Verify(ctx, p, all)
}

func (w *Work) upload(ctx context.Context, dir, keep string, verify bool) (*Plan, map[string]*Platform, error) {
	files, err := readPlanFiles(dir)
	if err != nil {
		return nil, nil, err
	}
	if _, err := parsePlan(dir, files); err != nil {
		return nil, nil, err
	}
	if err := w.keep(ctx, keep, files); err != nil {
		return nil, nil, err
	}
	p, all, err := ReadKept(keep)
	if err != nil {
		return nil, nil, err
	}
	return p, all, w.each(ctx, p, all, func(ctx context.Context, t *deviceSession, d *DevicePlan, p *Platform) (err error) {
		before := filepath.Join(keep, keptPlan, keptBefore, d.Name)
		if len(d.Apply) <= fewLines {
			err = w.send(ctx, t, d, p, before, verify)
		} else if err = w.keepBeforeAlone(ctx, t, d, p, before); err == nil {
			err = device.Send(ctx, t.Target, d.Apply, t.tr, device.SendOptions{Progress: func(lines int) {
				if w.Progress != nil {
					w.Progress(d.Name, lines, len(d.Apply))
				}
			}})
		}
		if err == nil {
			w.say(d.Name, "sent: %d lines", len(d.Apply))
		}
		if state, e := os.ReadFile(before); e == nil && d.Comparable {
			if e := writeDifference(dir, d, string(state)); e != nil { // it is only shown
				w.say(d.Name, "the difference to its previous state is not written: %v", e)
			}
		}
		if err == nil && d.verified {
			w.sayVerified(d)
		}
		return err
	})
}

// keep stores the files of a plan in the directory keep.
func (w *Work) keep(ctx context.Context, keep string, files map[string][]byte) error {
	durable := func(err error) error {
		if err != nil {
			return fmt.Errorf("keeping the plan: %w: %w", err, fault.Unavailable)
		}
		return nil
	}
	switch old, err := os.ReadFile(filepath.Join(keep, keptPlan, manifestName)); {
	case err == nil && bytes.Equal(old, files[manifestName]):
		return nil
	case err == nil:
		w.say("", "another plan was applied before; it is undone first")
		if err := w.Erase(ctx, keep); err != nil {
			return err
		}
	case !errors.Is(err, fs.ErrNotExist):
		return durable(err)
	}
	fresh := filepath.Join(keep, keptNew)
	err := os.RemoveAll(fresh)
	if err == nil {
		err = os.MkdirAll(filepath.Join(fresh, keptBefore), 0o700)
	}
	if err == nil {
		err = writeFiles(fresh, files, true)
	}
	if err == nil {
		err = os.Rename(fresh, filepath.Join(keep, keptPlan))
	}
	if err == nil {
		err = syncDir(keep)
	}
	return durable(err)
}

// A plan of at most fewLines is sent in the session that reads the state before, and all of it
// again after a cut. A longer plan goes on after a cut from the last line that arrived.
const fewLines = 40

func (w *Work) send(ctx context.Context, t *deviceSession, d *DevicePlan, p *Platform, before string, verify bool) error {
	return t.do(ctx, func(s *device.Session) error {
		if err := w.keepBefore(ctx, s, d, p, before); err != nil {
			return err
		}
		if err := s.Configure(ctx, d.Apply); err != nil {
			return err
		}
		if err := s.Save(ctx); err != nil || !verify {
			return err
		}
		d.verified = readBack(ctx, s, d, p)
		return nil
	})
}

// readBack reports whether a switch shows what the plan wants, in the session that has sent it.
// If it does not, Verify reads it back once more in another session. So it does for devices
// that belong to one lab alone: what they show may depend on what the switches carry. And if
// a plan changes how a device is reached, only another session shows that it can be reached.
func readBack(ctx context.Context, s *device.Session, d *DevicePlan, p *Platform) bool {
	if d.Comparable || d.MustBeClean || d.Access.AllowAccessPath {
		return false
	}
	failed, err := unmet(ctx, s, d, p)
	return err == nil && len(failed) == 0
}

// keepBeforeAlone stores the state of a device, in a session of its own.
func (w *Work) keepBeforeAlone(ctx context.Context, t *deviceSession, d *DevicePlan, p *Platform, file string) error {
	if _, err := os.Stat(file); err == nil {
		return nil
	}
	return t.do(ctx, func(s *device.Session) error { return w.keepBefore(ctx, s, d, p, file) })
}

// keepBefore stores the state of a device, unless that is stored already: then the device may
// have been changed since.
func (w *Work) keepBefore(ctx context.Context, s *device.Session, d *DevicePlan, p *Platform, file string) error {
	if _, err := os.Stat(file); err == nil {
		return nil
	}
	state, err := w.readState(ctx, s, d, p)
	if err != nil {
		return err
	}
	if err := errors.Join(writeFile(file, []byte(state), true), syncDir(filepath.Dir(file))); err != nil {
		return fmt.Errorf("%s: storing its previous state: %w: %w", d.Name, err, fault.Unavailable)
	}
	return nil
}

// readState returns the state of a device, as far as the plan changes it.
func (w *Work) readState(ctx context.Context, s *device.Session, d *DevicePlan, p *Platform) (string, error) {
	if d.Comparable {
		state, err := showRunning(ctx, s, p)
		if err == nil {
			err = errors.Join(p.dialect.restorable(d, state), p.dialect.reachable(d, state))
		}
		return state, err
	}
	failed, said, err := failures(ctx, s, d.Clean)
	if err != nil {
		return "", err
	}
	if d.MustBeClean {
		failed = nil
		for _, c := range d.Clean {
			if why := c.Failed(said[c.Show]); why != "" && len(c.Undo) == 0 { // a part with an undo of its own stays
				failed = append(failed, c.About+": "+why)
			}
		}
	}
	if d.MustBeClean && len(failed) > 0 {
		return "", fmt.Errorf("%s: already has a part of what it is to get, which erasing would remove: %s; remove it first, or leave it out of the startup-config: %w",
			d.Name, strings.Join(failed, "; "), fault.Conflict)
	}
	for _, f := range failed {
		w.say(d.Name, "was not clean before: %s", f)
	}
	state, err := indentJSON(said)
	return string(state), err
}
