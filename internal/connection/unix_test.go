package connection

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"activationd/internal/fault"
)

// TestDialTrusted connects to sockets of the user's own daemon and of another user's.
func TestDialTrusted(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to listen as another user")
	}
	for uid, want := range map[int]error{0: nil, 64123: fault.Denied} {
		dir, err := os.MkdirTemp("", "dial-")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = os.RemoveAll(dir) }()
		if err := os.Chmod(dir, 0o777); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, "s")
		listening := make(chan net.Listener)
		go func() { // the kernel records the user of the thread that listens; the thread ends with this goroutine
			defer close(listening)
			runtime.LockOSThread()
			if _, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)); errno != 0 {
				t.Error(errno)
				return
			}
			ln, err := net.Listen("unix", path)
			if err != nil {
				t.Error(err)
				return
			}
			listening <- ln
		}()
		ln, ok := <-listening
		if !ok {
			t.FailNow()
		}
		conn, err := dialTrusted(t.Context(), "unix", path)
		if !errors.Is(err, want) || (err == nil) != (want == nil) {
			t.Errorf("a socket of user %d: %v, want %v", uid, err, want)
		}
		if err == nil {
			_ = conn.Close()
		}
		_ = ln.Close()
	}
}

// TestDialDeadline connects to a daemon that accepts nothing, as one that is stopped.
func TestDialDeadline(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Close(fd) }()
	if err := errors.Join(syscall.Bind(fd, &syscall.SockaddrUnix{Name: path}), syscall.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	waiting, err := dialUnix(t.Context(), "unix", path) // the kernel takes one without the daemon
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = waiting.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if conn, err := dialUnix(ctx, "unix", path); !errors.Is(err, syscall.EAGAIN) {
		t.Errorf("dialUnix gives %v and %v, want %v", conn, err, syscall.EAGAIN)
	}
}
