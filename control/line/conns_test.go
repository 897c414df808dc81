package line_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"activationd/control"
	"activationd/control/access"
	"activationd/control/line"
)

// TestPipeline sends 10,000 requests without waiting, and checks that the replies come in
// order and that requests were done together.
func TestPipeline(t *testing.T) {
	const n = 10_000
	ln := unixListener(t)
	serve(t, &line.Server{}, ln, as(control.Operator))
	c := dial(t, ln)
	go func() {
		var b strings.Builder
		for i := range n {
			switch i % 1000 {
			case 500:
				b.WriteString("add\n\n") // fails
			case 750:
				b.WriteString("ping\n")
			default:
				fmt.Fprintf(&b, "add\narg:/bin/echo\narg:%d\n\n", i)
			}
		}
		send(t, c, b.String())
		c.(*net.UnixConn).CloseWrite()
	}()
	in := bufio.NewScanner(c)
	next := func() string {
		if !in.Scan() {
			t.Fatalf("the replies end: %v", in.Err())
		}
		return in.Text()
	}
	id, largest := 0, 0
	for i := range n {
		switch i % 1000 {
		case 500:
			if got := next(); got != "400 no command" {
				t.Fatalf("%d: %s", i, got)
			}
		case 750:
			if got := next(); got != "200 OK name=tester" {
				t.Fatalf("%d: %s", i, got)
			}
		default:
			id++
			if got := next(); got != "200 OK" {
				t.Fatalf("%d: %s", i, got)
			}
			var out addOut
			if err := json.Unmarshal([]byte(next()), &out); err != nil || out.ID != id {
				t.Fatalf("%d: %+v, %v, want id %d", i, out, err, id)
			}
			largest = max(largest, out.Batch)
		}
		if got := next(); got != "." {
			t.Fatalf("%d ends with %s", i, got)
		}
	}
	if in.Scan() {
		t.Errorf("one more: %s", in.Text())
	}
	if largest < 50 || largest > 512 {
		t.Errorf("at most %d requests were done together, want 50 to 512", largest)
	}
}

// TestBatchAndOthers checks that an error of one request of a batch is reported in its
// place, even if it closes the connection.
func TestBatchAndOthers(t *testing.T) {
	ln := unixListener(t)
	serve(t, &line.Server{}, ln, as(control.Operator))
	got := talk(t, ln, "add\narg:a\n\nadd\nfoo:b\n\nadd\narg:c\n\nping\nadd\narg:d\n\nadd\narg:e\n\nnonsense\n")
	want := "200 OK\n{\"id\":1,\"batch\":2}\n.\n" +
		"400 add: no argument \"foo\"; it takes arg\n.\n" +
		"200 OK\n{\"id\":2,\"batch\":2}\n.\n" + pong +
		"200 OK\n{\"id\":3,\"batch\":2}\n.\n" +
		"200 OK\n{\"id\":4,\"batch\":2}\n.\n" +
		"400 no command \"nonsense\"; \"help\" lists them\n.\n"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestConnections opens 1,000 connections at once and uses them all.
func TestConnections(t *testing.T) {
	ln := unixListener(t)
	serve(t, &line.Server{}, ln, as(control.Operator))
	var conns []net.Conn
	for range 1000 {
		conns = append(conns, dial(t, ln))
	}
	var wg sync.WaitGroup
	for _, c := range conns {
		wg.Go(func() {
			for range 3 {
				send(t, c, "ping\n")
				got := make([]byte, len(pong))
				if _, err := io.ReadFull(c, got); err != nil || string(got) != pong {
					t.Errorf("got %q, %v", got, err)
				}
			}
		})
	}
	wg.Wait()
}

// TestTooManyConnections checks that connections over the limit get a reply that says so,
// and that there is room again when one is closed.
func TestTooManyConnections(t *testing.T) {
	for _, ln := range []net.Listener{unixListener(t), tcpListener(t)} {
		serve(t, &line.Server{Limits: line.Limits{Conns: 2}}, ln, as(control.Operator))
		a, b := dial(t, ln), dial(t, ln)
		send(t, a, "ping\n")
		send(t, b, "ping\n")
		reply(t, a)
		reply(t, b)
		want := "429 2 connections are open already, which is the limit; close some or try again later\n.\n"
		if got := talk(t, ln, "ping\n"); got != want {
			t.Errorf("the third: %q", got)
		}
		send(t, a, "quit\n")
		reply(t, a)
		if _, err := a.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("after quit: %v", err)
		}
		deadline := time.Now().Add(hang)
		for talk(t, ln, "ping\n") != pong { // the server may not have counted it off yet
			if time.Now().After(deadline) {
				t.Fatal("no room after one was closed")
			}
		}
	}
}

// TestQuota checks that no caller below operator can hold all connections.
func TestQuota(t *testing.T) {
	ln := unixListener(t)
	var who atomic.Pointer[control.Caller]
	serve(t, &line.Server{Limits: line.Limits{Conns: 8}, Gate: &access.Gate{Token: secretIs("operator", control.Operator)}}, ln, func(net.Conn) (control.Caller, error) { return *who.Load(), nil })
	come := func(uid int, role control.Role) (net.Conn, string) {
		t.Helper()
		who.Store(&control.Caller{Role: role, UID: uid})
		c := dial(t, ln)
		send(t, c, "ping\n")
		return c, reply(t, c)
	}
	var conns []net.Conn
	for i, tt := range []struct {
		uid  int
		role control.Role
		want string
	}{
		{1, control.Submitter, "200"}, {1, control.Submitter, "200"}, {1, control.Submitter, "200"}, {1, control.Viewer, "200"},
		{1, control.Submitter, "429 4 "},
		{2, control.Submitter, "200"}, {2, control.Submitter, "200"},
		{2, control.Submitter, "429 6 "}, {3, control.Viewer, "429 6 "},
		{4, control.Operator, "200"}, {0, control.Admin, "200"},
	} {
		c, got := come(tt.uid, tt.role)
		if !strings.HasPrefix(got, tt.want) {
			t.Errorf("connection %d, of %d: %q, want %s", i, tt.uid, got, tt.want)
		}
		if tt.want == "200" {
			conns = append(conns, c)
		}
	}
	for _, c := range append(conns[:3:3], conns[6:]...) {
		send(t, c, "quit\n")
		reply(t, c)
	}
	send(t, conns[3], "token\ntoken:operator\n\n") // makes room, too
	reply(t, conns[3])
	deadline := time.Now().Add(hang)
	for more := 0; more < 4; { // the server may not have counted them off yet
		c, got := come(10+more/3, control.Submitter)
		if strings.HasPrefix(got, "200") {
			more++
		} else if err := c.Close(); err != nil {
			t.Error(err)
		}
		if time.Now().After(deadline) {
			t.Fatalf("no room after six have gone: %d, %q", more, got)
		}
	}
}

// TestMemory checks that large requests share a limit, and return the memory that they
// reserved.
func TestMemory(t *testing.T) {
	ln := unixListener(t)
	serve(t, &line.Server{Limits: line.Limits{Memory: 3 << 19}}, ln, as(control.Operator))
	large := "echo\ntext:" + strings.Repeat("x", 1<<20-100)
	first := dial(t, ln)
	send(t, first, large) // takes 1 MiB for a buffer, and is not complete
	want := "503 too many large requests at once; try again later\n.\n"
	deadline := time.Now().Add(hang)
	for got := ""; got != want; { // until the first one's bytes were read
		if got = talk(t, ln, large+"\n\n"); got != want && !strings.HasPrefix(got, "200 OK") {
			t.Fatalf("the second: %.100q", got)
		}
		if time.Now().After(deadline) {
			t.Fatal("the second never is too large")
		}
	}
	if got := talk(t, ln, "ping\n"); got != pong {
		t.Errorf("a small one: %q", got)
	}
	in := bufio.NewReader(first)
	for range 5 { // each returns its memory
		send(t, first, "\n\n")
		if got := reply(t, in); !strings.HasPrefix(got, "200 OK\n") || len(got) < 1<<20-100 {
			t.Fatalf("the first: %.100q", got)
		}
		send(t, first, large)
	}
}

// TestSlowClient checks that a client that does not read an endless reply does not delay
// another client.
func TestSlowClient(t *testing.T) {
	ln := unixListener(t)
	r := serve(t, &line.Server{}, ln, as(control.Operator))
	slow := dial(t, ln)
	send(t, slow, "flood\n")
	wait(t, r.started, "the flood")
	for range 100 {
		if got := talk(t, ln, "ping\n"); got != pong {
			t.Fatalf("got %q", got)
		}
	}
	slow.Close() // with the server in the middle of a write
	if err := wait(t, r.ended, "the flood's end"); err == nil {
		t.Error("the flood did not fail")
	}
}

// TestUnreadStream has clients that do not read an endless stream. They are disconnected,
// which is logged. A client that reads on then finds whole lines, and the reason for the end.
func TestUnreadStream(t *testing.T) {
	for _, ln := range []net.Listener{unixListener(t), tcpListener(t)} {
		t.Run(ln.Addr().Network(), func(t *testing.T) {
			var log lockedBuffer
			r := serve(t, &line.Server{Limits: line.Limits{Write: 300 * time.Millisecond}, Log: slog.New(slog.NewTextHandler(&log, nil))}, ln, as(control.Operator))
			c := dial(t, ln)
			send(t, c, "flood\n")
			if err := wait(t, r.ended, "the flood's end"); err == nil {
				t.Error("the flood did not fail")
			}
			all, err := io.ReadAll(c)
			if err != nil {
				t.Errorf("after %d bytes: %v", len(all), err)
			}
			lines := strings.Split(string(all), "\n")
			if len(lines) < 10 || !strings.HasPrefix(lines[len(lines)-3], `{"error":{"code":503,"text":"nothing of this was read for 300ms`) || lines[len(lines)-2] != "." {
				t.Fatalf("%d lines, the end of them: %.200q", len(lines), lines[max(0, len(lines)-3):])
			}
			for _, l := range lines[1 : len(lines)-2] {
				if l != "" && !json.Valid([]byte(l)) {
					t.Fatalf("%.200q is no whole line", l)
				}
			}
			if got := log.String(); !strings.Contains(got, "a client does not read its stream; connection closed") || !strings.Contains(got, "flood") {
				t.Errorf("the log says %q", got)
			}
		})
	}
}

// A lockedBuffer is a log that is written and read by several goroutines.
type lockedBuffer struct {
	mu  sync.Mutex
	buf strings.Builder
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// TestHangUp checks that a stream ends when its client hangs up, even if nothing is sent,
// and that it does not end when the client only closes its sending side.
func TestHangUp(t *testing.T) {
	for _, ln := range []net.Listener{unixListener(t), tcpListener(t)} {
		t.Run(ln.Addr().Network(), func(t *testing.T) {
			r := serve(t, &line.Server{}, ln, as(control.Operator))
			gone := dial(t, ln)
			send(t, gone, "events\n\n")
			wait(t, r.started, "the stream")
			gone.Close()
			if err := wait(t, r.ended, "the stream's end"); !errors.Is(err, context.Canceled) {
				t.Errorf("ended with %v", err)
			}

			half := dial(t, ln)
			send(t, half, "events\n\n")
			half.(interface{ CloseWrite() error }).CloseWrite()
			wait(t, r.started, "the stream")
			in := bufio.NewReader(half)
			for _, want := range []string{"200 OK", "", ""} { // two empty lines, and it goes on
				if got, err := in.ReadString('\n'); got != want+"\n" || err != nil {
					t.Fatalf("got %q, %v, want %q", got, err, want)
				}
			}
			r.events <- 5
			r.events <- 0
			rest, err := io.ReadAll(in)
			if want := "{\"n\":5}\n.\n"; strings.TrimLeft(string(rest), "\n") != want || err != nil {
				t.Errorf("got %q, %v, want %q", rest, err, want)
			}
		})
	}
}

// TestAfterStream checks that requests that are sent during a stream are done after it.
func TestAfterStream(t *testing.T) {
	ln := unixListener(t)
	r := serve(t, &line.Server{}, ln, as(control.Operator))
	c := dial(t, ln)
	send(t, c, "events\n\nping\nec")
	wait(t, r.started, "the stream")
	r.events <- 1
	if got := replyStart(t, c); got != "200 OK\n" {
		t.Errorf("got %q", got)
	}
	send(t, c, "ho\ntext:a\n")
	r.events <- 2
	r.events <- 0
	if got := reply(t, c); got != "{\"n\":1}\n{\"n\":2}\n.\n" {
		t.Errorf("stream: %q", got)
	}
	if got := reply(t, c); got != pong {
		t.Errorf("ping: %q", got)
	}
	send(t, c, "\n")
	if got := reply(t, c); !strings.HasPrefix(got, "200 OK\n{\"Text\":\"a\"") {
		t.Errorf("echo: %q", got)
	}
}
