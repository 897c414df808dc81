package test

import (
	"fmt"
	"net"
	"testing"
)

// TestSystemdSocketStays stops the unit of the socket under a daemon that runs: the daemon
// still answers, and the next one has the socket from systemd again. When both are
// stopped, nobody answers, and a start of the service alone brings
// the socket back, also after systemd has given up on a broken configuration.
func TestSystemdSocketStays(t *testing.T) {
	t.Parallel()
	m := bootSystemd(t)
	m.configure("{}\n")
	m.startWith("[Service]\nRestartSec=10ms\nExecStart=\nExecStart=/run/lab/bin/activationd --config /run/lab/config.yaml\n")
	active := func(when string) {
		t.Helper()
		if state := m.do("systemctl", "is-active", "activationd.socket", "activationd.service"); state != "active\nactive" {
			t.Errorf("%s they are %q", when, state)
		}
		m.do("atctl", "status")
	}
	active("after a start of the service")
	m.do("systemctl", "stop", "activationd.socket")
	if s := m.state(); s.PID == 0 {
		t.Error("the daemon does not answer any more")
	}
	m.do("systemctl", "restart", "activationd.service")
	active("after a restart of the service")

	m.do("systemctl", "stop", "activationd.socket", "activationd.service")
	if o := m.try("atctl", "status"); o.status == 0 {
		t.Errorf("both are stopped, and there is an answer: %+v", o)
	}
	socket := fmt.Sprintf("/proc/%d/root/run/activationd/control.sock", m.systemd.Init)
	if conn, err := net.Dial("unix", socket); err == nil {
		_ = conn.Close()
		t.Error("both are stopped, and somebody listens")
	}
	m.do("systemctl", "start", "activationd.service")
	active("after another start of the service")

	m.configure("nonsense: true\n")
	m.try("systemctl", "restart", "activationd.service")
	for m.property("ActiveState") != "failed" {
		if m.property("NRestarts") == "100" {
			t.Fatal("systemd never gives up")
		}
	}
	m.configure("{}\n")
	m.do("systemctl", "reset-failed", "activationd.service")
	m.do("systemctl", "start", "activationd.service")
	active("after the configuration was corrected")
}
