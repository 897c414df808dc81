package lab

import (
	"bytes"
	"context"
	"encoding/json"
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

// What a directory to keep has.
const (
	keptPlan   = "plan"   // the plan that is applied, whole or in part
	keptBefore = "before" // in it: of each device that may have been touched, what it was
	keptNew    = "new"    // a plan that is being written
	keptGone   = "gone"   // one that is taken off, of which files are being removed
)

// ReadKept reads the plan that was kept in a directory, as [ReadPlan] does.
func ReadKept(keep string) (*Plan, map[string]*Platform, error) {
	return ReadPlan(filepath.Join(keep, keptPlan))
}

// Upload keeps the plan in dir in the directory keep, then has each device keep what it
// was, and sends. A plan of another kind that keep has is taken off first.
func (w *Work) Upload(ctx context.Context, dir, keep string) error {
	files, err := readPlanFiles(dir)
	if err != nil {
		return err
	}
	if _, err := parsePlan(dir, files); err != nil {
		return err
	}
	if err := w.keep(ctx, keep, files); err != nil {
		return err
	}
	p, all, err := ReadKept(keep)
	if err != nil {
		return err
	}
	return w.each(ctx, p, func(ctx context.Context, d *DevicePlan) error {
		t, err := w.talker(d, all)
		if err != nil {
			return err
		}
		before := filepath.Join(keep, keptPlan, keptBefore, d.Name)
		if len(d.Apply) <= few {
			err = w.send(ctx, t, d, all[d.Platform], before)
		} else if err = w.before(ctx, t, d, all[d.Platform], before); err == nil {
			err = device.Send(ctx, t.Target, d.Apply, t.tr, device.SendOptions{})
		}
		if err == nil {
			w.say(d.Name, "sent: %d lines", len(d.Apply))
		}
		return errors.Join(err, t.close())
	})
}

// keep makes the plan of files the kept one.
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
		w.say("", "another plan was applied before; it is taken off first")
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
		err = writeFiles(fresh, files)
	}
	if err == nil {
		err = os.Rename(fresh, filepath.Join(keep, keptPlan))
	}
	if err == nil {
		err = syncDir(keep)
	}
	return durable(err)
}

// few lines are sent in the session in which the device was looked at, and all of them
// again after a cut; more go on from where they were.
const few = 40

func (w *Work) send(ctx context.Context, t *talker, d *DevicePlan, p *Platform, before string) error {
	return t.session(ctx, func(s *device.Session) error {
		if err := w.keepBefore(ctx, s, d, p, before); err != nil {
			return err
		}
		if err := s.Configure(ctx, d.Apply); err != nil {
			return err
		}
		return s.Save(ctx)
	})
}

// before keeps what a device is, in a session of its own.
func (w *Work) before(ctx context.Context, t *talker, d *DevicePlan, p *Platform, file string) error {
	if _, err := os.Stat(file); err == nil {
		return nil
	}
	return t.session(ctx, func(s *device.Session) error { return w.keepBefore(ctx, s, d, p, file) })
}

// keepBefore keeps what a device is, unless that was done already: then it may have
// been touched since.
func (w *Work) keepBefore(ctx context.Context, s *device.Session, d *DevicePlan, p *Platform, file string) error {
	if _, err := os.Stat(file); err == nil {
		return nil
	}
	state, err := w.look(ctx, s, d, p)
	if err != nil {
		return err
	}
	if err := errors.Join(writeDurable(file, []byte(state)), syncDir(filepath.Dir(file))); err != nil {
		return fmt.Errorf("%s: keeping what it was: %w: %w", d.Name, err, fault.Unavailable)
	}
	return nil
}

// look returns what a device is, as far as the plan changes it.
func (w *Work) look(ctx context.Context, s *device.Session, d *DevicePlan, p *Platform) (string, error) {
	if d.Whole {
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
	if d.Bare {
		failed = nil
		for _, c := range d.Clean {
			if why := c.Failed(said[c.Show]); why != "" && len(c.Undo) == 0 { // what has its own undo stays
				failed = append(failed, c.About+": "+why)
			}
		}
	}
	if d.Bare && len(failed) > 0 {
		return "", fmt.Errorf("%s: has something of what it is to get already, and would lose that at the end: %s; take it off first, or leave it out of the startup-config: %w",
			d.Name, strings.Join(failed, "; "), fault.Conflict)
	}
	for _, f := range failed {
		w.say(d.Name, "was not clean before: %s", f)
	}
	state, err := indentJSON(said)
	return string(state), err
}

// without returns what is to be undone and to be proved of a device that had some parts
// before: those stay.
func (d *DevicePlan) without(before string) (undo []string, clean []Check) {
	var said map[string]string
	if json.Unmarshal([]byte(before), &said) != nil {
		return d.Undo, d.Clean // kept by an older version, which said nothing of parts
	}
	had := map[string]bool{} // by what undoes a part
	for _, c := range d.Clean {
		if len(c.Undo) == 0 {
			continue
		}
		part := strings.Join(c.Undo, "\n")
		answer, asked := said[c.Show]
		if _, known := had[part]; !known {
			had[part] = true
		}
		had[part] = had[part] && asked && !slices.ContainsFunc(d.Applied, func(a Check) bool {
			return a.About == c.About && a.Show == c.Show && a.Failed(answer) != ""
		})
	}
	clean = slices.DeleteFunc(slices.Clone(d.Clean), func(c Check) bool { return had[strings.Join(c.Undo, "\n")] })
	lines := "\n" + strings.Join(d.Undo, "\n") + "\n"
	for part, stays := range had {
		if stays {
			lines = strings.Replace(lines, "\n"+part+"\n", "\n", 1)
		}
	}
	return strings.FieldsFunc(lines, func(c rune) bool { return c == '\n' }), clean
}

// Erase takes off what the directory keep says was applied, whole or in part, and
// removes it from there when every device has proved that it is clean. Nothing kept is
// nothing to do.
func (w *Work) Erase(ctx context.Context, keep string) error {
	for _, name := range []string{keptNew, keptGone} { // of those who were killed
		if err := os.RemoveAll(filepath.Join(keep, name)); err != nil {
			return fmt.Errorf("%w: %w", err, fault.Unavailable)
		}
	}
	if _, err := os.Stat(filepath.Join(keep, keptPlan)); errors.Is(err, fs.ErrNotExist) {
		w.say("", "nothing was applied")
		return nil
	}
	p, all, err := ReadKept(keep)
	if err != nil {
		return err
	}
	touched := *p
	touched.Devices = nil
	before := map[string]string{}
	for _, d := range p.Devices {
		state, err := os.ReadFile(filepath.Join(keep, keptPlan, keptBefore, d.Name))
		if errors.Is(err, fs.ErrNotExist) {
			continue // not a byte was sent to it
		}
		if err != nil {
			return fmt.Errorf("%w: %w", err, fault.Unavailable)
		}
		touched.Devices = append(touched.Devices, d)
		before[d.Name] = string(state)
	}
	err = w.each(ctx, &touched, func(ctx context.Context, d *DevicePlan) error {
		t, err := w.talker(d, all)
		if err != nil {
			return err
		}
		err = t.session(ctx, func(s *device.Session) error { return w.eraseOne(ctx, s, d, all[d.Platform], before[d.Name]) })
		if err == nil {
			w.say(d.Name, "is clean")
		}
		return errors.Join(err, t.close())
	})
	if err != nil {
		return err
	}
	gone := filepath.Join(keep, keptGone)
	err = os.Rename(filepath.Join(keep, keptPlan), gone)
	if err == nil {
		err = errors.Join(syncDir(keep), os.RemoveAll(gone))
	}
	if err != nil {
		return fmt.Errorf("%w: %w", err, fault.Unavailable)
	}
	return nil
}

// eraseOne makes a device what it was, and proves it.
func (w *Work) eraseOne(ctx context.Context, s *device.Session, d *DevicePlan, p *Platform, before string) error {
	undo := w.eraseParts
	if d.Whole {
		undo = w.eraseWhole
	}
	failed, err := undo(ctx, s, d, p, before)
	if err != nil {
		return err
	}
	if len(failed) > 0 {
		return fmt.Errorf("%s: is not clean: %s: %w", d.Name, strings.Join(failed[:min(len(failed), 10)], "; "), fault.Conflict)
	}
	return s.Save(ctx)
}

// give gives lines that undo something, and says which of them were refused.
func (w *Work) give(ctx context.Context, s *device.Session, d *DevicePlan, p *Platform, lines []string) error {
	refused, err := tolerant(ctx, s, lines, len(p.Dialog.Configure.Commit) > 0)
	for _, r := range refused {
		w.say(d.Name, "while undoing: %s", r)
	}
	return err
}

// eraseParts undoes what was planned for a device that several labs share: the lines are
// those of the platform's template, without what the device had before.
func (w *Work) eraseParts(ctx context.Context, s *device.Session, d *DevicePlan, p *Platform, before string) ([]string, error) {
	undo, clean := d.without(before)
	if err := w.give(ctx, s, d, p, undo); err != nil {
		return nil, err
	}
	failed, _, err := failures(ctx, s, clean)
	return failed, err
}

// eraseWhole gives the lines that lead from the configuration of a device to the one that
// it had, and nothing else: no line that was there before is taken away, be it for a
// moment. It compares again until nothing differs, or no other lines are known.
func (w *Work) eraseWhole(ctx context.Context, s *device.Session, d *DevicePlan, p *Platform, before string) ([]string, error) {
	tried := tries{}
	for {
		now, err := showRunning(ctx, s, p)
		if err != nil {
			return nil, err
		}
		lines, differs, whole := p.dialect.between(now, before, tried)
		if len(lines) == 0 {
			return differs, nil
		}
		if whole {
			done, err := s.ConfigureAtOnce(ctx, lines)
			if _, refused := errors.AsType[*device.LineError](err); err != nil && !refused {
				return nil, err
			}
			if done && err == nil {
				continue
			}
		}
		if err := w.give(ctx, s, d, p, lines); err != nil {
			return nil, err
		}
	}
}
