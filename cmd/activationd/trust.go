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

	"activationd/internal/fault"
	"activationd/internal/trust"
	"activationd/reservation/file"
)

// trusted returns an error if the daemon is root, and somebody else could change the
// file at path, by which root is told what to do. What the user can change as whom
// that runs is his affair; no user means root.
func (s *surroundings) trusted(path, user string) error { return s.trustedTo(trust.Check, path, user) }

// trustedTo is trusted by a check of package trust's.
func (s *surroundings) trustedTo(check func(path string, uids ...int) error, path, user string) error {
	if s.uid != 0 {
		return nil
	}
	var uids []int
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

// errNoUser says that nobody can be asked after; where the user is named, that is told.
var errNoUser = errors.New("as whom this runs is not known")

func refusal(err error) error {
	if err != nil {
		return fmt.Errorf("%w; a daemon of root's takes only what nobody can change but root and the user as whom it runs", err)
	}
	return nil
}

// trustedSource is trusted for a source's file, or its folder and all files in that.
func (s *surroundings) trustedSource(src *Source) error {
	if err := s.trustedTo(trust.CheckFolder, src.Files, src.Reservations.User); err != nil {
		return err
	}
	files, err := file.New(src.Files).Files()
	if err != nil {
		return nil //nolint:nilerr // it may come yet; whoever looks for it tells
	}
	for _, f := range files {
		if err := s.trusted(f, src.Reservations.User); err != nil {
			return err
		}
	}
	return nil
}

// trustedCommand is trusted for each file that a command executes.
func (s *surroundings) trustedCommand(argv []string, path, user string) error {
	for _, program := range executed(argv, path) {
		if err := s.trusted(program, user); err != nil {
			return err
		}
	}
	return nil
}

// interpreters execute what their first argument names.
var interpreters = []string{"sh", "bash", "dash", "ash", "ksh", "zsh", "perl", "ruby", "python", "python3", "env", "nice", "nohup"}

// executed lists the files that a command executes, as far as its words tell: its
// program, and the script that an interpreter is given. PATH is where the first is
// looked for when it has no slash.
func executed(argv []string, path string) (files []string) {
	if len(argv) == 0 {
		return nil
	}
	program := argv[0]
	if !strings.Contains(program, "/") {
		for dir := range strings.SplitSeq(path, ":") {
			if found := filepath.Join(dir, argv[0]); executable(found) == nil {
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
			if strings.HasPrefix(arg, "-c") || arg == "-e" || arg == "-m" { // what follows is a text
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

// named returns the interpreter that the first line of a script names, if it is one.
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

// pathOf is where a command of such an environment is looked for.
func pathOf(env map[string]string) string {
	if path, ok := env["PATH"]; ok {
		return path
	}
	return strings.TrimPrefix(standardPath, "PATH=")
}

// refuse notes that what field says cannot be trusted; what is its name, as it may stand
// nowhere in the file.
func (l *looker) refuse(field any, what string, err error) {
	if err == nil || errors.Is(err, errNoUser) {
		return
	}
	at := l.config.where[field]
	if at.key == "" {
		at.key = what
	}
	if text := fmt.Sprintf("%s: %s", at.key, fault.Text(err)); !slices.Contains(l.refused, text) { // sources share their scripts
		l.refused = append(l.refused, text)
		l.faults.Add(at.line, "%s", text)
	}
}

// trust looks at everything that tells a daemon of root's what to do, but for the
// configuration itself.
func (l *looker) trust() {
	c := l.config
	user := c.Reservations.User
	for _, f := range []struct {
		field *string
		what  string
		user  string
	}{{&c.Tokens, "tokens", ""}, {&c.Lab.Inventory, "lab.inventory", user}, {&c.At.Sendmail, "at.sendmail", ""}} {
		if *f.field != "" {
			l.refuse(f.field, f.what, l.trusted(*f.field, f.user))
		}
	}
	for i := range c.Listen {
		if t := c.Listen[i].TLS; t != nil && t.ClientCA != "" {
			l.refuse(&t.ClientCA, "client_ca", l.trusted(t.ClientCA, ""))
		}
	}
	scripts := []*Reservations{&c.Reservations}
	for i := range c.Sources {
		s := &c.Sources[i]
		scripts = append(scripts, &s.Reservations)
		if s.Files != "" {
			l.refuse(&s.Files, "files", l.trustedSource(s))
		}
		if s.SQL != nil && s.SQL.DSNFile != "" {
			l.refuse(&s.SQL.DSNFile, "dsn_file", l.trusted(s.SQL.DSNFile, s.Reservations.User))
		}
	}
	for _, r := range scripts {
		l.refuse(&r.Activate, "reservations.activate", l.trustedCommand(r.Activate, pathOf(r.Environment), r.User))
		l.refuse(&r.Deactivate, "reservations.deactivate", l.trustedCommand(r.Deactivate, pathOf(r.Environment), r.User))
	}
	for i := range c.Recurrences {
		r := &c.Recurrences[i]
		l.refuse(&r.Command, "recurrences.command", l.trustedCommand(r.Command, pathOf(r.Environment), r.User))
	}
}

// runsTrusted tells, when a reservation's script is about to run as uid, whether it may.
func (s *surroundings) runsTrusted(argv, env []string, uid int) error {
	if s.uid != 0 {
		return nil
	}
	path := ""
	for _, v := range env {
		if p, ok := strings.CutPrefix(v, "PATH="); ok {
			path = p
		}
	}
	for _, program := range executed(argv, path) {
		if err := refusal(trust.Check(program, max(uid, 0))); err != nil {
			return fmt.Errorf("%w: %w", err, fault.Denied)
		}
	}
	return nil
}
