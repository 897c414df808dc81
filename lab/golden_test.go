package lab

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"activationd/topology"
)

var update = flag.Bool("update", false, "write the golden files")

// goldenTopology has a link over a trunk, and one on a switch, and two nodes with a
// startup-config.
const goldenTopology = `
name: golden
topology:
  nodes:
    h1: {kind: linux}
    h2: {kind: linux}
    a:
      startup-config: |
%s
    b:
      startup-config: |
%s
  links:
    - endpoints: ["h1:eth1", "a:eth1"]
    - {type: veth, endpoints: [{node: h2, interface: eth1}, {node: b, interface: eth1}]}
    - endpoints: ["a:eth2", "b:eth2"]
`

// configs are a startup-config of each platform.
var configs = map[string]string{
	"cisco_ios": `hostname lab-a
!
vrf definition red
 rd 1:1
 !
 address-family ipv4
 exit-address-family
!
interface GigabitEthernet0/1
 description to the left # no comment
 vrf forwarding red
 ip address 10.0.0.1 255.255.255.0
 no shutdown
!
interface Loopback0
 ip address 10.255.0.1 255.255.255.255
interface GigabitEthernet0/2.100
 encapsulation dot1Q 100
router ospf 1
 network 10.0.0.0 0.255.255.255 area 0
banner motd ^C for all ^C
ip route 0.0.0.0 0.0.0.0 10.0.0.2
no ip http server
end`,
	"arista_eos": `interface Ethernet1
   no switchport
   ip address 10.0.0.1/24
router bgp 65001
   neighbor 10.0.0.2 remote-as 65002
   address-family ipv4
      neighbor 10.0.0.2 activate`,
	"juniper_junos": `set interfaces ge-0/0/1 unit 0 family inet address 10.0.0.1/24
set protocols ospf area 0 interface ge-0/0/1`,
	"nokia_srlinux": `enter candidate
set / interface ethernet-1/1 subinterface 0 ipv4 address 10.0.0.1/24
/network-instance default interface ethernet-1/1.0
routing-policy {
    policy all {
        statement 10 {
            action {
                policy-result accept
            }
        }
    }
}
set / network-instance default protocols bgp group g export-policy [ all ]
commit now`,
	"frr": `interface eth1
 ip address 10.0.0.1/24
exit
!
router bgp 65001
 neighbor 10.0.0.2 remote-as 65002
 !
 address-family ipv4 unicast
  network 10.9.0.0/16
 exit-address-family
exit`,
	"cisco_nxos": `hostname lab-a
feature ospf
feature interface-vlan

username ada password 5 $5$x  role network-operator
vlan 1,10,20-21
vlan 10
  name left

ip access-list EDGE
  10 permit tcp any any eq 22
interface Vlan10
  no shutdown
  ip address 10.10.0.1/24

interface Ethernet1/1
  no switchport
  ip address 10.0.0.1/24
  ip router ospf 1 area 0.0.0.0
  no shutdown

interface Ethernet1/2
  switchport mode trunk
  switchport trunk allowed vlan 10,20-21
router ospf 1
  router-id 10.0.0.1`,
	"aruba_aoss": `; J9726A Configuration Editor; Created on release #WB.16.10.0010

hostname "lab-a"
trunk 23-24 trk1 lacp
interface 5
   name "to the left"
   exit
snmp-server community "lab" unrestricted
vlan 1
   name "DEFAULT_VLAN"
   no untagged 5-8
   untagged 1-4,9-22,Trk1
   ip address dhcp-bootp
   exit
vlan 100
   name "left"
   untagged 5-8
   tagged Trk1
   no ip address
   exit
spanning-tree`,
	"mikrotik_routeros": `/interface bridge
add name=lab
/interface bridge port add bridge=lab interface=ether2
/ip address
add address=10.0.0.1/24 interface=lab
/interface ethernet
set [ find default-name=ether3 ] comment="to the left" disabled=no
/system identity set name=lab-a`,
	"vyos": `set interfaces ethernet eth1 address 10.0.0.1/24
set interfaces ethernet eth1 description "to the left"
set protocols ospf area 0 network '10.0.0.0/8'`,
	"linux": `# a host's
ip address add 10.0.0.1/24 dev eth1
ip link set eth1 up
ip route add default via 10.0.0.2`,
}

// goldenInput has switches of one platform, and nodes of another.
func goldenInput(t testing.TB, switches, nodes string) Input {
	t.Helper()
	inventory := fmt.Sprintf(`
pools: {d: {ranges: [100-199]}}
credentials: {c: {user: lab, password: {file: /etc/secret}}}
devices:
  sw1: {platform: %[1]s, domain: d, connect: "tcp://192.0.2.1:1000", credentials: c, pace: {character: 1ms, chunk: 16, chunk_delay: 10ms, line: 5ms}}
  sw2: {platform: %[1]s, domain: d, connect: "tcp://192.0.2.1:1001"}
  h1: {platform: linux}
  h2: {platform: linux}
  a: {platform: %[2]s, connect: "rfc2217://192.0.2.2:7001?baud=9600"}
  b: {platform: %[2]s, connect: "rfc2217://192.0.2.2:7002"}
wiring:
  - h1:eth1 -- sw1:p1
  - h2:eth1 -- sw1:p2
  - sw2:p1 -- a:eth1
  - a:eth2 -- sw2:p2
  - b:eth1 -- sw1:p3
  - b:eth2 -- sw2:p4
trunks: ["sw1:t1 -- sw2:t2"]
`, switches, nodes)
	inv, err := ParseInventory("inventory.yaml", []byte(inventory))
	if err != nil {
		t.Fatal(err)
	}
	config := "        " + strings.ReplaceAll(configs[nodes], "\n", "\n        ")
	topo, err := topology.Parse("topology", []byte(fmt.Sprintf(goldenTopology, config, config)), nil)
	if err != nil {
		t.Fatal(err)
	}
	in := Input{Activation: "1@golden", Inventory: inv, Topology: topo}
	if in.Platforms, err = inv.Platforms(); err != nil {
		t.Fatal(err)
	}
	if in.Mapping, err = Map(inv, in.Platforms, topo, nil); err != nil {
		t.Fatal(err)
	}
	if in.Links, err = Route(inv, topo, in.Mapping); err != nil {
		t.Fatal(err)
	}
	for i := range in.Links {
		in.Links[i].VLAN = 100 + i
	}
	return in
}

func planFiles(t testing.TB, in Input) map[string][]byte {
	t.Helper()
	p, err := Generate(in)
	if err != nil {
		t.Fatal(err)
	}
	files, err := p.Files(in.Platforms)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// TestGolden compares the files of a plan for each platform with those in testdata.
func TestGolden(t *testing.T) {
	pairs := map[string]string{"openvswitch": "linux", "cisco_ios": "cisco_ios", "arista_eos": "arista_eos", "juniper_junos": "juniper_junos", "openvswitch-frr": "frr", "nokia_srlinux": "nokia_srlinux", "cisco_nxos": "cisco_nxos", "aruba_aoss": "aruba_aoss", "linux_bridge": "linux", "mikrotik_routeros": "mikrotik_routeros", "vyos": "vyos"}
	for name, nodes := range pairs {
		t.Run(name, func(t *testing.T) {
			sw, _, _ := strings.Cut(name, "-")
			files := planFiles(t, goldenInput(t, sw, nodes))
			var all bytes.Buffer
			for _, f := range slices.Sorted(maps.Keys(files)) {
				fmt.Fprintf(&all, "-- %s --\n%s", f, files[f])
			}
			golden := filepath.Join("testdata", "plan-"+name+".golden")
			if *update {
				if err := os.WriteFile(golden, all.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(all.Bytes(), want) {
				t.Errorf("the plan is not %s; see the difference, and write it with -update:\n%s", golden, &all)
			}
		})
	}
}

// TestSameBytes generates plans concurrently, each from inputs that are read again.
func TestSameBytes(t *testing.T) {
	want := planFiles(t, goldenInput(t, "cisco_ios", "frr"))
	in := goldenInput(t, "cisco_ios", "frr")
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			mine := in
			if i%2 == 0 {
				mine = goldenInput(t, "cisco_ios", "frr")
			}
			if got := planFiles(t, mine); !maps.EqualFunc(got, want, bytes.Equal) {
				t.Error("equal input gives other bytes")
			}
		})
	}
	wg.Wait()
}

// TestPlanFiles writes a plan and reads it back. A changed file is detected.
func TestPlanFiles(t *testing.T) {
	in := goldenInput(t, "openvswitch", "frr")
	p, err := Generate(in)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := WritePlan(dir, p, in.Platforms); err != nil {
		t.Fatal(err)
	}
	again, platforms, err := ReadPlan(dir)
	if err != nil {
		t.Fatal(err)
	}
	files, err := again.Files(platforms)
	if err != nil || !maps.EqualFunc(files, planFiles(t, in), bytes.Equal) {
		t.Errorf("a plan that was read is another: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "a.undo"), []byte("no such line\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := ReadPlan(dir); err == nil || !strings.Contains(err.Error(), "a.undo is not the file that manifest.json describes") {
		t.Errorf("a changed file gives %v", err)
	}
}

// bigInput returns a topology with a number of links on ten switches in a ring.
func bigInput(t testing.TB, links int) (inventory, topology []byte) {
	t.Helper()
	var inv, topo strings.Builder
	inv.WriteString("pools: {d: {ranges: [2-4094]}}\ndevices:\n")
	topo.WriteString("name: big\ntopology:\n  nodes:\n")
	var wiring, trunks, ends strings.Builder
	for i := range 10 {
		fmt.Fprintf(&inv, "  sw%d: {platform: %s, domain: d, connect: 'tcp://192.0.2.1:%d'}\n", i, switchPlatforms[i%len(switchPlatforms)], 1000+i)
		fmt.Fprintf(&trunks, "  - sw%d:t1 -- sw%d:t2\n", i, (i+1)%10)
	}
	for i := range 2 * links {
		fmt.Fprintf(&inv, "  h%d: {platform: linux}\n", i)
		fmt.Fprintf(&topo, "    h%d: {kind: linux}\n", i)
		fmt.Fprintf(&wiring, "  - h%d:eth1 -- sw%d:p%d\n", i, i%10, i)
	}
	for i := range links {
		fmt.Fprintf(&ends, "    - endpoints: [\"h%d:eth1\", \"h%d:eth1\"]\n", 2*i, (2*i+7)%(2*links))
	}
	inv.WriteString("wiring:\n" + wiring.String() + "trunks:\n" + trunks.String())
	topo.WriteString("  links:\n" + ends.String())
	return []byte(inv.String()), []byte(topo.String())
}

// BenchmarkGenerate reads an inventory of 1010 devices and a topology of 500 links,
// routes these and makes all files.
func BenchmarkGenerate(b *testing.B) {
	inventory, text := bigInput(b, 500)
	for b.Loop() {
		inv, err := ParseInventory("inventory.yaml", inventory)
		if err != nil {
			b.Fatal(err)
		}
		topo, err := topology.Parse("topology", text, nil)
		if err != nil {
			b.Fatal(err)
		}
		in := Input{Activation: "1@big", Inventory: inv, Topology: topo}
		if in.Platforms, err = inv.Platforms(); err != nil {
			b.Fatal(err)
		}
		if in.Mapping, err = Map(inv, in.Platforms, topo, nil); err != nil {
			b.Fatal(err)
		}
		if in.Links, err = Route(inv, topo, in.Mapping); err != nil {
			b.Fatal(err)
		}
		for i := range in.Links {
			in.Links[i].VLAN = i + 1
		}
		planFiles(b, in)
	}
}
