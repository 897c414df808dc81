package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"activationd/control"
)

const (
	oneAtATime = 200 // starts of a round
	apart      = 30 * time.Millisecond
)

// lateness measures one start at a time, when the daemon has nothing else to do and while many
// others wait, by turns with a program that only waits for the time and starts it; and the memory
// that those take.
func lateness(b *bench, t *table) error {
	d, err := b.start("runs: {arm_ahead: 50ms}\n")
	if err != nil {
		return err
	}
	defer d.end()
	if err := d.lateness(t, "idle"); err != nil {
		return err
	}
	rate, err := d.fill()
	if err != nil {
		return err
	}
	t.add(fmt.Sprintf("%d submissions, pipelined", b.pending), "/s", rate)
	rss, anon := d.memory()
	t.add("memory of the daemon just after them", "MiB", rss).noted("%.0f MiB its own", anon)
	pending := fmt.Sprintf("%d pending", b.pending)
	if err := d.lateness(t, pending); err != nil {
		return err
	}
	if err := d.configure("runs: {arm_ahead: 0s}\n"); err != nil {
		return err
	}
	if _, err := d.reload(); err != nil {
		return err
	}
	late, err := d.starts(oneAtATime, apart)
	if err != nil {
		return err
	}
	t.late("lateness of a start, "+pending+", not armed", late)
	rss, anon = d.memory()
	t.add("memory of the daemon after that", "MiB", rss).atMost(64).noted("%.0f MiB its own", anon)
	return nil
}

// lateness measures it in a state of the daemon, in pairs with the peer.
func (d *daemon) lateness(t *table, state string) error {
	for range d.b.runs {
		late, err := d.starts(oneAtATime, apart)
		if err != nil {
			return err
		}
		ours := t.late("lateness of a start, "+state+", armed 50 ms ahead", late)
		if !d.b.peers {
			continue
		}
		if late, err = d.b.bareStarts(); err != nil {
			return err
		}
		theirs := t.late("  clock_nanosleep, fork and exec, "+state, late)
		t.ratio("  ratio, "+state+", p99", ours, theirs).atMost(2)
	}
	return nil
}

// late adds rows of how late starts were, in milliseconds, and returns the 99th percentile.
func (t *table) late(what string, late []float64) (p99 float64) {
	p99 = percentile(late, 0.99)
	t.add(what+": p50", "ms", median(late))
	t.add(what+": p99", "ms", p99)
	return p99
}

// starts adds n jobs that are due one after the other, and returns how late each was, in
// milliseconds, by the started program's own account.
func (d *daemon) starts(n int, apart time.Duration) ([]float64, error) {
	program, err := d.b.act()
	if err != nil {
		return nil, err
	}
	file := filepath.Join(d.dir, "starts")
	begin := time.Now().Add(2 * time.Second)
	var last string
	for i := range n {
		at := begin.Add(time.Duration(i) * apart)
		if last, err = d.add(control.AddIn{At: at.Format(time.RFC3339Nano), Arg: []string{program, file, strconv.Itoa(i)}}); err != nil {
			return nil, err
		}
	}
	if err := d.wait(last); err != nil {
		return nil, err
	}
	return readStarts(file, n, begin, apart)
}

// bareStarts has the peer start the same programs at such instants.
func (b *bench) bareStarts() ([]float64, error) {
	program, err := b.act()
	if err != nil {
		return nil, err
	}
	p, err := b.bare()
	if err != nil {
		return nil, err
	}
	file := filepath.Join(b.dir, "starts")
	begin, _, err := p.run("at", strconv.Itoa(oneAtATime), strconv.FormatInt(apart.Microseconds(), 10), program, file)
	if err != nil {
		return nil, err
	}
	return readStarts(file, oneAtATime, begin, apart)
}

// readStarts waits until each start is in a file, which it removes, and returns how late they were.
func readStarts(file string, n int, begin time.Time, apart time.Duration) ([]float64, error) {
	all, err := acts(file, n)
	if err != nil {
		return nil, err
	}
	late := make([]float64, n)
	for _, a := range all {
		i, err := strconv.Atoi(a.word)
		if err != nil {
			return nil, err
		}
		late[i] = a.at.Sub(begin.Add(time.Duration(i)*apart)).Seconds() * 1000
	}
	return late, os.Remove(file)
}
