package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
)

// A cache is a Redis server at an address. The few commands that are needed here do not
// justify a library. Each has a connection of its own: so there is none to lose when the
// server is restarted.
type cache string

// do sends a command. The reply is an int, a string, a list of replies, or nil.
func (c cache) do(ctx context.Context, args ...string) (any, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", string(c))
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })() // ends what waits
	request := fmt.Appendf(nil, "*%d\r\n", len(args))
	for _, a := range args {
		request = fmt.Appendf(request, "$%d\r\n%s\r\n", len(a), a)
	}
	if _, err := conn.Write(request); err != nil {
		return nil, err
	}
	reply, err := readReply(bufio.NewReader(conn))
	if err != nil {
		return nil, fmt.Errorf("redis %s: %w", args[0], errors.Join(err, ctx.Err()))
	}
	return reply, nil
}

var errReply = errors.New("the server says")

// readReply reads a reply of RESP2.
func readReply(r *bufio.Reader) (any, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return nil, err
	}
	if len(line) < 3 {
		return nil, fmt.Errorf("%w %q", errReply, line)
	}
	kind, text := line[0], line[1:len(line)-2]
	if kind == '+' {
		return text, nil
	}
	n, err := strconv.Atoi(text)
	if kind == '-' || err != nil || n > 1<<20 && kind != ':' { // no reply here is longer
		return nil, fmt.Errorf("%w %q", errReply, text)
	}
	switch {
	case kind == ':':
		return n, nil
	case n < 0:
		return nil, nil
	case kind == '$':
		value := make([]byte, n+2)
		if _, err := io.ReadFull(r, value); err != nil {
			return nil, err
		}
		return string(value[:n]), nil
	case kind == '*':
		list := make([]any, 0, n)
		for range n {
			one, err := readReply(r)
			if err != nil {
				return nil, err
			}
			list = append(list, one)
		}
		return list, nil
	}
	return nil, fmt.Errorf("%w %q", errReply, line)
}
