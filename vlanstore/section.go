package vlanstore

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"activationd/internal/fault"
)

// Sections are mutexes by name, for scripts. Visitors enter in the order in which they came. A
// visit lasts as long as the visitor's connection to the daemon, so a dead script is in no
// section. Sections are in memory only: after a restart the daemon has none.
type Sections struct {
	mu     sync.Mutex
	m      map[string]*section
	visits int
	of     map[string]int // the number of visits, by user
}

type section struct {
	line []*visitor // the first one is inside
}

type visitor struct {
	whose string
	who   string
	since time.Time
	turn  chan struct{} // closed when the visitor may enter after waiting
}

// A Visit is a visitor who is in a section or waits for it.
type Visit struct {
	Section string
	Who     string
	Inside  bool
	Since   time.Time // when the visitor entered or began to wait
}

// maxVisits is how many visitors may be in sections or wait for one. maxVisitsOfOne is how
// many of them may be of one user, so that no user shuts out all others.
const (
	maxVisits      = 256
	maxVisitsOfOne = 64
)

// Enter waits until the visitor may enter the section. who names the visitor in messages, and
// whose the user whose limit it counts for. Enter returns a function that ends the visit and
// may be called more than once. If the visitor has to wait, Enter first calls waits, unless
// that is nil, with the name of the visitor inside; an error of waits ends the waiting.
//
// If ctx is done before the visitor may enter, the error is of kind fault.Unavailable and
// says who is inside. For an invalid name it is of kind fault.Invalid.
func (s *Sections) Enter(ctx context.Context, name, whose, who string, waits func(inside string) error) (leave func(), err error) {
	if err := checkName("section", name); err != nil {
		return nil, err
	}
	v := &visitor{whose: whose, who: who, since: time.Now(), turn: make(chan struct{})}
	inside, err := s.join(name, v)
	if err != nil {
		return nil, err
	}
	leave = sync.OnceFunc(func() { s.leave(name, v) })
	if inside == "" {
		return leave, nil
	}
	if waits != nil {
		if err := waits(inside); err != nil {
			leave()
			return nil, err
		}
	}
	select {
	case <-v.turn:
		return leave, nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	first := s.m[name].line[0]
	s.mu.Unlock()
	leave()
	if first == v { // the section became free at the same moment, which is too late
		return nil, fmt.Errorf("section %s became free too late: %w", name, fault.Unavailable)
	}
	return nil, fmt.Errorf("section %s is not free: %s is in it since %s: %w", name, first.who, first.since.Format(time.DateTime), fault.Unavailable)
}

// join adds v to the section's line. It returns the name of the visitor inside, or "" if that
// is v.
func (s *Sections) join(name string, v *visitor) (inside string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.visits == maxVisits {
		return "", fmt.Errorf("%d visitors are in sections or wait for one, which is the limit; try again later: %w", maxVisits, fault.Unavailable)
	}
	if s.of[v.whose] == maxVisitsOfOne {
		return "", fmt.Errorf("%d visitors of %s are in sections or wait for one, which is the limit; try again later: %w", maxVisitsOfOne, v.whose, fault.Unavailable)
	}
	if s.m == nil {
		s.m, s.of = map[string]*section{}, map[string]int{}
	}
	s.visits++
	s.of[v.whose]++
	sec := s.m[name]
	if sec == nil {
		sec = &section{}
		s.m[name] = sec
	}
	sec.line = append(sec.line, v)
	if sec.line[0] != v {
		return sec.line[0].who, nil
	}
	return "", nil
}

func (s *Sections) leave(name string, v *visitor) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.visits--
	if s.of[v.whose]--; s.of[v.whose] == 0 {
		delete(s.of, v.whose)
	}
	sec := s.m[name]
	first := sec.line[0] == v
	sec.line = slices.DeleteFunc(sec.line, func(w *visitor) bool { return w == v })
	switch {
	case len(sec.line) == 0:
		delete(s.m, name)
	case first:
		sec.line[0].since = time.Now()
		close(sec.line[0].turn)
	}
}

// List returns the visitors of all sections, those who wait in their order.
func (s *Sections) List() []Visit {
	s.mu.Lock()
	defer s.mu.Unlock()
	var vs []Visit
	for _, name := range slices.Sorted(maps.Keys(s.m)) {
		for i, v := range s.m[name].line {
			vs = append(vs, Visit{Section: name, Who: v.who, Inside: i == 0, Since: v.since})
		}
	}
	return vs
}
