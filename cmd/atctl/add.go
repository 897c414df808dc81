package main

import (
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
	"activationd/internal/timetext"
)

type addOptions struct {
	control.AddIn
	file, stdin string
	captureEnv  bool
}

const addHelp = `Add gives the daemon a job to run once: a command, or a shell script.

It prints the job's id, alone, on standard output. The id goes to show, log, wait,
cancel and the others. Once it is printed, the job is on the daemon's disk.

When: --at takes a date and time in your own time zone ("2026-11-21 10:00", with
seconds if you like), the next "10:00", "tomorrow 10:00", RFC 3339 with a zone,
"@" and seconds since 1970, or "now"; --in takes a duration such as 90s, 5m, 1h30m
or 2d. What other programs print with a zone is taken, too: docs/times.md has the
list. Without either the job is due now.

Around it: --lock NAME runs it only while nobody else holds NAME; NAME:shared goes
together with others that share it; NAME=1/4 takes one of four units. Those who wait
for the same go in the order of --priority, and then of arrival; atctl locks shows
them. --after 17 waits for the success of 17, and is cancelled if that fails.

What: everything after -- is a command with its arguments. It is not given to a
shell; say sh -c 'a | b' for one. Without a command, the script is --file FILE, or
what comes on standard input. A script whose first line is #!INTERPRETER is given
to that on its standard input, and to /bin/sh otherwise.

Where: a job starts in the current directory, with the current umask, as you. (With
--connect, the daemon is elsewhere: then in your home directory there.) Its
environment is a clean one: HOME, USER, SHELL, PATH, LANG and TZ, and what --env
adds. --capture-env adds the current environment but what belongs to this login
(terminal, agents, session buses) and variables whose names look like secrets.`

const lockHelp = "run only while holding the lock `NAME[:shared|=UNITS/CAPACITY]`;\nmay be repeated"

func newAddCommand(a *app) *cobra.Command {
	var opts addOptions
	cmd := &cobra.Command{
		Use:   "add [--at WHEN | --in DURATION] [flags] [--] COMMAND [ARG]...",
		Short: "Add a job",
		Long:  addHelp,
		Example: `  atctl add --at '2026-11-21 10:00' -- /usr/local/bin/report --all
  atctl add --in 5m --timeout 1m -- make -C /srv/lab check
  echo 'cd /srv && ./nightly | mail -s nightly root' | atctl add --in 8h
  atctl wait $(atctl add --file experiment.py)`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := opts.takePlace(cmd, a); err != nil {
				return err
			}
			return runAdd(cmd.Context(), a, opts, args)
		},
	}
	f := cmd.Flags()
	f.SetInterspersed(false) // what follows the command's name is the command's
	f.StringVar(&opts.At, "at", "", "start then: `WHEN`")
	f.StringVar(&opts.In, "in", "", "start that much later: `DURATION`")
	f.StringArrayVar(&opts.After, "after", nil, "run after the job or reservation `ID[:success|failure|any]`\nhas ended so; may be repeated")
	f.StringVar(&opts.Deadline, "deadline", "", "be missed if it has not begun by then, and stop it if it runs:\n`WHEN`, or a duration after its start")
	jobFlags(cmd, &opts)
	f.BoolVar(&opts.Hold, "hold", false, "do not start it before it is released")
	return cmd
}

// takePlace has the job start where we are, unless flags say otherwise.
func (opts *addOptions) takePlace(cmd *cobra.Command, a *app) error {
	var err error
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if f.Value.Type() == "string" && f.Value.String() == "" && f.Name != "label" && cmd.InheritedFlags().Lookup(f.Name) == nil {
			err = errors.Join(err, fmt.Errorf("--%s is given, but empty: %w", f.Name, fault.Invalid))
		}
	})
	if err != nil { // such as of --at "$WHEN", which would be at once
		return err
	}
	if opts.Dir != "" && a.connect == "" { // over there it may be another machine
		if opts.Dir, err = filepath.Abs(opts.Dir); err != nil {
			return fmt.Errorf("--dir: %w: %w", err, fault.Invalid)
		}
	}
	if !cmd.Flags().Changed("dir") && a.connect == "" {
		dir, err := os.Getwd()
		if err != nil {
			return fmt.Errorf("current directory: %w; name another with --dir: %w", err, fault.Invalid)
		}
		opts.Dir = dir
	}
	if !cmd.Flags().Changed("umask") && a.connect == "" {
		opts.Umask = currentUmask()
	}
	return nil
}

// jobFlags are the flags that say what runs and how.
func jobFlags(cmd *cobra.Command, opts *addOptions) {
	f := cmd.Flags()
	f.StringVar(&opts.file, "file", "", "run the script in `FILE`; - is standard input")
	f.StringVar(&opts.stdin, "stdin", "", "give the command `FILE` as its standard input; - is ours")
	f.StringVar(&opts.Timeout, "timeout", "", "stop it after `DURATION`")
	f.StringVar(&opts.Grace, "grace", "", "between TERM and KILL, leave it `DURATION`")
	f.StringArrayVar(&opts.Lock, "lock", nil, lockHelp)
	f.IntVar(&opts.Priority, "priority", 0, "go before others of less `N` that wait for the same; -99 to 99")
	f.Func("retries", "when it fails, try it `N` times more", func(text string) error {
		n, err := strconv.Atoi(text)
		opts.Retries = strconv.Itoa(n) // none is given: what the daemon is configured for
		return err
	})
	f.StringVar(&opts.Backoff, "backoff", "", "pause for `DURATION` before the second try; it doubles")
	f.StringVar(&opts.Label, "label", "", "`TEXT` that list shows")
	f.StringArrayVar(&opts.Tag, "tag", nil, "`TAG` that list can ask for; several with commas")
	f.StringArrayVar(&opts.Env, "env", nil, "set `NAME=VALUE`, or NAME to its current value; may be repeated")
	f.BoolVar(&opts.captureEnv, "capture-env", false, "start from the current environment")
	f.StringVar(&opts.Dir, "dir", "", "start it in `DIR`, not in the current one")
	f.StringVar(&opts.Umask, "umask", "", "start it with the octal umask `MODE`, not with the current one")
	f.StringVar(&opts.Missed, "missed", "", "if its time passes while the daemon is down, and a minute more: `run|skip`")
}

func runAdd(ctx context.Context, a *app, opts addOptions, args []string) error {
	if opts.At != "" && opts.In != "" {
		return fmt.Errorf("--at and --in exclude each other; give one: %w", fault.Invalid)
	}
	now := time.Now()
	opts.At, opts.Deadline = zoned(opts.At, now), zoned(opts.Deadline, now)
	if err := takeWork(&opts, args, os.Stdin); err != nil {
		return err
	}
	env, err := environment(opts.Env, opts.captureEnv, os.Environ())
	if err != nil {
		return err
	}
	opts.Env = env
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
	if isTerminal(os.Stdout) && isTerminal(os.Stderr) { // a person, who may have meant another day
		fmt.Fprintf(os.Stderr, "due %s\n", instant(out.Due, time.Now()))
	}
	return nil
}

// zoned names now's zone, the caller's, in a time that names none: the daemon's
// may be another one. What it does not know is for the daemon to judge.
func zoned(at string, now time.Time) string {
	if _, err := timetext.Instant(at, nil); err == nil || strings.TrimSpace(at) == "now" {
		return at
	}
	t, err := timetext.Typed(at, now, now.Location())
	if err != nil {
		return at
	}
	return t.Format(time.RFC3339Nano)
}

// A duration is a flag's value in the forms that the daemon reads.
type duration time.Duration

func (d *duration) String() string { return time.Duration(*d).String() }

func (d *duration) Type() string { return "duration" }

func (d *duration) Set(text string) error {
	v, err := timetext.Duration(text)
	*d = duration(v)
	return err
}

// durationVar is a flag whose value is a duration.
func durationVar(f *pflag.FlagSet, into *time.Duration, name string, standard time.Duration, usage string) {
	*into = standard
	f.Var((*duration)(into), name, usage)
}

// takeWork sets what the job runs: a command, or else a script.
func takeWork(opts *addOptions, args []string, stdin *os.File) error {
	switch {
	case len(args) > 0 && opts.file != "":
		return fmt.Errorf("--file and a command exclude each other; give one: %w", fault.Invalid)
	case len(args) > 0:
		return takeCommand(opts, args, stdin)
	case opts.stdin != "":
		return fmt.Errorf("--stdin is for a command, and there is none: %w", fault.Invalid)
	case opts.file == "" && isTerminal(stdin):
		return fmt.Errorf("there is nothing to run; say -- COMMAND, or --file SCRIPT, "+
			"or pipe a script into it (--file - reads one from this terminal): %w", fault.Invalid)
	}
	text, err := readInput(opts.file, stdin)
	if err != nil {
		return err
	}
	if strings.TrimSpace(text) == "" {
		return fmt.Errorf("the script is empty; to run a command, say -- COMMAND: %w", fault.Invalid)
	}
	opts.Arg = interpreter(text)
	if opts.Arg == nil {
		opts.Script = text
	} else {
		opts.Stdin = text
	}
	return nil
}

// explain says what is meant when the daemon does not take a line for its length.
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
	return fmt.Errorf("%s: has %d bytes, which is too much to go to the daemon (%w); have what runs read it from a file", what, size, err)
}

func takeCommand(opts *addOptions, args []string, stdin *os.File) error {
	if len(args) == 1 && strings.ContainsAny(args[0], " \t\n") {
		if _, err := os.Stat(args[0]); err != nil {
			return fmt.Errorf("there is no program %q; give each argument by itself, or say -- sh -c %q: %w",
				args[0], args[0], fault.Invalid)
		}
	}
	opts.Arg = args
	if opts.stdin == "" {
		return nil // ours is left alone: it may be the list that a shell loop reads
	}
	text, err := readInput(opts.stdin, stdin)
	opts.Stdin = text
	return err
}

// readInput reads the file of that name; "-" and "" are standard input.
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

// interpreter is the command that a script's first line asks for, if it does.
// As execve has it, all that follows the interpreter is one argument.
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

// environment is what to set for the job: the caller's environment if capture,
// and what --env says, where a bare NAME is taken from the caller's.
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
			return nil, fmt.Errorf("--env %q: wants NAME=VALUE: %w", kv, fault.Invalid)
		}
		if !ok {
			i := slices.IndexFunc(ours, func(o string) bool { return strings.HasPrefix(o, name+"=") })
			if i < 0 {
				return nil, fmt.Errorf("--env %s: is not set here; say --env %s=VALUE: %w", name, name, fault.Invalid)
			}
			kv = ours[i]
		}
		env = slices.DeleteFunc(env, func(o string) bool { return strings.HasPrefix(o, name+"=") })
		env = append(env, kv)
	}
	return env, nil
}

// private reports whether a variable stays behind: it belongs to this login
// and means nothing to a job, or its name says that it is a secret.
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

// currentUmask is ours, in octal. It can be read only by setting it.
func currentUmask() string {
	mask := syscall.Umask(0o077)
	syscall.Umask(mask)
	return fmt.Sprintf("%04o", mask)
}
