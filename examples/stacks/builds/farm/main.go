// Farm is the Go part of a build farm: its page, the pool that fetches sources, and the
// monitor. The daemon is reached by atctl, as it would be from a program in any language.
//
//	farm web --listen ADDRESS     the page with the builds, live
//	farm fetch --from URL         the listener of the queue io_fetch: lines of JSON
//	farm monitor --limit DURATION says which services and listeners do not work
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "farm:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errUsage
	}
	flags := flag.NewFlagSet("farm "+args[0], flag.ContinueOnError)
	listen := flags.String("listen", "127.0.0.1:8400", "of web: its address")
	from := flags.String("from", "", "of fetch: where the projects are")
	limit := flags.Duration("limit", time.Minute, "of monitor: how long a message may be in work")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	if args[0] != "fetch" { // a signal ends that at once: messages without an answer return to the queue
		var stop context.CancelFunc
		ctx, stop = signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
		defer stop()
	}
	switch args[0] {
	case "web":
		return web(ctx, *listen)
	case "fetch":
		return fetch(ctx, os.Stdin, os.Stdout, fetcher{url: *from, builds: os.Getenv("BUILDS")})
	case "monitor":
		return monitor(ctx, *limit)
	default:
		return errUsage
	}
}

var errUsage = errors.New("usage: farm web|fetch|monitor [FLAGS]")

// output runs a command and returns its output. Its error says what the command complained of.
func output(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	var complaint strings.Builder
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %s: %w", name, strings.TrimSpace(complaint.String()), err)
	}
	return strings.TrimSpace(string(out)), nil
}

// An event is what the farm wants of one.
type event struct {
	Seq   uint64    `json:"seq"`
	Time  time.Time `json:"time"`
	Topic string    `json:"topic"`
	Text  string    `json:"text"`

	ID     string `json:"id,omitempty"`     // of the service's instance that an event is about
	Reason string `json:"reason,omitempty"` // of its state
}

// follow calls take for all events with these topics, old ones first, until the context is
// done. It goes on when the daemon was started again.
func follow(ctx context.Context, take func(event), topics ...string) error {
	var last uint64
	for {
		args := append([]string{"events", "--json", "--since", strconv.FormatUint(last, 10)}, topics...)
		cmd := exec.CommandContext(ctx, "atctl", args...)
		out, err := cmd.StdoutPipe()
		if err != nil {
			return err
		}
		if err := cmd.Start(); err != nil {
			return err
		}
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var e event
			if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
				return errors.Join(err, cmd.Wait())
			}
			last = e.Seq
			take(e)
		}
		err = cmd.Wait()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(200 * time.Millisecond):
			slog.Info("following events again", "err", err)
		}
	}
}
