package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"activationd/control"
	"activationd/internal/display"
	"activationd/internal/fault"
	"activationd/internal/help"
	"activationd/internal/ical"
	"activationd/internal/terminal"
	"activationd/internal/timeline"
	"activationd/internal/timetext"
)

type calendarOptions struct {
	control.CalendarIn
	ics bool
}

func newCalendarCommand(a *app) *cobra.Command {
	var opts calendarOptions
	cmd := &cobra.Command{
		Use:   "calendar",
		Short: "Show who has which device when",
		Long: `Calendar shows which reservation has which device when. It shows the next 24 hours, or the
time between --from and --to: "--from monday --to +7d" is a week that begins on Monday.

On a terminal, it draws a row for each device of a reservation or of the laboratory's
inventory. A bar is a reservation, with its id if there is room; several bars that are too
short for a character share one. A thin line before a bar is the preparation of the slot.
An arrow says that the reservation goes on before or after the time that is shown. If a
reservation cannot have the device in its slot, its bar has an exclamation mark and is in
a row below that of the device; lines below the drawing say why. If the locale is not
UTF-8, the drawing has only ASCII characters. States have the colours of "atctl list",
unless NO_COLOR is set.

Without a terminal, it prints a table with a line for each device of each reservation.
Times are in the zone of the daemon, which the heading names. Columns may be added, so
scripts should use --json.

With --ics, it writes a calendar in the iCalendar format, which mail programs and
telephones read. There is an event for each reservation, with its slot in UTC. The event
has the same UID each time, and a higher SEQUENCE after each change, so a program that
reads the calendar again updates its events. Reservations that conflict are tentative.
With --all, reservations that were cancelled or missed are cancelled events.`,
		Example: `  atctl calendar --device r1,r2 --to +7d
  atctl calendar --from monday --to +7d
  atctl calendar --owner ada --to +28d --all --ics >ada.ics`,
		Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := refuseEmpty(cmd, ""); err != nil {
				return err
			}
			return runCalendar(cmd.Context(), a, opts)
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&opts.Device, "device", nil, "only the devices `NAMES`; separate several with commas")
	f.StringVar(&opts.Owner, "owner", "", "only reservations of `OWNER`")
	f.StringVar(&opts.From, "from", "", "from `WHEN` on, instead of now; today, monday and 2099-12-21 are the beginning of that day, 2h is in two hours")
	f.StringVar(&opts.To, "to", "", "to `WHEN`, instead of a day later; durations, weekdays and times of day count from --from")
	f.BoolVar(&opts.All, "all", false, "finished reservations, too")
	f.BoolVar(&opts.ics, "ics", false, "write iCalendar to standard output")
	help.Section(cmd, "Which ones:", "device", "owner", "from", "to", "all")
	return cmd
}

func runCalendar(ctx context.Context, a *app, opts calendarOptions) error {
	in := opts.CalendarIn
	switch {
	case opts.ics && a.json:
		return fmt.Errorf("--ics and --json exclude each other; use one of them: %w", fault.Invalid)
	case opts.ics:
		if _, _, err := zonedAhead(&in.From, &in.To, time.Now()); err != nil {
			return err
		}
		return printICS(ctx, a, in)
	case a.json:
		if _, _, err := zonedAhead(&in.From, &in.To, time.Now()); err != nil {
			return err
		}
		return a.printJSON(ctx, "calendar", in)
	}
	clock, err := a.clock(ctx)
	if err != nil {
		return err
	}
	from, to, err := zonedAhead(&in.From, &in.To, clock.Now().In(time.Local))
	if err != nil {
		return err
	}
	if width := terminal.Width(os.Stdout); width > 0 && !to.IsZero() {
		return drawCalendar(ctx, a, in, clock, from, to, width)
	}
	t := newTable(os.Stdout, column{"DEVICE", 0}, column{"FROM", 0}, column{"TO", 0}, column{"ID", 0}, column{"OWNER", 16},
		column{"STATE", 0}, column{"CONFLICT", 0})
	t.times = clock
	return t.end(stream(ctx, a, "calendar", in, func(l control.CalendarLine) error {
		return t.row(l.Device, l.From, l.To, l.ID, l.Owner, l.Status, conflictText(l.Conflicts))
	}))
}

// zonedAhead adds the user's zone, which is now's, to the times of a calendar. It returns the
// times, by default a day from now on. Text that it cannot read is left to the daemon; then
// the times are zero.
func zonedAhead(from, to *string, now time.Time) (begin, end time.Time, err error) {
	begin = now.Round(0)
	zoned := false
	read := func(text *string, after time.Time, into *time.Time) bool {
		t, err := timetext.Ahead(*text, now, after, now.Location())
		if err != nil {
			return false
		}
		*text, *into, zoned = t.Format(time.RFC3339Nano), t, true
		return true
	}
	if *from != "" && !read(from, now, &begin) {
		return time.Time{}, time.Time{}, nil
	}
	end = begin.Add(24 * time.Hour)
	if *to != "" && !read(to, begin, &end) || !end.After(begin) {
		return time.Time{}, time.Time{}, nil
	}
	if zoned {
		err = zoneKnown()
	}
	return begin, end, err
}

func conflictText(conflicts []control.ConflictLine) string {
	var all []string
	for _, c := range conflicts {
		all = append(all, c.Text)
	}
	return strings.Join(all, "; ")
}

// mostConflicts is how many conflicts are explained below a drawing.
const mostConflicts = 10

// drawCalendar draws the calendar.
func drawCalendar(ctx context.Context, a *app, in control.CalendarIn, clock *clock, from, to time.Time, width int) error {
	in.Idle = true
	chart := timeline.Chart{
		From: clock.In(from), To: clock.In(to), Now: clock.Now(), Zone: clock.Zone, Width: width, ASCII: !hasUTF8(),
	}
	if hasColours(os.Stdout) {
		chart.Paint = display.ColourAs
	}
	var conflicting []control.CalendarLine
	if err := stream(ctx, a, "calendar", in, func(l control.CalendarLine) error {
		row := printable(cmp.Or(l.Device, "(none)"))
		if !slices.Contains(chart.Rows, row) {
			chart.Rows = append(chart.Rows, row)
		}
		if l.ID == "" {
			return nil
		}
		loses := slices.ContainsFunc(l.Conflicts, func(c control.ConflictLine) bool {
			return c.Kind == "device" || c.Kind == "paused" && c.Name == l.Device
		})
		state := l.Status
		if loses {
			state = "conflicting"
		}
		if len(l.Conflicts) > 0 && !slices.ContainsFunc(conflicting, func(c control.CalendarLine) bool { return c.ID == l.ID }) {
			conflicting = append(conflicting, l)
		}
		chart.Bars = append(chart.Bars, timeline.Bar{
			Row: row, ID: printable(l.ID), Owner: printable(l.Owner), State: state, From: l.From, Start: l.Start, To: l.To, Conflict: loses,
		})
		return nil
	}); err != nil {
		return err
	}
	if len(chart.Rows) == 0 {
		_, err := fmt.Printf("no reservations from %s to %s\n", clock.Full(from), clock.Full(to))
		return err
	}
	slices.SortFunc(chart.Rows, timeline.ByNumber)
	text, unnamed := chart.Draw()
	if len(conflicting) > 0 {
		text += "\n"
	}
	for i, l := range conflicting {
		if i == mostConflicts {
			text += fmt.Sprintf("! and %d more reservations: add | cat to the command to list them\n", len(conflicting)-i)
			break
		}
		said := printable(l.ID + ": " + conflictText(l.Conflicts))
		for n, part := range display.Wrap(said, width-2) {
			text += map[bool]string{true: "! ", false: "  "}[n == 0] + part + "\n"
		}
	}
	if unnamed > 0 {
		bars := "1 bar has"
		if unnamed > 1 {
			bars = fmt.Sprintf("%d bars have", unnamed)
		}
		text += "\n" + strings.Join(display.Wrap(bars+" no room for the whole id; add | cat to the command to list them", width), "\n") + "\n"
	}
	_, err := fmt.Print(text)
	return err
}

// hasUTF8 reports whether the locale's characters are in UTF-8.
func hasUTF8() bool {
	locale := strings.ToLower(cmp.Or(os.Getenv("LC_ALL"), os.Getenv("LC_CTYPE"), os.Getenv("LANG")))
	return strings.Contains(locale, "utf-8") || strings.Contains(locale, "utf8")
}

// printICS prints an event for each reservation.
func printICS(ctx context.Context, a *app, in control.CalendarIn) error {
	var events []ical.Event
	at := make(map[string]bool)
	if err := stream(ctx, a, "calendar", in, func(l control.CalendarLine) error {
		if !at[l.ID] {
			at[l.ID] = true
			events = append(events, calendarEvent(&l))
		}
		return nil
	}); err != nil {
		return err
	}
	slices.SortStableFunc(events, func(a, b ical.Event) int { return cmp.Or(a.Start.Compare(b.Start), strings.Compare(a.UID, b.UID)) })
	return ical.Write(os.Stdout, events)
}

// calendarEvent returns a reservation as an event. It says nothing that changes without
// another revision, such as the state.
func calendarEvent(l *control.CalendarLine) ical.Event {
	e := ical.Event{
		UID: l.ID + ".activationd", Sequence: l.Revision, Created: l.Created, Modified: l.Changed, Start: l.Start, End: l.End,
		Status: ical.Confirmed, Summary: l.ID, Location: strings.Join(l.Devices, ", "), Resources: l.Devices,
	}
	switch {
	case l.Status == "cancelled" || l.Status == "missed":
		e.Status = ical.Cancelled
	case len(l.Conflicts) > 0:
		e.Status = ical.Tentative
	}
	var about []string
	if l.Label != "" {
		e.Summary = l.Label
		about = append(about, "id: "+l.ID)
	}
	for _, t := range [][2]string{{"owner", l.Owner}, {"conflict", conflictText(l.Conflicts)}} {
		if t[1] != "" {
			about = append(about, t[0]+": "+t[1])
		}
	}
	e.Description = strings.Join(about, "\n")
	return e
}
