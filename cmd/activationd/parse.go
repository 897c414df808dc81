package main

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"activationd/internal/diag"
	"activationd/internal/document"
)

// ParseConfig reads a configuration; file is its name in messages. It has no
// effect but its result, and its error, of kind fault.Invalid, names every
// fault in the file by its line. Nothing at all gives the defaults.
func ParseConfig(file string, data []byte) (*Config, error) {
	c, faults := parseConfig(file, data, defaultConfig())
	return c, faults.Err()
}

// parseConfig lays a file over c, which has the defaults.
func parseConfig(file string, data []byte, c *Config) (*Config, *diag.List) {
	c.File = file
	p := &parser{Config: c, decoder: &decoder{
		faults: diag.List{File: file},
		places: places{},
		schema: schemaOf(reflect.TypeFor[Config](), ""),
	}}
	p.decoder.config = c

	if root, err := document.Parse(data, 0); err != nil {
		p.faults.Add(err.Line, "%s", err.Text)
	} else if root != nil {
		p.value(root, "", reflect.ValueOf(c).Elem())
	}
	p.check()
	c.where = p.places
	return c, &p.faults
}

// A parser checks what a decoder has read.
type parser struct {
	*Config
	*decoder
}

// wrong notes a fault in the value that field points to, if it stood in the
// file at all: then the default is there, or its fault has been told.
func (p *parser) wrong(field any, format string, args ...any) {
	if at, ok := p.places[field]; ok {
		p.faults.Add(at.line, "%s: %s", at.key, fmt.Sprintf(format, args...))
	}
}

func within[T cmp.Ordered](p *parser, field *T, low, high T) {
	if *field < low || *field > high {
		p.wrong(field, "must be from %v to %v, is %v", low, high, *field)
	}
}

func positive(p *parser, fields ...*time.Duration) {
	for _, f := range fields {
		if *f <= 0 {
			p.wrong(f, "must be more than 0")
		}
	}
}

func (p *parser) oneOf(field *string, words ...string) {
	if *field != "" && !slices.Contains(words, *field) {
		last := len(words) - 1
		p.wrong(field, "want %s or %s, have %q", strings.Join(words[:last], ", "), words[last], *field)
	}
}

func (p *parser) check() {
	p.checkListen()
	p.checkAccess()
	within(p, &p.Control.Connections, 1, 100_000)
	within(p, &p.Control.Line, 1<<10, 64<<20)
	positive(p, &p.Control.Idle, &p.History.Keep)
	within(p, &p.History.Count, 0, 1_000_000_000)

	p.checkReservations(&p.Reservations)
	p.checkSources()

	p.checkBackoff(&p.Jobs.Backoff)
	within(p, &p.Jobs.Retries, 0, 1000)
	p.oneOf(&p.Jobs.Missed, "run", "skip")
	p.checkEnvironment(p.Jobs.Environment)
	within(p, &p.At.Interval, time.Second, 24*time.Hour)

	p.checkRecurrences()

	r := &p.Runs
	within(p, &r.MaxParallel, 1, 100_000)
	within(p, &r.ArmAhead, 0, 10*time.Second)
	p.oneOf(&r.Guard, "auto", "cgroup", "subreaper", "group")
	p.oneOf(&r.Leftovers, "kill", "keep")
	within(p, &r.Nice, -20, 19)
	for _, name := range slices.Sorted(maps.Keys(r.Limits)) {
		if !slices.Contains(rlimits, name) {
			p.wrong(entryOf(r.Limits, name), "unknown limit; want one of %s", strings.Join(rlimits, ", "))
		}
	}
	p.oneOf(&p.Logging.Format, "auto", "text", "json")
}

// rlimits are the resources that setrlimit(2) knows.
var rlimits = []string{"as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile",
	"nproc", "rss", "rtprio", "rttime", "sigpending", "stack"}

func entryOf[T any](table map[string]T, name string) mapKey {
	return mapKey{reflect.ValueOf(table).Pointer(), name}
}

func (p *parser) checkListen() {
	for i := range p.Listen {
		l := &p.Listen[i]
		p.oneOf(&l.Role, "none", "viewer", "submitter", "operator", "admin")
		if err := settleListen(l, p.Tokens != ""); err != nil {
			at := p.places[l]
			p.faults.Add(at.line, "%s: %v", at.key, err)
		}
		for j := range i {
			if p.Listen[j].Address == l.Address && l.Address != "" && !strings.HasSuffix(l.Address, ":0") {
				p.wrong(&l.Address, "%s is already there on line %d", l.Address, p.places[&p.Listen[j]].line)
			}
		}
	}
}

// settleListen sets the role that a listener has by default, and checks that
// it lets in nobody whom nobody knows.
func settleListen(l *Listen, tokens bool) error {
	if l.TLS != nil && (l.TLS.Certificate == "" || l.TLS.Key == "") {
		return errors.New("tls: needs certificate and key")
	}
	if name, ok := strings.CutPrefix(l.Address, fromSystemd); ok && name != "" {
		return nil // its address is known when it is handed over
	}
	loopback, err := isLoopback(l.Address)
	if err != nil {
		return err
	}
	known := loopback || l.TLS != nil && l.TLS.ClientCA != ""
	if l.Role == "" {
		l.Role = "none"
		if known {
			l.Role = "operator"
		}
	}
	switch {
	case l.TLS == nil && !loopback:
		return fmt.Errorf("%s can be reached from other machines, so it needs tls (or listen on 127.0.0.1)", l.Address)
	case !known && l.Role != "none":
		return fmt.Errorf("role: anybody could come in as %s; set tls.client_ca, or take role none and tokens", l.Role)
	case l.Role == "none" && !tokens && known:
		return errors.New("nobody could use it: take another role, or set tokens at the top of the file")
	case l.Role == "none" && !tokens:
		return errors.New("nobody could use it: set tls.client_ca, or tokens at the top of the file")
	}
	return nil
}

// fromSystemd begins the address of a socket that systemd hands over.
const fromSystemd = "systemd:"

func isLoopback(address string) (bool, error) {
	if address == "" {
		return false, errors.New("address: missing; write HOST:PORT")
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return false, fmt.Errorf("want HOST:PORT, have %q", address)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return false, fmt.Errorf("want a port from 0 to 65535, have %q", port)
	}
	// Of names only localhost is sure to be loopback: what others mean may change.
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.Unmap().IsLoopback(), nil
}

func (p *parser) checkAccess() {
	p.oneOf(&p.Access.Others, "submitter", "viewer", "none")
	where := map[string]string{}
	for _, list := range []struct {
		role  string
		names []string
	}{{"admins", p.Access.Admins}, {"operators", p.Access.Operators}, {"viewers", p.Access.Viewers}} {
		for i, name := range list.names {
			if name == "" {
				p.wrong(&list.names[i], "want a user's name or number")
			} else if other, twice := where[name]; twice {
				p.wrong(&list.names[i], "%s is among the %s already", name, other)
			}
			where[name] = list.role
		}
	}
}

func (p *parser) checkReservations(r *Reservations) {
	for _, command := range []*[]string{&r.Activate, &r.Deactivate} {
		if len(*command) == 0 || (*command)[0] == "" {
			p.wrong(command, "want a command and its arguments, such as [/usr/bin/env, true]")
		}
	}
	positive(p, &r.Timeout, &r.DeactivateTimeout)
	within(p, &r.Retries, 0, 1000)
	within(p, &r.DeactivateRetries, 0, 1000)
	p.checkBackoff(&r.Backoff)
	p.oneOf(&r.Missed, "run", "skip")
	p.checkEnvironment(r.Environment)
}

func (p *parser) checkBackoff(b *Backoff) {
	positive(p, &b.First, &b.Max)
	if b.First > b.Max {
		p.wrong(b, "first (%v) is more than max (%v)", b.First, b.Max)
	}
}

var envName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

func (p *parser) checkEnvironment(env map[string]string) {
	for _, name := range slices.Sorted(maps.Keys(env)) {
		switch {
		case !envName.MatchString(name):
			p.wrong(entryOf(env, name), "not a name for a variable")
		case strings.HasPrefix(name, "ACTIVATION"):
			p.wrong(entryOf(env, name), "names that begin with ACTIVATION are the daemon's own")
		case strings.Contains(env[name], "\x00"):
			p.wrong(entryOf(env, name), "has a zero byte in it")
		}
	}
}

func (p *parser) checkSources() {
	names := map[string]int{}
	for i := range p.Sources {
		s := &p.Sources[i]
		if s.Files != "" {
			s.Files = filepath.Clean(s.Files)
		}
		if s.Files == "" && s.SQL == nil || s.Files != "" && s.SQL != nil {
			p.wrong(s, "want either files or sql")
		}
		p.checkReservations(&s.Reservations)
		if s.SQL != nil {
			p.checkSQL(s.SQL)
		}
		line := p.places[s].line
		if other, twice := names[s.Name()]; twice && s.Name() != "" {
			hint := ""
			if s.SQL != nil {
				hint = "; give each its own name"
			}
			p.wrong(s, "%s is already there on line %d%s", s.Name(), other, hint)
		}
		names[s.Name()] = line
	}
}

func (p *parser) checkSQL(s *SQL) {
	if s.Driver == "" {
		p.wrong(s, "driver: missing; want postgres or mysql")
	}
	p.oneOf(&s.Driver, "postgres", "mysql")
	if (s.DSN == "") == (s.DSNFile == "") {
		p.wrong(s, "want either dsn or dsn_file")
	}
	if s.TimeZone != "" {
		if _, err := time.LoadLocation(s.TimeZone); err != nil {
			p.wrong(&s.TimeZone, "no such zone: %q; write one such as Europe/Prague", s.TimeZone)
		}
	}
}

// Name is what messages call the source; empty for a database without a name of
// its own.
func (s *Source) Name() string {
	if s.SQL != nil {
		return s.SQL.Name
	}
	return s.Files
}
