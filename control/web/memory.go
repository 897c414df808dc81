package web

import (
	"fmt"
	"net"
	"net/http"
	"sync/atomic"

	"activationd/control"
	"activationd/control/access"
	"activationd/internal/fault"
)

// A memory is what requests of a listener may keep at the same time, in bytes. Each caller has a
// share of it.
type memory struct {
	left   atomic.Int64
	shares *access.Quota
	full   string // says what to do if there is no more
}

func newMemory(bytes int64, full string) *memory {
	m := &memory{shares: access.NewQuota(int(bytes)), full: full}
	m.left.Store(bytes)
	return m
}

// take counts n bytes more for a request of c. If there is no room, it counts nothing; the error
// is for the client.
func (m *memory) take(c control.Caller, from net.Addr, n int) error {
	if _, ok := m.shares.Add(c, from, n); !ok {
		return &control.ReplyError{Code: http.StatusTooManyRequests, Description: m.full}
	}
	if m.left.Add(int64(-n)) < 0 {
		m.give(c, from, n)
		return fmt.Errorf("%s: %w", m.full, fault.Unavailable)
	}
	return nil
}

// give takes back what [memory.take] has counted.
func (m *memory) give(c control.Caller, from net.Addr, n int) {
	m.shares.Give(c, from, n)
	m.left.Add(int64(n))
}
