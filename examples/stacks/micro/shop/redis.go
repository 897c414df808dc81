package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
)

// A redis is the path of a Redis server's Unix socket. Each command has a connection of
// its own.
type redis string

// errNothing is the answer of Redis if there is no such thing.
var errNothing = errors.New("there is no such thing")

// do makes Redis carry out a command, and returns the values of its answer.
func (r redis) do(ctx context.Context, args ...string) ([]string, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", string(r))
	if err != nil {
		return nil, err
	}
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	defer func() { _ = conn.Close() }()
	var command strings.Builder
	fmt.Fprintf(&command, "*%d\r\n", len(args))
	for _, a := range args {
		fmt.Fprintf(&command, "$%d\r\n%s\r\n", len(a), a)
	}
	if _, err := io.WriteString(conn, command.String()); err != nil {
		return nil, err
	}
	return readAnswer(bufio.NewReader(conn))
}

// readAnswer reads an answer in the protocol of Redis: its first character is its type.
func readAnswer(in *bufio.Reader) ([]string, error) {
	line, err := in.ReadString('\n')
	if err != nil {
		return nil, err
	}
	line = strings.TrimRight(line, "\r\n")
	if line == "" {
		return nil, errors.New("an empty line of Redis")
	}
	switch kind, text := line[0], line[1:]; kind {
	case '+', ':':
		return []string{text}, nil
	case '$':
		size, err := strconv.Atoi(text)
		if err != nil || size < 0 {
			return nil, errors.Join(errNothing, err)
		}
		value := make([]byte, size+len("\r\n"))
		if _, err := io.ReadFull(in, value); err != nil {
			return nil, err
		}
		return []string{string(value[:size])}, nil
	case '*':
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			return nil, errors.Join(errNothing, err)
		}
		var all []string
		for range n {
			values, err := readAnswer(in)
			if err != nil {
				return nil, err
			}
			all = append(all, values...)
		}
		return all, nil
	default:
		return nil, fmt.Errorf("redis: %s", text)
	}
}
