package activation

import (
	"context"
	"slices"
	"strings"
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

// happened lists what has happened after since, with ids.
func (l *lab) happened(since uint64) (news []string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = l.e.Follow(ctx, since, func(h Happening) error {
		news = append(news, strings.TrimSpace(h.What+" "+h.ID+" "+h.State))
		return nil
	})
	return news
}

func TestEvents(t *testing.T) {
	bubble(t, nil, func(l *lab) {
		since := l.e.Newest()
		l.add(NewJob{})
		l.sleep(minute)
		want := []string{
			"state 1 scheduled", "state 1 waiting", "state 1 activating", "attempt.started 1 activating",
			"attempt.ended 1 activating", "state 1 finished",
		}
		if got := l.happened(since); !slices.Equal(got, want) {
			l.t.Errorf("happened: %q, want %q", got, want)
		}
	})
}
