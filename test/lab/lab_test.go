// Package lab proves the whole of it on real parts: two Open vSwitch bridges with
// a trunk between them, configured over a real sshd; hosts in network namespaces;
// FRR routers behind a real Serial-Ethernet converter; and the three programs,
// with the scripts that a laboratory would use.
//
// Each test has a laboratory of its own, in namespaces of its own, which
// keeper.sh makes and takes away again, also when the test is killed.
package lab

import (
	"bufio"
	"encoding/base64"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"activationd/supervisor/wrapper"
	"activationd/test/harness"
)

// patience is how long anything that is waited for may take before the test gives up.
const patience = harness.Patience

// scripts is the directory of the scripts.
var scripts string

func TestMain(m *testing.M) {
	if os.Getenv(inside) != "" {
		os.Exit(m.Run())
	}
	var err error
	if scripts, err = filepath.Abs("../../scripts"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	harness.Main(m, 6, false)
}

// A lab is a laboratory: switches sw1 and sw2, hosts, and routers if asked for.
type lab struct {
	t         *testing.T
	name, dir string // all its namespaces begin with name; its files are in dir
	hosts     []string

	mu   sync.Mutex // of the keeper: a command and its answer
	tell io.WriteCloser
	said *bufio.Reader
}

var labs struct {
	sync.Mutex
	n int
}

// newLab makes a laboratory with n hosts. Settings are variables that lab.sh and
// routers.sh read.
func newLab(t *testing.T, n int, settings ...string) *lab {
	t.Helper()
	if testing.Short() {
		t.Skip("takes longer than -short allows")
	}
	if os.Getuid() != 0 {
		t.Skip("network namespaces need root")
	}
	for _, program := range []string{
		"ovs-vswitchd", "ovsdb-server", "/usr/sbin/sshd", "ssh", "ip", "nsenter", "ping", "tcpdump", "nc",
		"vtysh", "/usr/lib/frr/ospfd", "ser2net", "socat",
	} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is not installed: run scripts/install-deps lab", program)
		}
	}
	dir, err := os.MkdirTemp("", "al-") // not t.TempDir: a socket's path may have 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil { // frr's user has files in it
		t.Fatal(err)
	}
	labs.Lock()
	labs.n++
	l := &lab{t: t, name: fmt.Sprintf("al-%d-%d", os.Getpid(), labs.n), dir: dir}
	labs.Unlock()
	for i := range n {
		l.hosts = append(l.hosts, fmt.Sprintf("h%d", i+1))
	}

	cmd := exec.Command("./keeper.sh", l.name, dir)
	cmd.Env = append(append(os.Environ(), "LAB_HOSTS="+strings.Join(l.hosts, " ")), settings...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a Ctrl-C is for us; the keeper sees our end
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	l.said = bufio.NewReader(out)
	if l.tell, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = l.tell.Close()
		hang := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
		defer hang.Stop()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the keeper of the laboratory: %v", err)
		}
		if left, _ := filepath.Glob("/run/netns/" + l.name + "-*"); left != nil {
			t.Errorf("namespaces are left: %v", left)
		}
		l.removeCgroups()
	})
	l.do(`lab_start "$LAB_DIR"`)
	return l
}

// try runs a command of the shell that keeps the laboratory.
func (l *lab) try(command string) (string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, err := io.WriteString(l.tell, command+"\n"); err != nil {
		return "", err
	}
	line, err := l.said.ReadString('\n')
	if err != nil {
		return "", err
	}
	status, text, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
	said, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return "", err
	}
	if status != "0" {
		return string(said), errors.New("status " + status)
	}
	return string(said), nil
}

// do is try for a command that must succeed.
func (l *lab) do(command string) string {
	l.t.Helper()
	said, err := l.try(command)
	if err != nil {
		l.t.Fatalf("%s: %v\n%s", command, err, said)
	}
	return said
}

// in returns a command that runs in a namespace of the laboratory.
func (l *lab) in(space string, argv ...string) *exec.Cmd {
	return exec.CommandContext(l.t.Context(), "nsenter", append([]string{"--net=/run/netns/" + l.name + "-" + space, "--"}, argv...)...)
}

// write writes a file of the laboratory's directory whole, and returns its path.
func (l *lab) write(name, text string) string {
	l.t.Helper()
	path := filepath.Join(l.dir, name)
	for _, err := range []error{
		os.MkdirAll(filepath.Dir(path), 0o755),
		os.WriteFile(path+".part", []byte(text), 0o600),
		os.Rename(path+".part", path),
	} {
		if err != nil {
			l.t.Fatal(err)
		}
	}
	return path
}

// vsctl queries a switch directly, not by its sshd.
func (l *lab) vsctl(sw string, args ...string) string {
	l.t.Helper()
	all := append([]string{"--db=unix:" + filepath.Join(l.dir, sw, "db.sock"), "--timeout=600"}, args...)
	out, err := exec.Command("ovs-vsctl", all...).CombinedOutput()
	if err != nil {
		l.t.Fatalf("ovs-vsctl of %s: %v\n%s", sw, err, out)
	}
	return string(out)
}

// alive are the columns of a switch's database that are not configuration but the
// present state.
var alive = []string{
	"admin_state", "bond_active_slave", "cfm_fault", "cfm_fault_status", "cfm_flap_count", "cfm_health", "cfm_remote_mpids",
	"cfm_remote_opstate", "cur_cfg", "next_cfg", "duplex", "error", "link_resets", "link_speed", "link_state", "lacp_current",
	"mac_in_use", "mtu", "rstp_statistics", "rstp_status", "statistics", "status", "is_connected", "role",
}

// configuration returns the contents of the switches' databases, without the columns
// that are no configuration.
func (l *lab) configuration() string {
	l.t.Helper()
	var all strings.Builder
	for _, sw := range []string{"sw1", "sw2"} {
		for _, table := range []string{"Open_vSwitch", "Bridge", "Port", "Interface", "Flow_Table", "QoS", "Queue", "Mirror", "Controller", "Manager", "NetFlow", "sFlow", "IPFIX", "SSL", "AutoAttach"} {
			fmt.Fprintln(&all, sw, table)
			for line := range strings.Lines(l.vsctl(sw, "list", table)) {
				if column, _, ok := strings.Cut(line, ":"); !ok || !slices.Contains(alive, strings.TrimSpace(column)) {
					all.WriteString(line)
				}
			}
		}
	}
	return all.String()
}

// unchanged checks that the switches' configuration is what it was, byte for byte.
func (l *lab) unchanged(when, was string) {
	l.t.Helper()
	is := l.configuration()
	if is == was {
		return
	}
	a, b := strings.Split(was, "\n"), strings.Split(is, "\n")
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			l.t.Errorf("%s: the switches' configuration is not what it was:\nwas %s\nis  %s", when, a[i], b[i])
		}
	}
	if len(a) != len(b) {
		l.t.Errorf("%s: the switches' configuration has %d lines, had %d", when, len(b), len(a))
	}
}

// tags returns which ports have a tag, as "sw1:p1 100", and which VLANs the
// trunks carry, as "sw1:t0 100 101", sorted; a trunk that carries none is not there.
func (l *lab) tags() []string {
	l.t.Helper()
	var all []string
	for _, sw := range []string{"sw1", "sw2"} {
		for line := range strings.Lines(l.vsctl(sw, "-f", "csv", "--no-headings", "-d", "bare", "--columns=name,tag,trunks,protected", "list", "Port")) {
			f := strings.Split(strings.TrimSpace(strings.ReplaceAll(line, `"`, "")), ",")
			if len(f) != 4 {
				l.t.Fatalf("%s has a port %q", sw, line)
			}
			name, tag, protected := f[0], f[1], f[3]
			trunks := strings.Fields(f[2])
			if name == "t0" {
				// Without any, it would carry all of them.
				if len(trunks) == 0 {
					l.t.Errorf("the trunk of %s carries every VLAN", sw)
				}
				trunks = slices.DeleteFunc(trunks, func(v string) bool { return v == "4095" })
			}
			if tag != "" {
				trunks = append(trunks, tag)
			}
			if len(trunks) > 0 {
				all = append(all, sw+":"+name+" "+strings.Join(trunks, " "))
			}
			if lent := tag != ""; name[0] == 'p' && (protected == "true") == lent {
				l.t.Errorf("%s:%s has tag %q, and protected=%s", sw, name, tag, protected)
			}
		}
	}
	slices.Sort(all)
	return all
}

func address(host string) string { return "10.77.0." + host[1:] }

// look has each host ping each other, all at once. It checks that exactly the pairs of
// the same group get an answer.
func (l *lab) look(when string, groups ...[]string) {
	l.t.Helper()
	var wg sync.WaitGroup
	for _, from := range l.hosts {
		for _, to := range l.hosts {
			if from == to {
				continue
			}
			want := slices.ContainsFunc(groups, func(g []string) bool { return slices.Contains(g, from) && slices.Contains(g, to) })
			wg.Go(func() {
				reached := l.ping(from, to, want)
				if reached != want {
					l.t.Errorf("%s: %s reaches %s: %v, want %v", when, from, to, reached, want)
				}
			})
		}
	}
	wg.Wait()
}

// ping reports whether there is an answer. It waits long for an answer that is
// expected, and a short time for one that must not come.
func (l *lab) ping(from, to string, expected bool) bool {
	if !expected {
		out, _ := l.in(from, "ping", "-n", "-q", "-c", "5", "-i", "0.2", "-w", "2", address(to)).CombinedOutput()
		if !strings.Contains(string(out), "transmitted") {
			l.t.Errorf("ping: %s", out)
		}
		return !strings.Contains(string(out), " 0 received")
	}
	for range 300 { // ping counts an ARP request without an answer as its one packet
		if l.in(from, "ping", "-n", "-q", "-c", "1", "-W", "1", address(to)).Run() == nil {
			return true
		}
	}
	return false
}

// removeCgroups removes the cgroups of the daemon's runs, which the daemon leaves when
// it ends.
func (l *lab) removeCgroups() {
	h := fnv.New32a()
	_, _ = h.Write([]byte(l.dir + "/state/runs"))
	name := fmt.Sprintf("activationd-runs-%08x", h.Sum32())
	_ = filepath.WalkDir("/sys/fs/cgroup", func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.IsDir() || e.Name() != name {
			return nil //nolint:nilerr // others' cgroups come and go
		}
		runs, _ := filepath.Glob(path + "/*/")
		for _, run := range append(runs, path) {
			if err := wrapper.RemoveCgroup(run); err != nil {
				l.t.Errorf("removing the cgroup %s: %v", run, err)
			}
		}
		return fs.SkipDir
	})
}
