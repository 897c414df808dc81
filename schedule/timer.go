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

// A Wake says that there is something to look at.
type Wake struct {
	Stepped bool // the clock was set, or the machine slept: every instant may be due or not
}

// A Timer wakes its reader at an instant of the wall clock, and whenever that
// clock is set. Until then it costs nothing: it is one timerfd, on which the
// runtime waits together with everything else.
//
// [Timer.Run] owns it. [Timer.Set] may be called by any goroutine.
type Timer struct {
	file *os.File
	c    chan Wake
	read func([]byte) (int, error) // file.Read, but for tests

	mu   sync.Mutex // also held to send to c
	want time.Time  // zero if disarmed
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

// C returns the channel of wakes. It holds one: what comes before it was read
// is merged into it. It is never closed.
func (t *Timer) C() <-chan Wake { return t.c }

// Set arms the timer for an instant, in place of the one before. One that has
// passed wakes at once; the zero time disarms. After a wake without a step the
// timer is disarmed, if the instant was not set again meanwhile. After Close it
// does nothing.
func (t *Timer) Set(at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.want = at
	t.arm()
}

// Run reads the timer until ctx is done, and returns its cause, or until the
// timer is closed, and returns [os.ErrClosed]. It is called by one goroutine.
func (t *Timer) Run(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() {
		_ = t.file.SetReadDeadline(time.Unix(1, 0)) // ends the read; fails only if closed, which ends it too
	})()
	var buf [8]byte // how often it expired, which is once
	for {
		_, err := t.read(buf[:])
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if errors.Is(err, os.ErrDeadlineExceeded) { // an earlier Run's
			if err := t.file.SetReadDeadline(time.Time{}); err != nil {
				return fmt.Errorf("timerfd: %w", err)
			}
			if ctx.Err() != nil { // its own may have been overwritten
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

// handle wakes the reader and arms the timer again: after a step because the
// kernel has cancelled it, after its instant to hear of steps. If the instant
// was moved while this one was on its way, the timer stays armed.
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

// wake sends, or merges with what is there. Once something was taken out there
// is room, because it is called with mu held.
func (t *Timer) wake(w Wake) {
	select {
	case old := <-t.c:
		w.Stepped = w.Stepped || old.Stepped
	default:
	}
	t.c <- w
}

// arm tells the kernel what is wanted. A timer that is disarmed is armed for
// the end of time, because only an armed one hears of the clock being set.
// The caller holds mu.
func (t *Timer) arm() {
	end := time.Unix(0, math.MaxInt64) // in 2262
	ns := end.UnixNano()
	if !t.want.IsZero() && t.want.Before(end) {
		ns = 1 // 0 would disarm
		if t.want.After(time.Unix(0, ns)) {
			ns = t.want.UnixNano()
		}
	}
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(ns)}
	conn, err := t.file.SyscallConn()
	if err != nil {
		return // closed
	}
	_ = conn.Control(func(fd uintptr) { // fails only if closed
		err = unix.TimerfdSettime(int(fd), unix.TFD_TIMER_ABSTIME|unix.TFD_TIMER_CANCEL_ON_SET, &spec, nil)
	})
	if errors.Is(err, unix.ECANCELED) {
		// The clock was set since the last read. The timer is armed, but the
		// kernel has told it now and will not tell Run.
		t.wake(Wake{Stepped: true})
	}
}
