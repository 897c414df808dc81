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

// Sections are mutexes by name, for scripts: first come, first served. Who is in
// one is whoever holds a connection to the daemon, so a dead script holds none;
// they are not kept anywhere, and a daemon that is started anew has none.
type Sections struct {
	mu sync.Mutex
	m  map[string]*section
}

type section struct {
	line []*visitor // the first one is inside
}

type visitor struct {
	who   string
	since time.Time
	turn  chan struct{} // closed when he may enter
}

// A Visit is somebody in a section, or in its line.
type Visit struct {
	Section string
	Who     string
	Inside  bool
	Since   time.Time // inside or in line
}

// Enter waits until who may enter the section name, and returns what ends his
// visit, which may be called more than once. If ctx is done before, it returns
// an error of kind fault.Unavailable which says who is inside.
func (s *Sections) Enter(ctx context.Context, name, who string) (leave func(), err error) {
	v := &visitor{who: who, since: time.Now(), turn: make(chan struct{})}
	s.mu.Lock()
	if s.m == nil {
		s.m = map[string]*section{}
	}
	sec := s.m[name]
	if sec == nil {
		sec = &section{}
		s.m[name] = sec
	}
	sec.line = append(sec.line, v)
	if len(sec.line) == 1 {
		close(v.turn)
	}
	s.mu.Unlock()
	leave = sync.OnceFunc(func() { s.leave(name, v) })
	select {
	case <-v.turn:
		return leave, nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	inside := sec.line[0]
	s.mu.Unlock()
	leave()
	if inside == v { // his turn came at the same moment; he is too late all the same
		return nil, fmt.Errorf("section %s became free too late: %w", name, fault.Unavailable)
	}
	return nil, fmt.Errorf("section %s is not free: %s is in it since %s: %w", name, inside.who, inside.since.Format(time.TimeOnly), fault.Unavailable)
}

func (s *Sections) leave(name string, v *visitor) {
	s.mu.Lock()
	defer s.mu.Unlock()
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

// List returns who is in which section, and who waits, in their order.
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
