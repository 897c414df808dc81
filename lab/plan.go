package lab

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"activationd/internal/fault"
	"activationd/topology"
)

// A Plan is all that a lab needs of its devices.
type Plan struct {
	Activation string
	Lab        string // the topology's name
	Mapping    Mapping
	Links      []PlannedLink
	Devices    []DevicePlan // sorted by name
	Notices    []string     // what was ignored
}

// A DevicePlan is what one device is sent, and what it has to say then.
type DevicePlan struct {
	Name, Platform string
	// Apply is sent to configure it, and Undo to make it what it was.
	Apply, Undo []string
	// Applied and Clean are what is to be seen after each.
	Applied, Clean []Check
	// Whole says that the device is lent as a whole: all of Apply is to be seen in its
	// configuration, and after Undo that is what it was before.
	Whole bool
	// Bare says that the device is lent, but has no configuration as a whole that could
	// be compared: what undoes its lines makes it what it was only if it was clean.
	Bare bool
	// Unverified are lines of Apply that can't be seen, or not as they were written.
	Unverified []string
	// Duration is the least time that Apply takes, by the pace of the device.
	Duration time.Duration
	// Way is how the device is reached.
	Way Way
}

// A Check is a command to a device and what its answer must be like. Patterns are
// regular expressions for whole lines, without the blanks around them.
type Check struct {
	About string   `json:"about"` // what it proves: a port, a node
	Show  string   `json:"show"`
	Lines []string `json:"lines,omitempty"` // each has to match a line
	None  []string `json:"none,omitempty"`  // none may match a line
	// IDs has a group, which lists VLAN ids. Some line has to match; Has is one of the
	// ids, or Not is none of them.
	IDs string `json:"ids,omitempty"`
	Has int    `json:"has,omitempty"`
	Not int    `json:"not,omitempty"`
	// Ports has a group, which lists ports. Some line has to match; HasPort, a pattern, is
	// for one of them, or NotPort is for none.
	Ports   string `json:"ports,omitempty"`
	HasPort string `json:"has_port,omitempty"`
	NotPort string `json:"not_port,omitempty"`
	// Undo are the lines that a clean check proves, of a part that stays if the device had
	// it before.
	Undo []string `json:"undo,omitempty"`
}

// An Input is all that a plan is made of.
type Input struct {
	Activation string
	Inventory  *Inventory
	Platforms  map[string]*Platform
	Topology   *topology.Topology
	Mapping    Mapping
	Links      []PlannedLink // of Route, with their VLANs
}

// Generate makes a plan. It is pure. The kind of its error is [fault.Invalid].
func Generate(in Input) (*Plan, error) {
	g := &generator{Input: in, devices: map[string]*DevicePlan{}, undo: map[string][][]string{}}
	plan := &Plan{Activation: in.Activation, Lab: in.Topology.Name, Mapping: in.Mapping, Links: in.Links, Notices: slices.Clone(in.Topology.Notices)}
	for _, l := range in.Links {
		g.link(l)
	}
	names := in.Mapping.devices()
	for _, n := range in.Topology.Nodes {
		if n.Config == "" {
			continue
		}
		name := names[n.Name]
		if in.Inventory.Devices[name].Connect == "" {
			plan.Notices = append(plan.Notices, fmt.Sprintf("%s: has a startup-config, but the inventory has no way to reach %s; it is ignored", n.Name, name))
			continue
		}
		plan.Notices = append(plan.Notices, g.node(n, name)...)
	}
	for _, name := range slices.Sorted(maps.Keys(g.devices)) {
		d := g.devices[name]
		for _, lines := range slices.Backward(g.undo[name]) {
			d.Undo = append(d.Undo, lines...)
		}
		d.finish(in.Inventory, in.Platforms[d.Platform])
		plan.Devices = append(plan.Devices, *d)
	}
	return plan, errors.Join(g.errs...)
}

type generator struct {
	Input
	devices map[string]*DevicePlan
	undo    map[string][][]string // what undoes each part, the first one first
	errs    []error
}

func (g *generator) device(name string) *DevicePlan {
	if g.devices[name] == nil {
		g.devices[name] = &DevicePlan{Name: name, Platform: g.Inventory.Devices[name].Platform}
	}
	return g.devices[name]
}

// link puts a VLAN on all switches on its way: it is defined first, then led over the
// trunks, then given to the devices' ports; and undone in the other order.
func (g *generator) link(l PlannedLink) {
	if l.VLAN < 1 || l.VLAN > 4094 {
		g.errs = append(g.errs, fmt.Errorf("the link %s has no VLAN: %w", l.Name, fault.Invalid))
		return
	}
	defined := map[string]bool{}
	define := func(port Port) {
		if !defined[port.Device] {
			defined[port.Device] = true
			g.put("vlan", l, Port{Device: port.Device})
		}
	}
	for _, p := range l.Trunks {
		define(p)
		g.put("trunk", l, p)
	}
	for _, p := range l.Access {
		define(p)
		g.put("access", l, p)
	}
}

func (g *generator) put(what string, l PlannedLink, port Port) {
	dev := g.Inventory.Devices[port.Device]
	p := g.Platforms[dev.Platform]
	if p == nil {
		g.errs = append(g.errs, fmt.Errorf("platform %s: is not loaded: %w", dev.Platform, fault.Invalid))
		return
	}
	one := map[string]part{"vlan": p.vlan, "trunk": p.trunk, "access": p.access}[what]
	if len(one.apply) == 0 && len(one.checks) == 0 {
		if what != "vlan" { // on some switches one needs no definition
			g.errs = append(g.errs, fmt.Errorf("%s: the platform %s has no template for %s ports: %w", port, dev.Platform, what, fault.Invalid))
		}
		return
	}
	values := map[string]string{"vlan": strconv.Itoa(l.VLAN), "port": port.Name, anyForm: port.Name, "link": l.Name, "domain": l.Domain}
	trunks, access := l.ports(port.Device)
	values[trunkPorts] = p.ports.list(trunks, p.ports.trunk)
	values[accessPorts] = p.ports.list(access, p.ports.access)
	maps.Copy(values, p.settings)
	maps.Copy(values, dev.Settings)
	f := filler{values: values, names: p.dialect.names}
	d := g.device(port.Device)
	d.Apply = append(d.Apply, f.lines(one.apply)...)
	undo := f.lines(one.undo)
	g.undo[d.Name] = append(g.undo[d.Name], undo)
	about := ifElse(port.Name == "", port.Device, port.String())
	for _, c := range one.checks {
		show := f.fill([]string{c.show}, false)[0]
		applied := Check{About: about, Show: show, Lines: f.fill(c.applied, true), None: f.fill(c.appliedNot, true)}
		clean := Check{About: about, Show: show, Lines: f.fill(c.clean, true), None: f.fill(c.cleanNot, true)}
		if len(c.ids) > 0 {
			ids := f.fill(c.ids, true)[0]
			applied.IDs, applied.Has = ids, l.VLAN
			clean.IDs, clean.Not = ids, l.VLAN
		}
		if len(c.ports) > 0 {
			ports, name := f.fill(c.ports, true)[0], f.names.anyFormOf(port.Name)
			applied.Ports, applied.HasPort = ports, name
			clean.Ports, clean.NotPort = ports, name
		}
		if what == "vlan" && !one.listsPorts() { // some have all VLANs of a pool defined for good
			clean.Undo = undo
		}
		d.Applied, d.Clean = append(d.Applied, applied.some()...), append(d.Clean, clean.some()...)
	}
	if f.err != nil {
		g.errs = append(g.errs, fmt.Errorf("%s: platform %s: %s: %w", port.Device, dev.Platform, what, f.err))
	}
}

const (
	// anyForm stands, in a pattern, for a port's name however the device shortens it.
	anyForm = "port.any"
	// trunkPorts and accessPorts are the link's on this switch, all of them.
	trunkPorts  = "ports"
	accessPorts = "access_ports"
)

// isList reports whether a hole is for a list, which may be empty.
func isList(hole string) bool { return hole == "{"+trunkPorts+"}" || hole == "{"+accessPorts+"}" }

// listsPorts reports whether the part puts the VLAN on its ports by a list of them.
func (p part) listsPorts() bool {
	return slices.ContainsFunc(p.apply, func(line string) bool { return slices.ContainsFunc(holes.FindAllString(line, -1), isList) })
}

var letteredPort = regexp.MustCompile(`^([A-Za-z][A-Za-z-]*?) ?([0-9].*)$`)

// anyFormOf returns a pattern for a port's name and all shorter and longer forms of its
// word, from two letters on: Gi0/1 is GigabitEthernet0/1.
func anyFormOf(port string) string {
	m := letteredPort.FindStringSubmatch(port)
	if m == nil {
		return regexp.QuoteMeta(port)
	}
	word, few := m[1], min(2, len(m[1]))
	rest := "[a-z-]*"
	for i := len(word) - 1; i >= few; i-- {
		rest = "(?:" + word[i:i+1] + rest + ")?"
	}
	return "(?i:" + word[:few] + rest + ") ?" + regexp.QuoteMeta(m[2])
}

// anyFormOf returns a pattern for all names of a port: what anyFormOf has of one of them,
// and the aliases that are no such form.
func (n *interfaceNames) anyFormOf(port string) string {
	var all []string
	for _, name := range n.forms(port) {
		if known, err := wholeLine(strings.Join(all, "|")); err != nil || len(all) == 0 || !known.MatchString(name) {
			all = append(all, anyFormOf(name))
		}
	}
	if len(all) == 1 {
		return all[0]
	}
	return "(?:" + strings.Join(all, "|") + ")"
}

// A filler puts values in the holes of templates.
type filler struct {
	values map[string]string
	names  *interfaceNames
	err    error
}

// lines are those to send: a line is left out when all lists in it are empty.
func (f *filler) lines(texts []string) (out []string) {
	for _, t := range texts {
		lists, some := false, false
		for _, hole := range holes.FindAllString(t, -1) {
			if isList(hole) {
				lists, some = true, some || f.values[strings.Trim(hole, "{}")] != ""
			}
		}
		if !lists || some {
			out = append(out, f.fill([]string{t}, false)...)
		}
	}
	return out
}

func (f *filler) fill(texts []string, pattern bool) []string {
	var out []string
	for _, t := range texts {
		if !strings.Contains(t, "{") {
			out = append(out, t)
			continue
		}
		var b strings.Builder
		end := 0
		for _, m := range holes.FindAllStringIndex(t, -1) {
			b.WriteString(t[end:m[0]])
			end = m[1]
			hole := t[m[0]:m[1]]
			name := strings.Trim(hole, "{}")
			v, ok := f.values[name]
			if strings.HasPrefix(hole, "{{") { // {{word}} is the text {word}
				name, v, ok = "", "{"+name+"}", true
			}
			if !ok {
				f.err = fmt.Errorf("%s: is nothing that is known; settings of the device are given in the inventory, and {%s} is the text itself: %w", hole, hole, fault.Invalid)
			}
			switch {
			case pattern && name == anyForm:
				b.WriteString(f.names.anyFormOf(v))
			case pattern:
				b.WriteString(regexp.QuoteMeta(v))
			default:
				b.WriteString(v)
			}
		}
		b.WriteString(t[end:])
		out = append(out, b.String())
	}
	return out
}

// node plans a startup-config. It returns what its users should know.
func (g *generator) node(n *topology.Node, name string) (notices []string) {
	dev := g.Inventory.Devices[name]
	p := g.Platforms[dev.Platform]
	if p == nil {
		g.errs = append(g.errs, fmt.Errorf("platform %s: is not loaded: %w", dev.Platform, fault.Invalid))
		return nil
	}
	made, err := p.dialect.plan(n)
	if err != nil {
		g.errs = append(g.errs, fmt.Errorf("%w: %w", err, fault.Invalid))
		return nil
	}
	if len(made.apply) == 0 {
		return nil
	}
	notices = made.notices
	for _, l := range p.dialect.accessPath(n.Config, g.Inventory.way(dev)) {
		if dev.AllowAccessPath {
			notices = append(notices, fmt.Sprintf("%s: %.120q changes how %s is reached, as the inventory allows", n.Name, l, name))
		} else {
			g.errs = append(g.errs, fmt.Errorf("%s: %.120q changes how %s is reached, and may cut that off; leave it out, or write \"allow: access-path\" for %s into the inventory: %w",
				n.Name, l, name, name, fault.Invalid))
		}
	}
	for _, l := range made.unverified {
		notices = append(notices, fmt.Sprintf("%s: %.120q can't be read back from %s as it was written: verify can't prove it", n.Name, l, name))
	}
	d := g.device(name)
	d.Apply, d.Undo, d.Applied, d.Clean = made.apply, made.undo, made.applied, made.clean
	d.Unverified = made.unverified
	d.Whole = p.dialect.running != ""
	d.Bare = !d.Whole
	return notices
}

func (d *DevicePlan) finish(inv *Inventory, p *Platform) {
	d.Way = inv.way(inv.Devices[d.Name])
	t := d.Way.target(d.Name)
	if p != nil {
		t.Platform = p.Dialog
	}
	d.Duration = t.Duration(d.Apply)
}

// Lines returns how many lines are sent to all devices.
func (p *Plan) Lines() (n int) {
	for _, d := range p.Devices {
		n += len(d.Apply)
	}
	return n
}

// Duration returns the time of the slowest device: all are done at once.
func (p *Plan) Duration() time.Duration {
	if len(p.Devices) == 0 {
		return 0
	}
	return slices.MaxFunc(p.Devices, func(a, b DevicePlan) int { return cmp.Compare(a.Duration, b.Duration) }).Duration
}

// Undoing returns the least time that taking it all off again needs: that of the
// slowest device, by its pace.
func (p *Plan) Undoing(platforms map[string]*Platform) (longest time.Duration) {
	for _, d := range p.Devices {
		t := d.Way.target(d.Name)
		if platform := platforms[d.Platform]; platform != nil {
			t.Platform = platform.Dialog
		}
		longest = max(longest, t.Duration(d.Undo))
	}
	return longest
}

// some is the check, or none if nothing would have to be there and nothing be absent.
func (c Check) some() []Check {
	if len(c.Lines) == 0 && len(c.None) == 0 && c.IDs == "" && c.Ports == "" {
		return nil
	}
	return []Check{c}
}

// Failed says what of an answer is not as it must be, or "".
func (c Check) Failed(answer string) string {
	var lines []string
	for l := range strings.Lines(answer) {
		lines = append(lines, strings.TrimSpace(l))
	}
	some := func(expr string) (string, bool) {
		re, err := wholeLine(expr)
		if err != nil {
			return err.Error(), false
		}
		i := slices.IndexFunc(lines, re.MatchString)
		if i < 0 {
			return "", false
		}
		return lines[i], true
	}
	for _, expr := range c.Lines {
		if _, ok := some(expr); !ok {
			return fmt.Sprintf("%q shows no line %q%s", c.Show, plainPattern(expr), only(lines))
		}
	}
	for _, expr := range c.None {
		if line, ok := some(expr); ok {
			return fmt.Sprintf("%q shows %q", c.Show, line)
		}
	}
	if why := c.failedPorts(lines); why != "" {
		return why
	}
	return c.failedIDs(lines)
}

func (c Check) failedIDs(lines []string) string {
	re, err := wholeLine(c.IDs)
	if c.IDs == "" {
		return ""
	}
	if err != nil || re.NumSubexp() < 1 {
		return fmt.Sprintf("%q: is no pattern with a group", c.IDs)
	}
	found, has := false, map[int]bool{}
	for _, l := range lines {
		if m := re.FindStringSubmatch(l); m != nil {
			found = true
			if !listed(m[1], has) {
				return fmt.Sprintf("%q shows %q, a list of VLANs with a range that has no beginning or no end", c.Show, l)
			}
		}
	}
	switch {
	case !found:
		return fmt.Sprintf("%q shows no list of VLANs, and without one it may carry every VLAN%s", c.Show, only(lines))
	case c.Has > 0 && !has[c.Has]:
		return fmt.Sprintf("%q shows no VLAN %d", c.Show, c.Has)
	case c.Not > 0 && has[c.Not]:
		return fmt.Sprintf("%q shows VLAN %d", c.Show, c.Not)
	}
	return ""
}

var (
	idRanges = regexp.MustCompile(`(?i)([0-9]) *(?:-| to ) *([0-9])`)
	idRange  = regexp.MustCompile(`^([0-9]{1,9})(?:-([0-9]{1,9}))?$`)
	halfOf   = regexp.MustCompile(`(?i)(^|[ ,])([0-9]+-|-[0-9]+)($|[ ,])|^to [0-9]| to$`)
)

// listed adds the ids of a list to those that it has, as a device writes it: 1-4,7 or
// 1 to 4 7, all, 1(default vlan). What is no number is the name of something. It reports
// false for half a range.
func listed(list string, has map[int]bool) bool {
	list = idRanges.ReplaceAllString(brackets.ReplaceAllString(list, " "), "$1-$2")
	if halfOf.MatchString(strings.TrimSpace(list)) {
		return false
	}
	for _, part := range strings.FieldsFunc(list, func(c rune) bool { return strings.ContainsRune(", \t", c) }) {
		if strings.EqualFold(part, "all") {
			part = "1-4094"
		}
		m := idRange.FindStringSubmatch(part)
		if m == nil {
			continue
		}
		first, _ := strconv.Atoi(m[1]) // digits, and few
		last, _ := strconv.Atoi(ifElse(m[2] == "", m[1], m[2]))
		for id := max(first, 1); id <= min(last, 4094); id++ {
			has[id] = true
		}
	}
	return true
}

// only says what an answer is, if that is short.
func only(lines []string) string {
	lines = slices.DeleteFunc(slices.Clone(lines), func(l string) bool { return l == "" })
	switch len(lines) {
	case 0:
		return " (it shows nothing)"
	case 1:
		return fmt.Sprintf(" (it shows only %.100q)", lines[0])
	}
	return ""
}

var (
	quoted     = regexp.MustCompile(`\\([^A-Za-z0-9])`)
	formsOf    = regexp.MustCompile(`\(\?i:(.*?)\) \?`)
	formsParts = strings.NewReplacer("(?:", "", ")?", "", "[a-z-]*", "")
)

// plainPattern takes the quoting and the forms of ports' names out of a pattern, to be
// read.
func plainPattern(expr string) string {
	expr = formsOf.ReplaceAllStringFunc(expr, func(f string) string { return formsParts.Replace(formsOf.FindStringSubmatch(f)[1]) })
	return quoted.ReplaceAllString(expr, "$1")
}

// JSON of a duration is text.
type jsonDuration time.Duration

func (d jsonDuration) MarshalJSON() ([]byte, error) { return json.Marshal(time.Duration(d).String()) }

func (d *jsonDuration) UnmarshalJSON(data []byte) error {
	var s string
	if err := json.Unmarshal(data, &s); err != nil {
		return err
	}
	v, err := time.ParseDuration(s)
	*d = jsonDuration(v)
	return err
}
