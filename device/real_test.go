package device

import (
	"bufio"
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"activationd/internal/fault"
)

// need skips a test on a machine without some programs.
func need(t *testing.T, programs ...string) {
	t.Helper()
	if testing.Short() {
		t.Skip("short: real parts take their time")
	}
	if os.Getuid() != 0 {
		t.Skip("needs root, to run servers with logins and network namespaces")
	}
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("needs %s: scripts/install-deps lab", p)
		}
	}
}

// start runs a program until the end of the test. It returns when the program has written a
// line with ready in it, or at once if ready is "".
func start(t *testing.T, ready string, args ...string) {
	t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	up, read := make(chan string, 1), make(chan struct{})
	go func() {
		defer close(read)
		var all []string
		for scan := bufio.NewScanner(r); scan.Scan(); {
			all = append(all, scan.Text())
			if ready != "" && strings.Contains(scan.Text(), ready) {
				select {
				case up <- "":
				default:
				}
			}
		}
		select {
		case up <- "it ended:\n" + strings.Join(all, "\n"):
		default:
		}
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		r.Close()
		<-read
	})
	if ready == "" {
		return
	}
	select {
	case said := <-up:
		if said != "" {
			t.Fatalf("%v: %s", args, said)
		}
	case <-time.After(10 * time.Minute):
		t.Fatalf("%v did not say %q", args, ready)
	}
}

// exists waits for a file that another program creates.
func exists(t *testing.T, path string) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for range 60_000 {
		if _, err := os.Stat(path); err == nil {
			return
		}
		<-tick.C
	}
	t.Fatalf("%s does not appear", path)
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// scratch returns a directory that other users can enter, with a short name for sockets.
func scratch(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "device")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func put(t *testing.T, path, content string, mode os.FileMode) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

// newKey returns a private key as a PEM text, and its public half.
func newKey(t *testing.T, old bool) (Secret, string) {
	t.Helper()
	var private any
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	private = edKey
	if old {
		private, err = rsa.GenerateKey(rand.Reader, 2048)
	}
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "test")
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(block)
	signer, err := ssh.ParsePrivateKey(text)
	if err != nil {
		t.Fatal(err)
	}
	return Secret(text), strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey())))
}

// startSSHD runs a real sshd, and returns a target that may log in.
func startSSHD(t *testing.T, platform string, oldKey bool, config ...string) Target {
	t.Helper()
	need(t, "/usr/sbin/sshd")
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
		t.Fatal(err)
	}
	dir, port := scratch(t), freePort(t)
	hostPrivate, host := newKey(t, oldKey)
	private, public := newKey(t, false)
	put(t, dir+"/host", string(hostPrivate), 0o600)
	put(t, dir+"/authorized", public+"\n", 0o644)
	lines := append([]string{
		fmt.Sprintf("ListenAddress 127.0.0.1:%d", port), "HostKey " + dir + "/host", "PidFile none",
		"AuthorizedKeysFile " + dir + "/authorized", "StrictModes no", "UsePAM no", "PermitRootLogin yes",
		"PasswordAuthentication no", "KbdInteractiveAuthentication no", "MaxStartups 100",
	}, config...)
	start(t, "Server listening", "/usr/sbin/sshd", "-D", "-e", "-f", put(t, dir+"/conf", strings.Join(lines, "\n")+"\n", 0o600))
	p, err := BuiltIn(platform)
	if err != nil {
		t.Fatal(err)
	}
	return Target{Name: "sw1", URL: fmt.Sprintf("ssh://127.0.0.1:%d", port), Platform: p,
		Login: Login{User: "root", Key: private}, HostKeys: HostKeys{Lines: host}}
}

func TestShellOverSSH(t *testing.T) {
	t.Parallel()
	target := startSSHD(t, "openvswitch", false)
	dir := scratch(t)
	s := open(within(t, time.Minute), t, target)
	err := s.Configure(within(t, time.Minute), []string{"echo '# $' > " + dir + "/a", "", "echo oops >&2; exit 3", "touch " + dir + "/b"})
	refused, ok := errors.AsType[*LineError](err)
	if !ok || refused.Number != 3 || refused.Status != 3 || refused.Said != "oops" {
		t.Errorf("Configure: %v, want line 3 refused with status 3 and oops", err)
	}
	if _, err := os.Stat(dir + "/b"); err == nil {
		t.Errorf("the line behind a refused one was executed")
	}
	if got, err := s.Show(within(t, time.Minute), "cat "+dir+"/a; cat"); err != nil || got != "# $\n" {
		t.Errorf("Show = %q, %v, want the file, and an empty standard input", got, err)
	}
	if got, err := s.Show(within(t, time.Minute), "seq 100000"); err != nil || len(got) != 588895 {
		t.Errorf("Show(seq): %d bytes, %v, want 588895", len(got), err)
	}
	target.Limits.Output = 1000
	if _, err := open(within(t, time.Minute), t, target).Show(within(t, time.Minute), "yes"); !errors.Is(err, fault.Unavailable) {
		t.Errorf("Show(yes): %v, want Unavailable", err)
	}
	target.Limits.Command = 5 * time.Second // in which the login's commands are done
	if _, err := open(within(t, time.Minute), t, target).Show(within(t, time.Minute), "sleep 1000"); !errors.Is(err, fault.Unavailable) {
		t.Errorf("Show(sleep): %v, want Unavailable", err)
	}
}

func TestSSHDoors(t *testing.T) {
	t.Parallel()
	target := startSSHD(t, "linux", false)
	right := target.HostKeys.Lines
	_, wrong := newKey(t, false)
	otherKey, _ := newKey(t, false)
	address := strings.TrimPrefix(target.URL, "ssh://")
	host, port, _ := strings.Cut(address, ":")
	known := put(t, scratch(t)+"/known", fmt.Sprintf("[%s]:%s %s\n", host, port, right), 0o600)
	for _, tt := range []struct {
		name string
		keys HostKeys
		key  Secret
		kind error
		says string
	}{
		{"right", HostKeys{Lines: right}, target.Login.Key, nil, ""},
		{"known hosts", HostKeys{File: known}, target.Login.Key, nil, ""},
		{"one of two", HostKeys{Lines: wrong + "\n" + right + "\n"}, target.Login.Key, nil, ""},
		{"another host key", HostKeys{Lines: wrong}, target.Login.Key, fault.Denied, "another host key"},
		{"no host key", HostKeys{}, target.Login.Key, fault.Denied, right},
		{"nonsense for a host key", HostKeys{Lines: "nonsense"}, target.Login.Key, fault.Invalid, "ssh-ed25519"},
		{"no such file", HostKeys{File: known + "x"}, target.Login.Key, fault.Invalid, known + "x"},
		{"another key", HostKeys{Lines: right}, otherKey, fault.Denied, "key"},
		{"nonsense for a key", HostKeys{Lines: right}, "nonsense", fault.Invalid, "private key"},
	} {
		target.HostKeys, target.Login.Key = tt.keys, tt.key
		s, err := Open(within(t, time.Minute), target, transcript(t))
		if tt.kind == nil && err != nil || tt.kind != nil && (!errors.Is(err, tt.kind) || !strings.Contains(err.Error(), tt.says)) {
			t.Errorf("%s: %v, want %v and %q", tt.name, err, tt.kind, tt.says)
		}
		if s != nil {
			s.Close()
		}
	}
}

// TestOldAlgorithms talks to a server that supports only broken algorithms.
func TestOldAlgorithms(t *testing.T) {
	t.Parallel()
	target := startSSHD(t, "linux", true, "KexAlgorithms diffie-hellman-group14-sha1", "HostKeyAlgorithms ssh-rsa",
		"Ciphers aes128-cbc", "MACs hmac-sha1")
	if _, err := Open(within(t, time.Minute), target, nil); !errors.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "old_algorithms") {
		t.Errorf("Open without the opt-in: %v, want Invalid, and to hear of old_algorithms", err)
	}
	target.OldAlgorithms = true
	s := open(within(t, time.Minute), t, target)
	if got, err := s.Show(within(t, time.Minute), "echo old"); err != nil || got != "old\n" {
		t.Errorf("Show = %q, %v", got, err)
	}
}

// startFRR runs a zebra, and other daemons, in a namespace of its own. It returns the
// command for vtysh, and the directory of the configuration.
func startFRR(t *testing.T, others ...string) (vtysh, dir string) {
	t.Helper()
	need(t, "vtysh", "ip", "/usr/lib/frr/zebra")
	dir = scratch(t)
	space := "act-" + filepath.Base(dir)
	run(t, "ip", "netns", "add", space)
	t.Cleanup(func() { run(t, "ip", "netns", "delete", space) })
	put(t, dir+"/vtysh.conf", "hostname r1\n", 0o644)
	for _, program := range append([]string{"zebra"}, others...) {
		config := put(t, dir+"/"+program+".conf", "hostname r1\n", 0o644)
		run(t, "chown", "-R", "frr:frr", dir)
		start(t, "", "ip", "netns", "exec", space, "/usr/lib/frr/"+program, "-A", "127.0.0.1", "-P", "0",
			"-i", dir+"/"+program+".pid", "-z", dir+"/zserv.api", "--vty_socket", dir, "-f", config)
		exists(t, dir+"/"+program+".vty")
	}
	return "vtysh --vty_socket " + dir + " --config_dir " + dir, dir
}

// TestRouterAnswers: if a router answers a line with a sentence, that is a notice with the
// line; a refusal in a usual form fails the line. The configuration counts as saved if the
// router says so, and not if its directory is not writable.
func TestRouterAnswers(t *testing.T) {
	t.Parallel()
	vtysh, dir := startFRR(t, "ospfd")
	target := startSSHD(t, "frr", false, "ForceCommand "+vtysh)
	var notices []string
	target.Notice = func(n Notice) { notices = append(notices, n.String()) }
	lines := []string{"interface lo", " ip ospf area 0", "exit", "router ospf", " network 10.0.0.0/24 area 0", "exit"}
	if err := Send(within(t, time.Minute), target, lines, transcript(t), SendOptions{}); err != nil {
		t.Errorf("Send: %v", err)
	}
	want := []string{"the device says: Please remove all ip ospf area x.x.x.x commands first., to: router ospf / network 10.0.0.0/24 area 0"}
	if !slices.Equal(notices, want) {
		t.Errorf("notices %q, want %q", notices, want)
	}
	if saved, err := os.ReadFile(dir + "/ospfd.conf"); err != nil || !strings.Contains(string(saved), "ip ospf area 0") {
		t.Errorf("saved was\n%s%v", saved, err)
	}
	for _, lines := range [][]string{{"ip route 10.0.0.0/33 Null0"}, {"interface lo", " no ip address 10.7.7.7/24"}, {"no password knock"}} {
		err := Send(within(t, time.Minute), target, lines, transcript(t), SendOptions{})
		if refused, ok := errors.AsType[*LineError](err); !ok || refused.Number != len(lines) {
			t.Errorf("%q: %v, want the last refused", lines, err)
		}
	}
	run(t, "chown", "root", dir)
	err := Send(within(t, time.Minute), target, []string{"interface lo", " no ip ospf area 0"}, transcript(t), SendOptions{Reconnects: -1})
	if err == nil || !strings.Contains(err.Error(), "Can't open configuration file "+dir+"/ospfd.conf") {
		t.Errorf("Send to a router that cannot save: %v, want its words", err)
	}
}

func run(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", args, err, out)
	}
}

// useFRR does what a laboratory does with a router: configure, read, be refused, undo.
func useFRR(t *testing.T, target Target) {
	t.Helper()
	s := open(within(t, time.Minute), t, target)
	before, err := s.Show(within(t, time.Minute), "show running-config")
	if err != nil {
		t.Fatal(err)
	}
	long := "# what? r1# " + strings.Repeat("0123456789 ", 16) + "r1(config)#"
	lines := []string{"interface lo", " description " + long, " ip address 10.1.2.3/32", "exit", "hostname edge", "ip route 10.9.0.0/16 Null0"}
	if strings.HasPrefix(target.Name, "static") {
		lines = []string{"hostname edge", "ip route 10.9.0.0/16 Null0", "! r1# " + long[8:]} // there a ? can not be typed
	}
	if err := s.Configure(within(t, time.Minute), lines); err != nil {
		t.Fatalf("Configure: %v", err)
	}
	got, err := s.Show(within(t, time.Minute), "show running-config")
	for _, l := range lines {
		if l != "exit" && !strings.HasPrefix(l, "!") && !strings.HasPrefix(l, "ip route") && !slices.Contains(split(got), l) {
			t.Errorf("%q is not in the running configuration:\n%s%v", l, got, err)
		}
	}
	err = s.Configure(within(t, time.Minute), []string{"hostname r1", "frobnicate the router", "hostname r2"})
	if refused, ok := errors.AsType[*LineError](err); !ok || refused.Number != 2 || !strings.Contains(refused.Said, "Unknown command") {
		t.Errorf("Configure: %v, want line 2 refused", err)
	}
	undo := []string{"no ip route 10.9.0.0/16 Null0", "interface lo", " no description", " no ip address 10.1.2.3/32"}
	if strings.HasPrefix(target.Name, "static") {
		undo = undo[:1]
	}
	if err := s.Configure(within(t, time.Minute), undo); err != nil {
		t.Errorf("undo: %v", err)
	}
	if got, err := s.Show(within(t, time.Minute), "show running-config"); err != nil || got != before {
		t.Errorf("after all was undone (%v):\n%s, want\n%s", err, got, before)
	}
}

func TestRouterOverSSH(t *testing.T) {
	t.Parallel()
	vtysh, _ := startFRR(t)
	target := startSSHD(t, "frr", false, "ForceCommand "+vtysh)
	useFRR(t, target)
}

// TestRouterOnAConsole has vtysh on a line, with each type of terminal for its line editor,
// directly and behind a real converter.
func TestRouterOnAConsole(t *testing.T) {
	t.Parallel()
	vtysh, _ := startFRR(t)
	need(t, "socat", "ser2net")
	for _, term := range []string{"dumb", "vt100", "xterm"} {
		t.Run(term, func(t *testing.T) {
			dir := scratch(t)
			put(t, dir+"/console", "#!/bin/sh\nexport TERM="+term+"\nexec "+vtysh+"\n", 0o755)
			start(t, "", "socat", "PTY,link="+dir+"/tty,raw,echo=0,mode=600", "EXEC:"+dir+"/console,pty,setsid,ctty,stderr")
			exists(t, dir+"/tty")
			p, err := BuiltIn("frr")
			if err != nil {
				t.Fatal(err)
			}
			target := Target{Name: "r1", URL: "serial://" + dir + "/tty", Platform: p}
			if term == "vt100" {
				target.URL = startSer2net(t, dir+"/tty") + "?baud=9600&flow=xonxoff"
				target.Pace = Pace{Character: 200 * time.Microsecond, Chunk: 16, ChunkDelay: time.Millisecond, Line: time.Millisecond}
			}
			useFRR(t, target)
		})
	}
}

// startSer2net offers a line by RFC 2217.
func startSer2net(t *testing.T, line string) string {
	t.Helper()
	port := freePort(t)
	config := put(t, scratch(t)+"/ser2net.yaml", fmt.Sprintf(
		"connection: &c\n  accepter: telnet(rfc2217),tcp,127.0.0.1,%d\n  connector: serialdev,%s,9600n81,local\n  options: {kickolduser: true}\n",
		port, line), 0o644)
	start(t, "", "ser2net", "-n", "-d", "-c", config)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for range 60_000 {
		if c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			c.Close()
			return fmt.Sprintf("rfc2217://127.0.0.1:%d", port)
		}
		<-tick.C
	}
	t.Fatal("ser2net does not listen")
	return ""
}

// TestRouterOverTelnet uses a daemon's own telnet, with its two passwords.
func TestRouterOverTelnet(t *testing.T) {
	t.Parallel()
	need(t, "/usr/lib/frr/staticd")
	dir, port := scratch(t), freePort(t)
	put(t, dir+"/conf", "hostname r1\npassword knock\nenable password knock knock\n", 0o644)
	run(t, "chown", "-R", "frr:frr", dir)
	start(t, "", "/usr/lib/frr/staticd", "-A", "127.0.0.1", "-P", fmt.Sprint(port), "-i", dir+"/pid", "-z", dir+"/none", "--vty_socket", dir, "-f", dir+"/conf")
	exists(t, dir+"/staticd.vty")
	p, err := BuiltIn("frr")
	if err != nil {
		t.Fatal(err)
	}
	target := Target{Name: "static", URL: fmt.Sprintf("telnet://127.0.0.1:%d", port), Platform: p,
		Login: Login{Password: "knock", Enable: "knock knock"}}
	useFRR(t, target)
	target.Login.Password = "wrong"
	if _, err := Open(within(t, time.Minute), target, nil); err == nil {
		t.Errorf("Open with a wrong password: no error")
	}
}

// TestHostileBehindAConverter sends to the hostile console through a real ser2net.
func TestHostileBehindAConverter(t *testing.T) {
	t.Parallel()
	need(t, "ser2net")
	h := startHostile(t, quirks{perChar: 500 * time.Microsecond, buffer: 16, drop: 0.001, logEvery: 400})
	target := h.target(t)
	target.URL = startSer2net(t, h.path) + "?baud=115200"
	target.Pace = Pace{Chunk: 16}
	lines := randomLines(3000)
	if err := Send(within(t, 3*time.Minute), target, lines, transcript(t), SendOptions{}); err != nil {
		t.Fatalf("Send: %v", err)
	}
	same(t, "running-config", h.config(), trimmed(lines))
}

// TestShellOnALine has a shell without a channel for each command: its own prompt shows the
// status.
func TestShellOnALine(t *testing.T) {
	t.Parallel()
	need(t, "socat")
	for _, shell := range []string{"bash --norc -i", "dash -i"} {
		t.Run(shell, func(t *testing.T) {
			dir := scratch(t)
			put(t, dir+"/shell", "#!/bin/sh\nexport TERM=dumb PS1='root@h1:~# '\nexec "+shell+"\n", 0o755)
			start(t, "", "socat", "PTY,link="+dir+"/tty,raw,echo=0,mode=600", "EXEC:"+dir+"/shell,pty,setsid,ctty,stderr")
			exists(t, dir+"/tty")
			p, err := BuiltIn("linux")
			if err != nil {
				t.Fatal(err)
			}
			s := open(within(t, time.Minute), t, Target{Name: "h1", URL: "serial://" + dir + "/tty", Platform: p})
			lines := []string{"x='a b'", "echo \"$x # $\" > " + dir + "/a", "ls /nowhere", "touch " + dir + "/b"}
			err = s.Configure(within(t, time.Minute), lines)
			if refused, ok := errors.AsType[*LineError](err); !ok || refused.Number != 3 || refused.Status != 2 {
				t.Errorf("Configure: %v, want line 3 refused with status 2", err)
			}
			if got, err := s.Show(within(t, time.Minute), "cat "+dir+"/a; printf '%s' 'h1# '; printf '\\n'; echo '[q:0]# '; seq 3"); err != nil || got != "a b # $\nh1#\n[q:0]#\n1\n2\n3\n" {
				t.Errorf("Show = %q, %v", got, err)
			}
			if err := s.Configure(within(t, time.Minute), []string{"for i in 1 2; do", "echo $i >> " + dir + "/c; done", "if true; then"}); err == nil || !strings.Contains(err.Error(), "not complete") {
				t.Errorf("Configure with an open end: %v, want it to be said", err)
			}
			if got, err := os.ReadFile(dir + "/c"); err != nil || !bytes.Equal(got, []byte("1\n2\n")) {
				t.Errorf("the loop wrote %q, %v", got, err)
			}
			if got, err := s.Show(within(t, time.Minute), "echo on"); err != nil || got != "on\n" {
				t.Errorf("Show after it = %q, %v", got, err)
			}
		})
	}
}

// TestDeafToInterrupt: if a shell's line editor does not notice an interrupt, as that of bash
// right after its prompt, the interrupt is sent again, and nothing is typed into the
// unfinished command.
func TestDeafToInterrupt(t *testing.T) {
	t.Parallel()
	need(t, "socat", "bash")
	dir := scratch(t)
	put(t, dir+"/shell", "#!/bin/sh\nexport TERM=dumb PS1='root@h1:~# '\nexec bash --norc -i\n", 0o755)
	start(t, "", "socat", "UNIX-LISTEN:"+dir+"/socket", "EXEC:"+dir+"/shell,pty,setsid,ctty,stderr")
	exists(t, dir+"/socket")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	go func() {
		near, err := listener.Accept()
		if err != nil {
			return
		}
		defer func() { _ = near.Close() }()
		far, err := net.Dial("unix", dir+"/socket")
		if err != nil {
			return
		}
		defer func() { _ = far.Close() }()
		go func() { _, _ = io.Copy(near, far) }()
		buf := make([]byte, 4096)
		for interrupts := 0; ; {
			n, err := near.Read(buf)
			if err != nil {
				return
			}
			data := buf[:n]
			if bytes.IndexByte(data, 3) >= 0 {
				if interrupts++; interrupts == 1 {
					data = bytes.ReplaceAll(data, []byte{3}, nil)
				}
			}
			if _, err := far.Write(data); err != nil {
				return
			}
		}
	}()
	p, err := BuiltIn("linux")
	if err != nil {
		t.Fatal(err)
	}
	s := open(within(t, time.Minute), t, Target{Name: "h1", URL: "tcp://" + listener.Addr().String(), Platform: p})
	for range 2 {
		err := s.Configure(within(t, time.Minute), []string{"if true; then"})
		if refused, ok := errors.AsType[*LineError](err); !ok || refused.Number != 1 {
			t.Errorf("Configure with an open end: %v, want line 1 refused", err)
		}
		if got, err := s.Show(within(t, time.Minute), "echo on"); err != nil || got != "on\n" {
			t.Errorf("Show after it = %q, %v", got, err)
		}
	}
}
