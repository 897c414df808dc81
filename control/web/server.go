package web

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"activationd/control"
	"activationd/control/access"
	"activationd/control/panel"
	"activationd/store/once"
)

// Prefix precedes the paths of all operations. It has the version of the interface: within
// it, fields, arguments and operations are only added.
const Prefix = "/api/v1"

// Limits bound what clients can use. A zero field means its default.
type Limits struct {
	Body    int64         // bytes of a request's body; 4 MiB
	Memory  int64         // bytes that a listener keeps at the same time of all bodies, and again of all streams; 64 MiB
	Conns   int           // connections of a listener; 16,384
	Calls   int           // requests of a listener at the same time; 1024
	Streams int           // streams of a listener at the same time; 16,384
	Head    time.Duration // to send the head of a request; 10 s
	Partial time.Duration // to send its body, plus a second for each 16 KiB that have arrived; 15 s
	Idle    time.Duration // between requests; 60 s
	Write   time.Duration // for a client to take a piece of a reply; 30 s
	Alive   time.Duration // how long a stream sends nothing at most; 15 s. Apache ends it after 60 s
	Grace   time.Duration // for requests to finish when Serve ends; 5 s
}

func (l Limits) orDefaults() Limits {
	return Limits{
		Body:    cmp.Or(l.Body, 4<<20),
		Memory:  cmp.Or(l.Memory, 64<<20),
		Conns:   cmp.Or(l.Conns, 16_384),
		Calls:   cmp.Or(l.Calls, 1024),
		Streams: cmp.Or(l.Streams, 16_384),
		Head:    cmp.Or(l.Head, 10*time.Second),
		Partial: cmp.Or(l.Partial, 15*time.Second),
		Idle:    cmp.Or(l.Idle, 60*time.Second),
		Write:   cmp.Or(l.Write, 30*time.Second),
		Alive:   cmp.Or(l.Alive, 15*time.Second),
		Grace:   cmp.Or(l.Grace, 5*time.Second),
	}
}

// A Server serves operations. Its fields are set before Serve and not changed.
type Server struct {
	Registry *control.Registry
	Log      *slog.Logger
	Limits   Limits
	Gate     *access.Gate
	Front    *access.Front // nil: no front server identifies users
	Base     string        // what precedes all paths: "/lab", or nothing
	// Hosts are the names by which a plain TCP address may be asked for, besides localhost and IP
	// addresses.
	Hosts []string
	// Keys keeps the keys of requests that are carried out once; nil: no request has one.
	Keys *once.Keeper
	// Routes returns what a POST to an escaped path pushes into a queue, if anything; nil: nothing ever.
	Routes func(path string) (*Push, bool)
	// Ready returns why the daemon cannot do its work now, for /readyz.
	Ready func(context.Context) error
	// Version is the program's, for /version.
	Version string
	// Description is the OpenAPI document, and Reference the page that people read: package
	// docs has both.
	Description, Reference []byte
	// Metrics serves /metrics; nil: there is nothing.
	Metrics http.Handler
	Meter   access.Meter // nil: nobody counts requests
	Panel   *panel.Panel // nil: there are no pages for people
}

// A listening is one call of Serve.
type listening struct {
	*Server
	lim    Limits
	bodies *memory // of requests
	// gathered is what is kept of streams that are asked for as one object.
	gathered *memory
	tcp      bool // it listens on TCP
	conns    *room
	calls    *access.Quota
	streams  *access.Quota
	misuse   *access.LimitedLog
	ctx      context.Context // that of Serve: streams end with it
	all      sync.WaitGroup  // the streams, which a shutdown of net/http does not know if they are sockets
}

// Serve serves the connections that ln accepts until ctx ends, then closes ln and waits for
// the requests: they have Limits.Grace to finish. It returns nil, or an error if they did not
// or if ln failed. It may run for several listeners at once; each has limits of its own.
func (s *Server) Serve(ctx context.Context, ln net.Listener, authenticate access.Authenticator) error {
	lim := s.Limits.orDefaults()
	ln = closedOnce{ln, sync.OnceValue(ln.Close)}
	l := &listening{
		Server: s, lim: lim, ctx: ctx, tcp: ln.Addr().Network() == "tcp",
		calls: access.NewQuota(lim.Calls), streams: access.NewQuota(lim.Streams),
		misuse: access.NewLimitedLog(s.Log), conns: newRoom(lim.Conns),
	}
	l.bodies = newMemory(lim.Memory, "too many large requests are arriving; send fewer at the same time, or try again later")
	l.gathered = newMemory(lim.Memory, "too many streams are asked for as one object; ask for lines with Accept: application/jsonl")
	// Requests end with ctx by themselves: streams at once, others when they are done.
	base, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	srv := &http.Server{
		Handler:           l.handler(),
		ReadHeaderTimeout: lim.Head,
		IdleTimeout:       lim.Idle,
		MaxHeaderBytes:    64 << 10,
		BaseContext:       func(net.Listener) context.Context { return base },
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			return context.WithValue(ctx, peerKey{}, client{s.Gate.Peer(conn, authenticate), conn})
		},
		ConnState: func(conn net.Conn, state http.ConnState) { l.conns.note(ctx.Done(), conn, state) },
		ErrorLog:  log.New(quiet{l.misuse}, "", 0),
	}
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(ln) }()
	select {
	case err := <-ended:
		_ = srv.Close()
		return fmt.Errorf("listening at %v: %w", ln.Addr(), err)
	case <-ctx.Done():
	}
	grace, stop := context.WithTimeout(context.WithoutCancel(ctx), lim.Grace)
	defer stop()
	_ = ln.Close() // so that no more come
	l.conns.clear()
	err := srv.Shutdown(grace)
	if err != nil {
		cancel()
		err = errors.Join(fmt.Errorf("requests did not end within %v: %w", lim.Grace, err), srv.Close())
	}
	l.all.Wait()
	return err
}

// peerKey is the key of a request's client in its context.
type peerKey struct{}

// A client is the other end of a connection.
type client struct {
	*access.Peer
	conn net.Conn
}

// closedOnce is a listener whose Close may be called again.
type closedOnce struct {
	net.Listener
	close func() error
}

func (c closedOnce) Close() error { return c.close() }

// quiet logs what net/http says of connections, which is caused by clients.
type quiet struct{ log *access.LimitedLog }

func (q quiet) Write(text []byte) (int, error) {
	q.log.Info("http", "text", strings.TrimSpace(string(text)))
	return len(text), nil
}
