package test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"activationd/control"
	"activationd/metrics/exposition"
)

// metricsConfig has something of each kind that has metrics.
const metricsConfig = `
listen_http: [{address: "127.0.0.1:PORT", role: viewer}, "unix:DIR/http.sock"]
lab: {inventory: DIR/inventory.yaml}
sources: [{files: DIR/res.yaml}]
reservations: {activate: ["true"], deactivate: ["true"]}
listeners: [{name: mails, queues: ["mail*"], command: ["true"]}]
hooks: [{name: log, on: ["build.#"], command: ["true"]}]
`

// failing is a service whose process ends again and again.
const failing = `services: {flaky: {command: ["false"], backoff: {first: 100ms, max: 100ms}}}
`

// metered makes a daemon that has something of each kind, and returns the port of /metrics.
func metered(t *testing.T, more string) (d *daemon, port int) {
	t.Helper()
	port = freePort(t)
	d = newDaemon(t, strings.ReplaceAll(metricsConfig, "PORT", strconv.Itoa(port))+more)
	d.write("inventory.yaml", "pools: {campus: {ranges: [100-109]}}\ndevices: {h1: {platform: linux}}\n", 0o644)
	d.write("res.yaml", yaml(someDay(2)...), 0o644)
	return d, port
}

// overUnix is a client of the daemon's Unix socket for HTTP.
func (d *daemon) overUnix() *http.Client {
	client, _ := d.overHTTP()
	return client
}

// scrape reads the metrics, and checks them.
func (d *daemon) scrape(c *http.Client) (*exposition.Scrape, string) {
	d.t.Helper()
	req, err := http.NewRequestWithContext(d.t.Context(), http.MethodGet, "http://localhost/metrics", nil)
	if err != nil {
		d.t.Fatal(err)
	}
	resp, err := c.Do(req)
	if err != nil {
		d.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		d.t.Fatalf("GET /metrics: %s, %v: %s", resp.Status, err, text)
	}
	s, err := exposition.Parse(string(text))
	if err != nil {
		d.t.Fatalf("%v, in\n%s", err, text)
	}
	return s, string(text)
}

// work gives the daemon work, until the function that it returns is called.
func (d *daemon) work() (stop func()) {
	ctx, cancel := context.WithCancel(d.t.Context())
	var all sync.WaitGroup
	all.Go(func() {
		c := control.Client{Address: d.socket}
		defer func() { _ = c.Close() }()
		for i := 0; ctx.Err() == nil; i++ {
			script := []string{"true"}
			if i%3 == 0 {
				script = []string{"false"}
			}
			_, _, err := control.Call[control.AddOut](ctx, &c, "add", control.AddIn{Arg: script})
			if err == nil {
				_, _, err = control.Call[control.QueuePushOut](ctx, &c, "queue push", control.QueuePushIn{Name: "mail", Body: []string{"text"}})
			}
			if err == nil {
				_, _, err = control.Call[control.PublishOut](ctx, &c, "publish", control.PublishIn{Topic: "build.1", Text: "ready"})
			}
			if err != nil && ctx.Err() == nil {
				d.t.Errorf("work: %v", err)
				return
			}
			_, _, _ = control.Call[control.Detail](ctx, &c, "show", control.IDIn{ID: "nobody"})
			select {
			case <-ctx.Done():
			case <-time.After(50 * time.Millisecond): // the pace of the load
			}
		}
	})
	return func() { cancel(); all.Wait() }
}

// TestMetrics reads the metrics of a daemon that works, and of the next one after kill -9.
func TestMetrics(t *testing.T) {
	t.Parallel()
	d, _ := metered(t, failing)
	d.Start()
	c := d.overUnix()
	d.must("queue", "create", "mail")
	stop := d.work()
	defer stop()
	long := d.add("--", "sleep", "1000")

	before, _ := d.scrape(c)
	value := func(name string, labels ...string) float64 {
		v, _ := before.Value("activationd_"+name, labels...)
		return v
	}
	d.await("all that is counted", func() bool {
		now, _ := d.scrape(c)
		if falls := before.Falls(now); falls != nil {
			t.Fatalf("counters fall while the daemon runs:\n%s", strings.Join(falls, "\n"))
		}
		before = now
		return value("attempts_total", "kind", "job", "phase", "activate", "outcome", "failed") >= 2 &&
			value("queue_deliveries_total", "queue", "mail", "result", "done") >= 2 && value("hook_deliveries_total", "hook", "log") >= 2 &&
			value("service_restarts_total", "service", "flaky", "reason", "failed") >= 2 &&
			value("requests_total", "face", "line", "op", "show", "code", "404") >= 2 &&
			value("requests_total", "face", "http", "op", "metrics", "code", "200") >= 2
	})
	stop()
	// The long job has not ended, and its start counts.
	d.InState(long, "activating")
	d.await("the start of a job that still runs", func() bool {
		before, _ = d.scrape(c)
		ended := 0.0
		for _, outcome := range []string{"succeeded", "failed"} {
			ended += value("attempts_total", "kind", "job", "phase", "activate", "outcome", outcome)
		}
		return value("start_lateness_seconds_count") == ended+1 && value("attempts_running") >= 1
	})
	for _, want := range []struct {
		value  float64
		name   string
		labels []string
	}{
		{10, "vlans", []string{"pool", "campus", "state", "free"}},
		{2, "source_reservations", []string{"source", d.dir + "/res.yaml"}},
		{0, "source_failing", []string{"source", d.dir + "/res.yaml"}},
		{1, "queue_served", []string{"queue", "mail"}},
		{0, "metrics_dropped_total", nil},
	} {
		if got, ok := before.Value("activationd_"+want.name, want.labels...); !ok || got != want.value {
			t.Errorf("%s %q is %v, %t, want %v", want.name, want.labels, got, ok, want.value)
		}
	}

	_, text := d.scrape(c)
	check := exec.CommandContext(t.Context(), "promtool", "check", "metrics")
	check.Stdin = strings.NewReader(text)
	if out, err := check.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}

	d.Kill()
	d.Start()
	after, _ := d.scrape(d.overUnix())
	kept := keptMetrics(t)
	for _, fall := range before.Falls(after) {
		name, _, _ := strings.Cut(fall, "|")
		name, _, _ = strings.Cut(name, ":")
		if slices.Contains(kept, name) {
			t.Errorf("it is kept, and falls over a restart: %s", fall)
		}
	}
	for _, name := range kept {
		if f := before.Families[name]; f == nil || len(f.Series) == 0 {
			t.Errorf("%s has no series", name)
		}
	}
	d.must("cancel", long)
}

// keptMetrics returns the metrics that docs/metrics.md calls kept.
func keptMetrics(t *testing.T) (names []string) {
	t.Helper()
	text, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if cells := strings.Split(line, "|"); len(cells) == 5 && strings.Contains(cells[3], "*kept*") {
			names = append(names, strings.Trim(cells[1], " `"))
		}
	}
	if len(names) < 3 {
		t.Fatalf("kept are %q", names)
	}
	return names
}

// TestMetricsOfWhatIsGone removes a queue, a service, a hook and a source.
func TestMetricsOfWhatIsGone(t *testing.T) {
	t.Parallel()
	d, port := metered(t, failing)
	d.Start()
	c := d.overUnix()
	d.must("queue", "create", "mail")
	series := func(label, value string) (n int) {
		s, _ := d.scrape(c)
		for _, f := range s.Families {
			for key := range f.Series {
				if strings.Contains(key+"|", fmt.Sprintf("|%s=%q|", label, value)) {
					n++
				}
			}
		}
		return n
	}
	all := [][2]string{{"queue", "mail"}, {"service", "flaky"}, {"hook", "log"}, {"source", d.dir + "/res.yaml"}}
	for _, one := range all {
		d.await("series of "+one[1], func() bool { return series(one[0], one[1]) > 1 })
	}
	d.must("queue", "delete", "mail")
	d.configure(fmt.Sprintf("listen_http: [{address: \"127.0.0.1:%d\", role: viewer}, \"unix:DIR/http.sock\"]\n", port))
	d.must("reload", "--force")
	for _, one := range all {
		d.await("no series of "+one[1], func() bool { return series(one[0], one[1]) == 0 })
	}
}

// TestMetricsRoles has readers of the metrics who may, and who may not.
func TestMetricsRoles(t *testing.T) {
	t.Parallel()
	open, closed := freePort(t), freePort(t)
	d := newDaemon(t, fmt.Sprintf("listen_http: [{address: '127.0.0.1:%d', role: viewer}, {address: '127.0.0.1:%d', role: none}]\ntokens: DIR/tokens\n", open, closed))
	d.write("tokens", "prometheus viewer 0123456789abcdef0123456789abcdef\n", 0o600)
	d.Start()
	get := func(port int, secret string) int {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/metrics", port), nil)
		if err != nil {
			t.Fatal(err)
		}
		if secret != "" {
			req.Header.Set("Authorization", "Bearer "+secret)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		return resp.StatusCode
	}
	for _, tt := range []struct {
		port   int
		secret string
		want   int
	}{
		{open, "", 200}, {closed, "", 401}, {closed, "0123456789abcdef0123456789abcdef", 200}, {closed, "wrong", 401},
	} {
		if got := get(tt.port, tt.secret); got != tt.want {
			t.Errorf("GET /metrics, open %t, with token %q: %d, want %d", tt.port == open, tt.secret, got, tt.want)
		}
	}
}

// A dashboard is the part of Grafana's file that says what is asked.
type dashboard struct {
	Panels []struct {
		Title   string
		Targets []struct{ Expr string }
	}
}

// TestDashboard has Prometheus read a daemon that works, until each query of the dashboard has
// numbers.
func TestDashboard(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("../examples/grafana/activationd.json")
	if err != nil {
		t.Fatal(err)
	}
	var board dashboard
	if err := json.Unmarshal(data, &board); err != nil {
		t.Fatal(err)
	}
	d, port := metered(t, failing)
	d.Start()
	d.must("queue", "create", "mail")
	defer d.work()()
	ask := d.prometheus(port)

	queries := 0
	for _, panel := range board.Panels {
		for _, target := range panel.Targets {
			query := strings.NewReplacer("$__rate_interval", "10s", "$instance", ".*").Replace(target.Expr)
			if strings.Contains(query, "$") {
				t.Errorf("%s: %s: a variable that this test does not know", panel.Title, query)
				continue
			}
			queries++
			d.await(panel.Title+": data for "+query, func() bool { return ask(query) })
		}
	}
	if queries < 40 {
		t.Errorf("the dashboard has only %d queries", queries)
	}
}

// prometheus starts a Prometheus that reads the daemon's metrics, with the alerts of the examples. It
// returns a function that asks it, and reports whether the answer has a number.
func (d *daemon) prometheus(port int) (ask func(query string) bool) {
	t := d.t
	rules, err := filepath.Abs("../examples/prometheus/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	d.write("prometheus.yml", fmt.Sprintf(`
global: {scrape_interval: 500ms, evaluation_interval: 1s}
rule_files: [%s]
scrape_configs: [{job_name: activationd, static_configs: [{targets: ["127.0.0.1:%d"]}]}]
`, rules, port), 0o644)
	own := freePort(t)
	log, err := os.Create(d.dir + "/prometheus.log")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("prometheus", "--config.file="+d.dir+"/prometheus.yml", "--storage.tsdb.path="+d.dir+"/tsdb",
		"--web.listen-address=127.0.0.1:"+strconv.Itoa(own))
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGKILL) // its numbers are not needed any more
		_ = cmd.Wait()
		if t.Failed() {
			text, _ := os.ReadFile(log.Name())
			t.Logf("Prometheus: %s", text)
		}
		_ = log.Close()
	})
	return func(query string) bool {
		resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/api/v1/query?query=%s", own, url.QueryEscape(query)))
		if err != nil { // it begins
			return false
		}
		defer func() { _ = resp.Body.Close() }()
		var reply struct {
			Status, Error string
			Data          struct {
				Result []struct{ Value [2]any }
			}
		}
		err = json.NewDecoder(resp.Body).Decode(&reply)
		if resp.StatusCode == http.StatusServiceUnavailable { // it begins
			return false
		}
		if err != nil || reply.Status != "success" {
			t.Fatalf("%s: %s, %v: %s", query, resp.Status, err, reply.Error)
		}
		return slices.ContainsFunc(reply.Data.Result, func(r struct{ Value [2]any }) bool {
			text, _ := r.Value[1].(string)
			v, err := strconv.ParseFloat(text, 64)
			return err == nil && !math.IsNaN(v) && !math.IsInf(v, 0)
		})
	}
}

// TestAlerts checks that each alert has a test of its own, in which it fires and does not, and runs these tests.
func TestAlerts(t *testing.T) {
	t.Parallel()
	const dir = "../examples/prometheus"
	promtool := func(args ...string) {
		t.Helper()
		if out, err := exec.CommandContext(t.Context(), "promtool", args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %q: %v\n%s", args, err, out)
		}
	}
	promtool("check", "rules", "--lint=all", "--lint-fatal", dir+"/alerts.yml")
	text, err := os.ReadFile(dir + "/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	var alerts []string
	for line := range strings.Lines(string(text)) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "- alert: "); ok {
			alerts = append(alerts, dir+"/tests/"+name+".yml")
		}
	}
	slices.Sort(alerts)
	tests, err := filepath.Glob(dir + "/tests/*.yml")
	if err != nil || !slices.Equal(alerts, tests) {
		t.Fatalf("there are tests of\n%s\nand alerts of\n%s", strings.Join(tests, "\n"), strings.Join(alerts, "\n"))
	}
	for _, file := range tests {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), "exp_alerts: []") || !strings.Contains(string(text), "exp_labels:") {
			t.Errorf("%s: it must have a time at which the alert fires, and one at which it does not", file)
		}
	}
	promtool(append([]string{"test", "rules"}, tests...)...)
}
