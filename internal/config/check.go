package config

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"
)

// A checker checks the values that a decoder has read.
type checker struct {
	*Config
	*decoder
}

// wrong notes a fault in the value that field points to, if it stood in the file. Otherwise
// the field has its default, or its fault has been noted.
func (p *checker) wrong(field any, format string, args ...any) {
	if at, ok := p.places[field]; ok {
		p.faults.Add(at.Line, "%s: %s", at.Key, fmt.Sprintf(format, args...))
	}
}

func within[T cmp.Ordered](p *checker, field *T, low, high T) {
	if *field < low || *field > high {
		p.wrong(field, "must be from %v to %v, is %v", low, high, *field)
	}
}

func positive(p *checker, fields ...*time.Duration) {
	for _, f := range fields {
		if f != nil && *f <= 0 {
			p.wrong(f, "must be more than 0")
		}
	}
}

func (p *checker) check() {
	p.checkListen()
	p.checkAccess()
	within(p, &p.Control.Line, 1<<10, 64<<20)
	positive(p, &p.StopLimit, &p.Control.Idle, &p.History.Keep, &p.Events.Keep)

	p.checkReservations(&p.Reservations)
	p.checkSources()
	if p.Booking != nil {
		p.checkBooking(p.Booking)
	}

	p.checkBackoff(&p.Jobs.Backoff)
	p.checkEnvironment(p.Jobs.Environment)
	within(p, &p.At.Interval, time.Second, 24*time.Hour)

	p.checkRecurrences()

	r := &p.Runs
	within(p, &r.ArmAhead, 0, 10*time.Second)
	p.checkLimits(r.Limits)

	for _, name := range slices.Sorted(maps.Keys(p.Services)) {
		p.checkService(&p.Services[name].ServiceRules)
	}
	for i := range p.Discover {
		d := &p.Discover[i]
		if d.Env == "" {
			p.wrong(d, "env: missing; want a path or a pattern such as /var/www/*/*/.env")
		} else if _, err := filepath.Match(d.Env, ""); err != nil {
			p.wrong(&d.Env, "%q is no pattern of paths", d.Env)
		}
		p.checkService(&d.ServiceRules)
	}
	p.checkQueues()
	p.checkHooks()
}

func (p *checker) checkLimits(limits map[string]Rlimit) {
	for _, name := range slices.Sorted(maps.Keys(limits)) {
		if !slices.Contains(rlimits, name) {
			p.wrong(entryOf(limits, name), "unknown limit; want one of %s", strings.Join(rlimits, ", "))
		}
	}
}

// rlimits are the resources that setrlimit(2) knows.
var rlimits = []string{"as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile",
	"nproc", "rss", "rtprio", "rttime", "sigpending", "stack"}

// Entry stands for an entry of a table of a [Config] when its place is asked for, as a pointer
// does for a field: an entry has no address.
func Entry[T any](table map[string]T, name string) any { return entryOf(table, name) }

func entryOf[T any](table map[string]T, name string) mapKey {
	return mapKey{reflect.ValueOf(table).Pointer(), name}
}

func (p *checker) checkAccess() {
	where := map[string]string{}
	for _, list := range []struct {
		role  string
		names []string
	}{{"admins", p.Access.Admins}, {"operators", p.Access.Operators}, {"viewers", p.Access.Viewers}} {
		for i, name := range list.names {
			if name == "" {
				p.wrong(&list.names[i], "want a user's name or number, or that of a group after a %%")
			} else if name == "%" {
				p.wrong(&list.names[i], "want a group's name or number after %%")
			} else if other, twice := where[name]; twice {
				p.wrong(&list.names[i], "%s is among the %s already", name, other)
			}
			where[name] = list.role
		}
	}
}

func (p *checker) checkReservations(r *Reservations) {
	for _, command := range []*[]string{&r.Activate, &r.Deactivate} {
		if len(*command) == 0 || (*command)[0] == "" {
			p.wrong(command, "want a command and its arguments, such as [/usr/bin/env, true]")
		}
	}
	positive(p, &r.Timeout, &r.DeactivateTimeout)
	p.checkBackoff(&r.Backoff)
	p.checkEnvironment(r.Environment)
}

func (p *checker) checkBackoff(b *Backoff) {
	positive(p, &b.First, &b.Max)
	if b.First > b.Max {
		p.wrong(b, "first (%v) is more than max (%v)", b.First, b.Max)
	}
}

var envName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

func (p *checker) checkEnvironment(env map[string]string) {
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

func (p *checker) checkSources() {
	names := map[string]int{}
	for i := range p.Sources {
		s := &p.Sources[i]
		if s.Files != "" {
			s.Files = filepath.Clean(s.Files)
		}
		if kinds := s.kinds(); kinds != 1 {
			p.wrong(s, "want either files or sql or http")
		}
		if s.HTTP != "" && !sourceName.MatchString(s.HTTP) {
			p.wrong(&s.HTTP, "want a name of up to 64 letters, digits and ._- that begins with a letter or a digit, have %q", s.HTTP)
		}
		p.checkReservations(&s.Reservations)
		if s.SQL != nil {
			p.checkSQL(s.SQL)
		}
		if s.Name() == BookingSource {
			p.wrong(s, "no source can be called %s: that is the name of what is booked at the daemon itself; give it another name", BookingSource)
		}
		line := p.places[s].Line
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

// BookingSource is the name of the source of what is booked at the daemon itself.
const BookingSource = "book"

func (p *checker) checkBooking(b *Booking) {
	p.checkReservations(&b.Reservations)
	for i, pattern := range b.Devices {
		if _, err := path.Match(pattern, ""); pattern == "" || err != nil {
			p.wrong(&b.Devices[i], "%q is neither the name of a device nor a pattern such as sw*", pattern)
		}
	}
	for i, name := range b.Variables {
		if !envName.MatchString(name) || strings.HasPrefix(name, "ACTIVATION") {
			p.wrong(&b.Variables[i], "%q is not a variable that a booking can set", name)
		}
	}
	quotas := []*Quota{&b.Quota}
	for _, owner := range slices.Sorted(maps.Keys(b.Owners)) {
		quotas = append(quotas, b.Owners[owner])
	}
	for _, q := range quotas {
		if q.HoursPerWeek != nil {
			within(p, q.HoursPerWeek, 0, 7*24*time.Hour)
		}
	}
}

func (p *checker) checkSQL(s *SQL) {
	if _, given := p.places[&s.Driver]; !given {
		p.wrong(s, "driver: missing; want postgres or mysql")
	}
	if (s.DSN == "") == (s.DSNFile == "") {
		p.wrong(s, "want either dsn or dsn_file")
	}
}

// sourceName matches the names of sources whose content is put into them.
var sourceName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// kinds returns how many of the ways to read reservations the source has.
func (s *Source) kinds() (n int) {
	for _, is := range []bool{s.Files != "", s.SQL != nil, s.HTTP != ""} {
		if is {
			n++
		}
	}
	return n
}

// Name is what messages call the source; empty for a database without a name of
// its own.
func (s *Source) Name() string {
	if s.SQL != nil {
		return s.SQL.Name
	}
	return cmp.Or(s.Files, s.HTTP)
}

// checkRecurrences checks their names only: whether a rule can be understood depends on the
// machine's time zones.
func (p *checker) checkRecurrences() {
	names := map[string]int{}
	for i := range p.Recurrences {
		r := &p.Recurrences[i]
		if other, twice := names[r.Name]; twice && r.Name != "" {
			p.wrong(r, "name: %s is already there on line %d", r.Name, other)
		}
		names[r.Name] = p.places[r].Line
	}
}

// checkService checks single values of a service. Package service checks the whole, together
// with the services that are declared elsewhere.
func (p *checker) checkService(s *ServiceRules) {
	p.checkLimits(s.Limits)
	positive(p, s.ReadyTimeout, &s.Backoff.First, &s.Backoff.Max, s.Stable, s.StartLimit.Window)
	for _, c := range []*Check{s.Ready, s.Alive} {
		if c == nil {
			continue
		}
		positive(p, &c.Delay, &c.Interval, &c.Timeout)
		if kinds := c.Kinds(); len(kinds) != 1 && !p.faults.Has(p.places[c].Line) { // what could not be read is no second fault
			p.wrong(c, "want one of notify, tcp, http, exec, log and delay, have %s", cmp.Or(strings.Join(kinds, " and "), "none"))
		}
	}
}

// Kinds returns the keys of a check that say what it does; there should be one.
func (c *Check) Kinds() (keys []string) {
	for _, k := range []struct {
		key   string
		given bool
	}{
		{"notify", c.Notify}, {"tcp", c.TCP != ""}, {"http", c.HTTP != ""}, {"exec", len(c.Exec) > 0}, {"log", c.Log != ""},
		{"delay", c.Delay != 0},
	} {
		if k.given {
			keys = append(keys, k.key)
		}
	}
	return keys
}
