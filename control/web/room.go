package web

import (
	"container/list"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
)

// A room has the open connections of a listener. If it is full, the connection that has waited
// longest makes room for a new one. A connection waits unless a request of it has a place in
// a quota, and the quotas leave places for operators: so clients below operator cannot keep
// operators out, whatever they do with their connections.
type room struct {
	limit int
	freed chan struct{} // has an element if there may be room again

	mu      sync.Mutex
	closing bool // after clear: who comes now is not wanted
	conns   map[net.Conn]*place
	waiting list.List // of the net.Conn that wait; first is the one that has waited longest
}

// A place is that of a connection in a room.
type place struct {
	waits *list.Element // in room.waiting; nil: a request is carried out
	fresh bool          // the connection has sent nothing yet
}

func newRoom(limit int) *room {
	return &room{limit: limit, freed: make(chan struct{}, 1), conns: make(map[net.Conn]*place)}
}

// note follows the state of a connection. If a new one finds no room and no other one waits, it is
// not served before there is room, and nor are those that come later.
func (r *room) note(done <-chan struct{}, conn net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		for !r.enter(conn) {
			select {
			case <-r.freed:
			case <-done:
				_ = conn.Close()
				return
			}
		}
	case http.StateHijacked, http.StateClosed:
		r.mu.Lock()
		defer r.mu.Unlock()
		r.remove(conn)
	case http.StateActive, http.StateIdle:
		r.mu.Lock()
		defer r.mu.Unlock()
		p := r.conns[conn]
		if p == nil {
			return
		}
		p.fresh = false
		if state == http.StateIdle && p.waits != nil {
			r.waiting.MoveToBack(p.waits)
		}
	}
}

// enter counts a connection in, if there is room for it or can be made. After clear it closes it.
func (r *room) enter(conn net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closing {
		_ = conn.Close()
		return true
	}
	if len(r.conns) >= r.limit {
		first := r.waiting.Front()
		if first == nil {
			return false
		}
		other, _ := first.Value.(net.Conn)
		r.remove(other)
		abandon(other)
	}
	r.conns[conn] = &place{waits: r.waiting.PushBack(conn), fresh: true}
	return true
}

// remove counts a connection out. The caller holds r.mu.
func (r *room) remove(conn net.Conn) {
	p := r.conns[conn]
	if p == nil {
		return
	}
	if p.waits != nil {
		r.waiting.Remove(p.waits)
	}
	delete(r.conns, conn)
	r.free()
}

// free says that there may be room again.
func (r *room) free() {
	select {
	case r.freed <- struct{}{}:
	default:
	}
}

// hold keeps a connection open while a request of it is carried out. It reports whether the
// connection is still open.
func (r *room) hold(conn net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.conns[conn]
	if p == nil {
		return false
	}
	if p.waits != nil {
		r.waiting.Remove(p.waits)
		p.waits = nil
	}
	return true
}

// release ends hold.
func (r *room) release(conn net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p := r.conns[conn]; p != nil && p.waits == nil {
		p.waits = r.waiting.PushBack(conn)
		r.free()
	}
}

// clear closes the connections that have sent nothing yet, as browsers keep some. A shutdown of
// net/http would wait five seconds for them. Some were accepted just before, and are noted only
// after this: enter closes those.
func (r *room) clear() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closing = true
	for conn, p := range r.conns {
		if p.fresh {
			_ = conn.Close()
		}
	}
}

// abandon closes a connection without a farewell, for which TLS would wait if the client does not read.
func abandon(conn net.Conn) {
	if secure, ok := conn.(*tls.Conn); ok {
		conn = secure.NetConn()
	}
	_ = conn.Close()
}
