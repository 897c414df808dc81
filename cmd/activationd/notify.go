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

// A notifier reports the daemon's state to systemd, see sd_notify(3). If systemd has not
// asked for it, its methods do nothing.
type notifier struct {
	log    *slog.Logger
	socket string        // empty: systemd has not asked
	period time.Duration // systemd expects a sign of life that often; 0: none
}

// newNotifier reads what systemd asks for from the environment. Its caller clears the
// environment afterwards, so that no script can report in the daemon's name.
func newNotifier(log *slog.Logger, getenv func(string) string, pid int) *notifier {
	n := &notifier{log: log, socket: getenv("NOTIFY_SOCKET")}
	if p := getenv("WATCHDOG_PID"); n.socket != "" && (p == "" || p == strconv.Itoa(pid)) {
		if us, err := strconv.ParseInt(getenv("WATCHDOG_USEC"), 10, 64); err == nil && us > 0 {
			n.period = time.Duration(us) * time.Microsecond
		}
	}
	return n
}

// Ready reports that the daemon has started, or has reloaded. Status is one line for
// systemctl status, here and below.
func (n *notifier) Ready(status string) { n.send("READY=1\nSTATUS=" + status) }

// Status reports what the daemon is doing.
func (n *notifier) Status(status string) { n.send("STATUS=" + status) }

// Stopping reports that the daemon is about to end.
func (n *notifier) Stopping(status string) { n.send("STOPPING=1\nSTATUS=" + status) }

// Reloading reports that a reload has begun. Ready has to follow, whatever its result.
func (n *notifier) Reloading() {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		n.log.Error("no monotonic clock", "err", err)
		return
	}
	n.send(fmt.Sprintf("RELOADING=1\nMONOTONIC_USEC=%d\nSTATUS=Reloading", now.Nano()/1000))
}

// Watchdog sends signs of life as long as alive returns nil, twice as often as systemd
// expects them, until ctx is done. If systemd expects none, it only waits for ctx.
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
			n.log.Error("the engine does not answer, so systemd's watchdog gets no sign of life", "err", err)
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
		n.log.Warn("cannot notify systemd", "state", state, "err", err)
	}
}
