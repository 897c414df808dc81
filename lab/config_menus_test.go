package lab

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"activationd/internal/fault"
	"activationd/topology"
)

func rosDialect(t testing.TB) *dialect {
	t.Helper()
	p, err := LoadPlatform("", "mikrotik_routeros")
	if err != nil {
		t.Fatal(err)
	}
	return &p.dialect
}

// undoRos restores the previous state of a device, as Erase does.
func undoRos(t failer, d *dialect, m *rosModel, before string) (rounds int, differs []string) {
	t.Helper()
	tried := attempts{}
	for ; ; rounds++ {
		lines, differs, _ := d.between(m.show(d.running), before, tried)
		if len(lines) == 0 {
			return rounds, differs
		}
		if rounds > 30 {
			t.Fatalf("it sends without an end: %q", lines)
		}
		for _, l := range lines {
			had, _ := parseItems(m.export())
			m.do(l) // what is refused is left out, and the next round sees it
			has, _ := parseItems(m.export())
			was, _ := parseItems(before)
			for _, it := range unmatched(had, has, verbAdd) {
				_, changed := it.value("name")
				if n := count(was, it); n > 0 && !changed && count(has, it) < n {
					t.Fatalf("%q is gone after %q", it.line(), l)
				}
			}
		}
	}
}

func count(all []*item, it *item) (n int) {
	for _, o := range all {
		if o.identity() == it.identity() {
			n++
		}
	}
	return n
}

// TestUndoIsDifferenceInMenus: whatever a device had before, whatever a startup-config said,
// and whatever somebody changed in between, the device comes back as it was, in its order.
// Nothing that was there before is removed meanwhile, and a change that can't be undone is
// reported.
func TestUndoIsDifferenceInMenus(t *testing.T) {
	d := rosDialect(t)
	rapid.Check(t, func(t *rapid.T) {
		m := newRosModel("ether1", "ether2", "ether3")
		for _, l := range drawRosMess(t, m, 15) {
			m.do(l)
		}
		before := m.export()
		var config []string
		for range rapid.IntRange(0, 10).Draw(t, "lines") {
			config = append(config, drawRosLine(t))
		}
		made, err := d.plan(&topology.Node{Name: "r1", Config: strings.Join(config, "\n")})
		if err != nil {
			t.Fatal(err)
		}
		refused := false
		for _, l := range made.apply {
			refused = m.do(l) != "" || refused
		}
		if lacks := d.missing(made.apply, m.export()); len(lacks) > 0 && !refused && !contradicts(made.apply) {
			t.Fatalf("%q lacks in\n%s", lacks, m)
		}
		for _, l := range drawRosMess(t, m, 5) {
			m.do(l)
		}
		changed := m.export()
		_, differs := undoRos(t, d, m, before)
		is, was := sorted(m.export()), sorted(before)
		if (len(differs) == 0) != slices.Equal(is, was) {
			t.Fatalf("it is\n%s\nwant\n%s\nfrom\n%s\ndiffers: %q", m, before, changed, differs)
		}
		for _, l := range differs {
			// An entry that can't be found by its properties alone is left, and reported.
			if !strings.Contains(l, "nothing else") && !strings.Contains(l, "order") && !strings.Contains(l, "not taken again") {
				t.Fatalf("%s\nit is\n%s\nwant\n%s\nfrom\n%s", l, m, before, changed)
			}
		}
	})
}

// contradicts reports whether a setting is there twice, with two values.
func contradicts(lines []string) bool {
	seen := map[string]string{}
	items, _ := parseItems(strings.Join(lines, "\n"))
	for _, it := range items {
		for _, p := range it.values {
			if v, ok := seen[it.head()+p.key]; ok && it.verb == verbSet && v != p.value {
				return true
			}
			seen[it.head()+p.key] = p.value
		}
	}
	return false
}

// sorted returns the lines of a configuration. Lines whose order does not count are in a fixed
// order.
func sorted(config string) []string {
	var ordered, others []string
	for l := range strings.Lines(config) {
		if strings.Contains(l, "firewall") {
			ordered = append(ordered, l)
		} else {
			others = append(others, l)
		}
	}
	slices.Sort(others)
	return append(others, ordered...)
}

// TestMenusUndone has the lines that undo a change, one idea a row.
func TestMenusUndone(t *testing.T) {
	for _, tt := range []struct{ name, before, config, mess, sent, left string }{
		{"an entry", "", "/ip address add address=10.0.0.1/24 interface=ether1", "",
			`/ip address remove [find where address="10.0.0.1/24" and interface=ether1 and network=10.0.0.0]`, ""},
		{"what was there stays", "/ip address add address=10.0.0.1/24 interface=ether1", "/ip address add address=10.0.0.1/24 interface=ether1\n/ip address add address=10.0.1.1/24 interface=ether1", "",
			`/ip address remove [find where address="10.0.1.1/24" and interface=ether1 and network=10.0.1.0]`, ""},
		{"the last one first", "", "/interface bridge add name=br1\n/interface bridge port add bridge=br1 interface=ether1", "",
			"/interface bridge port remove [find where bridge=br1 and interface=ether1]|/interface bridge remove [find where name=br1]", ""},
		{"a setting that was not shown", "", "/interface ethernet set [ find default-name=ether1 ] mtu=9000 disabled=yes", "",
			"/interface ethernet set [ find default-name=ether1 ] disabled=no mtu=1500", ""},
		{"a setting that was shown", "/system identity set name=core", "/system identity set name=lab", "", "/system identity set name=core", ""},
		{"what somebody took away", "/ip firewall filter add chain=a action=drop\n/ip firewall filter add chain=b action=drop", "/ip address add address=10.0.0.1/24 interface=ether1",
			"/ip firewall filter remove [find where chain=a]|/ip address remove [find where interface=ether1]", "/ip firewall filter add action=drop chain=a place-before=[find where action=drop and chain=b]", ""},
		{"what somebody moved", "/ip firewall filter add chain=a\n/ip firewall filter add chain=b\n/ip firewall filter add chain=c", "",
			"/ip firewall filter move [find where chain=c] destination=[find where chain=a]", "/ip firewall filter move [find where action=accept and chain=a] destination=[find where action=accept and chain=c]|/ip firewall filter move [find where action=accept and chain=b] destination=[find where action=accept and chain=c]", ""},
		{"the like of it was there before", "/ip route add gateway=10.0.0.2", "/ip route add gateway=10.0.0.2", "", "/ip route remove [:pick [/ip route find where gateway=10.0.0.2] 1]", ""},
		{"it would find another one", "/ip route add gateway=10.0.0.2 dst-address=10.9.0.0/16", "/ip firewall filter add chain=a action=drop", "/ip firewall filter add chain=a action=drop protocol=tcp|/ip route add gateway=10.0.0.2",
			"/ip firewall filter remove [find where action=drop and chain=a and protocol=tcp]|/ip firewall filter remove [find where action=drop and chain=a]", "removes it and nothing else"},
		{"another of its name", "/interface bridge add name=br1 mtu=9000", "/interface bridge add name=br1", "/interface bridge set br1 vlan-filtering=yes mtu=auto", "/interface bridge set [ find name=br1 ] mtu=9000 vlan-filtering=no", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d, m := rosDialect(t), newRosModel("ether1", "ether2")
			for l := range strings.Lines(tt.before) {
				if said := m.do(strings.TrimSpace(l)); said != "" {
					t.Fatalf("%q: %s", l, said)
				}
			}
			before := m.export()
			made, err := d.plan(&topology.Node{Name: "r1", Config: tt.config})
			if err != nil {
				t.Fatal(err)
			}
			for _, l := range append(made.apply, strings.FieldsFunc(tt.mess, func(c rune) bool { return c == '|' })...) {
				if said := m.do(l); said != "" {
					t.Logf("%q: %s", l, said)
				}
			}
			var sent []string
			tried := attempts{}
			for {
				lines, left, _ := d.between(m.export(), before, tried)
				if len(lines) == 0 {
					if got := strings.Join(sent, "|"); got != tt.sent {
						t.Errorf("sent\n%s\nwant\n%s", got, tt.sent)
					}
					if (len(left) == 0) != (tt.left == "") || tt.left != "" && !strings.Contains(left[0], tt.left) {
						t.Errorf("left %q, want %q", left, tt.left)
					}
					if tt.left == "" && m.export() != before {
						t.Errorf("it is\n%s\nwas\n%s", m, before)
					}
					return
				}
				for _, l := range lines {
					if said := m.do(l); said != "" {
						t.Errorf("%q: %s", l, said)
					}
					sent = append(sent, l)
				}
			}
		})
	}
}

// TestMenusRead: a startup-config may be in each form in which /export shows it.
func TestMenusRead(t *testing.T) {
	want := `/interface bridge add name=br1 vlan-filtering=yes
/interface bridge vlan add bridge=br1 tagged=ether1,ether2 vlan-ids=10
/routing bgp connection add local.address=10.0.0.1 local.role=ebgp name=a
/interface ethernet set [ find default-name=ether2 ] comment="to the \"left\"" disabled=no
/ip firewall filter add chain=forward
/ip firewall filter add chain=forward
/routing table add fib name=t1
/ip route add blackhole dst-address=10.9.0.0/16
/routing ospf interface-template add area=bb interfaces=ether1 passive
/system identity set name=r1`
	for name, config := range map[string]string{
		"terse": want,
		"long": "# 2026-11-30 by RouterOS 7.15.3\r\n/interface bridge\r\nadd name=br1 vlan-filtering=\\\r\n    yes\r\n/interface bridge vlan\nadd bridge=br1 tagged=ether1,\\\n    ether2 vlan-ids=10\n" +
			"/routing bgp connection\nadd local.address=10.0.0.1 .role=ebgp name=a\n/interface ethernet\nset [ find default-name=ether2 ] comment=\"to the \\\"left\\\"\" \\\n    disabled=no\n/ip firewall filter\nadd chain=forward\nadd chain=forward\n/routing table\nadd fib name=t1\n/ip route\nadd blackhole dst-address=10.9.0.0/16\n/routing ospf interface-template\nadd area=bb interfaces=ether1 passive\n/system identity\nset name=r1\n",
		"slashes": strings.NewReplacer("/interface bridge vlan add", "/interface/bridge/vlan/add", "/interface bridge add", "/interface/bridge add", "[ find default-name=ether2 ]", `[find where default-name="ether2"]`).Replace(want),
	} {
		p, err := planOf(t, "mikrotik_routeros", config)
		if got := strings.Join(p.apply, "\n"); err != nil || got != want {
			t.Errorf("%s: %v\n%s\nwant\n%s", name, err, got, want)
		}
	}
	for line, says := range map[string]string{
		"/ip address remove [find]":   "remove is not supported",
		":put x":                      "is not a line as in",
		"add name=x":                  "is not a line as in",
		"/ip dns set cache-size=4096": "the device may not show the previous value of cache-size",
		"/ip route add !pref-src gateway=10.0.0.1":                       "could not be restored",
		"/user add name=x group=full":                                    "not a configuration that could be restored",
		"/interface ethernet set [ find default-name=ether1 ] name=wan":  "does not match the wiring",
		`/ip address add address=10.0.0.1/24 comment="a`:                 "without an end",
		"/ip address add address=$a interface=ether1":                    "has a $",
		"/ip address add address=10.0.0.1/24 interface=ether1; /quit":    "has a ;",
		"/ip address add 10.0.0.1/24 interface=ether1":                   "which is not a property",
		"/import file=x.rsc":                                             "is not a line as in",
		"interfaces {":                                                   "without an end",
		"/ip address add address=10.0.0.1/24 comment=\"x\"y interface=a": "",
	} {
		_, err := planOf(t, "mikrotik_routeros", line)
		if (err == nil) != (says == "") || err != nil && (!strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), "startup-config, line 1")) {
			t.Errorf("%s: %v, want %q", line, err, says)
		}
	}
}

// TestMenusVerified: a value that differs from the startup-config is reported. A default,
// which is not shown, is not. A secret that the device hides is reported as unverifiable.
func TestMenusVerified(t *testing.T) {
	d, m := rosDialect(t), newRosModel("ether1", "ether2")
	config := "/interface ethernet set [ find default-name=ether2 ] disabled=no mtu=1500\n/ip route add gateway=10.0.0.2 distance=1\n" +
		"/routing ospf instance add name=one\n/routing ospf area add name=bb instance=one\n/routing ospf interface-template add area=bb interfaces=ether1 auth=md5 auth-key=Tulip-7\n/system identity set name=r1\n"
	p, err := d.plan(&topology.Node{Name: "r1", Config: config})
	if err != nil {
		t.Fatal(err)
	}
	if len(p.unverified) != 1 || !strings.Contains(p.unverified[0], "auth-key") {
		t.Errorf("unverified: %q", p.unverified)
	}
	if got := d.missing(p.apply, m.export()); len(got) != 5 {
		t.Errorf("missing on a new one: %q", got)
	}
	for _, l := range p.apply {
		if said := m.do(l); said != "" {
			t.Fatalf("%q: %s", l, said)
		}
	}
	if got := d.missing(p.apply, m.export()); got != nil {
		t.Errorf("missing %q in\n%s", got, m)
	}
	for _, tt := range [][2]string{
		{"/interface ethernet set [find where name=ether2] disabled=yes", "/interface ethernet set [ find default-name=ether2 ] disabled=no mtu=1500"},
		{"/ip route set [find where gateway=10.0.0.2] distance=9", "/ip route add gateway=10.0.0.2 distance=1"},
		{"/system identity set name=r2", "/system identity set name=r1"},
		{"/routing ospf interface-template set [find where area=bb] auth=simple", "/routing ospf interface-template add area=bb interfaces=ether1 auth=md5 auth-key=Tulip-7"},
	} {
		if said := m.do(tt[0]); said != "" {
			t.Fatalf("%q: %s", tt[0], said)
		}
		if got := d.missing(p.apply, m.export()); !slices.Contains(got, tt[1]) {
			t.Errorf("after %q missing is %q, want %q", tt[0], got, tt[1])
		}
	}
}

// TestMenusReached: a line that changes how the device is reached is refused, when it is
// planned or when the device has shown which interface has the address.
func TestMenusReached(t *testing.T) {
	d := rosDialect(t)
	via := Access{Connect: "ssh://192.0.2.5", User: "lab"}
	for line, want := range map[string]bool{
		"/ip address add address=192.0.2.5/24 interface=ether1":     true,
		"/ip firewall filter add action=drop chain=input":           true,
		"/ip firewall filter add action=drop chain=forward":         false,
		"/ip service set ssh disabled=yes":                          true,
		"/ip address add address=10.0.0.1/24 interface=ether2":      false,
		"/ip address add address=192.0.2.50/24 interface=ether2":    false,
		"/interface bridge port add bridge=bridge interface=ether2": false,
	} {
		if got := d.accessPath(line, via); (len(got) > 0) != want {
			t.Errorf("%s: %q, want %v", line, got, want)
		}
	}
	m := newRosModel("ether1", "ether2")
	m.do("/ip address add address=192.0.2.5/24 interface=ether1")
	for line, want := range map[string]bool{
		"/interface bridge port add bridge=bridge interface=ether1":                true,
		"/interface ethernet set [ find default-name=ether1 ] disabled=yes":        true,
		"/interface ethernet set [ find default-name=ether1 ] disabled=no":         false,
		"/interface ethernet set [ find default-name=ether2 ] disabled=yes":        true,
		"/interface bridge vlan add bridge=bridge tagged=ether2,ether1 vlan-ids=9": true,
		"/ip address add address=192.0.2.5/24 interface=ether1":                    false,
	} {
		if line == "/interface ethernet set [ find default-name=ether2 ] disabled=yes" {
			want = false
		}
		plan := &DevicePlan{Name: "r1", Apply: []string{line}, Access: via}
		err := d.reachable(plan, m.export())
		if (err != nil) != want || err != nil && !errors.Is(err, fault.Conflict) {
			t.Errorf("%s: %v, want %v", line, err, want)
		}
	}
}

// TestMenusCut: an incomplete answer is not used.
func TestMenusCut(t *testing.T) {
	d := rosDialect(t)
	m := newRosModel("ether1")
	before := m.export()
	m.sick = true
	if lines, differs, _ := d.between(m.export(), before, attempts{}); len(lines) > 0 || len(differs) != 1 || !strings.Contains(differs[0], "error exporting") {
		t.Errorf("%q, %q", lines, differs)
	}
	if err := d.restorable(&DevicePlan{Name: "r1"}, m.export()); !errors.Is(err, fault.Conflict) {
		t.Errorf("restorable: %v", err)
	}
	for _, said := range []string{"", "bad command name export (line 1 column 2)\n", "not enough permissions (9)\n"} {
		if err := d.restorable(&DevicePlan{Name: "r1"}, said); !errors.Is(err, fault.Conflict) {
			t.Errorf("restorable(%q): %v", said, err)
		}
	}
}

const rosTopology = `
name: bench
topology:
  nodes:
    r1:
      kind: mikrotik_ros
      startup-config: |
        /interface bridge
        add name=lab
        /interface bridge port
        add bridge=lab interface=ether2
        /ip address
        add address=10.0.0.1/24 interface=lab network=10.0.0.0
        add address=192.0.2.7/24 interface=ether1
        /ip firewall filter
        add action=drop chain=forward comment="for the lab"
        /system identity
        set name=lab-r1
`

// TestMenusUploadVerifyErase applies a startup-config to a device that has a configuration,
// and erases it after somebody has changed more.
func TestMenusUploadVerifyErase(t *testing.T) {
	t.Parallel()
	m := newRosModel("ether1", "ether2", "ether3")
	for _, l := range []string{
		"/ip address add address=192.0.2.7/24 interface=ether1", "/ip firewall filter add chain=input action=drop", "/ip firewall filter add chain=forward action=accept",
		"/system identity set name=edge", "/interface bridge add name=ours mtu=9000",
	} {
		if said := m.do(l); said != "" {
			t.Fatalf("%q: %s", l, said)
		}
	}
	before := m.export()
	s := newPromptSim(t, func(line string) (string, string) {
		said := ""
		switch {
		case line == "", line == "/":
		case strings.Contains(line, "/export"):
			said = m.show(line)
		default:
			if said = m.do(line); said != "" {
				said += "\n"
			}
		}
		return said, "[lab@" + m.get("/system identity", m.rows["/system identity"][0], "name") + "] > "
	})
	b := newBenchOf(t, "mikrotik_routeros", s.ln, rosTopology)
	if err := b.upload(); err != nil {
		t.Fatal(err)
	}
	if err := b.verify(); err != nil {
		t.Errorf("verify: %v", err)
	}
	change := func(lines ...string) {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, l := range lines {
			if said := m.do(l); said != "" {
				t.Fatalf("%q: %s", l, said)
			}
		}
	}
	change("/ip firewall filter set [find where chain=forward] disabled=yes", "/ip firewall filter remove [find where chain=input]")
	if err := b.verify(); !errors.Is(err, fault.Conflict) || !strings.Contains(err.Error(), `comment=\"for the lab\"`) {
		t.Errorf("verify: %v, want the rule to be missing", err)
	}
	change("/interface bridge set ours mtu=auto", "/interface vlan add name=v7 vlan-id=7 interface=lab")
	s.heard()
	if err := b.erase(); err != nil {
		t.Fatal(err)
	}
	if got := m.export(); got != before {
		t.Errorf("it is\n%s\nwas\n%s", got, before)
	}
	if all := s.heard(); strings.Contains(all, "192.0.2.7") {
		t.Errorf("it was sent\n%s", all)
	}
}

// FuzzMenus: a line that is read is the same when it is written and read again.
func FuzzMenus(f *testing.F) {
	f.Add(rosTopology)
	f.Add("/ip address\nadd address=10.0.0.1/24 \\\n    comment=\"a \\\"b\\\" \\$c\" !x .y=z\n/interface/ethernet/set [find where a=\"b c\"] d=e")
	f.Fuzz(func(t *testing.T, text string) {
		items, _ := parseItems(text)
		for _, it := range items {
			again, faults := parseItems(it.line())
			if len(again) != 1 || len(faults) > 0 || again[0].identity() != it.identity() || again[0].line() != it.line() {
				t.Fatalf("%q is read as %+v, %+v; it was %+v", it.line(), again, faults, it)
			}
			if again, err := menuWords(it.menu + " add x=" + quoteValue(text)); err == nil && !strings.ContainsAny(text, "\n\r") {
				if p := again[len(again)-1]; plainValue(strings.TrimPrefix(p, "x=")) != text {
					t.Fatalf("%q comes back as %q", text, p)
				}
			}
		}
	})
}

// TestMenusFolded: where the device folds a line it writes a blank as \_.
func TestMenusFolded(t *testing.T) {
	folded, _ := parseItems("/interface ethernet\nset [ find default-name=ether2 ] comment=\"to the\\\n    \\_left\"\n")
	flat, _ := parseItems(`/interface ethernet set [ find default-name=ether2 ] comment="to the left"`)
	if folded[0].identity() != flat[0].identity() {
		t.Errorf("%q is not %q", folded[0].identity(), flat[0].identity())
	}
}
