package control_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"activationd/control"
	"activationd/internal/fault"
)

// answering returns a client of servers that answer each request with the next one of
// replies, each on a new connection if closing is set. The requests go to asked.
func answering(asked chan<- string, closing bool, replies ...string) *control.Client {
	next := make(chan string, len(replies))
	for _, r := range replies {
		next <- r
	}
	return &control.Client{Address: "x", Dial: func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go func() {
			defer theirs.Close()
			in := bufio.NewReader(theirs)
			for {
				var request string
				for !strings.HasSuffix(request, "\n\n") {
					l, err := in.ReadString('\n')
					if err != nil {
						return
					}
					request += l
				}
				asked <- request
				if _, err := io.WriteString(theirs, <-next); err != nil || closing {
					return
				}
			}
		}()
		return ours, nil
	}}
}

// TestRequest checks what a client sends.
func TestRequest(t *testing.T) {
	asked := make(chan string, 1)
	tests := []struct {
		token, name string
		in          any
		want        string
	}{
		{"", "status", nil, "status\n\n"},
		{"", "status", control.Nothing{}, "status\n\n"},
		{"s3cret", "status", nil, "status token:s3cret\n\n"},
		{"a b", "status", nil, "status token:\"a b\"\n\n"},
		{"", "show", control.IDIn{ID: "1042@ostrava"}, "show\nid:1042@ostrava\n\n"},
		{"", "show", &control.IDIn{ID: "1"}, "show\nid:1\n\n"},
		{"", "add", control.AddIn{At: "2026-11-21 10:00", Script: "a\nb\n", Arg: []string{"", `"x"`}, Retries: "-1", Hold: true},
			"add\nat:2026-11-21 10:00\narg:\narg:\"\\\"x\\\"\"\nscript:\"a\\nb\\n\"\nretries:-1\nhold:yes\n\n"},
		{"", "events", control.EventsIn{Since: "9223372036854775808"}, "events\nsince:9223372036854775808\n\n"},
	}
	for _, tt := range tests {
		c := answering(asked, false, "200 OK\n.\n")
		c.Token = tt.token
		if _, _, err := control.Call[control.Nothing](t.Context(), c, tt.name, tt.in); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		if got := <-asked; got != tt.want {
			t.Errorf("%s %+v: sent %q, want %q", tt.name, tt.in, got, tt.want)
		}
		c.Close()
	}
}

// TestReplies tries replies that a daemon would not send, and some that it would.
func TestReplies(t *testing.T) {
	tests := []struct {
		name, reply, summary string
		lines                int
		kind                 fault.Kind // empty: no error
		text                 string     // in the error
	}{
		{"all well", "200 OK a=1 b=2\n{}\n{}\n.\n", "a=1 b=2", 2, "", ""},
		{"with CR and signs of life", "200 OK\r\n\r\n{}\r\n\n\n.\r\n", "", 1, "", ""},
		{"OK without a word", "200 \n.\n", "", 0, "", ""},
		{"an error with lines", "503 no; a=1\n{}\n.\n", "no; a=1", 1, fault.Unavailable, "no; a=1"},
		{"failing late", "200 OK\n{}\n{\"error\":{\"code\":404,\"text\":\"gone\"}}\n.\n", "", 1, fault.NotFound, "gone"},
		{"an object with an error of its own", "200 OK\n{\"error\":\"x\"}\n.\n", "", 1, "", ""},
		{"a code that nobody knows", "299 odd\n.\n", "odd", 0, fault.Internal, "odd"},
		{"too many", "429 full\n.\n", "full", 0, fault.Unavailable, "full"},
		{"wrong token", "401 who\n.\n", "who", 0, fault.Denied, "who"},
		{"nothing", "", "", 0, fault.Unavailable, "closed the connection before it replied"},
		{"half a first line", "200 O", "", 0, fault.Unavailable, "broke before it replied"},
		{"no end", "200 OK\n{}\n", "", 1, fault.Unavailable, "closed the connection before its reply was complete"},
		{"half a line", "200 OK\n{}\n{\"a", "", 1, fault.Unavailable, "broke before its reply was complete"},
		{"another protocol", "SSH-2.0-OpenSSH_9.2\r\n", "", 0, fault.Unavailable, "is not activationd's protocol"},
		{"a number and no code", "20 OK\n.\n", "", 0, fault.Unavailable, "is not activationd's protocol"},
		{"no JSON", "200 OK\nhello\n.\n", "", 0, fault.Internal, "a reply's line \"hello\""},
		{"an endless line", "200 " + strings.Repeat("x", 17<<20), "", 0, fault.Unavailable, "a line of more than"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := answering(make(chan string, 1), true, tt.reply)
			summary, lines, err := control.Call[struct{}](t.Context(), c, "x", nil)
			if summary != tt.summary || len(lines) != tt.lines {
				t.Errorf("summary %q and %d lines, want %q and %d", summary, len(lines), tt.summary, tt.lines)
			}
			if tt.kind == "" && err != nil || tt.kind != "" && (fault.Of(err) != tt.kind || !strings.Contains(err.Error(), tt.text)) {
				t.Errorf("error %v, want %s: %s", err, tt.kind, tt.text)
			}
		})
	}
}

// TestNotSent checks that a client refuses arguments that would not reach the daemon
// unchanged.
func TestNotSent(t *testing.T) {
	c := &control.Client{Dial: func(context.Context, string, string) (net.Conn, error) { panic("dialed") }}
	for _, in := range []any{control.IDIn{ID: "\xff"}, 5, struct{ X float64 }{}, struct {
		X string `arg:"x,maybe"`
	}{}} {
		if _, err := c.Do(t.Context(), "show", in); err == nil {
			t.Errorf("%+v: no error", in)
		}
	}
	c.Token = "\xff"
	if _, err := c.Do(t.Context(), "show", nil); fault.Of(err) != fault.Invalid {
		t.Errorf("a token that is not UTF-8: %v", err)
	}
}

// TestUnreachable checks that a client says what to do when no daemon answers.
func TestUnreachable(t *testing.T) {
	dir := t.TempDir()
	stale := filepath.Join(dir, "stale")
	ln, err := net.Listen("unix", stale)
	if err != nil {
		t.Fatal(err)
	}
	ln.(*net.UnixListener).SetUnlinkOnClose(false)
	ln.Close()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tcp.Close()
	none := filepath.Join(dir, "none")
	tests := []struct {
		network, address string
		want             []string
	}{
		{"", none, []string{none, "start it", "ACTIVATIOND_SOCKET"}},
		{"unix", stale, []string{stale, "start it", "--socket"}},
		{"tcp", tcp.Addr().String(), []string{tcp.Addr().String(), "--listen", "--connect"}},
		{"tcp", "127.0.0.1:x", []string{"tcp:127.0.0.1:x cannot be reached"}},
	}
	for _, tt := range tests {
		_, err := (&control.Client{Network: tt.network, Address: tt.address}).Do(t.Context(), "ping", nil)
		if fault.Of(err) != fault.Unavailable {
			t.Errorf("%s: %v is not of kind Unavailable", tt.address, err)
			continue
		}
		for _, want := range tt.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %q does not say %s", tt.address, err, want)
			}
		}
	}
	denied := &control.Client{Address: "s", Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Err: os.ErrPermission}
	}}
	if _, err := denied.Do(t.Context(), "ping", nil); fault.Of(err) != fault.Denied {
		t.Errorf("a socket that may not be opened: %v", err)
	}
}

// TestIdleConnection checks that a connection is used again, unless it was idle for so
// long that the daemon may have closed it.
func TestIdleConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := make(chan string, 10)
		c := answering(asked, false, "200 OK\n.\n", "200 OK\n.\n", "200 OK\n.\n", "200 OK\n.\n")
		dials, dial := 0, c.Dial
		c.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			dials++
			return dial(ctx, network, address)
		}
		for i, tt := range []struct {
			pause time.Duration
			dials int
		}{{0, 1}, {0, 1}, {29 * time.Second, 1}, {31 * time.Second, 2}} {
			time.Sleep(tt.pause)
			if _, _, err := control.Call[control.Nothing](t.Context(), c, "ping", nil); err != nil || dials != tt.dials {
				t.Errorf("call %d: %v, and %d connections, want %d", i, err, dials, tt.dials)
			}
		}
		c.Close()
	})
}

// TestDeadline checks that a context ends the wait for a daemon that does not answer.
func TestDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		go io.Copy(io.Discard, theirs)
		c := &control.Client{Dial: func(context.Context, string, string) (net.Conn, error) { return ours, nil }}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		began := time.Now()
		_, err := c.Do(ctx, "ping", nil)
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Minute {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}
