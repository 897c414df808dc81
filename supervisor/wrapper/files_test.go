package wrapper

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestParseStat(t *testing.T) {
	const rest = " S 1 101 100 0 -1 4194560 126 0 0 0 0 0 0 0 20 0 1 0 123456 3000000 250 18446744073709551615 1"
	tests := []struct {
		line string
		want Process
		ok   bool
	}{
		{"101 (sh)" + rest, Process{101, 1, 101, 100, 'S', 1, 1234560 * time.Millisecond}, true},
		{"101 (a) S 9 9 9 (b c)" + rest, Process{101, 1, 101, 100, 'S', 1, 1234560 * time.Millisecond}, true},
		{"101 (" + rest, Process{}, false},
		{"101 (sh) S 1", Process{}, false},
		{"", Process{}, false},
	}
	for _, tt := range tests {
		got, ok := parseStat(tt.line)
		if ok != tt.ok || ok && got != tt.want {
			t.Errorf("parseStat(%q) = %+v, %v, want %+v, %v", tt.line, got, ok, tt.want, tt.ok)
		}
	}
	self, ok := Stat(os.Getpid())
	if !ok || self.PID != os.Getpid() || self.Parent != os.Getppid() || !self.Same(boottime()) || self.Same(0) {
		t.Errorf("Stat of this process = %+v, %v", self, ok)
	}
}

func openDir(t *testing.T, path string) int {
	t.Helper()
	fd, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_DIRECTORY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeFD(fd) })
	return fd
}

// The configuration directory is moved into the run's directory, on the same file system
// and to another one, and no link is followed out of it.
func TestSaveConfig(t *testing.T) {
	for _, place := range []string{"", "/dev/shm"} {
		t.Run("from "+place, func(t *testing.T) {
			root, err := os.MkdirTemp(place, "config")
			if err != nil {
				t.Skipf("no other file system: %v", err)
			}
			defer func() { _ = os.RemoveAll(root) }()
			run := t.TempDir()
			secret := filepath.Join(t.TempDir(), "secret")
			from := filepath.Join(root, "123")
			steps := []error{
				os.WriteFile(secret, []byte("secret"), 0o600),
				os.MkdirAll(filepath.Join(from, "a", "b"), 0o700),
				os.WriteFile(filepath.Join(from, "sw1"), []byte("one"), 0o644),
				os.WriteFile(filepath.Join(from, "a", "b", "sw2"), []byte(strings.Repeat("x", 200_000)), 0o600),
				os.Symlink(secret, filepath.Join(from, "link")),
				os.Symlink(filepath.Dir(secret), filepath.Join(from, "linkdir")),
				syscall.Mkfifo(filepath.Join(from, "fifo"), 0o600),
			}
			for _, err := range steps {
				if err != nil {
					t.Fatal(err)
				}
			}
			if err := SaveConfig(from, openDir(t, run)); err != nil {
				t.Errorf("SaveConfig = %v", err)
			}
			if _, err := os.Lstat(from); err == nil {
				t.Error("the directory is still there")
			}
			for name, want := range map[string]int{"sw1": 3, "a/b/sw2": 200_000} {
				if got, err := os.ReadFile(filepath.Join(run, ConfigDir, name)); err != nil || len(got) != want {
					t.Errorf("%s: %d bytes, %v, want %d", name, len(got), err, want)
				}
			}
			if to, err := os.Readlink(filepath.Join(run, ConfigDir, "link")); err != nil || to != secret {
				t.Errorf("link = %q, %v", to, err)
			}
			if _, err := os.Stat(secret); err != nil {
				t.Error("what a link leads to was moved")
			}
		})
	}
}

// A mount on the directory is not in the way of the next directory of that name.
func TestSaveConfigUnmounts(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to mount")
	}
	dir := t.TempDir()
	from, run := filepath.Join(dir, "123"), filepath.Join(dir, "run")
	for _, err := range []error{os.Mkdir(from, 0o700), os.Mkdir(run, 0o700)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if err := syscall.Mount("none", from, "tmpfs", 0, ""); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		for syscall.Unmount(from, syscall.MNT_DETACH) == nil { // what a failure has left
		}
	})
	if err := SaveConfig(from, openDir(t, run)); err != nil {
		t.Errorf("SaveConfig = %v", err)
	}
	if _, err := os.Lstat(from); err == nil {
		t.Error("the directory is still there")
	}
}

// Files that exceed the bounds are not copied, but reported, and removed all the same.
func TestSaveConfigIsBounded(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	for i := range 5 {
		if err := os.WriteFile(filepath.Join(from, fmt.Sprint(i)), make([]byte, 100), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	m := mover{bytes: 250, files: 100}
	m.dir(openDir(t, from), openDir(t, to), ConfigDir, 4)
	if m.err != syscall.EFBIG {
		t.Errorf("err = %v, want EFBIG", m.err)
	}
	left, _ := os.ReadDir(from)
	kept, _ := os.ReadDir(filepath.Join(to, ConfigDir))
	if len(left) != 0 || len(kept) != 2 {
		t.Errorf("%d left, %d kept, want 0, 2", len(left), len(kept))
	}
}

// Directories that are too deep to be copied are removed, too, whatever names their entries
// have.
func TestSaveConfigIsDeep(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	at, err := openat(unix.AT_FDCWD, from, syscall.O_RDONLY|syscall.O_DIRECTORY, 0)
	if err != nil {
		t.Fatal(err)
	}
	for range 2500 { // deeper than a path can say
		for _, name := range []string{"d", "1", "2"} {
			if err := unix.Mkdirat(at, name, 0o700); err != nil {
				t.Fatal(err)
			}
		}
		if err := unix.Mknodat(at, "f", unix.S_IFREG, 0); err != nil {
			t.Fatal(err)
		}
		next, err := openat(at, "d", syscall.O_RDONLY|syscall.O_DIRECTORY, 0)
		closeFD(at)
		if err != nil {
			t.Fatal(err)
		}
		at = next
	}
	closeFD(at)
	m := mover{bytes: saveBytes, files: saveFiles}
	m.dir(openDir(t, from), openDir(t, to), ConfigDir, saveDepth)
	if m.err != syscall.EFBIG {
		t.Errorf("err = %v, want EFBIG", m.err)
	}
	if left, _ := os.ReadDir(from); len(left) != 0 {
		t.Errorf("%v is left", left)
	}
	if _, err := os.Stat(filepath.Join(to, ConfigDir, strings.Repeat("d/", saveDepth-1)+"f")); err != nil {
		t.Errorf("what is not too deep was not copied: %v", err)
	}
}

// A read-only directory is moved, too. Root could write to it in any case.
func TestSaveConfigIsReadOnly(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	for _, name := range []string{"a", "a/b", "a/b/c", "a/b/c/d", "a/b/c/d/e"} {
		if err := os.Mkdir(filepath.Join(from, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"", "a", "a/b", "a/b/c", "a/b/c/d/e"} {
		if err := os.WriteFile(filepath.Join(from, name, "file"), nil, 0o400); err != nil {
			t.Fatal(err)
		}
	}
	const nobody = 65534
	modes := map[string]os.FileMode{"a/b/c/d/e": 0, "a/b/c/d": 0, "a/b/c": 0o500, "a/b": 0o500, "a": 0o500}
	for _, name := range slices.Backward(slices.Sorted(maps.Keys(modes))) { // the deepest first, while it can be reached
		if err := os.Chmod(filepath.Join(from, name), modes[name]); err != nil {
			t.Fatal(err)
		}
	}
	if os.Getuid() == 0 {
		for _, dir := range []string{from, to} {
			err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
				return errors.Join(err, os.Chown(path, nobody, nobody))
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	m := mover{bytes: saveBytes, files: saveFiles}
	fromFD, toFD := openDir(t, from), openDir(t, to)
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and it ends with the goroutine: it is not to be used again
		if os.Getuid() == 0 {
			if _, _, err := unix.RawSyscall(unix.SYS_SETRESUID, nobody, nobody, nobody); err != 0 {
				t.Errorf("setresuid: %v", err)
				return
			}
		}
		m.dir(fromFD, toFD, ConfigDir, 2) // a/b/c is too deep for a copy
	}()
	<-done
	if m.err != syscall.EFBIG {
		t.Errorf("err = %v, want EFBIG", m.err)
	}
	if left, _ := os.ReadDir(from); len(left) != 0 {
		t.Errorf("%v is left", left)
	}
}

// A file system that is mounted in a removed directory is not entered.
func TestRemoveTreeEntersNoMount(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to mount")
	}
	dir := t.TempDir()
	for _, place := range []string{"x/m", "x/a/b/m"} {
		if err := os.MkdirAll(filepath.Join(dir, place), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Mount("none", filepath.Join(dir, place), "tmpfs", 0, ""); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, place, "file"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	fds := []int{openDir(t, dir+"/x/m"), openDir(t, dir+"/x/a/b/m")}
	t.Cleanup(func() {
		err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			if err == nil && d.Name() == "m" {
				if err = syscall.Unmount(path, syscall.MNT_DETACH); err == nil {
					err = filepath.SkipDir
				}
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	})
	if err := RemoveTree(dir, "x", func() bool { return false }); err == nil {
		t.Error("it says that it is removed")
	}
	for _, fd := range fds {
		if err := unix.Faccessat(fd, "file", unix.F_OK, 0); err != nil {
			t.Errorf("what is mounted was entered: %v", err)
		}
	}
}

func TestCandidates(t *testing.T) {
	tests := []struct {
		name string
		env  []string
		want string
	}{
		{"/bin/sh", []string{"PATH=/x"}, "/bin/sh"},
		{"./sh", nil, "./sh"},
		{"sh", []string{"PATH=/a::/b"}, "/a/sh ./sh /b/sh"},
		{"sh", nil, "/usr/local/sbin/sh /usr/local/bin/sh /usr/sbin/sh /usr/bin/sh /sbin/sh /bin/sh"},
	}
	for _, tt := range tests {
		if got := strings.Join(candidates(tt.name, tt.env), " "); got != tt.want {
			t.Errorf("candidates(%q, %q) = %q, want %q", tt.name, tt.env, got, tt.want)
		}
	}
}
