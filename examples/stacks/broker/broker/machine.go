package main

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// machine stands for a virtual machine: a process with a child, as QEMU with its helpers, and
// a console on TCP. The console knows `pids`, and repeats everything else.
func machine(ctx context.Context, s settings, args []string) error {
	f := flags("machine")
	listen := f.String("listen", "127.0.0.1:0", "the address of the console")
	_ = f.Parse(args) // it ends the process
	asked := ctx
	ctx, off := context.WithCancel(ctx)
	defer off()
	guest := exec.CommandContext(ctx, "sleep", "infinity")
	guest.Cancel = func() error { return guest.Process.Signal(os.Interrupt) }
	guest.WaitDelay = 5 * time.Second
	if err := guest.Start(); err != nil {
		return err
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", *listen)
	if err != nil {
		_ = guest.Process.Kill()
		_ = guest.Wait()
		return err
	}
	slog.Info("the machine is on", "console", l.Addr(), "guest", guest.Process.Pid)
	var consoles sync.WaitGroup
	defer consoles.Wait()
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	consoles.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			consoles.Go(func() { console(ctx, conn, s.id, guest.Process.Pid) })
		}
	})
	err = guest.Wait()
	off()
	if asked.Err() == nil {
		return fmt.Errorf("the guest has ended: %v", err)
	}
	slog.Info("the machine is off")
	return nil
}

func console(ctx context.Context, conn net.Conn, id string, guest int) {
	defer func() { _ = conn.Close() }()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	fmt.Fprintf(conn, "%s is on\n", id)
	for lines := bufio.NewScanner(conn); lines.Scan(); {
		text := strings.TrimSpace(lines.Text())
		if text == "pids" {
			text = fmt.Sprintf("pids %d %d", os.Getpid(), guest)
		}
		if _, err := fmt.Fprintln(conn, text); err != nil {
			return
		}
	}
}
