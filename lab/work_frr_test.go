package lab

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"activationd/test/harness"
	"activationd/topology"
)

// An frr is the real FRRouting in a network namespace of its own, with vtysh.
type frr struct {
	*testing.T
	space, dir string
}

func newFRR(t *testing.T) *frr {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root, to make a network namespace")
	}
	if _, err := exec.LookPath("vtysh"); err != nil {
		t.Skip("needs frr")
	}
	dir, err := os.MkdirTemp("", "frr-*") // short: its sockets are in it
	if err != nil {
		t.Fatal(err)
	}
	f := &frr{T: t, space: fmt.Sprintf("atl-frr-%d", os.Getpid()), dir: dir}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	f.run("ip", "netns", "add", f.space)
	t.Cleanup(func() { f.run("ip", "netns", "delete", f.space) })
	f.run("ip", "-netns", f.space, "link", "set", "lo", "up")
	f.run("ip", "-netns", f.space, "link", "add", "eth1", "type", "veth", "peer", "name", "eth2")
	f.run("ip", "-netns", f.space, "link", "set", "eth1", "up")
	f.run("ip", "-netns", f.space, "link", "set", "eth2", "up")
	f.run("chmod", "755", dir)
	f.run("chown", "frr:frr", dir)
	for _, name := range []string{"zebra", "staticd", "ospfd", "ospf6d", "bgpd", "isisd", "ripd", "pimd", "bfdd"} {
		conf := filepath.Join(dir, name+".conf")
		if err := os.WriteFile(conf, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		args := []string{"netns", "exec", f.space, "/usr/lib/frr/" + name, "-A", "127.0.0.1", "-i", filepath.Join(dir, name+".pid"),
			"-z", filepath.Join(dir, "zserv.api"), "--vty_socket", dir, "-f", conf}
		if name == "bfdd" {
			args = append(args, "--bfdctl", filepath.Join(dir, "bfdd.sock"))
		}
		cmd := exec.Command("ip", args...)
		cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }) // it was started here
		f.until(func() bool { _, err := os.Stat(filepath.Join(dir, name+".vty")); return err == nil }, name)
	}
	return f
}

func (f *frr) run(args ...string) string {
	f.Helper()
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		f.Fatalf("%q: %v\n%s", args, err, out)
	}
	return string(out)
}

func (f *frr) until(ok func() bool, what string) {
	f.Helper()
	for end := time.Now().Add(5 * time.Minute); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			f.Fatalf("%s is not there", what)
		}
	}
}

// vtysh gives lines to one vtysh, which goes on after a refusal.
func (f *frr) vtysh(lines ...string) string {
	f.Helper()
	cmd := exec.Command("ip", "netns", "exec", f.space, "vtysh", "--vty_socket", f.dir, "--config_dir", f.dir)
	cmd.Stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
	out, err := cmd.CombinedOutput()
	if err != nil && len(out) == 0 {
		f.Fatal(err)
	}
	return string(out)
}

// configure gives lines, and returns the configuration after them and what was said.
func (f *frr) configure(lines ...string) (config, said string) {
	f.Helper()
	all := f.vtysh(slices.Concat([]string{"terminal length 0", "configure terminal"}, lines, []string{"end", "show running-config"})...)
	_, said, _ = strings.Cut(all, "configure terminal\n")
	said, config, ok := strings.Cut(said, "Current configuration:\n")
	config, _, whole := strings.Cut(config, "\nend\n")
	if !ok || !whole {
		f.Fatalf("it shows\n%s", all)
	}
	return config + "\nend\n", said
}

// comesBack applies a configuration, checks that it is shown, and undoes it by comparing. It
// returns the configuration that is shown then.
func (f *frr) comesBack(d *dialect, before, config string) string {
	f.Helper()
	made, err := d.plan(&topology.Node{Name: "r1", Config: config, ConfigLine: 1})
	if err != nil {
		f.Errorf("%q: %v", config, err)
		return before
	}
	now, said := f.configure(made.apply...)
	if lacks := d.missing(made.apply, now); lacks != nil {
		f.Errorf("%q: not seen: %q; it said\n%s\nshown is\n%s", config, lacks, said, now)
	}
	tried := attempts{}
	var sent []string
	for {
		lines, differs, _ := d.between(now, before, tried)
		if len(lines) == 0 {
			if len(differs) > 0 {
				f.Errorf("%q: sent was %q; left is %q", config, sent, differs)
			}
			return now
		}
		sent = append(sent, lines...)
		now, _ = f.configure(lines...)
	}
}

// frrLines are lines from the chapters of the manual, with their blocks. For some of them "no
// LINE" is unknown, not enough, or too much.
var frrLines = []string{
	// basics, vty
	"password zebra", "enable password geheim", "service password-encryption", "service advanced-vty", "log stdout informational", "log syslog warnings",
	"log file /tmp/frr.log debugging", "log facility local3", "log record-priority", "log timestamp precision 3", "log commands",
	"line vty\n exec-timeout 5 0", "line vty\n login", "line vty\n access-class LAB", "allow-external-route-update", "zebra nexthop kernel enable",
	"ip nht resolve-via-default", "ipv6 nht resolve-via-default", "ip forwarding", "no ip forwarding", "ipv6 forwarding", "no ipv6 forwarding", "router-id 10.0.0.9", "ip router-id 10.0.0.9",
	"debug zebra events", "debug ospf event", "debug bgp updates", "zebra work-queue 20", "zebra zapi-packets 100", "ip import-table 100 distance 20", "ip table range 100 200",
	// interfaces
	"interface eth1\n ip address 10.0.0.1/24", "interface eth1\n ip address 10.0.0.1/24 label lab", "interface eth1\n ipv6 address 2001:db8::1/64", "interface eth1\n description to the left",
	"interface eth1\n bandwidth 100000", "interface eth1\n link-detect", "interface eth1\n no link-detect", "interface eth1\n shutdown",
	"interface eth1\n link-params\n  enable\n  metric 7\n exit-link-params",
	"interface eth1\n ipv6 nd ra-interval 30", "interface eth1\n no ipv6 nd suppress-ra", "interface eth1\n ipv6 nd prefix 2001:db8::/64", "interface eth1\n ipv6 nd ra-lifetime 1900", "interface eth1\n ipv6 nd mtu 1400",
	"interface eth1\n ipv6 nd router-preference high", "interface eth1\n ipv6 nd other-config-flag", "interface eth1\n ipv6 nd rdnss 2001:db8::53", "interface eth1\n ipv6 nd dnssl example.net",
	// static routes, vrf
	"ip route 10.1.0.0/16 10.0.0.2", "ip route 10.1.0.0/16 10.0.0.2 5", "ip route 10.1.0.0/16 10.0.0.2 tag 7", "ip route 10.1.0.0/16 blackhole", "ip route 10.1.0.0/16 eth1", "ip route 10.1.0.0/16 10.0.0.2 eth1",
	"ip route 10.1.0.0/16 Null0", "ip route 10.1.0.0/16 reject 9", "ip route 10.1.0.0/16 10.0.0.2 table 7", "ip mroute 10.1.0.0/16 10.0.0.2", "ipv6 route 2001:db8:1::/48 2001:db8::2", "ipv6 route 2001:db8:1::/48 2001:db8::2 7",
	"vrf red\n ip route 10.1.0.0/16 10.0.0.2\nexit-vrf", "vrf red\n vni 7\nexit-vrf", "vrf red\n ip protocol ospf route-map LAB\nexit-vrf", "vrf red\nexit-vrf",
	// lists, maps
	"access-list LAB seq 5 permit 10.0.0.0/8", "access-list LAB permit 10.0.0.0/8", "access-list 10 permit 10.0.0.0 0.255.255.255", "access-list 110 permit ip 10.0.0.0 0.255.255.255 any", "ipv6 access-list LAB seq 5 permit 2001:db8::/32",
	"access-list LAB remark for the lab\naccess-list LAB seq 5 permit any",
	"ip prefix-list LAB seq 5 permit 10.0.0.0/8 le 24", "ip prefix-list LAB permit 10.0.0.0/8", "ip prefix-list LAB description for the lab\nip prefix-list LAB seq 5 permit any", "ipv6 prefix-list LAB seq 5 deny any",
	"route-map LAB permit 10\n match ip address prefix-list LAB\n set metric 7", "route-map LAB permit 10\n description first\n on-match next", "route-map LAB permit 10\n call OTHER", "route-map LAB permit 10\n set as-path prepend 65001 65001",
	"route-map LAB permit 10\n match interface eth1\n set ip next-hop 10.0.0.9\n set tag 8\n set local-preference 200\n set community 65001:7 additive", "route-map LAB optimization", "no route-map LAB optimization",
	"ip protocol ospf route-map LAB", "key chain LAB\n key 1\n  key-string geheim", "key chain LAB\n key 1\n  key-string geheim\n  cryptographic-algorithm hmac-sha-256",
	"bgp as-path access-list LAB seq 5 permit ^65001_", "bgp community-list standard LAB seq 5 permit 65001:7", "bgp community-list expanded LAB seq 5 permit 65001:.*", "bgp large-community-list standard LAB seq 5 permit 65001:7:8",
	"bgp extcommunity-list standard LAB seq 5 permit rt 65001:7",
	// OSPF
	"router ospf\n network 10.0.0.0/8 area 0", "router ospf\n ospf router-id 10.0.0.9", "router ospf\n passive-interface eth1", "router ospf\n passive-interface default", "router ospf\n redistribute connected", "router ospf\n redistribute connected metric 7 metric-type 1",
	"router ospf\n redistribute connected metric-type 2", "router ospf\n redistribute static route-map LAB", "router ospf\n default-information originate", "router ospf\n default-information originate always metric 7", "router ospf\n default-metric 9",
	"router ospf\n distance 120", "router ospf\n distance ospf intra-area 100", "router ospf\n timers throttle spf 100 200 300", "router ospf\n timers throttle lsa all 100", "router ospf\n timers lsa min-arrival 500", "interface eth1\n ip address 10.0.0.1/24\n ip ospf area 0\nrouter ospf\n max-metric router-lsa administrative",
	"router ospf\n auto-cost reference-bandwidth 1000", "router ospf\n area 1 stub", "router ospf\n area 1 stub no-summary", "router ospf\n area 1 nssa", "router ospf\n area 1 range 10.1.0.0/16", "router ospf\n area 1 range 10.1.0.0/16 cost 9", "router ospf\n area 0 authentication message-digest",
	"router ospf\n area 1 virtual-link 10.0.0.7", "router ospf\n area 1 virtual-link 10.0.0.7 hello-interval 7", "router ospf\n area 1 stub\n area 1 default-cost 9", "router ospf\n area 1 filter-list prefix LAB in", "router ospf\n neighbor 10.0.0.3 poll-interval 30", "router ospf\n log-adjacency-changes detail",
	"router ospf\n compatible rfc1583", "router ospf\n capability opaque", "router ospf\n maximum-paths 4", "router ospf\n refresh timer 20", "router ospf\n ospf abr-type standard", "router ospf\n distribute-list LAB out connected", "router ospf\n graceful-restart",
	"router ospf\n graceful-restart helper enable", "router ospf\n router-info area", "router ospf\n write-multiplier 30", "router ospf\n summary-address 10.9.0.0/16", "router ospf\n proactive-arp",
	"interface eth1\n ip ospf area 0", "interface eth1\n ip ospf cost 7", "interface eth1\n ip ospf hello-interval 10", "interface eth1\n ip ospf hello-interval 7", "interface eth1\n ip ospf dead-interval 40", "interface eth1\n ip ospf dead-interval 28", "interface eth1\n ip ospf dead-interval minimal hello-multiplier 4",
	"interface eth1\n ip ospf priority 7", "interface eth1\n ip ospf priority 1", "interface eth1\n ip ospf network point-to-point", "interface eth1\n ip ospf authentication message-digest", "interface eth1\n ip ospf authentication", "interface eth1\n ip ospf authentication-key geheim",
	"interface eth1\n ip ospf message-digest-key 1 md5 geheim", "interface eth1\n ip ospf mtu-ignore", "interface eth1\n ip ospf passive", "interface eth1\n ip ospf retransmit-interval 7", "interface eth1\n ip ospf transmit-delay 3", "interface eth1\n ip ospf bfd", "interface eth1\n ip ospf bfd\n ip ospf bfd profile LAB",
	// OSPFv3
	"router ospf6\n ospf6 router-id 10.0.0.9", "router ospf6\n redistribute connected", "router ospf6\n redistribute static metric 7", "router ospf6\n area 1 stub", "router ospf6\n area 1 range 2001:db8::/32", "router ospf6\n timers throttle spf 100 200 300", "router ospf6\n stub-router administrative", "router ospf6\n auto-cost reference-bandwidth 1000",
	"router ospf6\n default-information originate metric 7", "router ospf6\n distance ospf6 intra-area 100", "router ospf6\n maximum-paths 4",
	"interface eth1\n ipv6 ospf6 area 0", "interface eth1\n ipv6 ospf6 cost 7", "interface eth1\n ipv6 ospf6 hello-interval 7", "interface eth1\n ipv6 ospf6 dead-interval 28", "interface eth1\n ipv6 ospf6 priority 7", "interface eth1\n ipv6 ospf6 network point-to-point", "interface eth1\n ipv6 ospf6 passive", "interface eth1\n ipv6 ospf6 instance-id 7", "interface eth1\n ipv6 ospf6 ifmtu 1400",
	// BGP
	"router bgp 65001\n neighbor 10.0.0.2 remote-as 65002", "router bgp 65001\n bgp router-id 10.0.0.9", "router bgp 65001\n no bgp default ipv4-unicast", "router bgp 65001\n no bgp ebgp-requires-policy", "router bgp 65001\n timers bgp 5 15", "router bgp 65001\n bgp cluster-id 10.0.0.9",
	"router bgp 65001\n bgp confederation identifier 7\n bgp confederation peers 8 9", "router bgp 65001\n bgp bestpath as-path multipath-relax", "router bgp 65001\n bgp bestpath med missing-as-worst", "router bgp 65001\n bgp graceful-restart", "router bgp 65001\n bgp log-neighbor-changes", "router bgp 65001\n bgp always-compare-med",
	"router bgp 65001\n bgp dampening", "router bgp 65001\n neighbor LAB peer-group\n neighbor LAB remote-as 65002\n bgp listen range 10.0.0.0/24 peer-group LAB", "router bgp 65001\n coalesce-time 900", "router bgp 65001\n update-delay 20", "router bgp 65001\n bgp suppress-fib-pending",
	"router bgp 65001\n neighbor 10.0.0.2 remote-as 65002\n neighbor 10.0.0.2 description left\n neighbor 10.0.0.2 password geheim\n neighbor 10.0.0.2 timers 5 15\n neighbor 10.0.0.2 ebgp-multihop 3\n neighbor 10.0.0.2 update-source eth1\n neighbor 10.0.0.2 passive\n neighbor 10.0.0.2 bfd",
	"router bgp 65001\n neighbor 10.0.0.2 remote-as 65002\n neighbor 10.0.0.2 local-as 65009 no-prepend\n neighbor 10.0.0.2 shutdown message later\n neighbor 10.0.0.2 ttl-security hops 3\n neighbor 10.0.0.2 advertisement-interval 7\n neighbor 10.0.0.2 port 1790\n neighbor 10.0.0.2 capability extended-nexthop",
	"router bgp 65001\n neighbor eth1 interface remote-as external", "router bgp 65001\n address-family ipv4 unicast\n  network 10.9.0.0/16\n exit-address-family", "router bgp 65001\n address-family ipv4 unicast\n  redistribute connected\n exit-address-family", "router bgp 65001\n address-family ipv4 unicast\n  aggregate-address 10.8.0.0/14 summary-only\n  maximum-paths 4\n exit-address-family",
	"router bgp 65001\n neighbor 10.0.0.2 remote-as 65002\n address-family ipv4 unicast\n  neighbor 10.0.0.2 route-map LAB in\n  neighbor 10.0.0.2 next-hop-self\n  neighbor 10.0.0.2 soft-reconfiguration inbound\n  neighbor 10.0.0.2 maximum-prefix 100\n  neighbor 10.0.0.2 prefix-list LAB out\n  neighbor 10.0.0.2 default-originate\n exit-address-family",
	"router bgp 65001\n neighbor 2001:db8::2 remote-as 65002\n address-family ipv6 unicast\n  neighbor 2001:db8::2 activate\n  network 2001:db8:9::/48\n exit-address-family", "router bgp 65001\n neighbor 10.0.0.2 remote-as 65002\n address-family ipv4 unicast\n  no neighbor 10.0.0.2 activate\n exit-address-family", "router bgp 65001\n address-family l2vpn evpn\n  advertise-all-vni\n exit-address-family",
	"router bgp 65001\n address-family ipv4 unicast\n  distance bgp 21 201 201\n  table-map LAB\n  import vrf red\n exit-address-family", "router bgp 65001 vrf red\n neighbor 10.0.0.2 remote-as 65002", "router bgp 65001\n neighbor 10.0.0.2 remote-as 65002\n address-family ipv4 unicast\n  neighbor 10.0.0.2 allowas-in 2\n  neighbor 10.0.0.2 weight 7\n  neighbor 10.0.0.2 as-override\n  neighbor 10.0.0.2 send-community large\n exit-address-family",
	// IS-IS, RIP, PIM, BFD
	"router isis LAB\n net 49.0001.0000.0000.0001.00", "router isis LAB\n net 49.0001.0000.0000.0001.00\n is-type level-1\n metric-style wide\n area-password clear geheim\n domain-password md5 geheim\n lsp-mtu 1400\n log-adjacency-changes\n purge-originator\n set-overload-bit\n spf-interval 7", "router isis LAB\n redistribute ipv4 connected level-1\n net 49.0001.0000.0000.0001.00",
	"interface eth1\n ip router isis LAB", "interface eth1\n ip router isis LAB\n isis circuit-type level-1\n isis hello-interval 7\n isis metric 7\n isis password clear geheim\n isis priority 7\n isis network point-to-point\n isis csnp-interval 7", "interface eth1\n ip router isis LAB\n isis passive",
	"router rip\n network 10.0.0.0/8", "router rip\n network eth1", "router rip\n redistribute connected metric 7", "router rip\n passive-interface eth1", "router rip\n timers basic 20 60 90", "router rip\n version 2", "router rip\n default-metric 7", "router rip\n distance 99", "router rip\n neighbor 10.0.0.2", "router rip\n route 10.9.0.0/16", "router rip\n offset-list LAB in 3", "router rip\n default-information originate",
	"interface eth1\n ip rip authentication mode md5", "interface eth1\n ip rip authentication string geheim", "interface eth1\n ip rip send version 1", "interface eth1\n no ip rip split-horizon", "interface eth1\n ip rip split-horizon poisoned-reverse", "interface eth1\n ip rip v2-broadcast",
	"interface eth1\n ip pim", "interface eth1\n ip pim\n ip pim hello 20", "interface eth1\n ip pim\n ip pim drpriority 7", "interface eth1\n ip igmp", "interface eth1\n ip igmp version 2", "interface eth1\n ip igmp query-interval 99", "ip pim rp 10.0.0.9 224.0.0.0/4", "ip pim ecmp", "ip pim join-prune-interval 70", "ip pim keep-alive-timer 99", "ip igmp watermark-warn 90", "ip pim ssm prefix-list LAB",
	"bfd\n peer 10.0.0.2\n  detect-multiplier 7", "bfd\n profile LAB\n  transmit-interval 200", "bfd\n peer 10.0.0.2 interface eth1\n  shutdown", "bfd\n peer 10.0.0.2 multihop local-address 10.0.0.1",
}

// TestFRRComesBack applies each of many lines to the real FRR, checks that it is shown, and
// undoes it by comparing. It finds lines whose "no" is unknown, does nothing or removes more
// than it should, and words that are shown in another form.
func TestFRRComesBack(t *testing.T) {
	t.Parallel()
	f := newFRR(t)
	p, err := LoadPlatform("", "frr")
	if err != nil {
		t.Fatal(err)
	}
	before, _ := f.configure()
	for _, config := range harness.Part(t, frrLines, 40) {
		before = f.comesBack(&p.dialect, before, config)
	}
	// Lines that were there before in another form: the key of a static route is its next hop,
	// and many commands exist only once.
	for _, tt := range []struct{ before, config string }{
		{"ip route 10.1.0.0/16 10.0.0.2", "ip route 10.1.0.0/16 10.0.0.2 5"},
		{"ip route 10.1.0.0/16 10.0.0.2 5", "ip route 10.1.0.0/16 10.0.0.2"},
		{"ip route 10.1.0.0/16 10.0.0.2", "ip route 10.1.0.0/16 10.0.0.3"},
		{"ip route 10.1.0.0/16 10.0.0.2", "no ip route 10.1.0.0/16 10.0.0.2"},
		{"ipv6 route 2001:db8:1::/48 2001:db8::2", "ipv6 route 2001:db8:1::/48 2001:db8::2 7"},
		{"password zebra", "password geheim"},
		{"line vty\n exec-timeout 5 0", "line vty\n exec-timeout 0 0"},
		{"interface eth1\n description spare\n ip address 10.0.0.1/24", "interface eth1\n description to the left\n ip address 10.0.0.1/24\n ip address 10.0.1.1/24"},
		{"interface eth1\n ip ospf cost 9", "interface eth1\n ip ospf cost 7\n ip ospf hello-interval 10"},
		{"router ospf\n network 10.0.0.0/8 area 0\n redistribute connected", "router ospf\n no redistribute connected\n redistribute static metric 5"},
		{"router bgp 65001\n neighbor 10.0.0.2 remote-as 65002\n neighbor 10.0.0.2 description left", "router bgp 65001\n neighbor 10.0.0.2 description right\n neighbor 10.0.0.3 remote-as 65003"},
		{"router bgp 65001\n neighbor 10.0.0.2 remote-as 65002\n neighbor 10.0.0.2 description left\n neighbor 10.0.0.2 timers 5 15", "router bgp 65001\n neighbor 10.0.0.2 remote-as 65003"},
		{"router bgp 65001\n bgp confederation identifier 7\n bgp confederation peers 8 9", "router bgp 65001\n bgp confederation peers 9 10"},
		{"ip prefix-list LAB seq 5 permit 10.0.0.0/8\nip prefix-list LAB seq 10 deny any", "ip prefix-list LAB seq 7 permit 11.0.0.0/8\nno ip prefix-list LAB seq 10 deny any"},
		{"access-list LAB seq 5 permit 10.0.0.0/8\naccess-list LAB seq 10 deny any", "access-list LAB permit 11.0.0.0/8"},
		{"route-map LAB permit 10\n match ip address prefix-list A\n set metric 7", "route-map LAB permit 10\n match ip address prefix-list B\n set metric 8\nroute-map LAB deny 20"},
		{"vrf red\n ip route 10.1.0.0/16 10.0.0.2\nexit-vrf", "vrf red\n ip route 10.2.0.0/16 10.0.0.2\nexit-vrf"},
	} {
		had, _ := f.configure(strings.Split(tt.before, "\n")...)
		now := f.comesBack(&p.dialect, had, tt.config)
		if !slices.Equal(compared(&p.dialect, now), compared(&p.dialect, had)) {
			t.Errorf("%q, then %q: it is\n%s\nwas\n%s", tt.before, tt.config, now, had)
		}
		f.comesBack(&p.dialect, before, "")
	}
}
