package recurring

import (
	"context"
	"time"

	"activationd/activation"
)

// A Book has the recurrences of an engine, and is a producer of that engine. Its methods
// may be called from any goroutine.
type Book struct {
	// LookEvery is how often Run checks whether the rules of a time zone have changed;
	// zero: every minute. It must be set before Run.
	LookEvery time.Duration

	engine *activation.Engine
	zones  zones
	look   chan struct{} // capacity one: Run must check the zones
}

// New makes the book of an engine, and registers it as the producer whose names have no
// kind.
func New(e *activation.Engine) *Book {
	b := &Book{engine: e, zones: zones{first: make(chan struct{}, 1)}, look: make(chan struct{}, 1)}
	e.Register("", b)
	return b
}

// Due implements [activation.Producer].
func (b *Book) Due(t *activation.Txn, name string) (bool, error) { return b.fireDue(t, name) }

// Woken implements [activation.Producer].
func (b *Book) Woken(t *activation.Txn, why activation.Wake) error {
	if why == activation.Rebooted {
		return b.atBoot(t)
	}
	return b.fixClockJump(t)
}

// Ended implements [activation.Producer].
func (b *Book) Ended(t *activation.Txn, old, r *activation.Record) error {
	return tallyEnd(t, old, r)
}

// Run schedules recurrences again when the rules of their time zones change, until ctx is
// done. It has to poll: an update of the time zones replaces files, and requires no
// reload. While no recurrence has a zone, it sleeps.
func (b *Book) Run(ctx context.Context) error {
	var tick <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-b.zones.first:
			every := b.LookEvery
			if every == 0 {
				every = time.Minute
			}
			ticker := time.NewTicker(every)
			defer ticker.Stop()
			tick = ticker.C
			continue
		case <-b.look:
		case <-tick:
		}
		if b.zones.changed() {
			b.engine.Wake()
		}
	}
}
