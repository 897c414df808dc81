package ops

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"activationd/activation"
	"activationd/control"
	"activationd/internal/fault"
)

// logPiece is how many bytes of output go into one line at most.
const logPiece = 64 << 10

// logs sends an attempt's output, and, if asked to follow, what is added to it
// until the attempt has ended.
func (d Daemon) logs(ctx context.Context, c control.Caller, in control.LogIn, send func(control.LogOut) error) error {
	path, err := d.Engine.LogFile(ctx, by(c), in.ID, in.Phase, in.Attempt)
	switch {
	case errors.Is(err, activation.ErrNoAttempt) && in.Follow:
		if path, err = d.firstLog(ctx, c, in); err != nil {
			return err
		}
	case err != nil:
		return err
	}
	if !in.Follow {
		f, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it has not begun to write, or its evidence is gone
		}
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		return copyLog(f, send)
	}
	return d.follow(ctx, in.ID, path, send)
}

// firstLog waits until there is an attempt.
func (d Daemon) firstLog(ctx context.Context, c control.Caller, in control.LogIn) (path string, err error) {
	since := d.Engine.Newest()
	errFound := errors.New("found")
	look := func(activation.Happening) error {
		path, err = d.Engine.LogFile(ctx, by(c), in.ID, in.Phase, in.Attempt)
		if err == nil {
			return errFound
		}
		if !errors.Is(err, activation.ErrNoAttempt) {
			return err
		}
		v, err := d.Engine.Get(ctx, in.ID)
		if err != nil {
			return err
		}
		if v.State == activation.Finished {
			return fmt.Errorf("%s is %s and never ran: %w", in.ID, v.Outcome, fault.NotFound)
		}
		return nil
	}
	if err := look(activation.Happening{}); err == nil {
		err = d.Engine.Follow(ctx, since, concerns(in.ID, since, look))
		if !errors.Is(err, errFound) {
			return "", err
		}
	} else if !errors.Is(err, errFound) {
		return "", err
	}
	return path, nil
}

// concerns calls fn for what may concern one activation: happenings with its id,
// and the first one after some that were missed.
func concerns(id string, since uint64, fn func(activation.Happening) error) func(activation.Happening) error {
	last := since
	return func(h activation.Happening) error {
		missed := h.Seq != last+1
		last = h.Seq
		if h.ID != id && !missed {
			return nil
		}
		return fn(h)
	}
}

// follow copies a log as it grows. It is woken by the kernel when the file
// changes, and by the engine when the attempt ends.
func (d Daemon) follow(ctx context.Context, id, path string, send func(control.LogOut) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	since := d.Engine.Newest()
	f, err := waitFor(ctx, path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	grown, err := watchFile(ctx, path)
	if err != nil {
		return err
	}
	happened := make(chan struct{}, 1)
	done := make(chan struct{})
	defer func() { cancel(); <-done }()
	go func() {
		defer close(done)
		_ = d.Engine.Follow(ctx, since, concerns(id, since, func(activation.Happening) error {
			token(happened)
			return nil
		}))
	}()
	for {
		running, err := d.Engine.Writes(ctx, id, filepath.Base(filepath.Dir(path)))
		if err != nil && !errors.Is(err, fault.NotFound) {
			return err
		}
		if err := copyLog(f, send); err != nil || !running {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-grown:
		case <-happened:
		}
	}
}

func token(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // one is there
	}
}

// waitFor opens a file that is about to be made by the wrapper, which takes a
// few milliseconds; it looks again and again, for a bounded while.
func waitFor(ctx context.Context, path string) (*os.File, error) {
	const pause, tries = 20 * time.Millisecond, 500
	for range tries {
		f, err := os.Open(path)
		if !errors.Is(err, fs.ErrNotExist) {
			return f, err
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(pause):
		}
	}
	return nil, fmt.Errorf("the attempt has no output: %w", fault.NotFound)
}

// watchFile returns a channel with a token in it whenever the file may have
// changed, until ctx is done.
func watchFile(ctx context.Context, path string) (<-chan struct{}, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("inotify: %w", err)
	}
	f := os.NewFile(uintptr(fd), "inotify")
	if _, err := unix.InotifyAddWatch(fd, path, unix.IN_MODIFY); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("inotify: %w", err)
	}
	grown := make(chan struct{}, 1)
	context.AfterFunc(ctx, func() { _ = f.Close() }) // ends the goroutine
	go func() {
		buf := make([]byte, 4096)
		for {
			if _, err := f.Read(buf); err != nil {
				return
			}
			token(grown)
		}
	}()
	return grown, nil
}

// copyLog sends what is left to read of f. A piece ends between two characters
// where it can, so that text stays text.
func copyLog(f io.Reader, send func(control.LogOut) error) error {
	buf := make([]byte, 0, logPiece)
	for {
		n, err := f.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		end := err != nil
		if whole := wholeRunes(buf, end); whole > 0 {
			out := control.LogOut{Text: string(buf[:whole])}
			if !utf8.Valid(buf[:whole]) {
				out = control.LogOut{Base64: base64.StdEncoding.EncodeToString(buf[:whole])}
			}
			if err := send(out); err != nil {
				return err
			}
			buf = append(buf[:0], buf[whole:]...)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// wholeRunes is the length of the part of b that does not end within a character.
func wholeRunes(b []byte, all bool) int {
	if all {
		return len(b)
	}
	for i := 1; i < utf8.UTFMax && i <= len(b); i++ {
		if c := b[len(b)-i]; utf8.RuneStart(c) {
			if !utf8.FullRune(b[len(b)-i:]) {
				return len(b) - i
			}
			break
		}
	}
	return len(b)
}
