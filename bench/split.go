package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// splitUser is the user of a daemon that has a spawner: one that nobody has.
const splitUser = 64_128

// A spawner is activationd-spawn for a daemon that runs as splitUser. What it starts runs as root,
// as it does without a spawner.
type spawner struct {
	dir  string
	cmd  *exec.Cmd
	gone chan struct{}
}

// split starts a spawner for the daemon, and makes the daemon an ordinary user's. The cgroup is a
// descriptor.
func (d *daemon) split(cgroup int, log *os.File) error {
	if d.spawner == nil {
		dir := d.runtime + "-spawn"
		state := filepath.Join(d.dir, "state")
		rules := fmt.Sprintf("daemon: %d\nusers: []\nallow_root: yes\nruns:\n- %s/runs\n- %s/queues/runs\nconfig: %s/config\n", splitUser, state, d.runtime, dir)
		if err := errors.Join(os.Mkdir(dir, 0o755), os.WriteFile(dir+"/rules", []byte(rules), 0o600), //nolint:gosec // others connect to the socket
			os.MkdirAll(state, 0o711), os.Chmod(d.b.dir, 0o711), os.Chmod(d.dir, 0o755)); err != nil { //nolint:gosec // another user's daemon
			return err
		}
		for _, own := range []string{state, d.runtime, filepath.Join(d.dir, "c.yaml")} {
			if err := os.Chown(own, splitUser, splitUser); err != nil {
				return err
			}
		}
		s := &spawner{dir: dir, gone: make(chan struct{})}
		s.cmd = exec.Command(filepath.Join(d.b.bin, "activationd-spawn"), "--rules", dir+"/rules", "--socket", dir+"/socket")
		s.cmd.Stderr = log
		s.cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: cgroup}
		if err := s.cmd.Start(); err != nil {
			return err
		}
		go func() {
			_ = s.cmd.Wait()
			close(s.gone)
		}()
		d.spawner = s
	}
	d.cmd.Args = append(d.cmd.Args, "--spawn", d.spawner.dir+"/socket")
	d.cmd.SysProcAttr.Credential = &syscall.Credential{Uid: splitUser, Gid: splitUser}
	return nil
}

// end ends the spawner, after its daemon.
func (s *spawner) end() {
	_ = s.cmd.Process.Kill()
	<-s.gone
	_ = os.RemoveAll(s.dir)
}
