// Package access is what the daemon's faces share about their clients: who a client
// is, how many connections it may have, how much of its misbehaviour is logged, and
// which reply stands for a failure.
//
// A face makes a [Peer] of each connection that it accepts and asks it who makes each
// request. What that caller may do is decided by the operation, see [control.Op].
//
// The package starts no goroutine and reads nothing from a connection, except for a TLS
// handshake.
package access

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"

	"activationd/control"
)

// A Gate identifies the clients of faces. Its fields are set before use and not changed.
type Gate struct {
	Log *slog.Logger
	// Token returns the caller to whom a secret belongs. If it is nil, there are no tokens.
	Token func(secret string) (control.Caller, bool)
	// Roles counts how often the configuration of roles has changed. Peers are then
	// authenticated again at their next request. If it is nil, roles never change.
	Roles *atomic.Uint64

	guesses Guesses
	once    sync.Once
	limited *LimitedLog
}

// A Peer is the other end of one connection. Its methods may be called at the same time.
type Peer struct {
	gate         *Gate
	conn         net.Conn
	authenticate Authenticator

	mu            sync.Mutex
	authenticated bool
	caller        control.Caller
	roles         uint64 // Gate.Roles when the peer was authenticated
}

// Peer returns the peer of a connection. The peer is authenticated when it is first
// asked who it is.
func (g *Gate) Peer(conn net.Conn, authenticate Authenticator) *Peer {
	return &Peer{gate: g, conn: conn, authenticate: authenticate}
}

// Caller returns who opened the connection. Its error is that of the [Authenticator].
func (p *Peer) Caller() (control.Caller, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var roles uint64
	if p.gate.Roles != nil { // before the peer is authenticated, so that no later change is missed
		roles = p.gate.Roles.Load()
	}
	if p.authenticated && p.roles == roles {
		return p.caller, nil
	}
	caller, err := p.authenticate(p.conn)
	p.authenticated = err == nil
	if err != nil {
		return control.Caller{}, err
	}
	p.caller, p.roles = caller, roles
	return caller, nil
}

// Identify returns the caller of a request: the caller to whom its secret belongs, or,
// without a secret, the caller who opened the connection. Call it again for each request
// and each part of a long reply: a role or a token may have been removed in the meantime.
// From is the address of a client that is behind the peer; empty: the peer is the client.
// The error for an unknown secret stands for the code 401, or 429 if too many came from there. If
// many came, it waits as [Guesses] says, until ctx ends.
func (p *Peer) Identify(ctx context.Context, secret, command, from string) (control.Caller, error) {
	peer, err := p.Caller()
	if err != nil || secret == "" {
		return peer, err
	}
	lookup := func(string) (control.Caller, bool) { return control.Caller{}, false }
	if p.gate.Token != nil {
		lookup = p.gate.Token
	}
	c, err := p.gate.guesses.Check(ctx, secret, cmp.Or(from, p.address(peer)), lookup)
	switch {
	case errors.Is(err, ErrShutdown):
		return control.Caller{}, err
	case err != nil:
		p.gate.misuse().Info("wrong token", "peer", peer.Via, "name", peer.Name, "from", from, "command", command)
		return control.Caller{}, err
	}
	c.Via = strings.TrimSpace(c.Via + " " + peer.Via)
	return c, nil
}

// address is what wrong secrets are counted by.
func (p *Peer) address(c control.Caller) string {
	if c.Kind == control.ByUID {
		return "user " + c.Name
	}
	if host, _, err := net.SplitHostPort(p.conn.RemoteAddr().String()); err == nil {
		return host
	}
	return p.conn.RemoteAddr().String()
}

// misuse is where wrong tokens are logged, which anybody can send.
func (g *Gate) misuse() *LimitedLog {
	g.once.Do(func() { g.limited = NewLimitedLog(g.Log) })
	return g.limited
}
