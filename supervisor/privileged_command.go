package supervisor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"activationd/supervisor/wrapper"
)

// Command runs a short command with the user, the directory and the environment of a
// specification, without a wrapper: nobody needs to know after a crash how it ended. It returns
// nil if the command exited with status 0. The command has a process group of its own, which is
// killed when ctx ends and when the command has ended. What an earlier daemon left of its commands
// when it was killed is killed before the first command.
func (s *Supervisor) Command(ctx context.Context, spec *wrapper.Spec) error {
	return s.privileged.Command(ctx, spec)
}

// commandOutput bounds how much of the output of a command is kept.
const commandOutput = 4 << 10

// Command implements [Privileged].
func (p *direct) Command(ctx context.Context, spec *wrapper.Spec) error {
	mark := wrapper.MarkVar + "=command of " + p.config.RunsDir
	p.sweep.Do(func() { killMarked(mark) })
	out := &tail{most: commandOutput}
	cmd := exec.CommandContext(ctx, wrapper.Find(spec.Argv[0], spec.Env), spec.Argv[1:]...) //nolint:gosec // the administrator's configuration names it
	cmd.Args[0] = spec.Argv[0]
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = spec.Dir, append(slices.Clone(spec.Env), mark), out, out
	if cmd.Dir == "" {
		cmd.Dir = "/"
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if spec.UID >= 0 && os.Geteuid() == 0 {
		c := &syscall.Credential{Uid: uint32(spec.UID), Gid: uint32(spec.GID)}
		for _, g := range spec.Groups {
			c.Groups = append(c.Groups, uint32(g))
		}
		cmd.SysProcAttr.Credential = c
	}
	kill := func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.Cancel = kill
	cmd.WaitDelay = time.Second // for its children, which may keep its output open
	if err := cmd.Start(); err != nil {
		return err
	}
	err := cmd.Wait()
	_ = kill() // what it left in its group
	var exit *exec.ExitError
	switch said := out.last(); {
	case err == nil, errors.Is(err, exec.ErrWaitDelay):
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.As(err, &exit) && said != "":
		return fmt.Errorf("%w: %s", err, said)
	}
	return err
}

// killMarked kills the processes that have a variable in their environment.
func killMarked(variable string) {
	for _, pid := range wrapper.Processes() {
		p, ok := wrapper.Stat(pid) // before its environment is read, so that it is not another process
		if ok && strings.Contains(wrapper.Environ(pid), "\x00"+variable+"\x00") {
			signal(p, syscall.SIGKILL)
		}
	}
}

// A tail keeps the end of what is written.
type tail struct {
	bytes.Buffer
	most int
}

func (t *tail) Write(p []byte) (int, error) {
	n, err := t.Buffer.Write(p)
	if more := t.Len() - t.most; more > 0 {
		t.Next(more)
	}
	return n, err
}

// last is the last line that is not empty.
func (t *tail) last() string {
	lines := strings.Split(strings.TrimSpace(strings.ToValidUTF8(t.String(), "?")), "\n")
	return lines[len(lines)-1]
}
