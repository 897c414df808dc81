package deb

import (
	"strings"
	"testing"
)

// TestMachine checks what the other tests rely on: a machine has a systemd without faults
// and a loopback, installs packages of Debian without a network, keeps what it wrote when
// it is switched off and on, and nothing of it outlives it.
func TestMachine(t *testing.T) {
	t.Parallel()
	m := boot(t)
	if state := m.do("systemctl", "is-system-running"); state != "running" {
		t.Errorf("systemd is %s:\n%s", state, m.try("systemctl", "--failed").out)
	}
	if lo := m.do("cat", "/proc/net/fib_trie"); !strings.Contains(lo, "127.0.0.1") {
		t.Errorf("the loopback is not up:\n%s", lo)
	}
	if links := m.do("sh", "-c", "ls /sys/class/net"); strings.TrimSpace(links) != "lo" {
		t.Errorf("it has a network: %s", links)
	}
	m.apt("install", "--no-install-recommends", "at")
	if state := m.state("atd"); state != "active" {
		t.Errorf("Debian's atd is %s after its installation", state)
	}
	m.off()
	m.on()
	if state := m.state("atd"); state != "active" {
		t.Errorf("Debian's atd is %s after a reboot", state)
	}
}
