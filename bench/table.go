package main

import (
	"fmt"
	"slices"
	"strings"
)

// A table collects the figures of one section.
type table struct{ rows []*row }

// A row has the figures of one measure: one for each round, or more.
type row struct {
	what, unit string
	figures    []float64
	goal       string // empty: there is none
	reached    func(median float64) bool
	note       string
	slowdown   float64 // at most so much of what another build costs; 0: of the bench's own
}

// row returns the row of a measure, which is added if the table does not have it.
func (t *table) row(what, unit string) *row {
	for _, r := range t.rows {
		if r.what == what {
			return r
		}
	}
	r := &row{what: what, unit: unit}
	t.rows = append(t.rows, r)
	return r
}

func (t *table) add(what, unit string, figure float64) *row {
	r := t.row(what, unit)
	r.figures = append(r.figures, figure)
	return r
}

// peer adds a figure of another program, or says why there is none.
func (t *table) peer(what, unit string, figure float64, err error) *row {
	if err != nil {
		r := t.row(what, unit)
		r.note = err.Error()
		return r
	}
	return t.add(what, unit, figure)
}

// ratio adds that of two figures, unless there is no other.
func (t *table) ratio(what string, ours, theirs float64) *row {
	if theirs == 0 {
		return t.row(what, "x")
	}
	return t.add(what, "x", ours/theirs)
}

// atMost and atLeast set the goal that the median has to reach.
func (r *row) atMost(limit float64) *row {
	r.goal, r.reached = fmt.Sprintf("<= %s", r.figure(limit)), func(median float64) bool { return median <= limit }
	return r
}

func (r *row) atLeast(limit float64) *row {
	r.goal, r.reached = fmt.Sprintf(">= %s", r.figure(limit)), func(median float64) bool { return median >= limit }
	return r
}

// before sets the goal beside the build from before: at most so much of what it costs.
func (r *row) before(limit float64) *row {
	r.slowdown = limit
	return r
}

// noted adds a note, unless one says why there are no figures.
func (r *row) noted(format string, args ...any) *row {
	if len(r.figures) > 0 {
		r.note = fmt.Sprintf(format, args...)
	}
	return r
}

// String returns the row with tabs between its columns.
func (r *row) String() string {
	if len(r.figures) == 0 {
		return strings.Join([]string{r.what, "-", "", "", "", r.note}, "\t")
	}
	spread := ""
	if len(r.figures) > 1 {
		spread = short(slices.Min(r.figures)) + "-" + short(slices.Max(r.figures))
	}
	reached := ""
	if r.reached != nil {
		reached = "no"
		if r.reached(median(r.figures)) {
			reached = "yes"
		}
	}
	return strings.Join([]string{r.what, r.figure(median(r.figures)), spread, r.goal, reached, r.note}, "\t")
}

func (r *row) figure(f float64) string { return strings.TrimSpace(short(f) + " " + r.unit) }

func median(f []float64) float64 {
	f = slices.Sorted(slices.Values(f))
	return (f[(len(f)-1)/2] + f[len(f)/2]) / 2
}

// percentile returns that of f, p from 0 to 1.
func percentile(f []float64, p float64) float64 {
	f = slices.Sorted(slices.Values(f))
	return f[min(len(f)-1, int(p*float64(len(f))))]
}

func short(f float64) string {
	switch {
	case f >= 1000:
		return fmt.Sprintf("%.0f", f)
	case f >= 10:
		return fmt.Sprintf("%.1f", f)
	}
	return fmt.Sprintf("%.2f", f)
}
