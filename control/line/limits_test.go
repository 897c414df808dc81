package line_test

import (
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"activationd/control"
	"activationd/control/line"
)

// TestTime tries the limits of time in a bubble.
func TestTime(t *testing.T) {
	step := func(c net.Conn, text string, pause time.Duration) { // a client that types
		for _, b := range []byte(text) {
			time.Sleep(pause)
			if _, err := c.Write([]byte{b}); err != nil {
				return
			}
		}
	}
	late := "408 the request took too long to arrive; an empty line ends a request\n.\n"
	tests := []struct {
		name   string
		client func(net.Conn)
		want   string
		after  time.Duration // when the connection is closed
	}{
		{"nothing at all", func(net.Conn) {}, "", 60 * time.Second},
		{"a request, then nothing", func(c net.Conn) { step(c, "ping\n", 0) }, pong, 60 * time.Second},
		{"a command that can start", func(c net.Conn) { step(c, "reload\n", 0) }, loaded, 60*time.Second + 100*time.Millisecond},
		{"typed within the pause", func(c net.Conn) { step(c, "reload\nforce:yes\n\n", 90*time.Millisecond) }, forced,
			60*time.Second + 18*90*time.Millisecond},
		{"an argument too late is a command", func(c net.Conn) {
			step(c, "reload\n", 0)
			time.Sleep(time.Second)
			step(c, "force:yes\n", 0)
		}, loaded + `400 no command "force:yes"; "help" lists them` + "\n.\n", time.Second},
		{"half a line", func(c net.Conn) { step(c, "pin", 0) }, late, 15 * time.Second},
		{"half a request", func(c net.Conn) { step(c, "echo\ntext:a\n", 0) }, late, 15 * time.Second},
		{"a slow loris", func(c net.Conn) { step(c, "echo\ntext:"+strings.Repeat("a", 1000), time.Second) }, late, 16 * time.Second},
		{"empty lines are no requests", func(c net.Conn) { step(c, strings.Repeat("\n", 10), 50*time.Second) }, "", 560 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ln := newPipes()
				serve(t, &line.Server{}, ln, as(control.Operator))
				began := time.Now()
				c := ln.dial()
				typed := make(chan struct{})
				go func() {
					tt.client(c)
					close(typed)
				}()
				all, err := io.ReadAll(c)
				if err != nil {
					t.Errorf("read: %v", err)
				}
				// A partial request's size adds a fraction of a second to its time.
				if took := time.Since(began).Truncate(10 * time.Millisecond); string(all) != tt.want || took != tt.after {
					t.Errorf("got %q after %v, want %q after %v", all, took, tt.want, tt.after)
				}
				c.Close()
				<-typed
			})
		})
	}
}

// TestSlowOperation checks that the time that an operation takes does not count against the
// client.
func TestSlowOperation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := newPipes()
		r := serve(t, &line.Server{}, ln, as(control.Operator))
		c := ln.dial()
		defer c.Close()
		send(t, c, "slow\necho\ntext:a") // and the rest after 10 minutes
		time.Sleep(10 * time.Minute)
		close(r.release)
		if got := reply(t, c); got != "200 OK\n.\n" {
			t.Errorf("slow: %q", got)
		}
		time.Sleep(10 * time.Second)
		send(t, c, "\n\n")
		if got := reply(t, c); !strings.HasPrefix(got, "200 OK\n{\"Text\":\"a\"") {
			t.Errorf("echo: %q", got)
		}
	})
}

// TestNoReader checks that a client that does not read its reply is disconnected.
func TestNoReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := newPipes()
		r := serve(t, &line.Server{Limits: line.Limits{Write: 20 * time.Second}}, ln, as(control.Operator))
		c := ln.dial()
		defer c.Close()
		began := time.Now()
		send(t, c, "flood\n")
		wait(t, r.started, "the stream")
		if err := wait(t, r.ended, "its end"); err == nil {
			t.Error("the stream did not fail")
		}
		if took := time.Since(began); took != 20*time.Second {
			t.Errorf("was disconnected after %v, want 20s", took)
		}
		synctest.Wait()
		if n, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("Read = %d, %v, want EOF", n, err)
		}
	})
}

// TestStreamLasts checks that a stream has no limit of idle time.
func TestStreamLasts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := newPipes()
		r := serve(t, &line.Server{}, ln, as(control.Operator))
		c := ln.dial()
		send(t, c, "events\n\n")
		if got := replyStart(t, c); got != "200 OK\n" {
			t.Errorf("first line: %q", got)
		}
		time.Sleep(24 * time.Hour)
		r.events <- 7
		if got := replyStart(t, c); got != `{"n":7}`+"\n" {
			t.Errorf("after a day: %q", got)
		}
		c.Close()
		wait(t, r.ended, "the stream's end")
	})
}

// TestFirstLine checks that a stream sends its first line before it has anything else to
// send.
func TestFirstLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := newPipes()
		r := serve(t, &line.Server{}, ln, as(control.Operator))
		c := ln.dial()
		defer c.Close()
		send(t, c, "events id:x\n\n")
		began := time.Now()
		if got := replyStart(t, c); got != "200 OK\n" || time.Since(began) > time.Second {
			t.Errorf("first line %q after %v", got, time.Since(began))
		}
		r.events <- -1
		if got, want := reply(t, c), `{"error":{"code":503,"text":"the end"}}`+"\n.\n"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		send(t, c, "ping\n") // the connection can still be used
		if got := reply(t, c); got != pong {
			t.Errorf("ping: %q", got)
		}
	})
}

// TestEnd checks that Serve ends whatever its connections do, and which replies they get.
func TestEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := newPipes()
		r := serve(t, &line.Server{}, ln, as(control.Operator))
		idle, done, half, slow, stream := ln.dial(), ln.dial(), ln.dial(), ln.dial(), ln.dial()
		send(t, done, "ping\n")
		if got := reply(t, done); got != pong {
			t.Errorf("ping: %q", got)
		}
		send(t, half, "echo\ntext:a")
		send(t, slow, "slow\n")
		wait(t, r.started, "slow")
		send(t, stream, "events\n\n")
		wait(t, r.started, "the stream")
		if got := replyStart(t, stream); got != "200 OK\n" {
			t.Errorf("first line: %q", got)
		}
		began := time.Now()
		r.cancel()
		ends := "the daemon is shutting down; try again when it is back"
		for _, tt := range []struct {
			name string
			c    net.Conn
			want string
		}{
			{"new", idle, "503 " + ends + "\n.\n"}, // it may have sent a request just now
			{"answered", done, ""},
			{"half", half, "503 " + ends + "\n.\n"}, {"slow", slow, "503 " + ends + "\n.\n"},
			{"stream", stream, `{"error":{"code":503,"text":"` + ends + `"}}` + "\n.\n"},
		} {
			all, err := io.ReadAll(tt.c)
			if string(all) != tt.want || err != nil {
				t.Errorf("%s: got %q, %v, want %q", tt.name, all, err, tt.want)
			}
			tt.c.Close()
		}
		if err := wait(t, r.served, "Serve's end"); err != nil || time.Since(began) != 0 {
			t.Errorf("Serve = %v after %v", err, time.Since(began))
		}
	})
}

// TestShutdownWithADeafOperation checks that an operation that ignores its context does not
// keep the daemon from ending.
func TestShutdownWithADeafOperation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := newPipes()
		r := serve(t, &line.Server{Limits: line.Limits{Grace: time.Second}}, ln, as(control.Operator))
		c := ln.dial()
		defer c.Close()
		send(t, c, "deaf\n")
		wait(t, r.started, "deaf")
		r.cancel()
		began := time.Now()
		err := wait(t, r.served, "Serve's end")
		if want := "1 connections' operations did not end within 2s"; err == nil || err.Error() != want {
			t.Errorf("Serve = %v, want %s", err, want)
		}
		if took := time.Since(began); took != 2*time.Second {
			t.Errorf("Serve ended after %v", took)
		}
		close(r.release)
	})
}

// TestLimitedLog has a client send malformed requests over many connections: the log does
// not grow with each of them.
func TestLimitedLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log syncBuffer
		ln := newPipes()
		serve(t, &line.Server{Log: log.logger()}, ln, as(control.Operator))
		nonsense := func(times int) {
			for range times {
				c := ln.dial()
				go func() { _, _ = io.WriteString(c, "a\x00b\n\n") }()
				if _, err := io.ReadAll(c); err != nil {
					t.Error(err)
				}
				_ = c.Close()
			}
		}
		nonsense(100)
		if n := strings.Count(log.String(), "connection closed"); n == 0 || n > 10 {
			t.Errorf("of 100 connections %d are in the log, want 1 to 10:\n%s", n, log.String())
		}
		time.Sleep(time.Minute)
		nonsense(1)
		if !strings.HasSuffix(log.String(), " not_logged_before=90\n") {
			t.Errorf("the next line does not say how many were not logged:\n%s", log.String())
		}
	})
}
