package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"activationd/control"
	"activationd/internal/fault"
	"activationd/internal/help"
	"activationd/internal/timetext"
)

func newEveryCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "every COMMAND",
		Short: "Add, show and change recurring jobs",
		Long: `Every adds, shows and changes recurrences. Each occurrence of a recurrence becomes a job
of its own, or is skipped, for a reason that "atctl every show" prints. "atctl next" shows
future occurrences, "atctl list --all --every NAME" the jobs of past ones.`,
		Args: help.Unknown,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newEveryAddCommand(a), newEveryEditCommand(a), newEveryListCommand(a), newEveryShowCommand(a),
		newEveryVerbCommand(a, "remove", "Remove recurrences", `Remove removes recurrences. Their running jobs go on; "atctl list --every NAME" lists
them. A recurrence that the daemon's configuration declares must be removed there.`),
		newEveryVerbCommand(a, "hold", "Keep recurrences from occurring", `Hold keeps recurrences from occurring until they are released, even if the configuration is
reloaded.`),
		newEveryVerbCommand(a, "release", "Let held recurrences occur again", `Release lets recurrences occur again. Occurrences in the meantime are skipped; the next
one is computed from now.`),
		newEveryRunCommand(a))
	return cmd
}

const everyAddHelp = `Add adds a recurrence: a command or a script that runs again and again, by a cron
expression, by a calendar expression of systemd, or at regular intervals.

  --cron '30 4 * * 1-5'        minute, hour, day, month, weekday; with six
                               fields, the first is for seconds; names, @hourly,
                               @daily, @weekly, @monthly, @yearly; @reboot:
                               after the machine has started
  --calendar 'Mon..Fri 08:00'  see systemd.time(7): '*-*-01 04:00', '*:0/15',
                               quarterly
  --every 90s                  counted from --start, or else from now

Daylight saving: with --cron, a time of day that the clock skips occurs right after the
change, and a time that comes twice occurs once. But if the minute or the hour begins
with *, the rule follows elapsed time. (cron(8) documents the same.) With --calendar, a
time that the clock skips is left out. Try an expression with:
  atctl next --cron '30 2 * * *' --tz Europe/Prague

The command, its directory and its user are chosen as with "atctl add"; see its help.`

type everyAddOptions struct {
	addOptions
	rule control.RuleIn
	user string
}

func newEveryAddCommand(a *app) *cobra.Command {
	var opts everyAddOptions
	cmd := &cobra.Command{
		Use:   "add NAME (--cron EXPR | --calendar EXPR | --every DURATION) [flags] [--] COMMAND [ARG]...",
		Short: "Add a recurrence",
		Long:  everyAddHelp,
		Example: `  atctl every add nightly --cron '30 3 * * *' -- /usr/local/bin/backup
  atctl every add mail --calendar 'Mon..Fri 08:00' --tz Europe/Prague -- ./mail
  atctl every add poll --every 90s --jitter 10s --timeout 1m -- ./poll
  echo 'cd /srv && ./clean' | atctl every add clean --cron @weekly`,
		Args: takes(1, 0, "a NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := opts.fromHere(cmd, a); err != nil {
				return err
			}
			if opts.user != "" && !cmd.Flags().Changed("dir") {
				opts.Dir = ""
			}
			return runEveryAdd(cmd.Context(), a, opts, args[0], args[1:])
		},
	}
	f := cmd.Flags()
	f.SetInterspersed(true)
	ruleFlags(cmd, &opts.rule)
	policyFlags(cmd, &opts.rule)
	jobFlags(cmd, &opts.addOptions)
	f.StringVar(&opts.user, "user", "", "run the jobs as `USER`, to whom the recurrence belongs, in that user's home directory unless --dir is given; for admins")
	help.Section(cmd, "When:", "cron", "calendar", "every", "tz", "start", "end", "jitter")
	help.Section(cmd, "Conditions:", "overlap", "catch-up", "missed", "lock", "priority")
	jobSections(cmd)
	return cmd
}

// ruleFlags are the flags for the rule of a recurrence.
func ruleFlags(cmd *cobra.Command, rule *control.RuleIn) {
	f := cmd.Flags()
	f.StringVar(&rule.Cron, "cron", "", "occur by the cron expression `EXPR`")
	f.StringVar(&rule.Calendar, "calendar", "", "occur by systemd's calendar expression `EXPR`")
	f.StringVar(&rule.Every, "every", "", "occur every `DURATION`")
	f.StringVar(&rule.TZ, "tz", "", "occur in the time zone `ZONE`, such as Europe/Prague")
	f.StringVar(&rule.Start, "start", "", "no occurrence before `TIME`")
	f.StringVar(&rule.End, "end", "", "no occurrence at `TIME` or later")
}

// policyFlags are the flags that every add and every edit share, and next does not have.
func policyFlags(cmd *cobra.Command, rule *control.RuleIn) {
	f := cmd.Flags()
	f.StringVar(&rule.Overlap, "overlap", "", "`skip|queue|parallel|replace` occurrences that are due while the previous job runs")
	f.StringVar(&rule.Jitter, "jitter", "", "delay each occurrence by up to `DURATION`; the same occurrence always has the same delay")
	f.StringVar(&rule.CatchUp, "catch-up", "", "run `none|last|all|N` of the occurrences that the daemon missed")
}

// settleRule adds the user's zone where no zone is given: the daemon may have another one.
func settleRule(rule *control.RuleIn) (err error) {
	if rule.TZ != "" {
		return nil
	}
	for _, t := range []*string{&rule.Start, &rule.End} {
		if *t, err = zoned(*t, time.Now(), timetext.Typed); err != nil {
			return err
		}
	}
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
	opts.Notices = true
	in := control.EveryAddIn{Name: name, User: opts.user, RuleIn: opts.rule, AddIn: opts.AddIn}
	if a.json {
		return opts.explain(a.printJSON(ctx, "every add", in))
	}
	r, err := call[control.EveryAddOut](ctx, a, "every add", in)
	if err != nil {
		return opts.explain(err)
	}
	notice("the job of "+r.Name, r.Notices)
	return tellNext(ctx, a, "first", r.Due.Time)
}

func newEveryEditCommand(a *app) *cobra.Command {
	var in control.EveryEditIn
	var file string
	cmd := &cobra.Command{
		Use:   "edit NAME [flags] [-- COMMAND [ARG]...]",
		Short: "Change a recurrence",
		Long: `Edit changes a recurrence, and keeps its history and its counts. The flags are those of
add. Only the given fields change; --cron, --calendar and --every replace each other, --lock
and --tag replace all locks and tags, --env sets single variables. --clear removes lock,
label, tag, env, tz, jitter, start or end, and sets timeout, grace, retries or backoff to
the configuration's defaults. Without --tz, the rule stays in its zone.

The next occurrence changes only if the times do. Jobs that exist already stay as they are;
"atctl edit" changes those that have not begun. "atctl audit NAME" shows who changed what. A
recurrence that the daemon's configuration declares must be changed there.`,
		Example: `  atctl every edit nightly --cron '30 4 * * *'
  atctl every edit nightly --overlap queue --timeout 2h --clear jitter
  atctl every edit nightly -- /usr/local/bin/backup --full`,
		Args: takes(1, 0, "a NAME; see atctl every list"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := refuseEmpty(cmd, ""); err != nil {
				return err
			}
			in.Arg = args[1:]
			if at := cmd.ArgsLenAtDash(); len(in.Arg) > 0 && at != 1 {
				return fmt.Errorf("every edit takes one NAME; write a new command after --: %w", fault.Invalid)
			}
			if file == "" && reflect.DeepEqual(in, control.EveryEditIn{JobEdit: control.JobEdit{Arg: in.Arg}}) && len(in.Arg) == 0 {
				return usage(cmd, "nothing to change; use a flag such as --cron, or write a command after --")
			}
			in.Name = args[0]
			return runEveryEdit(cmd.Context(), a, in, file)
		},
	}
	ruleFlags(cmd, &in.RuleIn)
	policyFlags(cmd, &in.RuleIn)
	editFlags(cmd, &in.JobEdit, &file)
	help.Section(cmd, "When:", "cron", "calendar", "every", "tz", "start", "end", "jitter")
	help.Section(cmd, "Conditions:", "overlap", "catch-up", "missed", "lock", "priority")
	help.Section(cmd, "Command:", "file", "dir", "env")
	help.Section(cmd, "Ends and failures:", "timeout", "grace", "retries", "backoff")
	help.Section(cmd, "In lists:", "label", "tag")
	return cmd
}

func runEveryEdit(ctx context.Context, a *app, in control.EveryEditIn, file string) (err error) {
	for _, t := range []*string{&in.Start, &in.End} {
		if *t, err = zonedUnless(in.TZ, *t); err != nil {
			return err
		}
	}
	opts, err := settleJob(&in.JobEdit, file)
	if err != nil {
		return err
	}
	if a.json {
		return opts.explain(a.printJSON(ctx, "every edit", in))
	}
	r, err := call[control.EveryAddOut](ctx, a, "every edit", in)
	if err != nil {
		return opts.explain(err)
	}
	notice("the job of "+r.Name, r.Notices)
	return tellNext(ctx, a, "next", r.Due.Time)
}

// tellNext tells a person, who may have made a mistake, when a recurrence is due.
func tellNext(ctx context.Context, a *app, what string, due time.Time) error {
	if due.IsZero() || !isTerminal(os.Stdout) || !isTerminal(os.Stderr) {
		return nil
	}
	clock, err := a.clock(ctx)
	if err == nil {
		fmt.Fprintf(os.Stderr, "%s on %s\n", what, clock.Full(due))
	}
	return err
}

func newEveryListCommand(a *app) *cobra.Command {
	var in control.EveryListIn
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List recurrences",
		Long: `List shows all recurrences. DUE is when the next occurrence starts. LAST is the outcome
of the last job that finished, and ENDED is when. RAN and SKIPPED count occurrences.`,
		Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := refuseEmpty(cmd, ""); err != nil {
				return err
			}
			if a.json {
				return a.printJSON(cmd.Context(), "every list", in)
			}
			t, err := newEveryTable(cmd.Context(), a, os.Stdout)
			if err != nil {
				return err
			}
			return t.end(stream(cmd.Context(), a, "every list", in, t.recurrence))
		},
	}
	f := cmd.Flags()
	f.StringVar(&in.Owner, "owner", "", "only recurrences of `OWNER`")
	f.StringVar(&in.Label, "label", "", "only those with the label `TEXT`, in which * stands for any text and ? for any character")
	f.StringArrayVar(&in.Tag, "tag", nil, "only those with the `TAG`; with commas: with all these tags")
	return cmd
}

// An everyTable is the table of every list.
type everyTable struct{ *table }

func newEveryTable(ctx context.Context, a *app, out io.Writer) (everyTable, error) {
	clock, err := a.clock(ctx)
	if err != nil {
		return everyTable{}, err
	}
	t := newTable(out, column{"NAME", 0}, column{"STATE", 0}, column{"WHEN", 40}, column{"DUE", 0}, column{"LAST", 0},
		column{"ENDED", 0}, column{"RAN", 0}, column{"SKIPPED", 0}, column{"OWNER", 16}, column{"LABEL OR COMMAND", 0})
	t.times, t.spare = clock, []string{"OWNER", "SKIPPED", "RAN"}
	return everyTable{t}, nil
}

// recurrence adds the row of r.
func (t everyTable) recurrence(r control.Recurrence) error {
	last, ended := "", time.Time{}
	if r.Last != nil {
		last, ended = r.Last.Outcome, r.Last.End
	}
	return t.row(r.Name, r.State, r.When, r.Due.Time, last, ended,
		strconv.FormatUint(r.Begun, 10), strconv.FormatUint(r.Skipped, 10), r.Owner, cmp.Or(r.Label, r.Script, r.Command))
}

func newEveryShowCommand(a *app) *cobra.Command {
	var work workOptions
	cmd := &cobra.Command{
		Use:   "show NAME",
		Short: "Show all details of a recurrence",
		Long: `Show prints the rule of a recurrence, how many of its occurrences ran or were skipped, and
which were skipped and why. Its owner and admins also see the beginning of its script and
its variables; with --script or --input, show prints the whole script or input instead.`,
		Args: takes(1, 1, "a NAME; see atctl every list"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if work.exact() {
				return work.print(cmd.Context(), a, control.InputIn{Name: args[0]})
			}
			in := control.NameIn{Name: args[0]}
			if a.json {
				return a.printJSON(cmd.Context(), "every show", in)
			}
			r, err := call[control.RecurrenceDetail](cmd.Context(), a, "every show", in)
			if err != nil {
				return err
			}
			clock, err := a.clock(cmd.Context())
			if err != nil {
				return err
			}
			return showRecurrence(&r, clock)
		},
	}
	work.flags(cmd)
	return cmd
}

func showRecurrence(r *control.RecurrenceDetail, clock *clock) error {
	argv, _, dir := r.Bytes.Restore(r.Argv, nil, r.Dir)
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
	last := ""
	if e := r.Last; e != nil {
		last = fmt.Sprintf("%s %s at %s", e.ID, e.Outcome, clock.Both(e.End))
		if e.Reason != "" {
			last += ": " + e.Reason
		}
	}
	declared := ""
	if r.Declared {
		declared = "in the configuration"
	}
	err := fields(os.Stdout, append([][2]string{
		{"name", r.Name},
		{"times in", clock.Zone},
		{"owner", r.Owner},
		{"declared", declared},
		{"label", r.Label},
		{"state", r.State},
		{"reason", r.Reason},
		{"when", r.When},
		{"next", clock.Both(r.Next.Time)},
		{"due", clock.Both(r.Due.Time)},
		{"start", clock.Both(r.Start.Time)},
		{"end", clock.Both(r.End.Time)},
		{"overlap", r.Overlap},
		{"jitter", r.Jitter},
		{"catch-up", catchUp},
		{"command", control.ShellWords(argv)},
		{"directory", dir},
		{"locks", strings.Join(r.Locks, " ")},
		{"priority", nonzero(r.Priority)},
		{"tags", strings.Join(r.Tags, " ")},
		{"timeout", limit(r.Timeout)},
		{"retries", nonzero(r.Retries)},
		{"created", clock.Both(r.Created)},
		{"not finished", strings.Join(r.Running, " ")},
		{"last", last},
		{"ran", strconv.FormatUint(r.Begun, 10)},
		{"outcomes", strings.TrimSuffix(outcomes, ", ")},
		{"skipped", strconv.FormatUint(r.Skipped, 10)},
	}, workFields(r.Stdin, r.Env, "atctl every show "+r.Name)...)...)
	if err != nil || len(r.Skips) == 0 {
		return err
	}
	fmt.Println()
	t := newTable(os.Stdout, column{"SKIPPED", 0}, column{"FROM", 0}, column{"TO", 0}, column{"REASON", 0})
	t.times = clock.Unnamed()
	for _, s := range r.Skips {
		n := strconv.FormatUint(s.Count, 10)
		if s.More {
			n += "+"
		}
		if err := t.row(n, s.From, s.To, s.Reason); err != nil {
			return err
		}
	}
	return t.flush()
}

// newEveryVerbCommand returns the command for the operation "every" verb.
func newEveryVerbCommand(a *app, verb, short, long string) *cobra.Command {
	var b bulk
	cmd := &cobra.Command{
		Use:   verb + " {NAME... | FILTER...}",
		Short: short,
		Long: long + `

It stops at the first NAME that fails, unless --keep-going is given. With filters instead of
names it says how many they choose, asks, and tries all of them. Without a terminal it needs
--yes.`,
		Args: func(cmd *cobra.Command, args []string) error {
			given, err := b.given(cmd, 0)
			switch {
			case err != nil:
				return err
			case given && len(args) > 0:
				return usage(cmd, "a NAME and a filter such as --tag exclude each other; use one of them")
			case given:
				return nil
			}
			return takes(1, 0, "a NAME, see atctl every list, or a filter such as --tag")(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return b.every(cmd.Context(), a)
			}
			return forEachID(args, b.keepGoing, func(name string) error {
				return a.do(cmd.Context(), "every "+verb, control.NameIn{Name: name})
			})
		},
	}
	others := make(map[string]string)
	for _, name := range choiceFlags {
		if name != "owner" && name != "label" && name != "tag" {
			others[name] = ""
		}
	}
	b.flags(cmd, verb, others)
	cmd.Flags().BoolVarP(&b.keepGoing, "keep-going", "k", false, "try every NAME")
	return cmd
}

// every carries out the verb on all recurrences that are chosen.
func (b *bulk) every(ctx context.Context, a *app) error {
	var chosen []control.Recurrence
	left := make(map[string]int)
	in := control.EveryListIn{Owner: b.Owner, Label: b.Label, Tag: b.Tag, Verb: b.verb}
	err := stream(ctx, a, "every list", in, func(r control.Recurrence) error {
		switch {
		case r.Can:
			chosen = append(chosen, r)
		case b.verb == "remove" && r.Declared:
			left["declared in the configuration"]++
		case b.verb != "remove" && (b.verb == "hold") == (r.State == "held"):
			left[r.State]++
		default:
			left["of other users"]++
		}
		return nil
	})
	if err != nil {
		return err
	}
	what := fmt.Sprintf("%d recurrences", len(chosen))
	if len(chosen) == 1 {
		what = "1 recurrence"
	}
	ok, err := agreed(b, a, chosen, what, left, func(out *os.File, some []control.Recurrence) error {
		t, err := newEveryTable(ctx, a, out)
		for i := 0; err == nil && i < len(some); i++ {
			err = t.recurrence(some[i])
		}
		if err != nil {
			return err
		}
		return t.end(nil)
	})
	if err != nil || !ok {
		return err
	}
	var errs []error
	for _, r := range chosen {
		if err := a.do(ctx, "every "+b.verb, control.NameIn{Name: r.Name}); err != nil {
			errs = append(errs, err)
		}
	}
	if !a.json {
		_, err = fmt.Printf("%d %s\n", len(chosen)-len(errs), doneWords[b.verb])
	}
	return errors.Join(append(errs, err)...)
}

func newEveryRunCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "run NAME",
		Short: "Run the job of a recurrence once, now",
		Long: `Run runs the job of a recurrence once, now, in addition to its occurrences, and prints
the job's id. While another job of the recurrence runs, the recurrence's --overlap
decides; if that is skip, the command fails.`,
		Args: takes(1, 1, "a NAME; see atctl every list"),
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

func newNextCommand(a *app) *cobra.Command {
	var in control.NextIn
	var rule control.RuleIn
	cmd := &cobra.Command{
		Use:   "next NAME | next (--cron EXPR | --calendar EXPR | --every DURATION)",
		Short: "Show when a recurrence, or a rule, occurs next",
		Long: `Next shows the next times of a recurrence, or of a rule that you want to try: one a line,
in the zone of the rule, with its offset from UTC. With jitter, a second column shows when
each is due.`,
		Example: `  atctl next nightly -n 3
  atctl next --cron '30 2 * * *' --tz Europe/Prague --from 2026-03-28T00:00
  atctl next --calendar 'Mon *-05~07/1'`,
		Args: takes(0, 1, "a NAME; see atctl every list"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if in.N < 1 {
				return fmt.Errorf("--number: must be 1 to 10000, is %d: %w", in.N, fault.Invalid)
			}
			given := rule.Cron != "" || rule.Calendar != "" || rule.Every != ""
			if given == (len(args) == 1) {
				return fmt.Errorf("next needs either a NAME, or one of --cron, --calendar and --every: %w", fault.Invalid)
			}
			from, err := zonedUnless(rule.TZ, in.From) // without a rule there is no TZ
			if err != nil {
				return err
			}
			if in.From = from; given {
				if err := settleRule(&rule); err != nil {
					return err
				}
				in.Cron, in.Calendar, in.Every, in.TZ, in.Start, in.End = rule.Cron, rule.Calendar, rule.Every, rule.TZ, rule.Start, rule.End
			} else {
				in.Name, in.TZ, in.Start, in.End = args[0], rule.TZ, rule.Start, rule.End
			}
			return runNext(cmd.Context(), a, in)
		},
	}
	ruleFlags(cmd, &rule)
	cmd.Flags().IntVarP(&in.N, "number", "n", 10, "show `N` occurrences")
	cmd.Flags().StringVar(&in.From, "from", "", "start at `TIME` instead of now")
	return cmd
}

// zonedUnless is zoned, unless the time is in another zone.
func zonedUnless(zone, at string) (string, error) {
	if zone != "" {
		return at, nil
	}
	return zoned(at, time.Now(), timetext.Typed)
}

func runNext(ctx context.Context, a *app, in control.NextIn) error {
	if a.json {
		return a.printJSON(ctx, "next", in)
	}
	const form = "Mon 2006-01-02 15:04:05.999999 -0700"
	return stream(ctx, a, "next", in, func(c control.Coming) error {
		local, err := timetext.Instant(c.Local, nil)
		if err != nil {
			local = c.Occurrence.Local() // the daemon is older
		}
		line := local.Format(form)
		if !c.Due.Equal(c.Occurrence) {
			line += "  due " + c.Due.In(local.Location()).Format("2006-01-02 15:04:05.000")
		}
		_, err = fmt.Println(line)
		return err
	})
}
