package line

import (
	"fmt"
	"net"
	"sync"

	"activationd/control"
)

// Shares has nobody shut others out by keeping connections open: who is no operator
// can have half of a listener's, and all of them together three quarters.
type shares struct {
	most int // connections of the listener

	mu  sync.Mutex
	all int
	of  map[string]int
}

// take counts a connection of a caller. If there is room for it, give has to be called
// when it is over; else n is how many are open. Who he is over TCP without a certificate is where he comes from.
func (s *shares) take(c control.Caller, from net.Addr) (give func(), n int) {
	if c.Role >= control.Operator {
		return func() {}, 0
	}
	who := fmt.Sprintf("%d %s", c.UID, c.Name)
	if host, _, err := net.SplitHostPort(from.String()); err == nil && c.Anonymous {
		who += " " + host
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.of[who]; n >= max(1, s.most/2) {
		return nil, n
	}
	if s.all >= max(1, s.most*3/4) {
		return nil, s.all
	}
	s.all++
	s.of[who]++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.all--
		if s.of[who]--; s.of[who] == 0 {
			delete(s.of, who)
		}
	}, 0
}
