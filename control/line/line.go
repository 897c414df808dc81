// Package line serves the operations of a registry over the line protocol that
// package control describes: to people with nc, to old reservation systems and
// to atctl. It also decides who a connection's peer is.
package line

import (
	"context"
	"log/slog"
	"net"
	"time"

	"activationd/control"
)

// Limits bound what clients can take. A zero field means its default.
type Limits struct {
	Line      int           // bytes of a line; 1 MiB
	Arguments int           // of a request; 1000
	Request   int           // bytes of a request; 4 MiB
	Memory    int           // bytes of all large requests of a listener together; 64 MiB
	Conns     int           // connections of a listener; 1024
	Idle      time.Duration // without a request; 60 s
	Partial   time.Duration // in the middle of a request, plus a second per 16 KiB of it; 15 s
	Write     time.Duration // for a client to take a piece of a reply; 30 s
	Grace     time.Duration // for connections to finish when Serve ends; 5 s
}

// A Server serves operations. Its fields are set before Serve and not changed.
type Server struct {
	Registry *control.Registry
	Log      *slog.Logger
	Limits   Limits
	// Token says whose token secret is. Nil: there are no tokens.
	Token func(secret string) (control.Caller, bool)
}

// Serve serves the connections that ln accepts until ctx ends, then closes ln,
// waits for its connections within Limits.Grace and returns nil. It may run for
// several listeners at once; each has limits of its own. authenticate says who
// a connection's peer is; its error is told to the peer, whose connection is
// closed then.
func (s *Server) Serve(ctx context.Context, ln net.Listener, authenticate func(net.Conn) (control.Caller, error)) error {
	return nil
}
