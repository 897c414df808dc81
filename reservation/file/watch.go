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

// A file that changes is left alone until it was quiet for a while, so that an
// editor's dance or a slow writer makes one load and not ten; but a file that
// never rests is loaded nevertheless.
const (
	quiet   = 100 * time.Millisecond
	longest = time.Second
)

// Watch implements [reservation.Source]. It watches directories, never files: the
// one with the file, and those of every link on the way, so it sees a file that is
// replaced by a rename and a link that is turned. Where a directory is missing
// the nearest one above it is watched, so it sees one that is removed and made
// again. It does not see a directory further up being renamed, nor a file system
// being mounted over one, of which the kernel tells nothing; but each load looks at
// what the path leads to by then, and from then on that is watched. A path whose
// directory is missing when the watch begins is an error of kind fault.Unavailable.
//
// Changed is called by the watching goroutine; it should not block.
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
	defer func() { _ = w.Close() }() // nothing can be done about it
	v := view{w: w, path: path, armed: map[string]inode{}}
	if _, err := v.arm(s.topologies()); err != nil {
		return err
	}
	changed()
	return s.follow(ctx, &v, changed)
}

// follow is Watch's loop.
func (s *Source) follow(ctx context.Context, v *view, changed func()) error {
	ended := fmt.Errorf("watch %s: the watch ended: %w", s.path, fault.Unavailable)
	timer := time.NewTimer(0)
	timer.Stop()
	defer timer.Stop()
	var first time.Time // of what changed since the last call of changed; zero: nothing did
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
		case _, ok := <-v.w.Errors: // too many events to tell, for one; what happened is not known
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
				// There is a new topology, say, or the way leads elsewhere. What became
				// of that between its reading and now is not known.
				touch()
			}
		case <-timer.C:
			first = time.Time{}
			// First the watches, for directories may have come; then the load, which
			// sees what happened before.
			if _, err := v.arm(s.topologies()); err != nil {
				return err
			}
			changed()
		}
	}
}

// wait is how long to let things settle, when the first change was at first and
// the newest is now.
func wait(first, now time.Time) time.Duration {
	return max(0, min(quiet, longest-now.Sub(first)))
}

// An inode tells a directory from another that has taken its name.
type inode struct{ dev, ino uint64 }

// A view is the directories that are watched, and the names in them that count.
type view struct {
	w     *fsnotify.Watcher
	path  string
	armed map[string]inode // directories, by their names without links

	dirs  map[string]inode    // those that should be watched
	names map[string]struct{} // files, links and directories on the way to what is read
	end   string              // the source's directory, without links
	whole string              // the directory of which every file counts, or ""
}

// arm makes the watches fit what is on the disk now. It reports whether what is
// watched is other than before.
func (v *view) arm(topologies []string) (moved bool, err error) {
	names := v.names
	for range 10 { // a directory may vanish between look and Add
		v.look(topologies)
		moved = moved || !maps.Equal(v.names, names)
		live := v.w.WatchList()
		for dir, id := range v.armed {
			// Its number alone proves nothing: a new directory may get the old one's.
			if v.dirs[dir] != id || !slices.Contains(live, dir) {
				_ = v.w.Remove(dir) // it may be gone by itself
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
				// Passing through is allowed and looking is not: what happens to the
				// directories below it is not seen.
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
	return moved, fmt.Errorf("watch %s: its directories come and go: %w", v.path, fault.Unavailable)
}

// look finds out what should be watched.
func (v *view) look(topologies []string) {
	v.dirs, v.names, v.whole = map[string]inode{}, map[string]struct{}{}, ""
	v.end = v.walk(v.path)
	base := filepath.Dir(v.path)
	if fi, err := os.Stat(v.path); err == nil && fi.IsDir() {
		base, v.whole = v.path, v.end
		entries, _ := os.ReadDir(v.path) // it is watched; the load tells what is wrong with it
		for _, e := range entries {
			if e.Type()&fs.ModeSymlink != 0 && !passedOver(e.Name()) {
				v.walk(filepath.Join(v.path, e.Name()))
			}
		}
	}
	for _, t := range topologies {
		v.walk(filepath.Join(base, filepath.FromSlash(t)))
	}
}

// walk goes along path as the kernel does and notes every directory and name that
// decides where it ends. It returns the last directory, without links.
func (v *view) walk(path string) string {
	const maxLinks = 40 // the kernel's
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
		case err != nil: // it may come
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
	v.watch(cur) // it tells also when it is itself removed or renamed; then the one above is watched
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

// concerns reports whether an event of that name may change what is read.
func (v *view) concerns(name string) bool {
	if _, ok := v.names[name]; ok {
		return true
	}
	return v.whole != "" && filepath.Dir(name) == v.whole && !passedOver(filepath.Base(name))
}
