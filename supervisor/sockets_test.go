package supervisor_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"activationd/internal/fault"
	"activationd/supervisor"
	"activationd/supervisor/wrapper"
)

// sockets makes a TCP and a Unix socket, and returns them with their addresses.
func sockets(t *testing.T) (files []*os.File, addrs []net.Addr) {
	t.Helper()
	for _, to := range [][2]string{{"tcp", "127.0.0.1:0"}, {"unix", filepath.Join(t.TempDir(), "s")}} {
		l, err := net.Listen(to[0], to[1])
		if err != nil {
			t.Fatal(err)
		}
		if l, ok := l.(*net.UnixListener); ok {
			l.SetUnlinkOnClose(false)
		}
		f, err := l.(interface{ File() (*os.File, error) }).File()
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		files, addrs = append(files, f), append(addrs, l.Addr())
	}
	return files, addrs
}

func closeFiles(t *testing.T, files []*os.File) {
	t.Helper()
	for _, f := range files {
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// ask connects, and returns what the server says.
func ask(t *testing.T, to net.Addr) string {
	t.Helper()
	c, err := net.DialTimeout(to.Network(), to.String(), hang)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(hang))
	said, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(said))
}

func (b *bench) pid(k supervisor.Key) (pid int) {
	b.t.Helper()
	b.await("the start", func() (ok bool) { pid, _, ok = b.Started(k); return ok && pid > 0 })
	return pid
}

var listening = []string{"web", "admin"}

// A script has the sockets as descriptors 3 and 4, and nothing else of the wrapper's.
func TestPassedSockets(t *testing.T) {
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
				files, _ := sockets(t)
				defer closeFiles(t, files)
				spec := shell(`echo $LISTEN_FDS $LISTEN_FDNAMES $((LISTEN_PID - $$)); find /proc/$$/fd -type l ! -name '[012]' -printf '%f %l\n'`)
				spec.Env = append(spec.Env, "LISTEN_FDS=9", "LISTEN_PID=1", "LISTEN_FDNAMES=x")
				spec.UID, spec.GID, spec.Listen = uid, uid, listening
				if err := b.StartListening(key, spec, files); err != nil {
					t.Fatal(err)
				}
				if r := b.exit(); r.Exit != 0 || r.Text != "" {
					t.Errorf("result = %+v", r)
				}
				want := "2 web:admin 0\n"
				for fd, f := range files {
					var st unix.Stat_t
					if err := unix.Fstat(int(f.Fd()), &st); err != nil {
						t.Fatal(err)
					}
					want += fmt.Sprintf("%d socket:[%d]\n", 3+fd, st.Ino)
				}
				if got := b.file("log"); got != want {
					t.Errorf("log:\n%s\nwant\n%s", got, want)
				}
				b.nothingLeft()
			})
		}
	}
}

// The sockets of a run outlive the daemon: another daemon gets them back from the wrapper
// and gives them to the next run. At no moment is a connection refused.
func TestSocketsOutliveTheDaemon(t *testing.T) {
	t.Parallel()
	for _, guard := range guards(t) {
		t.Run(guard, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, guard)
			spec := shell(`exec "$GUEST" accept`)
			spec.Listen = listening
			files, addrs := sockets(t)
			if err := b.StartListening(key, spec, files); err != nil {
				t.Fatal(err)
			}
			closeFiles(t, files) // as a daemon's end does
			answered := func(by int) {
				t.Helper()
				for i, addr := range addrs {
					if got, want := ask(t, addr), listening[i]+" "+itoa(by); got != want {
						t.Errorf("%v says %q, want %q", addr, got, want)
					}
				}
			}
			answered(b.pid(key))
			b.Close()
			answered(b.pid(key))
			b.open()
			if f, err := b.Adopt(key); err != nil || f.State != supervisor.Running {
				t.Fatalf("Adopt = %+v, %v", f, err)
			}
			got, err := b.Listeners(key)
			if err != nil || len(got) != 2 || got[0].Name() != "web" || got[1].Name() != "admin" {
				t.Fatalf("Listeners = %v, %v", got, err)
			}
			if err := b.Stop(key); err != nil {
				t.Fatal(err)
			}
			b.exit()
			late := make(chan string) // it connects while nobody accepts
			go func() { late <- ask(t, addrs[0]) }()
			next := key
			next.N++
			if err := b.StartListening(next, spec, got); err != nil {
				t.Fatal(err)
			}
			closeFiles(t, got)
			pid := b.pid(next)
			if got, want := <-late, "web "+itoa(pid); got != want {
				t.Errorf("the connection in between got %q, want %q", got, want)
			}
			answered(pid)
			if _, err := b.Listeners(key); !errors.Is(err, fault.NotFound) {
				t.Errorf("Listeners of a run that has ended: %v", err)
			}
			if err := b.Stop(next); err != nil {
				t.Fatal(err)
			}
			<-b.Exits()
		})
	}
}

// A socket's O_NONBLOCK belongs to all who share it, and starting a run changes it for none.
func TestSocketKeepsItsFlags(t *testing.T) {
	t.Parallel()
	b := newBench(t, "")
	files, _ := sockets(t)
	defer closeFiles(t, files)
	flags := func() (set int) {
		conn, err := files[0].SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.Control(func(fd uintptr) { set, err = unix.FcntlInt(fd, unix.F_GETFL, 0) })
		if err != nil {
			t.Fatal(err)
		}
		return set
	}
	if flags()&unix.O_NONBLOCK == 0 {
		t.Fatal("package net made a socket that blocks")
	}
	spec := shell(`exec sleep 600`)
	spec.Listen = listening
	if err := b.StartListening(key, spec, files); err != nil {
		t.Fatal(err)
	}
	got, err := b.Listeners(key)
	if err != nil {
		t.Fatal(err)
	}
	closeFiles(t, got)
	if flags()&unix.O_NONBLOCK == 0 {
		t.Error("the socket lost O_NONBLOCK")
	}
	b.finish()
}

func TestSocketsRefuses(t *testing.T) {
	t.Parallel()
	b := newBench(t, "")
	files, _ := sockets(t)
	defer closeFiles(t, files)
	for _, tt := range []struct {
		name   string
		listen []string
		files  []*os.File
	}{
		{"too few sockets", listening, files[:1]}, {"too few names", listening[:1], files},
		{"none", listening, nil}, {"a bad name", []string{"a:b", "c"}, files},
	} {
		spec := shell("true")
		spec.Listen = tt.listen
		if err := b.StartListening(key, spec, tt.files); !errors.Is(err, fault.Invalid) {
			t.Errorf("%s: %v, want invalid", tt.name, err)
		}
	}
	if _, err := b.Listeners(key); !errors.Is(err, fault.NotFound) {
		t.Errorf("Listeners of no run: %v", err)
	}
	b.start(shell("exec sleep 600"))
	if got, err := b.Listeners(key); err != nil || len(got) > 0 {
		t.Errorf("Listeners of a run without = %v, %v", got, err)
	}
	if r := b.finish(); r.Reason != wrapper.Stopped && r.Reason != wrapper.Disarmed {
		t.Errorf("result = %+v", r)
	}
}
