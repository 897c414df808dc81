package broker

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"activationd/internal/fault"
	"activationd/queue"
)

// TestSlowHand checks that a listener started by hand that does not read what it is sent keeps
// nobody waiting but itself, though its messages are taken from it, and that its connection ends.
func TestSlowHand(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.create("slow")
		r.create("q")
		read, end := make(chan Delivery), make(chan error, 1)
		go func() {
			end <- r.b.Listen(r.ctx, Hand{User: "ann"}, "", []string{"slow"}, 1, func(d Delivery) error {
				select {
				case read <- d:
					return nil
				case <-r.ctx.Done():
					return r.ctx.Err()
				}
			})
		}()
		<-read
		for range 4 {
			r.pushNoWait("slow", "", func(m *queue.New) { m.Timeout, m.Attempts = time.Second, 1 })
		}
		time.Sleep(5 * patienceWithHands)
		synctest.Wait()
		r.is("q", r.push("q", ""), "done 1")
		for ended := false; !ended; {
			select {
			case <-read:
			case err := <-end:
				if ended = true; !errors.Is(err, fault.Conflict) {
					t.Errorf("its end: %v", err)
				}
			case <-time.After(time.Hour):
				t.Fatal("it stays connected")
			}
		}
		r.check()
	}, fake("q"))
}
