package device

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"activationd/internal/fault"
)

// The bounds of how long an echo is awaited after the last byte, before it counts as lost.
// Between them it is a multiple of the longest time that an echo took.
const (
	firstLatency = 500 * time.Millisecond
	minWait      = 250 * time.Millisecond
	maxWait      = 8 * time.Second
)

func (s *Session) wait() time.Duration {
	return min(max(4*s.latency, minWait), maxWait)
}

// read waits for bytes from the device. It returns false if none came for the time quiet.
func (s *Session) read(ctx context.Context, quiet time.Duration) (bool, error) {
	timer := time.NewTimer(quiet)
	defer timer.Stop()
	if ctx.Err() != nil {
		return false, s.link.ended(ctx)
	}
	select {
	case data, ok := <-s.link.in:
		if !ok {
			return false, cutError(s.link.err)
		}
		s.answered += len(data)
		if limit := s.target.Limits.output(); s.answered > limit {
			return false, outputError(limit)
		}
		understood := s.term.unknown == ""
		s.term.feed(data)
		if understood && s.term.unknown != "" {
			s.tr.note("the device sends %s for its screen, which is not supported", s.term.unknown)
		}
		return true, nil
	case <-timer.C:
		return false, nil
	case <-ctx.Done():
		return false, s.link.ended(ctx)
	}
}

// until reads until cond is true. It returns false if no bytes came for the time quiet.
func (s *Session) until(ctx context.Context, quiet time.Duration, cond func() bool) (bool, error) {
	for !cond() {
		if got, err := s.read(ctx, quiet); !got {
			return false, err
		}
	}
	return true, nil
}

// settle reads until no more bytes come.
func (s *Session) settle(ctx context.Context, quiet time.Duration) error {
	_, err := s.until(ctx, quiet, func() bool { return false })
	return err
}

// send writes at the device's pace for characters.
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

// pause waits for a duration of the device's pace.
func (s *Session) pause(ctx context.Context, d time.Duration) error {
	if d == 0 {
		return nil
	}
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		if s.link == nil { // over SSH each command has a channel of its own
			return context.Cause(ctx)
		}
		return s.link.ended(ctx)
	}
}

// enter presses return on a line that was verified, and reads until the next prompt. It
// returns the answer.
func (s *Session) enter(ctx context.Context) ([]string, error) {
	s.term.drop = true // the typed line is not part of the answer
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
		case !ok && s.atUnknownHost():
			said := s.term.take()
			late, err := s.learnHost(ctx)
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

// whole waits for the blank behind a prompt, which may come a moment later, if there was a
// blank behind the prompt before.
func (s *Session) whole(ctx context.Context) error {
	blank := func() bool { return strings.HasSuffix(s.term.line(), " ") }
	if !strings.HasSuffix(s.prompt, " ") || blank() {
		return nil
	}
	_, err := s.until(ctx, s.wait(), blank)
	return err
}

// answerTo returns the rows behind the typed line. Some line editors draw the line, and the
// prompt above it, once or several times more when return is pressed.
func (s *Session) answerTo(typed string, rows []string) []string {
	answer := rows
	for i, r := range rows {
		switch {
		case r == strings.TrimRight(typed, " "):
			answer = rows[i+1:]
		case r != "" && !is(s.dialog.strip, r):
			return answer
		}
	}
	return answer
}

// explain adds to an error the last lines that the device showed, and what is not supported of
// them.
func (s *Session) explain(err error) error {
	if s.term.unknown != "" {
		err = fmt.Errorf("%w (it sends %s for its screen, which is not supported)", err, s.term.unknown)
	}
	if shown := s.clean(s.term.shown()); shown != "" {
		return fmt.Errorf("it showed %q: %w", shown[max(0, len(shown)-400):], err)
	}
	return err
}

// atPrompt reports whether the cursor is behind a prompt that is alone on its line.
func (s *Session) atPrompt() bool {
	if s.term.drop { // the cursor is still on the typed line
		return false
	}
	m := s.dialog.prompt(s.term.line())
	if m == noMode && (s.renamed || s.anyHost) {
		m, _ = s.dialog.candidate(s.term.line())
	}
	if m != noMode {
		s.mode = m
	}
	return m != noMode
}

// atUnknownHost reports whether the cursor is behind what may be a prompt of the configuration
// mode that has another host name.
func (s *Session) atUnknownHost() bool {
	m, _ := s.dialog.candidate(s.term.line())
	return s.mode == configure && m == configure && !s.term.drop && !s.dialog.Blind && s.dialog.Keys.Erase != ""
}

// asked returns the answer to the line at the cursor, if that is a pager's or a question;
// otherwise "".
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

// answer sends an answer and reads until something changes.
func (s *Session) answer(ctx context.Context, text string) error {
	asked, ended := s.term.line(), len(s.term.rows)
	if err := s.send(ctx, text); err != nil {
		return err
	}
	_, err := s.until(ctx, max(s.wait(), 2*time.Second), func() bool { return len(s.term.rows) > ended || s.term.line() != asked })
	return err
}

// confirm verifies that the device awaits a command and that its answer is complete: it types
// a word that no device knows, sees it behind the prompt, and erases it. It returns the lines
// that came meanwhile.
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

// ownMark reports whether confirm left a line. Characters of the word may be missing in it:
// they were lost, or not shown yet, when the line was drawn again.
func (s *Session) ownMark(line string) bool {
	rest, ok := strings.CutPrefix(line, strings.TrimRight(s.prompt, " "))
	rest = strings.TrimSpace(rest)
	return strings.Contains(line, s.marker) || ok && rest != "" && isPartOf(rest, s.marker)
}

// isPartOf reports whether some is all, or all without some of its bytes.
func isPartOf(some, all string) bool {
	for i := range len(all) {
		if some != "" && some[0] == all[i] {
			some = some[1:]
		}
	}
	return some == ""
}

// confirmByReturn is confirm with an empty command, for devices on which nothing can be
// erased.
func (s *Session) confirmByReturn(ctx context.Context) ([]string, error) {
	if err := s.settle(ctx, s.wait()); err != nil {
		return nil, err
	}
	late := s.term.take()
	lines, err := s.enter(ctx)
	return append(late, lines...), err
}

// command types a command and runs it. It returns its answer, after lines that came late from
// the command before.
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

// status returns the exit status of the last command, which a shell shows in the prompt that
// we gave it.
func (s *Session) status() int {
	if !s.dialog.Shell || s.mode != privileged {
		return 0
	}
	_, text, _ := strings.Cut(s.prompt, ":")
	text, _, _ = strings.Cut(text, "]")
	n, _ := strconv.Atoi(text) // it has digits there, or is not our prompt yet
	return n
}

// printable refuses characters that a terminal would act on.
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
