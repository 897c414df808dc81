package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"activationd/internal/fault"
	"activationd/internal/trust"
)

// trusted returns an error if the daemon is root, and somebody else could change the
// file at path, by which root is told what to do. What the user can change as whom
// that runs is his affair; no user means root.
func (s *surroundings) trusted(path, user string) error {
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
	return trustedBy(path, uids...)
}

// errNoUser says that nobody can be asked after; where the user is named, that is told.
var errNoUser = errors.New("as whom this runs is not known")

func trustedBy(path string, uids ...int) error {
	if err := trust.Check(path, uids...); err != nil {
		return fmt.Errorf("%w; a daemon of root's takes only what nobody can change but root and the user as whom it runs", err)
	}
	return nil
}

// trustedCommand is trusted for each file that a command executes.
func (s *surroundings) trustedCommand(argv []string, path, user string) error {
	for _, file := range executed(argv, path) {
		if err := s.trusted(file, user); err != nil {
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
			if file := filepath.Join(dir, argv[0]); executable(file) == nil {
				program = file
				break
			}
		}
	}
	if filepath.IsAbs(program) {
		files = append(files, program)
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
			l.refuse(&s.Files, "files", l.trusted(s.Files, s.Reservations.User))
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
	for _, file := range executed(argv, path) {
		if err := trustedBy(file, max(uid, 0)); err != nil {
			return fmt.Errorf("%w: %w", err, fault.Denied)
		}
	}
	return nil
}
