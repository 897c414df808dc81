package bolt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"

	"go.etcd.io/bbolt"

	"activationd/internal/fault"
	"activationd/store"
)

var errFail = errors.New("no")

// Callers that wait while another one writes share one commit. Those of them that fail,
// panic or give up do not prevent it.
func TestManyShareOneCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, err := Open(filepath.Join(t.TempDir(), "state.db"))
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := d.Close(); err != nil {
				t.Error(err)
			}
		}()
		impatient, giveUp := context.WithCancel(t.Context())
		before := d.lastID()
		d.turn <- struct{}{} // another caller is writing
		const callers = 50
		var wg sync.WaitGroup
		for c := range callers {
			wg.Go(func() {
				ctx, want := t.Context(), error(nil)
				switch c % 5 {
				case 1:
					want = errFail
				case 2:
					defer func() {
						if p := recover(); p != "ouch" {
							t.Errorf("panic = %v, want ouch", p)
						}
					}()
				case 3:
					ctx, want = impatient, context.Canceled
				}
				err := d.Update(ctx, func(tx store.Tx) error {
					if err := tx.Put(fmt.Sprint(c), nil); err != nil {
						return err
					}
					if c%5 == 2 {
						panic("ouch")
					}
					return want
				})
				if !errors.Is(err, want) {
					t.Errorf("Update = %v, want %v", err, want)
				}
			})
		}
		synctest.Wait() // all of them wait
		giveUp()
		synctest.Wait()
		<-d.turn
		wg.Wait()
		if got := d.lastID() - before; got != 1 {
			t.Errorf("%d commits, want 1", got)
		}
		err = d.View(t.Context(), func(tx store.Tx) error {
			for c := range callers {
				if got, want := tx.Get(fmt.Sprint(c)) != nil, c%5 == 0 || c%5 == 4; got != want {
					t.Errorf("%d is there: %v, want %v", c, got, want)
				}
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
}

// An Update that writes nothing costs no commit.
func TestNoWriteNoCommit(t *testing.T) {
	d, err := Open(filepath.Join(t.TempDir(), "state.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.Close() }()
	before := d.lastID()
	for range 3 {
		if err := d.Update(t.Context(), func(tx store.Tx) error { tx.Get("a"); return nil }); err != nil {
			t.Error(err)
		}
		err := d.Update(t.Context(), func(tx store.Tx) error { return errors.Join(tx.Put("a", nil), errFail) })
		if !errors.Is(err, errFail) {
			t.Error(err)
		}
	}
	if got := d.lastID(); got != before {
		t.Errorf("%d commits, want none", got-before)
	}
	if d.batch != nil {
		t.Error("a transaction is still open")
	}
}

// An old file goes through each step to the newest version, in one transaction.
func TestSteps(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	d, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	err = d.bolt.Update(func(tx *bbolt.Tx) error { return putVersion(tx.Bucket(metaBucket), 1) })
	if err := errors.Join(err, d.Close()); err != nil {
		t.Fatal(err)
	}
	openWith := func(steps ...func(*bbolt.Tx) error) error {
		f, err := lock(path, os.O_RDWR, syscall.LOCK_EX)
		if err != nil {
			t.Fatal(err)
		}
		d, err := open(path, f, steps)
		if err == nil {
			err = d.Close()
		}
		return errors.Join(err, f.Close())
	}
	var ran string
	step := func(name string, err error) func(*bbolt.Tx) error {
		return func(tx *bbolt.Tx) error {
			ran += name
			return errors.Join(tx.Bucket(dataBucket).Put([]byte(name), nil), err)
		}
	}
	if err := openWith(step("a", nil), step("b", errFail)); !errors.Is(err, errFail) {
		t.Errorf("open with a step that fails = %v", err)
	}
	if err := openWith(step("c", nil), step("d", nil)); err != nil { // again from version 1
		t.Error(err)
	}
	if err := openWith(step("e", nil), step("f", nil), step("g", nil)); err != nil {
		t.Error(err)
	}
	if want := "abcdg"; ran != want {
		t.Errorf("steps ran: %s, want %s", ran, want)
	}
	if err := openWith(step("h", nil)); !errors.Is(err, fault.Conflict) { // version 4 for a program that knows 2
		t.Errorf("open of a newer file = %v", err)
	}
	if _, err := Open(path); !errors.Is(err, fault.Conflict) {
		t.Errorf("Open of a newer file = %v", err)
	}
}
