package activation

import "context"

// closeSockets closes the listening sockets that no instance needs any more, whenever that may
// have changed, until ctx is done. It has a goroutine of its own.
func (e *Engine) closeSockets(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.closeNow:
		}
		err := e.parts.Runs.CloseSockets(func() (addresses []string, err error) {
			err = e.View(ctx, func(t *Txn) error {
				addresses = t.listening()
				return nil
			})
			return addresses, err
		})
		if err != nil && ctx.Err() == nil {
			e.parts.Log.Error("cannot close all sockets that no service needs any more", "err", err)
		}
	}
}

// listening lists the addresses of the instances that run or are to run. An instance that is
// down, removed or fatal needs no sockets: connections would wait in vain.
func (t *Txn) listening() (addresses []string) {
	for _, id := range t.Instances("") {
		r, err := t.Record(id)
		if err != nil || r.Serving == nil {
			continue
		}
		switch r.State {
		case Held, Stuck, Finished:
		default:
			addresses = append(addresses, r.Serving.Listen...)
		}
	}
	return addresses
}
