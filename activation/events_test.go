package activation

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestWait(t *testing.T) {
	wait := func(l *lab, id string) chan View {
		got := make(chan View, 1)
		go func() {
			v, err := l.e.Wait(context.Background(), id)
			if err != nil {
				l.t.Error(err)
			}
			got <- v
		}()
		synctest.Wait()
		return got
	}
	t.Run("for the end", func(t *testing.T) {
		bubble(t, nil, func(l *lab) {
			id := l.add(NewJob{At: time.Now().Add(hour)})
			got := wait(l, id)
			l.sleep(2 * hour)
			if v := <-got; v.Outcome != Succeeded {
				l.t.Errorf("Wait: %s", v.Outcome)
			}
			if v := <-wait(l, id); v.Outcome != Succeeded {
				l.t.Errorf("Wait for what is finished: %s", v.Outcome)
			}
		})
	})
	// The end may be among the happenings that one was too slow to see.
	t.Run("and misses it", func(t *testing.T) {
		bubble(t, nil, func(l *lab) {
			id := l.add(NewJob{At: time.Now().Add(hour)})
			got := wait(l, id)
			l.e.hub.mu.Lock()
			l.e.hub.seq += 10 // those fell out of the ring
			l.e.hub.mu.Unlock()
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			err := l.e.update(ctx, func(t *txn) error {
				r, err := t.get(id)
				if err != nil {
					return err
				}
				old := r.clone()
				if err := t.apply(r, Cancel, ""); err != nil {
					return err
				}
				t.news = []Happening{{ID: "another"}}
				return t.save(old, r)
			})
			if err != nil {
				l.t.Fatal(err)
			}
			l.e.poke()
			synctest.Wait()
			if v := <-got; v.Outcome != Cancelled {
				l.t.Errorf("Wait: %s", v.Outcome)
			}
		})
	})
}

func TestEvents(t *testing.T) {
	bubble(t, nil, func(l *lab) {
		since := l.e.Newest()
		id := l.add(NewJob{})
		l.sleep(minute)
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		var got []string
		_ = l.e.Follow(ctx, since, func(h Happening) error {
			if h.ID == id {
				got = append(got, h.What+" "+h.State)
			}
			return nil
		})
		want := []string{"state scheduled", "state waiting", "state activating", "attempt.started activating",
			"attempt.ended activating", "state finished"}
		if len(got) != len(want) {
			l.t.Fatalf("happened: %q, want %q", got, want)
		}
		for i := range want {
			if got[i] != want[i] {
				l.t.Errorf("%d: %q, want %q", i, got[i], want[i])
			}
		}
	})
}
