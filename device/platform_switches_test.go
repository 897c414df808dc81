package device

import (
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"activationd/internal/fault"
)

// A nexus is a command line like that of NX-OS.
type nexus struct {
	host, mode string
	running    []string
	saving     string // what it says to a save; "": it does it
}

func (n *nexus) respond(line string) (said, prompt string) {
	switch {
	case line == "":
	case strings.HasPrefix(line, "terminal "):
	case line == "configure terminal":
		n.mode, said = "(config)", "Enter configuration commands, one per line. End with CNTL/Z.\n"
	case line == "end":
		n.mode, said = "", "2026 Nov 30 05:00:00 "+n.host+" %$ VDC-1 %$ %VSHD-5-VSHD_SYSLOG_CONFIG_I: Configured from vty by lab on console0\n"
	case line == "exit" && n.mode != "":
		n.mode = "(config)"
	case line == "show running-config":
		said = "\n!Command: show running-config\n!Time: Mon Nov 30 05:00:00 2026\n\nversion 9.3(8) Bios:version  \n" + strings.Join(n.running, "\n") + "\n\n"
	case line == "copy running-config startup-config" && n.saving != "":
		said = n.saving
	case line == "copy running-config startup-config":
		said = "[                                        ]   1%\r[####################                    ]  50%\r[########################################] 100%\nCopy complete, now saving to disk (please wait)...\nCopy complete.\n"
	case n.mode == "" || line == "nonsense":
		said = "                      ^\n% Invalid command at '^' marker.\n"
	case line == "router ospf 1":
		said = "                      ^\n% Invalid command at '^' marker.\n"
	case line == "no vlan 1":
		said = "ERROR: Cannot delete default VLAN\n"
	case line == "vlan 3968":
		said = "ERROR: VLANs 3968-4095 are reserved for internal use\n"
	case line == "switchport port type edge":
		said = "Warning: Edge port type (portfast) should only be enabled on ports connected to a single host.\n"
	case line == "speed 100":
		said = "It holds from the next link on.\n"
	case strings.HasPrefix(line, "hostname "):
		n.host = strings.TrimPrefix(line, "hostname ")
		n.running = append(n.running, line)
	default:
		n.running = append(n.running, line)
		if strings.HasPrefix(line, "interface ") {
			n.mode = "(config-if)"
		}
	}
	return said, n.host + n.mode + "# "
}

// TestNXOS: a Nexus is configured, refuses lines in its forms, and counts as saved when it
// says so.
func TestNXOS(t *testing.T) {
	t.Parallel()
	n := &nexus{host: "switch"}
	h := startHostile(t, quirks{respond: n.respond, banner: "\nUser Access Verification\n"})
	target := h.target(t)
	target.Platform = dialogOf(t, "cisco_nxos").Platform
	var notices []string
	target.Notice = func(n Notice) { notices = append(notices, n.String()) }
	s := open(within(t, time.Minute), t, target)
	lines := []string{"hostname leaf-1", "interface Ethernet1/1", "  switchport port type edge", "  speed 100", "  description what?"}
	if err := s.Configure(within(t, time.Minute), lines); err != nil {
		t.Fatalf("Configure: %v", err)
	}
	want := []string{
		"the device says: Warning: Edge port type (portfast) should only be enabled on ports connected to a single host., to: interface Ethernet1/1 / switchport port type edge",
		"the device says: It holds from the next link on., to: interface Ethernet1/1 / speed 100",
	}
	if !slices.Equal(notices, want) {
		t.Errorf("notices %q, want %q", notices, want)
	}
	for line, says := range map[string]string{"nonsense": "Invalid command", "router ospf 1": "Invalid command", "no vlan 1": "Cannot delete", "vlan 3968": "reserved"} {
		err := s.Configure(within(t, time.Minute), []string{"vlan 10", line, "vlan 11"})
		if refused, ok := errors.AsType[*LineError](err); !ok || refused.Number != 2 || !strings.Contains(refused.Said, says) {
			t.Errorf("%q: %v, want line 2 refused with %q", line, err, says)
		}
	}
	if got, err := s.Show(within(t, time.Minute), "show running-config"); err != nil || !strings.HasSuffix(got, "hostname leaf-1\ninterface Ethernet1/1\ndescription what?\nvlan 10\nvlan 10\nvlan 10\nvlan 10\n") {
		t.Errorf("Show: %q, %v", got, err)
	}
	if err := s.Save(within(t, time.Minute)); err != nil {
		t.Errorf("Save: %v", err)
	}
	for _, says := range []string{"Configuration update aborted: request was aborted\n", "[####                                    ]  10%\n"} {
		n.saving = says
		if err := s.Save(within(t, time.Minute)); !errors.Is(err, fault.Unavailable) && !errors.Is(err, fault.Invalid) {
			t.Errorf("Save that says %q: %v", says, err)
		}
	}
}

// TestNXOSQuestions: each question whether to go on is answered with no.
func TestNXOSQuestions(t *testing.T) {
	d := dialogOf(t, "cisco_nxos")
	for _, line := range []string{
		"This command will reboot the system. (y/n)?  [n] ", "Do you wish to proceed anyway? (y/n)  [n] ", "Do you want to continue (yes/no) [no] ?",
		"Proceed? [yes/no]: ", "Are you sure (Y/N)? [N] ", "Do you want to overwrite (y/n)?[n] ",
	} {
		if !slices.ContainsFunc(d.answers, func(q *regexp.Regexp) bool { return is(q, line) }) {
			t.Errorf("nobody answers %q", line)
		}
	}
}

// A procurve is a command line like that of AOS-S, with a question.
type procurve struct {
	host, context string
	woken         bool   // a key was pressed
	asks          string // the question that it waits at
	vlans         map[string]bool
	said          []string
	out           bool
}

func (p *procurve) respond(line string) (said, prompt string) {
	if !p.woken {
		if p.said = append(p.said, line); len(p.said) < 2 {
			return "HP J9726A 2920-24G Switch\nSoftware revision WB.16.10.0010\n\n", "Press any key to continue"
		}
		p.woken = true
		return "", p.host + "# "
	}
	asked := p.asks
	p.asks = ""
	p.said = append(p.said, line)
	switch {
	case asked == "vlan" && line == "y":
		delete(p.vlans, "vlan 100")
		said = p.host + "(config)# \n" // the key was enough, and return is another command
	case asked == "out" && line == "y":
		p.out = true
	case asked != "", line == "", line == "no page", strings.HasPrefix(line, "terminal "), line == "write memory":
	case line == "configure terminal":
		p.context = "(config)"
	case line == "end":
		p.context = ""
	case line == "exit" && p.context != "(config)":
		p.context = "(config)"
	case line == "logout":
		p.asks = "out"
		return "", "Do you want to log out [y/n]? "
	case line == "show vlans":
		said = " Status and Counters - VLAN Information\n\n"
		for v := range p.vlans {
			said += "  " + strings.TrimPrefix(v, "vlan ") + "     VLAN | Port-based No    No   \n"
		}
	case p.context == "":
		said = "Invalid input: " + strings.Fields(line)[0] + "\n"
	case line == "no vlan 100":
		p.asks = "vlan"
		return "The following ports will be moved to the default VLAN:\n5-6\nDo you want to continue?\n", "[y/n] "
	case regexp.MustCompile(`^vlan \d+$`).MatchString(line):
		p.vlans[line] = true
		p.context = "(vlan-" + strings.TrimPrefix(line, "vlan ") + ")"
	case line == "untagged 99":
		said = "Module not present for port or invalid port: 99\n"
	case line == "tagged":
		said = "Incomplete input: tagged\n"
	case line == "interface Trk1":
		p.context = "(eth-Trk1)"
	case line == "untagged 5":
		said = "The port is untagged in VLAN 1 no more.\n"
	case line == "max-vlans 512":
		p.asks = "restart"
		return "Command will take effect after saving configuration and reboot.\n", "Device will be rebooted, do you want to continue [y/n]? "
	case strings.HasPrefix(line, "name ") && len(line) > 20:
		said = "name: too long. Allowed length is 12 characters.\n"
	case strings.HasPrefix(line, "frobnicate"):
		said = "Invalid input: frobnicate\n"
	}
	return said, p.host + p.context + "# "
}

// TestAOSS: a ProCurve is woken by a key, configured on its screen of rows and columns, and
// left with its questions answered. Only the question that is known to be harmless is answered
// with yes.
func TestAOSS(t *testing.T) {
	t.Parallel()
	p := &procurve{host: "HP-2920-24G", vlans: map[string]bool{}}
	h := startHostile(t, quirks{respond: p.respond, screen: true, banner: "\x1b[2J\x1b[?7l\x1b[3;23r\x1b[?6l\x1b[1;1H"})
	target := h.target(t)
	target.Platform = dialogOf(t, "aruba_aoss").Platform
	var notices []string
	target.Notice = func(n Notice) { notices = append(notices, n.String()) }
	s := open(within(t, time.Minute), t, target)
	for _, tt := range []struct {
		lines  []string
		number int // of the refused one
		says   string
	}{
		{[]string{"vlan 100", "   untagged 5", "   exit", "interface Trk1", "   exit"}, 0, ""},
		{[]string{"vlan 100", "   untagged 99", "   exit"}, 2, "Module not present for port or invalid port: 99"},
		{[]string{"vlan 100", "   tagged"}, 2, "Incomplete input: tagged"},
		{[]string{"vlan 100", `   name "much too long a name"`}, 2, "too long. Allowed length"},
		{[]string{"frobnicate 1"}, 1, "Invalid input: frobnicate"},
	} {
		err := s.Configure(within(t, time.Minute), tt.lines)
		refused, ok := errors.AsType[*LineError](err)
		if tt.number == 0 && err != nil || tt.number > 0 && (!ok || refused.Number != tt.number || !strings.Contains(refused.Said, tt.says)) {
			t.Errorf("Configure(%q): %v, want line %d refused with %q", tt.lines, err, tt.number, tt.says)
		}
	}
	if got, err := s.Show(within(t, time.Minute), "show vlans"); err != nil || !strings.Contains(got, "  100     VLAN | Port-based No    No") {
		t.Errorf("Show: %q, %v", got, err)
	}
	if err := s.Configure(within(t, time.Minute), []string{"no vlan 100", "max-vlans 512"}); err != nil || len(p.vlans) > 0 {
		t.Errorf("Configure: %v; it has %v", err, p.vlans)
	}
	if at := slices.Index(p.said, "max-vlans 512"); at < 0 || p.said[at+1] != "n" {
		t.Errorf("to the question whether to restart it got %q", p.said)
	}
	if want := "the device says: The port is untagged in VLAN 1 no more., to: vlan 100 / untagged 5"; len(notices) == 0 || notices[0] != want {
		t.Errorf("notices %q, want first %q", notices, want)
	}
	if err := s.Save(within(t, time.Minute)); err != nil {
		t.Errorf("Save: %v", err)
	}
}
