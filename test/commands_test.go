package test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/rogpeppe/go-internal/txtar"
)

// TestCommands runs testdata/script/*.txtar: atctl, and for each script a real daemon. The
// script's files below daemon/ are put into the daemon's own directory before it starts,
// as its config.yaml for instance. In them DIR is that directory; the script has it as
// $DIR.
func TestCommands(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("there are no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			d := newDaemon(t, "")
			for _, f := range archive.Files {
				if name, ok := strings.CutPrefix(f.Name, "daemon/"); ok {
					d.write(name, strings.ReplaceAll(string(f.Data), "DIR", d.dir), 0o644)
				}
			}
			d.Start()
			testscript.Run(t, testscript.Params{
				Files: []string{file},
				Setup: func(e *testscript.Env) error {
					e.Setenv("ACTIVATIOND_SOCKET", d.socket)
					e.Setenv("DIR", d.dir)
					e.Setenv("PATH", d.Bin+string(os.PathListSeparator)+e.Getenv("PATH"))
					return os.Chmod(e.WorkDir, 0o755) // other users work in it
				},
				Cmds: map[string]func(*testscript.TestScript, bool, []string){
					"await":   awaitFile,
					"status":  exitStatus,
					"restart": func(*testscript.TestScript, bool, []string) { d.Kill(); d.Start() },
					"state":   func(_ *testscript.TestScript, _ bool, args []string) { d.InState(args[0], args[1:]...) },
				},
			})
		})
	}
}

// await FILE [LINES] waits until FILE exists and has as many lines.
func awaitFile(ts *testscript.TestScript, _ bool, args []string) {
	want := 0
	if len(args) == 2 {
		var err error
		want, err = strconv.Atoi(args[1])
		ts.Check(err)
	}
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		data, err := os.ReadFile(ts.MkAbs(args[0]))
		if err == nil && strings.Count(string(data), "\n") >= want {
			return
		}
	}
	ts.Fatalf("%s does not get as far", args[0])
}

// status N CMD ARG... runs CMD, which must exit with status N.
func exitStatus(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if ee, ok := errors.AsType[*exec.ExitError](ts.Exec(args[1], args[2:]...)); ok {
		got = ee.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit status %d, want %d", got, want)
	}
}
