package lab

import (
	"errors"
	"strings"
	"testing"

	"activationd/internal/fault"
)

// A junosSim is a junosTree with a command line on a TCP port.
type junosSim struct {
	*promptSim
	tree        *junosTree
	host        string
	configuring bool
	hidden      bool   // it shows no secrets
	refuses     string // a line that it does not take
	commits     int
	configured  []string // lines typed in configuration mode
}

func newJunosSim(t *testing.T, lines ...string) *junosSim {
	t.Helper()
	s := &junosSim{tree: newJunosTree(), host: "edge"}
	for _, l := range lines {
		if said := s.tree.do(l); said != "" {
			t.Fatalf("%q: %s", l, said)
		}
	}
	if said := s.tree.do("commit"); said != "commit complete" {
		t.Fatal(said)
	}
	s.promptSim = newPromptSim(t, func(line string) (said, prompt string) {
		said = s.answer(line) + ifElse(s.configuring, "\n[edit]\n", "\n")
		return said, "lab@" + s.host + ifElse(s.configuring, "# ", "> ")
	})
	return s
}

func (s *junosSim) show() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tree.show()
}

// heard returns the lines that were typed in configuration mode, and the number of commits,
// since its last call.
func (s *junosSim) heard() (typed string, commits int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	typed, commits = strings.Join(s.configured, "\n"), s.commits
	s.configured, s.commits = nil, 0
	return typed, commits
}

// do changes the configuration as another user.
func (s *junosSim) do(lines ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	configureJunos(s.tree, lines)
}

func (s *junosSim) answer(line string) string {
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
		s.configuring = true
		return "warning: uncommitted changes will be discarded on exit\nEntering configuration mode\n"
	case line == "exit configuration-mode":
		s.configuring = false
		return "Exiting configuration mode\n"
	case !s.configuring:
		return "                ^\nunknown command.\n"
	}
	s.configured = append(s.configured, line)
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

var junosBefore = []string{
	"set system host-name edge", `set system root-authentication encrypted-password "$6$was"`, "set system services telnet", "protect system services",
	"set interfaces fxp0 unit 0 family inet address 192.0.2.1/24", "set interfaces ge-0/0/2 description ours", "deactivate interfaces ge-0/0/2",
	"set firewall family inet filter f term a then accept", "set firewall family inet filter f term b then accept", "set firewall family inet filter f term c then accept",
	"set protocols bgp group g import p", "set protocols bgp group g import q", "set protocols bgp group g import r",
}

// TestJunosUploadVerifyErase applies a startup-config to a device that has a configuration,
// and erases it after somebody has changed more. The configuration is the same to the byte.
func TestJunosUploadVerifyErase(t *testing.T) {
	t.Parallel()
	s := newJunosSim(t, junosBefore...)
	before := s.show()
	b := newBenchOf(t, "juniper_junos", s.ln, junosTopology)
	if err := b.upload(); err != nil {
		t.Fatal(err)
	}
	if _, commits := s.heard(); commits != 1 {
		t.Errorf("the upload was %d commits, want one", commits)
	}
	// ge-0/0/2 was inactive before, so its new lines have no effect; and c is before new.
	err := b.verify()
	if !errors.Is(err, fault.Conflict) || !strings.Contains(err.Error(), "deactivate interfaces ge-0/0/2") || !strings.Contains(err.Error(), "term new, c") {
		t.Errorf("verify: %v", err)
	}
	s.do("activate interfaces ge-0/0/2", "insert firewall family inet filter f term c after term new")
	if err := b.verify(); err != nil {
		t.Errorf("verify: %v", err)
	}
	s.do("delete firewall family inet filter f term b", "delete protocols bgp group g import q", "unprotect system services", "deactivate system services", "set vlans v vlan-id 7", "protect vlans v")
	s.heard()
	if err := b.erase(); err != nil {
		t.Fatal(err)
	}
	if got := s.show(); got != before {
		t.Errorf("it is\n%s\nwas\n%s", got, before)
	}
	if all, commits := s.heard(); strings.Contains(all, "fxp0") || strings.Contains(all, "delete system") || commits != 1 {
		t.Errorf("in %d commits it was sent\n%s", commits, all)
	}
}

// TestJunosHidesSecrets: if the startup-config changes a secret that the device does not show,
// nothing is sent, as the secret could not be set again.
func TestJunosHidesSecrets(t *testing.T) {
	t.Parallel()
	s := newJunosSim(t, junosBefore...)
	s.mu.Lock()
	s.hidden = true
	s.mu.Unlock()
	before := s.show()
	b := newBenchOf(t, "juniper_junos", s.ln, junosTopology)
	if err := b.upload(); !errors.Is(err, fault.Conflict) || !strings.Contains(err.Error(), "encrypted-password") {
		t.Errorf("upload: %v", err)
	}
	err := b.erase()
	if all, _ := s.heard(); err != nil || s.show() != before || all != "" {
		t.Errorf("erase: %v; it was sent %q", err, all)
	}
}

// TestJunosRefusesSettingAgain: an object that must be deleted and set again, to restore its
// order, is not deleted if the device refuses to set it.
func TestJunosRefusesSettingAgain(t *testing.T) {
	t.Parallel()
	s := newJunosSim(t, junosBefore...)
	b := newBenchOf(t, "juniper_junos", s.ln, junosTopology)
	if err := b.upload(); err != nil {
		t.Fatal(err)
	}
	const r = "set protocols bgp group g import r"
	s.do("delete protocols bgp group g import q")
	s.mu.Lock()
	s.refuses = r
	s.mu.Unlock()
	if err := b.erase(); !errors.Is(err, fault.Conflict) || !strings.Contains(err.Error(), "was in another order") {
		t.Errorf("erase: %v, want Conflict: not clean", err)
	}
	if got := s.show(); !strings.Contains(got, r+"\n") {
		t.Errorf("%q is gone from\n%s", r, got)
	}
	s.mu.Lock()
	s.refuses = ""
	s.mu.Unlock()
	if err := b.erase(); err != nil {
		t.Errorf("erase again: %v", err)
	}
}
