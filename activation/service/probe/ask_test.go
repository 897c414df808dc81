package probe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// ask makes a check once, as a keeper does.
func ask(t *testing.T, c Check, i Instance) error {
	t.Helper()
	q, err := c.question(&i)
	if err != nil {
		t.Fatal(err)
	}
	defer q.close()
	return q.ask(t.Context())
}

// answer checks an error: empty for none, otherwise a text that it has.
func answer(t *testing.T, what string, err error, want string) {
	t.Helper()
	got := "success"
	if err != nil {
		got = err.Error()
	}
	if want == "" && err != nil || !strings.Contains(got, want) {
		t.Errorf("%s: %s, want %q", what, got, want)
	}
}

// listen returns a listener that accepts nothing by itself.
func listen(t *testing.T, network, address string) net.Listener {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func port(l net.Listener) string {
	a, _ := l.Addr().(*net.TCPAddr)
	return strconv.Itoa(a.Port)
}

// closed returns a port on which nobody listens.
func closed(t *testing.T) string {
	t.Helper()
	l := listen(t, "tcp", "127.0.0.1:0")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return port(l)
}

// short returns a folder whose path is short enough for a socket.
func short(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "probe")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func TestTCP(t *testing.T) {
	open, nobody, path := port(listen(t, "tcp", "127.0.0.1:0")), closed(t), short(t)+"/s"
	listen(t, "unix", path)
	tests := []struct{ name, target, want string }{
		{"port", open, ""},
		{"host and port", "127.0.0.1:" + open, ""},
		{"name", "localhost:" + open, ""},
		{"socket", "unix:" + path, ""},
		{"nobody", nobody, "connection refused"},
		{"nobody at this address", "[::1]:" + open, "connect: "},
		{"no socket", "unix:" + path + "2", "no such file or directory"},
		{"no route", "[fe80::1]:" + open, "connect: "},
		// A label can have 63 letters, so nobody is asked.
		{"no name", strings.Repeat("x", 64) + ".example:" + open, "no such host"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			answer(t, tt.target, ask(t, Check{Kind: TCP, Target: tt.target}, Instance{}), tt.want)
		})
	}
}

// TestTCPOnIPv6: a port is also found on ::1.
func TestTCPOnIPv6(t *testing.T) {
	l, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skip("this machine has no IPv6: ", err)
	}
	defer func() { _ = l.Close() }()
	answer(t, "port", ask(t, Check{Kind: TCP, Target: port(l)}, Instance{}), "")
	answer(t, "address", ask(t, Check{Kind: TCP, Target: l.Addr().String()}, Instance{}), "")
}

func TestHTTP(t *testing.T) {
	var connections, elsewhere atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	defer other.Close()
	mux := http.NewServeMux()
	status := func(path string, code int, body string) {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(code)
			_, _ = io.WriteString(w, body)
		})
	}
	status("/ok", 200, "fine")
	status("/empty", 204, "")
	status("/unchanged", 304, "")
	status("/gone", 404, "")
	status("/down", 503, "the database does not answer\nmore")
	status("/page", 500, "<html>long</html>")
	status("/binary", 500, "\x1b[2J")
	mux.Handle("/elsewhere", http.RedirectHandler(other.URL, http.StatusFound))
	mux.Handle("/loop", http.RedirectHandler("/loop", http.StatusFound))
	mux.HandleFunc("GET example.test/named", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/endless", func(w http.ResponseWriter, _ *http.Request) {
		for {
			if _, err := w.Write(make([]byte, 1<<20)); err != nil {
				return
			}
		}
	})
	mux.HandleFunc("/cut", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, "only this")
	})
	mux.HandleFunc("/headers", func(w http.ResponseWriter, _ *http.Request) {
		for n := range 100 {
			w.Header().Set(fmt.Sprint("X-", n), strings.Repeat("x", 1000))
		}
	})
	mux.HandleFunc("/secret", func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "u" || password != "p" {
			w.WriteHeader(http.StatusUnauthorized)
		}
	})
	server := httptest.NewUnstartedServer(mux)
	server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			connections.Add(1)
		}
	}
	server.Start()
	defer server.Close()
	secure := httptest.NewTLSServer(mux)
	defer secure.Close()
	path := short(t) + "/s"
	onSocket := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	l := listen(t, "unix", path)
	go func() { _ = onSocket.Serve(l) }()
	defer func() { _ = onSocket.Close() }()

	p := port(server.Listener)
	tests := []struct {
		name  string
		check Check
		want  string
	}{
		{"URL", Check{Target: server.URL + "/ok"}, ""},
		{"port and path", Check{Target: p + "/empty"}, ""},
		{"host, port and path", Check{Target: "localhost:" + p + "/unchanged"}, ""},
		{"TLS", Check{Target: secure.URL + "/ok"}, ""},
		{"socket", Check{Target: "/ok", Unix: path}, ""},
		{"failure on a socket", Check{Target: "/gone", Unix: path}, "status 404 Not Found"},
		{"no path", Check{Target: p}, "status 404 Not Found"},
		{"failure with a reason", Check{Target: p + "/down"}, "status 503 Service Unavailable: the database does not answer"},
		{"failure with a page", Check{Target: p + "/page"}, "status 500 Internal Server Error"},
		{"failure with control characters", Check{Target: p + "/binary"}, "status 500 Internal Server Error"},
		{"redirect to another host", Check{Target: p + "/elsewhere"}, ""},
		{"redirect to itself", Check{Target: p + "/loop"}, ""},
		{"name of the host", Check{Target: p + "/named", Host: "example.test"}, ""},
		{"another name", Check{Target: p + "/named"}, "status 404"},
		{"endless", Check{Target: p + "/endless"}, ""},
		{"cut off", Check{Target: p + "/cut"}, "status 200 OK, but the answer breaks off: unexpected EOF"},
		{"large headers", Check{Target: p + "/headers"}, "server response headers exceeded"},
		{"password", Check{Target: "http://u:p@127.0.0.1:" + p + "/secret"}, ""},
		{"no password", Check{Target: p + "/secret"}, "status 401"},
		{"nobody", Check{Target: closed(t) + "/ok"}, "connection refused"},
		{"another protocol", Check{Target: "https://127.0.0.1:" + p + "/ok"}, "first record does not look like a TLS handshake"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := connections.Load()
			tt.check.Kind = HTTP
			err := ask(t, tt.check, Instance{})
			answer(t, tt.check.Target, err, tt.want)
			if err != nil && strings.ContainsAny(err.Error(), "\n\x1b<") {
				t.Errorf("the reason is %q", err)
			}
			if strings.HasPrefix(tt.check.Target, p) && connections.Load() == before {
				t.Error("an old connection was used")
			}
		})
	}
	if elsewhere.Load() > 0 {
		t.Error("another host was asked")
	}
}

// live runs a keeper and returns it with its reports.
func live(t *testing.T) (*Keeper, <-chan Report) {
	t.Helper()
	reports := make(chan Report, 100)
	k := New(func(r Report) { reports <- r })
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() { _ = k.Run(ctx) })
	t.Cleanup(func() { cancel(); done.Wait() })
	return k, reports
}

func next(t *testing.T, reports <-chan Report, state State, reason string) {
	t.Helper()
	select {
	case r := <-reports:
		if r.State != state || !strings.Contains(r.Reason, reason) {
			t.Fatalf("reported %v, want %s: %q", r, state, reason)
		}
	case <-time.After(2 * time.Minute):
		t.Fatalf("no report, want %s", state)
	}
}

// TestRealServer: a server becomes ready, fails, hangs, works again and dies, while its
// liveness is asked for elsewhere.
func TestRealServer(t *testing.T) {
	var mode atomic.Value
	mode.Store("fails")
	ended := make(chan struct{})
	handler := func(w http.ResponseWriter, r *http.Request) {
		m := mode.Load()
		switch {
		case m == "fails":
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = io.WriteString(w, "starting")
		case m == "dead":
			w.WriteHeader(http.StatusInternalServerError)
		case m == "hangs" && r.URL.Path == "/ready":
			_ = http.NewResponseController(w).Flush() // the status is there, the rest never comes
			select {
			case <-r.Context().Done():
			case <-ended:
			}
		}
	}
	server := httptest.NewServer(http.HandlerFunc(handler))
	defer server.Close()
	defer close(ended)
	k, reports := live(t)
	start := func(key string, timeout, within time.Duration) {
		ready := &Check{Kind: HTTP, Target: server.URL + "/ready", Interval: 5 * time.Millisecond, Timeout: timeout, Failures: 2}
		alive := &Check{Kind: HTTP, Target: server.URL + "/alive", Interval: 5 * time.Millisecond, Timeout: time.Minute, Failures: 2}
		if err := k.Start(key, Instance{Ready: ready, Alive: alive, Within: within}); err != nil {
			t.Fatal(err)
		}
	}
	start("web@1.1", time.Minute, 50*time.Millisecond)
	next(t, reports, Late, "/ready: status 503 Service Unavailable: starting")
	start("web@1.2", 200*time.Millisecond, 0)
	mode.Store("works")
	next(t, reports, Ready, "")
	mode.Store("hangs")
	next(t, reports, Unready, "/ready: no answer within 200ms (2 times in a row)")
	mode.Store("works")
	next(t, reports, Ready, "")
	mode.Store("dead")
	r := <-reports
	if r.State == Unready { // both checks fail
		r = <-reports
	}
	if r.State != Dead || !strings.Contains(r.Reason, "/alive: status 500 Internal Server Error (2 times in a row)") {
		t.Errorf("reported %v", r)
	}
}

// TestAcceptsAndIsSilent: the kernel accepts connections for a program that hangs. A check of
// kind TCP succeeds, one of kind HTTP does not.
func TestAcceptsAndIsSilent(t *testing.T) {
	l := listen(t, "tcp", "127.0.0.1:0")
	k, reports := live(t)
	if err := k.Start("tcp", Instance{Ready: &Check{Kind: TCP, Target: port(l)}}); err != nil {
		t.Fatal(err)
	}
	next(t, reports, Ready, "")
	if err := k.Start("http", Instance{Ready: &Check{Kind: HTTP, Target: port(l) + "/", Timeout: 50 * time.Millisecond}, Within: 100 * time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	next(t, reports, Late, "no answer within 50ms")
}

// A local runs commands as the caller, each in a process group of its own.
type local struct {
	env   []string
	ended chan struct{} // a command has ended, with all who held its output
}

func (l *local) Run(ctx context.Context, argv []string) error {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = l.env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	l.ended <- struct{}{}
	if err != nil && out.Len() > 0 {
		return fmt.Errorf("%w: %s", err, bytes.TrimSpace(out.Bytes()))
	}
	return err
}

// TestExec: commands succeed, fail and hang. A command that hangs is killed with what it
// has started, and counts as failed.
func TestExec(t *testing.T) {
	k, reports := live(t)
	flag := filepath.Join(t.TempDir(), "flag")
	run := &local{env: []string{"FLAG=" + flag}, ended: make(chan struct{}, 10000)}
	sh := func(script string) *Check {
		return &Check{Kind: Exec, Command: []string{"/bin/sh", "-c", script}, Interval: 5 * time.Millisecond, Timeout: time.Minute, Failures: 2}
	}
	start := func(key string, ready *Check, within time.Duration) {
		if err := k.Start(key, Instance{Ready: ready, Runner: run, Within: within}); err != nil {
			t.Fatal(err)
		}
	}
	start("ok", sh(`test -e "$FLAG"`), 0)
	if err := os.WriteFile(flag, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	next(t, reports, Ready, "")
	if err := os.Remove(flag); err != nil {
		t.Fatal(err)
	}
	next(t, reports, Unready, "exit status 1 (2 times in a row)")
	k.Stop("ok")

	start("says", sh(`echo the disk is full; exit 3`), 100*time.Millisecond)
	next(t, reports, Late, "exit status 3: the disk is full")
	start("missing", &Check{Kind: Exec, Command: []string{"/nowhere/check"}, Timeout: time.Minute}, 100*time.Millisecond)
	next(t, reports, Late, "no such file or directory")

	hangs := sh(`trap "" TERM; sleep 600 & wait; sleep 600`)
	hangs.Timeout = 100 * time.Millisecond
	run = &local{ended: make(chan struct{}, 10000)}
	start("hangs", hangs, 150*time.Millisecond)
	next(t, reports, Late, "no answer within 100ms")
	<-run.ended // the last process has closed its output
}

// logIn opens the log in a folder, whose older files are log.1, log.2 and so on.
func logIn(dir string) func(back int) (*os.File, error) {
	return func(back int) (*os.File, error) {
		name := dir + "/log"
		if back > 0 {
			name = fmt.Sprint(name, ".", back)
		}
		return os.Open(name)
	}
}

// A logFolder is a log that is rotated.
type logFolder struct {
	t   *testing.T
	dir string
	f   *os.File
}

func newLog(t *testing.T) *logFolder {
	l := &logFolder{t: t, dir: t.TempDir()}
	t.Cleanup(func() {
		if l.f != nil {
			_ = l.f.Close()
		}
	})
	return l
}

func (l *logFolder) must(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatal(err)
	}
}

func (l *logFolder) write(text string) {
	l.t.Helper()
	if l.f == nil {
		f, err := os.Create(l.dir + "/log")
		l.must(err)
		l.f = f
	}
	_, err := io.WriteString(l.f, text)
	l.must(err)
}

// rotate renames the files, the oldest first, and keeps so many.
func (l *logFolder) rotate(keep int) {
	l.t.Helper()
	name := func(n int) string { return fmt.Sprint(l.dir, "/log.", n) }
	for n := keep; n > 1; n-- {
		if err := os.Rename(name(n-1), name(n)); err != nil && !errors.Is(err, os.ErrNotExist) {
			l.t.Fatal(err)
		}
	}
	l.must(os.Rename(l.dir+"/log", name(1)))
	l.must(l.f.Close())
	l.f = nil
}

// TestLog: what happens to a log between looks at it. The steps: a text is written, R rotates
// and keeps three files, O one; G renames the newest rotated file; look looks.
func TestLog(t *testing.T) {
	long := strings.Repeat("x", maxLine)
	tests := []struct {
		name  string
		steps []string
		want  bool
	}{
		{"no log", []string{"look"}, false},
		{"no match", []string{"starting\n", "look", "already\n", "readying\n"}, false},
		{"match", []string{"starting\nready\n"}, true},
		{"later", []string{"starting\n", "look", "look", "ready\n"}, true},
		{"CR LF", []string{"ready\r\n"}, true},
		{"half a line", []string{"ready"}, false},
		{"in two pieces", []string{"rea", "look", "dy\n"}, true},
		{"rotated before the first look", []string{"ready\n", "R", "a\n", "R", "b\n"}, true},
		{"rotated, no new file yet", []string{"starting\n", "look", "ready\n", "R"}, true},
		{"written after the last look, then rotated", []string{"a\n", "look", "ready\n", "R", "b\n"}, true},
		{"in the new file", []string{"a\n", "look", "R", "ready\n"}, true},
		{"rotated twice between two looks", []string{"a\n", "look", "R", "ready\n", "R", "b\n"}, true},
		{"in the newest of three", []string{"a\n", "look", "R", "b\n", "R", "ready\n"}, true},
		{"the file that was read is gone", []string{"a\n", "look", "b\n", "O", "c\n", "O", "ready\n"}, true},
		{"lost with a file that was not kept", []string{"a\n", "look", "O", "ready\n", "O", "c\n", "O", "d\n"}, false},
		{"between two renames", []string{"ready\n", "R", "G", "b\n"}, true},
		{"a line across a rotation", []string{"rea", "look", "R", "dy\n"}, true},
		{"long line", []string{long + long + "\nready\n"}, true},
		{"end of a long line", []string{long + "ready\n"}, false},
		{"zeros", []string{"\x00\x00\nready\n"}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := newLog(t)
			c := Check{Kind: Log, Target: "^ready$"}
			q, err := c.question(&Instance{Log: logIn(l.dir)})
			l.must(err)
			defer q.close()
			for _, s := range tt.steps {
				switch s {
				case "look":
					answer(t, "look", q.ask(t.Context()), errNoLine.Error())
				case "R":
					l.rotate(3)
				case "G":
					l.must(os.Rename(l.dir+"/log.1", l.dir+"/log.2"))
				case "O":
					l.rotate(1)
				default:
					l.write(s)
				}
			}
			want := ""
			if !tt.want {
				want = errNoLine.Error()
			}
			answer(t, "last look", q.ask(t.Context()), want)
		})
	}
}

// TestLogRotatedDuringALook: what is written after the file was read, and before the look for
// a newer one, is read too.
func TestLogRotatedDuringALook(t *testing.T) {
	l := newLog(t)
	l.write("starting\n")
	meanwhile := func() {}
	c := Check{Kind: Log, Target: "^ready$"}
	q, err := c.question(&Instance{Log: func(back int) (*os.File, error) {
		meanwhile()
		return logIn(l.dir)(back)
	}})
	l.must(err)
	defer q.close()
	answer(t, "first look", q.ask(t.Context()), errNoLine.Error())
	meanwhile = func() {
		meanwhile = func() {}
		l.write("ready\n")
		l.rotate(3)
		l.write("more\n")
	}
	answer(t, "second look", q.ask(t.Context()), "")
}

// TestLogWhileItIsRotated: a line is found whatever is renamed at that moment. The writer
// rotates after each few lines, and keeps enough files that none is lost.
func TestLogWhileItIsRotated(t *testing.T) {
	k, reports := live(t)
	for round := range 30 {
		l := newLog(t)
		key := fmt.Sprint(round)
		check := &Check{Kind: Log, Target: "^ready$", Interval: time.Millisecond}
		if err := k.Start(key, Instance{Ready: check, Log: logIn(l.dir)}); err != nil {
			t.Fatal(err)
		}
		for n := range 40 {
			for range round {
				l.write("waiting\n")
			}
			if n == 20 {
				l.write("ready\n")
			}
			l.write("waiting\n")
			l.rotate(50)
		}
		next(t, reports, Ready, "")
		k.Stop(key)
	}
}

// TestLogIsClosed: no descriptor is left of logs that were read.
func TestLogIsClosed(t *testing.T) {
	l := newLog(t)
	l.write("ready\n")
	opened := make(chan *os.File, 1000)
	open := func(back int) (*os.File, error) {
		f, err := logIn(l.dir)(back)
		if err == nil {
			opened <- f
		}
		return f, err
	}
	ctx, cancel := context.WithCancel(t.Context())
	reports := make(chan Report, 100)
	k := New(func(r Report) { reports <- r })
	var done sync.WaitGroup
	done.Go(func() { _ = k.Run(ctx) })
	for key, pattern := range map[string]string{"matches": "ready", "stopped": "never", "kept": "never", "replaced": "never", "late": "never"} {
		i := Instance{Ready: &Check{Kind: Log, Target: pattern, Interval: time.Millisecond}, Log: open}
		if key == "late" {
			i.Within = 20 * time.Millisecond
		}
		if err := k.Start(key, i); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		<-reports // matches, late
	}
	l.rotate(3)
	l.write("more\n")
	k.Stop("stopped")
	if err := k.Start("replaced", Instance{}); err != nil {
		t.Fatal(err)
	}
	<-reports
	cancel()
	done.Wait()
	if len(opened) < 5 {
		t.Errorf("opened %d files", len(opened))
	}
	for len(opened) > 0 {
		if err := (<-opened).Close(); !errors.Is(err, os.ErrClosed) {
			t.Errorf("a file was left open: %v", err)
		}
	}
}

// TestValidate: each refusal says what is wrong, and what is right.
func TestValidate(t *testing.T) {
	tests := []struct {
		check Check
		alive bool
		want  string
	}{
		{Check{Kind: "ping"}, false, `"ping" is no kind of check: the kinds are notify, tcp, http, exec, log, delay`},
		{Check{Kind: TCP}, false, "want HOST:PORT, PORT or unix:PATH"},
		{Check{Kind: TCP, Target: "::1:80"}, false, "an IPv6 address is in brackets"},
		{Check{Kind: TCP, Target: "host"}, false, "want HOST:PORT"},
		{Check{Kind: TCP, Target: "host:http"}, false, "want HOST:PORT"},
		{Check{Kind: TCP, Target: "host:65536"}, false, "want HOST:PORT"},
		{Check{Kind: TCP, Target: "0"}, false, "want HOST:PORT"},
		{Check{Kind: TCP, Target: "unix:"}, false, "want unix:PATH"},
		{Check{Kind: TCP, Target: "[::1]:65535"}, true, ""},
		{Check{Kind: HTTP, Target: "/health"}, false, "a path needs a port before it, as in 8080/health, or a socket"},
		{Check{Kind: HTTP, Target: "/health", Unix: "/run/s"}, false, ""},
		{Check{Kind: HTTP, Target: "ftp://x"}, false, "want a URL"},
		{Check{Kind: HTTP, Target: "http://x:y/"}, false, "invalid port"},
		{Check{Kind: HTTP, Target: ""}, false, "want a URL"},
		{Check{Kind: HTTP, Target: "http://[::1"}, false, "missing ']'"},
		{Check{Kind: HTTP, Target: "[::1]:80/x"}, false, ""},
		{Check{Kind: Exec}, false, "want a command and its arguments"},
		{Check{Kind: Log}, false, "a regular expression is missing"},
		{Check{Kind: Log, Target: "("}, false, "missing closing )"},
		{Check{Kind: Log, Target: "x"}, true, "says nothing about whether a process still works"},
		{Check{Kind: Delay}, false, "must be more than 0"},
		{Check{Kind: Delay, Delay: 1}, true, "says nothing about whether a process still works"},
		{Check{Kind: Notify}, true, ""},
		{Check{Kind: Notify, Interval: -1}, true, "none can be less than 0"},
	}
	for _, tt := range tests {
		answer(t, fmt.Sprintf("%+v", tt.check), tt.check.Validate(tt.alive), tt.want)
		if err := New(nil).Start("x", Instance{Ready: &tt.check}); tt.want != "" && !tt.alive && err == nil {
			t.Errorf("%+v: started", tt.check)
		}
	}
	for _, c := range []Check{{Kind: Exec, Command: []string{"true"}}, {Kind: Log, Target: "x"}} {
		if err := New(nil).Start("x", Instance{Ready: &c}); err == nil {
			t.Errorf("%+v: started without what it needs", c)
		}
	}
}
