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
	maxIdle      = 30 * time.Second // of a connection that is used again; less than the server's limit
)

// A Client calls operations of a daemon. It keeps one connection for the next call; calls
// at the same time use one connection each. It repeats no request. Several goroutines may
// use it. A zero Client with an Address is ready to use.
type Client struct {
	Network string // "unix" or "tcp"
	Address string
	Token   string // sent with each request unless empty
	Tried   string // where else a daemon was looked for, for the error that there is none
	// Notice is called with each notice in the first line of a reply. Nil: they are ignored.
	Notice func(text string)
	// Dial connects, over TLS for instance. Nil means a plain connection.
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
	Summary     string // the text after the code, without the "OK" of a 200
	c           *Client
	conn        *clientConn
	ctx         context.Context
	stop        func() bool
	done        bool
	description string
}

// Close ends the reading. If the reply was read to its end, the next call uses the
// connection.
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

// Err returns a *[ReplyError] for a reply with a code other than 200. The lines of such a
// reply can be read, too.
func (r *Response) Err() error {
	if r.Code == 200 {
		return nil
	}
	return &ReplyError{Code: r.Code, Description: r.description}
}

// Lines yields the lines of the reply as they arrive; each is JSON. It can be used once.
// The caller owns the slices. After an error it yields nothing more.
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
			continue // keeps a stream alive
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
			return nil, &ReplyError{Code: end.Error.Code, Description: end.Error.Text}
		}
		return line, nil
	}
}

// An EndLine is the last line of a reply that was begun with 200 and failed later.
type EndLine struct {
	Error struct {
		Code int    `json:"code"`
		Text string `json:"text"`
	} `json:"error"`
}

// Do calls the operation name with in, a struct with arg tags or nil, and returns when the
// first line of the reply has arrived. A reply with a code other than 200 is not an error
// here: see [Response.Err]. The errors are of kind fault.Unavailable if the daemon cannot be
// reached or the connection breaks, fault.Denied if its socket may not be opened, and
// fault.Invalid if in cannot be sent. When ctx ends, reading the response ends, too.
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
	_, werr := conn.Write(request) // a server that refuses the connection may have replied already
	line, err := readLine(conn.in)
	if err != nil {
		if werr != nil {
			err = werr
		}
		_ = r.Close()
		return nil, c.broken(ctx, err, "before it replied; it is not known whether the request was carried out")
	}
	code, description, _ := strings.Cut(string(line), " ")
	if r.Code, err = strconv.Atoi(code); err != nil || len(code) != 3 {
		_ = r.Close()
		return nil, fmt.Errorf("%s answers %.80q, which is not activationd's protocol; is the address right?: %w",
			c.where(), line, fault.Unavailable)
	}
	r.description = description
	r.Summary = description
	if r.Code == 200 {
		r.Summary = strings.TrimPrefix(strings.TrimPrefix(description, "OK"), " ")
	}
	if text, ok := strings.CutPrefix(r.Summary, noticePrefix); ok && c.Notice != nil {
		c.Notice(text)
	}
	return r, nil
}

// noticePrefix begins a summary that is a notice.
const noticePrefix = "notice: "

// Noticed returns the summary of a reply that has nothing else to say in it than a notice:
// something that the client may not expect. Without a text it is empty.
func Noticed(text string) string {
	if text == "" {
		return ""
	}
	return noticePrefix + OneLine(text)
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
		return fmt.Errorf("request to activationd at %s: %w", c.where(), context.Cause(ctx))
	}
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("activationd at %s closed the connection %s: %w", c.where(), when, fault.Unavailable)
	}
	return fmt.Errorf("the connection to activationd at %s broke %s: %w: %w", c.where(), when, err, fault.Unavailable)
}

func (c *Client) connect(ctx context.Context) (*clientConn, error) {
	c.mu.Lock()
	conn, since := c.idle, c.since
	c.idle = nil
	c.mu.Unlock()
	if conn != nil {
		if time.Since(since) < maxIdle {
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
	case network == "unix" && notSocket(c.Address):
		return fmt.Errorf("%s is not a socket; name activationd's with --socket or in ACTIVATIOND_SOCKET: %w", c.Address, fault.Invalid)
	case network == "unix" && errors.Is(err, os.ErrPermission):
		return fmt.Errorf("you may not open the socket %s; if it is activationd's, ask an admin for access: %w", c.Address, fault.Denied)
	case network == "unix" && (errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED)):
		return fmt.Errorf("no activationd answers at the socket %s%s; start it (systemctl start activationd, or activationd), "+
			"or name its socket with --socket or in ACTIVATIOND_SOCKET: %w", c.Address, c.Tried, fault.Unavailable)
	case network != "unix" && errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("no activationd answers at %s; start it with --listen %[1]s, or name another address with --connect: %w",
			c.Address, fault.Unavailable)
	}
	return fmt.Errorf("activationd at %s cannot be reached: %w: %w", c.where(), err, fault.Unavailable)
}

// notSocket reports whether there is a file of that name that is not a socket.
func notSocket(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode()&os.ModeSocket == 0
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

// Close closes the idle connection. The client can still be used.
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

// Call calls an operation and reads the whole reply. Its errors are those of [Client.Do],
// or a *[ReplyError] for a reply with a code other than 200; with the latter it also
// returns the lines of the reply.
func Call[Out any](ctx context.Context, c *Client, name string, in any) (summary string, lines []Out, err error) {
	r, err := c.Do(ctx, name, in)
	if err != nil {
		return "", nil, err
	}
	err = forEachLine(r, func(out Out) error {
		lines = append(lines, out)
		return nil
	})
	return r.Summary, lines, err
}

// Stream calls an operation and calls fn with each line as it arrives, until the reply ends
// or fn returns an error, which Stream returns.
func Stream[Out any](ctx context.Context, c *Client, name string, in any, fn func(Out) error) error {
	r, err := c.Do(ctx, name, in)
	if err != nil {
		return err
	}
	return forEachLine(r, fn)
}

func forEachLine[Out any](r *Response, fn func(Out) error) (err error) {
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

// readLine returns the next line without its end, in a new slice.
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
