package device

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// inNamespace runs do on a thread in the network namespace.
func inNamespace(t *testing.T, space string, do func() error) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with this goroutine
		f, err := os.Open("/run/netns/" + space)
		if err == nil {
			err = unix.Setns(int(f.Fd()), unix.CLONE_NEWNET)
			f.Close()
		}
		if err == nil {
			err = do()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatalf("in %s: %v", space, err)
	}
}

// A cable joins our network namespace with that of a device, and can be pulled.
type cable struct {
	us, device string // the namespaces
	listener   *net.TCPListener
}

func startCable(t *testing.T) *cable {
	t.Helper()
	need(t, "ip", "ss")
	name := filepath.Base(scratch(t))
	c := &cable{us: name + "-us", device: name + "-device"}
	for _, space := range []string{c.us, c.device} {
		run(t, "ip", "netns", "add", space)
		t.Cleanup(func() { run(t, "ip", "netns", "delete", space) })
	}
	run(t, "ip", "-n", c.us, "link", "add", "e0", "type", "veth", "peer", "name", "e0", "netns", c.device)
	for space, address := range map[string]string{c.us: "10.77.0.1/24", c.device: "10.77.0.2/24"} {
		run(t, "ip", "-n", space, "address", "add", address, "dev", "e0")
		run(t, "ip", "-n", space, "link", "set", "e0", "up")
	}
	// While the kernel does not know the device's hardware address, it keeps what is to be sent to
	// it for 3 s, whatever became of the connection. It forgets the address at some moment after
	// the cable is pulled, unless the entry is permanent.
	run(t, "ip", "-n", c.us, "neigh", "add", "10.77.0.2", "lladdr", c.hardwareAddress(t), "dev", "e0", "nud", "permanent")
	inNamespace(t, c.device, func() error {
		l, err := net.Listen("tcp", "10.77.0.2:0")
		if err == nil {
			c.listener = l.(*net.TCPListener)
		}
		return err
	})
	t.Cleanup(func() { c.listener.Close() })
	return c
}

func (c *cable) hardwareAddress(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("ip", "-n", c.device, "-br", "link", "show", "e0").Output()
	fields := strings.Fields(string(out)) // name, state, address
	if err != nil || len(fields) < 3 {
		t.Fatalf("ip link: %q, %v", out, err)
	}
	return fields[2]
}

func (c *cable) set(t *testing.T, state string) {
	t.Helper()
	run(t, "ip", "-n", c.device, "link", "set", "e0", state)
}

func (c *cable) accept(t *testing.T) net.Conn {
	t.Helper()
	c.listener.SetDeadline(time.Now().Add(2 * time.Minute))
	conn, err := c.listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// open lists the connections of ours that the kernel still serves.
func (c *cable) open(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("ss", "-N", c.us, "-Htan", "state", "all").CombinedOutput()
	if err != nil {
		t.Fatalf("ss: %v\n%s", err, out)
	}
	return string(out)
}

// A talkative is a process that has a session with the device over the cable. It executes
// words, one a line, and answers each.
type talkative struct {
	*exec.Cmd

	in  io.WriteCloser
	out *bufio.Scanner
}

const talkativeURL = "DEVICE_TEST_TALKATIVE_URL"

func (c *cable) talkative(t *testing.T, scheme string) *talkative {
	t.Helper()
	cmd := exec.Command("nsenter", "--net=/run/netns/"+c.us, "--", os.Args[0], "-test.run=^TestTalkative$", "-test.v")
	cmd.Env = append(os.Environ(), talkativeURL+"="+scheme+"://"+c.listener.Addr().String())
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &talkative{cmd, in, bufio.NewScanner(out)}
	t.Cleanup(func() {
		in.Close()
		cmd.Process.Kill()
		cmd.Wait()
	})
	return p
}

// say makes it execute a word, and waits until that is done.
func (p *talkative) say(t *testing.T, word string) {
	t.Helper()
	if word != "" {
		fmt.Fprintln(p.in, word)
	}
	p.await(t, "did "+word)
}

func (p *talkative) await(t *testing.T, line string) {
	t.Helper()
	for p.out.Scan() {
		if p.out.Text() == line {
			return
		}
	}
	t.Fatalf("the process ended without %q", line)
}

// TestTalkative is that process. Nothing else runs it.
func TestTalkative(t *testing.T) {
	url := os.Getenv(talkativeURL)
	if url == "" {
		return
	}
	a, err := parseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	s := &Session{dialog: &dialog{}}
	if err := s.connect(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	fmt.Println("did ")
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		switch in.Text() {
		case "write":
			err = s.link.write(t.Context(), []byte("no shutdown\r"))
		case "close":
			fmt.Println("closing")
			err = s.Close()
		case "break":
			s.failed = errors.New("it gives up")
			err = s.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
		fmt.Println("did " + in.Text())
	}
}

// TestKilledIsSilent: bytes that were written to a device while its cable was pulled do not
// arrive when the cable is plugged in again, if the writer was killed meanwhile or has given
// up. The kernel would deliver them for minutes, into the configuration of the device's next
// user.
func TestKilledIsSilent(t *testing.T) {
	t.Parallel()
	for _, scheme := range []string{"tcp", "telnet"} {
		for _, end := range []string{"kill", "break"} {
			t.Run(scheme+" "+end, func(t *testing.T) {
				t.Parallel()
				c := startCable(t)
				p := c.talkative(t, scheme)
				far := c.accept(t)
				p.say(t, "")
				c.set(t, "down")
				p.say(t, "write")
				if end == "kill" {
					p.Process.Signal(syscall.SIGKILL)
					p.Wait()
				} else {
					p.say(t, end)
				}
				if left := c.open(t); left != "" {
					t.Errorf("the kernel goes on with\n%s", left)
				}
				c.set(t, "up")
				// The next session comes through.
				next := c.talkative(t, scheme)
				again := c.accept(t)
				next.say(t, "")
				next.say(t, "write")
				buf := make([]byte, 100)
				again.SetReadDeadline(time.Now().Add(2 * time.Minute))
				if n, err := again.Read(buf); err != nil || !strings.HasPrefix(string(buf[:n]), "no shutdown\r") {
					t.Errorf("the next session has read %q, %v", buf[:n], err)
				}
				far.SetReadDeadline(time.Now().Add(2 * time.Second))
				if n, err := far.Read(buf); n > 0 {
					t.Errorf("after the end of its writer %q arrived (%v)", buf[:n], err)
				}
			})
		}
	}
}

// TestEndIsDelivered: if a session ends well, its last bytes arrive even if the network fails
// for a moment. After them comes a normal end and not a reset, after which some devices
// discard what they have not read.
func TestEndIsDelivered(t *testing.T) {
	t.Parallel()
	c := startCable(t)
	p := c.talkative(t, "tcp")
	far := c.accept(t)
	p.say(t, "")
	c.set(t, "down")
	p.say(t, "write")
	fmt.Fprintln(p.in, "close")
	p.await(t, "closing")
	c.set(t, "up")
	p.await(t, "did close")
	far.SetReadDeadline(time.Now().Add(2 * time.Minute))
	if got, err := io.ReadAll(far); err != nil || string(got) != "no shutdown\r" {
		t.Errorf("arrived: %q, %v; want all and an end", got, err)
	}
}

// TestEverySocketForgets: every kind of connection over TCP has the options by which the
// kernel discards undelivered bytes, from before it is connected, and soon notices a dead
// peer.
func TestEverySocketForgets(t *testing.T) {
	t.Parallel()
	target := startSSHD(t, "linux", false)
	address := strings.TrimPrefix(target.URL, "ssh://")
	for _, scheme := range []string{"ssh", "telnet", "tcp", "rfc2217"} {
		s, err := newSession(target, nil)
		if err != nil {
			t.Fatal(err)
		}
		a := address
		if scheme == "rfc2217" {
			a = strings.TrimPrefix(startConverter(t, &converter{}).url(), "rfc2217://")
		}
		url, err := parseURL(scheme + "://" + a)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.connect(within(t, time.Minute), url); err != nil {
			t.Fatalf("%s: %v", scheme, err)
		}
		raw, err := s.conn.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		err = onFD(raw, func(fd int) error {
			linger, err := unix.GetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER)
			if err != nil {
				return err
			}
			ms, err := unix.GetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT)
			if linger.Onoff != 1 || linger.Linger != 0 || ms != 10_000 {
				t.Errorf("%s: linger %+v and a user timeout of %d ms, want (1, 0) and 10000 ms", scheme, *linger, ms)
			}
			return err
		})
		if err != nil {
			t.Errorf("%s: %v", scheme, err)
		}
		s.Close()
	}
}

// TestSerialForgets: bytes that an earlier session left to be sent over a serial line are
// discarded when the next session opens the line, and those of a session that has given up
// when it closes the line. The other side of a pty can be notified of a discarded output
// buffer.
func TestSerialForgets(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		ended error // of the session
		want  bool
	}{{"gave up", errors.New("no answer"), true}, {"ended well", nil, false}} {
		master, slave, path := openPTY(t)
		defer master.Close()
		defer slave.Close()
		raw, err := master.SyscallConn()
		if err == nil {
			err = onFD(raw, func(fd int) error { return unix.IoctlSetPointerInt(fd, unix.TIOCPKT, 1) })
		}
		if err != nil {
			t.Fatal(err)
		}
		// discarded reads up to a mark that is written now.
		discarded := func() (ever bool) {
			t.Helper()
			if _, err := slave.WriteString("!"); err != nil {
				t.Fatal(err)
			}
			master.SetReadDeadline(time.Now().Add(time.Minute))
			buf := make([]byte, 100)
			for {
				n, err := master.Read(buf)
				if err != nil {
					t.Fatal(err)
				}
				if buf[0] == unix.TIOCPKT_DATA && buf[n-1] == '!' {
					return ever
				}
				ever = ever || buf[0]&unix.TIOCPKT_FLUSHWRITE != 0
			}
		}
		s := &Session{dialog: &dialog{}}
		if err := s.connect(t.Context(), address{scheme: "serial", host: path}); err != nil {
			t.Fatal(err)
		}
		if !discarded() {
			t.Errorf("%s: a session has opened the line and left what was to be sent over it", tt.name)
		}
		s.failed = tt.ended
		s.Close()
		if got := discarded(); got != tt.want {
			t.Errorf("%s: what was to be sent is discarded: %t, want %t", tt.name, got, tt.want)
		}
	}
}
