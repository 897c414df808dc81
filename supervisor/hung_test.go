package supervisor_test

import (
	"bufio"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"activationd/supervisor"
	"activationd/supervisor/wrapper"
)

// deaf mounts a file system that never answers. It returns the directory, a channel with an
// element for each request, and a function that unmounts it, which wakes all processes
// that wait for it.
func deaf(t *testing.T) (dir string, asked <-chan struct{}, wake func()) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root, to mount a file system")
	}
	dir = t.TempDir()
	c := exec.Command(deafdisk, dir)
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	c.Stderr = &said
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	if !lines.Scan() {
		_ = c.Wait()
		t.Skipf("no file system can be mounted: %s", said.String())
	}
	requests := make(chan struct{}, 1000)
	read := make(chan struct{})
	go func() {
		defer close(read)
		for lines.Scan() {
			if lines.Text() == "request 1" { // for a name
				requests <- struct{}{}
			}
		}
	}()
	wake = func() {
		if in.Close() == nil {
			<-read
			if err := c.Wait(); err != nil {
				t.Error(err)
			}
		}
	}
	t.Cleanup(wake)
	return dir, requests, wake
}

// hangs waits until so many processes of the run hang, and returns those that the
// log names.
func (b *bench) hangs(n int, asked <-chan struct{}) (hung []wrapper.Hung) {
	b.t.Helper()
	for range n {
		select {
		case <-asked:
		case <-time.After(hang):
			b.t.Fatalf("nothing hangs; log: %s", b.file("log"))
		}
	}
	b.await("their numbers", func() bool { // the wrapper writes what they said after they said it
		hung = nil
		for f := range strings.FieldsSeq(b.file("log")) {
			pid, err := strconv.Atoi(f)
			if p, ok := wrapper.Stat(pid); err == nil && ok {
				hung = append(hung, wrapper.Hung{PID: pid, Born: p.Born})
			}
		}
		return len(hung) == n
	})
	return hung
}

// TestHung: the end of a run is not verified while a process of it hangs in the
// kernel, whatever was killed before and however often the daemon is restarted.
// When the process is gone, the run ends once more, and nothing is left. Without this,
// an end would free a device to which the process may still be writing.
func TestHung(t *testing.T) {
	const script = `sh -c 'echo $$; exec cat "$DEAF/a"' & setsid sh -c 'echo $$; exec cat "$DEAF/b"' & wait`
	for _, guard := range guards(t) {
		for _, tt := range []struct {
			name                string
			wrapper, away, self bool
		}{
			{"stopped", true, false, false},
			{"stopped without a daemon", true, true, false},
			{"exits", true, false, true},
			{"killed wrapper", false, false, false},
			{"killed wrapper without a daemon", false, true, false},
		} {
			t.Run(guard+"/"+tt.name, func(t *testing.T) {
				t.Parallel()
				dir, asked, wake := deaf(t)
				b := newBench(t, guard)
				spec := shell(script)
				if tt.self {
					spec = shell(strings.TrimSuffix(script, "wait") + `while ! test -e "$GO"; do sleep 0.01; done`)
				}
				spec.Grace = 100 * time.Millisecond
				gone := t.TempDir() + "/go"
				spec.Env = append(spec.Env, "DEAF="+dir, "GO="+gone)
				b.start(spec)
				hung := b.hangs(2, asked)
				switch {
				case tt.self:
					if err := os.WriteFile(gone, nil, 0o600); err != nil {
						t.Fatal(err)
					}
				case tt.wrapper:
					if err := b.Stop(key); err != nil {
						t.Fatal(err)
					}
				}
				if tt.away {
					b.Close()
				}
				if !tt.wrapper {
					b.killWrapper()
				}
				if tt.away {
					b.await("the wrapper's end", func() bool {
						p, ok := wrapper.Stat(b.wrapperPID())
						return !ok || p.Dead()
					})
					b.open()
					b.adopt(supervisor.Running)
				}
				check := func() {
					t.Helper()
					r := b.exit()
					if len(r.Hung) != 2 || !strings.Contains(r.Text, "could not be killed") {
						t.Fatalf("result = %+v, want that %v hang", r, hung)
					}
					for _, h := range hung {
						if !h.Lives() {
							t.Errorf("%v is gone before it was woken", h)
						}
					}
				}
				check()
				b.reopen()
				b.adopt(supervisor.Running)
				if err := b.Stop(key); err != nil {
					t.Errorf("Stop of a run of which only hanging processes are left: %v", err)
				}
				check()
				wake()
				r := b.exit()
				want := wrapper.Stopped
				switch {
				case !tt.wrapper:
					want = wrapper.Lost
				case tt.self:
					want = wrapper.Exited
				}
				if len(r.Hung) != 0 || r.Reason != want {
					t.Errorf("result = %+v, want %s, and that nothing hangs", r, want)
				}
				b.nothingLeft()
			})
		}
	}
}
