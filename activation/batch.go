package activation

import (
	"fmt"
	"strings"
	"time"
)

// minBatchInterval is the least pause between two looks at the load average.
const minBatchInterval = time.Second

// busy says what keeps a batch job from running: a load average that is too
// high, or that the next look at it is not due. At most one batch job is let go
// by each look, because the load of what has just begun does not show yet.
// Empty: nothing does, and this look is used up.
func (t *turn) busy(r *Record) string {
	if r.AtJob == nil || !r.AtJob.Batch() || r.Forced {
		return ""
	}
	if t.now.Before(t.nextBatch()) {
		return t.set.loadText()
	}
	t.looked = t.now
	if t.loadAverage() < t.set.BatchLoad {
		return ""
	}
	return t.set.loadText()
}

func (s *Settings) loadText() string {
	return fmt.Sprintf("a load average below %g, which is looked at every %v", s.BatchLoad, s.BatchInterval)
}

// loadAverage is that of the last minute. Where nobody knows it, it is 0, as atd
// has it.
func (t *txn) loadAverage() float64 {
	if t.parts.Load == nil {
		return 0
	}
	load, err := t.parts.Load()
	if err != nil {
		t.log.Error("cannot read the load average; batch jobs do not wait for it", "err", err)
		return 0
	}
	return load
}

// nextBatch is when the load average may be looked at again.
func (t *turn) nextBatch() time.Time {
	if t.looked.After(t.now) { // the clock was set back
		return t.now
	}
	return t.looked.Add(t.set.BatchInterval)
}

// inLineForLoad is who is first in line for a low load average, if it may be
// looked at now.
func (t *turn) inLineForLoad() []string {
	if t.now.Before(t.nextBatch()) {
		return nil
	}
	if _, id := t.head(loadQueue); id != "" {
		return []string{id}
	}
	return nil
}

// nextLook is when the load average is to be looked at next; zero: nobody waits
// for it.
func (t *turn) nextLook() time.Time {
	if _, id := t.head(loadQueue); id == "" {
		return time.Time{}
	}
	at := t.nextBatch()
	if !at.After(t.now) { // whoever is first in line did not take the chance
		at = t.now.Add(t.set.BatchInterval)
	}
	return at
}

// waitsForLoad says what r waits for that is in line for a low load average.
func (t *txn) waitsForLoad() string {
	return strings.Replace(t.set.loadText(), ",", fmt.Sprintf(" (it is %.2f),", t.loadAverage()), 1)
}
