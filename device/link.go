package device

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"syscall"

	"activationd/internal/fault"
)

// A link moves bytes over a connection of any kind. Its deadlines always hold: when the
// context ends during a read or a write, the link closes the connection, and that makes a
// blocked Write return. So a link can't be used after an error.
//
// It has two goroutines, a reader and a writer. close waits for both.
type link struct {
	wire io.ReadWriteCloser // its Close ends blocked Reads and Writes
	tr   *Transcript

	in    chan []byte // closed by the reader, after err is set
	err   error
	out   chan []byte
	wrote chan error
	gone  chan struct{} // closed by close
	once  sync.Once
	done  sync.WaitGroup
}

func newLink(wire io.ReadWriteCloser, tr *Transcript) *link {
	l := &link{
		wire: wire, tr: tr,
		in:    make(chan []byte, 16), // further bytes wait in the connection
		out:   make(chan []byte),
		wrote: make(chan error, 1),
		gone:  make(chan struct{}),
	}
	l.done.Go(l.reader)
	l.done.Go(l.writer)
	return l
}

func (l *link) reader() {
	defer close(l.in)
	for {
		buf := make([]byte, 4096)
		n, err := l.wire.Read(buf)
		if n > 0 {
			l.tr.add(received, buf[:n])
			select {
			case l.in <- buf[:n]:
			case <-l.gone:
				l.err = errors.New("closed")
				return
			}
		}
		if err != nil {
			l.err = err
			return
		}
	}
}

func (l *link) writer() {
	for {
		select {
		case b := <-l.out:
			_, err := l.wire.Write(b)
			l.wrote <- err
		case <-l.gone:
			return
		}
	}
}

// write returns when all of b was passed to the connection, or when ctx ends.
func (l *link) write(ctx context.Context, b []byte) error {
	if ctx.Err() != nil {
		return l.ended(ctx)
	}
	l.tr.add(sent, b)
	select {
	case l.out <- b:
	case <-l.gone:
		return errClosed
	case <-ctx.Done():
		return l.ended(ctx)
	}
	select {
	case err := <-l.wrote:
		if err != nil {
			return cutError(err)
		}
		return nil
	case <-ctx.Done():
		return l.ended(ctx)
	}
}

var errClosed = fmt.Errorf("the session is closed: %w", fault.Invalid)

// errHungUp is the error of a connection that the other side has closed.
var errHungUp = errors.New("the connection was cut")

// cutError returns the error of a lost connection.
func cutError(err error) error {
	switch {
	case errors.Is(err, io.EOF):
		return fmt.Errorf("%w: %w", errHungUp, fault.Unavailable)
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return fmt.Errorf("%w: %v: %w", errHungUp, err, fault.Unavailable)
	}
	return fmt.Errorf("the connection was cut: %v: %w", err, fault.Unavailable)
}

// ended closes the connection, so that nothing stays blocked, and returns the cause.
func (l *link) ended(ctx context.Context) error {
	l.hangUp()
	return context.Cause(ctx)
}

// hangUp closes the connection without waiting for the goroutines.
func (l *link) hangUp() {
	l.once.Do(func() {
		close(l.gone)
		_ = l.wire.Close() // the connection is not used any more
	})
}

func (l *link) close() {
	l.hangUp()
	l.done.Wait()
}
