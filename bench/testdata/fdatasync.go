// Fdatasync is the least that a program in Go does to keep something: it writes 4 KiB to a file,
// and returns when they are on the disk.
package main

import (
	"os"
	"syscall"
)

func main() {
	file, err := syscall.Open(os.Args[1], syscall.O_WRONLY|syscall.O_CREAT|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		os.Exit(1)
	}
	if n, err := syscall.Pwrite(file, make([]byte, 4096), 0); n != 4096 || err != nil {
		os.Exit(2)
	}
	if syscall.Fdatasync(file) != nil {
		os.Exit(3)
	}
}
