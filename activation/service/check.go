package service

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"activationd/activation/service/probe"
	"activationd/internal/document"
	"activationd/internal/fault"
)

// A Fault is something that is wrong with a declaration. It is of kind [fault.Invalid].
type Fault struct {
	Service *Declaration
	Key     string // of the configuration, such as after; empty: it is about the whole service
	Text    string
}

func (f *Fault) Error() string {
	return fmt.Sprintf("%s: %s: %s", f.Position(), f.Where(), f.Text)
}

func (f *Fault) Unwrap() error { return fault.Invalid }

// Where names the service and the key: shop/web.after.
func (f *Fault) Where() string {
	if f.Key == "" {
		return f.Service.Shown
	}
	return f.Service.Shown + "." + f.Key
}

// Position is where the key stands.
func (f *Fault) Position() Position { return f.Service.Position(f.Key) }

// Position returns where a key stands: if it was not given, the place of the key or the service
// to which it would belong.
func (d *Declaration) Position(key string) Position {
	for {
		if at, ok := d.Positions[key]; ok || key == "" {
			return at
		}
		key = key[:max(0, strings.LastIndexByte(key, '.'))]
	}
}

// Faults returns what is wrong with the declaration, whatever the others are.
func (d *Declaration) Faults() []*Fault {
	c := checker{refused: map[*Declaration]bool{}}
	c.alone(d)
	return c.faults
}

// Validate returns all that is wrong with a set of declarations. Sound has, by their keys, those
// that can be carried out without the others: nothing is wrong with them, nor with what they
// depend on.
func Validate(all []*Declaration) (sound map[string]*Declaration, faults []*Fault) {
	c := checker{named: map[string][]*Declaration{}, refused: map[*Declaration]bool{}}
	for _, d := range all {
		c.named[d.Name] = append(c.named[d.Name], d)
		c.alone(d)
	}
	c.names(all)
	for _, d := range all {
		c.dependencies(d)
	}
	c.cycles(all)
	c.addresses(all)
	c.dependants(all)
	sound = make(map[string]*Declaration, len(all))
	for _, d := range all {
		if !c.refused[d] {
			sound[d.Name] = d
		}
	}
	return sound, c.faults
}

type checker struct {
	faults  []*Fault
	named   map[string][]*Declaration // by key
	refused map[*Declaration]bool
}

func (c *checker) wrong(d *Declaration, key, format string, args ...any) {
	c.refused[d] = true
	c.faults = append(c.faults, &Fault{d, key, fmt.Sprintf(format, args...)})
}

// alone checks a declaration without the others.
func (c *checker) alone(d *Declaration) {
	if err := CheckName(d.Shown); err != nil {
		c.wrong(d, "", "%v", err)
	}
	c.passed(d)
	if len(d.Command) == 0 || d.Command[0] == "" {
		c.wrong(d, "command", "want a command and its arguments, such as [/usr/bin/redis-server, --port, \"6379\"]")
	}
	if d.Instances < 1 || d.Instances > MaxInstances {
		c.wrong(d, "instances", "must be from 1 to %d, is %d", MaxInstances, d.Instances)
		return
	}
	if d.Surge < 0 || d.Instances+d.Surge > MaxInstances {
		c.wrong(d, "surge", "must be at least 0, and with instances (%d) at most %d, is %d", d.Instances, MaxInstances, d.Surge)
		return
	}
	if !slices.Contains(Signals, d.StopSignal) {
		c.wrong(d, "stop_signal", "want one of %s, have %q", strings.Join(Signals, ", "), d.StopSignal)
	}
	if d.Backoff.First <= 0 || d.Backoff.Max < d.Backoff.First {
		c.wrong(d, "backoff", "first (%v) must be more than 0, and at most max (%v)", d.Backoff.First, d.Backoff.Max)
	}
	if d.ReadyTimeout <= 0 {
		c.wrong(d, "ready_timeout", "must be more than 0")
	}
	for _, g := range d.Groups {
		if err := CheckName(g); err != nil || strings.Contains(g, "/") {
			c.wrong(d, "groups", "%q: want a name of letters, digits, _ and -", g)
		}
	}
	c.environment(d)
	seen := map[fieldError]bool{}
	for n := 1; n <= d.Instances+d.Surge; n++ {
		_, t := d.fill(n)
		for _, f := range t.faults {
			if !seen[f] {
				seen[f] = true
				c.wrong(d, f.key, "%s", f.text)
			}
		}
		if len(t.faults) > 0 {
			break // the others have the same faults
		}
	}
}

var variable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// environment checks the names of variables. The reader of the environment file has checked
// those in it, but does not know which are the daemon's.
func (c *checker) environment(d *Declaration) {
	const own = "names that begin with ACTIVATION are the daemon's own"
	for _, name := range slices.Sorted(maps.Keys(d.Env)) {
		switch {
		case !variable.MatchString(name):
			c.wrong(d, "environment."+name, "not a name for a variable")
		case strings.HasPrefix(name, "ACTIVATION"):
			c.wrong(d, "environment."+name, "%s", own)
		case strings.Contains(d.Env[name], "\x00"):
			c.wrong(d, "environment."+name, "has a zero byte in it")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(d.FileEnv)) {
		if strings.HasPrefix(name, "ACTIVATION") {
			c.wrong(d, "env_file", "%s: %s", name, own)
		}
	}
}

// names refuses all services that have one key.
func (c *checker) names(all []*Declaration) {
	for _, d := range all {
		for _, other := range c.named[d.Name] {
			if other == d {
				continue
			}
			if other.Shown == d.Shown {
				c.wrong(d, "", "is declared a second time at %s", other.Position(""))
			} else {
				c.wrong(d, "", "is the same name as %s at %s: / and _ are alike in names of services", other.Shown, other.Position(""))
			}
			break
		}
	}
}

func (c *checker) dependencies(d *Declaration) {
	seen := map[string]bool{}
	for _, need := range d.After {
		others := c.named[need.Name]
		switch {
		case seen[need.Name]:
			c.wrong(d, "after", "names %s twice", need.Name)
		case len(others) == 0:
			text := ""
			if near := document.Nearest(need.Name, slices.Collect(maps.Keys(c.named))); near != "" {
				text = "; did you mean " + near + "?"
			}
			c.wrong(d, "after", "there is no service %s%s", need.Name, text)
		case need.Condition == Ready && others[0].Ready == nil:
			o := others[0]
			c.wrong(d, "after", "%s (%s) has no check of readiness, so nothing would tell when it is ready: give it the key ready, or write %s:%s", o.Shown, o.Position(""), o.Shown, Started)
		}
		seen[need.Name] = true
	}
	if d.Bind && len(d.After) == 0 {
		c.wrong(d, "bind", "has a meaning only with after")
	}
}

// cycles refuses services that wait for each other, each cycle once.
func (c *checker) cycles(all []*Declaration) {
	const (
		open = 1 + iota
		done
	)
	state := map[string]int{}
	var path []*Declaration
	var visit func(d *Declaration)
	visit = func(d *Declaration) {
		state[d.Name] = open
		path = append(path, d)
		for _, need := range d.After {
			others := c.named[need.Name]
			if len(others) == 0 || state[need.Name] == done {
				continue
			}
			if state[need.Name] != open {
				visit(others[0])
				continue
			}
			from := slices.IndexFunc(path, func(p *Declaration) bool { return p.Name == need.Name })
			text := ""
			for _, member := range path[from:] {
				text += member.Shown + " -> "
				c.refused[member] = true
			}
			c.wrong(path[from], "after", "the services wait for each other: %s%s", text, path[from].Shown)
		}
		path = path[:len(path)-1]
		state[d.Name] = done
	}
	for _, d := range all {
		if state[d.Name] == 0 {
			visit(d)
		}
	}
}

// dependants refuses services that wait for refused ones.
func (c *checker) dependants(all []*Declaration) {
	for again := true; again; {
		again = false
		for _, d := range all {
			for _, need := range d.After {
				if others := c.named[need.Name]; !c.refused[d] && len(others) > 0 && c.refused[others[0]] {
					c.wrong(d, "after", "%s is refused", others[0].Shown)
					again = true
				}
			}
		}
	}
}

// passed refuses checks of a socket of the daemon's that say nothing about an instance:
// the socket accepts connections by itself, and any of those that share it can answer.
func (c *checker) passed(d *Declaration) {
	i, _ := d.fill(1)
	for _, look := range []struct {
		key   string
		check *Check
	}{{"ready", i.Ready}, {"alive", i.Alive}} {
		at := slices.IndexFunc(i.Listen, func(address string) bool { return looksAt(look.check, address) })
		switch {
		case at < 0:
		case look.check.Kind == probe.TCP:
			c.wrong(d, look.key, "%s, of listen, accepts connections even if no instance works: want notify, http or exec", i.Listen[at])
		case d.Instances+d.Surge > 1 && d.Listen[at] == i.Listen[at]:
			c.wrong(d, look.key, "the instances share %s, of listen, so another one could answer: want notify or exec", i.Listen[at])
		}
	}
}

// looksAt reports whether a check connects to an address of listen.
func looksAt(check *Check, address string) bool {
	if path := check.Path(); path != "" {
		return path == address
	}
	host, port := check.Address()
	listens, at, err := net.SplitHostPort(address)
	if err != nil || port != at {
		return false
	}
	to, _ := ownHost(host)
	own, _ := ownHost(listens)
	return to == own || own == ""
}

// A claim is an address that an instance would have for itself.
type claim struct {
	host   string // empty: all of this host's
	by     *Declaration
	n      int
	key    string // of the declaration
	shared bool   // the service's one socket, which all its instances are passed
}

// addresses refuses a service if one of its instances would be at the address of another
// instance: in its key listen, or in its check of readiness if that looks at this host.
func (c *checker) addresses(all []*Declaration) {
	claims := map[string][]claim{} // by port, or the path of a socket
	for _, d := range all {
		c.claims(d, claims)
	}
}

func (c *checker) claims(d *Declaration, claims map[string][]claim) {
	for n := 1; n <= min(d.Instances+d.Surge, MaxInstances); n++ {
		i, t := d.fill(n)
		if len(t.faults) > 0 {
			return
		}
		for at, address := range i.Listen {
			mine := claim{by: d, n: n, key: "listen", shared: d.Listen[at] == address}
			if strings.HasPrefix(address, "/") {
				if !c.claim(claims, address, address, mine) {
					return
				}
				continue
			}
			host, port, _ := net.SplitHostPort(address)
			mine.host, _ = ownHost(host)
			if !c.claim(claims, port, address, mine) {
				return
			}
		}
		if host, port := i.Ready.Address(); port != "" {
			own, ok := ownHost(host)
			ok = ok && !slices.ContainsFunc(i.Listen, func(address string) bool { return looksAt(i.Ready, address) })
			if ok && !c.claim(claims, port, net.JoinHostPort(host, port), claim{host: own, by: d, n: n, key: "ready"}) {
				return
			}
		}
	}
}

// claim notes a claim, or the fault that it is another's already.
func (c *checker) claim(claims map[string][]claim, at, address string, mine claim) bool {
	for _, o := range claims[at] {
		if mine.host != o.host && mine.host != "" && o.host != "" || o.by == mine.by && o.n == mine.n && o.key != mine.key || o.by == mine.by && o.shared && mine.shared && o.n != mine.n {
			continue
		}
		switch {
		case o.by != mine.by:
			c.wrong(mine.by, mine.key, "instance %d would be at %s, as instance %d of %s (%s) is", mine.n, address, o.n, o.by.Shown, o.by.Position(o.key))
		case o.n == mine.n:
			c.wrong(mine.by, mine.key, "%s is named twice", address)
		default:
			or := ""
			if mine.key == "ready" {
				or = ", or take a check that tells them apart, such as notify"
			}
			c.wrong(mine.by, mine.key, "instances %d and %d would both be at %s: write the port as NUMBER+{{instance}}%s", o.n, mine.n, address, or)
		}
		return false
	}
	claims[at] = append(claims[at], mine)
	return true
}

// ownHost reports whether a host is this one, and returns its address; empty: all of them.
func ownHost(host string) (string, bool) {
	if host == "localhost" {
		host = "127.0.0.1"
	}
	addr, err := netip.ParseAddr(host)
	switch {
	case host == "" || err == nil && addr.Unmap().IsUnspecified():
		return "", true
	case err == nil:
		return addr.Unmap().String(), addr.Unmap().IsLoopback()
	}
	return host, false
}
