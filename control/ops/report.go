package ops

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"activationd/activation"
	"activationd/control"
	"activationd/internal/fault"
	"activationd/internal/timetext"
)

// reportSorts are what a report can be sorted by, the most first.
var reportSorts = map[string]func(*control.ReportLine) float64{
	"name":         nil,
	"slots":        func(l *control.ReportLine) float64 { return float64(l.Slots) },
	"jobs":         func(l *control.ReportLine) float64 { return float64(l.Jobs) },
	"runs":         func(l *control.ReportLine) float64 { return float64(l.Runs) },
	"failures":     func(l *control.ReportLine) float64 { return float64(l.Failures) },
	"device-hours": func(l *control.ReportLine) float64 { return l.DeviceHours },
	"booked-hours": func(l *control.ReportLine) float64 { return l.BookedHours },
	"job-hours":    func(l *control.ReportLine) float64 { return l.JobHours },
}

func (d Daemon) report(ctx context.Context, c control.Caller, in control.ReportIn) (reply control.Reply[control.ReportLine], err error) {
	f := activation.UsageFilter{By: cmp.Or(in.By, activation.ByOwner), Owner: in.Owner, Who: actor(c)}
	if by := []string{activation.ByOwner, activation.ByDevice, activation.ByTag}; !slices.Contains(by, f.By) {
		return reply, fmt.Errorf("by: want %s, have %q: %w", oneOf(by), in.By, fault.Invalid)
	}
	sort := cmp.Or(in.Sort, "name")
	if _, ok := reportSorts[sort]; !ok {
		return reply, fmt.Errorf("sort: want %s, have %q: %w", oneOf(slices.Sorted(maps.Keys(reportSorts))), in.Sort, fault.Invalid)
	}
	now, err := d.Engine.ThisMonth(ctx)
	if err != nil {
		return reply, err
	}
	if f.From, f.To, err = reportMonths(&in, now); err != nil {
		return reply, err
	}
	rows, total, err := d.Engine.Usage(ctx, f)
	if err != nil {
		return reply, err
	}
	for _, r := range rows {
		reply.Lines = append(reply.Lines, reportLine(&f, r.Name, &r.Usage))
	}
	if of := reportSorts[sort]; of != nil {
		slices.SortStableFunc(reply.Lines, func(a, b control.ReportLine) int { return cmp.Compare(of(&b), of(&a)) })
	}
	if len(rows) > 0 {
		sum := reportLine(&f, "", &total)
		sum.Total = true
		reply.Lines = append(reply.Lines, sum)
	}
	reply.Summary = fmt.Sprintf("by=%s from=%s to=%s rows=%d", f.By, f.From, f.To, len(rows))
	return reply, nil
}

// reportMonths reads which months a report is about.
func reportMonths(in *control.ReportIn, now activation.Month) (from, to activation.Month, err error) {
	month := func(name, text string, none activation.Month) activation.Month {
		switch strings.ToLower(text) {
		case "":
			return none
		case "this":
			return now
		case "last":
			return now - 1
		}
		y, m, wrong := timetext.Month(text)
		if wrong != nil && err == nil {
			err = fmt.Errorf("%s: %w, this or last: %w", name, wrong, fault.Invalid)
		}
		return activation.NewMonth(y, m)
	}
	if in.Month != "" {
		if in.From != "" || in.To != "" {
			return 0, 0, fmt.Errorf("month: give one month, or the first and the last of several with from and to, not both: %w", fault.Invalid)
		}
		from = month("month", in.Month, now)
		return from, from, err
	}
	to = month("to", in.To, now)
	from = month("from", in.From, to)
	if err == nil && to < from {
		err = fmt.Errorf("to: %s is before %s, the first month: %w", to, from, fault.Invalid)
	}
	return from, to, err
}

func reportLine(f *activation.UsageFilter, name string, u *activation.Usage) control.ReportLine {
	return control.ReportLine{
		By: f.By, Name: name, From: f.From.String(), To: f.To.String(),
		Slots: u.Slots, Jobs: u.Jobs, Runs: u.Runs, Failures: u.Failures(), NotBegun: u.NotBegun,
		Succeeded: u.Succeeded, Failed: u.Failed, TimedOut: u.TimedOut, Missed: u.Missed, Lost: u.Lost, Cancelled: u.Cancelled,
		DeviceHours: hours(u.Used), BookedHours: hours(u.Booked), JobHours: hours(u.Ran),
	}
}

// hours returns milliseconds in hours, with two decimals.
func hours(ms int64) float64 { return math.Round(float64(ms)/36_000) / 100 }
