package broker

import (
	"cmp"
	"slices"
	"time"

	"activationd/queue"
	"activationd/store"
)

// A line is a queue as the broker knows it.
type line struct {
	queue.Queue
	windows [queue.MaxPriority + 1]window // by priority
	pool    *pool                         // that serves it; nil: none
	why     string                        // why none does
	hands   []*pool                       // of listeners that were started by hand
	inWork  int
	goneTo  []chan struct{} // closed when it is gone
	credit  int             // in a pool of weighted queues
}

// A window is the beginning of what is ready in a queue with one priority.
type window struct {
	heads []queue.Head // sorted by id; none of them is in work
	after uint64       // all up to this id are in heads or in work
	more  bool         // there may be others after it
}

// windowSize is how many messages are read at once.
const windowSize = 256

// add notes that a message is ready.
func (w *window) add(h queue.Head) {
	if h.Seq > w.after {
		w.more = true
		return
	}
	if i, found := slices.BinarySearchFunc(w.heads, h, bySeq); !found {
		w.heads = slices.Insert(w.heads, i, h)
	}
}

func bySeq(a, b queue.Head) int { return cmp.Compare(a.Seq, b.Seq) }

// fill reads further messages if the window is empty.
func (w *window) fill(tx store.Tx, n uint64, priority int, inWork func(uint64) bool) {
	for len(w.heads) == 0 && w.more {
		read := queue.Heads(tx, n, priority, w.after, windowSize)
		w.more = len(read) == windowSize
		if len(read) > 0 {
			w.after = read[len(read)-1].Seq
		}
		w.heads = slices.DeleteFunc(read, func(h queue.Head) bool { return inWork(h.Seq) })
	}
}

// next returns the priority whose first message is the next of the line, and whether that
// can be handed out now: in an ordered queue it may wait, and then all others wait for it. A
// message that has waited for maxWait goes before all others, the oldest first; 0: none does.
func (l *line) next(now time.Time, maxWait time.Duration) (priority int, ok bool) {
	var first *queue.Head
	aged := false
	for p := range l.windows {
		if len(l.windows[p].heads) == 0 {
			continue
		}
		h := &l.windows[p].heads[0]
		old := maxWait > 0 && now.Sub(h.Pushed) >= maxWait
		if first == nil || old && (!aged || h.Pushed.Before(first.Pushed)) || !old && !aged {
			first, aged = h, old
		}
	}
	if first == nil {
		return 0, false
	}
	return first.Priority, !now.Before(first.NotBefore)
}

// open reports whether messages of the line may be handed out, see also [Broker.PauseAll].
func (l *line) open() bool {
	return l.Paused == nil && l.Deleting == nil && (!l.Ordered || l.inWork == 0)
}

// touch has the pools that serve the line look for messages again.
func (l *line) touch() {
	if l.pool != nil {
		l.pool.dirty = true
	}
	for _, p := range l.hands {
		p.dirty = true
	}
}

// reset makes the broker read the line from its beginning.
func (l *line) reset() {
	for p := range l.windows {
		l.windows[p] = window{more: true}
	}
}
