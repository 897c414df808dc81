package activation

import (
	"fmt"
	"log/slog"
	"strings"
	"time"
)

// minBatchInterval is the least pause between two readings of the load average.
const minBatchInterval = time.Second

// busy says what keeps a batch job from running: the load average is too high, or it may
// not be read again yet. At most one batch job starts for each reading, because the load
// of a job that has just begun does not show yet. If the text is empty, the job may
// start, and no other one may by this reading.
func (t *turn) busy(r *Record) string {
	if !r.AtJob.Batch() || r.Urgency == AtOnce {
		return ""
	}
	if t.Now.Before(t.mayReadLoadAvg()) {
		return t.Settings.loadAvgText()
	}
	t.loadAvgRead = t.Now
	if err := t.loadAvg.err; err != nil {
		t.Log(slog.LevelError, "cannot read the load average; batch jobs do not wait for it", "err", err)
	}
	if t.loadAvg.is < t.Settings.BatchLoad {
		return ""
	}
	return t.Settings.loadAvgText()
}

func (s *Settings) loadAvgText() string {
	return fmt.Sprintf("a load average below %g, which is looked at every %v", s.BatchLoad, s.BatchInterval)
}

// loadAverage returns the load average of the last minute. Where it is unknown it is 0,
// as in atd.
func (e *Engine) loadAverage() (avg loadAverage) {
	if e.parts.LoadAverage != nil {
		avg.is, avg.err = e.parts.LoadAverage()
	}
	return avg
}

// A loadAverage is what was read of the load average before the transaction.
type loadAverage struct {
	is  float64
	err error // why it could not be read
}

// mayReadLoadAvg is when the load average may be read again.
func (t *turn) mayReadLoadAvg() time.Time {
	if t.loadAvgRead.After(t.Now) { // the clock was set back
		return t.Now
	}
	return t.loadAvgRead.Add(t.Settings.BatchInterval)
}

// nextForLoadAvg returns the job that is first in the queue for a low load average, if
// the load average may be read now.
func (t *turn) nextForLoadAvg() []string {
	if t.Now.Before(t.mayReadLoadAvg()) {
		return nil
	}
	if _, id := t.firstInQueue(loadAvgQueue); id != "" {
		return []string{id}
	}
	return nil
}

// nextLoadAvg is when the load average is to be read next; zero: no job waits for it.
func (t *turn) nextLoadAvg() time.Time {
	if _, id := t.firstInQueue(loadAvgQueue); id == "" {
		return time.Time{}
	}
	at := t.mayReadLoadAvg()
	if !at.After(t.Now) { // the first job in the queue could not use this reading
		at = t.Now.Add(t.Settings.BatchInterval)
	}
	return at
}

// waitsForLoadAvg says what a job that is queued for a low load average waits for.
func (t *Txn) waitsForLoadAvg() string {
	return strings.Replace(t.Settings.loadAvgText(), ",", fmt.Sprintf(" (it is %.2f),", t.loadAvg.is), 1)
}
