package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"activationd/control"
	"activationd/internal/fault"
	"activationd/internal/help"
	"activationd/internal/timetext"
	"activationd/schedule/timespec"
)

type addOptions struct {
	control.AddIn
	file, stdin string
	captureEnv  bool
}

const addHelp = `Add adds a job, which the daemon runs once: a command or a shell script.

It prints the id of the job on standard output, and nothing else. Use the id with
show, log, wait, cancel and other commands. When the id is printed, the job is on
the daemon's disk.

When: --at takes a date and time in your own time zone ("2099-12-21 10:00", seconds
are optional), the next "10:00", "tomorrow 10:00", the times of at(1) ("noon",
"monday 10am", "now + 5 minutes", "next week"), RFC 3339 with a zone, "@" and
seconds since 1970, or "now"; --in takes a duration such as 90s, 5m, 1h30m or 2d.
docs/times.md has the list of all forms. Without --at and --in the job is due now.

Conditions: with --lock NAME, the job runs only while no other job holds NAME; jobs
with NAME:shared may hold it together; NAME=1/4 takes one of four units. Jobs that
wait for the same lock start in the order of --priority, then of arrival; atctl
locks shows them. With --after 17, the job waits until job 17 has succeeded, and is
cancelled if job 17 fails.

Command: everything after -- is a command with its arguments. It is not passed to a
shell; for a shell, write sh -c 'a | b'. Without a command, the script is read from
--file FILE or from standard input. If its first line is #!INTERPRETER, that program
gets the script on its standard input, otherwise /bin/sh does.

Environment: the job starts in the current directory, with the current umask, as
you. (With --connect, the daemon may run on another machine, so the job starts in your
home directory there.) It gets HOME, USER, SHELL, PATH, LANG and TZ, and the
variables of --env. --capture-env adds the current environment, except variables
that belong to this login (terminal, agents, session buses) and variables whose
names look like secrets.`

// Help texts that add, every add and edit share.
const (
	lockHelp     = "run the job only while it holds the lock `NAME`, or NAME:shared, or NAME=UNITS/CAPACITY; may be repeated"
	deadlineHelp = "stop the job at the time `WHEN`, or after this duration, counted from the time when the job is due; a job that has not begun by then is missed"
	fileHelp     = "run the script in `FILE`; - is standard input"
	timeoutHelp  = "stop the job after `DURATION`"
	graceHelp    = "wait `DURATION` between TERM and KILL"
	priorityHelp = "start before jobs with a lower `N` that wait for the same lock or because of runs.max_parallel; -99 to 99"
	retriesHelp  = "if the job fails, try `N` more times"
	backoffHelp  = "wait `DURATION` before the second attempt; the pause doubles with each attempt"
	labelHelp    = "show `TEXT` in lists, instead of the command"
	tagHelp      = "add the `TAG`, for \"atctl list --tag\"; separate several tags with commas"
	envHelp      = "set `NAME=VALUE`, or NAME to its current value; may be repeated"
	missedHelp   = "`run|skip`: start the job late, or skip it, if it could not start within a minute of its time, for example because the daemon was down"
)

func newAddCommand(a *app) *cobra.Command {
	var opts addOptions
	cmd := &cobra.Command{
		Use:   "add [--at WHEN | --in DURATION] [flags] [--] COMMAND [ARG]...",
		Short: "Add a job",
		Long:  addHelp,
		Example: `  atctl add --at '2099-12-21 10:00' -- /usr/local/bin/report --all
  atctl add --in 5m --timeout 1m -- make -C /srv/lab check
  echo 'cd /srv && ./nightly | mail -s nightly root' | atctl add --in 8h
  atctl wait $(atctl add --file experiment.py)`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := opts.fromHere(cmd, a); err != nil {
				return err
			}
			return runAdd(cmd.Context(), a, opts, args)
		},
	}
	f := cmd.Flags()
	f.SetInterspersed(false) // flags after the command's name belong to the command
	f.StringVar(&opts.At, "at", "", "start at the time `WHEN`")
	f.StringVar(&opts.In, "in", "", "start after `DURATION`")
	f.StringArrayVar(&opts.After, "after", nil, "run after the job or reservation `ID` has succeeded, or ID:failure after it has failed, or ID:any after it has ended; may be repeated")
	f.StringVar(&opts.Deadline, "deadline", "", deadlineHelp)
	jobFlags(cmd, &opts)
	f.BoolVar(&opts.Hold, "hold", false, "do not start the job until it is released")
	help.Section(cmd, "When:", "at", "in", "deadline", "missed", "hold")
	help.Section(cmd, "Conditions:", "after", "lock", "priority")
	jobSections(cmd)
	return cmd
}

// refuseEmpty refuses flags of cmd whose value is empty, as that of "$X" is if X is not set,
// except the flag that may be.
func refuseEmpty(cmd *cobra.Command, except string) (err error) {
	cmd.Flags().Visit(func(f *pflag.Flag) {
		empty := f.Value.String() == "" && f.Value.Type() == "string"
		if list, ok := f.Value.(pflag.SliceValue); ok {
			empty = strings.Join(list.GetSlice(), "") == ""
		}
		if empty && f.Name != except && cmd.InheritedFlags().Lookup(f.Name) == nil {
			hint := ""
			if cmd.Flags().Lookup("clear") != nil && slices.Contains(clearable, f.Name) {
				hint = "; to clear it, use --clear " + f.Name
			}
			err = errors.Join(err, fmt.Errorf("--%s is empty%s: %w", f.Name, hint, fault.Invalid))
		}
	})
	return err
}

// fromHere sets the job's directory and umask to the current ones, unless flags name others.
func (opts *addOptions) fromHere(cmd *cobra.Command, a *app) error {
	err := refuseEmpty(cmd, "label")
	if err != nil { // --at "$WHEN" where WHEN is not set, for instance, would mean at once
		return err
	}
	if opts.Dir != "" && a.daemon.Connect == "" { // with --connect, the daemon may be on another machine
		if opts.Dir, err = filepath.Abs(opts.Dir); err != nil {
			return fmt.Errorf("--dir: %w: %w", err, fault.Invalid)
		}
	}
	if !cmd.Flags().Changed("dir") && a.daemon.Connect == "" {
		dir, err := os.Getwd()
		if err != nil {
			return fmt.Errorf("current directory: %w; name another one with --dir: %w", err, fault.Invalid)
		}
		opts.Dir = dir
	}
	if !cmd.Flags().Changed("umask") && a.daemon.Connect == "" {
		opts.Umask = currentUmask()
	}
	return nil
}

// jobFlags are the flags for the command of a job and how it runs.
func jobFlags(cmd *cobra.Command, opts *addOptions) {
	f := cmd.Flags()
	f.StringVar(&opts.file, "file", "", fileHelp)
	f.StringVar(&opts.stdin, "stdin", "", "`FILE` is the command's standard input; - is the standard input of atctl")
	f.StringVar(&opts.Timeout, "timeout", "", timeoutHelp)
	f.StringVar(&opts.Grace, "grace", "", graceHelp)
	f.StringArrayVar(&opts.Lock, "lock", nil, lockHelp)
	f.IntVar(&opts.Priority, "priority", 0, priorityHelp)
	f.Func("retries", retriesHelp, func(text string) error {
		n, err := strconv.Atoi(text)
		if err != nil {
			return fmt.Errorf("%.40q is not a whole number", text)
		}
		opts.Retries = strconv.Itoa(n) // empty without the flag: the daemon's default
		return nil
	})
	f.StringVar(&opts.Backoff, "backoff", "", backoffHelp)
	f.StringVar(&opts.Label, "label", "", labelHelp)
	f.StringArrayVar(&opts.Tag, "tag", nil, tagHelp)
	f.StringArrayVar(&opts.Env, "env", nil, envHelp)
	f.BoolVar(&opts.captureEnv, "capture-env", false, "start with the current environment")
	f.StringVar(&opts.Dir, "dir", "", "start in `DIR` instead of the current directory")
	f.StringVar(&opts.Umask, "umask", "", "start with the octal umask `MODE` instead of the current one")
	f.StringVar(&opts.Missed, "missed", "", missedHelp)
}

// jobSections are the headings of the flags that add and every add share.
func jobSections(cmd *cobra.Command) {
	help.Section(cmd, "Command:", "file", "stdin", "dir", "umask", "env", "capture-env")
	help.Section(cmd, "Ends and failures:", "timeout", "grace", "retries", "backoff")
	help.Section(cmd, "In lists:", "label", "tag")
}

func runAdd(ctx context.Context, a *app, opts addOptions, args []string) error {
	if opts.At != "" && opts.In != "" {
		return fmt.Errorf("--at and --in exclude each other; use one of them: %w", fault.Invalid)
	}
	if err := zoneTimes(&opts.At, &opts.Deadline); err != nil {
		return err
	}
	if err := takeWork(&opts, args, os.Stdin); err != nil {
		return err
	}
	env, err := environment(opts.Env, opts.captureEnv, os.Environ())
	if err != nil {
		return err
	}
	opts.Env = env
	opts.Notices = true
	if a.json {
		return opts.explain(a.printJSON(ctx, "add", opts.AddIn))
	}
	out, err := call[control.AddOut](ctx, a, "add", opts.AddIn)
	if err != nil {
		return opts.explain(err)
	}
	if _, err := fmt.Println(out.ID); err != nil {
		return err
	}
	notice("job "+out.ID, out.Notices)
	if isTerminal(os.Stdout) && isTerminal(os.Stderr) { // a person, who may have typed another day by mistake
		clock, err := a.clock(ctx)
		if err != nil {
			return err
		}
		fmt.Fprintf(os.Stderr, "due %s\n", clock.Full(out.Due))
	}
	return nil
}

// warn tells a person something that is no error.
func warn(text string) { fmt.Fprintln(os.Stderr, printable("atctl: notice: "+text)) }

// notice says why something that was accepted could not run now.
func notice(what string, why []string) {
	for _, text := range why {
		warn(fmt.Sprintf("%s could not run now: %s", what, text))
	}
}

// A reader of times is timespec.Typed, or timetext.Typed, which has fewer forms.
type timeReader func(text string, now time.Time, loc *time.Location) (time.Time, error)

// zoned adds the user's zone, which is now's, to a time without one: the daemon may have
// another zone. Text that it cannot read is left to the daemon. The error is of kind
// fault.Invalid if the user's zone is needed and not known.
func zoned(at string, now time.Time, typed timeReader) (string, error) {
	bare := strings.TrimSpace(at)
	if _, err := timetext.Instant(at, nil); err == nil || bare == "now" || strings.HasPrefix(bare, "+") {
		return at, nil
	}
	t, err := typed(at, now, now.Location())
	if err != nil {
		return at, nil //nolint:nilerr // the daemon's error is the same
	}
	return t.Format(time.RFC3339Nano), zoneKnown()
}

// zoneTimes is zoned for the times of a job.
func zoneTimes(at, deadline *string) error {
	now := time.Now()
	var err, deadlineErr error
	*at, err = zoned(*at, now, timespec.Typed)
	*deadline, deadlineErr = zoned(*deadline, now, timetext.Typed) // not 1h30, which is a time only to at
	return cmp.Or(err, deadlineErr)
}

// A duration is the value of a flag, in the forms that the daemon reads.
type duration time.Duration

func (d *duration) String() string { return time.Duration(*d).String() }

func (d *duration) Type() string { return "duration" }

func (d *duration) Set(text string) error {
	v, err := timetext.Duration(text)
	*d = duration(v)
	return err
}

// durationVar defines a flag whose value is a duration.
func durationVar(f *pflag.FlagSet, into *time.Duration, name string, standard time.Duration, usage string) {
	*into = standard
	f.Var((*duration)(into), name, usage)
}

// takeWork sets what the job runs: a command or a script.
func takeWork(opts *addOptions, args []string, stdin *os.File) error {
	switch {
	case len(args) > 0 && opts.file != "":
		return fmt.Errorf("--file and a command exclude each other; use one of them: %w", fault.Invalid)
	case len(args) > 0:
		return takeCommand(opts, args, stdin)
	case opts.stdin != "":
		return fmt.Errorf("--stdin needs a command: %w", fault.Invalid)
	case opts.file == "" && isTerminal(stdin):
		return fmt.Errorf("there is nothing to run; add -- COMMAND or --file SCRIPT, "+
			"or pipe a script into atctl (--file - reads one from this terminal): %w", fault.Invalid)
	}
	text, err := readInput(opts.file, stdin)
	if err != nil {
		return err
	}
	if strings.TrimSpace(text) == "" {
		return fmt.Errorf("the script is empty; to run a command, add -- COMMAND: %w", fault.Invalid)
	}
	if opts.file != "" && opts.file != "-" {
		opts.Title = filepath.Base(opts.file)
	}
	opts.Arg = interpreter(text)
	if opts.Arg == nil {
		opts.Script = text
	} else {
		opts.Stdin, opts.Title = text, cmp.Or(opts.Title, control.ScriptTitle(text))
	}
	return nil
}

// explain names the input that is too large if the daemon refuses a line because of its
// length.
func (opts *addOptions) explain(err error) error {
	size, what := len(opts.Script)+len(opts.Stdin), "the script"
	if err == nil || size == 0 || !strings.Contains(err.Error(), "a line of more than") {
		return err
	}
	switch {
	case opts.stdin != "":
		what = "--stdin " + opts.stdin
	case opts.file != "":
		what = "--file " + opts.file
	}
	return fmt.Errorf("%s: has %d bytes, too many to be sent to the daemon (%w); have the job read it from a file", what, size, err)
}

func takeCommand(opts *addOptions, args []string, stdin *os.File) error {
	if len(args) == 1 && strings.ContainsAny(args[0], " \t\n") {
		if _, err := os.Stat(args[0]); err != nil {
			return fmt.Errorf("there is no program %q; write each argument separately, or use -- sh -c %q: %w",
				args[0], args[0], fault.Invalid)
		}
	}
	opts.Arg = args
	if opts.stdin == "" {
		return nil // atctl's standard input is not read: a shell loop may be reading it
	}
	text, err := readInput(opts.stdin, stdin)
	opts.Stdin = text
	return err
}

// readInput reads the file with that name; "-" and "" are standard input.
func readInput(name string, stdin *os.File) (string, error) {
	var text []byte
	var err error
	if name == "" || name == "-" {
		text, err = io.ReadAll(stdin)
	} else {
		text, err = os.ReadFile(name)
	}
	if err != nil {
		return "", fmt.Errorf("%w: %w", err, fault.Invalid)
	}
	return string(text), nil
}

// interpreter returns the command of a script's #! line, or nil if it has none. As for
// execve, everything after the interpreter is one argument.
func interpreter(script string) []string {
	line, _, _ := strings.Cut(script, "\n")
	rest, ok := strings.CutPrefix(strings.TrimRight(line, "\r"), "#!")
	if !ok || strings.TrimSpace(rest) == "" {
		return nil
	}
	name, arg, _ := strings.Cut(strings.TrimSpace(rest), " ")
	if arg = strings.TrimSpace(arg); arg != "" {
		return []string{name, arg}
	}
	return []string{name}
}

// environment returns the variables to set for the job: ours, the current environment, if
// capture is set, and the variables of --env. The value of a bare NAME comes from ours.
func environment(set []string, capture bool, ours []string) ([]string, error) {
	var env []string
	if capture {
		env = slices.DeleteFunc(slices.Clone(ours), func(kv string) bool {
			name, _, _ := strings.Cut(kv, "=")
			return private(name)
		})
	}
	for _, kv := range set {
		name, _, ok := strings.Cut(kv, "=")
		if name == "" {
			return nil, fmt.Errorf("--env %q: must be NAME=VALUE: %w", kv, fault.Invalid)
		}
		if !ok {
			i := slices.IndexFunc(ours, func(o string) bool { return strings.HasPrefix(o, name+"=") })
			if i < 0 {
				return nil, fmt.Errorf("--env %s: is not set here; use --env %s=VALUE: %w", name, name, fault.Invalid)
			}
			kv = ours[i]
		}
		env = slices.DeleteFunc(env, func(o string) bool { return strings.HasPrefix(o, name+"=") })
		env = append(env, kv)
	}
	return env, nil
}

// private reports whether --capture-env leaves out a variable: it belongs to this login and
// is useless for a job, or its name looks like that of a secret.
func private(name string) bool {
	switch name {
	case "_", "TERM", "TERMCAP", "COLORTERM", "DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY", "WINDOWID", "STY", "TMUX",
		"SHLVL", "PWD", "OLDPWD", "DBUS_SESSION_BUS_ADDRESS", "INVOCATION_ID", "JOURNAL_STREAM", "NOTIFY_SOCKET":
		return true
	}
	for _, prefix := range []string{"SSH_", "XDG_SESSION", "ACTIVATION", "BASH_FUNC_", "LISTEN_"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	upper := strings.ToUpper(name)
	for _, word := range []string{"TOKEN", "SECRET", "PASSWORD", "PASSWD", "PASSPHRASE", "CREDENTIAL", "API_KEY",
		"APIKEY", "ACCESS_KEY", "PRIVATE_KEY"} {
		if strings.Contains(upper, word) {
			return true
		}
	}
	return false
}

// currentUmask returns the umask of this process, in octal. It can be read only by setting it.
func currentUmask() string {
	mask := syscall.Umask(0o077)
	syscall.Umask(mask)
	return fmt.Sprintf("%04o", mask)
}
