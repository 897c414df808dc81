package line

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime/debug"
	"sync/atomic"
	"time"

	"activationd/control"
	"activationd/control/access"
	"activationd/internal/fault"
)

const maxBatch = 512 // requests that are done together

// A session is one connection.
type session struct {
	*listening
	ctx     context.Context // ends with the daemon
	conn    net.Conn
	peer    *access.Peer
	caller  control.Caller // who the peer was when it connected, for the log
	secret  string         // given with the command "token"
	release func()         // ends the connection's part of the quota; may be called again
	in      reader
	ahead   readAhead
	served  bool        // a request was begun
	open    int         // requests that were begun and have no reply yet
	openOp  *control.Op // of these

	out   *bufio.Writer
	timed *timedWriter  // out writes to it
	json  *json.Encoder // writes to out
	code  []byte        // scratch

	stopWatch atomic.Bool // interrupts the watcher of a stream
}

// A readAhead is what a batch read and did not use: a request, or the error that
// follows the batch. The zero readAhead is empty.
type readAhead struct {
	req *request
	err error
}

// errQuit ends a session whose client said quit.
var errQuit = errors.New("quit")

// errUnread says that a client did not read a stream for Limits.Write.
var errUnread = errors.New("the client did not read it")

// errUnanswered says that the daemon shut down before it began a request.
var errUnanswered = errors.New("not answered")

// serve serves one client until the client leaves, an error ends the connection, or
// ctx ends. If the client has too many connections, serve returns the error to refuse
// it with and leaves conn open; otherwise it closes conn and returns nil.
func (l *listening) serve(ctx context.Context, conn net.Conn, authenticate access.Authenticator) (refusal error) {
	if err := conn.SetDeadline(time.Now().Add(l.lim.Partial)); err != nil {
		_ = conn.Close()
		return nil
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	peer := l.Gate.Peer(conn, authenticate)
	caller, err := peer.Caller()
	if err != nil {
		l.misuse.Info("connection refused", "peer", conn.RemoteAddr().String(), "err", err)
		if to, why := readable(conn, err); to != nil {
			l.dismiss(to, why)
		}
		_ = conn.Close()
		return nil
	}
	release, err := l.quota.Take(caller, conn.RemoteAddr())
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	s := l.newSession(ctx, conn, peer, caller)
	s.release = release
	defer s.release()
	defer s.in.release()
	defer s.abandon()
	s.end(ctx, s.run(ctx))
	return nil
}

func (l *listening) newSession(ctx context.Context, conn net.Conn, peer *access.Peer, caller control.Caller) *session {
	s := &session{listening: l, ctx: ctx, conn: conn, peer: peer, caller: caller}
	s.timed = &timedWriter{conn: conn, max: l.lim.Write}
	s.out = bufio.NewWriterSize(s.timed, 8<<10)
	s.json = json.NewEncoder(s.out)
	s.json.SetEscapeHTML(false)
	s.in = reader{
		src: conn, lim: l.lim, memory: &l.memory,
		lookup: s.lookup,
		mayNow: func(op *control.Op) bool {
			c, err := s.identify(&request{op: op})
			return err == nil && c.Role >= op.Role
		},
		beforeWait: s.out.Flush,
		stopped:    func() bool { return ctx.Err() != nil || s.stopWatch.Load() },
	}
	return s
}

// end sends what the client is to know of the error that ends its session, and logs
// what an administrator is to know.
func (s *session) end(ctx context.Context, err error) {
	var closing closingError
	switch {
	case errors.As(err, &closing):
		s.misuse.Info("connection closed", "peer", s.caller.Via, "name", s.caller.Name, "err", err)
		s.farewell(closing.code, closing.text, 2*time.Second)
	case errors.Is(err, io.EOF), errors.Is(err, errQuit):
		_ = s.out.Flush()
	case ctx.Err() != nil && (errors.Is(err, errUnanswered) || !s.served || s.in.inside()):
		// The client connected during the shutdown, and may have sent a request already.
		s.farewell(control.Code(access.ErrShutdown), fault.Text(access.ErrShutdown), 200*time.Millisecond)
	case errors.Is(err, errUnread):
		s.misuse.Info("a client does not read its stream; connection closed", "peer", s.caller.Via, "name", s.caller.Name,
			"command", err, "after", s.lim.Write)
	case errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() == nil:
		s.Log.Debug("connection idle or not taking its reply", "peer", s.caller.Via, "name", s.caller.Name)
	default:
		_ = s.out.Flush()
		s.Log.Debug("connection ended", "peer", s.caller.Via, "name", s.caller.Name, "err", err)
	}
}

// farewell sends a last reply and gives the client some time to read it.
func (s *session) farewell(code int, text string, most time.Duration) {
	_ = s.finish(code, text)
	if s.out.Flush() == nil {
		linger(s.conn, most)
	}
}

// lookup finds an operation or one of the server's own commands.
func (s *session) lookup(name []byte) *control.Op {
	if op := s.Registry.Lookup(string(name)); op != nil {
		return op
	}
	return s.builtins.Lookup(string(name))
}

// run serves requests until an error ends the session. An operation that panics ends
// its own connection only.
func (s *session) run(ctx context.Context) (err error) {
	defer func() {
		if p := recover(); p != nil {
			s.Log.Error("operation panicked", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			err = closingError{500, "internal error; the daemon's log has the details"}
		}
	}()
	for {
		req, err := s.next()
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return errUnanswered
		}
		s.served = true
		if err := s.do(ctx, req); err != nil {
			return err
		}
	}
}

// next returns the request that a batch has read ahead, or waits for one.
func (s *session) next() (*request, error) {
	if ahead := s.ahead; ahead != (readAhead{}) {
		s.ahead = readAhead{}
		return ahead.req, ahead.err
	}
	return s.in.next()
}

// do replies to a request. Its error ends the session.
func (s *session) do(ctx context.Context, req *request) error {
	switch {
	case s.builtins.Lookup(req.op.Name) == req.op:
		return s.builtin(ctx, req)
	case req.op.Streams():
		return s.stream(ctx, req)
	case req.op.Batches():
		return s.batch(ctx, req)
	default:
		return s.single(ctx, req)
	}
}

// identify returns the caller who makes req.
func (s *session) identify(req *request) (control.Caller, error) {
	return s.peer.Identify(s.ctx, cmp.Or(req.secret, s.secret), req.op.Name, "")
}

// began counts a request that is being served.
func (s *session) began(op *control.Op) {
	s.open, s.openOp = s.open+1, op
	s.meter.Begin("line")
}

// replied counts the reply to a request, unless that was counted.
func (s *session) replied(op *control.Op, code int) {
	if s.open == 0 {
		return
	}
	s.open--
	s.meter.End("line", op.Name, code)
}

// abandon counts requests that had no reply when the session ended.
func (s *session) abandon() {
	for s.open > 0 {
		s.replied(s.openOp, 0)
	}
}

// stillMay returns an error if the caller who made req has lost the right to it.
func (s *session) stillMay(req *request) error {
	c, err := s.identify(req)
	if err != nil {
		return fmt.Errorf("%s: %w", fault.Text(err), fault.Denied)
	}
	return c.May(req.op.Name, req.op.Role)
}

// input returns the caller who makes req and the input of its operation, or an error
// if the caller may not call the operation or the arguments are wrong.
func (s *session) input(req *request) (control.Caller, any, error) {
	c, err := s.identify(req)
	if err != nil {
		return c, nil, closing(err)
	}
	if err := c.May(req.op.Name, req.op.Role); err != nil {
		return c, nil, err
	}
	if req.err != nil {
		return c, nil, req.err
	}
	in, err := req.args.Input()
	return c, in, err
}

func (s *session) single(ctx context.Context, req *request) error {
	s.began(req.op)
	c, in, err := s.input(req)
	if err != nil {
		return s.fail(ctx, req.op, err)
	}
	for _, a := range s.call(ctx, req.op, c, in) {
		if err := s.answer(ctx, req.op, a); err != nil {
			return err
		}
	}
	return nil
}

// batch does a request together with those that arrived after it, as far as they are
// for the same operation and from the same caller.
func (s *session) batch(ctx context.Context, req *request) error {
	op := req.op
	var caller control.Caller
	var ins []any
	errs := make([]error, 0, 1) // for each request: why it is not among ins
	for req != nil {
		c, in, err := s.input(req)
		if err == nil && len(ins) > 0 && c != caller {
			s.ahead.req = req
			break
		}
		s.began(op)
		errs = append(errs, err)
		if err == nil {
			caller, ins = c, append(ins, in)
		}
		if len(errs) == maxBatch || errors.As(err, new(closingError)) {
			break
		}
		req = s.following(op)
	}
	var answers []control.Answer
	if len(ins) > 0 {
		answers = s.call(ctx, op, caller, ins...)
	}
	for _, err := range errs {
		if err != nil {
			err = s.fail(ctx, op, err)
		} else {
			err = s.answer(ctx, op, answers[0])
			answers = answers[1:]
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// following returns the next request if all of it has arrived and it is for op. Any
// other request, and an error, are left for next.
func (s *session) following(op *control.Op) *request {
	req, err := s.in.whole()
	switch {
	case errors.Is(err, errMore):
		return nil
	case err != nil || req.op != op:
		s.ahead = readAhead{req, err}
		return nil
	default:
		return req
	}
}

// call runs the operation.
func (s *session) call(ctx context.Context, op *control.Op, c control.Caller, ins ...any) []control.Answer {
	began := time.Now()
	as := op.Call(ctx, c, ins...)
	s.Log.Debug("done", "command", op.Name, "requests", len(ins), "name", c.Name, "peer", s.caller.Via, "took", time.Since(began))
	return as
}
