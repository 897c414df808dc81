package device

import (
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"activationd/internal/fault"
)

// How long an echo is waited for before it is taken to be lost: a multiple of the
// longest that one took, within these bounds, from the last byte that came.
const (
	firstLatency = 500 * time.Millisecond
	leastWait    = 250 * time.Millisecond
	mostWait     = 8 * time.Second
)

func (s *Session) wait() time.Duration {
	return min(max(4*s.latency, leastWait), mostWait)
}

// read waits for what the device says, until nothing came for quiet: then it is false.
func (s *Session) read(ctx context.Context, quiet time.Duration) (bool, error) {
	timer := time.NewTimer(quiet)
	defer timer.Stop()
	if ctx.Err() != nil {
		return false, s.link.ended(ctx)
	}
	select {
	case data, ok := <-s.link.in:
		if !ok {
			return false, cut(s.link.err)
		}
		s.answered += len(data)
		if limit := s.target.Limits.output(); s.answered > limit {
			return false, tooMuch(limit)
		}
		understood := s.term.unknown == ""
		s.term.feed(data)
		if understood && s.term.unknown != "" {
			s.tr.note("the device sends %s for its screen, which is not understood here", s.term.unknown)
		}
		return true, nil
	case <-timer.C:
		return false, nil
	case <-ctx.Done():
		return false, s.link.ended(ctx)
	}
}

// until reads until cond is true, or nothing came for quiet: then it is false.
func (s *Session) until(ctx context.Context, quiet time.Duration, cond func() bool) (bool, error) {
	for !cond() {
		if got, err := s.read(ctx, quiet); !got {
			return false, err
		}
	}
	return true, nil
}

// settle reads until nothing comes.
func (s *Session) settle(ctx context.Context, quiet time.Duration) error {
	_, err := s.until(ctx, quiet, func() bool { return false })
	return err
}

// send writes with the device's pace for characters.
func (s *Session) send(ctx context.Context, text string) error {
	pause := s.target.Pace.Character
	if pause == 0 {
		return s.link.write(ctx, []byte(text))
	}
	for i := range len(text) {
		if err := s.link.write(ctx, []byte{text[i]}); err != nil {
			return err
		}
		if err := s.pause(ctx, pause); err != nil {
			return err
		}
	}
	return nil
}

// pauseSSH is the pause after a line that had a channel of its own.
func (s *Session) pauseSSH(ctx context.Context) error {
	select {
	case <-time.After(s.target.Pace.Line):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (s *Session) pause(ctx context.Context, d time.Duration) error {
	if d == 0 {
		return nil
	}
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return s.link.ended(ctx)
	}
}

// enter presses return on a line that was verified, and reads until the next prompt.
// It returns what was said.
func (s *Session) enter(ctx context.Context) ([]string, error) {
	s.term.drop = true // the line itself is no answer
	s.term.rows, s.answered = nil, 0
	if err := s.send(ctx, "\r"); err != nil {
		return nil, err
	}
	typed := s.typed()
	for pressed := 1; ; {
		ok, err := s.until(ctx, max(s.wait(), 2*time.Second), func() bool { return s.atPrompt() || s.asked() != "" })
		switch {
		case err != nil:
			return nil, s.explain(err)
		case !ok && len(s.term.rows) == 0 && s.term.drop && s.typed() == typed && pressed <= s.target.Limits.repairs() && !s.dialog.Blind:
			s.tr.note("no answer to return: pressing it again")
			if err := s.send(ctx, "\r"); err != nil {
				return nil, err
			}
			pressed++
		case !ok && s.stranger():
			said := s.term.take()
			late, err := s.meet(ctx)
			return append(said, late...), err
		case !ok:
		case s.asked() != "":
			if err := s.answer(ctx, s.asked()); err != nil {
				return nil, s.explain(err)
			}
		default:
			if err := s.whole(ctx); err != nil {
				return nil, err
			}
			s.prompt = s.term.line()
			if err := s.pause(ctx, s.target.Pace.Line); err != nil {
				return nil, err
			}
			return s.answerTo(typed, s.term.take()), nil
		}
	}
}

// whole waits for the blank behind a prompt, if there was one behind the prompt before: it
// may come a moment later.
func (s *Session) whole(ctx context.Context) error {
	blank := func() bool { return strings.HasSuffix(s.term.line(), " ") }
	if !strings.HasSuffix(s.prompt, " ") || blank() {
		return nil
	}
	_, err := s.until(ctx, s.wait(), blank)
	return err
}

// answerTo leaves out of what came behind a line the line itself, and the prompt above
// it: some line editors draw both once more when return is pressed.
func (s *Session) answerTo(typed string, rows []string) []string {
	for i, r := range rows {
		switch {
		case r == strings.TrimRight(typed, " "):
			return rows[i+1:]
		case r != "" && !is(s.dialog.strip, r):
			return rows
		}
	}
	return rows
}

// explain adds to an error what the device showed last, and what of it is not understood.
func (s *Session) explain(err error) error {
	if s.term.unknown != "" {
		err = fmt.Errorf("%w (it sends %s for its screen, which is not understood here)", err, s.term.unknown)
	}
	if shown := s.clean(s.term.shown()); shown != "" {
		return fmt.Errorf("it showed %q: %w", shown[max(0, len(shown)-400):], err)
	}
	return err
}

// atPrompt reports whether the cursor is behind a prompt that stands on a line of its own.
func (s *Session) atPrompt() bool {
	if s.term.drop { // still on the line that was typed
		return false
	}
	m := s.dialog.prompt(s.term.line())
	if m == noMode && (s.renamed || s.strange) {
		m, _ = s.dialog.candidate(s.term.line())
	}
	if m != noMode {
		s.mode = m
	}
	return m != noMode
}

// stranger reports whether the cursor stands behind what may be the prompt of a part of the
// configuration mode that names another host than the others.
func (s *Session) stranger() bool {
	m, _ := s.dialog.candidate(s.term.line())
	return s.mode == configure && m == configure && !s.term.drop && !s.dialog.Blind && s.dialog.Keys.Erase != ""
}

// asked returns what the line that the cursor is on, a pager's or a question, is to be
// answered with.
func (s *Session) asked() string {
	if s.term.drop {
		return ""
	}
	line := s.term.line()
	if is(s.dialog.more, line) {
		return " "
	}
	for i, q := range s.dialog.answers {
		if is(q, line) {
			return s.dialog.Answers[i].Answer + "\r"
		}
	}
	return ""
}

// answer sends an answer and reads until it has changed something.
func (s *Session) answer(ctx context.Context, text string) error {
	asked, ended := s.term.line(), len(s.term.rows)
	if err := s.send(ctx, text); err != nil {
		return err
	}
	_, err := s.until(ctx, max(s.wait(), 2*time.Second), func() bool { return len(s.term.rows) > ended || s.term.line() != asked })
	return err
}

// confirm proves that the device awaits a command and that all that it had to say has
// come: it types a word that no device knows, sees it behind the prompt, and erases it.
// It returns what came meanwhile.
func (s *Session) confirm(ctx context.Context) ([]string, error) {
	s.answered = 0
	if s.dialog.Blind || s.dialog.Keys.Erase == "" {
		return s.confirmByReturn(ctx)
	}
	if err := s.typeLine(ctx, s.marker); err != nil {
		return nil, s.explain(err)
	}
	if err := s.erase(ctx, s.wait()); err != nil {
		return nil, err
	}
	var late []string
	for _, l := range s.term.take() {
		if !s.ownMark(l) {
			late = append(late, l)
		}
	}
	return late, nil
}

// ownMark reports whether a line is what confirm left behind.
func (s *Session) ownMark(line string) bool {
	rest, ok := strings.CutPrefix(line, strings.TrimRight(s.prompt, " "))
	rest = strings.TrimSpace(rest)
	return strings.Contains(line, s.marker) || ok && rest != "" && strings.HasPrefix(s.marker, rest)
}

// confirmByReturn does so with an empty command, where nothing can be erased.
func (s *Session) confirmByReturn(ctx context.Context) ([]string, error) {
	if err := s.settle(ctx, s.wait()); err != nil {
		return nil, err
	}
	late := s.term.take()
	lines, err := s.enter(ctx)
	return append(late, lines...), err
}

// command types a command, runs it and returns what it says, and what was said late by
// the one before.
func (s *Session) command(ctx context.Context, command string) ([]string, error) {
	if err := printable(command); err != nil {
		return nil, err
	}
	s.hide(command)
	ctx, cancel := s.limit(ctx, command)
	defer cancel()
	if s.client != nil {
		out, status, err := runSSH(ctx, s.client, command, s.target.Limits.output(), s.tr)
		if err != nil {
			return nil, err
		}
		lines := split(out)
		if status != 0 {
			e := s.refused(0, command, lines)
			e.Status = status
			return nil, e
		}
		return lines, nil
	}
	command = strings.TrimRight(command, " ")
	if err := s.typeLine(ctx, command); err != nil {
		return nil, s.explain(err)
	}
	lines, err := s.enter(ctx)
	if err != nil {
		return nil, err
	}
	if status := s.status(); status > 0 {
		e := s.refused(0, command, lines)
		e.Status = status
		return nil, e
	}
	return lines, nil
}

// status is what a shell's own prompt tells of its last command.
func (s *Session) status() int {
	if !s.dialog.Shell || s.mode != privileged {
		return 0
	}
	_, text, _ := strings.Cut(s.prompt, ":")
	text, _, _ = strings.Cut(text, "]")
	n, _ := strconv.Atoi(text) // the prompt's pattern has digits there, or it is not our own yet
	return n
}

// printable refuses what a terminal would act on.
func printable(line string) error {
	for i := range len(line) {
		if line[i] < ' ' || line[i] == 0x7f {
			return fmt.Errorf("has the control character %q in %.80q, which can't be typed: %w", line[i], MaskSecrets(line), fault.Invalid)
		}
	}
	return nil
}

func split(out string) []string {
	out = strings.TrimSuffix(strings.ReplaceAll(out, "\r\n", "\n"), "\n")
	if out == "" {
		return nil
	}
	return strings.Split(out, "\n")
}

// overTCP speaks telnet or RFC 2217 on a connection, or leaves it bare.
func overTCP(ctx context.Context, conn *net.TCPConn, a address, tr *Transcript) (io.ReadWriteCloser, error) {
	if a.scheme == "tcp" {
		return conn, nil
	}
	w := newTelnetWire(conn, tr)
	if a.scheme == "rfc2217" {
		if err := w.negotiate(ctx, a.line); err != nil {
			_ = w.Close()
			return nil, fmt.Errorf("the converter %w", err)
		}
	}
	return w, nil
}
