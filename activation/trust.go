package activation

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"activationd/store"
)

// A clock that is set forward, or a machine that comes up with a wrong one, shows
// times as past that are still to come. What the engine then took for missed, ended
// or old enough to be forgotten could not be brought back. So a clock that has left
// what is known of it is in doubt for a while, and what lies between the two times
// is left undecided.

// A Clock tells the time; [schedule.Clock] is the real one.
type Clock interface {
	Now() time.Time        // what the wall clock shows
	Uptime() time.Duration // since the machine was started, with the time that it slept
	Synchronised() bool    // the kernel says that the wall clock is synchronised
}

const (
	// stepLimit is how far the clock may be from what is known of it.
	stepLimit = time.Hour
	// patience is how long it takes until a clock that was set is believed.
	patience = 10 * time.Minute
	// askKernel is how often the kernel is asked meanwhile whether it is synchronised.
	askKernel = 5 * time.Second
	// markEvery is how often it is written down what time it is, for the next start
	// of the machine, while the engine is awake. Nothing is due while it sleeps.
	markEvery = 5 * time.Minute
)

// A mark is what the wall clock showed at an instant of the machine's uptime.
type mark struct {
	Wall time.Time     `json:"wall"`
	Up   time.Duration `json:"up"`
	Boot string        `json:"boot,omitempty"` // whose uptime it is; set in the store only
}

// at is what the wall clock shows at another instant if nobody sets it.
func (m mark) at(up time.Duration) time.Time { return m.Wall.Add(up - m.Up) }

// near reports whether the wall clock shows about what follows from an earlier mark.
func (m mark) near(earlier mark) bool { return m.Wall.Sub(earlier.at(m.Up)).Abs() <= stepLimit }

// A trust is what is known of the wall clock. It is a machine of two states:
//
//	state     what is read                              then
//	trusted   about what follows from what is known     trusted: that is what is known now
//	          another time, and it is synchronised      trusted: the same
//	          another time                              in doubt
//	in doubt  about what is known                       trusted: it was set back, all is as it was
//	          about what it was set to                  in doubt
//	          the same, and it is synchronised, or
//	          patience has ended                        trusted: that is what is known now
//	          yet another time                          in doubt, from then on
type trust struct {
	known mark // of when it was trusted last; zero: nothing is known
	set   mark // in doubt: when it was seen to have been set; trusted: see waited
	doubt bool
	// waited is how long it was in doubt until it was believed: what was due before
	// set is so much less late.
	waited time.Duration
}

// next is the state that follows from what is read. Synchronised is asked only
// where that matters.
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

// believe takes a clock that was set for right.
func (k trust) believe(r mark) trust {
	if !k.doubt {
		return trust{known: r}
	}
	return trust{known: r, set: k.set, waited: r.Up - k.set.Up}
}

// A moment is what a transaction goes by: the time, and how far it is trusted.
type moment struct {
	now   time.Time
	doubt bool
	// What is due between these two was passed over when the clock was set, and is
	// undecided while the clock is in doubt: old is what the clock would show if it
	// had not been set, and setTo is what it was set to.
	old, setTo time.Time
	jump       time.Duration // by which it was set
	until      time.Time     // when it will be believed
	waited     time.Duration // how long it was in doubt before it was believed
}

func (k trust) moment(r mark) moment {
	m := moment{now: r.Wall, setTo: k.set.Wall, waited: k.waited}
	if k.doubt {
		m.doubt = true
		m.old = k.known.at(r.Up)
		m.jump = m.now.Sub(m.old)
		m.until = r.Wall.Add(patience - (r.Up - k.set.Up))
	}
	return m
}

// passedOver reports whether the clock passed over an instant when it was set, and is
// in doubt.
func (m moment) passedOver(at time.Time) bool {
	return m.doubt && at.After(m.old) && at.Before(m.setTo)
}

// come reports whether an instant has come.
func (m moment) come(at time.Time) bool { return !m.now.Before(at) && !m.passedOver(at) }

// late is by how much an instant that has come is past. That the clock was in doubt
// makes nothing late.
func (m moment) late(at time.Time) time.Duration {
	late := m.now.Sub(at)
	switch {
	case m.doubt && !at.After(m.old):
		late = min(late, m.old.Sub(at))
	case at.Before(m.setTo):
		late -= m.waited
	}
	return late
}

// believedBy says until when what waits for the clock waits.
func (m moment) believedBy() string {
	return "until " + stamp(m.until) + ", or until the kernel says that the clock is synchronised"
}

// why says in words why the clock is not trusted; empty: it is.
func (m moment) why() string {
	if !m.doubt {
		return ""
	}
	if m.jump < 0 {
		return fmt.Sprintf("the clock went back by %v, to %s; nothing is forgotten %s", -m.jump.Round(time.Second), stamp(m.setTo), m.believedBy())
	}
	return fmt.Sprintf("the clock went forward by %v, to %s; nothing is forgotten, and what was due between is not decided, %s",
		m.jump.Round(time.Second), stamp(m.setTo), m.believedBy())
}

// A watch keeps what is known of the clock. Every transaction asks it for the
// moment that it goes by.
type watch struct {
	clock Clock
	boot  string

	mu     sync.Mutex
	trust  trust
	loaded bool
	stored mark // what the store has
}

// look reads the clock. The first time it looks up in the store what was known
// before; nothing can be read as nothing.
func (w *watch) look(tx store.Tx) moment {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := mark{Wall: w.clock.Now().Round(0), Up: w.clock.Uptime()}
	if !w.loaded {
		w.loaded = true
		if err := json.Unmarshal(tx.Get(clockMark), &w.stored); err != nil {
			w.stored = mark{}
		}
		w.trust.known = w.stored
		if w.stored.Boot != w.boot { // it was not earlier then than that
			w.trust.known.Up = r.Up
		}
	}
	w.trust = w.trust.next(r, w.clock.Synchronised)
	return w.trust.moment(r)
}

// write writes down what is known of the clock, if the store has it otherwise, or as
// it was so long ago. It returns what the store has once that is durable.
func (w *watch) write(tx store.Tx, ago time.Duration) (mark, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	m, s := w.trust.known, w.stored
	m.Boot = w.boot
	same := s.Boot == m.Boot && m.Wall.Sub(s.at(m.Up)).Abs() <= missedAfter && m.Wall.Sub(s.Wall) < ago
	if w.trust.doubt || same {
		return s, nil
	}
	data, err := json.Marshal(m)
	if err != nil {
		return s, fmt.Errorf("the mark of the clock: %w", err)
	}
	return m, tx.Put(clockMark, data)
}

// wrote notes what the store has.
func (w *watch) wrote(m mark) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stored = m
}

// again is when the clock is to be looked at again; zero: when it is set.
func (m moment) again() time.Time {
	if !m.doubt {
		return time.Time{}
	}
	return earliest(m.now.Add(askKernel), m.until)
}

// keepTime writes down what time it is, as the engine ends: the machine may be about
// to go down.
func (e *Engine) keepTime(ctx context.Context) error {
	return e.parts.DB.Update(context.WithoutCancel(ctx), func(tx store.Tx) error {
		e.watch.look(tx)
		_, err := e.watch.write(tx, 0)
		return err
	})
}
