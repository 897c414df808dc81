package bolt_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"activationd/store"
	"activationd/store/bolt"
)

var aRecord = bytes.Repeat([]byte("activation "), 28) // 308 bytes

// add writes the entries of a new job: its record, and an index entry.
func add(tx store.Tx, n int64) error {
	id := fmt.Sprintf("%012d", n)
	if err := tx.Put("activation/"+id, aRecord); err != nil {
		return err
	}
	return tx.Put("due/2026-11-21T10:00:00/"+id, nil)
}

// BenchmarkUpdate measures how many updates a number of callers at once complete.
func BenchmarkUpdate(b *testing.B) {
	for _, callers := range []int{1, 8, 64, 256} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			db := open(b, filepath.Join(b.TempDir(), "state.db"))
			var n atomic.Int64
			var wg sync.WaitGroup
			b.ResetTimer()
			for range callers {
				wg.Go(func() {
					for i := n.Add(1); i <= int64(b.N); i = n.Add(1) {
						if err := db.Update(context.Background(), func(tx store.Tx) error { return add(tx, i) }); err != nil {
							b.Error(err)
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "updates/s")
		})
	}
}

// BenchmarkBbolt is the baseline for a single caller.
func BenchmarkBbolt(b *testing.B) {
	db, err := bbolt.Open(filepath.Join(b.TempDir(), "state.db"), 0o600, &bbolt.Options{InitialMmapSize: 1 << 30})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	bucket := []byte("data")
	if err := db.Update(func(tx *bbolt.Tx) error { _, err := tx.CreateBucket(bucket); return err }); err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	for i := range b.N {
		err := db.Update(func(tx *bbolt.Tx) error {
			id := fmt.Sprintf("%012d", i)
			if err := tx.Bucket(bucket).Put([]byte("activation/"+id), aRecord); err != nil {
				return err
			}
			return tx.Bucket(bucket).Put([]byte("due/2026-11-21T10:00:00/"+id), nil)
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "updates/s")
}

// BenchmarkLoad is one transaction with 100,000 records and 200,000 keys of
// indexes, into an empty file, in no order.
func BenchmarkLoad(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		db := open(b, filepath.Join(b.TempDir(), "state.db"))
		b.StartTimer()
		load(b, db, 0, 100_000)
	}
}

func load(tb testing.TB, db *bolt.DB, first, n int) {
	err := db.Update(context.Background(), func(tx store.Tx) error {
		for i := first; i < first+n; i++ {
			id := fmt.Sprintf("%d@lab", i*7919%1_000_003)
			val := bytes.Clone(aRecord)
			if err := tx.Put("activation/"+id, val); err != nil {
				return err
			}
			if err := tx.Put(fmt.Sprintf("due/%020d/%s", i*104729%1_000_003, id), nil); err != nil {
				return err
			}
			if err := tx.Put("source/lab/"+id, val[:32]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
}

// BenchmarkMillion makes a file with a million pending activations. It measures how
// long it takes to open, and how much memory the process has then and after use.
// About 12 MiB of that are the process without the file.
func BenchmarkMillion(b *testing.B) {
	path := filepath.Join(b.TempDir(), "state.db")
	db, err := bolt.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	for i := range 20 {
		load(b, db, 50_000*i, 50_000)
	}
	if err := db.Close(); err != nil {
		b.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { b.ReportMetric(float64(info.Size())/(1<<20), "file-MiB") }()
	for b.Loop() {
		out, err := inChild(b, "million", path).CombinedOutput()
		if err != nil {
			b.Fatalf("%v: %s", err, out)
		}
		for f := range strings.FieldsSeq(string(out)) {
			name, val, _ := strings.Cut(f, "=")
			v, err := strconv.ParseFloat(val, 64)
			if err != nil {
				b.Fatalf("%s: %v", out, err)
			}
			b.ReportMetric(v, name)
		}
	}
}

// million is the part of BenchmarkMillion that runs in its own process.
func million(path string) error {
	start := time.Now()
	db, err := bolt.Open(path)
	if err != nil {
		return err
	}
	ctx := context.Background()
	if err := db.View(ctx, func(tx store.Tx) error {
		for range tx.Scan("due/", "") {
			break
		}
		return nil
	}); err != nil {
		return err
	}
	fmt.Printf("open-ms=%.2f open-MiB=%.1f", time.Since(start).Seconds()*1000, rss())
	rnd := rand.New(rand.NewPCG(1, 2))
	var most float64
	for range 1000 {
		err := db.Update(ctx, func(tx store.Tx) error {
			for range 20 {
				key := fmt.Sprintf("activation/%d@lab", rnd.IntN(1_000_000))
				if err := tx.Put(key, bytes.Clone(aRecord)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		most = max(most, rss())
	}
	fmt.Printf(" updates-MiB=%.1f updates-max-MiB=%.1f", rss(), most)
	n := 0
	start = time.Now()
	err = db.View(ctx, func(tx store.Tx) error {
		most = 0
		for range tx.Scan("", "") {
			if n++; n%10_000 == 0 {
				most = max(most, rss())
			}
		}
		return nil
	})
	fmt.Printf(" scan-ms=%.0f scan-max-MiB=%.1f", time.Since(start).Seconds()*1000, most)
	runtime.GC()
	debug.FreeOSMemory()
	fmt.Printf(" after-MiB=%.1f\n", rss())
	return errors.Join(err, db.Close())
}

// rss returns the memory of this process, in MiB.
func rss() float64 {
	text, _ := os.ReadFile("/proc/self/statm")
	var size, resident float64
	_, _ = fmt.Sscan(string(text), &size, &resident)
	return resident * float64(os.Getpagesize()) / (1 << 20)
}
