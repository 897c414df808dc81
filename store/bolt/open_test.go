package bolt_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"activationd/internal/fault"
	"activationd/store"
	"activationd/store/bolt"
)

// sample makes a file with pages of all kinds, some of them free, and returns its
// content.
func sample(t *testing.T) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "state.db")
	db, err := bolt.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		err := db.Update(t.Context(), func(tx store.Tx) error {
			for n := range 200 {
				if err := tx.Put(fmt.Sprintf("key/%04d", (n*7+i)%300), bytes.Repeat([]byte{byte(n)}, 1+n*n%3000)); err != nil {
					return err
				}
			}
			return tx.Put("many pages", make([]byte, 20_000))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data[:hwm(data)*pageSize]
}

const pageSize = 4096

// meta lets fn change the newest meta page, and corrects its checksum.
func meta(data []byte, fn func(m []byte)) []byte {
	data = bytes.Clone(data)
	order := binary.NativeEndian
	m := data[16:80]
	if other := data[pageSize+16 : pageSize+80]; order.Uint64(other[48:]) > order.Uint64(m[48:]) {
		m = other
	}
	fn(m)
	sum := fnv.New64a()
	_, _ = sum.Write(m[:56])
	order.PutUint64(m[56:], sum.Sum64())
	return data
}

// hwm returns how many pages are in use.
func hwm(data []byte) (n uint64) {
	meta(data, func(m []byte) { n = binary.NativeEndian.Uint64(m[40:]) })
	return n
}

// change returns a copy of data with other bytes at a place.
func change(data []byte, at int, to ...byte) []byte {
	data = bytes.Clone(data)
	copy(data[at:], to)
	return data
}

func TestDamagedFile(t *testing.T) {
	good := sample(t)
	pages := int(hwm(good))
	var freelist, root int
	meta(good, func(m []byte) {
		root = int(binary.NativeEndian.Uint64(m[16:])) * pageSize
		freelist = int(binary.NativeEndian.Uint64(m[32:])) * pageSize
	})
	tests := []struct {
		name string
		data []byte
		want string // a part of the message
	}{
		{"empty", nil, "it is empty"},
		{"one byte", good[:1], "cut off"},
		{"cut in the first page", good[:100], "cut off"},
		{"cut after the first page", good[:pageSize], "cut off"},
		{"cut in the middle", good[:pages/2*pageSize], "cut off"},
		{"cut a byte before its end", good[:pages*pageSize-1], "cut off"},
		{"text", bytes.Repeat([]byte("hello, world\n"), 10_000), "not those of a state file"},
		{"zeros", make([]byte, 1<<20), "not those of a state file"},
		{"both checksums", change(change(good, 70, 1, 2, 3), pageSize+70, 1, 2, 3), "checksum"},
		{"another format", meta(meta(good, func(m []byte) { m[4] = 9 }), func(m []byte) { m[4] = 9 }), ""},
		{"root beyond the end", meta(good, func(m []byte) { binary.NativeEndian.PutUint64(m[16:], 1<<30) }), "contradict"},
		{"more pages than bytes", meta(good, func(m []byte) { binary.NativeEndian.PutUint64(m[40:], 1<<30) }), "cut off"},
		{"list of free pages is a meta page", meta(good, func(m []byte) { binary.NativeEndian.PutUint64(m[32:], 1) }), "page 1"},
		{"list of free pages is another page", change(good, freelist, 0xFF), "says that it is"},
		{"list of free pages has too many", change(good, freelist+10, 0xFF, 0x7F), "free pages"},
		{"list of free pages has page 0", change(good, freelist+16, make([]byte, 8)...), "free pages"},
		{"root bucket's page", change(good, root, bytes.Repeat([]byte{0xA5}, pageSize)...), ""},
		{"root bucket's page of zeros", change(good, root, make([]byte, pageSize)...), ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "state.db")
			if err := os.WriteFile(path, tt.data, 0o600); err != nil {
				t.Fatal(err)
			}
			if tt.name == "another format" { // only in the newest meta page; the older one still works
				open(t, path)
				return
			}
			for range 2 { // the first leaves no lock behind
				_, err := bolt.Open(path)
				checkDamaged(t, "Open", err, path, tt.want)
				checkDamaged(t, "Check", bolt.Check(path), path, tt.want)
			}
			if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, tt.data) {
				t.Errorf("the file was changed, or %v", err)
			}
		})
	}
}

func checkDamaged(t *testing.T, call string, err error, path, want string) {
	t.Helper()
	if !errors.Is(err, fault.Invalid) {
		t.Fatalf("%s = %v, want %v", call, err, fault.Invalid)
	}
	for _, part := range []string{path, "damaged", "backup", want} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%s = %v, which does not say %q", call, err, part)
		}
	}
}

// However a page is damaged, there are errors and no crash: in Open, in Check, which
// finds the damage, and in use.
func TestDamagedPages(t *testing.T) {
	good := sample(t)
	free := map[int]bool{} // damage there cannot be detected
	pages := int(hwm(good))
	var list int
	meta(good, func(m []byte) { list = int(binary.NativeEndian.Uint64(m[32:])) * pageSize })
	for i := range int(binary.NativeEndian.Uint16(good[list+10:])) {
		free[int(binary.NativeEndian.Uint64(good[list+16+8*i:]))] = true
	}
	if len(free) == 0 || len(free) > pages/2 {
		t.Fatalf("%d of %d pages are free", len(free), pages)
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	path := filepath.Join(t.TempDir(), "state.db")
	for page := 2; page < pages; page++ {
		if free[page] || good[page*pageSize+8]&0x13 == 0 || binary.NativeEndian.Uint64(good[page*pageSize:]) != uint64(page) {
			continue // free, or the continuation of another one
		}
		for kind := range 4 {
			data, at := bytes.Clone(good), page*pageSize
			switch kind {
			case 0: // lost
				clear(data[at : at+pageSize])
			case 1: // another page's content
				copy(data[at:at+pageSize], data[pageSize*(2+rnd.IntN(pages-2)):])
				data[at]++
			case 2: // a header that cannot be
				binary.NativeEndian.PutUint16(data[at+10:], 0xFFFE)
			case 3: // noise, except for the page's number and type
				for i := at + 10; i < at+pageSize; i++ {
					data[i] = byte(rnd.Uint32())
				}
			}
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := bolt.Check(path); !errors.Is(err, fault.Invalid) {
				t.Errorf("page %d, damage %d: Check = %v, want %v", page, kind, err, fault.Invalid)
			}
			if _, err := bolt.Open(path); !errors.Is(err, fault.Invalid) {
				t.Errorf("page %d, damage %d: Open = %v, want %v", page, kind, err, fault.Invalid)
			}
			useDamaged(t, path, fmt.Sprintf("page %d, damage %d", page, kind))
		}
	}
}

func useDamaged(t *testing.T, path, what string) {
	t.Helper()
	db, err := bolt.OpenAsLarge(path)
	if err == nil {
		ctx := context.Background()
		read := db.View(ctx, func(tx store.Tx) error {
			for k := range tx.Scan("", "") {
				_ = tx.Get(k)
			}
			return nil
		})
		written := db.Update(ctx, func(tx store.Tx) error {
			for n := range 300 {
				if err := tx.Put(fmt.Sprintf("key/%04d", n), nil); err != nil {
					return err
				}
			}
			return nil
		})
		for _, err := range []error{read, written} {
			if err != nil && db.Err() == nil {
				t.Errorf("%s: %v, but the store goes on", what, err)
			}
		}
		err = errors.Join(read, written)
		_ = db.Close()
	}
	if err != nil && !errors.Is(err, fault.Invalid) {
		t.Errorf("%s: use = %v, want nil or %v", what, err, fault.Invalid)
	}
}

func TestTwoProcesses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	db := open(t, path)
	for call, err := range map[string]error{
		"Open": func() error { _, err := bolt.Open(path); return err }(), "Check": bolt.Check(path),
	} {
		if !errors.Is(err, fault.Conflict) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "another activationd") {
			t.Errorf("%s of a file in use = %v", call, err)
		}
	}
	out, err := inChild(t, "open", path).CombinedOutput() // not only within one process
	if err == nil || !strings.Contains(string(out), "another activationd") {
		t.Errorf("another process: %v: %s", err, out)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if out, err := inChild(t, "open", path).CombinedOutput(); err != nil {
		t.Errorf("another process, afterwards: %v: %s", err, out)
	}
}

// A process that was killed in the middle of starting another leaves a child with
// its descriptors, and so its lock, until that has executed its program. On a
// busy machine this was seen to take 211 ms.
func TestLockIsWaitedFor(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	if err := open(t, path).Close(); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	released := make(chan error, 1)
	time.AfterFunc(500*time.Millisecond, func() { released <- syscall.Flock(int(f.Fd()), syscall.LOCK_UN) })
	if db, err := bolt.Open(path); err != nil {
		t.Errorf("Open = %v, want it to wait for the lock", err)
	} else {
		_ = db.Close()
	}
	if err := <-released; err != nil {
		t.Error(err)
	}
}

// If several processes make a file at once, one makes it and the others see it.
func TestCreateAtOnce(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "state.db")
	var wg sync.WaitGroup
	var mu sync.Mutex
	var kept int
	for i := range 8 {
		wg.Go(func() {
			db, err := bolt.Open(path)
			if errors.Is(err, fault.Conflict) {
				return
			}
			if err != nil {
				t.Error(err)
				return
			}
			if err := db.Update(t.Context(), func(tx store.Tx) error { return tx.Put(fmt.Sprint(i), nil) }); err != nil {
				t.Error(err)
			}
			mu.Lock()
			kept++
			mu.Unlock()
			if err := db.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	n := 0
	err := open(t, path).View(t.Context(), func(tx store.Tx) error {
		for range tx.Scan("", "") {
			n++
		}
		return nil
	})
	if err != nil || n != kept || n == 0 {
		t.Errorf("%d keys, %v; %d were written", n, err, kept)
	}
	names, _ := filepath.Glob(filepath.Join(dir, "*"))
	if !slices.Equal(names, []string{path}) {
		t.Errorf("the directory has %v", names)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode is %v, %v, want 0600", info.Mode(), err)
	}
}

func TestOtherFiles(t *testing.T) {
	dir := t.TempDir()
	if _, err := bolt.Open(filepath.Join(dir, "none", "state.db")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open in a directory that is not there = %v", err)
	}
	if _, err := bolt.Open(dir); err == nil {
		t.Error("Open of a directory succeeded")
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(filepath.Join(dir, "nowhere"), link); err != nil {
		t.Fatal(err)
	}
	if _, err := bolt.Open(link); !errors.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "a link that leads to no file") {
		t.Errorf("Open of a link to nowhere = %v", err)
	}
	if err := bolt.Check(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Check of no file = %v", err)
	}
	foreign := filepath.Join(dir, "foreign.db")
	db, err := bbolt.Open(foreign, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := bolt.Open(foreign); !errors.Is(err, fault.Conflict) || !strings.Contains(err.Error(), "another program") {
		t.Errorf("Open of another program's file = %v", err)
	}
	if err := bolt.Check(foreign); !errors.Is(err, fault.Conflict) {
		t.Errorf("Check of another program's file = %v", err)
	}
}

func TestNewerVersion(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	if err := open(t, path).Close(); err != nil {
		t.Fatal(err)
	}
	setVersion(t, path, "3")
	for call, err := range map[string]error{
		"Open": func() error { _, err := bolt.Open(path); return err }(), "Check": bolt.Check(path),
	} {
		if !errors.Is(err, fault.Conflict) || !strings.Contains(err.Error(), "version 3") || !strings.Contains(err.Error(), "up to 2") {
			t.Errorf("%s of a newer file = %v", call, err)
		}
	}
	for _, v := range []string{"", "0", "x"} {
		setVersion(t, path, v)
		_, err := bolt.Open(path)
		checkDamaged(t, "Open", err, path, fmt.Sprintf("version is %q", v))
	}
	setVersion(t, path, "1")
	if err := bolt.Check(path); err != nil { // as a backup of an earlier program
		t.Errorf("Check of an older file = %v", err)
	}
	open(t, path)
}

func setVersion(t *testing.T, path, v string) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error { return tx.Bucket([]byte("meta")).Put([]byte("version"), []byte(v)) })
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
}
