package test

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestMunin has a real munin-node ask the plugin for each of its graphs, as a user without rights.
func TestMunin(t *testing.T) {
	t.Parallel()
	needRoot(t) // munin-node reads /etc/munin, which is another directory in a namespace of its own
	d, _ := metered(t, failing)
	d.Start()
	queues := []string{"mail", "mail-2", "mail_2", "mail.2", "root"}
	for _, name := range queues {
		d.must("queue", "create", name)
	}
	for range 3 {
		d.must("queue", "push", "root", "--body", "x")
	}
	_, _ = d.wait(d.add("--", "true"))

	plugin, err := filepath.Abs("../examples/munin/activationd_")
	if err != nil {
		t.Fatal(err)
	}
	links, conf := d.dir+"/plugins", d.dir+"/plugin-conf.d"
	if err := os.Mkdir(links, 0o755); err != nil {
		t.Fatal(err)
	}
	d.write("plugin-conf.d/activationd", "[activationd_*]\nuser nobody\nenv.socket "+d.dir+"/http.sock\n", 0o644)
	link := func(graph string) {
		t.Helper()
		if err := os.Symlink(plugin, links+"/activationd_"+graph); err != nil {
			t.Fatal(err)
		}
	}
	run := func(graph, action string) output {
		return d.run("", "munin-run", "--ignore-systemd-properties", "--servicedir", links, "--sconfdir", conf, "activationd_"+graph, action)
	}
	link("")
	if o := run("", "autoconf"); o.out != "yes\n" {
		t.Errorf("autoconf: %+v", o)
	}
	d.await("a restart of the service", func() bool { return strings.Contains(run("", "suggest").out, "restarts\n") })
	graphs := strings.Fields(run("", "suggest").out)
	if len(graphs) < 18 {
		t.Errorf("it suggests only %q", graphs)
	}
	if err := os.Remove(links + "/activationd_"); err != nil {
		t.Fatal(err)
	}
	for _, graph := range graphs {
		link(graph)
	}

	ask := d.muninNode(links, conf)
	if got := strings.Fields(strings.ReplaceAll(ask("list"), "activationd_", "")); !slices.Equal(got, slices.Sorted(slices.Values(graphs))) {
		t.Errorf("munin-node lists %q, and the plugin suggests %q", got, graphs)
	}
	labels := regexp.MustCompile(`(?m)^(\w+)\.label (.+)$`)
	values := regexp.MustCompile(`(?m)^(\w+)\.value (.+)$`)
	for _, graph := range graphs {
		config, fetched := ask("config activationd_"+graph), ask("fetch activationd_"+graph)
		if !strings.HasPrefix(config, "graph_title activationd: ") || values.MatchString(config) {
			t.Errorf("config of %s:\n%s", graph, config)
		}
		fields := make(map[string]string)
		for _, m := range labels.FindAllStringSubmatch(config, -1) {
			if fields[m[1]] != "" {
				t.Errorf("%s: %s and %s have the same field", graph, fields[m[1]], m[2])
			}
			fields[m[1]] = m[2]
		}
		got := values.FindAllStringSubmatch(fetched, -1)
		if len(got) != len(fields) || len(fields) == 0 {
			t.Errorf("%s: config has %d fields, fetch %d:\n%s%s", graph, len(fields), len(got), config, fetched)
		}
		for _, m := range got {
			v, err := strconv.ParseFloat(m[2], 64)
			whole := strings.Contains(config, m[1]+".type DERIVE")
			if err != nil || fields[m[1]] == "" || whole && strings.ContainsAny(m[2], ".e") {
				t.Errorf("%s: %s", graph, m[0])
			}
			if graph == "queues" && fields[m[1]] == "root" && v != 3 {
				t.Errorf("the queue root has %v messages, want 3", v)
			}
		}
		if graph == "queues" && len(fields) != len(queues) {
			t.Errorf("the graph of queues has %v", fields)
		}
	}
	if got := ask("cap dirtyconfig") + ask("config activationd_queues"); !strings.Contains(got, ".value 3") {
		t.Errorf("config has no values, though the master could read them: %s", got)
	}

	d.Kill()
	if o := run(graphs[0], "fetch"); o.status == 0 || strings.Contains(o.out, "value") {
		t.Errorf("without a daemon: %+v", o)
	}
	if o := run(graphs[0], "autoconf"); !strings.HasPrefix(o.out, "no (") || strings.Count(o.out, "\n") != 1 {
		t.Errorf("autoconf without a daemon: %+v", o)
	}
}

// muninNode starts a munin-node with other directories of plugins, and returns a function that asks it.
func (d *daemon) muninNode(links, conf string) (ask func(line string) string) {
	t := d.t
	port := freePort(t)
	d.write("munin.conf", fmt.Sprintf(`log_file %s/munin.log
pid_file %s/munin.pid
background 0
setsid 0
user root
group root
host 127.0.0.1
port %d
allow ^127\.0\.0\.1$
`, d.dir, d.dir, port), 0o644)
	cmd := exec.Command("unshare", "--mount", "sh", "-c", fmt.Sprintf(
		"mount --bind %s /etc/munin/plugins && mount --bind %s /etc/munin/plugin-conf.d && exec munin-node --config %s/munin.conf", links, conf, d.dir))
	cmd.Stdout, cmd.Stderr = d.Log, d.Log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	var conn net.Conn
	d.await("munin-node", func() (ok bool) {
		var err error
		conn, err = net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		return err == nil
	})
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	in := bufio.NewReader(conn)
	line := func() string {
		text, err := in.ReadString('\n')
		if err != nil {
			t.Fatalf("munin-node: %v", err)
		}
		return text
	}
	line() // its greeting
	return func(what string) (reply string) {
		if _, err := fmt.Fprintln(conn, what); err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(what, "config") && !strings.HasPrefix(what, "fetch") {
			return line()
		}
		for {
			switch text := line(); {
			case text == ".\n":
				return reply
			case strings.HasPrefix(text, "#"):
				t.Errorf("munin-node: %s: %s", what, text)
			default:
				reply += text
			}
		}
	}
}
