package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// A notifier tells systemd how the daemon is, see sd_notify(3). Without a
// systemd that asked, its methods do nothing.
type notifier struct {
	log    *slog.Logger
	socket string        // empty: nobody asked
	period time.Duration // systemd expects a sign of life within it; 0: it does not
}

// newNotifier reads what systemd asked for. The environment is to be cleared
// of it afterwards, so that no script speaks for the daemon.
func newNotifier(log *slog.Logger, getenv func(string) string, pid int) *notifier {
	n := &notifier{log: log, socket: getenv("NOTIFY_SOCKET")}
	if p := getenv("WATCHDOG_PID"); n.socket != "" && (p == "" || p == strconv.Itoa(pid)) {
		if us, err := strconv.ParseInt(getenv("WATCHDOG_USEC"), 10, 64); err == nil && us > 0 {
			n.period = time.Duration(us) * time.Microsecond
		}
	}
	return n
}

// Ready says that the daemon has started, or has reloaded. Status is one line
// for systemctl status, as everywhere here.
func (n *notifier) Ready(status string) { n.send("READY=1\nSTATUS=" + status) }

// Status says what the daemon is at.
func (n *notifier) Status(status string) { n.send("STATUS=" + status) }

// Stopping says that the daemon is about to end.
func (n *notifier) Stopping(status string) { n.send("STOPPING=1\nSTATUS=" + status) }

// Reloading says that a reload has begun; Ready has to follow, however it went.
func (n *notifier) Reloading() {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		n.log.Error("no monotonic clock", "err", err)
		return
	}
	n.send(fmt.Sprintf("RELOADING=1\nMONOTONIC_USEC=%d\nSTATUS=Reloading", now.Nano()/1000))
}

// Watchdog gives signs of life, twice as often as systemd wants them, as long
// as alive says so; it ends with ctx. If systemd wants none, it sleeps.
func (n *notifier) Watchdog(ctx context.Context, alive func(context.Context) error) error {
	if n.period == 0 {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	tick := time.NewTicker(n.period / 2)
	defer tick.Stop()
	for {
		if err := alive(ctx); err == nil {
			n.send("WATCHDOG=1")
		} else if ctx.Err() == nil {
			n.log.Error("not well, so systemd's watchdog gets no sign of life", "err", err)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

func (n *notifier) send(state string) {
	if n.socket == "" {
		return
	}
	err := func() error {
		conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: n.socket, Net: "unixgram"})
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close() }()
		if err := conn.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
			return err
		}
		_, err = conn.Write([]byte(state))
		return err
	}()
	if err != nil {
		n.log.Warn("cannot tell systemd", "state", state, "err", err)
	}
}
