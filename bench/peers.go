package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// perSecond runs a command n times, so many at once, and returns how many ended
// in a second.
func perSecond(n, atOnce int, argv ...string) (float64, error) {
	todo := make(chan int, n)
	for i := range n {
		todo <- i
	}
	close(todo)
	errs := make(chan error, atOnce)
	var wg sync.WaitGroup
	begin := time.Now()
	for range atOnce {
		wg.Go(func() {
			for range todo {
				if err := exec.Command(argv[0], argv[1:]...).Run(); err != nil {
					select {
					case errs <- err:
					default:
					}
					return
				}
			}
		})
	}
	wg.Wait()
	took := time.Since(begin)
	select {
	case err := <-errs:
		return 0, err
	default:
		return float64(n) / took.Seconds(), nil
	}
}

// An atd is a daemon of at(1) that the bench started; there is one spool on a
// machine, so none is started beside one that runs.
type atd struct {
	cmd  *exec.Cmd
	jobs []string // that are ours
}

func startAtd() (*atd, error) {
	if _, err := exec.LookPath("at"); err != nil {
		return nil, fmt.Errorf("%w; make bench installs it", err)
	}
	if out, err := exec.Command("pgrep", "-x", "atd").Output(); err == nil {
		return nil, fmt.Errorf("an atd runs already (%s): its jobs are not to be disturbed", strings.TrimSpace(string(out)))
	}
	a := &atd{cmd: exec.Command("/usr/sbin/atd", "-f")}
	return a, a.cmd.Start()
}

func (a *atd) stop() {
	for _, j := range a.jobs {
		_ = exec.Command("atrm", j).Run() // most have run
	}
	_ = a.cmd.Process.Kill()
	_ = a.cmd.Wait() // killed
}

// marks adds n jobs for one instant, whose scripts write when they start, and
// returns how late each was, in milliseconds.
func (d *daemon) marks(n int) ([]float64, error) {
	name, due := filepath.Join(d.dir, "marks"), time.Now().Add(2*time.Second)
	if _, _, err := d.pipeline(n, "add\nat:"+due.Format(time.RFC3339Nano)+"\nscript:date +%s.%N >> "+name+"\n\n"); err != nil {
		return nil, err
	}
	return readMarks(name, n, due)
}

// burst submits jobs of one command for the start of a minute, which it returns.
func (a *atd) burst(command string) (minute time.Time, err error) {
	minute = time.Now().Truncate(time.Minute).Add(time.Minute)
	if time.Until(minute) < 10*time.Second {
		minute = minute.Add(time.Minute)
	}
	for range dueAtOnce {
		cmd := exec.Command("at", "-t", minute.Format("200601021504"))
		cmd.Stdin = strings.NewReader(command + "\n")
		out, err := cmd.CombinedOutput()
		if err != nil {
			return minute, fmt.Errorf("at: %w: %s", err, out)
		}
		for l := range strings.Lines(string(out)) {
			if f := strings.Fields(l); len(f) > 1 && f[0] == "job" {
				a.jobs = append(a.jobs, f[1])
			}
		}
	}
	return minute, nil
}

// readMarks waits until there are n marks, and returns how late they are.
func readMarks(name string, n int, due time.Time) (late []float64, err error) {
	if err := until("mark of every job", func() bool {
		data, err := os.ReadFile(name)
		return err == nil && strings.Count(string(data), "\n") >= n
	}); err != nil {
		return nil, err
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	for _, l := range strings.Fields(string(data)) {
		at, err := strconv.ParseFloat(l, 64)
		if err != nil {
			return nil, err
		}
		late = append(late, (at-float64(due.UnixNano())/1e9)*1000)
	}
	slices.Sort(late)
	return late, nil
}
