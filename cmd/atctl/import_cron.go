package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"activationd/control"
	"activationd/internal/fault"
	"activationd/internal/timetext"
)

const cronSpool = "/var/spool/cron/crontabs"

const importCronHelp = `Import-cron makes a recurrence of each line of a crontab. Without an argument, this is your
own crontab; with USER, that of a user (for root only). FILE has a slash in its name; -
is standard input, and a directory such as /etc/cron.d means all its files that cron
reads. In /etc/crontab and in files of a directory cron.d, lines have a user before the
command, and in other files with --system. Only root can import lines of other users.

Each line runs as in cron: by its SHELL (or /bin/sh) in the home directory, with PATH and
the other variables of the file, in the zone of the daemon. The recurrence has the name of
the program. Import-cron reports, with the numbers of the lines, what will be different
from cron and what it cannot import. The output of jobs is not mailed: "atctl log" prints
it.

You can repeat the import: a line whose command was imported before is not added again. If
its time or its variables have changed since then, import-cron prints the command that
changes the recurrence.

Import-cron does not change the crontab, so cron still runs the same commands. Remove the
lines there (crontab -e), or stop cron.`

type importCronOptions struct {
	prefix, spool  string
	system, dryRun bool
}

func newImportCronCommand(a *app) *cobra.Command {
	var opts importCronOptions
	cmd := &cobra.Command{
		Use:   "import-cron [USER | FILE]",
		Short: "Make recurrences of the lines of a crontab",
		Long:  importCronHelp,
		Example: `  atctl import-cron --dry-run
  atctl import-cron www-data --prefix www.
  atctl import-cron /etc/cron.d`,
		Args: takes(0, 1, "one USER or FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := refuseEmpty(cmd, ""); err != nil {
				return err
			}
			return runImportCron(cmd.Context(), a, opts, strings.Join(args, ""))
		},
	}
	f := cmd.Flags()
	f.StringVar(&opts.prefix, "prefix", "", "begin the names of the recurrences with `TEXT`")
	f.StringVar(&opts.spool, "spool", cronSpool, "look for the crontab of USER in `DIR`")
	f.BoolVar(&opts.system, "system", false, "the lines have a user before the command")
	f.BoolVar(&opts.dryRun, "dry-run", false, "only print the commands that would add the recurrences")
	return cmd
}

// A cronSource is a crontab to be imported.
type cronSource struct {
	name string
	file string // of the system, where several files may have the same command; otherwise empty
	user string // whose lines they are; empty: the caller's
	tab  crontab
}

func runImportCron(ctx context.Context, a *app, opts importCronOptions, from string) error {
	me, err := output(ctx, "id", "-un")
	if err != nil {
		return err
	}
	sources, err := cronSources(ctx, opts, from, strings.TrimSpace(me))
	if err != nil {
		return err
	}
	i := cronImport{app: a, opts: opts, me: strings.TrimSpace(me), taken: make(map[string]bool), known: make(map[string]control.Recurrence),
		several: len(sources) > 1}
	err = stream(ctx, a, "every list", control.EveryListIn{}, func(r control.Recurrence) error {
		i.taken[r.Name] = true
		for _, tag := range r.Tags {
			i.known[r.Owner+" "+tag] = r
		}
		return nil
	})
	if err != nil {
		return err
	}
	var errs []error
	mails := false
	for _, s := range sources {
		for _, n := range s.tab.notes {
			warn(s.name + ": " + n.String())
		}
		for _, n := range s.tab.bad {
			errs = append(errs, fmt.Errorf("%s: %s; not imported: %w", s.name, n, fault.Conflict))
		}
		tags := i.tags(s)
		for at, l := range s.tab.lines {
			mails = mails || !l.env.noMail
			err := i.add(ctx, s, &l, tags[at])
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: line %d: %s; not imported: %w", s.name, l.line, fault.Text(err), fault.Conflict))
			}
			if errors.Is(err, fault.Unavailable) { // the others would fail, too
				return errors.Join(append(errs[:len(errs)-1], err)...)
			}
		}
	}
	if mails && i.added > 0 {
		warn("cron mails the output of commands; activationd keeps it for atctl log, and hooks can send mail")
	}
	if i.added > 0 && !opts.dryRun {
		warn("cron still runs these commands, too: remove them there, or stop cron")
	}
	return errors.Join(errs...)
}

// output returns what a program prints.
func output(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	var out, diag bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &diag
	err := cmd.Run()
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return "", fmt.Errorf("there is no program %s on this machine; name a FILE: %w", name, fault.NotFound)
	case err != nil:
		return "", fmt.Errorf("%s %s: %s: %w", name, strings.Join(args, " "), strings.TrimSpace(diag.String()), fault.NotFound)
	}
	return out.String(), nil
}

// cronSources reads the crontabs that from means.
func cronSources(ctx context.Context, opts importCronOptions, from, me string) ([]cronSource, error) {
	switch {
	case from == "-":
		text, err := io.ReadAll(os.Stdin)
		return []cronSource{{name: "standard input", tab: parseCrontab(string(text), opts.system)}}, err
	case from == "" || from == me && os.Getuid() != 0:
		text, err := output(ctx, "crontab", "-l")
		return []cronSource{{name: "your crontab", tab: parseCrontab(text, opts.system)}}, err
	case !strings.Contains(from, "/"):
		if os.Getuid() != 0 {
			return nil, fmt.Errorf("only root can import the crontab of %s; to import a file of that name, write ./%[1]s: %w", from, fault.Denied)
		}
		name := filepath.Join(opts.spool, from)
		text, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) && opts.spool == cronSpool { // as other systems have it
			other := filepath.Join(filepath.Dir(cronSpool), from)
			text, err = os.ReadFile(other)
			name += " and " + other
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("there is no crontab of %s (%s); to import a file of that name, write ./%[1]s: %[3]w", from, name, fault.NotFound)
		}
		if err != nil {
			return nil, fmt.Errorf("the crontab of %s: %w: %w", from, err, openKind(err))
		}
		return []cronSource{{name: "the crontab of " + from, user: from, tab: parseCrontab(string(text), opts.system)}}, nil
	}
	files := []string{from}
	info, err := os.Stat(from)
	if err == nil && info.IsDir() {
		files = nil
		var entries []os.DirEntry
		entries, err = os.ReadDir(from)
		for _, e := range entries {
			name := filepath.Join(from, e.Name())
			why := ""
			if target, err := os.Stat(name); !cronReads(name) {
				why = "cron does not read files with such a name"
			} else if err == nil && !target.Mode().IsRegular() {
				why = "it is no file, and cron does not read it"
			} else if errors.Is(err, fs.ErrNotExist) {
				why = "it is a link to a file that does not exist"
			}
			if why == "" {
				files = append(files, name)
			} else if e.Name() != ".placeholder" {
				warn(name + ": " + why + "; left out")
			}
		}
	}
	var sources []cronSource
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", err, openKind(err))
		}
		s := cronSource{name: name}
		if isSystemCrontab(name) {
			s.file = filepath.Base(name)
		}
		s.tab = parseCrontab(string(text), opts.system || s.file != "")
		sources = append(sources, s)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, openKind(err))
	}
	return sources, nil
}

// isSystemCrontab reports whether the lines of a file have users.
func isSystemCrontab(name string) bool {
	if whole, err := filepath.Abs(name); err == nil {
		name = whole
	}
	return name == "/etc/crontab" || name == "/etc/anacrontab" || filepath.Base(filepath.Dir(name)) == "cron.d"
}

// cronReads reports whether cron reads a file in /etc/cron.d of this name.
func cronReads(name string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"
	return strings.Trim(filepath.Base(name), letters) == ""
}

// A cronImport adds recurrences.
type cronImport struct {
	app   *app
	opts  importCronOptions
	me    string
	taken map[string]bool               // names
	known map[string]control.Recurrence // by owner and tag
	added int
	// several reports whether there are lines of more than one file.
	several bool
}

// owner returns whose recurrence a line becomes.
func (i *cronImport) owner(s cronSource, l *cronLine) string { return cmp.Or(l.user, s.user, i.me) }

// tags returns the tag of each line of a source, by which it is known the next time. Equal commands
// have numbers. A line has that of the recurrence with its time, if there is one: its place among
// the others may have changed.
func (i *cronImport) tags(s cronSource) []string {
	tags := make([]string, len(s.tab.lines))
	same := make(map[string][]int)
	for at := range s.tab.lines {
		l := &s.tab.lines[at]
		key := i.owner(s, l) + "\x00" + l.command + "\x00" + l.stdin
		if s.file != "" {
			key = s.file + "\x00" + key
		}
		same[key] = append(same[key], at)
	}
	for key, lines := range same {
		var old, unused []string // tags of recurrences, and others
		owner := i.owner(s, &s.tab.lines[lines[0]])
		for n := 1; n <= len(lines)+len(i.known); n++ {
			sum := sha256.Sum256([]byte(key + "\x00" + strconv.Itoa(n)))
			tag := fmt.Sprintf("cron.%x", sum[:6])
			if _, ok := i.known[owner+" "+tag]; ok {
				old = append(old, tag)
			} else {
				unused = append(unused, tag)
			}
		}
		for _, at := range lines {
			in := s.tab.lines[at].recurrence()
			if n := slices.IndexFunc(old, func(tag string) bool { return i.known[owner+" "+tag].When == ruleText(&in) }); n >= 0 {
				tags[at] = old[n]
				old = slices.Delete(old, n, n+1)
			}
		}
		rest := slices.Concat(old, unused)
		for _, at := range lines {
			if tags[at] == "" {
				tags[at], rest = rest[0], rest[1:]
			}
		}
	}
	return tags
}

// ruleText returns the rule as lists have it.
func ruleText(in *control.EveryAddIn) string {
	if in.TZ != "" {
		return "cron " + in.Cron + " (" + in.TZ + ")"
	}
	return "cron " + in.Cron
}

// add adds a line, unless it was imported before with the tag.
func (i *cronImport) add(ctx context.Context, s cronSource, l *cronLine, tag string) error {
	owner := i.owner(s, l)
	if owner != i.me && os.Getuid() != 0 {
		return fmt.Errorf("runs as %s, and you are %s: only root can import it: %w", owner, i.me, fault.Denied)
	}
	in := l.recurrence()
	in.Tag = []string{tag}
	if owner != i.me {
		in.User = owner
	}
	if err := stream(ctx, i.app, "next", control.NextIn{Cron: in.Cron, TZ: in.TZ, N: 1}, func(control.Coming) error { return nil }); err != nil {
		return err
	}
	if old, ok := i.known[owner+" "+tag]; ok {
		return i.again(ctx, s, l, &old, &in)
	}
	in.Name = i.name(l.command)
	i.added++
	if i.opts.dryRun {
		return i.printCommand(ctx, &in)
	}
	out, err := call[control.EveryAddOut](ctx, i.app, "every add", in)
	if err != nil {
		i.added--
		return err
	}
	notice("the job of "+out.Name, out.Notices)
	return i.tell(s, l, out.Name, "is")
}

// tell prints what became of a line.
func (i *cronImport) tell(s cronSource, l *cronLine, name, is string) (err error) {
	file := ""
	if i.several {
		file = s.name + ": "
	}
	if i.app.json {
		err = json.NewEncoder(os.Stdout).Encode(struct {
			File string `json:"file"`
			Line int    `json:"line"`
			Name string `json:"name"`
		}{s.name, l.line, name})
	} else {
		_, err = fmt.Println(printable(fmt.Sprintf("%sline %d %s recurrence %s", file, l.line, is, name)))
	}
	return err
}

// again handles a line that was imported before.
func (i *cronImport) again(ctx context.Context, s cronSource, l *cronLine, old *control.Recurrence, in *control.EveryAddIn) error {
	d, err := call[control.RecurrenceDetail](ctx, i.app, "every show", control.NameIn{Name: old.Name})
	if err != nil {
		return err
	}
	if what, edit := changed(&d, in, i.me); len(what) > 0 {
		warn(fmt.Sprintf("%s: line %d was imported as %s, whose %s; to change it: %s",
			s.name, l.line, old.Name, strings.Join(what, ", whose "), edit))
	}
	if i.opts.dryRun {
		return nil
	}
	return i.tell(s, l, old.Name, "was imported before; it is")
}

// changed says in what a recurrence is not what its line says now, and returns the command that
// changes it.
func changed(old *control.RecurrenceDetail, in *control.EveryAddIn, me string) (what []string, edit string) {
	words := []string{"atctl", "every", "edit", old.Name}
	home, command := "", ""
	var removed []string
	set := func(name, value string) {
		if value == "" {
			removed = append(removed, name)
		} else {
			words = append(words, "--"+name, value)
		}
	}
	if old.When != ruleText(in) {
		what = append(what, "time is another one now: "+old.When)
		words = append(words, "--cron", in.Cron)
		if old.TZ != in.TZ {
			set("tz", in.TZ)
		}
	}
	if was, _ := timetext.Duration(old.Jitter); old.Jitter != in.Jitter {
		if is, _ := timetext.Duration(in.Jitter); is != was {
			what = append(what, "RANDOM_DELAY is another one now: "+cmp.Or(old.Jitter, "none"))
			set("jitter", in.Jitter)
		}
	}
	is := make(map[string]string)
	for _, v := range in.Env {
		name, value, _ := strings.Cut(v, "=")
		is[name] = value
	}
	var names []string
	gone := false
	for name := range old.Env {
		if _, ok := is[name]; !ok {
			names, gone = append(names, name), true
		}
	}
	for name, value := range is {
		if was, ok := old.Env[name]; !ok || was != value && !slices.Contains(old.Masked, name) {
			names = append(names, name)
		}
	}
	if len(names) > 0 {
		slices.Sort(names)
		what = append(what, "variables are other ones now: "+strings.Join(names, ", "))
		if gone {
			removed = append(removed, "env")
		}
		for _, v := range in.Env {
			if name, _, _ := strings.Cut(v, "="); gone || slices.Contains(names, name) {
				words = append(words, "--env", v)
			}
		}
	}
	switch {
	case in.Dir != "" && in.Dir != old.Dir:
		what = append(what, "directory is another one now: "+old.Dir)
		words = append(words, "--dir", in.Dir)
	case in.Dir == "" && old.Dir != "" && old.Dir == old.Env["HOME"]: // the line HOME=DIR was removed
		what = append(what, "directory is another one now: "+old.Dir)
		home = " --dir ~"
		if old.Owner != me {
			home += old.Owner
		}
	}
	if len(old.Argv) > 0 && old.Argv[0] != in.Arg[0] {
		what = append(what, "shell is another one now: "+old.Argv[0])
		command = " -- " + control.ShellWords(in.Arg)
	}
	if len(removed) > 0 {
		words = append(words, "--clear", strings.Join(removed, ","))
	}
	return what, control.ShellWords(words) + home + command
}

// name returns a name that is not taken, and takes it.
func (i *cronImport) name(command string) string {
	first := i.opts.prefix + nameOf(command)
	name := first
	for n := 2; i.taken[name]; n++ {
		name = first + "-" + strconv.Itoa(n)
	}
	i.taken[name] = true
	return name
}

// recurrence returns the recurrence for a line, without its name.
func (l *cronLine) recurrence() (in control.EveryAddIn) {
	in.Cron, in.TZ, in.Jitter = l.when, l.env.zone, l.env.jitter
	in.Arg = []string{l.env.shell, "-c", l.command}
	in.Stdin, in.Env = l.stdin, l.env.vars
	in.Dir = l.env.home // empty: the home directory of the user
	in.Umask = "022"    // that of cron
	in.Notices = true
	if len(l.command) < 200 && !strings.ContainsAny(l.command, "\n\x00") {
		in.Label = l.command // without it, lists would show the shell first
	}
	return in
}

// printCommand prints the command that does the same.
func (i *cronImport) printCommand(ctx context.Context, in *control.EveryAddIn) error {
	words := []string{"atctl", "every", "add", in.Name, "--cron", in.Cron}
	option := func(name, value string) {
		if value != "" {
			words = append(words, "--"+name, value)
		}
	}
	zone := in.TZ
	if own, err := ownZone(); zone == "" && (err != nil || own != "") { // every add would use the caller's
		clock, err := i.app.clock(ctx)
		if err != nil {
			return err
		}
		zone = clock.Zone
	}
	option("tz", zone)
	option("jitter", in.Jitter)
	option("user", in.User)
	for _, v := range in.Env {
		option("env", v)
	}
	option("umask", in.Umask)
	option("label", in.Label)
	option("tag", in.Tag[0])
	option("dir", in.Dir)
	if in.Stdin != "" {
		option("stdin", "-")
	}
	text := control.ShellWords(words)
	if in.Dir == "" && in.User == "" {
		text += " --dir ~"
	}
	text += " -- " + control.ShellWords(in.Arg)
	if in.Stdin != "" {
		text = control.ShellWords([]string{"printf", "%s", in.Stdin}) + " | " + text
	}
	_, err := fmt.Println(text)
	return err
}
