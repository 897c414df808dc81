package device

import (
	"context"
	"fmt"
	"strings"
	"time"

	"activationd/internal/fault"
)

// typeLine types a line at the prompt, without pressing return. It returns when the device has
// shown the whole line. So whatever is lost on the way, only the intended line is executed.
// Lines that the device says meanwhile stay in term.rows.
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
				s.growPieces()
			}
			return nil
		}
		shown := s.term.line()
		s.tr.note("the echo of %q is wrong: typing it again", s.clean(line))
		if try >= s.target.Limits.repairs() {
			return fmt.Errorf("shows %q when %q is typed, %d times: characters are lost, or its echo is unusual; give it a slower pace: %w",
				s.clean(shown), s.clean(s.prompt+line), try+1, fault.Unavailable)
		}
		wait = min(2*wait, max(s.wait(), 2*time.Second))
		if err := s.settle(ctx, min(wait, minWait)); err != nil {
			return err
		}
		if err := s.erase(ctx, wait); err != nil {
			return err
		}
	}
}

// typeOnce types a line in pieces, each after the echo of the one before. If characters of a
// piece are lost, the piece is erased and typed again, on platforms with a key for that. If
// there is no such key, or if that does not help, it returns false.
func (s *Session) typeOnce(ctx context.Context, line string, wait time.Duration) (bool, error) {
	s.term.echo = s.term.echo[:0]
	shown := s.prompt // the part of the screen's line that is right
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
			s.shrinkPieces()
			if lost++; lost > s.target.Limits.repairs() {
				return false, nil
			}
			var ok bool
			if shown, ok, err = s.takeBack(ctx, shown, line[:done], n, wait); !ok {
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

// typePiece types the last n bytes of typed and waits until they are shown behind the text
// shown.
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
	// Another line came in the middle of the echo; that may be all.
	if err := s.send(ctx, s.dialog.Keys.Redraw); err != nil {
		return false, err
	}
	return s.until(ctx, wait, func() bool { return s.echoed(s.prompt, typed, len(typed), len(s.term.rows)) })
}

// takeBack erases what follows the part of the line that is right. It returns what the
// screen shows of that part, which the device may have shown again behind the prompt.
func (s *Session) takeBack(ctx context.Context, shown, right string, n int, wait time.Duration) (string, bool, error) {
	if s.dialog.Keys.Back == "" {
		return shown, false, nil
	}
	if err := s.settle(ctx, min(wait, minWait)); err != nil {
		return shown, false, err
	}
	rest, ok := strings.CutPrefix(s.typed(), shown)
	if !ok {
		shown = s.prompt + right
		if rest, ok = strings.CutPrefix(s.typed(), shown); !ok {
			return shown, false, nil
		}
	}
	if len(rest) > n {
		return shown, false, nil
	}
	if err := s.send(ctx, strings.Repeat(s.dialog.Keys.Back, len(rest))); err != nil {
		return shown, false, err
	}
	s.tr.note("of the echo of %q something is missing: typing the end again", s.clean(right))
	s.term.echo = append(s.term.echo[:0], 0) // it is no longer the echo of the line
	ok, err := s.until(ctx, wait, func() bool { return s.typed() == shown && s.term.col() == len(shown) })
	return shown, ok, err
}

// typed returns the line at the cursor, without what the device suggests behind it.
func (s *Session) typed() string {
	line := s.term.line()
	if s.dialog.Suggests {
		line = line[:s.term.col()]
	}
	return line
}

// echoed reports whether the device shows the last n bytes of typed behind shown, or shows the
// whole line. Ended is how many lines had ended before the bytes were typed.
func (s *Session) echoed(shown, typed string, n, ended int) bool {
	line, piece := s.typed(), typed[len(typed)-n:]
	same := func(a, b string) bool { return strings.TrimRight(a, " ") == strings.TrimRight(b, " ") }
	switch {
	case same(line, shown+piece) && s.term.col() == len(shown+piece):
		return true
	case same(line, s.prompt+typed) && s.term.col() == len(s.prompt+typed):
		return true // shown again after another line
	case string(s.term.echo) == typed:
		return true // folded at the edge of a screen
	case len(s.term.rows) > ended:
		return s.interrupted(shown, piece, s.term.rows[ended:])
	}
	// A line editor that scrolls shows only the end, behind a mark.
	tail, scrolled := strings.CutPrefix(line, "<")
	if !scrolled {
		tail, scrolled = strings.CutPrefix(line, strings.TrimRight(s.prompt, " ")+"$")
		tail = strings.TrimLeft(tail, " ")
	}
	tail = strings.TrimRight(tail, " >")
	return scrolled && len(tail) > n && strings.HasSuffix(strings.TrimRight(typed, " "), tail)
}

// interrupted reports whether the echo of a piece is complete, except for log lines in its
// middle. Rows are the lines that have ended since it was typed.
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

// sendChunks types a line on a device without an echo.
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

// shrinkPieces makes the pieces of a line smaller after a loss.
func (s *Session) shrinkPieces() {
	s.cleanLines = 0
	if s.chunk == 0 {
		s.chunk = 32
	} else {
		s.chunk = max(1, s.chunk/2)
	}
}

// growPieces makes the pieces larger again, up to what the pace allows, after several
// lines without a loss.
func (s *Session) growPieces() {
	const enough = 16
	limit := s.target.Pace.Chunk
	switch {
	case s.chunk == limit:
	case s.cleanLines < enough:
		s.cleanLines++
	default:
		s.chunk, s.cleanLines = s.chunk*2, 0
		if limit == 0 && s.chunk > 64 || limit > 0 && s.chunk > limit {
			s.chunk = limit
		}
	}
}

// quote marks keys that would act when they are typed, so that they are taken as text.
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

// erase empties the line that is being typed, until only the prompt is seen.
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
			if err := s.settle(ctx, min(wait, minWait)); err != nil {
				return err
			}
		}
		empty := func() bool { return strings.TrimSpace(s.term.line()) == "" }
		if k.Redraw == "" && empty() {
			// A message is shown in place of the line that was typed. Only with a character on
			// the screen it is seen that the line is erased.
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
			// The line is erased, but the prompt disappeared with a log line. An empty command
			// brings a new prompt.
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
