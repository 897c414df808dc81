package bolt_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// An op is a process's operation on its file, or a line that it printed.
type op struct {
	kind opKind
	off  int64 // of a write; the new size of a resize
	data []byte
}

type opKind int

const (
	opWrite  opKind = iota // began
	opResize               // began
	opSync                 // has ended
	opTold                 // is about to write data to its standard output
)

// record runs a command and returns its operations on the file at path, in order. It
// stops the command at each system call, as strace does. So it sees the calls to the
// kernel, and not what a library believes.
func record(t *testing.T, cmd *exec.Cmd, path string) []op {
	t.Helper()
	runtime.LockOSThread() // a tracer is a thread
	defer runtime.UnlockOSThread()
	// Without a context, because it is not waited for in the usual way.
	cmd = &exec.Cmd{Path: cmd.Path, Args: cmd.Args, Env: cmd.Env}
	cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true, Pdeathsig: syscall.SIGKILL}
	cmd.Stderr = os.Stderr // a file, so that no goroutine waits
	if err := cmd.Start(); err != nil {
		if errors.Is(err, unix.EPERM) {
			t.Skipf("cannot trace a process here: %v", err)
		}
		t.Fatal(err)
	}
	leader := cmd.Process.Pid
	defer func() { _ = cmd.Process.Release() }() // waited for below
	tr := &tracer{t: t, path: path}
	for first := true; ; first = false {
		var ws unix.WaitStatus
		// Only children and tracees of this thread: other tests have their own.
		tid, err := unix.Wait4(-1, &ws, unix.WALL|unix.WNOTHREAD, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			t.Fatalf("wait4: %v", err)
		}
		switch {
		case ws.Exited() || ws.Signaled():
			if tid == leader {
				if !ws.Exited() || ws.ExitStatus() != 0 {
					t.Fatalf("the traced process ended with %#x", ws)
				}
				return tr.ops
			}
			continue
		case first:
			err := unix.PtraceSetOptions(tid, unix.PTRACE_O_TRACECLONE|unix.PTRACE_O_TRACESYSGOOD|unix.PTRACE_O_EXITKILL)
			if err != nil {
				t.Fatalf("ptrace: %v", err)
			}
		case ws.StopSignal() == unix.SIGTRAP|0x80:
			tr.stopped(tid)
		}
		sig := ws.StopSignal()
		if sig == unix.SIGTRAP|0x80 || sig == unix.SIGTRAP || sig == unix.SIGSTOP { // ptrace's own
			sig = 0
		}
		if err := unix.PtraceSyscall(tid, int(sig)); err != nil && !errors.Is(err, unix.ESRCH) {
			t.Fatalf("ptrace: %v", err)
		}
	}
}

type tracer struct {
	t       *testing.T
	path    string
	ops     []op
	syncing map[int]bool // threads
}

// stopped looks at a thread that enters or leaves a system call.
func (tr *tracer) stopped(tid int) {
	var b [88]byte // struct ptrace_syscall_info
	_, _, errno := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_GET_SYSCALL_INFO, uintptr(tid), uintptr(len(b)), uintptr(unsafe.Pointer(&b)), 0, 0)
	if errno != 0 {
		tr.t.Fatalf("PTRACE_GET_SYSCALL_INFO: %v", errno)
	}
	word := func(i int) uint64 { return binary.NativeEndian.Uint64(b[24+8*i:]) }
	switch b[0] {
	case unix.PTRACE_SYSCALL_INFO_EXIT:
		if tr.syncing[tid] {
			delete(tr.syncing, tid)
			if word(0) == 0 {
				tr.ops = append(tr.ops, op{kind: opSync})
			}
		}
	case unix.PTRACE_SYSCALL_INFO_ENTRY:
		fd, arg1, arg2, arg3 := int(word(1)), word(2), word(3), word(4)
		switch word(0) {
		case unix.SYS_PWRITE64:
			if tr.ours(tid, fd) {
				tr.ops = append(tr.ops, op{opWrite, int64(arg3), tr.memory(tid, arg1, arg2)})
			}
		case unix.SYS_FTRUNCATE:
			if tr.ours(tid, fd) {
				tr.ops = append(tr.ops, op{kind: opResize, off: int64(arg1)})
			}
		case unix.SYS_FDATASYNC, unix.SYS_FSYNC:
			if tr.ours(tid, fd) {
				if tr.syncing == nil {
					tr.syncing = map[int]bool{}
				}
				tr.syncing[tid] = true
			}
		case unix.SYS_WRITE:
			if fd == 1 {
				tr.ops = append(tr.ops, op{kind: opTold, data: bytes.TrimSpace(tr.memory(tid, arg1, arg2))})
			}
		}
	}
}

func (tr *tracer) ours(tid, fd int) bool {
	name, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", tid, fd))
	if err != nil {
		tr.t.Fatal(err)
	}
	return name == tr.path
}

func (tr *tracer) memory(tid int, addr, n uint64) []byte {
	data := make([]byte, n)
	local := []unix.Iovec{{Base: &data[0]}}
	local[0].SetLen(int(n))
	got, err := unix.ProcessVMReadv(tid, local, []unix.RemoteIovec{{Base: uintptr(addr), Len: int(n)}}, 0)
	if err != nil || got != int(n) {
		tr.t.Fatalf("process_vm_readv: %d of %d bytes, %v", got, n, err)
	}
	return data
}
