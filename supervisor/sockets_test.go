package supervisor_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"activationd/internal/fault"
	"activationd/supervisor"
	"activationd/supervisor/wrapper"
)

// freeAddress is an address at which nobody listens.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	conn, err := l.(*net.TCPListener).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	err = conn.Control(func(fd uintptr) { _ = unix.Shutdown(int(fd), unix.SHUT_RDWR) }) // a process that is just being started has it, too
	if err != nil {
		t.Fatal(err)
	}
	return l.Addr().String()
}

// addresses are two at which nobody listens, of TCP and of a Unix socket.
func addresses(t *testing.T) []string {
	t.Helper()
	return []string{freeAddress(t), filepath.Join(t.TempDir(), "s")}
}

func network(address string) string {
	if strings.HasPrefix(address, "/") {
		return "unix"
	}
	return "tcp"
}

// ask connects, and returns what the server says.
func ask(t *testing.T, address string) string {
	t.Helper()
	c, err := net.DialTimeout(network(address), address, hang)
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

// deadSocket makes the file of a socket at which nobody listens.
func deadSocket(t *testing.T, path string) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		err = errors.Join(unix.Bind(fd, &unix.SockaddrUnix{Name: path}), unix.Close(fd))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// refused checks that nobody listens at an address, and that a Unix socket's file is gone.
func refused(t *testing.T, address string) {
	t.Helper()
	want := error(syscall.ECONNREFUSED)
	if network(address) == "unix" {
		want = fs.ErrNotExist
	}
	c, err := net.Dial(network(address), address)
	if err == nil {
		_ = c.Close()
	}
	if !errors.Is(err, want) {
		t.Errorf("a connection to %s: %v, want %v", address, err, want)
	}
}

// closeSockets closes the sockets that nobody needs.
func (b *bench) closeSockets(needed ...string) {
	b.t.Helper()
	if _, err := b.CloseSockets(func() ([]string, []string, error) { return needed, nil, nil }); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) pid(k supervisor.Key) (pid int) {
	b.t.Helper()
	b.await("the start", func() (ok bool) { pid, _, ok = b.Started(k); return ok && pid > 0 })
	return pid
}

// listening are the names of sockets.
var listening = []string{"web", "admin"}

// A script has the sockets as descriptors 3 and 4, and nothing else of the wrapper's. They are
// plain sockets that block; the file of a Unix socket belongs to the script's user.
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
				spec := shell(`echo $LISTEN_FDS $LISTEN_FDNAMES $((LISTEN_PID - $$)); find /proc/$$/fd -type l ! -name '[012]' -printf '%f %l\n'`)
				spec.Env = append(spec.Env, "LISTEN_FDS=9", "LISTEN_PID=1", "LISTEN_FDNAMES=x")
				spec.UID, spec.GID, spec.Listen, spec.Addresses = uid, uid, listening, addresses(t)
				if err := b.Start(key, spec); err != nil {
					t.Fatal(err)
				}
				info, err := os.Stat(spec.Addresses[1])
				if err != nil {
					t.Fatal(err)
				}
				if st := info.Sys().(*syscall.Stat_t); info.Mode() != fs.ModeSocket|0o660 || int(st.Uid) != max(uid, 0) || int(st.Gid) != max(uid, 0) {
					t.Errorf("the file of the Unix socket is %v of %d:%d", info.Mode(), st.Uid, st.Gid)
				}
				if r := b.exit(); r.Exit != 0 || r.Text != "" {
					t.Errorf("result = %+v", r)
				}
				want := "2 web:admin 0\n"
				for i, fd := range b.SocketsOf(spec.Addresses) {
					var st unix.Stat_t
					if err := unix.Fstat(fd, &st); err != nil {
						t.Fatal(err)
					}
					if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0); err != nil || flags&unix.O_NONBLOCK != 0 {
						t.Errorf("flags %x, %v, want a socket that blocks", flags, err)
					}
					if protocol, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PROTOCOL); err != nil || protocol == unix.IPPROTO_MPTCP {
						t.Errorf("protocol %d, %v, want a plain socket", protocol, err)
					}
					want += fmt.Sprintf("%d socket:[%d]\n", 3+i, st.Ino)
				}
				if got := b.file("log"); got != want {
					t.Errorf("log:\n%s\nwant\n%s", got, want)
				}
				b.closeSockets()
				for _, a := range spec.Addresses {
					refused(t, a)
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
			spec.Listen, spec.Addresses = listening, addresses(t)
			if err := b.Start(key, spec); err != nil {
				t.Fatal(err)
			}
			answered := func(by int) {
				t.Helper()
				for i, a := range spec.Addresses {
					if got, want := ask(t, a), listening[i]+" "+itoa(by); got != want {
						t.Errorf("%v says %q, want %q", a, got, want)
					}
				}
			}
			answered(b.pid(key))
			b.closeSockets(spec.Addresses...)
			b.Close()
			answered(b.pid(key))
			b.open()
			if f, err := b.Adopt(key); err != nil || f.State != supervisor.Running {
				t.Fatalf("Adopt = %+v, %v", f, err)
			}
			b.closeSockets(spec.Addresses...)
			if err := b.Stop(key); err != nil {
				t.Fatal(err)
			}
			b.exit()
			b.closeSockets(spec.Addresses...)
			late, err := net.Dial("tcp", spec.Addresses[0]) // nobody accepts now
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = late.Close() }()
			next := key
			next.N++
			if err := b.Start(next, spec); err != nil {
				t.Fatal(err)
			}
			pid := b.pid(next)
			if got, err := io.ReadAll(late); err != nil || strings.TrimSpace(string(got)) != "web "+itoa(pid) {
				t.Errorf("the connection in between got %q, %v, want %q", got, err, "web "+itoa(pid))
			}
			answered(pid)
			if err := b.Stop(next); err != nil {
				t.Fatal(err)
			}
			<-b.Exits()
			b.closeSockets()
			for _, a := range spec.Addresses {
				refused(t, a)
			}
		})
	}
}

// Runs at one address share its socket, which is open until none of them needs it.
func TestSharedSocket(t *testing.T) {
	t.Parallel()
	b := newBench(t, "")
	spec := shell(`exec "$GUEST" accept`)
	spec.Listen, spec.Addresses = listening, addresses(t)
	second := key
	second.N++
	for _, k := range []supervisor.Key{key, second} {
		if err := b.Start(k, spec); err != nil {
			t.Fatal(err)
		}
		b.pid(k)
	}
	if err := b.Stop(key); err != nil {
		t.Fatal(err)
	}
	<-b.Exits()
	b.closeSockets(spec.Addresses...)
	for i, a := range spec.Addresses {
		if got, want := ask(t, a), listening[i]+" "+itoa(b.pid(second)); got != want {
			t.Errorf("%v says %q, want %q", a, got, want)
		}
	}
	if err := b.Stop(second); err != nil {
		t.Fatal(err)
	}
	<-b.Exits()
	b.closeSockets()
	for _, a := range spec.Addresses {
		refused(t, a)
	}
}

// A socket that nobody needs any more is closed for all who have it.
func TestClosedForAll(t *testing.T) {
	t.Parallel()
	b := newBench(t, "")
	spec := shell(`exec "$GUEST" accept`)
	spec.Listen, spec.Addresses = listening, addresses(t)
	if err := b.Start(key, spec); err != nil {
		t.Fatal(err)
	}
	b.pid(key)
	b.closeSockets()
	for _, a := range spec.Addresses {
		refused(t, a)
	}
	if err := b.Stop(key); err != nil {
		t.Fatal(err)
	}
	<-b.Exits()
}

// If a socket cannot be opened, the error says why, and nothing of the run is left.
func TestSocketsRefuses(t *testing.T) {
	t.Parallel()
	b := newBench(t, "")
	dir := t.TempDir()
	file, dead, live := filepath.Join(dir, "file"), filepath.Join(dir, "dead"), filepath.Join(dir, "live")
	if err := os.WriteFile(file, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	used, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = used.Close() }()
	deadSocket(t, dead)
	l, err := net.Listen("unix", live)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	for _, tt := range []struct {
		name, address string
		kind          fault.Kind
		says          string
	}{
		{"a used port", used.Addr().String(), fault.Conflict, "ss -ltnp sport = :"},
		{"not an address of this machine", "192.0.2.1:80", fault.Unavailable, "does not have that address"},
		{"no interface", "[fe80::1%nosuch0]:80", fault.Unavailable, "no network interface"},
		{"a file", file, fault.Conflict, "is not a Unix socket"},
		{"a used Unix socket", live, fault.Conflict, "another program listens there"},
		{"no directory", filepath.Join(dir, "none", "s"), fault.NotFound, "make the directory " + filepath.Join(dir, "none")},
		{"no directory at all", filepath.Join(file, "s"), fault.NotFound, "make the directory"},
	} {
		spec := shell("true")
		spec.Listen, spec.Addresses = []string{"free", "web"}, []string{freeAddress(t), tt.address}
		err := b.Start(key, spec)
		if !errors.Is(err, tt.kind) || !strings.Contains(err.Error(), tt.says) || !strings.Contains(err.Error(), tt.address) {
			t.Errorf("%s: %v, want %s: %s", tt.name, err, tt.kind, tt.says)
		}
		if _, err := os.Stat(b.RunDir(key)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: the run's directory: %v", tt.name, err)
		}
		refused(t, spec.Addresses[0])
	}
	spec := shell(`exec "$GUEST" accept`)
	spec.Listen, spec.Addresses = []string{"web"}, []string{dead} // nobody listens there any more
	if err := b.Start(key, spec); err != nil {
		t.Fatal(err)
	}
	if got, want := ask(t, dead), "web "+itoa(b.pid(key)); got != want {
		t.Errorf("%s says %q, want %q", dead, got, want)
	}
	b.finish()
	if data, err := os.ReadFile(file); err != nil || string(data) != "mine" {
		t.Errorf("the file that was in the way: %q, %v", data, err)
	}
	spec.Listen = append(spec.Listen, "more")
	if err := b.Start(key, spec); !errors.Is(err, fault.Invalid) {
		t.Errorf("more names than addresses: %v", err)
	}
}

// A service whose user was changed gets a new Unix socket in place of the old one. A run that
// has the old one can still answer the connections that wait there.
func TestSocketOfAnotherUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	t.Parallel()
	b := newBench(t, "")
	spec := shell(`exec sleep 600`)
	spec.Listen, spec.Addresses = listening[:1], addresses(t)[1:]
	owner := func() int {
		info, err := os.Stat(spec.Addresses[0])
		if err != nil {
			t.Fatal(err)
		}
		return int(info.Sys().(*syscall.Stat_t).Uid)
	}
	if err := b.Start(key, spec); err != nil {
		t.Fatal(err)
	}
	if owner() != 0 {
		t.Errorf("the owner is %d", owner())
	}
	second := key
	second.N++
	spec.UID, spec.GID = runUID, runUID
	if err := b.Start(second, spec); err != nil {
		t.Fatal(err)
	}
	if owner() != runUID {
		t.Errorf("the owner is %d, want %d", owner(), runUID)
	}
	for _, k := range []supervisor.Key{key, second} {
		b.pid(k)
		if err := b.Stop(k); err != nil {
			t.Fatal(err)
		}
		<-b.Exits()
	}
}

// The daemon does nothing for a user in a directory into which the user has led it by a link.
func TestSocketBehindALink(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	t.Parallel()
	b := newBench(t, "")
	dir := t.TempDir()
	users, roots := filepath.Join(dir, "users"), filepath.Join(dir, "roots")
	for _, err := range []error{os.Chmod(filepath.Dir(dir), 0o711), os.Mkdir(users, 0o700), os.Chown(users, runUID, runUID), os.Mkdir(roots, 0o755), os.Symlink(roots, filepath.Join(users, "link"))} {
		if err != nil {
			t.Fatal(err)
		}
	}
	deadSocket(t, filepath.Join(roots, "dead"))
	start := func(path string) error {
		k, spec := key, shell("exec sleep 600")
		k.N = len(path)
		spec.UID, spec.GID, spec.Listen, spec.Addresses = runUID, runUID, listening[:1], []string{path}
		err := b.Start(k, spec)
		if err == nil {
			b.pid(k)
			if err := b.Stop(k); err != nil {
				t.Fatal(err)
			}
			<-b.Exits()
		}
		return err
	}
	for _, path := range []string{filepath.Join(users, "s"), filepath.Join(roots, "socket")} {
		if err := start(path); err != nil {
			t.Error(err)
		}
		b.closeSockets()
		refused(t, path)
	}
	for _, name := range []string{"new", "dead"} {
		if err := start(filepath.Join(users, "link", name)); !errors.Is(err, fault.Denied) {
			t.Errorf("%s, behind a link: %v", name, err)
		}
	}
	noted := filepath.Join(users, "link", "dead")
	closed, err := b.CloseSockets(func() ([]string, []string, error) { return nil, []string{noted}, nil })
	if !errors.Is(err, fault.Denied) || len(closed) != 1 { // it is not tried again and again
		t.Errorf("removing a socket of root's behind a link: closed %v, %v", closed, err)
	}
	if files, err := os.ReadDir(roots); err != nil || len(files) != 1 {
		t.Errorf("in root's directory there are %v, %v", files, err)
	}
}

func TestCheckAddress(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ address, says string }{
		{"127.0.0.1:80", ""}, {"0.0.0.0:65535", ""}, {"[::1]:80", ""}, {"[::]:80", ""}, {":80", ""}, {"localhost:80", ""}, {"[fe80::1%eth0]:80", ""},
		{"/run/web.sock", ""}, {"/" + strings.Repeat("x", 106), ""},
		{"80", "HOST:PORT"}, {"", "HOST:PORT"}, {"web.sock", "HOST:PORT"}, {"@abstract", "HOST:PORT"}, {"::1:80", "HOST:PORT"},
		{"127.0.0.1:0", "1 to 65535"}, {"127.0.0.1:65536", "1 to 65535"}, {"127.0.0.1:http", "1 to 65535"}, {"127.0.0.1:080", "1 to 65535"}, {"127.0.0.1:", "1 to 65535"},
		{"www.example.org:80", "IP address"}, {"*:80", "IP address"}, {"127.1:80", "IP address"},
		{"/run/../web.sock", "without"}, {"/run/web/", "without"}, {"/", "without"}, {"/run//web", "without"}, {"/" + strings.Repeat("x", 107), "107 bytes"}, {"/run/\x00", "zero byte"},
	} {
		err := supervisor.CheckAddress(tt.address)
		if (err == nil) != (tt.says == "") || err != nil && (!errors.Is(err, fault.Invalid) || !strings.Contains(err.Error(), tt.says)) {
			t.Errorf("%q: %v, want %q", tt.address, err, tt.says)
		}
	}
}

// Each way to write an address listens at what it means, and nowhere else.
func TestListensAt(t *testing.T) {
	t.Parallel()
	if l, err := net.Listen("tcp6", "[::1]:0"); err != nil {
		t.Skipf("no IPv6 here: %v", err)
	} else {
		_ = l.Close()
	}
	b := newBench(t, "")
	_, port, _ := net.SplitHostPort(freeAddress(t))
	for n, tt := range []struct {
		host     string
		answered []string
	}{
		{"127.0.0.1", []string{"127.0.0.1"}}, {"localhost", []string{"127.0.0.1"}}, {"[::ffff:127.0.0.2]", []string{"127.0.0.2"}}, {"[::1]", []string{"::1"}},
		{"0.0.0.0", []string{"127.0.0.1", "127.0.0.2"}}, {"[::]", []string{"127.0.0.1", "127.0.0.2", "::1"}}, {"", []string{"127.0.0.1", "127.0.0.2", "::1"}},
	} {
		k := key
		k.N = 100 + n
		spec := shell("exec sleep 600")
		spec.Listen, spec.Addresses = listening[:1], []string{tt.host + ":" + port}
		if err := b.Start(k, spec); err != nil {
			t.Fatal(err)
		}
		for _, host := range []string{"127.0.0.1", "127.0.0.2", "::1"} {
			c, err := net.Dial("tcp", net.JoinHostPort(host, port))
			if err == nil {
				_ = c.Close()
			}
			if (err == nil) != slices.Contains(tt.answered, host) {
				t.Errorf("%s: a connection to %s: %v", spec.Addresses[0], host, err)
			}
		}
		b.pid(k)
		if err := b.Stop(k); err != nil {
			t.Fatal(err)
		}
		if x := <-b.Exits(); x.Result.Reason != wrapper.Stopped {
			t.Errorf("%+v", x)
		}
		b.closeSockets()
	}
}
