package line

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"activationd/control"
	"activationd/internal/fault"
)

const maxBatch = 512 // requests that are done together

// A session is one connection.
type session struct {
	*listening
	conn   net.Conn
	caller control.Caller
	token  string // with which he said who he is
	roles  uint64 // when that was looked at
	auth   func(net.Conn) (control.Caller, error)
	give   func() // gives back his share of the connections
	in     reader
	out    *bufio.Writer
	timed  *timedWriter  // out writes to it
	json   *json.Encoder // writes to out
	code   []byte        // scratch
	over   atomic.Bool   // a stream's watcher shall end
	served bool          // a request of his has been looked at
}

// serve talks with one peer until he goes, errs or ctx ends. If he has too many
// connections open already it does not, and returns how many; then conn stays open.
func (l *listening) serve(ctx context.Context, conn net.Conn, authenticate func(net.Conn) (control.Caller, error)) (open int) {
	defer func() {
		if open == 0 {
			_ = conn.Close()
		}
	}()
	if err := conn.SetDeadline(time.Now().Add(l.lim.Partial)); err != nil {
		return 0
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	roles := l.rolesNow()
	caller, err := authenticate(conn)
	if err != nil {
		l.complaints.log(l.Log, "connection refused", "peer", conn.RemoteAddr().String(), "err", err)
		if plain, why := answerable(conn, err); plain != nil {
			l.dismiss(plain, control.Code(why), fault.Text(why))
		}
		return 0
	}
	give, open := l.shares.take(caller, conn.RemoteAddr())
	if give == nil {
		return open
	}
	s := &session{listening: l, conn: conn, caller: caller, roles: roles, auth: authenticate, give: sync.OnceFunc(give)}
	defer s.give()
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
		quiet: s.out.Flush,
		ended: func() bool { return ctx.Err() != nil || s.over.Load() },
	}
	defer s.in.release()
	err = s.run(ctx)
	var n nonsense
	switch {
	case errors.As(err, &n):
		l.complaints.log(l.Log, "connection closed", "peer", caller.Via, "name", caller.Name, "err", err)
		_ = s.finish(n.code, n.text)
		if s.out.Flush() == nil {
			linger(conn)
		}
	case errors.Is(err, io.EOF), errors.Is(err, errQuit):
		_ = s.out.Flush()
	case ctx.Err() != nil && (errors.Is(err, errUnanswered) || !s.served || s.in.inside()):
		// He came as the daemon was leaving, and may have asked already.
		_ = s.finish(503, leaving)
		if s.out.Flush() == nil {
			lingerFor(conn, 200*time.Millisecond)
		}
	case errors.Is(err, errUntaken):
		l.complaints.log(l.Log, "a client does not read his stream; connection closed", "peer", caller.Via, "name", caller.Name,
			"command", err, "after", l.lim.Write)
	case errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() == nil:
		l.Log.Debug("connection idle or not taking its reply", "peer", caller.Via, "name", caller.Name)
	case err != nil:
		_ = s.out.Flush()
		l.Log.Debug("connection ended", "peer", caller.Via, "name", caller.Name, "err", err)
	}
	return 0
}

// errQuit says that a peer took his leave.
var errQuit = errors.New("quit")

// errUntaken says that a client did not read a stream for as long as Limits.Write is.
var errUntaken = errors.New("the client did not read it")

// errUnanswered says that the daemon's end came before a request's turn.
var errUnanswered = errors.New("not answered")

// leaving is what a peer is told whom the daemon's end left without an answer.
const leaving = "the daemon ends; ask again when it is back"

// lookup finds an operation or one of the server's own commands.
func (s *session) lookup(name []byte) *control.Op {
	if op := s.Registry.Lookup(string(name)); op != nil {
		return op
	}
	return s.builtin.Lookup(string(name))
}

// run serves requests until there is an error. An operation that panics ends
// its connection and no more.
func (s *session) run(ctx context.Context) (err error) {
	defer func() {
		if p := recover(); p != nil {
			s.Log.Error("operation panicked", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			err = nonsense{500, "a fault of the daemon's own; its log tells more"}
		}
	}()
	req, err := s.in.next()
	for {
		if errors.Is(err, errMore) || req == nil && err == nil {
			req, err = s.in.next()
		}
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return errUnanswered
		}
		s.served = true
		switch {
		case s.builtin.Lookup(req.op.Name) == req.op:
			err = s.own(req)
			req = nil
		case req.op.Streams():
			err = s.stream(ctx, req)
			req = nil
		case req.op.Batches():
			var next *request
			var nerr error
			if next, nerr, err = s.batch(ctx, req); err == nil {
				req, err = next, nerr
			}
		default:
			err = s.single(ctx, req)
			req = nil
		}
	}
}

func (l *listening) rolesNow() uint64 {
	if l.Roles == nil {
		return 0
	}
	return l.Roles.Load()
}

// identify returns who asks req, or the reply that he gets instead.
func (s *session) identify(req *request) (control.Caller, error) {
	if now := s.rolesNow(); now != s.roles {
		c, err := s.auth(s.conn)
		if err != nil {
			return c, nonsense{control.Code(err), fault.Text(err)}
		}
		s.caller, s.roles = c, now
	}
	secret := cmp.Or(req.token, s.token)
	if secret == "" {
		return s.caller, nil
	}
	if s.Token != nil {
		if c, ok := s.Token(secret); ok { // it may have been taken away since
			c.Via = strings.TrimSpace(c.Via + " " + s.caller.Via)
			return c, nil
		}
	}
	s.Log.Warn("wrong token", "peer", s.caller.Via, "name", s.caller.Name, "command", req.op.Name)
	return control.Caller{}, nonsense{401, "this token is not known; ask an admin for one"}
}

// stillMay returns an error if who asked req may not do so any more.
func (s *session) stillMay(req *request) error {
	c, err := s.identify(req)
	if n := (nonsense{}); errors.As(err, &n) {
		return fmt.Errorf("%s: %w", n.text, fault.Denied)
	}
	return c.May(req.op.Name, req.op.Role)
}

// input returns what req asks of its operation, if its peer may ask for it and
// its arguments are right.
func (s *session) input(req *request) (control.Caller, any, error) {
	c, err := s.identify(req)
	if err != nil {
		return c, nil, err
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
	c, in, err := s.input(req)
	if err != nil {
		return s.fail(req.op, err)
	}
	for _, a := range s.call(ctx, req.op, c, in) {
		if err := s.answer(ctx, req.op, a); err != nil {
			return err
		}
	}
	return nil
}

// batch does req and those that came after it, as far as they are for the same
// operation and from the same peer. It returns the request after those, or why
// there is none, as the reader's whole does; and its own error.
func (s *session) batch(ctx context.Context, req *request) (next *request, nerr, err error) {
	var ins []any
	var who control.Caller
	op := req.op
	errs := make([]error, 0, 1) // for each request, why it was not done
	for {
		c, in, err := s.input(req)
		if len(errs) > 0 && err == nil && len(ins) > 0 && c != who {
			next = req
			break
		}
		errs = append(errs, err)
		if err == nil {
			who = c
			ins = append(ins, in)
		}
		if n := (nonsense{}); errors.As(err, &n) || len(errs) == maxBatch {
			nerr = errMore
			break
		}
		if next, nerr = s.in.whole(); nerr != nil || next.op != op {
			break
		}
		req, next = next, nil
	}
	var answers []control.Answer
	if len(ins) > 0 {
		answers = s.call(ctx, op, who, ins...)
	}
	for _, err := range errs {
		if err != nil {
			err = s.fail(op, err)
		} else {
			err = s.answer(ctx, op, answers[0])
			answers = answers[1:]
		}
		if err != nil {
			return nil, nil, err
		}
	}
	return next, nerr, nil
}

// call runs the operation.
func (s *session) call(ctx context.Context, op *control.Op, c control.Caller, ins ...any) []control.Answer {
	began := time.Now()
	as := op.Call(ctx, c, ins...)
	s.Log.Debug("done", "command", op.Name, "requests", len(ins), "name", c.Name, "peer", s.caller.Via, "took", time.Since(began))
	return as
}

// fail replies to a request that was not done. A nonsense is for whoever ends
// the connection to tell.
func (s *session) fail(op *control.Op, err error) error {
	if n := (nonsense{}); errors.As(err, &n) {
		return err
	}
	return s.finish(s.describe(op, err))
}

// answer writes a reply.
func (s *session) answer(ctx context.Context, op *control.Op, a control.Answer) error {
	code, text := 200, "OK"
	if a.Err != nil {
		code, text = s.describe(op, ended(ctx, a.Err))
	}
	if a.Summary != "" {
		text += " " + a.Summary
	}
	if err := s.head(code, text); err != nil {
		return err
	}
	if a.Lines != nil {
		for line, err := range a.Lines {
			if err == nil {
				err = s.json.Encode(line)
				if sick := s.sick(); sick != nil {
					return sick
				}
			}
			if err != nil {
				return s.breakOff(op, ended(ctx, err))
			}
		}
	}
	_, err := s.out.WriteString(".\n")
	return err
}

// head writes the first line of a reply.
func (s *session) head(code int, text string) error {
	s.code = strconv.AppendInt(s.code[:0], int64(code), 10)
	s.code = append(s.code, ' ')
	s.code = append(s.code, control.OneLine(text)...)
	s.code = append(s.code, '\n')
	_, err := s.out.Write(s.code)
	return err
}

// finish writes a reply without lines.
func (s *session) finish(code int, text string) error {
	if err := s.head(code, text); err != nil {
		return err
	}
	_, err := s.out.WriteString(".\n")
	return err
}

// breakOff ends a reply that was begun with 200 and cannot go on.
func (s *session) breakOff(op *control.Op, err error) error {
	var end control.EndLine
	end.Error.Code, end.Error.Text = s.describe(op, err)
	if err := s.json.Encode(end); err != nil {
		return err
	}
	_, err = s.out.WriteString(".\n")
	return err
}

// sick returns the error that writing to the peer has met.
func (s *session) sick() error {
	_, err := s.out.Write(nil)
	return err
}

// describe returns the code and the description for err. What went wrong
// inside is for the log, and not for the peer.
func (s *session) describe(op *control.Op, err error) (int, string) {
	code := control.Code(err)
	if code == 500 {
		ref := strconv.FormatInt(time.Now().UnixMilli(), 36)
		s.Log.Error("operation failed", "command", op.Name, "ref", ref, "err", err)
		return 500, "a fault of the daemon's own; its log tells more, at ref=" + ref
	}
	return code, fault.Text(err)
}

// ended gives the error of an operation that was cut short by the daemon's end
// the kind that it has for the peer.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return fmt.Errorf("%s: %w", leaving, fault.Unavailable)
	}
	return err
}

// timedWriter gives each write its own time.
type timedWriter struct {
	conn net.Conn
	max  time.Duration
	rest []byte // what of the last piece was not taken in time
}

func (w *timedWriter) Write(p []byte) (int, error) {
	if err := w.conn.SetWriteDeadline(time.Now().Add(w.max)); err != nil {
		return 0, err
	}
	n, err := w.conn.Write(p)
	if err != nil {
		w.rest = bytes.Clone(p[n:])
	}
	return n, err
}

// lastWords says why a stream ends to a client who took nothing of it for too long. The
// kernel's room for what he has not read is used up; it is made larger for that, so that
// he finds it if he ever reads on. Nothing waits for him.
func (w *timedWriter) lastWords(text []byte) {
	c, ok := w.conn.(syscall.Conn)
	if !ok {
		return // within TLS nothing can follow a piece that was cut
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	text = append(w.rest, text...)
	_ = raw.Control(func(fd uintptr) { makeRoom(int(fd), len(text)) })
	if w.conn.SetWriteDeadline(time.Now().Add(lastPatience)) == nil {
		_, _ = w.conn.Write(text)
	}
}

// keepRoom has a TCP connection take less from us than the kernel would buffer, so that
// something is left for makeRoom. Others have none of that.
func keepRoom(conn net.Conn) {
	const unsent = 128 << 10
	c, ok := conn.(*net.TCPConn)
	if !ok {
		return
	}
	if raw, err := c.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) {
			_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, unsent)
		})
	}
}

// makeRoom has the kernel buffer n more bytes for a peer who does not read, if it can be had.
func makeRoom(fd, n int) {
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, 0) // no limit of its own; see keepRoom
	size, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF)
	if err != nil {
		return
	}
	// The kernel doubles what is set. Who is not root gets no more than
	// net.core.wmem_max, which may be less than a TCP connection has by itself.
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, size+n) != nil && size <= usualRoom {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, size+n)
	}
}

// usualRoom is net.core.wmem_max on most machines.
const usualRoom = 212_992

// lastPatience is how long lastWords tries.
const lastPatience = 100 * time.Millisecond

// linger reads what the peer still sends, for a while, after ending our side.
func linger(conn net.Conn) { lingerFor(conn, 2*time.Second) }

func lingerFor(conn net.Conn, d time.Duration) {
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		if half.CloseWrite() != nil {
			return
		}
	} else {
		return
	}
	if conn.SetReadDeadline(time.Now().Add(d)) != nil {
		return
	}
	_, _ = io.CopyN(io.Discard, conn, 64<<20)
}
