// Package scripts tests the lab scripts on a real switch.
package scripts

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// A lab is an Open vSwitch with the hosts h1 to h4, as the demo has it.
type lab struct {
	t   *testing.T
	dir string
}

func newLab(t *testing.T) *lab {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("network namespaces need root")
	}
	for _, program := range []string{"ovs-vswitchd", "ovsdb-server", "ip", "flock", "bash"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is not installed: run scripts/install-deps test", program)
		}
	}
	dir, err := os.MkdirTemp("", "lab") // a socket must have a short path
	if err != nil {
		t.Fatal(err)
	}
	l := &lab{t, dir}
	name := fmt.Sprintf("act-test-%d", os.Getpid())
	bash := func(what string) ([]byte, error) {
		cmd := exec.Command("bash", "-euc", `. demo/lab.sh; `+what+` "$1"`, "lab", filepath.Join(dir, "switch"))
		cmd.Env = append(os.Environ(), "LAB="+name)
		return cmd.CombinedOutput()
	}
	t.Cleanup(func() {
		if out, err := bash("lab_stop"); err != nil {
			t.Errorf("lab_stop: %v\n%s", err, out)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if out, err := bash("lab_start"); err != nil {
		t.Fatalf("lab_start: %v\n%s", err, out)
	}
	return l
}

// run calls a script as the daemon does: in a process group of its own, with a
// configuration directory that no other run has.
func (l *lab) run(script, id, devices string, env ...string) (string, error) {
	config, err := os.MkdirTemp(l.dir, "config")
	if err != nil {
		return "", err
	}
	cmd := exec.Command("./" + script)
	cmd.Env = append(os.Environ(), "ACTIVATION_ID="+id, "ACTIVATION_DEVICES="+devices,
		"ACTIVATION_CONFIG_DIR="+config,
		"OVS_DB=unix:"+filepath.Join(l.dir, "switch", "db.sock"), "VLAN_LEASES="+filepath.Join(l.dir, "vlans"))
	cmd.Env = append(cmd.Env, env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (l *lab) must(script, id, devices string) {
	l.t.Helper()
	if out, err := l.run(script, id, devices); err != nil {
		l.t.Fatalf("%s of %s: %v\n%s", script, id, err, out)
	}
}

// ports returns what the switch says of each host's port: "h1 [] " or
// "h1 100 1042@x".
func (l *lab) ports() []string {
	l.t.Helper()
	var ports []string
	for _, host := range []string{"h1", "h2", "h3", "h4"} {
		args := []string{
			"--db=unix:" + filepath.Join(l.dir, "switch", "db.sock"), "--timeout=20",
			"get", "Port", "port-" + host, "tag", "protected", "--", "--if-exists", "get", "Port", "port-" + host, "external_ids:activation",
		}
		out, err := exec.Command("ovs-vsctl", args...).Output()
		if err != nil {
			l.t.Fatalf("ovs-vsctl: %v", err)
		}
		ports = append(ports, host+" "+strings.Join(strings.Fields(strings.ReplaceAll(string(out), `"`, "")), " "))
	}
	return ports
}

// leases returns "100 1042@x" for each.
func (l *lab) leases() []string {
	l.t.Helper()
	var leases []string
	files, err := filepath.Glob(filepath.Join(l.dir, "vlans", "[0-9]*"))
	if err != nil {
		l.t.Fatal(err)
	}
	for _, file := range files {
		id, err := os.ReadFile(file)
		if err != nil {
			l.t.Fatal(err)
		}
		leases = append(leases, filepath.Base(file)+" "+strings.TrimSpace(string(id)))
	}
	return leases
}

// want checks the leases and the ports that are not free.
func (l *lab) want(when string, leases []string, lent ...string) {
	l.t.Helper()
	if got := l.leases(); !slices.Equal(got, leases) {
		l.t.Errorf("%s: leases are %q, want %q", when, got, leases)
	}
	got := slices.DeleteFunc(l.ports(), func(p string) bool { return strings.HasSuffix(p, " [] true") })
	if !slices.Equal(got, lent) {
		l.t.Errorf("%s: ports are %q, want %q and the others free", when, got, lent)
	}
}

// killers makes a directory for the front of PATH in which every program that
// the scripts call counts its calls and, when KILL_AT is reached, kills the
// script's whole process group instead of doing its work.
func (l *lab) killers() string {
	l.t.Helper()
	dir := filepath.Join(l.dir, "killers")
	if err := os.Mkdir(dir, 0o700); err != nil {
		l.t.Fatal(err)
	}
	for _, name := range []string{"ovs-vsctl", "flock", "mkdir", "cat", "sync", "mv", "rm", "xargs"} {
		program, err := exec.LookPath(name)
		if err != nil {
			l.t.Fatal(err)
		}
		text := fmt.Sprintf("#!/bin/sh\necho >>\"$CALLS\"\n[ $(wc -l <\"$CALLS\") -ne \"$KILL_AT\" ] || kill -9 0\nexec %s \"$@\"\n", program)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o700); err != nil {
			l.t.Fatal(err)
		}
	}
	return dir
}

// killAt runs a script and kills it at its nth step. It reports whether the
// script had so many.
func (l *lab) killAt(killers, script, id, devices string, n int) bool {
	l.t.Helper()
	calls := filepath.Join(l.dir, "calls")
	if err := os.WriteFile(calls, nil, 0o600); err != nil {
		l.t.Fatal(err)
	}
	out, err := l.run(script, id, devices,
		"PATH="+killers+":"+os.Getenv("PATH"), "CALLS="+calls, fmt.Sprintf("KILL_AT=%d", n))
	if err == nil {
		return false
	}
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		l.t.Fatalf("%s, to be killed at step %d: %v\n%s", script, n, err, out)
	}
	return true
}

// TestKilledAtEveryStep kills each script before each program that it would call
// next, and finds that a second run makes it good.
func TestKilledAtEveryStep(t *testing.T) {
	l := newLab(t)
	killers := l.killers()
	l.must("activate", "other@x", "h4") // to be left alone
	other, otherPort := "100 other@x", "h4 100 false other@x"
	const id = "1042@x"

	steps := 0
	for n := 1; l.killAt(killers, "activate", id, "h1 h2", n); n++ {
		steps++
		when := fmt.Sprintf("activate killed at step %d", n)
		if n%2 == 0 { // the slot may be over before it is tried again
			l.must("deactivate", id, "h1 h2")
			l.want(when+", deactivated", []string{other}, otherPort)
		}
		l.must("activate", id, "h1 h2")
		l.want(when+", run again", []string{other, "101 " + id}, "h1 101 false "+id, "h2 101 false "+id, otherPort)
		l.must("deactivate", id, "h1 h2")
	}
	if steps < 10 {
		t.Errorf("activate was killed at %d steps only", steps)
	}
	l.want("activated", []string{other, "101 " + id}, "h1 101 false "+id, "h2 101 false "+id, otherPort)

	steps = 0
	for n := 1; l.killAt(killers, "deactivate", id, "h1 h2", n); n++ {
		steps++
		l.must("deactivate", id, "") // whatever its devices are called today
		l.want(fmt.Sprintf("deactivate killed at step %d, run again", n), []string{other}, otherPort)
		l.must("activate", id, "h1 h2")
	}
	if steps < 8 {
		t.Errorf("deactivate was killed at %d steps only", steps)
	}
	l.want("deactivated", []string{other}, otherPort)
}

func TestManyAtOnce(t *testing.T) {
	l := newLab(t)
	hosts := []string{"h1", "h2", "h3", "h4"}
	atOnce := func(script string) {
		var wg sync.WaitGroup
		for _, host := range hosts {
			wg.Go(func() {
				if out, err := l.run(script, host+"@x", host); err != nil {
					t.Errorf("%s of %s: %v\n%s", script, host, err, out)
				}
			})
		}
		wg.Wait()
	}
	for range 3 {
		atOnce("activate")
		var vlans []string
		for _, lease := range l.leases() {
			vlans = append(vlans, strings.Fields(lease)[0])
		}
		if want := []string{"100", "101", "102", "103"}; !slices.Equal(vlans, want) {
			t.Errorf("VLANs lent are %q, want the lowest, each once: %q", vlans, want)
		}
		atOnce("deactivate")
		l.want("all deactivated", nil)
	}
}

func TestRefusals(t *testing.T) {
	l := newLab(t)
	l.must("activate", "first@x", "h1")
	leases, port := []string{"100 first@x"}, "h1 100 false first@x"

	tests := []struct {
		name, script, id, devices, env, says string
	}{
		{"a port that is lent", "activate", "second@x", "h2 h1", "", "port-h1 is still lent to first@x"},
		{"an unknown device", "activate", "second@x", "h2 r9", "", "external_ids:device=r9"},
		{"no device", "activate", "second@x", "", "", "no devices"},
		{"a pool that is empty", "activate", "second@x", "h2", "VLAN_LAST=100", "every VLAN of 100-100 is lent"},
		{"an id that is syntax", "activate", `a"b`, "h2", "", "an id with characters"},
		{"no switch, activate", "activate", "second@x", "h2", "OVS_DB=unix:/nonexistent", "database connection failed"},
		// No answer is not "there is nothing to clear": the lease stays.
		{"no switch, deactivate", "deactivate", "first@x", "h1", "OVS_DB=unix:/nonexistent", "database connection failed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			out, err := l.run(tt.script, tt.id, tt.devices, tt.env)
			if err == nil || !strings.Contains(out, tt.says) {
				t.Errorf("%s of %q = %v\n%s, want a failure that says %q", tt.script, tt.id, err, out, tt.says)
			}
			l.want("afterwards", leases, port)
		})
	}
}
