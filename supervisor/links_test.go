package supervisor_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"activationd/supervisor"
	"activationd/supervisor/wrapper"
)

// A victim is a tree that nothing in the test may touch.
type victim struct {
	dir  string
	tree map[string]string // path to what it is
}

func newVictim(t *testing.T) *victim {
	t.Helper()
	v := &victim{dir: t.TempDir()}
	for i := range 20 {
		d := fmt.Sprintf("%s/d%d", v.dir, i)
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(d+"/precious", make([]byte, 1<<20), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	v.tree = v.look(t)
	return v
}

func (v *victim) look(t *testing.T) map[string]string {
	t.Helper()
	tree := map[string]string{}
	err := filepath.WalkDir(v.dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		tree[path] = fmt.Sprintf("%o %d %d", st.Mode, st.Uid, st.Gid)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// untouched fails unless the tree is as it was.
func (v *victim) untouched(t *testing.T, by string) {
	t.Helper()
	now := v.look(t)
	for path, was := range v.tree {
		if now[path] != was {
			t.Fatalf("%s has led out of its directory: %s was %q and is %q", by, path, was, now[path])
		}
	}
	if len(now) != len(v.tree) {
		t.Fatalf("%s has led out of its directory: there are %d files, were %d", by, len(now), len(v.tree))
	}
}

// swap makes directories in the directory fd, and exchanges each of them with a link to the
// victim again and again, as a process that a script left can do, whatever becomes of the
// path. It closes ready when the directories are there, and ends when end is closed, or
// the names are gone.
func swap(fd int, v *victim, ready chan<- struct{}, end <-chan struct{}) {
	defer func() { _ = unix.Close(fd) }()
	const pairs = 4
	for i := range pairs {
		dir, link := fmt.Sprintf("d%d", i), fmt.Sprintf("l%d", i)
		_ = unix.Mkdirat(fd, dir, 0o777)
		_ = unix.Symlinkat(v.dir, fd, link)
		for k := range 20 { // of the victim's names
			_ = unix.Mkdirat(fd, fmt.Sprintf("%s/d%d", dir, k), 0o777)
		}
	}
	close(ready)
	for gone := 0; gone < pairs; {
		gone = 0
		for i := range pairs {
			if unix.Renameat2(fd, fmt.Sprintf("d%d", i), fd, fmt.Sprintf("l%d", i), unix.RENAME_EXCHANGE) != nil {
				gone++
			}
		}
		select {
		case <-end:
			return
		default:
		}
	}
}

// TestLinksLeadNowhere has a run's user swap directories for links while the daemon and
// the wrapper work in them. The links lead them to nothing that belongs to another user.
// The number of rounds is bounded; without the protections one of a few rounds fails.
func TestLinksLeadNowhere(t *testing.T) { // not in parallel: a race needs two processors
	b := newBench(t, "")
	v := newVictim(t)
	k := supervisor.Key{ID: "1", Phase: "activate", N: 1}
	elsewhere, err := os.MkdirTemp("/dev/shm", "links-") // another file system
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(elsewhere); err != nil {
			t.Error(err)
		}
	})
	if device(t, elsewhere) == device(t, b.config.RunsDir) {
		t.Fatal("/dev/shm and the tests' directory are one file system: a directory is never copied")
	}
	for _, tt := range []struct {
		name   string
		rounds int
		dir    func() (string, error) // made new; the user's
		do     func(dir string) error
	}{
		{"the run directory is measured", 10, func() (string, error) {
			return b.RunDir(k) + "/config", os.MkdirAll(b.RunDir(k)+"/config", 0o777)
		}, func(dir string) error {
			for range 40 {
				if n := b.Size(k); n > 10<<20 {
					return fmt.Errorf("the victim was counted too: %d bytes", n)
				}
			}
			return nil
		}},
		{"the run directory is removed", 40, func() (string, error) {
			return b.RunDir(k) + "/config", os.MkdirAll(b.RunDir(k)+"/config", 0o777)
		}, func(string) error {
			_ = b.Remove(t.Context(), k) // may fail as long as somebody makes new names
			return nil
		}},
		{"the work directory is removed", 40, func() (string, error) { return b.Workdir("1@x", -1, -1) },
			func(string) error { _ = b.RemoveWorkdir(t.Context(), "1@x"); return nil }},
		{"the configuration is saved", 120, func() (string, error) { return elsewhere + "/7", os.Mkdir(elsewhere+"/7", 0o777) },
			func(dir string) error {
				run, err := os.Open(elsewhere)
				if err != nil {
					return err
				}
				defer func() { _ = run.Close() }()
				to, err := os.MkdirTemp(b.config.RunsDir, "to-")
				if err != nil {
					return err
				}
				into, err := os.Open(to)
				if err != nil {
					return err
				}
				defer func() { _ = into.Close() }()
				_ = wrapper.SaveConfig(dir, int(into.Fd()))
				return precious(to)
			}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for range tt.rounds {
				dir, err := tt.dir()
				if err != nil {
					t.Fatal(err)
				}
				fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
				if err != nil {
					t.Fatal(err)
				}
				end := make(chan struct{})
				var swapper sync.WaitGroup
				ready := make(chan struct{})
				swapper.Go(func() { swap(fd, v, ready, end) })
				<-ready
				err = tt.do(dir)
				close(end)
				swapper.Wait()
				if err != nil {
					t.Fatal(err)
				}
				v.untouched(t, "a round")
				if err := os.RemoveAll(dir); err != nil { // no process is in the way any more
					t.Fatal(err)
				}
			}
		})
	}
}

func device(t *testing.T, path string) uint64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Dev
}

// precious returns an error if a file of the victim was copied.
func precious(dir string) error {
	return filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, "/precious") {
			err = fmt.Errorf("what a link led to was copied: %s", path)
		}
		return err
	})
}
