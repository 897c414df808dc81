package access_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"activationd/control"
	"activationd/control/access"
	"activationd/internal/fault"
)

// A face serves operations over HTTP, to see that package access has what a face
// other than the line protocol needs.
type face struct {
	registry *control.Registry
	gate     *access.Gate
	quota    *access.Quota
	log      *slog.Logger

	mu    sync.Mutex
	conns map[net.Conn]*client
}

// A client is a connection of a face.
type client struct {
	peer    *access.Peer
	admit   sync.Once
	release func()
	refusal error
}

type clientKey struct{}

// start serves f on a Unix socket. Its context takes the role of the daemon's.
func (f *face) start(t *testing.T, role func(uid uint32) control.Role) (address string, shutdown func()) {
	f.conns = make(map[net.Conn]*client)
	ctx, cancel := context.WithCancel(context.Background())
	address = filepath.Join(t.TempDir(), "socket")
	ln, err := net.Listen("unix", address)
	if err != nil {
		t.Fatal(err)
	}
	authenticate := access.UnixPeers(func(uid uint32, _ []uint32) control.Role { return role(uid) })
	s := httptest.NewUnstartedServer(f)
	s.Listener = ln
	s.Config.BaseContext = func(net.Listener) context.Context { return ctx }
	s.Config.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
		c := &client{peer: f.gate.Peer(conn, authenticate)}
		f.mu.Lock()
		defer f.mu.Unlock()
		f.conns[conn] = c
		return context.WithValue(ctx, clientKey{}, c)
	}
	s.Config.ConnState = func(conn net.Conn, state http.ConnState) {
		if state != http.StateClosed {
			return
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		if c := f.conns[conn]; c.release != nil {
			c.release()
		}
		delete(f.conns, conn)
	}
	s.Start()
	t.Cleanup(s.Close)
	return address, cancel
}

// take counts the client's connection at its first request.
func (f *face) take(c *client) error {
	c.admit.Do(func() {
		caller, err := c.peer.Caller()
		if err != nil {
			c.refusal = err
			return
		}
		c.release, c.refusal = f.quota.Take(caller, &net.UnixAddr{Net: "unix"})
	})
	return c.refusal
}

func (f *face) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := strings.Trim(r.URL.Path, "/")
	answer, err := f.call(r, name)
	if err == nil {
		err = answer.Err
	}
	if err != nil {
		code, text := access.Failure(r.Context(), f.log, name, err)
		http.Error(w, text, code)
		return
	}
	fmt.Fprint(w, answer.Summary)
}

func (f *face) call(r *http.Request, name string) (control.Answer, error) {
	c := r.Context().Value(clientKey{}).(*client)
	if err := f.take(c); err != nil {
		return control.Answer{}, err
	}
	secret, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	caller, err := c.peer.Identify(r.Context(), secret, name, "")
	if err != nil {
		return control.Answer{}, err
	}
	op := f.registry.Lookup(name)
	if op == nil {
		return control.Answer{}, fmt.Errorf("no operation %s: %w", name, fault.NotFound)
	}
	args := op.Decoder()
	for key, values := range r.URL.Query() {
		if err := args.Set([]byte(key), []byte(values[0])); err != nil {
			return control.Answer{}, err
		}
	}
	in, err := args.Input()
	if err != nil {
		return control.Answer{}, err
	}
	return op.Call(r.Context(), caller, in)[0], nil
}

// A syncBuffer is a log that several goroutines use.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// newFace returns a face with an operation "who" for viewers, "change" for operators and "fail".
func newFace(roles *atomic.Uint64, limit int) (*face, *syncBuffer) {
	type none = control.Nothing
	type reply = control.Reply[none]
	type failIn struct {
		Kind string `arg:"kind,required"`
	}
	logged := new(syncBuffer)
	log := slog.New(slog.NewTextHandler(logged, nil))
	who := func(_ context.Context, c control.Caller, _ none) (reply, error) {
		return reply{Summary: c.Name + " is " + c.Role.String()}, nil
	}
	return &face{
		log: log, quota: access.NewQuota(limit),
		gate: &access.Gate{Log: log, Roles: roles, Token: func(secret string) (control.Caller, bool) {
			return control.Caller{Name: "rez", Role: control.Operator, UID: -1}, secret == "open sesame"
		}},
		registry: control.NewRegistry(
			control.Declare("who", control.Viewer, "", who),
			control.Declare("change", control.Operator, "", who),
			control.Declare("fail", control.Viewer, "", func(_ context.Context, _ control.Caller, in failIn) (reply, error) {
				return reply{}, fmt.Errorf("it is secret: %w", fault.Kind(in.Kind))
			}),
			control.Declare("hang", control.Viewer, "", func(ctx context.Context, _ control.Caller, _ none) (reply, error) {
				<-ctx.Done()
				return reply{}, ctx.Err()
			}),
		),
	}, logged
}

// dialing returns an HTTP client that keeps one connection to a socket.
func dialing(t *testing.T, address string) *http.Client {
	transport := &http.Transport{MaxConnsPerHost: 1, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", address)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// get returns the status and the body of a reply.
func get(t *testing.T, c *http.Client, path, secret string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://daemon/"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if secret != "" {
		r.Header.Set("Authorization", "Bearer "+secret)
	}
	resp, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(resp.StatusCode, " ", strings.TrimSpace(string(body)))
}

// TestFace checks how another face knows its clients and replies to them.
func TestFace(t *testing.T) {
	f, logged := newFace(nil, 100)
	address, shutdown := f.start(t, func(uid uint32) control.Role {
		if int(uid) == os.Getuid() {
			return control.Viewer
		}
		return control.NoRole
	})
	c := dialing(t, address)
	for _, tt := range []struct{ path, secret, want string }{
		{"who", "", `200 \S+ is viewer`},
		{"who", "open sesame", "200 rez is operator"},
		{"who", "", `200 \S+ is viewer`}, // the secret counts for its request only
		{"change", "", `403 change needs the role operator, and \S+ \(unix pid \d+\) is viewer`},
		{"change", "open sesame", "200 rez is operator"},
		{"who", "wrong", "401 this token is not known; ask an admin for one"},
		{"nothing", "", "404 no operation nothing"},
		{"who?x=1", "", `400 who: no argument "x"; it takes none`},
		{"fail", "", "400 fail needs kind"},
		{"fail?kind=conflict", "", "409 it is secret"},
		{"fail?kind=unavailable", "", "503 it is secret"},
		{"fail?kind=internal", "", `500 internal error; the daemon's log has the details, at ref=\w+`},
	} {
		if got := get(t, c, tt.path, tt.secret); !regexp.MustCompile("^" + tt.want + "$").MatchString(got) {
			t.Errorf("%s with %q: %s, want %s", tt.path, tt.secret, got, tt.want)
		}
	}
	for _, want := range []string{`msg="wrong token" peer="unix pid`, `command=fail ref=`, `err="it is secret: internal"`} {
		if !strings.Contains(logged.String(), want) {
			t.Errorf("the log lacks %s:\n%s", want, logged.String())
		}
	}
	shutdown()
	if got, want := get(t, c, "hang", ""), "503 the daemon is shutting down; try again when it is back"; got != want {
		t.Errorf("after the shutdown: %s, want %s", got, want)
	}
}

// TestFaceRolesChange checks that a client does not keep a role that it has lost.
func TestFaceRolesChange(t *testing.T) {
	var roles atomic.Uint64
	var role atomic.Int64
	role.Store(int64(control.Operator))
	f, _ := newFace(&roles, 100)
	address, _ := f.start(t, func(uint32) control.Role { return control.Role(role.Load()) })
	c := dialing(t, address)
	if got := get(t, c, "change", ""); !strings.HasPrefix(got, "200 ") {
		t.Errorf("as operator: %s", got)
	}
	role.Store(int64(control.Viewer))
	roles.Add(1)
	if got := get(t, c, "change", ""); !strings.HasPrefix(got, "403 ") {
		t.Errorf("as viewer: %s", got)
	}
}

// TestFaceQuota checks that a client cannot hold all connections of a face.
func TestFaceQuota(t *testing.T) {
	f, _ := newFace(nil, 4)
	address, _ := f.start(t, func(uint32) control.Role { return control.Viewer })
	a, b, c := dialing(t, address), dialing(t, address), dialing(t, address)
	for _, client := range []*http.Client{a, b} {
		if got := get(t, client, "who", ""); !strings.HasPrefix(got, "200 ") {
			t.Errorf("within the quota: %s", got)
		}
	}
	if got, want := get(t, c, "who", ""), "429 2 connections are open already, which is the limit; close some or try again later"; got != want {
		t.Errorf("the third connection: %s, want %s", got, want)
	}
	a.CloseIdleConnections()
	for t.Context().Err() == nil { // until the server has noticed
		d := dialing(t, address)
		got := get(t, d, "who", "")
		d.CloseIdleConnections()
		if strings.HasPrefix(got, "200 ") {
			return
		}
	}
	t.Error("no room after a connection was closed")
}
