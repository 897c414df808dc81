package supervisor_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"activationd/internal/fault"
	"activationd/supervisor"
	"activationd/supervisor/wrapper"
)

// streaming runs a shell script with a stream.
func streaming(script string) wrapper.Spec {
	spec := shell(script)
	spec.Stream = true
	return spec
}

// answering answers each line, and says on standard error when its input has ended.
const answering = `echo up >&2; while read -r line; do echo "re $line"; done; echo "no more input" >&2`

func (b *bench) stream() *supervisor.Stream {
	b.t.Helper()
	st, err := b.Stream(key)
	if err != nil {
		b.t.Fatal(err)
	}
	return st
}

// soon is a context that ends when a test has waited too long.
func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	t.Cleanup(cancel)
	return ctx
}

func (b *bench) send(line string) {
	b.t.Helper()
	for st := b.stream(); ; {
		sent, err := st.Send([]byte(line + "\n"))
		if err == nil && !sent {
			err = st.Sendable(soon(b.t))
		}
		if err != nil {
			b.t.Fatal(err)
		}
		if sent {
			return
		}
	}
}

// peek peeks until it has a text of a given length.
func (b *bench) peek(n int) string {
	b.t.Helper()
	buf := make([]byte, n)
	for have := 0; have < n; {
		more, err := b.stream().Peek(soon(b.t), buf[have:])
		if err != nil {
			b.t.Fatalf("%v after %q; log: %s", err, buf[:have], b.file("log"))
		}
		have += more
	}
	return string(buf)
}

// says checks what the script writes next, and consumes it.
func (b *bench) says(want string) {
	b.t.Helper()
	if got := b.peek(len(want)); got != want {
		b.t.Fatalf("the script says %q, want %q", got, want)
	}
	b.consume(len(want))
}

func (b *bench) consume(n int) {
	b.t.Helper()
	if err := b.stream().Consume(n); err != nil {
		b.t.Fatal(err)
	}
}

// ended checks that the script's output is at its end.
func (b *bench) ended() {
	b.t.Helper()
	if n, err := b.stream().Peek(soon(b.t), make([]byte, 10)); n != 0 || !errors.Is(err, io.EOF) {
		b.t.Fatalf("%d bytes, %v, want the end", n, err)
	}
}

// A script with a stream has its pipes as standard input and output, and nothing else of the
// wrapper's; it can open them by their names, as any user. Its log has only standard error.
func TestStream(t *testing.T) {
	t.Parallel()
	uids := []int{-1}
	if os.Getuid() == 0 {
		uids = append(uids, runUID)
	}
	for _, guard := range guards(t) {
		for _, uid := range uids {
			t.Run(guard+"/"+itoa(uid), func(t *testing.T) {
				t.Parallel()
				b := newBench(t, guard)
				spec := streaming(`read -r first </dev/stdin; echo "$first" >/dev/stdout; find /proc/$$/fd -type l ! -name '[012]' -printf '%f '; ` + answering)
				spec.UID, spec.GID, spec.Listen, spec.Addresses = uid, uid, listening, addresses(t)
				b.start(spec)
				b.send("hello")
				b.says("hello\n3 4 ")
				for i := range 100 {
					b.send(fmt.Sprint(i))
					b.says(fmt.Sprintf("re %d\n", i))
				}
				if err := b.stream().CloseInput(); err != nil {
					t.Fatal(err)
				}
				b.ended()
				if r := b.exit(); r.Reason != wrapper.Exited || r.Exit != 0 || r.Text != "" {
					t.Errorf("%+v", r)
				}
				if got, want := b.file("log"), "up\nno more input\n"; got != want {
					t.Errorf("log %q, want %q", got, want)
				}
				if _, err := b.stream().Send([]byte("x\n")); !errors.Is(err, fault.Conflict) {
					t.Errorf("Send after CloseInput: %v", err)
				}
				b.nothingLeft()
				if err := b.Remove(t.Context(), key); err != nil {
					t.Fatal(err)
				}
				if _, err := b.Stream(key); !errors.Is(err, fault.NotFound) {
					t.Errorf("the stream of a run that was removed: %v", err)
				}
			})
		}
	}
}

// The daemon ends at any point: the script sees nothing of that, and the next daemon gets all answers that
// were not consumed, whether they were peeked or not, and half a line, too.
func TestStreamOutlivesTheDaemon(t *testing.T) {
	t.Parallel()
	for _, guard := range guards(t) {
		t.Run(guard, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, guard)
			spec := streaming(`read -r l; echo "re $l"; printf half; read -r l; echo " a line"; ` + answering)
			spec.Listen, spec.Addresses = listening, addresses(t)
			b.start(spec)
			b.send("1")
			const first = "re 1\nhalf"
			if got := b.peek(len(first)); got != first {
				t.Fatalf("%q", got)
			}
			adopt := func() {
				t.Helper()
				b.awaitIdle()
				b.reopen()
				if f, err := b.Adopt(key); err != nil || f.State != supervisor.Running {
					t.Fatalf("%+v, %v", f, err)
				}
			}
			adopt()
			if got := b.peek(len(first)); got != first {
				t.Fatalf("%q is peeked again", got)
			}
			b.consume(len("re 1\n"))
			adopt()
			b.send("2")
			b.says("half a line\n")
			b.send("3")
			b.awaitLog("up")
			adopt()
			b.send("4")
			b.says("re 3\nre 4\n")
			if b.stream().InputClosed() {
				t.Error("the input is closed")
			}
			if err := b.stream().CloseInput(); err != nil {
				t.Fatal(err)
			}
			b.awaitLog("no more input")
			b.ended()
			if r := b.exit(); r.Reason != wrapper.Exited || r.Exit != 0 || r.Text != "" {
				t.Errorf("%+v", r)
			}
			b.nothingLeft()
		})
	}
}

// If a daemon closes the input and ends, the next one knows that, although the wrapper has opened
// files since.
func TestStreamInputStaysClosed(t *testing.T) {
	t.Parallel()
	b := newBench(t, "")
	spec := streaming(answering + `; read -r _ <"$GO"; head -c 9000 /dev/zero >&2; echo bye`)
	pipe := filepath.Join(t.TempDir(), "go")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	spec.Env = append(spec.Env, "GO="+pipe)
	spec.LogHead, spec.LogTail = 10, 1000
	b.start(spec)
	b.send("1")
	if err := b.stream().CloseInput(); err != nil {
		t.Fatal(err)
	}
	b.awaitLog("up")
	for range 2 {
		b.reopen()
		if f, err := b.Adopt(key); err != nil || f.State != supervisor.Running {
			t.Fatalf("%+v, %v", f, err)
		}
		if !b.stream().InputClosed() {
			t.Fatal("the input is not closed")
		}
	}
	if _, err := b.stream().Send([]byte("x\n")); !errors.Is(err, fault.Conflict) {
		t.Errorf("Send: %v", err)
	}
	if err := errors.Join(b.stream().CloseInput(), os.WriteFile(pipe, []byte("\n"), 0)); err != nil {
		t.Fatal(err)
	}
	b.says("re 1\nbye\n")
	b.ended()
	if r := b.exit(); r.Reason != wrapper.Exited || r.Exit != 0 || r.Text != "" {
		t.Errorf("%+v", r)
	}
}

// The input of a run that waits for its time is closed meanwhile: it still runs, at its time, and finds that out.
func TestStreamInputClosedBeforeTheStart(t *testing.T) {
	t.Parallel()
	b := newBench(t, "")
	spec := streaming("read -r line; echo read $line; read -r line || echo over")
	spec.NotBefore = time.Now().Add(2 * time.Second)
	b.start(spec)
	b.send("1")
	if err := b.stream().CloseInput(); err != nil {
		t.Fatal(err)
	}
	b.says("read 1\nover\n")
	b.ended()
	if r := b.exit(); r.Reason != wrapper.Exited || r.Exit != 0 || r.Text != "" || r.Started.Before(spec.NotBefore) {
		t.Errorf("%+v, want exited, and not before %v", r, spec.NotBefore)
	}
	b.nothingLeft()
}

// The daemon closes the input and ends before the wrapper has noticed that: the next daemon knows it all the same.
func TestStreamInputIsBeingClosed(t *testing.T) {
	t.Parallel()
	b := newBench(t, "")
	b.start(streaming(answering))
	b.send("1")
	b.says("re 1\n")
	pid := b.awaitIdle()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if err := b.stream().CloseInput(); err != nil {
		t.Fatal(err)
	}
	b.reopen()
	if f, err := b.Adopt(key); err != nil || f.State != supervisor.Running {
		t.Fatalf("%+v, %v", f, err)
	}
	closed := b.stream().InputClosed()
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if !closed {
		t.Fatal("the input is not closed")
	}
	b.awaitLog("no more input")
	b.ended()
	if r := b.exit(); r.Reason != wrapper.Exited || r.Exit != 0 || r.Text != "" {
		t.Errorf("%+v", r)
	}
}

// While nobody reads, a script that writes without end waits. Nothing of what it has written is lost or doubled, though
// daemons come and go.
func TestStreamBackPressure(t *testing.T) {
	t.Parallel()
	b := newBench(t, "")
	const lines, length = 8192, 128
	b.start(streaming(fmt.Sprintf(`awk 'BEGIN { for (i = 0; i < %d; i++) printf "%%0%dd\n", i }'; read -r _`, lines, length-1)))
	b.await("a script that waits", func() bool { return b.blocked(b.pid(key)) })
	var have []byte // that was peeked and not consumed
	buf := make([]byte, 50_000)
	for line, round := 0, 0; line < lines; round++ {
		if round%7 == 3 {
			b.reopen()
			if _, err := b.Adopt(key); err != nil {
				t.Fatal(err)
			}
			have = nil
		}
		n, err := b.stream().Peek(soon(t), buf)
		if err != nil {
			t.Fatal(err)
		}
		have = append(have, buf[:n]...)
		if round%3 == 1 && len(have) < supervisor.MaxPeek && line < lines-2000 {
			continue // consume later
		}
		done := 0
		for ; len(have) >= length; have = have[length:] {
			if want := fmt.Sprintf("%0*d\n", length-1, line); string(have[:length]) != want {
				t.Fatalf("line %d is %q", line, have[:length])
			}
			line, done = line+1, done+length
		}
		b.consume(done)
	}
	if err := b.stream().CloseInput(); err != nil {
		t.Fatal(err)
	}
	b.ended()
	if r := b.exit(); r.Reason != wrapper.Exited || r.Text != "" {
		t.Errorf("%+v", r)
	}
}

// blocked reports whether a process, or a child of it, waits in write(2).
func (b *bench) blocked(pid int) bool {
	for _, p := range append(wrapper.Processes(), pid) {
		s, ok := wrapper.Stat(p)
		call, err := os.ReadFile(fmt.Sprintf("/proc/%d/syscall", p))
		if ok && err == nil && (p == pid || s.Parent == pid) && strings.HasPrefix(string(call), fmt.Sprint(syscall.SYS_WRITE, " ")) {
			return true
		}
	}
	return false
}

// The end of the script, whatever ended it, is seen at once on both pipes.
func TestStreamScriptIsKilled(t *testing.T) {
	t.Parallel()
	for _, guard := range guards(t) {
		t.Run(guard, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, guard)
			b.start(streaming(`sleep 600 & echo up; exec sleep 600`))
			b.says("up\n")
			ended := make(chan error)
			go func() {
				_, err := b.stream().Peek(soon(t), make([]byte, 10))
				ended <- err
			}()
			pid := b.awaitIdle()
			for n, only := range []os.FileMode{0o300, 0o500} { // of the script's input it has the end to write to, of its output that to read from
				if got := ends(t, pid, fmt.Sprintf("/proc/%d/fd/%d", b.pid(key), n)); len(got) != 1 || got[0] != only {
					t.Fatalf("of the script's descriptor %d the wrapper has ends with the modes %v, want %v", n, got, only)
				}
			}
			if err := syscall.Kill(b.pid(key), syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			if err := <-ended; !errors.Is(err, io.EOF) {
				t.Errorf("Peek: %v", err)
			}
			b.await("a pipe without a reader", func() bool { // as in TestStreamScriptCloses
				_, err := b.stream().Send([]byte("x\n"))
				return errors.Is(err, syscall.EPIPE)
			})
			if err := b.stream().Sendable(soon(t)); err != nil {
				t.Errorf("Sendable: %v", err)
			}
			if r := b.exit(); r.Reason != wrapper.Exited || r.Signal != int(syscall.SIGKILL) || r.Text != "" {
				t.Errorf("%+v", r)
			}
			b.nothingLeft()
		})
	}
}

// ends returns the modes of the descriptors of a process for a pipe.
func ends(t *testing.T, pid int, pipe string) (modes []os.FileMode) {
	t.Helper()
	want, err := os.Readlink(pipe)
	if err != nil {
		t.Fatal(err)
	}
	fds, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		is, _ := os.Readlink(fd)
		info, err := os.Lstat(fd)
		if err == nil && is == want {
			modes = append(modes, info.Mode().Perm())
		}
	}
	return modes
}

// A script that closes its standard input or output goes on, and the daemon sees it.
func TestStreamScriptCloses(t *testing.T) {
	t.Parallel()
	b := newBench(t, "")
	b.start(streaming("echo last; exec <&- >&-; echo closed >&2; exec sleep 600"))
	b.awaitLog("closed")
	b.await("a pipe without a reader", func() bool { // a process that is just being started has all descriptors of this one
		_, err := b.stream().Send([]byte("x\n"))
		return errors.Is(err, syscall.EPIPE)
	})
	b.says("last\n")
	b.ended()
	if r := b.finish(); r.Reason != wrapper.Stopped {
		t.Errorf("%+v", r)
	}
}

// The wrapper is idle, and stays so, while lines go to and fro. A stop ends a script that waits for
// input, or that waits in write.
func TestStreamPassesTheIdleWrapper(t *testing.T) {
	t.Parallel()
	b := newBench(t, "")
	b.start(streaming(answering))
	b.awaitLog("up")
	pid := b.awaitIdle()
	switches := func() string {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		_, count, ok := strings.Cut(string(status), "\nvoluntary_ctxt_switches:")
		if err != nil || !ok {
			t.Fatal(err, string(status))
		}
		return count
	}
	before := switches()
	for i := range 200 {
		b.send(fmt.Sprint(i))
		b.says(fmt.Sprintf("re %d\n", i))
	}
	if after := switches(); after != before || !idle(pid) {
		t.Errorf("the wrapper was woken: %q, then %q", before, after)
	}
	if r := b.finish(); r.Reason != wrapper.Stopped || r.Signal != int(syscall.SIGTERM) {
		t.Errorf("%+v", r)
	}
	b.ended()
}

func TestStreamTimeout(t *testing.T) {
	t.Parallel()
	b := newBench(t, "")
	spec := streaming("exec yes")
	spec.Timeout = 500 * time.Millisecond
	b.start(spec)
	if r := b.exit(); r.Reason != wrapper.TimedOut || r.Signal != int(syscall.SIGTERM) {
		t.Errorf("%+v", r)
	}
	if got := b.peek(1000); got != strings.Repeat("y\n", 500) {
		t.Errorf("%q", got)
	}
	b.nothingLeft()
}

// If a run ends while there is no daemon, or the daemon ends before it has consumed all of the output, the next
// one reads it as it would have read it from the pipe.
func TestStreamEndsWithoutDaemon(t *testing.T) {
	t.Parallel()
	for _, written := range []string{"", "re 1\nre 2\n"} {
		t.Run(written, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, "")
			b.start(streaming(fmt.Sprintf("echo ready; read -r _; printf %q; exit 4", written)))
			b.says("ready\n")
			pid := b.awaitIdle()
			b.send("go")
			b.Close()
			if written != "" { // else it may be adopted before its end
				b.await("the wrapper's end", func() bool { p, ok := wrapper.Stat(pid); return !ok || p.Dead() })
			}
			b.open()
			f, err := b.Adopt(key)
			if err != nil {
				t.Fatal(err)
			}
			if f.State == supervisor.Running {
				f.Result = b.exit()
			}
			if f.Result.Reason != wrapper.Exited || f.Result.Exit != 4 || f.Result.Text != "" {
				t.Errorf("%+v", f)
			}
			b.says(written)
			b.ended()
		})
	}
}

// Lines are sent whole or not at all; who sends more than the script reads learns that, and can wait.
func TestStreamInputIsFull(t *testing.T) {
	t.Parallel()
	b := newBench(t, "")
	b.start(streaming(`kill -STOP $$; exec cat`))
	st := b.stream()
	var want bytes.Buffer
	for i := 0; ; i++ {
		line := []byte(strings.Repeat("x", 1+i*37%4095) + "\n")
		sent, err := st.Send(line)
		if err != nil {
			t.Fatal(err)
		}
		if !sent {
			break
		}
		want.Write(line)
	}
	over, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(10*time.Millisecond, func() { cancel(errors.New("enough")) })
	if err := st.Sendable(over); err == nil || err.Error() != "enough" {
		t.Errorf("Sendable: %v", err)
	}
	if _, err := st.Peek(over, make([]byte, 1)); err == nil || err.Error() != "enough" {
		t.Errorf("Peek: %v", err)
	}
	b.await("a script that is stopped", func() bool { p, _ := wrapper.Stat(b.pid(key)); return p.State == 'T' })
	if err := syscall.Kill(b.pid(key), syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if err := st.Sendable(soon(t)); err != nil {
		t.Fatal(err)
	}
	b.send("last")
	want.WriteString("last\n")
	b.says(want.String())
	for _, line := range []string{"", "x", "\nx", "a\nb\n", strings.Repeat("x", supervisor.MaxSend) + "\n"} {
		if sent, err := st.Send([]byte(line)); sent || !errors.Is(err, fault.Invalid) {
			t.Errorf("Send of %.10q: %v, %v", line, sent, err)
		}
	}
	if err := st.Consume(1); !errors.Is(err, fault.Invalid) {
		t.Errorf("Consume of what was not peeked: %v", err)
	}
	b.Close()
	if _, err := st.Peek(soon(t), make([]byte, 1)); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Peek when the supervisor is closed: %v", err)
	}
	if _, err := st.Send([]byte("x\n")); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Send when the supervisor is closed: %v", err)
	}
	b.open()
	if _, err := b.Stream(key); !errors.Is(err, fault.NotFound) {
		t.Errorf("the stream of a run that was not adopted: %v", err)
	}
	if _, err := b.Adopt(key); err != nil {
		t.Fatal(err)
	}
	b.finish()
}

// Whatever sizes a script writes in, a line of MaxPeek bytes is seen whole.
func TestStreamLongestLine(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1, 2049, 4097, 100_000} {
		t.Run(itoa(size), func(t *testing.T) {
			t.Parallel()
			b := newBench(t, "")
			b.start(streaming(fmt.Sprintf(`head -c %d /dev/zero | dd iflag=fullblock bs=%d status=none; exec sleep 600`, supervisor.MaxPeek, size)))
			if got := b.peek(supervisor.MaxPeek); got != strings.Repeat("\x00", supervisor.MaxPeek) {
				t.Error("wrong output")
			}
			b.consume(supervisor.MaxPeek)
			b.finish()
		})
	}
}

// A script that enlarges its pipe can fill it, and all of it is seen.
func TestStreamPipeIsEnlarged(t *testing.T) {
	t.Parallel()
	b := newBench(t, "")
	const size = 1 << 20
	b.start(streaming(fmt.Sprintf(`echo first; read -r _; "$GUEST" enlarge %d; head -c %d /dev/zero; echo done >&2; read -r _`, size, size)))
	b.says("first\n")
	b.send("go")
	b.awaitLog("done")
	if got := b.peek(size); got != strings.Repeat("\x00", size) {
		t.Error("wrong output")
	}
	b.reopen()
	if _, err := b.Adopt(key); err != nil {
		t.Fatal(err)
	}
	if got := b.peek(size); got != strings.Repeat("\x00", size) {
		t.Error("wrong output for the next daemon")
	}
	if err := b.stream().CloseInput(); err != nil {
		t.Fatal(err)
	}
	b.ended()
	b.exit()
	b.reopen()
	if f, err := b.Adopt(key); err != nil || f.State != supervisor.Ended || f.Result.Text != "" {
		t.Fatalf("%+v, %v", f, err)
	}
	b.says(strings.Repeat("\x00", size))
	b.ended()
}

func TestNoStream(t *testing.T) {
	t.Parallel()
	b := newBench(t, "")
	b.start(shell("exec sleep 600"))
	if _, err := b.Stream(key); !errors.Is(err, fault.NotFound) {
		t.Errorf("%v", err)
	}
	b.finish()
}

// Two supervisors in one process, with different directories for their runs and one for configuration
// directories, do not see each other's runs, whoever ends and begins again.
func TestTwoSupervisors(t *testing.T) {
	t.Parallel()
	for _, guard := range guards(t) {
		t.Run(guard, func(t *testing.T) {
			t.Parallel()
			one, two := newBench(t, guard), newBench(t, guard)
			two.Close()
			two.config.ConfigRoot = one.config.ConfigRoot
			two.open()
			both := []*bench{one, two}
			for _, b := range both { // the runs have one name
				b.start(streaming(`echo "$ACTIVATION_RUN" >"$ACTIVATION_CONFIG_DIR/mark"; ` + answering))
				b.awaitLog("up")
			}
			talk := func() {
				t.Helper()
				for i, b := range both {
					b.send(itoa(i))
				}
				for i, b := range both {
					b.says("re " + itoa(i) + "\n")
				}
			}
			adopt := func(b *bench) {
				t.Helper()
				b.open()
				if f, err := b.Adopt(key); err != nil || f.State != supervisor.Running {
					t.Fatalf("%+v, %v", f, err)
				}
			}
			talk()
			for _, order := range [][]*bench{{one, two}, {two, one}} {
				for _, b := range order { // one by one
					b.Close()
					adopt(b)
					talk()
				}
				for _, b := range order { // together
					b.Close()
				}
				for _, b := range order {
					adopt(b)
				}
				talk()
			}
			if err := syscall.Kill(one.wrapperPID(), syscall.SIGKILL); err != nil { // what is left of this run is cleared
				t.Fatal(err)
			}
			if r := one.exit(); r.Reason != wrapper.Lost {
				t.Errorf("%+v", r)
			}
			two.send("x")
			two.says("re x\n")
			one.reopen() // it sweeps
			if f, err := one.Adopt(key); err != nil || f.State != supervisor.Lost {
				t.Errorf("%+v, %v", f, err)
			}
			two.send("y")
			two.says("re y\n")
			if err := two.stream().CloseInput(); err != nil {
				t.Fatal(err)
			}
			if r := two.exit(); r.Reason != wrapper.Exited || r.Exit != 0 || r.Text != "" {
				t.Errorf("%+v", r)
			}
			for _, b := range both {
				b.nothingLeft()
				if got := b.file("config/mark"); strings.TrimSpace(got) != b.mark() {
					t.Errorf("the configuration directory has the mark %q, want %q", got, b.mark())
				}
			}
		})
	}
}
