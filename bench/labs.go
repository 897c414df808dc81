package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"activationd/control"
)

const (
	slowSwitches = 10
	slowLabs     = 50
	slowLag      = 200 * time.Millisecond // for each line; saving takes ten times as long
)

// slow has 50 labs activated at once on 10 slow switches. Each lab has one wire
// between two switches, so each switch is configured for ten of them. No daemon can
// be faster than a switch's own queue, which is the time that its commands take.
func slow(b *bench, t *table) error {
	on, off, err := b.slowLabs()
	if err != nil {
		return err
	}
	t.add(fmt.Sprintf("%d activations at once on %d slow switches: until all are active", slowLabs, slowSwitches), "s", on.took.Seconds())
	t.ratio("  activation over the slowest switch's own queue", on.took.Seconds(), on.queue.Seconds()).atMost(1.1).noted("queue %.1f s; %s", on.queue.Seconds(), on.saw)
	t.add("  processor time of an activation", "ms", on.cpu)
	t.add("  and until all are off again", "s", off.took.Seconds())
	t.ratio("  deactivation over the slowest switch's own queue", off.took.Seconds(), off.queue.Seconds()).atMost(1.1).noted("queue %.1f s; %s", off.queue.Seconds(), off.saw)
	t.add("  processor time of a deactivation", "ms", off.cpu)
	return nil
}

// A wave is how long all labs took, how long the slowest switch was busy meanwhile, and what
// the switches saw.
type wave struct {
	took, queue time.Duration
	cpu         float64 // of the daemon and the scripts, for each lab, in ms
	saw         string
}

// generate measures how long `atctl lab generate` takes for a topology of 500
// links. The daemon leases a VLAN for each of them meanwhile.
func generate(b *bench, t *table) error {
	const links = 500
	var switches []labSwitch
	for i := range slowSwitches {
		switches = append(switches, labSwitch{fmt.Sprintf("slow%d", i), fmt.Sprintf("192.0.2.1:%d", 7000+i)})
	}
	var topology strings.Builder
	topology.WriteString("name: big\ntopology:\n  nodes:\n")
	for i := range 2 * links {
		fmt.Fprintf(&topology, "    h%d: {kind: linux}\n", i)
	}
	topology.WriteString("  links:\n")
	for i := range links {
		fmt.Fprintf(&topology, "    - endpoints: ['h%d:eth1', 'h%d:eth1']\n", 2*i, 2*i+1)
	}
	dir, err := files(b, map[string]string{"inventory.yaml": inventory(switches, links), "big.clab.yml": topology.String()})
	if err != nil {
		return err
	}
	d, err := b.start("lab: {inventory: " + dir + "/inventory.yaml}\n")
	if err != nil {
		return err
	}
	defer d.end()
	id, err := d.add(control.AddIn{In: "20d", Arg: []string{"true"}})
	if err != nil {
		return err
	}
	for _, what := range []string{fmt.Sprintf("atctl lab generate, %d links, none of them known to the daemon", links), "  again for the same activation"} {
		out, err := os.MkdirTemp(dir, "out")
		if err != nil {
			return err
		}
		cmd := exec.Command(filepath.Join(b.bin, "atctl"), "lab", "generate", "--activation", id,
			"--inventory", filepath.Join(dir, "inventory.yaml"), "--topology", filepath.Join(dir, "big.clab.yml"), "--out", out)
		cmd.Env = append(os.Environ(), "ACTIVATIOND_SOCKET="+d.client.Address)
		begin := time.Now()
		if output, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("atctl lab generate: %w\n%s", err, output)
		}
		t.add(what, "ms", time.Since(begin).Seconds()*1000).atMost(100)
	}
	return nil
}

// files writes files into a directory of their own.
func files(b *bench, texts map[string]string) (dir string, err error) {
	if dir, err = os.MkdirTemp(b.dir, "labs"); err != nil {
		return "", err
	}
	for name, text := range texts {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return "", err
		}
	}
	return dir, nil
}

// slowLabs activates and deactivates the labs.
func (b *bench) slowLabs() (on, off wave, err error) {
	var switches []*slowSwitch
	defer func() {
		for _, s := range switches {
			s.close()
		}
	}()
	var ports []string // more than enough
	for i := range 2*slowLabs/slowSwitches + 1 {
		ports = append(ports, fmt.Sprintf("GigabitEthernet0/%d", i))
	}
	for i := range slowSwitches {
		s, err := newSlowSwitch(fmt.Sprintf("slow%d", i), slowLag, ports, []string{"TenGigabitEthernet1/1", "TenGigabitEthernet1/2"})
		if err != nil {
			return on, off, err
		}
		switches = append(switches, s)
	}
	scripts, err := filepath.Abs(filepath.Join(b.bin, "../scripts")) // those of the build
	if err != nil {
		return on, off, err
	}
	var all []labSwitch
	for _, s := range switches {
		all = append(all, labSwitch{s.name, s.ln.Addr().String()})
	}
	dir, err := files(b, map[string]string{"inventory.yaml": inventory(all, slowLabs), "reservations.yaml": "reservations: []\n"})
	if err != nil {
		return on, off, err
	}
	book := filepath.Join(dir, "reservations.yaml")
	d, err := b.start(fmt.Sprintf(`
lab: {inventory: %s/inventory.yaml}
sources: [{files: %s}]
reservations: {activate: [%s/activate], deactivate: [%s/deactivate], timeout: 10m, environment: {PATH: '%s:%s'}}
`, dir, book, scripts, scripts, b.bin, os.Getenv("PATH")))
	if err != nil {
		return on, off, err
	}
	defer d.end()

	var before time.Duration // what the slowest switch had worked before
	measure := func(state string, start, end time.Time) (w wave, err error) {
		cpu, err := d.processorTime()
		if err != nil {
			return w, err
		}
		instant, took, err := d.all(book, state, start, end)
		if err != nil {
			return w, err
		}
		w.took = took
		used, err := d.processorTime()
		if err != nil {
			return w, err
		}
		w.cpu = (used - cpu) / 1000 / slowLabs
		var logs []slowLog
		for _, s := range switches {
			busy, odd, log := s.took()
			w.queue = max(w.queue, busy)
			logs = append(logs, log)
			if odd != nil {
				return w, fmt.Errorf("%s does not understand %q", s.name, odd)
			}
		}
		w.queue, before = w.queue-before, w.queue
		w.saw = summary(logs, instant)
		return w, nil
	}
	if on, err = measure("active", time.Now(), time.Now().Add(24*time.Hour)); err != nil {
		return on, off, err
	}
	off, err = measure("finished", time.Now(), time.Now().Truncate(time.Second).Add(time.Second))
	return on, off, err
}

// A labSwitch is a switch of the inventory.
type labSwitch struct{ name, address string }

// inventory returns the inventory of switches in a ring, and of two hosts for each
// lab, which are connected to two neighbouring switches.
func inventory(switches []labSwitch, labs int) string {
	var s strings.Builder
	s.WriteString("pools: {lab: {ranges: [100-4000]}}\ndevices:\n")
	for _, sw := range switches {
		fmt.Fprintf(&s, "  %s: {platform: cisco_ios, domain: lab, connect: 'tcp://%s'}\n", sw.name, sw.address)
	}
	for i := range 2 * labs {
		fmt.Fprintf(&s, "  h%d: {platform: linux}\n", i)
	}
	s.WriteString("wiring:\n")
	n := len(switches)
	for i := range labs {
		for k := range 2 {
			fmt.Fprintf(&s, "  - h%d:eth1 -- %s:GigabitEthernet0/%d\n", 2*i+k, switches[(i+k)%n].name, 2*(i/n)+k+1)
		}
	}
	s.WriteString("trunks:\n")
	for i := range switches {
		fmt.Fprintf(&s, "  - %s:TenGigabitEthernet1/1 -- %s:TenGigabitEthernet1/2\n", switches[i].name, switches[(i+1)%n].name)
	}
	return s.String()
}

// all writes the reservations with these slots and waits until every one is in a
// state. It returns when the labs could begin, by the start or the end of the slots, and how
// long they took from then on.
func (d *daemon) all(book, state string, start, end time.Time) (began time.Time, took time.Duration, err error) {
	instant := start
	if state == "finished" {
		start, instant = start.Add(-time.Minute), end
	}
	var s strings.Builder
	s.WriteString("reservations:\n")
	for i := range slowLabs {
		fmt.Fprintf(&s, "- {id: %d@slow, start: %s, end: %s, topology: {name: wire, topology: {nodes: {h%d: {kind: linux}, h%d: {kind: linux}}, links: [{endpoints: ['h%d:eth1', 'h%d:eth1']}]}}}\n",
			i, start.Format(time.RFC3339), end.Format(time.RFC3339), 2*i, 2*i+1, 2*i, 2*i+1)
	}
	if err := os.WriteFile(book+".new", []byte(s.String()), 0o600); err != nil {
		return began, 0, err
	}
	if err := os.Rename(book+".new", book); err != nil {
		return began, 0, err
	}
	began = time.Now()
	if _, err := d.reload(); err != nil {
		return began, 0, err
	}
	for time.Since(began) < 20*time.Minute {
		n := len(d.list(state))
		if stuck := d.list("stuck"); len(stuck) > 0 {
			return began, 0, errors.New("stuck: " + stuck[0].ID + ": " + stuck[0].Reason)
		}
		if n == slowLabs {
			if instant.After(began) {
				began = instant
			}
			return began, time.Since(began), nil
		}
		time.Sleep(100 * time.Millisecond) // asking costs the daemon processor time, too
	}
	return began, 0, fmt.Errorf("not all are %s: %v", state, d.list("activating"))
}
