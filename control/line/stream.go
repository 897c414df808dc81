package line

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"activationd/control"
	"activationd/internal/fault"
)

// A flow is the reply of a stream. Besides the lines, two things are written by other
// goroutines: the first line, if the operation is slow to send a line, and the empty
// lines that keep the connection alive. The mutex is for these.
type flow struct {
	s     *session
	mu    sync.Mutex
	begun bool // the first line was sent; the code of the reply is 200
	done  bool
	cut   bool  // the connection failed within a line
	err   error // of the connection
}

// stream runs an operation whose lines go out as they come. It ends with the
// operation, when the client hangs up, or with ctx.
func (s *session) stream(ctx context.Context, req *request) error {
	s.began(req.op)
	c, in, err := s.input(req)
	if err != nil {
		return s.fail(ctx, req.op, err)
	}
	if err := s.out.Flush(); err != nil {
		return err
	}
	outer := ctx
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	keepRoom(s.conn)
	f := &flow{s: s}
	first := time.AfterFunc(pause, func() { _ = f.writeAside(cancel, nil) })
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		s.watch(ctx, func() error { return f.writeAside(cancel, s.keepAlive) }, cancel)
	}()
	defer func() {
		first.Stop()
		s.stopWatch.Store(true)
		_ = s.conn.SetReadDeadline(time.Unix(1, 0))
		cancel()
		<-watched
		s.stopWatch.Store(false)
	}()

	err = req.op.Stream(ctx, c, in, func(line any) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := s.stillMay(req); err != nil {
			return err
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.write(cancel, func() error { return s.json.Encode(line) })
	})
	if ctx.Err() != nil && outer.Err() == nil { // the client has left, which is no failure
		s.replied(req.op, 0)
	}
	return f.end(ctx, req.op, err)
}

// end ends the reply of an operation that returned err.
func (f *flow) end(ctx context.Context, op *control.Op, err error) error {
	s := f.s
	f.mu.Lock()
	defer f.mu.Unlock()
	f.done = true
	switch {
	case errors.Is(f.err, os.ErrDeadlineExceeded):
		if why, err := s.unreadLine(); err == nil && !f.cut {
			s.timed.lastWords(why)
		}
		return fmt.Errorf("%s: %w", op.Name, errUnread)
	case f.err != nil:
		return f.err
	case err != nil && !f.begun:
		err = s.fail(ctx, op, err)
	case err != nil:
		s.replied(op, control.Code(err))
		err = s.abort(ctx, op, err)
	case !f.begun:
		s.replied(op, 200)
		err = s.finish(200, "OK")
	default:
		s.replied(op, 200)
		_, err = s.out.WriteString(".\n")
	}
	if err != nil {
		return err
	}
	return s.out.Flush()
}

// unreadLine is the end of a stream that the client does not read.
func (s *session) unreadLine() ([]byte, error) {
	var end control.EndLine
	end.Error.Code = control.Code(fault.Unavailable)
	end.Error.Text = fmt.Sprintf("nothing of this was read for %v, so the daemon ended it; ask again, for events with since: and the last number that came", s.lim.Write)
	line, err := json.Marshal(end)
	return append(line, "\n.\n"...), err
}

// writeAside is write for a goroutine other than the operation's. It does nothing
// while a line is being written, because that serves the same purpose.
func (f *flow) writeAside(hangUp func(), more func() error) error {
	if !f.mu.TryLock() {
		return nil
	}
	defer f.mu.Unlock()
	return f.write(hangUp, more)
}

// write writes the first line unless it was written, calls more unless it is nil,
// and flushes. If the client does not take it, write calls hangUp, and fails from then
// on. The caller holds f.mu.
func (f *flow) write(hangUp func(), more func() error) error {
	if f.done || f.err != nil {
		return f.err
	}
	if !f.begun {
		f.begun = true
		f.err = f.s.head(200, "OK")
	}
	if more != nil && f.err == nil {
		err := more()
		f.cut = f.s.writeErr() != nil
		if err != nil && !f.cut {
			return err // the line has no form in JSON; the connection is in order
		}
	}
	f.err = f.s.out.Flush()
	if f.err != nil {
		hangUp()
	}
	return f.err
}

// keepAlive writes an empty line, which means nothing.
func (s *session) keepAlive() error { return s.out.WriteByte('\n') }

// watch reads what the client sends during a stream, so that it notices when the
// client hangs up, and calls hangUp then. The input stays in the reader.
//
// The end of the input does not yet mean that: the client may have closed only its
// sending side, as nc -N does. Which of the two it did shows when something is sent to
// it.
func (s *session) watch(ctx context.Context, probe func() error, hangUp func()) {
	for s.in.w-s.in.r < pipeBuffer {
		switch err := s.in.fill(time.Time{}); {
		case err == nil:
		case errors.Is(err, io.EOF) && hungUp(s.conn):
			hangUp()
			return
		case errors.Is(err, io.EOF):
			probeUntil(ctx, probe)
			return
		case errors.Is(err, os.ErrDeadlineExceeded):
			return // the stream has ended
		default:
			hangUp()
			return
		}
	}
}

// hungUp reports whether the kernel knows that the client has closed the connection,
// and not only its sending side. For a Unix socket the kernel knows at once, otherwise
// when something was sent to the client.
func hungUp(conn net.Conn) bool {
	c, ok := conn.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	up := true
	err = raw.Control(func(fd uintptr) {
		p := []unix.PollFd{{Fd: int32(fd)}}
		n, err := unix.Poll(p, 0)
		up = err != nil || n == 0 || p[0].Revents&(unix.POLLHUP|unix.POLLERR) == 0
	})
	return err == nil && !up
}

// probeUntil probes a client that sends no more, until ctx is done or a probe fails. If
// the client has gone, a probe fails, or makes the next one fail.
func probeUntil(ctx context.Context, probe func() error) {
	wait := 250 * time.Millisecond
	for range 2 {
		if !sleep(ctx, wait) || probe() != nil {
			return
		}
		wait = 50 * time.Millisecond
	}
	for sleep(ctx, 5*time.Second) && probe() == nil {
	}
}

// sleep reports whether it slept for d; it does not if ctx ends first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
