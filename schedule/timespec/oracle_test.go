package timespec_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The oracle is the real at(1). It gets a now of our choosing from a preloaded
// time(), so what is run is a copy that is not setuid, which takes root; and it
// writes its jobs to a spool that is mounted in a mount namespace of the
// oracle's own, where they are read, which tells the instant beyond doubt, and
// removed. The machine's own spool and daemon see nothing of it.

const oracleArg = "be-the-oracle"

// atQuestion is one run of at.
type atQuestion struct {
	Now  int64
	Zone string
	Args []string
}

// atAnswer is what came of it.
type atAnswer struct {
	OK     bool
	At     int64 // the instant, to the minute
	Stderr string
	Broken string // why the oracle itself failed
}

func (a atAnswer) String() string {
	if !a.OK {
		return "refused: " + strings.Join(strings.Fields(a.Stderr), " ")
	}
	return time.Unix(a.At, 0).UTC().Format("2006-01-02 15:04 UTC")
}

func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[1] == oracleArg {
		if err := beOracle(os.Args[2], os.Args[3]); err != nil {
			fmt.Fprintln(os.Stderr, "oracle:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

const timeC = `#include <stdlib.h>
#include <time.h>
time_t time(time_t *t)
{
	time_t now = atoll(getenv("NOW"));
	if (t)
		*t = now;
	return now;
}
`

// An oracle answers questions.
type oracle struct {
	in  *json.Encoder
	out *json.Decoder
}

// newOracle starts one, or skips the test.
func newOracle(t *testing.T) *oracle {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root, to run at with a spool of its own")
	}
	const program = "/usr/bin/at" // what comes first in PATH may be ours
	for _, program := range []string{program, "gcc"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("needs %s installed: apt-get install %s", program, filepath.Base(program))
		}
	}
	dir := t.TempDir()
	binary, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	at := filepath.Join(dir, "at")
	if err := os.WriteFile(at, binary, 0o700); err != nil {
		t.Fatal(err)
	}
	version, _ := exec.CommandContext(t.Context(), at, "-V").CombinedOutput()
	line, _, _ := strings.Cut(string(version), "\n")
	if !strings.HasPrefix(line, "at version 3.2.") {
		t.Skipf("needs at 3.2; this is %q", line)
	}
	t.Log(line)
	source, lib := filepath.Join(dir, "time.c"), filepath.Join(dir, "time.so")
	if err := os.WriteFile(source, []byte(timeC), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "gcc", "-shared", "-fPIC", "-o", lib, source).CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v\n%s", err, out)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], oracleArg, at, lib)
	cmd.Stderr = t.Output()
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); errors.Is(err, syscall.EPERM) {
		t.Skip("needs the right to make a mount namespace")
	} else if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = stdin.Close()
		if err := cmd.Wait(); err != nil && t.Context().Err() == nil {
			t.Errorf("oracle: %v", err)
		}
	})
	return &oracle{json.NewEncoder(stdin), json.NewDecoder(bufio.NewReader(stdout))}
}

// ask runs at with what is in question.
func (o *oracle) ask(t *testing.T, q atQuestion) atAnswer {
	t.Helper()
	if err := o.in.Encode(q); err != nil {
		t.Fatalf("oracle: %v", err)
	}
	var a atAnswer
	if err := o.out.Decode(&a); err != nil {
		t.Fatalf("oracle: %v", err)
	}
	if a.Broken != "" {
		t.Fatalf("oracle: %v: %s", q, a.Broken)
	}
	return a
}

const spool = "/var/spool/cron/atjobs"

// beOracle answers questions from standard input until it ends.
func beOracle(at, lib string) error {
	if err := syscall.Mount("none", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("mount / private: %w", err)
	}
	if err := syscall.Mount("oracle", spool, "tmpfs", 0, "mode=700"); err != nil {
		return fmt.Errorf("mount tmpfs on %s: %w", spool, err)
	}
	const pidFile = "/run/atd.pid" // at would send a signal to that one
	if _, err := os.Stat(pidFile); err == nil {
		if err := syscall.Mount("/dev/null", pidFile, "", syscall.MS_BIND, ""); err != nil {
			return fmt.Errorf("hide %s: %w", pidFile, err)
		}
	}
	if err := os.WriteFile(filepath.Join(spool, ".SEQ"), []byte("00001\n"), 0o600); err != nil {
		return err
	}
	in, out := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	for {
		var q atQuestion
		if err := in.Decode(&q); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		a, err := runAt(at, lib, q)
		if err != nil {
			a.Broken = err.Error()
		}
		if err := out.Encode(a); err != nil {
			return err
		}
	}
}

func runAt(at, lib string, q atQuestion) (atAnswer, error) {
	var a atAnswer
	var stderr bytes.Buffer
	cmd := exec.Command(at, q.Args...)
	cmd.Env = []string{"LD_PRELOAD=" + lib, "TZ=" + q.Zone, fmt.Sprintf("NOW=%d", q.Now), "LOGNAME=root"}
	cmd.Stderr = &stderr
	err := cmd.Run()
	a.Stderr = stderr.String()
	if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		return a, err
	}
	jobs, _ := filepath.Glob(filepath.Join(spool, "[a-zA-Z]*"))
	if (err == nil) != (len(jobs) == 1) {
		return a, fmt.Errorf("exit %v, but jobs are %v; stderr %q", err, jobs, a.Stderr)
	}
	if len(jobs) == 0 {
		return a, nil
	}
	minutes, err := strconv.ParseInt(filepath.Base(jobs[0])[6:], 16, 64)
	if err != nil {
		return a, err
	}
	a.OK, a.At = true, minutes*60
	return a, os.Remove(jobs[0])
}
