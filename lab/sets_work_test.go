package lab

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"activationd/internal/fault"
	"activationd/topology"
)

// A junosSim is a junosTree with a command line on a TCP port.
type junosSim struct {
	ln net.Listener
	wg sync.WaitGroup

	mu      sync.Mutex
	tree    *junosTree
	host    string
	hidden  bool   // it shows no secrets
	refuses string // a line that it does not take
	commits int
	typed   []string // in configuration mode
}

func newJunosSim(t *testing.T, lines ...string) *junosSim {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &junosSim{ln: ln, tree: newJunosTree(), host: "edge"}
	for _, l := range lines {
		if said := s.tree.do(l); said != "" {
			t.Fatalf("%q: %s", l, said)
		}
	}
	if said := s.tree.do("commit"); said != "commit complete" {
		t.Fatal(said)
	}
	acceptAll(t, ln, &s.wg, s.serve)
	return s
}

func (s *junosSim) show() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tree.show()
}

// heard returns what was typed in configuration mode, and how often it was committed,
// since it was asked last.
func (s *junosSim) heard() (typed string, commits int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	typed, commits = strings.Join(s.typed, "\n"), s.commits
	s.typed, s.commits = nil, 0
	return typed, commits
}

// do is somebody else's change.
func (s *junosSim) do(lines ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	configureJunos(s.tree, lines)
}

func (s *junosSim) serve(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	in := bufio.NewReader(conn)
	configuring := false
	prompt := func() string {
		s.mu.Lock()
		defer s.mu.Unlock()
		return "lab@" + s.host + ifElse(configuring, "# ", "> ")
	}
	fmt.Fprint(conn, "\r\n"+prompt())
	var line []byte
	for quoted := false; ; {
		_ = conn.SetDeadline(time.Now().Add(time.Minute))
		b, err := in.ReadByte()
		if err != nil {
			return
		}
		echo := ""
		switch {
		case quoted || b >= ' ' && b < 0x7f:
			line, quoted, echo = append(line, b), false, string(b)
		case b == 0x16:
			quoted = true
		case b == '\r':
			said := s.answer(string(line), &configuring)
			echo = strings.ReplaceAll("\n"+said+ifElse(configuring, "\n[edit]\n", "\n")+prompt(), "\n", "\r\n")
			line = line[:0]
		case b == 0x15:
			echo, line = strings.Repeat("\b \b", len(line)), line[:0]
		case b == 0x0c:
			echo = "\r\n" + prompt() + string(line)
		case b == '\b' && len(line) > 0:
			echo, line = "\b \b", line[:len(line)-1]
		}
		if _, err := io.WriteString(conn, echo); err != nil {
			return
		}
	}
}

func (s *junosSim) answer(line string, configuring *bool) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case line == "", strings.HasPrefix(line, "set cli "):
		return ""
	case line == "show configuration | display set":
		shown := s.tree.show()
		if s.hidden {
			shown = strings.ReplaceAll(shown, `"$6$was"`, "/* SECRET-DATA */")
		}
		return shown
	case line == "configure exclusive":
		*configuring = true
		return "warning: uncommitted changes will be discarded on exit\nEntering configuration mode\n"
	case line == "exit configuration-mode":
		*configuring = false
		return "Exiting configuration mode\n"
	case !*configuring:
		return "                ^\nunknown command.\n"
	}
	s.typed = append(s.typed, line)
	if line == s.refuses {
		return "              ^\nsyntax error.\n"
	}
	said := s.tree.do(line)
	if said == "commit complete" {
		s.commits++
		for l := range strings.Lines(s.tree.show()) {
			if name, ok := strings.CutPrefix(l, "set system host-name "); ok {
				s.host = strings.TrimSpace(name)
			}
		}
	}
	if strings.HasPrefix(said, "syntax") {
		said = "              ^\n" + said
	}
	return ifElse(said == "", "", said+"\n")
}

const junosTopology = `
name: bench
topology:
  nodes:
    r1:
      kind: juniper_junos
      startup-config: |
        set system host-name lab-r1
        set system root-authentication encrypted-password "$6$lab"
        set interfaces ge-0/0/1 unit 0 family inet address 10.0.0.1/24
        set interfaces ge-0/0/2 description "what? a customer's"
        set firewall family inet filter f term new then accept
        set firewall family inet filter f term c then discard
        set protocols bgp group g import q
        set security policies from-zone a to-zone b policy p then permit
        deactivate security policies from-zone a to-zone b
`

// junosBench generates a plan for a device.
func junosBench(t *testing.T, s *junosSim) (w *Work, dir, keep string) {
	t.Helper()
	inv, err := ParseInventory("inventory.yaml", fmt.Appendf(nil, "devices:\n  r1: {platform: juniper_junos, connect: 'tcp://%s', allow: access-path}\n", s.ln.Addr()))
	if err != nil {
		t.Fatal(err)
	}
	topo, err := topology.Parse("topology", []byte(junosTopology), nil)
	if err != nil {
		t.Fatal(err)
	}
	platforms, err := inv.Platforms()
	if err != nil {
		t.Fatal(err)
	}
	m, err := Map(inv, platforms, topo, nil)
	if err != nil {
		t.Fatal(err)
	}
	p, err := Generate(Input{Activation: "1@bench", Inventory: inv, Platforms: platforms, Topology: topo, Mapping: m})
	if err != nil {
		t.Fatal(err)
	}
	dir, keep = t.TempDir(), t.TempDir()
	if err := WritePlan(dir, p, platforms); err != nil {
		t.Fatal(err)
	}
	return &Work{Activation: "1@bench", Locks: t.TempDir(), Getenv: os.Getenv, Say: func(_, text string) { t.Log(text) }}, dir, keep
}

var junosBefore = []string{
	"set system host-name edge", `set system root-authentication encrypted-password "$6$was"`, "set system services telnet", "protect system services",
	"set interfaces fxp0 unit 0 family inet address 192.0.2.1/24", "set interfaces ge-0/0/2 description ours", "deactivate interfaces ge-0/0/2",
	"set firewall family inet filter f term a then accept", "set firewall family inet filter f term b then accept", "set firewall family inet filter f term c then accept",
	"set protocols bgp group g import p", "set protocols bgp group g import q", "set protocols bgp group g import r",
}

// TestJunosUploadVerifyErase brings a startup-config to a device that had a configuration,
// and takes it off after somebody has done more to it: it is what it was, to the byte.
func TestJunosUploadVerifyErase(t *testing.T) {
	t.Parallel()
	s := newJunosSim(t, junosBefore...)
	before := s.show()
	w, dir, keep := junosBench(t, s)
	verify := func() error {
		p, all, err := ReadKept(keep)
		if err != nil {
			t.Fatal(err)
		}
		return w.Verify(t.Context(), p, all)
	}
	if err := w.Upload(t.Context(), dir, keep); err != nil {
		t.Fatal(err)
	}
	if _, commits := s.heard(); commits != 1 {
		t.Errorf("the upload was %d commits, want one", commits)
	}
	// ge-0/0/2 was inactive before, so that what it got does nothing; and c is before new.
	err := verify()
	if !errors.Is(err, fault.Conflict) || !strings.Contains(err.Error(), "deactivate interfaces ge-0/0/2") || !strings.Contains(err.Error(), "term new, c") {
		t.Errorf("verify: %v", err)
	}
	s.do("activate interfaces ge-0/0/2", "insert firewall family inet filter f term c after term new")
	if err := verify(); err != nil {
		t.Errorf("verify: %v", err)
	}
	s.do("delete firewall family inet filter f term b", "delete protocols bgp group g import q", "unprotect system services", "deactivate system services", "set vlans v vlan-id 7", "protect vlans v")
	s.heard()
	if err := w.Erase(t.Context(), keep); err != nil {
		t.Fatal(err)
	}
	if got := s.show(); got != before {
		t.Errorf("it is\n%s\nwas\n%s", got, before)
	}
	if all, commits := s.heard(); strings.Contains(all, "fxp0") || strings.Contains(all, "delete system") || commits != 1 {
		t.Errorf("in %d commits it was told\n%s", commits, all)
	}
}

// TestJunosHidesSecrets: a device that does not show a secret which the startup-config
// changes is left alone, as the secret could not be set again.
func TestJunosHidesSecrets(t *testing.T) {
	t.Parallel()
	s := newJunosSim(t, junosBefore...)
	s.mu.Lock()
	s.hidden = true
	s.mu.Unlock()
	before := s.show()
	w, dir, keep := junosBench(t, s)
	if err := w.Upload(t.Context(), dir, keep); !errors.Is(err, fault.Conflict) || !strings.Contains(err.Error(), "encrypted-password") {
		t.Errorf("upload: %v", err)
	}
	err := w.Erase(t.Context(), keep)
	if all, _ := s.heard(); err != nil || s.show() != before || all != "" {
		t.Errorf("erase: %v; it was told %q", err, all)
	}
}

// TestJunosRefusesSettingAgain: what has to be deleted and set again to come into its
// order is not deleted if the device does not take it again.
func TestJunosRefusesSettingAgain(t *testing.T) {
	t.Parallel()
	s := newJunosSim(t, junosBefore...)
	w, dir, keep := junosBench(t, s)
	if err := w.Upload(t.Context(), dir, keep); err != nil {
		t.Fatal(err)
	}
	const r = "set protocols bgp group g import r"
	s.do("delete protocols bgp group g import q")
	s.mu.Lock()
	s.refuses = r
	s.mu.Unlock()
	if err := w.Erase(t.Context(), keep); !errors.Is(err, fault.Conflict) || !strings.Contains(err.Error(), "was in another order") {
		t.Errorf("erase: %v, want Conflict: not clean", err)
	}
	if got := s.show(); !strings.Contains(got, r+"\n") {
		t.Errorf("%q is gone from\n%s", r, got)
	}
	s.mu.Lock()
	s.refuses = ""
	s.mu.Unlock()
	if err := w.Erase(t.Context(), keep); err != nil {
		t.Errorf("erase again: %v", err)
	}
}
