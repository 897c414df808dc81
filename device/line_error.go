package device

import (
	"fmt"
	"strings"

	"activationd/internal/fault"
)

// A LineError says which line a device refused, and in which words. Its kind is
// [fault.Invalid]. The session can still be used.
type LineError struct {
	Device string
	Number int    // of the lines given to Configure or Send, from 1; 0: another command
	Line   string // with secrets masked
	Said   string // with secrets masked
	Status int    // the exit status of a shell command, else 0
}

func (e *LineError) Error() string {
	where := e.Device + ": "
	if e.Number > 0 {
		where += fmt.Sprintf("line %d, ", e.Number)
	}
	where += fmt.Sprintf("%q was refused", e.Line)
	if e.Status != 0 {
		where += fmt.Sprintf(" with exit status %d", e.Status)
	}
	if e.Said != "" {
		where += ": " + strings.ReplaceAll(e.Said, "\n", " / ")
	}
	return where
}

// plain returns the error for a command that was not the caller's, and so is not the caller's
// mistake.
func (e *LineError) plain() error { return fmt.Errorf("it refused %q: %s", e.Line, e.Said) }

func (e *LineError) Unwrap() error { return fault.Invalid }

// maxSaid is how many bytes of a device's answer an error quotes.
const maxSaid = 500

func (s *Session) refused(number int, line string, said []string) *LineError {
	text := s.clean(strings.TrimSpace(strings.Join(s.tidy(said), "\n")))
	return &LineError{Device: s.target.Name, Number: number, Line: s.clean(line), Said: cutText(text, maxSaid)}
}

// cutText returns the beginning of a text, of at most limit bytes.
func cutText(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	return strings.ToValidUTF8(text[:limit], "") + "…"
}
