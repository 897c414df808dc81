package main

import (
	"errors"
	"os"
	"os/exec"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"activationd/control"
	"activationd/internal/config"
	"activationd/internal/fault"
	"activationd/supervisor/wrapper"
)

// TestLimitsOf reads the limits of a process that has lower limits, and refuses a process
// that has gone, or is another's.
func TestLimitsOf(t *testing.T) {
	cmd := exec.Command("sh", "-c", "ulimit -c 0; ulimit -n 77; echo; read -r _")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil { // it has them
		t.Fatal(err)
	}
	pid, uid := cmd.Process.Pid, os.Getuid()
	own, err := readLimits(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	const core, nofile = 4, 7
	own[core] = config.Rlimit{Soft: config.Unlimited, Hard: config.Unlimited} // whatever this machine has
	had, err := restraintsOf(pid, uid, own)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]wrapper.Limit{}
	for _, l := range had.limits {
		got[l.Name] = l
	}
	if len(got) != 2 || got["core"].Hard != 0 || got["core"].Soft != 0 || got["nofile"].Hard != 77 {
		t.Errorf("restraintsOf = %+v, want core 0 and nofile 77, of %+v", had, own[nofile])
	}
	if _, err := restraintsOf(pid, uid+1, own); !errors.Is(err, fault.Denied) {
		t.Errorf("of another user's process: %v, want denied", err)
	}
	var known limits
	for range 2 { // the second time it is remembered
		if had, err := known.of(peer{pid, 1}, uid); err != nil || len(had.limits) == 0 || had.noNewPrivs {
			t.Errorf("of = %+v, %v", had, err)
		}
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // read fails
	if _, err := restraintsOf(pid, uid, own); !errors.Is(err, fault.Denied) {
		t.Errorf("of a process that has gone: %v, want denied", err)
	}
	if _, err := known.of(peer{pid, 1}, uid); err != nil {
		t.Errorf("what it asked before it went: %v", err)
	}
	for _, other := range []peer{{pid, 2}, {pid, 0}} {
		if _, err := known.of(other, uid); !errors.Is(err, fault.Denied) {
			t.Errorf("over another connection: %v, want denied", err)
		}
	}
	if had, err := restraintsOf(0, uid, own); err != nil || had.limits != nil || had.noNewPrivs {
		t.Errorf("of one that cannot be seen: %+v, %v", had, err)
	}
}

// TestLimitsOfForeign has a daemon without any rights read the limits of another user's
// process: it needs no right for that.
func TestLimitsOfForeign(t *testing.T) {
	own, err := readLimits(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // forever: the thread ends with the goroutine, and others keep their user
		if os.Getuid() == 0 {
			const nobody = 65534
			if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, nobody, nobody, nobody); errno != 0 {
				done <- errno
				return
			}
		}
		_, err := restraintsOf(1, 0, own) // the first process is root's
		done <- err
	}()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestNoNewPrivsOf has a process submit that cannot gain privileges, and one that can,
// to the user's own daemon and to root's.
func TestNoNewPrivsOf(t *testing.T) {
	for _, bit := range []bool{false, true} {
		cmd := exec.Command("cat")
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		started := make(chan error)
		go func() {
			runtime.LockOSThread() // and it ends with the goroutine: it is not to be used again
			if bit {
				if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
					started <- err
					return
				}
			}
			started <- cmd.Start()
		}()
		if err := <-started; err != nil {
			t.Fatal(err)
		}
		uid, gid := os.Getuid(), os.Getgid()
		id, err := (&identities{uid: uid, switches: uid == 0}).of(control.Caller{UID: uid, GID: gid, PID: cmd.Process.Pid})
		if err != nil || id.NoNewPrivs != bit {
			t.Errorf("of one who has it %v: %+v, %v", bit, id, err)
		}
		if err := errors.Join(in.Close(), cmd.Wait()); err != nil {
			t.Error(err)
		}
	}
}

// TestIdentityOf has callers of every kind submit to daemons of every kind.
func TestIdentityOf(t *testing.T) {
	tests := []struct {
		name   string
		daemon int // its uid
		caller control.Caller
		want   int // -1: denied
	}{
		{"root, to root's", 0, control.Caller{UID: 0, GID: 0}, 0},
		{"nobody known, to root's", 0, control.Caller{UID: -1, GID: -1}, -1},
		{"nobody known, to a user's", 7, control.Caller{UID: -1, GID: -1}, -1},
		{"the same user", 7, control.Caller{UID: 7, GID: 7}, 7},
		{"another", 7, control.Caller{UID: 8, GID: 8}, -1},
		{"root, to a user's", 7, control.Caller{UID: 0, GID: 0}, 7},
		{"a user who is not there", 0, control.Caller{UID: 64123, GID: 64123}, -1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			id, err := (&identities{uid: tt.daemon, switches: tt.daemon == 0}).of(tt.caller)
			switch {
			case tt.want < 0 && !errors.Is(err, fault.Denied):
				t.Errorf("of = %+v, %v, want denied", id, err)
			case tt.want >= 0 && (err != nil || id.UID != tt.want):
				t.Errorf("of = %+v, %v, want %d", id, err, tt.want)
			}
		})
	}
}
