package spawn

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"activationd/internal/fault"
	"activationd/supervisor"
	"activationd/supervisor/wrapper"
)

// Users that nobody is: of the daemon, of its runs, and one whom the rules do not name.
const (
	daemonUID = 64_127
	runUID    = 64_128
	otherUID  = 64_129
)

// A hostile is a daemon that somebody has taken over, and the spawner that it talks to.
type hostile struct {
	t      *testing.T
	s      *Server
	rules  *Rules
	socket string
	conn   *os.File
	dir    string // of root's, with all that follows
	runs   string // the daemon's
	open   string // in which everybody can make files
	stem   string // of marks
}

// as calls fn in a thread that is another user's.
func as(t *testing.T, uid int, fn func() error) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // it is not unlocked: the thread ends with the goroutine
		const same = ^uintptr(0)
		_, _, e1 := unix.RawSyscall(unix.SYS_SETRESGID, same, uintptr(uid), same)
		_, _, e2 := unix.RawSyscall(unix.SYS_SETRESUID, same, uintptr(uid), same)
		if e1 != 0 || e2 != 0 {
			done <- errors.Join(e1, e2)
			return
		}
		done <- fn()
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func newHostile(t *testing.T) *hostile {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: it becomes other users")
	}
	h := &hostile{t: t, dir: t.TempDir()}
	h.runs, h.open = h.dir+"/state/runs", h.dir+"/open"
	bin := h.dir + "/bin"
	must(t, os.Chmod(filepath.Dir(h.dir), 0o755), os.Mkdir(bin, 0o755), os.MkdirAll(h.runs, 0o755), os.Mkdir(h.open, 0o755), os.Chmod(h.open, 0o777),
		os.Mkdir(h.dir+"/state/s", 0o755), os.Chown(h.dir+"/state/s", daemonUID, daemonUID),
		os.Chown(h.dir+"/state", daemonUID, daemonUID), os.Chown(h.runs, daemonUID, daemonUID))
	if out, err := exec.Command("make", "-s", "-C", "../..", "atwrap", "BIN="+bin).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	h.rules = &Rules{Daemon: strconv.Itoa(daemonUID), Users: []string{strconv.Itoa(runUID)}, Runs: []string{h.runs},
		Config: h.dir + "/config", Kept: []string{h.dir + "/kept"}, Listen: []string{h.dir + "/state/s/*.sock"}}
	var err error
	if h.s, err = NewServer(h.rules, bin+"/atwrap", slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	h.socket = h.dir + "/spawn.sock"
	listener, err := Listen(h.socket, daemonUID)
	must(t, err)
	served := make(chan error)
	go func() { served <- h.s.Serve(listener) }()
	t.Cleanup(func() {
		_ = unix.Shutdown(listener, unix.SHUT_RDWR)
		<-served
		_ = unix.Close(listener)
	})
	h.connect()
	t.Cleanup(func() { _ = h.conn.Close() })
	w := request(contain, h.runs)
	w.str(wrapper.GuardSubreaper)
	w.str(h.dir + "/kept")
	if _, _, err := h.ask(w); err != nil {
		t.Fatal(err)
	}
	h.s.mu.Lock()
	defer h.s.mu.Unlock()
	h.stem = h.s.places[h.runs].stem
	return h
}

// of is the same for a subtest.
func (h *hostile) of(t *testing.T) *hostile {
	sub := *h
	sub.t = t
	return &sub
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func (h *hostile) connect() {
	h.t.Helper()
	as(h.t, daemonUID, func() (err error) { h.conn, err = dial(h.socket); return err })
}

// ask asks the spawner for something.
func (h *hostile) ask(w *writer, fds ...int) (r *reader, got []int, err error) {
	h.t.Helper()
	as(h.t, daemonUID, func() error {
		r, got, err = exchange(context.Background(), h.conn, w, fds...)
		return nil
	})
	return r, got, err
}

// serves fails the test unless the spawner answers the next request.
func (h *hostile) serves(after string) {
	h.t.Helper()
	r, fds, err := h.ask(request(hello, ""))
	closeAll(fds)
	if err != nil || r.str() != h.rules.Config {
		h.t.Fatalf("after %s: the spawner does not serve any more: %v", after, err)
	}
}

// refused fails the test unless something is refused, with an error of a kind, and the spawner goes on.
func (h *hostile) refused(what string, want error, w *writer, fds ...int) {
	h.t.Helper()
	h.refusedAs(what, []error{want}, w, fds...)
}

// refusedAs is refused for errors of which one is right.
func (h *hostile) refusedAs(what string, want []error, w *writer, fds ...int) {
	h.t.Helper()
	h.s.mu.Lock()
	before := len(h.s.children)
	h.s.mu.Unlock()
	_, got, err := h.ask(w, fds...)
	closeAll(got)
	if !slices.ContainsFunc(want, func(e error) bool { return errors.Is(err, e) }) || len(got) > 0 {
		h.t.Errorf("%s: %v and %d descriptors, want %v", what, err, len(got), want)
	}
	h.s.mu.Lock()
	after := len(h.s.children)
	h.s.mu.Unlock()
	if after != before {
		h.t.Errorf("%s: it has started %d processes", what, after-before)
	}
	if left, err := os.ReadDir(h.open); err != nil || len(left) > 0 {
		h.t.Errorf("%s: it has made %v, %v", what, left, err)
	}
	h.serves(what)
}

func (h *hostile) in(m method, args ...any) *writer {
	w := request(m, h.runs)
	for _, a := range args {
		switch a := a.(type) {
		case string:
			w.str(a)
		case int:
			w.int(int64(a))
		case bool:
			w.bool(a)
		case []int:
			w.ints(a)
		}
	}
	return w
}

// spec is a specification that the rules allow.
func (h *hostile) spec(run, script string) *wrapper.Spec {
	key, ok := supervisor.ParseKey(run)
	if !ok {
		h.t.Fatalf("%q is no name of a run", run)
	}
	return &wrapper.Spec{ID: key.ID, Phase: key.Phase, Attempt: key.N, Boot: h.s.boot, Mark: run + h.stem + "1", Argv: []string{"/bin/sh", "-c", script},
		Env: []string{"PATH=/usr/bin:/bin"}, UID: runUID, GID: runUID, ConfigRoot: h.rules.Config, Umask: 0o22, LogHead: 1 << 16, LogTail: 1 << 16}
}

// prepare makes the directory of a run as the daemon does, and returns its lock. The caller closes it.
func (h *hostile) prepare(run string, spec *wrapper.Spec) (lock int) {
	h.t.Helper()
	as(h.t, daemonUID, func() (err error) {
		dir := h.runs + "/" + run
		err = errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(dir+"/"+wrapper.SpecFile, spec.Encode(), 0o600), os.WriteFile(dir+"/"+wrapper.LogFile, nil, 0o600))
		if err == nil {
			lock, err = unix.Open(dir+"/"+wrapper.LockFile, unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
		}
		if err == nil {
			err = unix.Flock(lock, unix.LOCK_EX)
		}
		return err
	})
	return lock
}

// start starts a run that is allowed.
func (h *hostile) start(run string, spec *wrapper.Spec) (pid, pidfd int) {
	h.t.Helper()
	lock := h.prepare(run, spec)
	r, fds, err := h.ask(h.in(start, run), lock)
	_ = unix.Close(lock)
	if err != nil || len(fds) != 1 {
		h.t.Fatalf("start of %s: %v, %d descriptors", run, err, len(fds))
	}
	return r.small(), fds[0]
}

// ended waits for the end of a process.
func ended(pidfd int) {
	poll := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	for poll[0].Revents == 0 {
		_, _ = unix.Poll(poll, -1)
	}
}

// end kills the wrapper of a run, and removes what there is of the run.
func (h *hostile) end(run string, pidfd int) {
	h.t.Helper()
	if _, _, err := h.ask(h.in(sendSignal, int(unix.SIGKILL)), pidfd); err != nil && !errors.Is(err, unix.ESRCH) {
		h.t.Fatalf("the run's own signal: %v", err)
	}
	ended(pidfd)
	if _, _, err := h.ask(h.in(reap), pidfd); err != nil {
		h.t.Error(err)
	}
	_ = unix.Close(pidfd)
	for _, w := range []*writer{h.in(clearLeftovers, run, false, []int(nil)), h.in(remove, string(supervisor.RunDirs), run)} {
		if _, _, err := h.ask(w); err != nil {
			h.t.Error(err)
		}
	}
}

// TestHostile plays a daemon that somebody has taken over. It asks for what the rules do not allow.
func TestHostile(t *testing.T) {
	t.Parallel()
	h := newHostile(t)
	const run = "a.activate.1"
	script := ": >" + h.open + "/ran" // refused looks whether it ran
	file := h.dir + "/root's"
	must(t, os.WriteFile(file, []byte("secret"), 0o600))
	sleep := exec.Command("sleep", "600")
	must(t, sleep.Start())
	defer func() { _, _ = sleep.Process.Kill(), sleep.Wait() }()
	foreign, err := unix.PidfdOpen(sleep.Process.Pid, 0)
	must(t, err)
	defer func() { _ = unix.Close(foreign) }()

	t.Run("specification", func(t *testing.T) {
		h := h.of(t)
		for _, tt := range []struct {
			name string
			want error
			set  func(*wrapper.Spec)
		}{
			{"root", fault.Denied, func(s *wrapper.Spec) { s.UID, s.GID = 0, 0 }},
			{"root, by 32 bits", fault.Denied, func(s *wrapper.Spec) { s.UID = 1 << 32 }},
			{"nobody's number", fault.Denied, func(s *wrapper.Spec) { s.UID = 1<<32 - 1 }},
			{"another user", fault.Denied, func(s *wrapper.Spec) { s.UID, s.GID = otherUID, otherUID }},
			{"root's group", fault.Denied, func(s *wrapper.Spec) { s.GID = 0 }},
			{"root's group besides", fault.Denied, func(s *wrapper.Spec) { s.Groups = []int{runUID, 0} }},
			{"the daemon with root's group", fault.Denied, func(s *wrapper.Spec) { s.UID, s.GID = -1, 0 }},
			{"a configuration directory elsewhere", fault.Denied, func(s *wrapper.Spec) { s.ConfigRoot = "/etc" }},
			{"no configuration directory", fault.Denied, func(s *wrapper.Spec) { s.ConfigRoot = "" }},
			{"another cgroup", fault.Denied, func(s *wrapper.Spec) { s.Cgroup = "/sys/fs/cgroup/init.scope" }},
			{"the mark of another run", fault.Denied, func(s *wrapper.Spec) { s.Mark = "b.activate.1" + h.stem + "1" }},
			{"the mark of another place", fault.Denied, func(s *wrapper.Spec) { s.Mark = run + "-1-2-3" }},
			{"another run", fault.Denied, func(s *wrapper.Spec) { s.Attempt = 2 }},
			{"another boot", fault.Denied, func(s *wrapper.Spec) { s.Boot = "1" }},
			{"a negative niceness", fault.Denied, func(s *wrapper.Spec) { s.Nice = -1 }},
			{"the right to a negative niceness", fault.Denied, func(s *wrapper.Spec) { s.Limits = []wrapper.Limit{{Name: "nice", Soft: 40, Hard: 40}} }},
			{"the right to real time", fault.Denied, func(s *wrapper.Spec) { s.Limits = []wrapper.Limit{{Name: "rtprio", Soft: 99, Hard: 99}} }},
			{"sockets that it does not pass", fault.Invalid, func(s *wrapper.Spec) { s.Listen, s.Addresses = []string{"a"}, []string{"127.0.0.1:1"} }},
		} {
			spec := h.spec(run, script)
			tt.set(spec)
			lock := h.prepare(run, spec)
			h.refused(tt.name, tt.want, h.in(start, run), lock)
			_ = unix.Close(lock)
			// What was taken over and not started is no run, and can be removed.
			h.refused(tt.name+", and then its file", fault.Denied, h.in(openFile, run, wrapper.SpecFile))
			if _, _, err := h.ask(h.in(remove, string(supervisor.RunDirs), run)); err != nil {
				t.Error(err)
			}
		}
		spec := h.spec(run, script)
		lock := h.prepare(run, spec)
		pipe := make([]int, 2)
		must(t, unix.Pipe2(pipe, unix.O_CLOEXEC))
		h.refused("a descriptor that the run has not", fault.Invalid, h.in(start, run), lock, pipe[0])
		closeAll(pipe)
		_ = unix.Close(lock)
		must(t, os.RemoveAll(h.runs+"/"+run))
	})

	t.Run("directory", func(t *testing.T) {
		h := h.of(t)
		etc := h.dir + "/etc" // a directory of root's
		must(t, os.Mkdir(etc, 0o700))
		as(t, daemonUID, func() error {
			return errors.Join(os.Symlink(etc, h.runs+"/link.activate.1"), os.Symlink("/etc", h.runs+"/etc"),
				os.Mkdir(h.runs+"/mine.activate.1", 0o700), os.WriteFile(h.runs+"/file", nil, 0o600))
		})
		null, err := unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC, 0)
		must(t, err)
		defer func() { _ = unix.Close(null) }()
		for name, is := range map[string]error{"link.activate.1": unix.ELOOP, "etc": unix.ELOOP, "file": unix.ENOTDIR, "none": unix.ENOENT,
			"": fault.Invalid, ".": fault.Invalid, "..": fault.Invalid, "../runs": fault.Invalid, etc: fault.Invalid, "mine.activate.1/.": fault.Invalid,
			"a\x00b": fault.Invalid, strings.Repeat("a", 300): fault.Invalid} {
			want := []error{is}
			if errors.Is(is, unix.ELOOP) { // with O_DIRECTORY, it depends on what is looked at first
				want = errLinked
			}
			h.refusedAs(name, want, h.in(start, name), null)
			h.refusedAs(name, want, h.in(openFile, name, "shadow"))
			h.refusedAs(name, want, h.in(listFiles, name))
			h.refusedAs(name, want, h.in(size, name))
			h.refusedAs(name, want, h.in(find, name))
			if !errors.Is(is, unix.ENOENT) {
				h.refusedAs(name, want, h.in(remove, string(supervisor.RunDirs), name))
				h.refusedAs(name, want, h.in(clearLeftovers, name, false, []int{sleep.Process.Pid}))
			}
		}
		h.refused("a file of a run that is not the spawner's", unix.ENOENT, h.in(openFile, "mine.activate.1", wrapper.SpecFile))
		h.refused("removal of such a run", fault.Denied, h.in(remove, string(supervisor.RunDirs), "mine.activate.1"))
		h.refused("another place", fault.Invalid, h.in(remove, "etc", "passwd"))
		for _, name := range []string{"", "..", "../open", "a/b", h.open} {
			for _, in := range []supervisor.Place{supervisor.ConfigDirs, supervisor.Workdirs} {
				h.refused("removal of "+name, fault.Invalid, h.in(remove, string(in), name))
			}
			h.refused("work directory "+name, fault.Invalid, h.in(makeWorkdir, name, runUID, runUID))
			h.refused("the cgroup "+name, fault.Invalid, h.in(killCgroup, name))
		}
		h.refused("a work directory of root's", fault.Denied, h.in(makeWorkdir, "w", 0, 0))
		h.refused("a work directory of root's group", fault.Denied, h.in(makeWorkdir, "w", runUID, 0))
		h.refused("a directory of runs that is none", fault.Invalid, request(size, h.open))
		w := request(contain, "/etc")
		w.str("")
		w.str("")
		h.refused("/etc as a directory of runs", fault.Denied, w)
		var st unix.Stat_t
		if err := unix.Stat(etc, &st); err != nil || st.Uid != 0 || st.Gid != 0 || st.Mode&0o7777 != 0o700 {
			t.Errorf("the directory of root's: %+v, %v", st, err)
		}
		// A link where the directory of runs was.
		as(t, daemonUID, func() error {
			return errors.Join(os.Rename(h.runs, h.runs+".old"), os.Symlink("/etc", h.runs))
		})
		h.refusedAs("a link for the directory of runs", errLinked, h.in(openFile, "ssh", "shadow"))
		h.refusedAs("a link for the directory of runs", errLinked, h.in(remove, string(supervisor.RunDirs), "ssh"))
		as(t, daemonUID, func() error { return errors.Join(os.Remove(h.runs), os.Rename(h.runs+".old", h.runs)) })
	})

	t.Run("files", func(t *testing.T) {
		h := h.of(t)
		for _, name := range []string{wrapper.SpecFile, wrapper.LogFile, wrapper.LockFile, wrapper.StdinFile, wrapper.TopologyFile} {
			for kind, put := range map[string]func(path string) error{
				"link": func(path string) error { return os.Symlink(file, path) },
				"hard link": func(path string) error { // three names, as a lock has two
					return errors.Join(os.WriteFile(h.runs+"/one", []byte("x"), 0o600), os.Link(h.runs+"/one", h.runs+"/two"), os.Link(h.runs+"/one", path))
				},
				"pipe":      func(path string) error { return syscall.Mkfifo(path, 0o600) },
				"directory": func(path string) error { return os.Mkdir(path, 0o700) },
			} {
				lock := h.prepare(run, h.spec(run, script))
				as(t, daemonUID, func() error {
					_ = os.Remove(h.runs + "/" + run + "/" + name)
					return put(h.runs + "/" + run + "/" + name)
				})
				h.refusedAs(kind+" for "+name, errOdd, h.in(start, run), lock)
				_ = unix.Close(lock)
				must(t, os.RemoveAll(h.runs+"/"+run))
				_, _ = os.Remove(h.runs+"/one"), os.Remove(h.runs+"/two")
			}
		}
		for _, name := range []string{spawnedFile, wrapper.ResultFile, wrapper.StartedFile, wrapper.ConfigDir, wrapper.SpecFile + ".own"} {
			lock := h.prepare(run, h.spec(run, script))
			as(t, daemonUID, func() error { return os.WriteFile(h.runs+"/"+run+"/"+name, []byte("1 0\n"), 0o600) })
			h.refused("a file "+name, fault.Denied, h.in(start, run), lock)
			_ = unix.Close(lock)
			must(t, os.RemoveAll(h.runs+"/"+run))
		}
		lock := h.prepare(run, h.spec(run, script))
		must(t, os.Chown(h.runs+"/"+run+"/"+wrapper.LogFile, otherUID, otherUID))
		h.refused("a log of another user's", fault.Denied, h.in(start, run), lock)
		_ = unix.Close(lock)
		must(t, os.RemoveAll(h.runs+"/"+run))
		if text, err := os.ReadFile(file); err != nil || string(text) != "secret" {
			t.Errorf("the file of root's: %q, %v", text, err)
		}
	})

	t.Run("processes", func(t *testing.T) {
		h := h.of(t)
		self, err := unix.PidfdOpen(os.Getpid(), 0)
		must(t, err)
		defer func() { _ = unix.Close(self) }()
		_, good := h.start(run, h.spec(run, "exec sleep 600"))
		marked := exec.Command("sleep", "600") // as the processes of the run's script are
		marked.Env = []string{"A=b", wrapper.MarkVar + "=" + h.spec(run, "").Mark}
		must(t, marked.Start())
		alike, err := unix.PidfdOpen(marked.Process.Pid, 0)
		must(t, err)
		for what, fd := range map[string]int{"the spawner": self, "a process of root's": foreign, "a process with the run's mark": alike} {
			for _, sig := range []syscall.Signal{wrapper.StopSignal, unix.SIGKILL} {
				h.refused("a signal to "+what, fault.Denied, h.in(sendSignal, int(sig)), fd)
			}
			h.refused("descriptors of "+what, fault.Denied, h.in(kept, 0, 1), fd)
			r, _, err := h.ask(h.in(reap), fd)
			if status := r.small(); err != nil || status != -1 {
				t.Errorf("reap of %s: %d, %v", what, status, err)
			}
		}
		_, _, _ = marked.Process.Kill(), marked.Wait(), unix.Close(alike)
		h.refused("another signal", fault.Invalid, h.in(sendSignal, int(unix.SIGSTOP)), good)
		h.refused("descriptors that a run has not", fault.Invalid, h.in(kept, 0, 1), good)
		h.refused("descriptors before the first", fault.Invalid, h.in(kept, -1, 1), good)
		h.refused("no pidfd", fault.Invalid, h.in(sendSignal, int(unix.SIGKILL)), int(h.conn.Fd()))
		h.refused("the same run once more", fault.Conflict, h.in(start, run), foreign)
		h.refused("a file elsewhere", fault.Invalid, h.in(openFile, run, "../../etc/shadow"))
		h.refused("a file elsewhere", fault.Invalid, h.in(openFile, run, wrapper.ConfigDir+"/../../etc/shadow"))
		h.refused("a file elsewhere", fault.Invalid, h.in(openFile, run, "/etc/shadow"))
		// It takes a process of root's for a leftover of a run, by its number and by its name.
		if _, _, err := h.ask(h.in(clearLeftovers, "none.activate.1", false, []int{sleep.Process.Pid, os.Getpid()})); err != nil {
			t.Error(err)
		}
		if p, ok := wrapper.Stat(sleep.Process.Pid); !ok || p.Dead() {
			t.Error("the process of root's is gone")
		}
		h.end(run, good)
	})

	t.Run("configuration", func(t *testing.T) {
		h := h.of(t)
		_, good := h.start(run, h.spec(run, `cd "$ACTIVATION_CONFIG_DIR"; ln -s /etc/shadow link; ln -s /etc etc; mkfifo pipe; echo x >one; ln one two; echo y >plain`))
		ended(good)
		for name, want := range map[string][]error{"link": errOdd, "etc/shadow": errOdd, "pipe": errOdd, "one": errOdd, "two": errOdd} {
			h.refusedAs(name, want, h.in(openFile, run, wrapper.ConfigDir+"/"+name))
		}
		_, fds, err := h.ask(h.in(openFile, run, wrapper.ConfigDir+"/plain"))
		if err != nil || len(fds) != 1 {
			t.Errorf("a plain file: %v", err)
		}
		closeAll(fds)
		h.end(run, good)
	})

	t.Run("race", func(t *testing.T) {
		h := h.of(t)
		// The specification changes, by its name and in the file, while the spawner takes the directory over.
		bad := h.spec(run, "exec sleep 600")
		bad.UID, bad.GID = 0, 0
		for range 20 {
			lock := h.prepare(run, h.spec(run, "exec sleep 600"))
			dir, stop, stopped := h.runs+"/"+run, make(chan struct{}), make(chan struct{})
			go func() {
				defer close(stopped)
				as(t, daemonUID, func() error {
					held, err := os.OpenFile(dir+"/"+wrapper.SpecFile, os.O_WRONLY, 0)
					for err == nil {
						select {
						case <-stop:
							return held.Close()
						default:
						}
						_, _ = held.WriteAt(bad.Encode(), 0)
						if os.WriteFile(h.runs+"/new", bad.Encode(), 0o600) == nil {
							_ = os.Rename(h.runs+"/new", dir+"/"+wrapper.SpecFile)
						}
					}
					return nil // the directory is taken over already
				})
			}()
			r, fds, err := h.ask(h.in(start, run), lock)
			close(stop)
			<-stopped
			_ = unix.Close(lock)
			_ = os.Remove(h.runs + "/new")
			if err != nil {
				if !errors.Is(err, fault.Denied) && !errors.Is(err, fault.Invalid) && !errors.Is(err, unix.ENOENT) {
					t.Errorf("start: %v", err)
				}
				must(t, os.RemoveAll(dir))
				continue
			}
			_ = r.small()
			text, err := os.ReadFile(dir + "/" + wrapper.SpecFile)
			if err != nil {
				t.Fatal(err)
			}
			if spec, err := wrapper.ParseSpec(string(text)); err != nil || spec.UID != runUID {
				t.Errorf("the specification has become another: %+v, %v", spec, err)
			}
			h.end(run, fds[0])
		}
		h.serves("races")
	})

	t.Run("sockets", func(t *testing.T) {
		h := h.of(t)
		sockets, elsewhere := h.dir+"/state/s", h.dir+"/elsewhere"
		must(t, os.Mkdir(elsewhere, 0o755), os.Chown(elsewhere, otherUID, otherUID))
		as(t, otherUID, func() error { return stale(elsewhere + "/x.sock") })
		must(t, stale(h.dir+"/root.sock"))
		for _, address := range []string{h.dir + "/root.sock", elsewhere + "/x.sock", sockets + "/../root.sock", sockets + "/a/x.sock", sockets + "/x", "127.0.0.1:1", "/run/x.sock", ""} {
			h.refusedAs("listen at "+address, errAddress, h.in(listen, address, runUID, runUID, true))
			h.refusedAs("removal of "+address, errAddress, h.in(removeSocket, address))
		}
		h.refused("a socket of root's", fault.Denied, h.in(listen, sockets+"/x.sock", 0, 0, true))
		h.refused("a socket of root's group", fault.Denied, h.in(listen, sockets+"/x.sock", runUID, 0, true))
		// A link on the way, to a directory of another user or of root's.
		as(t, daemonUID, func() error { return errors.Join(os.Remove(sockets), os.Symlink(elsewhere, sockets)) })
		h.refused("a socket by a link", fault.Denied, h.in(listen, sockets+"/y.sock", runUID, runUID, true))
		h.refused("removal of a socket by a link", fault.Denied, h.in(removeSocket, sockets+"/x.sock"))
		as(t, daemonUID, func() error { return errors.Join(os.Remove(sockets), os.Symlink(h.dir, sockets)) })
		h.refused("a socket by a link to root's", fault.Denied, h.in(listen, sockets+"/y.sock", runUID, runUID, true))
		h.refused("a socket in place of root's", fault.Denied, h.in(listen, sockets+"/root.sock", runUID, runUID, true))
		h.refused("removal of a socket of root's", fault.Denied, h.in(removeSocket, sockets+"/root.sock"))
		for _, name := range []string{elsewhere + "/x.sock", h.dir + "/root.sock"} {
			if _, err := os.Lstat(name); err != nil {
				t.Errorf("the socket is gone: %v", err)
			}
		}
		// What the rules allow.
		as(t, daemonUID, func() error {
			return errors.Join(os.Remove(sockets), os.Mkdir(sockets, 0o777), os.Chmod(sockets, 0o777))
		})
		_, fds, err := h.ask(h.in(listen, sockets+"/x.sock", runUID, runUID, false))
		if err != nil || len(fds) != 1 {
			t.Fatalf("listen: %v", err)
		}
		closeAll(fds)
		must(t, os.Remove(sockets+"/x.sock"))
		as(t, runUID, func() error { return stale(sockets + "/x.sock") }) // the spawner may not have closed that one yet
		if _, _, err := h.ask(h.in(removeSocket, sockets+"/x.sock")); err != nil {
			t.Errorf("removal of an own socket: %v", err)
		}
		if _, err := os.Lstat(sockets + "/x.sock"); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the socket is there: %v", err)
		}
	})

	t.Run("commands", func(t *testing.T) {
		h := h.of(t)
		for name, set := range map[string]func(*wrapper.Spec){
			"root":                         func(s *wrapper.Spec) { s.UID, s.GID = 0, 0 },
			"another user":                 func(s *wrapper.Spec) { s.UID, s.GID = otherUID, otherUID },
			"root's group":                 func(s *wrapper.Spec) { s.GID = 0 },
			"the daemon with root's group": func(s *wrapper.Spec) { s.UID, s.GID = -1, 0 },
		} {
			spec := h.spec(run, script)
			set(spec)
			fd := memory(t, spec.Encode())
			h.refused("a command: "+name, fault.Denied, h.in(command), fd)
			_ = unix.Close(fd)
			w := h.in(missing)
			writeCommand(w, wrapper.Command{Name: "/bin/sh", UID: spec.UID, GID: spec.GID})
			r, _, err := h.ask(w)
			if text := r.str(); err != nil || text == "" {
				t.Errorf("the program of a command: %s: %q, %v", name, text, err)
			}
		}
		fd := memory(t, []byte("activationd-spec 1\nid \"x"))
		h.refused("a command that is garbled", fault.Invalid, h.in(command), fd)
		_ = unix.Close(fd)
		pipe := make([]int, 2)
		must(t, unix.Pipe2(pipe, unix.O_CLOEXEC))
		h.refused("a command from a pipe", fault.Invalid, h.in(command), pipe[0])
		closeAll(pipe)
	})

	t.Run("messages", func(t *testing.T) {
		h := h.of(t)
		null, err := unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC, 0)
		must(t, err)
		defer func() { _ = unix.Close(null) }()
		h.refused("no such method", fault.Invalid, h.in(method(99)))
		h.refused("method 0", fault.Invalid, h.in(method(0)))
		h.refused("an argument too many", fault.Invalid, h.in(size, run, run))
		h.refused("an argument too few", fault.Invalid, h.in(size))
		h.refused("a descriptor too many", fault.Invalid, h.in(size, run), null)
		h.refused("a start without its lock", fault.Invalid, h.in(start, run))
		h.refused("a list that is longer than its message", fault.Invalid, &writer{b: append(h.in(clearLeftovers, run, false).b, 0xfe, 0x0f)})
		h.refused("text that is longer than its message", fault.Invalid, &writer{b: append(h.in(size).b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1)})
		// What is no message ends the connection, and no other one.
		many := make([]int, maxFDs)
		for i := range many {
			many[i] = null
		}
		for name, send := range map[string]func(fd int) error{
			"nothing":  func(fd int) error { return unix.Sendmsg(fd, nil, unix.UnixRights(null), nil, 0) },
			"one byte": func(fd int) error { return unix.Sendmsg(fd, []byte{version}, unix.UnixRights(null), nil, 0) },
			"another version": func(fd int) error {
				return unix.Sendmsg(fd, []byte{version + 1, byte(hello), 0}, unix.UnixRights(null), nil, 0)
			},
			"nowhere to answer": func(fd int) error { return unix.Sendmsg(fd, request(hello, "").b, nil, nil, 0) },
			"a long message":    func(fd int) error { return unix.Sendmsg(fd, make([]byte, maxMessage+1), unix.UnixRights(null), nil, 0) },
			"a descriptor more": func(fd int) error {
				return unix.Sendmsg(fd, request(hello, "").b, unix.UnixRights(slices.Concat(many, []int{null})...), nil, 0)
			},
		} {
			before := descriptors(t)
			as(t, daemonUID, func() error {
				conn, err := dial(h.socket)
				if err != nil {
					return err
				}
				defer func() { _ = conn.Close() }()
				fd := int(conn.Fd())
				if err := send(fd); err != nil {
					return err
				}
				if n, err := unix.Read(fd, make([]byte, 16)); n > 0 || err != nil && !errors.Is(err, unix.ECONNRESET) {
					t.Errorf("%s: answered with %d bytes, %v", name, n, err)
				}
				return nil
			})
			h.serves(name)
			if after := descriptors(t); after > before+1 { // the test's own end may just be closed
				t.Errorf("%s: %d descriptors, before %d", name, after, before)
			}
		}
	})

	t.Run("answers", func(t *testing.T) {
		h := h.of(t)
		// The answer goes to nobody but the daemon: else a socket of another program would get it as from root.
		there := h.open + "/there"
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		must(t, err, unix.Bind(fd, &unix.SockaddrUnix{Name: there}), os.Chmod(there, 0o666))
		defer func() { _, _ = unix.Close(fd), os.Remove(there) }()
		as(t, daemonUID, func() error {
			reply, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				return err
			}
			defer func() { _ = unix.Close(reply) }()
			conn, err := dial(h.socket)
			if err != nil {
				return err
			}
			defer func() { _ = conn.Close() }()
			if err := errors.Join(unix.Connect(reply, &unix.SockaddrUnix{Name: there}), unix.Sendmsg(int(conn.Fd()), request(hello, "").b, unix.UnixRights(reply), nil, 0)); err != nil {
				return err
			}
			poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}, {Fd: int32(conn.Fd()), Events: unix.POLLIN}}
			_, err = unix.Poll(poll, 5000)
			if poll[0].Revents != 0 {
				t.Error("another program got an answer of root's")
			}
			return err
		})
	})

	t.Run("peers", func(t *testing.T) {
		h := h.of(t)
		must(t, os.Chmod(h.socket, 0o666))
		var reply [2]int // the daemon's, which lends it
		as(t, daemonUID, func() (err error) {
			reply, err = unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
			return err
		})
		defer closeAll(reply[:])
		for _, uid := range []int{runUID, otherUID, 0} {
			as(t, uid, func() error {
				conn, err := dial(h.socket)
				if err != nil {
					return err
				}
				defer func() { _ = conn.Close() }()
				if err := unix.Sendmsg(int(conn.Fd()), request(hello, "").b, unix.UnixRights(reply[1]), nil, unix.MSG_NOSIGNAL); err != nil && !errors.Is(err, unix.EPIPE) {
					return err
				}
				poll := []unix.PollFd{{Fd: int32(reply[0]), Events: unix.POLLIN}, {Fd: int32(conn.Fd()), Events: unix.POLLIN}}
				if _, err := unix.Poll(poll, 5000); err != nil || poll[0].Revents != 0 || poll[1].Revents == 0 {
					t.Errorf("user %d is served: %+v, %v", uid, poll, err)
				}
				return nil
			})
			h.serves("user " + strconv.Itoa(uid))
		}
	})
}

// Errors of which one is right.
var (
	errLinked  = []error{unix.ELOOP, unix.ENOTDIR}
	errOdd     = []error{unix.ELOOP, fault.Invalid, fault.Denied}
	errAddress = []error{fault.Invalid, fault.Denied}
)

// stale makes the file of a socket at which nobody listens.
func stale(path string) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	return errors.Join(unix.Bind(fd, &unix.SockaddrUnix{Name: path}), unix.Close(fd))
}

func memory(t *testing.T, data []byte) (fd int) {
	t.Helper()
	fd, err := unix.MemfdCreate("specification", unix.MFD_CLOEXEC)
	must(t, err)
	_, err = unix.Write(fd, data)
	must(t, err)
	return fd
}

// descriptors counts those of this process.
func descriptors(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	return len(list)
}
