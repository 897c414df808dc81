package supervisor_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"activationd/internal/fault"
	"activationd/supervisor"
	"activationd/supervisor/wrapper"
)

// Users that nobody is: of a daemon that is not root's, and of its runs.
const (
	daemonUID = 64_127
	runUID    = 64_128
)

// TestPrivilegedElsewhere runs a supervisor as a user without any rights. What is
// privileged is done for it by another process, this one, to which it has a socket. So
// nothing else in the supervisor needs root, and all that [supervisor.Privileged]
// takes and returns can be sent.
func TestPrivilegedElsewhere(t *testing.T) {
	t.Parallel()
	for _, guard := range guards(t) {
		t.Run(guard, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, guard)
			b.Close()
			b.config.Atwrap = filepath.Join(filepath.Dir(b.config.RunsDir), "atwrap")
			// The wrapper of one run fails before it can write anything.
			shim := "#!/bin/sh\ncase $ACTIVATION_RUN in broken.*) exit 7;; esac\nexec " + atwrap + "\n"
			syscall.ForkLock.RLock() // or a child of another test has it open for writing when it is executed
			err := os.WriteFile(b.config.Atwrap, []byte(shim), 0o755)
			syscall.ForkLock.RUnlock()
			if err != nil {
				t.Fatal(err)
			}
			if os.Getuid() == 0 {
				for _, dir := range []string{b.config.RunsDir, b.config.ConfigRoot, b.config.WorkdirsDir} {
					if err := os.Chown(dir, daemonUID, daemonUID); err != nil {
						t.Fatal(err)
					}
					for up := filepath.Dir(dir); up != os.TempDir(); up = filepath.Dir(up) {
						if err := os.Chmod(up, 0o755); err != nil {
							t.Fatal(err)
						}
					}
				}
			}
			pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			socket := os.NewFile(uintptr(pair[1]), "socket")
			config, err := json.Marshal(daemonConfig{b.config.Atwrap, b.config.RunsDir, b.config.ConfigRoot, b.config.WorkdirsDir, guard, guest})
			if err != nil {
				t.Fatal(err)
			}
			daemon := exec.Command(os.Args[0])
			daemon.Env = append(os.Environ(), daemonVar+"="+string(config))
			daemon.ExtraFiles = []*os.File{socket}
			var said strings.Builder
			daemon.Stdout, daemon.Stderr = &said, &said
			if err := daemon.Start(); err != nil {
				t.Fatal(err)
			}
			_ = socket.Close() // the daemon has it
			called := servePrivileged(t, pair[0], b.config)
			if err := daemon.Wait(); err != nil {
				t.Errorf("%v\n%s", err, said.String())
			}
			for m := range reflect.TypeFor[supervisor.Privileged]().Methods() {
				if !called[m.Name] {
					t.Errorf("%s was never asked for", m.Name)
				}
			}
		})
	}
}

// daemonVar is the environment variable that makes a daemon of the test's program.
const daemonVar = "SUPERVISOR_TEST_DAEMON"

type daemonConfig struct{ Atwrap, RunsDir, ConfigRoot, WorkdirsDir, Guard, Guest string }

// daemonMain is the daemon's process. It returns its exit status.
func daemonMain(config string) int {
	if err := daemonRuns(config); err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

func daemonRuns(config string) error {
	var c daemonConfig
	if err := json.Unmarshal([]byte(config), &c); err != nil {
		return err
	}
	root, uid := os.Getuid() == 0, -1
	if root {
		uid = runUID
		if err := errors.Join(syscall.Setgroups(nil), syscall.Setresgid(daemonUID, daemonUID, daemonUID), syscall.Setresuid(daemonUID, daemonUID, daemonUID)); err != nil {
			return err
		}
	}
	guest = c.Guest // this process has built none
	other := &elsewhere{socket: 3}
	open := func() (*supervisor.Supervisor, error) {
		return supervisor.New(supervisor.Config{Atwrap: c.Atwrap, RunsDir: c.RunsDir, ConfigRoot: c.ConfigRoot, WorkdirsDir: c.WorkdirsDir,
			Guard: c.Guard, Log: slog.New(slog.NewTextHandler(os.Stdout, nil)), Privileged: other})
	}
	s, err := open()
	if err != nil {
		return err
	}
	defer func() { s.Close() }()
	key := func(id string) supervisor.Key { return supervisor.Key{ID: id, Phase: "activate", N: 1} }
	command := func(ctx context.Context, script string) error {
		spec := shell(script)
		spec.UID, spec.GID = uid, uid
		return s.Command(ctx, &spec)
	}
	if err := command(context.Background(), "test $(id -u) = "+strconv.Itoa(cmp.Or(max(uid, 0), os.Getuid()))); err != nil {
		return fmt.Errorf("command: %w", err)
	}
	if err := command(context.Background(), "echo first; echo it is closed; exit 3"); err == nil || !strings.Contains(err.Error(), "it is closed") {
		return fmt.Errorf("a command that fails: %w", err)
	}
	late, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	if err := command(late, "sleep 1000 & sleep 1000"); err == nil {
		return errors.New("a command that does not end has succeeded")
	}
	start := func(id, script string) error {
		spec := shell(script)
		spec.UID, spec.GID = uid, uid
		return s.Start(key(id), spec)
	}
	started := func(id string) (pid int) {
		for ; ; time.Sleep(time.Millisecond) {
			if pid, _, ok := s.Started(key(id)); ok {
				return pid
			}
		}
	}

	if err := start("exits", `echo out; head -c 100000 /dev/zero >"$ACTIVATION_CONFIG_DIR/zeros"; setsid sleep 600 & sleep 0.1; exit 3`); err != nil {
		return err
	}
	if x := <-s.Exits(); x.Result.Reason != wrapper.Exited || x.Result.Exit != 3 || x.Result.Leftovers != 1 {
		return fmt.Errorf("exits: %+v", x)
	}
	if log, err := s.Open(key("exits"), wrapper.LogFile); err != nil {
		return err
	} else if text, err := io.ReadAll(log); string(text) != "out\n" {
		return fmt.Errorf("log: %q, %w", text, err)
	}
	if files, err := s.Files(key("exits")); err != nil || len(files) != 1 || files[0].Name != "zeros" || files[0].Size != 100_000 {
		return fmt.Errorf("files: %+v, %w", files, err)
	}
	if n := s.Size(key("exits")); n < 100_000 {
		return fmt.Errorf("size: %d", n)
	}

	if err := start("stopped", `exec sleep 600`); err != nil {
		return err
	}
	if err := s.Stop(key("stopped")); err != nil {
		return err
	}
	if x := <-s.Exits(); x.Result.Reason != wrapper.Stopped && x.Result.Reason != wrapper.Disarmed {
		return fmt.Errorf("stopped: %+v", x)
	}

	if err := start("broken", `:`); err != nil {
		return err
	}
	if x := <-s.Exits(); x.Result.Reason != wrapper.NotStarted || !strings.Contains(x.Result.Text, "status 7") {
		return fmt.Errorf("broken: %+v", x)
	}

	free, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	if err := free.Close(); err != nil {
		return err
	}
	spec := shell(`exec "$GUEST" accept`)
	spec.UID, spec.GID, spec.Listen, spec.Addresses = uid, uid, []string{"web", "web"}, []string{free.Addr().String(), filepath.Join(os.TempDir(), fmt.Sprintf("atd-%d.sock", os.Getpid()))}
	if err := s.Start(key("listens"), spec); err != nil {
		return err
	}
	client, err := net.Dial("tcp", free.Addr().String())
	if err != nil {
		return err
	}
	if said, err := io.ReadAll(client); !strings.HasPrefix(string(said), "web ") {
		return fmt.Errorf("listens: said %q, %w", said, err)
	}
	var file unix.Stat_t
	if err := unix.Stat(spec.Addresses[1], &file); err != nil || root && file.Uid != runUID {
		return fmt.Errorf("listens: the Unix socket is of user %d: %w", file.Uid, err)
	}
	if s, err = daemonAnswers(s, open, key("answers"), uid); err != nil {
		return fmt.Errorf("answers: %w", err)
	}
	if f, err := s.Adopt(key("listens")); err != nil || f.State != supervisor.Running {
		return fmt.Errorf("listens: %+v, %w", f, err)
	}
	if err := s.Stop(key("listens")); err != nil {
		return err
	}
	<-s.Exits()
	if client, err = net.Dial("tcp", free.Addr().String()); err != nil { // it waits for the next run
		return err
	}
	closed, err := s.CloseSockets(func() ([]string, []string, error) { return nil, nil, nil })
	if err := errors.Join(err, client.Close()); err != nil || len(closed) != 2 {
		return fmt.Errorf("closed %v: %w", closed, err)
	}

	kill := func(id string) error {
		lock, err := os.ReadFile(filepath.Join(s.RunDir(key(id)), wrapper.LockFile))
		if err != nil {
			return err
		}
		l, err := wrapper.ParseLock(string(lock))
		if err != nil {
			return err
		}
		fd, err := unix.PidfdOpen(l.PID, 0)
		if err != nil {
			return err
		}
		if root {
			if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != unix.EPERM {
				return fmt.Errorf("this process could kill a wrapper by itself: %w", err)
			}
		}
		err = other.Signal(fd, unix.SIGKILL)
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		for err == nil && poll[0].Revents == 0 {
			_, _ = unix.Poll(poll, -1)
		}
		return errors.Join(err, unix.Close(fd))
	}
	dead := func(pid int) error {
		if p, ok := wrapper.Stat(pid); ok && !p.Dead() {
			return fmt.Errorf("left behind: %+v", p)
		}
		return nil
	}
	if err := start("followed", `echo x >"$ACTIVATION_CONFIG_DIR/x"; setsid sleep 600 & exec sleep 600`); err != nil {
		return err
	}
	pid := started("followed")
	if err := kill("followed"); err != nil {
		return err
	}
	if x := <-s.Exits(); x.Result.Reason != wrapper.Lost || x.Result.Text != "the wrapper was killed" {
		return fmt.Errorf("followed: %+v", x)
	}
	if err := dead(pid); err != nil {
		return err
	}

	if err := start("adopted", `setsid sleep 600 & exec sleep 600`); err != nil {
		return err
	}
	pid = started("adopted")
	s.Close()
	if err := kill("adopted"); err != nil {
		return err
	}
	if s, err = open(); err != nil {
		return err
	}
	if f, err := s.Adopt(key("adopted")); err != nil || f.State != supervisor.Lost || f.Result.Text != "the wrapper was killed" {
		return fmt.Errorf("adopted: %+v, %w", f, err)
	}
	if err := dead(pid); err != nil {
		return err
	}
	if dirs, err := os.ReadDir(c.ConfigRoot); err != nil || len(dirs) > 0 {
		return fmt.Errorf("configuration directories: %v, %w", dirs, err)
	}

	if text := s.Missing(wrapper.Command{Name: "/no/such", UID: uid, GID: uid}); text != "there is no file /no/such" {
		return fmt.Errorf("Missing: %q", text)
	}
	dir, err := s.Workdir("1@x", uid, uid)
	if err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil || root && st.Uid != runUID {
		return fmt.Errorf("work directory of user %d: %w", st.Uid, err)
	}
	over, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Remove(over, key("exits")); !errors.Is(err, fault.Unavailable) || !errors.Is(err, context.Canceled) {
		return fmt.Errorf("Remove for a caller who has gone: %w", err)
	}
	if err := errors.Join(s.RemoveWorkdir(context.Background(), "1@x"), other.KillCgroup(key("none").String())); err != nil {
		return err
	}
	for _, id := range []string{"exits", "stopped", "broken", "listens", "answers", "followed", "adopted"} {
		if err := s.Remove(context.Background(), key(id)); err != nil {
			return err
		}
	}
	for _, place := range []string{c.RunsDir, c.WorkdirsDir} {
		if left, err := filepath.Glob(filepath.Join(place, "[^.]*")); err != nil || len(left) > 0 {
			return fmt.Errorf("left in %s: %q, %w", place, left, err)
		}
	}
	if _, err := s.Open(key("../config"), wrapper.LogFile); !errors.Is(err, fault.Invalid) {
		return fmt.Errorf("Open of a path: %w", err)
	}
	return nil
}

// daemonAnswers runs a script with a stream, and restarts the supervisor meanwhile.
func daemonAnswers(s *supervisor.Supervisor, open func() (*supervisor.Supervisor, error), k supervisor.Key, uid int) (*supervisor.Supervisor, error) {
	spec := shell(`while read -r line; do echo "re $line"; done`)
	spec.UID, spec.GID, spec.Stream = uid, uid, true
	if err := s.Start(k, spec); err != nil {
		return s, err
	}
	for n := range 3 {
		st, err := s.Stream(k)
		if err != nil {
			return s, err
		}
		said := make([]byte, len("re 1\n"))
		if sent, err := st.Send([]byte("1\n")); !sent {
			return s, fmt.Errorf("not sent: %w", err)
		}
		for have := 0; have < len(said); {
			n, err := st.Peek(context.Background(), said[have:])
			if err != nil {
				return s, err
			}
			have += n
		}
		if err := st.Consume(len(said)); err != nil || string(said) != "re 1\n" {
			return s, fmt.Errorf("said %q: %w", said, err)
		}
		if n == 2 {
			if err := st.CloseInput(); err != nil {
				return s, err
			}
			break
		}
		s.Close()
		if s, err = open(); err != nil {
			return s, err
		}
		if f, err := s.Adopt(k); err != nil || f.State != supervisor.Running {
			return s, fmt.Errorf("%+v, %w", f, err)
		}
	}
	if x := <-s.Exits(); x.Key != k || x.Result.Reason != wrapper.Exited || x.Result.Exit != 0 {
		return s, fmt.Errorf("%+v", x)
	}
	return s, nil
}

// A call is one message: a method, and what it takes. With it come the descriptors, and
// before them that of a socket for the answer. Who gives up shuts that down.
type call struct {
	Method string
	Args   []json.RawMessage
}

type answer struct {
	Value json.RawMessage
	Fault *wireFault
}

type wireFault struct {
	Text  string
	Errno syscall.Errno
	Kind  fault.Kind
}

func (f *wireFault) Error() string { return f.Text }

func (f *wireFault) Unwrap() (errs []error) {
	if f.Errno != 0 {
		errs = append(errs, f.Errno)
	}
	return append(errs, f.Kind)
}

// elsewhere has what is privileged done by who has the other end of a socket.
type elsewhere struct{ socket int }

const maxMessage = 64 << 10

func (e *elsewhere) call(ctx context.Context, method string, args []any, value any, fds ...int) (got []int, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = unix.Close(pair[0]) }()
	c := call{Method: method}
	for _, a := range args {
		data, err := json.Marshal(a)
		if err != nil {
			return nil, err
		}
		c.Args = append(c.Args, data)
	}
	giveUp := func() { _ = unix.Shutdown(pair[0], unix.SHUT_WR) }
	if ctx.Err() != nil {
		giveUp()
	}
	data, err := json.Marshal(c)
	if err == nil {
		err = unix.Sendmsg(e.socket, data, unix.UnixRights(append([]int{pair[1]}, fds...)...), nil, 0)
	}
	_ = unix.Close(pair[1])
	if err != nil {
		return nil, err
	}
	gaveUp := make(chan struct{})
	stop := context.AfterFunc(ctx, func() { giveUp(); close(gaveUp) })
	defer func() {
		if !stop() {
			<-gaveUp // else it would shut down the next socket of that number
		}
	}()
	data, got, err = receive(pair[0])
	var a answer
	if err == nil {
		err = json.Unmarshal(data, &a)
	}
	switch {
	case err != nil:
	case a.Fault != nil:
		if err = a.Fault; ctx.Err() != nil {
			err = fmt.Errorf("%w: %w", err, context.Cause(ctx))
		}
	}
	if value != nil && len(a.Value) > 0 {
		err = errors.Join(err, json.Unmarshal(a.Value, value))
	}
	return got, err
}

func receive(socket int) (data []byte, fds []int, err error) {
	buf, oob := make([]byte, maxMessage), make([]byte, unix.CmsgSpace(4*16))
	for {
		n, oobn, _, _, err := unix.Recvmsg(socket, buf, oob, unix.MSG_CMSG_CLOEXEC)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err == nil && n == 0 {
			err = io.EOF
		}
		if err != nil {
			return nil, nil, err
		}
		control, err := unix.ParseSocketControlMessage(oob[:oobn])
		for _, m := range control {
			more, e := unix.ParseUnixRights(&m)
			fds, err = append(fds, more...), errors.Join(err, e)
		}
		return buf[:n], fds, err
	}
}

func (e *elsewhere) Contain(guard string) (c supervisor.Containment, err error) {
	_, err = e.call(context.Background(), "Contain", []any{guard}, &c)
	return c, err
}

func (e *elsewhere) Start(mark string, f supervisor.WrapperFiles) (c supervisor.Child, err error) {
	fds, err := e.call(context.Background(), "Start", []any{mark}, &c, append([]int{f.Stdin, f.Log, f.Dir, f.Lock}, f.Passed...)...)
	if len(fds) == 1 {
		c.PidFD = fds[0]
	}
	return c, err
}

func (e *elsewhere) Pidfd(pid int) (int, error) {
	fds, err := e.call(context.Background(), "Pidfd", []any{pid}, nil)
	if len(fds) == 1 {
		return fds[0], err
	}
	return -1, err
}

func (e *elsewhere) Reap(pidfd int) (status int) {
	_, err := e.call(context.Background(), "Reap", nil, &status, pidfd)
	if err != nil {
		status = -1
	}
	return status
}

func (e *elsewhere) Kept(pidfd, skip, n int) ([]int, error) {
	return e.call(context.Background(), "Kept", []any{skip, n}, nil, pidfd)
}

func (e *elsewhere) Listen(address string, uid, gid int, replace bool) (int, error) {
	fds, err := e.call(context.Background(), "Listen", []any{address, uid, gid, replace}, nil)
	if len(fds) == 1 {
		return fds[0], err
	}
	return -1, err
}

func (e *elsewhere) RemoveSocket(path string) error {
	_, err := e.call(context.Background(), "RemoveSocket", []any{path}, nil)
	return err
}

func (e *elsewhere) Signal(pidfd int, sig syscall.Signal) error {
	_, err := e.call(context.Background(), "Signal", []any{int(sig)}, nil, pidfd)
	return err
}

func (e *elsewhere) KillCgroup(run string) error {
	_, err := e.call(context.Background(), "KillCgroup", []any{run}, nil)
	return err
}

func (e *elsewhere) ClearLeftovers(l supervisor.Leftovers) (c supervisor.Cleared, err error) {
	_, err = e.call(context.Background(), "ClearLeftovers", []any{l}, &c)
	return c, err
}

func (e *elsewhere) Missing(c wrapper.Command) (text string) {
	_, _ = e.call(context.Background(), "Missing", []any{c}, &text)
	return text
}

func (e *elsewhere) Command(ctx context.Context, spec *wrapper.Spec) error {
	_, err := e.call(ctx, "Command", []any{spec}, nil)
	return err
}

func (e *elsewhere) MakeWorkdir(id string, uid, gid int) error {
	_, err := e.call(context.Background(), "MakeWorkdir", []any{id, uid, gid}, nil)
	return err
}

func (e *elsewhere) Open(run, name string) (*os.File, error) {
	fds, err := e.call(context.Background(), "Open", []any{run, name}, nil)
	if err != nil || len(fds) != 1 {
		return nil, err
	}
	return os.NewFile(uintptr(fds[0]), run+"/"+name), nil
}

func (e *elsewhere) Files(run string) (files []supervisor.File, err error) {
	_, err = e.call(context.Background(), "Files", []any{run}, &files)
	return files, err
}

func (e *elsewhere) Size(run string) (n int64) {
	_, _ = e.call(context.Background(), "Size", []any{run}, &n)
	return n
}

func (e *elsewhere) Remove(ctx context.Context, place supervisor.Place, name string) error {
	_, err := e.call(ctx, "Remove", []any{place, name}, nil)
	return err
}

func (e *elsewhere) Close() { _, _ = e.call(context.Background(), "Close", nil, nil) }

// servePrivileged does what is asked for at a socket until the other end is closed, and
// returns which methods were called.
func servePrivileged(t *testing.T, socket int, config supervisor.Config) (called map[string]bool) {
	called = map[string]bool{}
	var calls sync.WaitGroup
	defer calls.Wait()
	defer func() { _ = unix.Close(socket) }()
	var p supervisor.Privileged // another one for each supervisor
	for {
		data, fds, err := receive(socket)
		if err != nil {
			return called
		}
		var c call
		if err := json.Unmarshal(data, &c); err != nil || len(fds) == 0 {
			t.Errorf("a message with %d descriptors: %s: %v", len(fds), data, err)
			return called
		}
		if called[c.Method] = true; c.Method == "Contain" {
			calls.Wait()
			if p, err = supervisor.NewDirect(config); err != nil {
				t.Error(err)
				return called
			}
		}
		serve := func() {
			if err := serveCall(p, c, fds[0], fds[1:]); err != nil {
				t.Error(err)
			}
			for _, fd := range fds {
				_ = unix.Close(fd)
			}
		}
		if c.Method == "Contain" { // it comes before the others
			serve()
		} else {
			calls.Go(serve)
		}
	}
}

func serveCall(p supervisor.Privileged, c call, reply int, fds []int) error {
	var err error
	arg := func(n int, v any) {
		if n >= len(c.Args) {
			err = errors.Join(err, fmt.Errorf("%s: too few arguments", c.Method))
		} else {
			err = errors.Join(err, json.Unmarshal(c.Args[n], v))
		}
	}
	var s, s2 string
	var n, n2 int
	var value any
	var out *os.File
	var got []int
	var done error
	switch method := c.Method; method {
	case "Contain":
		arg(0, &s)
		value, done = p.Contain(s)
	case "Start":
		arg(0, &s)
		var child supervisor.Child
		child, done = p.Start(s, supervisor.WrapperFiles{Stdin: fds[0], Log: fds[1], Dir: fds[2], Lock: fds[3], Passed: fds[4:]})
		if value = child; done == nil {
			out = os.NewFile(uintptr(child.PidFD), "pidfd")
		}
	case "Pidfd":
		arg(0, &n)
		if n, done = p.Pidfd(n); done == nil {
			out = os.NewFile(uintptr(n), "pidfd")
		}
	case "Reap":
		value = p.Reap(fds[0])
	case "Kept":
		arg(0, &n)
		arg(1, &n2)
		got, done = p.Kept(fds[0], n, n2)
	case "Listen":
		arg(0, &s)
		arg(1, &n)
		arg(2, &n2)
		var replace bool
		arg(3, &replace)
		if n, done = p.Listen(s, n, n2, replace); done == nil {
			out = os.NewFile(uintptr(n), s)
		}
	case "RemoveSocket":
		arg(0, &s)
		done = p.RemoveSocket(s)
	case "Signal":
		arg(0, &n)
		done = p.Signal(fds[0], syscall.Signal(n))
	case "KillCgroup":
		arg(0, &s)
		done = p.KillCgroup(s)
	case "ClearLeftovers":
		var l supervisor.Leftovers
		arg(0, &l)
		value, done = p.ClearLeftovers(l)
	case "Missing":
		var w wrapper.Command
		arg(0, &w)
		value = p.Missing(w)
	case "MakeWorkdir":
		arg(0, &s)
		arg(1, &n)
		arg(2, &n2)
		done = p.MakeWorkdir(s, n, n2)
	case "Open":
		arg(0, &s)
		arg(1, &s2)
		out, done = p.Open(s, s2)
	case "Files":
		arg(0, &s)
		value, done = p.Files(s)
	case "Size":
		arg(0, &s)
		value = p.Size(s)
	case "Remove", "Command":
		ctx, cancel := context.WithCancel(context.Background())
		poll := []unix.PollFd{{Fd: int32(reply), Events: unix.POLLRDHUP}}
		if n, err := unix.Poll(poll, 0); err == nil && n > 0 {
			cancel() // the asker gave up before
		}
		var asker sync.WaitGroup
		asker.Go(func() {
			_, _, _ = receive(reply) // returns when who asks gives up
			cancel()
		})
		if method == "Remove" {
			arg(0, &s)
			arg(1, &s2)
			done = p.Remove(ctx, supervisor.Place(s), s2)
		} else {
			var spec wrapper.Spec
			arg(0, &spec)
			done = p.Command(ctx, &spec)
		}
		_ = unix.Shutdown(reply, unix.SHUT_RD)
		asker.Wait()
	case "Close":
		p.Close()
	default:
		err = fmt.Errorf("no method %q", c.Method)
	}
	if err != nil {
		return err
	}
	var a answer
	if value != nil {
		if a.Value, err = json.Marshal(value); err != nil {
			return err
		}
	}
	if done != nil {
		a.Fault = &wireFault{Text: done.Error(), Kind: fault.Of(done)}
		_ = errors.As(done, &a.Fault.Errno)
	}
	data, err := json.Marshal(a)
	if err != nil {
		return err
	}
	var oob []byte
	if out != nil {
		defer func() { _ = out.Close() }()
		oob = unix.UnixRights(int(out.Fd()))
	}
	if len(got) > 0 {
		oob = unix.UnixRights(got...)
		defer func() {
			for _, fd := range got {
				_ = unix.Close(fd)
			}
		}()
	}
	if err := unix.Sendmsg(reply, data, oob, nil, unix.MSG_NOSIGNAL); err != nil && err != unix.EPIPE {
		return err
	}
	return nil
}
