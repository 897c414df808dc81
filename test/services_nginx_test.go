package test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"activationd/control"
	"activationd/test/harness"
)

// shop is a web server. It tells each client its instance and its process, takes a while for
// that, and on TERM answers what it has begun. It listens at an address, or at the socket that
// it was passed. To the FIFO that is its last argument it tells when it serves, and when it is
// asked to end.
const shop = `
import http.server, os, signal, socket, sys, threading, time
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        time.sleep(0.02)
        text = ('%s %d' % (os.environ['ACTIVATION_ID'], os.getpid())).encode()
        self.send_response(200)
        self.send_header('Content-Length', str(len(text)))
        self.end_headers()
        self.wfile.write(text)
    def log_message(self, *args):
        pass
class Server(http.server.ThreadingHTTPServer):
    daemon_threads, request_queue_size, allow_reuse_address = False, 128, True
    def __init__(self, fd=None, address=None):
        super().__init__(address or ('', 0), Handler, bind_and_activate=bool(address))
        if fd is not None:
            self.socket.close()
            self.socket = socket.socket(fileno=fd)
            self.socket.setblocking(False)
    def get_request(self):
        connection, address = super().get_request()
        connection.setblocking(True)
        return connection, address
def tell(what):
    with open(os.environ['BEACON'], 'w') as beacon:
        beacon.write('%s %s\n' % (what, os.environ['ACTIVATION_ID']))
if '--listen' in sys.argv:
    host, port = sys.argv[2].split(':')
    server = Server(address=(host, int(port)))
else:
    assert os.environ['LISTEN_PID'] == str(os.getpid()) and os.environ['LISTEN_FDS'] == '1'
    server = Server(fd=3)
def term(*args):
    tell('asked')
    threading.Thread(target=server.shutdown).start() # it waits for the loop, which is in this thread
signal.signal(signal.SIGTERM, term)
tell('serves')
if os.environ.get('NOTIFY_SOCKET'):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.sendto(b'READY=1', os.environ['NOTIFY_SOCKET'].replace('@', '\0'))
server.serve_forever(poll_interval=0.05)
server.server_close() # closes the socket, and waits for the requests that were begun
`

// A rolling restart behind nginx, with constant load: no request fails, none is sent to two
// instances, and at every moment all instances but one are ready, with surge all of them.
func TestRollingBehindNginx(t *testing.T) {
	t.Parallel()
	needProgram(t, "nginx", "python3")
	for _, tt := range []struct {
		name, config, more string
		ready              int
	}{
		{"a port for each instance, and drain", "ports.yaml", "", 3},
		{"a port for each instance, and an extra one", "ports.yaml", "    surge: 1\n", 4},
		{"one socket for all", "socket.yaml", "", 3},
		{"one socket for all, and an extra one", "socket.yaml", "    surge: 1\n", 4},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := newDaemon(t, "")
			b := d.beacon()
			port := freePorts(t, 6)
			places := strings.NewReplacer("/usr/local/bin/shop", "/usr/bin/env, python3, DIR/shop", "/usr/local/bin/upstreams", "DIR/upstreams",
				"8000+", fmt.Sprintf("%d+", port), `"8000"`, fmt.Sprintf("%q", fmt.Sprint(port)), ":8000", fmt.Sprintf(":%d", port),
				"/etc/nginx/shop.upstreams", "DIR/shop.upstreams")
			example := func(name string) string {
				t.Helper()
				data, err := os.ReadFile("../examples/nginx/" + name)
				if err != nil {
					t.Fatal(err)
				}
				return string(data)
			}
			bin, err := filepath.Abs(d.Bin)
			if err != nil {
				t.Fatal(err)
			}
			env := fmt.Sprintf("    environment: {PATH: %q, NGINX_COMMAND: %q}\n", bin+":/usr/sbin:"+os.Getenv("PATH"), "nginx -c DIR/nginx.conf -e DIR/error.log")
			config := strings.Replace(places.Replace(example(tt.config)), "    instances: 4\n", "    instances: 4\n    environment: {BEACON: "+b.path+"}\n"+tt.more, 1)
			if tt.config == "ports.yaml" {
				config += env
			}
			d.configure(config)
			d.write("shop", shop, 0o755)
			d.write("upstreams", example("upstreams"), 0o755)
			if docs := d.read("../docs/services.md"); tt.config == "ports.yaml" && tt.more == "" {
				for _, name := range []string{"ports.yaml", "shop.conf"} {
					for line := range strings.Lines(example(name)) {
						if !strings.Contains(docs, "    "+line) && strings.TrimSpace(line) != "" {
							t.Errorf("docs/services.md does not show the line %q of the example %s", line, name)
						}
					}
				}
			}
			web := d.nginx(port, port, example("shop.conf"), tt.config == "ports.yaml")
			d.begin()
			for n := 1; n <= 4; n++ {
				d.serving(fmt.Sprintf("shop_web@%d", n), "ready")
			}
			l := newRequests(t, web)
			ready := d.watchReady("shop_web")
			l.answered(100)
			d.must("service", "restart", "--rolling", "shop/web")
			if tt.more != "" {
				d.awaitTopic("activation.shop_web@5.#", func() bool { _, there := d.instances()["shop_web@5"]; return !there })
			}
			l.answered(100)
			l.end()
			if least := ready(); least < tt.ready {
				t.Errorf("once only %d were ready, want %d", least, tt.ready)
			}
			extra := tt.ready - 3
			if n := len(l.processes); n < 8 {
				t.Errorf("%d processes have answered, want the %d before and the %d after: %v", n, 4, 4, l.processes)
			}
			serving, least := 0, 4
			for range 4 + 2*(4+extra) {
				switch line := b.next(); {
				case strings.HasPrefix(line, "serves"):
					serving++
				default:
					serving--
					least = min(least, serving)
				}
			}
			if least < tt.ready || serving != 4 {
				t.Errorf("once only %d were serving, want %d; in the end %d", least, tt.ready, serving)
			}
			b.quiet()
			if text := d.read(d.dir + "/error.log"); strings.Contains(text, "[error]") || strings.Contains(text, "[emerg]") {
				t.Errorf("nginx has noted\n%s", text)
			}
		})
	}
}

// freePorts returns a port after which there are some that are free.
func freePorts(t *testing.T, n int) int {
	t.Helper()
	for range 100 {
		// Below the ports from which the kernel takes those of clients: another test would soon have one of them.
		first := 16_000 + (os.Getpid()*61+int(portsTaken.Add(1))*(n+1))%16_000
		free := true
		for p := first; p <= first+n && free; p++ {
			l, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", p))
			if free = err == nil; free {
				free = l.Close() == nil
			}
		}
		if free {
			return first
		}
	}
	t.Fatal("no free ports")
	return 0
}

// portsTaken keeps tests that run at the same time from taking the same ports.
var portsTaken atomic.Int32

// nginx starts nginx with a site, whose instances have ports of their own or share one, and
// returns its URL.
func (d *daemon) nginx(web, port int, site string, ports bool) string {
	d.t.Helper()
	front := freePort(d.t)
	first := fmt.Sprintf("server 127.0.0.1:%d;\n", port)
	if ports {
		first = ""
		for n := 1; n <= 4; n++ {
			first += fmt.Sprintf("server 127.0.0.1:%d max_fails=0;\n", port+n)
		}
	}
	d.write("shop.upstreams", first, 0o644)
	site = strings.NewReplacer("/etc/nginx/shop.upstreams", d.dir+"/shop.upstreams", "127.0.0.1:80;", fmt.Sprintf("127.0.0.1:%d;", front)).Replace(site)
	var temp strings.Builder
	for _, what := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		fmt.Fprintf(&temp, "%s_temp_path %s/%s;\n", what, d.dir, what)
	}
	conf := d.write("nginx.conf", fmt.Sprintf("daemon off;\nworker_processes 1;\npid %[1]s/nginx.pid;\nevents {}\nhttp {\naccess_log off;\n%[2]s%[3]s}\n", d.dir, temp.String(), site), 0o644)
	cmd := exec.Command("nginx", "-c", conf, "-e", d.dir+"/error.log")
	cmd.Env = append(os.Environ(), "PATH=/usr/sbin:"+os.Getenv("PATH"))
	cmd.Stderr = d.Log
	if err := cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
	return fmt.Sprintf("http://127.0.0.1:%d/", front)
}

// Requests are clients that make requests all the time, each with a connection of its own.
type requests struct {
	t         *testing.T
	url       string
	stop      context.CancelFunc
	clients   sync.WaitGroup
	answers   atomic.Int64
	more      chan struct{} // capacity one: there was another answer
	mu        sync.Mutex
	failures  []string
	processes map[string]int
}

// newRequests begins them, once the server answers.
func newRequests(t *testing.T, url string) *requests {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	l := &requests{t: t, url: url, stop: stop, more: make(chan struct{}, 1), processes: make(map[string]int)}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	deadline := time.Now().Add(patience)
	for l.ask(ctx, client) != nil && time.Now().Before(deadline) {
		time.Sleep(10 * time.Millisecond) // nginx does not tell when it listens
	}
	for range 4 {
		l.clients.Go(func() {
			for ctx.Err() == nil {
				err := l.ask(ctx, client)
				if err != nil && ctx.Err() == nil {
					l.mu.Lock()
					l.failures = append(l.failures, err.Error())
					l.mu.Unlock()
				}
				select {
				case <-ctx.Done():
				case <-time.After(5 * time.Millisecond):
				}
			}
		})
	}
	t.Cleanup(l.clients.Wait)
	t.Cleanup(stop)
	return l
}

func (l *requests) ask(ctx context.Context, client *http.Client) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, l.url, http.NoBody)
	if err != nil {
		return err
	}
	r, err := client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = r.Body.Close() }()
	text, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %q %w", r.Status, text, errors.Join(err, errAnswer))
	}
	l.mu.Lock()
	l.processes[string(text)]++
	l.mu.Unlock()
	l.answers.Add(1)
	select {
	case l.more <- struct{}{}:
	default:
	}
	return nil
}

var errAnswer = errors.New("the answer is not good")

// answered waits for so many more answers.
func (l *requests) answered(n int64) {
	l.t.Helper()
	deadline := time.After(patience)
	for until := l.answers.Load() + n; l.answers.Load() < until; {
		select {
		case <-l.more:
		case <-deadline:
			l.t.Fatal("there are no answers any more")
		}
	}
}

// end ends them, and reports those that have failed.
func (l *requests) end() {
	l.t.Helper()
	l.stop()
	l.clients.Wait()
	l.t.Logf("%d requests were answered, by %v", l.answers.Load(), l.processes)
	if n := len(l.failures); n > 0 {
		l.t.Errorf("%d requests have failed: %s", n, strings.Join(l.failures[:min(n, 5)], "\n"))
	}
}

// watchReady counts from now on, after each event about an instance of a service, how many are
// ready. The function that it returns ends that, and returns the smallest number.
func (d *daemon) watchReady(service string) func() int {
	ctx, stop := context.WithCancel(d.t.Context())
	least, done := 0, make(chan struct{})
	looked := 0
	count := func() error {
		_, all, err := control.Call[control.ServiceInstance](ctx, &d.Client, "service list", control.ServiceIn{Name: []string{service}})
		n := 0
		for _, i := range all {
			if i.State == "ready" {
				n++
			}
		}
		if looked++; err == nil && (looked == 1 || n < least) {
			least = n
		}
		return err
	}
	go func() {
		defer close(done)
		err := control.Stream(ctx, &d.Client, "events", control.EventsIn{Since: harness.AllEvents, Kind: "service"}, func(e control.Event) error {
			if !strings.HasPrefix(e.ID, service+"@") {
				return nil
			}
			return count()
		})
		if ctx.Err() == nil {
			d.t.Errorf("watching %s: %v", service, err)
		}
	}()
	return func() int {
		stop()
		<-done
		return least
	}
}
