package bolt_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"activationd/internal/fault"
	"activationd/store"
	"activationd/store/bolt"
)

// refusal is a system call that fails from now on.
type refusal struct {
	nr    uintptr
	below uint32 // for pwrite64: only at smaller offsets; 0 for all
	errno syscall.Errno
}

// The meta pages are the first two.
var refusals = map[string]refusal{
	"fdatasync EIO":     {nr: unix.SYS_FDATASYNC, errno: unix.EIO},
	"fdatasync ENOSPC":  {nr: unix.SYS_FDATASYNC, errno: unix.ENOSPC},
	"grow fsync EIO":    {nr: unix.SYS_FSYNC, errno: unix.EIO},
	"write EIO":         {nr: unix.SYS_PWRITE64, errno: unix.EIO},
	"meta write EIO":    {nr: unix.SYS_PWRITE64, below: 8192, errno: unix.EIO},
	"write ENOSPC":      {nr: unix.SYS_PWRITE64, errno: unix.ENOSPC},
	"write EDQUOT":      {nr: unix.SYS_PWRITE64, errno: unix.EDQUOT},
	"meta write ENOSPC": {nr: unix.SYS_PWRITE64, below: 8192, errno: unix.ENOSPC},
	"grow ENOSPC":       {nr: unix.SYS_FTRUNCATE, errno: unix.ENOSPC},
}

// refuse makes the kernel refuse a system call of this process, for good.
func refuse(r refusal) error {
	const nr, offset = 0, 16 + 3*8 // in struct seccomp_data; the low half of pwrite64's
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: nr},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: uint32(r.nr), Jf: 3},
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset},
		{Code: unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K, K: r.below, Jt: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(r.errno)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	if r.below == 0 { // the offset does not matter
		filter[1].Jf = 1
		filter = slices.Delete(filter, 2, 4)
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog)))
	runtime.KeepAlive(filter)
	if errno != 0 {
		return errno
	}
	return nil
}

// refused is a child process: it writes, is refused, and prints which error it got.
func refused(path string) error {
	db, err := bolt.Open(path)
	if err != nil {
		return err
	}
	ctx := context.Background()
	put := func(key string, size int) error {
		return db.Update(ctx, func(tx store.Tx) error { return tx.Put(key, make([]byte, size)) })
	}
	if err := put("before", 10); err != nil {
		return err
	}
	if err := refuse(refusals[os.Getenv("BOLT_TEST_REFUSE")]); err != nil {
		return err
	}
	size := 10
	if strings.HasPrefix(os.Getenv("BOLT_TEST_REFUSE"), "grow") {
		size = 64 << 20 // more than the file has
	}
	for range 3 {
		err = put("refused", size)
		failed := false
		select {
		case <-db.Failed():
			failed = true
		default:
		}
		look := db.View(ctx, func(tx store.Tx) error {
			if tx.Get("before") == nil || tx.Get("refused") != nil {
				return errors.New("has not what was there before")
			}
			return nil
		})
		fmt.Printf("%s %v %v\n", fault.Of(err), failed, look == nil)
	}
	fmt.Println(err)
	return db.Close()
}

func TestRefusedSystemCalls(t *testing.T) {
	const goesOn = "unavailable false true\n"
	const over = "internal true false\n"
	for name := range refusals {
		want := over
		if strings.HasSuffix(name, "write ENOSPC") || name == "write EDQUOT" || name == "grow ENOSPC" {
			want = goesOn
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "state.db")
			cmd := inChild(t, "refused", path)
			cmd.Env = append(cmd.Env, "BOLT_TEST_REFUSE="+name)
			out, err := cmd.CombinedOutput()
			if err != nil {
				if strings.Contains(string(out), unix.EPERM.Error()) || strings.Contains(string(out), unix.EINVAL.Error()) {
					t.Skipf("no seccomp filters here: %s", out)
				}
				t.Fatalf("%v: %s", err, out)
			}
			if !strings.HasPrefix(string(out), strings.Repeat(want, 3)) {
				t.Errorf("kind, failed for good, can be read:\n%swant three times %s", out, want)
			}
			if !strings.Contains(string(out), path) {
				t.Errorf("the error does not name the file: %s", out)
			}
			if err := bolt.Check(path); err != nil {
				t.Error(err)
			}
			db := open(t, path)
			err = db.View(t.Context(), func(tx store.Tx) error {
				if tx.Get("before") == nil {
					t.Error("what was acknowledged is not there")
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// A full disk refuses further writes, keeps the acknowledged ones, and continues when
// there is space.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=8m"); err != nil {
		t.Skipf("cannot mount a small tmpfs (it takes root): %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	path, ballast := filepath.Join(dir, "state.db"), filepath.Join(dir, "ballast")
	db := open(t, path)
	const callers = 8
	var mu sync.Mutex
	acked := map[string]int{}
	kept := func(when string) {
		t.Helper()
		err := db.View(t.Context(), func(tx store.Tx) error {
			n := 0
			for k, v := range tx.Scan("", "") {
				if n++; acked[k] != len(v) {
					t.Errorf("%s: %s has %d bytes, acknowledged %d", when, k, len(v), acked[k])
				}
			}
			if n != len(acked) {
				t.Errorf("%s: %d keys, acknowledged %d", when, n, len(acked))
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for round := range 5 {
		if err := os.WriteFile(ballast, make([]byte, 2<<20), 0o600); err != nil && !errors.Is(err, unix.ENOSPC) {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for c := range callers {
			wg.Go(func() {
				for i := range 1000 {
					key, size := fmt.Sprintf("%d/%d/%d", round, c, i), 500+i*997%20_000
					err := db.Update(t.Context(), func(tx store.Tx) error { return tx.Put(key, make([]byte, size)) })
					if errors.Is(err, fault.Unavailable) {
						return // full
					}
					if err != nil {
						t.Errorf("Update = %v", err)
						return
					}
					mu.Lock()
					acked[key] = size
					mu.Unlock()
				}
				t.Error("the disk is not full after much")
			})
		}
		wg.Wait()
		kept("full")
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
		err := db.Update(t.Context(), func(tx store.Tx) error { // and make some more
			for k := range tx.Scan("", "") {
				if err := tx.Delete(k); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatalf("round %d, with space again: %v", round, err)
		}
		clear(acked)
		kept("emptied")
	}
	select {
	case <-db.Failed():
		t.Errorf("failed for good: %v", db.Err())
	default:
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
	if err := bolt.Check(path); err != nil {
		t.Error(err)
	}
}

// If there is no space to make the file, not even a part of it is left.
func TestCreateOnFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=8k"); err != nil {
		t.Skipf("cannot mount a small tmpfs (it takes root): %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, 0) })
	_, err := bolt.Open(filepath.Join(dir, "state.db"))
	if !errors.Is(err, fault.Unavailable) {
		t.Errorf("Open = %v, want %v", err, fault.Unavailable)
	}
	if names, _ := filepath.Glob(filepath.Join(dir, "*")); len(names) > 0 {
		t.Errorf("left behind: %v", names)
	}
}
