package test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/coder/websocket"

	"activationd/control"
	"activationd/control/web/webtest"
	"activationd/docs"
)

// TestFrontServers puts nginx and apache2, as examples/proxy configures them, between a client
// and the daemon: requests, both kinds of streams, names with slashes, users with passwords, and
// users whom a client names by itself.
func TestFrontServers(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		start func(*daemon, string) *exec.Cmd
	}{
		{"nginx", (*daemon).frontNginx},
		{"apache2", (*daemon).frontApache},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			needRoot(t)
			needProgram(t, tt.name, "openssl")
			d := newDaemon(t, "")
			work, err := user.Lookup("www-data")
			if err != nil {
				t.Fatal(err)
			}
			d.configure(fmt.Sprintf("listen_http: [\"unix:%s/http.sock\"]\nbase_path: /lab\nfront: {users: [%s], others: viewer}\naccess: {operators: [daemon]}\n", d.dir, work.Uid))
			if err := os.Chmod(d.dir, 0o755); err != nil {
				t.Fatal(err)
			}
			d.begin()
			address := d.startFront(tt.start)
			c := newFrontClient(t, address)

			if code, _ := c.do("GET", "/lab/api/v1/status", "", ""); code != 401 {
				t.Errorf("without a password: %d", code)
			}
			code, body := c.do("POST", "/lab/api/v1/activations", "daemon", `{"arg": ["echo", "hello"], "label": "a/b"}`)
			var added struct{ ID string }
			if err := json.Unmarshal(body, &added); code >= 300 || err != nil {
				t.Fatalf("a job of a user whom this machine knows: %d %s", code, body)
			}
			d.ended(added.ID, "succeeded", 0)
			if job := d.show(added.ID); job.Owner != "daemon" {
				t.Errorf("its owner is %s", job.Owner)
			}
			if code, body := c.do("POST", "/lab/api/v1/activations", "guest", `{"arg": ["echo"]}`); code != 403 {
				t.Errorf("a job of a user whom it does not know: %d %s", code, body)
			}
			for _, name := range []string{"guest", "root"} {
				want := map[string]int{"guest": 200, "root": 401}[name] // root has no role there
				if code, body := c.do("GET", "/lab/api/v1/activations?state=all", name, ""); code != want {
					t.Errorf("a list for %s: %d %s, want %d", name, code, body, want)
				}
			}
			if code, body := c.do("POST", "/lab/api/v1/reload", "guest", "", "X-Remote-User: daemon"); code != 403 {
				t.Errorf("a client that names an operator: %d %s", code, body)
			}
			if code, body := c.do("GET", "/lab/api/v1/activations/a%2Fb", "daemon", ""); code != 404 || !strings.Contains(string(body), "a/b") {
				t.Errorf("a name with a slash: %d %s", code, body)
			}
			c.followEvents(d)
			c.followSocket(d)
			c.lookAtPages()
		})
	}
}

// startFront starts a front server, and returns its address when it answers.
func (d *daemon) startFront(start func(*daemon, string) *exec.Cmd) string {
	d.t.Helper()
	d.certify()
	var passwords strings.Builder
	for _, name := range []string{"daemon", "guest", "root"} {
		hash := d.output("openssl", "passwd", "-apr1", "secret of "+name)
		fmt.Fprintf(&passwords, "%s:%s\n", name, strings.TrimSpace(hash))
	}
	d.write("lab.passwords", passwords.String(), 0o644)
	address := fmt.Sprintf("127.0.0.1:%d", freePort(d.t))
	cmd := start(d, address)
	cmd.Stderr, cmd.Stdout = d.Log, d.Log
	cmd.Env = append(os.Environ(), "PATH=/usr/sbin:"+os.Getenv("PATH"))
	if err := cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) { // it does not tell when it listens
		conn, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // a certificate made for this test
		if err == nil {
			_ = conn.Close()
			return address
		}
		if time.Now().After(deadline) {
			d.t.Fatalf("the front server does not answer: %v", err)
		}
	}
}

// certify makes lab.key and lab.crt.
func (d *daemon) certify() {
	d.t.Helper()
	d.output("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
		"-keyout", d.dir+"/lab.key", "-out", d.dir+"/lab.crt")
}

// output runs a program, and returns what it prints.
func (d *daemon) output(argv ...string) string {
	d.t.Helper()
	out := d.run("", argv...)
	if out.status != 0 {
		d.t.Fatalf("%v: %d %s", argv, out.status, out.err)
	}
	return out.out
}

// frontExample returns a file of examples/proxy with the places of a test.
func (d *daemon) frontExample(name, address string) string {
	d.t.Helper()
	data, err := os.ReadFile(filepath.Join("../examples/proxy", name))
	if err != nil {
		d.t.Fatal(err)
	}
	return strings.NewReplacer("/etc/ssl/", d.dir+"/", "/etc/nginx/", d.dir+"/", "/etc/apache2/", d.dir+"/",
		"/run/activationd/", d.dir+"/", "listen 443", "listen "+address, "*:443", address).Replace(string(data))
}

func (d *daemon) frontNginx(address string) *exec.Cmd {
	var temp strings.Builder
	for _, what := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		fmt.Fprintf(&temp, "%s_temp_path %s/%s;\n", what, d.dir, what)
	}
	conf := d.write("nginx.conf", fmt.Sprintf("daemon off;\nuser www-data;\nworker_processes 1;\npid %[1]s/nginx.pid;\nevents {}\nhttp {\naccess_log off;\n%[2]s%[3]s}\n",
		d.dir, temp.String(), d.frontExample("nginx.conf", address)), 0o644)
	return exec.Command("nginx", "-c", conf, "-e", d.dir+"/error.log")
}

func (d *daemon) frontApache(address string) *exec.Cmd {
	const modules = "/usr/lib/apache2/modules/"
	var load strings.Builder
	for _, m := range []string{"mpm_event", "authn_core", "authn_file", "authz_core", "authz_user", "auth_basic", "headers", "proxy", "proxy_http", "socache_shmcb", "ssl"} {
		fmt.Fprintf(&load, "LoadModule %s_module %smod_%s.so\n", m, modules, m)
	}
	conf := d.write("apache.conf", fmt.Sprintf("ServerRoot %[1]s\nServerName localhost\nDefaultRuntimeDir %[1]s\nPidFile %[1]s/apache.pid\nUser www-data\nGroup www-data\nErrorLog %[1]s/error.log\nListen %[2]s\n%[3]s%[4]s",
		d.dir, address, load.String(), d.frontExample("apache.conf", address)), 0o644)
	return exec.Command("apache2", "-DFOREGROUND", "-f", conf)
}

// A frontClient is a client of a front server. It checks the daemon's replies against the OpenAPI
// document.
type frontClient struct {
	t       *testing.T
	address string
	http    *http.Client
	plain   *http.Client // checks nothing: for replies of the front server itself
}

func newFrontClient(t *testing.T, address string) *frontClient {
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // a certificate made for this test
	t.Cleanup(transport.CloseIdleConnections)
	checked, err := webtest.New(docs.OpenAPI(), "/lab", transport, func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	return &frontClient{t, address, &http.Client{Transport: checked}, &http.Client{Transport: transport}}
}

// header has the password of a user, and more headers.
func (c *frontClient) header(name string, more ...string) http.Header {
	h := make(http.Header)
	if name != "" {
		h.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(name+":secret of "+name)))
	}
	for _, text := range more {
		key, value, _ := strings.Cut(text, ": ")
		h.Set(key, value)
	}
	return h
}

// open sends a request.
func (c *frontClient) open(method, path, name, body string, more ...string) *http.Response {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), method, "https://"+c.address+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header = c.header(name, more...)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	client := c.http
	if name == "" { // the front server asks for a password
		client = c.plain
	}
	resp, err := client.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = resp.Body.Close() })
	return resp
}

// do sends a request, and returns the reply's status and body.
func (c *frontClient) do(method, path, name, body string, more ...string) (int, []byte) {
	c.t.Helper()
	resp := c.open(method, path, name, body, more...)
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return resp.StatusCode, got
}

// followEvents follows events that the daemon sends to a browser, one after the other: the front
// server must not keep them back.
func (c *frontClient) followEvents(d *daemon) {
	c.t.Helper()
	resp := c.open("GET", "/lab/events?topic=custom.%23", "daemon", "", "Accept: text/event-stream")
	in := bufio.NewScanner(resp.Body)
	for n := range 3 {
		text := fmt.Sprintf("event %d", n)
		if n == 0 {
			for in.Scan() && !strings.HasPrefix(in.Text(), ":") { // the head: it follows from now on
			}
		}
		d.must("publish", "custom.front", text)
		found := false
		for !found && in.Scan() {
			found = strings.HasPrefix(in.Text(), "data: ") && strings.Contains(in.Text(), text)
		}
		if !found {
			c.t.Fatalf("event %d did not come: %v", n, in.Err())
		}
	}
}

// lookAtPages opens the panel in a browser, in which a user gives the name and password that the
// front server asks for: its links, files and forms keep to the path, and its pages are live.
func (c *frontClient) lookAtPages() {
	c.t.Helper()
	_, port, _ := strings.Cut(c.address, ":")
	p := newBrowser(c.t).person(c.t, "https://lab.test:"+port+"/lab")
	p.do(chromedp.Navigate(strings.Replace(p.home, "//", "//daemon:secret%20of%20daemon@", 1) + "/")) // the browser remembers it
	p.open("/")
	p.click(`header a[href="/lab/activations"]`)
	p.open("/activations?kind=job")
	p.until(`document.querySelector("#live").textContent === "Live"`)
	code, body := c.do("POST", "/lab/api/v1/activations", "daemon", `{"arg": ["true"], "in": "1h", "label": "behind a front server"}`)
	var job struct{ ID string }
	if err := json.Unmarshal(body, &job); code >= 300 || err != nil {
		c.t.Fatalf("%d %s", code, body)
	}
	p.until(`!!document.querySelector("#row-%s")`, job.ID)
	p.click("#row-" + job.ID + " a")
	p.click("form.inline:has([name=op][value=hold]) button")
	if at, said := eval[string](p, "location.pathname"), eval[string](p, `document.querySelector("#said")?.textContent ?? ""`); at != "/lab/activations/"+job.ID || said != job.ID+" is held." {
		c.t.Errorf("after a button the browser is at %s, which says %q:\n%s", at, said, p.seen())
	}
	if out := eval[[]string](p, `[...document.querySelectorAll("[href], [action], [src]")].map((e) => e.getAttribute("href") ?? e.getAttribute("action") ?? e.getAttribute("src"))
		.filter((to) => to && !to.startsWith("/lab/") && !to.startsWith("#"))`); len(out) > 0 {
		c.t.Errorf("these addresses do not keep to the path: %q", out)
	}
	if eval[bool](p, `document.querySelector("form[action$='/logout']") !== null`) {
		c.t.Error("a user whom the front server knows can log out")
	}
}

// followSocket is followEvents over a WebSocket, and from a page of this site and of another.
func (c *frontClient) followSocket(d *daemon) {
	c.t.Helper()
	dial := func(origin string) (*websocket.Conn, error) {
		conn, _, err := websocket.Dial(c.t.Context(), "wss://"+c.address+"/lab/events?topic=custom.%23", &websocket.DialOptions{ //nolint:bodyclose // the library closes it
			HTTPClient: c.http, HTTPHeader: c.header("daemon", "Origin: "+origin),
		})
		return conn, err
	}
	if _, err := dial("https://elsewhere.example"); err == nil {
		c.t.Error("a page of another site has a socket")
	}
	conn, err := dial("https://" + c.address)
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = conn.CloseNow() }()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	lines := make(chan string)
	go func() {
		defer close(lines)
		for {
			_, data, err := conn.Read(ctx)
			if err != nil {
				return
			}
			lines <- string(data)
		}
	}()
	for n := 0; ; n++ { // a socket does not tell when it follows
		d.must("publish", "custom.socket", fmt.Sprintf("event %d", n))
		select {
		case line, open := <-lines:
			var ev control.Event
			if err := json.Unmarshal([]byte(line), &ev); !open || err != nil || ev.Topic != "custom.socket" {
				c.t.Errorf("%q, %v", line, err)
			}
			return
		case <-time.After(100 * time.Millisecond):
		}
	}
}
