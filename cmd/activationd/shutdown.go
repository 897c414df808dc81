package main

import "context"

// watchRequests ends the daemon when a signal or an operation asks for it.
func (d *daemon) watchRequests(ctx context.Context) error {
	drained := make(<-chan struct{}) // never closed
	drain := d.signals.Drain
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-drain:
			drain = nil
			drained = d.engine.Drain()
			d.notify.Status("Draining: waiting for runs to end")
		case wait := <-d.stop:
			if !wait {
				d.log.Info("stopping, as a client asked; " + d.host.fate())
				return errStopped
			}
			d.log.Info("draining, as a client asked")
			drain = nil
			drained = d.engine.Drain()
			d.notify.Status("Draining: waiting for runs to end")
		case <-drained:
			d.log.Info("drained: nothing runs")
			return errStopped
		}
	}
}

func (d *daemon) askStop(drain bool) {
	select {
	case d.stop <- drain:
	default: // asked for already
	}
}
