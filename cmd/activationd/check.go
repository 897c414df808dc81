package main

import (
	"cmp"
	"fmt"
	"io"
	"strings"
)

// check is --check-config: it says all that is wrong, or what was understood.
func (p *program) check(w io.Writer) error {
	dirs, err := chooseDirs(p.options, p.surroundings)
	if err != nil {
		return err
	}
	c, notices, err := p.load(dirs)
	if err != nil {
		return err
	}
	atwrap, err := findAtwrap(p.options.atwrap, p.surroundings)
	if err != nil {
		notices, atwrap = append(notices, err.Error()), "not found"
	}
	file := c.File
	if file == "" {
		file = "no configuration file, so the defaults"
	}
	out := fmt.Sprintf("ok: %s\n", file)
	line := func(what, format string, args ...any) {
		out += fmt.Sprintf("  %-9s %s\n", what, fmt.Sprintf(format, args...))
	}
	line("state", "%s", dirs.State)
	line("socket", "%s, mode %04o, others are %s", c.Socket.Path, c.Socket.Mode, c.Access.Others)
	for _, l := range c.Listen {
		tls, user := "", "jobs are refused, as it has no user"
		if c.Tokens != "" {
			user = "jobs run as the user of a token"
		}
		if l.TLS != nil {
			tls = ", TLS"
		}
		if l.User != "" {
			user = "jobs run as " + l.User
		}
		line("listen", "%s%s, role %s, %s", l.Address, tls, l.Role, user)
	}
	for i := range c.Sources {
		s := &c.Sources[i]
		if s.SQL != nil {
			line("source", "%s database %s", s.SQL.Driver, s.SQL.Name)
			continue
		}
		line("source", "%s", s.Files)
	}
	for i := range c.Recurrences {
		if r, err := c.Recurrences[i].rule(); err == nil {
			line("recurs", "%s: %s", r.Name, r.When())
		}
	}
	if c.Lab.Inventory != "" {
		line("lab", "%s, VLANs for %s", c.Lab.Inventory, cmp.Or(strings.Join(c.Lab.pools.Domains(), ", "), "nobody"))
	}
	line("atwrap", "%s", atwrap)
	for _, n := range notices {
		line("notice", "%s", n)
	}
	_, err = io.WriteString(w, out)
	return err
}
