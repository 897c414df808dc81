package device

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"activationd/internal/fault"
)

// A junos has a candidate configuration, which takes effect with a commit.
type junos struct {
	host      string
	configure bool
	candidate []string
	valid     []string
	locked    int // times that another one is configuring
	said      []string
}

func (j *junos) respond(line string) (said, prompt string) {
	j.said = append(j.said, line)
	verb, rest, _ := strings.Cut(line, " ")
	switch {
	case line == "":
	case strings.HasPrefix(line, "set cli"):
		said = "Screen length set to 0\n"
	case line == "configure exclusive" && j.locked > 0:
		j.locked--
		said = "error: configuration database locked by:\n  other terminal p0 (pid 1) on since 1993-03-01\n"
	case line == "configure exclusive":
		j.configure, j.candidate = true, slices.Clone(j.valid)
		said = "warning: uncommitted changes will be discarded on exit\nEntering configuration mode\n"
	case line == "show configuration":
		said = strings.Join(append(j.valid, ""), "\n")
	case j.configure && verb == "set" && rest == "nonsense":
		said = "              ^\nsyntax error.\n"
	case j.configure && verb == "set":
		j.candidate = append(j.candidate, rest)
	case j.configure && line == "commit" && slices.Contains(j.candidate, "broken"):
		said = "[edit]\n  'broken'\n    it can't be\nerror: configuration check-out failed\n"
	case j.configure && line == "commit":
		j.valid = slices.Clone(j.candidate)
		for _, l := range j.valid {
			if name, ok := strings.CutPrefix(l, "system host-name "); ok {
				j.host = name
			}
		}
		said = "commit complete\n"
	case j.configure && line == "rollback 0":
		j.candidate = slices.Clone(j.valid)
		said = "load complete\n"
	case j.configure && line == "exit configuration-mode":
		j.configure = false
		said = "Exiting configuration mode\n"
	default:
		said = "                  ^\nunknown command.\n"
	}
	if j.configure {
		return said + "\n[edit]\n", "lab@" + j.host + "# "
	}
	return said + "\n", "lab@" + j.host + "> "
}

// TestJunos checks that all lines take effect together, or none.
func TestJunos(t *testing.T) {
	t.Parallel()
	j := &junos{host: "r1"}
	h := startHostile(t, quirks{respond: j.respond})
	target := h.target(t)
	target.Platform = dialogOf(t, "juniper_junos").Platform
	s := open(within(t, time.Minute), t, target)
	if err := s.Configure(within(t, time.Minute), []string{"set a", "set b"}); err != nil {
		t.Fatalf("Configure: %v", err)
	}
	for _, tt := range []struct {
		lines  []string
		number int
		says   string
	}{
		{[]string{"set c", "set nonsense"}, 2, "syntax error"},
		{[]string{"set c", "set broken"}, 0, "check-out failed"},
	} {
		err := s.Configure(within(t, time.Minute), tt.lines)
		refused, ok := errors.AsType[*LineError](err)
		if !ok || refused.Number != tt.number || !strings.Contains(refused.Said, tt.says) {
			t.Errorf("Configure(%q): %v, want line %d refused with %q", tt.lines, err, tt.number, tt.says)
		}
	}
	if got, err := s.Show(within(t, time.Minute), "show configuration"); err != nil || got != "a\nb\n" {
		t.Errorf("valid: %q, %v, want a and b", got, err)
	}
	if err := s.Configure(within(t, time.Minute), []string{"set system host-name edge", "set d"}); err != nil {
		t.Errorf("Configure with another name: %v", err)
	}
	if got, err := s.Show(within(t, time.Minute), "show configuration"); err != nil || got != "a\nb\nsystem host-name edge\nd\n" {
		t.Errorf("valid: %q, %v", got, err)
	}
}

// TestJunosLocked has another user in the configuration mode for a while.
func TestJunosLocked(t *testing.T) {
	t.Parallel()
	j := &junos{host: "r1", locked: 1}
	h := startHostile(t, quirks{respond: j.respond})
	target := h.target(t)
	target.Platform = dialogOf(t, "juniper_junos").Platform
	s := open(within(t, time.Minute), t, target)
	if err := s.Configure(within(t, time.Minute), []string{"set a"}); !errors.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "locked") {
		t.Errorf("Configure: %v, want Unavailable: locked", err)
	}
	s.Close()
	if err := Send(within(t, time.Minute), target, []string{"set a"}, transcript(t), SendOptions{}); err != nil {
		t.Errorf("Send: %v", err)
	}
}

// TestJunosCut cuts the connection at many places: after each cut the whole candidate is sent
// again.
func TestJunosCut(t *testing.T) {
	t.Parallel()
	for _, at := range []int{150, 175, 182, 190, 200} {
		j := &junos{host: "r1"}
		h := startHostile(t, quirks{respond: j.respond})
		target := h.target(t)
		target.Platform = dialogOf(t, "juniper_junos").Platform
		target.URL = startBridge(t, h, at).url()
		if err := Send(within(t, time.Minute), target, []string{"set a", "set b"}, transcript(t), SendOptions{}); err != nil {
			t.Fatalf("cut at %d: %v", at, err)
		}
		target.URL = "serial://" + h.path
		s := open(within(t, time.Minute), t, target)
		if got, err := s.Show(within(t, time.Minute), "show configuration"); err != nil || !strings.Contains(got, "a\nb\n") || len(got) > 8 {
			t.Errorf("cut at %d: valid: %q, %v", at, got, err)
		}
		s.Close()
	}
}

// TestEmbedded has a command line without a configuration mode.
func TestEmbedded(t *testing.T) {
	t.Parallel()
	env := map[string]string{}
	h := startHostile(t, quirks{respond: func(line string) (string, string) {
		words := strings.Fields(line)
		switch {
		case len(words) == 3 && words[0] == "setenv":
			env[words[1]] = words[2]
			return "", "=> "
		case len(words) == 2 && words[0] == "printenv":
			return words[1] + "=" + env[words[1]] + "\n", "=> "
		case len(words) == 0:
			return "", "=> "
		}
		return "Unknown command '" + words[0] + "' - try 'help'\n", "=> "
	}})
	target := h.target(t)
	target.Platform = dialogOf(t, "embedded").Platform
	s := open(within(t, time.Minute), t, target)
	if err := s.Configure(within(t, time.Minute), []string{"setenv vlan 7"}); err != nil {
		t.Errorf("Configure: %v", err)
	}
	if got, err := s.Show(within(t, time.Minute), "printenv vlan"); err != nil || got != "vlan=7\n" {
		t.Errorf("Show = %q, %v", got, err)
	}
	if err := s.Configure(within(t, time.Minute), []string{"frobnicate"}); !errors.Is(err, fault.Invalid) {
		t.Errorf("Configure(frobnicate): %v, want Invalid", err)
	}
}
