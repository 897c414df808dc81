package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"activationd/control"
	"activationd/supervisor/wrapper"
)

// submissions measures how fast jobs are acknowledged, each of them durable.
func submissions(b *bench, t *table) error {
	d, err := b.start("{}")
	if err != nil {
		return err
	}
	defer d.end()
	const n = 50_000
	before, err := d.processorTime()
	if err != nil {
		return err
	}
	_, took, err := d.pipeline(n, "add\nin:20d\narg:/bin/true\n\n")
	if err != nil {
		return err
	}
	after, err := d.processorTime()
	if err != nil {
		return err
	}
	t.add("submissions, one connection, pipelined", "/s", n/took.Seconds()).atLeast(20000)
	t.add("  the daemon's processor time for one", "us", (after-before)/n)
	rate, err := d.callers(64, 3*time.Second)
	if err != nil {
		return err
	}
	t.add("submissions, 64 callers, each waits for its reply", "/s", rate).atLeast(20000).before(0.5)
	if b.peers {
		least, err := d.echoRate(64, 3*time.Second)
		if err != nil {
			return err
		}
		t.add("  a server that only answers, the same callers", "/s", least)
		t.ratio("  ratio", rate, least).atLeast(0.5)
	}
	return nil
}

// callers has n clients submit one job after the other, and returns how many
// were acknowledged in a second.
func (d *daemon) callers(n int, during time.Duration) (float64, error) {
	var done atomic.Int64
	var wg sync.WaitGroup
	errs := make(chan error, n)
	until := time.Now().Add(during)
	for range n {
		wg.Go(func() {
			c := &control.Client{Network: "unix", Address: d.client.Address}
			defer func() { _ = c.Close() }()
			for time.Now().Before(until) {
				if _, _, err := control.Call[control.AddOut](context.Background(), c, "add", control.AddIn{In: "20d", Arg: []string{"true"}}); err != nil {
					errs <- err
					return
				}
				done.Add(1)
			}
		})
	}
	wg.Wait()
	select {
	case err := <-errs:
		return 0, err
	default:
		return float64(done.Load()) / during.Seconds(), nil
	}
}

// restart measures a daemon that was killed with much to do: until the first
// start that had become due meanwhile, and its memory then.
func restart(b *bench, t *table) error {
	d, err := b.start("runs: {max_parallel: 1000}\n")
	if err != nil {
		return err
	}
	defer d.end()
	if _, err := d.fill(); err != nil {
		return err
	}
	program, err := b.act()
	if err != nil {
		return err
	}
	const running = 500
	up, late := filepath.Join(d.dir, "up"), filepath.Join(d.dir, "late")
	if _, _, err := d.pipeline(running, fmt.Sprintf("add\nscript:%s %s up; exec sleep 600\n\n", program, up)); err != nil {
		return err
	}
	if _, err := acts(up, running); err != nil {
		return err
	}
	wrappers, err := wrapperMemory(b.bin)
	if err != nil {
		return err
	}
	for i := range b.runs {
		at := time.Now().Add(time.Second)
		id, err := d.add(control.AddIn{At: at.Format(time.RFC3339Nano), Arg: []string{program, late, "late"}})
		if err != nil {
			return err
		}
		d.kill()
		time.Sleep(time.Until(at) + 100*time.Millisecond)
		begin := time.Now()
		if err := d.up(); err != nil {
			return err
		}
		if err := d.wait(id); err != nil {
			return err
		}
		starts, err := acts(late, i+1)
		if err != nil {
			return err
		}
		t.add(fmt.Sprintf("restart, %d pending, %d running: until the first due start", b.pending, running), "ms", starts[i].at.Sub(begin).Seconds()*1000).atMost(500)
		rss, _ := d.memory()
		t.add("memory of the daemon after it", "MiB", rss).atMost(64)
	}
	for _, kib := range wrappers {
		t.add("memory of a wrapper, its own, after the restart", "KiB", kib).atMost(1024)
	}
	return nil
}

// attached measures the wrappers of runs in which nothing happens, each of which has written a
// line: their memory before and after they become idle, and what it costs to wake one.
func attached(b *bench, t *table) error {
	d, err := b.start("runs: {max_parallel: 1000}\n")
	if err != nil {
		return err
	}
	defer d.end()
	const running = 50
	ids, _, err := d.pipeline(running, "add\narg:/bin/sh\narg:-c\narg:trap 'echo more' USR1; echo up; while :; do sleep 600 & wait; done\n\n")
	if err != nil {
		return err
	}
	for _, id := range ids {
		if err := until("the output of run "+id, func() bool { return d.logSize(id) > 0 }); err != nil {
			return err
		}
	}
	for _, stage := range []string{"awake", "idle"} {
		if stage == "idle" {
			time.Sleep(settled)
		}
		all, err := wrapperMemory(b.bin)
		if err != nil {
			return err
		}
		for _, kib := range all {
			row := t.add("memory of a wrapper, its own, "+stage, "KiB", kib)
			if stage == "idle" {
				row.atMost(256)
			}
		}
	}
	for _, stage := range []string{"idle", "awake"} {
		for _, id := range ids {
			took, err := d.echo(id)
			if err != nil {
				return err
			}
			t.add("from a signal to the script until its line is in the log, wrapper "+stage, "ms", took.Seconds()*1000)
		}
	}
	return nil
}

// logSize returns the size of the log of a job's first run.
func (d *daemon) logSize(id string) int64 {
	log, err := os.Stat(filepath.Join(d.runDir(id), "log"))
	if err != nil {
		return 0
	}
	return log.Size()
}

func (d *daemon) runDir(id string) string {
	return filepath.Join(d.dir, "state", "runs", id+".activate.1")
}

// echo has the script of attached write a line, and returns how long it took to come to the
// log.
func (d *daemon) echo(id string) (time.Duration, error) {
	data, err := os.ReadFile(filepath.Join(d.runDir(id), wrapper.StartedFile))
	if err != nil {
		return 0, err
	}
	started, err := wrapper.ParseStarted(string(data))
	if err != nil {
		return 0, err
	}
	size, begin := d.logSize(id), time.Now()
	if err := syscall.Kill(started.PID, syscall.SIGUSR1); err != nil {
		return 0, err
	}
	for d.logSize(id) == size {
		if time.Since(begin) > patience {
			return 0, fmt.Errorf("run %s wrote nothing", id)
		}
		time.Sleep(20 * time.Microsecond)
	}
	return time.Since(begin), nil
}

// wrapperMemory returns the memory that each running wrapper shares with no other
// process, in KiB.
func wrapperMemory(bin string) (all []float64, err error) {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil || programOf(pid) != filepath.Join(bin, "atwrap") {
			continue
		}
		if m := memoryOf(pid); m.private > 0 {
			all = append(all, m.private*1024)
		}
	}
	return all, nil
}

// throughput measures jobs from their submission to their recorded end.
func throughput(b *bench, t *table) error {
	const n = 3000
	d, err := b.start("{}")
	if err != nil {
		return err
	}
	defer d.end()
	begin := time.Now()
	ids, _, err := d.pipeline(n, "add\narg:/bin/true\n\n")
	if err != nil {
		return err
	}
	for _, id := range ids {
		if err := d.wait(id); err != nil {
			return err
		}
	}
	t.add(fmt.Sprintf("%d jobs at once, from the first submission to the last recorded end", n), "/s", n/time.Since(begin).Seconds())
	return nil
}

// reload measures a load of many reservations from a file.
func reload(b *bench, t *table) error {
	for _, form := range []string{"json", "yaml"} {
		if err := b.reload(t, form); err != nil {
			return err
		}
	}
	return nil
}

// loaded is how many reservations a load has.
const loaded = 100_000

func (b *bench) reload(t *table, form string) error {
	dir, err := os.MkdirTemp(b.dir, "src")
	if err != nil {
		return err
	}
	name := filepath.Join(dir, "r."+form)
	if err := writeReservations(name, form, loaded, 0); err != nil {
		return err
	}
	d, err := b.startUnloaded(name)
	if err != nil {
		return err
	}
	defer d.end()
	what := fmt.Sprintf("RELOAD of %d reservations from a file, %s: ", loaded, strings.ToUpper(form))
	allNew, summary, err := d.timedReload()
	if err != nil {
		return err
	}
	if want := fmt.Sprintf("added=%d", loaded); !strings.Contains(summary, want) {
		return errors.New("reload: " + summary + ", want " + want)
	}
	t.add(what+"all new", "ms", allNew).atMost(3000)
	if b.peers {
		alone, err := decodeTime(name)
		if err != nil {
			return err
		}
		t.add("  decoding it alone, "+strings.ToUpper(form), "ms", alone)
		t.ratio("  ratio, "+strings.ToUpper(form), allNew, alone).atMost(2)
	}
	none, summary, err := d.timedReload()
	if err != nil {
		return err
	}
	if want := "added=0 changed=0"; !strings.Contains(summary, want) {
		return errors.New("reload: " + summary + ", want " + want)
	}
	t.add(what+"none changed", "ms", none).atMost(500)
	for changed := 1; ; changed++ {
		if err := writeReservations(name, form, loaded, changed); err != nil {
			return err
		}
		one, summary, err := d.timedReload()
		switch {
		case err != nil:
			return err
		case strings.Contains(summary, "changed=1 "):
			t.add(what+"one changed", "ms", one)
			return nil
		case changed == 5: // on a busy machine the daemon may see the new file before the request
			return errors.New("reload: " + summary + ", want changed=1")
		}
	}
}

// startUnloaded starts a daemon whose configuration has a file as a source from its next load on:
// it watches the file from then on, so that load is the first that reads it.
func (b *bench) startUnloaded(name string) (*daemon, error) {
	const defaults = "reservations: {activate: [/bin/true], deactivate: [/bin/true]}\n"
	d, err := b.start(defaults)
	if err != nil {
		return nil, err
	}
	_, err = d.reload() // a daemon answers before its first load, which reads the configuration again
	if err == nil {
		err = d.configure("sources: [{files: " + name + "}]\n" + defaults)
	}
	if err != nil {
		d.end()
		return nil, err
	}
	return d, nil
}

// timedReload requests a load, and returns how many milliseconds it took.
func (d *daemon) timedReload() (ms float64, summary string, err error) {
	begin := time.Now()
	summary, err = d.reload()
	return time.Since(begin).Seconds() * 1000, summary, err
}

// startsInLoad measures how late jobs start that are due while a load is applied.
func startsInLoad(b *bench, t *table) error {
	name := filepath.Join(b.dir, "in-load.json")
	if err := writeReservations(name, "json", loaded, 0); err != nil {
		return err
	}
	d, err := b.startUnloaded(name)
	if err != nil {
		return err
	}
	defer d.end()
	late, err := d.startsInLoad()
	if err != nil {
		return err
	}
	t.add(fmt.Sprintf("the latest start while %d new reservations are loaded", loaded), "ms", slices.Max(late))
	return nil
}

func (d *daemon) startsInLoad() (late []float64, err error) {
	const jobs, apart = 200, 50 * time.Millisecond
	ended := make(chan error, 1)
	go func() {
		var err error
		late, err = d.starts(jobs, apart)
		ended <- err
	}()
	time.Sleep(3 * time.Second) // the jobs are due from 2 to 12 seconds after their submission
	_, err = d.reload()
	err = errors.Join(err, <-ended)
	return late, err
}

// writeReservations replaces the file; the first few have another owner.
func writeReservations(name, form string, n, changed int) error {
	var s strings.Builder
	begin := time.Now().Truncate(24 * time.Hour).Add(48 * time.Hour).UTC()
	if form == "json" {
		s.WriteString("{\"reservations\": [\n")
	} else {
		s.WriteString("reservations:\n")
	}
	for i := range n {
		owner := "group" + strconv.Itoa(i%50)
		if i < changed {
			owner = "another"
		}
		start := begin.Add(time.Duration(i) * time.Minute)
		format := "- {id: %d@bench, owner: %s, start: %s, end: %s, devices: [r%d, r%d]}\n"
		if form == "json" {
			format = "{\"id\": \"%d@bench\", \"owner\": %q, \"start\": %q, \"end\": %q, \"devices\": [\"r%d\", \"r%d\"]},\n"
			if i == n-1 {
				format = strings.TrimSuffix(format, ",\n") + "\n"
			}
		}
		fmt.Fprintf(&s, format, i, owner, start.Format(time.RFC3339), start.Add(time.Hour).Format(time.RFC3339), i%100, i%100+100)
	}
	if form == "json" {
		s.WriteString("]}\n")
	}
	if err := os.WriteFile(name+".new", []byte(s.String()), 0o600); err != nil {
		return err
	}
	return os.Rename(name+".new", name)
}

// tree measures how long it takes to end a run of 151 processes, each in a
// session of its own.
func tree(b *bench, t *table) error {
	for _, guard := range []string{"auto", "subreaper"} {
		d, err := b.start("runs: {guard: " + guard + "}\n")
		if err != nil {
			return err
		}
		took, err := d.killTree()
		d.end()
		if err != nil {
			return err
		}
		t.add("kill of a tree of 151 processes that called setsid, guard "+guard, "ms", took)
	}
	return nil
}

func (d *daemon) killTree() (float64, error) {
	ready := filepath.Join(d.dir, "ready")
	id, err := d.add(control.AddIn{Grace: "0", Script: "trap '' TERM; for i in $(seq 150); do setsid sleep 600 & done; sleep 1; touch " + ready + "; wait\n"})
	if err != nil {
		return 0, err
	}
	if err := until("the tree", func() bool { _, err := os.Stat(ready); return err == nil }); err != nil {
		return 0, err
	}
	begin := time.Now()
	if _, _, err := call[control.Activation](d, "cancel", control.CancelIn{ID: id}); err != nil {
		return 0, err
	}
	if err := d.wait(id); err != nil {
		return 0, err
	}
	return time.Since(begin).Seconds() * 1000, nil
}

// until waits for something, and says what did not come.
func until(what string, ready func() bool) error {
	for begin := time.Now(); time.Since(begin) < patience; time.Sleep(25 * time.Millisecond) {
		if ready() {
			return nil
		}
	}
	return fmt.Errorf("after %v there is no %s", patience, what)
}
