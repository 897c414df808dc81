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

// A flow is the reply of a stream. Its lock is for what comes beside the lines:
// the first line, when the first of the others is long in coming, and signs of
// life.
type flow struct {
	s  *session
	mu sync.Mutex
	// begun tells that the first line was sent; the reply is a 200 then.
	begun bool
	shut  bool
	cut   bool  // within a line
	err   error // of the connection
}

// stream runs an operation whose lines go out as they come. It ends with the
// operation, when the peer hangs up, or with ctx.
func (s *session) stream(ctx context.Context, req *request) error {
	c, in, err := s.input(req)
	if err != nil {
		return s.fail(req.op, err)
	}
	if err := s.out.Flush(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	keepRoom(s.conn)
	f := &flow{s: s}
	first := time.AfterFunc(pause, func() { _ = f.beside(cancel, nil) })
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		s.watch(ctx, func() error { return f.beside(cancel, s.life) }, cancel)
	}()
	defer func() {
		first.Stop()
		s.over.Store(true)
		_ = s.conn.SetReadDeadline(time.Unix(1, 0))
		cancel()
		<-watched
		s.over.Store(false)
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

	f.mu.Lock()
	defer f.mu.Unlock()
	f.shut = true
	switch {
	case errors.Is(f.err, os.ErrDeadlineExceeded):
		if why, err := s.untaken(); err == nil && !f.cut {
			s.timed.lastWords(why)
		}
		return fmt.Errorf("%s: %w", req.op.Name, errUntaken)
	case f.err != nil:
		return f.err
	case err != nil && !f.begun:
		err = s.finish(s.describe(req.op, ended(ctx, err)))
	case err != nil:
		err = s.breakOff(req.op, ended(ctx, err))
	case !f.begun:
		err = s.finish(200, "OK")
	default:
		_, err = s.out.WriteString(".\n")
	}
	if err != nil {
		return err
	}
	return s.out.Flush()
}

// untaken is the end of a stream that is not read.
func (s *session) untaken() ([]byte, error) {
	var end control.EndLine
	end.Error.Code = control.Code(fault.Unavailable)
	end.Error.Text = fmt.Sprintf("nothing of this was read for %v, so the daemon ended it; ask again, for events with since: and the last number that came", s.lim.Write)
	line, err := json.Marshal(end)
	return append(line, "\n.\n"...), err
}

// beside writes what comes beside the lines. While something is being written
// there is no need of it.
func (f *flow) beside(gone func(), more func() error) error {
	if !f.mu.TryLock() {
		return nil
	}
	defer f.mu.Unlock()
	return f.write(gone, more)
}

// write writes the first line if that was not done, calls more unless it is
// nil, and sends. When the peer does not take it, it calls gone, and fails from
// then on. The caller holds f.mu.
func (f *flow) write(gone func(), more func() error) error {
	if f.shut || f.err != nil {
		return f.err
	}
	if !f.begun {
		f.begun = true
		f.err = f.s.head(200, "OK")
	}
	if more != nil && f.err == nil {
		err := more()
		f.cut = f.s.sick() != nil
		if err != nil && !f.cut {
			return err // what cannot be written as JSON; the peer is well
		}
	}
	f.err = f.s.out.Flush()
	if f.err != nil {
		gone()
	}
	return f.err
}

// life writes a sign of life: an empty line.
func (s *session) life() error { return s.out.WriteByte('\n') }

// watch reads what the peer sends while a stream goes out to him, so that it
// notices when he hangs up, and calls gone then. What he sends is kept.
//
// The end of his input is not yet a hang-up: he may have closed his sending
// side only, as nc -N does. Which it is shows when something is sent to him.
func (s *session) watch(ctx context.Context, probe func() error, gone func()) {
	for s.in.w-s.in.r < pipeBuffer {
		switch err := s.in.fill(time.Time{}); {
		case err == nil:
		case errors.Is(err, io.EOF) && hungUp(s.conn):
			gone()
			return
		case errors.Is(err, io.EOF):
			s.listen(ctx, probe)
			return
		case errors.Is(err, os.ErrDeadlineExceeded):
			return // the stream is over
		default:
			gone()
			return
		}
	}
}

// hungUp reports whether the kernel knows that the peer is gone, and has not only
// closed his sending side. Of a Unix socket's peer it knows at once, of another
// when something was sent to him.
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

// listen probes a peer of whom no more comes until ctx is done. A probe to one
// who is gone fails, or makes the next one fail.
func (s *session) listen(ctx context.Context, probe func() error) {
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
