package web_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"activationd/control"
	"activationd/control/web"
)

// A sender sends requests from an address of this machine, with or without a token.
type sender struct {
	t          *testing.T
	to         string // the URL
	from, head string
}

// open sends the head of a request and the beginning of its body.
func (s sender) open(head, body string) net.Conn {
	s.t.Helper()
	return s.dial("POST /api/v1/store HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n" + s.head + head + "\r\n\r\n" + body)
}

// dial opens a connection and sends a text.
func (s sender) dial(text string) net.Conn {
	s.t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(s.from)}}
	conn, err := dialer.DialContext(s.t.Context(), "tcp", strings.TrimPrefix(s.to, "http://"))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(hang)); err != nil {
		s.t.Fatal(err)
	}
	if _, err := io.WriteString(conn, text); err != nil {
		s.t.Fatal(err)
	}
	return conn
}

// post sends a request with a body of that many bytes, and returns the beginning of the reply.
func (s sender) post(size int) string {
	s.t.Helper()
	body := `{"text":"` + strings.Repeat("x", size-11) + `"}`
	return begin(s.open(fmt.Sprintf("Connection: close\r\nContent-Length: %d", size), body))
}

// begin returns the beginning of a reply, or the error.
func begin(conn net.Conn) string {
	got := make([]byte, 12) // HTTP/1.1 200
	if _, err := io.ReadFull(conn, got); err != nil {
		return err.Error()
	}
	return string(got[9:])
}

// until asks again as long as the answer is before, and then wants it to be want: it takes a moment
// until clients that have gone are noticed.
func until(t *testing.T, want, before string, ask func() string) {
	t.Helper()
	for deadline := time.Now().Add(hang); ; {
		switch got := ask(); {
		case got == want:
			return
		case got != before || time.Now().After(deadline):
			t.Fatalf("afterwards: %s, want %s", got, want)
		}
	}
}

// TestSlowBodies checks that the bodies which one caller sends slowly leave room for those of
// others, that what has not arrived needs no room, and that the room is free again afterwards.
func TestSlowBodies(t *testing.T) {
	const size = 256 << 10
	store := control.Declare("store", control.Submitter, "take a text", func(context.Context, control.Caller, struct {
		Text string `arg:"text"`
	}) (control.Reply[thing], error) {
		return control.Reply[thing]{}, nil
	}).At("POST /store")
	base, _ := serveAs(t, &web.Server{Limits: web.Limits{Body: size, Memory: 16 * size}}, control.Submitter, control.NewRegistry(store))
	slow := sender{t: t, to: base, from: "127.0.0.1"}
	for _, tt := range []struct {
		what, head, body string
		conns, refused   int
	}{
		{"a length, and next to nothing", fmt.Sprintf("Content-Length: %d", size), "{", 40, 0},
		{"pieces, and next to nothing", "Transfer-Encoding: chunked", "1\r\n{\r\n", 40, 0},
		{"a length, and nearly all", fmt.Sprintf("Content-Length: %d", size), "{" + strings.Repeat(" ", size-2), 12, 4},
		{"pieces, and nearly all", "Transfer-Encoding: chunked", fmt.Sprintf("%x\r\n{%s", size, strings.Repeat(" ", size-2)), 12, 4},
	} {
		t.Run(tt.what, func(t *testing.T) {
			conns := make([]net.Conn, tt.conns)
			replies := make(chan string, tt.conns)
			for i := range conns {
				conns[i] = slow.open(tt.head, tt.body)
				go func() { replies <- begin(conns[i]) }()
			}
			for range tt.refused {
				if got := wait(t, replies); got != "429" {
					t.Errorf("one too many: %s, want 429", got)
				}
			}
			for _, other := range []sender{
				{t: t, to: base, from: "127.0.0.2"},
				{t: t, to: base, from: "127.0.0.1", head: "Authorization: Bearer 0123456789abcdef\r\n"},
			} {
				if got := other.post(size); got != "200" {
					t.Errorf("meanwhile, of %s with %q: %s, want 200", other.from, other.head, got)
				}
			}
			for _, conn := range conns {
				_ = conn.Close()
			}
			until(t, "200", "429", func() string { return slow.post(size) })
		})
	}
}

// TestUnreadBodies sends only the beginning of bodies that nobody reads. The reply comes all the
// same.
func TestUnreadBodies(t *testing.T) {
	base := serve(t, &web.Server{Limits: web.Limits{Partial: 100 * time.Millisecond}})
	s := sender{t: t, to: base, from: "127.0.0.1"}
	type sent struct {
		what, want string
		conn       net.Conn
	}
	var all []sent
	for _, tt := range []struct{ request, head, want string }{
		{"GET /api/v1/things?id=a", "", "HTTP/1.1 400 * a GET takes its arguments from the query, not from a body"},
		{"DELETE /api/v1/things/a", "Authorization: Bearer 0123456789abcdef\r\n", "HTTP/1.1 400 * a DELETE takes its arguments from the query, not from a body"},
		{"GET /healthz", "", "HTTP/1.1 200 * ok"},
		{"POST /healthz", "", "HTTP/1.1 405 * is not possible here"},
		{"POST /nothing", "", "HTTP/1.1 404 * there is nothing"},
		{"POST /api/v1/things", "", "HTTP/1.1 415 * the body must be JSON"},
		{"POST /api/v1/things", "Content-Type: application/json\r\n", "HTTP/1.1 408 * the body did not arrive in time"},
		{"POST /api/v1/things", "Authorization: Bearer wrong\r\n", "HTTP/1.1 401 * this token is not known"},
		{"POST /api/v1/things", "Sec-Fetch-Site: cross-site\r\n", "HTTP/1.1 403 * a page of another site"},
	} {
		for _, body := range []string{"Content-Length: 1000\r\n\r\n{", "Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"} {
			conn := s.dial(tt.request + " HTTP/1.1\r\nHost: localhost\r\n" + tt.head + body)
			all = append(all, sent{fmt.Sprintf("%s with %.17q", tt.request, body), tt.want, conn})
		}
	}
	for _, s := range all {
		got, err := io.ReadAll(s.conn) // it is closed: nobody knows where the next request begins
		head, text, _ := strings.Cut(s.want, " * ")
		if err != nil || !strings.HasPrefix(string(got), head) || !strings.Contains(string(got), text) {
			t.Errorf("%s: %q, %v, want %s", s.what, got, err, s.want)
		}
	}
}

// TestTooManyTokens checks that whoever tries tokens can read when to come back, the same in each
// place, and that those who wait for their turn do not delay the end of the daemon.
func TestTooManyTokens(t *testing.T) {
	base, stop := serveAs(t, &web.Server{}, control.NoRole, registry())
	type refusal struct {
		status         int
		header, detail string
		after          int
	}
	replies := make(chan refusal, 22)
	for i := range 22 { // ten are looked at immediately, five wait
		go func() {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+"/api/v1/things?id=a", nil)
			if err != nil {
				t.Error(err)
			}
			req.Header.Set("Authorization", fmt.Sprintf("Bearer guess-%d", i))
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Error(err)
				replies <- refusal{}
				return
			}
			var r struct {
				Detail     string
				RetryAfter int `json:"retry_after"`
			}
			if err := errors.Join(json.NewDecoder(resp.Body).Decode(&r), resp.Body.Close()); err != nil {
				t.Error(err)
			}
			replies <- refusal{resp.StatusCode, resp.Header.Get("Retry-After"), r.Detail, r.RetryAfter}
		}()
	}
	for got := make(map[int]int); got[401] < 10 || got[429] < 7; {
		r := wait(t, replies)
		got[r.status]++
		if r.status != 429 {
			continue
		}
		if r.after < 1 || r.after > 6 || r.header != fmt.Sprint(r.after) || !strings.Contains(r.detail, fmt.Sprintf("try again in %d seconds", r.after)) {
			t.Errorf("%+v", r)
		}
	}
	stop()
	for range 5 {
		if r := wait(t, replies); r.status != 503 || !strings.Contains(r.detail, "shutting down") {
			t.Errorf("%+v", r)
		}
	}
}

// TestChunkedGet sends GET with a body in pieces, as some programs do although it is empty.
func TestChunkedGet(t *testing.T) {
	s := sender{t: t, to: serve(t, &web.Server{}), from: "127.0.0.1"}
	get := func(path, pieces string) net.Conn {
		return s.dial("GET " + path + " HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n" + pieces)
	}
	for pieces, want := range map[string]string{"0\r\n\r\n": "200", "2\r\n{}\r\n0\r\n\r\n": "400", "x\r\n": "400"} {
		if got := begin(get("/api/v1/things?id=a", pieces)); got != want {
			t.Errorf("%q: %s, want %s", pieces, got, want)
		}
	}
	s.to = serveOps(t, &web.Server{Limits: web.Limits{Partial: 50 * time.Millisecond, Alive: 20 * time.Millisecond}}, newTap().op())
	lines := bufio.NewScanner(get("/events", "0\r\n\r\n"))
	alive := 0
	for alive < 20 && lines.Scan() { // far longer than a body may take
		if lines.Text() == "1" { // the length of a piece, which is an empty line
			alive++
		}
	}
	if alive < 20 {
		t.Errorf("the stream ended after %d signs of life: %v", alive, lines.Err())
	}
}

// TestGatheredMemory asks for streams as one object, which do not end. One caller leaves room for
// others, all together are limited, and the room is free again when they have gone.
func TestGatheredMemory(t *testing.T) {
	const line = 64 << 10
	type sizeIn struct {
		Lines int  `arg:"lines"`
		Stay  bool `arg:"stay"`
	}
	full := make(chan bool, 100) // a stream has sent its lines, or failed
	fill := control.DeclareStream("fill", control.Viewer, "send lines", func(ctx context.Context, _ control.Caller, in sizeIn, send func(thing) error) error {
		for range in.Lines {
			if err := send(thing{ID: strings.Repeat("x", line-100)}); err != nil {
				return err
			}
		}
		if in.Stay {
			full <- true
			<-ctx.Done()
		}
		return nil
	}).At("GET /fill")
	base, _ := serveAs(t, &web.Server{Limits: web.Limits{Memory: 64 * line, Alive: 20 * time.Millisecond}}, control.Viewer, control.NewRegistry(fill))
	from := func(address, head string) sender { return sender{t: t, to: base, from: address, head: head} }
	one, another := from("127.0.0.1", ""), from("127.0.0.2", "")
	boss := from("127.0.0.3", "Authorization: Bearer 0123456789abcdef\r\n")
	ask := func(s sender, query string) net.Conn {
		return s.dial("GET /api/v1/fill?" + query + " HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n" + s.head + "\r\n")
	}
	var open []net.Conn
	for _, tt := range []struct {
		who   sender
		query string
		want  string // empty: it stays
	}{
		{one, "lines=31&stay=true", ""},
		{one, "lines=2", "429"},
		{another, "lines=16&stay=true", ""},
		{another, "lines=2", "429"}, // all below operator together
		{boss, "lines=10", "200"},
		{boss, "lines=18", "503"},
		{boss, "lines=300", "503"},
	} {
		conn := ask(tt.who, tt.query)
		if tt.want == "" {
			wait(t, full)
			open = append(open, conn)
		} else if got := begin(conn); got != tt.want {
			t.Errorf("%s of %s: %s, want %s", tt.query, tt.who.from, got, tt.want)
		}
	}
	for _, conn := range open {
		_ = conn.Close()
	}
	until(t, "200", "429", func() string { return begin(ask(one, "lines=32")) })
	big, _ := serveAs(t, &web.Server{}, control.Viewer, control.NewRegistry(fill))
	one.to = big
	if got := begin(ask(one, "lines=300")); got != "406" {
		t.Errorf("more than one object may have: %s, want 406", got)
	}
}
