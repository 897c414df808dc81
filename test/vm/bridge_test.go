package vm

import (
	"encoding/base64"
	"fmt"
	"os"
	"strings"
	"testing"
)

const bridgeInventory = `
pools: {d: {ranges: [100-109]}}
devices:
  sw1: {platform: linux_bridge, domain: d, connect: 'telnet://127.0.0.1:2301'}
  sw2: {platform: linux_bridge, domain: d, connect: 'telnet://127.0.0.1:2302'}
  h1: {platform: linux}
  h2: {platform: linux}
  h3: {platform: linux}
  h4: {platform: linux}
  h5: {platform: linux}
  h6: {platform: linux}
wiring:
  - h1:eth1 -- sw1:p1
  - h2:eth1 -- sw1:p2
  - h3:eth1 -- sw1:p3
  - h4:eth1 -- sw2:p1
  - h5:eth1 -- sw2:p2
  - h6:eth1 -- sw2:p3
trunks: ['sw1:t0 -- sw2:t0']
`

// put writes a file on the machine.
func (m *machine) put(name, text string) {
	m.t.Helper()
	m.do("echo " + base64.StdEncoding.EncodeToString([]byte(text)) + " | base64 -d >" + name)
}

// TestLinuxBridges has two labs on two Linux bridges with a trunk between them. Frames
// pass inside a lab and nowhere else, free ports receive nothing, a manual change is
// found, and in the end the bridges are what they were at first.
func TestLinuxBridges(t *testing.T) {
	needMachine(t)
	m := boot(t)
	script, err := os.ReadFile("testdata/bridges")
	if err != nil {
		t.Fatal(err)
	}
	m.put("/bin/bridges", string(script))
	m.put("/tmp/activationd.yaml", "lab: {inventory: /tmp/inventory.yaml}\n")
	m.put("/tmp/inventory.yaml", bridgeInventory)
	for name, l := range map[string][2]string{"a": {"h1", "h4"}, "b": {"h2", "h5"}} {
		m.put("/tmp/"+name+".yaml", fmt.Sprintf("topology: {nodes: {%s: , %s: }, links: [{endpoints: ['%[1]s:eth1', '%[2]s:eth1']}]}\n", l[0], l[1]))
	}
	m.do("chmod 755 /bin/bridges; bridges make")
	m.daemon("/tmp/s --config /tmp/activationd.yaml")
	was := m.do("bridges state")

	// A port that is in no bridge is refused; one that was put in again has VLAN 1.
	if out, status := m.try("/sbin/ip -n sw1 link set p1 nomaster; /sbin/bridge -n sw1 vlan add dev p1 vid 100 pvid untagged"); status == "0" {
		t.Errorf("a port of no bridge is not refused: %s", out)
	}
	m.do("/sbin/ip -n sw1 link set p1 master br0")
	m.do("bridges lab a generate upload verify && bridges lab b generate upload")
	// The free ports' frames, sent first, come to nobody, and those of a lab to that alone.
	hears := func(when, from, others, want string) {
		t.Helper()
		if got := m.do("bridges hear " + from + " " + others); got != want {
			t.Errorf("%s: with %s and then %s to all,\n%s\nwant\n%s", when, others, from, got, want)
		}
	}
	hears("with both", "1 4", "3 6", "rx_packets sw1:p1 sw1:p3 sw2:p1 sw2:p3\ntx_packets sw1:p1 sw2:p1")
	hears("with both", "5 2", "3 6", "rx_packets sw1:p2 sw1:p3 sw2:p2 sw2:p3\ntx_packets sw1:p2 sw2:p2")

	// What somebody does by hand.
	m.do("/sbin/bridge -n sw1 vlan add dev p3 vid 100 pvid untagged; /sbin/bridge -n sw1 vlan add dev t0 vid 105; /sbin/bridge -n sw2 vlan del dev t0 vid 101; /sbin/bridge -n sw2 link set dev p1 isolated on")
	out, status := m.try("bridges lab a drift") // all else is as it should be
	for _, port := range []string{"sw1:p3: should have free", "sw1:t0: should have", "sw2:p1: should have VLAN 100", "sw2:t0: should have"} {
		if status != "4" || strings.Count(out, "\n") != 3 || !strings.Contains(out, port) {
			t.Errorf("drift does not find %s; status %s\n%s", port, status, out)
		}
	}
	m.do("/sbin/bridge -n sw1 vlan del dev p3 vid 100; /sbin/bridge -n sw1 vlan del dev t0 vid 105; /sbin/bridge -n sw2 vlan add dev t0 vid 101; /sbin/bridge -n sw2 link set dev p1 isolated off")
	m.do("/sbin/ip -n sw2 link set br0 type bridge vlan_filtering 0")
	if out, status := m.try("bridges lab b verify"); status != "4" || !strings.Contains(out, "vlan_filtering:1") {
		t.Errorf("a bridge that ignores VLANs: status %s\n%s", status, out)
	}
	m.do("/sbin/ip -n sw2 link set br0 type bridge vlan_filtering 1")

	m.do("bridges lab a erase")
	hears("with one", "2 5", "1 4 3 6", "rx_packets sw1:p1 sw1:p2 sw1:p3 sw2:p1 sw2:p2 sw2:p3\ntx_packets sw1:p2 sw2:p2")
	m.do("bridges lab b erase")
	if is := m.do("bridges state"); is != was {
		t.Errorf("at last the switches are\n%s\nat first they were\n%s", is, was)
	}
}
