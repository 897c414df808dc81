package web

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"activationd/control"
	"activationd/control/access"
	"activationd/internal/fault"
)

const (
	// atOnce is how long a stream waits for its first line before it sends its head: an
	// operation that fails has done so by then, and the reply has the status of that.
	atOnce = 100 * time.Millisecond
	// maxGathered bounds the reply if the lines of a stream are asked for as one object, in bytes.
	maxGathered = 16 << 20
)

// A positioned line of a stream says from where on a client goes on after it.
type positioned interface{ Position() string }

// A form is how the lines of a stream are written.
type form struct {
	kind  string // the Content-Type
	line  func(b *bytes.Buffer, line any, data []byte)
	alive string // keeps the connection alive
	end   func(b *bytes.Buffer, problem []byte)
}

var (
	jsonLines = &form{
		kind: "application/jsonl",
		line: func(b *bytes.Buffer, _ any, data []byte) {
			b.Write(data)
			b.WriteByte('\n')
		},
		alive: "\n",
		end: func(b *bytes.Buffer, problem []byte) {
			b.WriteString(`{"error":`)
			b.Write(problem)
			b.WriteString("}\n")
		},
	}
	sentEvents = &form{
		kind: "text/event-stream",
		line: func(b *bytes.Buffer, line any, data []byte) {
			if e, ok := line.(control.Event); ok && e.What == control.EventGap {
				b.WriteString("event: gap\n")
			}
			if at := position(line); at != "" {
				b.WriteString("id: " + at + "\n")
			}
			b.WriteString("data: ")
			b.Write(data)
			b.WriteString("\n\n")
		},
		alive: ":\n\n",
		end: func(b *bytes.Buffer, problem []byte) {
			b.WriteString("event: problem\ndata: ")
			b.Write(problem)
			b.WriteString("\n\n")
		},
	}
)

func position(line any) string {
	if p, ok := line.(positioned); ok {
		return p.Position()
	}
	return ""
}

// accepts returns the form of a stream that a request accepts; nil: one JSON object. Without a
// wish it is JSON lines.
func accepts(r *http.Request) *form {
	for kind := range strings.SplitSeq(r.Header.Get("Accept"), ",") {
		kind, _, _ = strings.Cut(strings.TrimSpace(kind), ";")
		switch strings.ToLower(kind) {
		case sentEvents.kind:
			return sentEvents
		case "application/json":
			return nil
		case jsonLines.kind, "*/*":
			return jsonLines
		}
	}
	return jsonLines
}

// inLines reports whether the reply to a request is a stream of lines, or of messages.
func inLines(r *http.Request, op *control.Op) bool {
	return op.Streams() && !op.One && (isSocket(r) || accepts(r) != nil)
}

// isSocket reports whether a request asks for a WebSocket.
func isSocket(r *http.Request) bool {
	return strings.EqualFold(r.Header.Get("Upgrade"), "websocket")
}

// A flow is a stream that goes out. Besides its lines, a timer writes to it.
type flow struct {
	*writer
	form  *form
	mu    sync.Mutex
	ended bool
	err   error // of the connection
	timer *time.Timer
	stop  context.CancelCauseFunc // of the operation
}

// errGone says that the client does not read its stream.
var errGone = errors.New("the client has gone")

// stream runs an operation whose lines go out as they come.
func (l *listening) stream(w http.ResponseWriter, r *http.Request, c *call) error {
	l.all.Add(1)
	defer l.all.Done()
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	defer context.AfterFunc(l.ctx, func() { cancel(access.ErrShutdown) })()
	if f := l.flow(w, r, c, cancel); f != nil {
		return f.end(ctx, l, c.op, c.op.Stream(ctx, c.caller, c.in.value, l.sender(ctx, r, c.op, f)))
	}
	return l.whole(ctx, cancel, w, r, c)
}

// flow begins a stream of lines. It returns nil if the request wants something else.
func (l *listening) flow(w http.ResponseWriter, r *http.Request, c *call, stop context.CancelCauseFunc) *flow {
	form := accepts(r)
	if form == nil || c.op.One || r.Method == http.MethodHead || isSocket(r) {
		return nil
	}
	f := &flow{writer: &writer{w: w, lim: l.lim, kind: form.kind}, form: form, stop: stop}
	f.begin()
	return f
}

// whole replies with the lines of a stream in another form than a flow.
func (l *listening) whole(ctx context.Context, cancel context.CancelCauseFunc, w http.ResponseWriter, r *http.Request, c *call) error {
	switch {
	case r.Method == http.MethodHead:
		return l.head(ctx, cancel, w, r, c)
	case isSocket(r):
		return l.socket(ctx, cancel, w, r, c)
	}
	return l.gather(ctx, cancel, w, r, c)
}

// errHead ends an operation of which only the head of the reply is wanted.
var errHead = errors.New("only the head is wanted")

// head replies to a HEAD. The operation runs until it would send something, or has not failed at
// once: then the reply to a GET has begun, or waits for something.
func (l *listening) head(ctx context.Context, cancel context.CancelCauseFunc, w http.ResponseWriter, r *http.Request, c *call) error {
	defer time.AfterFunc(atOnce, func() { cancel(errHead) }).Stop()
	err := c.op.Stream(ctx, c.caller, c.in.value, func(any) error { return errHead })
	cause := context.Cause(ctx)
	switch ended := errors.Is(cause, errHead) && errors.Is(err, context.Canceled); {
	case err != nil && errors.Is(cause, access.ErrShutdown):
		return cause
	case err != nil && !errors.Is(err, errHead) && !ended:
		return err
	}
	kind := "application/json"
	if form := accepts(r); form != nil && !c.op.One {
		kind = form.kind
	}
	w.Header().Set("Content-Type", kind)
	return nil
}

// sender returns a function that sends the lines of an operation.
func (l *listening) sender(ctx context.Context, r *http.Request, op *control.Op, f *flow) func(any) error {
	return func(line any) error {
		data, err := l.encode(ctx, r, op, line)
		if err != nil {
			return err
		}
		return f.write(func() { f.form.line(&f.buf, line, data) })
	}
}

// watch cancels a stream that writes nothing when its client has gone. net/http does not notice
// that once the client has sent the beginning of another request.
func (l *listening) watch(r *http.Request, cancel context.CancelCauseFunc) (stop func()) {
	p, ok := r.Context().Value(peerKey{}).(client)
	if !ok {
		return func() {}
	}
	done := make(chan struct{})
	var timer *time.Timer
	var mu sync.Mutex
	mu.Lock()
	timer = time.AfterFunc(l.lim.Alive, func() {
		mu.Lock()
		defer mu.Unlock()
		select {
		case <-done:
		default:
			if hungUp(p.conn) {
				cancel(errGone)
				return
			}
			timer.Reset(l.lim.Alive)
		}
	})
	mu.Unlock()
	return func() {
		close(done)
		timer.Stop()
	}
}

// hungUp reports whether the other end of a connection is closed, whatever is still to be read.
func hungUp(conn net.Conn) (gone bool) {
	if secure, ok := conn.(*tls.Conn); ok {
		conn = secure.NetConn()
	}
	sys, ok := conn.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := sys.SyscallConn()
	if err != nil {
		return true
	}
	err = raw.Control(func(fd uintptr) {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
		n, err := unix.Poll(fds, 0)
		gone = err == nil && n > 0 && fds[0].Revents&(unix.POLLRDHUP|unix.POLLHUP|unix.POLLERR) != 0
	})
	return gone || err != nil
}

// encode returns a line of a stream, if its caller may still have it.
func (l *listening) encode(ctx context.Context, r *http.Request, op *control.Op, line any) ([]byte, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	c, err := l.identify(r, op.Name)
	if err == nil {
		err = c.May(op.Name, op.Role)
	}
	if err != nil {
		return nil, err
	}
	if e, ok := line.(control.Event); ok {
		return e.JSON()
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err = enc.Encode(line)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// begin has the head sent soon, whatever the operation does.
func (f *flow) begin() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.timer = time.AfterFunc(atOnce, f.alive)
}

// alive sends the head, or what keeps the connection alive.
func (f *flow) alive() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.ended {
		_ = f.out(func() { f.buf.WriteString(f.form.alive) })
	}
}

// write sends what fill adds.
func (f *flow) write(fill func()) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.out(fill)
}

// out is write for a caller that holds f.mu.
func (f *flow) out(fill func()) error {
	if f.err != nil {
		return f.err
	}
	if !f.begun {
		f.w.Header().Set("X-Accel-Buffering", "no") // nginx would keep lines back
	}
	fill()
	if f.err = f.send(); f.err != nil {
		f.stop(errGone)
		return errGone
	}
	f.timer.Reset(f.lim.Alive)
	return nil
}

// end ends a stream whose operation returned err. Nothing is written after it.
func (f *flow) end(ctx context.Context, l *listening, op *control.Op, err error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ended = true
	defer f.timer.Stop()
	if cause := context.Cause(ctx); err != nil && errors.Is(cause, access.ErrShutdown) {
		err = cause
	}
	switch {
	case f.err != nil || err != nil && ctx.Err() != nil && !errors.Is(err, access.ErrShutdown):
		panic(http.ErrAbortHandler)
	case err != nil && !f.begun:
		return err
	}
	fill := func() {}
	if err != nil {
		p, merr := json.Marshal(l.problem(ctx, op, err))
		if merr != nil {
			return merr
		}
		fill = func() { f.form.end(&f.buf, p) }
	}
	if f.out(fill) != nil {
		panic(http.ErrAbortHandler)
	}
	return nil
}

// problem is the end of a stream that has begun.
func (l *listening) problem(ctx context.Context, op *control.Op, err error) *problem {
	code, text := access.Failure(ctx, l.Log, op.Name, err)
	return problemOf(err, code, text)
}

// gather replies with the lines of a stream when it has ended; if op has One, with the last line.
func (l *listening) gather(ctx context.Context, cancel context.CancelCauseFunc, w http.ResponseWriter, r *http.Request, c *call) error {
	var lines []json.RawMessage
	size := 0
	from := remote(r)
	defer func() { l.gathered.give(c.caller, from, size) }()
	defer l.watch(r, cancel)()
	err := c.op.Stream(ctx, c.caller, c.in.value, func(line any) error {
		data, err := l.encode(ctx, r, c.op, line)
		if err != nil {
			return err
		}
		if c.op.One {
			l.gathered.give(c.caller, from, size)
			lines, size = lines[:0], 0
		}
		if err := l.gathered.take(c.caller, from, len(data)); err != nil {
			return err
		}
		if size += len(data); size > maxGathered {
			return &control.ReplyError{Code: http.StatusNotAcceptable, Description: "the reply is too large for one object; ask for lines with Accept: application/jsonl"}
		}
		lines = append(lines, data)
		return nil
	})
	if err != nil {
		if cause := context.Cause(ctx); errors.Is(cause, access.ErrShutdown) {
			err = cause
		}
		return err
	}
	if c.op.One && len(lines) == 0 {
		return errors.New("a stream without a line: " + string(fault.Internal))
	}
	return l.reply(w, r, c.op, c.in.page, control.Answer{Lines: func(yield func(any, error) bool) {
		for _, line := range lines {
			if !yield(line, nil) {
				return
			}
		}
	}})
}
