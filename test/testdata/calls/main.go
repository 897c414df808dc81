// Calls makes the system calls that its arguments name, such that nothing changes if
// the kernel lets them through, and prints of each what the kernel said.
package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

func main() {
	calls := map[string]func() error{
		// Read only.
		"adjtimex": func() error { _, err := unix.Adjtimex(new(unix.Timex)); return err },
		// Not a time: EINVAL before the kernel asks who wants to set it.
		"clock_settime": func() error { return unix.ClockSettime(unix.CLOCK_REALTIME, &unix.Timespec{Nsec: -1}) },
		"set_clock": func() error {
			_, err := unix.Adjtimex(&unix.Timex{Modes: unix.ADJ_STATUS | unix.ADJ_NANO | unix.ADJ_MICRO})
			return err
		},
		"finit_module": func() error { return unix.FinitModule(-1, "", 0) },
		// Not the magic numbers.
		"reboot": func() error { _, _, err := unix.Syscall6(unix.SYS_REBOOT, 1, 1, 0, 0, 0, 0); return or(err) },
		"swapon": func() error { _, _, err := unix.Syscall(unix.SYS_SWAPON, 0, 0, 0); return or(err) },
		"iopl":   func() error { _, _, err := unix.Syscall(unix.SYS_IOPL, 3, 0, 0); return or(err) },
		"realtime": func() error {
			priority := int32(1)
			_, _, err := unix.Syscall(unix.SYS_SCHED_SETSCHEDULER, 0, unix.SCHED_RR, uintptr(unsafe.Pointer(&priority)))
			return or(err)
		},
		"socket": func() error { _, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0); return err },
		"packet": func() error { _, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0); return err },
		"perf": func() error {
			_, err := unix.PerfEventOpen(&unix.PerfEventAttr{Type: unix.PERF_TYPE_SOFTWARE, Config: unix.PERF_COUNT_SW_CPU_CLOCK}, 0, -1, -1, 0)
			return err
		},
	}
	for _, name := range os.Args[1:] {
		said := "ok"
		if err, failed := errors.AsType[unix.Errno](calls[name]()); failed {
			said = unix.ErrnoName(err)
		}
		fmt.Println(runtime.GOARCH, name, said)
	}
}

func or(err unix.Errno) error {
	if err == 0 {
		return nil
	}
	return err
}
