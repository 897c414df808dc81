package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"activationd/control"
)

const (
	slowSwitches = 10
	slowLabs     = 50
	slowLag      = 100 * time.Millisecond // for each line
)

// slow has 50 labs activated at once on 10 slow switches. Each lab has one wire
// between two switches, so each switch is configured for ten of them; it can do no
// better than its own queue, which is the time that its commands cost it.
func slow(b *bench) ([]row, error) {
	begun := row{what: fmt.Sprintf("%d activations at once on %d slow switches: time until all are active", slowLabs, slowSwitches), unit: "s"}
	ended := row{what: "  and until all are off again", unit: "s"}
	up := row{what: "  activation over the slowest switch's own queue", unit: "x"}
	down := row{what: "  deactivation over the slowest switch's own queue", unit: "x"}
	for range b.runs {
		on, off, queueOn, queueOff, err := b.slowLabs()
		if err != nil {
			return nil, err
		}
		begun.figures = append(begun.figures, on.Seconds())
		ended.figures = append(ended.figures, off.Seconds())
		up.figures = append(up.figures, on.Seconds()/queueOn.Seconds())
		down.figures = append(down.figures, off.Seconds()/queueOff.Seconds())
		up.note = fmt.Sprintf("queue %.1f s", queueOn.Seconds())
		down.note = fmt.Sprintf("queue %.1f s", queueOff.Seconds())
	}
	return []row{
		begun, up.than("1.1 x", median(up.figures) < 1.1),
		ended, down.than("1.1 x", median(down.figures) < 1.1),
	}, nil
}

// slowLabs does it once.
func (b *bench) slowLabs() (on, off, queueOn, queueOff time.Duration, err error) {
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
			return 0, 0, 0, 0, err
		}
		switches = append(switches, s)
	}
	scripts, err := filepath.Abs("scripts")
	if err != nil {
		return 0, 0, 0, 0, err
	}
	dir, err := os.MkdirTemp(b.dir, "labs")
	if err != nil {
		return 0, 0, 0, 0, err
	}
	book := filepath.Join(dir, "reservations.yaml")
	for name, text := range map[string]string{filepath.Join(dir, "inventory.yaml"): inventory(switches), book: "reservations: []\n"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			return 0, 0, 0, 0, err
		}
	}
	d, err := b.start(fmt.Sprintf(`
lab: {inventory: %s/inventory.yaml}
sources: [{files: %s}]
reservations: {activate: [%s/activate], deactivate: [%s/deactivate], timeout: 10m, environment: {PATH: '%s:%s'}}
`, dir, book, scripts, scripts, b.bin, os.Getenv("PATH")))
	if err != nil {
		return 0, 0, 0, 0, err
	}
	defer d.end()

	queues := func() (longest time.Duration, err error) {
		for _, s := range switches {
			took, odd := s.took()
			longest = max(longest, took)
			if odd != nil {
				err = fmt.Errorf("%s was told %q", s.name, odd)
			}
		}
		return longest, err
	}
	on, err = d.all(book, "active", time.Now(), time.Now().Add(24*time.Hour))
	if err == nil {
		queueOn, err = queues()
	}
	if err != nil {
		return 0, 0, 0, 0, err
	}
	off, err = d.all(book, "finished", time.Now(), time.Now().Truncate(time.Second).Add(time.Second))
	if err == nil {
		queueOff, err = queues()
	}
	return on, off, queueOn, queueOff - queueOn, err
}

// inventory is that of the switches in a ring, with two hosts a lab.
func inventory(switches []*slowSwitch) string {
	var s strings.Builder
	s.WriteString("pools: {lab: {ranges: [100-199]}}\ndevices:\n")
	for _, sw := range switches {
		fmt.Fprintf(&s, "  %s: {platform: cisco_ios, domain: lab, connect: 'tcp://%s'}\n", sw.name, sw.ln.Addr())
	}
	for i := range 2 * slowLabs {
		fmt.Fprintf(&s, "  h%d: {platform: linux}\n", i)
	}
	s.WriteString("wiring:\n")
	for i := range slowLabs {
		for k := range 2 {
			fmt.Fprintf(&s, "  - h%d:eth1 -- %s:GigabitEthernet0/%d\n", 2*i+k, switches[(i+k)%slowSwitches].name, 2*(i/slowSwitches)+k+1)
		}
	}
	s.WriteString("trunks:\n")
	for i := range switches {
		fmt.Fprintf(&s, "  - %s:TenGigabitEthernet1/1 -- %s:TenGigabitEthernet1/2\n", switches[i].name, switches[(i+1)%slowSwitches].name)
	}
	return s.String()
}

// all writes the reservations with these slots and waits until every one is in a
// state; it returns how long after the instant concerned that was.
func (d *daemon) all(book, state string, start, end time.Time) (time.Duration, error) {
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
		return 0, err
	}
	if err := os.Rename(book+".new", book); err != nil {
		return 0, err
	}
	begin := time.Now()
	if _, _, err := control.Call[control.ReloadLine](context.Background(), d.client, "reload", control.ReloadIn{}); err != nil {
		return 0, err
	}
	for time.Since(begin) < 5*time.Minute {
		n := len(d.list(state))
		if stuck := d.list("stuck"); len(stuck) > 0 {
			return 0, errors.New("stuck: " + stuck[0].ID + ": " + stuck[0].Reason)
		}
		if n == slowLabs {
			if instant.After(begin) {
				begin = instant
			}
			return time.Since(begin), nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return 0, fmt.Errorf("not all are %s: %v", state, d.list("activating"))
}
