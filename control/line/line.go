// Package line serves the operations of a registry over the line protocol that
// package control describes: to people with nc, to old reservation systems and
// to atctl. It also decides who a connection's peer is: see [UnixPeers], [TCPPeers]
// and [Tokens].
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
)

// Limits bound what clients can take. A zero field means its default.
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

// refusals is how many connections over the limit are told so at a time; more
// are closed without a word.
const refusals = 16

// A Server serves operations. Its fields are set before Serve and not changed.
// It adds three commands of its own for people: help, token and quit.
type Server struct {
	Registry *control.Registry
	Log      *slog.Logger
	Limits   Limits
	// Token says whose token secret is. Nil: there are no tokens.
	Token func(secret string) (control.Caller, bool)
	// Roles counts how often it has changed who may do what: then peers who are
	// connected are looked at again. Nil: it does not change.
	Roles *atomic.Uint64
}

// A listening is one call of Serve.
type listening struct {
	*Server
	lim     Limits
	builtin *control.Registry
	memory  atomic.Int64
	slots   chan struct{} // one token per connection
	refused chan struct{} // one per connection that is being refused
	all     sync.WaitGroup

	complaints complaints

	mu     sync.Mutex
	conns  map[net.Conn]struct{}
	shares shares
}

// Serve serves the connections that ln accepts until ctx ends, then closes ln
// and waits for its connections: what is being done has Limits.Grace to notice
// and to reply. It returns nil, or an error if a handler could not be waited
// for or ln failed. It may run for several listeners at once; each has limits of its
// own. authenticate says who a connection's peer is; its error is told to the
// peer, whose connection is closed then.
func (s *Server) Serve(ctx context.Context, ln net.Listener, authenticate func(net.Conn) (control.Caller, error)) error {
	lim := s.Limits.orDefaults()
	l := &listening{
		Server:  s,
		lim:     lim,
		builtin: builtins(s.Registry),
		slots:   make(chan struct{}, lim.Conns),
		refused: make(chan struct{}, refusals),
		conns:   make(map[net.Conn]struct{}),
		shares:  shares{most: lim.Conns, of: make(map[string]int)},
	}
	l.memory.Store(lim.Memory)
	stop := context.AfterFunc(ctx, func() { _ = ln.Close() })
	defer stop()
	err := l.accept(ctx, ln, authenticate)
	_ = ln.Close()
	return errors.Join(err, l.wait())
}

func (l *listening) accept(ctx context.Context, ln net.Listener, authenticate func(net.Conn) (control.Caller, error)) error {
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
		case err != nil: // out of descriptors, or the peer is gone again: it passes
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
			l.keep(conn, true)
			l.all.Go(func() {
				open := l.serve(ctx, conn, authenticate)
				l.keep(conn, false)
				<-l.slots
				if open > 0 { // no slot is taken while he is told
					l.refuse(conn, open)
				}
			})
		default:
			l.refuse(conn, l.lim.Conns)
		}
	}
}

// refuse tells a connection that so many are open already.
func (l *listening) refuse(conn net.Conn, open int) {
	select {
	case l.refused <- struct{}{}:
	default:
		_ = conn.Close()
		return
	}
	l.keep(conn, true)
	l.all.Go(func() {
		l.dismiss(conn, 429, fmt.Sprintf("%d connections are open already, which is the limit; close some or try again later", open))
		l.keep(conn, false)
		<-l.refused
	})
}

// dismiss says a last thing to a peer and closes the connection, taking care
// that he can read it: a connection closed while input waits is reset, and
// what was sent is lost.
func (l *listening) dismiss(conn net.Conn, code int, text string) {
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(min(l.lim.Write, 2*time.Second))); err != nil {
		return
	}
	if _, err := fmt.Fprintf(conn, "%d %s\n.\n", code, control.OneLine(text)); err != nil {
		return
	}
	linger(conn)
}

// keep notes that conn is open, or no longer.
func (l *listening) keep(conn net.Conn, open bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if open {
		l.conns[conn] = struct{}{}
	} else {
		delete(l.conns, conn)
	}
}

// wait waits for the connections: first for them to end by themselves, then
// after closing them, then no longer.
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
