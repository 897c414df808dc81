package web

import (
	"net"
	"net/http"
	"testing"
	"time"
)

// TestLateConnections checks that connections which were accepted just before the room was cleared
// are closed, too, whether there is room for them or not: nothing else would end them.
func TestLateConnections(t *testing.T) {
	for _, limit := range []int{0, 1} {
		r, done := newRoom(limit), make(chan struct{})
		close(done)
		if limit > 0 {
			r.clear()
		}
		ours, theirs := net.Pipe()
		defer func() { _, _ = ours.Close(), theirs.Close() }()
		r.note(done, ours, http.StateNew)
		if err := ours.SetDeadline(time.Now()); err == nil { // a closed pipe says so
			t.Errorf("room for %d: it is open", limit)
		}
	}
}
