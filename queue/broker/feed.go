package broker

import (
	"context"

	"activationd/queue"
	"activationd/store"
)

// Feed pushes the messages that fn returns into a queue of the daemon's own. Fn notes in the same
// transaction how far it has come, so each message is pushed once, even if the daemon is killed.
// Only the limits of this queue apply, not those of all queues: otherwise messages of clients
// could keep the daemon from pushing. Fn may run again.
func (b *Broker) Feed(ctx context.Context, name string, fn func(store.Tx) ([]queue.New, error)) error {
	now, limits := b.parts.Now(), b.settings.Load().limitsOf(name)
	limits.AllMessages, limits.AllBytes, limits.Body = 0, 0, 0
	var hints []hint
	err := b.parts.DB.Update(ctx, func(tx store.Tx) error {
		hints = nil
		messages, err := fn(tx)
		if err != nil || len(messages) == 0 {
			return err
		}
		q, err := queue.Get(tx, name)
		if err != nil {
			return err
		}
		pushed, err := queue.PushAll(tx, now, name, limits, messages, nil)
		for i, p := range pushed {
			if !p.Duplicate {
				hints = append(hints, hintOf(q.N, p.ID, &messages[i], now))
			}
		}
		return err
	})
	if err == nil && len(hints) > 0 {
		b.hint(hints...)
	}
	return err
}
