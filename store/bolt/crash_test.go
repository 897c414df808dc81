package bolt_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
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

// writer is a child process whose callers write, each by the rule of step, and print each
// write that was acknowledged. Another caller reads, and prints what it saw, which must be
// durable, too.
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
					if err := logStep(tx, c, i); err != nil {
						return err
					}
					return step(seed, c, i, tx.Put, tx.Delete)
				})
				fmt.Printf("%d %d\n", c, i) // one system call
			}
		})
	}
	written, done := context.WithCancel(context.Background())
	var reader sync.WaitGroup
	var readErr error
	reader.Go(func() { readErr = watch(written, db) })
	wg.Wait()
	done()
	reader.Wait()
	return errors.Join(errors.Join(errs...), readErr, db.Close())
}

// watch prints the progress of each caller, whenever it rises.
func watch(ctx context.Context, db *bolt.DB) error {
	var seen, is [crashCallers]int
	for ctx.Err() == nil {
		err := db.View(context.Background(), func(tx store.Tx) error {
			for c := range is {
				is[c], _ = strconv.Atoi(string(tx.Get(fmt.Sprintf("last/%d", c))))
			}
			return nil
		})
		if err != nil {
			return err
		}
		for c, i := range is {
			if i > seen[c] {
				fmt.Printf("%d %d\n", c, i)
			}
		}
		seen = is
	}
	return nil
}

const (
	crashLog    = "log/"    // each transaction has an entry there: its caller and number
	crashStamps = "stamps/" // of each caller, its newest stamp
)

// logStep is the log entry of a caller's i-th transaction.
func logStep(tx store.Tx, c, i int) error {
	stamp := store.EntryKey("", tx.Stamp())
	return errors.Join(tx.Put(crashStamps+strconv.Itoa(c), []byte(stamp)), tx.Append(crashLog, fmt.Appendf(nil, "%d %d", c, i), 1))
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

// TestCrash cuts the power at each point of a recorded history. Of the writes since the
// last sync, some sectors are on the disk and some are not. For each such image the file
// opens, is sound, and has all acknowledged transactions, each transaction whole or not
// at all.
func TestCrash(t *testing.T) {
	crash(t, "writer", func(h *history) {
		h.compare, h.grows = h.steps, true
		h.more = func(at int, tx store.Tx) error {
			if newest, n := newestNumber(tx), tx.Stamp(); n <= newest {
				t.Errorf("operation %d: number %d is used again, as there is %d", at, n, newest)
			}
			return step(h.seed, 99, at, tx.Put, tx.Delete)
		}
	})
}

// newestNumber returns the greatest number that [logStep] got.
func newestNumber(tx store.Tx) (newest uint64) {
	for k := range tx.Scan(crashLog, "") {
		n, _ := store.EntryNumber(crashLog, k)
		newest = max(newest, n)
	}
	for _, stamp := range tx.Scan(crashStamps, "") {
		n, _ := store.EntryNumber("", string(stamp))
		newest = max(newest, n)
	}
	return newest
}

// crash runs such a test, with the history of a child process in a role. Looks sets the
// checks of each image.
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

// A history is the possible and the required contents of the disk.
type history struct {
	t       *testing.T
	seed    uint64
	rnd     *rand.Rand
	path    string
	synced  image // the file at the last sync
	pending []op  // since then
	acked   []int // of each caller, the last transaction that was acknowledged or seen
	images  int
	grows   bool // the file grows meanwhile
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
		h.acked[c] = max(h.acked[c], i) // the reader may be behind the writer
	}
}

// everything returns the file with all writes.
func (h *history) everything() image { return h.some(0) }

// some returns the file with only a part of the writes since the last sync: whole
// operations, and some sectors of others. The part is smaller the higher odds are; with 0
// it is everything.
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

// try opens an image and checks that it has the required contents.
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
	if h.rnd.IntN(16) == 0 { // later writes are sound, too
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

// steps computes the required contents of the file from the progress of each caller.
func (h *history) steps(at int, got map[string]string) {
	want := map[string]string{}
	logged := make([]int, len(h.acked)) // of each caller, its newest entry in the log
	for _, k := range slices.Sorted(maps.Keys(got)) {
		switch {
		case strings.HasPrefix(k, crashLog):
			var c, i int
			if _, err := fmt.Sscan(got[k], &c, &i); err != nil || i != logged[c]+1 {
				h.t.Errorf("operation %d: entry %s is %q, after %d of that caller", at, k, got[k], logged[c])
			}
			logged[c] = i
		case !strings.HasPrefix(k, crashStamps):
			continue
		}
		delete(got, k)
	}
	for c, acked := range h.acked {
		last, _ := strconv.Atoi(got[fmt.Sprintf("last/%d", c)])
		if last < acked || last > acked+1 {
			h.t.Errorf("operation %d: caller %d is at %d, acknowledged %d", at, c, last, acked)
		}
		if last != logged[c] {
			h.t.Errorf("operation %d: caller %d is at %d, and at %d in the log", at, c, last, logged[c])
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
