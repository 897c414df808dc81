package schedule

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// start returns a timer that runs.
func start(t *testing.T) *Timer {
	t.Helper()
	tm, err := NewTimer()
	if err != nil {
		t.Fatal(err)
	}
	run(t, tm)
	return tm
}

func run(t *testing.T, tm *Timer) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- tm.Run(context.Background()) }()
	t.Cleanup(func() {
		if err := tm.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		if err := <-done; !errors.Is(err, os.ErrClosed) {
			t.Errorf("Run of a closed timer = %v, want %v", err, os.ErrClosed)
		}
	})
}

// await returns the next wake, or ends the test if there is none.
func await(t *testing.T, tm *Timer) Wake {
	t.Helper()
	select {
	case w := <-tm.C():
		return w
	case <-time.After(10 * time.Minute):
		t.Fatal("no wake")
		return Wake{}
	}
}

func TestTimerWakes(t *testing.T) {
	tm := start(t)
	soon := func(ms int) time.Time { return time.Now().Round(0).Add(time.Duration(ms) * time.Millisecond) }
	tests := []struct {
		name string
		set  func() (earliest time.Time)
	}{
		{"soon", func() time.Time { at := soon(30); tm.Set(at); return at }},
		{"now", func() time.Time { at := soon(0); tm.Set(at); return at }},
		{"past", func() time.Time { tm.Set(soon(-3_600_000)); return time.Time{} }},
		{"1969", func() time.Time { tm.Set(time.Date(1969, 1, 1, 0, 0, 0, 0, time.UTC)); return time.Time{} }},
		{"epoch", func() time.Time { tm.Set(time.Unix(0, 0)); return time.Time{} }},
		{"long before nanoseconds", func() time.Time { tm.Set(time.Date(1, 1, 2, 0, 0, 0, 0, time.UTC)); return time.Time{} }},
		{"moved nearer", func() time.Time { at := soon(30); tm.Set(soon(3_600_000)); tm.Set(at); return at }},
		{"moved away", func() time.Time { at := soon(60); tm.Set(soon(30)); tm.Set(at); return at }},
		{"disarmed and armed", func() time.Time { at := soon(60); tm.Set(soon(30)); tm.Set(time.Time{}); tm.Set(at); return at }},
		{"after the end of time", func() time.Time {
			at := soon(30)
			tm.Set(time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC))
			tm.Set(at)
			return at
		}},
		{"from elsewhere", func() time.Time {
			at := soon(30)
			var wg sync.WaitGroup
			wg.Go(func() { tm.Set(at) })
			wg.Wait()
			return at
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			earliest := tt.set()
			if w := await(t, tm); w.Stepped {
				t.Error("a step of the clock, though nobody set it")
			}
			if now := time.Now(); now.Before(earliest) {
				t.Errorf("woke %v early", earliest.Sub(now))
			}
			tm.mu.Lock()
			defer tm.mu.Unlock()
			if !tm.want.IsZero() {
				t.Errorf("after its wake it waits for %v", tm.want)
			}
		})
	}
}

// Wakes that nobody reads become one, which tells of a step if any did.
func TestTimerMerges(t *testing.T) {
	tm, err := NewTimer()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tm.Close() }()
	for _, stepped := range []bool{false, true, false} {
		tm.handle(stepped)
	}
	if w := await(t, tm); !w.Stepped {
		t.Error("the step was forgotten")
	}
	select {
	case w := <-tm.C():
		t.Errorf("a second wake: %v", w)
	default:
	}
}

func TestTimerContext(t *testing.T) {
	tm, err := NewTimer()
	if err != nil {
		t.Fatal(err)
	}
	why := errors.New("why")
	for range 2 { // it can run again
		ctx, cancel := context.WithCancelCause(context.Background())
		done := make(chan error, 1)
		go func() { done <- tm.Run(ctx) }()
		tm.Set(time.Now())
		await(t, tm)
		cancel(why)
		if err := <-done; !errors.Is(err, why) {
			t.Errorf("Run = %v, want %v", err, why)
		}
	}
	if err := tm.Close(); err != nil {
		t.Error(err)
	}
	tm.Set(time.Now()) // does nothing
	if err := tm.Run(context.Background()); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Run of a closed timer = %v", err)
	}
}

// remaining tells how long the kernel will still wait; 0 if it is not armed.
func remaining(t *testing.T, tm *Timer) time.Duration {
	t.Helper()
	conn, err := tm.file.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var spec unix.ItimerSpec
	var errno error
	err = conn.Control(func(fd uintptr) { errno = unix.TimerfdGettime(int(fd), &spec) })
	if err := errors.Join(err, errno); err != nil {
		t.Fatal(err)
	}
	return time.Duration(spec.Value.Nano())
}

// The kernel tells of a step by a read that fails; the timer then waits for the
// same instant as before, or for steps only.
func TestTimerStep(t *testing.T) {
	hour := time.Now().Add(time.Hour)
	for _, want := range []time.Time{{}, hour} {
		tm, err := NewTimer()
		if err != nil {
			t.Fatal(err)
		}
		step := make(chan struct{})
		tm.read = func(b []byte) (int, error) { // until the first step
			<-step
			tm.read = tm.file.Read
			return 0, &os.PathError{Op: "read", Path: "timerfd", Err: unix.ECANCELED}
		}
		tm.Set(want)
		conn, err := tm.file.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		var errno error // what a kernel may do at a step: disarm
		err = conn.Control(func(fd uintptr) { errno = unix.TimerfdSettime(int(fd), 0, &unix.ItimerSpec{}, nil) })
		if err := errors.Join(err, errno); err != nil || remaining(t, tm) != 0 {
			t.Fatalf("cannot disarm: %v", err)
		}
		run(t, tm)
		close(step)
		if w := await(t, tm); !w.Stepped {
			t.Errorf("woke without a step")
		}
		tm.mu.Lock() // handle arms before it lets go
		left := remaining(t, tm)
		tm.mu.Unlock()
		if want.IsZero() && left < 50*365*24*time.Hour || !want.IsZero() && (left > time.Hour || left < 50*time.Minute) {
			t.Errorf("armed for %v, after a step while it waits for %v", left, want)
		}
		tm.Set(time.Now())
		if w := await(t, tm); w.Stepped {
			t.Error("a second step")
		}
	}
}

// An instant that is read as expired but lies ahead, because the clock went back
// between, or because it was set meanwhile, is not forgotten.
func TestTimerExpiredEarly(t *testing.T) {
	tm, err := NewTimer()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tm.Close() }()
	tm.Set(time.Now().Add(time.Hour))
	tm.handle(false)
	if left := remaining(t, tm); left > time.Hour || left < 50*time.Minute {
		t.Errorf("armed for %v, want an hour", left)
	}
}

// TestTimerHearsOfSteps checks that the kernel is asked to report when the clock is set,
// also by a timer that is not armed. Whether it does so is tried by tests that have a
// machine of their own.
func TestTimerHearsOfSteps(t *testing.T) {
	tm := start(t)
	conn, err := tm.file.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []time.Time{{}, time.Now().Add(time.Hour)} {
		tm.Set(at)
		var info []byte
		if cerr := conn.Control(func(fd uintptr) { info, err = os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", fd)) }); cerr != nil || err != nil {
			t.Fatal(cerr, err)
		}
		want := fmt.Sprintf("settime flags: 0%o\n", unix.TFD_TIMER_ABSTIME|unix.TFD_TIMER_CANCEL_ON_SET)
		if !strings.Contains(string(info), want) {
			t.Errorf("set to %v, the timer is\n%swant %s", at, info, want)
		}
	}
}

// TestTimerRealStep sets the machine's clock back by a second and forth again,
// so it is only for machines that nothing else runs on.
func TestTimerRealStep(t *testing.T) {
	if os.Getenv("ACTIVATIOND_TEST_SETTIME") != "1" {
		// Not a skip: nothing that is missing here could be installed.
		t.Log("not asked for: it sets the clock of the machine, as root, with ACTIVATIOND_TEST_SETTIME=1")
		return
	}
	shift := func(by time.Duration) error {
		var ts unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_REALTIME, &ts); err != nil {
			return err
		}
		ts = unix.NsecToTimespec(ts.Nano() + by.Nanoseconds())
		return unix.ClockSettime(unix.CLOCK_REALTIME, &ts)
	}
	tm := start(t)
	at := time.Now().Round(0).Add(300 * time.Millisecond)
	tm.Set(at)
	if err := shift(-time.Second); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := shift(time.Second); err != nil {
			t.Error(err)
		}
		if w := await(t, tm); !w.Stepped { // though it is not armed
			t.Error("the step forth was not seen")
		}
	}()
	if w := await(t, tm); !w.Stepped {
		t.Fatal("the step back was not seen")
	}
	if w := await(t, tm); w.Stepped {
		t.Fatal("a second step")
	}
	if now := time.Now().Round(0); now.Before(at) {
		t.Errorf("woke %v before its instant", at.Sub(now))
	}
	// Forth beyond the instant: both a step and due, in one wake or two.
	tm.Set(time.Now().Add(500 * time.Millisecond))
	if err := shift(time.Second); err != nil {
		t.Fatal(err)
	}
	stepped := false
	for due := false; !due; {
		stepped = await(t, tm).Stepped || stepped
		tm.mu.Lock()
		due = tm.want.IsZero()
		tm.mu.Unlock()
	}
	if !stepped {
		t.Error("the step forth was not seen")
	}
	if err := shift(-time.Second); err != nil {
		t.Error(err)
	}
	if w := await(t, tm); !w.Stepped {
		t.Error("the step back was not seen while it was not armed")
	}
}
