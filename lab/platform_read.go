package lab

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// parse reads a platform's file and returns the name of its dialog.
func (p *Platform) parse(r *reader, root *yaml.Node) (dialog string) {
	dialog = p.Name
	d := &p.dialect
	d.style = commands
	p.ports = portStyle{trunk: "{port}", access: "{port}", separator: ","}
	d.volatile = slices.Clone(headings)
	r.Mapping(root, "the platform", func(k, v *yaml.Node) {
		switch k.Value {
		case "dialog":
			dialog = r.Word(v, "dialog", checkName)
		case "kinds":
			for _, e := range r.List(v, "kinds") {
				p.Kinds = append(p.Kinds, strings.ToLower(r.Word(e, "kinds", checkName)))
			}
		case "tried":
			if p.Tried = r.Text(v, "tried"); !slices.Contains([]string{triedDevice, triedEmulated, triedModel}, p.Tried) {
				r.Fault(v, "tried: must be %s, %s or %s", triedDevice, triedEmulated, triedModel)
			}
		case "manual":
			p.Manual = strings.TrimSpace(r.Text(v, "manual"))
		case "vlan":
			p.parts[partVLAN] = r.part(v, "vlan: ")
		case "access":
			p.parts[partAccess] = r.part(v, "access: ")
		case "trunk":
			p.parts[partTrunk] = r.part(v, "trunk: ")
		case "ports":
			r.portStyle(v, &p.ports)
		case "interfaces":
			d.names = r.interfaces(v)
		case "style":
			d.style = style(r.Text(v, "style"))
			if !slices.Contains([]style{indented, setStyle, menus, commands}, d.style) {
				r.Fault(v, "style: must be %s, %s, %s or %s", indented, setStyle, menus, commands)
			}
		case "running":
			d.running = r.Word(v, "running", checkLine)
		case "exit":
			d.exit = r.Word(v, "exit", checkLine)
		case "modes":
			d.modes = r.patterns(v, "modes")
		case "complete":
			d.lastLine = r.pattern(v, "complete")
		case "standard":
			d.hasDefault = r.boolean(v, "standard")
		case "shown":
			for _, e := range r.List(v, "shown") {
				d.shown = append(d.shown, r.shown(e))
			}
		case "lists":
			if d.lists = r.patterns(v, "lists"); slices.ContainsFunc(d.lists, func(re *regexp.Regexp) bool { return re.NumSubexp() < 2 }) {
				r.Fault(v, "lists: each must have a group before the values, and one around them")
				d.lists = nil
			}
		case "single":
			d.single = r.patterns(v, "single")
		case "ordered":
			for _, e := range r.List(v, "ordered") {
				d.ordered = append(d.ordered, r.ordered(e))
			}
		case "refused":
			for _, e := range r.List(v, "refused") {
				d.refused = append(d.refused, r.refusal(e))
			}
		case "access_path":
			for _, e := range r.List(v, "access_path") {
				d.accessRules = append(d.accessRules, r.accessRule(e))
			}
		case "volatile":
			d.volatile = append(d.volatile, r.patterns(v, "volatile")...)
		case "unshown":
			d.unshown = r.patterns(v, "unshown")
		case "inverse":
			for _, e := range r.List(v, "inverse") {
				d.inverse = append(d.inverse, r.inverse(e))
			}
		case "sets":
			d.sets = r.sets(v)
		case "defaults":
			for _, e := range r.List(v, "defaults") {
				d.defaults = append(d.defaults, r.defaults(e))
			}
		case "settings":
			p.settings = map[string]string{}
			r.named(v, "settings", func(k, v *yaml.Node) {
				if slices.Contains(reservedNames, k.Value) {
					r.Fault(k, "settings: {%s} comes from the plan; choose another name", k.Value)
				}
				p.settings[k.Value] = r.Word(v, "settings: "+k.Value, checkLine)
			})
		case "commands":
			for _, e := range r.List(v, "commands") {
				d.commands = append(d.commands, r.command(e))
			}
		default:
			r.unknown(k, "", "dialog, kinds, tried, manual, interfaces, vlan, access, trunk, ports, style, running, complete, exit, modes, standard, volatile, unshown, shown, lists, single, ordered, refused, access_path, inverse, sets, defaults, settings and commands")
		}
	})
	if d.style == setStyle && slices.ContainsFunc(d.inverse, func(i inverse) bool { return i.in != nil || i.keep || len(i.undo) == 0 }) {
		r.Fault(root, "inverse: with style set, each entry has a line, as the device shows it, and undo")
	}
	if d.style != commands && d.running == "" {
		r.Fault(root, "has no running: the command that shows the configuration")
	}
	return dialog
}

// headings are lines that devices of any platform put above a configuration. IOS shows the
// second and third with "exec prompt timestamp".
var headings = []*regexp.Regexp{
	regexp.MustCompile(`^(Building configuration\.\.\.|Current configuration ?:.*)$`),
	regexp.MustCompile(`^Load for five secs: .*$`),
	regexp.MustCompile(`^Time source is .*$`),
}

func (r *reader) texts(n *yaml.Node, what string) (all []string) {
	for _, e := range r.List(n, what) {
		all = append(all, r.Word(e, what, checkLine))
	}
	return all
}

// wholeLine compiles a pattern that must match a whole line.
func wholeLine(expr string) (*regexp.Regexp, error) { return regexp.Compile(`^(?:` + expr + `)$`) }

func (r *reader) patterns(n *yaml.Node, what string) (all []*regexp.Regexp) {
	for _, e := range r.List(n, what) {
		if re := r.pattern(e, what); re != nil {
			all = append(all, re)
		}
	}
	return all
}

func (r *reader) pattern(n *yaml.Node, what string) *regexp.Regexp {
	re, err := wholeLine(r.Text(n, what))
	if err != nil {
		r.Fault(n, "%s: %v", what, err)
		return nil
	}
	return re
}

// beginning reads a pattern for the first words of a line.
func (r *reader) beginning(n *yaml.Node, what string) *regexp.Regexp {
	re, err := regexp.Compile("^(?:" + r.Text(n, what) + ")(?: |$)")
	if err != nil {
		r.Fault(n, "%s: %v", what, err)
		return nil
	}
	return re
}

// lines reads patterns that may have holes, and returns them as they are in the file.
func (r *reader) lines(n *yaml.Node, what string) (all []string) {
	for _, t := range r.texts(n, what) {
		if _, err := wholeLine(holes.ReplaceAllString(t, "1")); err != nil {
			r.Fault(n, "%s: %v", what, err)
		}
		all = append(all, t)
	}
	return all
}

func (r *reader) part(n *yaml.Node, what string) (p part) {
	r.Mapping(n, strings.TrimSuffix(what, ": "), func(k, v *yaml.Node) {
		switch k.Value {
		case "apply":
			p.apply = r.texts(v, what+"apply")
		case "undo":
			p.undo = r.texts(v, what+"undo")
		case "checks":
			for _, e := range r.List(v, what+"checks") {
				p.checks = append(p.checks, r.check(e, what+"checks: "))
			}
		default:
			r.unknown(k, what, "apply, undo and checks")
		}
	})
	if len(p.apply) > 0 && (len(p.undo) == 0 || len(p.checks) == 0) {
		r.Fault(n, "%smust have undo and checks, too: nothing is applied that can't be undone and verified", what)
		return p
	}
	if len(p.apply) == 0 && len(p.undo) > 0 && !r.kept {
		r.Fault(n, "%shas undo and no apply", what)
	}
	has := func(lines func(check) []string) bool {
		return slices.ContainsFunc(p.checks, func(c check) bool { return c.lists()+len(lines(c)) > 0 })
	}
	if len(p.checks) > 0 && !r.kept {
		if !has(func(c check) []string { return c.applied }) {
			r.Fault(n, "%schecks: none has applied, a line that is there when it is applied", what)
		}
		if !has(func(c check) []string { return c.clean }) {
			r.Fault(n, "%schecks: none has clean, a line that is there when it is undone", what)
		}
		if !slices.ContainsFunc(p.checks, check.distinguishes) {
			r.Fault(n, "%schecks: applied and clean are the same, so no check distinguishes them", what)
		}
	}
	return p
}

// distinguishes reports whether the check can distinguish an applied part from an undone one.
func (c check) distinguishes() bool {
	return c.lists() > 0 || !slices.Equal(c.applied, c.clean) || !slices.Equal(c.appliedNot, c.cleanNot)
}

// lists returns how many lists the check reads.
func (c check) lists() int { return len(c.ids) + len(c.ports) }

func (r *reader) portStyle(n *yaml.Node, s *portStyle) {
	r.Mapping(n, "ports", func(k, v *yaml.Node) {
		switch k.Value {
		case "trunk":
			s.trunk = r.Word(v, "ports: trunk", checkLine)
		case "access":
			s.access = r.Word(v, "ports: access", checkLine)
		case "separator":
			s.separator = r.Word(v, "ports: separator", checkLine)
		default:
			r.unknown(k, "ports: ", "trunk, access and separator")
		}
	})
	for _, form := range []string{s.trunk, s.access} {
		if strings.Count(form, "{port}") != 1 || len(holes.FindAllString(form, -1)) != 1 {
			r.Fault(n, "ports: %.80q: must have {port} once, and nothing else in braces", form)
		}
	}
}

// provesNothing adds a fault if there are only lines that must not be there.
func (r *reader) provesNothing(n *yaml.Node, what, key string, lines, not int) {
	if not > 0 && lines == 0 && !r.kept {
		r.Fault(n, "%[1]s%[2]s_not: proves nothing alone, because an empty answer has no such line either; add %[2]s with a line that is there then, such as the port's name, preferably one at the end of the answer", what, key)
	}
}

func (r *reader) check(n *yaml.Node, what string) (c check) {
	var both, bothNot []string
	r.Mapping(n, strings.TrimSuffix(what, ": "), func(k, v *yaml.Node) {
		in := what + k.Value
		switch k.Value {
		case "show":
			c.show = r.Word(v, in, checkLine)
		case "applied":
			c.applied = r.lines(v, in)
		case "clean":
			c.clean = r.lines(v, in)
		case "applied_not":
			c.appliedNot = r.lines(v, in)
		case "clean_not":
			c.cleanNot = r.lines(v, in)
		case "both":
			both = r.lines(v, in)
		case "both_not":
			bothNot = r.lines(v, in)
		case "ids":
			c.ids = r.listing(v, in)
		case "ports":
			c.ports = r.listing(v, in)
		default:
			r.unknown(k, what, "show, applied, applied_not, clean, clean_not, both, both_not, ids and ports")
		}
	})
	c.applied, c.clean = slices.Concat(both, c.applied), slices.Concat(both, c.clean)
	c.appliedNot, c.cleanNot = slices.Concat(bothNot, c.appliedNot), slices.Concat(bothNot, c.cleanNot)
	if c.show == "" {
		r.Fault(n, "%shas no show", what)
	}
	if len(c.ports) > 0 && what == "vlan: checks: " {
		r.Fault(n, "%sports: the definition of a VLAN has no ports; list them in access and trunk", what)
	}
	r.provesNothing(n, what, "applied", len(c.applied)+c.lists(), len(c.appliedNot))
	r.provesNothing(n, what, "clean", len(c.clean)+c.lists(), len(c.cleanNot))
	return c
}

// listing reads a pattern with one group, around a list.
func (r *reader) listing(v *yaml.Node, what string) []string {
	all := r.lines(&yaml.Node{Kind: yaml.SequenceNode, Content: []*yaml.Node{v}, Line: v.Line}, what)
	if re, err := wholeLine(holes.ReplaceAllString(all[0], "1")); err == nil && re.NumSubexp() != 1 {
		r.Fault(v, "%s: must have one group, around the list", what)
	}
	return all
}

func (r *reader) inverse(n *yaml.Node) (i inverse) {
	r.Mapping(n, "inverse", func(k, v *yaml.Node) {
		switch k.Value {
		case "line":
			i.line = r.pattern(v, "inverse: line")
		case "in":
			i.in = r.pattern(v, "inverse: in")
		case "keep":
			i.keep = r.boolean(v, "inverse: keep")
		case "undo":
			i.undo = r.texts(v, "inverse: undo")
		default:
			r.unknown(k, "inverse: ", "line, in, keep and undo")
		}
	})
	if i.line == nil {
		r.Fault(n, "inverse: has no line")
		i.line = regexp.MustCompile(`^$`)
	}
	return i
}

func (r *reader) shown(n *yaml.Node) (s shown) {
	r.Mapping(n, "shown", func(k, v *yaml.Node) {
		switch k.Value {
		case "line":
			s.line = r.pattern(v, "shown: line")
		case "in":
			s.in = r.pattern(v, "shown: in")
		case "as":
			s.as = r.texts(v, "shown: as")
			for _, as := range s.as {
				if _, err := wholeLine(group.ReplaceAllString(as, "1")); err != nil {
					r.Fault(v, "shown: as: %v", err)
				}
			}
		default:
			r.unknown(k, "shown: ", "line, in and as")
		}
	})
	if s.line == nil {
		r.Fault(n, "shown: has no line")
		s.line = matchesNothing
	}
	return s
}

// matchesNothing replaces a missing pattern, after its fault was noted.
var matchesNothing = regexp.MustCompile(`^$`)

func (r *reader) ordered(n *yaml.Node) (o ordered) {
	r.Mapping(n, "ordered", func(k, v *yaml.Node) {
		switch k.Value {
		case "line":
			o.line = r.pattern(v, "ordered: line")
		case "block":
			o.blocks = r.boolean(v, "ordered: block")
		case "spare":
			o.spare = r.Word(v, "ordered: spare", checkLine)
		case "used_by":
			o.references = r.lines(v, "ordered: used_by")
		default:
			r.unknown(k, "ordered: ", "line, block, spare and used_by")
		}
	})
	if o.line == nil || o.line.NumSubexp() < 1 {
		r.Fault(n, "ordered: must have a line with a group, around what removes the object")
		o.line = regexp.MustCompile(`^()$`)
	}
	if o.spare != "" && o.line.NumSubexp() < 2 {
		r.Fault(n, "ordered: where there is a spare, the line's second group must be the object's name")
		o.spare = ""
	}
	return o
}

func (r *reader) refusal(n *yaml.Node) (f refusal) {
	r.Mapping(n, "refused", func(k, v *yaml.Node) {
		switch k.Value {
		case "line":
			f.line = r.pattern(v, "refused: line")
		case "why":
			f.why = r.Text(v, "refused: why")
		default:
			r.unknown(k, "refused: ", "line and why")
		}
	})
	if f.line == nil || f.why == "" {
		r.Fault(n, "refused: must have a line, and why it is refused")
		f.line = matchesNothing
	}
	return f
}

func (r *reader) accessRule(n *yaml.Node) (a accessRule) {
	r.Mapping(n, "access_path", func(k, v *yaml.Node) {
		switch k.Value {
		case "by":
			if a.by = r.Text(v, "access_path: by"); !slices.Contains(accessKinds, a.by) {
				r.Fault(v, "access_path: by: must be one of %s", strings.Join(accessKinds, ", "))
			}
		case "line":
			if lines := r.lines(&yaml.Node{Kind: yaml.SequenceNode, Content: []*yaml.Node{v}, Line: v.Line}, "access_path: line"); len(lines) == 1 {
				a.line = lines[0]
			}
		case "except":
			a.except = r.patterns(v, "access_path: except")
		case "if_new":
			a.ifNew = r.boolean(v, "access_path: if_new")
		default:
			r.unknown(k, "access_path: ", "by, line, except and if_new")
		}
	})
	if a.by == "" || a.line == "" {
		r.Fault(n, "access_path: must have by and line")
	}
	return a
}

// sets reads what is particular to a platform of style "set".
func (r *reader) sets(n *yaml.Node) (f setSyntax) {
	words := func(v *yaml.Node, what string) map[string]bool { return setOf(r.Text(v, what)) }
	r.Mapping(n, "sets", func(k, v *yaml.Node) {
		in := "sets: " + k.Value
		switch k.Value {
		case "root":
			f.root = r.Word(v, in, checkLine)
		case "marks":
			f.marks = r.boolean(v, in)
		case "shell":
			f.shell = r.boolean(v, in)
		case "lists":
			f.lists = r.boolean(v, in)
		case "braces":
			f.braces = r.boolean(v, in)
		case "move":
			f.move = r.Word(v, in, checkLine)
		case "interface":
			f.iface = r.pattern(v, in)
		case "group":
			f.group = r.beginning(v, in)
		case "named":
			f.named = words(v, in)
		case "may_name":
			f.mayName = words(v, in)
		case "names":
			f.wordy = map[string]int{}
			r.Mapping(v, in, func(k, v *yaml.Node) { f.wordy[k.Value] = r.number(v, in, 1, 9) })
		case "ordered":
			f.objects = words(v, in)
		case "ordered_values":
			f.sequences = words(v, in)
		default:
			r.unknown(k, "sets: ", "root, marks, shell, lists, braces, move, interface, group, named, may_name, names, ordered and ordered_values")
		}
	})
	return f
}

// defaults reads the values of properties that the device does not show.
func (r *reader) defaults(n *yaml.Node) (u defaults) {
	u.values = map[string]string{}
	r.Mapping(n, "defaults", func(k, v *yaml.Node) {
		switch k.Value {
		case "line":
			u.line = r.pattern(v, "defaults: line")
		case "values":
			r.Mapping(v, "defaults: values", func(k, v *yaml.Node) { u.values[k.Value] = r.Text(v, "defaults: values: "+k.Value) })
		default:
			r.unknown(k, "defaults: ", "line and values")
		}
	})
	if u.line == nil {
		r.Fault(n, "defaults: has no line")
		u.line = matchesNothing
	}
	return u
}

func (r *reader) command(n *yaml.Node) (c command) {
	r.Mapping(n, "commands", func(k, v *yaml.Node) {
		in := "commands: " + k.Value
		switch k.Value {
		case "line":
			c.line = r.pattern(v, in)
		case "apply":
			c.apply = r.texts(v, in)
		case "undo":
			c.undo = r.texts(v, in)
		case "stays":
			c.stays = r.boolean(v, in)
		case "show":
			c.show = r.Word(v, in, checkLine)
		case "applied":
			c.applied = r.texts(v, in)
		case "clean":
			c.clean = r.texts(v, in)
		case "clean_not":
			c.cleanNot = r.texts(v, in)
		default:
			r.unknown(k, "commands: ", "line, apply, undo, stays, show, applied, clean and clean_not")
		}
	})
	if c.line == nil {
		r.Fault(n, "commands: has no line")
		c.line = regexp.MustCompile(`^$`)
	}
	r.provesNothing(n, "commands: ", "clean", len(c.clean), len(c.cleanNot))
	return c
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
		// Aliases are not followed twice.
		if name := nameHoles.ReplaceAllString(a.name, "7"); n.alias("", name) != name && a.kinds == nil && !a.foreign {
			r.Fault(node, "interfaces: aliases: %s is an alias itself; write the name for which that stands", a.name)
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
		r.Fault(n, "%s: foreign: forms with kinds are always foreign", what)
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
