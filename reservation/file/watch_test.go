package file

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"

	"activationd/internal/fault"
)

// A watched is a source that is being watched. The test gets each change and loads.
type watched struct {
	t      *testing.T
	s      *Source
	events chan struct{}
	done   chan error
}

func watch(t *testing.T, path string) *watched {
	t.Helper()
	w := &watched{t, New(path), make(chan struct{}, 1), make(chan error, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		w.done <- w.s.Watch(ctx, func() {
			select {
			case w.events <- struct{}{}:
			default: // there is an element already, as in the daemon
			}
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-w.done; err != nil {
			t.Errorf("Watch() = %v, want nil", err)
		}
	})
	w.event() // the watch has begun
	return w
}

func (w *watched) event() {
	w.t.Helper()
	select {
	case <-w.events:
	case err := <-w.done:
		w.done <- nil
		w.t.Fatalf("Watch() = %v", err)
	case <-time.After(10 * time.Minute):
		w.t.Fatal("no change was seen")
	}
}

// until loads at each change until the source has these reservations.
func (w *watched) until(want string) {
	w.t.Helper()
	for {
		set, err := w.s.Load(w.t.Context())
		if err == nil && ids(set) == want {
			return
		}
		w.event()
	}
}

// change does something when the source has been loaded and has not changed.
func (w *watched) change(was string, do func() error, want string) {
	w.t.Helper()
	w.until(was)
	if err := do(); err != nil {
		w.t.Fatal(err)
	}
	w.event() // it was an event, and not only a load at the right time
	w.until(want)
}

func write(path string, content string) func() error {
	return func() error { return os.WriteFile(path, []byte(content), 0o644) }
}

func list(ids ...string) string {
	s := "reservations:\n"
	for _, id := range ids {
		s += one(id)
	}
	return s
}

func TestWatchFile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "etc", "lab")
	path := filepath.Join(dir, "lab.yml")
	put(t, dir, map[string]string{"lab.yml": list("a")})
	w := watch(t, path)

	w.change("a", write(path, list("b")), "b")
	w.change("b", func() error { // rename-over
		if err := os.WriteFile(filepath.Join(dir, ".tmp123"), []byte(list("c")), 0o644); err != nil {
			return err
		}
		return os.Rename(filepath.Join(dir, ".tmp123"), path)
	}, "c")
	w.change("c", func() error { // as vim writes with backupcopy=no
		probe := filepath.Join(dir, "4913")
		return errors.Join(
			os.WriteFile(probe, nil, 0o644), os.Remove(probe),
			os.Rename(path, path+"~"),
			os.WriteFile(path, []byte(list("d")), 0o644),
			os.Chmod(path, 0o600),
			os.Remove(path+"~"))
	}, "d")
	w.change("d", func() error { return errors.Join(os.Remove(path), write(path, list("e"))()) }, "e")
	w.change("e", func() error { // the directory is removed and created again
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
		w.event()
		if _, err := w.s.Load(t.Context()); !errors.Is(err, fault.Unavailable) {
			t.Errorf("Load() of what is gone = %v, want unavailable", err)
		}
		return errors.Join(os.Mkdir(dir, 0o755), write(path, list("f"))())
	}, "f")
	w.change("f", func() error { // and is watched as before
		return write(path, list("g"))()
	}, "g")
	w.change("g", func() error { // another directory replaces it
		other := dir + ".new"
		return errors.Join(os.Mkdir(other, 0o755), write(filepath.Join(other, "lab.yml"), list("h"))(),
			os.Rename(dir, dir+".old"), os.Rename(other, dir))
	}, "h")
	w.change("h", write(path, list("i")), "i")
	for i, id := range []string{"j", "k", "l"} { // removed and created before it is noticed, maybe with the same inode
		w.change(string(rune('i'+i)), func() error {
			return errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o755), write(path, list(id))())
		}, id)
	}
	w.change("l", write(path, list("m")), "m")
	w.change("m", func() error { // everything is moved away
		return errors.Join(os.RemoveAll(filepath.Dir(dir)), os.MkdirAll(dir, 0o755), write(path, list("n"))())
	}, "n")
	w.change("n", write(path, list("o")), "o")
}

// TestWatchHalfWritten checks that the known reservations stay until the writer has finished.
func TestWatchHalfWritten(t *testing.T) {
	for _, name := range []string{"lab.yml", "lab.json"} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), name)
			half, rest := "reservations:\n"+one("b")+"  - {id: c, start: 2026", "-11-21T10:00:00Z, end: 2026-11-21T12:00:00Z}\n"
			whole := list("a")
			if name == "lab.json" {
				item := `{"id": "a", "start": "2026-11-21T10:00:00Z", "end": "2026-11-21T12:00:00Z"}`
				whole = `{"reservations": [` + item + `]}`
				half = `{"reservations": [` + strings.Replace(item, `"a"`, `"b"`, 1) + `,`
				rest = strings.Replace(item, `"a"`, `"c"`, 1) + `]}`
			}
			put(t, filepath.Dir(path), map[string]string{name: whole})
			w := watch(t, path)
			w.until("a")
			f, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = f.Close() }() // closed below if all goes well
			if _, err := f.WriteString(half); err != nil {
				t.Fatal(err)
			}
			w.event()
			if set, err := w.s.Load(t.Context()); !errors.Is(err, fault.Invalid) {
				t.Errorf("Load() of half a file = %+v, %v, want an error", set, err)
			}
			if _, err := f.WriteString(rest); err != nil {
				t.Fatal(err)
			}
			w.until("b c")
		})
	}
}

func TestWatchDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "lab.d")
	put(t, dir, map[string]string{"a.yml": list("a")})
	w := watch(t, dir)
	path := func(name string) string { return filepath.Join(dir, name) }
	w.change("a", write(path("b.yml"), list("b")), "a b")
	w.change("a b", func() error { return os.Remove(path("a.yml")) }, "b")
	w.change("b", func() error { return os.Rename(path("b.yml"), path("c.yaml")) }, "b")
	w.change("b", write(path("c.yaml"), list("c", "d")), "c d")
	w.change("c d", func() error {
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
		w.event()
		return errors.Join(os.Mkdir(dir, 0o755), write(path("e.yml"), list("e"))())
	}, "e")
	w.change("e", write(path("f.yml"), list("f")), "e f")
}

// TestWatchKubernetes changes the target of the link as a mounted ConfigMap does.
func TestWatchKubernetes(t *testing.T) {
	for _, what := range []string{".", "lab.yml"} {
		t.Run(what, func(t *testing.T) {
			dir := t.TempDir()
			put(t, dir, map[string]string{
				"..2026_1/lab.yml": list("a"),
				"..data":           "-> ..2026_1",
				"lab.yml":          "-> ..data/lab.yml",
			})
			w := watch(t, filepath.Join(dir, what))
			for i, step := range []struct{ was, want string }{{"a", "b"}, {"b", "c"}} {
				w.change(step.was, func() error {
					version := []string{"..2026_2", "..2026_3"}[i]
					put(t, dir, map[string]string{version + "/lab.yml": list(step.want)})
					tmp := filepath.Join(dir, "..data_tmp")
					old, err := os.Readlink(filepath.Join(dir, "..data"))
					if err != nil {
						return err
					}
					return errors.Join(os.Symlink(version, tmp), os.Rename(tmp, filepath.Join(dir, "..data")),
						os.RemoveAll(filepath.Join(dir, old)))
				}, step.want)
			}
		})
	}
}

// TestWatchLinks watches a path that is a link to a file elsewhere, through another link.
func TestWatchLinks(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, map[string]string{
		"v1/lab.yml": list("a"), "v2/lab.yml": list("c"), "current": "-> v1", "etc/lab.yml": "-> ../current/lab.yml",
	})
	w := watch(t, filepath.Join(dir, "etc/lab.yml"))
	w.change("a", write(filepath.Join(dir, "v1/lab.yml"), list("b")), "b")
	w.change("b", func() error {
		return errors.Join(os.Symlink("v2", filepath.Join(dir, "new")), os.Rename(filepath.Join(dir, "new"), filepath.Join(dir, "current")))
	}, "c")
	w.change("c", write(filepath.Join(dir, "v2/lab.yml"), list("d")), "d")
}

// TestWatchTopologies checks that topologies are watched, also in directories of their own, and
// before they exist.
func TestWatchTopologies(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, map[string]string{
		"lab.yml":   "reservations:\n" + strings.Replace(one("a"), "{", "{topology: sub/x.clab.yml, ", 1) + one("b"),
		"sub/other": "",
	})
	w := watch(t, filepath.Join(dir, "lab.yml"))
	w.until("b")
	w.event() // the load found sub, and the watch includes it now
	w.change("b", write(filepath.Join(dir, "sub/x.clab.yml"), triangle), "a b")
	w.change("a b", write(filepath.Join(dir, "sub/x.clab.yml"), "topology: {}"), "b")
}

// TestWatchFurtherUp renames a directory further up, and mounts a file system over one and
// unmounts it. The kernel reports neither. But when a reload has read the new file, its changes
// are seen, and changes of the old one do not matter.
func TestWatchFurtherUp(t *testing.T) {
	for _, source := range []string{"lab.yml", "."} {
		t.Run(source, func(t *testing.T) {
			top := filepath.Join(t.TempDir(), "srv")
			dir := filepath.Join(top, "etc", "lab")
			path := filepath.Join(dir, "lab.yml")
			put(t, dir, map[string]string{"lab.yml": list("a")})
			w := watch(t, filepath.Join(dir, source))
			w.change("a", write(path, list("b")), "b")
			away := func(id string) {
				if err := errors.Join(os.Rename(top, top+id), os.MkdirAll(dir, 0o755), write(path, list(id))()); err != nil {
					t.Fatal(err)
				}
			}
			reload := func(want string) {
				t.Helper()
				set, err := w.s.Load(t.Context())
				if err != nil || ids(set) != want {
					t.Fatalf("a reload has %q, %v, want %q", ids(set), err, want)
				}
				w.event() // the watch was moved, and earlier changes were not seen
			}
			away("c")
			reload("c")
			w.change("c", write(path, list("d")), "d")
			away("e") // again, also in the new place
			reload("e")
			w.change("e", write(path, list("f")), "f")
			if os.Getuid() != 0 {
				return
			}
			if err := syscall.Mount("tmpfs", top, "tmpfs", 0, "size=1m"); err != nil {
				t.Skipf("cannot mount a tmpfs: %v", err)
			}
			mounted := true
			defer func() {
				if mounted {
					_ = syscall.Unmount(top, syscall.MNT_DETACH)
				}
			}()
			put(t, dir, map[string]string{"lab.yml": list("g")})
			reload("g")
			w.change("g", write(path, list("h")), "h")
			if err := syscall.Unmount(top, syscall.MNT_DETACH); err != nil {
				t.Fatal(err)
			}
			mounted = false
			if _, err := w.s.Load(t.Context()); err != nil { // the kernel may report this one
				t.Fatal(err)
			}
			w.until("f")
			w.change("f", write(path, list("i")), "i")
		})
	}
}

func TestWatchOtherFilesAreNothing(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, map[string]string{"lab.yml": list("a")})
	v := view{path: filepath.Join(dir, "lab.yml")}
	v.look(nil)
	for name, want := range map[string]bool{"lab.yml": true, "other.yml": false, "lab.yml~": false, ".lab.yml.swp": false} {
		if got := v.concerns(filepath.Join(dir, name)); got != want {
			t.Errorf("file: concerns(%s) = %v, want %v", name, got, want)
		}
	}
	v = view{path: dir}
	v.look(nil)
	for name, want := range map[string]bool{"lab.yml": true, "other.yml": true, "lab.yml~": false, ".lab.yml.swp": false, "x.clab.yml": false} {
		if got := v.concerns(filepath.Join(dir, name)); got != want {
			t.Errorf("directory: concerns(%s) = %v, want %v", name, got, want)
		}
	}
}

func TestWatchMissingDirectory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "none", "lab.yml")
	err := New(path).Watch(t.Context(), func() { t.Error("changed was called") })
	if !errors.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "none: that directory is missing") {
		t.Errorf("Watch() = %v, want that the directory is missing", err)
	}
}

// TestWatchMissingFile checks that the file may be created later.
func TestWatchMissingFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lab.yml")
	w := watch(t, path)
	if err := write(path, list("a"))(); err != nil {
		t.Fatal(err)
	}
	w.event()
	w.until("a")
}

func TestWait(t *testing.T) {
	first := time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)
	for _, tt := range []struct{ after, want time.Duration }{
		{0, quiet}, {500 * time.Millisecond, quiet}, {950 * time.Millisecond, 50 * time.Millisecond},
		{longest, 0}, {time.Hour, 0},
	} {
		if got := wait(first, first.Add(tt.after)); got != tt.want {
			t.Errorf("wait, %v after the first change = %v, want %v", tt.after, got, tt.want)
		}
	}
}

// TestWatchOverflow checks that lost events count as a change.
func TestWatchOverflow(t *testing.T) {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.Close() }()
	path := filepath.Join(t.TempDir(), "lab.yml")
	ctx, cancel := context.WithCancel(t.Context())
	changed, done := make(chan struct{}, 1), make(chan error, 1)
	go func() {
		done <- New(path).follow(ctx, &view{w: w, path: path, armed: map[string]inode{}}, func() { changed <- struct{}{} })
	}()
	w.Errors <- fsnotify.ErrEventOverflow
	select {
	case <-changed:
	case <-time.After(10 * time.Minute):
		t.Error("an overflow changed nothing")
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("follow() = %v, want nil", err)
	}
}
