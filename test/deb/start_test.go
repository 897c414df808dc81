package deb

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"
)

// lateBoot delays what a machine has late: a clock that is set, by what systemd calls
// time-sync.target, and a /var that is mounted. Each waits for a line in a FIFO.
var lateBoot = map[string]string{
	"clock.service": `[Unit]
Description=Sets the clock
DefaultDependencies=no
Before=time-sync.target
Wants=time-sync.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'read -r _ </run/host/clock'
`,
	"disk.service": `[Unit]
Description=Has the disk of /var
DefaultDependencies=no
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'read -r _ </run/host/disk'
`,
	"early.service": `[Unit]
Description=Asks early, and opens the gates one after the other
DefaultDependencies=no
After=activationd.socket
[Service]
Type=oneshot
ExecStart=/bin/sh /run/host/early
`,
	"var-lib-activationd.mount": `[Unit]
DefaultDependencies=no
Requires=disk.service
After=disk.service
[Mount]
What=/run/host/state
Where=/var/lib/activationd
Type=none
Options=bind
`,
}

// early asks the daemon, and notes before each gate is opened whether it has an answer.
const early = `cd /run/host
atctl list --state held --json >answer 2>&1 &
for name in clock disk; do
	until [ "$(systemctl show -P ActiveState $name.service)" = activating ]; do sleep 0.1; done
	echo "$name: the daemon is $(systemctl show -P ActiveState activationd.service), the answer has $(wc -c <answer) bytes" >>report
	echo >$name
done
wait
echo "asked: $(cat answer)" >>report
`

// TestLateBoot boots a machine whose clock is set late and whose /var/lib/activationd is
// mounted late. The socket is there early: the first request waits, is answered, and
// finds the state that is on the late file system.
func TestLateBoot(t *testing.T) {
	t.Parallel()
	m := boot(t)
	_, newer := releases(t)
	m.install(newer.main)
	id := m.do("atctl", "add", "--hold", "--dir", "/", "--", "true")
	m.do("systemctl", "stop", "activationd.socket", "activationd.service")
	m.sh(`cp -a /var/lib/activationd /run/host/state
		rm -r /var/lib/activationd/*
		mkfifo /run/host/clock /run/host/disk`)
	m.write("/run/host/early", early, 0o644)
	for name, text := range lateBoot {
		m.write("/etc/systemd/system/"+name, text, 0o644)
	}
	m.sh(`mkdir -p /etc/systemd/system/multi-user.target.wants
		ln -s ../clock.service ../early.service /etc/systemd/system/multi-user.target.wants`)
	m.off()
	m.on()
	report := m.read("/run/host/report")
	t.Log(report)
	for _, name := range []string{"clock", "disk"} {
		if !regexp.MustCompile(`(?m)^` + name + `: the daemon is (inactive|activating), the answer has 0 bytes$`).MatchString(report) {
			t.Errorf("before the machine had the %s, the daemon was to wait, and so was the request", name)
		}
	}
	if !strings.Contains(report, fmt.Sprintf(`asked: {"id":%q`, id)) {
		t.Errorf("the first request did not have the job %s", id)
	}
	if state := m.state("activationd.service"); state != "active" {
		t.Errorf("after the boot the daemon is %s", state)
	}
}

// TestRestartsByNeedrestart has needrestart restart the daemon ten times, each time
// because the daemon's program was replaced. What runs goes on. As packaged, needrestart
// finds nothing to do.
func TestRestartsByNeedrestart(t *testing.T) {
	t.Parallel()
	m := boot(t)
	_, newer := releases(t)
	m.apt("install", "--no-install-recommends", "needrestart")
	m.install(newer.main)
	m.write("/usr/local/bin/job", job, 0o755)
	m.sh("mkfifo /var/tmp/gate")
	id := m.do("atctl", "add", "--dir", "/", "--", "job", "1")
	m.until("a job runs", func() bool { return len(m.processes()) == 1 })
	before := m.processes()
	replace := func() {
		m.sh("for p in /usr/bin/activationd /usr/libexec/activationd/atwrap; do cp $p $p.new; mv $p.new $p; done")
	}

	replace()
	if out := m.do("needrestart", "-b", "-r", "a"); !strings.Contains(out, "NEEDRESTART-VER") || strings.Contains(out, "activationd") {
		t.Errorf("needrestart, as the package has told it, says\n%s", out)
	}
	m.do("rm", "/etc/needrestart/conf.d/activationd.conf")
	began := time.Now()
	main := m.property("activationd.service", "MainPID")
	for i := range 10 {
		replace()
		m.do("needrestart", "-q", "-r", "a", "-l")
		now := m.property("activationd.service", "MainPID")
		if state := m.state("activationd.service"); state != "active" || now == main {
			t.Fatalf("after restart %d the daemon is %s, as process %s after %s", i+1, state, now, main)
		}
		main = now
	}
	t.Logf("ten restarts in %v", time.Since(began))
	// needrestart may be slow here. By hand it is quicker.
	m.do("systemctl", "reset-failed", "activationd.service")
	began = time.Now()
	m.sh("for i in $(seq 10); do systemctl restart activationd.service; done")
	t.Logf("ten more in %v", time.Since(began))
	if state := m.state("activationd.service"); state != "active" {
		t.Errorf("after ten restarts the daemon is %s", state)
	}
	if after := m.processes(); strings.Join(after, " ") != strings.Join(before, " ") {
		t.Errorf("there run %q, want %q", after, before)
	}
	m.sh("echo >/var/tmp/gate")
	m.do("atctl", "wait", id)

	// A configuration that the daemon refuses still ends in failed; when it is corrected, the daemon starts.
	m.write("/etc/activationd/activationd.yaml", "nonsense: true\n", 0o644)
	m.try("systemctl", "reset-failed", "activationd.service")
	m.try("systemctl", "restart", "activationd.service")
	m.until("systemd gives up", func() bool { return m.state("activationd.service") == "failed" })
	m.write("/etc/activationd/activationd.yaml", "{}\n", 0o644)
	m.do("systemctl", "reset-failed", "activationd.service")
	m.do("systemctl", "start", "activationd.service")
	m.do("atctl", "status")
	if state := m.state("activationd.socket"); state != "active" {
		t.Errorf("the socket is %s when the daemon has been started again", state)
	}
}
