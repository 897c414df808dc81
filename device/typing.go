package device

import (
	"context"
	"fmt"
	"strings"
	"time"

	"activationd/internal/fault"
)

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
		s.tr.note("the echo of %q is wrong: typing it again", s.clean(line))
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
		shown, lost = s.typed(), 0
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
	rest, ok := strings.CutPrefix(s.typed(), *shown)
	if !ok {
		if rest, ok = strings.CutPrefix(s.typed(), s.prompt+right); !ok {
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
	s.tr.note("of the echo of %q something is missing: typing the end again", s.clean(right))
	s.term.echo = append(s.term.echo[:0], 0) // it can't be right any more
	return s.until(ctx, wait, func() bool { return s.typed() == *shown && s.term.col() == len(*shown) })
}

// typed is the line that the cursor is on, without what the device suggests behind it.
func (s *Session) typed() string {
	line := s.term.line()
	if s.dialog.Suggests {
		line = line[:s.term.col()]
	}
	return line
}

// echoed reports whether the device shows the last n bytes of typed behind what it had
// shown, or has shown all of it, when so many lines had ended before.
func (s *Session) echoed(shown, typed string, n, ended int) bool {
	line, piece := s.typed(), typed[len(typed)-n:]
	same := func(a, b string) bool { return strings.TrimRight(a, " ") == strings.TrimRight(b, " ") }
	switch {
	case same(line, shown+piece) && s.term.col() == len(shown+piece):
		return true
	case same(line, s.prompt+typed) && s.term.col() == len(s.prompt+typed):
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

// interrupted reports whether the echo of a piece was complete but for log lines in its
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
