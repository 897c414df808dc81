package deb

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"activationd/control"
	"activationd/internal/fault"
)

// busy is the configuration of a machine with much to do.
const busy = `
access: {operators: ['%activationd']}
runs: {max_parallel: 200}
services:
  shop/web: {command: [/usr/bin/sleep, infinity], instances: 20}
listeners:
  - {queues: [mail], per: stream, window: 50, command: [/usr/local/bin/handle]}
`

// handle is a listener that writes down what it has handled.
const handle = `#!/bin/sh
while read -r line; do
	id=${line#*\"id\":}
	body=${line#*\"body\":\"}
	echo "${body%%\"*}" >>/var/tmp/handled
	echo "{\"id\":${id%%,*},\"ok\":true}"
done
`

// job is a run that waits until the test writes a line, and writes down that it has ended.
const job = `#!/bin/sh
read -r _ <>/var/tmp/gate
echo "$1" >>/var/tmp/ended
`

// A load is what happens on a machine during an upgrade.
type load struct {
	m      *machine
	socket string
	stop   chan struct{}
	tasks  sync.WaitGroup

	pushed  atomic.Int64 // messages that were acknowledged
	polled  atomic.Int64 // requests that were answered
	broken  atomic.Int64 // requests without an answer: the daemon ended before it read them
	refused atomic.Int64 // connections that nobody took
}

// startLoad has 50 runs and 20 services running, and starts to push and to poll.
func (m *machine) startLoad() *load {
	m.t.Helper()
	m.write("/usr/local/bin/handle", handle, 0o755)
	m.write("/usr/local/bin/job", job, 0o755)
	m.write("/etc/activationd/activationd.yaml", busy, 0o644)
	m.write("/etc/dpkg/dpkg.cfg.d/edited", "force-confold\n", 0o644) // what is edited stays as it is
	m.sh(`mkfifo /var/tmp/gate
		atctl reload
		for i in $(seq 50); do atctl add --dir / -- job $i >/dev/null; done
		atctl queue create mail`)
	m.until("50 jobs, 20 services and a listener run", func() bool {
		return len(m.processes()) == 71
	})
	l := &load{m: m, socket: fmt.Sprintf("/proc/%d/root/run/activationd/control.sock", m.Init), stop: make(chan struct{})}
	var next atomic.Int64
	for range 4 {
		l.tasks.Go(func() { l.push(&next) })
	}
	l.tasks.Go(l.poll)
	return l
}

// processes returns the scripts, services and listeners that run, with their numbers.
func (m *machine) processes() (found []string) {
	m.t.Helper()
	for l := range strings.Lines(m.do("ps", "-eo", "pid,args")) {
		f := strings.Fields(l)
		if args := strings.Join(f[1:], " "); args == "/usr/bin/sleep infinity" || strings.HasPrefix(args, "/bin/sh /usr/local/bin/") {
			found = append(found, f[0]+" "+args)
		}
	}
	return found
}

// push pushes a message each 8 ms, and each as often as is needed to be acknowledged.
func (l *load) push(next *atomic.Int64) {
	c := &control.Client{Address: l.socket}
	defer func() { _ = c.Close() }()
	tick := time.NewTicker(8 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-l.stop:
			return
		case <-tick.C:
		}
		body := "m" + strconv.FormatInt(next.Add(1), 10)
		in := control.QueuePushIn{Name: "mail", Body: []string{body}, Key: body, UniqueFor: "1h", OnDuplicate: "ignore"}
		for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
			_, _, err := control.Call[control.QueuePushOut](context.Background(), c, "queue push", in)
			if err == nil {
				l.pushed.Add(1)
				break
			}
			if fault.Of(err) != fault.Unavailable || time.Now().After(deadline) {
				l.m.t.Errorf("push of %s: %v", body, err)
				return
			}
		}
	}
}

// poll connects every 5 ms and asks for the state.
func (l *load) poll() {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-l.stop:
			return
		case <-tick.C:
		}
		switch err := l.ask(); {
		case err == nil:
			l.polled.Add(1)
		case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, os.ErrNotExist):
			l.refused.Add(1)
		case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
			l.broken.Add(1)
		default:
			l.m.t.Errorf("a request: %v", err)
		}
	}
}

func (l *load) ask() error {
	conn, err := net.Dial("unix", l.socket)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if _, err := io.WriteString(conn, "status\n"); err != nil {
		return err
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err == nil && !strings.HasPrefix(line, "200") && !strings.HasPrefix(line, "503") {
		err = fmt.Errorf("the reply %q", line)
	}
	return err
}

// end stops pushing and polling.
func (l *load) end() {
	close(l.stop)
	l.tasks.Wait()
}

// TestUpgradeUnderLoad upgrades a busy daemon, goes back to the older version, which
// cannot read the newer state, and upgrades again.
func TestUpgradeUnderLoad(t *testing.T) {
	t.Parallel()
	m := boot(t)
	older, newer := releases(t)
	m.install(older.main)
	l := m.startLoad()
	m.until("the load has begun", func() bool { return l.polled.Load() > 50 && l.pushed.Load() > 50 })
	before, began := m.processes(), time.Now()

	m.install(newer.main)
	answered := l.polled.Load()
	m.until("the new daemon answers", func() bool { return l.polled.Load() > answered+50 })
	l.end()
	t.Logf("%d messages in %v, %d requests answered, %d broken off", l.pushed.Load(), time.Since(began), l.polled.Load(), l.broken.Load())
	if n := l.refused.Load(); n != 0 {
		t.Errorf("%d connections were refused", n)
	}
	if n := l.broken.Load(); n > 5 {
		t.Errorf("%d requests were not answered", n)
	}
	m.runsVersion(newer.version)
	if after := m.processes(); !slices.Equal(after, before) {
		t.Errorf("after the upgrade there run\n%q\nbefore it\n%q", after, before)
	}
	m.until("all messages are handled", func() bool { return l.handled() >= int(l.pushed.Load()) })
	m.exactly("/var/tmp/handled", "m", int(l.pushed.Load()))

	// Back to a version that does not know this state.
	m.apt(append([]string{"install", "--allow-downgrades"}, m.bring(older.main)...)...)
	m.until("systemd gives up", func() bool { return m.state("activationd.service") == "failed" })
	if log := m.do("journalctl", "--no-pager", "-u", "activationd"); !strings.Contains(log, "and this activationd knows versions up to") {
		t.Errorf("the journal does not say why the older version does not start:\n%s", log)
	}
	if after := m.processes(); !slices.Equal(after, before) {
		t.Errorf("after the downgrade there run\n%q\nbefore it\n%q", after, before)
	}

	m.install(newer.main)
	m.runsVersion(newer.version)
	if after := m.processes(); !slices.Equal(after, before) {
		t.Errorf("after the second upgrade there run\n%q\nbefore it\n%q", after, before)
	}
	m.sh("yes '' | head -n 50 >/var/tmp/gate")
	m.until("the jobs have ended", func() bool { return len(m.processes()) == 21 })
	m.until("their ends are recorded", func() bool {
		return strings.TrimSpace(m.sh("atctl list --state finished --json | grep -o '\"outcome\":\"succeeded\"' | wc -l")) == "50"
	})
	m.exactly("/var/tmp/ended", "", 50)
	if state := m.state("activationd.socket"); state != "active" {
		t.Errorf("the socket is %s at the end", state)
	}
}

// runsVersion checks that the daemon that runs is of a version.
func (m *machine) runsVersion(version string) {
	m.t.Helper()
	if state := m.state("activationd.service"); state != "active" {
		m.t.Fatalf("the daemon is %s:\n%s", state, m.do("systemctl", "status", "--no-pager", "activationd.service"))
	}
	if out := m.do("atctl", "status", "--json"); !strings.Contains(out, `"version":"`+version+`"`) {
		m.t.Errorf("the daemon is not of version %s: %s", version, out)
	}
}

// handled returns how many messages were handled.
func (l *load) handled() int {
	n, err := strconv.Atoi(strings.TrimSpace(l.m.sh("wc -l </var/tmp/handled")))
	if err != nil {
		l.m.t.Fatal(err)
	}
	return n
}

// exactly checks that a file has the lines prefix1 to prefixN, each once.
func (m *machine) exactly(path, prefix string, n int) {
	m.t.Helper()
	seen := map[string]int{}
	for l := range strings.Lines(m.read(path)) {
		seen[strings.TrimSpace(l)]++
	}
	for i := 1; i <= n; i++ {
		if line := prefix + strconv.Itoa(i); seen[line] != 1 {
			m.t.Errorf("%s has %s %d times, want once", path, line, seen[line])
		}
	}
	if len(seen) != n {
		m.t.Errorf("%s has %d different lines, want %d", path, len(seen), n)
	}
}
