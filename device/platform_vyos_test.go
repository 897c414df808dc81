package device

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"activationd/internal/fault"
)

// A vyos is a shell with a configuration mode that uses the words of VyOS' own programs.
type vyos struct {
	host      string
	configure bool
	level     string // that was entered by "edit"
	valid     []string
	candidate []string
	saved     []string
	busy      int // commits for which somebody else's is not done
	said      []string
}

func (v *vyos) respond(line string) (said, prompt string) {
	if line != "" {
		v.said = append(v.said, line)
	}
	changed := !slices.Equal(v.valid, v.candidate)
	verb, rest, _ := strings.Cut(line, " ")
	switch {
	case line == "", strings.HasPrefix(line, "set terminal "):
	case line == "configure" && !v.configure:
		v.configure, v.candidate = true, slices.Clone(v.valid)
	case line == "show configuration commands" && !v.configure:
		said = strings.Join(append(v.valid, ""), "\n")
	case !v.configure:
		said = "\n  Invalid command: [" + verb + "]\n\n"
	case line == "exit", line == "exit discard":
		switch {
		case v.level != "":
			v.level = ""
		case changed && line == "exit":
			said = "Cannot exit: configuration modified.\nUse 'exit discard' to discard the changes and exit.\n"
		default:
			v.configure = false
			said = "exit\n"
		}
	case line == "top" && v.level == "":
		said = "\n  Already at the top level\n\n"
	case line == "top":
		v.level = ""
	case line == "discard" && !changed:
		said = "\n  No changes have been discarded\n\n"
	case line == "discard":
		v.candidate = slices.Clone(v.valid)
		said = "\n  Changes have been discarded\n\n"
	case line == "commit" && !changed:
		said = "No configuration changes to commit\n"
	case line == "commit" && v.busy > 0:
		v.busy--
		said = "Configuration system temporarily locked due to another commit in progress\n"
	case line == "commit" && slices.Contains(v.candidate, "set system host-name bad_name"):
		said = "[ system host-name bad_name ]\ninvalid host name bad_name\n\n[[system host-name]] failed\nCommit failed\n"
	case line == "commit":
		v.valid = slices.Clone(v.candidate)
		said = "\n  WARNING: something to think of\n\n"
	case line == "save":
		v.saved = slices.Clone(v.valid)
	case verb == "set" && slices.Contains(v.candidate, line):
		said = "\n  Configuration path: [" + strings.ReplaceAll(rest, "'", "") + "] already exists\n\n"
	case verb == "set" && strings.HasPrefix(rest, "intefaces"):
		said = "\n  Configuration path: [intefaces] is not valid\n  Set failed\n\n"
	case verb == "set" && strings.HasSuffix(rest, "300.0.0.1/24"):
		said = "\n  Error: Invalid IP address\n\n\n  Invalid value\n  Value validation failed\n  Set failed\n\n"
	case verb == "set":
		v.candidate = append(v.candidate, line)
	case verb == "delete" && slices.Contains(v.candidate, "set "+rest):
		v.candidate = slices.DeleteFunc(v.candidate, func(l string) bool { return l == "set "+rest })
	case verb == "delete":
		said = "\n  Nothing to delete (the specified node does not exist)\n\n"
	default:
		said = "\n  Invalid command: [" + verb + "]\n\n"
	}
	if v.configure {
		return said + "[edit" + v.level + "]\n", "lab@" + v.host + "# "
	}
	return said, "lab@" + v.host + ":~$ "
}

func startVyOS(t *testing.T, v *vyos) (*hostile, Target) {
	t.Helper()
	v.host = "vyos"
	h := startHostile(t, quirks{respond: v.respond})
	target := h.target(t)
	target.Platform = dialogOf(t, "vyos").Platform
	return h, target
}

// TestVyOS: all lines take effect together, or none. Setting a line that is set, or deleting
// one that does not exist, is only a notice. The running configuration is saved.
func TestVyOS(t *testing.T) {
	t.Parallel()
	v := &vyos{valid: []string{"set a", "set b"}}
	_, target := startVyOS(t, v)
	var notices []string
	target.Notice = func(n Notice) { notices = append(notices, n.String()) }
	s := open(within(t, time.Minute), t, target)
	if err := s.Configure(within(t, time.Minute), []string{"set a", "delete b", "delete c", "set d 'what? a customer''s'"}); err != nil {
		t.Fatalf("Configure: %v", err)
	}
	want := []string{
		"the device says: Configuration path: [a] already exists, to: set a",
		"the device says: Nothing to delete (the specified node does not exist), to: delete c",
		"the device says: WARNING: something to think of, to: commit",
	}
	if !slices.Equal(notices, want) {
		t.Errorf("notices %q, want %q", notices, want)
	}
	for _, tt := range []struct {
		lines  []string
		number int
		says   string
	}{
		{[]string{"set e", "set intefaces"}, 2, "Configuration path: [intefaces] is not valid"},
		{[]string{"set e", "set interfaces ethernet eth1 address 300.0.0.1/24"}, 2, "Invalid value"},
		{[]string{"set e", "nonsense"}, 2, "Invalid command: [nonsense]"},
		{[]string{"set e", "set system host-name bad_name"}, 0, "[[system host-name]] failed"},
	} {
		err := s.Configure(within(t, time.Minute), tt.lines)
		refused, ok := errors.AsType[*LineError](err)
		if !ok || refused.Number != tt.number || !strings.Contains(refused.Said, tt.says) {
			t.Errorf("Configure(%q): %v, want line %d refused with %q", tt.lines, err, tt.number, tt.says)
		}
	}
	if err := s.Configure(within(t, time.Minute), []string{"set a"}); err != nil {
		t.Errorf("Configure without a change: %v", err)
	}
	all := "set a\nset d 'what? a customer''s'\n"
	if got, err := s.Show(within(t, time.Minute), "show configuration commands"); err != nil || got != all {
		t.Errorf("valid: %q, %v, want %q", got, err, all)
	}
	s.Close()
	if got := strings.Join(append(v.saved, ""), "\n"); got != all {
		t.Errorf("saved: %q, want %q", got, all)
	}
}

// TestVyOSBusy: another user's commit passes, and a console that was left deep in the
// configuration is led out of it.
func TestVyOSBusy(t *testing.T) {
	t.Parallel()
	v := &vyos{busy: 1, configure: true, level: " interfaces ethernet eth0", candidate: []string{"set other"}}
	h, target := startVyOS(t, v)
	if err := Send(within(t, time.Minute), target, []string{"set a"}, transcript(t), SendOptions{}); err != nil {
		t.Fatalf("Send: %v", err)
	}
	v2 := &vyos{busy: 100}
	_, other := startVyOS(t, v2)
	s := open(within(t, time.Minute), t, other)
	if err := s.Configure(within(t, time.Minute), []string{"set a"}); !errors.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "temporarily locked") {
		t.Errorf("Configure: %v, want Unavailable: locked", err)
	}
	s = open(within(t, time.Minute), t, Target{Name: "v", URL: "serial://" + h.path, Platform: target.Platform})
	if got, err := s.Show(within(t, time.Minute), "show configuration commands"); err != nil || got != "set a\n" {
		t.Errorf("valid: %q, %v", got, err)
	}
}
