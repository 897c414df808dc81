package deb

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestInstall installs the package on a Debian that has nothing but a systemd: the daemon
// runs, and root, a member of its group and anybody else may do with it what they should.
func TestInstall(t *testing.T) {
	t.Parallel()
	m := boot(t)
	r, _ := releases(t)
	for _, user := range []string{"lena", "guest"} {
		m.do("useradd", "--create-home", "--shell", "/bin/sh", user)
	}
	m.install(r.main)
	for _, unit := range []string{"activationd.service", "activationd.socket"} {
		if state, enabled := m.state(unit), m.property(unit, "UnitFileState"); state != "active" || enabled != "enabled" {
			t.Errorf("%s is %s and %s, want active and enabled", unit, state, enabled)
		}
	}
	m.do("usermod", "-aG", "activationd", "lena")
	m.do("atctl", "status")
	m.do(as("lena", "atctl", "status")...)
	if o := m.try(as("guest", "atctl", "status")...); o.status != 0 {
		t.Errorf("atctl status of any user: %+v", o)
	}
	if version := m.do("activationd", "--version"); !strings.Contains(version, r.version) {
		t.Errorf("activationd --version is %q, want the package's, %s", version, r.version)
	}

	id := m.do(as("guest", "atctl", "add", "--", "sh", "-c", "id -un; pwd")...)
	m.do(as("guest", "atctl", "wait", id)...)
	if out := m.do(as("guest", "atctl", "log", id)...); !strings.HasPrefix(out, "guest\n") {
		t.Errorf("the job of a user printed %q", out)
	}
	// The members of the group operate what is root's; others may not.
	id = m.do("atctl", "add", "--in", "1h", "--", "true")
	if o := m.try(as("guest", "atctl", "hold", id)...); o.status != 5 {
		t.Errorf("any user holds a job of root's: %+v, want status 5", o)
	}
	m.do(as("lena", "atctl", "hold", id)...)
	m.do(as("lena", "atctl", "release", id)...)
	if o := m.try(as("lena", "atctl", "forgive", id)...); o.status != 5 {
		t.Errorf("a member of the group forgives, which is for administrators: %+v, want status 5", o)
	}
	m.do("systemctl", "reload", "activationd")
	if out := m.do("atctl", "check"); strings.Contains(out, "notice") {
		t.Errorf("the configuration as it is installed has faults:\n%s", out)
	}
	m.off()
	m.on()
	if out := m.do("atctl", "list"); !strings.Contains(out, id) {
		t.Errorf("after a reboot the job %s is not listed:\n%s", id, out)
	}
}

// TestReadme types the commands that the README gives to those who want the package, except
// the first, which made it. They print what the README says.
func TestReadme(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^    make deb\n((?:    .*\n)+)`).FindStringSubmatch(string(text))
	if found == nil {
		t.Fatal("README.md has no commands that begin with make deb")
	}
	m := boot(t)
	r, _ := releases(t)
	file := m.bring(r.main)[0]
	m.sh("mkdir -p /root/source/dist; cp " + file + " /root/source/dist")
	seen := 0
	for line := range strings.Lines(found[1]) {
		command, said, _ := strings.Cut(strings.TrimSpace(line), "#")
		command = strings.Replace(command, "apt install", "apt install -y", 1) // nobody is there to say yes
		out := strings.TrimSpace(m.sh("cd /root/source; " + command))
		words := strings.Fields(said)
		if len(words) == 0 {
			continue
		}
		seen++
		if want := words[len(words)-1]; out != want {
			t.Errorf("%s: printed %q, want %q, as the README says", command, out, want)
		}
	}
	if seen != 2 {
		t.Errorf("of the README's commands %d say what they print, want 2", seen)
	}
}

// TestInstallWithoutStart installs and upgrades where the daemon must not be started: it
// was stopped, or masked, or a policy forbids it, or there is no systemd.
func TestInstallWithoutStart(t *testing.T) {
	older, newer := releases(t)
	for _, c := range []struct {
		name      string
		installed bool // the older version, before
		prepare   string
	}{
		{"stopped before the upgrade", true, "systemctl stop activationd.service activationd.socket"},
		{"stopped before the upgrade, with an open socket", true, "systemctl stop activationd.service"},
		{"masked before the upgrade", true, "systemctl stop activationd.service activationd.socket; systemctl mask activationd.service activationd.socket"},
		{"masked before the installation", false, "systemctl mask activationd.service activationd.socket"},
		{"a policy forbids it", false, `printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d; chmod 755 /usr/sbin/policy-rc.d`},
		{"disabled before the upgrade", true, "systemctl disable --now activationd.service activationd.socket"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m := boot(t)
			if c.installed {
				m.install(older.main)
			}
			m.sh(c.prepare)
			states := func() (all []string) {
				for _, unit := range []string{"activationd.service", "activationd.socket"} {
					all = append(all, m.state(unit), m.property(unit, "UnitFileState"))
				}
				return all
			}
			before := strings.Join(states(), " ")
			m.install(newer.main)
			after := strings.Join(states(), " ")
			if !c.installed && !strings.Contains(before, "masked") {
				before = "inactive enabled inactive enabled"
			}
			if after != before {
				t.Errorf("the service and the socket are %s, want %s", after, before)
			}
			if out := m.do("dpkg-query", "-W", "-f", "${db:Status-Abbrev}${Version}", "activationd"); out != "ii "+newer.version {
				t.Errorf("dpkg says %q", out)
			}
		})
	}
}

// TestInstallWithoutSystemd installs, upgrades and removes in a chroot.
func TestInstallWithoutSystemd(t *testing.T) {
	t.Parallel()
	older, newer := releases(t)
	m := boot(t)
	m.bring(older.main, newer.main)
	// In a chroot systemd is not seen: there is no /run/systemd.
	m.sh(`mkdir /mnt/packages
cp /run/host/*.deb /mnt/packages
mkdir /mnt/root
mount --bind / /mnt/root
mount -t tmpfs tmpfs /mnt/root/run
mount --bind /mnt/packages /mnt/root/srv`)
	for _, r := range []release{older, newer} {
		m.do("chroot", "/mnt/root", "apt-get", "-q", "-y", "install", "/srv/"+filepath.Base(r.main))
		if out := m.do("chroot", "/mnt/root", "activationd", "--version"); !strings.Contains(out, r.version) {
			t.Errorf("activationd --version is %q, want %s", out, r.version)
		}
	}
	if out := m.try("pgrep", "-x", "activationd"); out.status != 1 {
		t.Errorf("a daemon runs: %+v", out)
	}
	if out := m.do("chroot", "/mnt/root", "getent", "group", "activationd"); out == "" {
		t.Error("there is no group")
	}
	m.sh("chroot /mnt/root apt-get -q -y purge activationd")
}
