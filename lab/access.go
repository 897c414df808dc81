package lab

import (
	"net"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// An access is a line that changes how a device is reached: its patterns are for the
// lines that lead to one, as in "line vty 0 4 / transport input ssh".
type access struct {
	by     string // accessSSH ...
	line   string // {user} is the one who logs in
	except []*regexp.Regexp
}

// How a device may be reached.
const (
	accessSSH     = "ssh"
	accessTelnet  = "telnet"
	accessNetwork = "network" // either of both
	accessConsole = "console"
	accessAny     = "any"
)

var accesses = []string{accessSSH, accessTelnet, accessNetwork, accessConsole, accessAny}

// reached says whether a way is of a kind.
func (w Way) reached(by string) bool {
	u, err := url.Parse(w.Connect)
	if err != nil {
		return by == accessAny
	}
	network := u.Scheme == accessSSH || u.Scheme == accessTelnet
	switch by {
	case accessNetwork:
		return network
	case accessConsole:
		return !network
	}
	return by == accessAny || by == u.Scheme
}

// accessPath returns the lines of a configuration, as paths, that change the interface,
// the user or the service by which a device is reached.
func (d *dialect) accessPath(config string, w Way) (lines []string) {
	if d.style == setStyle {
		return d.accessSets(config, w)
	}
	bs := parseConfig(config, d.volatile)
	host := ""
	if u, err := url.Parse(w.Connect); err == nil && w.reached(accessNetwork) && net.ParseIP(u.Hostname()) != nil {
		host = u.Hostname()
	}
	for _, top := range bs {
		mine := false
		walk([]*block{top}, "", func(b *block, _ string) { mine = mine || host != "" && hasAddress(b.line, host) })
		walk([]*block{top}, "", func(b *block, path string) {
			if len(b.under) == 0 && (mine || d.accessLine(path, w)) {
				lines = append(lines, path)
			}
		})
	}
	return lines
}

// inGroup is what stands before a line that a group of Junos has.
var inGroup = regexp.MustCompile(`^set groups \S+ `)

// accessSets is accessPath of lines of "set". A line of a group counts as if it stood
// where the group is used.
func (d *dialect) accessSets(config string, w Way) (lines []string) {
	host := ""
	if u, err := url.Parse(w.Connect); err == nil && w.reached(accessNetwork) && net.ParseIP(u.Hostname()) != nil {
		host = u.Hostname()
	}
	sets := d.parseSets(config)
	mine := map[string]bool{} // the interfaces that have the address
	for _, n := range sets.ends {
		if f := strings.Fields(n.line); len(f) > 3 && f[1] == "interfaces" && host != "" && hasAddress(n.line, host) {
			mine[f[2]] = true
		}
	}
	for _, n := range sets.ends {
		l := inGroup.ReplaceAllString(n.line, "set ")
		if f := strings.Fields(l); d.accessLine(l, w) || len(f) > 2 && f[1] == "interfaces" && mine[f[2]] {
			lines = append(lines, n.line)
		}
	}
	sets.root.each(func(n *setNode) bool {
		// What is inactive takes all with it that stands under it.
		if l := "set " + n.path(); n.inactive && slices.ContainsFunc(d.access, func(a access) bool { return d.accessLine(l, w) || w.reached(a.by) && a.begins(l, w) }) {
			lines = append(lines, verbDeactivate+" "+n.path())
		}
		return true
	})
	return lines
}

// begins says whether lines that an access matches begin with words.
func (a access) begins(words string, w Way) bool {
	re, err := regexp.Compile(strings.ReplaceAll(a.line, "{user}", regexp.QuoteMeta(w.User)))
	if err != nil {
		return false
	}
	first, _ := re.LiteralPrefix()
	return strings.HasPrefix(first, words+" ") || re.MatchString(words+" x")
}

// hasAddress says whether a line gives an interface an address.
func hasAddress(line, host string) bool {
	words := strings.Fields(line)
	i := slices.Index(words, "address")
	return i > 0 && i+1 < len(words) && strings.Split(words[i+1], "/")[0] == host
}

func (d *dialect) accessLine(path string, w Way) bool {
	return slices.ContainsFunc(d.access, func(a access) bool {
		if !w.reached(a.by) || strings.Contains(a.line, "{user}") && w.User == "" || matches(a.except, path) {
			return false
		}
		re, err := wholeLine(strings.ReplaceAll(a.line, "{user}", regexp.QuoteMeta(w.User)))
		return err == nil && re.MatchString(path)
	})
}
