package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"activationd/activation/service"
	"activationd/internal/fault"
)

// checkConfig carries out --check-config: it reports everything that is wrong with the
// configuration and with the reservations of its sources, or else how the configuration was
// understood. Sources that are databases are read only if asked for. If files of reservations
// are named, it reads these and no source.
func checkConfig(w io.Writer, opts *options, h *host) error {
	files, err := opts.sortFiles()
	if err != nil {
		return err
	}
	dirs, err := chooseDirs(opts, h)
	if err != nil {
		return err
	}
	c, notices, err := loadConfig(opts, h, dirs)
	if c == nil {
		return err
	}
	r := reservationCheck{host: h, config: c, ids: map[string]string{}}
	faults := []error{err}
	var env envCheck
	if len(files) > 0 {
		if opts.sql {
			return fmt.Errorf("--sql reads sources of the configuration, and %s is checked in place of them; leave out one of the two: %w", files[0], fault.Invalid)
		}
		notices = nil // they are about what no file of reservations needs
		r.files(files)
	} else {
		r.sources(opts.sql)
		env = h.envFiles(c)
		faults, notices = append(faults, env.faults...), append(notices, env.notices...)
	}
	r.conflicts()
	faults = append(faults, r.faults...)
	notices = append(notices, r.notices...)
	out := ""
	if len(files) > 0 {
		for _, text := range r.read {
			out += "ok: " + text + "\n"
		}
	} else {
		var atwrap string
		if atwrap, err = findAtwrap(opts.atwrap, h); err != nil {
			notices, atwrap = append(notices, err.Error()), "not found"
		}
		out = understood(c, dirs, r.read, env.found, atwrap)
	}
	for _, n := range notices {
		if opts.strict {
			faults = append(faults, fmt.Errorf("%s: %w", n, fault.Invalid))
		}
		out += row("notice", "%s", n)
	}
	if err := errors.Join(faults...); err != nil {
		return err
	}
	_, err = io.WriteString(w, out)
	return err
}

func row(what, format string, args ...any) string {
	return fmt.Sprintf("  %-10s %s\n", what, fmt.Sprintf(format, args...))
}

// understood says how the configuration was understood. Read has a line for each source, and
// found are the services of .env files.
func understood(c *configuration, dirs *directories, read []string, found []*service.Declaration, atwrap string) string {
	out := fmt.Sprintf("ok: %s\n", cmp.Or(c.File, "no configuration file, so the defaults"))
	out += row("state", "%s", dirs.State)
	out += row("socket", "%s, mode %04o, role of other users: %s", c.Socket.Path, c.Socket.Mode, c.Access.Others)
	for i, l := range c.listens() {
		face := "listen"
		if i >= len(c.Listen) {
			face = "http"
		}
		if l.UnixPath() != "" {
			out += row(face, "%s%s, roles of access", l.Address, c.BasePath)
			continue
		}
		tls, user := "", "jobs are refused, because it has no user"
		if c.Tokens != "" {
			user = "jobs run as the user of a token"
		}
		if l.TLS != nil {
			tls = ", TLS"
		}
		if l.User != "" {
			user = "jobs run as " + l.User
		}
		out += row(face, "%s%s, role %s, %s", l.Address, tls, l.Role, user)
	}
	for _, text := range read {
		out += row("source", "%s", text)
	}
	for i := range c.Recurrences {
		if r, err := ruleOf(&c.Recurrences[i]); err == nil {
			out += row("recurrence", "%s: %s", r.Name, r.When())
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Services)) {
		d, _ := declarationOf(c.Config, name)
		out += row("service", "%s", d)
	}
	for _, d := range found {
		out += row("service", "%s, from %s", d, d.EnvFile)
	}
	for i := range c.Listeners {
		out += row("listener", "%s", listenerInWords(&c.Listeners[i]))
	}
	for i := range c.Hooks {
		out += row("hook", "%s", hookInWords(&c.Hooks[i]))
	}
	if c.Lab.Inventory != "" {
		out += row("lab", "%s, VLAN pools: %s", c.Lab.Inventory, cmp.Or(strings.Join(c.pools.Domains(), ", "), "none"))
	}
	return out + row("atwrap", "%s", atwrap)
}
