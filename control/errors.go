package control

import (
	"errors"
	"strings"

	"activationd/internal/fault"
)

// Code returns the code of a reply for err, with HTTP's meanings; 200 for nil.
func Code(err error) int {
	var re *ReplyError
	switch {
	case err == nil:
		return 200
	case errors.As(err, &re):
		return re.Code
	}
	switch fault.Of(err) {
	case fault.Invalid:
		return 400
	case fault.Denied:
		return 403
	case fault.NotFound:
		return 404
	case fault.Conflict:
		return 409
	case fault.Unavailable:
		return 503
	default:
		return 500
	}
}

// ExitStatus returns the exit status of the operator's programs for err, which the help
// of atctl lists; 0 for nil.
func ExitStatus(err error) int {
	if err == nil {
		return 0
	}
	switch fault.Of(err) {
	case fault.Invalid:
		return 2
	case fault.NotFound:
		return 3
	case fault.Conflict:
		return 4
	case fault.Denied:
		return 5
	case fault.Unavailable:
		return 6
	default:
		return 1
	}
}

// A ReplyError is a reply with a code other than 200. It wraps the kind of fault that
// the code stands for.
type ReplyError struct {
	Code        int
	Description string // the rest of the first line; says what to do
	RetryAfter  int    // after how many seconds the same request may succeed; 0: not known
}

func (e *ReplyError) Error() string { return e.Description }

// Unwrap returns the kind.
func (e *ReplyError) Unwrap() error {
	switch e.Code {
	case 401, 403:
		return fault.Denied
	case 404:
		return fault.NotFound
	case 409, 412:
		return fault.Conflict
	case 408, 429, 502, 503, 504, 507:
		return fault.Unavailable
	}
	if e.Code >= 400 && e.Code < 500 {
		return fault.Invalid
	}
	return fault.Internal
}

// OneLine makes s fit for the first line of a reply: newlines, which join errors, become
// semicolons, and other control characters become blanks.
func OneLine(s string) string {
	if strings.IndexFunc(s, isControl) < 0 {
		return s
	}
	s = strings.ReplaceAll(strings.TrimRight(s, "\r\n"), "\n", "; ")
	return strings.Map(func(r rune) rune {
		if isControl(r) {
			return ' '
		}
		return r
	}, s)
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }
