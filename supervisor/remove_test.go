package supervisor_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"activationd/internal/fault"
	"activationd/supervisor"
)

// deep makes a directory with others in it, each in the one before, and a file and
// a link in each.
func deep(t *testing.T, path string, levels int) {
	t.Helper()
	if err := os.MkdirAll(path, 0o700); err != nil {
		t.Fatal(err)
	}
	at, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	for range levels {
		err := errors.Join(unix.Mkdirat(at, "d", 0o500), unix.Mknodat(at, "1", unix.S_IFREG, 0), unix.Symlinkat("..", at, "link"))
		next, e := unix.Openat(at, "d", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err := errors.Join(err, e, unix.Fchmod(next, 0o700), unix.Close(at)); err != nil {
			t.Fatal(err)
		}
		at = next
	}
	if err := unix.Close(at); err != nil {
		t.Fatal(err)
	}
}

// fewFiles leaves this process no more than some descriptors more.
func fewFiles(t *testing.T) {
	t.Helper()
	var was unix.Rlimit
	open, err := os.ReadDir("/proc/self/fd")
	if err = errors.Join(err, unix.Getrlimit(unix.RLIMIT_NOFILE, &was)); err != nil {
		t.Fatal(err)
	}
	few := was
	few.Cur = uint64(len(open) + 8)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &few); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
			t.Error(err)
		}
	})
}

// TestDeepTreesAreRemoved removes what a run's user left, of a depth for which there
// are no descriptors, at once and in turns.
func TestDeepTreesAreRemoved(t *testing.T) {
	const levels = 10_000
	t.Setenv("TMPDIR", "/dev/shm") // ext4 is slow to make what is like what was just removed
	b := newBench(t, "")
	k := supervisor.Key{ID: "1", Phase: "activate", N: 1}
	for _, tt := range []struct {
		name, dir string
		remove    func(context.Context) error
	}{
		{"run directory", b.RunDir(k) + "/config", func(ctx context.Context) error { return b.Remove(ctx, k) }},
		{"work directory", b.config.WorkdirsDir + "/1@x", func(ctx context.Context) error { return b.RemoveWorkdir(ctx, "1@x") }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			fewFiles(t)
			deep(t, tt.dir, levels)
			if err := tt.remove(t.Context()); err != nil {
				t.Error(err)
			}
			if _, err := os.Lstat(tt.dir); err == nil {
				t.Fatal("it is still there")
			}
			deep(t, tt.dir, levels)
			turns := 1
			for ; ; turns++ {
				err := tt.remove(&turn{t.Context(), levels})
				if err == nil {
					break
				}
				if !errors.Is(err, fault.Unavailable) || !errors.Is(err, context.DeadlineExceeded) {
					t.Fatalf("in a turn: %v", err)
				}
			}
			if _, err := os.Lstat(tt.dir); err == nil || turns < 3 {
				t.Errorf("after %d turns: %v, want it removed in several", turns, err)
			}
		})
	}
	t.Run("a namesake's", func(t *testing.T) {
		dir := filepath.Join(b.config.ConfigRoot, "7.old-1")
		fewFiles(t)
		deep(t, dir, levels)
		b.reopen()
		b.await("the removal of "+dir, func() bool { _, err := os.Lstat(dir); return err != nil })
	})
}

// A turn is a context that is done after it was asked so often.
type turn struct {
	context.Context
	left int
}

func (c *turn) Err() error {
	if c.left--; c.left < 0 {
		return context.DeadlineExceeded
	}
	return nil
}
