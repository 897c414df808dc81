package activation

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"activationd/store"
)

// A clock that is set forward, or a machine that starts with a wrong one, makes future
// times look past. The engine would then decide that activations were missed, had ended
// or could be forgotten, and could not undo that. So a clock that differs too much from
// the expected time is in doubt for a while. Times between the expected and the shown one
// are left undecided.

// A Clock tells the time; [schedule.Clock] is the real one.
type Clock interface {
	Now() time.Time        // the time of the wall clock
	Uptime() time.Duration // since the machine was started, including sleep
	Synchronised() bool    // the kernel says that the wall clock is synchronised
}

const (
	// stepLimit is how far the clock may be from the expected time.
	stepLimit = time.Hour
	// patience is how long a clock that was set stays in doubt.
	patience = 10 * time.Minute
	// askKernel is how often the kernel is asked meanwhile whether the clock is
	// synchronised.
	askKernel = 5 * time.Second
	// markEvery is how often the engine, while awake, records the time for the next start
	// of the machine. Nothing is due while it sleeps.
	markEvery = 5 * time.Minute
)

// A mark is the time of the wall clock at one moment of the machine's uptime.
type mark struct {
	Wall time.Time     `json:"wall"`
	Up   time.Duration `json:"up"`
	Boot string        `json:"boot,omitempty"` // the boot that Up belongs to; set in the store only
}

// at is the expected time of the wall clock at another uptime, if it is not set
// meanwhile.
func (m mark) at(up time.Duration) time.Time { return m.Wall.Add(up - m.Up) }

// near reports whether m is about the time that is expected from an earlier mark.
func (m mark) near(earlier mark) bool { return m.Wall.Sub(earlier.at(m.Up)).Abs() <= stepLimit }

// A trust says whether the wall clock is trusted. It is a machine of two states:
//
//	state     the clock shows                           then
//	trusted   about the expected time                   trusted; the mark is updated
//	          another time, and it is synchronised      trusted; the mark is updated
//	          another time                              in doubt
//	in doubt  about the expected time                   trusted: it was set back, nothing has changed
//	          about the time it was set to              in doubt
//	          the same, and it is synchronised, or
//	          patience has ended                        trusted; the mark is updated
//	          yet another time                          in doubt, from then on
type trust struct {
	known mark // when the clock was last trusted; zero: never
	set   mark // the first reading after the clock was set; once it is trusted again: see waited
	doubt bool
	// waited is how long the clock was in doubt before it was trusted again. It does not
	// count as lateness of what was due before set.
	waited time.Duration
}

// next is the state that follows from a reading. It calls synchronised only when the
// answer matters.
func (k trust) next(r mark, synchronised func() bool) trust {
	switch {
	case k.known.Wall.IsZero():
		return trust{known: r}
	case r.near(k.known):
		if k.doubt {
			return trust{known: r}
		}
		k.known = r
		return k
	case synchronised():
		return k.believe(r)
	case k.doubt && r.near(k.set) && r.Up-k.set.Up >= patience:
		return k.believe(r)
	case k.doubt && r.near(k.set):
		return k
	}
	return trust{known: k.known, set: r, doubt: true}
}

// believe trusts a clock that was set.
func (k trust) believe(r mark) trust {
	if !k.doubt {
		return trust{known: r}
	}
	return trust{known: r, set: k.set, waited: r.Up - k.set.Up}
}

// A Moment is the time by which a transaction decides, and how far it is trusted.
type Moment struct {
	Now   time.Time
	Doubt bool
	// Times between these two were passed over when the clock was set, and are undecided
	// while it is in doubt. Old is the time that the clock would show if it had not been
	// set, SetTo the time that it was set to.
	Old, SetTo time.Time
	jump       time.Duration // how far the clock was set
	until      time.Time     // when the clock will be trusted
	waited     time.Duration // how long the clock was in doubt before it was trusted again
}

func (k trust) moment(r mark) Moment {
	m := Moment{Now: r.Wall, SetTo: k.set.Wall, waited: k.waited}
	if k.doubt {
		m.Doubt = true
		m.Old = k.known.at(r.Up)
		m.jump = m.Now.Sub(m.Old)
		m.until = r.Wall.Add(patience - (r.Up - k.set.Up))
	}
	return m
}

// PassedOver reports whether the clock is in doubt and passed over a time when it was
// set.
func (m Moment) PassedOver(at time.Time) bool {
	return m.Doubt && at.After(m.Old) && at.Before(m.SetTo)
}

// Come reports whether a time has come.
func (m Moment) Come(at time.Time) bool { return !m.Now.Before(at) && !m.PassedOver(at) }

// Late is by how much a time that has come is past. The time that the clock was in doubt
// does not count.
func (m Moment) Late(at time.Time) time.Duration {
	late := m.Now.Sub(at)
	switch {
	case m.Doubt && !at.After(m.Old):
		late = min(late, m.Old.Sub(at))
	case at.Before(m.SetTo):
		late -= m.waited
	}
	return late
}

// believedBy says until when activations wait for the clock.
func (m Moment) believedBy() string {
	return "until " + TimeText(m.until) + ", or until the kernel says that the clock is synchronised"
}

// why says why the clock is not trusted; empty: it is trusted.
func (m Moment) why() string {
	if !m.Doubt {
		return ""
	}
	if m.jump < 0 {
		return fmt.Sprintf("the clock went back by %v, to %s; nothing is forgotten %s", -m.jump.Round(time.Second), TimeText(m.SetTo), m.believedBy())
	}
	return fmt.Sprintf("the clock went forward by %v, to %s; nothing is forgotten, and what was due in between is not decided, %s",
		m.jump.Round(time.Second), TimeText(m.SetTo), m.believedBy())
}

// A watch keeps the trust in the clock. Every transaction gets its moment from it.
type watch struct {
	clock Clock
	boot  string

	mu     sync.Mutex
	trust  trust
	stored mark // the mark in the store
}

// read reads the clock, before the transaction that decides by it.
func (w *watch) read() Moment {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := mark{Wall: w.clock.Now().Round(0), Up: w.clock.Uptime()}
	w.trust = w.trust.next(r, w.clock.Synchronised)
	return w.trust.moment(r)
}

// load sets the mark from the store. A mark that cannot be decoded counts as none.
func (w *watch) load(data []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := json.Unmarshal(data, &w.stored); err != nil {
		w.stored = mark{}
	}
	w.trust.known = w.stored
	if w.stored.Boot != w.boot { // after another boot, expect the stored time
		w.trust.known.Up = w.clock.Uptime()
	}
}

// write stores the mark of the clock, if the stored one differs or is older than ago. It
// returns the mark that the store has once the transaction is durable.
func (w *watch) write(tx store.Tx, host string, ago time.Duration) (mark, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	m, s := w.trust.known, w.stored
	m.Boot = w.boot
	same := s.Boot == m.Boot && m.Wall.Sub(s.at(m.Up)).Abs() <= MissedAfter && m.Wall.Sub(s.Wall) < ago
	if w.trust.doubt || same {
		return s, nil
	}
	data, err := json.Marshal(m)
	if err != nil {
		return s, fmt.Errorf("the mark of the clock: %w", err)
	}
	return m, tx.Put(clockMark+host, data)
}

// wrote notes the mark in the store, once it is durable.
func (w *watch) wrote(m mark) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stored = m
}

// again is when the clock must be read again; zero: only when it is set.
func (m Moment) again() time.Time {
	if !m.Doubt {
		return time.Time{}
	}
	return earliest(m.Now.Add(askKernel), m.until)
}

// keepTime records the time at shutdown: the machine may be about to go down.
func (e *Engine) keepTime(ctx context.Context) error {
	return e.Update(context.WithoutCancel(ctx), func(t *Txn) error {
		_, err := e.watch.write(t, t.host, 0)
		return err
	})
}
