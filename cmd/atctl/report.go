package main

import (
	"context"
	"encoding/csv"
	"fmt"
	"os"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"activationd/control"
	"activationd/internal/fault"
)

func newReportCommand(a *app) *cobra.Command {
	var in control.ReportIn
	var asCSV bool
	cmd := &cobra.Command{
		Use:   "report",
		Short: "Report what was used, by owner, device or tag",
		Long: `Report adds up what jobs and reservations used in a month, or in several. The sums are
kept for years, much longer than finished jobs are.

  SLOTS     reservations that began in these months, or should have begun
  JOBS      jobs that began in these months, or should have begun
  RUNS      how often their scripts ran, with each retry
  FAILED    how many of them did not succeed and were not cancelled
  DEVICE-H  hours for which devices were in use, added up over the devices:
            from the first attempt to the end of the deactivation
  BOOKED-H  hours of the slots, added up over the devices
  JOB-H     hours for which jobs ran

SLOTS and JOBS do not count what was cancelled before it began. What still runs counts up
to now. Hours are divided between months, in the zone of the daemon.

You see only what you used yourself. Operators see all.`,
		Example: `  atctl report --month 2099-11
  atctl report --by device --month last --sort device-hours
  atctl report --by tag --from 2099-01 --to 2099-12 --csv`,
		Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := refuseEmpty(cmd, ""); err != nil {
				return err
			}
			if asCSV && a.json {
				return fmt.Errorf("--csv and --json exclude each other; use one of them: %w", fault.Invalid)
			}
			return runReport(cmd.Context(), a, in, asCSV)
		},
	}
	f := cmd.Flags()
	f.StringVar(&in.By, "by", "owner", "print a row for each `WHAT`: owner, device or tag")
	f.StringVar(&in.Month, "month", "", "report this `MONTH`: 2099-11, this or last; without it, this")
	f.StringVar(&in.From, "from", "", "the first `MONTH` of several")
	f.StringVar(&in.To, "to", "", "the last `MONTH` of several; without it, this month")
	f.StringVar(&in.Owner, "owner", "", "only what `OWNER` used")
	f.StringVar(&in.Sort, "sort", "", "sort by `COLUMN`, the highest number first: slots, jobs, runs, failures, device-hours, booked-hours or job-hours; or by name")
	f.BoolVar(&asCSV, "csv", false, "print CSV, with more columns")
	return cmd
}

func runReport(ctx context.Context, a *app, in control.ReportIn, asCSV bool) error {
	if a.json {
		return a.printJSON(ctx, "report", in)
	}
	var lines []control.ReportLine
	if err := stream(ctx, a, "report", in, func(l control.ReportLine) error {
		lines = append(lines, l)
		return nil
	}); err != nil {
		return err
	}
	if asCSV {
		return printReportCSV(lines)
	}
	if len(lines) == 0 {
		_, err := fmt.Fprintln(os.Stderr, "nothing is known of these months: no job or reservation of them is kept, and no sums")
		return err
	}
	return printReport(lines)
}

func printReport(lines []control.ReportLine) error {
	columns := []string{strings.ToUpper(lines[0].By), "SLOTS", "JOBS", "RUNS", "FAILED", "DEVICE-H", "BOOKED-H", "JOB-H"}
	rows := [][]string{columns}
	for _, l := range lines {
		name := l.Name
		switch {
		case l.Total:
			name = "TOTAL"
		case name == "":
			name = "(none)"
		}
		rows = append(rows, []string{
			name, strconv.Itoa(l.Slots), strconv.Itoa(l.Jobs), strconv.Itoa(l.Runs), strconv.Itoa(l.Failures),
			hoursText(l.DeviceHours), hoursText(l.BookedHours), hoursText(l.JobHours),
		})
	}
	t := newTable(os.Stdout, column{columns[0], 24})
	for i, title := range columns[1:] {
		wide := 0
		for _, r := range rows {
			wide = max(wide, utf8.RuneCountInString(r[i+1]))
		}
		for _, r := range rows {
			r[i+1] = fmt.Sprintf("%*s", wide, r[i+1])
		}
		t.columns = append(t.columns, column{fmt.Sprintf("%*s", wide, title), 0})
	}
	t.columns = append(t.columns, column{}) // the last one would have lines of its own if there is little room
	for _, r := range rows[1:] {
		cells := make([]any, len(r))
		for i, c := range r {
			cells[i] = c
		}
		if err := t.row(cells...); err != nil {
			return err
		}
	}
	return t.end(nil)
}

func hoursText(h float64) string { return strconv.FormatFloat(h, 'f', 2, 64) }

func printReportCSV(lines []control.ReportLine) error {
	w := csv.NewWriter(os.Stdout)
	rows := [][]string{{
		"from", "to", "by", "name", "total", "slots", "jobs", "runs", "failures", "not_begun",
		"succeeded", "failed", "timed_out", "missed", "lost", "cancelled", "device_hours", "booked_hours", "job_hours",
	}}
	for _, l := range lines {
		row := []string{l.From, l.To, l.By, l.Name, strconv.FormatBool(l.Total)}
		for _, n := range []int{
			l.Slots, l.Jobs, l.Runs, l.Failures, l.NotBegun, l.Succeeded, l.Failed, l.TimedOut, l.Missed, l.Lost, l.Cancelled,
		} {
			row = append(row, strconv.Itoa(n))
		}
		rows = append(rows, append(row, hoursText(l.DeviceHours), hoursText(l.BookedHours), hoursText(l.JobHours)))
	}
	return w.WriteAll(rows) // it flushes
}
