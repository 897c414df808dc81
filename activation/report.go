package activation

import (
	"fmt"
	"strings"

	"activationd/internal/fault"
)

// A Report is what a load did, or would do.
type Report struct {
	Generation uint64
	Added      int
	Changed    int
	Removed    int
	Rejected   int
	// Conflicting is how many reservations of all sources are marked as conflicting.
	Conflicting int
	Over        int // passed over: their slots had ended when they were read first
	Unchanged   int
	Lines       []ReportLine
	// Err is why the first of the sources that failed was not applied; nil: none failed.
	// The other sources were applied.
	Err error
}

// A ReportLine is one line of a report.
type ReportLine struct {
	What   string // added, changed, removed, source, rejected, over, kept, conflict, failed, notice
	ID     string
	Source string
	Text   string
}

// Declared is the name, in reports, of the reservations in the configuration itself.
const Declared = "configuration"

// maxChangeLines bounds how many changed reservations a report names.
const maxChangeLines = 1000

// Summary is the report's first line.
func (r *Report) Summary() string {
	text := fmt.Sprintf("generation=%d added=%d changed=%d removed=%d rejected=%d over=%d", r.Generation, r.Added, r.Changed, r.Removed, r.Rejected, r.Over)
	if r.Conflicting > 0 {
		text += fmt.Sprintf(" conflicting=%d", r.Conflicting)
	}
	return text
}

// Add adds a line.
func (r *Report) Add(l ReportLine) { r.Lines = append(r.Lines, l) }

// Fail notes that a source was not applied.
func (r *Report) Fail(source string, err error) {
	r.Add(ReportLine{"failed", "", source, fault.Text(err)})
	if r.Err == nil {
		if r.Err = err; !strings.HasPrefix(err.Error(), source) { // the error may name a file and a line of the source already
			r.Err = fmt.Errorf("%s: %w", source, err)
		}
	}
}

// Count counts a change, and names it unless there are too many.
func (r *Report) Count(what, id, source string) {
	switch {
	case what == "":
		return
	case what == "added":
		r.Added++
	case what == "changed":
		r.Changed++
	case what == "removed":
		r.Removed++
	}
	if len(r.Lines) < maxChangeLines {
		r.Add(ReportLine{What: what, ID: id, Source: source})
	}
}

// Merge adds what a part of the load did.
func (r *Report) Merge(part Report) {
	r.Added += part.Added
	r.Changed += part.Changed
	r.Removed += part.Removed
	r.Rejected += part.Rejected
	r.Over += part.Over
	r.Unchanged += part.Unchanged
	r.Lines = append(r.Lines, part.Lines...)
	if r.Err == nil {
		r.Err = part.Err
	}
}
