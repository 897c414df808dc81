package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"activationd/control"
)

const (
	patience = 10 * time.Minute // ends a bench that hangs; a machine may be slow
	logName  = "daemon.log"     // in a daemon's directory
)

// A daemon is one that the bench started, with directories of its own.
type daemon struct {
	b   *bench
	dir string
	// runtime is the runtime directory: in memory, as on most machines.
	runtime string
	cgroup  string   // of the daemon and of all that it starts
	spawner *spawner // nil: the daemon is root's
	cmd     *exec.Cmd
	gone    chan struct{} // closed when the process has ended
	client  *control.Client
}

// start starts a daemon with a configuration.
func (b *bench) start(config string) (*daemon, error) {
	dir, err := os.MkdirTemp(b.dir, "d")
	if err != nil {
		return nil, err
	}
	return b.startIn(dir, config)
}

// startIn starts a daemon in a directory, which may have a state directory.
func (b *bench) startIn(dir, config string) (d *daemon, err error) {
	d = &daemon{b: b, dir: dir}
	if d.runtime, err = os.MkdirTemp(inMemory(), "activationd-bench-"); err != nil {
		return nil, err
	}
	d.client = &control.Client{Network: "unix", Address: filepath.Join(d.runtime, "control.sock")}
	if d.cgroup, err = newCgroup(); err != nil {
		return nil, err
	}
	if err := d.configure(config); err != nil {
		return nil, err
	}
	if err := d.up(); err != nil {
		d.forget()
		return nil, err
	}
	return d, nil
}

func (d *daemon) configure(config string) error {
	return os.WriteFile(filepath.Join(d.dir, "c.yaml"), []byte(config), 0o600)
}

// up starts the process and waits until it answers.
func (d *daemon) up() error {
	log, err := os.OpenFile(filepath.Join(d.dir, logName), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	d.cmd = exec.Command(filepath.Join(d.b.bin, "activationd"), "--config", filepath.Join(d.dir, "c.yaml"),
		"--state-dir", filepath.Join(d.dir, "state"), "--runtime-dir", d.runtime)
	d.cmd.Stderr = log
	cgroup, err := os.Open(d.cgroup)
	if err != nil {
		return err
	}
	defer func() { _ = cgroup.Close() }()
	d.cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(cgroup.Fd())}
	if d.b.split {
		if err := d.split(int(cgroup.Fd()), log); err != nil {
			return err
		}
	}
	return d.launch()
}

// launch starts the process and waits until it answers.
func (d *daemon) launch() error {
	if err := d.cmd.Start(); err != nil {
		return err
	}
	cmd, gone := d.cmd, make(chan struct{})
	d.gone = gone
	go func() {
		_ = cmd.Wait() // how it ended is in its log
		close(gone)
	}()
	for begin := time.Now(); ; {
		c, err := net.Dial("unix", d.client.Address)
		switch {
		case err == nil:
			return c.Close()
		case time.Since(begin) > patience:
			d.kill()
			return fmt.Errorf("the daemon does not answer after %v: %w", patience, err)
		}
		select {
		case <-gone:
			return errors.New("the daemon has ended before it answered")
		case <-time.After(time.Millisecond):
		}
	}
}

// inMemory returns a directory that is in memory, if there is one that can be used.
func inMemory() string {
	for _, dir := range []string{os.Getenv("XDG_RUNTIME_DIR"), "/run", "/dev/shm"} {
		var fs syscall.Statfs_t
		const tmpfs = 0x01021994
		if dir != "" && syscall.Statfs(dir, &fs) == nil && fs.Type == tmpfs && syscall.Access(dir, 2) == nil {
			return dir
		}
	}
	return ""
}

// kill ends the daemon at once and leaves its runs alone.
func (d *daemon) kill() {
	_ = d.client.Close()
	_ = d.cmd.Process.Kill()
	<-d.gone
}

// end cancels everything that runs and ends the daemon.
func (d *daemon) end() {
	for _, a := range d.list("activating") {
		_, _, _ = call[control.Activation](d, "cancel", control.CancelIn{ID: a.ID})
		_ = d.wait(a.ID)
	}
	d.kill()
	d.forget()
}

// forget removes what a daemon that has ended has outside the directory of the round.
func (d *daemon) forget() {
	if d.spawner != nil {
		d.spawner.end()
	}
	removeCgroup(d.cgroup)
	_ = os.RemoveAll(d.runtime)
}

// call asks the daemon for an operation.
func call[Out any](d *daemon, name string, in any) (summary string, lines []Out, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return control.Call[Out](ctx, d.client, name, in)
}

func (d *daemon) list(state string) []control.Activation {
	_, all, err := call[control.Activation](d, "list", control.ListIn{State: []string{state}})
	if err != nil {
		return nil
	}
	return all
}

func (d *daemon) add(in control.AddIn) (string, error) {
	_, out, err := call[control.AddOut](d, "add", in)
	if err != nil {
		return "", err
	}
	return out[0].ID, nil
}

func (d *daemon) wait(id string) error {
	_, _, err := call[control.WaitOut](d, "wait", control.IDIn{ID: id})
	return err
}

func (d *daemon) reload() (summary string, err error) {
	summary, _, err = call[control.ReloadLine](d, "reload", control.ReloadIn{})
	return summary, err
}

// pipeline adds n jobs of one kind over one connection without waiting for the
// replies. It returns their ids and how long it took until the last was acknowledged.
func (d *daemon) pipeline(n int, request string) (ids []string, took time.Duration, err error) {
	begin := time.Now()
	if err := d.exchange(n, func(int) string { return request }, func(line []byte) error {
		var out control.AddOut
		err := json.Unmarshal(line, &out)
		ids = append(ids, out.ID)
		return err
	}); err != nil {
		return nil, 0, err
	}
	return ids, time.Since(begin), nil
}

// waitAll waits until the ends of jobs are recorded. It asks for all at once, so that it costs the
// daemon little while they run.
func (d *daemon) waitAll(ids []string) error {
	return d.exchange(len(ids), func(i int) string { return "wait\nid:" + ids[i] + "\n\n" }, func([]byte) error { return nil })
}

// exchange sends n requests over one connection, and has a function look at the lines of their
// replies, which come meanwhile. Each reply has one.
func (d *daemon) exchange(n int, request func(i int) string, look func(line []byte) error) error {
	c, err := net.Dial("unix", d.client.Address)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	sent := make(chan error, 1)
	go func() {
		w := bufio.NewWriterSize(c, 1<<16)
		for i := range n {
			if _, err := w.WriteString(request(i)); err != nil {
				sent <- err
				return
			}
		}
		sent <- w.Flush()
	}()
	in := bufio.NewScanner(c)
	for seen := 0; seen < n && in.Scan(); {
		switch l := in.Text(); {
		case strings.HasPrefix(l, "{"):
			if err := look(in.Bytes()); err != nil {
				return err
			}
			seen++
		case !strings.HasPrefix(l, "200") && l != ".":
			return errors.New(l)
		}
	}
	return errors.Join(<-sent, in.Err())
}

// fill adds the pending jobs, none of which is due while the bench runs.
func (d *daemon) fill() (rate float64, err error) {
	_, took, err := d.pipeline(d.b.pending, "add\nin:20d\narg:/bin/true\nlabel:pending\n\n")
	return float64(d.b.pending) / took.Seconds(), err
}

// memory returns the daemon's resident memory in MiB: all of it, and the part that
// is not pages of files.
func (d *daemon) memory() (rss, anon float64) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", d.cmd.Process.Pid))
	if err != nil {
		return 0, 0
	}
	for l := range strings.Lines(string(data)) {
		f := strings.Fields(l)
		if len(f) < 2 {
			continue
		}
		kib, _ := strconv.ParseFloat(f[1], 64)
		switch f[0] {
		case "VmRSS:":
			rss = kib / 1024
		case "RssAnon:":
			anon = kib / 1024
		}
	}
	return rss, anon
}
