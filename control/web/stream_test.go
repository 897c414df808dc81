package web_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"activationd/control"
	"activationd/control/web"
	"activationd/internal/fault"
)

// hang is when a test has failed because nothing happens.
const hang = 10 * time.Minute

// A tap is the source of a stream of events: it sends those that its test puts in, and says
// how the operation ended.
type tap struct {
	in    chan control.Event
	since chan string
	ended chan error
}

func newTap() *tap {
	return &tap{make(chan control.Event), make(chan string, 9), make(chan error, 9)}
}

// op is the operation events.
func (p *tap) op() control.Op {
	return control.DeclareStream("events", control.Viewer, "follow", func(ctx context.Context, _ control.Caller, in control.EventsIn, send func(control.Event) error) (err error) {
		defer func() { p.ended <- err }()
		p.since <- in.Since
		if in.Since == "wrong" {
			return fmt.Errorf("since: it is wrong: %w", fault.Invalid)
		}
		for {
			select {
			case ev, open := <-p.in:
				if !open {
					return nil
				}
				if err := send(ev); err != nil {
					return err
				}
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}).At("GET /events").Resuming("since")
}

// flood sends large events until the client is gone.
func flood(ended chan<- error) control.Op {
	return control.DeclareStream("flood", control.Viewer, "flood", func(_ context.Context, _ control.Caller, _ control.Nothing, send func(control.Event) error) error {
		for {
			if err := send(control.Event{Text: strings.Repeat("x", 1<<16)}); err != nil {
				ended <- err
				return err
			}
		}
	}).At("GET /flood")
}

// follow opens a stream.
func follow(t *testing.T, client *http.Client, url, accept, last string) *bufio.Reader {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", accept)
	if last != "" {
		req.Header.Set("Last-Event-ID", last)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	if kind := resp.Header.Get("Content-Type"); resp.StatusCode != 200 || kind != accept || resp.Header.Get("X-Accel-Buffering") != "no" {
		t.Fatalf("%d %s %v", resp.StatusCode, kind, resp.Header)
	}
	return bufio.NewReader(resp.Body)
}

// expect reads so much as the text has, and compares it.
func expect(t *testing.T, in io.Reader, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(in, got); err != nil || string(got) != want {
		t.Fatalf("got %q, %v, want %q", got[:n], err, want)
	}
}

// TestSentEvents follows events in both forms of streams, and comes back.
func TestSentEvents(t *testing.T) {
	p := newTap()
	base := serveOps(t, &web.Server{Limits: web.Limits{Alive: 50 * time.Millisecond}}, p.op())
	client := checked(t, control.NewRegistry(p.op()), "")
	in := follow(t, client, base+"/events?since=3", "text/event-stream", "7")
	if got := <-p.since; got != "7" {
		t.Errorf("since %q, want that of Last-Event-ID", got)
	}
	expect(t, in, ":\n\n:\n\n") // at once, and again without events
	p.in <- control.Event{Seq: 8, What: "state", Topic: "error"}
	for line := ":"; strings.HasPrefix(line, ":") || line == "\n"; { // until the event
		var err error
		if line, err = in.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		if line == "id: 8\n" {
			break
		}
	}
	expect(t, in, `data: {"seq":8,"time":"0001-01-01T00:00:00Z","what":"state","topic":"error"}`+"\n\n")
	go func() { p.in <- control.Event{Seq: 20, From: 9, What: control.EventGap} }()
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if line == "event: gap\n" {
			break
		}
	}
	expect(t, in, "id: 20\n")

	lines := follow(t, client, base+"/api/v1/events?since=3", "application/jsonl", "")
	if got := <-p.since; got != "3" {
		t.Errorf("since %q", got)
	}
	expect(t, lines, "\n")
	resp, err := client.Get(base + "/events?since=wrong")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if body, _ := io.ReadAll(resp.Body); resp.StatusCode != 400 || !strings.Contains(string(body), `"field":"since"`) {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
}

// TestGathered asks for the lines of a stream as one object.
func TestGathered(t *testing.T) {
	p := newTap()
	base := serveOps(t, &web.Server{}, p.op())
	go func() {
		p.in <- control.Event{Seq: 1}
		p.in <- control.Event{Seq: 2}
		close(p.in)
	}()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "application/json")
	resp, err := checked(t, control.NewRegistry(p.op()), "").Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if body, _ := io.ReadAll(resp.Body); strings.Count(string(body), `"seq"`) != 2 || !strings.HasPrefix(string(body), `{"summary":{}`) {
		t.Errorf("%s", body)
	}
}

// TestUnread checks that a client that does not read its stream does not keep it, whatever the form.
func TestUnread(t *testing.T) {
	ended := make(chan error, 1)
	base := serveOps(t, &web.Server{Limits: web.Limits{Write: 200 * time.Millisecond}}, flood(ended))
	for _, head := range []string{
		"Accept: text/event-stream\r\n",
		"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n",
	} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(base, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Fprintf(conn, "GET /api/v1/flood HTTP/1.1\r\nHost: localhost\r\n%s\r\n", head); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-ended:
			if err == nil {
				t.Error("it ended without an error")
			}
		case <-time.After(hang):
			t.Fatalf("%.20s: the stream goes on", head)
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestSocketIsClosed checks that the log has no errors because clients close their sockets.
func TestSocketIsClosed(t *testing.T) {
	p := newTap()
	var text bytes.Buffer
	base, stop := serveUntil(t, &web.Server{Log: slog.New(slog.NewTextHandler(&text, nil))}, p.op())
	conn, _, err := websocket.Dial(t.Context(), base+"/events?since=5", nil) //nolint:bodyclose // the library closes it
	if err != nil {
		t.Fatal(err)
	}
	<-p.since
	if err := conn.Close(websocket.StatusNormalClosure, ""); err != nil {
		t.Error(err)
	}
	<-p.ended
	stop()
	if text.Len() > 0 {
		t.Errorf("the log has %s", text.String())
	}
}

// TestSocket follows events over a WebSocket: they arrive, an error is sent, and a client that
// goes ends the operation.
func TestSocket(t *testing.T) {
	p := newTap()
	base := serveOps(t, &web.Server{Limits: web.Limits{Alive: 20 * time.Millisecond}}, p.op())
	client := checked(t, control.NewRegistry(p.op()), "")
	dial := func(query string) *websocket.Conn {
		conn, _, err := websocket.Dial(t.Context(), base+"/events"+query, &websocket.DialOptions{HTTPClient: client}) //nolint:bodyclose // the library closes it
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.CloseNow() })
		return conn
	}
	read := func(conn *websocket.Conn) (string, error) {
		_, data, err := conn.Read(t.Context())
		return string(data), err
	}
	conn := dial("?since=5")
	if got := <-p.since; got != "5" {
		t.Errorf("since %q", got)
	}
	for n := range 3 {
		go func() { p.in <- control.Event{Seq: uint64(n)} }()
		if got, err := read(conn); err != nil || !strings.HasPrefix(got, `{"seq":`+strconv.Itoa(n)) {
			t.Fatalf("%s, %v", got, err)
		}
	}
	if err := conn.Close(websocket.StatusNormalClosure, ""); err != nil {
		t.Error(err)
	}
	if err := wait(t, p.ended); err == nil {
		t.Error("the operation ended by itself")
	}

	conn = dial("?since=wrong")
	if got, err := read(conn); err != nil || !strings.Contains(got, `{"error":{"type":"urn:activationd:problem:invalid"`) {
		t.Errorf("%s, %v", got, err)
	}
	if _, err := read(conn); websocket.CloseStatus(err) != websocket.StatusPolicyViolation {
		t.Errorf("closed with %v", err)
	}
	<-p.ended
	<-p.since

	for _, tt := range []struct {
		header, value string
		status        int
		want          string
	}{
		{"Origin", "http://elsewhere.example", 403, "a page of another site"},
		{"Sec-WebSocket-Version", "12", 400, "only 13 is supported"},
		{"Sec-WebSocket-Key", "x", 400, "Sec-WebSocket-Key"},
		{"Connection", "keep-alive", 400, "does not contain Upgrade"},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+"/events", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"AAAAAAAAAAAAAAAAAAAAAA=="}}
		req.Header.Set(tt.header, tt.value)
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err := errors.Join(err, resp.Body.Close()); err != nil {
			t.Error(err)
		}
		if resp.StatusCode != tt.status || !strings.Contains(string(body), tt.want) {
			t.Errorf("%s: %s: %d %s, want %d %s", tt.header, tt.value, resp.StatusCode, body, tt.status, tt.want)
		}
	}
}

// TestStreamsEndWithTheDaemon checks that streams are sent the reason when the daemon ends, and do not
// delay it.
func TestStreamsEndWithTheDaemon(t *testing.T) {
	p := newTap()
	base, stop := serveUntil(t, &web.Server{}, p.op())
	in := follow(t, checked(t, control.NewRegistry(p.op()), ""), base+"/events", "application/jsonl", "")
	<-p.since
	conn, _, err := websocket.Dial(t.Context(), base+"/events", nil) //nolint:bodyclose // the library closes it
	if err != nil {
		t.Fatal(err)
	}
	<-p.since
	expect(t, in, "\n")
	began := time.Now()
	spare, err := net.Dial("tcp", strings.TrimPrefix(base, "http://")) // sends nothing, as a browser's second connection
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = spare.Close() }()
	go stop()
	if got, err := in.ReadString('\n'); err != nil || !strings.Contains(got, "shutting down") {
		t.Errorf("%q, %v", got, err)
	}
	if _, data, err := conn.Read(t.Context()); err != nil || !strings.Contains(string(data), "shutting down") {
		t.Errorf("%s, %v", data, err)
	}
	for range 2 {
		if err := wait(t, p.ended); !errors.Is(err, context.Canceled) {
			t.Errorf("ended with %v", err)
		}
	}
	stop()
	if took := time.Since(began); took >= 5*time.Second { // net/http alone ends the spare connection when it is as old as that
		t.Errorf("it took %v", took)
	}
}

// wait returns the next value, or ends the test.
func wait[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(hang):
		t.Fatal("nothing happens")
		panic("unreachable")
	}
}

// TestClientsThatGo checks that a stream ends when its client has gone, also if it has sent the
// beginning of another request, which keeps net/http from noticing, and also over TLS.
func TestClientsThatGo(t *testing.T) {
	p := newTap()
	limits := web.Limits{Alive: 20 * time.Millisecond}
	base := serveOps(t, &web.Server{Limits: limits}, p.op())
	certified := httptest.NewTLSServer(nil)
	defer certified.Close()
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: certified.TLS.Certificates})
	if err != nil {
		t.Fatal(err)
	}
	serveOn(t, &web.Server{Limits: limits}, control.Viewer, control.NewRegistry(p.op()), ln)
	roots := x509.NewCertPool()
	roots.AddCert(certified.Certificate())
	for _, form := range []string{"application/json", "text/event-stream"} {
		for _, dial := range []func() (net.Conn, error){
			func() (net.Conn, error) { return net.Dial("tcp", strings.TrimPrefix(base, "http://")) },
			func() (net.Conn, error) {
				return tls.Dial("tcp", ln.Addr().String(), &tls.Config{RootCAs: roots, ServerName: "example.com"})
			},
		} {
			for _, more := range []string{"", "G"} {
				conn, err := dial()
				if err != nil {
					t.Fatal(err)
				}
				if _, err := io.WriteString(conn, "GET /events HTTP/1.1\r\nHost: localhost\r\nAccept: "+form+"\r\n\r\n"); err != nil {
					t.Fatal(err)
				}
				wait(t, p.since)
				if _, err := io.WriteString(conn, more); err != nil { // net/http reads it, and then no more
					t.Fatal(err)
				}
				if err := conn.Close(); err != nil {
					t.Error(err)
				}
				if err := wait(t, p.ended); err == nil {
					t.Errorf("%s over %T, with %q: it ended by itself", form, conn, more)
				}
			}
		}
	}
	resp, err := http.Head(base + "/events")
	if err != nil {
		t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil || resp.StatusCode != 200 {
		t.Errorf("HEAD: %d, %v", resp.StatusCode, err)
	}
	wait(t, p.since)
	if err := wait(t, p.ended); !errors.Is(err, context.Canceled) {
		t.Errorf("HEAD: its operation ended with %v", err)
	}
}
