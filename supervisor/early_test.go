package supervisor_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"activationd/supervisor/wrapper"
)

// tight is a bench whose wrappers may have 24 MiB of addresses. That is enough for a script, and Go's runtime cannot
// begin with it: a wrapper that needs it waits for more.
func tight(t *testing.T) *bench {
	t.Helper()
	b := limited(t, "")
	b.open() // a supervisor tries the wrapper first, with its runtime
	if err := os.Rename(limited(t, "prlimit --as=25165824:unlimited").config.Atwrap, b.config.Atwrap); err != nil {
		t.Fatal(err)
	}
	return b
}

// An ordinary run needs no Go runtime from its beginning to its recorded end, whether it has to wait for its time or
// not.
func TestOrdinaryRunHasNoRuntime(t *testing.T) {
	t.Parallel()
	own, err := syscall.Getpriority(syscall.PRIO_PROCESS, 0) // 20 less the niceness
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		change func(*wrapper.Spec)
		script string
		want   wrapper.Result
		log    string
	}{
		{name: "nothing", script: "exit 0"},
		{name: "a status", script: "exit 3", want: wrapper.Result{Exit: 3}},
		{name: "a signal", script: "kill -SEGV $$", want: wrapper.Result{Exit: -1, Signal: int(syscall.SIGSEGV)}},
		{name: "output", script: "echo up; echo down >&2", log: "up\ndown\n"},
		{name: "output that comes late", script: "echo up; sleep 0.05; echo down", log: "up\ndown\n"},
		{name: "a child that ended before", script: "sleep 0.01 & wait; exit 4", want: wrapper.Result{Exit: 4}},
		{name: "an orphan that ended before", script: "sh -c 'sleep 0.01 & echo $! >pid'; while kill -0 $(cat pid) 2>/dev/null; do :; done; rm pid"},
		{name: "a timeout that does not come", change: func(s *wrapper.Spec) { s.Timeout = time.Hour }, script: `echo "${ACTIVATION_DEADLINE:+set}"`, log: "set\n"},
		{name: "a place in the queue of processes", change: func(s *wrapper.Spec) { s.Nice, s.Umask = 5, 0o77 }, script: "nice; umask", log: itoa(min(20-own+5, 19)) + "\n0077\n"},
		{name: "a topology", change: func(s *wrapper.Spec) { s.Topology = []byte("<topology/>") }, script: `cat "$ACTIVATION_TOPOLOGY"`, log: "<topology/>"},
		{name: "input", change: func(s *wrapper.Spec) { s.Stdin = []byte("given") }, script: "cat", log: "given"},
	}
	for _, tt := range tests {
		for _, wait := range []time.Duration{0, 300 * time.Millisecond} {
			t.Run(fmt.Sprint(tt.name, ", after ", wait), func(t *testing.T) {
				t.Parallel()
				b := tight(t)
				spec := shell(tt.script)
				spec.Dir = t.TempDir()
				if tt.change != nil {
					tt.change(&spec)
				}
				if wait > 0 {
					spec.NotBefore = time.Now().Add(wait)
				}
				r := b.run(spec)
				if r.Reason != wrapper.Exited || r.Exit != tt.want.Exit || r.Signal != tt.want.Signal || r.Text != "" || b.file("log") != tt.log {
					t.Errorf("%+v, log %q; want exited, exit %d, signal %d, log %q", r, b.file("log"), tt.want.Exit, tt.want.Signal, tt.log)
				}
				if r.Started.Before(spec.NotBefore) {
					t.Errorf("started at %v, which is before %v", r.Started, spec.NotBefore)
				}
				b.nothingLeft()
			})
		}
	}
}

// A run that needs the runtime cannot go on under such a limit: it waits for memory, and goes on when it has it.
func TestRuntimeWaitsForMemory(t *testing.T) {
	t.Parallel()
	b := tight(t)
	spec := shell("echo up; sleep 600 & exit 5") // it leaves something behind
	b.start(spec)
	b.awaitLog("up")
	pid := b.wrapperPID()
	b.await("a wrapper that waits for memory", func() bool {
		call, err := os.ReadFile(filepath.Join("/proc", itoa(pid), "syscall"))
		return err == nil && strings.HasPrefix(string(call), strconv.Itoa(unix.SYS_NANOSLEEP)+" ")
	})
	if p, ok := wrapper.Stat(pid); !ok || p.Threads != 1 {
		t.Errorf("%+v, %v; want one thread", p, ok)
	}
	if err := unix.Prlimit(pid, unix.RLIMIT_AS, &unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}, nil); err != nil {
		t.Fatal(err)
	}
	if r := b.exit(); r.Reason != wrapper.Exited || r.Exit != 5 || r.Leftovers != 1 {
		t.Errorf("%+v, want exited with 5 and one leftover", r)
	}
	b.nothingLeft()
}

// A script that reads its own output, before the wrapper can, does not make the wrapper wait for more of it: its time
// is up all the same.
func TestOutputIsTakenAway(t *testing.T) {
	t.Parallel()
	for _, head := range []int64{1 << 40, 0} { // in the early stage, and after it
		b := newBench(t, "")
		spec := shell(`exec "$GUEST" steal`)
		spec.Timeout, spec.LogHead = time.Second, head
		if r := b.run(spec); r.Reason != wrapper.TimedOut || r.Text != "" {
			t.Errorf("%+v, want a timeout; the first %d bytes of the log", r, head)
		}
		b.nothingLeft()
	}
}
