package lab

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// TestParts tests the laboratory itself by plain commands, so that a failure of another
// test is not the laboratory's fault.
func TestParts(t *testing.T) {
	t.Parallel()
	l := newLab(t, 6)
	was := l.configuration()
	l.look("at first")
	if got := l.tags(); got != nil {
		t.Errorf("at first the switches have %q", got)
	}

	wire := l.capture()
	ssh := func(sw, command string) {
		t.Helper()
		out, err := l.in("mgmt", "ssh", "-F", "none", "-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
			"-i", l.dir+"/id_ed25519", "-p", "220"+sw[2:], "root@127.0.0.1", command).CombinedOutput()
		if err != nil {
			t.Fatalf("ssh to %s: %v\n%s", sw, err, out)
		}
	}
	ssh("sw1", "ovs-vsctl set Port p1 tag=100 protected=false -- set Port p3 tag=101 protected=false -- add Port t0 trunks 100")
	ssh("sw2", "ovs-vsctl set Port p2 tag=100 protected=false -- set Port p4 tag=101 protected=false -- add Port t0 trunks 100")
	if got, want := l.tags(), []string{"sw1:p1 100", "sw1:p3 101", "sw1:t0 100", "sw2:p2 100", "sw2:p4 101", "sw2:t0 100"}; !slices.Equal(got, want) {
		t.Errorf("the switches have %q, want %q", got, want)
	}
	l.look("with one VLAN on the trunk, and another not", []string{"h1", "h2"})
	for _, sw := range []string{"sw1", "sw2"} {
		ssh(sw, "for p in $(ovs-vsctl list-ports br0 | grep ^p); do ovs-vsctl clear Port $p tag -- set Port $p protected=true; done; ovs-vsctl remove Port t0 trunks 100")
	}
	l.look("at last")
	l.unchanged("at last", was)

	seen := map[int]bool{}
	for _, f := range wire.stop() {
		seen[f.vlan] = true
	}
	if !seen[100] || len(seen) != 1 {
		t.Errorf("on the trunk were frames of %v, want only 100", seen)
	}
}

// TestConsoles tests the routers' consoles with nc.
func TestConsoles(t *testing.T) {
	t.Parallel()
	l := newLab(t, 0, "LAB_ROUTERS=r1")
	l.do("routers_start")
	blank := l.routerConfig("r1")

	// All that nc knows of RFC 2217 is to ignore it.
	script := "\rconfigure terminal\rinterface eth1\rip address 10.0.0.1/24\rend\rwrite memory\rexit\r\r"
	l.write("typed", script)
	l.do(`{ while IFS= read -r -d $'\r' line; do printf '%s\r' "$line"; sleep 0.3; done <"$LAB_DIR/typed"; } | in_mgmt nc -q 1 127.0.0.1 7001`)
	var saved []byte
	l.eventually("what was typed is saved", func() (ok bool) {
		var err error
		saved, err = os.ReadFile(l.dir + "/r1/zebra.conf")
		return err == nil && strings.Contains(string(saved), "10.0.0.1/24")
	})
	if got := l.routerConfig("r1"); !strings.Contains(got, "interface eth1\n ip address 10.0.0.1/24\n") {
		t.Errorf("after typing at the console, the router has\n%s\nblank it had\n%s\nsaved is\n%s", got, blank, saved)
	}
}
