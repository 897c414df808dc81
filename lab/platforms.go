package lab

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"activationd/device"
	"activationd/internal/fault"
)

//go:embed platforms/*.yaml
var builtIn embed.FS

// BuiltInPlatforms returns the names of the platforms that come with the program,
// sorted.
func BuiltInPlatforms() []string {
	entries, _ := builtIn.ReadDir("platforms") // it is there, or this would not compile
	var names []string
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), ".yaml"))
	}
	return names
}

// A Platform is how a kind of device is configured for links, and how configurations
// are undone on it.
type Platform struct {
	Name   string
	Dialog device.Platform
	// Kinds are containerlab's kinds of nodes that such a device may be, exactly. A
	// platform's own name is one besides.
	Kinds []string
	// Tried is on what it was tried: "device", "emulated", "model" or "" (unknown).
	Tried string
	// Manual says by which manual it was written.
	Manual string
	// Files are the user's own that it was read from, by name, or none.
	Files map[string][]byte

	vlan, access, trunk part
	ports               portStyle
	dialect             dialect
	// settings are those of a device for which the inventory has none.
	settings map[string]string
}

// A part of a switch's work: what defines a VLAN, or puts it on a port. {vlan},
// {port}, {port.any}, {ports}, {access_ports}, {link} and {NAME} of a setting stand for
// what they name. A part may have checks alone: what they prove is another part's work.
type part struct {
	apply, undo []string
	checks      []check
}

// A check is a command and what must be seen when a part is applied, and when it is
// undone: patterns for whole lines that must or must not be there, or one whose group
// lists the VLAN ids of a port, or the ports of a VLAN. Where something must not be there, something must
// be: a check that only says what must not is content with an empty answer.
type check struct {
	show                             string
	applied, clean                   []string
	appliedNot, cleanNot, ids, ports []string
}

// LoadPlatform reads a platform: the user's own NAME.yaml in dir, if there is one, or
// else the one that comes with the program. Its dialog is NAME.dialog.yaml beside it,
// or the one that its key dialog names, there or in the program. Faults are told as by [ReadInventory].
func LoadPlatform(dir, name string) (*Platform, error) { return loadPlatform(dir, name, false) }

// loadPlatform takes, of a plan that is kept, a platform with checks that prove little,
// too: what was applied with them must come off.
func loadPlatform(dir, name string, kept bool) (*Platform, error) {
	p := &Platform{Name: name, Files: map[string][]byte{}}
	if err := checkName(name); err != nil {
		return nil, fmt.Errorf("platform: %w: %w", err, fault.Invalid)
	}
	own := func(file string) ([]byte, error) {
		if dir == "" {
			return nil, fs.ErrNotExist
		}
		data, err := os.ReadFile(filepath.Join(dir, file))
		if err == nil {
			p.Files[file] = data
		}
		return data, err
	}
	file := filepath.Join(dir, name+".yaml")
	data, err := own(name + ".yaml")
	if errors.Is(err, fs.ErrNotExist) {
		file = "platforms/" + name + ".yaml"
		if data, err = builtIn.ReadFile(file); err != nil {
			return nil, fmt.Errorf("platform %s: there are %s: %w", name, strings.Join(BuiltInPlatforms(), ", "), fault.NotFound)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, fault.Unavailable)
	}
	r := &reader{kept: kept}
	r.Faults.File = file
	dialog := name
	if root := r.Root(data); root != nil {
		dialog = p.parse(r, root)
	}
	if err := r.Faults.Err(); err != nil {
		return nil, err
	}
	for _, of := range []string{name, dialog} {
		switch data, err := own(of + ".dialog.yaml"); {
		case err == nil:
			p.Dialog, err = device.ParsePlatform(filepath.Join(dir, of+".dialog.yaml"), data)
			p.Dialog.Name = name
			return p, err
		case !errors.Is(err, fs.ErrNotExist):
			return nil, fmt.Errorf("%w: %w", err, fault.Unavailable)
		}
	}
	if p.Dialog, err = device.BuiltIn(dialog); err != nil {
		err = fmt.Errorf("%s: dialog: there is no %s.dialog.yaml beside it; %w", file, dialog, err)
	}
	return p, err
}

// parse reads the file, and returns the name of its dialog.
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
			p.vlan = r.part(v, "vlan: ")
		case "access":
			p.access = r.part(v, "access: ")
		case "trunk":
			p.trunk = r.part(v, "trunk: ")
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
			d.complete = r.pattern(v, "complete")
		case "standard":
			d.standard = r.boolean(v, "standard")
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
				d.access = append(d.access, r.access(e))
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
				if slices.Contains(planned, k.Value) {
					r.Fault(k, "settings: {%s} comes from the plan; call it otherwise", k.Value)
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
		r.Fault(root, "inverse: with style set each has a line, as the device shows it, and undo")
	}
	if d.style != commands && d.running == "" {
		r.Fault(root, "has no running, the command that shows the configuration")
	}
	return dialog
}

// headings are what devices put above a configuration, whatever their platform; IOS
// the second and third with "exec prompt timestamp".
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

// wholeLine compiles a pattern that has to match all of a line.
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

// What a platform may have been tried on.
const (
	triedDevice   = "device"   // the real hardware or software
	triedEmulated = "emulated" // its software on an emulated machine
	triedModel    = "model"    // nothing but a model, written by the manual
)

// beginning is a pattern for the words that a line begins with.
func (r *reader) beginning(n *yaml.Node, what string) *regexp.Regexp {
	re, err := regexp.Compile("^(?:" + r.Text(n, what) + ")(?: |$)")
	if err != nil {
		r.Fault(n, "%s: %v", what, err)
		return nil
	}
	return re
}

// holes are the {names} in a template, and the {{words}} that stand for {words}.
var holes = regexp.MustCompile(`\{\{[A-Za-z][A-Za-z0-9._-]*\}\}|\{[A-Za-z][A-Za-z0-9._-]*\}`)

// lines are patterns that may have holes, as they are in the file.
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
		r.Fault(n, "%smust have undo and checks, too: what can't be undone and proved isn't applied", what)
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
		if !slices.ContainsFunc(p.checks, check.tells) {
			r.Fault(n, "%schecks: applied and clean are the same, so nothing tells one from the other", what)
		}
	}
	return p
}

// tells reports whether the check may tell what is applied from what is undone.
func (c check) tells() bool {
	return c.lists() > 0 || !slices.Equal(c.applied, c.clean) || !slices.Equal(c.appliedNot, c.cleanNot)
}

// lists is how many lists the check reads.
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

// positive is a fault where only lines that must not be there are given.
func (r *reader) positive(n *yaml.Node, what, key string, lines, not int) {
	if not > 0 && lines == 0 && !r.kept {
		r.Fault(n, "%[1]s%[2]s_not: proves nothing alone, because an empty answer has no such line either; add %[2]s with a line that is there then, such as the port's name, best one at the end of the answer", what, key)
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
		r.Fault(n, "%sports: a VLAN is defined for no port; say it of access and trunk", what)
	}
	r.positive(n, what, "applied", len(c.applied)+c.lists(), len(c.appliedNot))
	r.positive(n, what, "clean", len(c.clean)+c.lists(), len(c.cleanNot))
	return c
}

// listing is a pattern with one group, around a list.
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
		s.line = nothing
	}
	return s
}

// nothing stands for a pattern that lacks, after the fault was noted.
var nothing = regexp.MustCompile(`^$`)

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
		f.line = nothing
	}
	return f
}

func (r *reader) access(n *yaml.Node) (a access) {
	r.Mapping(n, "access_path", func(k, v *yaml.Node) {
		switch k.Value {
		case "by":
			if a.by = r.Text(v, "access_path: by"); !slices.Contains(accesses, a.by) {
				r.Fault(v, "access_path: by: must be one of %s", strings.Join(accesses, ", "))
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

// sets reads what a platform of style "set" has of its own.
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

// defaults reads what properties are where nothing is shown.
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
		u.line = nothing
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
	r.positive(n, "commands: ", "clean", len(c.clean), len(c.cleanNot))
	return c
}

// platforms loads each once.
func platforms(dir string, names []string, kept bool) (map[string]*Platform, error) {
	all := map[string]*Platform{}
	var errs []error
	for _, name := range names {
		if all[name] != nil {
			continue
		}
		p, err := loadPlatform(dir, name, kept)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		all[name] = p
	}
	return all, errors.Join(errs...)
}

// Platforms loads those that the inventory's devices have.
func (inv *Inventory) Platforms() (map[string]*Platform, error) {
	names := map[string]bool{}
	for _, d := range inv.Devices {
		names[d.Platform] = true
	}
	return platforms(inv.Templates, slices.Sorted(maps.Keys(names)), false)
}
