package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// interfaceNames say which names are one interface on the devices of a platform. They are
// for comparison only: a device is sent the name that the inventory has, unless that is
// foreign to it. None (nil) says that each name is another interface.
type interfaceNames struct {
	ignoreCase bool
	// words are what interfaces' names begin with. A beginning of one of them that is no
	// beginning of another stands for it.
	words   []string
	aliases []alias
}

// An alias is another form of an interface's name, as eth{n} is of GigabitEthernet{n+1}.
type alias struct {
	also  *regexp.Regexp
	form  string   // what also was made of
	holes []string // what its groups are called
	name  string
	// kinds are those of a topology's nodes that name their interfaces so; none: all names
	// of the platform's interfaces, the inventory's too.
	kinds []string
	// foreign says that the device does not know the form, though topologies or answers
	// have it: it is sent the name.
	foreign bool
}

// nameHoles are the numbers in an alias: {n} is one, {*} all that follows, and {n+1} is
// computed.
var nameHoles = regexp.MustCompile(`\{(\*|[a-z])(?:([-+/%])([1-9][0-9]?))?\}`)

var (
	numberedName    = regexp.MustCompile(`^([A-Za-z][A-Za-z-]*) ?([0-9].*)$`)
	interfaceHeader = regexp.MustCompile(`^((?:no |default )?)((?i)int[a-z]*) ([A-Za-z][A-Za-z-]* ?[0-9]\S*)$`)
	zeros           = regexp.MustCompile(`\b0+([0-9])`)
)

// identity returns the same name for all names of an interface. Kind is that of the
// topology's node which has the name, or "".
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

// full returns a name as the device shows it in its configuration, if it is known.
func (n *interfaceNames) full(name string) string {
	name = n.alias("", n.own(name))
	if m := numberedName.FindStringSubmatch(name); m != nil {
		if words := n.begin(m[1]); len(words) == 1 {
			return words[0] + zeros.ReplaceAllString(m[2], "$1")
		}
	}
	return name
}

// own returns a name that the device knows for one that is foreign to it.
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

// forms returns the names of an interface that the device may show: the given one, the
// full one, and the aliases of that.
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

// header returns a line of a configuration, if an interface's block begins with it, as the
// device shows it.
func (n *interfaceNames) header(line string) string {
	m := interfaceHeader.FindStringSubmatch(line)
	if n == nil || m == nil || !strings.HasPrefix("interface", strings.ToLower(m[2])) {
		return line
	}
	return m[1] + "interface " + n.full(m[3])
}

// alias returns the name that another form stands for, or that form.
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

// of returns what an interface is called that has another form of name.
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
		v, _ := strconv.Atoi(value) // digits, and few of them
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

// begin returns the words that begin so, or the only one that is so.
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

// ambiguous says which interfaces a name may be, if its word begins several; else "".
func (n *interfaceNames) ambiguous(name string) string {
	if n == nil {
		return ""
	}
	m := numberedName.FindStringSubmatch(n.alias("", n.own(name)))
	if len(m) == 0 || len(m[1]) < 2 { // one letter is somebody's own name rather
		return ""
	}
	words := n.begin(m[1])
	if len(words) < 2 {
		return ""
	}
	return strings.Join(words, m[2]+" or ") + m[2]
}

// identity returns the same port for all names of it. Kind is as of
// [interfaceNames.identity].
func (inv *Inventory) identity(kind string, p Port) Port {
	if d := inv.Devices[p.Device]; d != nil {
		p.Name = d.names.identity(kind, p.Name)
	}
	return p
}

// wire returns the wire of a device's interface, whatever it is called by nodes of a kind.
// Before all else a name is what the inventory calls so. If the kind is not known ("") it
// is any that leads to one interface.
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

// readInterfaces reads of a platform's file which names are one interface. Who loads the
// platform gets a fault that says what is wrong with it.
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

func (r *reader) interfaces(node *yaml.Node) *interfaceNames {
	n := &interfaceNames{}
	r.Mapping(node, "interfaces", func(k, v *yaml.Node) {
		switch k.Value {
		case "ignore_case":
			n.ignoreCase = r.boolean(v, "interfaces: ignore_case")
		case "words":
			for _, e := range r.List(v, "interfaces: words") {
				n.words = append(n.words, r.Word(e, "interfaces: words", checkWord))
			}
		case "aliases":
			for _, e := range r.List(v, "interfaces: aliases") {
				n.aliases = append(n.aliases, r.aliases(e)...)
			}
		default:
			r.unknown(k, "interfaces: ", "ignore_case, words and aliases")
		}
	})
	for i, a := range n.aliases {
		if n.ignoreCase {
			n.aliases[i].also = regexp.MustCompile("(?i)" + a.also.String())
		}
	}
	for _, a := range n.aliases {
		// One that leads to another would be followed by nobody.
		if name := nameHoles.ReplaceAllString(a.name, "7"); n.alias("", name) != name && a.kinds == nil && !a.foreign {
			r.Fault(node, "interfaces: aliases: %s is an alias itself; write what that stands for", a.name)
		}
	}
	return n
}

func checkWord(s string) error {
	if !numberedName.MatchString(s+"0") || strings.ContainsAny(s, " 0123456789") {
		return fmt.Errorf("%.80q: must be letters, as in GigabitEthernet", s)
	}
	return nil
}

func (r *reader) aliases(n *yaml.Node) (all []alias) {
	const what = "interfaces: aliases"
	var one alias
	var also []string
	known := r.Found
	r.Mapping(n, what, func(k, v *yaml.Node) {
		switch k.Value {
		case "name":
			one.name = r.Word(v, what+": name", checkLine)
		case "also":
			also = r.texts(v, what+": also")
		case "kinds":
			for _, e := range r.List(v, what+": kinds") {
				one.kinds = append(one.kinds, strings.ToLower(r.Word(e, what+": kinds", checkName)))
			}
		case "foreign":
			one.foreign = r.boolean(v, what+": foreign")
		default:
			r.unknown(k, what+": ", "name, also, kinds and foreign")
		}
	})
	if r.Found > known {
		return nil
	}
	if one.name == "" || len(also) == 0 {
		r.Fault(n, "%s: must have name and also", what)
	}
	if one.foreign && one.kinds != nil {
		r.Fault(n, "%s: foreign: forms of kinds are foreign in any case", what)
	}
	for _, form := range also {
		a := one
		a.form = form
		a.also, a.holes = formOf(form)
		if slices.Contains(a.holes, "") || len(slices.Compact(slices.Sorted(slices.Values(a.holes)))) < len(a.holes) {
			r.Fault(n, "%s: also: %s: the numbers in it are {a} to {z}, each once, and {*} for all that follows", what, form)
			continue
		}
		for _, h := range nameHoles.FindAllStringSubmatch(a.name, -1) {
			if !slices.Contains(a.holes, h[1]) || h[1] == "*" && h[2] != "" {
				r.Fault(n, "%s: name: %s: is not in %s", what, h[0], form)
				return all
			}
		}
		all = append(all, a)
	}
	return all
}

// formOf makes a pattern of a form, and says what its groups are called: "" is one that
// must not be there.
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
