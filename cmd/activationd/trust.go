package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"activationd/internal/config"
	"activationd/internal/fault"
	"activationd/internal/programs"
	"activationd/internal/trust"
	"activationd/reservation/file"
)

// trusted returns an error if the daemon is root and another user could change the file at
// path, which tells root what to do. The user whom its commands run as may change it; no
// user means root.
func (h *host) trusted(path, user string) error { return h.trustedTo(trust.Check, path, user) }

// trustedTo is trusted, with a check of package trust.
func (h *host) trustedTo(check func(path string, uids ...int) error, path, user string) error {
	if !h.switches() {
		return nil
	}
	uids := []int{h.uid}
	if user != "" {
		u, err := lookupUser(user)
		if err != nil {
			return fmt.Errorf("%w: %w", errNoUser, err)
		}
		uid, err := strconv.Atoi(u.Uid)
		if err != nil {
			return err
		}
		uids = append(uids, uid)
	}
	return refusal(check(path, uids...))
}

// errNoUser is for a user who does not exist. The check of the key that names the user
// reports it.
var errNoUser = errors.New("the user who is to run this does not exist")

func refusal(err error) error {
	if err != nil {
		return fmt.Errorf("%w; a daemon that runs as root accepts only files that nobody can change except root and the user who runs them", err)
	}
	return nil
}

// trustedSource is trusted for a source's file, or its folder and all files in that.
func (h *host) trustedSource(src *config.Source) error {
	if err := h.trustedTo(trust.CheckFolder, src.Files, src.Reservations.User); err != nil {
		return err
	}
	files, err := file.New(src.Files).Files()
	if err != nil {
		return nil //nolint:nilerr // it may appear yet, and the load reports it
	}
	for _, f := range files {
		if err := h.trusted(f, src.Reservations.User); err != nil {
			return err
		}
	}
	return nil
}

// trustedCommand is trusted for each file that a command executes.
func (h *host) trustedCommand(argv []string, path, user string) error {
	for _, program := range executed(argv, path) {
		if err := h.trusted(program, user); err != nil {
			return err
		}
	}
	return nil
}

// interpreters execute what their first argument names.
var interpreters = []string{"sh", "bash", "dash", "ash", "ksh", "zsh", "perl", "ruby", "python", "python3", "env", "nice", "nohup"}

// executed lists the files that a command executes, as far as its words show: its program,
// and the script that an interpreter is given. A program without a slash is looked for in
// PATH.
func executed(argv []string, path string) (files []string) {
	if len(argv) == 0 {
		return nil
	}
	program := argv[0]
	if !strings.Contains(program, "/") {
		for dir := range strings.SplitSeq(path, ":") {
			if found := filepath.Join(dir, argv[0]); programs.Executable(found) == nil {
				program = found
				break
			}
		}
	}
	if filepath.IsAbs(program) {
		files = append(append(files, program), named(program)...)
	}
	if !slices.Contains(interpreters, filepath.Base(argv[0])) {
		return files
	}
	for _, arg := range argv[1:] {
		if strings.HasPrefix(arg, "-") {
			if strings.HasPrefix(arg, "-c") || arg == "-e" || arg == "-m" { // the next word is a script's text
				break
			}
			continue
		}
		if filepath.IsAbs(arg) {
			files = append(files, arg)
		}
		break
	}
	return files
}

// named returns the interpreter that the first line of a script names, if it names one.
func named(script string) []string {
	f, err := os.OpenFile(script, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a FIFO must not keep us
	if err != nil {
		return nil
	}
	defer func() { _ = f.Close() }()
	line := make([]byte, 256) // as much as the kernel reads
	n, _ := io.ReadFull(f, line)
	text, ok := strings.CutPrefix(string(line[:n]), "#!")
	first, _, _ := strings.Cut(text, "\n")
	if words := strings.Fields(first); ok && len(words) > 0 && filepath.IsAbs(words[0]) {
		return words[:1]
	}
	return nil
}

// pathOf returns the PATH of a command with this environment.
func (h *host) pathOf(env map[string]string) string {
	if path, ok := env["PATH"]; ok {
		return path
	}
	return h.path()
}

// path is where scripts find their commands, unless the configuration says otherwise. The
// last place is the directory of this program, where atctl is, unless root cannot trust it.
func (h *host) path() string {
	path := "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	dir := filepath.Dir(h.executable)
	if slices.Contains(strings.Split(path, ":"), dir) || strings.Contains(dir, ":") || h.trusted(dir, "") != nil {
		return path
	}
	return path + ":" + dir
}

// refuse notes that a field's value cannot be trusted. Name is the field's key, which is
// used if the key is not in the file.
func (v *validator) refuse(field any, name string, err error) {
	if err == nil || errors.Is(err, errNoUser) {
		return
	}
	at, _ := v.config.Place(field)
	if at.Key == "" {
		at.Key = name
	}
	if text := fmt.Sprintf("%s: %s", at.Key, fault.Text(err)); !slices.Contains(v.refused, text) { // sources share their scripts
		v.refused = append(v.refused, text)
		v.faults.Add(at.Line, "%s", text)
	}
}

// trust checks everything that tells a daemon which runs as root what to do, except the
// configuration file itself.
func (v *validator) trust() {
	c := v.config
	user := c.Reservations.User
	for _, f := range []struct {
		field *string
		what  string
		user  string
	}{{&c.Tokens, "tokens", ""}, {&c.Lab.Inventory, "lab.inventory", user}, {&c.At.Sendmail, "at.sendmail", ""}} {
		if *f.field != "" {
			v.refuse(f.field, f.what, v.trusted(*f.field, f.user))
		}
	}
	for _, l := range c.listens() {
		if t := l.TLS; t != nil && t.ClientCA != "" {
			v.refuse(&t.ClientCA, "client_ca", v.trusted(t.ClientCA, ""))
		}
	}
	scripts := []*config.Reservations{&c.Reservations}
	for i := range c.Sources {
		s := &c.Sources[i]
		scripts = append(scripts, &s.Reservations)
		if s.Files != "" {
			v.refuse(&s.Files, "files", v.trustedSource(s))
		}
		if s.SQL != nil && s.SQL.DSNFile != "" {
			v.refuse(&s.SQL.DSNFile, "dsn_file", v.trusted(s.SQL.DSNFile, s.Reservations.User))
		}
	}
	if c.Booking != nil {
		scripts = append(scripts, &c.Booking.Reservations)
	}
	for _, r := range scripts {
		v.refuse(&r.Activate, "reservations.activate", v.trustedCommand(r.Activate, v.pathOf(r.Environment), r.User))
		v.refuse(&r.Deactivate, "reservations.deactivate", v.trustedCommand(r.Deactivate, v.pathOf(r.Environment), r.User))
	}
	for i := range c.Recurrences {
		r := &c.Recurrences[i]
		v.refuse(&r.Command, "recurrences.command", v.trustedCommand(r.Command, v.pathOf(r.Environment), r.User))
	}
}

// runsTrusted returns an error if a reservation's script, which is about to run as uid, cannot
// be trusted.
func (h *host) runsTrusted(argv, env []string, uid int) error {
	if !h.switches() {
		return nil
	}
	path := ""
	for _, v := range env {
		if p, ok := strings.CutPrefix(v, "PATH="); ok {
			path = p
		}
	}
	for _, program := range executed(argv, path) {
		if err := refusal(trust.Check(program, max(uid, 0), h.uid)); err != nil {
			return fmt.Errorf("%w: %w", err, fault.Denied)
		}
	}
	return nil
}
