package supervisor_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"activationd/supervisor"
	"activationd/supervisor/wrapper"
)

// TestChangedRunDirectory has scripts remove, rename and replace their run's directory
// and what is in it: while the daemon follows them, while it is restarted, while it
// is away, and with a wrapper that is killed. A script that ran must not be reported as
// one that did not, because it would be started again and again. Only if exactly the files
// that show the start were removed may the run be void. Whatever was removed, no process of
// the run lives on and no directory of it stays.
func TestChangedRunDirectory(t *testing.T) {
	t.Parallel()
	shapes := []struct {
		name, change string // D is the directory
		whole        bool   // so that nothing of it is left
		unnoted      bool   // nothing shows that the script was started
	}{
		{"removed", `rm -rf "$D"`, true, true},
		{"renamed", `mv "$D" "$D.away"`, true, true},
		{"moved elsewhere", `mv "$D" .`, true, true},
		{"emptied", `rm -f "$D"/*`, true, true},
		{"replaced by a file", `rm -rf "$D"; : >"$D"`, true, true},
		{"replaced by an empty directory", `rm -rf "$D"; mkdir "$D"`, true, true},
		{"replaced by a link to itself", `rm -rf "$D"; ln -s "$D" "$D"`, true, true},
		{"replaced by a pipe", `rm -rf "$D"; mkfifo "$D"`, true, true},
		{"all of it are pipes", `for f in lock spec started result.new result log; do rm -f "$D/$f"; mkfifo "$D/$f"; done`, true, false},
		{"all of it are directories", `for f in lock spec started result.new result; do rm -f "$D/$f"; mkdir "$D/$f"; done`, true, false},
		{"another is in its place", `mv "$D" "$D.away"; cp -a "$D.away" "$D"`, false, false},
		{"lock removed", `rm "$D/lock"`, false, false},
		{"lock replaced", `rm "$D/lock"; : >"$D/lock"`, false, false},
		{"started removed", `rm "$D/started"`, false, true},
		{"specification removed", `rm "$D/spec"`, false, false},
		{"result removed", `rm "$D/result.new"`, false, false},
		{"result is a directory", `mkdir -p "$D/result/x"`, false, false},
		{"started and result removed", `rm "$D/started" "$D/result.new"`, false, true},
		{"evidence is in the way", `echo >"$D/config"`, false, false},
	}
	for _, when := range []struct {
		name          string
		restart, away bool
		kill          bool // the wrapper
	}{
		{name: "followed"},
		{name: "followed, killed", kill: true},
		{name: "adopted", restart: true},
		{name: "adopted, killed", restart: true, kill: true},
		{name: "alone", away: true},
		{name: "alone, killed", away: true, kill: true},
	} {
		for _, shape := range shapes {
			t.Run(when.name+", "+shape.name, func(t *testing.T) {
				t.Parallel()
				b := newBench(t, "")
				dir := t.TempDir()
				changes, goes := cue(t, dir, "change"), cue(t, dir, "go")
				spec := shell(`D=` + b.RunDir(key) + `; setsid sleep 600 & echo x >"$ACTIVATION_CONFIG_DIR/x"; read _ <change
` + shape.change + `; : >done; read _ <go; exit 0`)
				spec.Dir = dir
				b.start(spec)
				wrapperPID := b.wrapperPID()
				mark := b.mark()
				b.await("its start", func() bool { _, _, ok := b.Started(key); return ok })
				changes()
				b.await("the change", func() bool { _, err := os.Stat(filepath.Join(dir, "done")); return err == nil })
				if when.restart || when.away {
					b.Close()
				}
				found := supervisor.Found{State: supervisor.Running}
				if when.restart {
					b.open()
					found = b.find()
				}
				if when.kill {
					_ = syscall.Kill(wrapperPID, syscall.SIGKILL) // it may have gone with what was to be cleared away
				} else {
					goes()
				}
				if when.away {
					b.await("the wrapper's end", func() bool { p, ok := wrapper.Stat(wrapperPID); return !ok || p.Dead() })
					b.open()
					found = b.find()
				} else if found.State == supervisor.Running {
					found.Result = b.exit()
				}
				want := []string{wrapper.Lost}
				if !shape.whole && !when.kill {
					want = append(want, wrapper.Exited)
				}
				if shape.unnoted && !shape.whole && when.name != "followed" {
					want = append(want, wrapper.Void)
				}
				if got := found.Result.Reason; !slices.Contains(want, got) {
					t.Errorf("it is %s (%s), want one of %q", got, found.Result.Text, want)
				}
				t.Logf("%s: %s", found.Result.Reason, found.Result.Text)
				if pids := marked(mark); len(pids) > 0 {
					t.Errorf("left behind: %v", pids)
				}
				if dirs, _ := filepath.Glob(filepath.Join(b.config.ConfigRoot, "*")); len(dirs) > 0 {
					t.Errorf("configuration directories left behind: %q", dirs)
				}
			})
		}
	}
}

// cue makes a pipe in dir, from which a script can read a line, without starting processes
// until it is there, and returns a function that writes this line.
func cue(t *testing.T, dir, name string) func() {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	pipe, err := os.OpenFile(path, os.O_RDWR, 0) // so that neither end waits for the other
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pipe.Close() })
	return func() {
		if _, err := pipe.WriteString("\n"); err != nil {
			t.Error(err)
		}
	}
}

// find asks what has become of the run, which may be anything.
func (b *bench) find() supervisor.Found {
	b.t.Helper()
	found, err := b.Adopt(key)
	if err != nil {
		b.t.Fatal(err)
	}
	return found
}

// TestMarkIsOfOnePlace: two daemons whose runs have the same names do not have the
// same marks, nor does one of them take the other's for its own.
func TestMarkIsOfOnePlace(t *testing.T) {
	t.Parallel()
	one, other := newBench(t, ""), newBench(t, "")
	one.start(shell("echo up; sleep 600"))
	one.awaitLog("up")
	if found := other.find(); found.State != supervisor.Unborn {
		t.Errorf("the other's run is %v here", found.State)
	}
	if pids := marked(one.mark()); len(pids) < 2 {
		t.Errorf("of a run, its wrapper and its script carry the mark; there is %v", pids)
	}
	if err := one.Stop(key); err != nil {
		t.Fatal(err)
	}
	if r := one.exit(); r.Reason != wrapper.Stopped {
		t.Errorf("it ended with %+v", r)
	}
	if !strings.HasPrefix(one.mark(), key.String()+"-") {
		t.Errorf("mark %q", one.mark())
	}
}
