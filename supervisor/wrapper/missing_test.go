package wrapper

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// Missing is asked for many users at once, each with rights of its own. It tells no user
// what is in a directory that this user may not enter, and leaves this process its rights.
func TestMissingForUsers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can look with the rights of others")
	}
	dir := t.TempDir()
	for _, d := range []string{filepath.Dir(dir), dir} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	const ada, bob, team = 54321, 54322, 54323
	open := func(name string, gid int) string {
		sub := filepath.Join(dir, name)
		if err := os.Mkdir(sub, 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(sub, "tool"), []byte("#!/bin/sh\n"), 0o750); err != nil {
			t.Fatal(err)
		}
		for _, f := range []string{sub, filepath.Join(sub, "tool")} {
			if err := os.Chown(f, ada, gid); err != nil {
				t.Fatal(err)
			}
		}
		return sub
	}
	adas, teams := open("ada", ada), open("team", team)
	tests := []struct {
		name string
		c    Command
		want string
	}{
		{"her own", Command{Name: adas + "/tool", UID: ada, GID: ada}, ""},
		{"another's", Command{Name: adas + "/tool", UID: bob, GID: bob}, "its user may not enter the directory of " + adas + "/tool"},
		{"another's that is not there", Command{Name: adas + "/nothing", UID: bob, GID: bob}, "its user may not enter the directory of " + adas + "/nothing"},
		{"another's, in PATH", Command{Name: "tool", Path: adas, UID: bob, GID: bob}, "there is no command tool in PATH, which is " + adas},
		{"another's directory", Command{Name: "sh", Dir: adas, UID: bob, GID: bob}, "its user may not enter the working directory " + adas},
		{"by a supplementary group", Command{Name: teams + "/tool", UID: bob, GID: bob, Groups: []int{team}}, ""},
		{"by the group", Command{Name: "./tool", Dir: teams, UID: bob, GID: team}, ""},
		{"this process's", Command{Name: adas + "/tool", UID: -1, GID: -1}, ""},
		{"root's", Command{Name: adas + "/tool", UID: 0, GID: 0}, ""},
	}
	var wg sync.WaitGroup
	for range 20 {
		for _, tt := range tests {
			wg.Go(func() {
				if got := tt.c.Missing(); got != tt.want {
					t.Errorf("%s: %+v.Missing() = %q, want %q", tt.name, tt.c, got, tt.want)
				}
			})
		}
	}
	wg.Wait()
	threads, err := filepath.Glob("/proc/self/task/*/status")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range threads {
		text, err := os.ReadFile(f)
		if err != nil {
			continue // the thread has ended
		}
		for line := range strings.Lines(string(text)) {
			ids := strings.Fields(line) // "Uid:", the real one, the effective one, ...
			if (ids[0] == "Uid:" || ids[0] == "Gid:") && slices.ContainsFunc(ids[1:], func(id string) bool {
				return id == strconv.Itoa(ada) || id == strconv.Itoa(bob) || id == strconv.Itoa(team)
			}) {
				t.Errorf("a thread has %s", line)
			}
		}
	}
}
