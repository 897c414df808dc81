// Firstends is a process whose first thread ends while its others go on, which
// no shell can make. From then on /proc/PID/stat calls it a zombie, and its
// environment cannot be read in the usual place. At that point it writes its
// process id to the file that the variable PIDS names, if it is set, and prints
// "up"; then it sleeps.
package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
	"time"
)

func init() { runtime.LockOSThread() } // main is in the first thread, and stays there

func main() {
	go sleep()
	_, _, _ = syscall.Syscall(syscall.SYS_EXIT, 0, 0, 0) // this thread's end, and not the process's
}

func sleep() {
	for {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", os.Getpid()))
		if err != nil {
			panic(err)
		}
		if strings.Contains(string(stat), ") Z ") {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if name := os.Getenv("PIDS"); name != "" {
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
		if err == nil {
			_, err = fmt.Fprintln(f, os.Getpid())
		}
		if err != nil {
			panic(err)
		}
	}
	fmt.Println("up")
	time.Sleep(10 * time.Minute)
}
