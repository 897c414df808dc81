// Shop is the program of the microservices. Each of them has a model, such as user or order.
// It is served over HTTP, and what changes its data is a message of its queue, such as
// _model_user.
//
//	shop serve     serves the model MODEL at the Unix socket http.sock, in its directory
//	shop listen    does what the messages of a queue ask for
//
// The data is in Redis, at the socket REDIS. The daemon is reached by atctl, as it would be
// from a program in any language.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "shop:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) != 1 {
		return errUsage
	}
	db := redis(os.Getenv("REDIS"))
	switch args[0] {
	case "serve":
		ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
		defer stop()
		return serve(ctx, db, os.Getenv("MODEL"))
	case "listen": // a signal ends it at once: a message without an answer returns to the queue
		return listen(ctx, db, os.Stdin, os.Stdout)
	default:
		return errUsage
	}
}

var errUsage = errors.New("usage: shop serve|listen")
