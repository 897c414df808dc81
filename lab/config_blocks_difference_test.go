package lab

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"activationd/topology"
)

// undone applies a startup-config to a device with another configuration, undoes it by
// comparing, and returns what was sent and the differences that remain. No line that was there
// before, and that the startup-config left, may be missing at any moment.
func undone(t *testing.T, platform string, m *cliModel, before, config string) (sent []string, left []string) {
	t.Helper()
	p, err := LoadPlatform("", platform)
	if err != nil {
		t.Fatal(err)
	}
	d := &p.dialect
	made, err := d.plan(&topology.Node{Name: "r1", Config: config, ConfigLine: 1})
	if err != nil {
		t.Fatal(err)
	}
	m.single = d.single
	m.learn(before, config, strings.Join(made.apply, "\n"))
	m.load(before)
	was, had := m.String(), m.paths()
	for _, l := range made.apply {
		if said := m.do(l); said != "" {
			t.Logf("%q: %s", l, said)
		}
	}
	m.at = m.at[:1]
	kept := m.paths()
	maps.DeleteFunc(kept, func(path string, _ bool) bool { return !had[path] })
	m.watch = func(line string) {
		now := m.paths()
		for path := range kept {
			if !now[path] && !orderedPath(d, path) {
				t.Errorf("after %q there is no %q, which was there before", line, path)
				delete(kept, path)
			}
		}
	}
	tried := attempts{}
	for range 20 {
		lines, differs, _ := d.between(m.String(), was, tried)
		left = differs
		if len(lines) == 0 {
			break
		}
		for _, l := range lines {
			if said := m.do(l); said != "" {
				t.Logf("%q: %s", l, said)
			}
			sent = append(sent, strings.TrimSpace(l))
		}
		m.at = m.at[:1]
	}
	if is := m.String(); len(left) == 0 && !slices.Equal(compared(d, is), compared(d, was)) {
		t.Errorf("it is\n%s\nwas\n%s", is, was)
	}
	return sent, left
}

// compared returns the lines of a configuration in a fixed order, without empty hardware
// interfaces, which may be shown or not.
func compared(d *dialect, config string) (lines []string) {
	walk(parseConfig(config, nil), "", func(b *block, path string) {
		if rule, _ := d.rule(b.line, ""); rule == nil || !rule.keep || len(b.under) > 0 {
			lines = append(lines, path)
		}
	})
	slices.Sort(lines)
	return lines
}

// orderedPath reports whether a line belongs to an object that may be removed and made again.
func orderedPath(d *dialect, path string) bool {
	first, _, _ := strings.Cut(path, " / ")
	o, _ := d.orderOf(first)
	return o != nil || strings.Contains(path, "ip access-group") // which is led to a copy meanwhile
}

// TestUndoIsTheDifference: undoing sends the difference, not the inverse of what was sent. The
// inverse would remove lines that were there before and are in the startup-config again, among
// them the address and the users by which the device is reached. It would leave interfaces
// that are not known to be virtual, and take lines without an inverse for undone.
func TestUndoIsTheDifference(t *testing.T) {
	for _, tt := range []struct {
		name, platform, before, config string
		on                             string // commands that hold unless they are negated, by commas
		sent                           string // what is sent, by slashes
		left                           string // what stays, and is reported
	}{
		{
			"the management address once more", "cisco_ios",
			"interface Ethernet0/0\n ip address 192.0.2.12 255.255.255.0\ninterface Ethernet0/1\n no ip address\nusername lab secret 5 $1$x\nline vty 0 4\n login local\n",
			"interface Ethernet0/0\n ip address 192.0.2.12 255.255.255.0\ninterface Ethernet0/1\n ip address 10.0.0.1 255.255.255.0\n",
			"", "interface Ethernet0/1/no ip address/exit", "",
		},
		{
			"a description for another", "cisco_ios",
			"interface Ethernet0/1\n description spare\n", "interface Ethernet0/1\n description to the left\n",
			"", "interface Ethernet0/1/description spare/exit", "",
		},
		{
			"an unused port stays down", "cisco_ios",
			"interface Ethernet0/1\n no ip address\n shutdown\ninterface Ethernet0/2\n no ip address\n shutdown\n", "interface Ethernet0/1\n shutdown\n ip address 10.0.0.1 255.255.255.0\n",
			"", "interface Ethernet0/1/no ip address/exit", "",
		},
		{
			"virtual interfaces of every kind", "cisco_ios", "interface Ethernet0/1\n shutdown\n",
			"interface Dialer1\n mtu 1400\ninterface Virtual-Template1\n mtu 1400\ninterface Multilink3\n ip address 10.0.0.1 255.255.255.0\ninterface LISP0\n mtu 1400\ninterface VirtualPortGroup0\n mtu 1400\ninterface pseudowire7\n mtu 1400\ninterface Ethernet0/1.20\n encapsulation dot1Q 20\n",
			"", "no interface Ethernet0/1.20/no interface pseudowire7/no interface VirtualPortGroup0/no interface LISP0/no interface Multilink3/no interface Virtual-Template1/no interface Dialer1", "",
		},
		{
			"EOS: virtual interfaces", "arista_eos", "interface Ethernet1\n", "interface Vxlan1\n vxlan udp-port 4789\ninterface Dps1\n mtu 1400\ninterface Ethernet1\n mtu 9000\n",
			"", "no interface Dps1/no interface Vxlan1/interface Ethernet1/no mtu 9000/exit", "",
		},
		{
			"EOS: management services go with their block", "arista_eos", "hostname sw\n",
			"management api http-commands\n   no shutdown\n", "", "no management api http-commands", "",
		},
		{
			"EOS: a management service that had a block", "arista_eos", "management api http-commands\n   protocol http\n",
			"management api http-commands\n   no shutdown\n", "", "management api http-commands/shutdown/exit", "",
		},
		{
			"what is on, and was switched off", "cisco_ios", "hostname r1\n", "no ip http server\n",
			"ip http server", "ip http server", "",
		},
		{
			"what is off, and was there before", "cisco_ios", "no ip http server\n", "ip http server\n",
			"ip http server", "no ip http server", "",
		},
		{
			"a name", "cisco_ios", "hostname r1\n", "hostname lab-a\n", "", "hostname r1", "",
		},
		{
			"a lost line comes back", "cisco_ios", "router ospf 1\n network 10.0.0.0 0.0.0.255 area 0\n", "router ospf 1\n no network 10.0.0.0 0.0.0.255 area 0\n",
			"", "router ospf 1/network 10.0.0.0 0.0.0.255 area 0/exit", "",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newCLI()
			m.off["ip address"] = tt.platform == "cisco_ios"
			if tt.on != "" {
				for _, l := range strings.Split(tt.on, ",") {
					m.on[l] = true
				}
			}
			if strings.HasPrefix(tt.name, "EOS: a management") {
				m.on["shutdown"] = true // which is shown as "no shutdown" when it does not hold
			}
			sent, left := undone(t, tt.platform, m, tt.before, tt.config)
			if got := strings.Join(sent, "/"); got != tt.sent {
				t.Errorf("sent is %s, want %s", got, tt.sent)
			}
			if got := strings.Join(left, "; "); got != tt.left {
				t.Errorf("left is %s, want %s", got, tt.left)
			}
		})
	}
}

// TestNumberedLines: a numbered line is removed by its number, also if another line had that
// number before, as the device does not accept the line's words for that.
func TestNumberedLines(t *testing.T) {
	for _, platform := range []string{"cisco_ios", "arista_eos"} {
		m := newCLI()
		m.refuse = func(_, line string) string {
			if regexp.MustCompile(`^(no|default) \d+ \S`).MatchString(line) {
				return "% Invalid input"
			}
			return ""
		}
		header := ifElse(platform == "cisco_ios", "ip access-list extended EDGE", "ip access-list EDGE")
		sent, left := undone(t, platform, m, header+"\n 10 permit tcp any any eq 22\n 30 deny ip any any\n",
			header+"\n 20 permit icmp any any\n no 10\n 10 permit tcp any any eq 23\n")
		if got := strings.Join(sent, "/"); got != header+"/no 10/no 20/10 permit tcp any any eq 22/exit" || left != nil {
			t.Errorf("%s: sent is %s; left is %q", platform, got, left)
		}
	}
}

// TestHardware: hardware interfaces are not removed, and everything else is.
func TestHardware(t *testing.T) {
	for platform, names := range map[string][2]string{
		"cisco_ios": {
			"Ethernet0/0 GigabitEthernet1/0/1 TwentyFiveGigE1/0/1 FortyGigabitEthernet1/1/1 HundredGigE1/0/49 TwoGigabitEthernet1/0/1 AppGigabitEthernet1/0/1 Serial0/0/0 Null0 FourHundredGigE1/0/1 Wlan-GigabitEthernet0/1/0",
			"GigabitEthernet0/0.10 Vlan10 Port-channel1 Loopback0 Tunnel1 Dialer1 BDI10 nve1 Serial0/0.1 VirtualPortGroup0 Virtual-Ethernet1 EFP1",
		},
		"arista_eos": {"Ethernet1 Ethernet1/1 Ethernet3/1/1 Management0 Management1/1", "Ethernet1.10 Ethernet1/1.10 Vlan10 Port-Channel1 Loopback0 Vxlan1 Tunnel1 Dps1 Recirc-Channel601.5"},
	} {
		p, err := LoadPlatform("", platform)
		if err != nil {
			t.Fatal(err)
		}
		for i, list := range names {
			for _, name := range strings.Fields(list) {
				rule, _ := p.dialect.rule("interface "+name, "")
				if kept := rule != nil && rule.keep; kept != (i == 0) {
					t.Errorf("%s: %s is kept: %v", platform, name, kept)
				}
			}
		}
	}
}

// TestRanges: a range of interfaces is refused, because no device shows it. A line that sets
// an interface to its defaults is reported as unverified, and does not fail.
func TestRanges(t *testing.T) {
	for line, refused := range map[string]bool{
		"interface range GigabitEthernet0/1 - 2\n shutdown":           true,
		"interface Ethernet1-4\n mtu 9000":                            true,
		"interface Ethernet1,3\n mtu 9000":                            true,
		"interface Port-Channel1\n mtu 9000":                          false,
		"interface Wlan-GigabitEthernet0/1/0\n shutdown":              false,
		"default interface Ethernet1\ninterface Ethernet1\n mtu 9000": false,
	} {
		for _, platform := range []string{"cisco_ios", "arista_eos"} {
			_, err := planOf(t, platform, line+"\n")
			if (err != nil) != refused || refused && !strings.Contains(err.Error(), "write one block for each interface") {
				t.Errorf("%s: %q: %v", platform, line, err)
			}
			p, err := LoadPlatform("", platform)
			if err != nil {
				t.Fatal(err)
			}
			if lacks := p.dialect.missing([]string{"default interface Ethernet1"}, "interface Ethernet1\n mtu 9000\nend\n"); lacks != nil {
				t.Errorf("%s: %q lacks", platform, lacks)
			}
		}
	}
}

// TestAnotherAS: a neighbour's changed AS is not undone by "no neighbor A remote-as", which
// would remove everything about the neighbour.
func TestAnotherAS(t *testing.T) {
	for _, platform := range []string{"cisco_ios", "arista_eos", "frr"} {
		m := newCLI()
		m.takes = regexp.MustCompile(`^(neighbor \S+) (?:remote-as|peer[- ]group)\b.*`)
		before := "router bgp 1\n neighbor 10.0.0.2 remote-as 2\n neighbor 10.0.0.2 description left\n neighbor 10.0.0.2 route-map A in\n"
		sent, left := undone(t, platform, m, before, "router bgp 1\n neighbor 10.0.0.2 remote-as 3\n neighbor 10.0.0.2 route-map B in\n")
		if got := strings.Join(sent, "/"); got != "router bgp 1/neighbor 10.0.0.2 remote-as 2/neighbor 10.0.0.2 route-map A in/exit" || left != nil {
			t.Errorf("%s: sent is %s; left is %q", platform, got, left)
		}
	}
}

// TestListsAreTheirValues: a line with several values is undone value by value. Undoing it as
// a whole would remove, for a moment, VLANs, servers and neighbours that were there before.
// The same holds for a list that is replaced.
func TestListsAreTheirValues(t *testing.T) {
	for _, tt := range []struct{ name, platform, before, config, sent string }{
		{"VLANs", "cisco_ios", "vlan 20,30\n", "vlan 10\nvlan 40,41\n", "no vlan 41/no vlan 40/no vlan 10"},
		{"VLANs on EOS", "arista_eos", "vlan 20-22,30\n", "vlan 21-23\n", "no vlan 23"},
		{"a VLAN that went", "arista_eos", "vlan 20,30\n", "no vlan 30\n", "vlan 30"},
		{"name servers", "cisco_ios", "ip name-server 192.0.2.1\n", "ip name-server 192.0.2.2\n", "no ip name-server 192.0.2.2"},
		{"what a route map matches", "cisco_ios", "route-map A permit 10\n match ip address LEFT\n", "route-map A permit 10\n match ip address RIGHT\n",
			"route-map A permit 10/no match ip address RIGHT/exit"},
		{"members of a confederation", "frr", "router bgp 1\n bgp confederation peers 8 9\n", "router bgp 1\n bgp confederation peers 9 10\n",
			"router bgp 1/no bgp confederation peers 10/exit"},
		{"a trunk's VLANs", "cisco_ios", "interface Ethernet0/1\n switchport trunk allowed vlan 4094\n", "interface Ethernet0/1\n switchport trunk allowed vlan 10,20\n",
			"interface Ethernet0/1/switchport trunk allowed vlan 4094/exit"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newCLI()
			m.lists = []string{"vlan", "ip name-server", "match ip address", "bgp confederation peers"}
			sent, left := undone(t, tt.platform, m, tt.before, tt.config)
			if got := strings.Join(sent, "/"); got != tt.sent || left != nil {
				t.Errorf("sent is %s, want %s; left is %q", got, tt.sent, left)
			}
		})
	}
	for _, tt := range []struct{ want, running, lacks string }{
		{"vlan 10", "vlan 9-11,20", ""},
		{"vlan 10,20", "vlan 10\n name a\nvlan 20", ""},
		{"vlan 10,21", "vlan 9-11,20", "vlan 21"},
		{"spanning-tree vlan 10 priority 4096", "spanning-tree vlan 1,10 priority 4096", ""},
		{"spanning-tree vlan 10 priority 4096", "spanning-tree vlan 1,10 priority 8192", "spanning-tree vlan 10 priority 4096"},
		{"route-map A permit 10\n match ip address prefix-list B", "route-map A permit 10\n match ip address prefix-list C B", ""},
		{"no spanning-tree vlan 10", "no spanning-tree vlan 10-12", ""},
	} {
		p, err := LoadPlatform("", "cisco_ios")
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(p.dialect.missing(strings.Split(tt.want, "\n"), tt.running+"\nend\n"), "; "); got != tt.lacks {
			t.Errorf("%q in %q: lacks %q, want %q", tt.want, tt.running, got, tt.lacks)
		}
	}
}

// TestRefusedInverse: if "no LINE" is refused, shorter forms, the default and an empty block
// are tried, but no shorter form that would also undo another line.
func TestRefusedInverse(t *testing.T) {
	never := func(lines ...string) func(string, string) string {
		return func(_, line string) string {
			if slices.Contains(lines, line) {
				return "% Invalid input"
			}
			return ""
		}
	}
	inUse := true
	for _, tt := range []struct {
		name, before, config string
		refuse               func(path, line string) string
		sent, left           string
	}{
		{"by its first word", "", "password zebra\n", never("no password zebra", "default password zebra"), "no password zebra/default password zebra/no password", ""},
		{"a neighbour begins with the same words", "ntp server 10.0.0.1\n", "ntp server 10.0.0.2\n", never("no ntp server 10.0.0.2", "default ntp server 10.0.0.2"),
			"no ntp server 10.0.0.2/default ntp server 10.0.0.2/no ntp server 10.0.0.2", `"ntp server 10.0.0.2" was not there before; no command is known that undoes it`},
		{"in use by what goes later", "", "import vrf red\nvrf red\n", func(_, line string) string {
			switch {
			case line == "no import vrf red":
				inUse = false
			case strings.HasSuffix(line, "vrf red") && line != "vrf red" && line != "import vrf red" && inUse:
				return "% In use"
			}
			return ""
		}, "no vrf red/no import vrf red/default vrf red", ""},
		{"in use, and there is no other form", "", "use LAB\nprofile\n", func(_, line string) string {
			switch line {
			case "no use LAB":
				inUse = false
			case "use LAB":
				inUse = true
			case "default profile":
				return "% Invalid input"
			case "no profile":
				if inUse {
					return "% In use"
				}
			}
			return ""
		}, "no profile/no use LAB/default profile/no profile", ""},
		{"a line above begins with the same words", "router bgp 1\n neighbor 10.0.0.2 remote-as 2\n address-family ipv4\n  network 10.0.0.0\n", "router bgp 1\n address-family ipv4\n  neighbor 10.0.0.2 send-label\n",
			never("no neighbor 10.0.0.2 send-label", "default neighbor 10.0.0.2 send-label"),
			"router bgp 1/address-family ipv4/no neighbor 10.0.0.2 send-label/exit/exit/router bgp 1/address-family ipv4/default neighbor 10.0.0.2 send-label/exit/exit/router bgp 1/address-family ipv4/no neighbor 10.0.0.2 send-label/exit/exit",
			`"router bgp 1 / address-family ipv4 / neighbor 10.0.0.2 send-label" was not there before; no command is known that undoes it`},
		{"a block that must be empty", "", "vrf red\n vni 7\n", func(_, line string) string {
			if line == "no vrf red" || line == "default vrf red" {
				return "% Only inactive VRFs can be deleted"
			}
			return ""
		}, "no vrf red/default vrf red/vrf red/no vni 7/exit/no vrf red/no vrf red", `"vrf red" was not there before; no command is known that undoes it`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newCLI()
			m.refuse = tt.refuse
			sent, left := undone(t, "cisco_ios", m, tt.before, tt.config)
			if got := strings.Join(sent, "/"); got != tt.sent {
				t.Errorf("sent is %s, want %s", got, tt.sent)
			}
			if got := strings.Join(left, "; "); got != tt.left {
				t.Errorf("left is %s, want %s", got, tt.left)
			}
		})
	}
}

// TestOrderComesBack: lines in another order are a difference, a line that was lost in the
// middle comes back in the middle, and a list that is in use is replaced by a copy meanwhile.
func TestOrderComesBack(t *testing.T) {
	const list = "ip access-list extended EDGE\n permit tcp any any eq 22\n deny ip any host 10.0.0.9\n permit ip any any\n"
	for _, tt := range []struct{ name, before, config, want string }{
		{"named", list, "ip access-list extended EDGE\n no deny ip any host 10.0.0.9\n deny ip any host 10.0.0.9\n", "no ip access-list extended EDGE/ip access-list extended EDGE/permit tcp any any eq 22/deny ip any host 10.0.0.9/permit ip any any/exit"},
		{"a line lost in the middle", list, "ip access-list extended EDGE\n no deny ip any host 10.0.0.9\n", "no ip access-list extended EDGE/ip access-list extended EDGE/permit tcp any any eq 22/deny ip any host 10.0.0.9/permit ip any any/exit"},
		{"one line more, at the end", list, "ip access-list extended EDGE\n permit icmp any any\n", "ip access-list extended EDGE/no permit icmp any any/exit"},
		{"numbered lists", "access-list 10 permit 10.0.0.0 0.0.0.255\naccess-list 10 deny any\n", "no access-list 10 permit 10.0.0.0 0.0.0.255\naccess-list 10 permit 10.0.0.0 0.0.0.255\n",
			"no access-list 10/access-list 10 permit 10.0.0.0 0.0.0.255/access-list 10 deny any"},
		{"a new numbered list goes as a whole", "hostname r1\n", "access-list 10 permit 10.0.0.0 0.0.0.255\naccess-list 10 deny any\n", "no access-list 10"},
		{"in use", list + "interface Ethernet0/1\n ip access-group EDGE in\n", "ip access-list extended EDGE\n no permit tcp any any eq 22\n permit tcp any any eq 22\n",
			"ip access-list extended EDGE-lab/permit tcp any any eq 22/deny ip any host 10.0.0.9/permit ip any any/exit/interface Ethernet0/1/ip access-group EDGE-lab in/exit/" +
				"no ip access-list extended EDGE/ip access-list extended EDGE/permit tcp any any eq 22/deny ip any host 10.0.0.9/permit ip any any/exit/interface Ethernet0/1/ip access-group EDGE in/exit/no ip access-list extended EDGE-lab"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newCLI()
			m.modes["ip access-list extended EDGE-lab"] = true
			sent, left := undone(t, "cisco_ios", m, tt.before, tt.config)
			if got := strings.Join(sent, "/"); got != tt.want {
				t.Errorf("sent is\n%s, want\n%s", got, tt.want)
			}
			if left != nil {
				t.Errorf("left is %q", left)
			}
			order := regexp.MustCompile(`(?m)^ ?(access-list 10 )?(permit|deny) .*$`)
			if tt.name != "a new numbered list goes as a whole" {
				if is, was := order.FindAllString(m.String(), -1), order.FindAllString(tt.before, -1); !slices.Equal(is, was) {
					t.Errorf("the order is %q, was %q", is, was)
				}
			}
		})
	}
}

// TestTextsOfSeveralLines: a line that begins a text without prompts is refused when it is
// planned, and such texts on the device are not touched.
func TestTextsOfSeveralLines(t *testing.T) {
	for _, tt := range []struct{ platform, config, line string }{
		{"cisco_ios", "hostname a\naaa authentication banner ^C\nhello\n^C\n", "line 2"},
		{"cisco_ios", "aaa authentication fail-message #\nno\n#\n", "line 1"},
		{"cisco_ios", "banner motd c\nhello\nc\n", "line 1"},
		{"cisco_ios", "banner  login  bWelcome\nallb\n", "line 1"},
		{"cisco_ios", "aaa authentication banner x\nhello\nx\n", "line 1"},
		{"cisco_ios", "line con 0\n refuse-message x\nno\nx\n", "line 2"},
		{"cisco_ios", "line con 0\n busy-message left x\nno\nx\n", "line 2"},
		{"cisco_ios", "ip admission auth-proxy-banner http ^C\nno\n^C\n", "line 1"},
		{"cisco_ios", "macro auto execute UP {\n  if [[ $LINKUP == YES ]]\n  fi\n}\n", "line 1"},
		{"arista_eos", "router general\n   control-functions\n      code\nfunction f() { return true; }\nEOF\n", "line 3"},
		{"cisco_ios", "macro name desk\nswitchport mode access\n@\n", "line 1"},
		{"cisco_ios", "line con 0\n exec-timeout 0 0\n vacant-message ^C\nfree\n^C\n", "line 3"},
		{"cisco_ios", "menu main title ^C\nChoose\n^C\n", "line 1"},
		{"cisco_ios", "crypto pki certificate chain TP\n certificate self-signed 01\n  3082024A 308201B3\n        quit\n", "line 2"},
		{"arista_eos", "event-handler boot\n   action bash\n      touch /tmp/x\n      EOF\n", "line 2"},
		{"arista_eos", "banner login\nHi\nEOF\n", "line 1"},
	} {
		_, err := planOf(t, tt.platform, tt.config)
		if err == nil || !strings.Contains(err.Error(), tt.line+": ") || !strings.Contains(err.Error(), "begins a text of several lines") {
			t.Errorf("%q: %v", tt.config, err)
		}
	}
	p, err := LoadPlatform("", "cisco_ios")
	if err != nil {
		t.Fatal(err)
	}
	running := "hostname r1\nbanner motd ^CWelcome\n  interface Ethernet0/9\n^C\ncrypto pki certificate chain TP\n certificate self-signed 01\n  3082024A 308201B3\n  \tquit\nend\n"
	for line, refused := range map[string]bool{
		"banner motd #hello#":                 true,
		"no banner motd":                      true,
		"banner login #hello#":                false,
		"no crypto pki certificate chain TP":  true,
		"no crypto pki certificate chain TP2": false,
		"interface Ethernet0/9":               false,
	} {
		err := p.dialect.restorable(&DevicePlan{Name: "r1", Apply: []string{line}}, running)
		if (err != nil) != refused {
			t.Errorf("%q: %v", line, err)
		}
	}
	if lines, differs, _ := p.dialect.between(running, running, attempts{}); lines != nil || differs != nil {
		t.Errorf("equal configurations differ: %q, %q", lines, differs)
	}
}

// TestOneLineBanner: the mark around a banner is chosen by the device, and not part of the
// text.
func TestOneLineBanner(t *testing.T) {
	p, err := LoadPlatform("", "cisco_ios")
	if err != nil {
		t.Fatal(err)
	}
	for _, written := range []string{"banner motd #for all#", "banner motd xfor allx", "banner  motd mfor allm", "banner\u00a0motd #for all#"} {
		if lacks := p.dialect.missing([]string{written}, "banner motd ^Cfor all^C\nend\n"); lacks != nil {
			t.Errorf("%q lacks", lacks)
		}
	}
}

// TestVerifiedLines: words such as key, secret or md5, or a "no" before them, do not exempt a
// line from being verified.
func TestVerifiedLines(t *testing.T) {
	for _, tt := range []struct{ platform, line, in, running string }{
		{"cisco_ios", "tunnel key 42", "interface Tunnel1", "interface Tunnel1\n"},
		{"cisco_ios", "description key customer", "interface Ethernet0/1", "interface Ethernet0/1\n"},
		{"cisco_ios", "ntp trusted-key 1", "", ""},
		{"cisco_ios", "no ip redirects", "interface Ethernet0/1", "interface Ethernet0/1\n ip redirects\n"},
		{"cisco_ios", "username ada secret geheim", "", "username bob secret 5 $1$x\n"},
		{"cisco_ios", "enable secret geheim", "", "enable password x\n"},
		{"arista_eos", "no shutdown", "interface Ethernet1", "interface Ethernet1\n   shutdown\n"},
		{"frr", "ip ospf area 0", "interface eth1", "interface eth1\nexit\n"},
	} {
		p, err := LoadPlatform("", tt.platform)
		if err != nil {
			t.Fatal(err)
		}
		want := tt.line
		if tt.in != "" {
			want = tt.in + "\n " + tt.line
		}
		if lacks := p.dialect.missing(strings.Split(want, "\n"), tt.running+"end\n"); lacks == nil {
			t.Errorf("%s: %q is verified by %q", tt.platform, want, tt.running)
		}
	}
	for _, tt := range []struct{ platform, config, running string }{
		{"cisco_ios", "username ada secret geheim", "username ada secret 5 $1$x\n"},
		{"cisco_ios", "no ip http server", "hostname x\n"},
		{"cisco_ios", "no ip http server", "no ip http server\n"},
		{"cisco_ios", "interface Ethernet0/1\n ip ospf hello-interval 10", "interface Ethernet0/1\n"},
		{"arista_eos", "interface Ethernet1\n switchport mode access\n no shutdown", "interface Ethernet1\n"},
		{"arista_eos", "interface Ethernet7", ""},
	} {
		p, err := LoadPlatform("", tt.platform)
		if err != nil {
			t.Fatal(err)
		}
		if lacks := p.dialect.missing(strings.Split(tt.config, "\n"), tt.running+"end\n"); lacks != nil {
			t.Errorf("%s: %q lacks in %q", tt.platform, lacks, tt.running)
		}
	}
	if p, _ := planOf(t, "cisco_ios", "username ada secret geheim\ntunnel key 42\n"); fmt.Sprint(p.unverified) != "[username ada secret geheim]" {
		t.Errorf("unverified are %q", p.unverified)
	}
}
