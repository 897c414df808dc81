package event

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"activationd/store"
)

// TestCrowds has many followers with few wishes, which begin at any number, come back, and are
// slow at times, some so slow that their crowd has forgotten what they want. Each gets what it
// wants, once and in order.
func TestCrowds(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	synctest.Test(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(seed, 1))
		l := newTestLog(t)
		l.put(500)
		const total = 3000
		var all sync.WaitGroup
		for f := range 40 {
			every, slow := 1+f%3, r.IntN(20) == 0
			after := uint64(r.IntN(500))
			own := rand.New(rand.NewPCG(seed, uint64(f+2)))
			all.Go(func() {
				var got []int
				wish := Wish{Key: strconv.Itoa(every), Want: func(e *Event) bool { return number(e)%every == 0 }}
				begin := after
				for n := 0; ; n++ {
					leave := 50 + own.IntN(1500)
					err := l.FollowWish(t.Context(), after, wish, func(e *Event) error {
						got, after = append(got, number(e)), e.Seq
						if slow && own.IntN(20) == 0 {
							time.Sleep(time.Second)
						}
						if number(e) == total {
							return errEnough
						}
						if leave--; leave == 0 {
							return errors.New("comes back")
						}
						return nil
					})
					if errors.Is(err, errEnough) {
						break
					}
					if err == nil || err.Error() != "comes back" {
						t.Errorf("follower %d: %v", f, err)
						return
					}
				}
				var want []int
				for n := 1; n <= total; n++ {
					if n%every == 0 && l.seqOf(n) > begin {
						want = append(want, n)
					}
				}
				if !slices.Equal(got, want) {
					t.Errorf("follower %d, every %d after %d: %d events, want %d; %s", f, every, begin, len(got), len(want), firstDifference(got, want))
				}
			})
		}
		for l.n < total {
			l.put(min(1+r.IntN(40), total-l.n))
			if r.IntN(3) == 0 {
				time.Sleep(time.Duration(r.IntN(5)) * time.Millisecond)
			}
		}
		all.Wait()
		synctest.Wait()
		l.crowding.Lock()
		defer l.crowding.Unlock()
		if len(l.crowds) > 0 {
			t.Errorf("%d crowds are left", len(l.crowds))
		}
	})
}

// number is the number of a test's event.
func number(e *Event) int {
	n, err := strconv.Atoi(e.Reason)
	if err != nil {
		panic(err)
	}
	return n
}

// seqOf is the Seq of a test's event, of which the store numbers all one after the other.
func (l *testLog) seqOf(n int) uint64 { return uint64(n) }

func firstDifference(got, want []int) string {
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			return fmt.Sprintf("at %d: %d, want %d", i, got[i], want[i])
		}
	}
	return "one is longer"
}

// TestCrowdSleeps checks that followers are not woken by what they do not want.
func TestCrowdSleeps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newTestLog(t)
		l.put(1)
		var asked atomic.Int64 // those that come at the same time look for themselves
		wish := Wish{Key: "last", Want: func(e *Event) bool {
			asked.Add(1)
			return number(e) == 300
		}}
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				err := l.FollowWish(t.Context(), 1, wish, func(*Event) error { return errEnough })
				if !errors.Is(err, errEnough) {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		goroutines := runtime.NumGoroutine()
		for l.n < 299 {
			l.put(1)
			synctest.Wait()
		}
		if n := asked.Load(); n > 300 {
			t.Errorf("299 events were looked at %d times for 100 followers with one wish", n)
		}
		if goroutines > 150 {
			t.Errorf("%d goroutines for 100 followers", goroutines)
		}
		l.put(1)
		all.Wait()
	})
}

// TestCrowdIsPruned checks that members learn of a gap, and those that join later do not.
func TestCrowdIsPruned(t *testing.T) {
	l := newTestLog(t)
	l.put(10)
	l.pruneTo(2, time.Time{})
	var got []string
	err := l.FollowWish(t.Context(), 3, Wish{Key: "x", Want: func(e *Event) bool { return number(e) >= 10 }}, func(e *Event) error {
		got = append(got, e.What)
		if e.What == "test" {
			return errEnough
		}
		return nil
	})
	if !errors.Is(err, errEnough) || !slices.Equal(got, []string{Gap, "test"}) {
		t.Errorf("%v, %v", got, err)
	}
	err = l.FollowWish(t.Context(), 1000, Wish{Key: "x", Want: func(*Event) bool { return true }}, func(e *Event) error {
		if !e.Reset {
			t.Errorf("%+v, want that the number is too large", e)
		}
		return errEnough
	})
	if !errors.Is(err, errEnough) {
		t.Error(err)
	}
}

// TestCrowdWakesWhoJoins has followers found crowds whose readers find events at once: a member that is woken before it
// has looked for the first time does not wait in join, where it would keep all others from joining and leaving. More
// threads than processors make it likely that a reader comes first.
func TestCrowdWakesWhoJoins(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(16))
	wish := Wish{Key: "x", Want: func(*Event) bool { return true }}
	joined := make(chan struct{})
	var all sync.WaitGroup
	for range 16 {
		l := newTestLog(t)
		l.put(3)
		all.Go(func() {
			for range 3000 {
				c, m := l.join(0, wish)
				l.leave(c, m, wish.Key)
			}
		})
	}
	go func() {
		all.Wait()
		close(joined)
	}()
	select {
	case <-joined:
	case <-time.After(10 * time.Minute):
		t.Fatal("join does not return")
	}
}

// A limited store can be read so often.
type limited struct {
	store.Store
	left atomic.Int64
}

func (s *limited) View(ctx context.Context, fn func(store.Tx) error) error {
	if s.left.Add(-1) < 0 {
		return errors.New("it is read again and again")
	}
	return s.Store.View(ctx, fn)
}

// TestCrowdOfNewcomers has two followers with one wish, of which one begins with the present number and the other one with
// the first event. Others have taken numbers since the newest event, as messages of queues do. Both sleep until the next
// one.
func TestCrowdOfNewcomers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newTestLog(t)
		l.put(3)
		if err := l.db.Update(t.Context(), func(tx store.Tx) error { tx.Stamp(); return tx.Put("other", nil) }); err != nil {
			t.Fatal(err)
		}
		reads := &limited{Store: l.db}
		reads.left.Store(100)
		l.Log = New(reads)
		newest, err := l.Newest(t.Context())
		if err != nil || newest <= l.seqOf(3) {
			t.Fatalf("the newest number is %d, %v, want one that is no event's", newest, err)
		}
		wish := Wish{Key: "x", Want: func(*Event) bool { return true }}
		var all sync.WaitGroup
		for _, after := range []uint64{newest, 0} {
			all.Go(func() {
				err := l.FollowWish(t.Context(), after, wish, func(e *Event) error {
					if number(e) == 4 {
						return errEnough
					}
					return nil
				})
				if !errors.Is(err, errEnough) {
					t.Errorf("after %d: %v", after, err)
				}
			})
			synctest.Wait()
		}
		l.put(1)
		all.Wait()
	})
}
