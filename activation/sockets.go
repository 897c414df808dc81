package activation

import (
	"context"
	"errors"
	"slices"
	"strings"
)

// socketKey + HOST/ADDRESS notes an address at which a socket of a service may be open on a host,
// or may have left its file. It is written before the socket is opened, so whatever a daemon
// that was killed has left is removed by the next one.
const socketKey = "us/"

// noteSockets notes where r's next run listens.
func (t *Txn) noteSockets(r *Record) error {
	for _, address := range r.Serving.Listen {
		k := ofHost(socketKey, t.host) + address
		if t.Get(k) != nil {
			continue
		}
		if err := t.Put(k, []byte{}); err != nil {
			return err
		}
	}
	return nil
}

// closeSockets closes the listening sockets that no instance needs any more, whenever that may
// have changed, until ctx is done. It has a goroutine of its own. It begins when the runs of
// an earlier daemon are known, as they may have sockets that no record names any more.
func (e *Engine) closeSockets(ctx context.Context) {
	now := e.adopted
	for {
		select {
		case <-ctx.Done():
			return
		case <-now:
			now = e.closeNow
		}
		if err := e.closeUnneeded(ctx); err != nil && ctx.Err() == nil {
			e.parts.Log.Error("cannot close all sockets that no service needs any more; trying again later", "err", err)
		}
	}
}

func (e *Engine) closeUnneeded(ctx context.Context) error {
	closed, errClose := e.parts.Runs.CloseSockets(func() (needed, noted []string, err error) {
		err = e.View(ctx, func(t *Txn) error {
			needed, noted = nil, nil
			prefix := ofHost(socketKey, t.host)
			for k := range t.Scan(prefix, "") {
				noted = append(noted, strings.TrimPrefix(k, prefix))
			}
			if len(noted) > 0 {
				needed = t.listening()
			}
			return nil
		})
		return needed, noted, err
	})
	if len(closed) == 0 {
		return errClose
	}
	return errors.Join(errClose, e.Update(ctx, func(t *Txn) error {
		needed := t.listening() // a run may have been claimed since
		for _, address := range closed {
			if slices.Contains(needed, address) {
				continue
			}
			if err := t.Delete(ofHost(socketKey, t.host) + address); err != nil {
				return err
			}
		}
		return nil
	}))
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
			addresses = append(append(addresses, r.Serving.Listen...), r.Serving.Before...)
		}
	}
	return addresses
}
