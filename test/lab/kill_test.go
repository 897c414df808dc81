package lab

import (
	"cmp"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"activationd/control"
	"activationd/supervisor/wrapper"
	"activationd/test/harness"
)

var kills = flag.Int("kills", 0, "how many reservations TestKilled disturbs; 0: the default")

// A proc is a process of a run.
type proc struct {
	pid, parent int
	name        string
}

// processes returns those of an activation's runs: its scripts and what they
// started, and their wrappers.
func (d *labDaemon) processes(id string) (scripts, wrappers []proc) {
	var all []proc
	for _, pid := range wrapper.Processes() {
		stat, ok := wrapper.Stat(pid) // gone is as good as not there, here and below
		if !ok || stat.Dead() {
			continue
		}
		name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		p := proc{pid, stat.Parent, strings.TrimSpace(string(name))}
		all = append(all, p)
		env := wrapper.Environ(pid)
		if strings.Contains(env, "\x00ACTIVATION_ID="+id+"\x00") && strings.Contains(env, "\x00ACTIVATIOND_SOCKET="+d.Address+"\x00") {
			scripts = append(scripts, p)
		}
	}
	for _, p := range all {
		if p.name == "atwrap" && slices.ContainsFunc(scripts, func(s proc) bool { return s.parent == p.pid }) {
			wrappers = append(wrappers, p)
		}
	}
	return scripts, wrappers
}

// strike kills some of the processes that work on an activation.
func (d *labDaemon) strike(whom, id string) {
	d.t.Helper()
	scripts, wrappers := d.processes(id)
	kill := func(ps []proc) {
		for _, p := range ps {
			_ = syscall.Kill(p.pid, syscall.SIGKILL) // it may have ended by itself
		}
	}
	switch whom {
	case "script": // the shell, which leaves its child behind
		scripts = slices.DeleteFunc(scripts, func(p proc) bool { return strings.HasPrefix(p.name, "atctl") })
		kill(scripts)
	case "upload": // the child
		scripts = slices.DeleteFunc(scripts, func(p proc) bool { return !strings.HasPrefix(p.name, "atctl") })
		kill(scripts)
	case "wrapper":
		kill(wrappers)
	case "daemon":
		d.restart()
	case "all":
		d.Daemon.Kill()
		kill(wrappers)
		kill(scripts)
		d.restart()
	}
}

var everybody = []string{"script", "upload", "wrapper", "daemon", "all"}

// agree compares the switches with what the daemon reports of its activations. An
// active one has its VLANs on its ports. Those of a stuck one are in quarantine, with a
// reason, and are on its own ports or nowhere. A finished one has none, and there are
// no others.
func (d *labDaemon) agree(when string, ws ...*wired) {
	d.t.Helper()
	var certain, doubtful []*wired
	leases := d.leases()
	tags := d.tags()
	left := len(leases)
	for _, w := range ws {
		a, mine := d.show(w.id), of(leases, w.id)
		left -= len(mine)
		switch {
		case a.State == "finished" && len(mine) == 0:
		case a.State == "active" && len(mine) == len(w.links) && w.has(mine, "leased"):
			certain = append(certain, w)
		case a.State == "stuck" && w.has(mine, "quarantined"):
			doubtful = append(doubtful, w)
		default:
			d.t.Errorf("%s: %s is %s (%s), and has %+v", when, w.id, a.State, a.Reason, mine)
		}
	}
	if left != 0 {
		d.t.Errorf("%s: VLANs of others are lent: %+v", when, leases)
	}
	must, may := tagsOf(certain...), tagsOf(append(slices.Clone(certain), doubtful...)...)
	for _, tag := range must {
		if !covers(tags, tag) {
			d.t.Errorf("%s: the switches have\n%q, and lack %q", when, tags, tag)
		}
	}
	for _, tag := range tags {
		if !covers(may, tag) {
			d.t.Errorf("%s: the switches have\n%q, of which nobody knows %q: %+v", when, tags, tag, leases)
		}
	}
}

// covers reports whether tags have the port and all the VLANs of one.
func covers(tags []string, one string) bool {
	f := strings.Fields(one)
	return slices.ContainsFunc(tags, func(tag string) bool {
		g := strings.Fields(tag)
		return f[0] == g[0] && !slices.ContainsFunc(f[1:], func(v string) bool { return !slices.Contains(g[1:], v) })
	})
}

// has reports whether all leases are in a state, with a reason. It also records the
// VLANs of the links.
func (w *wired) has(mine []lease, state string) bool {
	for _, m := range mine {
		if m.State != state || m.Reason == "" {
			return false
		}
		for _, l := range w.links {
			if strings.Contains(m.Link, l.a+":eth1") && strings.Contains(m.Link, l.b+":eth1") {
				l.vlan = m.ID
			}
		}
	}
	return true
}

// TestKilled kills the script, the upload, the wrapper and the daemon at any time of
// activations and deactivations, while another lab on the same switches goes on. The
// result that the daemon reports for each must be what the switches have.
func TestKilled(t *testing.T) {
	t.Parallel()
	l := newLab(t, 6, "LAB_PACE=line: 150ms")
	empty := l.configuration()
	d := l.newDaemon(l.do("lab_inventory"), "deactivate_retries: 0")
	rng := harness.Random(t)
	n := cmp.Or(*kills, harness.Size(len(everybody), 20))

	bystander := d.wire("bystander@kill", "", "h5", "h6")
	d.announce()
	began := time.Now()
	d.change(nil, []*resv{bystander.resv})
	d.InState(bystander.id, "active")
	takes := time.Since(began) // with what it takes to load and to ask, too
	d.running("at first", bystander)
	was := l.configuration()
	outcomes := map[string]int{}

	for i := range n {
		w := d.wire(fmt.Sprintf("%d@kill", i), fmt.Sprintf("retries: %d", rng.IntN(3)), "h1", "h2", "h3", "h4")
		whom := everybody[i%len(everybody)]
		story := fmt.Sprintf("%d (%s, %s)", i, whom, w.settings)

		d.change(nil, []*resv{w.resv})
		d.InState(w.id, "activating", "active")
		pause(rng, takes)
		d.strike(whom, w.id)
		if rng.IntN(3) == 0 { // and once more, at what came then
			pause(rng, takes)
			d.strike(everybody[rng.IntN(len(everybody))], w.id)
		}
		a := d.InState(w.id, "active", "stuck", "finished")
		outcomes[outcomeOf(a)]++
		d.agree(story+", struck in its activation", bystander, w)

		if a.State == "active" {
			d.change([]*resv{w.resv}, nil)
			d.InState(w.id, "deactivating", "stuck", "finished")
			if rng.IntN(2) == 0 {
				pause(rng, takes)
				d.strike(everybody[rng.IntN(len(everybody))], w.id)
			}
			a = d.InState(w.id, "stuck", "finished")
			outcomes[outcomeOf(a)]++
			d.agree(story+", struck in its deactivation", bystander, w)
		}
		if a.State == "stuck" {
			d.atctl("retry", w.id)
			d.InState(w.id, "finished")
			d.agree(story+", tried again", bystander, w)
		}
		l.unchanged(story, was)
		if t.Failed() {
			t.Fatalf("%s:\n%s", story, d.logs(w.id))
		}
	}
	t.Logf("%d disturbed: %v", n, outcomes)
	d.change([]*resv{bystander.resv}, nil)
	d.InState(bystander.id, "finished")
	l.unchanged("at last", empty)
}

// pause waits for a random part of a time, because the kill shall come at a time that
// no event marks.
func pause(rng *rand.Rand, upTo time.Duration) { time.Sleep(time.Duration(rng.Int64N(int64(upTo)))) }

func outcomeOf(a control.Detail) string {
	switch {
	case a.State == "active":
		return "activated"
	case a.State == "stuck":
		return "in quarantine"
	case a.Outcome == "succeeded":
		return "ended"
	}
	return "undone"
}

// TestUnreachable removes a switch in the middle of a slot. The deactivation cannot be
// verified, so the VLANs are leased to no other reservation until it is.
func TestUnreachable(t *testing.T) {
	t.Parallel()
	l := newLab(t, 4)
	was := l.configuration()
	d := l.newDaemon(l.do("lab_inventory"), "deactivate_retries: 1")
	w := d.wire("1@gone", "", "h1", "h2")
	next := d.wire("2@gone", "", "h3", "h4")
	d.announce()
	d.change(nil, []*resv{w.resv})
	d.InState(w.id, "active")
	d.running("while both switches are there", w)
	vlan := w.links[0].vlan

	l.do("sshd_stop sw2")
	d.change([]*resv{w.resv}, nil)
	a := d.InState(w.id, "stuck", "finished")
	if a.State != "stuck" {
		t.Fatalf("it is %s, %s (%s), and no switch has proved that\n%s", a.State, a.Outcome, a.Reason, d.logs(w.id))
	}
	if mine := of(d.leases(), w.id); len(mine) != 1 || mine[0].ID != vlan || mine[0].State != "quarantined" || mine[0].Reason == "" {
		t.Errorf("its VLAN is %+v, want %d in quarantine, with a reason", mine, vlan)
	}
	if said := d.logs(w.id); !strings.Contains(said, "sw2") {
		t.Errorf("its log does not name the switch that does not answer:\n%s", said)
	}
	l.do("sshd_start sw2")
	d.change(nil, []*resv{next.resv})
	d.InState(next.id, "active")
	if other := of(d.leases(), next.id); len(other) != 1 || other[0].ID == vlan {
		t.Errorf("the next got %+v; want another than %d, which is in quarantine", other, vlan)
	}
	d.atctl("retry", w.id)
	d.InState(w.id, "finished")
	d.running("when the switch has answered", next)
	d.change([]*resv{next.resv}, nil)
	d.InState(next.id, "finished")
	l.unchanged("at last", was)
}
