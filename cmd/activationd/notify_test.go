package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"
)

func getenvOf(env map[string]string) func(string) string {
	return func(name string) string { return env[name] }
}

// listenAsSystemd returns a socket's path and what comes in there.
func listenAsSystemd(t *testing.T) (path string, next func() string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return path, func() string {
		t.Helper()
		buf := make([]byte, 4096)
		if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		n, err := conn.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		return string(buf[:n])
	}
}

func TestNotifier(t *testing.T) {
	path, next := listenAsSystemd(t)
	n := newNotifier(slog.New(slog.DiscardHandler), getenvOf(map[string]string{"NOTIFY_SOCKET": path}), 1)
	for _, tt := range []struct {
		do   func()
		want string
	}{
		{func() { n.Ready("7 pending") }, "READY=1\nSTATUS=7 pending"},
		{func() { n.Status("8 pending") }, "STATUS=8 pending"},
		{n.Reloading, "RELOADING=1\nMONOTONIC_USEC=[1-9][0-9]*\nSTATUS=Reloading"},
		{func() { n.Stopping("bye") }, "STOPPING=1\nSTATUS=bye"},
	} {
		tt.do()
		if got := next(); !regexp.MustCompile("^" + tt.want + "$").MatchString(got) {
			t.Errorf("told %q, want %q", got, tt.want)
		}
	}
}

func TestNotifierWithoutSystemd(t *testing.T) {
	n := newNotifier(slog.New(slog.DiscardHandler), getenvOf(map[string]string{"WATCHDOG_USEC": "1000"}), 1)
	n.Ready("")
	n.Reloading()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := n.Watchdog(ctx, func(context.Context) error {
		t.Error("wakes up though nobody asked")
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Watchdog = %v", err)
	}
}

func TestWatchdogPeriod(t *testing.T) {
	for _, tt := range []struct {
		name string
		env  map[string]string
		want time.Duration
	}{
		{"asked", map[string]string{"NOTIFY_SOCKET": "x", "WATCHDOG_USEC": "3000000"}, 3 * time.Second},
		{"asked by number", map[string]string{"NOTIFY_SOCKET": "x", "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "42"}, 3 * time.Second},
		{"another process is meant", map[string]string{"NOTIFY_SOCKET": "x", "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "43"}, 0},
		{"not asked", map[string]string{"NOTIFY_SOCKET": "x"}, 0},
		{"nonsense", map[string]string{"NOTIFY_SOCKET": "x", "WATCHDOG_USEC": "-1"}, 0},
		{"nowhere to tell", map[string]string{"WATCHDOG_USEC": "3000000"}, 0},
	} {
		if got := newNotifier(nil, getenvOf(tt.env), 42).period; got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

// TestWatchdogFollowsHealth lets the engine answer, then not, then answer again.
func TestWatchdogFollowsHealth(t *testing.T) {
	path, next := listenAsSystemd(t)
	n := newNotifier(slog.New(slog.DiscardHandler), getenvOf(map[string]string{
		"NOTIFY_SOCKET": path, "WATCHDOG_USEC": strconv.Itoa(20_000)}), 1)
	ctx, cancel := context.WithCancel(t.Context())
	asked, done := 0, make(chan error, 1)
	go func() {
		done <- n.Watchdog(ctx, func(context.Context) error {
			if asked++; asked == 3 || asked == 4 {
				n.Status("ill") // in the same socket, so in order with the signs of life
				return errors.New("ill")
			}
			return nil
		})
	}()
	for i, want := range []string{"WATCHDOG=1", "WATCHDOG=1", "STATUS=ill", "STATUS=ill", "WATCHDOG=1"} {
		if got := next(); got != want {
			t.Errorf("message %d is %q, want %q", i, got, want)
		}
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Watchdog = %v", err)
	}
}
