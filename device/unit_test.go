package device

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"activationd/internal/fault"
)

func TestCheckURL(t *testing.T) {
	for _, u := range []string{
		"ssh://10.0.0.1", "ssh://[::1]:2201", "telnet://sw1", "telnet://sw1:2323/", "tcp://127.0.0.1:7001",
		"rfc2217://converter:7001", "rfc2217://converter:7001?baud=9600&bits=7&parity=even&stop=2&flow=rtscts",
		"serial:///dev/ttyS0", "serial:///dev/serial/by-id/usb-1?baud=115200&flow=xonxoff",
	} {
		if err := CheckURL(u); err != nil {
			t.Errorf("CheckURL(%q): %v", u, err)
		}
	}
	for _, tt := range []struct{ url, says string }{
		{"", "must begin with"},
		{"http://sw1", "must begin with"},
		{"ssh://root@sw1", "credentials"},
		{"ssh://root:secret@sw1", "credentials"},
		{"ssh://", "host and a port"},
		{"tcp://sw1", "host and a port"},
		{"rfc2217://sw1:0", "host and a port"},
		{"telnet://sw1:99999", "host and a port"},
		{"telnet://sw1/console", "no path"},
		{"telnet://sw1?baud=9600", "only serial lines"},
		{"serial://ttyS0", "absolute path"},
		{"serial:///dev/../etc/passwd", "absolute path"},
		{"serial:///dev/ttyS0?baud=fast", "is not a possible value"},
		{"serial:///dev/ttyS0?bits=9&baud=9600", "is not a possible value"},
		{"serial:///dev/ttyS0?flow=none", "need a baud"},
		{"serial:///dev/ttyS0?speed=9600", "the settings are"},
		{"serial:///dev/ttyS0?baud=1200&baud=9600", "each once"},
		{"serial:///dev/ttyS0#x", "has more than"},
		{"ssh://sw1:%zz", "invalid"},
	} {
		err := CheckURL(tt.url)
		if !errors.Is(err, fault.Invalid) || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("CheckURL(%q): %v, want Invalid and %q", tt.url, err, tt.says)
		}
	}
}

func TestBuiltIn(t *testing.T) {
	for _, name := range BuiltInNames() {
		p, err := BuiltIn(name)
		if err != nil || p.Name != name {
			t.Errorf("BuiltIn(%s): %q, %v", name, p.Name, err)
		}
	}
	want := []string{
		"arista_eos", "aruba_aoss", "cisco_ios", "cisco_nxos", "embedded", "frr", "juniper_junos", "linux", "mikrotik_routeros", "nokia_srlinux", "openvswitch", "vyos",
	}
	if got := BuiltInNames(); !slices.Equal(got, want) {
		t.Errorf("BuiltInNames() = %v, want %v", got, want)
	}
	for _, name := range []string{"", "cisco", "../platforms/frr", "x/y"} {
		if _, err := BuiltIn(name); !errors.Is(err, fault.NotFound) || !strings.Contains(err.Error(), "frr") {
			t.Errorf("BuiltIn(%q): %v, want NotFound and the names", name, err)
		}
	}
}

func TestParsePlatform(t *testing.T) {
	for _, tt := range []struct {
		name, yaml string
		want       []string
	}{
		{"good", "prompts: {privileged: '{host}#'}\n", nil},
		{"empty", "", []string{"f:1: prompts.privileged: must be there"}},
		{"unknown key", "prompts: {privileged: '#'}\nprompt: x\nmoer: []\n", []string{"f:2: field prompt", "f:3: field moer"}},
		{"bad patterns", "prompts:\n  privileged: '#'\n  user: '('\nerrors: ['ok', '[']\n", []string{"f:3: prompts.user: ", "f:4: errors: "}},
		{"half a configuration mode", "prompts: {privileged: '#', configure: 'c#'}\n", []string{"f:1: configure.enter: "}},
		{"no way out", "prompts: {privileged: '#', configure: 'c#'}\nconfigure: {enter: [c]}\n", []string{"f:2: configure.leave: "}},
		{"not YAML", "prompts: {\n", []string{"f:"}},
		{"two documents", "prompts: {privileged: '#'}\n---\n{}\n", []string{"more than one document"}},
	} {
		_, err := ParsePlatform("f", []byte(tt.yaml))
		text := fmt.Sprint(err)
		if (err == nil) != (len(tt.want) == 0) || err != nil && !errors.Is(err, fault.Invalid) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
		for _, w := range tt.want {
			if !strings.Contains(text, w) {
				t.Errorf("%s: %v, want %q in it", tt.name, err, w)
			}
		}
	}
}

// TestPrompts has lines that are prompts of the platforms, and lines that are not.
func TestPrompts(t *testing.T) {
	for _, tt := range []struct {
		platform, host, line string
		want                 mode
	}{
		{"cisco_ios", "sw1", "sw1#", privileged},
		{"cisco_ios", "sw1", "sw1>", userMode},
		{"cisco_ios", "sw1", "sw1(config)#", configure},
		{"cisco_ios", "sw1", "sw1(config-if-range)#  ", configure},
		{"cisco_ios", "sw1", "sw2#", noMode},
		{"cisco_ios", "sw1", "#", noMode},
		{"cisco_ios", "sw1", " sw1#", noMode},
		{"cisco_ios", "sw1", "description sw1#", noMode},
		{"cisco_ios", "sw1", "sw1#show clock", noMode},
		{"cisco_ios", "s.1", "sx1#", noMode},
		{"arista_eos", "leaf1", "leaf1(config-if-Et1)#", configure},
		{"cisco_nxos", "leaf-1", "leaf-1# ", privileged},
		{"cisco_nxos", "leaf-1", "leaf-1(config-router-neighbor-af)# ", configure},
		{"cisco_nxos", "leaf-1", "leaf-1%", noMode},
		{"aruba_aoss", "HP-2920-24G", "HP-2920-24G# ", privileged},
		{"aruba_aoss", "HP-2920-24G", "HP-2920-24G> ", userMode},
		{"aruba_aoss", "HP-2920-24G", "HP-2920-24G(config)#", configure},
		{"aruba_aoss", "HP-2920-24G", "HP-2920-24G(vlan-100)# ", configure},
		{"aruba_aoss", "sw", "sw(eth-Trk1)#", configure},
		{"aruba_aoss", "sw", "sw(config-ext-nacl)#", configure},
		{"aruba_aoss", "sw(LAB)", "sw(LAB)#", privileged},
		{"juniper_junos", "lab@r1", "lab@r1> ", privileged},
		{"juniper_junos", "lab@r1", "lab@r1# ", configure},
		{"juniper_junos", "lab@r1", "[edit]", noMode},
		{"frr", "r1", "r1(config-router)# ", configure},
		{"embedded", "=>", "=>", noMode},
	} {
		d := dialogOf(t, tt.platform)
		d.learn(tt.host)
		if got := d.prompt(tt.line); got != tt.want {
			t.Errorf("%s: prompt(%q) of %s = %s, want %s", tt.platform, tt.line, tt.host, modeNames[got], modeNames[tt.want])
		}
	}
}

func dialogOf(t testing.TB, platform string) *dialog {
	t.Helper()
	p, err := BuiltIn(platform)
	if err != nil {
		t.Fatal(err)
	}
	d, bad := compile(p)
	if len(bad) > 0 {
		t.Fatal(bad)
	}
	return d
}

// TestRefusals has lines that are errors, and lines that are not: of the lines behind a % only
// those in the form of a refusal are.
func TestRefusals(t *testing.T) {
	for _, tt := range []struct {
		platforms string
		want      bool
		lines     []string
	}{
		{"cisco_ios arista_eos frr", true, []string{
			"% Invalid input detected at '^' marker.",
			"% Incomplete command.",
			"% Ambiguous command:  \"no s\"",
			"% Unknown command: frobnicate",
			"% Unrecognized host or address, or protocol not running.",
			"% Bad mask /33 for address 10.0.0.1",
			"% 10.0.0.0 overlaps with Vlan1",
			"% BGP is already running; AS is 65000", "%Inconsistent address and mask",
			"%Inconsistent address and mask: bad mask",
			"% Cannot assign more than one address",
			"% This command is not allowed in this mode",
			"% Configuring IP routing on a LAN subinterface is only allowed if that ",
			"%VLAN 1002 may not be configured: not supported",
			"% Malformed address",
			"% Can't find address",
			"% No such route-map: X",
			"% There is no such neighbor",
			"% BGP is already running; AS is 65001: only one AS is allowed, conflicts",
			"% Create the peer-group first",
			"% Access denied",
			"% Authorization failed.",
			"%Error: the port is a member of a channel group",
			"% Similar static entry (10.0.0.1 -> 10.9.0.1) already exists",
		}},
		{"cisco_ios arista_eos frr", false, []string{
			"% OSPF: Reference bandwidth is changed. ",
			"        Please ensure reference bandwidth is consistent across all routers.",
			"% Please ensure reference bandwidth is consistent across all routers.",
			"% The key modulus size is 2048 bits",
			"% Generating 2048 bit RSA keys, keys will be non-exportable...",
			"% You already have RSA keys defined named r1.lab.",
			"% They will be replaced.",
			"%Default route without gateway, if not a point-to-point interface, may impact performance",
			"% Warning: a mask of 31 bits on an interface that is not point-to-point: an error, perhaps",
			"%Warning: portfast should only be enabled on ports connected to a single",
			"Please remove all ip ospf area x.x.x.x commands first.",
			"bgpd is not running",
		}},
		{"cisco_ios", false, []string{
			"% Hostname contains one or more illegal characters.",
			"% Voice VLAN does not exist. Creating vlan 200",
			"% Access VLAN does not exist. Creating vlan 200",
			"% Interface GigabitEthernet0/1 IPv4 disabled and address(es) removed due to enabling VRF red",
			"*Mar  1 00:01:02.003: %SYS-5-CONFIG_I: Configured from console",
			"%LINEPROTO-5-UPDOWN: Line protocol on Interface Vlan1, changed state to up",
			"%SW_MATM-4-MACFLAP_NOTIF: invalid, they say",
			"Building configuration...",
		}},
		{"cisco_ios", true, []string{
			"Command rejected: Bad VLAN list", "ERROR: Can not have both", "Command authorization failed.",
		}},
		{"arista_eos", true, []string{"! Commit was rejected: x"}},
		{"arista_eos", false, []string{"! Proceed with caution: invalid hosts may lose their connections"}},
		{"frr", true, []string{"VTY configuration is locked by other VTY", "Can't open configuration file /etc/frr/zebra.conf.Q5JWJM."}},
		{"juniper_junos", true, []string{"error: configuration check-out failed", "syntax error, expecting <command>.", "            ^"}},
		{"juniper_junos", false, []string{"commit complete", "warning: statement has no contents; ignored"}},
	} {
		for _, platform := range strings.Fields(tt.platforms) {
			d := dialogOf(t, platform)
			for _, line := range tt.lines {
				if got := len(d.refusals([]string{line})) > 0; got != tt.want {
					t.Errorf("%s: %q is an error: %t, want %t", platform, line, got, tt.want)
				}
			}
		}
	}
}

// TestTerminal: a line ends where a reader would see another one begin, and has the
// characters that the reader would see. Moving the cursor alone ends no line: neither to
// the row where it is, as some devices do for each character, nor to another one and back.
func TestTerminal(t *testing.T) {
	// As a switch does that addresses its screen.
	const (
		prompt = "\x1b[24;1H\x1b[2K\x1b[24;1H\x1b[?25h\x1b[24;1H\x1b[1;24r\x1b[24;1H\x1b[24;1Hsw# \x1b[24;1H\x1b[24;5H\x1b[24;1H\x1b[?25h\x1b[24;5H"
		show   = "\x1b[24;5Hs\x1b[24;6H\x1b[24;6Hh\x1b[24;7H"
		enter  = "\x1b[1;0H\x1b[1M\x1b[24;1H\x1b[1L\x1b[24;7H"
	)
	for _, tt := range []struct{ in, rows, line string }{
		{"a\r\nb\r\n", "a|b", ""},
		{"a\r\n\r\nb\r\n", "a||b", ""},
		{"r1#", "", "r1#"},
		{"abc\b\b  \b\b\bxy", "", "xy"},
		{" --More-- \b\b\b\b\b\b\b\b\b\b          \b\b\b\b\b\b\b\b\b\bnext\n", "next", ""},
		{"--More--\r        \rnext\n", "next", ""},
		{"\x1b[?2004hr1# \x1b[Kx\x1b[1mbold\x1b[0m", "", "r1# xbold"},
		{"\x1b]0;title\x07$ ", "", "$ "},
		{"abcdef\x1b[3D\x1b[Kx", "", "abcx"},
		{"abcdef\r\x1b[2Px", "", "xdef"},
		{"abcdef\r\x1b[2@xy", "", "xyabcdef"},
		{"abcdef\r\x1b[2C\x1b[3X", "", "ab   f"},
		{"abcdef\x1b[2D\x1b[1K\r12", "", "12   f"},
		{"abc\x1b[2K\rx", "", "x"},
		{"ab\x1b[3b", "", "abbbb"},
		{"a\tb", "", "a       b"},
		{"\x1b(B\x0fx\x00\x07", "", "\x7fx"},
		{"x\x0fy\n", "xy", ""},
		{"a\fb\vc", "a|b", "c"},
		{"a\x1bEb\x1bDc", "a|b", "c"},

		// Rows.
		{"old\x1b[H\x1b[Jnew", "old", "new"},
		{"\x1b[5;1Hone\x1b[5;4H two\x1b[5;1f1", "", "1ne two"},
		{"\x1b[5;1Hone\x1b[6;1Htwo\x1b[5;4H", "one", "one"},
		{"\x1b[5;1Hone\x1b[6;1Htwo\x1b[5;4H!", "one|two", "one!"},
		{"\x1b[5;1Hone\x1b[9;3H\x1b[5;4H more\n", "one more", ""},
		{"\x1b[5;1Hone\x1b[7d\x1b[5d\x1b[1G1", "", "1ne"},
		{"\x1b[5;1Hone\x1b[Atwo", "one", "   two"},
		{"\x1b[5;1Hone\x1b[A\x1b[Btwo", "", "onetwo"},
		{"\x1b[5;1Hone\x1b[Etwo\x1b[F1", "one|two", "1ne"},
		{"\x1b[5;1Hone\x1b7\x1b[1;1H\x1b8two", "", "onetwo"},
		{"\x1b[5;1Hone\x1b[s\x1b[1;1H\x1b[utwo", "", "onetwo"},
		{"one\r\n> two\x1b[A\r\x1b[Kthree\n", "one|> two|three", "> two"},
		{"\x1b[24;1Hone\r\ntwo\x1b[24;1H", "one", "two"},
		{"\x1b[2;5r\x1b[5;1Hone\ntwo\x1b[4;1H\x1b[5;4H!", "one", "two!"},
		{"\x1b[1;24r\x1b[99;1Hone\x1b[24;4H more", "", "one more"},
		{"\x1b[1;23r\x1b[24;1Hstatus\x1b[23;1Hline", "status", "line"},
		{"\x1b[2J\x1b[1;1Hone\n\rtwo\n\r\x1b[2J\x1b[1;1Hthree", "one|two", "three"},
		{"\x1b[3;1Hone\x1b[1;1H\x1bM\x1b[4;4H!", "", "one!"},
		{"\x1b[3;1Hone\x1b[2;1H\x1b[2L\x1b[5;4H!", "", "one!"},
		{"\x1b[3;1Hone\x1b[S\x1b[2;4H!\x1b[2T\x1b[4;5H?", "", "one!?"},

		// A switch that addresses its screen: its prompt, an echo, a command.
		{prompt, "", "sw# "},
		{prompt + show, "", "sw# sh"},
		{prompt + show + enter + prompt, "sw# sh", "sw# "},
		{prompt + show + "\x1bE\x1b[24;1H\x1b[24;7H" + prompt, "sw# sh", "sw# "},
		{prompt + show + enter + "\x1b[24;1H\x1b[2K\x1b[24;1Hone\n\rtwo\n\r" + prompt, "sw# sh|one|two", "sw# "},
		{prompt + show + "\x1b[3;1Hlink 4 is up\x1b[24;7Ho", "sw# sh|link 4 is up", "sw# sho"},

		// Characters of several bytes.
		{"größe\b\b\bO", "", "grOße"},
		{"größe\r\x1b[3Cs", "", "gröse"},
		{"größe\x1b[3G\x1b[P", "", "grße"},
		{"größe\x1b[4Gλ\x1b[K", "", "gröλ"},
		{"a\x1b[4Gλ", "", "a  λ"},
		{"\xff\xfe\b\xc3x", "", "\xff\xc3x"},
	} {
		var term terminal
		term.feed([]byte(tt.in))
		if got := strings.Join(term.rows, "|"); got != tt.rows || term.line() != tt.line || term.unknown != "" {
			t.Errorf("%q: rows %q and line %q, want %q and %q; not understood: %q", tt.in, got, term.line(), tt.rows, tt.line, term.unknown)
		}
	}
}

// TestTerminalDropsTheLine: nothing is left of the line that was typed, which is not part of
// an answer, also if the cursor moves while the line ends.
func TestTerminalDropsTheLine(t *testing.T) {
	for _, end := range []string{"\r\n", "\x1bE", "\x1b[1;1H\x1b[1M\x1b[24;1H\x1b[1L\x1b[24;1H", "\x1b[3;9H\x1b[24;7H\x1b[?25h\r\n"} {
		var term terminal
		term.feed([]byte("\x1b[24;1Hsw# show"))
		term.drop = true
		term.feed([]byte(end + "answer\r\nsw# "))
		if got := term.take(); len(got) != 1 || got[0] != "answer" || term.line() != "sw# " || term.drop {
			t.Errorf("%q: rows %q and line %q (%t), want answer and the prompt", end, got, term.line(), term.drop)
		}
	}
}

// TestNotUnderstood: escape sequences that are not supported are reported.
func TestNotUnderstood(t *testing.T) {
	for in, want := range map[string]string{
		"\x1b[6n": "ESC [6n", "\x1b[c": "ESC [c", "\x1b[?1;2c": "ESC [?1;2c", "\x1bZ": `ESC "Z"`, "\x1b[4h": "ESC [4h", "a\x1b[3y\x1b[6n": "ESC [3y",
	} {
		var term terminal
		term.feed([]byte(in))
		if term.unknown != want {
			t.Errorf("%q: %q is not understood, want %q", in, term.unknown, want)
		}
	}
}

func TestTranscript(t *testing.T) {
	var buf bytes.Buffer
	tr := NewTranscript(&buf)
	tr.Mask("", "pass#word", "enable", "enabled")
	for _, c := range []byte("login pass#word\r") {
		tr.add(sent, []byte{c})
	}
	tr.add(received, []byte("echo pass"))
	tr.add(sent, []byte("ena"))
	tr.add(received, []byte("#w\r\nord\r\nenabl"))
	tr.note("it says %s", "enable")
	tr.add(received, []byte("er\n"))
	tr.add(received, []byte("the end: pass#wo"))
	tr.flush()
	text := buf.String()
	for _, secret := range []string{"pass", "#w", "enable"} {
		if strings.Contains(text, secret) {
			t.Errorf("%q is in the transcript:\n%s", secret, text)
		}
	}
	for _, want := range []string{`> "login ***\r`, `< "echo ***\r\n"`, `< "***r\n"`, "- it says ***\n", "the end: \"\n", `< "***"`} {
		if !strings.Contains(text, want) {
			t.Errorf("%s is not in the transcript:\n%s", want, text)
		}
	}
	for line := range strings.Lines(text) {
		if _, err := time.Parse("2006-01-02T15:04:05.000000Z", strings.Fields(line)[0]); err != nil {
			t.Errorf("%q: %v", line, err)
		}
	}
	if tr.Err() != nil {
		t.Errorf("Err: %v", tr.Err())
	}
	full := NewTranscript(noSpace{})
	full.note("x")
	if !errors.Is(full.Err(), errNoSpace) {
		t.Errorf("Err of a full disk: %v", full.Err())
	}
	var none *Transcript
	none.Mask("x")
	none.add(sent, []byte("x"))
	none.note("x")
	none.flush()
}

var errNoSpace = errors.New("no space")

type noSpace struct{}

func (noSpace) Write([]byte) (int, error) { return 0, errNoSpace }

func TestSecretsAreNotPrinted(t *testing.T) {
	target := Target{Login: Login{User: "lab", Password: "p4ss", Enable: "p4ss", Key: "p4ss"}}
	js, err := json.Marshal(target)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{string(js), fmt.Sprint(target), fmt.Sprintf("%+v %#v %s", target, target, target.Login.Password)} {
		if strings.Contains(text, "p4ss") {
			t.Errorf("the secret is in %s", text)
		}
	}
}

func TestDuration(t *testing.T) {
	p := Platform{Setup: []string{"1234"}, Configure: ConfigureDialog{Enter: []string{"conf"}, Leave: []string{"end"}}}
	lines := []string{"interface a", " description 12345678", ""}
	for _, tt := range []struct {
		name   string
		target Target
		want   time.Duration
	}{
		{"no pace", Target{URL: "telnet://x", Platform: p}, 0},
		{"characters", Target{URL: "telnet://x", Platform: p, Pace: Pace{Character: time.Millisecond}}, (5 + 5 + 12 + 21 + 4) * time.Millisecond},
		{"lines", Target{URL: "telnet://x", Platform: p, Pace: Pace{Line: time.Second}}, 5 * time.Second},
		{"chunks", Target{URL: "telnet://x", Platform: p, Pace: Pace{Chunk: 10, ChunkDelay: time.Second}}, 2 * time.Second},
		{"a line's speed", Target{URL: "serial:///dev/ttyS0?baud=1000", Platform: p}, 47 * 10 * time.Millisecond},
		{"the slower of both", Target{URL: "serial:///dev/ttyS0?baud=1000", Platform: p, Pace: Pace{Character: time.Second}}, 47 * time.Second},
		{"a channel for each", Target{URL: "ssh://x", Platform: Platform{Shell: true}, Pace: Pace{Line: time.Second, Character: time.Hour}}, 3 * time.Second},
	} {
		if got := tt.target.Duration(lines); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestResume(t *testing.T) {
	indented := []string{"router bgp 1", " address-family", "  neighbor a", "", "  neighbor b", " exit", "interface x", " up"}
	flat := []string{"interface a", "up", "exit", "interface b", "up"}
	for _, tt := range []struct {
		name            string
		lines           []string
		verified, block int
		shell           bool
		want            []int
	}{
		{"all", indented, 0, 0, false, []int{1, 2, 3, 4, 5, 6, 7, 8}},
		{"inside", indented, 3, 0, false, []int{1, 2, 4, 5, 6, 7, 8}},
		{"one less", indented, 5, 0, false, []int{1, 6, 7, 8}},
		{"top", indented, 6, 6, false, []int{7, 8}},
		{"below the header", indented, 7, 6, false, []int{7, 8}},
		{"done", indented, 8, 8, false, nil},
		{"flat", flat, 4, 3, false, []int{4, 5}},
		{"flat, no top seen", flat, 2, 0, false, []int{1, 2, 3, 4, 5}},
		{"shell", flat, 2, 0, true, []int{3, 4, 5}},
	} {
		if got := resume(tt.lines, tt.verified, tt.block, tt.shell); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestBadTargets(t *testing.T) {
	p := dialogOf(t, "cisco_ios").Platform
	missing := filepath.Join(t.TempDir(), "tty")
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		target Target
		kind   error
	}{
		{"no URL", Target{Platform: p}, fault.Invalid},
		{"no platform", Target{URL: "ssh://127.0.0.1"}, fault.Invalid},
		{"a pace that nobody means", Target{URL: "ssh://127.0.0.1", Platform: p, Pace: Pace{Line: time.Hour}}, fault.Invalid},
		{"nobody listens", Target{URL: "tcp://127.0.0.1:1", Platform: p}, fault.Unavailable},
		{"nobody listens to ssh", Target{URL: "ssh://127.0.0.1:1", Platform: p}, fault.Unavailable},
		{"no such line", Target{URL: "serial://" + missing, Platform: p}, fault.Unavailable},
		{"not a line", Target{URL: "serial://" + file, Platform: p}, fault.Invalid},
	} {
		tt.target.Name = "sw1"
		_, err := Open(within(t, time.Minute), tt.target, nil)
		if !errors.Is(err, tt.kind) || !strings.HasPrefix(fmt.Sprint(err), "sw1: ") {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.kind)
		}
	}
}

// TestAnswersInVain has a server that accepts connections and says nothing.
func TestAnswersInVain(t *testing.T) {
	t.Parallel()
	master, slave, path := openPTY(t)
	defer master.Close()
	defer slave.Close()
	target := Target{Name: "dead", URL: "serial://" + path, Platform: dialogOf(t, "frr").Platform, Limits: Limits{Connect: time.Second}}
	if _, err := Open(within(t, time.Minute), target, nil); !errors.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "no login within 1s") {
		t.Errorf("Open: %v, want Unavailable", err)
	}
}

// TestEndpoint: URLs of one line, or of one port of a host, have the same endpoint.
func TestEndpoint(t *testing.T) {
	dir := t.TempDir()
	tty, link := filepath.Join(dir, "tty"), filepath.Join(dir, "by-id")
	if err := errors.Join(os.WriteFile(tty, nil, 0o600), os.Symlink(tty, link)); err != nil {
		t.Fatal(err)
	}
	is := map[string]string{}
	for _, urls := range [][]string{
		{"ssh://host", "ssh://Host", "ssh://host:22", "ssh://host:022/", "ssh://HOST.:22", "tcp://host:22"},
		{"ssh://host:23", "telnet://host", "rfc2217://host:23?baud=9600"},
		{"tcp://192.0.2.1:7001", "telnet://192.0.2.1:7001", "tcp://[::ffff:192.0.2.1]:7001", "rfc2217://192.0.2.1:7001"},
		{"tcp://[2001:db8::1]:1", "tcp://[2001:DB8:0:0::1]:1", "tcp://[2001:db8::0.0.0.1]:1"},
		{"tcp://[fe80::1%25eth0]:1"},
		{"tcp://[fe80::1%25eth1]:1"},
		{"tcp://localhost:1", "tcp://127.0.0.1:1", "tcp://LocalHost.:1"},
		{"tcp://127.0.0.2:1"},
		{"serial://" + tty, "serial://" + link + "?baud=9600"},
		{"serial:///dev/none"},
	} {
		want := Endpoint(urls[0])
		for _, u := range urls {
			if got := Endpoint(u); got != want || got == "" {
				t.Errorf("%s leads to %q, and %s to %q", u, got, urls[0], want)
			}
		}
		if other, ok := is[want]; ok {
			t.Errorf("%s leads where %s leads: %q", urls[0], other, want)
		}
		is[want] = urls[0]
	}
	if got := Endpoint("http://host"); got != "" {
		t.Errorf("what can't be read leads to %q", got)
	}
}
