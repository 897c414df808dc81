package lab

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"activationd/topology"
)

// TestSpread: lists of ports are read as devices write them. A text that is not a list of
// names, or whose ports are not known for certain, is an error.
func TestSpread(t *testing.T) {
	for _, tt := range []struct {
		list string
		has  []string
		not  []string
	}{
		{"1-4,7,Trk1", []string{"1", "4", "7", "Trk1"}, []string{"5", "Trk", "14"}},
		{"A1-A4, B7", []string{"A1", "A3", "A4", "B7"}, []string{"A5", "B1", "A7"}},
		{"1/1-1/4,2/1", []string{"1/1", "1/4", "2/1"}, []string{"1/5", "2/4"}},
		{"1/1/7-1/1/9", []string{"1/1/7", "1/1/8", "1/1/9"}, []string{"1/1/1", "1/1/10"}},
		{"Eth1/1-3, Eth1/5, Po10", []string{"Eth1/2", "Eth1/5", "Po10"}, []string{"Eth1/4", "Po1", "Eth1/10"}},
		{"Te 0/1-3,5,7-8", []string{"Te0/2", "Te0/5", "Te0/8"}, []string{"Te0/4", "Te0/6", "5"}},
		{"GE1/0/1(U) GE1/0/2(D)  GE1/0/3(U)", []string{"GE1/0/1", "GE1/0/3"}, []string{"GE1/0/4"}},
		{"*1, !2, 3-5", []string{"1", "2", "4"}, []string{"6"}},
		{"ether1,ether2,sfp-sfpplus1", []string{"ether1", "sfp-sfpplus1"}, []string{"sfp", "ether3"}},
		{"ge-0/0/1-ge-0/0/3", []string{"ge-0/0/2"}, []string{"ge-0/0/4"}},
		{"ge-0/0/1.0*, ge-0/0/2.0", []string{"ge-0/0/2.0"}, nil},
		{"port-channel1 lan1-uplink2", []string{"port-channel1", "lan1-uplink2"}, []string{"lan2"}},
		{"lan08-lan11", []string{"lan08", "lan09", "lan10"}, []string{"lan8"}},
		{"ethe 1/1/1 to 1/1/4 ethe 1/2/1", []string{"ethe1/1/3", "ethe1/2/1"}, []string{"ethe1/1/5", "to1/1/4"}},
		{"GigabitEthernet1/0/1 to GigabitEthernet1/0/4", []string{"GigabitEthernet1/0/3"}, []string{"GigabitEthernet1/0/5"}},
		{"Eth1/1-1/3", []string{"Eth1/2", "Eth1/3"}, []string{"Eth1/4"}},
		{"1:1-4, 2:3-2:5", []string{"1:2", "2:4"}, []string{"1:5", "2:6"}},
		{"*1(to the left), 2(Server-A), 3!", []string{"1", "2", "3"}, []string{"left", "to"}},
		{"", nil, []string{"", "1"}},
	} {
		ports, err := expandPorts(tt.list)
		if err != nil {
			t.Errorf("%q: %v", tt.list, err)
		}
		for _, p := range tt.has {
			if !slices.Contains(ports, p) {
				t.Errorf("%q has %q, and no %q", tt.list, ports, p)
			}
		}
		for _, p := range tt.not {
			if slices.Contains(ports, p) {
				t.Errorf("%q has %q, with %q", tt.list, ports, p)
			}
		}
	}
	for _, list := range []string{"1/24-2/1", "A1-B4", "4-1", "1-99999", "Eth1/24-Eth2/1", "1:24-2:1"} {
		if ports, err := expandPorts(list); err == nil {
			t.Errorf("%q is read as %q", list, ports)
		}
	}
}

// TestListOfIDs: lists of VLAN ids are read as devices write them, with remarks on single ids.
// Half a range, as in a folded line, proves nothing.
func TestListOfIDs(t *testing.T) {
	for _, tt := range []struct {
		list     string
		has, not []int
	}{
		{"1-4,7", []int{1, 3, 4, 7}, []int{5}},
		{"2 to 10 20", []int{2, 5, 10, 20}, []int{1, 11}},
		{"1 249-255", []int{1, 250}, []int{248}},
		{"1(default vlan), 100-110, 112 - 114", []int{1, 105, 113}, []int{111}},
		{"100(t),101", []int{100, 101}, nil},
		{"1-4095", []int{1, 4094}, []int{4095}},
		{"all", []int{1, 4094}, nil},
		{"none", nil, []int{1}},
		{"-", nil, []int{1}},
		{"lab-7, v8", nil, []int{7, 8}},
	} {
		has := map[int]bool{}
		if !listed(tt.list, has) {
			t.Errorf("%q is not read", tt.list)
		}
		for _, id := range tt.has {
			if !has[id] {
				t.Errorf("%q lacks %d", tt.list, id)
			}
		}
		for _, id := range tt.not {
			if has[id] {
				t.Errorf("%q has %d", tt.list, id)
			}
		}
	}
	for _, list := range []string{"1,100-", "-110,200", "2 to", "to 10 20"} {
		if listed(list, map[int]bool{}) {
			t.Errorf("%q is read", list)
		}
	}
}

// TestListedPortWithALetter: a port with a letter behind it, which is a remark, is in the
// VLAN.
func TestListedPortWithALetter(t *testing.T) {
	for said, has := range map[string]bool{"Tag: *3b, 4": true, "Tag: 3": true, "Tag: 33b": false} {
		in, out := Check{Show: "s", Ports: "Tag:(.*)", HasPort: "3"}, Check{Show: "s", Ports: "Tag:(.*)", NotPort: "3"}
		if (in.Failed(said) == "") != has || (out.Failed(said) == "") == has {
			t.Errorf("%q: %q, %q", said, in.Failed(said), out.Failed(said))
		}
	}
}

func FuzzSpread(f *testing.F) {
	for _, list := range []string{"1-4,7,Trk1", "Te 0/1-3,5", "GE1/0/1(U) *2", "1/24-2/1", "lan08-lan11"} {
		f.Add(list)
	}
	f.Fuzz(func(t *testing.T, list string) {
		ports, err := expandPorts(list)
		if most := (len(list) + 1) * maxRange; err == nil && len(ports) > most {
			t.Errorf("%q has %d ports", list, len(ports))
		}
	})
}

// listing is a platform whose commands name all ports of a VLAN at once.
const listing = `
dialog: linux
ports: {trunk: '{port}:t', access: '{port}:u', separator: ' '}
vlan:
  apply: ["add {vlan} '{access_ports} {ports}'", 'tag {ports}', 'brace {{ports}}']
  undo: ['tag none {ports}', 'remove {vlan}']
  checks: [{show: 'show {vlan}', applied: ['{vlan} {access_ports} .*'], clean: ['no {vlan}']}]
access:
  checks: [{show: 'show {vlan}', ports: '(?:untagged|no {vlan}) ?([^:]*):?'}]
trunk:
  checks: [{show: 'show {vlan}', ports: '(?:tagged|no {vlan}) ?([^:]*):?'}]
`

// TestPortLists: commands may name all ports of a link on a switch, and checks may read
// the list of a VLAN's ports; drift knows the same lists.
func TestPortLists(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "mine.yaml"), []byte(listing), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := LoadPlatform(dir, "mine")
	if err != nil {
		t.Fatal(err)
	}
	inv := &Inventory{Pools: map[string]Pool{"d": {Ranges: []Range{{117, 118}}}}, Devices: map[string]*Device{}}
	for _, name := range []string{"sw", "sw2"} {
		inv.Devices[name] = &Device{Name: name, Platform: "mine", Domain: "d"}
	}
	plan, err := Generate(Input{Inventory: inv, Platforms: map[string]*Platform{"mine": p}, Topology: &topology.Topology{Name: "t"}, Links: []PlannedLink{
		{Name: "far", Domain: "d", VLAN: 117, AccessPorts: []Port{{"sw", "p1"}, {"sw2", "p1"}}, TrunkPorts: []Port{{"sw", "t9"}, {"sw2", "t2"}, {"sw2", "t3"}, {"sw", "t1"}}},
		{Name: "near", Domain: "d", VLAN: 118, AccessPorts: []Port{{"sw", "p3"}, {"sw", "p2"}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	sw := plan.Devices[0]
	if want := []string{"add 117 'p1:u t1:t t9:t'", "tag t1:t t9:t", "brace {ports}", "add 118 'p2:u p3:u '", "brace {ports}"}; !slices.Equal(sw.Apply, want) {
		t.Errorf("the plan sends %q, want %q", sw.Apply, want)
	}
	if want := []string{"remove 118", "tag none t1:t t9:t", "remove 117"}; !slices.Equal(sw.Undo, want) {
		t.Errorf("and undoes it with %q, want %q", sw.Undo, want)
	}
	if i := slices.IndexFunc(sw.Clean, func(c Check) bool { return c.Undo != nil }); i >= 0 {
		t.Errorf("what lists ports stays if the VLAN was defined before: %+v", sw.Clean[i])
	}
	// The plan is written and read again before checks are used.
	if err := WritePlan(dir, plan, map[string]*Platform{"mine": p}); err != nil {
		t.Fatal(err)
	}
	plan, _, err = ReadPlan(dir)
	if err != nil {
		t.Fatal(err)
	}
	const far = "117 p1:u x\nuntagged p1,p7-p8:\ntagged t1-t3,t9:\n"
	const near = "118 p2:u p3:u x\nuntagged p2-p3:\ntagged\n"
	right := answers{"show 117": far, "show 118": near}
	for _, tt := range []struct {
		name, command, said string
		applied             bool
	}{
		{"right", "show 117", far, true},
		{"one trunk lacks", "show 117", strings.Replace(far, "t1-t3", "t2-t3", 1), false},
		{"tagged where it must not be", "show 117", strings.Replace(far, "untagged p1", "tagged p1", 1), false},
		{"in the middle of a range", "show 118", strings.Replace(near, "p2-p3", "p1-p5", 1), true},
		{"one end lacks", "show 118", strings.Replace(near, "p2-p3", "p3-p4", 1), false},
		{"no list", "show 118", strings.Replace(near, "untagged p2-p3:\n", "", 1), false},
		{"a range that says nothing", "show 118", strings.Replace(near, "p2-p3", "p2-p3,A1-B4", 1), false},
	} {
		if why := right.with(tt.command, tt.said).failed(plan.Devices[0].Applied); (why == "") != tt.applied {
			t.Errorf("%s: %q", tt.name, why)
		}
	}
	gone := answers{"show 117": "no 117\n", "show 118": "no 118\n"}
	if why := gone.failed(plan.Devices[0].Clean); why != "" {
		t.Errorf("when it is gone: %s", why)
	}
	for _, said := range []string{"", "no 117\ntagged t1:\n", "untagged p1:\nno 117\n", "118\n"} {
		if gone.with("show 117", said).failed(plan.Devices[0].Clean) == "" {
			t.Errorf("clean with %q", said)
		}
	}
	lent := map[int]Lease{117: {ID: 117}}
	all := []*expectation{{port: Port{"sw", "p1"}, ids: lent}, {port: Port{"sw", "t1"}, trunk: true, ids: lent}, {port: Port{"sw", "p9"}}}
	p.parts[partAccess].checks[0].applied = []string{"{vlan} {access_ports} {ports} x"}
	for _, c := range inv.portChecks(inv.Devices["sw"], p, all[0], all) {
		if why := c.Failed("117 p1:u t1:t x\nuntagged p1:\n"); why != "" {
			t.Errorf("drift asks for other ports: %s", why)
		}
	}
}

// TestListedPortOfAnotherName: a port is found under all names that the platform has for it.
// An unknown name would count as proof that the port is not in the VLAN.
func TestListedPortOfAnotherName(t *testing.T) {
	dir := t.TempDir()
	file := strings.Replace(listing, "vlan:", "interfaces:\n  words: [GigabitEthernet]\n  aliases: [{name: 'GigabitEthernet{*}', also: ['GE{*}']}, {name: 'X{a}', also: ['eth{a}'], kinds: [k]}]\nvlan:", 1)
	if err := os.WriteFile(filepath.Join(dir, "mine.yaml"), []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := LoadPlatform(dir, "mine")
	if err != nil {
		t.Fatal(err)
	}
	inv := &Inventory{Pools: map[string]Pool{"d": {Ranges: []Range{{117, 117}}}}, Devices: map[string]*Device{"sw": {Name: "sw", Platform: "mine", Domain: "d"}}}
	for _, name := range []string{"GigabitEthernet1/0/1", "GE1/0/1", "Gi1/0/1"} {
		plan, err := Generate(Input{Inventory: inv, Platforms: map[string]*Platform{"mine": p}, Topology: &topology.Topology{Name: "t"}, Links: []PlannedLink{
			{Name: "far", Domain: "d", VLAN: 117, AccessPorts: []Port{{"sw", name}}},
		}})
		if err != nil {
			t.Fatal(err)
		}
		for said, has := range map[string]bool{"untagged GigabitEthernet1/0/1:": true, "untagged GE1/0/1(U) GE1/0/2(U):": true, "untagged Gi1/0/1-1/0/2:": true, "untagged GE1/0/11:": false} {
			applied, clean := plan.Devices[0].Applied, plan.Devices[0].Clean
			if (applied[len(applied)-1].Failed(said) == "") != has || (clean[len(clean)-1].Failed(said) == "") == has {
				t.Errorf("%s: %q", name, said)
			}
		}
	}
}
