package supervisor_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"activationd/supervisor"
	"activationd/supervisor/wrapper"
	"activationd/test/harness"
)

// The daemon is killed again and again while lines go to and fro. It notes each answer before it consumes it, and
// each line after it has sent it. So no line is lost, none is cut, and each kill repeats at most one line and
// one answer.
func TestStreamOfKilledDaemons(t *testing.T) {
	t.Parallel()
	b := newBench(t, "")
	b.start(streaming("exec cat"))
	b.Close()
	dir := t.TempDir()
	talk := talking{supervisorConfig(b.config), filepath.Join(dir, "sent"), filepath.Join(dir, "answered"), harness.Size(2000, 50_000)}
	config, err := json.Marshal(talk)
	if err != nil {
		t.Fatal(err)
	}
	random := harness.Random(t)
	kills := 0
	for done := false; !done; {
		daemon := exec.Command(os.Args[0])
		daemon.Env = append(os.Environ(), talkVar+"="+string(config))
		daemon.Stderr = t.Output()
		steps, err := daemon.StdoutPipe()
		if err == nil {
			err = daemon.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		r := bufio.NewReader(steps)
		for range random.IntN(talk.Lines / 2) {
			if _, err := r.ReadByte(); err != nil {
				break
			}
		}
		_ = daemon.Process.Kill() // it may have ended
		switch err := daemon.Wait(); {
		case err == nil:
			done = true
		case daemon.ProcessState.ExitCode() >= 0:
			t.Fatal(err)
		default:
			kills++
		}
	}
	answers, err := os.ReadFile(talk.Answered)
	if err != nil {
		t.Fatal(err)
	}
	seen := make([]int, talk.Lines)
	count := 0
	for line := range strings.Lines(string(answers)) {
		n, err := talkNumber([]byte(line))
		if err != nil {
			t.Fatal(err)
		}
		seen[n]++
		count++
	}
	for n, times := range seen {
		if times == 0 {
			t.Errorf("the answer to line %d is lost", n)
		}
	}
	t.Logf("%d kills, %d answers to %d lines", kills, count, talk.Lines)
	if count > talk.Lines+2*kills || kills == 0 {
		t.Errorf("%d answers to %d lines after %d kills", count, talk.Lines, kills)
	}
	b.open()
	if _, err := b.Adopt(key); err != nil {
		t.Fatal(err)
	}
	if err := b.stream().CloseInput(); err != nil {
		t.Fatal(err)
	}
	if r := b.exit(); r.Reason != wrapper.Exited || r.Exit != 0 {
		t.Errorf("%+v", r)
	}
	b.ended()
	b.nothingLeft()
}

// talkVar makes the test's program a daemon that talks with the script of the run.
const talkVar = "SUPERVISOR_TEST_TALK"

// talking is what such a daemon has to do: how many lines to send, and the files in which it notes how many it has sent,
// and the answers.
type talking struct {
	Daemon         daemonConfig
	Sent, Answered string
	Lines          int
}

func supervisorConfig(c supervisor.Config) daemonConfig {
	return daemonConfig{Atwrap: c.Atwrap, RunsDir: c.RunsDir, ConfigRoot: c.ConfigRoot, WorkdirsDir: c.WorkdirsDir}
}

// talkLine is a line that cannot be taken for another one, or for a part of one.
func talkLine(n int) []byte {
	return []byte(fmt.Sprintf("%d %s %d\n", n, strings.Repeat("x", n*7919%700), n))
}

func talkNumber(line []byte) (n int, err error) {
	first, _, _ := bytes.Cut(line, []byte(" "))
	if n, err = strconv.Atoi(string(first)); err != nil || !bytes.Equal(line, talkLine(n)) {
		return 0, fmt.Errorf("line %q is not whole: %w", line, err)
	}
	return n, nil
}

// talkMain is such a daemon. It writes a byte for each of its steps.
func talkMain(config string) int {
	var t talking
	err := json.Unmarshal([]byte(config), &t)
	if err == nil {
		err = t.run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func (t *talking) run() error {
	s, err := supervisor.New(supervisor.Config{Atwrap: t.Daemon.Atwrap, RunsDir: t.Daemon.RunsDir, ConfigRoot: t.Daemon.ConfigRoot,
		WorkdirsDir: t.Daemon.WorkdirsDir, Log: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	if err != nil {
		return err
	}
	defer s.Close()
	if f, err := s.Adopt(key); err != nil || f.State != supervisor.Running {
		return fmt.Errorf("%+v: %w", f, err)
	}
	st, err := s.Stream(key)
	if err != nil {
		return err
	}
	answered, err := os.OpenFile(t.Answered, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	sent, err := os.OpenFile(t.Sent, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	next, last := 0, -1
	noted, err := io.ReadAll(answered)
	if err != nil {
		return err
	}
	whole := bytes.LastIndexByte(noted, '\n') + 1 // a kill can cut what is being written to a file
	if err := answered.Truncate(int64(whole)); err != nil {
		return err
	}
	for line := range bytes.Lines(noted[:whole]) {
		if last, err = talkNumber(line); err != nil {
			return err
		}
	}
	_, _ = fmt.Fscan(sent, &next) // it is empty at first
	const window = 20
	step := func() { fmt.Print(".") }
	var have []byte
	buf := make([]byte, 1000)
	for last < t.Lines-1 {
		for next < t.Lines && next-last <= window {
			if ok, err := st.Send(talkLine(next)); err != nil || !ok {
				return errors.Join(err, errors.New("the pipe is full"))
			}
			step()
			next++
			if _, err := sent.WriteAt(fmt.Appendf(nil, "%10d\n", next), 0); err != nil {
				return err
			}
			step()
		}
		n, err := st.Peek(context.Background(), buf)
		if err != nil {
			return err
		}
		have = append(have, buf[:n]...)
		for {
			end := bytes.IndexByte(have, '\n') + 1
			if end == 0 {
				break
			}
			if last, err = talkNumber(have[:end]); err != nil {
				return err
			}
			if _, err := answered.Write(have[:end]); err != nil {
				return err
			}
			step()
			if err := st.Consume(end); err != nil {
				return err
			}
			have = have[end:]
			step()
		}
	}
	return nil
}
