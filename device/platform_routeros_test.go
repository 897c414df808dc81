package device

import (
	"bufio"
	"context"
	"errors"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"activationd/internal/fault"
)

// A routerOS is RouterOS' login and line editor on a TCP port, as the manual's chapter on
// the console and logs of sessions have them: it measures the terminal and waits for the
// answers, colours the words that it knows, folds at the width that it believes in, and
// paints the whole line again, unless the user's name says otherwise; it paints the line
// once more when return is pressed, and the prompt several times; and it writes log lines
// over the prompt.
type routerOS struct {
	identity string
	path     string // the menu that the session is in
	license  bool   // it asks on the first login
	nag      int    // how often it asks for a new password, until the answer is no
	early    bool   // it paints the prompt before the answer, too
	logs     bool   // others fail to log in
	safe     bool   // somebody has taken safe mode
	deny     bool

	listener net.Listener
	done     sync.WaitGroup
	mu       sync.Mutex
	names    []string // who has logged in
	typed    []string // commands
	answered []string // to the nag
}

func startRouterOS(t *testing.T, r *routerOS) Target {
	t.Helper()
	if r.identity == "" {
		r.identity = "MikroTik"
	}
	var err error
	if r.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.done.Go(func() {
		for {
			conn, err := r.listener.Accept()
			if err != nil {
				return
			}
			r.done.Go(func() {
				defer context.AfterFunc(ctx, func() { conn.Close() })()
				defer conn.Close()
				(&rosSession{routerOS: r, conn: conn, in: bufio.NewReader(conn)}).run()
			})
		}
	})
	t.Cleanup(func() {
		cancel()
		r.listener.Close()
		r.done.Wait()
	})
	return Target{Name: "ros", URL: "tcp://" + r.listener.Addr().String(), Platform: dialogOf(t, "mikrotik_routeros").Platform,
		Login: Login{User: "lab", Password: "right"}}
}

type rosSession struct {
	*routerOS
	conn          net.Conn
	in            *bufio.Reader
	user          string
	width         int
	colours, asks bool
}

func (s *rosSession) print(text string) {
	_, _ = s.conn.Write([]byte(strings.ReplaceAll(text, "\n", "\r\n")))
}

// line reads what is typed behind a question, without the line editor.
func (s *rosSession) line(question string, echo bool) (string, bool) {
	s.print(question)
	var line []byte
	for {
		b, err := s.in.ReadByte()
		switch {
		case err != nil:
			return "", false
		case b == '\r':
			s.print("\n")
			return string(line), true
		case b == 0x03:
			s.print("\n")
			return "\x03", true
		case b == 0x15:
			line = nil
		case b >= ' ':
			line = append(line, b)
			if echo {
				s.print(string(b))
			}
		}
	}
}

func (s *rosSession) run() {
	for {
		name, ok := s.line("\nMikroTik 7.15.3 (stable)\n"+s.identity+" Login: ", true)
		if !ok {
			return
		}
		password, ok := s.line("Password: ", false)
		if !ok {
			return
		}
		var flags string
		s.user, flags, _ = strings.Cut(name, "+")
		s.mu.Lock()
		s.names = append(s.names, name)
		s.mu.Unlock()
		if s.user == "lab" && password == "right" && !s.deny {
			s.parameters(flags)
			break
		}
		s.print("\nLogin failed, incorrect username or password\n")
	}
	s.print("\n\n\n  MMM      MMM       KKK                          TTTTTTTTTTT      KKK\n\n  MikroTik RouterOS 7.15.3 (c) 1999-2024       https://www.mikrotik.com/\n\nPress F1 for help\n\n")
	if s.asks { // and nothing comes before it is answered
		s.print("\x1bZ\x1b[6n")
		if _, err := s.in.ReadString('R'); err != nil {
			return
		}
	}
	for s.license {
		s.print("Do you want to see the software license? [Y/n]: ")
		b, err := s.in.ReadByte()
		if err != nil {
			return
		}
		s.print(string(b) + "\n")
		s.license = b != 'n'
	}
	for ; s.nag > 0; s.nag-- {
		said, ok := s.line("Change your password\n\nnew password> ", false)
		if !ok {
			return
		}
		s.mu.Lock()
		s.answered = append(s.answered, said)
		s.mu.Unlock()
	}
	if s.logs {
		s.print("2026-11-30 05:40:11 system,error,critical login failure for user root from 192.0.2.9 via ssh\n")
	}
	s.edit()
}

// parameters reads those behind a name: a number and a letter each.
func (s *rosSession) parameters(flags string) {
	s.width, s.colours, s.asks = 80, true, true
	number := ""
	for _, c := range flags {
		switch {
		case c >= '0' && c <= '9':
			number += string(c)
			continue
		case c == 'c':
			s.colours = false
		case c == 't':
			s.asks = false
		case c == 'w':
			s.width, _ = strconv.Atoi(number)
		}
		number = ""
	}
}

func (s *rosSession) prompt() string {
	if s.safe {
		return "[" + s.user + "@" + s.identity + "] " + s.path + "<SAFE> "
	}
	p := "[" + s.user + "@" + s.identity + "] " + s.path + "> "
	if s.colours {
		p = "\x1b[m\x1b[32m" + p + "\x1b[m"
	}
	return p
}

// edit is the line editor. It echoes a key, or paints the line again.
func (s *rosSession) edit() {
	var line []byte
	shown := func() string {
		all := s.prompt() + string(line)
		if n := s.width; len(all) > n { // it scrolls to the side
			all = "<" + all[len(all)-n+1:]
		}
		return all
	}
	s.print("\r\r\r\r" + shown())
	for n := 0; ; n++ {
		b, err := s.in.ReadByte()
		if err != nil {
			return
		}
		switch {
		case b == '\r':
			s.print("\r" + shown() + "\n")
			if s.early {
				s.print("\r\r\r\r" + s.prompt())
				if !strings.Contains(string(line), "identity") {
					time.Sleep(thinking)
				}
				s.print("\r" + strings.Repeat(" ", len(s.prompt())) + "\r")
			}
			said, on := s.answer(strings.TrimSpace(string(line)))
			if !on {
				return
			}
			line = nil
			s.print(said + "\r\x1b[9999B" + s.prompt())
		case b == 0x15:
			was := len(line)
			line = nil
			s.print("\r" + shown() + strings.Repeat(" ", was) + "\r" + shown())
		case b == '\b' || b == 0x7f:
			line = line[:max(0, len(line)-1)]
			s.print("\r" + shown() + " \r" + shown())
		case b == 0x16: // completes from now on
			s.print("\r\nHotLock\r\n" + s.prompt())
		case b == '\n' || b < ' ':
		default:
			line = append(line, b)
			if s.logs && n == 5 {
				s.print("\r05:41:02 echo: system,error,critical login failure for user root from 192.0.2.9 via ssh\x1b[K\n\r\x1b[9999B")
			}
			if n%3 == 0 || s.logs {
				s.print("\r" + shown() + "\x1b[K")
			} else {
				s.print(string(b))
			}
		}
	}
}

// answer carries out a command.
func (s *rosSession) answer(line string) (said string, on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if line != "" {
		s.typed = append(s.typed, line)
	}
	word, _, _ := strings.Cut(line, " ")
	switch {
	case line == "":
	case line == "/quit":
		return "interrupted\n", false
	case word == "/":
		s.path = ""
	case strings.HasPrefix(line, "/system identity set name="):
		s.identity = strings.Trim(strings.TrimPrefix(line, "/system identity set name="), `"`)
	case strings.HasPrefix(line, "/interface print"):
		return " 0 R  name=ether1 default-name=ether1 type=ether mtu=1500\n 1  X name=ether2 default-name=ether2 type=ether mtu=1500\n", true
	case strings.HasPrefix(line, "/ip address add address=10.0.0.1/24 "):
		return "failure: already have such address\n", true
	case strings.HasPrefix(line, "/ip address add address=10.0.0.999"):
		return "invalid value for argument address:\n    invalid value of mask, mask must be in [0..32]\n", true
	case strings.HasPrefix(line, "/ip address add"):
	case strings.HasPrefix(line, "/ip nowhere"):
		return "bad command name nowhere (line 1 column 5)\n", true
	case strings.HasPrefix(line, "/interface bridge port add interface=ether99"):
		return "input does not match any value of interface\n", true
	default:
		return "expected end of command (line 1 column 9)\n", true
	}
	return "", true
}

// TestRouterOS: a line editor that repaints, questions after the login, log lines over the
// prompt, and other names and menus do not disturb the session. The suffix of the user's name
// makes RouterOS leave the terminal alone.
func TestRouterOS(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		ros  *routerOS
	}{
		{"usual", &routerOS{}},
		{"first login", &routerOS{license: true, nag: 2}},
		{"log lines", &routerOS{logs: true}},
		{"prompt before the answer", &routerOS{early: true}},
		{"a menu, and a name with blanks", &routerOS{identity: "core [2] of the lab > x", path: "/interface/bridge"}},
		{"a long name", &routerOS{identity: strings.Repeat("long-", 12)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			target := startRouterOS(t, tt.ros)
			var notices []string
			target.Notice = func(n Notice) { notices = append(notices, n.String()) }
			s := open(within(t, time.Minute), t, target)
			long := "/ip address add interface=ether1 comment=\"" + strings.Repeat("what? ", 60) + "\""
			lines := []string{"/ip address add address=10.0.0.1/24 interface=ether1", long, "/ip address add address=10.0.0.2/24 interface=ether1"}
			if err := s.Configure(within(t, time.Minute), lines); err != nil {
				t.Fatalf("Configure: %v", err)
			}
			if want := []string{"the device says: failure: already have such address, to: " + lines[0]}; !slices.Equal(notices, want) {
				t.Errorf("notices %q, want %q", notices, want)
			}
			got, err := s.Show(within(t, time.Minute), "/interface print terse without-paging")
			if want := " 0 R  name=ether1 default-name=ether1 type=ether mtu=1500\n 1  X name=ether2 default-name=ether2 type=ether mtu=1500\n"; err != nil || got != want {
				t.Errorf("Show: %q, %v, want %q", got, err, want)
			}
			for line, says := range map[string]string{
				"/ip nowhere print": "bad command name nowhere", "/ip address add address=10.0.0.999/24": "invalid value for argument address",
				"/interface bridge port add interface=ether99": "input does not match any value of interface", "/export nonsense": "expected end of command",
			} {
				err := s.Configure(within(t, time.Minute), []string{"/ip address add address=10.0.0.3/24", line})
				refused, ok := errors.AsType[*LineError](err)
				if !ok || refused.Number != 2 || !strings.Contains(refused.Said, says) {
					t.Errorf("Configure(%q): %v, want line 2 refused with %q", line, err, says)
				}
			}
			if err := s.Configure(within(t, time.Minute), []string{"/system identity set name=edge", "/ip address add address=10.0.0.4/24"}); err != nil {
				t.Errorf("Configure with another name: %v", err)
			}
			if err := s.Save(within(t, time.Minute)); err != nil {
				t.Errorf("Save: %v", err)
			}
			s.Close()
			tt.ros.listener.Close()
			tt.ros.done.Wait()
			if want := []string{"lab+ct4096w4096h"}; !slices.Equal(tt.ros.names, want) {
				t.Errorf("logged in as %q, want %q", tt.ros.names, want)
			}
			if typed := tt.ros.typed; typed[len(typed)-1] != "/quit" || !slices.Contains(typed, long) {
				t.Errorf("typed %q", typed)
			}
			if slices.ContainsFunc(tt.ros.answered, func(s string) bool { return s != "\x03" }) {
				t.Errorf("a new password %q was given", tt.ros.answered)
			}
		})
	}
}

// TestRouterOSDenied: a wrong password is given once, and nothing is done in another user's
// safe mode, whose end undoes all changes.
func TestRouterOSDenied(t *testing.T) {
	t.Parallel()
	r := &routerOS{deny: true}
	target := startRouterOS(t, r)
	if _, err := Open(within(t, time.Minute), target, nil); !errors.Is(err, fault.Denied) || !strings.Contains(err.Error(), "Login failed") {
		t.Errorf("Open: %v, want Denied", err)
	}
	if len(r.names) != 1 {
		t.Errorf("it was tried %d times", len(r.names))
	}
	target = startRouterOS(t, &routerOS{safe: true})
	target.Limits.Connect = 3 * time.Second
	if _, err := Open(within(t, time.Minute), target, nil); !errors.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "<SAFE>") {
		t.Errorf("Open in safe mode: %v, want Unavailable", err)
	}
}

// TestUserNames: the suffix is that of the platform, unless the inventory has one.
func TestUserNames(t *testing.T) {
	for _, tt := range [][3]string{{"lab", "+c", "lab+c"}, {"lab+e", "+c", "lab+e"}, {"", "+c", ""}, {"lab", "", "lab"}} {
		if got := (Target{Login: Login{User: tt[0]}, Platform: Platform{LoginSuffix: tt[1]}}).userName(); got != tt[2] {
			t.Errorf("%q with %q: %q, want %q", tt[0], tt[1], got, tt[2])
		}
	}
}
