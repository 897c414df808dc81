package line_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"unicode/utf8"

	"activationd/control"
	"activationd/control/access"
	"activationd/control/line"
	"activationd/internal/fault"
)

// clientOf returns a client of ln that counts its connections.
func clientOf(t testing.TB, ln net.Listener) (c *control.Client, dialed *atomic.Int64) {
	dialed = new(atomic.Int64)
	c = &control.Client{Network: ln.Addr().Network(), Address: ln.Addr().String()}
	c.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		dialed.Add(1)
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	t.Cleanup(func() { c.Close() })
	return c, dialed
}

func TestClient(t *testing.T) {
	ln := unixListener(t)
	r := serve(t, &line.Server{Gate: &access.Gate{Token: secretIs("open \"sesame\"", control.Admin)}}, ln, as(control.Operator))
	c, dialed := clientOf(t, ln)
	ctx := t.Context()

	summary, none, err := control.Call[control.Nothing](ctx, c, "ping", nil)
	if summary != "name=tester" || none != nil || err != nil {
		t.Errorf("ping: %q, %v, %v", summary, none, err)
	}
	summary, lines, err := control.Call[control.ReloadLine](ctx, c, "reload", control.ReloadIn{DryRun: true})
	want := []control.ReloadLine{{What: "notice", Text: "a <b> & c"}}
	if summary != "force=false dry=true" || !reflect.DeepEqual(lines, want) || err != nil {
		t.Errorf("reload: %q, %v, %v", summary, lines, err)
	}

	for _, kind := range []fault.Kind{fault.Invalid, fault.NotFound, fault.Conflict, fault.Denied, fault.Unavailable, fault.Internal} {
		_, lines, err := control.Call[number](ctx, c, "fail", failIn{Kind: string(kind)})
		var re *control.ReplyError
		if !errors.As(err, &re) || fault.Of(err) != kind || !reflect.DeepEqual(lines, []number{{1}}) {
			t.Errorf("fail %s: %v, %v", kind, lines, err)
		}
		if kind != fault.Internal && err.Error() != "one; two generation=4" {
			t.Errorf("fail %s: %q", kind, err)
		}
		_, lines, err = control.Call[number](ctx, c, "fail", failIn{Kind: string(kind), Late: true})
		if !errors.As(err, &re) || fault.Of(err) != kind || !reflect.DeepEqual(lines, []number{{1}}) {
			t.Errorf("fail %s late: %v, %v", kind, lines, err)
		}
	}

	if _, _, err := control.Call[control.Nothing](ctx, c, "stop", nil); fault.Of(err) != fault.Denied {
		t.Errorf("stop as operator: %v", err)
	}
	c.Token = "open \"sesame\""
	for _, name := range []string{"stop", "ping"} {
		if _, _, err := control.Call[control.Nothing](ctx, c, name, nil); err != nil {
			t.Errorf("%s with a token: %v", name, err)
		}
	}
	c.Token = ""

	for n := range 3 {
		r.events <- n + 1
	}
	r.events <- 0
	var got []int
	err = control.Stream(ctx, c, "events", nil, func(n number) error {
		got = append(got, n.N)
		return nil
	})
	if !reflect.DeepEqual(got, []int{1, 2, 3}) || err != nil {
		t.Errorf("events: %v, %v", got, err)
	}
	if n := dialed.Load(); n != 1 {
		t.Errorf("all of this took %d connections, want 1", n)
	}

	// A stream that is not read to its end closes its connection, and the client goes on.
	r.events <- 7
	if err := control.Stream(ctx, c, "events", nil, func(number) error { return errTest }); !errors.Is(err, errTest) {
		t.Errorf("events, left: %v", err)
	}
	wait(t, r.ended, "the stream's end")
	if _, _, err := control.Call[control.Nothing](ctx, c, "ping", nil); err != nil || dialed.Load() != 2 {
		t.Errorf("ping after that: %v, with %d connections", err, dialed.Load())
	}

	// So does a context.
	ctx, cancel := context.WithCancelCause(ctx)
	r.events <- 7
	err = control.Stream(ctx, c, "events", nil, func(number) error { cancel(errTest); return nil })
	if !errors.Is(err, errTest) {
		t.Errorf("events, cancelled: %v", err)
	}
	wait(t, r.ended, "the stream's end")
	if _, _, err := control.Call[control.Nothing](ctx, c, "ping", nil); !errors.Is(err, errTest) {
		t.Errorf("ping with a context that is over: %v", err)
	}
}

var errTest = errors.New("enough")

// TestClientAtOnce uses one client from many goroutines.
func TestClientAtOnce(t *testing.T) {
	ln := unixListener(t)
	serve(t, &line.Server{}, ln, as(control.Operator))
	c, _ := clientOf(t, ln)
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			for range 20 {
				text := fmt.Sprint(i)
				_, lines, err := control.Call[echoIn](t.Context(), c, "echo", echoIn{Text: text})
				if err != nil || len(lines) != 1 || lines[0].Text != text {
					t.Errorf("echo %s = %v, %v", text, lines, err)
				}
			}
		})
	}
	wg.Wait()
}

// TestClientRefused checks that a client reads why it was refused, even if it had not sent
// its request yet.
func TestClientRefused(t *testing.T) {
	ln := unixListener(t)
	serve(t, &line.Server{Limits: line.Limits{Conns: 1}}, ln, as(control.Operator))
	first := dial(t, ln)
	send(t, first, "ping\n")
	reply(t, first)
	c, _ := clientOf(t, ln)
	_, _, err := control.Call[echoIn](t.Context(), c, "echo", echoIn{Text: strings.Repeat("x", 3<<20)})
	if fault.Of(err) != fault.Unavailable || !strings.HasPrefix(errText(err), "1 connections are open already") {
		t.Errorf("over the limit: %v", err)
	}
	first.Close()

	ln = unixListener(t)
	serve(t, &line.Server{}, ln, as(control.Operator))
	c, _ = clientOf(t, ln)
	_, _, err = control.Call[echoIn](t.Context(), c, "echo", echoIn{Text: strings.Repeat("x", 3<<20)})
	if fault.Of(err) != fault.Invalid || errText(err) != "a line of more than 1048576 bytes" {
		t.Errorf("a giant line: %v", err)
	}
}

// FuzzArguments checks that a handler gets the arguments exactly as the client gave them,
// or that the client says why they cannot be sent.
func FuzzArguments(f *testing.F) {
	f.Add("a", "", "b", "c", 0, uint64(0), false)
	f.Add("\"quoted\"", "two\nlines", " \t\r\n", "x:y", -1, uint64(1<<63), true)
	f.Add("\x00", "\u2028<&>", "\xff", "\\n", 1<<40, uint64(1), true)
	ln := unixListener(f)
	got := make(chan echoIn, 1)
	serve(f, &line.Server{Registry: control.NewRegistry(control.Declare("echo", control.Viewer, "",
		func(_ context.Context, _ control.Caller, in echoIn) (control.Reply[echoIn], error) {
			got <- in
			return control.Reply[echoIn]{Lines: []echoIn{in}}, nil
		}))}, ln, as(control.Viewer))
	c, _ := clientOf(f, ln)
	f.Fuzz(func(t *testing.T, a, b, x, y string, n int, u uint64, yes bool) {
		in := echoIn{Text: a, N: n, U: u, Yes: yes, List: []string{b, x, y}}
		_, lines, err := control.Call[echoIn](t.Context(), c, "echo", in)
		text := a + b + x + y
		if a == "" || !utf8.ValidString(a) || !utf8.ValidString(b) || !utf8.ValidString(x) || !utf8.ValidString(y) {
			if fault.Of(err) != fault.Invalid {
				t.Fatalf("%q: %v, want Invalid", text, err)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if out := <-got; !reflect.DeepEqual(out, in) || !reflect.DeepEqual(lines, []echoIn{in}) {
			t.Fatalf("sent %+v, came %+v, returned %+v", in, out, lines)
		}
	})
}

// BenchmarkPipeline measures requests that one client sends without waiting, with a handler
// that does nothing.
func BenchmarkPipeline(b *testing.B) {
	ln := unixListener(b)
	serve(b, &line.Server{}, ln, as(control.Operator))
	c, err := net.Dial("unix", ln.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	const at = 100
	requests := []byte(strings.Repeat("add\narg:/usr/bin/env\narg:true\narg:one more\n\n", at))
	b.ReportAllocs()
	go func() {
		for range b.N/at + 1 {
			if _, err := c.Write(requests); err != nil {
				return
			}
		}
	}()
	in, replies := make([]byte, 64<<10), 0
	for replies < b.N {
		n, err := c.Read(in)
		if err != nil {
			b.Fatal(err)
		}
		replies += strings.Count(string(in[:n]), ".\n")
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "requests/s")
}

// BenchmarkCall measures one client that waits for each reply.
func BenchmarkCall(b *testing.B) {
	ln := unixListener(b)
	serve(b, &line.Server{}, ln, as(control.Operator))
	c, _ := clientOf(b, ln)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := control.Call[json.RawMessage](b.Context(), c, "add", addIn{Arg: []string{"true"}}); err != nil {
			b.Fatal(err)
		}
	}
}
