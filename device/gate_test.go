package device

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"activationd/internal/fault"
)

// A gate is the login of a router over TCP, and little more. It is as strict as real ones: an
// empty name and an empty password count as tries, and typing ahead answers the next question.
type gate struct {
	t        *testing.T
	listener net.Listener
	done     sync.WaitGroup

	banner           string
	askUser          string // "": it asks for a password only
	askPassword      string
	user, password   string
	enable           string // "": it is privileged at once
	enableUser       bool   // it asks for a user before
	enableTries      int
	failed           string        // what it says of a wrong one
	tries            int           // on one connection; then it is closed
	only             bool          // after a wrong one only the password is asked for again
	slow             time.Duration // from an answer at the login to what comes of it
	thinks           string        // what it says of an answer before it has thought
	cutAtPrompt      bool          // it hangs up when it has shown its prompt
	late             time.Duration // from the connection to the banner
	noNewline        bool          // and behind a password not even a newline comes before
	after            string        // what it asks behind the right password
	closeAfterEnable bool

	mu    sync.Mutex
	seen  []string // each try: user/password
	conns int
	bytes int // that were sent to it
}

// startGate starts a gate like that of IOS: three tries on a connection.
func startGate(t *testing.T, change func(*gate)) *gate {
	t.Helper()
	g := &gate{
		t: t, banner: "\nUser Access Verification\n\n", askUser: "Username: ", askPassword: "Password: ", user: "lab", password: "right",
		failed: "% Login invalid\n\n", tries: 3, enableTries: 3,
	}
	change(g)
	var err error
	if g.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	g.done.Go(func() {
		for {
			conn, err := g.listener.Accept()
			if err != nil {
				return
			}
			g.done.Go(func() {
				defer context.AfterFunc(ctx, func() { conn.Close() })()
				defer conn.Close()
				(&visitor{gate: g, conn: conn, in: bufio.NewReader(conn)}).run()
			})
		}
	})
	t.Cleanup(func() {
		cancel()
		g.listener.Close()
		g.done.Wait()
	})
	return g
}

// target returns a target with the right credentials, unless the test changes them.
func (g *gate) target(t *testing.T) Target {
	t.Helper()
	p, err := BuiltIn("cisco_ios")
	if err != nil {
		t.Fatal(err)
	}
	return Target{
		Name: "gw", URL: "tcp://" + g.listener.Addr().String(), Platform: p,
		Login: Login{User: g.user, Password: Secret(g.password), Enable: Secret(g.enable)},
	}
}

// tried returns the tries so far.
func (g *gate) tried() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]string(nil), g.seen...)
}

func (g *gate) note(try string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.seen = append(g.seen, try)
}

// A visitor is one connection.
type visitor struct {
	*gate
	conn net.Conn
	in   *bufio.Reader
}

func (v *visitor) print(text string) {
	_, _ = v.conn.Write([]byte(strings.ReplaceAll(text, "\n", "\r\n")))
}

// ask asks a question, with a line editor that can erase a line.
func (v *visitor) ask(prompt string, echo bool) (string, bool) {
	v.print(prompt)
	var line []byte
	for {
		c, err := v.in.ReadByte()
		if err != nil {
			return "", false
		}
		v.mu.Lock()
		v.bytes++
		v.mu.Unlock()
		switch {
		case c == '\r':
			if echo || !v.noNewline {
				v.print("\n")
			}
			return string(line), true
		case c == 0x15 || c == '\b':
			n := len(line)
			if c == '\b' {
				n = min(n, 1)
			}
			line = line[:len(line)-n]
			if echo {
				v.print(strings.Repeat("\b \b", n))
			}
		case c >= ' ':
			line = append(line, c)
			if echo {
				v.print(string(c))
			}
		}
	}
}

func (v *visitor) run() {
	v.mu.Lock()
	v.conns++
	v.mu.Unlock()
	time.Sleep(v.late)
	v.print(v.banner)
	user := ""
	for n := 0; ; n++ {
		if n == v.tries {
			return
		}
		if v.askUser != "" && (n == 0 || !v.only) {
			name, ok := v.ask(v.askUser, true)
			if !ok {
				return
			}
			user = name
			time.Sleep(v.slow)
		}
		password, ok := v.ask(v.askPassword, false)
		if !ok {
			return
		}
		v.note(user + "/" + password)
		v.print(v.thinks)
		time.Sleep(v.slow)
		if password == v.password && (v.askUser == "" || user == v.user) {
			break
		}
		v.print(v.failed)
	}
	if v.after != "" {
		if answer, ok := v.ask(v.after, false); ok {
			v.note("after: " + answer)
		}
		return
	}
	mode := "#"
	if v.enable != "" {
		mode = ">"
	}
	for {
		if v.cutAtPrompt {
			v.print("gw" + mode)
			_, _ = v.in.ReadByte()
			return
		}
		line, ok := v.ask("gw"+mode, true)
		switch {
		case !ok:
			return
		case line == "enable" && mode == ">":
			for n := 0; n < v.enableTries && mode == ">"; n++ {
				if v.enableUser {
					user, ok := v.ask(v.askUser, true)
					if !ok {
						return
					}
					v.note("enable as " + user)
				}
				password, ok := v.ask("Password: ", false)
				if !ok {
					return
				}
				v.note("enable/" + password)
				if password == v.enable {
					mode = "#"
				} else if v.closeAfterEnable {
					return
				}
			}
			if mode == ">" {
				v.print("% Bad secrets\n\n")
			}
		case line == "configure terminal":
			mode = "(config)#"
		case line == "end":
			mode = "#"
		case strings.HasPrefix(line, "copy"):
			v.print("[OK]\n")
		}
	}
}

// TestRefusedOnce counts how often a device gets a wrong password: once, however it reports
// that, also if it says nothing and hangs up, over all connections that an upload would make.
// Otherwise accounts would be locked. The error is of kind Denied, not one that may pass.
func TestRefusedOnce(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		gate func(*gate)
		says string
	}{
		{"three tries, then it hangs up", func(*gate) {}, "% Login invalid"},
		{"hangs up after one", func(g *gate) { g.tries = 1 }, "% Login invalid"},
		{"hangs up without a word", func(g *gate) { g.tries, g.failed = 1, "" }, "closed the connection"},
		{"asks again without a word", func(g *gate) { g.failed = "" }, "Username:"},
		{"says it in unknown words", func(g *gate) { g.failed = "Sorry, try again.\n" }, "Username:"},
		{"asks for the password again", func(g *gate) { g.only, g.failed = true, "" }, "Password:"},
		{"has no names", func(g *gate) { g.askUser, g.failed = "", "" }, "Password:"},
		{"thinks for a while", func(g *gate) { g.slow = 2 * loginQuiet }, "% Login invalid"},
		{"says that it thinks", func(g *gate) { g.thinks, g.slow = "Authenticating, please wait...\n", 4*loginQuiet }, "% Login invalid"},
		{"says that it thinks, in the same line", func(g *gate) { g.thinks, g.slow, g.failed = "Authenticating ... ", 4*loginQuiet, "no.\n" }, "Username:"},
		{"says that it thinks, and asks again", func(g *gate) { g.thinks, g.slow, g.only, g.failed = "Please wait.\n", 4*loginQuiet, true, "" }, "Password:"},
		{"thinks for a while and shows nothing", func(g *gate) { g.slow, g.noNewline = 2*loginQuiet, true }, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			g := startGate(t, tt.gate)
			target := g.target(t)
			if g.askUser == "" {
				target.Login.User = ""
			}
			target.Login.Password = "wrong"
			err := Send(within(t, 5*time.Minute), target, []string{"interface a"}, transcript(t), SendOptions{})
			if !errors.Is(err, fault.Denied) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("Send: %v, want Denied, and %q", err, tt.says)
			}
			if seen := g.tried(); len(seen) != 1 || seen[0] != target.Login.User+"/wrong" {
				t.Errorf("the device saw %q, want one try", seen)
			}
		})
	}
}

// TestSlowLogin has a device whose server checks a right password for longer than a silence:
// the password is given once, nothing is typed meanwhile, and the login succeeds.
func TestSlowLogin(t *testing.T) {
	t.Parallel()
	for _, noNewline := range []bool{false, true} {
		t.Run(fmt.Sprint("noNewline=", noNewline), func(t *testing.T) {
			t.Parallel()
			g := startGate(t, func(g *gate) { g.slow, g.noNewline = 2*loginQuiet, noNewline })
			open(within(t, 5*time.Minute), t, g.target(t))
			if seen := g.tried(); len(seen) != 1 || seen[0] != "lab/right" {
				t.Errorf("the device saw %q, want one try", seen)
			}
		})
	}
}

// TestLateLogin has devices that ask for the login later than a silence. A console may show
// nothing by itself, so return is pressed. That answers one question with an empty user, and
// not one question for each silence. The next questions are for our user, and no secret is
// given to the first.
func TestLateLogin(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, user, password string
		tries                int
		kind                 error
		seen                 string
	}{
		{"name and password", "Username: ", "right", 3, nil, "/, lab/right"},
		{"a wrong one", "Username: ", "wrong", 3, fault.Denied, "/, lab/wrong"},
		{"one try on a connection", "Username: ", "right", 1, fault.Unavailable, "/"},
		{"password only", "", "right", 3, nil, "/, /right"},
		{"a wrong one only", "", "wrong", 3, fault.Denied, "/, /wrong"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			g := startGate(t, func(g *gate) { g.askUser, g.tries, g.late = tt.user, tt.tries, 4*loginQuiet })
			target := g.target(t)
			target.Login.Password = Secret(tt.password)
			s, err := Open(within(t, time.Minute), target, transcript(t))
			if tt.kind == nil && err != nil || tt.kind != nil && !errors.Is(err, tt.kind) {
				t.Errorf("Open: %v, want %v", err, tt.kind)
			}
			if s != nil {
				s.Close()
			}
			if seen := strings.Join(g.tried(), ", "); seen != tt.seen {
				t.Errorf("the device saw %q, want %q", seen, tt.seen)
			}
		})
	}
}

// TestRefusedEnable counts how often a wrong password of the privileged mode is given.
func TestRefusedEnable(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		gate func(*gate)
	}{
		{"asks three times", func(*gate) {}},
		{"says so at once", func(g *gate) { g.enableTries = 1 }},
		{"hangs up", func(g *gate) { g.closeAfterEnable = true }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			g := startGate(t, func(g *gate) { g.enable = "sesame"; tt.gate(g) })
			target := g.target(t)
			target.Login.Enable = "wrong"
			err := Send(within(t, 5*time.Minute), target, []string{"interface a"}, transcript(t), SendOptions{})
			if !errors.Is(err, fault.Denied) || !strings.Contains(err.Error(), "enable password") {
				t.Errorf("Send: %v, want Denied, and to hear of the enable password", err)
			}
			if seen := g.tried(); len(seen) != 2 || seen[1] != "enable/wrong" {
				t.Errorf("the device saw %q, want one login and one try of enable", seen)
			}
		})
	}
}

// TestUnknownQuestions has devices ask for the login, or during it, in words that their
// platform does not know. Such a question gets no answer, not even an empty one, and the error
// quotes it. With patterns for the words the login succeeds.
func TestUnknownQuestions(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		gate func(*gate)
		ask  string
		more LoginDialog
		seen string // before it stopped
	}{
		{"name", func(g *gate) { g.askUser = "CPPM_UserName:" }, "CPPM_UserName:", LoginDialog{User: "CPPM_UserName:"}, ""},
		{"name as a question", func(g *gate) { g.askUser = "Who are you? " }, "Who are you?", LoginDialog{User: `Who are you\? *`}, ""},
		{"password", func(g *gate) { g.askPassword = "Passcode: " }, "Passcode:", LoginDialog{Password: "Passcode: *"}, ""},
		{"password in no form of a question", func(g *gate) { g.askPassword = "Enter PIN> " }, "Enter PIN>", LoginDialog{Password: "Enter PIN> *"}, ""},
		{"both", func(g *gate) { g.askUser, g.askPassword = "Naam: ", "Geheim: " }, "Naam:", LoginDialog{User: "Naam: *", Password: "Geheim: *"}, ""},
		{"another code", func(g *gate) { g.after = "Verification code: " }, "Verification code:", LoginDialog{}, "lab/right"},
		{"a new password", func(g *gate) { g.after = "Enter new password: " }, "new password:", LoginDialog{}, "lab/right"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			g := startGate(t, tt.gate)
			target := g.target(t)
			_, err := Open(within(t, 5*time.Minute), target, transcript(t))
			if !errors.Is(err, fault.Invalid) || !strings.Contains(err.Error(), tt.ask) {
				t.Errorf("Open: %v, want Invalid and the words %q", err, tt.ask)
			}
			if seen := strings.Join(g.tried(), " "); seen != tt.seen {
				t.Errorf("the device saw %q, want %q", seen, tt.seen)
			}
			if tt.more == (LoginDialog{}) {
				return
			}
			target.Questions = tt.more
			open(within(t, 5*time.Minute), t, target)
			if seen := g.tried(); len(seen) != 1 || seen[0] != "lab/right" {
				t.Errorf("with patterns for its words the device saw %q, want lab/right", seen)
			}
		})
	}
}

// startPasswordSSHD runs a real sshd with the password "right" for the user lab. It returns a
// target with it, and a function that returns the server's log. The server has users and PAM
// rules of its own, in a mount namespace.
func startPasswordSSHD(t *testing.T, platform string, config ...string) (Target, func() string) {
	t.Helper()
	need(t, "/usr/sbin/sshd", "unshare")
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
		t.Fatal(err)
	}
	dir, port := scratch(t), freePort(t)
	users, err := os.ReadFile("/etc/passwd")
	if err != nil {
		t.Fatal(err)
	}
	hostPrivate, host := newKey(t, false)
	put(t, dir+"/host", string(hostPrivate), 0o600)
	put(t, dir+"/passwd", string(users)+"lab:x:54321:54321::/tmp:/bin/sh\n", 0o644)
	put(t, dir+"/shadow", "root:*:19000:0:99999:7:::\nlab:$6$activation$EL/536mauwSLUr0UuyrnvcDkuMnddnQ.istOLCldyUIlmqKZZT/ItjQvHeo8aXpoizqtV0J5nmjEHXJo.jp/B0:19000:0:99999:7:::\n", 0o600)
	put(t, dir+"/pam", "auth required pam_unix.so nodelay\naccount required pam_permit.so\nsession required pam_permit.so\n", 0o644)
	lines := append([]string{
		fmt.Sprintf("ListenAddress 127.0.0.1:%d", port), "HostKey " + dir + "/host", "PidFile none", "LogLevel VERBOSE",
		"MaxStartups 100",
	}, config...)
	lines = append(lines, "AuthorizedKeysFile none") // the first one counts
	put(t, dir+"/conf", strings.Join(lines, "\n")+"\n", 0o600)
	start(t, "", "unshare", "--mount", "sh", "-ec", `cd "$1"
mount --bind passwd /etc/passwd
mount --bind shadow /etc/shadow
mount --bind pam /etc/pam.d/sshd
exec /usr/sbin/sshd -D -E "$1/log" -f "$1/conf"`, "sh", dir)
	exists(t, dir+"/log")
	log := func() string {
		text, err := os.ReadFile(dir + "/log")
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	for !strings.Contains(log(), "Server listening") {
		time.Sleep(10 * time.Millisecond)
		if t.Context().Err() != nil {
			t.Fatal("sshd does not listen")
		}
	}
	p, err := BuiltIn(platform)
	if err != nil {
		t.Fatal(err)
	}
	return Target{Name: "sw1", URL: fmt.Sprintf("ssh://127.0.0.1:%d", port), Platform: p,
		Login: Login{User: "lab", Password: "right"}, HostKeys: HostKeys{Lines: host}}, log
}

// TestRefusedOnceBySSH counts in the log of a real server how often a wrong password or key
// was tried: once, however the server asks, over all connections that an upload would make. A
// password that was refused as an answer is not given again by itself.
func TestRefusedOnceBySSH(t *testing.T) {
	t.Parallel()
	otherKey, _ := newKey(t, false)
	for _, tt := range []struct {
		name   string
		config string
		login  Login
		tries  []string // of each line in the log that tells of one
	}{
		{"by itself", "PasswordAuthentication yes|KbdInteractiveAuthentication no|UsePAM no", Login{Password: "wrong"}, []string{"password"}},
		{"hangs up after one", "PasswordAuthentication yes|KbdInteractiveAuthentication no|UsePAM no|MaxAuthTries 1", Login{Password: "wrong"}, []string{"password"}},
		{"as an answer", "PasswordAuthentication no|KbdInteractiveAuthentication yes|UsePAM yes", Login{Password: "wrong"}, []string{"keyboard-interactive/pam"}},
		{"both ways", "PasswordAuthentication yes|KbdInteractiveAuthentication yes|UsePAM yes", Login{Password: "wrong"}, []string{"keyboard-interactive/pam"}},
		{"a key", "PasswordAuthentication no|KbdInteractiveAuthentication no|UsePAM no", Login{Key: otherKey}, []string{"publickey"}},
		{"a key and a password", "PasswordAuthentication yes|KbdInteractiveAuthentication no|UsePAM no", Login{Key: otherKey, Password: "wrong"}, []string{"publickey", "password"}},
		{"a wrong key and the right password", "PasswordAuthentication yes|KbdInteractiveAuthentication no|UsePAM no", Login{Key: otherKey, Password: "right"}, []string{"publickey"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			target, log := startPasswordSSHD(t, "linux", strings.Split(tt.config, "|")...)
			tt.login.User = "lab"
			target.Login = tt.login
			err := Send(within(t, 5*time.Minute), target, []string{"true"}, transcript(t), SendOptions{})
			if right := tt.login.Password == "right"; right && err != nil || !right && !errors.Is(err, fault.Denied) {
				t.Errorf("Send: %v", err)
			}
			said := log()
			ended := regexp.MustCompile(`Connection closed by|Connection reset by|Disconnecting|Disconnected from`)
			for len(ended.FindAllString(said, -1)) < strings.Count(said, "Connection from") && t.Context().Err() == nil {
				time.Sleep(10 * time.Millisecond) // the server tells after we have gone
				said = log()
			}
			var tries []string
			for _, m := range regexp.MustCompile(`Failed (\S+) for (?:invalid user )?lab`).FindAllStringSubmatch(said, -1) {
				tries = append(tries, m[1])
			}
			if !slices.Equal(tries, tt.tries) {
				t.Errorf("the server saw %q, want %q:\n%s", tries, tt.tries, said)
			}
		})
	}
}

// TestSSHTells checks what a guard learns of a login to a real server. A key that was accepted
// stays right if the server then asks for a password, and refuses that. The guard also learns
// of an accepted key, as it would otherwise forbid the key to the next session of the same
// command.
func TestSSHTells(t *testing.T) {
	t.Parallel()
	key, public := newKey(t, false)
	for _, tt := range []struct {
		name, config string
		login        Login
		kind         error
		told         string
	}{
		{"key", "PasswordAuthentication no|UsePAM no", Login{Key: key}, nil, "begin the key of lab, end the key of lab false"},
		{"key and wrong password", "AuthenticationMethods publickey,password|PasswordAuthentication yes|UsePAM no", Login{Key: key, Password: "wrong"}, fault.Denied,
			"begin the key of lab, end the key of lab false, begin the password of lab, end the password of lab true"},
		{"key and answer", "AuthenticationMethods publickey,keyboard-interactive|KbdInteractiveAuthentication yes|UsePAM yes", Login{Key: key, Password: "right"}, nil,
			"begin the key of lab, end the key of lab false, begin the password of lab, end the password of lab false"},
		{"password, then a key that is lacking", "AuthenticationMethods password,publickey|PasswordAuthentication yes|UsePAM no", Login{Password: "right"}, fault.Denied,
			"begin the password of lab, end the password of lab false"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			authorized := scratch(t) + "/keys"
			put(t, authorized, public, 0o644)
			target, log := startPasswordSSHD(t, "linux", append([]string{"StrictModes no", "AuthorizedKeysFile " + authorized}, strings.Split(tt.config, "|")...)...)
			w := &watchman{}
			tt.login.User, target.Guard = "lab", w
			target.Login = tt.login
			s, err := Open(within(t, time.Minute), target, transcript(t))
			if tt.kind == nil && err != nil || tt.kind != nil && !errors.Is(err, tt.kind) {
				t.Errorf("Open: %v, want %v\n%s", err, tt.kind, log())
			}
			if s != nil {
				s.Close()
			}
			if told := strings.Join(w.told, ", "); told != tt.told {
				t.Errorf("the guard got %q, want %q\n%s", told, tt.told, log())
			}
		})
	}
}

// TestSSHQuestions has servers that ask for something other than the password: they get no
// answer, and the error quotes the question.
func TestSSHQuestions(t *testing.T) {
	t.Parallel()
	hostPrivate, host := newKey(t, false)
	signer, err := ssh.ParsePrivateKey([]byte(hostPrivate))
	if err != nil {
		t.Fatal(err)
	}
	p, err := BuiltIn("linux")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name      string
		questions []string // each when the one before was answered
		kind      error
		seen      []string
	}{
		{"password", []string{"Password: "}, nil, []string{"right"}},
		{"password of somebody", []string{"Password for lab@sw1:"}, nil, []string{"right"}},
		{"a code", []string{"Verification code: "}, fault.Invalid, nil},
		{"a code behind the password", []string{"Password: ", "Verification code: "}, fault.Invalid, []string{"right"}},
		{"a new password", []string{"Password: ", "New password: "}, fault.Invalid, []string{"right"}},
		{"again", []string{"Password: ", "Password: "}, fault.Denied, []string{"right"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			var seen []string
			config := &ssh.ServerConfig{
				PasswordCallback: func(_ ssh.ConnMetadata, password []byte) (*ssh.Permissions, error) {
					seen = append(seen, "by itself: "+string(password))
					return nil, errors.New("no")
				},
				KeyboardInteractiveCallback: func(_ ssh.ConnMetadata, ask ssh.KeyboardInteractiveChallenge) (*ssh.Permissions, error) {
					for _, q := range tt.questions {
						answers, err := ask("", "", []string{q}, []bool{false})
						if err != nil {
							return nil, err
						}
						seen = append(seen, answers...)
					}
					return nil, nil
				},
			}
			config.AddHostKey(signer)
			served := make(chan struct{})
			go func() {
				defer close(served)
				for range 3 {
					conn, err := l.Accept()
					if err != nil {
						return
					}
					c, channels, requests, err := ssh.NewServerConn(conn, config)
					if err == nil {
						go ssh.DiscardRequests(requests)
						for ch := range channels {
							_ = ch.Reject(ssh.Prohibited, "")
						}
						c.Close()
					}
					conn.Close()
				}
			}()
			target := Target{Name: "sw1", URL: "ssh://" + l.Addr().String(), Platform: p,
				Login: Login{User: "lab", Password: "right"}, HostKeys: HostKeys{Lines: host}}
			s, err := Open(within(t, time.Minute), target, transcript(t))
			if tt.kind == nil && err != nil || tt.kind != nil && !errors.Is(err, tt.kind) {
				t.Errorf("Open: %v, want %v", err, tt.kind)
			}
			if asked := tt.questions[len(tt.questions)-1]; tt.kind != nil && !strings.Contains(err.Error(), strings.TrimSpace(asked)) {
				t.Errorf("Open: %v, want the words %q", err, asked)
			}
			if s != nil {
				s.Close()
			}
			l.Close()
			<-served
			if !slices.Equal(seen, tt.seen) {
				t.Errorf("the server saw %q, want %q", seen, tt.seen)
			}
		})
	}
}

// A watchman is a guard that records the calls of its methods.
type watchman struct {
	mu      sync.Mutex
	told    []string
	refused error // what it says of each secret
	begin   error
}

func (w *watchman) note(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.told = append(w.told, fmt.Sprintf(format, args...))
}

func (w *watchman) Refused(context.Context, Try) error { return w.refused }

func (w *watchman) Begin(_ context.Context, t Try) error {
	w.note("begin %s", t)
	return w.begin
}

func (w *watchman) End(_ context.Context, t Try, refused bool, _ string) {
	w.note("end %s %v", t, refused)
}

// TestGuard checks the calls of a guard: before a secret is given, and after the device has
// accepted or refused it, but not if the device says nothing. A prompt means that the secret
// was right, even if the connection is cut after it. If the guard knows that a secret is
// refused, nothing connects.
func TestGuard(t *testing.T) {
	t.Parallel()
	no := fmt.Errorf("known to be wrong: %w", fault.Denied)
	for _, tt := range []struct {
		name           string
		refused, begin error
		gate           func(*gate)
		target         func(*Target)
		kind           error
		told           string
		seen, conns    int
	}{
		{"right", nil, nil, func(g *gate) { g.enable = "sesame" }, func(*Target) {}, nil,
			"begin the password of lab, end the password of lab false, begin the enable password of lab, end the enable password of lab false", 2, 1},
		{"as a user", nil, nil, func(g *gate) { g.enable, g.enableUser = "sesame", true }, func(*Target) {}, nil,
			"begin the password of lab, end the password of lab false, begin the enable password of lab, end the enable password of lab false", 3, 1},
		{"wrong enable, as a user", nil, nil, func(g *gate) { g.enable, g.enableUser = "sesame", true }, func(t *Target) { t.Login.Enable = "wrong" }, fault.Denied,
			"begin the password of lab, end the password of lab false, begin the enable password of lab, end the enable password of lab true", 3, 1},
		{"wrong", nil, nil, func(*gate) {}, func(t *Target) { t.Login.Password = "wrong" }, fault.Denied,
			"begin the password of lab, end the password of lab true", 1, 1},
		{"wrong enable", nil, nil, func(g *gate) { g.enable = "sesame" }, func(t *Target) { t.Login.Enable = "wrong" }, fault.Denied,
			"begin the password of lab, end the password of lab false, begin the enable password of lab, end the enable password of lab true", 2, 1},
		{"refused before", no, nil, func(*gate) {}, func(*Target) {}, fault.Denied, "", 0, 0},
		{"refused meanwhile", nil, no, func(*gate) {}, func(*Target) {}, fault.Denied, "begin the password of lab", 0, 1},
		{"cut behind the prompt", nil, nil, func(g *gate) { g.cutAtPrompt = true }, func(*Target) {}, fault.Unavailable,
			"begin the password of lab, end the password of lab false", 1, 1},
		{"no answer", nil, nil, func(g *gate) { g.slow = 10 * time.Second }, func(t *Target) { t.Limits.Connect = 15 * time.Second },
			fault.Unavailable, "begin the password of lab", 1, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			g := startGate(t, tt.gate)
			target, w := g.target(t), &watchman{refused: tt.refused, begin: tt.begin}
			target.Guard = w
			tt.target(&target)
			s, err := Open(within(t, 5*time.Minute), target, transcript(t))
			if tt.kind == nil && err != nil || tt.kind != nil && !errors.Is(err, tt.kind) {
				t.Errorf("Open: %v, want %v", err, tt.kind)
			}
			if s != nil {
				s.Close()
			}
			if told := strings.Join(w.told, ", "); told != tt.told {
				t.Errorf("the guard got %q, want %q", told, tt.told)
			}
			g.mu.Lock()
			defer g.mu.Unlock()
			if len(g.seen) != tt.seen || g.conns != tt.conns {
				t.Errorf("the device saw %q on %d connections, want %d tries on %d", g.seen, g.conns, tt.seen, tt.conns)
			}
		})
	}
}
