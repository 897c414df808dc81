package deb

import (
	"strings"
	"testing"
)

// TestInsteadOfAt installs activationd-at where Debian's at has jobs: what users type is
// ours then, the jobs are jobs of activationd with their owners and times, and at can be
// installed again.
func TestInsteadOfAt(t *testing.T) {
	t.Parallel()
	r, _ := releases(t)
	m := boot(t)
	m.do("useradd", "--create-home", "--shell", "/bin/sh", "lena")
	m.apt("install", "--no-install-recommends", "at")
	spool := func() string {
		return m.sh("stat -c '%A %U %G %n' /var/spool/cron/atjobs /var/spool/cron/atspool; find /var/spool/cron/atjobs -name 'a*' -type f")
	}
	empty := spool()
	typed := func(user, command string) string {
		m.t.Helper()
		return m.do(as(user, "sh", "-c", "cd; export TZ=UTC; "+command)...)
	}
	typed("lena", "echo 'id -un >at.out; pwd >>at.out' | at noon 2031-08-02")
	typed("root", "echo true | at -q c noon 2031-08-01")
	wantUser, wantRoot := withoutIDs(typed("lena", "atq")), withoutIDs(typed("root", "atq"))

	m.install(r.main, r.at)
	if out := m.do("dpkg-query", "-W", "-f", "${db:Status-Abbrev}", "at"); strings.HasPrefix(out, "ii") {
		t.Errorf("Debian's at is still installed: %s", out)
	}
	for _, name := range []string{"at", "atq", "atrm", "batch"} {
		if file := m.sh("readlink -f $(command -v " + name + ")"); file != "/usr/bin/atctl" {
			t.Errorf("%s is %s, want atctl", name, file)
		}
	}
	if got := withoutIDs(typed("lena", "atq")); got != wantUser {
		t.Errorf("the user's atq says\n%s\nwant what at's own said\n%s", got, wantUser)
	}
	if got := withoutIDs(typed("root", "atq")); got != wantRoot {
		t.Errorf("root's atq says\n%s\nwant what at's own said\n%s", got, wantRoot)
	}
	if left := m.do("find", "/var/spool/cron/atjobs", "-name", "a*", "-type", "f"); left != "" {
		t.Errorf("at's spool has jobs that were imported:\n%s", left)
	}
	id := strings.Fields(typed("lena", "atq"))[0]
	m.do("atctl", "run", id)
	m.do("atctl", "wait", id)
	if out := m.read("/home/lena/at.out"); out != "lena\n/home/lena\n" {
		t.Errorf("the user's job wrote %q, want her name and the directory where she gave it", out)
	}
	typed("lena", "echo 'echo ours >at.out' | at now")
	m.until("a job of today's at has run", func() bool { return m.read("/home/lena/at.out") == "ours\n" })

	// Back to at: its spool is as it was, its daemon runs jobs, and what was imported stays.
	m.apt("install", "--no-install-recommends", "at")
	if out := m.try("dpkg-query", "-W", "-f", "${db:Status-Abbrev}", "activationd-at").out; strings.HasPrefix(out, "ii") {
		t.Errorf("activationd-at is still installed: %s", out)
	}
	if got := spool(); got != empty {
		t.Errorf("at's spool is now\n%s\nwant\n%s", got, empty)
	}
	if state := m.state("atd.service"); state != "active" {
		t.Errorf("atd is %s", state)
	}
	if file := m.sh("readlink -f $(command -v atq)"); file != "/usr/bin/at" {
		t.Errorf("atq is %s, want at's own", file)
	}
	typed("lena", "echo 'echo theirs >at.out' | at now")
	m.until("atd has run a job", func() bool { return m.read("/home/lena/at.out") == "theirs\n" })
	if out := m.do("atctl", "list", "--state", "scheduled"); strings.Count(out, "2031-08-01") != 1 {
		t.Errorf("the job that was imported is not listed once:\n%s", out)
	}
}

// withoutIDs returns the lines of atq without the jobs' numbers.
func withoutIDs(atq string) string {
	var lines []string
	for line := range strings.Lines(atq) {
		_, rest, _ := strings.Cut(line, "\t")
		lines = append(lines, strings.TrimSpace(rest))
	}
	return strings.Join(lines, "\n")
}
