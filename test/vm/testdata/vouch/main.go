// Command vouch tells the kernel that the clock is synchronised, as a program that
// speaks NTP does when it is.
package main

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

func main() {
	if _, err := unix.Adjtimex(&unix.Timex{Modes: unix.ADJ_STATUS | unix.ADJ_MAXERROR, Status: unix.STA_PLL}); err != nil {
		fmt.Fprintln(os.Stderr, "vouch:", err)
		os.Exit(1)
	}
}
