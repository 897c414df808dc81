package test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// rude are clients that are broken or hostile. Each gets a connection, and a channel
// that is closed when it shall end.
var rude = map[string]func(conn net.Conn, enough <-chan struct{}){
	"nothing at all": func(_ net.Conn, enough <-chan struct{}) { <-enough },
	"half a line": func(conn net.Conn, enough <-chan struct{}) {
		_, _ = io.WriteString(conn, "relo")
		<-enough
	},
	"half a request": func(conn net.Conn, enough <-chan struct{}) {
		_, _ = io.WriteString(conn, "linkconf\nresid:1@x\n")
		<-enough
	},
	"garbage": func(conn net.Conn, _ <-chan struct{}) {
		random := rand.New(rand.NewPCG(1, 2))
		buf := make([]byte, 64<<10)
		for range 64 {
			for i := range buf {
				buf[i] = byte(random.Uint32())
			}
			if _, err := conn.Write(buf); err != nil {
				return
			}
		}
	},
	"a line without an end": func(conn net.Conn, _ <-chan struct{}) {
		buf := []byte(strings.Repeat("x", 64<<10))
		for range 4096 {
			if _, err := conn.Write(buf); err != nil {
				return
			}
		}
	},
	"a million lines": func(conn net.Conn, _ <-chan struct{}) {
		w := bufio.NewWriter(conn)
		for i := range 1_000_000 {
			if _, err := fmt.Fprintf(w, "name%d:value\n", i); err != nil {
				return
			}
		}
		_ = w.Flush()
	},
	"a million commands that nobody reads the answers of": func(conn net.Conn, _ <-chan struct{}) {
		w := bufio.NewWriter(conn)
		for range 1_000_000 {
			if _, err := io.WriteString(w, "status\n\n"); err != nil {
				return
			}
		}
	},
	"one byte at a time": func(conn net.Conn, enough <-chan struct{}) {
		for {
			if _, err := io.WriteString(conn, "\n"); err != nil {
				return
			}
			select {
			case <-enough:
				return
			case <-time.After(time.Millisecond):
			}
		}
	},
	"events that nobody reads": func(conn net.Conn, enough <-chan struct{}) {
		_, _ = io.WriteString(conn, "events\nsince:1\n\n")
		<-enough
	},
	"HTTP": func(conn net.Conn, _ <-chan struct{}) {
		_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: lab\r\nAccept: */*\r\n\r\n")
		_, _ = io.Copy(io.Discard, conn)
	},
	"TLS": func(conn net.Conn, _ <-chan struct{}) {
		_, _ = io.WriteString(conn, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
		_, _ = io.Copy(io.Discard, conn)
	},
	"gone at once": func(conn net.Conn, _ <-chan struct{}) {
		if c, ok := conn.(*net.TCPConn); ok {
			_ = c.SetLinger(0) // a reset
		}
	},
}

// TestRudeClients connects many of each of them, and 1,500 idle connections, to the TCP
// port, while other clients are served on the socket and on another port. The daemon's
// memory stays bounded, and afterwards everything works.
func TestRudeClients(t *testing.T) {
	t.Parallel()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if limit.Cur < 4096 {
		t.Skipf("only %d descriptors can be open at once (ulimit -n), this needs 4096", limit.Cur)
	}
	d := newDaemon(t, "listen: ['127.0.0.1:0', '127.0.0.1:0']\n")
	p := d.Start()
	address := d.firstTCP()
	before := residentKiB(t, p.Cmd.Process.Pid, "VmRSS")

	enough := make(chan struct{})
	var wg sync.WaitGroup
	var rudes []net.Conn
	for _, be := range rude {
		for range 5 {
			conn, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			rudes = append(rudes, conn)
			_ = conn.SetDeadline(time.Now().Add(2 * patience))
			wg.Go(func() {
				be(conn, enough)
				_ = conn.Close()
			})
		}
	}
	served := func(n int) {
		t.Helper()
		for range n {
			if got := ask(t, "tcp", d.tcp(), "status\n\n"); !strings.HasPrefix(got, "200 ") {
				t.Fatalf("on the other port, status is answered with %.200q", got)
			}
			id := d.add("--", "true")
			d.ended(id, "succeeded", 0)
		}
	}
	served(20)
	// Idle connections. Above the limit they get a reply that says so, or are just closed.
	var idle []net.Conn
	refused := 0
	for range 1500 {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		idle = append(idle, conn)
	}
	served(20)
	for _, conn := range idle[1100:] {
		if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(conn)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal("a connection over the limit is neither served nor closed")
		}
		if len(text) == 0 || strings.HasPrefix(string(text), "429 ") {
			refused++
		}
	}
	if refused != 400 {
		t.Errorf("of the last 400 of 1,500 connections %d were refused, want all", refused)
	}
	peak := residentKiB(t, p.Cmd.Process.Pid, "VmHWM")
	t.Logf("the daemon had %d MiB of memory before and %d MiB at most", before>>10, peak>>10)
	if peak > 256<<10 {
		t.Errorf("the daemon took %d MiB, want it bounded by its limits", peak>>10)
	}
	close(enough)
	for _, conn := range append(idle, rudes...) {
		_ = conn.Close()
	}
	wg.Wait()
	if p.Exited() {
		t.Fatal("the daemon is gone")
	}
	served(3)
	if got := ask(t, "tcp", address, "status\n\n"); !strings.HasPrefix(got, "200 ") {
		t.Errorf("when they are gone, the same port answers %.200q", got)
	}
}

// firstTCP is the address of the first TCP listener of the newest start.
func (d *daemon) firstTCP() string {
	d.t.Helper()
	const word = "address=127.0.0.1:"
	text := d.read(d.dir + "/daemon.log")
	i := strings.Index(text, word)
	if i < 0 {
		d.t.Fatal("the daemon listens on no TCP port")
	}
	return "127.0.0.1:" + strings.Fields(text[i+len(word):])[0]
}

// TestSlowClientsAreSentAway checks that a connection with half a request is closed.
func TestSlowClientsAreSentAway(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, "listen: ['127.0.0.1:0']\ncontrol: {idle: 1s}\n")
	d.Start()
	var wg sync.WaitGroup
	for _, text := range []string{"", "stat", "status\n", "add\narg:true\n", "status\n\n"} {
		wg.Go(func() {
			conn, err := net.Dial("tcp", d.tcp())
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = conn.Close() }()
			_ = conn.SetDeadline(time.Now().Add(patience))
			if _, err := io.WriteString(conn, text); err != nil {
				t.Error(err)
			}
			if got, err := io.ReadAll(conn); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%q: the connection is still open; it said %q", text, got)
			}
		})
	}
	wg.Wait()
	if list := d.must("list", "--all"); strings.Contains(list, "true") {
		t.Errorf("half a request added a job:\n%s", list)
	}
}
