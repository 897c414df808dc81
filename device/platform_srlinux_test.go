package device

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"activationd/internal/fault"
)

// An srlinux has a candidate configuration and a prompt of two lines, of which only the first
// shows the mode. At first its line editor redraws the screen for each key; after "environment
// cli-engine type basic" it only echoes.
type srlinux struct {
	master *os.File

	mu        sync.Mutex
	host      string
	prompts   string // what stands above the usual prompt
	advanced  bool   // its editor draws the screen
	former    string // a line of its history, which it suggests
	slow      bool   // what stands behind the # of its prompt comes later
	stays     bool   // also after a command that ends it
	mode      string
	valid     []string
	candidate []string
	locked    int // times that another one is configuring
	saved     int
	heard     []string
}

func startSRLinux(t *testing.T, s *srlinux) Target {
	t.Helper()
	master, slave, path := openPTY(t)
	s.master, s.host, s.mode, s.advanced = master, "srl1", "running", true
	var done sync.WaitGroup
	done.Go(s.run)
	t.Cleanup(func() {
		master.Close()
		slave.Close()
		done.Wait()
	})
	return Target{Name: "srl1", URL: "serial://" + path, Platform: dialogOf(t, "nokia_srlinux").Platform}
}

func (s *srlinux) write(format string, args ...any) {
	_, _ = fmt.Fprintf(s.master, strings.ReplaceAll(format, "\n", "\r\n"), args...)
}

func (s *srlinux) above() string {
	flags := "+"
	if !slices.Equal(s.valid, s.candidate) {
		flags = "+*"
	}
	return s.prompts + "--{ " + flags + " " + s.mode + " }--[  ]--"
}

func (s *srlinux) prompt() string { return "A:admin@" + s.host + "#" }

// show draws the prompt and the line behind it. The cursor skips the blank before the line.
func (s *srlinux) show(line string) {
	if !s.advanced {
		s.write("%s\n%s %s", s.above(), s.prompt(), line)
		return
	}
	s.write("\x1b[?2004h\x1b[?1l\x1b[?25l\x1b[0m\x1b[?7l\x1b[0m\x1b[J\x1b[0m%s\x1b[0m\r\n\x1b[0m%s", s.above(), s.prompt())
	if line != "" {
		s.write(" %s", line)
	}
	if s.slow {
		time.Sleep(20 * time.Millisecond) // as on a slow line
	}
	n := len(s.prompt()) + len(line)
	s.write("\x1b[%dD\x1b[%dC\x1b[?7h\x1b[0m\x1b[?12l\x1b[?25h", n, len(s.prompt())+1+len(line))
}

// suggestion draws a suggestion behind the cursor.
func (s *srlinux) suggestion(line string) string {
	rest, ok := strings.CutPrefix(s.former, line)
	if !ok || rest == "" {
		return "\x1b[K"
	}
	return fmt.Sprintf("\x1b[0m%s\x1b[%dD", rest, len(rest))
}

func (s *srlinux) run() {
	s.write("\n\nWelcome to the srlinux CLI.\nType 'help' (and press <ENTER>) if you need any help using this.\n\n\n")
	if s.advanced {
		s.write("\x1b[6n")
	}
	s.show("")
	line, quoted := "", false
	buf := make([]byte, 1)
	for {
		if _, err := s.master.Read(buf); err != nil {
			return
		}
		s.mu.Lock()
		switch c := buf[0]; {
		case quoted || c >= ' ' && c < 0x7f && c != '?':
			line, quoted = line+string(c), false
			if s.advanced {
				s.write("\x1b[?25l\x1b[?7l\x1b[0m%c%s\x1b[?7h\x1b[0m\x1b[?12l\x1b[?25h", c, s.suggestion(line))
			} else {
				s.write("%c", c)
			}
		case c == 0x16:
			quoted = true
		case c == '?':
			s.write("\nLocal commands:\n")
			s.show(line)
		case c == 0x15 && s.advanced:
			s.write("\x1b[?25l\x1b[?7l\x1b[%dD\x1b[0m\x1b[K\x1b[C\x1b[?7h\x1b[0m\x1b[?12l\x1b[?25h", len(line)+1)
			line = ""
		case c == 0x15:
			s.write("%s", strings.Repeat("\b \b", len(line)))
			line = ""
		case c == '\r':
			if s.advanced { // it draws both lines once more
				s.write("\x1b[?25l\x1b[?7l\x1b[A\x1b[%dD\x1b[0m\x1b[J\x1b[0m%s\x1b[0m\r\n\x1b[0m%s %s\x1b[%dD\x1b[0m\r\n\x1b[J\x1b[?7h\x1b[0m\x1b[?12l\x1b[?25h\x1b[?2004l",
					len(line)+20, s.above(), s.prompt(), line, len(line)+20)
			} else {
				s.write("\n")
			}
			if said := s.answer(line); said != "" {
				s.write("%s\n", said)
			}
			line = ""
			s.write("\n")
			s.show("")
		}
		s.mu.Unlock()
	}
}

func (s *srlinux) answer(line string) string {
	if line != "" {
		s.heard = append(s.heard, line)
	}
	candidate := strings.HasPrefix(s.mode, "candidate")
	path, isSet := strings.CutPrefix(line, "set / ")
	switch {
	case line == "":
	case line == "environment cli-engine type basic":
		s.advanced = s.stays
	case strings.HasPrefix(line, "environment "):
	case line == "enter candidate exclusive" && s.locked > 0:
		s.locked--
		return "Error: Candidate is locked by another session"
	case line == "enter candidate exclusive":
		s.mode, s.candidate = "candidate exclusive default", slices.Clone(s.valid)
	case line == "enter running":
		s.mode = "running"
	case line == "discard now" && candidate:
		s.mode, s.candidate = "running", slices.Clone(s.valid)
		return "All changes have been discarded. Leaving candidate mode."
	case line == "commit now" && candidate && slices.Contains(s.candidate, "broken"):
		return "Error: Error in path: .broken\n    [FailedPrecondition] it can't be"
	case line == "commit now" && candidate:
		s.mode, s.valid = "running", slices.Clone(s.candidate)
		for _, l := range s.valid {
			if name, ok := strings.CutPrefix(l, "system name host-name "); ok {
				s.host = name
			}
		}
		return "All changes have been committed. Leaving candidate mode."
	case line == "save startup":
		s.saved++
		return "/system:\n    Saved current running configuration as initial (startup) configuration '/etc/opt/srlinux/config.json'\n"
	case line == "info flat from running /":
		return "set / " + strings.Join(s.valid, "\nset / ")
	case candidate && isSet && path != "nonsense":
		s.candidate = append(s.candidate, path)
	default:
		return "Parsing error: Unknown token '" + line[strings.LastIndexByte(line, ' ')+1:] + "'.\nOptions are ['#', '..', '/', '>', '>>', 'flat', '|', '}']"
	}
	return ""
}

// TestSRLinux checks that all lines take effect together, or none, with the line editor that
// draws the screen, with the one for programs, and with a prompt that begins with an empty
// line.
func TestSRLinux(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		srl  *srlinux
	}{
		{"basic", &srlinux{}},
		{"stays advanced", &srlinux{stays: true}},
		{"suggests", &srlinux{former: "environment cli-engine type basic # as before"}},
		{"suggests and stays advanced", &srlinux{stays: true, former: "set / b # as before"}},
		{"suggests behind a prompt in two parts", &srlinux{stays: true, slow: true, former: "set / b # as before"}},
		{"a line above", &srlinux{prompts: "\n"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			j := tt.srl
			j.valid = []string{"a"}
			s := open(within(t, time.Minute), t, startSRLinux(t, j))
			if err := s.Configure(within(t, time.Minute), []string{"set / b", `set / c "what?"`}); err != nil {
				t.Fatalf("Configure: %v", err)
			}
			for _, bad := range []struct {
				lines  []string
				number int
				says   string
			}{
				{[]string{"set / d", "set / nonsense"}, 2, "Unknown token 'nonsense'"},
				{[]string{"set / d", "set / broken"}, 0, "[FailedPrecondition]"},
			} {
				err := s.Configure(within(t, time.Minute), bad.lines)
				refused, ok := errors.AsType[*LineError](err)
				if !ok || refused.Number != bad.number || !strings.Contains(refused.Said, bad.says) {
					t.Errorf("Configure(%q): %v, want line %d refused with %q", bad.lines, err, bad.number, bad.says)
				}
			}
			if err := s.Configure(within(t, time.Minute), []string{"set / system name host-name lab-r1"}); err != nil {
				t.Errorf("Configure with another name: %v", err)
			}
			got, err := s.Show(within(t, time.Minute), "info flat from running /")
			if want := "set / a\nset / b\nset / c \"what?\"\nset / system name host-name lab-r1\n"; err != nil || got != want {
				t.Errorf("valid: %q, %v, want %q", got, err, want)
			}
			if err := s.Save(within(t, time.Minute)); err != nil || j.saved != 1 {
				t.Errorf("Save: %v, saved %d times", err, j.saved)
			}
			if j.mode != "running" {
				t.Errorf("it is left in the mode %q", j.mode)
			}
		})
	}
}

// TestSRLinuxLocked has another user in the candidate for a while, and a console that was left
// in a candidate.
func TestSRLinuxLocked(t *testing.T) {
	t.Parallel()
	j := &srlinux{locked: 1}
	target := startSRLinux(t, j)
	s := open(within(t, time.Minute), t, target)
	if err := s.Configure(within(t, time.Minute), []string{"set / a"}); !errors.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "locked") {
		t.Errorf("Configure: %v, want Unavailable: locked", err)
	}
	s.Close()
	j.mu.Lock()
	j.mode, j.candidate = "candidate exclusive default", []string{"somebody's"}
	j.mu.Unlock()
	if err := Send(within(t, time.Minute), target, []string{"set / a"}, transcript(t), SendOptions{NoSave: true}); err != nil {
		t.Errorf("Send: %v", err)
	}
	if !slices.Equal(j.valid, []string{"a"}) {
		t.Errorf("valid is %q", j.valid)
	}
}
