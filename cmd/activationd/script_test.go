package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"activationd": main, "handover": handover})
}

// handover does what systemd does with a .socket unit:
// handover FDNAME NETWORK ADDRESS PROGRAM ARG...
func handover() {
	fail := func(err error) {
		fmt.Fprintln(os.Stderr, "handover:", err)
		os.Exit(3)
	}
	l, err := net.Listen(os.Args[2], os.Args[3])
	if err != nil {
		fail(err)
	}
	f, err := l.(interface{ File() (*os.File, error) }).File()
	if err != nil {
		fail(err)
	}
	if err := unix.Dup2(int(f.Fd()), 3); err != nil { // without close-on-exec, unless it was 3 already
		fail(err)
	}
	if _, err := unix.FcntlInt(3, unix.F_SETFD, 0); err != nil {
		fail(err)
	}
	program, err := exec.LookPath(os.Args[4])
	if err != nil {
		fail(err)
	}
	for name, value := range map[string]string{
		"LISTEN_FDS": "1", "LISTEN_FDNAMES": os.Args[1], "LISTEN_PID": strconv.Itoa(os.Getpid()),
	} {
		if err := os.Setenv(name, value); err != nil {
			fail(err)
		}
	}
	fail(unix.Exec(program, os.Args[4:], os.Environ()))
}

// TestScripts runs the real program, as the scripts in testdata say.
func TestScripts(t *testing.T) {
	work := t.TempDir()
	for _, dir := range []string{work, filepath.Dir(work)} {
		if err := os.Chmod(dir, 0o755); err != nil { // other users work in it
			t.Fatal(err)
		}
	}
	atwrap := filepath.Join(work, "atwrap") // the daemon tries it when it starts
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", atwrap, "activationd/cmd/atwrap").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	testscript.Run(t, testscript.Params{
		Dir:         "testdata/script",
		WorkdirRoot: work,
		Setup: func(env *testscript.Env) error {
			// Nothing of the machine's may take part.
			for _, name := range []string{"XDG_STATE_HOME", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "STATE_DIRECTORY",
				"RUNTIME_DIRECTORY", "JOURNAL_STREAM", "LISTEN_FDS", "WATCHDOG_USEC"} {
				env.Setenv(name, "")
			}
			env.Setenv("ATWRAP", atwrap)
			if err := os.Chmod(env.WorkDir, 0o755); err != nil { // other users look in
				return err
			}
			return listenForNotices(env)
		},
		Condition: func(cond string) (bool, error) {
			if cond == "root" {
				return os.Getuid() == 0, nil
			}
			return false, fmt.Errorf("unknown condition %q", cond)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"status":   scriptStatus,
			"mode":     scriptMode,
			"stale":    scriptStale,
			"notified": scriptNotified,
			"signal":   scriptSignal,
		},
	})
}

type noticesKey struct{}

// listenForNotices takes systemd's place towards the daemons of a script.
func listenForNotices(env *testscript.Env) error {
	path := filepath.Join(env.WorkDir, "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return err
	}
	env.Defer(func() { _ = conn.Close() })
	env.Values[noticesKey{}] = conn
	env.Setenv("NOTIFY_SOCKET", path)
	return os.Chmod(path, 0o666)
}

// scriptNotified waits until a daemon has told systemd something: notified TEXT.
// What it told before that is forgotten.
func scriptNotified(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: notified text")
	}
	conn, ok := ts.Value(noticesKey{}).(*net.UnixConn)
	if !ok {
		ts.Fatalf("no socket for notices")
	}
	ts.Check(conn.SetReadDeadline(time.Now().Add(patience)))
	buf := make([]byte, 4096)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			ts.Fatalf("waiting for %q: %v", args[0], err)
		}
		if strings.Contains(string(buf[:n]), args[0]) {
			return
		}
	}
}

// scriptStatus runs a program that must end with this status:
// status N PROGRAM ARG...
func scriptStatus(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N program [arg...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit status %d, want %d", got, want)
	}
}

// scriptSignal sends a signal to the program that was last started in the
// background: signal TERM.
func scriptSignal(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 || unix.SignalNum("SIG"+args[0]) == 0 {
		ts.Fatalf("usage: signal TERM")
	}
	all := ts.BackgroundCmds()
	if len(all) == 0 {
		ts.Fatalf("nothing runs in the background")
	}
	ts.Check(all[len(all)-1].Process.Signal(unix.SignalNum("SIG" + args[0])))
}

// scriptMode checks a file's type and permissions: mode drwx------ FILE.
func scriptMode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: mode drwx------ file")
	}
	info, err := os.Lstat(ts.MkAbs(args[1]))
	ts.Check(err)
	if got := info.Mode().String(); got != args[0] {
		ts.Fatalf("%s has mode %s, want %s", args[1], got, args[0])
	}
}

// scriptStale leaves a socket on which nobody listens: stale FILE.
func scriptStale(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: stale file")
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: ts.MkAbs(args[0]), Net: "unix"})
	ts.Check(err)
	l.SetUnlinkOnClose(false)
	ts.Check(l.Close())
}
