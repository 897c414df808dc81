package lab

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"activationd/internal/fault"
	"activationd/topology"
)

// accessPlan plans a startup-config for a device that is reached by a URL.
func accessPlan(t *testing.T, platform, url, more, config string) (*Plan, error) {
	t.Helper()
	inv, err := ParseInventory("inventory.yaml", fmt.Appendf(nil, `
pools: {d: {ranges: [100-199]}}
credentials: {c: {user: lab, password: {env: PW}}}
devices:
  r1: {platform: %s, connect: '%s', credentials: c%s}
`, platform, url, more))
	if err != nil {
		t.Fatal(err)
	}
	platforms, err := inv.Platforms()
	if err != nil {
		t.Fatal(err)
	}
	topo := &topology.Topology{Nodes: []*topology.Node{{Name: "r1", Config: config, ConfigLine: 1}}}
	return Generate(Input{Inventory: inv, Platforms: platforms, Topology: topo, Mapping: Mapping{{"r1", "r1", platform}}})
}

// TestAccessPathOfTheDevice: a startup-config is refused that does not mention the address by
// which a device is reached, but changes the interface that has the address on the device. It
// is compared with the device before anything is sent.
func TestAccessPathOfTheDevice(t *testing.T) {
	const ssh = "ssh://192.0.2.12"
	for _, tt := range []struct{ platform, running, config, line string }{
		{"cisco_ios", "interface Ethernet0/0\n description up\n ip address 192.0.2.12 255.255.255.0\nend\n", "interface Ethernet0/0\n no ip address\n", "interface Ethernet0/0 / no ip address"},
		{"cisco_ios", "interface Ethernet0/0\n ip address 192.0.2.12 255.255.255.0\nend\n", "interface eth0/0\n shutdown\n", "interface Ethernet0/0 / shutdown"},
		{"cisco_ios", "interface Ethernet0/0\n ip address 192.0.2.12 255.255.255.0\nend\n", "default interface Ethernet0/0\n", "default interface Ethernet0/0"},
		{"cisco_ios", "interface Ethernet0/0\n description up\n ip address 192.0.2.12 255.255.255.0\nend\n", "interface Ethernet0/0\n description up\ninterface Ethernet0/1\n shutdown\n", ""},
		{"cisco_ios", "no aaa new-model\nend\n", "no aaa new-model\n", ""},
		{"cisco_ios", "aaa new-model\nend\n", "no aaa new-model\n", "no aaa new-model"},
		{"cisco_nxos", "interface Ethernet1/1\n  no switchport\n  ip address 192.0.2.12/24\n", "interface Eth1/1\n  switchport\n", "interface Ethernet1/1 / switchport"},
		{"cisco_nxos", "interface mgmt0\n  vrf member management\n  ip address 192.0.2.12/24\n", "interface mgmt0\n  vrf member management\n", ""},
		{"cisco_nxos", "interface mgmt0\n  ip address 192.0.2.12/24\n", "interface mgmt0\n  vrf member management\n", "interface mgmt0 / vrf member management"},
		// Of a ProCurve it is a VLAN that has the address.
		{"aruba_aoss", "vlan 20\n   untagged 1-4\n   ip address 192.0.2.12 255.255.255.0\n   exit\n", "vlan 20\n   tagged 24\n   exit\n", "vlan 20 / tagged 24"},
		{"aruba_aoss", "vlan 20\n   untagged 1-4\n   ip address 192.0.2.12 255.255.255.0\n   exit\n", "no vlan 20\n", "no vlan 20"},
		{"aruba_aoss", "vlan 20\n   untagged 1-4\n   ip address 192.0.2.12 255.255.255.0\n   exit\n", "vlan 20\n   untagged 2-3\n   exit\nvlan 21\n   tagged 24\n   exit\n", ""},
		{"frr", "interface eth0\n ip address 192.0.2.12/24\nexit\n!\nend\n", "interface eth0\n shutdown\n", "interface eth0 / shutdown"},
		{"frr", "interface eth0\n ip address 192.0.2.12/24\nexit\n!\nend\n", "interface eth1\n shutdown\n", ""},
		{"juniper_junos", "set interfaces ge-0/0/9 unit 0 family inet address 192.0.2.12/24\n", "set interfaces ge-0/0/9 disable\n", "set interfaces ge-0/0/9 disable"},
		{"juniper_junos", "set interfaces ge-0/0/9 unit 0 family inet address 192.0.2.12/24\n", "deactivate interfaces ge-0/0/9\n", "deactivate interfaces ge-0/0/9"},
		{"juniper_junos", "set interfaces ge-0/0/9 unit 0 family inet address 192.0.2.12/24\n", "set interfaces ge-0/0/8 disable\nset interfaces ge-0/0/9 unit 0 family inet\n", ""},
	} {
		for _, allow := range []string{"", ", allow: access-path"} {
			plan, err := accessPlan(t, tt.platform, ssh, ", host_key: 'ssh-ed25519 AAAA'"+allow, tt.config)
			if err != nil {
				t.Errorf("%q: %v", tt.config, err)
				continue
			}
			p, err := LoadPlatform("", tt.platform)
			if err != nil {
				t.Fatal(err)
			}
			err = p.dialect.reachable(&plan.Devices[0], tt.running)
			want := tt.line != "" && allow == ""
			if errors.Is(err, fault.Conflict) != want || want && !strings.Contains(err.Error(), tt.line) {
				t.Errorf("%q%s: %v, want one about %q", tt.config, allow, err, tt.line)
			}
		}
	}
}

// TestAccessPath: a startup-config that cuts off the access by which it would be undone is
// refused when it is planned, with its line, unless the inventory allows it.
func TestAccessPath(t *testing.T) {
	const ssh, telnet, serial = "ssh://192.0.2.12", "telnet://192.0.2.12", "tcp://192.0.2.99:7001"
	for _, tt := range []struct{ platform, url, config, line string }{
		{"cisco_ios", telnet, "interface Ethernet0/0\n description up\n ip address 192.0.2.12 255.255.255.0\n", "interface Ethernet0/0 / description up"},
		{"cisco_ios", telnet, "interface Ethernet0/1\n ip address 10.0.0.1 255.255.255.0\n", ""},
		{"cisco_ios", serial, "interface Ethernet0/0\n ip address 192.0.2.12 255.255.255.0\n", ""},
		{"cisco_ios", telnet, "username lab secret x\n", "username lab secret x"},
		{"cisco_ios", telnet, "username ada secret x\n", ""},
		{"cisco_ios", telnet, "no username lab\n", "no username lab"},
		{"cisco_ios", telnet, "line vty 0 4\n transport input ssh\n", "line vty 0 4 / transport input ssh"},
		{"cisco_ios", telnet, "line vty 0 4\n exec-timeout 0 0\n logging synchronous\n", ""},
		{"cisco_ios", serial, "line vty 0 4\n transport input ssh\n", ""},
		{"cisco_ios", serial, "line con 0\n login local\n", "line con 0 / login local"},
		{"cisco_ios", serial, "line con 0\n logging synchronous\n stopbits 1\n", ""},
		{"cisco_ios", ssh, "no ip ssh version 2\n", "no ip ssh version 2"},
		{"cisco_ios", serial, "aaa new-model\n", "aaa new-model"},
		{"arista_eos", ssh, "interface Management1\n   shutdown\n", "interface Management1 / shutdown"},
		// In other words, and in short ones.
		{"arista_eos", ssh, "interface management 1\n   shutdown\n", "interface Management1 / shutdown"},
		{"arista_eos", ssh, "int ma1\n   shut\n", "interface Management1 / shut"},
		{"arista_eos", ssh, "default interface Management1\n", "default interface Management1"},
		{"arista_eos", ssh, "manage ssh\n   shutdown\n", "manage ssh / shutdown"},
		{"arista_eos", ssh, "interface Ethernet3\n   ip add 192.0.2.12/24\n", "interface Ethernet3 / ip add"},
		{"arista_eos", ssh, "interface Ethernet3\n   ip address 10.0.0.1/24\n", ""},
		{"cisco_ios", telnet, "default username lab\n", "default username lab"},
		{"cisco_ios", telnet, "no user lab\n", "no user lab"},
		{"cisco_ios", telnet, "user ada sec x\n", ""},
		{"cisco_ios", telnet, "lin vt 0 4\n transport input ssh\n", "lin vt 0 4 / transport input ssh"},
		{"cisco_ios", telnet, "interface Gi0\n shutdown\n", "interface GigabitEthernet0 / shutdown"},
		{"cisco_ios", telnet, "interface Gi0/1\n shutdown\n", ""},
		{"cisco_ios", "telnet://[2001:db8::12]", "interface Ethernet0/0\n ipv6 address 2001:DB8:0::12/64\n", "interface Ethernet0/0 / ipv6 address"},
		{"arista_eos", ssh, "management ssh\n   shutdown\n", "management ssh / shutdown"},
		{"arista_eos", telnet, "management telnet\n   shutdown\n", "management telnet / shutdown"},
		{"arista_eos", ssh, "management api http-commands\n   no shutdown\n", ""},
		{"arista_eos", ssh, "interface Ethernet3\n   no switchport\n   ip address 192.0.2.12/24\n", "interface Ethernet3 / no switchport"},
		{"cisco_nxos", ssh, "interface mgmt0\n  ip address 192.0.2.13/24\n", "interface mgmt0 / ip address"},
		{"cisco_nxos", serial, "interface mgmt0\n  ip address 192.0.2.13/24\n", ""},
		{"cisco_nxos", ssh, "vrf context management\n  ip route 0.0.0.0/0 192.0.2.1\n", "vrf context management / ip route"},
		{"cisco_nxos", ssh, "vrf context red\n  ip route 0.0.0.0/0 192.0.2.1\n", ""},
		{"cisco_nxos", ssh, "username lab password 5 $5$x role network-admin\n", "username lab password"},
		{"cisco_nxos", ssh, "username ada password 5 $5$x role network-admin\n", ""},
		{"cisco_nxos", ssh, "no feature ssh\n", "no feature ssh"},
		{"cisco_nxos", telnet, "no feature ssh\n", ""},
		{"cisco_nxos", ssh, "line vty\n  access-class A in\n", "line vty / access-class"},
		{"cisco_nxos", ssh, "line vty\n  exec-timeout 0\nline console\n", ""},
		{"aruba_aoss", ssh, "vlan 20\n   ip address 192.0.2.12 255.255.255.0\n   exit\n", "vlan 20 / ip address"},
		{"aruba_aoss", ssh, "password manager plaintext x\n", "password manager plaintext"},
		{"aruba_aoss", ssh, "no ip ssh\n", "no ip ssh"},
		{"aruba_aoss", telnet, "no telnet-server\n", "no telnet-server"},
		{"aruba_aoss", ssh, "no telnet-server\nip default-gateway 10.0.0.1\n", "ip default-gateway"},
		{"aruba_aoss", serial, "ip default-gateway 10.0.0.1\nvlan 20\n   ip address 192.0.2.12 255.255.255.0\n   exit\n", ""},
		{"juniper_junos", ssh, "set interfaces fxp0 unit 0 family inet address 198.51.100.1/24\n", "set interfaces fxp0 unit 0"},
		{"juniper_junos", ssh, "set interfaces ge-0/0/0 unit 0 family inet address 192.0.2.12/24\n", "set interfaces ge-0/0/0 unit 0"},
		{"juniper_junos", ssh, "set system services ssh root-login deny\n", "set system services ssh"},
		{"juniper_junos", ssh, "set system login user lab class read-only\n", "set system login user lab"},
		{"juniper_junos", ssh, "set system login user ada class read-only\n", ""},
		{"juniper_junos", ssh, "set groups g system services ssh\nset apply-groups g\n", "set groups g system services ssh"},
		{"juniper_junos", ssh, "deactivate system services ssh\n", "deactivate system services ssh"},
		{"juniper_junos", ssh, "deactivate system\n", "deactivate system"},
		{"juniper_junos", ssh, "deactivate interfaces fxp0\n", "deactivate interfaces fxp0"},
		{"juniper_junos", ssh, "deactivate system services telnet\n", ""},
		{"juniper_junos", ssh, "deactivate interfaces ge-0/0/1\n", ""},
		{"juniper_junos", ssh, "deactivate protocols\n", ""},
		{"juniper_junos", ssh, "set interfaces ge-0/0/1 unit 0 family inet address 10.0.0.1/24\n", ""},
	} {
		t.Run(tt.platform+" "+tt.url+" "+tt.config, func(t *testing.T) {
			more := ""
			if strings.HasPrefix(tt.url, "ssh") {
				more = ", host_key: 'ssh-ed25519 AAAA'"
			}
			_, err := accessPlan(t, tt.platform, tt.url, more, tt.config)
			switch {
			case tt.line == "" && err != nil:
				t.Errorf("it is refused: %v", err)
			case tt.line != "" && (!errors.Is(err, fault.Invalid) || !strings.Contains(err.Error(), tt.line) || !strings.Contains(err.Error(), "allow: access-path")):
				t.Errorf("the error is %v, want one about %q", err, tt.line)
			}
			p, err := accessPlan(t, tt.platform, tt.url, more+", allow: access-path", tt.config)
			if err != nil || tt.line != "" && !strings.Contains(strings.Join(p.Notices, "\n"), tt.line) {
				t.Errorf("allowed: %v", err)
			}
		})
	}
}
