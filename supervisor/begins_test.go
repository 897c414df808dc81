package supervisor_test

import (
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"

	"activationd/supervisor"
	"activationd/supervisor/wrapper"
)

// begins waits for the start of the run's script, and returns its process id.
func (b *bench) begins() int {
	b.t.Helper()
	select {
	case k := <-b.Begins():
		if k != key {
			b.t.Fatalf("%v has begun, want %v", k, key)
		}
	case x := <-b.Exits():
		b.t.Fatalf("exit %+v, before the run has begun", x)
	case <-time.After(hang):
		b.t.Fatalf("it does not begin; log: %s", b.file("log"))
	}
	pid, _, _ := b.Started(key)
	return pid
}

func (b *bench) awaitStart() {
	b.t.Helper()
	if err := b.AwaitStart(key); err != nil {
		b.t.Fatal(err)
	}
}

// The daemon learns when the process of a run exists, not only that its wrapper does, whenever
// it asks; the next daemon does, too.
func TestAwaitStart(t *testing.T) {
	t.Parallel()
	for _, notify := range []bool{false, true} {
		t.Run(fmt.Sprint("notify ", notify), func(t *testing.T) {
			t.Parallel()
			b := newBench(t, "")
			spec := shell("exec sleep 600")
			spec.Notify = notify
			spec.NotBefore = time.Now().Add(2 * time.Second)
			b.start(spec)
			b.awaitStart()
			b.reopen()
			adopt := func() {
				t.Helper()
				if f, err := b.Adopt(key); err != nil || f.State != supervisor.Running {
					t.Fatalf("Adopt = %+v, %v", f, err)
				}
				b.awaitStart()
			}
			adopt()
			pid := b.begins()
			if p, ok := wrapper.Stat(pid); !ok || p.Dead() || time.Now().Before(spec.NotBefore) {
				t.Errorf("it has begun as process %d, which is %+v, %t", pid, p, ok)
			}
			b.reopen() // it has begun already
			adopt()
			if again := b.begins(); again != pid {
				t.Errorf("it has begun as process %d, and then as %d", pid, again)
			}
			b.finish()
			select {
			case k := <-b.Begins():
				t.Errorf("%v has begun twice", k)
			default:
			}
		})
	}
}

// What cannot be executed does not begin.
func TestAwaitStartInVain(t *testing.T) {
	t.Parallel()
	b := newBench(t, "")
	spec := shell("")
	spec.Argv = []string{"/there/is/no/such/program"}
	b.start(spec)
	b.awaitStart()
	if r := b.exit(); r.Reason != wrapper.Failed {
		t.Errorf("result = %+v", r)
	}
	b.Close()
	select {
	case k := <-b.Begins():
		t.Errorf("%v has begun", k)
	default:
	}
}

// A process exists also if there is no room to write down its number.
func TestAwaitStartOnAFullDisk(t *testing.T) {
	for _, late := range []bool{false, true} {
		t.Run(fmt.Sprintf("late=%t", late), func(t *testing.T) {
			t.Parallel()
			awaitStartOnAFullDisk(t, late)
		})
	}
}

// awaitStartOnAFullDisk asks for the start at once, or late: when the wrapper has closed the file that
// tells of it, and that is empty.
func awaitStartOnAFullDisk(t *testing.T, late bool) {
	argument := fmt.Sprintf("600.%d", os.Getpid()) // nobody else's
	if late {
		argument += "1"
	}
	for kib := 4; ; kib += 4 {
		b := newBench(t, "")
		small(t, b.config.RunsDir, fmt.Sprintf("size=%dk", kib))
		b.reopen() // on the new file system
		if b.Start(key, shell("exec sleep "+argument)) != nil {
			continue
		}
		if late && !b.sleeps(argument) {
			continue
		}
		b.awaitStart()
		select {
		case <-b.Begins():
		case x := <-b.Exits():
			if x.Result.Reason != wrapper.NotStarted {
				t.Fatalf("exit %+v", x)
			}
			continue
		case <-time.After(hang):
			t.Fatal("it does not begin")
		}
		_, _, known := b.Started(key)
		if err := syscall.Mount("", b.config.RunsDir, "", syscall.MS_REMOUNT, "size=1m"); err != nil { // or the wrapper waits for room
			t.Fatal(err)
		}
		if r := b.finish(); known || r.PID == 0 {
			t.Errorf("with %d KiB, the first with which it runs: result %+v; its process id is written: %t", kib, r, known)
		}
		return
	}
}

// sleeps waits until a run executes sleep with that argument, and reports whether it does: it may have
// ended instead.
func (b *bench) sleeps(argument string) bool {
	for {
		select {
		case x := <-b.Exits():
			if x.Result.Reason != wrapper.NotStarted {
				b.t.Fatalf("exit %+v", x)
			}
			return false
		default:
		}
		for _, pid := range wrapper.Processes() {
			if line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); err == nil && string(line) == "sleep\x00"+argument+"\x00" {
				return true
			}
		}
		time.Sleep(time.Millisecond)
	}
}
