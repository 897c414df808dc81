package lab

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"activationd/device"
	"activationd/internal/fault"
)

// failures returns the checks that fail, as text. Each command is given once.
func failures(ctx context.Context, s *device.Session, checks []Check) ([]string, map[string]string, error) {
	said := map[string]string{}
	var failed []string
	for _, c := range checks {
		answer, ok := said[c.Show]
		if !ok {
			var err error
			answer, err = s.Show(ctx, c.Show)
			if refused, isLine := errors.AsType[*device.LineError](err); isLine {
				answer = refused.Said // a device may refuse to show an object that does not exist
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

// Verify reads back from all devices whether they have what the plan wants. If they do not,
// the kind of the error is [fault.Conflict].
func (w *Work) Verify(ctx context.Context, p *Plan, all map[string]*Platform) error {
	return w.each(ctx, p, all, func(ctx context.Context, t *deviceSession, d *DevicePlan, p *Platform) error {
		err := t.do(ctx, func(s *device.Session) error {
			failed, err := unmet(ctx, s, d, p)
			if err != nil {
				return err
			}
			if len(failed) > 0 {
				return fmt.Errorf("%s: is not configured as planned: %s: %w", d.Name, strings.Join(failed, "; "), fault.Conflict)
			}
			return nil
		})
		if err == nil {
			w.sayVerified(d)
		}
		return err
	})
}

func (w *Work) sayVerified(d *DevicePlan) {
	w.say(d.Name, "verified: %d lines", len(d.Apply)-len(d.Unverified))
	for _, l := range d.Unverified {
		w.say(d.Name, "not verified, as the device does not show it as it was written: %s", l)
	}
}

// showRunning returns the whole configuration of a device. It refuses an answer that was cut,
// as nobody can tell what is missing there.
func showRunning(ctx context.Context, s *device.Session, p *Platform) (string, error) {
	running, err := s.Show(ctx, p.dialect.running)
	if err != nil {
		return "", err
	}
	lines := strings.Split(strings.TrimSpace(running), "\n")
	last := strings.TrimSpace(lines[len(lines)-1])
	if re := p.dialect.lastLine; last == "" || re != nil && !re.MatchString(last) {
		return "", fmt.Errorf("%q ends with %.80q: that is not a whole configuration: %w", p.dialect.running, last, fault.Unavailable)
	}
	return running, nil
}

// unmet returns what a device lacks of its plan.
func unmet(ctx context.Context, s *device.Session, d *DevicePlan, p *Platform) ([]string, error) {
	failed, _, err := failures(ctx, s, d.Applied)
	if err != nil || !d.Comparable {
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
