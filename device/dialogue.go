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
		s.term.feed(data)
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

// typeLine types a line at the prompt and returns when the device has shown that it
// has all of it; return was not pressed yet. So whatever is lost on the way, nothing
// is executed but what was meant. What the device says in between stays in term.rows.
func (s *Session) typeLine(ctx context.Context, line string) error {
	if s.dialog.Blind {
		return s.sendChunks(ctx, s.quote(line))
	}
	wait := s.wait()
	for try := 0; ; try++ {
		ok, err := s.typeOnce(ctx, line, wait)
		if err != nil {
			return err
		}
		if ok {
			if try == 0 {
				s.adapt(true)
			}
			return nil
		}
		shown := s.term.line()
		s.tr.note("the echo of %q is wrong: typing it again", line)
		if try >= s.target.Limits.repairs() {
			return fmt.Errorf("shows %q when %q is typed, %d times: characters are lost, or its echo is unlike others'; give it a slower pace: %w",
				s.clean(shown), s.clean(s.prompt+line), try+1, fault.Unavailable)
		}
		wait = min(2*wait, max(s.wait(), 2*time.Second))
		if err := s.settle(ctx, min(wait, leastWait)); err != nil {
			return err
		}
		if err := s.erase(ctx, wait); err != nil {
			return err
		}
	}
}

// typeOnce types a line in pieces, each after the echo of the one before. A piece of
// which something was lost is taken back and typed again, where there is a key for that;
// else, and when that doesn't help, it returns false.
func (s *Session) typeOnce(ctx context.Context, line string, wait time.Duration) (bool, error) {
	s.term.echo = s.term.echo[:0]
	shown := s.prompt // the line of the screen, as far as it is right
	for done, lost := 0, 0; done < len(line); {
		n := len(line) - done
		if s.chunk > 0 {
			n = min(n, s.chunk)
		}
		ok, err := s.typePiece(ctx, shown, line[:done+n], n, wait)
		if err != nil {
			return false, err
		}
		if !ok {
			s.adapt(false)
			if lost++; lost > s.target.Limits.repairs() {
				return false, nil
			}
			if ok, err := s.takeBack(ctx, &shown, line[:done], n, wait); !ok {
				return false, err
			}
			continue
		}
		shown, lost = s.term.line(), 0
		if done += n; done < len(line) {
			if err := s.pause(ctx, s.target.Pace.ChunkDelay); err != nil {
				return false, err
			}
		}
	}
	return true, nil
}

// typePiece types the last n bytes of typed, behind what is shown, and waits for their
// echo.
func (s *Session) typePiece(ctx context.Context, shown, typed string, n int, wait time.Duration) (bool, error) {
	began, ended := time.Now(), len(s.term.rows)
	if err := s.send(ctx, s.quote(typed[len(typed)-n:])); err != nil {
		return false, err
	}
	ok, err := s.until(ctx, wait, func() bool { return s.echoed(shown, typed, n, ended) })
	if err != nil || ok {
		s.latency = max(s.latency*7/8, time.Since(began))
		return ok, err
	}
	if s.dialog.Keys.Redraw == "" {
		return false, nil
	}
	// Something else was said in the middle of the echo, perhaps no more than that.
	if err := s.send(ctx, s.dialog.Keys.Redraw); err != nil {
		return false, err
	}
	return s.until(ctx, wait, func() bool { return s.echoed(s.prompt, typed, len(typed), len(s.term.rows)) })
}

// takeBack erases what stands behind the part of the line that is right, which it may
// find shown again, behind the prompt.
func (s *Session) takeBack(ctx context.Context, shown *string, right string, n int, wait time.Duration) (bool, error) {
	if s.dialog.Keys.Back == "" {
		return false, nil
	}
	if err := s.settle(ctx, min(wait, leastWait)); err != nil {
		return false, err
	}
	rest, ok := strings.CutPrefix(s.term.line(), *shown)
	if !ok {
		if rest, ok = strings.CutPrefix(s.term.line(), s.prompt+right); !ok {
			return false, nil
		}
		*shown = s.prompt + right
	}
	if len(rest) > n {
		return false, nil
	}
	if err := s.send(ctx, strings.Repeat(s.dialog.Keys.Back, len(rest))); err != nil {
		return false, err
	}
	s.tr.note("of the echo of %q something is missing: typing the end again", right)
	s.term.echo = append(s.term.echo[:0], 0) // it can't be right any more
	return s.until(ctx, wait, func() bool { return s.term.line() == *shown && s.term.col == len(*shown) })
}

// echoed tells whether the device shows the last n bytes of typed behind what it had
// shown, or has shown all of it, when so many lines had ended before.
func (s *Session) echoed(shown, typed string, n, ended int) bool {
	line, piece := s.term.line(), typed[len(typed)-n:]
	same := func(a, b string) bool { return strings.TrimRight(a, " ") == strings.TrimRight(b, " ") }
	switch {
	case same(line, shown+piece) && s.term.col == len(shown+piece):
		return true
	case same(line, s.prompt+typed) && s.term.col == len(s.prompt+typed):
		return true // shown again after something else was said
	case string(s.term.echo) == typed:
		return true // folded at the edge of a screen
	case len(s.term.rows) > ended:
		return s.interrupted(shown, piece, s.term.rows[ended:])
	}
	// A line editor that scrolls shows the end, after a mark.
	tail, scrolled := strings.CutPrefix(line, "<")
	if !scrolled {
		tail, scrolled = strings.CutPrefix(line, strings.TrimRight(s.prompt, " ")+"$")
		tail = strings.TrimLeft(tail, " ")
	}
	tail = strings.TrimRight(tail, " >")
	return scrolled && len(tail) > n && strings.HasSuffix(strings.TrimRight(typed, " "), tail)
}

// interrupted tells whether the echo of a piece was complete but for log lines in its
// middle: rows are the lines that have ended since it was typed.
func (s *Session) interrupted(shown, piece string, rows []string) bool {
	for _, r := range rows[1:] {
		if r != "" && !is(s.dialog.logs, r) {
			return false
		}
	}
	first, ok := strings.CutPrefix(rows[0]+strings.Repeat(" ", max(0, len(shown)-len(rows[0]))), shown)
	for a := 0; ok && a <= len(piece); a++ {
		rest, begins := strings.CutPrefix(first, strings.TrimRight(piece[:a], " "))
		if begins && (strings.TrimSpace(rest) == "" || is(s.dialog.logs, rest)) && s.term.line() == piece[a:] {
			return true
		}
	}
	return false
}

// sendChunks types a line that no echo confirms.
func (s *Session) sendChunks(ctx context.Context, line string) error {
	for done := 0; done < len(line); {
		n := len(line) - done
		if s.chunk > 0 {
			n = min(n, s.chunk)
		}
		if err := s.send(ctx, line[done:done+n]); err != nil {
			return err
		}
		if done += n; done < len(line) {
			if err := s.pause(ctx, s.target.Pace.ChunkDelay); err != nil {
				return err
			}
		}
	}
	return nil
}

// adapt makes the pieces smaller after a loss and larger again when all goes well.
func (s *Session) adapt(well bool) {
	const many = 16
	switch {
	case !well && s.chunk == 0:
		s.chunk, s.well = 32, 0
	case !well:
		s.chunk, s.well = max(1, s.chunk/2), 0
	case s.chunk == s.target.Pace.Chunk:
	case s.well < many:
		s.well++
	default:
		s.chunk, s.well = s.chunk*2, 0
		if most := s.target.Pace.Chunk; most == 0 && s.chunk > 64 || most > 0 && s.chunk > most {
			s.chunk = most
		}
	}
}

// quote writes keys that would act as text.
func (s *Session) quote(text string) string {
	k := s.dialog.Keys
	if k.Special == "" || !strings.ContainsAny(text, k.Special) {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		if strings.ContainsRune(k.Special, r) {
			b.WriteString(k.Quote)
		}
		b.WriteRune(r)
	}
	return b.String()
}

// erase empties the line that is being typed, and is sure of it: it sees the prompt,
// and nothing behind it.
func (s *Session) erase(ctx context.Context, wait time.Duration) error {
	k := s.dialog.Keys
	if k.Erase == "" {
		return fmt.Errorf("has a line %q that can't be erased, as its platform has no key for that: %w", s.clean(s.term.line()), fault.Unavailable)
	}
	bare := func() bool {
		return strings.TrimRight(s.term.line(), " ") == strings.TrimRight(s.prompt, " ")
	}
	for try := range s.target.Limits.repairs() + 1 {
		if try > 0 {
			if err := s.settle(ctx, min(wait, leastWait)); err != nil {
				return err
			}
		}
		empty := func() bool { return strings.TrimSpace(s.term.line()) == "" }
		if k.Redraw == "" && empty() {
			// The line is there, but a message stands where it was shown. It takes something
			// to be seen going.
			if err := s.send(ctx, "q"); err != nil {
				return err
			}
			if _, err := s.until(ctx, wait, func() bool { return !empty() }); err != nil {
				return err
			}
		}
		blank := empty()
		if err := s.send(ctx, k.Erase); err != nil {
			return err
		}
		ok, err := s.until(ctx, wait, func() bool { return bare() || k.Redraw == "" && !blank && empty() })
		if err != nil || ok && bare() {
			return err
		}
		if k.Redraw != "" {
			if err := s.send(ctx, k.Redraw); err != nil {
				return err
			}
			if ok, err := s.until(ctx, wait, bare); err != nil || ok {
				return err
			}
		} else if !blank && empty() {
			// Erased, but the prompt had gone with a line that was logged: a new one comes
			// from an empty command.
			if err := s.send(ctx, "\r"); err != nil {
				return err
			}
			if ok, err := s.until(ctx, wait, bare); err != nil || ok {
				return err
			}
		}
	}
	return fmt.Errorf("shows %q and does not erase it: %w", s.clean(s.term.line()), fault.Unavailable)
}

// enter presses return on a line that was verified, and reads until the next prompt.
// It returns what was said.
func (s *Session) enter(ctx context.Context) ([]string, error) {
	s.term.drop = true // the line itself is no answer
	s.term.rows, s.answered = nil, 0
	if err := s.send(ctx, "\r"); err != nil {
		return nil, err
	}
	typed := s.term.line()
	for pressed := 1; ; {
		ok, err := s.until(ctx, max(s.wait(), 2*time.Second), func() bool { return s.atPrompt() || s.asked() != "" })
		switch {
		case err != nil:
			return nil, s.explain(err)
		case !ok && len(s.term.rows) == 0 && s.term.drop && s.term.line() == typed && pressed <= s.target.Limits.repairs() && !s.dialog.Blind:
			s.tr.note("no answer to return: pressing it again")
			if err := s.send(ctx, "\r"); err != nil {
				return nil, err
			}
			pressed++
		case !ok:
		case s.asked() != "":
			if err := s.answer(ctx, s.asked()); err != nil {
				return nil, s.explain(err)
			}
		default:
			s.prompt = s.term.line()
			if err := s.pause(ctx, s.target.Pace.Line); err != nil {
				return nil, err
			}
			return s.term.take(), nil
		}
	}
}

// explain adds to an error what the device showed last.
func (s *Session) explain(err error) error {
	if shown := s.term.shown(); shown != "" {
		return fmt.Errorf("it showed %q: %w", s.clean(shown), err)
	}
	return err
}

// atPrompt tells whether the cursor is behind a prompt that stands on a line of its own.
func (s *Session) atPrompt() bool {
	if s.term.drop { // still on the line that was typed
		return false
	}
	m := s.dialog.prompt(s.term.line())
	if m == noMode && s.renamed {
		m, _ = s.dialog.candidate(s.term.line())
	}
	if m != noMode {
		s.mode = m
	}
	return m != noMode
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

// ownMark tells whether a line is what confirm left behind.
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
			return fmt.Errorf("has the control character %q in %.80q, which can't be typed: %w", line[i], line, fault.Invalid)
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

// dialTCP connects by TCP, with telnet or RFC 2217 on it or bare.
func dialTCP(ctx context.Context, a address, tr *Transcript) (io.ReadWriteCloser, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", a.host)
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, fmt.Errorf("%w: %w", err, fault.Unavailable)
	}
	dialled(conn)
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
