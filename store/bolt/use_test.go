package bolt_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"activationd/internal/fault"
	"activationd/store"
	"activationd/store/bolt"
)

// A backup is one moment of a store that is being written, and is itself a store.
func TestBackup(t *testing.T) {
	dir := t.TempDir()
	db := open(t, filepath.Join(dir, "state.db"))
	stop, started := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; ; i++ {
			err := db.Update(t.Context(), func(tx store.Tx) error {
				return errors.Join(tx.Put("a", []byte(strconv.Itoa(i))), tx.Put("z", []byte(strconv.Itoa(i))),
					tx.Put(fmt.Sprintf("m/%d", i%100), make([]byte, i%5000)))
			})
			if err != nil {
				t.Error(err)
				return
			}
			if i == 100 {
				close(started)
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	<-started
	for i := range 5 {
		path := filepath.Join(dir, fmt.Sprintf("backup%d", i))
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(db.Backup(t.Context(), f), f.Close()); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, 0o400); err != nil { // Check only reads
			t.Fatal(err)
		}
		if err := bolt.Check(path); err != nil {
			t.Error(err)
		}
		if err := os.Chmod(path, 0o600); err != nil {
			t.Fatal(err)
		}
		err = open(t, path).View(t.Context(), func(tx store.Tx) error {
			if a, z := tx.Get("a"), tx.Get("z"); a == nil || !bytes.Equal(a, z) {
				t.Errorf("a backup has a=%s and z=%s", a, z)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
	close(stop)
	wg.Wait()
}

// gate is a writer that a test can block.
type gate struct {
	reached chan<- struct{}
	proceed <-chan struct{}
}

func (g gate) Write(p []byte) (int, error) {
	g.reached <- struct{}{}
	<-g.proceed
	return len(p), nil
}

// A slow backup blocks nobody, and ends when its caller or the store does.
func TestSlowBackup(t *testing.T) {
	for _, byClose := range []bool{false, true} {
		db := open(t, filepath.Join(t.TempDir(), "state.db"))
		ctx, cancel := context.WithCancel(t.Context())
		reached, proceed := make(chan struct{}), make(chan struct{})
		done := make(chan error)
		go func() { done <- db.Backup(ctx, gate{reached, proceed}) }()
		<-reached
		for range 30 { // the file grows by more than any mapping without a reserve
			err := db.Update(t.Context(), func(tx store.Tx) error { return tx.Put("a", make([]byte, 2<<20)) })
			if err != nil {
				t.Fatal(err)
			}
		}
		closed := make(chan error, 1)
		want := context.Canceled
		if byClose {
			want = fault.Unavailable
			go func() { closed <- db.Close() }()
			for db.View(t.Context(), func(store.Tx) error { return nil }) == nil { // until it has begun to close
			}
		} else {
			cancel()
			closed <- nil
		}
		close(proceed)
		select {
		case err := <-done:
			if !errors.Is(err, want) {
				t.Errorf("Backup = %v, want %v", err, want)
			}
		case <-reached:
			t.Error("Backup goes on")
		}
		if err := <-closed; err != nil {
			t.Error(err)
		}
		cancel()
	}
}

func TestClosed(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "state.db"))
	var wg sync.WaitGroup
	for c := range 8 { // writes that are acknowledged during Close are stored
		wg.Go(func() {
			for i := 1; ; i++ {
				err := db.Update(t.Context(), func(tx store.Tx) error {
					return tx.Put(strconv.Itoa(c), []byte(strconv.Itoa(i)))
				})
				if err != nil {
					if !errors.Is(err, fault.Unavailable) {
						t.Errorf("Update while closing = %v", err)
					}
					return
				}
				if c == 0 && i == 20 {
					if err := db.Close(); err != nil {
						t.Errorf("Close = %v", err)
					}
				}
			}
		})
	}
	wg.Wait()
	nothing := func(store.Tx) error { t.Error("ran in a closed store"); return nil }
	for call, err := range map[string]error{
		"Update": db.Update(t.Context(), nothing),
		"View":   db.View(t.Context(), nothing),
		"Backup": db.Backup(t.Context(), new(bytes.Buffer)),
		"Trim":   db.Trim(),
	} {
		if !errors.Is(err, fault.Unavailable) {
			t.Errorf("%s after Close = %v, want %v", call, err, fault.Unavailable)
		}
	}
	if err := db.Close(); err != nil {
		t.Errorf("second Close = %v", err)
	}
	select {
	case <-db.Failed():
		t.Error("Close made it fail")
	default:
	}
}

// Slices that were read stay unchanged when the memory below them is released, and
// reading much does not fill the memory.
func TestTrim(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	db := open(t, path)
	load(t, db, 0, 100_000)
	out, err := inChild(t, "scan", path+".copy").CombinedOutput()
	if err == nil {
		t.Fatalf("a scan of no file: %s", out)
	}
	f, err := os.Create(path + ".copy")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Backup(t.Context(), f), f.Close()); err != nil {
		t.Fatal(err)
	}
	out, err = inChild(t, "scan", path+".copy").CombinedOutput()
	if err != nil {
		t.Errorf("%v: %s", err, out)
	}
	err = db.View(t.Context(), func(tx store.Tx) error {
		val := tx.Get("activation/7919@lab")
		for range 3 {
			done := make(chan error)
			go func() { done <- db.Trim() }()
			if err := <-done; err != nil {
				return err
			}
			if !bytes.Equal(val, aRecord) {
				t.Errorf("after Trim a value is %q", val)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// scan is a child process that reads everything, and measures how large it becomes. Its
// own part is measured before.
func scan(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	db, err := bolt.Open(path)
	if err != nil {
		return err
	}
	n, most := 0, 0
	err = db.View(context.Background(), func(tx store.Tx) error {
		for range tx.Scan("", "") {
			if n++; n%1000 == 0 {
				most = max(most, shared())
			}
		}
		return nil
	})
	fmt.Printf("%d keys; %d MiB in a file of %d\n", n, most>>20, info.Size()>>20)
	if most > 40<<20 || info.Size() < 50<<20 || n != 300_000 {
		return errors.Join(err, errors.New("that is not as it should be"))
	}
	return errors.Join(err, db.Close())
}

// shared returns how much of files this process has mapped and in memory.
func shared() int {
	text, _ := os.ReadFile("/proc/self/statm")
	var size, resident, shared int
	_, _ = fmt.Sscan(string(text), &size, &resident, &shared)
	return shared * os.Getpagesize()
}

// Numbers continue after the file was closed, although the store no longer has the
// newest.
func TestNumbersSurvive(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	const log = "log/"
	last := uint64(0)
	for range 3 {
		db, err := bolt.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		do := func(fn func(tx store.Tx) error) {
			if err := db.Update(t.Context(), fn); err != nil {
				t.Fatal(err)
			}
		}
		do(func(tx store.Tx) error { return tx.Append(log, nil, 1) })
		do(func(tx store.Tx) error {
			for k := range tx.Scan(log, "") {
				n, ok := store.EntryNumber(log, k)
				if !ok || n <= last {
					t.Errorf("the entry after number %d is %q", last, k)
				}
				last = n
				if err := tx.Delete(k); err != nil {
					return err
				}
			}
			return nil
		})
		do(func(tx store.Tx) error {
			n := tx.Stamp()
			if n <= last {
				t.Errorf("the stamp after number %d is %d", last, n)
			}
			last = n
			return nil
		})
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
