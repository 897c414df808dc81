package schedule

import (
	"time"

	"golang.org/x/sys/unix"
)

// A Clock reads the kernel's clocks.
type Clock struct{}

// Now returns the time of the wall clock, which may be set at any moment.
func (Clock) Now() time.Time { return time.Now() }

// Uptime returns the time since the machine was started, including the time that it slept.
// Nobody can set it, so sleep can be distinguished from a change of the wall clock.
func (Clock) Uptime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0 // every kernel since 2.6.39 has it
	}
	return time.Duration(ts.Nano())
}

// Synchronised reports whether the kernel says that a program keeps the wall clock right, by
// NTP, PTP or time signals. After the clock was set by hand, the kernel says no until such a
// program says yes again.
func (Clock) Synchronised() bool {
	var t unix.Timex // no modes: nothing is changed
	state, err := unix.Adjtimex(&t)
	return err == nil && state != unix.TIME_ERROR && t.Status&unix.STA_UNSYNC == 0
}
