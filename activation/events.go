package activation

import (
	"context"
	"slices"
	"sort"
	"sync"
	"time"
)

// A Happening is something that happened, for those who follow along.
type Happening struct {
	Seq    uint64 // rises by one; by more where some were missed, and over a restart
	Time   time.Time
	What   string // "state", "attempt.started", "attempt.ended", "load", "rejected", "notice", "pruned", "login.refused"
	ID     string
	State  string
	Reason string

	Outcome Outcome // of what has finished
	Phase   string  // of an attempt
	N       int     // which attempt of the phase; 0: it is about none
	Failed  bool    // the attempt did not do what it should have, or the reservation is not as it should be
}

// keepHappenings is how many happenings are kept at most, and half of it how many at least,
// for those who ask for earlier ones.
const keepHappenings = 1 << 14

// A hub keeps the newest happenings in memory and wakes who follows them.
type hub struct {
	mu   sync.Mutex
	seq  uint64
	ring []Happening // the newest happenings, oldest first; cut in half when it is full
	more chan struct{}
}

// newHub begins to number with the clock's microseconds, which rise from one
// start of the daemon to the next faster than happenings can.
func newHub(now time.Time) *hub {
	return &hub{seq: uint64(now.UnixMicro()), more: make(chan struct{})}
}

func (h *hub) publish(news []Happening) {
	if len(news) == 0 {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, n := range news {
		h.seq++
		n.Seq = h.seq
		if len(h.ring) == keepHappenings {
			h.ring = append(h.ring[:0], h.ring[keepHappenings/2:]...)
		}
		h.ring = append(h.ring, n)
	}
	close(h.more)
	h.more = make(chan struct{})
}

// after returns the happenings later than seq, and a channel that is closed
// when there are more.
func (h *hub) after(seq uint64) ([]Happening, <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	i := sort.Search(len(h.ring), func(i int) bool { return h.ring[i].Seq > seq })
	return slices.Clone(h.ring[i:]), h.more
}

// newest returns the number of the newest happening.
func (h *hub) newest() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.seq
}

// Follow hands each happening later than since to fn, in order, until ctx is
// done or fn fails. A since of 0 means from now on. One who is too slow misses
// the oldest: the numbers tell.
func (e *Engine) Follow(ctx context.Context, since uint64, fn func(Happening) error) error {
	if since == 0 {
		since = e.hub.newest()
	}
	for {
		news, more := e.hub.after(since)
		for _, n := range news {
			if err := fn(n); err != nil {
				return err
			}
			since = n.Seq
		}
		if len(news) > 0 {
			continue
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-more:
		}
	}
}
