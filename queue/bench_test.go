package queue_test

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"activationd/queue"
	"activationd/store"
	"activationd/store/bolt"
)

// callers runs fn b.N times in all, from that many goroutines at once.
// Then it runs the others.
func callers(b *testing.B, count int, fn func(i int64) error, then ...func() error) {
	b.Helper()
	var n atomic.Int64
	var wg sync.WaitGroup
	b.ResetTimer()
	for range count {
		wg.Go(func() {
			for i := n.Add(1); i <= int64(b.N); i = n.Add(1) {
				if err := fn(i); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	for _, fn := range then {
		if err := fn(); err != nil {
			b.Error(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
}

func openBolt(b *testing.B) store.Store {
	b.Helper()
	db, err := bolt.Open(filepath.Join(b.TempDir(), "state.db"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = db.Close() })
	return db
}

// BenchmarkPushAck is the way of messages through a queue: 64 callers at once push, and one
// goroutine finishes what has been pushed, as many messages in each transaction as there are,
// as the broker does. With "apart", each caller finishes its own message in a transaction of
// its own. The limit is what 64 callers can put into the store that push nothing but a key.
func BenchmarkPushAck(b *testing.B) {
	const count = 64
	ctx := context.Background()
	body := bytes.Repeat([]byte("x"), 512)
	push := func(r *rig) (id uint64, err error) {
		err = r.db.Update(ctx, func(tx store.Tx) error {
			did, err := queue.Push(tx, time.Now(), "q", queue.Limits{}, queue.New{Body: body}, nil)
			id = did.ID
			return err
		})
		return id, err
	}
	finish := func(r *rig, ids ...uint64) error {
		return r.db.Update(ctx, func(tx store.Tx) error {
			for _, id := range ids {
				ok, err := queue.Done(tx, time.Now(), r.q.N, id, 1, nil, 0, queue.Ending{})
				if err == nil && !ok {
					err = fmt.Errorf("message %d is gone", id)
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	b.Run("queue", func(b *testing.B) {
		r := &rig{t: b, db: openBolt(b)}
		r.q = r.create(queue.Queue{Name: "q"})
		pushed := make(chan uint64, 4*count)
		finished := make(chan error)
		go func() {
			var first error
			for id := range pushed {
				ids := []uint64{id}
				for more := true; more && len(ids) < 256; {
					select {
					case id, more = <-pushed:
						if more {
							ids = append(ids, id)
						}
					default:
						more = false
					}
				}
				if err := finish(r, ids...); first == nil {
					first = err
				}
			}
			finished <- first
		}()
		callers(b, count, func(int64) error {
			id, err := push(r)
			pushed <- id
			return err
		}, func() error {
			close(pushed)
			return <-finished
		})
		if c := r.counts(); c.Done != uint64(b.N) {
			b.Errorf("%d of %d messages are done", c.Done, b.N)
		}
	})
	b.Run("apart", func(b *testing.B) {
		r := &rig{t: b, db: openBolt(b)}
		r.q = r.create(queue.Queue{Name: "q"})
		callers(b, count, func(int64) error {
			id, err := push(r)
			if err != nil {
				return err
			}
			return finish(r, id)
		})
	})
	b.Run("put", func(b *testing.B) {
		db := openBolt(b)
		callers(b, count, func(i int64) error {
			return db.Update(ctx, func(tx store.Tx) error { return tx.Put(fmt.Sprintf("k/%016d", i), body) })
		})
	})
}

// BenchmarkTransaction measures what the functions themselves take, without a disk: a push
// and a Done.
func BenchmarkTransaction(b *testing.B) {
	r := &rig{t: b, db: openBolt(b)}
	r.q = r.create(queue.Queue{Name: "q"})
	body := bytes.Repeat([]byte("x"), 512)
	if err := r.db.Update(context.Background(), func(tx store.Tx) error {
		for b.Loop() {
			did, err := queue.Push(tx, now, "q", queue.Limits{}, queue.New{Body: body}, nil)
			if err != nil {
				return err
			}
			if _, err := queue.Done(tx, now, r.q.N, did.ID, 1, nil, 0, queue.Ending{}); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkManyQueues measures a push when other queues count, too.
func BenchmarkManyQueues(b *testing.B) {
	for _, count := range []int{1, 100, 1000} {
		b.Run(fmt.Sprint("queues=", count), func(b *testing.B) {
			db := openBolt(b)
			if err := db.Update(context.Background(), func(tx store.Tx) error {
				for i := range count {
					name := fmt.Sprint("q", i)
					if _, _, err := queue.Create(tx, now, queue.Queue{Name: name}); err != nil {
						return err
					}
					if _, err := queue.Push(tx, now, name, queue.Limits{}, queue.New{}, nil); err != nil {
						return err
					}
				}
				return nil
			}); err != nil {
				b.Fatal(err)
			}
			if err := db.Update(context.Background(), func(tx store.Tx) error {
				for b.Loop() {
					if _, err := queue.Push(tx, now, "q0", queue.Limits{AllMessages: 1 << 40}, queue.New{}, nil); err != nil {
						return err
					}
				}
				return nil
			}); err != nil {
				b.Fatal(err)
			}
		})
	}
}
