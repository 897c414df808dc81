package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"activationd/control"
	"activationd/internal/fault"
)

func newEveryCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "every COMMAND",
		Short: "What recurs: as with cron, and by intervals and calendars",
		Long: `Every adds, shows and changes recurrences. Each occurrence of one becomes a job of its
own, or is skipped, with a reason that "atctl every show" tells. "atctl next" tells the
coming ones, "atctl list --all --every NAME" what became of those that have been.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage(cmd, fmt.Sprintf("there is no command every %q", args[0]))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newEveryAddCommand(a), newEveryListCommand(a), newEveryShowCommand(a),
		newEveryVerbCommand(a, "remove", "Remove recurrences", `Remove ends recurrences. What has become a job of them goes on: see
atctl list --every NAME, and cancel it if it shall not. What is declared in the daemon's
configuration is removed there.`),
		newEveryVerbCommand(a, "hold", "Keep recurrences from occurring", `Hold keeps recurrences from occurring until they are released, also over a reload.`),
		newEveryVerbCommand(a, "release", "Let held recurrences occur again", `Release lets recurrences occur again. What would have occurred meanwhile is skipped; the
next occurrence is reckoned from now.`),
		newEveryRunCommand(a))
	return cmd
}

const everyAddHelp = `Add has a command, or a script, run again and again: by a cron expression, by a calendar
expression of systemd's, or at even intervals.

  --cron '30 4 * * 1-5'       minute, hour, day, month, weekday; with seconds before them
                              if there are six; names, @hourly, @daily, @weekly, @monthly,
                              @yearly; @reboot: when the machine has been started
  --calendar 'Mon..Fri 08:00' as systemd.time(7) has it: '*-*-01 04:00', '*:0/15', quarterly
  --every 90s                 counted from --start, or else from now

Clocks that change: with --cron a time of day that is skipped comes right after, one that
comes twice comes once, and wildcards go by elapsed time, as cron(8) says. With --calendar
one that is skipped is left out. Try them: atctl next --cron '30 2 * * *' --tz Europe/Prague.

What, where and as whom is as with "atctl add"; see its help.`

type everyAddOptions struct {
	addOptions
	rule control.RuleIn
}

func newEveryAddCommand(a *app) *cobra.Command {
	var opts everyAddOptions
	cmd := &cobra.Command{
		Use:   "add NAME (--cron EXPR | --calendar EXPR | --every DURATION) [flags] [--] COMMAND [ARG]...",
		Short: "Add a recurrence",
		Long:  everyAddHelp,
		Example: `  atctl every add nightly --cron '30 3 * * *' -- /usr/local/bin/backup
  atctl every add report --calendar 'Mon..Fri 08:00' --tz Europe/Prague --catch-up last -- ./report
  atctl every add poll --every 90s --jitter 10s --timeout 1m -- ./poll
  echo 'cd /srv && ./clean' | atctl every add clean --cron @weekly`,
		Args: wants(1, 0, "a NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := opts.takePlace(cmd, a); err != nil {
				return err
			}
			return runEveryAdd(cmd.Context(), a, opts, args[0], args[1:])
		},
	}
	f := cmd.Flags()
	f.SetInterspersed(true)
	ruleFlags(cmd, &opts.rule)
	f.StringVar(&opts.rule.Overlap, "overlap", "", "while the one before runs: `skip|queue|parallel|replace`")
	f.StringVar(&opts.rule.Jitter, "jitter", "", "be late by up to `DURATION`, each occurrence always by the same")
	f.StringVar(&opts.rule.CatchUp, "catch-up", "", "of those that the daemon missed, run `none|last|all|N`")
	jobFlags(cmd, &opts.addOptions)
	return cmd
}

// ruleFlags are the flags that say when something recurs.
func ruleFlags(cmd *cobra.Command, rule *control.RuleIn) {
	f := cmd.Flags()
	f.StringVar(&rule.Cron, "cron", "", "by the cron expression `EXPR`")
	f.StringVar(&rule.Calendar, "calendar", "", "by systemd's calendar expression `EXPR`")
	f.StringVar(&rule.Every, "every", "", "every `DURATION`")
	f.StringVar(&rule.TZ, "tz", "", "in the time zone `ZONE`, such as Europe/Prague")
	f.StringVar(&rule.Start, "start", "", "none before `TIME`")
	f.StringVar(&rule.End, "end", "", "none at `TIME` or later")
}

// settleRule names the caller's zone where none is named: the daemon's may be
// another one.
func settleRule(rule *control.RuleIn) (err error) {
	if rule.TZ != "" {
		return nil
	}
	now := time.Now()
	rule.Start, rule.End = zoned(rule.Start, now), zoned(rule.End, now)
	if rule.TZ, err = ownZone(); err != nil && (rule.Every != "" || namesZone(rule)) {
		return nil
	}
	return err
}

// namesZone reports whether an expression has a zone of its own.
func namesZone(rule *control.RuleIn) bool {
	cron := strings.TrimSpace(rule.Cron)
	words := strings.Fields(rule.Calendar)
	if len(words) == 0 {
		return strings.HasPrefix(cron, "TZ=") || strings.HasPrefix(cron, "CRON_TZ=")
	}
	zone := words[len(words)-1]
	_, err := time.LoadLocation(zone)
	return err == nil || strings.EqualFold(zone, "UTC")
}

func runEveryAdd(ctx context.Context, a *app, opts everyAddOptions, name string, args []string) error {
	if err := settleRule(&opts.rule); err != nil {
		return err
	}
	if err := takeWork(&opts.addOptions, args, os.Stdin); err != nil {
		return err
	}
	env, err := environment(opts.Env, opts.captureEnv, os.Environ())
	if err != nil {
		return err
	}
	opts.Env = env
	in := control.EveryAddIn{Name: name, RuleIn: opts.rule, AddIn: opts.AddIn}
	if a.json {
		return opts.explain(a.printJSON(ctx, "every add", in))
	}
	r, err := call[control.Recurrence](ctx, a, "every add", in)
	if err != nil {
		return opts.explain(err)
	}
	if isTerminal(os.Stdout) && isTerminal(os.Stderr) { // a person, who may have meant another time
		fmt.Fprintf(os.Stderr, "first on %s\n", instant(r.Due.Time, time.Now()))
	}
	return nil
}

func newEveryListCommand(a *app) *cobra.Command {
	var in control.EveryListIn
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List recurrences",
		Long: `List shows the recurrences there are. DUE is when the next occurrence starts, LAST how
the last one to finish did. RAN and SKIPPED count occurrences.`,
		Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if a.json {
				return a.printJSON(cmd.Context(), "every list", in)
			}
			t := newTable(os.Stdout, column{"NAME", 24}, column{"STATE", 0}, column{"WHEN", 40}, column{"DUE", 0}, column{"LAST", 0},
				column{"RAN", 0}, column{"SKIPPED", 0}, column{"OWNER", 16}, column{"LABEL OR COMMAND", 0})
			now := time.Now()
			err := stream(cmd.Context(), a, "every list", in, func(r control.Recurrence) error {
				what := r.Label
				if what == "" {
					what = r.Command
				}
				return t.row(r.Name, r.State, r.When, instant(r.Due.Time, now), lastEnd(r.Last, now),
					strconv.FormatUint(r.Begun, 10), strconv.FormatUint(r.Skipped, 10), r.Owner, what)
			})
			return errors.Join(t.flush(), err)
		},
	}
	cmd.Flags().StringVar(&in.Owner, "owner", "", "only those of `OWNER`")
	return cmd
}

// lastEnd tells how what ended last did.
func lastEnd(e *control.Ended, now time.Time) string {
	if e == nil {
		return ""
	}
	return e.Outcome + " (" + relative(e.End.Sub(now)) + ")"
}

func newEveryShowCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "show NAME",
		Short:             "Show all that is known of a recurrence",
		Long:              `Show tells a recurrence's rule, what becomes of its occurrences, and which were skipped and why.`,
		Args:              wants(1, 1, "a NAME; see atctl every list"),
		ValidArgsFunction: a.completeRecurrences,
		RunE: func(cmd *cobra.Command, args []string) error {
			in := control.NameIn{Name: args[0]}
			if a.json {
				return a.printJSON(cmd.Context(), "every show", in)
			}
			r, err := call[control.RecurrenceDetail](cmd.Context(), a, "every show", in)
			if err != nil {
				return err
			}
			return showRecurrence(&r)
		},
	}
}

func showRecurrence(r *control.RecurrenceDetail) error {
	argv, _, dir := r.Bytes.Restore(r.Argv, nil, r.Dir)
	now := time.Now()
	outcomes := ""
	for _, o := range []string{"succeeded", "failed", "timed_out", "cancelled", "missed", "lost"} {
		if n := r.Outcomes[o]; n > 0 {
			outcomes += fmt.Sprintf("%d %s, ", n, o)
		}
	}
	catchUp := strconv.Itoa(r.CatchUp)
	switch r.CatchUp {
	case 0:
		catchUp = "none"
	case 1:
		catchUp = "last"
	}
	declared := ""
	if r.Declared {
		declared = "in the configuration"
	}
	err := fields(os.Stdout,
		[2]string{"name", r.Name},
		[2]string{"owner", r.Owner},
		[2]string{"declared", declared},
		[2]string{"label", r.Label},
		[2]string{"state", r.State},
		[2]string{"reason", r.Reason},
		[2]string{"when", r.When},
		[2]string{"next", instant(r.Next.Time, now)},
		[2]string{"due", instant(r.Due.Time, now)},
		[2]string{"start", instant(r.Start.Time, now)},
		[2]string{"end", instant(r.End.Time, now)},
		[2]string{"overlap", r.Overlap},
		[2]string{"jitter", r.Jitter},
		[2]string{"catch-up", catchUp},
		[2]string{"command", shellWords(argv)},
		[2]string{"directory", dir},
		[2]string{"locks", strings.Join(r.Locks, " ")},
		[2]string{"priority", nonzero(r.Priority)},
		[2]string{"tags", strings.Join(r.Tags, " ")},
		[2]string{"timeout", r.Timeout},
		[2]string{"retries", nonzero(r.Retries)},
		[2]string{"created", instant(r.Created, now)},
		[2]string{"not finished", strings.Join(r.Running, " ")},
		[2]string{"last", lastEnd(r.Last, now)},
		[2]string{"ran", strconv.FormatUint(r.Begun, 10)},
		[2]string{"outcomes", strings.TrimSuffix(outcomes, ", ")},
		[2]string{"skipped", strconv.FormatUint(r.Skipped, 10)},
	)
	if err != nil || len(r.Skips) == 0 {
		return err
	}
	fmt.Println()
	t := newTable(os.Stdout, column{"SKIPPED", 0}, column{"FROM", 0}, column{"TO", 0}, column{"REASON", 0})
	for _, s := range r.Skips {
		n := strconv.FormatUint(s.Count, 10)
		if s.More {
			n += "+"
		}
		if err := t.row(n, s.From.Local().Format(time.DateTime), s.To.Local().Format(time.DateTime), s.Reason); err != nil {
			return err
		}
	}
	return t.flush()
}

// newEveryVerbCommand makes the command for the operation "every" verb.
func newEveryVerbCommand(a *app, verb, short, long string) *cobra.Command {
	var keepGoing bool
	cmd := &cobra.Command{
		Use:               verb + " NAME...",
		Short:             short,
		Long:              long + "\n\nIt stops at the first NAME that fails, unless --keep-going is given.",
		Args:              wants(1, 0, "a NAME; see atctl every list"),
		ValidArgsFunction: a.completeRecurrences,
		RunE: func(cmd *cobra.Command, args []string) error {
			return each(args, keepGoing, func(name string) error {
				return a.tell(cmd.Context(), "every "+verb, control.NameIn{Name: name})
			})
		},
	}
	cmd.Flags().BoolVarP(&keepGoing, "keep-going", "k", false, "try every NAME")
	return cmd
}

func newEveryRunCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "run NAME",
		Short: "Run what recurs once, now",
		Long: `Run runs what recurs once, now, beside its occurrences, and prints the job's id. While
another one of it runs, what the recurrence says of overlapping holds; with skip, run
fails.`,
		Args:              wants(1, 1, "a NAME; see atctl every list"),
		ValidArgsFunction: a.completeRecurrences,
		RunE: func(cmd *cobra.Command, args []string) error {
			in := control.NameIn{Name: args[0]}
			if a.json {
				return a.printJSON(cmd.Context(), "every run", in)
			}
			out, err := call[control.AddOut](cmd.Context(), a, "every run", in)
			if err == nil {
				_, err = fmt.Println(out.ID)
			}
			return err
		},
	}
}

func (a *app) completeRecurrences(cmd *cobra.Command, _ []string, prefix string) ([]string, cobra.ShellCompDirective) {
	var names []string
	err := stream(cmd.Context(), a, "every list", control.EveryListIn{}, func(r control.Recurrence) error {
		if strings.HasPrefix(r.Name, prefix) {
			names = append(names, r.Name+"\t"+printable(r.When))
		}
		return nil
	})
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func newNextCommand(a *app) *cobra.Command {
	var in control.NextIn
	var rule control.RuleIn
	cmd := &cobra.Command{
		Use:   "next NAME | next (--cron EXPR | --calendar EXPR | --every DURATION)",
		Short: "Show when a recurrence, or a rule, occurs next",
		Long: `Next shows the coming instants of a recurrence, or of a rule that is only tried: in the
zone of the rule, with its offset from UTC, one a line. With jitter, a second column has
when each is due.`,
		Example: `  atctl next nightly -n 3
  atctl next --cron '30 2 * * *' --tz Europe/Prague --from 2026-03-28T00:00
  atctl next --calendar 'Mon *-05~07/1'`,
		Args:              wants(0, 1, "a NAME; see atctl every list"),
		ValidArgsFunction: a.completeRecurrences,
		RunE: func(cmd *cobra.Command, args []string) error {
			if in.N < 1 {
				return fmt.Errorf("--number: want 1 to 10000, have %d: %w", in.N, fault.Invalid)
			}
			given := rule.Cron != "" || rule.Calendar != "" || rule.Every != ""
			if given == (len(args) == 1) {
				return fmt.Errorf("give a NAME, or one of --cron, --calendar and --every: %w", fault.Invalid)
			}
			if given {
				in.From = zonedUnless(rule.TZ, in.From)
				if err := settleRule(&rule); err != nil {
					return err
				}
				in.Cron, in.Calendar, in.Every, in.TZ, in.Start, in.End = rule.Cron, rule.Calendar, rule.Every, rule.TZ, rule.Start, rule.End
			} else {
				in.Name, in.TZ, in.Start, in.End = args[0], rule.TZ, rule.Start, rule.End
				in.From = zonedUnless("", in.From)
			}
			return runNext(cmd.Context(), a, in)
		},
	}
	ruleFlags(cmd, &rule)
	cmd.Flags().IntVarP(&in.N, "number", "n", 10, "show `N` of them")
	cmd.Flags().StringVar(&in.From, "from", "", "those from `TIME` on, not from now")
	return cmd
}

// zonedUnless is zoned, unless the time is to be read in another zone.
func zonedUnless(zone, at string) string {
	if zone != "" {
		return at
	}
	return zoned(at, time.Now())
}

func runNext(ctx context.Context, a *app, in control.NextIn) error {
	if a.json {
		return a.printJSON(ctx, "next", in)
	}
	const form = "Mon 2006-01-02 15:04:05.999999 -0700"
	return stream(ctx, a, "next", in, func(c control.Coming) error {
		line := c.Occurrence.Format(form)
		if !c.Due.Equal(c.Occurrence) {
			line += "  due " + c.Due.Format("2006-01-02 15:04:05.000")
		}
		_, err := fmt.Println(line)
		return err
	})
}
