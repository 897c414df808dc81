package lab

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"activationd/test/harness"
)

// routerConfig returns a router's configuration without its console.
func (l *lab) routerConfig(name string) string {
	l.t.Helper()
	return l.do("in_vtysh " + name + " -c 'show running-config'")
}

// full counts a router's OSPF neighbours in state FULL.
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

// eventually asks repeatedly, because no event reports what happens inside a router.
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
	l := newLab(t, 0, "LAB_ROUTERS=r1 r2 r3", gently)
	blank := l.blankRouters()
	was := l.configuration()
	d := l.newDaemon(l.do("lab_inventory"))
	r := d.chain("ospf@routers", "")
	d.change(nil, []*resv{r})
	if a := d.InState(r.id, "active", "finished", "stuck"); a.State != "active" {
		t.Fatalf("it is %s, %s (%s)\n%s", a.State, a.Outcome, a.Reason, d.logs(r.id))
	}
	for name, n := range map[string]int{"r1": 1, "r2": 2, "r3": 1} {
		l.eventually("the neighbours of "+name+" are FULL", func() bool { return l.full(name) == n })
	}
	l.eventually("the far loopback answers", func() bool {
		return l.in("r1", "ping", "-n", "-q", "-c", "1", "-W", "1", "-I", "10.255.0.1", "10.255.0.3").Run() == nil
	})

	d.change([]*resv{r}, nil)
	if a := d.InState(r.id, "finished", "stuck"); a.Outcome != "succeeded" {
		t.Fatalf("it is %s, %s (%s)\n%s", a.State, a.Outcome, a.Reason, d.logs(r.id))
	}
	d.areBlank("after the slot", blank)
	l.unchanged("after the slot", was)
	if got := d.leases(); len(got) != 0 {
		t.Errorf("VLANs are lent: %+v", got)
	}
}

// gently is the pace of the consoles.
const gently = "CONSOLE_PACE=character: 1ms, chunk: 16, chunk_delay: 2ms, line: 5ms"

var routers = []string{"r1", "r2", "r3"}

// blankRouters starts the routers and returns their configurations.
func (l *lab) blankRouters() map[string]string {
	l.t.Helper()
	l.do("routers_start")
	blank := map[string]string{}
	for _, r := range routers {
		blank[r] = l.routerConfig(r)
	}
	return blank
}

// chain books the example's topology.
func (d *labDaemon) chain(id, settings string) *resv {
	d.t.Helper()
	topology, err := os.ReadFile("../../examples/labs/ospf-chain.clab.yml")
	if err != nil {
		d.t.Fatal(err)
	}
	d.write("ospf-chain.clab.yml", string(topology))
	r := d.book(id, "ospf-chain.clab.yml", settings)
	d.announce()
	return r
}

// areBlank checks that the routers' configurations are what they were, and that a
// restart would not bring back any part of a lab.
func (d *labDaemon) areBlank(when string, blank map[string]string) {
	d.t.Helper()
	for _, name := range routers {
		if got := d.routerConfig(name); got != blank[name] {
			d.t.Errorf("%s, %s has\n%s\nblank it was\n%s", when, name, got, blank[name])
		}
		for _, program := range []string{"zebra", "ospfd"} {
			saved, err := os.ReadFile(d.dir + "/" + name + "/" + program + ".conf")
			if err != nil || strings.Contains(string(saved), "10.") || strings.Contains(string(saved), "router ospf") {
				d.t.Errorf("%s, the saved configuration of %s, %s, is\n%s%v", when, name, program, saved, err)
			}
		}
	}
}

// TestRoutersKilled kills uploads to consoles, and the daemon. The console is then in
// the middle of a line and of a mode, and the next session has to cope with that.
func TestRoutersKilled(t *testing.T) {
	t.Parallel()
	l := newLab(t, 0, "LAB_ROUTERS=r1 r2 r3", gently)
	blank := l.blankRouters()
	was := l.configuration()
	d := l.newDaemon(l.do("lab_inventory"), "deactivate_retries: 0")
	rng := harness.Random(t)
	outcomes := map[string]int{}
	for i, whom := range []string{"upload", "wrapper", "all", "script"} {
		r := d.chain(fmt.Sprintf("%d@console", i), fmt.Sprintf("retries: %d", i%2))
		story := fmt.Sprintf("%s (%s)", r.id, whom)
		d.change(nil, []*resv{r})
		d.InState(r.id, "activating", "active")
		pause(rng, 3*time.Second)
		d.strike(whom, r.id)
		a := d.InState(r.id, "active", "finished", "stuck")
		outcomes[outcomeOf(a)]++
		if a.State == "active" {
			d.change([]*resv{r}, nil)
			d.InState(r.id, "deactivating", "finished", "stuck")
			pause(rng, 3*time.Second)
			d.strike(whom, r.id)
			a = d.InState(r.id, "finished", "stuck")
			outcomes[outcomeOf(a)]++
		}
		if a.State == "stuck" {
			if mine := of(d.leases(), r.id); len(mine) != 2 || mine[0].State != "quarantined" || mine[0].Reason == "" {
				t.Errorf("%s is stuck, and has %+v; want two VLANs in quarantine, with reasons", story, mine)
			}
			d.atctl("retry", r.id)
			a = d.InState(r.id, "finished", "stuck")
		}
		if a.State != "finished" {
			t.Errorf("%s is %s (%s)", story, a.State, a.Reason)
		}
		d.areBlank(story, blank)
		l.unchanged(story, was)
		if got := d.leases(); len(got) != 0 {
			t.Errorf("%s: VLANs are lent: %+v", story, got)
		}
		if t.Failed() {
			t.Fatalf("%s:\n%s", story, d.logs(r.id))
		}
	}
	t.Logf("%v", outcomes)
}
