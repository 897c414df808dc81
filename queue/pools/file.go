package pools

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"

	"activationd/internal/fault"
)

// How long after a change the file is read, so that its writer has finished, and how often it
// is read if the kernel reports no change: it does not report all.
const (
	settle = 50 * time.Millisecond
	rescan = time.Minute
)

// A File keeps the rules that are in force: those of the configuration, and the list in a
// file, which it reads again when it has changed. It must not be copied.
type File struct {
	report func(Rules, error)
	poke   chan struct{}

	mu    sync.Mutex
	path  string // empty: there is none
	rules Rules
	err   error // of the last reading; then rules has the list of the last good one
	good  bool  // there was a good one; otherwise no queue is served
}

// NewFile returns a file without rules: all queues are served. Report is called with the
// rules each time that they have changed, or that the file can no longer be read, or can
// be again; the error says why not. It must not block, and not call the file.
func NewFile(report func(Rules, error)) *File {
	return &File{report: report, poke: make(chan struct{}, 1)}
}

// Configure takes the path of the file, which may be empty, and the patterns of the
// configuration, and reads the file.
func (f *File) Configure(path string, allow, deny []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	before, err := f.rules, f.err
	if path != f.path {
		f.rules.List, f.good = nil, false // the last good one was that of another file
	}
	f.path, f.rules.Allow, f.rules.Deny = path, allow, deny
	f.read()
	f.tell(before, err)
	select {
	case f.poke <- struct{}{}:
	default: // it is poked already
	}
}

// Rules returns the rules that are in force.
func (f *File) Rules() Rules {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.rules
}

// Err returns why the file could not be read last, or nil.
func (f *File) Err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// Change replaces the list by what change makes of it; a nil list is that of no file. It
// refuses to change a file that cannot be read.
func (f *File) Change(_ context.Context, change func(*List) *List) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.path == "" {
		return fmt.Errorf("the configuration names no file for the list; add to it the line \"queues: {pools: pools.json}\" and reload it: %w", fault.Conflict)
	}
	before, wrong := f.rules, f.err
	f.read()
	if f.err != nil {
		f.tell(before, wrong)
		return fmt.Errorf("%s; repair the file first: %w", fault.Text(f.err), fault.Of(f.err))
	}
	list := change(f.rules.List)
	if !reflect.DeepEqual(list.Entries(), f.rules.List.Entries()) || (list == nil) != (f.rules.List == nil) {
		if err := list.Write(f.path); err != nil {
			return err
		}
		f.read()
	}
	f.tell(before, wrong)
	return f.err
}

func (f *File) read() {
	if f.err = nil; f.path == "" {
		return
	}
	list, err := Read(f.path)
	f.err = err
	switch {
	case err == nil:
		f.rules.List, f.good = list, true
	case !f.good: // nobody knows what is in it
		f.rules.List = &List{name: filepath.Base(f.path), broken: true}
	}
}

// tell reports what has changed.
func (f *File) tell(before Rules, err error) {
	if !reflect.DeepEqual(before, f.rules) || fmt.Sprint(err) != fmt.Sprint(f.err) {
		f.report(f.rules, f.err)
	}
}

func (f *File) again() {
	f.mu.Lock()
	defer f.mu.Unlock()
	before, err := f.rules, f.err
	f.read()
	f.tell(before, err)
}

// Run reads the file when it may have changed, until ctx ends.
func (f *File) Run(ctx context.Context) error {
	var watcher *fsnotify.Watcher
	dir := "" // that is watched
	defer func() {
		if watcher != nil {
			_ = watcher.Close() // an error has no consequence
		}
	}()
	timer := time.NewTimer(rescan)
	defer timer.Stop()
	for {
		f.mu.Lock()
		path := f.path
		f.mu.Unlock()
		if now := filepath.Dir(path); path != "" && (watcher == nil || now != dir) {
			if watcher != nil {
				_ = watcher.Close()
			}
			watcher, dir = watch(now), now
			f.again() // it may have changed before the watch began
		}
		var events chan fsnotify.Event
		var errs chan error
		if watcher != nil {
			events, errs = watcher.Events, watcher.Errors
		}
		select {
		case <-ctx.Done():
			return nil
		case <-f.poke:
		case e := <-events:
			if filepath.Base(e.Name) == filepath.Base(path) {
				timer.Reset(settle)
			}
		case _, ok := <-errs: // too many events, for instance
			if !ok {
				return errors.New("the watch of the list of queues ended")
			}
			timer.Reset(settle)
		case <-timer.C:
			f.again()
			timer.Reset(rescan)
		}
	}
}

// watch watches a directory; nil: it cannot be, and the file is only read from time to time.
func watch(dir string) *fsnotify.Watcher {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return nil
	}
	if err := w.Add(dir); err != nil {
		_ = w.Close()
		return nil
	}
	return w
}
