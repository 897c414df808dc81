package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"activationd/control"
	"activationd/internal/fault"
)

// An app is what the commands share: the flags that all of them take, and the
// client made of these.
type app struct {
	socket, connect        string
	json                   bool
	tokenFile              string
	tls                    bool
	tlsCA, tlsCert, tlsKey string

	made *control.Client
}

// client returns the client that the flags describe.
func (a *app) client() (*control.Client, error) {
	if a.made != nil {
		return a.made, nil
	}
	c := &control.Client{Network: "unix", Address: a.socket, Dial: dialUnix}
	secure := a.tls || a.tlsCA != "" || a.tlsCert != "" || a.tlsKey != ""
	switch {
	case a.socket != "" && a.connect != "":
		return nil, fmt.Errorf("--socket and --connect exclude each other; give one: %w", fault.Invalid)
	case a.connect != "":
		c.Network, c.Address, c.Dial = "tcp", a.connect, nil
	case secure:
		return nil, fmt.Errorf("TLS is for --connect HOST:PORT; a Unix socket needs none: %w", fault.Invalid)
	case a.socket == "":
		c.Address = os.Getenv("ACTIVATIOND_SOCKET")
	}
	if c.Address == "" {
		c.Address, c.Dial = defaultSocket(os.Getuid(), os.Getenv("XDG_RUNTIME_DIR")), dialTrusted
	}
	if a.tokenFile != "" {
		token, err := os.ReadFile(a.tokenFile)
		if err != nil {
			return nil, fmt.Errorf("--token-file: %w: %w", err, fault.Invalid)
		}
		if c.Token = strings.TrimSpace(string(token)); c.Token == "" {
			return nil, fmt.Errorf("--token-file: %s is empty: %w", a.tokenFile, fault.Invalid)
		}
	}
	if secure {
		if err := a.checkTLS(); err != nil {
			return nil, err
		}
		c.Dial = a.dialTLS
	}
	a.made = c
	return c, nil
}

// call asks for an operation that answers with one line.
func call[Out any](ctx context.Context, a *app, name string, in any) (out Out, err error) {
	c, err := a.client()
	if err != nil {
		return out, err
	}
	_, lines, err := control.Call[Out](ctx, c, name, in)
	switch {
	case err != nil:
		return out, err
	case len(lines) != 1:
		return out, fmt.Errorf("the daemon answers %s with %d lines, want 1: %w", name, len(lines), fault.Internal)
	}
	return lines[0], nil
}

// stream asks for an operation and gives fn each line as it comes.
func stream[Out any](ctx context.Context, a *app, name string, in any, fn func(Out) error) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	return control.Stream(ctx, c, name, in, fn)
}

// tell asks for an operation whose lines only --json shows.
func (a *app) tell(ctx context.Context, name string, in any) error {
	if a.json {
		return a.printJSON(ctx, name, in)
	}
	return stream(ctx, a, name, in, func(struct{}) error { return nil })
}

// printJSON asks for an operation and prints its lines as they are, so that
// what a newer daemon adds is seen, too.
func (a *app) printJSON(ctx context.Context, name string, in any) (err error) {
	c, err := a.client()
	if err != nil {
		return err
	}
	r, err := c.Do(ctx, name, in)
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }() // nothing is asked after a failure
	for line, err := range r.Lines() {
		if err != nil {
			return err
		}
		if _, err := os.Stdout.Write(append(line, '\n')); err != nil {
			return err
		}
	}
	return r.Err()
}

// completeIDs completes ids of activations in one of states, which commas
// separate; "" means all that are not finished, "all" those, too.
func (a *app) completeIDs(states string) func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return func(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
		in := control.ListIn{Limit: 1000}
		if states != "" {
			in.State = strings.Split(states, ",")
		}
		var ids []string
		err := stream(cmd.Context(), a, "list", in, func(act control.Activation) error {
			if strings.HasPrefix(act.ID, prefix) {
				ids = append(ids, act.ID+"\t"+printable(act.Label))
			}
			return nil
		})
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		return ids, cobra.ShellCompDirectiveNoFileComp
	}
}
