package deb

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"activationd/test/harness"
)

// prelude begins a maintainer script that kills dpkg, with all that it has started, before
// the command that /run/kill names, and otherwise counts its commands.
const prelude = `#!/bin/bash
commands=0
die_in= die_at=
[[ ! -e /run/kill ]] || read -r die_in die_at </run/kill
[[ $die_in = NAME ]] || die_at=
trap 'echo "NAME $commands" >>/run/counted' EXIT
set -T
trap '[[ $((++commands)) != "$die_at" ]] || { rm /run/kill; kill -9 0; }' DEBUG
`

// interruptible makes a package of another version, with such scripts, and returns its file.
func interruptible(t *testing.T, r release, version string) string {
	t.Helper()
	dir := t.TempDir()
	dpkgDeb := func(args ...string) {
		t.Helper()
		if out, err := exec.CommandContext(t.Context(), "dpkg-deb", args...).CombinedOutput(); err != nil {
			t.Fatalf("dpkg-deb %v: %v\n%s", args, err, out)
		}
	}
	tree := dir + "/tree"
	dpkgDeb("-R", r.main, tree)
	edit := func(name, before, after string) {
		t.Helper()
		path := filepath.Join(tree, "DEBIAN", name)
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), before) {
			t.Fatalf("the package's %s has no %q:\n%s", name, before, text)
		}
		if err := os.WriteFile(path, []byte(strings.Replace(string(text), before, after, 1)), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	edit("control", "Version: "+r.version+"\n", "Version: "+version+"\n")
	for _, name := range scripts {
		edit(name, "#!/bin/sh\n", strings.ReplaceAll(prelude, "NAME", name))
	}
	file := filepath.Join(dir, version+".deb")
	dpkgDeb("--root-owner-group", "-Zgzip", "-z1", "-b", tree, file)
	return file
}

var scripts = []string{"preinst", "postinst", "prerm", "postrm"}

// A point is where dpkg is killed: before a command of a script.
type point struct {
	phase, script string
	at            int
}

// interruptions is a machine on which dpkg is killed.
type interruptions struct {
	*machine
	versions [2]string // of the packages, which differ in nothing else
	files    [2]string // of them, in the machine
	next     int       // the one that is not installed
}

// The phases, in an order in which each finds what it needs.
var phases = []string{"install", "upgrade", "remove", "purge"}

// dpkg runs dpkg for a phase, in a process group of its own, and reports whether it was
// killed.
func (i *interruptions) dpkg(phase string) (killed bool) {
	i.t.Helper()
	args := map[string][]string{
		"install": {"-i", i.files[i.next]}, "upgrade": {"-i", i.files[i.next]}, "remove": {"-r", "activationd"}, "purge": {"-P", "activationd"},
	}[phase]
	o := i.try(append([]string{"setsid", "dpkg"}, args...)...)
	if killed = o.status < 0; !killed && o.status != 0 {
		i.t.Errorf("dpkg %v: %+v", args, o)
	}
	return killed
}

// prepare brings the machine to where a phase begins.
func (i *interruptions) prepare(phase string) {
	i.t.Helper()
	installed := i.status() == "install ok installed"
	switch {
	case phase == "upgrade" && !installed, phase == "remove" && !installed:
		i.dpkg("install")
		i.next = 1 - i.next
	case phase == "purge":
		if !installed && i.status() != "deinstall ok config-files" { // the phase before has purged it
			i.dpkg("install")
			i.next = 1 - i.next
			installed = true
		}
		if installed {
			i.dpkg("remove")
		}
	case phase == "install" && installed:
		i.dpkg("purge")
	}
}

func (i *interruptions) status() string {
	return i.try("dpkg-query", "-W", "-f", "${Status}", "activationd").out
}

// repair does what an administrator does after dpkg was killed.
func (i *interruptions) repair(phase string) {
	i.t.Helper()
	i.try("dpkg", "--configure", "-a")
	i.dpkg(phase)
}

// TestInterruptedPackages kills dpkg and all that it has started before each command of
// each maintainer script, and looks whether the next run repairs everything.
func TestInterruptedPackages(t *testing.T) {
	t.Parallel()
	m := boot(t)
	older, _ := releases(t)
	i := &interruptions{machine: m, versions: [2]string{"1.0~this", "1.0~that"}}
	for n, version := range i.versions {
		i.files[n] = m.bring(interruptible(t, older, version))[0]
	}
	var points []point
	for _, phase := range phases {
		i.prepare(phase)
		m.sh("rm -f /run/counted")
		if i.dpkg(phase) {
			t.Fatal("dpkg was killed before anything was to be killed")
		}
		i.done(phase)
		for l := range strings.Lines(m.read("/run/counted")) {
			script, count, _ := strings.Cut(strings.TrimSpace(l), " ")
			n, err := strconv.Atoi(count)
			if err != nil {
				t.Fatal(err)
			}
			for at := 1; at <= n; at++ {
				points = append(points, point{phase, script, at})
			}
		}
	}
	t.Logf("there are %d commands", len(points))
	if len(points) < 20 {
		t.Fatal("that is too few: they are not counted")
	}
	chosen := harness.Part(t, points, 3)
	slices.SortStableFunc(chosen, func(a, b point) int {
		return slices.Index(phases, a.phase) - slices.Index(phases, b.phase)
	})
	for _, p := range chosen {
		t.Run(fmt.Sprintf("%s %s %d", p.phase, p.script, p.at), func(t *testing.T) {
			i.t = t
			i.prepare(p.phase)
			m.write("/run/kill", fmt.Sprintf("%s %d\n", p.script, p.at), 0o644)
			if !i.dpkg(p.phase) {
				t.Errorf("dpkg was not killed")
			}
			i.repair(p.phase)
			i.done(p.phase)
		})
	}
	i.t = t
}

// done checks what a phase leaves when it has come to its end.
func (i *interruptions) done(phase string) {
	i.t.Helper()
	m := i.machine
	if audit := m.do("dpkg", "--audit"); audit != "" {
		i.t.Errorf("dpkg --audit says\n%s", audit)
	}
	want := map[string]string{"install": "install ok installed", "upgrade": "install ok installed", "remove": "deinstall ok config-files"}[phase]
	if got := i.status(); got != want {
		i.t.Errorf("after %s the package's status is %q, want %q", phase, got, want)
	}
	switch phase {
	case "install", "upgrade":
		if version := m.do("dpkg-query", "-W", "-f", "${Version}", "activationd"); version != i.versions[i.next] {
			i.t.Errorf("after %s version %s is installed, want %s", phase, version, i.versions[i.next])
		}
		i.next = 1 - i.next
		for _, unit := range []string{"activationd.service", "activationd.socket"} {
			if state := m.state(unit); state != "active" {
				i.t.Errorf("after %s %s is %s", phase, unit, state)
			}
		}
		if exe := m.do("readlink", "/proc/"+m.property("activationd.service", "MainPID")+"/exe"); exe != "/usr/bin/activationd" {
			i.t.Errorf("after %s the daemon runs %s, not the program that was installed", phase, exe)
		}
		m.do("atctl", "wait", m.do("atctl", "add", "--dir", "/", "--", "true"))
	case "remove":
		if state := m.state("activationd.service"); state == "active" || !m.exists("/var/lib/activationd/state.db") {
			i.t.Errorf("after the removal the daemon is %s, and its state is to be there", state)
		}
	case "purge":
		for _, path := range []string{"/var/lib/activationd", "/etc/activationd", "/run/activationd", "/run/activationd.start"} {
			if m.exists(path) {
				i.t.Errorf("after the purge there is %s", path)
			}
		}
	}
}
