package deb

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"activationd/control"
	"activationd/test/harness"
)

// show returns the details of a job or reservation.
func (m *machine) show(id string) control.Detail {
	m.t.Helper()
	var d control.Detail
	if err := json.Unmarshal([]byte(m.do("atctl", "show", "--json", id)), &d); err != nil {
		m.t.Fatal(err)
	}
	return d
}

// running adds a job that ends with a status once enough exists, and returns its id
// and its process.
func (m *machine) running(enough, status string) (id string, pid int) {
	m.t.Helper()
	id = m.do("atctl", "add", "--", "sh", "-c", "until [ -e "+enough+" ]; do sleep 0.1; done; exit "+status)
	m.until("job "+id+" runs", func() bool {
		if a := m.show(id).Attempts; len(a) == 1 {
			pid = a[0].PID
		}
		return pid != 0
	})
	return id, pid
}

// onceDraining has the machine make a file when the daemon drains.
func (m *machine) onceDraining(file string) {
	m.t.Helper()
	m.sh("echo 'until atctl status --json | grep -q draining.:true; do sleep 0.1; done; touch " + file + "' >/run/watch; systemd-run sh /run/watch")
}

// TestRemoveAndInstallAgain removes the package while jobs run and a reservation is active.
// The removal waits for what ends soon and lists what does not end, which goes on; an
// installation finds all of it.
func TestRemoveAndInstallAgain(t *testing.T) {
	t.Parallel()
	r, next := releases(t)
	m := boot(t)
	m.install(r.main)
	now := time.Now().UTC()
	m.write("/etc/activationd/lab.yaml", "reservations:\n- id: lab-1\n  owner: group7\n  start: "+now.Add(-time.Hour).Format(time.RFC3339)+
		"\n  end: "+now.Add(24*time.Hour).Format(time.RFC3339)+"\n", 0o644)
	m.write(configuration, "reservations: {activate: [/bin/true], deactivate: [/bin/true]}\nsources: [{files: lab.yaml}]\n", 0o644)
	m.do("systemctl", "restart", "activationd")
	m.until("the reservation is active", func() bool { return strings.Contains(m.do("atctl", "list", "--state", "active"), "lab-1") })
	long, pid := m.running("/run/enough", "7")
	short, _ := m.running("/run/removing", "5")
	waiting := m.do("atctl", "add", "--in", "24h", "--", "true")

	m.onceDraining("/run/removing")
	start := time.Now()
	o := m.apt("remove", "activationd")
	t.Logf("the removal took %v and printed\n%s%s", time.Since(start), o.out, o.err)
	said := o.out + o.err
	for _, id := range []string{long, "lab-1"} {
		if !strings.Contains(said, id) {
			t.Errorf("the removal does not name %s, which goes on", id)
		}
	}
	if m.exists("/usr/bin/activationd") || m.try("pgrep", "-x", "activationd").status != 1 {
		t.Error("the daemon is still there")
	}
	for _, unit := range []string{"activationd.service", "activationd.socket"} {
		if state := m.state(unit); state != "inactive" {
			t.Errorf("%s is %s", unit, state)
		}
	}
	if !m.exists("/var/lib/activationd") || !m.exists(configuration) {
		t.Error("the state or the configuration is gone after a removal")
	}
	m.do("kill", "-0", strconv.Itoa(pid)) // the job goes on

	m.install(next.main)
	m.until("the daemon has found what ran", func() bool { return m.try("atctl", "list").status == 0 })
	if a := m.show(long); a.State != "activating" || len(a.Attempts) != 1 || a.Attempts[0].PID != pid {
		t.Errorf("the job that ran on is %s with %+v, want its first attempt still, process %d", a.State, a.Attempts, pid)
	}
	m.write("/run/enough", "", 0o644)
	if o := m.try("atctl", "wait", long); o.status != 7 {
		t.Errorf("atctl wait of the job that ran on: %+v, want status 7", o)
	}
	if o := m.try("atctl", "wait", short); o.status != 5 {
		t.Errorf("atctl wait of the job that ended during the removal: %+v, want status 5", o)
	}
	if state := m.show(waiting).State; state != "scheduled" {
		t.Errorf("the job of tomorrow is %s", state)
	}
	if a := m.show("lab-1"); a.State != "active" || len(a.Attempts) != 1 {
		t.Errorf("the reservation is %s with %d attempts, want active as it was", a.State, len(a.Attempts))
	}
}

// TestRemovalIsInterrupted ends a removal while it waits for what runs. A daemon that takes work
// runs afterwards: at once if the scripts could see to that, otherwise after the next run of
// dpkg.
func TestRemovalIsInterrupted(t *testing.T) {
	t.Parallel()
	r, _ := releases(t)
	m := boot(t)
	m.install(r.main)
	path := m.bring(r.main)[0]
	long, pid := m.running("/run/enough", "7")
	draining := func() bool { return strings.Contains(m.do("atctl", "status", "--json"), `"draining":true`) }
	for _, signal := range []string{"HUP", "KILL"} {
		m.sh("setsid dpkg -r activationd >/run/removal 2>&1 & echo $! >/run/removing")
		m.until("the daemon drains", draining)
		m.sh("pkill -" + signal + " -g $(cat /run/removing)")
		if signal == "KILL" {
			m.do("dpkg", "-i", path)
		}
		m.until("after "+signal+" a daemon takes work", func() bool {
			return m.state("activationd.service") == "active" && m.try("atctl", "add", "--", "true").status == 0
		})
		m.sh("dpkg --configure -a; dpkg -i " + path)
		if out := m.do("dpkg", "--audit"); out != "" {
			t.Errorf("after %s dpkg --audit says\n%s", signal, out)
		}
	}
	if a := m.show(long); len(a.Attempts) != 1 || a.Attempts[0].PID != pid {
		t.Errorf("the job has %+v, want one attempt, process %d", a.Attempts, pid)
	}
}

// TestRemovalNamesWhatIsLeft removes the package with nothing that stays, with a service, and
// with a daemon that was stopped while a job runs, which goes on after an installation.
func TestRemovalNamesWhatIsLeft(t *testing.T) {
	t.Parallel()
	r, _ := releases(t)
	m := boot(t)
	m.install(r.main)
	m.running("/run/removing", "0")
	m.onceDraining("/run/removing")
	o := m.apt("remove", "activationd")
	if said := o.out + o.err; strings.Contains(said, "have not ended") || strings.Contains(said, "go on") {
		t.Errorf("nothing was left, and the removal says\n%s", said)
	}

	m.write(configuration, "services: {web: {command: [sleep, infinity]}}\n", 0o644)
	m.install(r.main)
	m.until("the service runs", func() bool { return strings.Contains(m.do("atctl", "list", "--kind", "service"), "web@1") })
	o = m.apt("remove", "activationd")
	if said := o.out + o.err; !strings.Contains(said, "web@1") || !strings.Contains(said, "go on;") {
		t.Errorf("the service goes on, and the removal says\n%s", said)
	}

	m.install(r.main)
	m.sh("until atctl status --wait 10s; do :; done; atctl service stop web")
	_, pid := m.running("/run/enough", "7")
	m.do("systemctl", "stop", "activationd.socket", "activationd.service")
	o = m.apt("remove", "activationd")
	if said := o.out + o.err; !strings.Contains(said, "go on;") {
		t.Errorf("a job goes on, and the removal says\n%s", said)
	}
	m.do("kill", "-0", strconv.Itoa(pid))
	m.install(r.main)
	if state := m.state("activationd.service"); state != "active" {
		t.Errorf("after an installation the daemon is %s", state)
	}

	m.write("/etc/systemd/system/activationd.socket.d/place.conf", "[Socket]\nListenStream=\nListenStream=/run/elsewhere.sock\n", 0o644)
	m.sh("systemctl daemon-reload; systemctl stop activationd.service activationd.socket; systemctl start activationd.service")
	if o := m.apt("remove", "activationd"); !strings.Contains(o.out+o.err, "/run/enough") {
		t.Errorf("the socket is elsewhere and a job goes on, and the removal says\n%s%s", o.out, o.err)
	}
}

// TestPurgeOfADisk purges the package when its state is on a disk of its own: the disk is empty
// and stays mounted.
func TestPurgeOfADisk(t *testing.T) {
	t.Parallel()
	r, _ := releases(t)
	m := boot(t)
	m.sh("mkdir /var/lib/activationd; mount -t tmpfs none /var/lib/activationd")
	m.install(r.main)
	m.sh("atctl wait $(atctl add -- true)")
	m.apt("purge", "activationd")
	if left := m.sh("mountpoint /var/lib/activationd; ls -A /var/lib/activationd; dpkg --audit"); left != "/var/lib/activationd is a mountpoint" {
		t.Errorf("after the purge: %s", left)
	}
}

// TestPurgeLeavesNothing installs, uses, upgrades, removes and purges the packages. Of the
// file system only the group is other than before.
func TestPurgeLeavesNothing(t *testing.T) {
	t.Parallel()
	older, newer := releases(t)
	m := boot(t)
	m.bring(older.main, newer.main)
	// What apt and systemd write at their first use is there before.
	m.sh("systemctl daemon-reload; apt-get -q -y --no-install-recommends install at; apt-get -q -y purge at")
	before := m.snapshot()
	m.install(older.main, older.at)
	m.sh("atctl wait $(atctl add -- echo hello); echo true | at now")
	m.install(newer.main, newer.at)
	m.sh("atctl wait $(atctl add -- echo hello)")
	m.apt("remove", "activationd", "activationd-at")
	left := m.snapshot()
	for path := range left {
		if strings.HasPrefix(path, "/usr/") || strings.HasPrefix(path, "/lib/") {
			t.Errorf("after the removal there is %s", path)
		}
	}
	m.apt("purge", "activationd", "activationd-at")
	after := m.snapshot()
	group := []string{"/etc/group", "/etc/group-", "/etc/gshadow", "/etc/gshadow-"} // no user: it is root's daemon
	for _, line := range after.difference(before) {
		if path, _, _ := strings.Cut(line, ":"); !slices.Contains(group, path) {
			t.Errorf("after the purge %s", line)
		}
	}
	if lines := m.do("sh", "-c", "diff /etc/group- /etc/group || :"); lines == "" || m.do("getent", "group", "activationd") == "" {
		t.Errorf("the group did not stay: %s", lines)
	}
	if state := m.do("sh", "-c", "dpkg --audit; dpkg-query -W -f '${db:Status-Abbrev}' activationd 2>&1 || :"); !strings.Contains(state, "no packages found") && !strings.HasPrefix(state, "un") {
		t.Errorf("dpkg says %q", state)
	}
	for _, path := range []string{"/run/activationd", "/run/activationd.start"} {
		if m.exists(path) {
			t.Errorf("after the purge there is %s", path)
		}
	}
	if procs := m.try("pgrep", "-f", "activationd|atwrap"); procs.status != 1 {
		t.Errorf("processes are left: %s", procs.out)
	}
	// It can be installed as if for the first time.
	m.install(newer.main)
	if id := m.do("atctl", "add", "--", "true"); id != "1" {
		t.Errorf("after a purge and an installation the first job is %s", id)
	}
}

// TestLifeOfPackage goes through what dpkg can do with the package, twice, and dpkg and
// systemd have nothing to complain about at each step.
func TestLifeOfPackage(t *testing.T) {
	t.Parallel()
	older, newer := releases(t)
	m := boot(t)
	paths := m.bring(older.main, newer.main)
	for range harness.Size(1, 2) {
		for _, step := range []struct {
			argv  []string
			state string // of the service, after it
		}{
			{[]string{"dpkg", "-i", paths[0]}, "active"},
			{[]string{"dpkg", "-i", paths[0]}, "active"},
			{[]string{"dpkg", "-i", paths[1]}, "active"},
			{[]string{"dpkg", "-r", "activationd"}, "inactive"},
			{[]string{"dpkg", "-i", paths[1]}, "active"},
			{[]string{"dpkg", "-P", "activationd"}, "inactive"},
			{[]string{"dpkg", "-i", paths[1]}, "active"},
			{[]string{"dpkg", "-P", "activationd"}, "inactive"},
		} {
			o := m.try(step.argv...)
			if o.status != 0 || strings.Contains(o.err, "warning") || strings.Contains(o.err, "not found") {
				t.Errorf("%v: status %d\n%s%s", step.argv, o.status, o.out, o.err)
			}
			if state := m.state("activationd.service"); state != step.state {
				t.Fatalf("after %v the service is %s, want %s", step.argv, state, step.state)
			}
			if out := m.do("dpkg", "--audit"); out != "" {
				t.Errorf("after %v dpkg --audit says\n%s", step.argv, out)
			}
			if out := m.do("systemctl", "--failed", "--no-legend", "--plain"); out != "" {
				t.Errorf("after %v systemd has failed units\n%s", step.argv, out)
			}
			if step.state == "active" {
				m.sh("dpkg --verify activationd; atctl wait $(atctl add -- true)")
			}
		}
	}
}
