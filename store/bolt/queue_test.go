package bolt_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"activationd/queue"
	"activationd/store"
	"activationd/store/bolt"
)

const crashQueue = "q"

var crashTime = time.Unix(1_000_000, 0)

// queueHolds is what a caller has in the queue after its i-th transaction: a message that is
// pushed, then returned, at once or later, and then a dead letter or cancelled.
func queueHolds(c, i int) string {
	odd := (c+i/4)%2 == 1
	switch i % 4 {
	case 1:
		return "ready 0"
	case 2:
		if odd {
			return "delayed 1"
		}
		return "ready 1"
	case 3:
		if !odd {
			return "dead 2"
		}
	}
	return "nothing"
}

// queueHeld is what a caller has in the queue.
func queueHeld(tx store.Tx, c int) (has string, n, id uint64, err error) {
	q, err := queue.Get(tx, crashQueue)
	if err != nil {
		return "nothing", 0, 0, nil // it has not been created yet
	}
	has = "nothing"
	for m, err := range queue.Peek(tx, q.N, queue.Look{Body: queue.MaxBody}) {
		if err != nil {
			return "", 0, 0, err
		}
		if m.By != queueCaller(c) {
			continue
		}
		if has != "nothing" {
			return "", 0, 0, fmt.Errorf("caller %d has two messages", c)
		}
		if !bytes.Equal(m.Body, queueBody(c)) {
			return "", 0, 0, fmt.Errorf("message %d has another body", m.ID)
		}
		has, id = fmt.Sprintf("%s %d", m.Where, m.State.Attempts), m.ID
	}
	return has, q.N, id, nil
}

func queueCaller(c int) string { return fmt.Sprint("caller ", c) }

// queueBody is small for most callers. The other has one in parts.
func queueBody(c int) []byte {
	size := 100
	if c == 0 {
		size = 100_000
	}
	return bytes.Repeat([]byte(strconv.Itoa(c)), size)
}

// queueStep is a caller's i-th transaction.
func queueStep(tx store.Tx, c, i int) error {
	if _, _, err := queue.Create(tx, crashTime, queue.Queue{Name: crashQueue}); err != nil {
		return err
	}
	has, n, id, err := queueHeld(tx, c)
	if err != nil {
		return err
	}
	if want := queueHolds(c, i-1); has != want {
		return fmt.Errorf("caller %d has %q, want %q", c, has, want)
	}
	push := func() (queue.Pushed, error) {
		return queue.Push(tx, crashTime, crashQueue, queue.Limits{}, queue.New{Body: queueBody(c), By: queueCaller(c), Key: queueCaller(c)}, nil)
	}
	ok := true
	switch next := queueHolds(c, i); {
	case next == "ready 0":
		_, err = push()
	case next == "ready 1":
		ok, err = queue.Return(tx, crashTime, n, id, 1, true, time.Time{}, &queue.Ending{Exit: 1})
	case next == "delayed 1":
		ok, err = queue.Return(tx, crashTime, n, id, 1, true, crashTime.Add(time.Hour), nil)
	case next == "dead 2":
		ok, err = queue.Bury(tx, crashTime, n, id, 2, queue.Ending{Exit: 65})
	case has == "dead 2":
		_, _, err = queue.PurgeDead(tx, n, []uint64{id}, 1)
	case has == "delayed 1":
		_, err = queue.Cancel(tx, crashTime, n, id, "a test", false, time.Hour)
	default: // nothing remains, and yet there is something to write
		var did queue.Pushed
		if did, err = push(); err == nil {
			ok, err = queue.Done(tx, crashTime, did.Queue, did.ID, 1, []byte("result"), time.Hour, queue.Ending{})
		}
	}
	if err == nil && !ok {
		err = errors.New("an attempt is not the current one")
	}
	return err
}

// queues is a child process whose callers push and end messages, and print each
// acknowledgement.
func queues(path string) error {
	db, err := bolt.Open(path)
	if err != nil {
		return err
	}
	errs := make([]error, crashCallers)
	var wg sync.WaitGroup
	for c := range crashCallers {
		wg.Go(func() {
			for i := 1; i <= crashUpdates && errs[c] == nil; i++ {
				errs[c] = db.Update(context.Background(), func(tx store.Tx) error { return queueStep(tx, c, i) })
				fmt.Printf("%d %d\n", c, i)
			}
		})
	}
	wg.Wait()
	return errors.Join(errors.Join(errs...), db.Close())
}

// TestQueuesCrash cuts the power while messages are pushed and end: whatever is on the disk
// then, no message is lost or comes again, and all entries of the queue agree.
func TestQueuesCrash(t *testing.T) {
	crash(t, "queues", func(h *history) {
		h.grows = true
		h.more = func(at int, tx store.Tx) error {
			if err := queue.Verify(tx); err != nil {
				return err
			}
			_, _, err := queue.Create(tx, crashTime, queue.Queue{Name: "another"})
			return err
		}
		h.compare = func(at int, got map[string]string) {
			tx := frozen(got)
			if err := queue.Verify(tx); err != nil {
				t.Errorf("operation %d: %v", at, err)
			}
			for c, acked := range h.acked {
				has, _, _, err := queueHeld(tx, c)
				if err != nil {
					t.Errorf("operation %d: %v", at, err)
				}
				if now, next := queueHolds(c, acked), queueHolds(c, acked+1); has != now && has != next {
					t.Errorf("operation %d: caller %d has %q, acknowledged was %q, and the next is %q", at, c, has, now, next)
				}
			}
		}
	})
}
