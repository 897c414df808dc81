package discover

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"
)

// rescan is the time between two scans if nothing is known to have changed. The kernel does
// not report everything: its queue can overflow, a directory further up can be renamed, and a
// file system can be mounted over one.
const rescan = time.Minute

const never = 1000 * time.Hour

// A Watcher knows what the last scan has found. It must not be copied.
type Watcher struct {
	log    *slog.Logger
	report func(Result)
	rescan time.Duration
	poke   chan struct{} // the entries have changed

	mu      sync.Mutex
	entries []Entry
	last    Result
}

// NewWatcher returns a watcher without entries. Report is called by [Watcher.Run] each time
// that a scan has found something else than the one before. It must not block, and not call the watcher.
func NewWatcher(log *slog.Logger, report func(Result)) *Watcher {
	return &Watcher{log: log, report: report, rescan: rescan, poke: make(chan struct{}, 1)}
}

// Scan scans now, with these entries from now on. A load of the configuration calls it. It
// does not call report.
func (w *Watcher) Scan(entries []Entry) Result {
	w.mu.Lock()
	defer w.mu.Unlock()
	same := slices.EqualFunc(entries, w.entries, func(a, b Entry) bool { return a.Pattern == b.Pattern })
	w.entries = slices.Clone(entries)
	if w.last = Scan(w.entries, time.Now(), w.last); same && w.last.Again.IsZero() {
		return w.last // Run has nothing to change
	}
	select {
	case w.poke <- struct{}{}:
	default: // it is poked already
	}
	return w.last
}

// Try returns what Scan would return, and remembers nothing.
func (w *Watcher) Try(entries []Entry) Result {
	w.mu.Lock()
	defer w.mu.Unlock()
	return Scan(entries, time.Now(), w.last)
}

// again scans with the present entries, and reports if something has changed.
func (w *Watcher) again() {
	w.mu.Lock()
	defer w.mu.Unlock()
	old := w.last
	w.last = Scan(w.entries, time.Now(), old)
	if !reflect.DeepEqual(w.last.Found, old.Found) || !sameRejected(w.last.Rejected, old.Rejected) {
		// Under the lock: reports and the results of Scan are in one order.
		w.report(w.last)
	}
}

// sameRejected reports whether the same is wrong as before. Files that are being changed now
// are of interest only when they no longer are.
func sameRejected(now, before []Rejected) bool {
	changing := map[string]bool{}
	for _, r := range now {
		changing[r.File] = r.Changing
	}
	known := func(r Rejected) bool { return changing[r.File] }
	now, before = slices.DeleteFunc(slices.Clone(now), known), slices.DeleteFunc(slices.Clone(before), known)
	return slices.EqualFunc(now, before, func(a, b Rejected) bool {
		return a.File == b.File && a.Kept == b.Kept && a.Err.Error() == b.Err.Error()
	})
}

// Run scans when a file may have changed, when [Result.Again] has come, and once a minute,
// until ctx ends.
func (w *Watcher) Run(ctx context.Context) error {
	v := view{armed: map[string]inode{}}
	defer func() {
		if v.w != nil {
			_ = v.w.Close() // an error has no consequence
		}
	}()
	wait := w.arm(&v)
	next := time.Now().Add(wait)
	timer := time.NewTimer(wait)
	defer timer.Stop()
	within := func(d time.Duration) { // never later than before
		if at := time.Now().Add(d); at.Before(next) {
			next = at
			timer.Reset(d)
		}
	}
	for {
		var events chan fsnotify.Event
		var errs chan error
		if v.w != nil {
			events, errs = v.w.Events, v.w.Errors
		}
		select {
		case <-ctx.Done():
			return nil
		case e := <-events:
			if v.concerns(e) {
				within(settle)
			}
		case _, ok := <-errs: // too many events, for instance
			if !ok {
				return errors.New("the watch of .env files ended")
			}
			within(settle)
		case <-w.poke:
			within(w.arm(&v))
		case <-timer.C:
			w.again()
			wait := w.arm(&v)
			next = time.Now().Add(wait)
			timer.Reset(wait)
		}
	}
}

// arm adapts what is watched to what is there, and returns how long to wait for the next scan.
func (w *Watcher) arm(v *view) time.Duration {
	w.mu.Lock()
	entries, last := w.entries, w.last
	w.mu.Unlock()
	wait := w.rescan
	if len(entries) == 0 && last.Again.IsZero() {
		wait = never // the machine may sleep
	}
	if !last.Again.IsZero() {
		wait = min(wait, max(time.Until(last.Again), 0))
	}
	if len(entries) == 0 && v.w == nil {
		return wait // a daemon without entries needs no inotify instance
	}
	var moved bool
	var err error
	if v.w == nil {
		v.w, err = fsnotify.NewWatcher() // nil if there are too many instances: tried again at the next scan
	}
	if v.w != nil {
		moved, err = v.arm(entries)
	}
	if err != nil && !v.told {
		v.told = true
		w.log.Warn("changes of some .env files are seen late, by a scan once a minute", "err", err)
	}
	if moved {
		wait = min(wait, settle) // changes since the last scan and before now were not seen
	}
	return wait
}

// A view has the directories that are watched.
type view struct {
	w     *fsnotify.Watcher
	armed map[string]inode    // by their names without links: a directory has one watch
	names map[string]struct{} // of the files that are looked for, without their directories
	above map[string]struct{} // directories in which a directory may appear that matters
	told  bool
}

// concerns reports whether an event may mean that a scan finds something else.
func (v *view) concerns(e fsnotify.Event) bool {
	if _, ok := v.names[filepath.Base(e.Name)]; ok {
		return true
	}
	if !e.Has(fsnotify.Create) && !e.Has(fsnotify.Remove) && !e.Has(fsnotify.Rename) {
		return false
	}
	_, ok := v.above[filepath.Dir(e.Name)]
	_, itself := v.armed[e.Name]
	return ok || itself
}

// arm watches the directories of all files that match, and those above them as far as a pattern
// has to be expanded. It reports whether it watches another directory than before. The error is
// that of one directory that it cannot watch.
func (v *view) arm(entries []Entry) (moved bool, err error) {
	dirs := map[string]inode{}
	v.names, v.above = map[string]struct{}{}, map[string]struct{}{}
	add := func(dir string) (target string) {
		target, err := filepath.EvalSymlinks(dir)
		var st unix.Stat_t
		if err != nil || unix.Stat(target, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFDIR {
			return "" // it may be there at the next scan
		}
		dirs[target] = inode{st.Dev, st.Ino}
		return target
	}
	for _, e := range entries {
		pattern, last := filepath.Split(filepath.Clean(e.Pattern))
		v.names[last] = struct{}{}
		for dir := filepath.Clean(pattern); ; dir = filepath.Dir(dir) {
			found, _ := filepath.Glob(dir)
			for _, d := range found {
				if target := add(d); target != "" && dir != filepath.Clean(pattern) {
					v.above[target] = struct{}{}
				}
			}
			if !strings.ContainsAny(dir, `*?[\`) && len(found) > 0 {
				break // what is above is not looked for, unless this is missing
			}
			if dir == "/" {
				break
			}
		}
		files, _ := filepath.Glob(e.Pattern)
		for _, f := range files {
			v.names[filepath.Base(f)] = struct{}{}
			if target, err := filepath.EvalSymlinks(f); err == nil && target != f {
				v.names[filepath.Base(target)] = struct{}{}
				add(filepath.Dir(target))
			}
		}
	}
	live := v.w.WatchList()
	for dir, id := range v.armed {
		// The inode number alone is not enough: a new directory may have the old one's.
		if dirs[dir] != id || !slices.Contains(live, dir) {
			_ = v.w.Remove(dir) // fails if the kernel has removed it already
			delete(v.armed, dir)
			moved = true
		}
	}
	for dir, id := range dirs {
		if _, ok := v.armed[dir]; ok {
			continue
		}
		switch e := v.w.Add(dir); {
		case e == nil:
			v.armed[dir] = id
			moved = true
		case errors.Is(e, fs.ErrNotExist), errors.Is(e, syscall.ENOTDIR): // it is gone again
			moved = true
		default:
			err = e
		}
	}
	return moved, err
}
