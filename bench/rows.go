package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"activationd/control"
)

// submissions measures how fast jobs are acknowledged, each of them durable.
func submissions(b *bench) ([]row, error) {
	d, err := b.start("{}")
	if err != nil {
		return nil, err
	}
	defer d.end()
	piped := row{what: "submissions, one connection, pipelined", unit: "/s"}
	callers := row{what: "submissions, 64 callers, each waits for its reply", unit: "/s"}
	ours := row{what: "submission by atctl from a shell loop", unit: "ms"}
	theirs := row{what: "submission by at from a shell loop", unit: "ms", note: "nothing is fsynced"}
	ratio := row{what: "  ratio", unit: "x"}
	for range b.runs {
		_, took, err := d.pipeline(50_000, "add\nin:20d\narg:/bin/true\n\n")
		if err != nil {
			return nil, err
		}
		piped.figures = append(piped.figures, 50_000/took.Seconds())
		n, err := d.callers(64, 3*time.Second)
		if err != nil {
			return nil, err
		}
		callers.figures = append(callers.figures, n)
		atctl, err := shellLoop(d, 300, filepath.Join(b.bin, "atctl")+" add --in 20d -- true")
		if err != nil {
			return nil, err
		}
		at, err := shellLoop(d, 300, "echo true | at now + 20 days")
		if err != nil {
			theirs.note = err.Error()
			continue
		}
		ours.figures, theirs.figures = append(ours.figures, atctl), append(theirs.figures, at)
		ratio.figures = append(ratio.figures, atctl/at)
	}
	return []row{
		piped.than("20000/s", median(piped.figures) >= 20000),
		callers.than("20000/s", median(callers.figures) >= 20000),
		ours, theirs, ratio.than("1.6 x", median(ratio.figures) <= 1.6),
	}, nil
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

// shellLoop returns how long a command takes in a shell loop, in milliseconds.
// What it queued with at(1) it removes again.
func shellLoop(d *daemon, n int, command string) (float64, error) {
	cmd := exec.Command("sh", "-c", fmt.Sprintf("i=0; while [ $i -lt %d ]; do %s; i=$((i+1)); done", n, command))
	cmd.Env = append(os.Environ(), "ACTIVATIOND_SOCKET="+d.client.Address)
	cmd.Dir = d.dir
	begin := time.Now()
	out, err := cmd.CombinedOutput()
	took := time.Since(begin)
	for l := range strings.Lines(string(out)) {
		if f := strings.Fields(l); len(f) > 1 && f[0] == "job" {
			_ = exec.Command("atrm", f[1]).Run()
		}
	}
	if err != nil {
		return 0, fmt.Errorf("%s: %w: %.200s", command, err, out)
	}
	return took.Seconds() * 1000 / float64(n), nil
}

// lateness measures one start at a time while many others wait, and the memory
// that those take.
func lateness(b *bench) ([]row, error) {
	d, err := b.start("runs: {arm_ahead: 50ms}\n")
	if err != nil {
		return nil, err
	}
	defer d.end()
	rate, err := d.fill()
	if err != nil {
		return nil, err
	}
	rss, anon := memory(d.cmd.Process.Pid)
	rows := []row{
		{what: fmt.Sprintf("%d submissions, pipelined", b.pending), figures: []float64{rate}, unit: "/s"},
		{what: "memory of the daemon just after them", figures: []float64{rss}, unit: "MiB", note: fmt.Sprintf("%.0f MiB its own", anon)},
	}
	for _, arm := range []string{"50ms", "0s"} {
		if err := d.configure("runs: {arm_ahead: " + arm + "}\n"); err != nil {
			return nil, err
		}
		if _, _, err := control.Call[control.ReloadLine](context.Background(), d.client, "reload", control.ReloadIn{}); err != nil {
			return nil, err
		}
		late, err := d.starts(200, 40*time.Millisecond)
		if err != nil {
			return nil, err
		}
		what := fmt.Sprintf("lateness of a start, %d pending, armed %s ahead: ", b.pending, arm)
		p50 := row{what: what + "p50", figures: []float64{median(late)}, unit: "ms"}
		p99 := row{what: what + "p99", figures: []float64{percentile(late, 0.99)}, unit: "ms"}
		if arm != "0s" {
			p99 = p99.than("2 ms", p99.figures[0] < 2)
		}
		rows = append(rows, p50, p99)
	}
	rss, anon = memory(d.cmd.Process.Pid)
	r := row{what: "memory of the daemon after that", figures: []float64{rss}, unit: "MiB", note: fmt.Sprintf("%.0f MiB its own", anon)}
	return append(rows, r.than("64 MiB", rss < 64)), nil
}

// starts adds n jobs that are due one after the other, and returns how late
// each started, in milliseconds, by the wrapper's own account.
func (d *daemon) starts(n int, apart time.Duration) ([]float64, error) {
	begin := time.Now().Add(2 * time.Second)
	ids := make([]string, n)
	for i := range ids {
		var err error
		at := begin.Add(time.Duration(i) * apart)
		if ids[i], err = d.add(control.AddIn{At: at.Format(time.RFC3339Nano), Arg: []string{"/bin/true"}}); err != nil {
			return nil, err
		}
	}
	if _, err := d.wait(ids[n-1]); err != nil {
		return nil, err
	}
	late := make([]float64, n)
	for i, id := range ids {
		at, due, err := d.started(id)
		if err != nil {
			return nil, err
		}
		late[i] = at.Sub(due).Seconds() * 1000
	}
	return late, nil
}

// restart measures a daemon that was killed with much to do: until the first
// start that had become due meanwhile, and its memory then.
func restart(b *bench) ([]row, error) {
	d, err := b.start("runs: {max_parallel: 1000}\n")
	if err != nil {
		return nil, err
	}
	defer d.end()
	if _, err := d.fill(); err != nil {
		return nil, err
	}
	const running = 500
	ids, _, err := d.pipeline(running, "add\narg:/bin/sleep\narg:600\n\n")
	if err != nil {
		return nil, err
	}
	for range 12_000 {
		if at, _, err := d.started(ids[running-1]); err == nil && !at.IsZero() {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	wrappers, err := wrapperMemory(b.bin)
	if err != nil {
		return nil, err
	}
	r := row{what: fmt.Sprintf("restart, %d pending, %d running: until the first due start", b.pending, running), unit: "ms"}
	mem := row{what: "memory of the daemon after it", unit: "MiB"}
	for range b.runs {
		at := time.Now().Add(time.Second)
		id, err := d.add(control.AddIn{At: at.Format(time.RFC3339Nano), Arg: []string{"/bin/true"}})
		if err != nil {
			return nil, err
		}
		d.kill()
		time.Sleep(time.Until(at) + 100*time.Millisecond)
		begin := time.Now()
		if err := d.up(); err != nil {
			return nil, err
		}
		if _, err := d.wait(id); err != nil {
			return nil, err
		}
		start, _, err := d.started(id)
		if err != nil {
			return nil, err
		}
		r.figures = append(r.figures, start.Sub(begin).Seconds()*1000)
		rss, _ := memory(d.cmd.Process.Pid)
		mem.figures = append(mem.figures, rss)
	}
	w := row{what: "memory of a wrapper, its own", figures: wrappers, unit: "KiB"}
	return []row{r.than("500 ms", median(r.figures) < 500), mem.than("64 MiB", median(mem.figures) < 64), w.than("1024 KiB", median(wrappers) < 1024)}, nil
}

// wrapperMemory is what each wrapper that runs has for itself, in KiB.
func wrapperMemory(bin string) ([]float64, error) {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	var all []float64
	for _, dir := range dirs {
		if exe, err := os.Readlink(dir + "/exe"); err != nil || exe != filepath.Join(bin, "atwrap") {
			continue
		}
		data, err := os.ReadFile(dir + "/smaps_rollup")
		if err != nil {
			continue
		}
		kib := 0.0
		for l := range strings.Lines(string(data)) {
			if f := strings.Fields(l); len(f) > 1 && (f[0] == "Private_Dirty:" || f[0] == "Private_Clean:") {
				n, _ := strconv.ParseFloat(f[1], 64)
				kib += n
			}
		}
		all = append(all, kib)
	}
	return all, nil
}

// burst measures many starts at one instant, beside atd and what starts
// processes without any account of them.
func burst(b *bench) ([]row, error) {
	const n = 1000
	ours := row{what: fmt.Sprintf("%d due at one instant: starts per second until the last", n), unit: "/s", note: "/bin/true, by the wrappers' account"}
	marks := row{what: "  the same, a script that writes a mark", unit: "/s"}
	timeout := row{what: "timeout 60 /bin/true, one after the other", unit: "/s"}
	timeout4 := row{what: "timeout 60 /bin/true, 4 at a time", unit: "/s"}
	bare := row{what: "bare fork+exec of /bin/true, 4 at a time", unit: "/s"}
	ratio := row{what: "  ratio to timeout in a loop", unit: "x"}
	for range b.runs {
		d, err := b.start("{}")
		if err != nil {
			return nil, err
		}
		rate, err := d.burst(n, "arg:/bin/true")
		if err == nil {
			ours.figures = append(ours.figures, rate)
			var late []float64
			name, due := filepath.Join(d.dir, "marks"), time.Now().Add(2*time.Second)
			_, _, err = d.pipeline(n, "add\nat:"+due.Format(time.RFC3339Nano)+"\nscript:date +%s.%N >> "+name+"\n\n")
			if err == nil {
				late, err = readMarks(name, n, due)
			}
			if err == nil {
				marks.figures = append(marks.figures, n/late[n-1]*1000)
			}
		}
		d.end()
		if err != nil {
			return nil, err
		}
		for _, peer := range []struct {
			r      *row
			atOnce int
			argv   []string
		}{{&timeout, 1, []string{"timeout", "60", "/bin/true"}}, {&timeout4, 4, []string{"timeout", "60", "/bin/true"}}, {&bare, 4, []string{"/bin/true"}}} {
			f, err := perSecond(n, peer.atOnce, peer.argv...)
			if err != nil {
				return nil, err
			}
			peer.r.figures = append(peer.r.figures, f)
		}
		ratio.figures = append(ratio.figures, rate/timeout.figures[len(timeout.figures)-1])
	}
	rows := []row{ours, marks, timeout, timeout4, bare, ratio.than("0.75 x", median(ratio.figures) > 0.75)}
	a, err := startAtd()
	if err != nil {
		return append(rows, row{what: "atd", note: err.Error()}), nil
	}
	defer a.stop()
	late, err := a.burst(b.dir, n)
	if err != nil {
		return append(rows, row{what: "atd", note: err.Error()}), nil
	}
	rate := n / late[n-1] * 1000
	r := row{what: "  ratio to atd", figures: []float64{median(marks.figures) / rate}, unit: "x"}
	return append(rows,
		row{what: fmt.Sprintf("atd, %d at one minute: starts per second", n), figures: []float64{rate}, unit: "/s"},
		row{what: "atd: first start late by", figures: []float64{late[0]}, unit: "ms"},
		r.than("1.3 x", r.figures[0] > 1.3)), nil
}

// burst adds n jobs for one instant and returns how many started in a second,
// from then until the last.
func (d *daemon) burst(n int, command string) (float64, error) {
	due := time.Now().Add(2 * time.Second)
	ids, _, err := d.pipeline(n, "add\nat:"+due.Format(time.RFC3339Nano)+"\n"+command+"\n\n")
	if err != nil {
		return 0, err
	}
	var last time.Time
	for _, id := range ids {
		if _, err := d.wait(id); err != nil {
			return 0, err
		}
		at, _, err := d.started(id)
		if err != nil {
			return 0, err
		}
		if at.After(last) {
			last = at
		}
	}
	return float64(n) / last.Sub(due).Seconds(), nil
}

// throughput measures jobs from their submission to their recorded end.
func throughput(b *bench) ([]row, error) {
	const n = 3000
	r := row{what: fmt.Sprintf("%d jobs at once, from the first submission to the last recorded end", n), unit: "/s"}
	for range b.runs {
		d, err := b.start("{}")
		if err != nil {
			return nil, err
		}
		begin := time.Now()
		ids, _, err := d.pipeline(n, "add\narg:/bin/true\n\n")
		for _, id := range ids {
			if err == nil {
				_, err = d.wait(id)
			}
		}
		r.figures = append(r.figures, n/time.Since(begin).Seconds())
		d.end()
		if err != nil {
			return nil, err
		}
	}
	return []row{r}, nil
}

// reload measures a load of many reservations from a file.
func reload(b *bench) ([]row, error) {
	const n = 100_000
	rows := map[string]*row{}
	var order []string
	note := func(what string, took time.Duration) {
		if rows[what] == nil {
			rows[what] = &row{what: what, unit: "ms"}
			order = append(order, what)
		}
		rows[what].figures = append(rows[what].figures, took.Seconds()*1000)
	}
	for range b.runs {
		for _, form := range []string{"json", "yaml"} {
			if err := b.reload(n, form, note); err != nil {
				return nil, err
			}
		}
	}
	var out []row
	for _, what := range order {
		r := *rows[what]
		switch {
		case strings.HasSuffix(what, "all new"):
			r = r.than("3000 ms", median(r.figures) < 3000)
		case strings.HasSuffix(what, "none changed"):
			r = r.than("500 ms", median(r.figures) < 500)
		}
		out = append(out, r)
	}
	return out, nil
}

func (b *bench) reload(n int, form string, note func(string, time.Duration)) error {
	dir, err := os.MkdirTemp(b.dir, "src")
	if err != nil {
		return err
	}
	name := filepath.Join(dir, "r."+form)
	if err := os.WriteFile(name, []byte("{\"reservations\": []}\n"), 0o600); err != nil {
		return err
	}
	d, err := b.start("sources: [{files: " + name + "}]\nreservations: {activate: [/bin/true], deactivate: [/bin/true]}\n")
	if err != nil {
		return err
	}
	defer d.end()
	what := fmt.Sprintf("RELOAD of %d reservations from a file, %s: ", n, strings.ToUpper(form))
	for _, step := range []struct {
		what    string
		changed int
		touch   bool
		want    string
	}{{"all new", 0, true, fmt.Sprintf("added=%d", n)}, {"none changed", 0, false, "added=0 changed=0"}, {"one changed", 1, true, "changed=1"}} {
		if step.touch {
			if err := writeReservations(name, form, n, step.changed); err != nil {
				return err
			}
		}
		begin := time.Now()
		summary, _, err := control.Call[control.ReloadLine](context.Background(), d.client, "reload", control.ReloadIn{})
		took := time.Since(begin)
		if err != nil {
			return err
		}
		if !strings.Contains(summary, step.want) {
			return errors.New("reload: " + summary + ", want " + step.want)
		}
		note(what+step.what, took)
	}
	return nil
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

// idle measures what a daemon does that has nothing to do.
func idle(b *bench) ([]row, error) {
	d, err := b.start("{}")
	if err != nil {
		return nil, err
	}
	defer d.end()
	if _, _, err := d.pipeline(1000, "add\nin:20d\narg:/bin/true\n\n"); err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	nothing := exec.Command(self, doNothing)
	hold, err := nothing.StdinPipe()
	if err == nil {
		err = nothing.Start()
	}
	if err != nil {
		return nil, err
	}
	defer func() { _, _ = hold.Close(), nothing.Wait() }()

	time.Sleep(70 * time.Second) // the runtime's own housekeeping after the work
	const during = time.Minute
	before, ticks := activity(d.cmd.Process.Pid)
	peerBefore, _ := activity(nothing.Process.Pid)
	time.Sleep(during)
	after, ticks2 := activity(d.cmd.Process.Pid)
	peerAfter, _ := activity(nothing.Process.Pid)
	ours := row{what: fmt.Sprintf("idle daemon: switches to it in %v", during), figures: []float64{after - before}, note: fmt.Sprintf("%.0f ticks of processor time", ticks2-ticks)}
	peer := row{what: "  a Go program that waits for input", figures: []float64{peerAfter - peerBefore}, note: "the runtime's own"}
	return []row{ours.than("the runtime's own", after-before <= peerAfter-peerBefore), peer}, nil
}

// doNothing as an argument makes this program the peer of the idle daemon.
const doNothing = "do-nothing"

// activity is how often the threads of a process were switched to, and their
// processor time in ticks.
func activity(pid int) (switches, ticks float64) {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
	for _, task := range tasks {
		data, _ := os.ReadFile(task + "/status")
		for l := range strings.Lines(string(data)) {
			if f := strings.Fields(l); len(f) == 2 && strings.HasSuffix(f[0], "_ctxt_switches:") {
				n, _ := strconv.ParseFloat(f[1], 64)
				switches += n
			}
		}
		stat, _ := os.ReadFile(task + "/stat")
		if _, rest, ok := strings.Cut(string(stat), ") "); ok {
			f := strings.Fields(rest)
			user, _ := strconv.ParseFloat(f[11], 64)
			system, _ := strconv.ParseFloat(f[12], 64)
			ticks += user + system
		}
	}
	return switches, ticks
}

// tree measures how long it takes to end a run of 151 processes, each in a
// session of its own.
func tree(b *bench) ([]row, error) {
	var rows []row
	for _, guard := range []string{"auto", "subreaper"} {
		d, err := b.start("runs: {guard: " + guard + "}\n")
		if err != nil {
			return nil, err
		}
		r := row{what: "kill of a tree of 151 processes that called setsid, guard " + guard, unit: "ms"}
		for range b.runs {
			took, err := d.killTree()
			if err != nil {
				d.end()
				return nil, err
			}
			r.figures = append(r.figures, took)
		}
		d.end()
		rows = append(rows, r)
	}
	return rows, nil
}

func (d *daemon) killTree() (float64, error) {
	ready := filepath.Join(d.dir, "ready")
	_ = os.Remove(ready)
	id, err := d.add(control.AddIn{Grace: "0", Script: "trap '' TERM; for i in $(seq 150); do setsid sleep 600 & done; sleep 1; touch " + ready + "; wait\n"})
	if err != nil {
		return 0, err
	}
	for range 400 {
		if _, err := os.Stat(ready); err == nil {
			break
		}
		time.Sleep(25 * time.Millisecond)
	}
	begin := time.Now()
	if _, _, err := control.Call[control.Activation](context.Background(), d.client, "cancel", control.CancelIn{ID: id}); err != nil {
		return 0, err
	}
	if _, err := d.wait(id); err != nil {
		return 0, err
	}
	return time.Since(begin).Seconds() * 1000, nil
}
