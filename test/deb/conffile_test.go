package deb

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const configuration = "/etc/activationd/activationd.yaml"

// repack returns a package whose tree was changed by a program for the shell, which runs in
// the tree.
func repack(t *testing.T, file, program string) string {
	t.Helper()
	dir := t.TempDir()
	changed := filepath.Join(dir, filepath.Base(file))
	for _, argv := range [][]string{
		{"dpkg-deb", "-R", file, dir + "/tree"},
		{"sh", "-euc", `cd "$0"; eval "$1"`, dir + "/tree", program},
		{"dpkg-deb", "--root-owner-group", "-Znone", "-b", dir + "/tree", changed},
	} {
		if out, err := exec.CommandContext(t.Context(), argv[0], argv[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", argv, err, out)
		}
	}
	return changed
}

// pid returns the daemon's process in the machine, 0 if there is none.
func (m *machine) pid() string {
	m.t.Helper()
	return m.property("activationd.service", "MainPID")
}

// program returns the file that the daemon's process was started from.
func (m *machine) program() string {
	m.t.Helper()
	return m.do("readlink", "/proc/"+m.pid()+"/exe")
}

// TestEditedConfiguration upgrades to a version that brings another configuration, while
// the administrator's own is edited: dpkg asks, and what was edited stays if the answer
// says so, or if nobody can be asked.
func TestEditedConfiguration(t *testing.T) {
	older, newer := releases(t)
	other := repack(t, newer.main, `echo '# of the new version' >>etc/activationd/activationd.yaml`)
	const edited = "listen: [127.0.0.1:50002]\n"
	for _, c := range []struct {
		name, answer string
		options      []string
		asks         bool
		want, beside string // the first line of the configuration; the file beside it
	}{
		{"keep", "N\n", nil, true, edited, ".dpkg-dist"},
		{"replace", "Y\n", nil, true, "", ".dpkg-old"},
		{"old by an option", "", []string{"--force-confold"}, false, edited, ".dpkg-dist"},
		{"new by an option", "", []string{"--force-confnew"}, false, "", ".dpkg-old"},
		{"nobody answers", "", nil, true, edited, ".dpkg-new"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m := boot(t)
			m.install(older.main)
			m.write(configuration, edited, 0o644)
			m.do("systemctl", "restart", "activationd")
			before := m.pid()
			argv := append(append([]string{"dpkg"}, c.options...), "-i", m.bring(other)[0])
			o := m.answer(c.answer, argv...)
			if asks := strings.Contains(o.out+o.err, "What would you like to do about it"); asks != c.asks {
				t.Errorf("dpkg asks: %v, want %v\n%s", asks, c.asks, o.out)
			}
			nobody := c.asks && c.answer == ""
			if (o.status != 0) != nobody {
				t.Errorf("dpkg: %+v", o)
			}
			if !m.exists(configuration + c.beside) {
				t.Errorf("there is no %s%s", configuration, c.beside)
			}
			if nobody {
				// Nothing was restarted half-way; a second run with an answer repairs it.
				if after := m.pid(); after != before {
					t.Errorf("the daemon is process %s, want %s still", after, before)
				}
				m.do("dpkg", "--force-confold", "--configure", "-a")
			}
			if text := m.read(configuration); c.want != "" && text != c.want || c.want == "" && !strings.HasSuffix(text, "# of the new version\n") {
				t.Errorf("the configuration is now\n%s", text)
			}
			if after, program := m.pid(), m.program(); after == before || program != "/usr/bin/activationd" {
				t.Errorf("the daemon is process %s of %s, want another one than %s, of the new version", after, program, before)
			}
			if version := m.do("dpkg-query", "-W", "-f", "${db:Status-Abbrev}${Version}", "activationd"); version != "ii "+newer.version {
				t.Errorf("dpkg says %q", version)
			}
		})
	}
}

// TestInvalidConfiguration upgrades while the configuration has an error that the running
// daemon has not read: dpkg succeeds, the old daemon goes on, and a message has the line.
func TestInvalidConfiguration(t *testing.T) {
	t.Parallel()
	older, newer := releases(t)
	m := boot(t)
	m.install(older.main)
	before := m.pid()
	text := m.read(configuration)
	m.write(configuration, text+"logging:\n  formatt: json\n", 0o644)
	line := strings.Count(text, "\n") + 2
	o := m.install(newer.main)
	said := o.out + o.err
	if want := configuration + ":" + strconv.Itoa(line) + ":"; !strings.Contains(said, want) {
		t.Errorf("the upgrade printed\n%s\nwant a line with %s", said, want)
	}
	if want := "systemctl restart activationd"; !strings.Contains(said, want) {
		t.Errorf("the upgrade printed\n%s\nwant that it says how to go on: %s", said, want)
	}
	if after, program := m.pid(), m.program(); after != before || !strings.HasSuffix(program, " (deleted)") {
		t.Errorf("the daemon is process %s of %s, want %s still, of the replaced program", after, program, before)
	}
	id := m.do("atctl", "add", "--", "echo", "still here")
	m.do("atctl", "wait", id)
	m.write(configuration, text, 0o644)
	m.do("systemctl", "restart", "activationd")
	if program := m.program(); program != "/usr/bin/activationd" {
		t.Errorf("after the correction and a restart the daemon is of %s", program)
	}
	if out := m.do("atctl", "log", id); out != "still here" {
		t.Errorf("the job's log is %q", out)
	}
}

// TestConfigurationLeftInvalid installs over a configuration that was left by an earlier
// installation and that this version refuses: dpkg succeeds and says what is wrong.
func TestConfigurationLeftInvalid(t *testing.T) {
	t.Parallel()
	_, newer := releases(t)
	m := boot(t)
	m.sh("mkdir -p /etc/activationd")
	m.write(configuration, "logging:\n  formatt: json\n", os.FileMode(0o644))
	o := m.answer("", "dpkg", "--force-confold", "-i", m.bring(newer.main)[0])
	if o.status != 0 {
		t.Fatalf("dpkg: %+v", o)
	}
	if said := o.out + o.err; !strings.Contains(said, "journalctl -u activationd") && !strings.Contains(said, configuration+":2:") {
		t.Errorf("the installation printed\n%s\nwant what is wrong, or where that is written", said)
	}
	m.sh("rm " + configuration + "; dpkg --force-confmiss -i /run/host/*.deb")
	m.do("systemctl", "restart", "activationd")
	if state := m.state("activationd.service"); state != "active" {
		t.Errorf("with the packaged configuration the daemon is %s", state)
	}
}

// TestConfigurationOfADropIn upgrades daemons whose configuration the administrator's own unit
// names, in each way that systemd knows: the new version is asked about that one.
func TestConfigurationOfADropIn(t *testing.T) {
	t.Parallel()
	r, _ := releases(t)
	m := boot(t)
	m.install(r.main)
	path := m.bring(r.main)[0]
	m.write("/srv/my conf.yaml", "{}\n", 0o644)
	for _, text := range []string{
		`ExecStart=/usr/bin/activationd --config "/srv/my conf.yaml"`,
		"WorkingDirectory=/srv\nExecStart=/usr/bin/activationd --config \"my conf.yaml\"",
		"Environment=\"OPTS=--state-dir /srv/state\"\nExecStart=/usr/bin/activationd $OPTS",
	} {
		m.write("/etc/systemd/system/activationd.service.d/own.conf", "[Service]\nExecStart=\n"+text+"\n", 0o644)
		m.sh("systemctl daemon-reload; systemctl restart activationd")
		before := m.pid()
		o := m.try("dpkg", "-i", path)
		if o.status != 0 || strings.Contains(o.out+o.err, "refuses") || m.pid() == before {
			t.Errorf("with\n%s\nthe daemon was not restarted: %+v", text, o)
		}
	}
	m.write("/etc/systemd/system/activationd.service.d/own.conf", "[Service]\nExecStart=\nExecStart=/usr/bin/activationd --config \"/srv/my conf.yaml\"\n", 0o644)
	m.sh("systemctl daemon-reload; echo '{}' >'/srv/my conf.yaml'; systemctl restart activationd; echo 'wrong: 1' >'/srv/my conf.yaml'")
	before := m.pid()
	if o := m.try("dpkg", "-i", path); o.status != 0 || !strings.Contains(o.out+o.err, "/srv/my conf.yaml:1:") || m.pid() != before {
		t.Errorf("the configuration of the drop-in is wrong: %+v, want a line of it, and process %s still", o, before)
	}
}
