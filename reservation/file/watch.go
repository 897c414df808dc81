package file

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"

	"activationd/internal/fault"
)

// A file that changes is loaded when it has not changed for a while, so that several steps of
// an editor, or a slow writer, cause one load instead of ten. But a file that changes all the
// time is loaded nevertheless.
const (
	quiet   = 100 * time.Millisecond
	longest = time.Second
)

// Watch implements [reservation.Source]. It watches directories, never files: the directory
// of the file, and those of every link in its path. So it sees a file that is replaced by a
// rename, and a link that changes its target. If a directory is missing, Watch watches the
// nearest existing one above it, so it sees a directory that is removed and created again.
// It does not see that a directory further up is renamed, or that a file system is mounted
// over one, because the kernel does not report that. But each load resolves the path again,
// and Watch then watches the new directories. If the directory of the path is missing when
// the watch begins, the error is of kind fault.Unavailable.
//
// The watching goroutine calls changed, which should not block.
func (s *Source) Watch(ctx context.Context, changed func()) error {
	path, err := filepath.Abs(s.path)
	if err != nil {
		return fmt.Errorf("watch %s: %w: %w", s.path, err, fault.Unavailable)
	}
	if _, err := os.Stat(filepath.Dir(path)); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = errors.New("that directory is missing")
		}
		return fmt.Errorf("watch %s in %s: %w: %w", s.path, filepath.Dir(path), err, fault.Unavailable)
	}
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch %s: %w; fs.inotify.max_user_instances may be too low: %w", s.path, err, fault.Unavailable)
	}
	defer func() { _ = w.Close() }() // an error has no consequence
	v := view{w: w, path: path, armed: map[string]inode{}}
	if _, err := v.arm(s.topologies()); err != nil {
		return err
	}
	changed()
	return s.follow(ctx, &v, changed)
}

// follow is the loop of Watch.
func (s *Source) follow(ctx context.Context, v *view, changed func()) error {
	ended := fmt.Errorf("watch %s: the watch ended: %w", s.path, fault.Unavailable)
	timer := time.NewTimer(0)
	timer.Stop()
	defer timer.Stop()
	var first time.Time // of the first change since the last call of changed; zero: there was none
	touch := func() {
		now := time.Now()
		if first.IsZero() {
			first = now
		}
		timer.Reset(wait(first, now))
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case e, ok := <-v.w.Events:
			if !ok {
				return ended
			}
			if v.concerns(e.Name) {
				touch()
			}
		case _, ok := <-v.w.Errors: // too many events, for instance; something may have changed
			if !ok {
				return ended
			}
			touch()
		case <-s.loaded:
			moved, err := v.arm(s.topologies())
			if err != nil {
				return err
			}
			if moved {
				// There is a new topology, for instance, or the path leads elsewhere. Changes
				// after the load and before now were not seen.
				touch()
			}
		case <-timer.C:
			first = time.Time{}
			// First the watches, because there may be new directories; then the load, which
			// sees earlier changes.
			if _, err := v.arm(s.topologies()); err != nil {
				return err
			}
			changed()
		}
	}
}

// wait returns how long to wait for further changes, if the first change was at first and the
// newest is now.
func wait(first, now time.Time) time.Duration {
	return max(0, min(quiet, longest-now.Sub(first)))
}

// An inode distinguishes a directory from another one with the same name.
type inode struct{ dev, ino uint64 }

// A view has the directories that are watched, and the names in them that matter.
type view struct {
	w     *fsnotify.Watcher
	path  string
	armed map[string]inode // directories, by their names without links

	dirs  map[string]inode    // the directories that should be watched
	names map[string]struct{} // files, links and directories in the paths of the files that are read
	end   string              // the source's directory, without links
	whole string              // the directory of which every file matters, or ""
}

// arm adapts the watches to the directories on the disk. It reports whether anything has
// changed in what is watched.
func (v *view) arm(topologies []string) (moved bool, err error) {
	names := v.names
	for range 10 { // a directory may vanish between look and Add
		v.look(topologies)
		moved = moved || !maps.Equal(v.names, names)
		live := v.w.WatchList()
		for dir, id := range v.armed {
			// The inode number alone is not enough: a new directory may have the old one's.
			if v.dirs[dir] != id || !slices.Contains(live, dir) {
				_ = v.w.Remove(dir) // fails if the kernel has removed it already
				delete(v.armed, dir)
				moved = true
			}
		}
		again := false
		for dir, id := range v.dirs {
			if _, ok := v.armed[dir]; ok {
				continue
			}
			switch err := v.w.Add(dir); {
			case err == nil:
				v.armed[dir] = id
				moved = true
			case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
				again = true
			case errors.Is(err, fs.ErrPermission) && dir != v.end:
				// It may be passed, but not read: changes of the directories in it are not
				// seen.
			case errors.Is(err, syscall.ENOSPC):
				return moved, fmt.Errorf("watch %s: fs.inotify.max_user_watches is too low: %w", v.path, fault.Unavailable)
			default:
				return moved, fmt.Errorf("watch %s: %w: %w", v.path, err, fault.Unavailable)
			}
		}
		if !again {
			return moved, nil
		}
	}
	return moved, fmt.Errorf("watch %s: its directories keep changing: %w", v.path, fault.Unavailable)
}

// look finds out what should be watched.
func (v *view) look(topologies []string) {
	v.dirs, v.names, v.whole = map[string]inode{}, map[string]struct{}{}, ""
	v.end = v.walk(v.path)
	base := filepath.Dir(v.path)
	if fi, err := os.Stat(v.path); err == nil && fi.IsDir() {
		base, v.whole = v.path, v.end
		entries, _ := os.ReadDir(v.path) // the load reports an error
		for _, e := range entries {
			if e.Type()&fs.ModeSymlink != 0 && !ignored(e.Name()) {
				v.walk(filepath.Join(v.path, e.Name()))
			}
		}
	}
	for _, t := range topologies {
		v.walk(filepath.Join(base, filepath.FromSlash(t)))
	}
}

// walk follows path as the kernel does, and records every directory and name that decides
// where it leads. It returns the last directory, without links.
func (v *view) walk(path string) string {
	const maxLinks = 40 // of the kernel
	links := 0
	cur := "/"
	rest := strings.Split(path, "/")
	for len(rest) > 0 {
		name := rest[0]
		rest = rest[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			cur = filepath.Dir(cur)
			continue
		}
		next := filepath.Join(cur, name)
		v.names[next] = struct{}{}
		fi, err := os.Lstat(next)
		switch {
		case err != nil: // it may be created later
			v.watch(cur)
			return cur
		case fi.Mode()&fs.ModeSymlink != 0:
			v.watch(cur)
			target, err := os.Readlink(next)
			if links++; err != nil || links > maxLinks {
				return cur
			}
			if filepath.IsAbs(target) {
				cur = "/"
			}
			rest = append(strings.Split(target, "/"), rest...)
		case fi.IsDir():
			cur = next
		default:
			rest = nil
		}
	}
	v.watch(cur) // it also reports its own removal or renaming; then the one above is watched
	return cur
}

func (v *view) watch(dir string) {
	if _, ok := v.dirs[dir]; ok {
		return
	}
	if fi, err := os.Stat(dir); err == nil {
		if st, ok := fi.Sys().(*syscall.Stat_t); ok {
			v.dirs[dir] = inode{st.Dev, st.Ino}
		}
	}
}

// concerns reports whether an event for that name may mean a change of what is read.
func (v *view) concerns(name string) bool {
	if _, ok := v.names[name]; ok {
		return true
	}
	return v.whole != "" && filepath.Dir(name) == v.whole && !ignored(filepath.Base(name))
}
