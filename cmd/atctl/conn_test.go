package main

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"activationd/internal/fault"
)

// TestDialTrusted asks on sockets of one's own and of another user's daemon.
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
		go func() { // the kernel notes who listens, which is a thread's affair; this one ends with it
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
