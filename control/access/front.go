package access

import (
	"fmt"
	"net/http"
	"strings"

	"activationd/control"
	"activationd/internal/fault"
)

// A Front is a front server, such as nginx, that has identified a user and names that user in
// a header. Only clients that the kernel says are that server are believed.
type Front struct {
	Header string // X-Remote-User
	// Is reports whether a user of a Unix socket is the front server.
	Is func(uid int) bool
	// User returns the caller whom the front server calls by this name; an error if that cannot
	// be known now.
	User func(name string) (control.Caller, error)
}

// Named reports whether the peer is the front server and names a user.
func (f *Front) Named(peer control.Caller, h http.Header) bool {
	return f.is(peer) && strings.TrimSpace(h.Get(f.Header)) != ""
}

func (f *Front) is(peer control.Caller) bool {
	return f != nil && peer.Kind == control.ByUID && f.Is(peer.UID)
}

// Caller returns who makes a request: the user whom the header names if the peer is the front
// server, and otherwise the peer. A front server that names nobody has no role of its own,
// because anybody may be behind it.
func (f *Front) Caller(peer control.Caller, h http.Header) (control.Caller, error) {
	if !f.is(peer) {
		return peer, nil
	}
	names := h.Values(f.Header)
	if len(names) > 1 {
		return control.Caller{}, fmt.Errorf("%s: the front server sends it %d times; have it replace what clients send: %w", f.Header, len(names), fault.Invalid)
	}
	c := control.Caller{Name: "nobody", UID: -1, GID: -1}
	if len(names) == 1 && strings.TrimSpace(names[0]) != "" {
		var err error
		if c, err = f.User(strings.TrimSpace(names[0])); err != nil {
			return control.Caller{}, err
		}
	}
	c.Kind, c.PID, c.Conn = control.ByFront, 0, 0
	c.Via = strings.TrimSpace("front server, " + peer.Via + " " + c.Via)
	return c, nil
}

// Address returns the address of the client behind the front server, as that says; empty if the
// peer is not the front server or does not say.
func (f *Front) Address(peer control.Caller, h http.Header) string {
	if !f.is(peer) {
		return ""
	}
	all := strings.Split(strings.Join(h.Values("X-Forwarded-For"), ","), ",")
	return strings.TrimSpace(all[len(all)-1]) // what is before that, the client may have sent
}
