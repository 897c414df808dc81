package lab

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"activationd/device"
)

// ParseInventory is [ReadInventory] for a file that was read already.
func ParseInventory(file string, data []byte) (*Inventory, error) {
	r := &reader{}
	r.Faults.File = file
	inv := &Inventory{
		File: file, Pools: map[string]Pool{}, Credentials: map[string]Credential{}, Devices: map[string]*Device{},
		wired: map[Port]Wire{},
	}
	if root := r.Root(data); root != nil {
		r.Mapping(root, "the inventory", func(k, v *yaml.Node) {
			switch k.Value {
			case "pools":
				r.named(v, "pools", func(k, v *yaml.Node) { inv.Pools[k.Value] = r.pool(v, "pools: "+k.Value+": ") })
			case "credentials":
				r.named(v, "credentials", func(k, v *yaml.Node) {
					inv.Credentials[k.Value] = r.credential(v, "credentials: "+k.Value+": ", filepath.Dir(file))
				})
			case "devices":
				r.named(v, "devices", func(k, v *yaml.Node) {
					d := r.device(v, k.Value, filepath.Dir(file))
					d.Line = k.Line
					inv.Devices[k.Value] = d
				})
			case "wiring":
				inv.Wiring = r.wires(v, "wiring")
			case "trunks":
				inv.Trunks = r.wires(v, "trunks")
			case "templates":
				inv.Templates = beside(filepath.Dir(file), r.Text(v, "templates"))
			default:
				r.unknown(k, "", "pools, credentials, devices, wiring, trunks and templates")
			}
		})
		inv.check(r)
	}
	if err := r.Faults.Err(); err != nil {
		return nil, err
	}
	return inv, nil
}

func beside(dir, path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

// named reads a mapping whose keys are names.
func (r *reader) named(n *yaml.Node, what string, each func(key, value *yaml.Node)) {
	r.Mapping(n, what, func(k, v *yaml.Node) {
		if err := checkName(k.Value); err != nil {
			r.Fault(k, "%s: %v", what, err)
			return
		}
		each(k, v)
	})
}

func (r *reader) pool(n *yaml.Node, what string) (p Pool) {
	ranges := func(v *yaml.Node, what string) (all []Range) {
		for _, e := range r.List(v, what) {
			known := r.Found
			text := r.Text(e, what)
			if r.Found > known {
				continue
			}
			one, err := parseRange(text)
			if err != nil {
				r.Fault(e, "%s: %v", what, err)
				continue
			}
			all = append(all, one)
		}
		return all
	}
	r.Mapping(n, strings.TrimSuffix(what, ": "), func(k, v *yaml.Node) {
		switch k.Value {
		case "ranges":
			p.Ranges = ranges(v, what+"ranges")
			for i, a := range p.Ranges {
				for _, b := range p.Ranges[:i] {
					if a.First <= b.Last && b.First <= a.Last {
						r.Fault(v, "%sranges: %d-%d and %d-%d have ids in common", what, b.First, b.Last, a.First, a.Last)
					}
				}
			}
		case "exclude":
			p.Exclude = ranges(v, what+"exclude")
		default:
			r.unknown(k, what, "ranges and exclude")
		}
	})
	if len(p.Ranges) == 0 {
		r.Fault(n, "%shas no ranges", what)
	}
	first := func(x Range) bool { return x.First <= 1 && x.Last >= 1 }
	if slices.ContainsFunc(p.Ranges, first) && !slices.ContainsFunc(p.Exclude, first) {
		r.Fault(n, "%shas VLAN 1, to which all ports belong that nobody has configured: begin with 2", what)
	}
	return p
}

func (r *reader) credential(n *yaml.Node, what, dir string) (c Credential) {
	r.Mapping(n, strings.TrimSuffix(what, ": "), func(k, v *yaml.Node) {
		switch k.Value {
		case "user":
			c.User = r.Word(v, what+"user", checkLine)
		case "password":
			c.Password = r.reference(v, what+"password", dir)
		case "enable":
			c.Enable = r.reference(v, what+"enable", dir)
		case "key":
			c.Key = r.reference(v, what+"key", dir)
		default:
			r.unknown(k, what, "user, password, enable and key")
		}
	})
	return c
}

// reference never repeats what it does not understand, as that may be a secret.
func (r *reader) reference(n *yaml.Node, what, dir string) (ref Reference) {
	if v := r.Visit(n); v.Kind != yaml.MappingNode {
		r.Fault(n, "%s: write {file: PATH} or {env: NAME} of the secret, not the secret itself", what)
		return ref
	}
	r.Mapping(n, what, func(k, v *yaml.Node) {
		switch k.Value {
		case "file":
			ref.File = beside(dir, r.Word(v, what+": file", checkLine))
		case "env":
			ref.Env = r.Word(v, what+": env", checkLine)
		default:
			r.Fault(k, "%s: must be {file: PATH} or {env: NAME} of a secret, and nothing else", what)
		}
	})
	if (ref.File == "") == (ref.Env == "") {
		r.Fault(n, "%s: must have either file or env", what)
	}
	return ref
}

// checkLine accepts one line of text.
func checkLine(s string) error {
	if s == "" || strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c == 0x7f }) {
		return fmt.Errorf("must be a line of text")
	}
	return nil
}

// reservedNames are names whose values a template gets from the plan.
var reservedNames = []string{"vlan", "port", holeAnyForm, holePorts, holeAccessPorts, "link", "domain", "device"}

func (r *reader) device(n *yaml.Node, name, dir string) *Device {
	d := &Device{Name: name}
	what := name + ": "
	r.Mapping(n, name, func(k, v *yaml.Node) {
		in := what + k.Value
		switch k.Value {
		case "platform":
			d.Platform = r.Word(v, in, checkName)
		case "domain":
			d.Domain = r.Word(v, in, checkName)
		case "connect":
			d.Connect = r.Word(v, in, device.CheckURL)
		case "credentials":
			d.Credentials = r.Word(v, in, checkName)
		case "host_key":
			d.HostKeys = r.hostKey(v, in, dir)
		case "old_algorithms":
			d.OldAlgorithms = r.boolean(v, in)
		case "login":
			d.Login = r.login(v, in)
		case "allow":
			d.AllowAccessPath = r.allow(v, in)
		case "pace":
			d.Pace = r.pace(v, in)
		case "limits":
			d.Limits = r.limits(v, in)
		case "settings":
			d.Settings = map[string]string{}
			r.named(v, in, func(k, v *yaml.Node) {
				if slices.Contains(reservedNames, k.Value) {
					r.Fault(k, "%s: %s: gets its value from the plan, and can't be a setting", in, k.Value)
				}
				d.Settings[k.Value] = r.Word(v, in+": "+k.Value, checkLine)
			})
		default:
			r.unknown(k, what, "platform, domain, connect, credentials, host_key, old_algorithms, login, allow, pace, limits and settings")
		}
	})
	if d.Platform == "" {
		r.Fault(n, "%shas no platform", what)
	}
	return d
}

// allow reads one permission, or a list of them.
func (r *reader) allow(n *yaml.Node, what string) bool {
	all := []*yaml.Node{n}
	if r.Visit(n).Kind == yaml.SequenceNode {
		all = r.List(n, what)
	}
	for _, e := range all {
		if text := r.Text(e, what); text != "access-path" {
			r.Fault(e, "%s: %.80q: the only permission is access-path: that a startup-config may change how the device is reached", what, text)
		}
	}
	return len(all) > 0
}

func (r *reader) hostKey(n *yaml.Node, what, dir string) (h device.HostKeys) {
	if r.Visit(n).Kind != yaml.MappingNode {
		h.Lines = r.Word(n, what, func(s string) error {
			if f := strings.Fields(s); len(f) < 2 {
				return fmt.Errorf("must be a public key, as in ssh-ed25519 AAAA..., or {file: PATH} of a known_hosts file")
			}
			return nil
		})
		return h
	}
	r.Mapping(n, what, func(k, v *yaml.Node) {
		if k.Value != "file" {
			r.unknown(k, what+": ", "file, or the key itself")
			return
		}
		h.File = beside(dir, r.Word(v, what+": file", checkLine))
	})
	return h
}

// login reads patterns of the questions at a login.
func (r *reader) login(n *yaml.Node, what string) (l device.LoginDialog) {
	pattern := func(s string) error {
		if err := checkLine(s); err != nil {
			return err
		}
		return device.LoginDialog{User: s}.Check()
	}
	r.Mapping(n, what, func(k, v *yaml.Node) {
		in := what + ": " + k.Value
		switch k.Value {
		case "user":
			l.User = r.Word(v, in, pattern)
		case "password":
			l.Password = r.Word(v, in, pattern)
		case "failed":
			l.Failed = r.Word(v, in, pattern)
		default:
			r.unknown(k, what+": ", "user, password and failed")
		}
	})
	return l
}

const maxPause = time.Minute // a longer pause is a mistake

func (r *reader) pace(n *yaml.Node, what string) (p device.Pace) {
	r.Mapping(n, what, func(k, v *yaml.Node) {
		in := what + ": " + k.Value
		switch k.Value {
		case "character":
			p.Character = r.duration(v, in, maxPause)
		case "chunk":
			p.Chunk = r.number(v, in, 0, 1<<20)
		case "chunk_delay":
			p.ChunkDelay = r.duration(v, in, maxPause)
		case "line":
			p.Line = r.duration(v, in, maxPause)
		default:
			r.unknown(k, what+": ", "character, chunk, chunk_delay and line")
		}
	})
	return p
}

func (r *reader) limits(n *yaml.Node, what string) (l device.Limits) {
	r.Mapping(n, what, func(k, v *yaml.Node) {
		in := what + ": " + k.Value
		switch k.Value {
		case "connect":
			l.Connect = r.duration(v, in, time.Hour)
		case "command":
			l.Command = r.duration(v, in, time.Hour)
		default:
			r.unknown(k, what+": ", "connect and command")
		}
	})
	return l
}

func (r *reader) wires(n *yaml.Node, what string) (all []Wire) {
	for _, e := range r.List(n, what) {
		known := r.Found
		text := r.Text(e, what)
		if r.Found > known {
			continue
		}
		w, err := parseWire(text)
		if err != nil {
			r.Fault(e, "%s: %v", what, err)
			continue
		}
		w.Line = e.Line
		all = append(all, w)
	}
	return all
}

// hasPlatform reports whether a platform exists, without reading it.
func (inv *Inventory) hasPlatform(name string) bool {
	if inv.Templates != "" {
		if _, err := os.Stat(filepath.Join(inv.Templates, name+".yaml")); err == nil {
			return true
		}
	}
	return slices.Contains(BuiltInPlatforms(), name)
}

// check notes faults between the parts of the inventory.
func (inv *Inventory) check(r *reader) {
	platforms, names := map[string]bool{}, map[string]*interfaceNames{}
	reached := map[string]*Device{} // by how they are reached
	alike := map[string]string{}    // a switch that is reached as another one is -> that one
	for _, name := range slices.Sorted(maps.Keys(inv.Devices)) {
		d := inv.Devices[name]
		if _, asked := platforms[d.Platform]; !asked {
			platforms[d.Platform] = inv.hasPlatform(d.Platform)
			names[d.Platform] = readInterfaces(inv.Templates, d.Platform)
		}
		d.names = names[d.Platform]
		if d.Platform != "" && !platforms[d.Platform] {
			r.Add(d.Line, "%s: platform %s: is unknown; there are %s%s", name, d.Platform, strings.Join(BuiltInPlatforms(), ", "),
				ifElse(inv.Templates != "", ", and those in "+inv.Templates, ""))
		}
		if _, ok := inv.Pools[d.Domain]; d.Domain != "" && !ok {
			r.Add(d.Line, "%s: domain %s: has no pool", name, d.Domain)
		}
		if _, ok := inv.Credentials[d.Credentials]; d.Credentials != "" && !ok {
			r.Add(d.Line, "%s: credentials %s: are not defined", name, d.Credentials)
		}
		if d.IsSwitch() && d.Connect == "" {
			r.Add(d.Line, "%s: is a switch, and has no connect", name)
		}
		how := inv.reach(d)
		switch other := reached[how]; {
		case how == "":
		case other == nil:
			reached[how] = d
		case !strings.HasPrefix(d.Connect, "ssh:"):
			r.Add(d.Line, "%s: connect: %s is also the console of %s, on line %d", name, d.Connect, other.Name, other.Line)
		case d.IsSwitch(): // the inventory may divide a switch's ports between two names
			alike[name] = other.Name
		default:
			r.Add(d.Line, "%s: connect: %s is also how %s is reached, on line %d, by the same user: one device would be leased as two", name, d.Connect, other.Name, other.Line)
		}
		if strings.HasPrefix(d.Connect, "ssh:") && d.HostKeys == (device.HostKeys{}) {
			r.Add(d.Line, "%s: has no host_key, so the device can't be identified", name)
		}
	}
	used := map[Port]Wire{}
	use := func(p Port, w Wire) {
		one := inv.identity("", p)
		one.Device = cmp.Or(alike[p.Device], p.Device)
		if before, ok := used[one]; ok {
			r.Add(w.Line, "%s: is in use by %q, on line %d%s", p, before, before.Line,
				ifElse(slices.Contains([]string{before.A.Device, before.B.Device}, p.Device), "", ": these two devices are one, as they are reached alike"))
		}
		used[one] = w
		if d := inv.Devices[p.Device]; d != nil {
			if may := d.names.ambiguous(p.Name); may != "" {
				r.Add(w.Line, "%s: may be %s; write more of the name", p, may)
			}
		}
	}
	for i, w := range inv.Wiring {
		a, b := inv.Devices[w.A.Device], inv.Devices[w.B.Device]
		if inv.there(r, w) && a.IsSwitch() && !b.IsSwitch() { // written the other way round
			w.A, w.B, a, b = w.B, w.A, b, a
			inv.Wiring[i] = w
		}
		if a != nil && b != nil && (a.IsSwitch() || !b.IsSwitch()) {
			r.Add(w.Line, "%q: wiring joins an interface of a device to a port of a switch; a switch has a domain", w)
		}
		use(w.A, w)
		use(w.B, w)
	}
	for _, w := range inv.Trunks {
		if inv.there(r, w) {
			a, b := inv.Devices[w.A.Device], inv.Devices[w.B.Device]
			switch {
			case !a.IsSwitch() || !b.IsSwitch():
				r.Add(w.Line, "%q: a trunk joins two switches; a switch has a domain", w)
			case a == b:
				r.Add(w.Line, "%q: a trunk joins two switches, not one with itself", w)
			case a.Domain != b.Domain:
				r.Add(w.Line, "%q: joins the domains %s and %s; an id of one domain means nothing in the other", w, a.Domain, b.Domain)
			}
		}
		use(w.A, w)
		use(w.B, w)
	}
	for _, wires := range [][]Wire{inv.Wiring, inv.Trunks} {
		for i := range wires {
			for _, p := range []*Port{&wires[i].A, &wires[i].B} {
				if d := inv.Devices[p.Device]; d != nil {
					p.Name = d.names.own(p.Name)
				}
			}
		}
	}
	for _, w := range inv.Wiring {
		inv.wired[inv.identity("", w.A)] = w
	}
}

// reach returns the same text for devices that are reached alike, "" for a device that is not
// reached. A console belongs to one device. Behind one SSH server there may be several
// devices, with different users, platforms or settings.
func (inv *Inventory) reach(d *Device) string {
	end := device.Endpoint(d.Connect)
	if !strings.HasPrefix(d.Connect, "ssh:") {
		return end
	}
	return fmt.Sprintf("%s %q %s %v %q", end, inv.Credentials[d.Credentials].User, d.Platform, d.IsSwitch(), d.Settings)
}

// there notes a fault if an end of the wire is not a device of the inventory, and reports
// whether both are.
func (inv *Inventory) there(r *reader, w Wire) bool {
	ok := true
	for _, p := range []Port{w.A, w.B} {
		if inv.Devices[p.Device] == nil {
			r.Add(w.Line, "%q: there is no device %s", w, p.Device)
			ok = false
		}
	}
	return ok
}

func ifElse[T any](cond bool, yes, no T) T {
	if cond {
		return yes
	}
	return no
}
