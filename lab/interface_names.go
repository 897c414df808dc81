package lab

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// interfaceNames say which names mean the same interface on the devices of a platform. They
// are for comparison only: devices are sent the names of the inventory, except foreign ones. A
// nil interfaceNames takes each name for another interface.
type interfaceNames struct {
	ignoreCase bool
	// words are the first words of interfaces' names. The beginning of a word stands for the
	// word if no other one begins with it.
	words   []string
	aliases []alias
}

// An alias is another form of an interface's name, as eth{n} is of GigabitEthernet{n+1}.
type alias struct {
	also  *regexp.Regexp
	form  string   // the text from which also was made
	holes []string // the names of its groups
	name  string
	// kinds are the kinds of the topology's nodes that use the form. Without kinds, it is used
	// by all names of the platform's interfaces, also those of the inventory.
	kinds []string
	// foreign says that the device does not know the form, though topologies or its answers
	// have it. The device is sent the name instead.
	foreign bool
}

// nameHoles are the numbers in an alias: {n} is one number, {*} everything that follows, and
// {n+1} is computed.
var nameHoles = regexp.MustCompile(`\{(\*|[a-z])(?:([-+/%])([1-9][0-9]?))?\}`)

var (
	numberedName    = regexp.MustCompile(`^([A-Za-z][A-Za-z-]*) ?([0-9].*)$`)
	interfaceHeader = regexp.MustCompile(`^((?:no |default )?)((?i)int[a-z]*) ([A-Za-z][A-Za-z-]* ?[0-9]\S*)$`)
	zeros           = regexp.MustCompile(`\b0+([0-9])`)
)

// identity returns the same name for all names of an interface. Kind is the kind of the
// topology's node that has the name, or "".
func (n *interfaceNames) identity(kind, name string) string {
	if n == nil {
		return name
	}
	if kind != "" {
		name = n.alias(kind, name)
	}
	if name = n.full(name); n.ignoreCase {
		name = strings.ToLower(name)
	}
	return name
}

// full returns the name as the device shows it in its configuration, if that is known.
func (n *interfaceNames) full(name string) string {
	name = n.alias("", n.own(name))
	if m := numberedName.FindStringSubmatch(name); m != nil {
		if words := n.begin(m[1]); len(words) == 1 {
			return words[0] + zeros.ReplaceAllString(m[2], "$1")
		}
	}
	return name
}

// own returns the device's own name for a foreign one.
func (n *interfaceNames) own(name string) string {
	if n == nil {
		return name
	}
	for _, a := range n.aliases {
		if a.foreign {
			if own, ok := a.of(name); ok {
				return own
			}
		}
	}
	return name
}

// forms returns the names of an interface that the device may show: the given name, the full
// one, and the aliases of the full one.
func (n *interfaceNames) forms(name string) []string {
	all := []string{name}
	if n == nil {
		return all
	}
	name = n.full(name)
	all = append(all, name)
	for _, a := range n.aliases {
		called, holes := formOf(a.name)
		m := called.FindStringSubmatch(name)
		if a.kinds != nil || a.foreign || m == nil || slices.Contains(holes, "") { // a number in it is computed
			continue
		}
		all = append(all, nameHoles.ReplaceAllStringFunc(a.form, func(hole string) string {
			return m[1+slices.Index(holes, nameHoles.FindStringSubmatch(hole)[1])]
		}))
	}
	return all
}

// header returns a line of a configuration as the device shows it, if the line begins the
// block of an interface.
func (n *interfaceNames) header(line string) string {
	m := interfaceHeader.FindStringSubmatch(line)
	if n == nil || m == nil || !strings.HasPrefix("interface", strings.ToLower(m[2])) {
		return line
	}
	return m[1] + "interface " + n.full(m[3])
}

// alias returns the name for which a form stands, or the form itself.
func (n *interfaceNames) alias(kind, form string) string {
	for _, a := range n.aliases {
		if slices.Contains(a.kinds, kind) || kind == "" && a.kinds == nil && !a.foreign {
			if name, ok := a.of(form); ok {
				return name
			}
		}
	}
	return form
}

// of returns the name of the interface of which form is another name.
func (a alias) of(form string) (name string, ok bool) {
	m := a.also.FindStringSubmatch(form)
	if m == nil {
		return "", false
	}
	ok = true
	name = nameHoles.ReplaceAllStringFunc(a.name, func(hole string) string {
		h := nameHoles.FindStringSubmatch(hole)
		value := m[1+slices.Index(a.holes, h[1])]
		if h[1] == "*" {
			return value
		}
		v, _ := strconv.Atoi(value) // a few digits
		by, _ := strconv.Atoi(h[3])
		switch h[2] {
		case "+":
			v += by
		case "-":
			v -= by
		case "/":
			v /= by
		case "%":
			v %= by
		}
		ok = ok && v >= 0
		return strconv.Itoa(v)
	})
	return name, ok
}

// begin returns the words that begin with a text, or only the one that equals it.
func (n *interfaceNames) begin(with string) (all []string) {
	same := func(a, b string) bool { return a == b || n.ignoreCase && strings.EqualFold(a, b) }
	for _, w := range n.words {
		if same(w, with) {
			return []string{w}
		}
		if len(w) > len(with) && same(w[:len(with)], with) {
			all = append(all, w)
		}
	}
	return all
}

// ambiguous returns the interfaces that a name may mean if several words begin like it, or "".
func (n *interfaceNames) ambiguous(name string) string {
	if n == nil {
		return ""
	}
	m := numberedName.FindStringSubmatch(n.alias("", n.own(name)))
	if len(m) == 0 || len(m[1]) < 2 { // one letter is more likely a name that a user gave
		return ""
	}
	words := n.begin(m[1])
	if len(words) < 2 {
		return ""
	}
	return strings.Join(words, m[2]+" or ") + m[2]
}

// identity returns the same port for all names of a port. Kind is as for
// [interfaceNames.identity].
func (inv *Inventory) identity(kind string, p Port) Port {
	if d := inv.Devices[p.Device]; d != nil {
		p.Name = d.names.identity(kind, p.Name)
	}
	return p
}

// wire returns the wire of a device's interface, by any name that nodes of the kind use for
// it. A name of the inventory comes first. If the kind is not known (""), any kind will do
// whose name leads to one interface.
func (inv *Inventory) wire(kind string, p Port) (Wire, bool) {
	w, ok := inv.wired[inv.identity("", p)]
	if ok && (kind == "" || w.A.Name == p.Name) {
		return w, true
	}
	d := inv.Devices[p.Device]
	if kind != "" || d == nil || d.names == nil {
		w, ok = inv.wired[inv.identity(kind, p)]
		return w, ok
	}
	found := map[Port]Wire{}
	for _, a := range d.names.aliases {
		for _, kind := range a.kinds {
			if w, ok := inv.wired[inv.identity(kind, p)]; ok {
				found[w.A] = w
			}
		}
	}
	if len(found) != 1 {
		return Wire{}, false
	}
	for _, w = range found {
	}
	return w, true
}

// readInterfaces reads from a platform's file which names mean the same interface. It passes
// over faults; loading the platform reports them.
func readInterfaces(dir, platform string) (n *interfaceNames) {
	data, err := builtIn.ReadFile("platforms/" + platform + ".yaml")
	if dir != "" {
		if own, ownErr := os.ReadFile(filepath.Join(dir, platform+".yaml")); ownErr == nil {
			data, err = own, nil
		}
	}
	if err != nil {
		return nil
	}
	r := &reader{}
	if root := r.Root(data); root != nil {
		r.Mapping(root, "the platform", func(k, v *yaml.Node) {
			if k.Value == "interfaces" {
				n = r.interfaces(v)
			}
		})
	}
	return n
}

// formOf makes a pattern from a form, and returns the names of its groups. The name "" is that
// of a group that must not be there.
func formOf(form string) (*regexp.Regexp, []string) {
	var b strings.Builder
	var holes []string
	end := 0
	for _, m := range nameHoles.FindAllStringSubmatchIndex(form, -1) {
		name := form[m[2]:m[3]]
		b.WriteString(regexp.QuoteMeta(form[end:m[0]]) + ifElse(name == "*", "([0-9].*)", "([0-9]{1,6})"))
		holes = append(holes, ifElse(m[4] >= 0, "", name))
		end = m[1]
	}
	return regexp.MustCompile("^" + b.String() + regexp.QuoteMeta(form[end:]) + "$"), holes
}
