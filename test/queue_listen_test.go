package test

import (
	"context"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"activationd/control"
)

// listening runs atctl queue listen until its end is wanted.
func (d *daemon) listening(args ...string) (cmd *exec.Cmd, end func() string) {
	d.t.Helper()
	cmd = exec.CommandContext(d.t.Context(), d.Bin+"/atctl", append([]string{"queue", "listen"}, args...)...)
	cmd.Env = append(os.Environ(), "ACTIVATIOND_SOCKET="+d.socket)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		_ = cmd.Wait() // its output says why
		close(done)
	}()
	return cmd, func() string {
		<-done
		return out.String()
	}
}

// byHand waits until some listeners are there that were started by hand.
func (d *daemon) byHand(name string, n int) control.Queue {
	d.t.Helper()
	for {
		_, list, err := control.Call[control.Queue](d.t.Context(), &d.Client, "queue list", control.QueueListIn{Name: []string{name}})
		if err != nil {
			d.t.Fatal(err)
		}
		if len(list[0].ByHand) == n {
			return list[0]
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (d *daemon) pushBody(name, body string) uint64 {
	d.t.Helper()
	_, out, err := control.Call[control.QueuePushOut](d.t.Context(), &d.Client, "queue push", control.QueuePushIn{Name: name, Body: []string{body}, Keep: "1h"})
	if err != nil {
		d.t.Fatal(err)
	}
	return out[0].ID
}

func (d *daemon) outcome(name string, id uint64) control.QueueResult {
	d.t.Helper()
	for {
		_, res, err := control.Call[control.QueueResult](d.t.Context(), &d.Client, "queue result", control.QueueResultIn{Name: name, ID: id, Wait: true})
		if err == nil {
			return res[0]
		}
		if d.t.Context().Err() != nil {
			d.t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond) // the daemon is being restarted
	}
}

// TestListenByHand handles messages in a terminal: with a process each, as a stream and as a
// pipe. An interrupt returns a message at once and leaves no process, and a restart of the
// daemon disturbs nothing.
func TestListenByHand(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, "{}")
	d.Start()
	for _, name := range []string{"pool", "io"} {
		if _, _, err := control.Call[control.Queue](t.Context(), &d.Client, "queue create", control.QueueCreateIn{Name: []string{name}}); err != nil {
			t.Fatal(err)
		}
	}
	script := `read how file; echo "$QUEUE $MESSAGE_ATTEMPT $how"; case $how in wait) echo $$ >"$file"; until test -e "$file.go"; do sleep 0.02; done;; exit) exit "$file";; esac`
	first, end := d.listening("pool", "--", "sh", "-c", script)
	d.byHand("pool", 1)

	for _, tt := range []struct {
		body, outcome, text string
		attempts            int
	}{
		{"ok", "done", "pool 1 ok\n", 1},
		{"exit 65", "dead", "", 1},
	} {
		res := d.outcome("pool", d.pushBody("pool", tt.body+"\n"))
		if res.Outcome != tt.outcome || res.Body != tt.text || res.Last == nil || res.Last.Attempt != tt.attempts {
			t.Errorf("%q: %+v, want %s %q after %d attempts", tt.body, res, tt.outcome, tt.text, tt.attempts)
		}
	}

	// An interrupt: the process is gone, and the message is another one's at once.
	file := d.dir + "/pid"
	id := d.pushBody("pool", "wait "+file+"\n")
	pid := d.fileWith(file)
	if q := d.byHand("pool", 1); q.Work != 1 || q.ByHand[0].PID != first.Process.Pid {
		t.Errorf("in work: %d, by hand %+v, want 1 of pid %d", q.Work, q.ByHand, first.Process.Pid)
	}
	if err := first.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	end()
	if syscall.Kill(pid, 0) == nil {
		t.Errorf("process %d lives although its listener was interrupted", pid)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	second, end := d.listening("pool", "--", "sh", "-c", script)
	d.fileWith(file)

	// A restart of the daemon: the same process goes on, and its end counts.
	d.Kill()
	d.Start()
	d.byHand("pool", 1)
	if err := os.WriteFile(file+".go", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if res := d.outcome("pool", id); res.Outcome != "done" || res.Body != "pool 2 wait\n" {
		t.Errorf("after a restart: %+v, want that the second attempt is done", res)
	}

	// A stream, and a pipe.
	stream, endStream := d.listening("io", "--stream", "--", "python3", "-uc", `
import sys, json
for line in sys.stdin:
    m = json.loads(line)
    print(json.dumps({"id": m["id"], "ok": True, "result": m["body"].upper()}))
`)
	d.byHand("io", 1)
	if res := d.outcome("io", d.pushBody("io", "abc")); res.Body != "ABC" {
		t.Errorf("of a stream: %+v", res)
	}

	// Deleting the queues ends the listeners.
	for _, name := range []string{"pool", "io"} {
		if _, _, err := control.Call[control.Queue](t.Context(), &d.Client, "queue delete", control.QueueDeleteIn{Name: name, Discard: true}); err != nil {
			t.Fatal(err)
		}
	}
	if text := end(); second.ProcessState.ExitCode() != 0 {
		t.Errorf("the listener of a deleted queue ended with %v: %s", second.ProcessState, text)
	}
	if text := endStream(); stream.ProcessState.ExitCode() != 0 {
		t.Errorf("the stream of a deleted queue ended with %v: %s", stream.ProcessState, text)
	}
}

// fileWith waits for a file with a number, and returns that.
func (d *daemon) fileWith(path string) int {
	d.t.Helper()
	for {
		data, err := os.ReadFile(path)
		if n, bad := strconv.Atoi(strings.TrimSpace(string(data))); err == nil && bad == nil {
			return n
		}
		if err := context.Cause(d.t.Context()); err != nil {
			d.t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
