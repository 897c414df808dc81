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
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"activationd/internal/fault"
	"activationd/supervisor"
	"activationd/supervisor/spawn"
	"activationd/supervisor/wrapper"
)

// Users that nobody is: of a daemon that is not root's, and of its runs.
const (
	daemonUID = 64_127
	runUID    = 64_128
)

// TestPrivilegedElsewhere runs a supervisor as a user without any rights. What is
// privileged is done for it by a spawner, which this process is. So nothing in the supervisor
// needs root but what [supervisor.Privileged] has.
func TestPrivilegedElsewhere(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("needs root: it becomes other users")
	}
	for _, guard := range guards(t) {
		t.Run(guard, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, guard)
			b.Close()
			dir := filepath.Dir(b.config.RunsDir)
			b.config.Atwrap = filepath.Join(dir, "atwrap")
			// The wrapper of one run fails before it can write anything.
			shim := "#!/bin/sh\ncase $ACTIVATION_RUN in broken.*) exit 7;; esac\nexec " + atwrap + "\n"
			syscall.ForkLock.RLock() // or a child of another test has it open for writing when it is executed
			err := os.WriteFile(b.config.Atwrap, []byte(shim), 0o755)
			syscall.ForkLock.RUnlock()
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Chown(b.config.RunsDir, daemonUID, daemonUID); err != nil {
				t.Fatal(err)
			}
			for up := dir; up != os.TempDir(); up = filepath.Dir(up) {
				if err := os.Chmod(up, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			address := filepath.Join(os.TempDir(), fmt.Sprintf("atd-%d-%s.sock", os.Getpid(), guard))
			server, err := spawn.NewServer(&spawn.Rules{
				Daemon: strconv.Itoa(daemonUID), Users: []string{strconv.Itoa(runUID)}, Listen: []string{address},
				Runs: []string{b.config.RunsDir}, Config: b.config.ConfigRoot, Kept: []string{b.config.WorkdirsDir},
			}, b.config.Atwrap, b.config.Log)
			if err != nil {
				t.Fatal(err)
			}
			socket := filepath.Join(os.TempDir(), fmt.Sprintf("atd-%d-%s.spawn", os.Getpid(), guard))
			listener, err := spawn.Listen(socket, daemonUID)
			if err != nil {
				t.Fatal(err)
			}
			served := make(chan error)
			go func() { served <- server.Serve(listener) }()
			defer func() {
				_ = os.Remove(socket)
				_ = unix.Shutdown(listener, unix.SHUT_RDWR)
				<-served
				_ = unix.Close(listener)
			}()
			config, err := json.Marshal(daemonConfig{b.config.Atwrap, b.config.RunsDir, b.config.ConfigRoot, b.config.WorkdirsDir, guard, guest, socket, address})
			if err != nil {
				t.Fatal(err)
			}
			daemon := exec.Command(os.Args[0])
			daemon.Env = append(os.Environ(), daemonVar+"="+string(config))
			if out, err := daemon.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// daemonVar is the environment variable that makes a daemon of the test's program.
const daemonVar = "SUPERVISOR_TEST_DAEMON"

type daemonConfig struct {
	Atwrap, RunsDir, ConfigRoot, WorkdirsDir, Guard, Guest string
	Socket, Address                                        string // the spawner's, and one at which it may listen
}

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
	guest = c.Guest         // this process has built none
	var other *spawn.Client // another one for each supervisor
	open := func() (*supervisor.Supervisor, error) {
		config := supervisor.Config{Atwrap: c.Atwrap, RunsDir: c.RunsDir, ConfigRoot: c.ConfigRoot, WorkdirsDir: c.WorkdirsDir,
			Guard: c.Guard, Log: slog.New(slog.NewTextHandler(os.Stdout, nil))}
		var err error
		if other, err = spawn.NewClient(c.Socket, config); err != nil {
			return nil, err
		}
		config.Privileged = other
		return supervisor.New(config)
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
	spec.UID, spec.GID, spec.Listen, spec.Addresses = uid, uid, []string{"web", "web"}, []string{free.Addr().String(), c.Address}
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
