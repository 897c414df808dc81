package main

import (
	"errors"
	"os"
	"os/exec"
	"testing"

	"activationd/control"
	"activationd/internal/fault"
	"activationd/supervisor/wrapper"
)

// TestLimitsOf reads the limits of a process that has lower ones, and refuses one
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
	own[core] = Rlimit{Unlimited, Unlimited} // whatever this machine has
	lower, err := limitsOf(pid, uid, own)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]wrapper.Limit{}
	for _, l := range lower {
		got[l.Name] = l
	}
	if len(got) != 2 || got["core"].Hard != 0 || got["core"].Soft != 0 || got["nofile"].Hard != 77 {
		t.Errorf("limitsOf = %+v, want core 0 and nofile 77, of %+v", lower, own[nofile])
	}
	if _, err := limitsOf(pid, uid+1, own); !errors.Is(err, fault.Denied) {
		t.Errorf("of another user's process: %v, want denied", err)
	}
	var known limits
	for range 2 { // the second time it is remembered
		if lower, err = known.of(pid, uid); err != nil || len(lower) == 0 {
			t.Errorf("of = %+v, %v", lower, err)
		}
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // read fails
	if _, err := limitsOf(pid, uid, own); !errors.Is(err, fault.Denied) {
		t.Errorf("of a process that has gone: %v, want denied", err)
	}
	if lower, err := limitsOf(0, uid, own); err != nil || lower != nil {
		t.Errorf("of one that cannot be seen: %+v, %v", lower, err)
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
		{"himself", 7, control.Caller{UID: 7, GID: 7}, 7},
		{"another", 7, control.Caller{UID: 8, GID: 8}, -1},
		{"root, to a user's", 7, control.Caller{UID: 0, GID: 0}, 7},
		{"a user who is not there", 0, control.Caller{UID: 64123, GID: 64123}, -1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			id, err := (&identities{uid: tt.daemon}).of(tt.caller)
			switch {
			case tt.want < 0 && !errors.Is(err, fault.Denied):
				t.Errorf("of = %+v, %v, want denied", id, err)
			case tt.want >= 0 && (err != nil || id.UID != tt.want):
				t.Errorf("of = %+v, %v, want %d", id, err, tt.want)
			}
		})
	}
}
