// Deafdisk is a file system that never answers, like one on a server or a disk that
// is gone. It mounts itself (with FUSE, which needs root) at the directory in its
// argument, and accepts every request without an answer. A process that makes a request
// sleeps in the kernel and does not die of SIGKILL, because its request is
// in progress. Deafdisk prints "up" when it is mounted, and a line for each request. At
// the end of its standard input it unmounts itself, and all sleeping processes wake.
package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"syscall"
)

// Numbers and sizes of linux/fuse.h.
const (
	opInit     = 26
	headerSize = 40 // of a request
	answerSize = 16 + 64
)

func main() {
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(dir string) error {
	fd, err := syscall.Open("/dev/fuse", syscall.O_RDWR|syscall.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("/dev/fuse: %w", err)
	}
	if err := syscall.Mount("deafdisk", dir, "fuse", 0, fmt.Sprintf("fd=%d,rootmode=40755,user_id=0,group_id=0,allow_other", fd)); err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		_ = syscall.Unmount(dir, syscall.MNT_DETACH)
		os.Exit(0) // closes the last descriptor of the file system, whose requests fail then
	}()
	fmt.Println("up")
	request := make([]byte, 1<<17)
	for {
		n, err := syscall.Read(fd, request)
		switch {
		case err == syscall.EINTR || err == syscall.ENOENT: // ENOENT: it was taken back
			continue
		case err != nil:
			return fmt.Errorf("read: %w", err)
		case n < headerSize:
			return fmt.Errorf("a request of %d bytes", n)
		}
		if op := binary.NativeEndian.Uint32(request[4:]); op != opInit {
			fmt.Println("request", op)
			continue
		}
		answer := make([]byte, answerSize)
		binary.NativeEndian.PutUint32(answer, answerSize)
		copy(answer[8:16], request[8:16])                 // the request's number
		binary.NativeEndian.PutUint32(answer[16:], 7)     // the protocol's version,
		binary.NativeEndian.PutUint32(answer[20:], 31)    // and its minor one
		binary.NativeEndian.PutUint32(answer[28:], 1<<18) // several may ask for names in one directory
		binary.NativeEndian.PutUint32(answer[36:], 1<<16) // the largest write
		if _, err := syscall.Write(fd, answer); err != nil {
			return fmt.Errorf("write: %w", err)
		}
	}
}
