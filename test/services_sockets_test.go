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
	l := newLoad(t, tcp, unix)
	for range 2 {
		d.must("service", "restart", "web")
		for _, pid := range b.started(2) {
			l.answeredBy(d, pid)
		}
		d.must("service", "restart", "--rolling", "web")
		for _, pid := range b.started(2) {
			l.answeredBy(d, pid)
		}
	}
	l.all(t, 2)
	d.must("service", "stop", "web")
	d.noSocket(tcp)
	d.noSocket(unix)
	d.nothingLeft()
}
