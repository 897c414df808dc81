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

// lockDevice waits for the right to write to a device, which one process at a time has.
// Waiting processes get it in the order in which they came. The right ends with unlock or with
// the process.
func (w *Work) lockDevice(ctx context.Context, name string) (unlock func(), err error) {
	if w.Locks == "" {
		return func() {}, nil
	}
	if err := os.MkdirAll(w.Locks, 0o700); err != nil {
		return nil, fmt.Errorf("%s: creating the directory of device locks: %w: %w", name, err, fault.Denied)
	}
	file := filepath.Join(w.Locks, name+".lock")
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) { // O_CREAT would be refused for the file of another user in a directory that everybody may write to
		f, err = os.OpenFile(file, os.O_RDWR|os.O_CREATE, 0o666)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", name, err, fault.Denied)
	}
	// Root by hand and the user of the scripts wait for each other; nobody else can enter the
	// directory. If this fails, the file belongs to another user, who has set the mode.
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
			return func() { _ = f.Close() }, nil // closing unlocks
		case <-slow.C:
			w.say(name, "waits for %s", holder(f))
		case <-ctx.Done():
			go func() { _ = errors.Join(<-got, f.Close()) }() // a lock that is granted too late is released
			return nil, fmt.Errorf("%s: is in use by %s: %w: %w", name, holder(f), context.Cause(ctx), fault.Unavailable)
		}
	}
}

// sign writes into the file who has the lock, for the messages of waiting processes.
func (w *Work) sign(f *os.File) {
	text := fmt.Sprintf("%s (process %d)\n", ifElse(w.Activation == "", "somebody by hand", w.Activation), os.Getpid())
	if f.Truncate(0) == nil {
		_, _ = f.WriteAt([]byte(text), 0) // it is only for messages
	}
}

func holder(f *os.File) string {
	text, err := io.ReadAll(io.NewSectionReader(f, 0, 1000))
	if err != nil || len(text) == 0 {
		return "somebody"
	}
	return strings.TrimSpace(string(text))
}
