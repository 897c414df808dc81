package test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"activationd/control"
)

// acceptor is a program that takes its sockets by the protocol of sd_listen_fds(3). It tells each
// client its instance, its process and the socket's inode, and ends with TERM when it has
// answered those that it has accepted.
const acceptor = `
import os, selectors, signal, socket, sys
if os.environ.get('LISTEN_PID') != str(os.getpid()):
    sys.exit('these sockets are for another process: %r' % os.environ.get('LISTEN_PID'))
read, write = os.pipe()
os.set_blocking(write, False)
signal.set_wakeup_fd(write)
signal.signal(signal.SIGTERM, lambda *a: None)
waiting = selectors.DefaultSelector()
waiting.register(read, selectors.EVENT_READ)
for fd in range(3, 3 + int(os.environ['LISTEN_FDS'])):
    s = socket.socket(fileno=fd)
    s.setblocking(False)
    waiting.register(s, selectors.EVENT_READ)
while True:
    for key, _ in waiting.select():
        if key.fileobj == read:
            sys.exit(0)
        try:
            c, _ = key.fileobj.accept()
        except BlockingIOError:
            continue
        with c:
            c.setblocking(True)
            c.sendall(b'%s %d %d\n' % (os.environ['ACTIVATION_ID'].encode(), os.getpid(), os.fstat(key.fd).st_ino))
`

// An answer is what the acceptor tells a client.
type answer struct {
	id    string
	pid   int
	inode uint64
}

// connect asks an acceptor.
func connect(ctx context.Context, address string) (a answer, err error) {
	network := "tcp"
	if strings.HasPrefix(address, "/") {
		network = "unix"
	}
	c, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return a, err
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(patience))
	said, err := io.ReadAll(c)
	if err == nil {
		_, err = fmt.Sscan(string(said), &a.id, &a.pid, &a.inode)
	}
	return a, err
}

// asked is connect, when the answer must come.
func asked(t *testing.T, address string) answer {
	t.Helper()
	a, err := connect(t.Context(), address)
	if err != nil {
		t.Fatalf("%s: %v", address, err)
	}
	return a
}

// A load is a number of clients that connect without a pause.
type load struct {
	stop func()
	mu   sync.Mutex
	by   map[answer]int
	lost []error
}

func newLoad(t *testing.T, addresses ...string) *load {
	ctx, cancel := context.WithCancel(t.Context())
	l := &load{by: make(map[answer]int)}
	var clients sync.WaitGroup
	for _, address := range addresses {
		for range 2 {
			clients.Go(func() {
				for ctx.Err() == nil {
					a, err := connect(context.WithoutCancel(ctx), address)
					l.mu.Lock()
					if l.by[a]++; err != nil {
						l.lost = append(l.lost, err)
					}
					l.mu.Unlock()
					time.Sleep(time.Millisecond)
				}
			})
		}
	}
	l.stop = func() { cancel(); clients.Wait() }
	t.Cleanup(l.stop)
	return l
}

// answeredBy waits until a process has answered clients.
func (l *load) answeredBy(d *daemon, pid int) {
	d.t.Helper()
	d.await(fmt.Sprintf("an answer of process %d", pid), func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		for a := range l.by {
			if a.pid == pid {
				return true
			}
		}
		return false
	})
}

// all ends the load, and checks that every client was answered, at sockets of so many inodes.
func (l *load) all(t *testing.T, sockets int) {
	t.Helper()
	l.stop()
	inodes, n := map[uint64]bool{}, 0
	for a, times := range l.by {
		inodes[a.inode], n = true, n+times
	}
	if len(l.lost) > 0 {
		t.Errorf("%d of %d clients got no answer: %v", len(l.lost), n, l.lost[0])
	}
	if len(inodes) != sockets {
		t.Errorf("%d sockets have answered, want %d: %v", len(inodes), sockets, l.by)
	}
}

// acceptors makes a daemon with services whose script is the acceptor. In the configuration,
// PORT is a free port.
func acceptors(t *testing.T, config string) (d *daemon, b *beacon, port string) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ = net.SplitHostPort(l.Addr().String())
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	d, b = services(t, strings.ReplaceAll(config, "PORT", port), `exec python3 "${0%/*}/accept.py"`+"\n")
	if err := os.WriteFile(filepath.Join(d.dir, "accept.py"), []byte(acceptor), 0o644); err != nil {
		t.Fatal(err)
	}
	return d, b, port
}

// noSocket waits until nobody listens at an address, and the file of a Unix socket is gone.
func (d *daemon) noSocket(address string) {
	d.t.Helper()
	d.await("the end of the socket at "+address, func() bool {
		_, err := connect(d.t.Context(), address)
		return errors.Is(err, syscall.ECONNREFUSED) && !strings.HasPrefix(address, "/") || errors.Is(err, os.ErrNotExist)
	})
}

// Clients of a service that listens at sockets of the daemon never notice that its instances, or
// the daemon, are restarted: they wait meanwhile. The instances share the sockets.
func TestServiceSocketsAreAlwaysOpen(t *testing.T) {
	t.Parallel()
	d, b, port := acceptors(t, `
services:
  web: {command: [DIR/serve], instances: 2, listen: ["127.0.0.1:PORT", DIR/web.sock], backoff: {first: 10ms, max: 10ms}}
`)
	tcp, unix := "127.0.0.1:"+port, d.dir+"/web.sock"
	d.begin()
	b.started(2)
	if status := d.must("service", "status", "web@1"); !strings.Contains(status, tcp+" "+unix) {
		t.Errorf("the status has no addresses: %s", status)
	}
	l := newLoad(t, tcp, unix)
	for _, how := range [][]string{{}, {"--rolling"}} {
		d.must(append([]string{"service", "restart", "web"}, how...)...)
		for _, pid := range b.started(2) {
			l.answeredBy(d, pid)
		}
		d.Kill()
		d.begin()
	}
	b.quiet() // the daemon's end restarts nothing
	d.must("service", "restart", "web")
	for _, pid := range b.started(2) {
		l.answeredBy(d, pid)
	}
	l.all(t, 2)
	d.must("service", "stop", "web")
	d.noSocket(tcp)
	d.noSocket(unix)
	d.nothingLeft()
}

// The sockets of an instance that died while there was no daemon are those of another one that
// lives; if none lives, they are opened again. What a daemon that was killed has left behind of
// a service that is no longer declared is removed.
func TestServiceSocketsAfterAKill(t *testing.T) {
	t.Parallel()
	d, b, port := acceptors(t, `
services:
  web: {command: [DIR/serve], instances: 2, listen: ["127.0.0.1:PORT", DIR/web.sock]}
  waits: {command: [DIR/serve], listen: [DIR/waits.sock], backoff: {first: 1h, max: 1h}}
`)
	tcp, unix, waits := "127.0.0.1:"+port, d.dir+"/web.sock", d.dir+"/waits.sock"
	d.begin()
	pids := b.started(3)
	before := asked(t, unix)
	if err := syscall.Kill(pids["waits@1"], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	d.serving("waits@1", "backoff")
	d.Kill() // now only the file of its socket is there
	if err := syscall.Kill(pids["web@2"], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	awaitGone(t, pids["web@2"])
	d.begin()
	next := b.started(1)["web@2"]
	l := newLoad(t, tcp, unix)
	l.answeredBy(d, next)
	l.answeredBy(d, pids["web@1"])
	l.all(t, 2)
	if after := asked(t, unix); after.inode != before.inode {
		t.Errorf("the socket is %+v, and was %+v", after, before)
	}
	if _, err := os.Stat(waits); err != nil {
		t.Errorf("the service that waits for its next start: %v", err)
	}

	d.Kill()
	for id, pid := range map[string]int{"web@1": pids["web@1"], "web@2": next} {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(id, err)
		}
		awaitGone(t, pid)
	}
	d.configure(strings.ReplaceAll(`services: {web: {command: [DIR/serve], instances: 2, listen: ["127.0.0.1:PORT", DIR/web.sock]}}`, "PORT", port))
	d.begin()
	b.started(2)
	asked(t, tcp)
	asked(t, unix)
	d.noSocket(waits)
	d.must("service", "stop", "web")
	d.noSocket(unix)
	d.nothingLeft()
}

// A socket is closed when nobody needs it any more, whatever the reason, and not earlier.
func TestServiceSocketsAreClosed(t *testing.T) {
	t.Parallel()
	d, b, port := acceptors(t, "")
	config := func(text string) {
		d.configure("services:\n" + strings.ReplaceAll(text, "PORT", port))
		d.must("reload")
	}
	shared, own := "127.0.0.1:"+port, func(n int) string { return fmt.Sprintf("%s/own-%d.sock", d.dir, n) }
	d.begin()
	config("  web: {command: [DIR/serve], instances: 2, listen: [\"127.0.0.1:PORT\", \"DIR/own-{{instance}}.sock\"]}\n  other: {command: [DIR/serve], listen: [DIR/other.sock]}\n")
	pids := b.started(3)
	other := asked(t, d.dir+"/other.sock")
	for n := 1; n <= 2; n++ {
		if a := asked(t, own(n)); a.pid != pids[fmt.Sprintf("web@%d", n)] {
			t.Errorf("%s is answered by %+v, and the processes are %v", own(n), a, pids)
		}
	}

	d.must("service", "scale", "web", "1")
	d.noSocket(own(2))
	first := asked(t, shared)
	if asked(t, own(1)); first.id != "web@1" {
		t.Errorf("the shared socket is answered by %+v", first)
	}

	config("  web: {command: [DIR/serve], listen: [\"127.0.0.1:PORT\", \"DIR/new-{{instance}}.sock\"]}\n  other: {command: [DIR/serve], listen: [DIR/other.sock]}\n")
	again := b.started(1)["web@1"]
	d.noSocket(own(1))
	if a := asked(t, shared); a.pid != again || a.inode != first.inode {
		t.Errorf("the address that did not change is answered by %+v, and was by %+v", a, first)
	}
	asked(t, d.dir+"/new-1.sock")

	config("  other: {command: [DIR/serve], listen: [DIR/other.sock]}\n")
	d.noSocket(shared)
	d.noSocket(d.dir + "/new-1.sock")

	config("  other: {command: [/bin/false], backoff: {first: 10ms, max: 10ms}, start_limit: {count: 3}, listen: [DIR/other.sock]}\n")
	d.serving("other@1", "fatal")
	d.noSocket(d.dir + "/other.sock")
	config("  other: {command: [DIR/serve], listen: [DIR/other.sock]}\n")
	b.started(1)
	if a := asked(t, d.dir+"/other.sock"); a.inode == other.inode {
		t.Errorf("a socket that was closed answers: %+v", a)
	}
	d.must("service", "stop", "other")
	d.noSocket(d.dir + "/other.sock")
	d.nothingLeft()
}

// An address that another program has keeps an instance from starting, says why, and keeps
// nobody else. The instance starts by itself when the address is free.
func TestServiceAddressInUse(t *testing.T) {
	t.Parallel()
	d, b, port := acceptors(t, `
services:
  web: {command: [DIR/serve], listen: ["127.0.0.1:PORT"], backoff: {first: 100ms, max: 100ms}, start_limit: {count: 0}}
  file: {command: [DIR/serve], listen: [DIR/config.yaml], start_limit: {count: 1}, fatal_retry: 0}
  fine: {command: [DIR/serve], listen: [DIR/fine.sock]}
`)
	taken, err := net.Listen("tcp4", "127.0.0.1:"+port)
	if err != nil {
		t.Fatal(err)
	}
	d.begin()
	b.started(1)
	asked(t, d.dir+"/fine.sock")
	web := d.serving("web@1", "backoff")
	for _, hint := range []string{"127.0.0.1:" + port, "address already in use", "ss -ltnp sport = :" + port} {
		if !strings.Contains(web.Reason, hint) {
			t.Errorf("the reason does not say %q: %s", hint, web.Reason)
		}
	}
	if file := d.serving("file@1", "fatal"); !strings.Contains(file.Reason, "is not a Unix socket: move it away") {
		t.Errorf("the reason is %q", file.Reason)
	}
	if err := taken.Close(); err != nil {
		t.Fatal(err)
	}
	pid := b.started(1)["web@1"]
	if a := asked(t, "127.0.0.1:"+port); a.pid != pid {
		t.Errorf("%+v answers, and the process is %d", a, pid)
	}
	if config := d.read(d.dir + "/config.yaml"); !strings.Contains(config, "services:") {
		t.Errorf("the file that was in the way is %q", config)
	}
	d.must("service", "stop", "*")
	d.nothingLeft()
}

// The daemon opens the sockets, so a service's user needs no right to do so. The user gets
// nothing else of the daemon's.
func TestServicePrivilegedPort(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	t.Parallel()
	var port string
	for n := 1023; n > 600 && port == ""; n-- {
		if l, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", n)); err == nil {
			_ = l.Close()
			port = fmt.Sprint(n)
		}
	}
	d, b, _ := acceptors(t, `
services:
  web: {command: [DIR/serve], user: nobody, group: daemon, listen: ["127.0.0.1:`+port+`", DIR/run/web.sock]}
`)
	if err := os.Mkdir(d.dir+"/run", 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		t.Fatal(err)
	}
	d.begin()
	pid := b.started(1)["web@1"]
	if a := asked(t, "127.0.0.1:"+port); a.pid != pid {
		t.Errorf("%+v answers, and the process is %d", a, pid)
	}
	asked(t, d.dir+"/run/web.sock")
	info, err := os.Stat(d.dir + "/run/web.sock")
	if err != nil {
		t.Fatal(err)
	}
	process, err := os.Stat(fmt.Sprintf("/proc/%d", pid))
	if err != nil {
		t.Fatal(err)
	}
	is, want := info.Sys().(*syscall.Stat_t), process.Sys().(*syscall.Stat_t)
	if is.Uid != want.Uid || is.Gid != want.Gid || want.Uid == 0 || info.Mode().Perm() != 0o660 {
		t.Errorf("the socket is %v of %d:%d, and the process of %d:%d", info.Mode(), is.Uid, is.Gid, want.Uid, want.Gid)
	}
	d.must("service", "stop", "web")
	d.noSocket(d.dir + "/run/web.sock")
	d.nothingLeft()
}

// A service for whose sockets the daemon has not enough descriptors does not start, which is no
// failure of the service, and leaves the descriptors that there are to others.
func TestServiceSocketsWithoutDescriptors(t *testing.T) {
	t.Parallel()
	needProgram(t, "prlimit")
	var paths []string
	for n := range 40 {
		paths = append(paths, fmt.Sprintf("DIR/%d.sock", n))
	}
	d, b, _ := acceptors(t, "services: {many: {command: [DIR/serve], listen: ["+strings.Join(paths, ", ")+"], start_limit: {count: 1}}}")
	d.Prefix = []string{"prlimit", "--nofile=60:60"}
	d.begin()
	d.Until("many@1", "not started", func(a control.Detail) bool { return a.State == "waiting" && len(a.Attempts) > 0 })
	if many := d.instances()["many@1"]; !strings.Contains(many.Reason, "too many open files") || many.Failures > 0 {
		t.Errorf("it is %+v", many)
	}
	d.noSocket(d.dir + "/0.sock")
	d.configure("services: {many: {command: [DIR/serve], listen: [DIR/0.sock]}, other: {command: [DIR/serve], listen: [DIR/other.sock]}}")
	d.must("reload")
	b.started(2)
	asked(t, d.dir+"/0.sock")
	asked(t, d.dir+"/other.sock")
	d.must("service", "stop", "*")
	d.noSocket(d.dir + "/0.sock")
	d.nothingLeft()
}

// A program that does not know the protocol finds its address in use, and fails like any other.
// Clients are refused when it has failed for good.
func TestServiceThatOpensItsOwnSocket(t *testing.T) {
	t.Parallel()
	d, _, port := acceptors(t, `
services:
  bare: {command: [python3, -m, http.server, --bind, 127.0.0.1, "PORT"], listen: ["127.0.0.1:PORT"], backoff: {first: 10ms, max: 10ms}, start_limit: {count: 2}, fatal_retry: 0}
`)
	d.begin()
	d.serving("bare@1", "fatal")
	if log := d.must("log", "bare@1"); !strings.Contains(log, "Address already in use") {
		t.Errorf("the log is %q", log)
	}
	d.noSocket("127.0.0.1:" + port)
	d.nothingLeft()
}
