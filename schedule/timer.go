package schedule

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A Wake says that something may be due.
type Wake struct {
	Stepped bool // the clock was set, or the machine slept: it must be checked again what is due
}

// A Timer wakes its reader at a time of the wall clock, and whenever the clock is set. Until
// then it costs nothing: it is one timerfd, which is served by the runtime's poller.
//
// [Timer.Run] owns it. [Timer.Set] may be called by any goroutine.
type Timer struct {
	file *os.File
	c    chan Wake
	read func([]byte) (int, error) // file.Read, except in tests

	mu   sync.Mutex // is also held while sending to c
	want time.Time  // zero if the timer is disarmed
}

// NewTimer returns a timer that is not armed.
func NewTimer() (*Timer, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_REALTIME, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("timerfd_create: %w", err)
	}
	t := &Timer{file: os.NewFile(uintptr(fd), "timerfd"), c: make(chan Wake, 1)}
	t.read = t.file.Read
	t.Set(time.Time{})
	return t, nil
}

// C returns the channel of wakes. It holds one wake; later ones are merged into it until it is
// received. It is never closed.
func (t *Timer) C() <-chan Wake { return t.c }

// Set arms the timer for a time, in place of the one before. A time in the past wakes at once;
// the zero time disarms. A wake without a step disarms the timer, unless it was set again
// meanwhile. After Close, Set does nothing.
func (t *Timer) Set(at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.want = at
	t.arm()
}

// Run reads the timer. It returns the cause of ctx when that is done, or [os.ErrClosed] when
// the timer is closed. Only one goroutine may call it.
func (t *Timer) Run(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() {
		_ = t.file.SetReadDeadline(time.Unix(1, 0)) // ends the read; fails only if the file is closed, which ends it too
	})()
	var buf [8]byte // the number of expirations, which is 1
	for {
		_, err := t.read(buf[:])
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if errors.Is(err, os.ErrDeadlineExceeded) { // set by an earlier Run
			if err := t.file.SetReadDeadline(time.Time{}); err != nil {
				return fmt.Errorf("timerfd: %w", err)
			}
			if ctx.Err() != nil { // our deadline may have been overwritten
				return context.Cause(ctx)
			}
			continue
		}
		if err != nil && !errors.Is(err, unix.ECANCELED) {
			return fmt.Errorf("timerfd: %w", err)
		}
		t.handle(err != nil)
	}
}

// handle wakes the reader and arms the timer again: after a step because the kernel cancelled
// it, after its time to hear of further steps. If Set was called meanwhile, the timer stays
// armed for the new time.
func (t *Timer) handle(stepped bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !stepped && !time.Now().Before(t.want) {
		t.want = time.Time{}
	}
	t.wake(Wake{Stepped: stepped})
	t.arm()
}

// Close ends Run and releases the timer.
func (t *Timer) Close() error { return t.file.Close() }

// wake sends a wake, or merges it with the one in the channel. It never blocks: it has
// made room, and only a holder of mu sends. The caller holds mu.
func (t *Timer) wake(w Wake) {
	select {
	case old := <-t.c:
		w.Stepped = w.Stepped || old.Stepped
	default:
	}
	t.c <- w
}

// arm sets the kernel's timer. A disarmed timer is set to the end of time, because the kernel
// reports changes of the clock only for armed ones. The caller holds mu.
func (t *Timer) arm() {
	end := time.Unix(0, math.MaxInt64) // in 2262
	ns := end.UnixNano()
	if !t.want.IsZero() && t.want.Before(end) {
		ns = 1 // 0 would disarm it
		if t.want.After(time.Unix(0, ns)) {
			ns = t.want.UnixNano()
		}
	}
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(ns)}
	conn, err := t.file.SyscallConn()
	if err != nil {
		return // the timer was closed
	}
	_ = conn.Control(func(fd uintptr) { // fails only if the timer is closed
		err = unix.TimerfdSettime(int(fd), unix.TFD_TIMER_ABSTIME|unix.TFD_TIMER_CANCEL_ON_SET, &spec, nil)
	})
	if errors.Is(err, unix.ECANCELED) {
		// The clock was set since the last read. The timer is armed, but the kernel has
		// reported the change here, and will not report it to Run.
		t.wake(Wake{Stepped: true})
	}
}
