package lab

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"activationd/internal/fault"
	"activationd/topology"
)

// inventoryBase is valid; each row of the table adds or changes something.
const inventoryBase = `pools: {d: {ranges: [100-199]}}
credentials: {c: {user: lab, password: {env: PW}}}
devices:
  sw1: {platform: openvswitch, domain: d, connect: 'ssh://192.0.2.1', host_key: 'ssh-ed25519 AAAA', credentials: c}
  sw2: {platform: cisco_ios, domain: d, connect: 'telnet://192.0.2.2'}
  r1: {platform: frr, connect: 'rfc2217://192.0.2.3:7001', pace: {character: 1ms, chunk: 16, chunk_delay: 2ms, line: 5ms}}
  h1: {platform: linux}
wiring: ['r1:eth1 -- sw1:p1', 'sw2:Gi0/1 -- h1:eth1']
trunks: ['sw1:t0 -- sw2:t0']
`

func TestInventoryFaults(t *testing.T) {
	if _, err := ParseInventory("i", []byte(inventoryBase)); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, old, replacement, want string }{
		{"empty", inventoryBase, "", "i:1: is empty"},
		{"not YAML", "pools: {d", "pools: {{d", "i:"},
		{"two documents", "trunks:", "---\ntrunks:", "i:9: a second document begins"},
		{"not UTF-8", "trunks:", "# \xff\ntrunks:", "i:1: is not UTF-8"},
		{"unknown key", "trunks:", "trunk:", "i:9: trunk: unknown key; there are pools"},
		{"key twice", "trunks:", "wiring: []\ntrunks:", "i:9: the inventory: wiring is there twice"},
		{"merge of what is not known", "trunks:", "<<: {trunk: []}\ntrunks:", "i:9: trunk: unknown key"},
		{"merge", "trunks:", "<<: 3\ntrunks:", "i:9: <<: takes in a mapping"},
		{"pools a list", "pools: {d: {ranges: [100-199]}}", "pools: [d]", "i:1: pools: is not a mapping"},
		{"pool without ranges", "{ranges: [100-199]}", "{}", "i:1: pools: d: has no ranges"},
		{"range of words", "[100-199]", "[a-b]", `i:1: pools: d: ranges: "a-b": must be a VLAN id`},
		{"range too high", "[100-199]", "[100-4095]", "i:1: pools: d: ranges: 100-4095: VLAN ids are from 1 to 4094"},
		{"range from 0", "[100-199]", "[0]", "i:1: pools: d: ranges: 0: VLAN ids"},
		{"VLAN 1", "[100-199]", "[1-10]", "i:1: pools: d: has VLAN 1"},
		{"range backwards", "[100-199]", "[199-100]", "i:1: pools: d: ranges: 199-100: the range ends before it begins"},
		{"ranges overlap", "[100-199]", "[100-199, 150]", "i:1: pools: d: ranges: 100-199 and 150-150 have ids in common"},
		{"unknown key of a pool", "ranges: [100-199]", "ranges: [1], size: 3", "i:1: pools: d: size: unknown key; there are ranges and exclude"},
		{"a pool's name", "pools: {d:", "pools: {'d/e':", `i:1: pools: "d/e": a name has letters`},
		{"a secret in the file", "password: {env: PW}", "password: geheim", "i:2: credentials: c: password: write {file: PATH} or {env: NAME} of the secret"},
		{"a secret of both kinds", "{env: PW}", "{env: PW, file: x}", "i:2: credentials: c: password: must have either file or env"},
		{"unknown key of a secret", "{env: PW}", "{value: PW}", "i:2: credentials: c: password: must be {file: PATH} or {env: NAME} of a secret"},
		{"unknown key of credentials", "user: lab", "login: lab", "i:2: credentials: c: login: unknown key"},
		{"device without platform", "{platform: linux}", "{}", "i:7: h1: has no platform"},
		{"unknown platform", "{platform: linux}", "{platform: vms}", "i:7: h1: platform vms: is unknown; there are arista_eos, "},
		{"unknown key of a device", "{platform: linux}", "{platform: linux, port: 3}", "i:7: h1: port: unknown key"},
		{"unknown domain", "platform: cisco_ios, domain: d", "platform: cisco_ios, domain: e", "i:5: sw2: domain e: has no pool"},
		{"unknown credentials", "credentials: c}", "credentials: e}", "i:4: sw1: credentials e: are not defined"},
		{"a switch out of reach", ", connect: 'telnet://192.0.2.2'", "", "i:5: sw2: is a switch, and has no connect"},
		{"a URL", "telnet://192.0.2.2", "http://192.0.2.2", `i:5: sw2: connect: "http://192.0.2.2": must begin with`},
		{"a URL with a password", "telnet://192.0.2.2", "telnet://a:b@192.0.2.2", "must have no user and no password"},
		{"SSH to anybody", "host_key: 'ssh-ed25519 AAAA', ", "", "i:4: sw1: has no host_key"},
		{"a host key", "ssh-ed25519 AAAA", "AAAA", "i:4: sw1: host_key: must be a public key"},
		{"a pace", "character: 1ms", "character: 1", "i:6: r1: pace: character: \"1\" has no unit: write 1s"},
		{"a chunk", "chunk: 16", "chunk: -1", "i:6: r1: pace: chunk: must be a number from 0"},
		{"unknown key of a pace", "chunk: 16", "chunks: 16", "i:6: r1: pace: chunks: unknown key"},
		{"login", "credentials: c}", "login: {user: '('}}", "i:4: sw1: login: user: "},
		{"login's keys", "credentials: c}", "login: {name: x}}", "i:4: sw1: login: name"},
		{"old algorithms", "credentials: c}", "old_algorithms: perhaps}", "i:4: sw1: old_algorithms: must be true or false"},
		{"a wire", "r1:eth1 -- sw1:p1", "r1:eth1 - sw1:p1", `i:8: wiring: "r1:eth1 - sw1:p1": must be as in`},
		{"a wire to nowhere", "r1:eth1 -- sw1:p1", "r1:eth1 -- sw3:p1", `i:8: "r1:eth1 -- sw3:p1": there is no device sw3`},
		{"a wire between devices", "r1:eth1 -- sw1:p1", "r1:eth1 -- h1:p1", `i:8: "r1:eth1 -- h1:p1": wiring joins an interface of a device to a port of a switch`},
		{"a wire between switches", "r1:eth1 -- sw1:p1", "sw1:eth1 -- sw2:p1", "i:8: \"sw1:eth1 -- sw2:p1\": wiring joins"},
		{"a port's name", "sw1:p1", "sw1:p1;reboot", `i:8: wiring: "p1;reboot": an interface's name`},
		{"a port twice", "sw2:Gi0/1 -- h1", "sw1:p1 -- h1", `i:8: sw1:p1: is in use by "r1:eth1 -- sw1:p1", on line 8`},
		{"a trunk's port is an access port", "sw1:t0 -- sw2:t0", "sw1:p1 -- sw2:t0", "i:9: sw1:p1: is in use"},
		{"a trunk to a device", "sw1:t0 -- sw2:t0", "sw1:t0 -- h1:t0", `i:9: "sw1:t0 -- h1:t0": a trunk joins two switches`},
		{"a trunk to itself", "sw1:t0 -- sw2:t0", "sw1:t0 -- sw1:t1", "not one with itself"},
		{"one console for two", "telnet://192.0.2.2", "rfc2217://192.0.2.3:7001", "i:5: sw2: connect: rfc2217://192.0.2.3:7001 is also the console of r1, on line 6"},
		{"one console with other settings", "telnet://192.0.2.2", "rfc2217://192.0.2.3:7001?baud=9600", "i:5: sw2: connect: rfc2217://192.0.2.3:7001?baud=9600 is also the console of r1, on line 6"},
		{"one console spelled otherwise", "telnet://192.0.2.2", "tcp://[::ffff:192.0.2.3]:07001", "is also the console of r1, on line 6"},
		{"one device lent twice", "{platform: linux}", "{platform: linux, connect: 'ssh://H1', host_key: 'ssh-ed25519 AAAA'}\n  h2: {platform: linux, connect: 'ssh://h1.:22', host_key: 'ssh-ed25519 AAAA'}",
			"i:8: h2: connect: ssh://h1.:22 is also how h1 is reached, on line 7, by the same user: one device would be leased as two"},
		{"one switch as two", "  h1: {platform: linux}\nwiring: [", "  h1: {platform: linux}\n  sw0: {platform: openvswitch, domain: d, connect: 'ssh://192.0.2.1:22', host_key: 'ssh-ed25519 AAAA', credentials: c}\nwiring: ['h1:eth2 -- sw0:p1', ",
			`i:9: sw1:p1: is in use by "h1:eth2 -- sw0:p1", on line 9: these two devices are one`},
		{"a setting that the plan has", "{platform: linux}", "{platform: linux, settings: {vlan: '7'}}", "i:7: h1: settings: vlan: gets its value from the plan"},
		{"a setting of two lines", "{platform: linux}", `{platform: linux, settings: {a: "b\nc"}}`, "i:7: h1: settings: a: must be a line of text"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if !strings.Contains(inventoryBase, tt.old) {
				t.Fatalf("the inventory has no %q", tt.old)
			}
			_, err := ParseInventory("i", []byte(strings.Replace(inventoryBase, tt.old, tt.replacement, 1)))
			if !errors.Is(err, fault.Invalid) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("the error is %v, want %q", err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), "geheim") {
				t.Error("the error tells the secret")
			}
		})
	}
	t.Run("all at once", func(t *testing.T) {
		_, err := ParseInventory("i", []byte("pools: {d: {}}\ndevices: {a: {}, b: {platform: x}}\nwiring: [a]\n"))
		if err == nil || strings.Count(err.Error(), "\n") != 3 {
			t.Errorf("the errors are %v, want 4", err)
		}
	})
	t.Run("domains", func(t *testing.T) {
		text := strings.Replace(strings.Replace(inventoryBase, "pools: {", "pools: {e: {ranges: [2]}, ", 1), "cisco_ios, domain: d", "cisco_ios, domain: e", 1)
		_, err := ParseInventory("i", []byte(text))
		if err == nil || !strings.Contains(err.Error(), `i:9: "sw1:t0 -- sw2:t0": joins the domains d and e`) {
			t.Errorf("the error is %v", err)
		}
	})
}

const mapInventory = `
pools: {d: {ranges: [100-199]}, e: {ranges: [100-199]}}
devices:
  sw1: {platform: openvswitch, domain: d, connect: 'tcp://192.0.2.1:1'}
  sw2: {platform: openvswitch, domain: d, connect: 'tcp://192.0.2.1:2'}
  sw3: {platform: openvswitch, domain: e, connect: 'tcp://192.0.2.1:3'}
  r1: {platform: frr}
  r2: {platform: frr}
  r3: {platform: frr}
  e1: {platform: arista_eos}
wiring: ['r1:eth1 -- sw1:p1', 'r1:eth2 -- sw1:p2', 'r2:eth1 -- sw2:p1', 'r3:eth1 -- sw3:p1', 'e1:eth1 -- sw2:p2']
`

func TestMap(t *testing.T) {
	inv, err := ParseInventory("i", []byte(mapInventory))
	if err != nil {
		t.Fatal(err)
	}
	platforms, err := inv.Platforms()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, topology, devices, want string }{
		{"by name", "nodes: {r2: , e1: }", "", "e1=e1 r2=r2"},
		{"of a kind", "nodes: {x: {kind: frr}, y: {kind: arista_ceos}}", "", "x=r1 y=e1"},
		{"who needs two interfaces gets them", "nodes: {x: {kind: frr}, y: {kind: frr}}\n  links: [{endpoints: ['x:eth1', 'y:eth2']}]", "", "x=r2 y=r1"},
		{"of the reserved ones", "nodes: {x: {kind: frr}}", "r3 r2", "x=r2"},
		{"any", "nodes: {x: }", "", "x=e1"},
		{"a name is not taken", "nodes: {r1: , x: {kind: frr}}", "", "r1=r1 x=r2"},
		{"too few", "nodes: {x: {kind: arista_ceos}, y: {kind: arista_ceos}}", "", "the node y (line 2): the inventory has no device of that name"},
		{"no such interface", "nodes: {x: {kind: arista_ceos}, y: }\n  links: [{endpoints: ['x:eth7', 'y:eth1']}]", "", "(e1 has no eth7)"},
		{"another kind", "nodes: {r1: {kind: arista_ceos}}", "", "the node r1 (line 2): is of kind arista_ceos, and the device of that name is frr"},
		{"no kind that is known", "nodes: {r1: {kind: nonsense}}", "", "the node r1 (line 2): is of kind nonsense"},
		{"no kind that is known, of any name", "nodes: {x: {kind: nonsense}}", "", "none of kind nonsense with its interfaces is free (their kinds are: arista_eos, arista_ceos, ceos, arista_veos, vr-veos, vr-arista_veos; frr, linux)"},
		{"a Linux is no FRR", "nodes: {x: {kind: linux}}", "", "the node x (line 2): the inventory has no device of that name"},
		{"but its image tells one", "nodes: {x: {kind: linux, image: quay.io/frrouting/frr}}", "", "x=r1"},
		{"but its image tells another one", "nodes: {x: {kind: linux, image: vyos-container}}", "", "none of kind linux with an image of vyos with its interfaces is free"},
		{"its image, and another device's name", "nodes: {e1: {kind: linux, image: frr}}", "", "is of kind linux with an image of frr, and the device of that name is arista_eos"},
		{"interfaces in a LAN", "nodes: {x: {kind: frr}, y: {kind: frr}, b: {kind: bridge}}\n  links: [{endpoints: ['x:eth1', 'b:1']}, {endpoints: ['y:eth2', 'b:2']}]", "", "x=r2 y=r1"},
		{"a container", "nodes: {r1: {kind: linux}}", "", "r1=r1"},
		{"not reserved", "nodes: {r1: }", "r2", "the node r1 (line 2): is not one of the reserved devices (r2)"},
		{"a switch", "nodes: {sw1: }", "", "the node sw1 (line 2): is a switch, which all labs share"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			topo, err := topology.Parse("t", []byte("topology:\n  "+tt.topology+"\n"), nil)
			if err != nil {
				t.Fatal(err)
			}
			var devices []string
			if tt.devices != "" {
				devices = strings.Fields(tt.devices)
			}
			m, err := Map(inv, platforms, topo, devices)
			var got []string
			for _, one := range m {
				got = append(got, one.Node+"="+one.Device)
			}
			if s := strings.Join(got, " "); s != tt.want && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("it is %q, %v, want %q", s, err, tt.want)
			}
		})
	}
}

// TestKinds has the exact kinds that the platforms of the program serve.
func TestKinds(t *testing.T) {
	for _, tt := range []struct{ kind, image, want string }{
		{"cisco_iol", "", "cisco_ios"},
		{"cisco_csr1000v", "", "cisco_ios"},
		{"vr-csr", "", "cisco_ios"},
		{"vr-cisco_csr1000v", "", "cisco_ios"},
		{"cisco_xrv9k", "", ""},
		{"cisco_asav", "", ""},
		{"cisco_ftdv", "", ""},
		{"cisco_ios", "", "cisco_ios"},
		{"ceos", "", "arista_eos"},
		{"arista_ceos", "", "arista_eos"},
		{"vr-veos", "", "arista_eos"},
		{"arista_switch", "", ""},
		{"crpd", "", "juniper_junos"},
		{"vr-vqfx", "", "juniper_junos"},
		{"vr-vsrx", "", "juniper_junos"},
		{"juniper_vmx", "", "juniper_junos"},
		{"juniper", "", ""},
		{"frr", "", "frr"},
		{"linux", "quay.io/frrouting/frr:10", "frr"},
		{"linux", "ghcr.io/sysoleg/vyos-container", "vyos"},
		{"vyosnetworks_vyos", "", "vyos"},
		{"bridge", "", ""},
		{"ext-container", "", ""},
	} {
		var got []string
		for _, name := range BuiltInPlatforms() {
			p, err := LoadPlatform("", name)
			if err != nil {
				t.Fatal(err)
			}
			if p.serves(&topology.Node{Name: "n", Kind: tt.kind, Image: tt.image}) {
				got = append(got, name)
			}
		}
		if s := strings.Join(got, " "); s != tt.want {
			t.Errorf("%s (%s) is served by %q, want %q", tt.kind, tt.image, s, tt.want)
		}
	}
}

// TestOwnKinds: a user's platform serves the kinds that it lists, and the kind of its name.
func TestOwnKinds(t *testing.T) {
	p := &Platform{Name: "My_XR", Kinds: []string{"cisco_xrv9k"}}
	for kind, want := range map[string]bool{"cisco_xrv9k": true, "my_xr": true, "cisco_xrv": false, "": true, "linux": false} {
		if got := p.serves(&topology.Node{Kind: kind}); got != want {
			t.Errorf("it serves %q: %v", kind, got)
		}
	}
	dir := t.TempDir()
	text := "dialog: cisco_ios\nkinds: [Cisco_XRv9k]\ninterfaces: {aliases: [{name: 'Gi{n-1}', also: ['eth{n}'], kinds: [Cisco_XRv9k]}]}\n"
	if err := os.WriteFile(filepath.Join(dir, "mine.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	mine, err := LoadPlatform(dir, "mine")
	if err != nil {
		t.Fatal(err)
	}
	if !mine.serves(&topology.Node{Kind: "cisco_xrv9k"}) || readInterfaces(dir, "mine").identity("cisco_xrv9k", "eth1") != "Gi0" {
		t.Error("capital letters in a platform's kinds count")
	}
	p = &Platform{Name: "my_frr", Kinds: []string{"linux"}}
	if !p.serves(&topology.Node{Kind: "linux", Image: "frr"}) {
		t.Error("a platform of one's own serves no container of FRR, though it says so")
	}
}

func TestRouteFaults(t *testing.T) {
	inv, err := ParseInventory("i", []byte(mapInventory))
	if err != nil {
		t.Fatal(err)
	}
	platforms, err := inv.Platforms()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ ends, want string }{
		{"'r1:eth1', 'r2:eth1'", "the link r1:eth1 -- r2:eth1 (line 3): no trunks lead from sw1 to sw2"},
		{"'r1:eth1', 'r3:eth1'", "its ends are in several domains, but a VLAN belongs to one: d has r1:eth1 (on sw1); e has r3:eth1 (on sw3)"},
		{"'r1:eth7', 'r2:eth1'", "r1:eth7 is plugged into no switch; its wired interfaces are: eth1, eth2"},
	} {
		topo, err := topology.Parse("t", []byte("topology:\n  nodes: {r1: , r2: , r3: }\n  links: [{endpoints: ["+tt.ends+"]}]\n"), nil)
		if err != nil {
			t.Fatal(err)
		}
		m, err := Map(inv, platforms, topo, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Route(inv, topo, m); !errors.Is(err, fault.Invalid) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.ends, err, tt.want)
		}
	}
}

// TestOneServerForSeveral: behind one SSH server there may be several devices, with different
// users, platforms or settings, and switches with different names of ports.
func TestOneServerForSeveral(t *testing.T) {
	const text = `pools: {d: {ranges: [100-199]}}
credentials: {c: {user: lab}, e: {user: other}}
devices:
  sw1: {platform: openvswitch, domain: d, connect: 'ssh://192.0.2.1', host_key: 'ssh-ed25519 AAAA'}
  sw2: {platform: openvswitch, domain: d, connect: 'ssh://192.0.2.1', host_key: 'ssh-ed25519 AAAA'}
  sw3: {platform: openvswitch, domain: d, connect: 'ssh://192.0.2.1', host_key: 'ssh-ed25519 AAAA', settings: {bridge: br3}}
  r1: {platform: frr, connect: 'ssh://192.0.2.1', host_key: 'ssh-ed25519 AAAA'}
  r2: {platform: frr, connect: 'ssh://192.0.2.1', host_key: 'ssh-ed25519 AAAA', credentials: c}
  r3: {platform: frr, connect: 'ssh://192.0.2.1', host_key: 'ssh-ed25519 AAAA', credentials: e}
  r4: {platform: linux, connect: 'ssh://192.0.2.1', host_key: 'ssh-ed25519 AAAA'}
  r5: {platform: linux, connect: 'ssh://192.0.2.1:2200', host_key: 'ssh-ed25519 AAAA'}
wiring: ['r1:eth1 -- sw1:p1', 'r2:eth1 -- sw2:p2', 'r3:eth1 -- sw3:p1']
`
	if _, err := ParseInventory("i", []byte(text)); err != nil {
		t.Error(err)
	}
}
