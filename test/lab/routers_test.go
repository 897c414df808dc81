package lab

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"
)

// routerConfig is what a router says that its configuration is, past its console.
func (l *lab) routerConfig(name string) string {
	l.t.Helper()
	return l.do("in_vtysh " + name + " -c 'show running-config'")
}

// full counts a router's OSPF neighbours that are FULL.
func (l *lab) full(name string) (n int) {
	l.t.Helper()
	said := l.do("in_vtysh " + name + " -c 'show ip ospf neighbor json'")
	var answer struct {
		Neighbors map[string][]struct {
			State string `json:"nbrState"`
		} `json:"neighbors"`
	}
	if err := json.Unmarshal([]byte(said), &answer); err != nil {
		l.t.Fatalf("%v in %s", err, said)
	}
	for _, all := range answer.Neighbors {
		for _, one := range all {
			if strings.HasPrefix(one.State, "Full/") {
				n++
			}
		}
	}
	return n
}

// eventually asks until it is so. Nothing tells of what happens inside a router.
func (l *lab) eventually(what string, so func() bool) {
	l.t.Helper()
	for until := time.Now().Add(patience); time.Now().Before(until); time.Sleep(200 * time.Millisecond) {
		if so() {
			return
		}
	}
	l.t.Errorf("not within %v: %s", patience, what)
}

// TestRouters activates a topology of three FRR routers with startup-configs, in
// containerlab's format, over their serial consoles.
func TestRouters(t *testing.T) {
	t.Parallel()
	topology, err := os.ReadFile("../../examples/labs/ospf-chain.clab.yml")
	if err != nil {
		t.Fatal(err)
	}
	l := newLab(t, 0, "LAB_ROUTERS=r1 r2 r3", "CONSOLE_PACE=character: 1ms, chunk: 16, chunk_delay: 2ms, line: 5ms")
	l.do("routers_start")
	was := l.configuration()
	names := []string{"r1", "r2", "r3"}
	blank := map[string]string{}
	for _, r := range names {
		blank[r] = l.routerConfig(r)
	}
	d := l.newDaemon(l.do("lab_inventory"))
	l.write("ospf-chain.clab.yml", string(topology))
	r := d.book("ospf@routers", "ospf-chain.clab.yml", "")
	d.announce()
	d.change(nil, []*resv{r})
	if a := d.inState(r.id, "active", "finished", "stuck"); a.State != "active" {
		t.Fatalf("it is %s, %s (%s)\n%s", a.State, a.Outcome, a.Reason, d.logs(r.id))
	}
	for name, n := range map[string]int{"r1": 1, "r2": 2, "r3": 1} {
		l.eventually("the neighbours of "+name+" are FULL", func() bool { return l.full(name) == n })
	}
	l.eventually("the far loopback answers", func() bool {
		return l.in("r1", "ping", "-n", "-q", "-c", "1", "-W", "1", "-I", "10.255.0.1", "10.255.0.3").Run() == nil
	})

	d.change([]*resv{r}, nil)
	if a := d.inState(r.id, "finished", "stuck"); a.Outcome != "succeeded" {
		t.Fatalf("it is %s, %s (%s)\n%s", a.State, a.Outcome, a.Reason, d.logs(r.id))
	}
	for _, name := range names {
		if got := l.routerConfig(name); got != blank[name] {
			t.Errorf("%s has\n%s\nblank it was\n%s", name, got, blank[name])
		}
		for _, program := range []string{"zebra", "ospfd"} {
			saved, err := os.ReadFile(l.dir + "/" + name + "/" + program + ".conf")
			if err != nil || strings.Contains(string(saved), "10.") || strings.Contains(string(saved), "router ospf") {
				t.Errorf("%s: the saved configuration of %s is\n%s%v", name, program, saved, err)
			}
		}
	}
	l.unchanged("after the slot", was)
	if got := d.leases(); len(got) != 0 {
		t.Errorf("VLANs are lent: %+v", got)
	}
}
