package access

import (
	"fmt"
	"net"
	"sync"

	"activationd/control"
)

// A Quota keeps callers from shutting others out by holding connections open. One
// caller below operator may have half of a listener's connections, and all callers
// below operator together three quarters. Its methods may be called at the same time.
type Quota struct {
	limit int // connections of the listener

	mu       sync.Mutex
	open     int // connections of callers below operator
	byCaller map[string]int
}

// NewQuota returns a quota for a listener that serves that many connections at a time.
func NewQuota(limit int) *Quota {
	return &Quota{limit: limit, byCaller: make(map[string]int)}
}

// Take counts a connection of c, which comes from an address. If there is room for it,
// the caller of Take must call release once, when the connection ends; otherwise the
// error is that of [TooMany].
func (q *Quota) Take(c control.Caller, from net.Addr) (release func(), err error) {
	if c.Role >= control.Operator {
		return func() {}, nil
	}
	key := fmt.Sprintf("%d %s", c.UID, c.Name)
	if host, _, err := net.SplitHostPort(from.String()); err == nil && c.Kind == control.ByAddress {
		key += " " + host // nothing else distinguishes these callers
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if n := q.byCaller[key]; n >= max(1, q.limit/2) {
		return nil, TooMany(n)
	}
	if q.open >= max(1, q.limit*3/4) {
		return nil, TooMany(q.open)
	}
	q.open++
	q.byCaller[key]++
	return sync.OnceFunc(func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.open--
		if q.byCaller[key]--; q.byCaller[key] == 0 {
			delete(q.byCaller, key)
		}
	}), nil
}

// TooMany is the reply to a client for which there is no room, because that many
// connections are open.
func TooMany(open int) error {
	return &control.ReplyError{
		Code:        429,
		Description: fmt.Sprintf("%d connections are open already, which is the limit; close some or try again later", open),
	}
}
