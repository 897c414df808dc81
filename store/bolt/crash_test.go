package bolt_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"activationd/store"
	"activationd/store/bolt"
)

const (
	crashCallers = 4
	crashUpdates = 50 // of each caller
	seedVar      = "BOLT_TEST_SEED"
)

// writer is a child whose callers write, each by the rule of step, and tell
// when a write was acknowledged.
func writer(path string) error {
	db, err := bolt.Open(path)
	if err != nil {
		return err
	}
	seed, err := strconv.ParseUint(os.Getenv(seedVar), 10, 64)
	if err != nil {
		return err
	}
	errs := make([]error, crashCallers)
	var wg sync.WaitGroup
	for c := range crashCallers {
		wg.Go(func() {
			for i := 1; i <= crashUpdates && errs[c] == nil; i++ {
				errs[c] = db.Update(context.Background(), func(tx store.Tx) error {
					return step(seed, c, i, tx.Put, tx.Delete)
				})
				fmt.Printf("%d %d\n", c, i) // one system call
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return db.Close()
}

// step is a caller's i-th transaction: some keys with values that depend on
// everything, some deleted, in several places of the file.
func step(seed uint64, c, i int, put func(string, []byte) error, del func(string) error) error {
	rnd := rand.New(rand.NewPCG(seed, uint64(c*1000+i)))
	if err := put(fmt.Sprintf("last/%d", c), strconv.AppendInt(nil, int64(i), 10)); err != nil {
		return err
	}
	for range 1 + rnd.IntN(3) {
		n := rnd.IntN(40)
		key := fmt.Sprintf("%c/%d/%02d", 'a'+n%5*5, c, n)
		if rnd.IntN(3) == 0 {
			if err := del(key); err != nil {
				return err
			}
			continue
		}
		size := rnd.IntN(600)
		if rnd.IntN(8) == 0 {
			size *= 40 // several pages
		}
		val := binary.BigEndian.AppendUint64(nil, rnd.Uint64())
		if err := put(key, bytes.Repeat(val, 1+size/8)); err != nil {
			return err
		}
	}
	return nil
}

// TestCrash cuts the power at each point of a recorded history. Of what was
// written since the last sync, some sectors are on the disk and some are not.
// Whatever they are, the file opens, is sound, has all that was acknowledged
// and each transaction whole or not at all.
func TestCrash(t *testing.T) {
	crash(t, "writer", func(h *history) {
		h.compare, h.grows = h.steps, true
		h.more = func(at int, tx store.Tx) error { return step(h.seed, 99, at, tx.Put, tx.Delete) }
	})
}

// crash is such a test, with the history of a child in a role, and what is to be
// looked at in each image.
func crash(t *testing.T, role string, looks func(*history)) {
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv(seedVar); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("again with %s=%d", seedVar, seed)
	path := filepath.Join(t.TempDir(), "state.db")
	db, err := bolt.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	base, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	base = bytes.TrimRight(base, "\x00")
	base = append(base, make([]byte, -len(base)&0xFFFF)...)
	if err := os.Truncate(path, int64(len(base))); err != nil { // so that it grows meanwhile
		t.Fatal(err)
	}
	cmd := inChild(t, role, path)
	cmd.Env = append(cmd.Env, fmt.Sprintf("%s=%d", seedVar, seed))
	ops := record(t, cmd, path)

	h := &history{t: t, seed: seed, path: filepath.Join(t.TempDir(), "image.db"), synced: image{base, int64(len(base))}, acked: make([]int, crashCallers)}
	h.rnd = rand.New(rand.NewPCG(seed, 0))
	looks(h)
	var count [4]int
	deadline := time.Now().Add(10 * time.Second)
	for i, o := range ops {
		count[o.kind]++
		h.add(o)
		h.try(i, h.everything())
		if len(h.pending) > 0 {
			h.try(i, h.some(1))
			h.try(i, h.some(3))
			h.try(i, h.some(8))
		}
		if t.Failed() {
			t.Fatalf("at operation %d of %d", i, len(ops))
		}
		if time.Now().After(deadline) {
			t.Logf("the time is over at operation %d of %d", i, len(ops))
			break
		}
	}
	t.Logf("%d writes, %d resizes, %d syncs, %d told; %d images", count[opWrite], count[opResize], count[opSync], count[opTold], h.images)
	if count[opSync] == 0 || count[opTold] == 0 || count[opResize] == 0 && h.grows {
		t.Error("the recording lacks what it should have seen")
	}
}

// An image is a file; beyond its data there are zeros.
type image struct {
	data []byte
	size int64
}

// A history is what may be on the disk, and what must be.
type history struct {
	t       *testing.T
	seed    uint64
	rnd     *rand.Rand
	path    string
	synced  image // the file at the last sync
	pending []op  // since then
	acked   []int // of each caller, the last transaction that was acknowledged
	images  int
	grows   bool // the file does meanwhile
	compare func(at int, got map[string]string)
	more    func(at int, tx store.Tx) error // writes on top of an image
}

func (h *history) add(o op) {
	switch o.kind {
	case opWrite, opResize:
		h.pending = append(h.pending, o)
	case opSync:
		h.synced = h.everything()
		h.pending = nil
	case opTold:
		var c, i int
		if _, err := fmt.Sscan(string(o.data), &c, &i); err != nil {
			h.t.Fatalf("told %q: %v", o.data, err)
		}
		h.acked[c] = i
	}
}

// everything returns the file if all that was written is there.
func (h *history) everything() image { return h.some(0) }

// some returns the file if of what was written since the last sync only a part
// is there: operations as a whole, and of the others some sectors. The part is
// smaller the higher odds are; 0 is all.
func (h *history) some(odds int) image {
	const sector = 512
	img := image{bytes.Clone(h.synced.data), h.synced.size}
	for _, o := range h.pending {
		if odds > 0 && h.rnd.IntN(1+odds) > 0 && h.rnd.IntN(2) > 0 {
			continue
		}
		end := o.off + int64(len(o.data)) // or the new size
		img.size = max(img.size, end)
		if o.kind == opResize {
			continue
		}
		if more := end - int64(len(img.data)); more > 0 {
			img.data = append(img.data, make([]byte, more)...)
		}
		torn := odds > 0 && h.rnd.IntN(2) > 0
		for at := 0; at < len(o.data); at += sector {
			if !torn || h.rnd.IntN(1+odds) == 0 {
				copy(img.data[o.off+int64(at):], o.data[at:min(at+sector, len(o.data))])
			}
		}
	}
	return img
}

// try opens an image and looks whether it has what it must.
func (h *history) try(at int, img image) {
	h.images++
	if err := os.WriteFile(h.path, img.data, 0o600); err != nil {
		h.t.Fatal(err)
	}
	if err := os.Truncate(h.path, img.size); err != nil {
		h.t.Fatal(err)
	}
	if err := bolt.Check(h.path); err != nil {
		h.t.Errorf("operation %d: %v", at, err)
		return
	}
	db, err := bolt.Open(h.path)
	if err != nil {
		h.t.Errorf("operation %d: %v", at, err)
		return
	}
	got := map[string]string{}
	err = db.View(context.Background(), func(tx store.Tx) error {
		for k, v := range tx.Scan("", "") {
			got[k] = string(v)
		}
		return nil
	})
	if err != nil {
		h.t.Errorf("operation %d: %v", at, err)
	}
	h.compare(at, got)
	if h.rnd.IntN(16) == 0 { // what is written on top of it is sound, too
		err := db.Update(context.Background(), func(tx store.Tx) error { return h.more(at, tx) })
		if err != nil {
			h.t.Errorf("operation %d: Update: %v", at, err)
		}
		defer func() {
			if err := bolt.Check(h.path); err != nil {
				h.t.Errorf("operation %d, after one more Update: %v", at, err)
			}
		}()
	}
	if err := db.Close(); err != nil {
		h.t.Errorf("operation %d: Close: %v", at, err)
	}
}

// steps rebuilds what the file must have from how far each caller came.
func (h *history) steps(at int, got map[string]string) {
	want := map[string]string{}
	for c, acked := range h.acked {
		last, _ := strconv.Atoi(got[fmt.Sprintf("last/%d", c)])
		if last < acked || last > acked+1 {
			h.t.Errorf("operation %d: caller %d is at %d, acknowledged %d", at, c, last, acked)
		}
		for i := 1; i <= last; i++ {
			_ = step(h.seed, c, i,
				func(k string, v []byte) error { want[k] = string(v); return nil },
				func(k string) error { delete(want, k); return nil })
		}
	}
	if len(got) != len(want) {
		h.t.Errorf("operation %d: %d keys, want %d", at, len(got), len(want))
	}
	for k, v := range want {
		if got[k] != v {
			h.t.Errorf("operation %d: %s has %d bytes, and not the %d that were written", at, k, len(got[k]), len(v))
		}
	}
}
