package activation

import (
	"context"
	"errors"
	"testing"
	"time"

	"activationd/internal/fault"
	"activationd/store"
)

// What is next is what is to happen, and not when history is forgotten.
func TestStatusNext(t *testing.T) {
	bubble(t, nil, func(l *lab) {
		next := func() time.Time {
			s, err := l.e.Status(context.Background())
			if err != nil {
				l.t.Fatal(err)
			}
			return s.Next
		}
		l.add(NewJob{})
		l.sleep(minute)
		if got := next(); !got.IsZero() {
			l.t.Errorf("with nothing but history, next is in %v", time.Until(got))
		}
		at := time.Now().Add(2000 * hour) // after the history is forgotten
		l.add(NewJob{At: at})
		if got := next(); !got.Equal(at) {
			l.t.Errorf("next is %v, want %v", got, at)
		}
		s := l.source("src")
		s.says(slot("1@x", -hour, 1500*hour, "r1"))
		want := time.Now().Add(1500 * hour)
		l.loads(1, 0, 0, 0)
		l.sleep(minute)
		l.is("1@x", "active")
		if got := next(); !got.Equal(want) {
			l.t.Errorf("next is %v, want the end of the slot, %v", got, want)
		}
	})
}

// A daemon of before kept the end of what is finished among all other instants.
func TestFinishedInTheIndexOfInstants(t *testing.T) {
	bubble(t, nil, func(l *lab) {
		id := l.add(NewJob{})
		l.sleep(minute)
		at := instant(l.get(id).Until) + "/" + id
		l.shutDown()
		err := l.db.Update(context.Background(), func(tx store.Tx) error {
			return errors.Join(tx.Delete(forgetKey+at), tx.Put(instantKey+at, []byte(place(0))))
		})
		if err != nil {
			l.t.Fatal(err)
		}
		l.start()
		l.sleep(2000 * hour)
		if _, err := l.e.Get(context.Background(), id); !errors.Is(err, fault.NotFound) {
			l.t.Errorf("Get of what was to be forgotten: %v", err)
		}
		if keys := l.mem.sorted("d/"); len(keys) != 0 {
			l.t.Errorf("left in the index: %q", keys)
		}
	})
}
