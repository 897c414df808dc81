package test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"activationd/control"
)

// TestServiceLog follows the log of a service while it is rotated. The follower loses its
// connection meanwhile. At last, somebody truncates the log.
func TestServiceLog(t *testing.T) {
	d := newDaemon(t, `
services:
  web: {command: [DIR/web], restart: no, log: {size: 1KiB, keep: 100}}
`)
	d.script("web", fmt.Sprintf("#!/bin/sh\nseq 1 2000\nwhile ! test -e %[1]s; do sleep 0.01; done\nseq 2001 5000\nwhile ! test -e %[2]s; do sleep 0.01; done\nseq 5001 5100\nexec sleep 1000\n",
		d.shared("go"), d.shared("more")))
	d.Start()
	d.serving("web@1", "ready")
	want := ""
	for n := 1; n <= 5000; n++ {
		want += fmt.Sprintln(n)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	got, next := "", ""
	enough := errors.New("enough")
	for _, until := range []string{"2000", "3000", "5000"} {
		if strings.Contains(got, "\n"+until+"\n") {
			continue // it came in one piece with what was before it
		}
		err := control.Stream(ctx, &d.Client, "log", control.LogIn{ID: "web@1", Follow: true, Next: next}, func(out control.LogOut) error {
			got, next = got+out.Text, out.Next
			if strings.Contains(got, "\n"+until+"\n") {
				return enough
			}
			return nil
		})
		if !errors.Is(err, enough) {
			t.Fatalf("after %d bytes: %v", len(got), err)
		}
		if until == "2000" {
			if err := os.WriteFile(d.shared("go"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got != want {
		t.Errorf("%d bytes arrive, want %d: %.200q", len(got), len(want), got)
	}
	lines := strings.Split(strings.TrimSpace(d.must("log", "web@1", "--lines", "300")), "\n")
	if len(lines) != 300 || lines[0] != "4701" || lines[299] != "5000" {
		t.Errorf("the last 300 lines are %d: %.200q", len(lines), lines)
	}
	files, err := filepath.Glob(d.dir + "/state/runs/web@1.serve.1/log.*")
	if err != nil || len(files) < 20 {
		t.Errorf("the log is in %q, %v, want more than 20 files", files, err)
	}
	truncated := false
	got = ""
	err = control.Stream(ctx, &d.Client, "log", control.LogIn{ID: "web@1", Follow: true}, func(out control.LogOut) error {
		if got += out.Text; strings.Contains(got, "\n5100\n") {
			return enough
		}
		if !truncated && strings.Contains(got, "\n5000\n") { // the follower has the file open
			truncated = true
			return errors.Join(os.Truncate(d.dir+"/state/runs/web@1.serve.1/log", 0), os.WriteFile(d.shared("more"), nil, 0o600))
		}
		return nil
	})
	for n := 5001; n <= 5100; n++ {
		want += fmt.Sprintln(n)
	}
	got = regexp.MustCompile(`\[activationd: [0-9]+ bytes of output are missing here: [a-z ]+\]\n`).ReplaceAllString(got, "")
	if !errors.Is(err, enough) || got != want {
		t.Errorf("after the log was truncated, %d bytes arrive, %v, want %d", len(got), err, len(want))
	}
	d.must("service", "stop", "web")
}
