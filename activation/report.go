package activation

import (
	"fmt"
	"strings"

	"activationd/internal/fault"
	"activationd/reservation"
)

// A Report is what a load did, or would do.
type Report struct {
	Generation uint64
	Added      int
	Changed    int
	Removed    int
	Rejected   int
	Unchanged  int
	Lines      []ReportLine
	// Err is why a source was not applied; the others were. Its kind is that of
	// the first that failed.
	Err error
}

// A ReportLine is one thing to know about a load.
type ReportLine struct {
	What   string // added, changed, removed, rejected, kept, failed, notice
	ID     string
	Source string
	Text   string
}

// maxChangeLines bounds how many changed reservations a report names.
const maxChangeLines = 1000

// Summary is the report's first line, without the code.
func (r *Report) Summary() string {
	return fmt.Sprintf("generation=%d added=%d changed=%d removed=%d rejected=%d", r.Generation, r.Added, r.Changed, r.Removed, r.Rejected)
}

func (r *Report) add(l ReportLine) { r.Lines = append(r.Lines, l) }

func (r *Report) fail(source string, err error) {
	r.add(ReportLine{"failed", "", source, fault.Text(err)})
	if r.Err == nil {
		if r.Err = err; !strings.HasPrefix(err.Error(), source+":") { // as it does with a line of the source
			r.Err = fmt.Errorf("%s: %w", source, err)
		}
	}
}

func (r *Report) tell(source string, rejects []reservation.Reject, notices []string) {
	for _, x := range rejects {
		r.Rejected++
		r.add(ReportLine{"rejected", x.ID, source, x.Where + ": " + x.Text})
	}
	for _, n := range notices {
		r.add(ReportLine{"notice", "", source, n})
	}
}

// count counts a change, and names it unless there are too many.
func (r *Report) count(what, id, source string) {
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
		r.add(ReportLine{What: what, ID: id, Source: source})
	}
}

func (r *Report) merge(part Report) {
	r.Added += part.Added
	r.Changed += part.Changed
	r.Removed += part.Removed
	r.Rejected += part.Rejected
	r.Unchanged += part.Unchanged
	r.Lines = append(r.Lines, part.Lines...)
	if r.Err == nil {
		r.Err = part.Err
	}
}
