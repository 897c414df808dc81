package device

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"activationd/internal/fault"
)

// Configure enters the configuration mode, sends lines and leaves the mode. On a platform with
// a commit it commits the lines, or discards them after a refusal. On other platforms the
// lines before a refused one stay. A refusal is a [LineError]. Empty lines are left out, and
// so is indentation, except in a shell.
func (s *Session) Configure(ctx context.Context, lines []string) error {
	return s.configure(ctx, lines, func(int, bool) {})
}

// ConfigureAtOnce is Configure in a mode in which all lines take effect at once. It
// reports whether the device has such a mode; if not, none of the lines was sent.
func (s *Session) ConfigureAtOnce(ctx context.Context, lines []string) (bool, error) {
	usual := s.dialog.Configure
	if len(usual.Commit) > 0 {
		return true, s.Configure(ctx, lines)
	}
	if s.failed != nil || len(s.dialog.Session.Enter) == 0 {
		return false, s.fail(s.failed)
	}
	for _, c := range s.dialog.Session.Enter {
		if _, err := s.command(ctx, c); err != nil {
			return false, s.fail(err)
		}
	}
	if s.mode != configure {
		return false, nil // an older system that does not know the mode
	}
	s.dialog.Configure = s.dialog.Session
	s.dialog.Configure.Enter = nil // already done
	defer func() { s.dialog.Configure = usual }()
	return true, s.Configure(ctx, lines)
}

// configure calls verified after each line, with the number of the line from 1 and whether the
// device is then at the top level of the configuration.
func (s *Session) configure(ctx context.Context, lines []string, verified func(number int, top bool)) error {
	if s.failed != nil {
		return s.fail(s.failed)
	}
	for i, l := range lines {
		if err := printable(l); err != nil {
			return fmt.Errorf("%s: line %d %w", s.target.Name, i+1, err)
		}
		s.hide(l)
	}
	err := s.modes(ctx, s.dialog.Configure.Enter, configure)
	if err != nil {
		return s.fail(err)
	}
	err = s.lines(ctx, lines, verified)
	if err == nil {
		err = s.commit(ctx)
	}
	if _, refused := errors.AsType[*LineError](err); err != nil && !refused {
		return s.fail(err)
	}
	if err == nil {
		return s.fail(s.modes(ctx, s.dialog.Configure.Leave, privileged))
	}
	for _, c := range s.dialog.Configure.Abort {
		if _, abort := s.change(ctx, c); abort != nil {
			return s.fail(fmt.Errorf("%w; and it did not discard the lines before: %v: %w", fault.Unavailable, err, abort))
		}
	}
	if leave := s.modes(ctx, s.dialog.Configure.Leave, privileged); leave != nil {
		return s.fail(fmt.Errorf("%w; and it did not leave its configuration mode: %v: %w", fault.Unavailable, err, leave))
	}
	return err
}

// modes gives the commands that lead to another mode, and checks that the device is in it.
func (s *Session) modes(ctx context.Context, commands []string, to mode) error {
	for _, c := range commands {
		lines, err := s.change(ctx, c)
		if err != nil {
			return err
		}
		if s.mode != to && len(s.dialog.refusals(lines)) > 0 {
			// The command is ours and correct, so the failure may pass: another user may be
			// configuring.
			return fmt.Errorf("%w: %w", s.refused(0, c, lines).plain(), fault.Unavailable)
		}
	}
	if len(commands) > 0 && s.mode != to {
		return fmt.Errorf("is in its %s mode after %q, not in its %s mode: %w",
			modeNames[s.mode], commands[len(commands)-1], modeNames[to], fault.Unavailable)
	}
	return s.learnAgain(ctx)
}

// change gives a command after which the device may be in another mode, where its prompt may
// have another host: IOS shows at most 20 characters of its name in the configuration mode,
// and in other modes the prompt that was configured.
func (s *Session) change(ctx context.Context, command string) ([]string, error) {
	s.anyHost = true
	defer func() { s.anyHost = false }()
	lines, err := s.command(ctx, command)
	if err != nil || s.dialog.Shell || s.dialog.prompt(s.prompt) != noMode {
		return lines, err
	}
	late, err := s.learnHost(ctx)
	return append(lines, late...), err
}

// learnHost verifies that the line at the cursor is a prompt, and makes its host the known one
// of the prompt's mode. It returns the lines that came meanwhile.
func (s *Session) learnHost(ctx context.Context) ([]string, error) {
	if err := s.settle(ctx, promptStable); err != nil {
		return nil, err
	}
	said := s.term.take()
	s.prompt = s.term.line()
	m, host := s.dialog.candidate(s.prompt)
	if m == noMode {
		return nil, s.explain(fmt.Errorf("has an unknown prompt: %w", fault.Unavailable))
	}
	late, err := s.confirm(ctx)
	if err != nil {
		return nil, err
	}
	s.dialog.learnMode(m, host)
	s.mode = m
	return append(said, late...), nil
}

// learnAgain verifies the prompt after a command that may change the name of the host, and
// makes its host the known one.
func (s *Session) learnAgain(ctx context.Context) error {
	if !s.renamed {
		return nil
	}
	// The name may contain a #, and the old prompt may be shown before the new one.
	if err := s.settle(ctx, promptStable); err != nil {
		return err
	}
	if line := s.term.line(); s.dialog.prompt(s.prompt) == noMode || s.dialog.isPrompt(line) {
		s.prompt = line
	}
	if _, err := s.confirm(ctx); err != nil {
		return err
	}
	if m, host := s.dialog.candidate(s.prompt); m != noMode {
		s.dialog.learn(host)
		s.mode = m
	}
	// On a platform with a commit, the prompt changes with the commit.
	s.renamed = len(s.dialog.Configure.Commit) > 0 && s.mode == configure
	return nil
}

// lines sends the lines of a configuration.
func (s *Session) lines(ctx context.Context, lines []string, verified func(int, bool)) error {
	top, last := s.prompt, 0
	for i, l := range lines {
		text := strings.TrimRight(l, " ")
		if !s.dialog.Shell {
			text = strings.TrimLeft(text, " ")
		}
		if text == "" {
			continue
		}
		wasTop := s.prompt == top
		if err := s.line(ctx, lines, i, text, last); err != nil {
			return err
		}
		if is(s.dialog.rename, text) {
			if err := s.learnAgain(ctx); err != nil {
				return err
			}
			if wasTop {
				top = s.prompt
			}
		}
		last = i + 1
		verified(last, s.prompt == top)
	}
	switch {
	case s.client != nil || last == 0:
		return nil
	case s.mode == unfinished:
		return s.interrupt(ctx, last, lines[last-1])
	}
	late, err := s.confirm(ctx)
	if err != nil {
		return err
	}
	return s.judge(lines, last, late, "")
}

// judge decides whether the device's words about lines[number-1] are a refusal, a notice or
// neither. typed was being typed meanwhile.
func (s *Session) judge(lines []string, number int, said []string, typed string) error {
	line := strings.TrimSpace(lines[number-1])
	if len(s.dialog.refusals(said)) > 0 {
		return s.refused(number, line, said)
	}
	path := make([]string, 0, 4)
	for _, n := range parents(lines, number-1) {
		path = append(path, strings.TrimSpace(lines[n-1]))
	}
	s.notice(strings.Join(append(path, line), " / "), s.remarks(said, typed))
	return nil
}

// remarks returns the lines that are worth a notice. The typed text and the prompt before it
// are not.
func (s *Session) remarks(said []string, typed string) (remarks []string) {
	for _, l := range said {
		text := strings.TrimSpace(l)
		switch {
		case text == "" || is(s.dialog.logs, l) || is(s.dialog.more, l) || is(s.dialog.strip, l):
		case strings.HasPrefix(l, strings.TrimRight(s.prompt, " ")) || s.ownMark(l) || strings.Contains(typed, text):
		case s.dialog.Quiet || is(s.dialog.harmless, l):
			remarks = append(remarks, text)
		}
	}
	return remarks
}

func (s *Session) notice(line string, said []string) {
	if len(said) == 0 {
		return
	}
	text := s.clean(strings.Join(said, "\n"))
	n := Notice{Said: cutText(text, maxSaid), Line: s.clean(line)}
	s.tr.note("%s: %s", s.target.Name, n)
	if s.target.Notice != nil {
		s.target.Notice(n)
	}
}

// line sends one line. What the device says before return is pressed belongs to the line
// before, lines[before-1].
func (s *Session) line(ctx context.Context, lines []string, i int, text string, before int) error {
	if is(s.dialog.rename, text) {
		s.renamed = true
	}
	if s.client != nil {
		_, err := s.command(ctx, text)
		if e, ok := errors.AsType[*LineError](err); ok {
			e.Number = i + 1
		}
		if err != nil {
			return err
		}
		return s.pause(ctx, s.target.Pace.Line)
	}
	ctx, cancel := s.limit(ctx, text)
	defer cancel()
	if err := s.typeLine(ctx, text); err != nil {
		return s.explain(err)
	}
	if late := s.term.take(); before > 0 {
		if refused := s.judge(lines, before, late, text); refused != nil {
			if err := s.erase(ctx, s.wait()); err != nil {
				return err
			}
			return refused
		}
	}
	said, err := s.enter(ctx)
	if err != nil {
		return fmt.Errorf("line %d, %q: %w", i+1, s.clean(text), err)
	}
	if status := s.status(); status > 0 {
		e := s.refused(i+1, text, said)
		e.Status = status
		return e
	}
	return s.judge(lines, i+1, said, "")
}

// commit makes the lines take effect, on platforms with a command for that.
func (s *Session) commit(ctx context.Context) error {
	for _, c := range s.dialog.Configure.Commit {
		said, err := s.command(ctx, c)
		if err != nil {
			return err
		}
		done := s.dialog.ok == nil
		for _, l := range said {
			done = done || is(s.dialog.ok, l)
		}
		if slices.ContainsFunc(said, func(l string) bool { return is(s.dialog.busy, l) }) {
			return fmt.Errorf("%w: %w", s.refused(0, c, said).plain(), fault.Unavailable)
		}
		if !done || len(s.dialog.refusals(said)) > 0 {
			return s.refused(0, c, said)
		}
		// A device always says something about a commit.
		var remarks []string
		for _, l := range said {
			if is(s.dialog.harmless, l) {
				remarks = append(remarks, strings.TrimSpace(l))
			}
		}
		s.notice(c, remarks)
	}
	return nil
}

// interrupt ends a shell command that the last line left unfinished.
func (s *Session) interrupt(ctx context.Context, number int, line string) error {
	ctx, cancel := s.limit(ctx, line)
	defer cancel()
	for try := 0; ; try++ {
		if err := s.send(ctx, "\x03"); err != nil {
			return err
		}
		ok, err := s.until(ctx, max(s.wait(), time.Second), func() bool { return s.atPrompt() && s.mode == privileged })
		if err != nil {
			return s.explain(err)
		}
		if ok {
			break
		}
		// The line editor of bash 5.2, when it is interrupted right after its prompt, may
		// notice that only at the next key, which it then changes.
		if try >= s.target.Limits.repairs() {
			return fmt.Errorf("line %d, %q is not complete, and was interrupted %d times without a prompt: %w",
				number, s.clean(line), try+1, fault.Unavailable)
		}
	}
	s.prompt = s.term.line()
	if _, err := s.confirm(ctx); err != nil {
		return err
	}
	return s.refused(number, line, []string{"the command is not complete"})
}
