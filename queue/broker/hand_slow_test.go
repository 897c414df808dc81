package broker

import (
	"testing"
	"testing/synctest"
	"time"

	"activationd/queue"
)

// TestSlowHand checks that a listener started by hand that does not read what it is sent keeps
// nobody waiting but itself, though its messages are taken from it.
func TestSlowHand(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.create("slow")
		r.create("q")
		read := make(chan Delivery)
		go func() {
			_ = r.b.Listen(r.ctx, Hand{User: "ann"}, "", []string{"slow"}, 1, func(d Delivery) error {
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
		time.Sleep(time.Minute)
		synctest.Wait()
		r.is("q", r.push("q", ""), "done 1")
		for range 4 {
			select {
			case <-read:
			case <-time.After(time.Hour):
				t.Error("it gets no more messages")
			}
			synctest.Wait()
		}
		r.check()
	}, fake("q"))
}
