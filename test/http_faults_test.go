package test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"activationd/control"
	"activationd/control/ops"
)

// hostile are values that clients may send for any argument.
var hostile = []any{
	"", " ", "\x00", "\n", "a\r\nb: c", "\n.\n", `"`, `'; drop table x; --`, "../../../../etc/shadow", "/dev/zero", "%00%2f",
	"{{.}}{{instance}}", "<script>alert(1)</script>", "$(exit 7)`exit 8`", strings.Repeat("x", 30_000), strings.Repeat("[", 5000),
	"-1", "18446744073709551616", "1e309", "2099-99-99T99:99:99Z", "a\u202eb\ufeff", "\ud7ff\U0010ffff",
}

// wrongTypes are values of a JSON type that no argument has.
var wrongTypes = []any{nil, map[string]any{"a": 1}, []any{[]any{"a"}}, []any{nil}, 1.5, -1e300}

// TestHostileInputs sends each hostile value for each argument of each operation. Whatever comes
// is a reply that the document describes, never a failure of the daemon, which goes on.
func TestHostileInputs(t *testing.T) {
	t.Parallel()
	needRoot(t)
	d := newEverything(t)
	client, _ := d.overHTTP()
	began := d.status()
	sent := 0
	for _, op := range ops.Registry(ops.Daemon{}).Ops() {
		if slices.Contains([]string{"stop", "kill", "backup"}, op.Name) {
			continue // they end the daemon, or have no argument but a number
		}
		for _, a := range op.Args() {
			values := hostile
			if op.Method != http.MethodGet && op.Method != http.MethodDelete && !strings.Contains(op.Path, "{"+a.Name+"}") {
				values = slices.Concat(hostile, wrongTypes)
			}
			for _, v := range values {
				sent++
				code, reply, err := hostileCall(t, client, op, a, v)
				if errors.Is(err, context.DeadlineExceeded) && op.Streams() {
					continue // it waits for what does not come
				}
				if err != nil || code >= 500 && code != http.StatusServiceUnavailable {
					t.Errorf("%s %s=%.40q: %d %.200s %v", op.Name, a.Name, fmt.Sprint(v), code, reply, err)
				}
			}
		}
	}
	t.Logf("%d requests", sent)
	if now := d.status(); now.PID != began.PID {
		t.Errorf("the daemon is another one: %d, it was %d", now.PID, began.PID)
	}
	if text := d.read(d.Log.Name()); strings.Contains(text, "panic") {
		t.Errorf("something panicked:\n%s", text)
	}
}

// hostileCall calls an operation with one hostile value and simple ones for what it requires.
func hostileCall(t *testing.T, client *http.Client, op *control.Op, a control.Arg, v any) (code int, reply []byte, err error) {
	t.Helper()
	path, query, body := op.Path, url.Values{}, map[string]any{}
	for _, other := range op.Args() {
		value := any("x")
		switch {
		case other.Name == a.Name:
			value = v
		case strings.Contains(path, "{"+other.Name+"}"), other.Required:
			if other.Type != "string" {
				value = json.Number("1")
			}
		default:
			continue
		}
		text, isText := value.(string)
		switch {
		case strings.Contains(path, "{"+other.Name+"}"):
			if text == "" {
				text = "x" // a path without it is another path
			}
			path = strings.Replace(path, "{"+other.Name+"}", url.PathEscape(text), 1)
		case op.Method == http.MethodGet || op.Method == http.MethodDelete:
			query.Set(other.Name, fmt.Sprint(value))
		case isText && other.Repeated:
			body[other.Name] = []any{value}
		default:
			body[other.Name] = value
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	if op.Streams() {
		ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
	}
	defer cancel()
	defer func() {
		if err != nil && ctx.Err() != nil { // whatever it was that the deadline broke off
			err = ctx.Err()
		}
	}()
	target := "http://daemon/api/v1" + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	var in io.Reader
	if op.Method != http.MethodGet && op.Method != http.MethodDelete {
		data, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		in = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, op.Method, target, in)
	if err != nil {
		t.Fatal(err)
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	reply, err = io.ReadAll(resp.Body)
	return resp.StatusCode, reply, err
}

// TestHostileConnections has clients that send too much, too slowly, or nothing: each is ended,
// and others are served meanwhile.
func TestHostileConnections(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, "")
	address := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	d.configure("listen_http: [" + address + "]\n")
	d.begin()
	dial := func() net.Conn {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
	send := func(conn net.Conn, text string) error {
		_, err := io.WriteString(conn, text)
		return err
	}
	var slow []net.Conn
	for range 200 { // slow-loris: the head never ends
		conn := dial()
		if err := send(conn, "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-A: "); err != nil {
			t.Fatal(err)
		}
		slow = append(slow, conn)
	}
	body := dial() // and a body that never comes
	if err := send(body, "POST /api/v1/reload HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n{"); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ what, head, want string }{
		{"a head of a megabyte", "GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + strings.Repeat("X-A: "+strings.Repeat("y", 1000)+"\r\n", 1000) + "\r\n", " 431 "},
		{"a line of a megabyte", "GET /" + strings.Repeat("y", 1<<20) + " HTTP/1.1\r\n\r\n", " 431 "},
		{"a body of a terabyte", "POST /api/v1/reload HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1099511627776\r\n\r\n", " 413 "},
		{"two lengths", "POST /api/v1/reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", " 400 "},
		{"no HTTP", "reload\n\n", " 400 "},
		{"no host", "GET /healthz HTTP/1.1\r\n\r\n", " 400 "},
	} {
		conn := dial()
		go func() { _ = send(conn, tt.head) }() // the daemon may close it before all was sent
		got := make([]byte, 64)
		if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		if n, err := io.ReadAtLeast(conn, got, 20); err != nil || !strings.Contains(string(got[:n]), tt.want) {
			t.Errorf("%s: %q, %v, want %s", tt.what, got[:n], err, tt.want)
		}
	}
	resp, err := http.Get("http://" + address + "/healthz")
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("while others are slow: %v, %v", resp, err)
	}
	if err := resp.Body.Close(); err != nil {
		t.Error(err)
	}
	for _, conn := range slow { // the limit is 10 s for all heads
		if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("a slow client keeps its connection: %v", err)
		}
	}
}
