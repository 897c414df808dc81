// Package line serves the operations of a registry over the line protocol, which
// package control describes: to people with nc, to old reservation systems and to
// atctl. Who a client is, it asks package access.
package line

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"activationd/control"
	"activationd/control/access"
)

// Limits bound what clients can use. A zero field means its default.
type Limits struct {
	Line      int           // bytes of a line; 1 MiB
	Arguments int           // of a request; 10,000
	Request   int           // bytes of a request; 4 MiB
	Memory    int64         // bytes of all large requests of a listener together; 64 MiB
	Conns     int           // connections of a listener; 1024
	Idle      time.Duration // without a request; 60 s
	Partial   time.Duration // in the middle of a request, plus a second per 16 KiB of it; 15 s
	Write     time.Duration // for a client to take a piece of a reply; 30 s
	Grace     time.Duration // for connections to finish when Serve ends; 5 s
}

func (l Limits) orDefaults() Limits {
	return Limits{
		Line:      cmp.Or(l.Line, 1<<20),
		Arguments: cmp.Or(l.Arguments, 10_000),
		Request:   cmp.Or(l.Request, 4<<20),
		Memory:    cmp.Or(l.Memory, 64<<20),
		Conns:     cmp.Or(l.Conns, 1024),
		Idle:      cmp.Or(l.Idle, 60*time.Second),
		Partial:   cmp.Or(l.Partial, 15*time.Second),
		Write:     cmp.Or(l.Write, 30*time.Second),
		Grace:     cmp.Or(l.Grace, 5*time.Second),
	}
}

// A Server serves operations. Its fields are set before Serve and not changed.
// It adds three commands of its own for people: help, token and quit.
type Server struct {
	Registry *control.Registry
	Log      *slog.Logger
	Limits   Limits
	Gate     *access.Gate
	Meter    access.Meter // nil: nobody counts requests
}

// A listening is one call of Serve.
type listening struct {
	*Server
	lim      Limits
	builtins *control.Registry
	memory   atomic.Int64       // bytes that large requests may still take
	slots    chan struct{}      // has an element for each connection that is served
	refusing chan struct{}      // has an element for each connection that is being refused
	all      sync.WaitGroup     // the goroutines of connections
	quota    *access.Quota      // of connections
	misuse   *access.LimitedLog // of connections that end because of what their clients do
	meter    access.Meter

	mu    sync.Mutex
	conns map[net.Conn]struct{}
}

// Serve serves the connections that ln accepts until ctx ends, then closes ln and
// waits for the connections: operations that are running have Limits.Grace to notice
// and to reply. It returns nil, or an error if a handler did not end in time or ln
// failed. It may run for several listeners at once; each has limits of its own. If
// authenticate returns an error, the client is sent its text and disconnected.
func (s *Server) Serve(ctx context.Context, ln net.Listener, authenticate access.Authenticator) error {
	lim := s.Limits.orDefaults()
	l := &listening{
		Server:   s,
		lim:      lim,
		builtins: builtins(s.Registry),
		slots:    make(chan struct{}, lim.Conns),
		refusing: make(chan struct{}, maxRefusing),
		quota:    access.NewQuota(lim.Conns),
		misuse:   access.NewLimitedLog(s.Log),
		conns:    make(map[net.Conn]struct{}),
	}
	if l.meter = s.Meter; l.meter == nil {
		l.meter = access.NoMeter{}
	}
	l.memory.Store(lim.Memory)
	stop := context.AfterFunc(ctx, func() { _ = ln.Close() })
	defer stop()
	err := l.accept(ctx, ln, authenticate)
	_ = ln.Close()
	return errors.Join(err, l.wait())
}

func (l *listening) accept(ctx context.Context, ln net.Listener, authenticate access.Authenticator) error {
	pause := 5 * time.Millisecond
	for {
		conn, err := ln.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				_ = conn.Close()
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("listening at %v: %w", ln.Addr(), err)
		case err != nil: // temporary: no file descriptors are left, or the client has disconnected already
			l.Log.Warn("cannot accept a connection", "address", ln.Addr().String(), "err", err)
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
			pause = min(2*pause, time.Second)
			continue
		}
		pause = 5 * time.Millisecond
		select {
		case l.slots <- struct{}{}:
			l.track(conn)
			l.all.Go(func() {
				refusal := l.serve(ctx, conn, authenticate)
				l.untrack(conn)
				<-l.slots
				if refusal != nil { // takes no slot
					l.refuse(conn, refusal)
				}
			})
		default:
			l.refuse(conn, access.TooMany(l.lim.Conns))
		}
	}
}

// track notes that conn is open, so that wait can close it.
func (l *listening) track(conn net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conns[conn] = struct{}{}
}

func (l *listening) untrack(conn net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, conn)
}

// wait waits for the connections. It gives them Limits.Grace to end by themselves, then
// closes them, and gives up after the same time again.
func (l *listening) wait() error {
	done := make(chan struct{})
	go func() {
		l.all.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-time.After(l.lim.Grace):
	}
	l.mu.Lock()
	for conn := range l.conns {
		_ = conn.Close()
	}
	l.mu.Unlock()
	select {
	case <-done:
		return nil
	case <-time.After(l.lim.Grace):
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return fmt.Errorf("%d connections' operations did not end within %v", len(l.conns), 2*l.lim.Grace)
}
