package main

import (
	_ "embed"
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"activationd/control"
)

//go:embed testdata/start.c
var startSource string

const (
	// dueAtOnce is how many jobs are due at one instant.
	dueAtOnce = 1000
	// ahead is how long before their instant they are submitted.
	ahead = 7 * time.Second
	// sleeps is how many seconds a program of a burst stays.
	sleeps = "5"
	// roomy lets all of them run at once, and more.
	roomy = "runs: {max_parallel: 2000}\n"
)

// A bare peer starts programs with nothing around them.
type bare struct{ program string }

func (b *bench) bare() (bare, error) {
	program, err := b.compile("start", startSource)
	return bare{program}, err
}

// run runs it, and returns the times before the first start and after the last end.
func (p bare) run(args ...string) (begin, end time.Time, err error) {
	out, err := exec.Command(p.program, args...).Output()
	if err != nil {
		return begin, end, fmt.Errorf("start: %w", err)
	}
	var from, to int64
	_, err = fmt.Sscan(string(out), &from, &to)
	return time.Unix(0, from), time.Unix(0, to), err
}

// burst measures many starts at one instant, and many runs from it until the last end is recorded,
// beside bare fork and exec of the same programs.
func burst(b *bench, t *table) error {
	d, err := b.start(roomy)
	if err != nil {
		return err
	}
	defer d.end()
	program, starts, us, err := b.sleepers(d, t)
	if err != nil {
		return err
	}
	t.add("  processor time of a run, all of it", "us", us)
	due, end, us, err := d.burst("/bin/true")
	if err != nil {
		return err
	}
	ends := dueAtOnce / end.Sub(due).Seconds()
	t.add(fmt.Sprintf("%d times /bin/true due at one instant: per second until the last recorded end", dueAtOnce), "/s", ends).before(0.5)
	t.add("  processor time of a run of /bin/true, all of it", "us", us).before(0.7)
	if !b.peers {
		return nil
	}
	bareStarts, err := b.fastest(t, "first acts", func(p bare, lanes string) (float64, error) {
		file := filepath.Join(b.dir, "bare-acts"+lanes)
		begin, _, err := p.run("leave", strconv.Itoa(dueAtOnce), lanes, program, file, "bare", sleeps)
		if err != nil {
			return 0, err
		}
		return startRate(file, begin)
	})
	if err != nil {
		return err
	}
	t.ratio("  ratio to the faster one, first acts", starts, bareStarts).atLeast(0.7)
	bareEnds, err := b.fastest(t, "runs of /bin/true", func(p bare, lanes string) (float64, error) {
		begin, end, err := p.run("wait", strconv.Itoa(dueAtOnce), lanes, "/bin/true")
		return dueAtOnce / end.Sub(begin).Seconds(), err
	})
	if err != nil {
		return err
	}
	t.ratio("  ratio to the faster one, runs of /bin/true", ends, bareEnds).atLeast(0.4)
	return nil
}

// fastest measures bare fork and exec one after the other, and as many side by side as there are
// processors, and returns the higher rate.
func (b *bench) fastest(t *table, what string, rate func(p bare, lanes string) (float64, error)) (best float64, err error) {
	p, err := b.bare()
	if err != nil {
		return 0, err
	}
	for _, lanes := range []int{1, runtime.NumCPU()} {
		r, err := rate(p, strconv.Itoa(lanes))
		if err != nil {
			return 0, err
		}
		t.add(fmt.Sprintf("  bare fork+exec, %d at a time: %s", lanes, what), "/s", r)
		best = max(best, r)
	}
	return best, nil
}

// burst adds jobs of one command for one instant. It returns that, when the last end had been
// recorded, and the processor time that each run took meanwhile, in microseconds.
func (d *daemon) burst(argv ...string) (due, end time.Time, us float64, err error) {
	due = time.Now().Add(ahead)
	ids, _, err := d.pipeline(dueAtOnce, "add\nat:"+due.Format(time.RFC3339Nano)+"\narg:"+strings.Join(argv, "\narg:")+"\n\n")
	if err != nil {
		return due, end, 0, err
	}
	before, err := d.processorTime()
	if err != nil {
		return due, end, 0, err
	}
	if err := d.waitAll(ids); err != nil {
		return due, end, 0, err
	}
	end = time.Now()
	after, err := d.processorTime()
	return due, end, (after - before) / dueAtOnce, err
}

// startRate returns how many programs of a burst have started in a second, from an instant until
// the last one.
func startRate(file string, from time.Time) (float64, error) {
	all, err := acts(file, dueAtOnce)
	if err != nil {
		return 0, err
	}
	last := slices.MaxFunc(all, func(a, b act) int { return a.at.Compare(b.at) })
	return dueAtOnce / last.at.Sub(from).Seconds(), nil
}

// sleepers measures a burst of a program that then sleeps. It returns the program, its first acts in a second, and the
// processor time of a run in microseconds.
func (b *bench) sleepers(d *daemon, t *table) (program string, rate, us float64, err error) {
	if program, err = b.act(); err != nil {
		return "", 0, 0, err
	}
	file := filepath.Join(d.dir, "acts")
	due, _, us, err := d.burst(program, file, "burst", sleeps)
	if err != nil {
		return "", 0, 0, err
	}
	if rate, err = startRate(file, due); err != nil {
		return "", 0, 0, err
	}
	t.add(fmt.Sprintf("%d due at one instant, each then sleeps %s s: first acts per second until the last", dueAtOnce, sleeps), "/s", rate).before(0.5)
	return program, rate, us, nil
}

// besideAtd measures the same burst beside atd.
func besideAtd(b *bench, t *table) error {
	d, err := b.start(roomy)
	if err != nil {
		return err
	}
	defer d.end()
	program, ours, _, err := b.sleepers(d, t)
	if err != nil {
		return err
	}
	if !b.peers {
		return nil
	}
	theirs := 0.0
	a, err := startAtd()
	if err == nil {
		defer a.stop()
		file := filepath.Join(b.dir, "atd-acts")
		var due time.Time
		if due, err = a.burst(fmt.Sprintf("exec %s %s atd %s", program, file, sleeps)); err == nil {
			theirs, err = startRate(file, due)
		}
	}
	t.peer("  atd", "/s", theirs, err)
	t.ratio("  ratio", ours, theirs).atLeast(2.5)
	return nil
}

// waiting measures runs whose wrappers wait for their instant: their memory, and how fast they
// start when all of them wait.
func waiting(b *bench, t *table) error {
	d, err := b.start("runs: {max_parallel: 2000, arm_ahead: 10s}\n")
	if err != nil {
		return err
	}
	defer d.end()
	program, err := b.act()
	if err != nil {
		return err
	}
	file, due := filepath.Join(d.dir, "acts"), time.Now().Add(13*time.Second)
	ids, _, err := d.pipeline(dueAtOnce, fmt.Sprintf("add\nat:%s\narg:%s\narg:%s\narg:waiting\n\n", due.Format(time.RFC3339Nano), program, file))
	if err != nil {
		return err
	}
	time.Sleep(time.Until(due.Add(-3 * time.Second)))
	wait := len(d.list("activating"))
	pids, err := d.processes()
	if err != nil {
		return err
	}
	var all, own memory
	for _, pid := range pids {
		m := memoryOf(pid)
		all.add(m)
		if pid == d.cmd.Process.Pid {
			own = m
		}
	}
	if wait == 0 || time.Now().After(due) {
		return fmt.Errorf("%d runs wait before their instant, in %d processes", wait, len(pids))
	}
	t.add(fmt.Sprintf("private memory of each of %d waiting runs, with the daemon's", dueAtOnce), "KiB", all.private*1024/float64(wait)).atMost(256).
		noted("%d waited; the daemon alone %.1f MiB", wait, own.private)
	t.add("  the same, PSS", "KiB", all.pss*1024/float64(wait))
	if err := d.waitAll(ids); err != nil {
		return err
	}
	rate, err := startRate(file, due)
	if err != nil {
		return err
	}
	t.add("  when all wait already: first acts per second until the last", "/s", rate)
	return nil
}

// immediate measures jobs that are due at once, one after the other: from their submission to the
// first act of the program, and what such a run of /bin/true costs.
func immediate(b *bench, t *table) error {
	d, err := b.start("{}")
	if err != nil {
		return err
	}
	defer d.end()
	program, err := b.act()
	if err != nil {
		return err
	}
	const n = 300
	file := filepath.Join(d.dir, "acts")
	submitted := make([]time.Time, n)
	if err := d.oneByOne(n, func(i int) []string {
		submitted[i] = time.Now()
		return []string{program, file, strconv.Itoa(i)}
	}); err != nil {
		return err
	}
	all, err := acts(file, n)
	if err != nil {
		return err
	}
	var took []float64
	for _, a := range all {
		i, err := strconv.Atoi(a.word)
		if err != nil {
			return err
		}
		took = append(took, a.at.Sub(submitted[i]).Seconds()*1000)
	}
	t.add("an immediate job, from its submission to the program's first act: p50", "ms", median(took)).before(0.5)
	t.add("  p99", "ms", percentile(took, 0.99)).before(0.5)
	before, err := d.processorTime()
	if err != nil {
		return err
	}
	if err := d.oneByOne(n, func(int) []string { return []string{"/bin/true"} }); err != nil {
		return err
	}
	after, err := d.processorTime()
	t.peer("  processor time of one of /bin/true, all of it", "us", (after-before)/n, err).before(0.7)
	return err
}

// oneByOne adds n jobs that are due at once, each after the end of the last one.
func (d *daemon) oneByOne(n int, argv func(i int) []string) error {
	for i := range n {
		id, err := d.add(control.AddIn{Arg: argv(i)})
		if err == nil {
			err = d.wait(id)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
