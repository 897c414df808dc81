package supervisor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"activationd/internal/fault"
	"activationd/supervisor/wrapper"
)

const (
	// MaxSend is the longest line, with its line end, that [Stream.Send] takes. The kernel
	// writes so much into a pipe as a whole or not at all (PIPE_BUF).
	MaxSend = 4096
	// MaxPeek is how much output a script can always write before it has to wait until somebody consumes
	// some, and so the longest line that [Stream.Peek] sees whole. The pipe holds twice as much,
	// because a buffer of it may be only half full.
	MaxPeek = 64 << 10

	pipeSize = 2 * MaxPeek
)

// A Stream is the daemon's side of the standard input and output of a run with Spec.Stream. The wrapper keeps
// the pipes, so they outlive the daemon: the Stream of the next daemon goes on where this one ended. What was
// peeked and not consumed is peeked again.
//
// One goroutine at a time may call Sendable, one Peek. All other methods may be called by any.
type Stream struct {
	key   Key
	in    *os.File // nil if it was closed already when the run was adopted, or the run had ended
	out   *os.File // nil if the run had ended: rest is its output then
	tee   *tee
	close func() error // asks the wrapper to close its copy of in

	mu     sync.Mutex
	closed bool   // the input
	peeked int    // bytes that were peeked and not consumed
	rest   []byte // what is not consumed
}

// Stream returns the stream of a run that was started with Spec.Stream. It is there when Start has
// returned, or Adopt, whatever it found. All calls return the same Stream, until the run is removed.
// If the run had ended, or ends while it is adopted, its input is closed, and its output is what nobody
// had consumed when its wrapper ended: some of it may have been consumed since, by the daemon that was there.
//
// The error is of kind fault.NotFound if the run has no stream, or is followed by nobody, and fault.Denied if this
// daemon lacks the right to take back the stream of a run that goes on. Then only a stop helps.
func (s *Supervisor) Stream(k Key) (*Stream, error) {
	s.mu.Lock()
	st, ok := s.streams[k]
	f := s.runs[k]
	s.mu.Unlock()
	if ok {
		return st.stream, st.err
	}
	spec, err := s.readSpec(k)
	switch {
	case isGone(err):
		return nil, fmt.Errorf("run %v has no directory: %w", k, fault.NotFound)
	case err != nil:
		return nil, fmt.Errorf("specification of run %v: %w: %w", k, err, kind(err))
	case !spec.Stream:
		return nil, fmt.Errorf("run %v was started without a stream: %w", k, fault.NotFound)
	}
	if held, err := lockHeld(s.config.RunsDir, k.String()); err != nil || held && f == nil {
		return nil, fmt.Errorf("run %v goes on and is followed by nobody: %w", k, errors.Join(err, fault.NotFound))
	}
	rest, err := s.readRunFile(k, wrapper.UnreadFile)
	if err != nil && !isGone(err) {
		return nil, fmt.Errorf("output of run %v: %w: %w", k, err, kind(err))
	}
	return s.keepStream(k, &Stream{key: k, closed: true, rest: []byte(rest)}, nil)
}

// kept is what Stream returns.
type kept struct {
	stream *Stream
	err    error
}

// keepStream makes a stream the run's, unless it has one.
func (s *Supervisor) keepStream(k Key, st *Stream, err error) (*Stream, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if is, ok := s.streams[k]; ok {
		st.discard()
		return is.stream, is.err
	}
	select {
	case <-s.closing:
		st.discard()
		return nil, fmt.Errorf("stream of run %v: %w", k, os.ErrClosed)
	default:
	}
	s.streams[k] = kept{st, err}
	return st, err
}

// dropStream closes and forgets the stream of a run, if it has one.
func (s *Supervisor) dropStream(k Key) {
	s.mu.Lock()
	st := s.streams[k].stream
	delete(s.streams, k)
	s.mu.Unlock()
	st.discard()
}

// dropStreams closes all streams. It is called when nobody can make another one.
func (s *Supervisor) dropStreams() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, st := range s.streams {
		st.stream.discard()
	}
	clear(s.streams)
	s.tee.close()
}

// pipes makes the pipes of a run. The descriptors are in the order in which the wrapper gets them; the
// first two are the daemon's.
func pipes() (fds []int, err error) {
	var in, out [2]int
	if err := unix.Pipe2(in[:], unix.O_CLOEXEC); err != nil {
		return nil, fmt.Errorf("%w: %w", os.NewSyscallError("pipe2", err), kind(err))
	}
	if err := unix.Pipe2(out[:], unix.O_CLOEXEC); err != nil {
		closeAll(in[:])
		return nil, fmt.Errorf("%w: %w", os.NewSyscallError("pipe2", err), kind(err))
	}
	fds = []int{in[1], out[0], in[0], out[1]}
	if _, err := unix.FcntlInt(uintptr(out[0]), unix.F_SETPIPE_SZ, pipeSize); err != nil {
		closeAll(fds)
		return nil, fmt.Errorf("a pipe of %d bytes: %w: users other than root have a limit for all their pipes: raise fs.pipe-user-pages-soft (see pipe(7)): %w", pipeSize, err, fault.Unavailable)
	}
	return fds, nil
}

// newStream returns the stream of a run. It takes both descriptors.
func (s *Supervisor) newStream(k Key, in, out int) *Stream {
	name := "stream of run " + k.String()
	_ = unix.SetNonblock(out, true) // fails only for a descriptor that is not open
	st := &Stream{key: k, tee: &s.tee, close: func() error { return s.endInput(k) }, out: os.NewFile(uintptr(out), name)}
	var is unix.Stat_t
	if err := unix.Fstat(in, &is); err != nil || is.Mode&unix.S_IFMT != unix.S_IFIFO { // an earlier daemon has closed it
		_ = unix.Close(in)
		st.closed = true
	} else {
		_ = unix.SetNonblock(in, true)
		st.in = os.NewFile(uintptr(in), name)
	}
	return st
}

// takeStream takes the stream of a run of an earlier daemon from its wrapper. An error means that there are
// no descriptors now.
func (s *Supervisor) takeStream(k Key, w Child, spec *wrapper.Spec) error {
	if !spec.Stream {
		return nil
	}
	ending := wrapper.InputEnding(w.PID) // before the wrapper's copy is taken
	fds, err := s.privileged.Kept(w.PidFD, len(spec.Addresses), 2)
	switch {
	case lacking(err):
		return err
	case errors.Is(err, unix.ESRCH): // the wrapper has ended
		return nil
	case err != nil:
		why := fault.Internal
		if errors.Is(err, unix.EPERM) {
			why = fault.Denied
		}
		_, _ = s.keepStream(k, nil, fmt.Errorf("cannot take back the stream of run %v: %w%s: %w", k, err, hintKept(err), why))
		return nil
	}
	st := s.newStream(k, fds[0], fds[1])
	if ending {
		st.closed = true
		_ = st.in.Close() // it may be nil
	}
	_, err = s.keepStream(k, st, nil)
	if errors.Is(err, os.ErrClosed) { // the Supervisor is being closed: the next one takes it
		return nil
	}
	return err
}

// endInput asks the wrapper of a run to close its copy of the daemon's end of standard input.
func (s *Supervisor) endInput(k Key) error {
	s.mu.Lock()
	f := s.runs[k]
	s.mu.Unlock()
	if f == nil || f.pidfd == nil {
		return nil
	}
	err := s.signal(f, wrapper.InputSignal)
	if err == nil || errors.Is(err, unix.ESRCH) || errors.Is(err, os.ErrClosed) {
		return nil
	}
	return fmt.Errorf("end of the input of run %v: %w", k, err)
}

// Send writes a line, which ends with its only line end and has at most [MaxSend] bytes, to the script's standard
// input. It does not wait: sent is false if there is no room now, see [Stream.Sendable]. A line is written as a
// whole or not at all, also if this process is killed. An error is unix.EPIPE if the script is gone or has closed its
// input, and of kind fault.Conflict if CloseInput was called.
func (st *Stream) Send(line []byte) (sent bool, err error) {
	switch end := bytes.IndexByte(line, '\n'); {
	case len(line) > MaxSend:
		return false, fmt.Errorf("a line of %d bytes for run %v: at most %d can be sent: %w", len(line), st.key, MaxSend, fault.Invalid)
	case end < 0 || end != len(line)-1:
		return false, fmt.Errorf("a line for run %v must end with its only line end: %w", st.key, fault.Invalid)
	}
	if st.InputClosed() {
		return false, st.inputClosed()
	}
	err = control(st.in, func(fd int) error {
		for {
			n, err := unix.Write(fd, line)
			switch {
			case err == unix.EINTR:
				continue
			case err == unix.EAGAIN:
				return nil
			case err == nil && n < len(line):
				return fmt.Errorf("%d of %d bytes were written: %w", n, len(line), fault.Internal)
			}
			sent = err == nil
			return err
		}
	})
	if err != nil {
		return false, fmt.Errorf("send to run %v: %w", st.key, err)
	}
	return sent, nil
}

func (st *Stream) inputClosed() error {
	return fmt.Errorf("the input of run %v is closed: %w", st.key, fault.Conflict)
}

// Sendable waits until Send may find room, or would return an error. When ctx is done, it returns its cause.
func (st *Stream) Sendable(ctx context.Context) error {
	if st.InputClosed() {
		return st.inputClosed()
	}
	return st.wait(ctx, st.in.SetWriteDeadline, func() error {
		c, err := st.in.SyscallConn()
		if err != nil {
			return err
		}
		return c.Write(func(fd uintptr) bool {
			p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
			n, err := unix.Poll(p, 0)
			return err == nil && n > 0
		})
	})
}

// CloseInput ends the script's standard input: the script reads what was sent, and then finds the end, whether or
// not this daemon lives until then. A second call does nothing.
func (st *Stream) CloseInput() error {
	if st.InputClosed() {
		return nil
	}
	if err := st.close(); err != nil { // if this process is killed now, its own end is closed by that
		return err
	}
	st.mu.Lock()
	st.closed = true
	st.mu.Unlock()
	return st.in.Close()
}

// InputClosed reports whether the script's input was closed by CloseInput, also that of an earlier daemon, or because
// the run had ended when this daemon found it.
func (st *Stream) InputClosed() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.closed
}

// Peek waits until the script has written more than what was peeked before, and copies of that what buf has room
// for. It leaves it in the pipe: if this daemon is killed before it calls Consume, the next one peeks it
// again. When all is peeked and nobody can write any more, the error is io.EOF. When ctx is done, it is the
// cause of that, and it is os.ErrClosed when the Stream is closed.
//
// A script that has written [MaxPeek] bytes or more that are not consumed may have to wait, so a line that is longer
// may never be seen whole.
func (st *Stream) Peek(ctx context.Context, buf []byte) (n int, err error) {
	if st.out == nil {
		return st.peekRest(buf)
	}
	var seen error
	err = st.wait(ctx, st.out.SetReadDeadline, func() error {
		c, err := st.out.SyscallConn()
		if err != nil {
			return err
		}
		return c.Read(func(fd uintptr) bool {
			n, seen = st.look(int(fd), buf)
			return n > 0 || seen != nil || len(buf) == 0
		})
	})
	if err == nil {
		err = seen
	}
	return n, err
}

// look is Peek without waiting: n is 0 if there is nothing new.
func (st *Stream) look(fd int, buf []byte) (n int, err error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	if _, err := unix.Poll(p, 0); err != nil && err != unix.EINTR {
		return 0, os.NewSyscallError("poll", err)
	}
	size, err := unix.IoctlGetInt(fd, unix.TIOCINQ) // after poll: what was written before the last writer had gone is in it
	switch {
	case err != nil:
		return 0, os.NewSyscallError("ioctl", err)
	case size <= st.peeked && p[0].Revents&unix.POLLHUP != 0:
		return 0, io.EOF
	case size <= st.peeked:
		return 0, nil
	}
	n, err = st.tee.copy(fd, st.peeked, buf)
	st.peeked += n
	return n, err
}

func (st *Stream) peekRest(buf []byte) (n int, err error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	n = copy(buf, st.rest[st.peeked:])
	if st.peeked += n; n == 0 && len(buf) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

// Consume removes the first n bytes of what was peeked and not consumed yet. They are gone for good.
func (st *Stream) Consume(n int) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	if n < 0 || n > st.peeked {
		return fmt.Errorf("%d bytes of run %v cannot be consumed: %d were peeked: %w", n, st.key, st.peeked, fault.Invalid)
	}
	if st.out == nil {
		st.rest, st.peeked = st.rest[n:], st.peeked-n
		return nil
	}
	buf := make([]byte, min(n, 16<<10))
	return control(st.out, func(fd int) error {
		for n > 0 {
			got, err := unix.Read(fd, buf[:min(n, len(buf))])
			switch {
			case err == unix.EINTR:
				continue
			case err == nil && got == 0:
				err = io.ErrUnexpectedEOF
			}
			if err != nil { // the script can make its end lose data, see O_DIRECT in pipe(2)
				return fmt.Errorf("output of run %v that was peeked is not there any more: %w", st.key, err)
			}
			n, st.peeked = n-got, st.peeked-got
		}
		return nil
	})
}

// Close closes the daemon's side. While the run goes on, the script does not see that, and only the next daemon can
// go on. A second call does nothing.
func (st *Stream) Close() {
	_ = st.in.Close() // either may be nil, or closed already
	_ = st.out.Close()
}

// discard is Close for a Stream that may not exist.
func (st *Stream) discard() {
	if st != nil {
		st.Close()
	}
}

// wait calls fn, which waits at most until the deadline that set sets, and makes it return when ctx is done.
func (st *Stream) wait(ctx context.Context, set func(time.Time) error, fn func() error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_ = set(time.Unix(1, 0)) // fails only when it is closed
		close(done)
	})
	err := fn()
	if !stop() {
		<-done
		_ = set(time.Time{})
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		return context.Cause(ctx)
	}
	return fmt.Errorf("stream of run %v: %w: %w", st.key, os.ErrClosed, err) // package os does not say so
}

// A tee is a pipe through which the contents of other pipes are copied, without consuming them. There is none
// before it is needed.
type tee struct {
	mu   sync.Mutex
	pipe []int // the ends to read from and to write to; it is empty between two copies
	size int
}

// copy copies what is in a pipe after its first skip bytes, as far as buf has room.
func (t *tee) copy(fd, skip int, buf []byte) (n int, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.fit(fd); err != nil {
		return 0, err
	}
	var got int64
	for {
		got, err = unix.Tee(fd, t.pipe[1], skip+len(buf), unix.SPLICE_F_NONBLOCK)
		if err == unix.EAGAIN {
			return 0, nil
		}
		if err != unix.EINTR {
			break
		}
	}
	if err != nil {
		return 0, os.NewSyscallError("tee", err)
	}
	var lost [16 << 10]byte
	for left := int(got); left > 0; {
		into := buf[n:]
		if skip > 0 {
			into = lost[:min(skip, len(lost))]
		}
		k, err := unix.Read(t.pipe[0], into[:min(left, len(into))])
		switch {
		case err == unix.EINTR:
			continue
		case err != nil || k == 0:
			t.closeLocked() // it has something in it
			return 0, os.NewSyscallError("read", errors.Join(err, io.ErrUnexpectedEOF))
		case skip > 0:
			skip -= k
		default:
			n += k
		}
		left -= k
	}
	return n, nil
}

// fit sees to it that the pipe has room for everything that can be in another one, which a script can enlarge.
func (t *tee) fit(fd int) error {
	if t.pipe == nil {
		var p [2]int
		if err := unix.Pipe2(p[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
			return os.NewSyscallError("pipe2", err)
		}
		t.pipe, t.size = p[:], 0
	}
	size, err := unix.FcntlInt(uintptr(fd), unix.F_GETPIPE_SZ, 0)
	if err == nil && size > t.size {
		t.size, err = unix.FcntlInt(uintptr(t.pipe[1]), unix.F_SETPIPE_SZ, size)
	}
	return os.NewSyscallError("fcntl", err)
}

func (t *tee) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closeLocked()
}

func (t *tee) closeLocked() {
	closeAll(t.pipe)
	t.pipe, t.size = nil, 0
}
