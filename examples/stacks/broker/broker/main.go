// Broker has the parts of a broker of virtual desktops that each laboratory writes for
// itself, as small as they can be: web workers, a program for tasks, a monitor of sessions, a
// manager of machines, and the machine and the client to try them with. The
// README beside it says how they work together.
//
// The database knows the sessions, and schema.sql says who changes one. The cache knows
// which clients live.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

// Settings are what the parts have in common. They come from the environment, because the
// address of the database has a password in it.
type settings struct {
	database string        // DATABASE_URL
	cache    string        // CACHE, the address of Redis
	id       string        // ACTIVATION_ID, such as web@2
	presence time.Duration // PRESENCE, in seconds: a client that is not heard of for this time has died
}

func readSettings() (settings, error) {
	s := settings{os.Getenv("DATABASE_URL"), os.Getenv("CACHE"), os.Getenv("ACTIVATION_ID"), 10 * time.Second}
	if text := os.Getenv("PRESENCE"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return s, fmt.Errorf("PRESENCE: want a number of seconds, at least 1, have %q", text)
		}
		s.presence = time.Duration(n) * time.Second
	}
	return s, nil
}

var parts = map[string]func(context.Context, settings, []string) error{
	"web":      web,
	"task":     task,
	"monitor":  monitor,
	"machines": machines,
	"machine":  machine,
	"client":   client,
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		slog.Error("ended", "err", err)
		if errors.Is(err, errTask) {
			os.Exit(65) // EX_DATAERR: the daemon does not try it again
		}
		os.Exit(1)
	}
}

func run(args []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	s, err := readSettings()
	if err != nil {
		return err
	}
	if len(args) == 0 || parts[args[0]] == nil {
		return fmt.Errorf("usage: broker web|task|monitor|machines|machine|client [FLAGS]")
	}
	return parts[args[0]](ctx, s, args[1:])
}

// flags returns the flags of a part.
func flags(part string) *flag.FlagSet { return flag.NewFlagSet("broker "+part, flag.ExitOnError) }
