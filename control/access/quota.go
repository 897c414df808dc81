package access

import (
	"fmt"
	"net"
	"sync"

	"activationd/control"
)

// A Quota keeps callers from shutting others out by holding on to what all share:
// connections, requests, memory. One caller below operator may have half of it, and
// all callers below operator together three quarters. Its methods may be called at
// the same time.
type Quota struct {
	limit int // of the listener

	mu       sync.Mutex
	open     int // what callers below operator have
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
	if have, ok := q.Add(c, from, 1); !ok {
		return nil, TooMany(have)
	}
	return sync.OnceFunc(func() { q.Give(c, from, 1) }), nil
}

// Add counts n more of what c has. If there is no room for that, it counts nothing, and
// returns how many there are of what the limit is about.
func (q *Quota) Add(c control.Caller, from net.Addr, n int) (have int, ok bool) {
	if c.Role >= control.Operator {
		return 0, true
	}
	key := keyOf(c, from)
	q.mu.Lock()
	defer q.mu.Unlock()
	if have := q.byCaller[key]; have > 0 && have+n > q.limit/2 {
		return have, false
	}
	if q.open > 0 && q.open+n > q.limit*3/4 {
		return q.open, false
	}
	q.open += n
	q.byCaller[key] += n
	return 0, true
}

// Give takes back what [Quota.Add] has counted.
func (q *Quota) Give(c control.Caller, from net.Addr, n int) {
	if c.Role >= control.Operator || n == 0 {
		return
	}
	key := keyOf(c, from)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.open -= n
	if q.byCaller[key] -= n; q.byCaller[key] == 0 {
		delete(q.byCaller, key)
	}
}

// keyOf is what a caller is counted by.
func keyOf(c control.Caller, from net.Addr) string {
	key := fmt.Sprintf("%d %s", c.UID, c.Name)
	if host, _, err := net.SplitHostPort(from.String()); err == nil && c.Kind == control.ByAddress {
		key += " " + host // nothing else distinguishes these callers
	}
	return key
}

// TooMany is the reply to a client for which there is no room, because that many
// connections are open.
func TooMany(open int) error {
	return &control.ReplyError{
		Code:        429,
		Description: fmt.Sprintf("%d connections are open already, which is the limit; close some or try again later", open),
	}
}
