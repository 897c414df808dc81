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
	"time"

	"activationd/control"
)

// A daemon is one that the bench started, with directories of its own.
type daemon struct {
	b      *bench
	dir    string
	cmd    *exec.Cmd
	gone   chan struct{} // closed when the process has ended
	client *control.Client
}

// start starts a daemon with a configuration.
func (b *bench) start(config string) (*daemon, error) {
	dir, err := os.MkdirTemp(b.dir, "d")
	if err != nil {
		return nil, err
	}
	d := &daemon{b: b, dir: dir}
	d.client = &control.Client{Network: "unix", Address: filepath.Join(dir, "run", "control.sock")}
	if err := d.configure(config); err != nil {
		return nil, err
	}
	err = d.up()
	return d, err
}

func (d *daemon) configure(config string) error {
	return os.WriteFile(filepath.Join(d.dir, "c.yaml"), []byte(config), 0o600)
}

// up starts the process and waits until it answers.
func (d *daemon) up() error {
	log, err := os.OpenFile(filepath.Join(d.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	d.cmd = exec.Command(filepath.Join(d.b.bin, "activationd"), "--config", filepath.Join(d.dir, "c.yaml"),
		"--state-dir", filepath.Join(d.dir, "state"), "--runtime-dir", filepath.Join(d.dir, "run"))
	d.cmd.Stderr = log
	if err := d.cmd.Start(); err != nil {
		return err
	}
	cmd, gone := d.cmd, make(chan struct{})
	d.gone = gone
	go func() {
		_ = cmd.Wait() // how it ended is in its log
		close(gone)
	}()
	for {
		c, err := net.Dial("unix", d.client.Address)
		if err == nil {
			return c.Close()
		}
		select {
		case <-gone:
			return errors.New("the daemon has ended; see " + log.Name())
		case <-time.After(time.Millisecond):
		}
	}
}

// kill ends it at once, and leaves alone what runs.
func (d *daemon) kill() {
	_ = d.client.Close()
	_ = d.cmd.Process.Kill()
	<-d.gone
}

// end cancels what runs and ends the daemon.
func (d *daemon) end() {
	for _, a := range d.list("activating") {
		_, _, _ = control.Call[control.Activation](context.Background(), d.client, "cancel", control.CancelIn{ID: a.ID})
		_, _ = d.wait(a.ID)
	}
	d.kill()
}

func (d *daemon) list(state string) []control.Activation {
	_, all, err := control.Call[control.Activation](context.Background(), d.client, "list", control.ListIn{State: []string{state}})
	if err != nil {
		return nil
	}
	return all
}

func (d *daemon) add(in control.AddIn) (string, error) {
	_, out, err := control.Call[control.AddOut](context.Background(), d.client, "add", in)
	if err != nil {
		return "", err
	}
	return out[0].ID, nil
}

func (d *daemon) wait(id string) (control.WaitOut, error) {
	c := &control.Client{Network: "unix", Address: d.client.Address}
	defer func() { _ = c.Close() }()
	_, out, err := control.Call[control.WaitOut](context.Background(), c, "wait", control.IDIn{ID: id})
	if err != nil {
		return control.WaitOut{}, err
	}
	return out[0], nil
}

// started is when the script of a job's newest attempt was started.
func (d *daemon) started(id string) (at, due time.Time, err error) {
	_, out, err := control.Call[control.Detail](context.Background(), d.client, "show", control.IDIn{ID: id})
	if err != nil {
		return at, due, err
	}
	if len(out[0].Attempts) == 0 {
		return at, due, fmt.Errorf("job %s never ran: %s", id, out[0].Reason)
	}
	return out[0].Attempts[len(out[0].Attempts)-1].Started, out[0].Start, nil
}

// pipeline adds n jobs of one kind over one connection without waiting for the
// replies, and returns their ids and how long it took until the last was acknowledged.
func (d *daemon) pipeline(n int, request string) (ids []string, took time.Duration, err error) {
	c, err := net.Dial("unix", d.client.Address)
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = c.Close() }()
	begin := time.Now()
	sent := make(chan error, 1)
	go func() {
		w := bufio.NewWriterSize(c, 1<<16)
		for range n {
			if _, err := w.WriteString(request); err != nil {
				sent <- err
				return
			}
		}
		sent <- w.Flush()
	}()
	in := bufio.NewScanner(c)
	for len(ids) < n && in.Scan() {
		var out control.AddOut
		switch l := in.Text(); {
		case strings.HasPrefix(l, "{"):
			if err := json.Unmarshal([]byte(l), &out); err != nil {
				return nil, 0, err
			}
			ids = append(ids, out.ID)
		case !strings.HasPrefix(l, "200") && l != ".":
			return nil, 0, errors.New(l)
		}
	}
	return ids, time.Since(begin), errors.Join(<-sent, in.Err())
}

// fill has the daemon keep so many jobs that are not due in this run.
func (d *daemon) fill() (rate float64, err error) {
	_, took, err := d.pipeline(d.b.pending, "add\nin:20d\narg:/bin/true\nlabel:pending\n\n")
	return float64(d.b.pending) / took.Seconds(), err
}

// memory is a process's resident memory in MiB, as a whole and what is its own.
func memory(pid int) (rss, anon float64) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
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
