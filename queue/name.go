package queue

import (
	"fmt"
	"strings"

	"activationd/internal/fault"
)

// MaxName is how long the name of a queue may be.
const MaxName = 128

// CheckName returns an error of kind fault.Invalid unless clients may give a queue that name:
// 1 to 128 letters, digits and, after the first character, . and -; an underscore may be
// anywhere.
func CheckName(name string) error {
	for i := range len(name) {
		c := name[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_':
		case i > 0 && (c == '.' || c == '-'):
		default:
			return fmt.Errorf("%.80q is not a valid name of a queue: it may have letters, digits, _ and, after the first character, . -: %w", name, fault.Invalid)
		}
	}
	if name == "" || len(name) > MaxName {
		return fmt.Errorf("%.80q is not a valid name of a queue: it must have 1 to %d characters: %w", name, MaxName, fault.Invalid)
	}
	return nil
}

// checkBuiltin is CheckName for a queue of the daemon's own, whose name may have one slash.
func checkBuiltin(name string) error {
	if kind, rest, ok := strings.Cut(name, "/"); ok {
		if err := CheckName(kind); err != nil {
			return err
		}
		name = rest
	}
	return CheckName(name)
}
