package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"activationd/internal/fault"
	"activationd/topology"
)

// A bench is two switches and a router as devices on TCP ports, with a plan for them.
type bench struct {
	*testing.T
	sims      map[string]*sim
	topology  string
	was       map[string]string
	dir, keep string
	inv       *Inventory
	work      *Work
	mu        sync.Mutex
	said      []string
}

const benchTopology = `
name: bench
topology:
  nodes:
    h1: {kind: linux}
    r1:
      kind: cisco_iol
      startup-config: |
        interface Ethernet0/1
         description to h1
         ip address 10.0.0.1 255.255.255.0
        router ospf 1
         network 10.0.0.0 0.255.255.255 area 0
  links: [{endpoints: ["h1:eth1", "r1:Ethernet0/1"]}]
`

func newBench(t *testing.T) *bench {
	b := &bench{T: t, sims: map[string]*sim{}, topology: benchTopology, was: map[string]string{}, dir: t.TempDir(), keep: t.TempDir()}
	var s strings.Builder
	s.WriteString("pools: {lab: {ranges: [100-199]}}\ndevices:\n  h1: {platform: linux}\n")
	for _, name := range []string{"sw1", "sw2", "r1"} {
		sim := newSim(t, name)
		b.sims[name] = sim
		fmt.Fprintf(&s, "  %s: {platform: cisco_ios, connect: 'tcp://%s'%s}\n", name, sim.ln.Addr(), ifElse(name == "r1", "", ", domain: lab"))
	}
	s.WriteString("wiring: ['h1:eth1 -- sw1:p1', 'r1:Ethernet0/1 -- sw2:p2']\ntrunks: ['sw1:t0 -- sw2:t0']\n")
	for sw, port := range map[string]string{"sw1": "p1", "sw2": "p2"} {
		prepare(b.sims[sw].model, port, false)
		prepare(b.sims[sw].model, "t0", true)
	}
	b.sims["r1"].model.blocks["interface Ethernet0/1"] = []string{"description spare", "no keepalive"}
	var err error
	if b.inv, err = ParseInventory("inventory.yaml", []byte(s.String())); err != nil {
		t.Fatal(err)
	}
	b.work = &Work{Activation: "1@bench", Locks: t.TempDir(), Getenv: os.Getenv, Say: func(device, text string) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.said = append(b.said, device+": "+text)
	}}
	for name, sim := range b.sims {
		b.was[name] = sim.state()
	}
	b.generate(100)
	return b
}

// newBenchOf returns a bench of one device, r1, that answers at a listener.
func newBenchOf(t *testing.T, platform string, ln net.Listener, topology string) *bench {
	t.Helper()
	inv, err := ParseInventory("inventory.yaml", fmt.Appendf(nil, "devices:\n  r1: {platform: %s, connect: 'tcp://%s', allow: access-path}\n", platform, ln.Addr()))
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{T: t, topology: topology, dir: t.TempDir(), keep: t.TempDir(), inv: inv}
	b.work = &Work{Activation: "1@bench", Locks: t.TempDir(), Getenv: os.Getenv, Say: func(_, text string) { t.Log(text) }}
	b.generate(0)
	return b
}

// generate writes the plan, with a VLAN for the first link.
func (b *bench) generate(id int) {
	b.Helper()
	topo, err := topology.Parse("topology", []byte(b.topology), nil)
	if err != nil {
		b.Fatal(err)
	}
	platforms, err := b.inv.Platforms()
	if err != nil {
		b.Fatal(err)
	}
	m, err := Map(b.inv, platforms, topo, nil)
	if err != nil {
		b.Fatal(err)
	}
	links, err := Route(b.inv, topo, m)
	if err != nil {
		b.Fatal(err)
	}
	if len(links) > 0 {
		links[0].VLAN = id
	}
	p, err := Generate(Input{Activation: "1@bench", Inventory: b.inv, Platforms: platforms, Topology: topo, Mapping: m, Links: links})
	if err != nil {
		b.Fatal(err)
	}
	if err := WritePlan(b.dir, p, platforms); err != nil {
		b.Fatal(err)
	}
}

// blank checks that all devices have their previous state, and that nothing is kept.
func (b *bench) blank(when string) {
	b.Helper()
	for name, sim := range b.sims {
		if got := sim.state(); got != b.was[name] {
			b.Errorf("%s: %s has\n%s\nwas\n%s", when, name, got, b.was[name])
		}
	}
	if left, _ := filepath.Glob(b.keep + "/*"); left != nil {
		b.Errorf("%s: kept is %v", when, left)
	}
}

func (b *bench) upload() error { return b.work.Upload(b.Context(), b.dir, b.keep) }
func (b *bench) erase() error  { return b.work.Erase(b.Context(), b.keep) }

func (b *bench) verify() error {
	p, all, err := ReadKept(b.keep)
	if err != nil {
		b.Fatal(err)
	}
	return b.work.Verify(b.Context(), p, all)
}

func TestUploadVerifyErase(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for range 2 { // the second finds all as it should be
		if err := b.upload(); err != nil {
			t.Fatal(err)
		}
		if err := b.verify(); err != nil {
			t.Fatal(err)
		}
	}
	if got := b.sims["sw1"].state(); !strings.Contains(got, "switchport access vlan 100") {
		t.Errorf("sw1 has\n%s", got)
	}
	b.generate(117) // another plan takes the first off
	if err := b.upload(); err != nil {
		t.Fatal(err)
	}
	if got := b.sims["sw1"].state(); strings.Contains(got, "vlan 100") || !strings.Contains(got, "switchport access vlan 117") {
		t.Errorf("sw1 has\n%s", got)
	}
	for range 2 {
		if err := b.erase(); err != nil {
			t.Fatal(err)
		}
		b.blank("erased")
	}
	if sim := b.sims["r1"]; sim.saved != b.was["r1"] {
		t.Errorf("r1 has saved\n%s", sim.saved)
	}
}

// TestUndoKeepsTheWay: undoing a startup-config that repeats lines of the device, its address
// among them, does not cut the device off.
func TestUndoKeepsTheWay(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	sim := b.sims["r1"]
	sim.model.blocks["interface Ethernet0/0"] = []string{"ip address 192.0.2.12 255.255.255.0"}
	sim.reach = "no ip address 192.0.2.12 255.255.255.0"
	b.was["r1"] = sim.state()
	b.topology = strings.Replace(benchTopology, "        interface Ethernet0/1\n", "        interface Ethernet0/0\n         ip address 192.0.2.12 255.255.255.0\n        interface Ethernet0/1\n", 1)
	b.generate(100)
	if err := b.upload(); err != nil {
		t.Fatal(err)
	}
	if err := b.verify(); err != nil {
		t.Fatal(err)
	}
	if err := b.erase(); err != nil {
		t.Fatal(err)
	}
	b.blank("erased")
}

// TestVLANWasThere: a VLAN that a switch had defined before is not removed from it, while its
// ports are freed. (Some switches have all VLANs of a pool defined.)
func TestVLANWasThere(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.sims["sw1"].model.blocks["vlan 100"] = []string{"name pool"}
	b.was["sw1"] = b.sims["sw1"].state()
	if err := b.upload(); err != nil {
		t.Fatal(err)
	}
	if err := b.erase(); err != nil {
		t.Fatal(err)
	}
	b.blank("erased")
}

// TestOneStep: on EOS an object whose order differs is removed and made again in a session, so
// that it is never missing in between. An older system without sessions also gets it back.
func TestOneStep(t *testing.T) {
	t.Parallel()
	for _, old := range []bool{false, true} {
		b := newBench(t)
		sim := b.sims["r1"]
		sim.cli = newCLI("policy-map P\n class A\n class B\n")
		sim.cli.load("hostname r1\npolicy-map P\n class A\n class B\n")
		b.inv.Devices["r1"].Platform = "arista_eos"
		was := sim.cli.String()
		b.topology = strings.Replace(strings.Replace(benchTopology, "cisco_iol", "arista_ceos", 1),
			"        interface Ethernet0/1\n         description to h1\n         ip address 10.0.0.1 255.255.255.0\n        router ospf 1\n         network 10.0.0.0 0.255.255.255 area 0\n",
			"        policy-map P\n         no class A\n         class A\n", 1)
		b.generate(100)
		if err := b.upload(); err != nil {
			t.Fatal(err)
		}
		if sim.cli.String() == was {
			t.Fatal("the order is what it was")
		}
		gone := false
		sim.cli.watch = func(string) {
			gone = gone || sim.session == "" && !strings.Contains(sim.cli.String(), "policy-map P\n class")
		}
		if old {
			sim.noSession = true
		}
		if err := b.erase(); err != nil {
			t.Fatal(err)
		}
		if got := sim.cli.String(); got != was || gone != old {
			t.Errorf("old system %v: it has\n%s\nwas\n%s\nand was gone meanwhile: %v", old, got, was, gone)
		}
	}
}

// TestCutConfiguration: a configuration that was cut is not taken for the previous state of a
// device, as undoing would remove everything that is missing in it.
func TestCutConfiguration(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.sims["r1"].cutShow = true
	if err := b.upload(); !errors.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "not a whole configuration") {
		t.Errorf("the error is %v", err)
	}
	if got := b.sims["r1"].state(); got != b.was["r1"] {
		t.Errorf("r1 has\n%s", got)
	}
}

// TestEraseAfterEveryPrefix cuts the upload to each device after each of its lines, and then
// erases.
func TestEraseAfterEveryPrefix(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"sw1", "sw2", "r1"} {
		b := newBench(t)
		lines := 0
		for ; lines < 30; lines++ {
			ctx, cancel := context.WithCancel(t.Context())
			b.sims[name].cutAfter(lines, cancel)
			err := b.work.Upload(ctx, b.dir, b.keep)
			cancel()
			whole := err == nil
			b.sims[name].cutAfter(-1, nil)
			if err := b.erase(); err != nil {
				t.Fatalf("%s, %d lines: %v", name, lines, err)
			}
			b.blank(fmt.Sprintf("%s, %d lines", name, lines))
			if whole {
				break
			}
		}
		if lines < 5 || lines == 30 {
			t.Errorf("%s was cut %d times", name, lines)
		}
	}
}

// TestEraseIsCut cuts the erasing of each device after each line. When it is repeated, it
// succeeds.
func TestEraseIsCut(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"sw1", "r1"} {
		b := newBench(t)
		if err := b.upload(); err != nil {
			t.Fatal(err)
		}
		lines := 0
		for ; lines < 30; lines++ {
			ctx, cancel := context.WithCancel(t.Context())
			b.sims[name].cutAfter(lines, cancel)
			err := b.work.Erase(ctx, b.keep)
			cancel()
			b.sims[name].cutAfter(-1, nil)
			if err == nil {
				break
			}
			if _, _, err := ReadKept(b.keep); err != nil {
				t.Fatalf("%s, %d lines: what was applied is not kept: %v", name, lines, err)
			}
		}
		if lines < 2 || lines == 30 {
			t.Errorf("%s was cut %d times", name, lines)
		}
		if err := b.erase(); err != nil {
			t.Fatal(err)
		}
		b.blank(name)
	}
}

// TestKilledWhileKeeping: erasing copes with what a killed upload leaves between its steps.
func TestKilledWhileKeeping(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		make func(b *bench)
	}{
		{"nothing", func(*bench) {}},
		{"a plan half written", func(b *bench) {
			put(b, "new/sw1.conf", "interface p1\n")
		}},
		{"a plan, and no device asked", func(b *bench) { b.kept() }},
		{"a plan half removed", func(b *bench) {
			put(b, "gone/sw1.conf", "interface p1\n")
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			tt.make(b)
			for _, sim := range b.sims {
				sim.cutAfter(0, func() { t.Errorf("a line was sent to %s", sim.name) }) // no line may come
			}
			if err := b.erase(); err != nil {
				t.Fatal(err)
			}
			b.blank("erased")
			for _, sim := range b.sims {
				sim.cutAfter(-1, nil)
			}
			tt.make(b)
			if err := b.upload(); err != nil {
				t.Fatal(err)
			}
			if err := b.verify(); err != nil {
				t.Fatal(err)
			}
			if err := b.erase(); err != nil {
				t.Fatal(err)
			}
			b.blank("uploaded and erased")
		})
	}
}

// kept stores the plan as an upload does, without sending anything.
func (b *bench) kept() {
	b.Helper()
	files, err := readPlanFiles(b.dir)
	if err == nil {
		err = b.work.keep(b.Context(), b.keep, files)
	}
	if err != nil {
		b.Fatal(err)
	}
}

func put(b *bench, name, text string) {
	b.Helper()
	file := filepath.Join(b.keep, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte(text), 0o600)); err != nil {
		b.Fatal(err)
	}
}

// TestApply: a switch is read back in the session that has sent its lines, after it has saved
// them. If something is missing, it is read back in another session, as is the router.
func TestApply(t *testing.T) {
	t.Parallel()
	for _, lie := range []string{"", "switchport access vlan 100"} {
		b := newBench(t)
		b.sims["sw1"].lie = lie
		err := b.work.Apply(t.Context(), b.dir, b.keep)
		if lie == "" && err != nil || lie != "" && (!errors.Is(err, fault.Conflict) || !strings.Contains(err.Error(), "sw1")) {
			t.Errorf("the lie is %q, the error is %v", lie, err)
		}
		for name, want := range map[string]string{
			"sw1": "open show save show" + ifElse(lie == "", "", " open show"),
			"sw2": "open show save show",
			"r1":  "open show save open show",
		} {
			if got := b.sims[name].deeds(); got != want {
				t.Errorf("the lie is %q, %s did %q, want %q", lie, name, got, want)
			}
			if verified := slices.ContainsFunc(b.said, func(s string) bool { return strings.HasPrefix(s, name+": verified: ") }); verified == (name == "sw1" && lie != "") {
				t.Errorf("the lie is %q, it said %q", lie, b.said)
			}
		}
		if err := b.erase(); err != nil {
			t.Fatal(err)
		}
		b.blank("erased")
	}
}

// TestLies: what a device answers to a line is no proof; reading back is.
func TestLies(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ device, line, in string }{
		{"sw1", "switchport access vlan 100", "upload"},
		{"sw2", "switchport trunk allowed vlan add 100", "upload"},
		{"r1", "ip address 10.0.0.1 255.255.255.0", "upload"},
		{"sw1", "shutdown", "erase"},
		{"sw2", "switchport trunk allowed vlan remove 100", "erase"},
		{"r1", "no router ospf 1", "erase"},
	} {
		t.Run(tt.device+" "+tt.in, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			if tt.in == "upload" {
				b.sims[tt.device].lie = tt.line
			}
			if err := b.upload(); err != nil {
				t.Fatal(err)
			}
			err := b.verify()
			if tt.in == "erase" {
				if err != nil {
					t.Fatal(err)
				}
				b.sims[tt.device].lie = tt.line
				err = b.erase()
				if _, _, kept := ReadKept(b.keep); kept != nil {
					t.Errorf("what was applied is forgotten: %v", kept)
				}
			}
			if !errors.Is(err, fault.Conflict) || !strings.Contains(err.Error(), tt.device) {
				t.Errorf("the error is %v, want one about %s", err, tt.device)
			}
		})
	}
}

// TestOneWriter: two programs that write to a device do so one after the other.
func TestOneWriter(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	unlock, err := b.work.lockDevice(t.Context(), "sw1")
	if err != nil {
		t.Fatal(err)
	}
	lock, err := os.OpenFile(filepath.Join(b.work.Locks, "sw1.lock"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = lock.Close() }()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); !errors.Is(err, syscall.EWOULDBLOCK) {
		t.Errorf("another program gets the lock: %v", err)
	}
	for long := 200 * time.Millisecond; long < 10*time.Minute; long *= 2 { // until it comes as far as the lock
		ctx, cancel := context.WithTimeout(t.Context(), long)
		err = b.work.Upload(ctx, b.dir, b.keep)
		cancel()
		if err != nil && strings.Contains(err.Error(), "in use") {
			break
		}
	}
	if !errors.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "sw1: is in use by 1@bench (process ") {
		t.Errorf("the error is %v", err)
	}
	if got := b.sims["sw1"].state(); got != b.was["sw1"] {
		t.Errorf("sw1 has\n%s", got)
	}
	unlock()
	if err := b.upload(); err != nil {
		t.Fatal(err)
	}
}

// TestDrift finds what was changed by hand.
func TestDrift(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	platforms, err := b.inv.Platforms()
	if err != nil {
		t.Fatal(err)
	}
	lease := Lease{Domain: "lab", Link: "h1:eth1 -- r1:Ethernet0/1", Holder: "1@bench", ID: 100}
	drift := func(want string, leases ...Lease) {
		t.Helper()
		found, err := b.work.Drift(t.Context(), b.inv, platforms, leases)
		var got []string
		for _, d := range found {
			got = append(got, d.Port.String())
		}
		if strings.Join(got, " ") != want || err != nil {
			t.Errorf("drift is %q (%+v), %v, want %q", got, found, err, want)
		}
	}
	drift("")
	if err := b.upload(); err != nil {
		t.Fatal(err)
	}
	drift("", lease)
	drift("sw1:p1 sw1:t0 sw2:p2 sw2:t0")
	doubt := lease
	doubt.Doubtful = true
	drift("", doubt)
	// A doubtful lease and another lease of the same port: the other one counts, in any order.
	doubt.ID = 101
	for range 8 {
		drift("", lease, doubt)
	}
	b.sims["sw1"].model.blocks["interface p1"] = []string{"switchport access vlan 101", "switchport mode access"}
	gone := Lease{Domain: "lab", Link: "h1:eth7 -- r1:Ethernet0/1", Holder: "2@bench", ID: 102}
	found, err := b.work.Drift(t.Context(), b.inv, platforms, []Lease{gone, lease})
	if len(found) != 1 || found[0].Port.String() != "sw1:p1" || !errors.Is(err, fault.Conflict) {
		t.Errorf("with a lease for what is not wired: %+v, %v", found, err)
	}
	b.sims["sw2"].model.blocks["interface t0"] = []string{"switchport mode trunk", "switchport trunk allowed vlan 90,100,150-151"}
	drift("sw1:p1 sw2:t0", lease)
}

// TestDriftAsksForEachID: if the template of a user's platform asks for one VLAN at a time, a
// free port is compared with each VLAN of the pool, and not only with VLAN 1, which is in no
// pool.
func TestDriftAsksForEachID(t *testing.T) {
	t.Parallel()
	inv := &Inventory{Pools: map[string]Pool{"d": {Ranges: []Range{{100, 102}, {110, 110}}, Exclude: []Range{{101, 101}}}}}
	sw := &Device{Name: "sw", Platform: "mine", Domain: "d"}
	inv.Devices = map[string]*Device{"sw": sw}
	each := &Platform{parts: map[string]part{partAccess: {apply: []string{"a"}, undo: []string{"b"}, checks: []check{{show: "show vlan {vlan} ports", clean: []string{"end"}, cleanNot: []string{"{port}"}}}}}}
	same := &Platform{parts: map[string]part{partAccess: {apply: []string{"a"}, undo: []string{"b"}, checks: []check{{show: "show port {port}", clean: []string{"free"}}}}}}
	asked := func(p *Platform) string {
		var all []string
		for _, c := range inv.portChecks(sw, p, &expectation{port: Port{"sw", "p7"}}, nil) {
			all = append(all, c.Show)
		}
		return strings.Join(all, ", ")
	}
	if got, want := asked(each), "show vlan 100 ports, show vlan 102 ports, show vlan 110 ports"; got != want {
		t.Errorf("it asks %s, want %s", got, want)
	}
	if got, want := asked(same), "show port p7"; got != want {
		t.Errorf("it asks %s, want %s", got, want)
	}
}

// TestLongConfig: after a cut, a configuration of many lines continues where it was, and it is
// erased as a whole. The number of lines that have arrived is reported.
func TestLongConfig(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	var routes strings.Builder
	for i := range 60 {
		fmt.Fprintf(&routes, "         network 10.%d.0.0 0.0.255.255 area %d\n", i, i)
	}
	b.topology = strings.Replace(benchTopology, "         network 10.0.0.0 0.255.255.255 area 0\n", routes.String(), 1)
	b.generate(100)
	sim, cuts := b.sims["r1"], 0
	sim.cutAfter(40, func() { // the device has its lock
		sim.away, sim.left = false, -1
		cuts++
	})
	var arrived []int
	b.work.Progress = func(device string, lines, of int) {
		if device != "r1" || lines > of {
			t.Errorf("%s has %d of %d lines", device, lines, of)
		}
		arrived = append(arrived, lines)
	}
	if err := b.upload(); err != nil {
		t.Fatal(err)
	}
	if n := len(arrived); n < 60 || !slices.IsSorted(arrived) || arrived[n-1] < 60 {
		t.Errorf("lines arrived: %v", arrived)
	}
	if err := b.verify(); err != nil {
		t.Fatal(err)
	}
	if sim.lines > 64+10 || cuts != 1 {
		t.Errorf("it was cut %d times, and given %d lines: from the beginning again", cuts, sim.lines)
	}
	if err := b.erase(); err != nil {
		t.Fatal(err)
	}
	b.blank("erased")
}
