package lab

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// A sim is a model of a device with an IOS-like command line on a TCP port.
type sim struct {
	name string
	ln   net.Listener
	wg   sync.WaitGroup

	mu        sync.Mutex
	model     *iosModel
	saved     string
	left      int  // configuration lines until the connection is cut, and it is away; < 0: never
	away      bool // it accepts nobody
	onCut     func()
	lines     int               // of configuration that came
	did       []string          // "open", "show" and "save", not twice in a row
	lie       string            // a line that is taken with an OK, and forgotten
	says      map[string]string // what it says to a line that it takes
	busy      string            // what it says instead of saving
	cli       *cliModel         // instead of model
	noSession bool              // an older EOS
	session   string            // what cli was when a session began; "": none did
	cutShow   bool              // what it shows ends before its end
	reach     string            // a line after which it can't be reached any more
}

func newSim(t *testing.T, name string) *sim {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &sim{name: name, ln: ln, left: -1, model: &iosModel{platform: "cisco_ios", blocks: map[string][]string{}}}
	acceptAll(t, ln, &s.wg, s.serve)
	return s
}

func (s *sim) state() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.model.String()
}

// cutAfter makes the device unreachable after so many lines of configuration, and calls onCut
// then. Less than 0 makes it reachable again.
func (s *sim) cutAfter(lines int, onCut func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.left, s.away, s.onCut = lines, false, onCut
}

func (s *sim) serve(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	s.mu.Lock()
	away := s.away
	s.mu.Unlock()
	if away {
		return
	}
	s.mu.Lock()
	s.note("open")
	s.mu.Unlock()
	mode, copying := "", false
	in := bufio.NewReader(conn)
	fmt.Fprintf(conn, "\r\n%s#", s.name)
	var line []byte
	for {
		_ = conn.SetDeadline(time.Now().Add(10 * time.Minute))
		b, err := in.ReadByte()
		if err != nil {
			return
		}
		switch b {
		case '\n', 0:
		case '\r':
			said, ok := s.answer(strings.TrimSpace(string(line)), &mode, &copying)
			if !ok {
				return
			}
			line = line[:0]
			if !copying {
				said += s.name + mode + "#"
			}
			if _, err := io.WriteString(conn, strings.ReplaceAll("\n"+said, "\n", "\r\n")); err != nil {
				return
			}
		case 0x15: // and the screen shows it
			fmt.Fprint(conn, strings.Repeat("\b \b", len(line)))
			line = line[:0]
		case 0x12:
			fmt.Fprintf(conn, "\r\n%s%s#%s", s.name, mode, line)
		case '\b':
			line = line[:max(0, len(line)-1)]
			fmt.Fprint(conn, "\b \b")
		default:
			line = append(line, b)
			if _, err := conn.Write([]byte{b}); err != nil {
				return
			}
		}
	}
}

func (s *sim) note(what string) {
	if n := len(s.did); n == 0 || s.did[n-1] != what {
		s.did = append(s.did, what)
	}
}

// deeds returns what the device did, in words.
func (s *sim) deeds() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.did, " ")
}

// answer executes a command. It returns false if the connection must be cut.
func (s *sim) answer(line string, mode *string, copying *bool) (string, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case *copying:
		*copying = false
		if s.busy != "" {
			return s.busy + "\n", true
		}
		s.saved = s.model.String()
		s.note("save")
		return "Building configuration...\n[OK]\n", true
	case line == "":
		return "", true
	case *mode != "":
		if s.left == 0 {
			s.away = true
			s.onCut()
			return "", false
		}
		s.left--
		s.lines++
		if line == s.reach && s.reach != "" {
			s.model.do(line)
			s.away, s.left = true, 0
			return "", false
		}
		if line == s.lie && s.lie != "" {
			return "", true
		}
		if s.cli != nil {
			return s.answerCLI(line, mode), true
		}
		said := s.model.do(line)
		*mode = ifElse(s.model.in == "", "(config)", "(config-if)")
		if line == "end" {
			*mode = ""
		}
		said += s.says[line]
		return ifElse(said == "", "", said+"\n"), true
	case strings.HasPrefix(line, "terminal"):
		return "", true
	case line == "configure session":
		if s.cli == nil || s.noSession {
			return "% Incomplete command\n", true
		}
		s.session, *mode = s.cli.String(), "(config-s-sess-1)"
		return "", true
	case strings.HasPrefix(line, "configure"):
		s.model.in, *mode = "", "(config)"
		return "Enter configuration commands, one per line.  End with CNTL/Z.\n", true
	case strings.HasPrefix(line, "copy run") && s.cli != nil:
		return "Copy completed successfully.\n", true
	case strings.HasPrefix(line, "copy run"):
		*copying = true
		return "Destination filename [startup-config]? ", true
	case strings.HasPrefix(line, "show "):
		s.note("show")
		said := s.model.show(line)
		if s.cli != nil {
			said = s.cli.String()
		}
		if s.cutShow {
			said = said[:strings.LastIndex(strings.TrimSpace(said), "\n")+1]
		}
		return said, true
	}
	return "% Invalid input detected at '^' marker.\n", true
}

// answerCLI is answer for the configuration lines of a cliModel, in a session or not.
func (s *sim) answerCLI(line string, mode *string) string {
	leave := line == "end"
	switch {
	case s.session == "":
	case line == "abort" || line == "end":
		*s.cli.root, leave = cliNode{}, true
		s.cli.load(s.session)
	case line == "commit":
		leave = true
	}
	if leave {
		s.cli.at, s.session, *mode = s.cli.at[:1], "", ""
		return ""
	}
	if said := s.cli.do(line); said != "" {
		return said + "\n"
	}
	return ""
}
