package test

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"activationd/control"
	"activationd/test/harness"
)

// deniedConfig has scripts that configure a device, and try that three times.
const deniedConfig = `
sources: [{files: DIR/res.yaml}]
lab: {inventory: DIR/inventory.yaml}
reservations: {activate: [DIR/activate], deactivate: [DIR/deactivate], grace: 5s, retries: 2, backoff: {first: 20ms, max: 100ms}USER}
`

// configured are further keys of a reservation: they configure the device that
// startSSHD starts.
const configured = `  topology: {topology: {nodes: {h1: {kind: files, startup-config: "make one\nmake two\n"}}}}` + "\n"

// A sshServer is a real sshd where the user lab has a password. In a mount namespace of
// its own, it has users of its own.
type sshServer struct {
	t       *testing.T
	dir     string
	address string
	hostKey string
}

func startSSHD(t *testing.T, d *daemon) *sshServer {
	t.Helper()
	needRoot(t)
	needProgram(t, "/usr/sbin/sshd", "unshare")
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
		t.Fatal(err)
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "test")
	if err != nil {
		t.Fatal(err)
	}
	shown, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	port := freePort(t)
	s := &sshServer{t: t, dir: d.dir + "/sshd", address: fmt.Sprintf("127.0.0.1:%d", port), hostKey: strings.TrimSpace(string(ssh.MarshalAuthorizedKey(shown)))}
	d.write("sshd/host", string(pem.EncodeToMemory(block)), 0o600)
	d.write("sshd/passwd", d.read("/etc/passwd")+"lab:x:54321:54321::/tmp:/bin/sh\n", 0o644)
	d.write("sshd/shadow", "root:*:19000:0:99999:7:::\nlab:$6$activation$EL/536mauwSLUr0UuyrnvcDkuMnddnQ.istOLCldyUIlmqKZZT/ItjQvHeo8aXpoizqtV0J5nmjEHXJo.jp/B0:19000:0:99999:7:::\n", 0o600)
	d.write("sshd/conf", fmt.Sprintf(`ListenAddress %s
HostKey %s/host
PidFile none
LogLevel VERBOSE
UsePAM no
PasswordAuthentication yes
KbdInteractiveAuthentication no
`, s.address, s.dir), 0o600)
	d.write("sshd/log", "", 0o600)
	cmd := exec.Command("unshare", "--mount", "sh", "-ec", `cd "$1"
mount --bind passwd /etc/passwd
mount --bind shadow /etc/shadow
exec /usr/sbin/sshd -D -E "$1/log" -f "$1/conf"`, "sh", s.dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // it is killed
		close(ended)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
	})
	s.await(func(log string) bool { return strings.Contains(log, "Server listening") })
	return s
}

// await waits until the server's log is as wanted.
func (s *sshServer) await(ok func(log string) bool) string {
	s.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		log, err := os.ReadFile(s.dir + "/log")
		if err != nil {
			s.t.Fatal(err)
		}
		if ok(string(log)) {
			return string(log)
		}
		if time.Now().After(end) {
			s.t.Fatalf("the server has logged\n%s", log)
		}
	}
}

var sshEnd = regexp.MustCompile(`Connection closed by|Connection reset by|Disconnecting|Disconnected from`)

// saw checks how many connections and wrong passwords the server has seen.
func (s *sshServer) saw(when string, connections, wrong int) {
	s.t.Helper()
	log := s.await(func(log string) bool {
		return len(sshEnd.FindAllString(log, -1)) >= strings.Count(log, "Connection from")
	})
	if c, w := strings.Count(log, "Connection from"), strings.Count(log, "Failed password for lab"); c != connections || w != wrong {
		s.t.Errorf("%s: the server saw %d connections and %d wrong passwords, want %d and %d:\n%s", when, c, w, connections, wrong, log)
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}

// TestRefusedPassword counts at a real server how often activations try a wrong password:
// once. After that nothing connects with it, also after kill -9 of the daemon, until an
// operator retries or the inventory has another password. "atctl why" says all of this.
// Otherwise a password with a typing mistake locks the account on all devices.
func TestRefusedPassword(t *testing.T) {
	t.Parallel()
	for _, user := range []string{"root", "nobody"} {
		t.Run(user, func(t *testing.T) {
			t.Parallel()
			needRoot(t)
			config := strings.Replace(deniedConfig, "USER", ifElse(user == "root", "", ", user: "+user), 1)
			d := newDaemon(t, config)
			s := startSSHD(t, d)
			d.write("inventory.yaml", fmt.Sprintf(`
templates: templates
credentials: {c: {user: lab, password: {file: secret}}}
devices:
  h1: {platform: files, connect: 'ssh://%s', credentials: c, host_key: %s}
`, s.address, s.hostKey), 0o644)
			d.write("templates/files.yaml", strings.ReplaceAll(`
dialog: linux
style: commands
commands:
  - {line: 'make ([a-z]+)', apply: [touch DIR/shared/$1], undo: [rm -f DIR/shared/$1], show: ls DIR/shared && echo =, applied: [$1, =], clean: [=], clean_not: [$1]}
`, "DIR", d.dir), 0o644)
			secret := func(text string) {
				t.Helper()
				file := d.write("secret", text+"\n", 0o600)
				if out, err := exec.Command("chown", user, file).CombinedOutput(); err != nil {
					t.Fatalf("%v: %s", err, out)
				}
			}
			secret("mistyped")
			d.script("activate", "set -e\nexport PATH="+harness.Bin+":$PATH\natctl lab generate\natctl lab upload\natctl lab verify\n")
			d.script("deactivate", harness.Bin+"/atctl lab erase\n")
			d.write("res.yaml", yaml(), 0o644)
			d.Start()

			now := time.Now()
			first := resv{id: "1@x", start: now, end: now.Add(time.Hour), devices: "h1", more: configured}
			d.announce(first)
			a := d.ended("1@x", "failed", 5)
			tries := 0
			for _, at := range a.Attempts {
				if at.Phase == "activate" {
					tries++
				}
			}
			if tries != 3 {
				t.Errorf("there were %d attempts, want 3", tries)
			}
			s.saw("after all attempts", 1, 1)
			if log := d.must("log", "--phase", "activate", "1@x"); !strings.Contains(log, `h1: refused the password of lab at `) || !strings.Contains(log, `atctl retry --device h1`) {
				t.Errorf("the last attempt says %q", log)
			}
			if why := d.must("why", "1@x"); !strings.Contains(why, "h1 refused the password of lab at") || !strings.Contains(why, "atctl retry --device h1") {
				t.Errorf("why: %s", why)
			}
			if n := d.status().Logins; n != 1 {
				t.Errorf("status tells of %d refused logins", n)
			}
			l := parse[control.Login](t, d.must("--json", "logins"))
			if l.Device != "h1" || l.User != "lab" || l.What != "password" || l.State != "refused" || l.For != "1@x" {
				t.Errorf("logins: %+v", l)
			}

			d.Kill()
			d.Start()
			d.announce(first, resv{id: "2@x", start: now, end: now.Add(time.Hour), devices: "h1", more: configured})
			d.ended("2@x", "failed", 5)
			s.saw("after another activation", 1, 1)
			d.must("retry", "1@x")
			d.ended("1@x", "failed", 5)
			s.saw("after a retry", 2, 2)
			if out := d.atctl("retry", "--device", "h2"); out.status != 3 {
				t.Errorf("retry of another device: %+v", out)
			}
			d.must("retry", "--device", "h1")
			if n := d.status().Logins; n != 0 {
				t.Errorf("after a retry of the device status tells of %d refused logins", n)
			}
			d.must("retry", "2@x")
			d.ended("2@x", "failed", 5)
			s.saw("after a retry of the device", 3, 3)

			// Another secret needs no retry of what was refused.
			secret("right")
			d.announce(first, resv{id: "3@x", start: now, end: now.Add(time.Hour), devices: "h1", more: configured})
			d.InState("3@x", "active")
			if _, err := os.Stat(d.shared("two")); err != nil {
				t.Error(err)
			}
			d.must("cancel", "3@x")
			d.ended("3@x", "cancelled", 125)
			if left, _ := filepath.Glob(d.shared("*o*")); len(left) > 0 {
				t.Errorf("left are %v", left)
			}
			if data := d.read(d.state + "/state.db"); strings.Contains(data, "mistyped") {
				t.Error("the state has the password")
			}
		})
	}
}

func ifElse[T any](cond bool, yes, no T) T {
	if cond {
		return yes
	}
	return no
}

// A deaf router asks for name and password, and does not react to them.
type deafRouter struct {
	listener net.Listener
	tries    chan string
}

func startDeafRouter(t *testing.T) *deafRouter {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &deafRouter{listener: l, tries: make(chan string, 100)}
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			done.Go(func() {
				defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
				defer func() { _ = conn.Close() }()
				in := bufio.NewReader(conn)
				_, _ = conn.Write([]byte("\r\nUsername: "))
				user, err := in.ReadString('\r')
				if err != nil {
					return
				}
				_, _ = conn.Write([]byte(user + "\nPassword: "))
				password, err := in.ReadString('\r')
				if err != nil {
					return
				}
				r.tries <- strings.TrimSpace(user) + "/" + strings.TrimSpace(password)
				_, _ = in.ReadByte() // until the other side is gone
			})
		}
	})
	t.Cleanup(func() {
		cancel()
		_ = l.Close()
		done.Wait()
	})
	return r
}

// TestKilledBehindThePassword kills the upload after the device has received the
// password and before it has answered. The password may have been wrong, so it is given
// only once more, however often the upload is tried again.
func TestKilledBehindThePassword(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, "sources: []\n")
	r := startDeafRouter(t)
	d.write("inventory.yaml", fmt.Sprintf(`
credentials: {c: {user: lab, password: {env: SECRET}}}
devices:
  r1: {platform: cisco_ios, connect: 'tcp://%s', credentials: c}
`, r.listener.Addr()), 0o644)
	topology := d.write("t.yaml", "topology: {nodes: {r1: {kind: cisco_ios, startup-config: \"interface Loopback0\\n description x\\n\"}}}\n", 0o644)
	d.Start()
	for _, dir := range []string{"plan", "keep"} {
		if err := os.Mkdir(d.dir+"/"+dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	d.must("lab", "generate", "--activation", "1@hand", "--topology", topology, "--inventory", d.dir+"/inventory.yaml", "--out", d.dir+"/plan")
	upload := func(secret string) *exec.Cmd {
		cmd := exec.CommandContext(t.Context(), harness.Bin+"/atctl", "lab", "upload", "--config", d.dir+"/plan", "--keep", d.dir+"/keep")
		cmd.Env = append(os.Environ(), "ACTIVATIOND_SOCKET="+d.socket, "SECRET="+secret)
		return cmd
	}
	killed := func(secret string) {
		t.Helper()
		cmd := upload(secret)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		select {
		case try := <-r.tries:
			if try != "lab/"+secret {
				t.Fatalf("the device saw %q", try)
			}
		case <-time.After(patience):
			t.Fatal("nobody tries")
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
	}
	killed("one")
	killed("one")
	out, err := upload("one").CombinedOutput()
	if e, ok := errors.AsType[*exec.ExitError](err); !ok || e.ExitCode() != 5 || !strings.Contains(string(out), "nobody knows whether it was right") {
		t.Errorf("the third time: %v: %s", err, out)
	}
	if len(r.tries) > 0 {
		t.Errorf("the device saw %q once more", <-r.tries)
	}
	killed("two") // another one
	d.must("retry", "--device", "r1")
	killed("one")
}
