package schedule

import (
	"time"

	"golang.org/x/sys/unix"
)

// A Clock reads the kernel's clocks.
type Clock struct{}

// Now is the time of the wall clock, which may be set at any moment.
func (Clock) Now() time.Time { return time.Now() }

// Uptime is how long ago the machine was started. It counts the time that the
// machine slept, and nobody can set it: so it tells sleep from a clock that was set.
func (Clock) Uptime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0 // no kernel since 2.6.39 lacks it
	}
	return time.Duration(ts.Nano())
}

// Synchronised reports whether the kernel says that the wall clock is kept right by
// something that knows: NTP, PTP or a receiver of time signals. Setting the clock
// by hand makes the kernel say no, until such a program says yes again.
func (Clock) Synchronised() bool {
	var t unix.Timex // no modes: it only asks
	state, err := unix.Adjtimex(&t)
	return err == nil && state != unix.TIME_ERROR && t.Status&unix.STA_UNSYNC == 0
}
