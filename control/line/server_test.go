package line_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"activationd/control"
	"activationd/control/access"
	"activationd/control/line"
	"activationd/internal/fault"
)

// hang is how long a test waits for something that must happen.
const hang = 10 * time.Minute

type echoIn struct {
	Text string   `arg:"text,required"`
	N    int      `arg:"n"`
	U    uint64   `arg:"u"`
	Yes  bool     `arg:"yes"`
	List []string `arg:"list"`
}

type failIn struct {
	Kind string `arg:"kind,required"`
	Late bool   `arg:"late"`
}

type addIn struct {
	Arg []string `arg:"arg"`
}

type addOut struct {
	ID    int `json:"id"`
	Batch int `json:"batch"`
}

type number struct {
	N int `json:"n"`
}

// A lab has operations to try the server with.
type lab struct {
	events  chan int      // the lines of the stream
	started chan struct{} // a stream or a slow operation was begun
	ended   chan error    // the error of its context
	release chan struct{} // ends the slow operation
	added   atomic.Int64
}

func newLab() *lab {
	return &lab{
		events: make(chan int, 100), started: make(chan struct{}, 2000),
		ended: make(chan error, 2000), release: make(chan struct{}),
	}
}

func (l *lab) registry() *control.Registry {
	type none = control.Nothing
	type reply = control.Reply[none]
	return control.NewRegistry(
		control.Declare("ping", control.Viewer, "answer", func(_ context.Context, c control.Caller, _ none) (reply, error) {
			return reply{Summary: "name=" + c.Name}, nil
		}),
		control.Declare("ping twice", control.Viewer, "answer", func(_ context.Context, _ control.Caller, in control.ReloadIn) (reply, error) {
			return reply{Summary: fmt.Sprintf("force=%v", in.Force)}, nil
		}),
		control.Declare("stop", control.Admin, "stop", func(context.Context, control.Caller, none) (reply, error) {
			return reply{}, nil
		}),
		control.Declare("reload", control.Operator, "read again",
			func(_ context.Context, _ control.Caller, in control.ReloadIn) (control.Reply[control.ReloadLine], error) {
				r := control.Reply[control.ReloadLine]{Summary: fmt.Sprintf("force=%v dry=%v", in.Force, in.DryRun)}
				r.Lines = []control.ReloadLine{{What: "notice", Text: "a <b> & c"}}
				return r, nil
			}),
		control.Declare("echo", control.Submitter, "say it again",
			func(_ context.Context, _ control.Caller, in echoIn) (control.Reply[echoIn], error) {
				return control.Reply[echoIn]{Lines: []echoIn{in}}, nil
			}),
		control.Declare("fail", control.Viewer, "fail", func(_ context.Context, _ control.Caller, in failIn) (control.Reply[number], error) {
			r := control.Reply[number]{Summary: "generation=4", Lines: []number{{1}}}
			err := fmt.Errorf("one\ntwo: %w", fault.Kind(in.Kind))
			if in.Late {
				r.Each = func(yield func(number, error) bool) { yield(number{}, err) }
				return r, nil
			}
			return r, err
		}),
		control.DeclareBatch("add", control.Submitter, "add a job",
			func(_ context.Context, _ control.Caller, ins []addIn) []control.Result[addOut] {
				results := make([]control.Result[addOut], len(ins))
				for i, in := range ins {
					if len(in.Arg) == 0 {
						results[i].Err = fmt.Errorf("no command: %w", fault.Invalid)
						continue
					}
					results[i].Reply.Lines = []addOut{{int(l.added.Add(1)), len(ins)}}
				}
				return results
			}),
		control.DeclareStream("events", control.Viewer, "follow",
			func(ctx context.Context, _ control.Caller, in control.EventsIn, send func(number) error) error {
				if in.ID == "none" {
					return fmt.Errorf("no such id: %w", fault.NotFound)
				}
				l.started <- struct{}{}
				for {
					select {
					case <-ctx.Done():
						l.ended <- ctx.Err()
						return ctx.Err()
					case n := <-l.events:
						if n < 0 {
							return fmt.Errorf("the end: %w", fault.Unavailable)
						}
						if n == 0 {
							return nil
						}
						if err := send(number{n}); err != nil {
							l.ended <- err
							return err
						}
					}
				}
			}),
		control.DeclareStream("flood", control.Viewer, "lines without end",
			func(_ context.Context, _ control.Caller, _ none, send func(number) error) error {
				l.started <- struct{}{}
				for n := 1; ; n++ {
					if err := send(number{n}); err != nil {
						l.ended <- err
						return err
					}
				}
			}),
		control.Declare("slow", control.Viewer, "wait", func(ctx context.Context, _ control.Caller, _ none) (reply, error) {
			l.started <- struct{}{}
			select {
			case <-ctx.Done():
				return reply{}, ctx.Err()
			case <-l.release:
				return reply{}, nil
			}
		}),
		control.Declare("deaf", control.Viewer, "wait whatever happens", func(context.Context, control.Caller, none) (reply, error) {
			l.started <- struct{}{}
			<-l.release
			return reply{}, nil
		}),
		control.Declare("panic", control.Viewer, "panic", func(context.Context, control.Caller, none) (reply, error) {
			panic("on purpose")
		}),
	)
}

func as(role control.Role) func(net.Conn) (control.Caller, error) {
	return func(net.Conn) (control.Caller, error) {
		return control.Caller{Role: role, Name: "tester", Via: "test"}, nil
	}
}

// A running is a server that serves until the test ends.
type running struct {
	*lab
	ln     net.Listener
	cancel context.CancelFunc
	served chan error
}

func serve(t testing.TB, s *line.Server, ln net.Listener, authenticate access.Authenticator) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{lab: newLab(), ln: ln, cancel: cancel, served: make(chan error, 1)}
	if s.Registry == nil {
		s.Registry = r.registry()
	}
	if s.Log == nil {
		s.Log = slog.New(slog.DiscardHandler)
	}
	if s.Gate == nil {
		s.Gate = new(access.Gate)
	}
	s.Gate.Log = s.Log
	go func() {
		r.served <- s.Serve(ctx, ln, authenticate)
		close(r.served)
	}()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-r.served:
			if err != nil {
				t.Errorf("Serve = %v", err)
			}
		case <-time.After(hang):
			t.Error("Serve did not end")
		}
	})
	return r
}

func unixListener(t testing.TB) net.Listener {
	t.Helper()
	ln, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

func tcpListener(t testing.TB) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

func dial(t testing.TB, ln net.Listener) net.Conn {
	t.Helper()
	c, err := net.Dial(ln.Addr().Network(), ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(hang)); err != nil {
		t.Fatal(err)
	}
	return c
}

func send(t testing.TB, c net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Errorf("write: %v", err)
	}
}

// talk sends text, closes its side, and returns everything that comes back.
func talk(t testing.TB, ln net.Listener, text string) string {
	t.Helper()
	c := dial(t, ln)
	send(t, c, text)
	c.(interface{ CloseWrite() error }).CloseWrite()
	all, err := io.ReadAll(c)
	if err != nil {
		t.Errorf("read: %v after %q", err, all)
	}
	return string(all)
}

// reply reads one reply.
func reply(t testing.TB, in io.Reader) string {
	t.Helper()
	var all strings.Builder
	for {
		l := replyStart(t, in)
		all.WriteString(l)
		if l == ".\n" {
			return all.String()
		}
	}
}

func wait[T any](t testing.TB, c <-chan T, what string) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(hang):
		t.Fatalf("%s did not happen", what)
	}
	return v
}

// pipes is a listener whose connections are net.Pipes, for bubbles.
type pipes struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), done: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.done) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

func (p *pipes) dial() net.Conn {
	ours, theirs := net.Pipe()
	p.conns <- theirs
	return ours
}
