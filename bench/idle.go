package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// idle measures what daemons do that have nothing to do: without services, with services that
// have no check, and with services that report by sd_notify(3).
func idle(b *bench, t *table) error {
	s, err := b.servers()
	if err != nil {
		return err
	}
	defer s.close()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	nothing := exec.Command(self, doNothing)
	hold, err := nothing.StdinPipe()
	if err == nil {
		err = nothing.Start()
	}
	if err != nil {
		return err
	}
	defer func() { _, _ = hold.Close(), nothing.Wait() }()

	kinds := []struct{ what, config string }{
		{"idle daemon", "{}"},
		{fmt.Sprintf("  with %d services without a check", servicesAtOnce), servicesConfig(s, "")},
		{fmt.Sprintf("  with %d services that report by sd_notify", servicesAtOnce), servicesConfig(s.next(), ", ready: notify")},
	}
	daemons := make([]*daemon, len(kinds))
	for i, k := range kinds {
		d, err := b.start(k.config)
		if err != nil {
			return err
		}
		defer d.end()
		daemons[i] = d
		if i == 0 {
			_, _, err = d.pipeline(1000, "add\nin:20d\narg:/bin/true\n\n")
		} else {
			defer func() { _ = d.stopAll() }()
			_, err = s.answered(time.Now())
		}
		if err != nil {
			return err
		}
	}

	time.Sleep(70 * time.Second)   // the runtime's own housekeeping after the work
	const during = 2 * time.Minute // how often the runtime collects garbage at least
	type count struct{ daemon, ticks, wrappers float64 }
	look := func() (counts []count, peer float64) {
		for _, d := range daemons {
			var c count
			for _, pid := range processTree(d.cmd.Process.Pid) {
				switch {
				case pid == d.cmd.Process.Pid:
					c.daemon, c.ticks = activity(pid)
				case programOf(pid) == filepath.Join(b.bin, "atwrap"):
					n, _ := activity(pid)
					c.wrappers += n
				}
			}
			counts = append(counts, c)
		}
		peer, _ = activity(nothing.Process.Pid)
		return counts, peer
	}
	before, peerBefore := look()
	time.Sleep(during)
	after, peerAfter := look()
	peer := peerAfter - peerBefore
	for i, k := range kinds {
		n := after[i].daemon - before[i].daemon
		// One wake-up for each service would be too many. The runtime's own vary by some tens.
		t.add(fmt.Sprintf("%s: wake-ups in %v", k.what, during), "", n).atMost(peer+servicesAtOnce/2).
			noted("%.0f ticks of processor time", after[i].ticks-before[i].ticks)
		if i > 0 {
			t.add(fmt.Sprintf("    of its %d wrappers", servicesAtOnce), "", after[i].wrappers-before[i].wrappers).atMost(0)
		}
	}
	t.add("  a Go program that waits for input", "", peer).noted("the runtime's own")
	return nil
}

// doNothing as an argument makes this program the peer of the idle daemon.
const doNothing = "do-nothing"

func waitForInput([]string) error {
	runtime.GC()                            // from then on the runtime does it from time to time, as in any program that has worked
	_, err := io.Copy(io.Discard, os.Stdin) // until the parent closes it
	return err
}

// activity is how often the threads of a process have gone to sleep, and so were woken, and
// their processor time in ticks.
func activity(pid int) (sleeps, ticks float64) {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
	for _, task := range tasks {
		data, _ := os.ReadFile(task + "/status")
		for l := range strings.Lines(string(data)) {
			if f := strings.Fields(l); len(f) == 2 && f[0] == "voluntary_ctxt_switches:" {
				n, _ := strconv.ParseFloat(f[1], 64)
				sleeps += n
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
	return sleeps, ticks
}
