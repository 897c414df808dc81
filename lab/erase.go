package lab

import (
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

// without returns what must be undone and checked on a device that had some parts before the
// plan: those parts stay.
func (d *DevicePlan) without(before string) (undo []string, clean []Check) {
	var said map[string]string
	if json.Unmarshal([]byte(before), &said) != nil {
		return d.Undo, d.Clean // stored by an older version, which did not store parts
	}
	had := map[string]bool{} // by the lines that undo a part
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

// Erase undoes the plan that is kept in the directory, whether all or a part of it was
// applied. When every device is verified to be clean, it removes the plan from the
// directory. Without a plan it does nothing. The error joins those of all devices; it is
// of kind fault.Conflict for a device that is not clean. Erase can be called again.
func (w *Work) Erase(ctx context.Context, keep string) error {
	for _, name := range []string{keptNew, keptGone} { // left by a process that was killed
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
			continue // nothing was sent to it
		}
		if err != nil {
			return fmt.Errorf("%w: %w", err, fault.Unavailable)
		}
		touched.Devices = append(touched.Devices, d)
		before[d.Name] = string(state)
	}
	err = w.each(ctx, &touched, all, func(ctx context.Context, t *deviceSession, d *DevicePlan, p *Platform) error {
		err := t.do(ctx, func(s *device.Session) error { return w.eraseOne(ctx, s, d, p, before[d.Name]) })
		if err == nil {
			w.say(d.Name, "is clean")
		}
		return err
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

// eraseOne restores the previous state of a device and verifies it.
func (w *Work) eraseOne(ctx context.Context, s *device.Session, d *DevicePlan, p *Platform, before string) error {
	undo := w.eraseParts
	if d.Comparable {
		undo = w.eraseDifference
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

// sendUndo sends lines that undo a plan, and reports which of them were refused.
func (w *Work) sendUndo(ctx context.Context, s *device.Session, d *DevicePlan, p *Platform, lines []string) error {
	refused, err := configureTolerant(ctx, s, lines, len(p.Dialog.Configure.Commit) > 0)
	for _, r := range refused {
		w.say(d.Name, "while undoing: %s", r)
	}
	return err
}

// eraseParts undoes the plan on a device that several labs share. The lines come from the
// platform's template, without the parts that the device had before.
func (w *Work) eraseParts(ctx context.Context, s *device.Session, d *DevicePlan, p *Platform, before string) ([]string, error) {
	undo, clean := d.without(before)
	if err := w.sendUndo(ctx, s, d, p, undo); err != nil {
		return nil, err
	}
	failed, _, err := failures(ctx, s, clean)
	return failed, err
}

// eraseDifference sends the lines that lead from the current configuration to the previous
// one, and nothing else: no line that was there before is removed, not even for a moment. It
// compares again until nothing differs, or until it knows no other lines to try.
func (w *Work) eraseDifference(ctx context.Context, s *device.Session, d *DevicePlan, p *Platform, before string) ([]string, error) {
	tried := attempts{}
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
		if err := w.sendUndo(ctx, s, d, p, lines); err != nil {
			return nil, err
		}
	}
}

// configureTolerant sends lines, and continues after those that are refused, as the object to
// be undone may not exist. It returns the refusals.
func configureTolerant(ctx context.Context, s *device.Session, lines []string, atOnce bool) (refused []string, err error) {
	for len(lines) > 0 {
		err := s.Configure(ctx, lines)
		e, ok := errors.AsType[*device.LineError](err)
		if !ok {
			return refused, err
		}
		if e.Number < 1 || e.Number > len(lines) {
			return append(refused, e.Error()), nil // the commit was refused: reading back shows what is left
		}
		refused = append(refused, e.Error())
		lines = remaining(lines, e.Number-1, atOnce)
	}
	return refused, nil
}

// remaining returns the lines to send after one was refused: those behind it that are not
// indented under it, preceded by the headers of the blocks around them. With a commit at the
// end these are all other lines, as none has taken effect.
func remaining(lines []string, refused int, atOnce bool) []string {
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
