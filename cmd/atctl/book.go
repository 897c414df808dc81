package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"activationd/control"
	"activationd/internal/help"
	"activationd/internal/timetext"
	"activationd/schedule/timespec"
)

func newBookCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "book COMMAND",
		Short: "Book devices, and change and end bookings",
		Long: `Book books devices at the daemon itself, without a reservation system. A booking is a
reservation like those of other sources: it is activated when its slot begins, and
deactivated when its slot ends, and all commands for reservations take its id.

A booking is refused if a reservation has one of the devices in its slot, or if it
exceeds the quota of its owner. The daemon's configuration says what can be booked, by
whom and how much (its key booking).`,
		Args: help.Unknown,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newBookAddCommand(a), newBookExtendCommand(a), newBookEditCommand(a), newBookEndCommand(a), newBookListCommand(a), newBookQuotaCommand(a))
	return cmd
}

// Help texts that the commands of book share.
const (
	bookToHelp   = "the slot ends at the time `WHEN`; a time of day is the first one after the slot's start"
	bookForHelp  = "the slot lasts `DURATION`"
	bookOverHelp = "exceed the owner's quota; for operators"
)

func newBookAddCommand(a *app) *cobra.Command {
	var in control.BookAddIn
	var file string
	cmd := &cobra.Command{
		Use:   "add --devices NAMES (--for DURATION | --to WHEN) [--from WHEN]",
		Short: "Book devices",
		Long: `Add books devices for a slot. On standard output, it prints only the id of the booking. The
slot begins now, or at --from. Times have the forms of "atctl add"; +2h is two hours from
now, or in --to two hours after the slot's start.

If somebody else has one of the devices in the slot, or the owner's quota would be
exceeded, nothing is booked, and the exit status is 4. If several clients want the same
slot at the same time, one of them gets it.

A client that does not know whether its request has arrived can send it again with the same
--key: until the first booking is over, the second request books nothing and prints the id
of the first.`,
		Example: `  atctl book add --devices r1,r2 --for 2h
  atctl book add --devices r1 --from 'tomorrow 10:00' --to 12:00 --label BGP
  atctl book add --topology lab.clab.yml --from 'monday 10am' --for 90m`,
		Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := refuseEmpty(cmd, "label"); err != nil {
				return err
			}
			return runBookAdd(cmd.Context(), a, in, file)
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&in.Devices, "devices", nil, "book the devices `NAMES`, separated by commas; without it, the nodes of the topology")
	f.StringVar(&in.From, "from", "", "the slot begins at the time `WHEN`, instead of now")
	f.StringVar(&in.To, "to", "", bookToHelp)
	f.StringVar(&in.For, "for", "", bookForHelp)
	f.StringVar(&file, "topology", "", "the scripts get the topology in `FILE`; - is standard input")
	f.StringVar(&in.Label, "label", "", "show `TEXT` in lists")
	f.StringVar(&in.Owner, "owner", "", "book for `OWNER`; for operators")
	f.StringArrayVar(&in.Env, "env", nil, "set `NAME=VALUE` for the scripts; may be repeated; the configuration says which variables can be set")
	f.StringVar(&in.Key, "key", "", "do not book again until the owner's booking with the same `KEY` is over")
	f.BoolVar(&in.OverQuota, "over-quota", false, bookOverHelp)
	help.Section(cmd, "When:", "from", "to", "for")
	help.Section(cmd, "What:", "devices", "topology", "env", "label")
	help.Section(cmd, "For whom:", "owner", "over-quota", "key")
	return cmd
}

func runBookAdd(ctx context.Context, a *app, in control.BookAddIn, file string) (err error) {
	if err := zoneSlot(&in.From, &in.To, time.Now()); err != nil {
		return err
	}
	if in.Env, err = environment(in.Env, false, os.Environ()); err != nil {
		return err
	}
	if file != "" {
		if in.Topology, err = readInput(file, os.Stdin); err != nil {
			return err
		}
	}
	if a.json {
		return a.printJSON(ctx, "book add", in)
	}
	b, err := call[control.Booking](ctx, a, "book add", in)
	if err != nil {
		return err
	}
	if _, err := fmt.Println(b.ID); err != nil {
		return err
	}
	if b.Known {
		warn(b.ID + " was booked before, with the same key")
	}
	return tellSlot(ctx, a, &b)
}

// tellSlot tells a person the slot of a booking: they may have typed another day by mistake.
func tellSlot(ctx context.Context, a *app, b *control.Booking) error {
	for _, text := range b.Notices {
		warn(text)
	}
	if !isTerminal(os.Stdout) || !isTerminal(os.Stderr) {
		return nil
	}
	clock, err := a.clock(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintln(os.Stderr, printable(fmt.Sprintf("%s from %s to %s", strings.Join(b.Devices, " "), clock.Full(b.Start.Time), clock.Full(b.End.Time))))
	return nil
}

// zoneSlot is zoned for the times of a slot, which begins at start unless from says otherwise.
// It says if it had to move one.
func zoneSlot(from, to *string, start time.Time) error {
	now := time.Now()
	if t, err := timespec.TypedStart(*from, now, time.Local); *from != "" && err == nil {
		start = t
	}
	for _, e := range []struct {
		flag, text string
		into       *string
		read       timeReader
	}{
		{"from", *from, from, timespec.TypedStart},
		{"to", *to, to, func(text string, now time.Time, loc *time.Location) (time.Time, error) {
			return timespec.TypedEnd(text, start, now, loc)
		}},
	} {
		var err error
		if *e.into, err = zoned(e.text, now, e.read); err != nil {
			return err
		}
		in := func(loc *time.Location) (time.Time, error) { return e.read(e.text, now, loc) }
		if t, err := in(time.Local); err == nil && timetext.Skipped(t, time.Local, in) {
			warn(fmt.Sprintf("--%s: the clocks skip %q; it is taken as %s", e.flag, e.text, t.Format("2006-01-02 15:04:05 -07:00")))
		}
	}
	return nil
}

func newBookExtendCommand(a *app) *cobra.Command {
	var in control.BookExtendIn
	cmd := &cobra.Command{
		Use:   "extend ID (--by DURATION | --to WHEN)",
		Short: "Make a booking end later",
		Long: `Extend makes a booking end later, also one that has begun. If somebody else has one of the
devices in the additional time, or if the owner's quota would be exceeded, nothing is
changed, and the exit status is 4.`,
		Example: `  atctl book extend 7@book --by 30m`,
		Args:    takes(1, 1, "an ID; see atctl book list"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := refuseEmpty(cmd, ""); err != nil {
				return err
			}
			in.ID = args[0]
			if err := zoneChange(cmd.Context(), a, in.ID, new(string), &in.To); err != nil {
				return err
			}
			return runBookChange(cmd.Context(), a, "book extend", in)
		},
	}
	f := cmd.Flags()
	f.StringVar(&in.By, "by", "", "the slot ends later by `DURATION`")
	f.StringVar(&in.To, "to", "", bookToHelp)
	f.BoolVar(&in.OverQuota, "over-quota", false, bookOverHelp)
	return cmd
}

func newBookEditCommand(a *app) *cobra.Command {
	var in control.BookEditIn
	cmd := &cobra.Command{
		Use:   "edit ID [--from WHEN] [--to WHEN | --for DURATION] [--devices NAMES]",
		Short: "Move a booking, or change its devices",
		Long: `Edit changes what the flags say, and keeps the rest. With --from alone, the whole slot
moves and keeps its length. If the booking has begun, only its end and its label can be
changed. The change is refused for the same reasons as a new booking; then the booking
stays as it was.`,
		Example: `  atctl book edit 7@book --from 'tomorrow 14:00'`,
		Args:    takes(1, 1, "an ID; see atctl book list"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := refuseEmpty(cmd, "label"); err != nil {
				return err
			}
			if cmd.Flags().Changed("label") && in.Label == "" {
				in.Clear = []string{"label"}
			}
			in.ID = args[0]
			if err := zoneChange(cmd.Context(), a, in.ID, &in.From, &in.To); err != nil {
				return err
			}
			return runBookChange(cmd.Context(), a, "book edit", in)
		},
	}
	f := cmd.Flags()
	f.StringVar(&in.From, "from", "", "the slot begins at the time `WHEN`")
	f.StringVar(&in.To, "to", "", bookToHelp)
	f.StringVar(&in.For, "for", "", bookForHelp)
	f.StringSliceVar(&in.Devices, "devices", nil, "book the devices `NAMES` instead, separated by commas")
	f.StringVar(&in.Label, "label", "", "show `TEXT` in lists; '' removes the label")
	f.BoolVar(&in.OverQuota, "over-quota", false, bookOverHelp)
	return cmd
}

// zoneChange is zoneSlot for a booking that there is.
func zoneChange(ctx context.Context, a *app, id string, from, to *string) error {
	start := time.Now()
	if *to != "" && *from == "" {
		b, err := call[control.Detail](ctx, a, "show", control.IDIn{ID: id})
		if err != nil {
			return err
		}
		start = b.Start.Local()
	}
	return zoneSlot(from, to, start)
}

func runBookChange(ctx context.Context, a *app, operation string, in any) error {
	if a.json {
		return a.printJSON(ctx, operation, in)
	}
	b, err := call[control.Booking](ctx, a, operation, in)
	if err != nil {
		return err
	}
	return tellSlot(ctx, a, &b)
}

func newBookEndCommand(a *app) *cobra.Command {
	var keepGoing bool
	cmd := &cobra.Command{
		Use:   "end ID...",
		Short: "End bookings",
		Long: `End ends bookings. The slot of an active booking ends now, so it is deactivated. A booking
whose slot has not begun is cancelled. Hours that were not used do not count for the
owner's quota.

It stops at the first ID that fails, unless --keep-going is given.`,
		Args: takes(1, 0, "an ID; see atctl book list"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return forEachID(args, keepGoing, func(id string) error {
				return a.do(cmd.Context(), "book end", control.IDIn{ID: id})
			})
		},
	}
	cmd.Flags().BoolVarP(&keepGoing, "keep-going", "k", false, "try every ID")
	return cmd
}

func newBookListCommand(a *app) *cobra.Command {
	var in control.BookListIn
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List bookings",
		Long: `List shows the bookings that are not over, the earliest first. "atctl list" shows them, too,
together with other reservations and jobs.`,
		Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := refuseEmpty(cmd, ""); err != nil {
				return err
			}
			if a.json {
				return a.printJSON(cmd.Context(), "book list", in)
			}
			t := newTable(os.Stdout, column{"ID", 0}, column{"STATE", 0}, column{"START", 0}, column{"END", 0},
				column{"OWNER", 16}, column{"DEVICES", 40}, column{"LABEL", 0})
			t.spare = []string{"OWNER"}
			var err error
			if t.times, err = a.clock(cmd.Context()); err != nil {
				return err
			}
			err = stream(cmd.Context(), a, "book list", in, func(b control.Booking) error {
				return t.row(b.ID, b.Status, b.Start.Time, b.End.Time, b.Owner, strings.Join(b.Devices, " "), b.Label)
			})
			return t.end(err)
		},
	}
	cmd.Flags().BoolVar(&in.All, "all", false, "also those that are over")
	cmd.Flags().StringVar(&in.Owner, "owner", "", "only those of `OWNER`")
	return cmd
}

func newBookQuotaCommand(a *app) *cobra.Command {
	var in control.BookQuotaIn
	cmd := &cobra.Command{
		Use:   "quota",
		Short: "Show what can be booked, and what is",
		Long: `Quota shows how much of its quota an owner has booked, in this calendar week and in later
ones, and which devices can be booked for how long. The daemon's configuration sets the
limits (its key booking).`,
		Example: `  atctl book quota --owner ada`,
		Args:    none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := refuseEmpty(cmd, ""); err != nil {
				return err
			}
			if a.json {
				return a.printJSON(cmd.Context(), "book quota", in)
			}
			return runBookQuota(cmd.Context(), a, in)
		},
	}
	cmd.Flags().StringVar(&in.Owner, "owner", "", "the quota of `OWNER`, instead of your own")
	return cmd
}

func runBookQuota(ctx context.Context, a *app, in control.BookQuotaIn) error {
	q, err := call[control.BookQuota](ctx, a, "book quota", in)
	if err != nil {
		return err
	}
	clock, err := a.clock(ctx)
	if err != nil {
		return err
	}
	of := func(have string, limit float64, unit string) string {
		if limit == 0 {
			return strings.TrimSpace(have + " (no limit)")
		}
		return strings.TrimPrefix(fmt.Sprintf("%s of %.4g%s", have, limit, unit), " of ")
	}
	pairs := [][2]string{{"owner", q.Owner}}
	for _, w := range q.Weeks {
		pairs = append(pairs, [2]string{"week from " + clock.In(w.Begins.Time).Format(time.DateOnly), of(fmt.Sprintf("%.4gh", w.Hours), q.HoursPerWeek, "h")})
	}
	pairs = append(pairs, [2]string{"devices now", of(strconv.Itoa(q.DevicesNow), float64(q.Devices), "")},
		[2]string{"days ahead", of("", float64(q.DaysAhead), "")}, [2]string{"longest slot", of("", q.MaxHours, "h")},
		[2]string{"can be booked", strings.Join(q.Bookable, " ")})
	if err := fields(os.Stdout, pairs...); err != nil {
		return err
	}
	if q.Refused != "" {
		warn(q.Refused)
	}
	return nil
}
