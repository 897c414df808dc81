package deb

import (
	"strings"
	"testing"
)

// TestSplit follows the steps in activationd-split.conf: the daemon runs as a user of its own, and a spawner
// of root's starts what users submit. A run outlives both. After an upgrade and a boot it still works.
func TestSplit(t *testing.T) {
	t.Parallel()
	older, newer := releases(t)
	m := boot(t)
	m.install(older.main)
	m.sh("useradd --create-home worker")
	const examples = "/usr/share/doc/activationd/examples/systemd"
	steps := 0
	for line := range strings.Lines(m.read(examples + "/activationd-split.conf")) {
		if step, ok := strings.CutPrefix(line, "#     "); ok {
			m.sh("cd " + examples + " && " + step)
			steps++
		}
	}
	if steps != 5 {
		t.Fatalf("activationd-split.conf has %d steps, want 5", steps)
	}
	works := func() {
		t.Helper()
		if got := m.sh("stat -c %U /proc/$(systemctl show -P MainPID activationd)"); strings.TrimSpace(got) != "activationd-daemon" {
			t.Errorf("the daemon's user is %q", got)
		}
		id := m.do("setpriv", "--reuid=worker", "--regid=worker", "--init-groups", "atctl", "add", "--dir", "/", "--", "sh", "-c", "id -un; cat /proc/self/cgroup")
		m.do("atctl", "wait", id)
		if got := m.do("atctl", "log", id); !strings.HasPrefix(got, "worker\n") || !strings.Contains(got, "\n0::/system.slice/activationd-spawn.service/") {
			t.Errorf("a job said %q", got)
		}
		refused := m.do("atctl", "add", "--dir", "/", "--", "touch", "/root-was-here")
		if o := m.try("atctl", "wait", refused); o.status == 0 || m.exists("/root-was-here") {
			t.Errorf("a job of root's ran: %+v", o)
		}
		if why := m.show(refused); len(why.Attempts) == 0 || !strings.Contains(why.Attempts[len(why.Attempts)-1].Text, "rules do not let scripts run as root") {
			t.Errorf("it was refused as %+v", why.Attempts)
		}
	}
	works()

	m.write("/usr/local/bin/job", job, 0o755)
	m.sh("mkfifo -m 666 /var/tmp/gate")
	id := m.do("setpriv", "--reuid=worker", "--regid=worker", "--init-groups", "atctl", "add", "--dir", "/", "--", "job", "1")
	m.until("the job runs", func() bool { return len(m.processes()) == 1 })
	before := m.processes()
	m.install(newer.main)
	killed := m.pid()
	m.sh("systemctl kill --kill-whom=main --signal=KILL activationd activationd-spawn")
	m.until("another daemon runs", func() bool { pid := m.pid(); return pid != killed && pid != "0" })
	works()
	if now := m.processes(); strings.Join(now, " ") != strings.Join(before, " ") {
		t.Errorf("processes of the job %q, before the kills and the upgrade %q", now, before)
	}
	m.sh("echo >/var/tmp/gate")
	if o := m.try("atctl", "wait", id); o.status != 0 {
		t.Errorf("the job that outlived them: %+v: %+v", o, m.show(id))
	}
	m.off()
	m.on()
	works()
}
