package supervisor_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// refuseVar makes this test program refuse itself the system calls of that name in refusals, unless it is in an
// emulator, which refuses some itself.
const refuseVar = "SUPERVISOR_TEST_REFUSE"

// A refusal is a system call that fails if some bits of its first argument have a value.
type refusal struct {
	nr          uintptr
	mask, value uint32
	errno       unix.Errno
}

const pPidfd = 3 // P_PIDFD

// Emulators of other machines return no pidfd for a new process, and let none inherit orphans. Kernels before 5.3 have none at all, as some sandboxes.
var refusals = map[string][]refusal{
	"new": {
		{unix.SYS_CLONE, unix.CLONE_PIDFD, unix.CLONE_PIDFD, unix.EINVAL},
		{unix.SYS_CLONE3, 0, 0, unix.ENOSYS},
		{unix.SYS_PRCTL, ^uint32(0), unix.PR_SET_CHILD_SUBREAPER, unix.EINVAL},
		{unix.SYS_PRCTL, ^uint32(0), unix.PR_GET_CHILD_SUBREAPER, unix.EINVAL},
	},
	"all": {
		{unix.SYS_CLONE, unix.CLONE_PIDFD, unix.CLONE_PIDFD, unix.EINVAL},
		{unix.SYS_CLONE3, 0, 0, unix.ENOSYS},
		{unix.SYS_PIDFD_OPEN, 0, 0, unix.ENOSYS},
		{unix.SYS_PIDFD_SEND_SIGNAL, 0, 0, unix.ENOSYS},
		{unix.SYS_PIDFD_GETFD, 0, 0, unix.ENOSYS},
		{unix.SYS_CLOSE_RANGE, 0, 0, unix.ENOSYS},
		{unix.SYS_WAITID, ^uint32(0), pPidfd, unix.EINVAL},
	},
}

// refuse makes the kernel refuse system calls to this process and to those that it starts, for good.
func refuse(calls []refusal) error {
	const nr, argument = 0, 16 // in struct seccomp_data; the low half of the first argument
	var filter []unix.SockFilter
	for _, r := range calls {
		filter = append(filter,
			unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: nr},
			unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: uint32(r.nr), Jf: 4},
			unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: argument},
			unix.SockFilter{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: r.mask},
			unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: r.value, Jf: 1},
			unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(r.errno)})
	}
	filter = append(filter, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW})
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog)))
	runtime.KeepAlive(filter)
	if errno != 0 {
		return errno
	}
	return nil
}

// What matters most works without pidfds, too: starts, ends, stops, kills, and the restart of the daemon meanwhile.
func TestWithoutPidfds(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, tests := range map[string][]string{
		"new": testsInEmulator,
		"all": {"ExitSignal", "CannotStart", "KilledWrapper", "RunOutlivesTheDaemon", "AdoptedRunIsStopped", "ResultIsCollected",
			"Disarm", "StoppedWrapper", "Leftovers", "Keep", "GraceIsTheGroups"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			passes(t, tests, []string{refuseVar + "=" + name, programsVar + "=" + filepath.Dir(atwrap)}, self)
		})
	}
}

// testsInEmulator are tests that hold where nobody inherits orphans.
var testsInEmulator = []string{"ExitSignal", "CannotStart", "Trees", "KilledWrapper", "Keep"}

// passes checks that a test program passes some of its tests.
func passes(t *testing.T, tests, env []string, program ...string) {
	t.Helper()
	// A process without the run's mark in a session of its own is not found if nobody inherits it.
	program = append(program, "-test.v", "-test.parallel=4", "-test.run=^Test("+strings.Join(tests, "|")+")$", "-test.skip=TestTrees/subreaper/.*/without_an_environment")
	cmd := exec.CommandContext(t.Context(), program[0], program[1:]...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if strings.HasPrefix(string(out), refuseVar) {
		t.Skipf("no seccomp filters here: %s", out)
	}
	if n := strings.Count(string(out), "\n--- PASS: "); err != nil || n < len(tests) {
		t.Errorf("%v, %d of %d passed:\n%s", err, n, len(tests), out)
	}
}
