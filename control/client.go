package control

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"activationd/internal/fault"
)

const (
	maxReplyLine = 16 << 20         // bytes; a longer line of a reply is an error
	keep         = 30 * time.Second // how long a connection may lie idle and still be used; less than the server's limit
)

// A Client asks a daemon for operations. It keeps one connection for the next
// call; calls at the same time have one each. It tries nothing twice. It may be
// used by several goroutines. The zero Client with an Address is ready.
type Client struct {
	Network string // "unix" or "tcp"
	Address string
	Token   string // sent with each request unless empty
	// Dial connects; it is where TLS goes. Nil means plain.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	mu    sync.Mutex
	idle  *clientConn
	since time.Time
}

type clientConn struct {
	net.Conn
	in *bufio.Reader
}

// A Response is a reply that is being read. The caller closes it.
type Response struct {
	Code        int
	Summary     string // what follows the code, without the "OK" of a 200
	c           *Client
	conn        *clientConn
	ctx         context.Context
	stop        func() bool
	done        bool
	description string
}

// Close ends the reading. If the reply was read to its end, the connection
// serves the next call.
func (r *Response) Close() error {
	if r.conn == nil {
		return nil
	}
	conn := r.conn
	r.conn = nil
	if !r.stop() || !r.done {
		return conn.Close()
	}
	return r.c.release(conn)
}

// Err returns a *[ReplyError] for a reply other than 200. Its lines can be read
// all the same.
func (r *Response) Err() error {
	if r.Code == 200 {
		return nil
	}
	return &ReplyError{r.Code, r.description}
}

// Lines yields the lines of the reply, JSON each, as they come, once. The
// slice is the caller's. An error is the last that it yields.
func (r *Response) Lines() iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for !r.done && r.conn != nil {
			line, err := r.next()
			if errors.Is(err, io.EOF) || !yield(line, err) || err != nil {
				return
			}
		}
	}
}

// next returns the next line, or io.EOF after the last.
func (r *Response) next() ([]byte, error) {
	for {
		line, err := readLine(r.conn.in)
		switch {
		case err != nil:
			return nil, r.c.broken(r.ctx, err, "before its reply was complete")
		case len(line) == 0:
			continue // a stream's sign of life
		case string(line) == ".":
			r.done = true
			return nil, io.EOF
		case bytes.HasPrefix(line, []byte(`{"error":{"code":`)):
			var end EndLine
			if err := json.Unmarshal(line, &end); err != nil {
				return nil, fmt.Errorf("a reply's last line %.80q: %w: %w", line, err, fault.Internal)
			}
			if rest, err := readLine(r.conn.in); err == nil && string(rest) == "." {
				r.done = true
			}
			return nil, &ReplyError{end.Error.Code, end.Error.Text}
		}
		return line, nil
	}
}

// An EndLine is the last line of a reply that was begun with 200 and failed
// later.
type EndLine struct {
	Error struct {
		Code int    `json:"code"`
		Text string `json:"text"`
	} `json:"error"`
}

// Do asks for the operation name with in, a struct with arg tags or nil, and
// returns when the first line of the reply has come. A reply other than 200 is
// no error here: see [Response.Err]. Its errors are of kind fault.Unavailable
// when the daemon cannot be reached or goes away, fault.Denied when its socket
// may not be opened, fault.Invalid when in cannot be sent. ctx ends the reading
// of the response, too.
func (c *Client) Do(ctx context.Context, name string, in any) (*Response, error) {
	request := append([]byte(nil), name...)
	var err error
	if c.Token != "" {
		if request, err = appendValue(append(request, " token:"...), c.Token, "\n\r\x00\t \""); err != nil {
			return nil, fmt.Errorf("token: %w", err)
		}
	}
	if request, err = appendArgs(append(request, '\n'), in); err != nil {
		return nil, err
	}
	request = append(request, '\n')
	conn, err := c.connect(ctx)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	r := &Response{c: c, conn: conn, ctx: ctx, stop: stop}
	_, werr := conn.Write(request) // a server that refuses us may have answered all the same
	line, err := readLine(conn.in)
	if err != nil {
		if werr != nil {
			err = werr
		}
		_ = r.Close()
		return nil, c.broken(ctx, err, "before it answered; whether it did as asked is not known")
	}
	code, description, _ := strings.Cut(string(line), " ")
	if r.Code, err = strconv.Atoi(code); err != nil || len(code) != 3 {
		_ = r.Close()
		return nil, fmt.Errorf("%s answers %.80q, which is not activationd's language; is the address right?: %w",
			c.where(), line, fault.Unavailable)
	}
	r.description = description
	r.Summary = description
	if r.Code == 200 {
		r.Summary = strings.TrimPrefix(strings.TrimPrefix(description, "OK"), " ")
	}
	return r, nil
}

func (c *Client) where() string {
	network := c.Network
	if network == "" {
		network = "unix"
	}
	return network + ":" + c.Address
}

func (c *Client) broken(ctx context.Context, err error, when string) error {
	if ctx.Err() != nil {
		return fmt.Errorf("asking activationd at %s: %w", c.where(), context.Cause(ctx))
	}
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("activationd at %s closed the connection %s: %w", c.where(), when, fault.Unavailable)
	}
	return fmt.Errorf("activationd at %s went away %s: %w: %w", c.where(), when, err, fault.Unavailable)
}

func (c *Client) connect(ctx context.Context) (*clientConn, error) {
	c.mu.Lock()
	conn, since := c.idle, c.since
	c.idle = nil
	c.mu.Unlock()
	if conn != nil {
		if time.Since(since) < keep {
			return conn, nil
		}
		_ = conn.Close()
	}
	network, dial := c.Network, c.Dial
	if network == "" {
		network = "unix"
	}
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	nc, err := dial(ctx, network, c.Address)
	if err != nil {
		if ctx.Err() != nil {
			return nil, c.broken(ctx, err, "")
		}
		return nil, c.unreachable(network, err)
	}
	return &clientConn{nc, bufio.NewReaderSize(nc, 16<<10)}, nil
}

func (c *Client) unreachable(network string, err error) error {
	switch {
	case network == "unix" && errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%s is activationd's socket, but you may not open it; ask an admin for access: %w", c.Address, fault.Denied)
	case network == "unix" && (errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED)):
		return fmt.Errorf("no activationd answers at the socket %s; start it (systemctl start activationd, or activationd), "+
			"or name its socket with --socket or in ACTIVATIOND_SOCKET: %w", c.Address, fault.Unavailable)
	case network != "unix" && errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("no activationd answers at %s; start it with --listen %[1]s, or name another address with --connect: %w",
			c.Address, fault.Unavailable)
	}
	return fmt.Errorf("activationd at %s cannot be reached: %w: %w", c.where(), err, fault.Unavailable)
}

func (c *Client) release(conn *clientConn) error {
	c.mu.Lock()
	old := c.idle
	c.idle, c.since = conn, time.Now()
	c.mu.Unlock()
	if old != nil {
		return old.Close()
	}
	return nil
}

// Close closes the connection that is kept. The client can still be used.
func (c *Client) Close() error {
	c.mu.Lock()
	old := c.idle
	c.idle = nil
	c.mu.Unlock()
	if old != nil {
		return old.Close()
	}
	return nil
}

// Call asks for an operation and reads the whole reply. With a *[ReplyError] it
// returns what lines there were.
func Call[Out any](ctx context.Context, c *Client, name string, in any) (summary string, lines []Out, err error) {
	r, err := c.Do(ctx, name, in)
	if err != nil {
		return "", nil, err
	}
	err = each(r, func(out Out) error {
		lines = append(lines, out)
		return nil
	})
	return r.Summary, lines, err
}

// Stream asks for an operation and calls fn with each line as it comes, until
// the reply ends or fn returns an error, which Stream returns.
func Stream[Out any](ctx context.Context, c *Client, name string, in any, fn func(Out) error) error {
	r, err := c.Do(ctx, name, in)
	if err != nil {
		return err
	}
	return each(r, fn)
}

func each[Out any](r *Response, fn func(Out) error) (err error) {
	defer func() {
		if cerr := r.Close(); err == nil && !r.done {
			err = cerr
		}
	}()
	for line, err := range r.Lines() {
		if err != nil {
			return err
		}
		var out Out
		if err := json.Unmarshal(line, &out); err != nil {
			return fmt.Errorf("a reply's line %.80q: %w: %w", line, err, fault.Internal)
		}
		if err := fn(out); err != nil {
			return err
		}
	}
	return r.Err()
}

// readLine returns the next line without its end, as a slice of its own.
func readLine(in *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := in.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case err == nil:
			return bytes.TrimSuffix(line[:len(line)-1], []byte("\r")), nil
		case len(line) > maxReplyLine:
			return nil, fmt.Errorf("a line of more than %d bytes", maxReplyLine)
		case err == io.EOF && len(line) > 0:
			return nil, io.ErrUnexpectedEOF
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		}
	}
}
