// Package diag collects the faults of a file with their lines, so that its author sees all of
// them at once.
package diag

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"activationd/internal/fault"
)

// A List is the faults found in one file.
type List struct {
	File   string
	faults []lineError
}

type lineError struct {
	file string
	line int
	text string
}

func (e lineError) Error() string { return fmt.Sprintf("%s:%d: %s", e.file, e.line, e.text) }
func (e lineError) Unwrap() error { return fault.Invalid }

// Add notes a fault. Line 0 stands for the file as a whole.
func (l *List) Add(line int, format string, args ...any) {
	l.faults = append(l.faults, lineError{l.File, line, fmt.Sprintf(format, args...)})
}

// Has reports whether there is a fault on a line.
func (l *List) Has(line int) bool {
	return slices.ContainsFunc(l.faults, func(e lineError) bool { return e.line == line })
}

// First returns the first fault in the order of their lines, and that line.
func (l *List) First() (line int, text string) {
	if l.Err() == nil {
		return 0, ""
	}
	return l.faults[0].line, l.faults[0].text
}

// Err returns the faults in the order of their lines as one error, of kind
// [fault.Invalid], or nil if there are none.
func (l *List) Err() error {
	slices.SortStableFunc(l.faults, func(a, b lineError) int { return cmp.Compare(a.line, b.line) })
	errs := make([]error, len(l.faults))
	for i, f := range l.faults {
		errs[i] = f
	}
	return errors.Join(errs...)
}
