package lab

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"activationd/internal/fault"
	"activationd/topology"
)

// An srlSim is an srlTree with a command line on a TCP port.
type srlSim struct {
	*promptSim
	tree       *srlTree
	host       string
	mode       string
	commits    int
	configured []string // lines typed in the candidate
}

func newSRLSim(t *testing.T, lines ...string) *srlSim {
	t.Helper()
	s := &srlSim{tree: newSRLTree(), host: "edge", mode: "running"}
	for _, l := range lines {
		if said := s.tree.do(l); said != "" {
			t.Fatalf("%q: %s", l, said)
		}
	}
	s.tree.do("commit now")
	s.promptSim = newPromptSim(t, func(line string) (said, prompt string) {
		said = s.answer(line)
		return said + "\n--{ + " + s.mode + " }--[  ]--\n", "A:admin@" + s.host + "# "
	})
	return s
}

func (s *srlSim) show() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tree.show()
}

// do changes the configuration as another user.
func (s *srlSim) do(lines ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	configureSRL(s.tree, lines)
}

// heard returns the lines that were typed in the candidate, and the number of commits, since
// its last call.
func (s *srlSim) heard() (typed string, commits int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	typed, commits = strings.Join(s.configured, "\n"), s.commits
	s.configured, s.commits = nil, 0
	return typed, commits
}

func (s *srlSim) answer(line string) string {
	candidate := strings.HasPrefix(s.mode, "candidate")
	switch {
	case line == "", strings.HasPrefix(line, "environment "):
		return ""
	case strings.HasPrefix(line, "info flat from running /"):
		return srlModel{s.tree}.show(strings.Replace(line, "running /", "running / ", 1))
	case line == "save startup":
		return "/system:\n    Saved current running configuration as initial (startup) configuration '/etc/opt/srlinux/config.json'\n\n"
	case line == "enter candidate exclusive":
		s.mode = "candidate exclusive default"
		return ""
	case line == "enter running":
		s.mode = "running"
		return ""
	case !candidate:
		return srlParsing + " '" + line + "'.\nOptions are ['#', '/', '|', '}']\n"
	case line != "commit now" && line != "discard now":
		s.configured = append(s.configured, line)
	}
	said := s.tree.do(line)
	switch {
	case line == "discard now":
		s.mode = "running"
		return "All changes have been discarded. Leaving candidate mode.\n"
	case said == srlDone:
		s.mode = "running"
		s.commits++
		for l := range strings.Lines(s.tree.show()) {
			if name, ok := strings.CutPrefix(l, "set / system name host-name "); ok {
				s.host = strings.TrimSpace(name)
			}
		}
	}
	return ifElse(said == "", "", said+"\n")
}

const srlTopology = `
name: bench
topology:
  nodes:
    r1:
      kind: nokia_srlinux
      startup-config: |
        enter candidate
        set / system name host-name lab-r1
        set / interface ethernet-1/1 description "what? a customer's"
        set / interface ethernet-1/1 subinterface 0 ipv4 address 10.0.0.1/24
        set / network-instance default interface ethernet-1/1.0
        routing-policy {
            policy p {
                statement new {
                    action {
                        policy-result accept
                    }
                }
            }
        }
        set / network-instance default protocols bgp group g export-policy [ p q ]
        set / network-instance default protocols bgp neighbor 10.0.0.2 peer-group g
        set / system aaa authentication user lab password NokiaSrl1!
        commit now
`

var srlBefore = []string{
	"set / system name host-name edge", "set / system ssh-server mgmt admin-state enable", "set / interface mgmt0 subinterface 0 ipv4 dhcp-client",
	"set / interface ethernet-1/1 description ours", "set / interface ethernet-1/2 mtu 9000", "set / network-instance mgmt type ip-vrf",
	"set / routing-policy policy p statement a action policy-result accept", "set / routing-policy policy p statement b action policy-result reject",
	"set / network-instance default protocols bgp group g export-policy [ q r ]",
}

// TestSRLUploadVerifyErase applies a startup-config to a device that has a configuration, and
// erases it after somebody has changed more. The configuration is the same to the byte.
func TestSRLUploadVerifyErase(t *testing.T) {
	t.Parallel()
	s := newSRLSim(t, srlBefore...)
	before := s.show()
	b := newBenchOf(t, "nokia_srlinux", s.ln, srlTopology)
	if err := b.upload(); err != nil {
		t.Fatal(err)
	}
	if _, commits := s.heard(); commits != 1 {
		t.Errorf("the upload was %d commits, want one", commits)
	}
	// q was there before p, and the order counts.
	if err := b.verify(); !errors.Is(err, fault.Conflict) || !strings.Contains(err.Error(), "export-policy p, q") {
		t.Errorf("verify: %v", err)
	}
	s.do("delete / network-instance default protocols bgp group g export-policy [ q r ]", "set / network-instance default protocols bgp group g export-policy [ q ]",
		"set / system aaa authentication user lab password $y$j9T$abc")
	if err := b.verify(); err != nil {
		t.Errorf("verify: %v", err)
	}
	s.do("insert / routing-policy policy p statement new before a", "delete / routing-policy policy p statement b", "set / interface ethernet-1/2 mtu 1500", "delete / interface ethernet-1/1 description",
		"set / network-instance other type mac-vrf")
	s.heard()
	if err := b.erase(); err != nil {
		t.Fatal(err)
	}
	if got := s.show(); got != before {
		t.Errorf("it is\n%s\nwas\n%s", got, before)
	}
	if all, commits := s.heard(); strings.Contains(all, "mgmt") || strings.Contains(all, "delete / system\n") || commits != 1 {
		t.Errorf("in %d commits it was sent\n%s", commits, all)
	}
}

// TestSRLPlan: which forms of a startup-config are accepted, which lines are refused with
// their numbers, and which would cut the access off.
func TestSRLPlan(t *testing.T) {
	d := srlDialect(t)
	made, err := d.plan(&topology.Node{Name: "r1", Config: "# interfaces\n!!! remarks\nenter candidate\nset / interface ethernet-1/1 admin-state enable\nset /interface lo0 subinterface 0 admin-state enable\n\n" +
		"/ network-instance default interface lo0.0\nset /  !!! \"a remark\"\ninterface ethernet-1/2 {\n    subinterface 0 {\n        ipv4 {\n            address 10.0.0.1/24 {\n            }\n        }\n    }\n}\ncommit now\n"})
	want := []string{"set / interface ethernet-1/1 admin-state enable", "set / interface lo0 subinterface 0 admin-state enable", "set / network-instance default interface lo0.0",
		"set / interface ethernet-1/2 subinterface 0 ipv4 address 10.0.0.1/24"}
	if err != nil || !slices.Equal(made.apply, want) {
		t.Errorf("it applies %q, %v; want %q", made.apply, err, want)
	}
	for _, tt := range []struct{ config, want string }{
		{"{\n  \"srl_nokia-interfaces:interface\": []\n}", "line 1: is JSON"},
		{"set / interface lo0\ntools system configuration save", `line 2: "tools system configuration save": is not a line as in set / system`},
		{"environment prompt x", "is not a line"},
		{"delete / interface lo0", "delete is not supported"},
		{"info flat | grep x", "is not a line"},
		{"set / system information location ${WHERE:=here}", "has a variable of containerlab"},
		{"set / system information location {{ .Env.WHERE }}", "has a template of containerlab"},
	} {
		if _, err := d.plan(&topology.Node{Name: "r1", Config: tt.config}); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: %v; want %q", tt.config, err, tt.want)
		}
	}
	way := Access{Connect: "ssh://192.0.2.1", User: "admin"}
	for line, cuts := range map[string]bool{
		"set / interface mgmt0 admin-state disable":                          true,
		"set / interface mgmt0":                                              true,
		"set / network-instance mgmt admin-state disable":                    true,
		"set / system ssh-server mgmt admin-state disable":                   true,
		"set / system aaa authentication user admin password x":              true,
		"set / acl acl-filter cpm type ipv4 entry 1 action drop":             true,
		"set / interface ethernet-1/1 subinterface 0 ipv4 address 192.0.2.1": true,
		"set / interface ethernet-1/1 subinterface 0 ipv4 address 192.0.2.2": false,
		"set / network-instance default interface ethernet-1/1.0":            false,
		"set / system json-rpc-server admin-state enable":                    false,
	} {
		if got := d.accessPath(line+"\n", way); (len(got) > 0) != cuts {
			t.Errorf("%q changes the way by %q, want that %v", line, got, cuts)
		}
	}
}
