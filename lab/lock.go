package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"activationd/internal/fault"
)

// lockDevice takes the right to write to a device: one at a time has it, whatever his
// process, first come first served. It ends with unlock or with the process.
func (w *Work) lockDevice(ctx context.Context, name string) (unlock func(), err error) {
	if w.Locks == "" {
		return func() {}, nil
	}
	if err := os.MkdirAll(w.Locks, 0o700); err != nil {
		return nil, fmt.Errorf("%s: where those who write to devices wait for each other: %w: %w", name, err, fault.Denied)
	}
	file := filepath.Join(w.Locks, name+".lock")
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) { // and only then: of another's file in a directory for all O_CREAT is refused
		f, err = os.OpenFile(file, os.O_RDWR|os.O_CREATE, 0o666)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", name, err, fault.Denied)
	}
	// Root by hand and the scripts' user wait for each other. Nobody else comes into the
	// directory. It is another's file if that fails, who has done it.
	_ = f.Chmod(0o666)
	got := make(chan error, 1)
	go func() {
		for {
			err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
			if !errors.Is(err, syscall.EINTR) {
				got <- err
				return
			}
		}
	}()
	slow := time.NewTimer(2 * time.Second)
	defer slow.Stop()
	for {
		select {
		case err := <-got:
			if err != nil {
				_ = f.Close()
				return nil, fmt.Errorf("%s: locking %s: %w: %w", name, file, err, fault.Unavailable)
			}
			w.sign(f)
			return func() { _ = f.Close() }, nil // which is what unlocks
		case <-slow.C:
			w.say(name, "waits for %s", holder(f))
		case <-ctx.Done():
			go func() { _ = errors.Join(<-got, f.Close()) }() // one that comes too late is let go
			return nil, fmt.Errorf("%s: is in use by %s: %w: %w", name, holder(f), context.Cause(ctx), fault.Unavailable)
		}
	}
}

// sign writes who has the lock into its file, for those who wait.
func (w *Work) sign(f *os.File) {
	text := fmt.Sprintf("%s (process %d)\n", ifElse(w.Activation == "", "somebody by hand", w.Activation), os.Getpid())
	if f.Truncate(0) == nil {
		_, _ = f.WriteAt([]byte(text), 0) // nothing depends on it
	}
}

func holder(f *os.File) string {
	text, err := io.ReadAll(io.NewSectionReader(f, 0, 1000))
	if err != nil || len(text) == 0 {
		return "somebody"
	}
	return strings.TrimSpace(string(text))
}
