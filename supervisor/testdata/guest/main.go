// Command guest speaks the protocols by which services and their supervisors communicate.
//
//	guest send MESSAGE...     sends notifications to NOTIFY_SOCKET, each in one datagram
//	guest stay MESSAGE...     does the same, and does not end
//	guest barrier MESSAGE     then waits until the message was handled, see sd_notify_barrier(3)
//	guest flood N             sends N different statuses
//	guest enlarge N           enlarges the pipe that is its standard output
//	guest steal               reads what it writes, until its parent waits in read(2), and stays
//	guest become FILE ARG...  becomes another program, whose child has ended already
//	guest accept              tells each client of a passed socket the socket's name and this process's id
package main

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

func main() {
	if err := run(os.Args[1], os.Args[2:]); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func run(verb string, args []string) error {
	switch verb {
	case "accept":
		return accept()
	case "enlarge":
		n, err := strconv.Atoi(args[0])
		if err == nil {
			_, err = unix.FcntlInt(1, unix.F_SETPIPE_SZ, n)
		}
		return err
	case "steal":
		return steal()
	case "become":
		return become(args[0], args[1:])
	}
	c, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	to := &unix.SockaddrUnix{Name: os.Getenv("NOTIFY_SOCKET")}
	switch verb {
	case "send", "stay":
		for _, message := range args {
			if err := unix.Sendto(c, []byte(message), 0, to); err != nil {
				return err
			}
		}
		for verb == "stay" {
			_ = unix.Pause() // it always returns an error
		}
	case "flood":
		n, err := strconv.Atoi(args[0])
		if err != nil {
			return err
		}
		for i := range n {
			if err := unix.Sendto(c, fmt.Appendf(nil, "STATUS=%d %s", i, strings.Repeat("x", 200)), 0, to); err != nil {
				return err
			}
		}
	case "barrier":
		if err := unix.Sendto(c, []byte(args[0]), 0, to); err != nil {
			return err
		}
		var p [2]int
		if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
			return err
		}
		if err := unix.Sendmsg(c, []byte("BARRIER=1"), unix.UnixRights(p[1]), to, 0); err != nil {
			return err
		}
		if err := unix.Close(p[1]); err != nil {
			return err
		}
		poll := []unix.PollFd{{Fd: int32(p[0]), Events: unix.POLLIN}}
		for poll[0].Revents&unix.POLLHUP == 0 {
			if _, err := unix.Poll(poll, -1); err != nil && err != unix.EINTR {
				return err
			}
		}
	}
	return nil
}

func accept() error {
	if pid := os.Getenv("LISTEN_PID"); pid != strconv.Itoa(os.Getpid()) {
		return fmt.Errorf("LISTEN_PID is %q, and this is %d", pid, os.Getpid())
	}
	names := strings.Split(os.Getenv("LISTEN_FDNAMES"), ":")
	if n := os.Getenv("LISTEN_FDS"); n != strconv.Itoa(len(names)) {
		return fmt.Errorf("LISTEN_FDS is %q, and the names are %q", n, names)
	}
	failed := make(chan error)
	for i, name := range names {
		l, err := net.FileListener(os.NewFile(uintptr(3+i), name))
		if err != nil {
			return err
		}
		go func() {
			for {
				c, err := l.Accept()
				if err == nil {
					_, err = fmt.Fprintln(c, name, os.Getpid())
					_ = c.Close()
				}
				if err != nil {
					failed <- err
				}
			}
		}()
	}
	return <-failed
}

func become(file string, argv []string) error {
	child, err := os.StartProcess("/bin/true", []string{"true"}, new(os.ProcAttr))
	if err == nil {
		err = unix.Waitid(unix.P_PID, child.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
	}
	if err != nil {
		return err
	}
	return unix.Exec(file, argv, os.Environ())
}

// steal reads its own output before the parent can. It ends with the parent in read(2), to which nothing comes then.
func steal() error {
	again, err := unix.Open("/dev/stdout", unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	parent := fmt.Sprintf("/proc/%d/syscall", os.Getppid())
	read := strconv.Itoa(unix.SYS_READ) + " "
	for call := ""; !strings.HasPrefix(call, read); {
		for range 100 {
			if _, err := unix.Write(1, []byte("x")); err != nil {
				return err
			}
			_, _ = unix.Read(again, make([]byte, 64)) // the parent may have been quicker
		}
		b, _ := os.ReadFile(parent) // without it, this goes on until the script's end
		call = string(b)
	}
	for {
		_ = unix.Pause() // it always returns an error
	}
}
