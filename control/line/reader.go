package line

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"activationd/control"
	"activationd/internal/fault"
)

const (
	smallBuffer = 4 << 10  // of a new or an idle connection
	pipeBuffer  = 32 << 10 // of a client that pipelines requests; some 400 of them
	pause       = 100 * time.Millisecond
)

// A source is what a reader needs of a connection.
type source interface {
	io.Reader
	SetReadDeadline(time.Time) error
}

// A request is a request of which all has arrived. If its form is right and an
// argument is wrong, err says what.
type request struct {
	op     *control.Op
	args   control.Decoder
	err    error
	secret string // empty: none was given
}

// A closingError is a reply after which the connection is closed: it is unknown where
// the next request begins, a limit was passed, or the client is not who it claims to be.
type closingError struct {
	code int
	text string
}

func (c closingError) Error() string { return c.text }

// closing returns err as a reply after which the connection is closed.
func closing(err error) error { return closingError{control.Code(err), fault.Text(err)} }

func malformed(format string, args ...any) error {
	return closingError{400, fmt.Sprintf(format, args...)}
}

// errMore says that no whole request is in the buffer.
var errMore = errors.New("no whole request yet")

// A reader cuts what a connection sends into requests.
type reader struct {
	src    source
	lim    Limits
	memory *atomic.Int64 // bytes that all connections together may still take for large requests
	lookup func(name []byte) *control.Op
	// mayNow reports whether the client may run op without a secret. Then a request for
	// an op without arguments is complete with its first line.
	mayNow func(op *control.Op) bool
	// beforeWait is called before a read that may wait. It sends the replies.
	beforeWait func() error
	// stopped reports whether reading is to end.
	stopped func() bool

	buf     []byte
	r, w    int // buf[r:w] is to be read
	scanned int // of those, how many have no LF
	fail    error
	held    int64 // bytes taken of memory

	cur   *request // of which a part has arrived
	args  int      // its argument lines and words
	size  int      // its bytes
	lines int      // its lines after the first
	began time.Time
	name  []byte // scratch: a name in lower case
}

// next waits for the next request. An error is a closingError, io.EOF at the end
// between requests, or that of the connection.
func (r *reader) next() (*request, error) {
	r.letGo()
	r.began = time.Now() // the time that replies took does not count against the client
	for {
		req, err := r.whole()
		if !errors.Is(err, errMore) {
			return req, err
		}
		if err := r.beforeWait(); err != nil {
			return nil, err
		}
		short := r.startable()
		err = r.fill(r.deadline(short))
		switch {
		case err == nil:
		case short && (errors.Is(err, io.EOF) || errors.Is(err, os.ErrDeadlineExceeded) && !r.stopped()):
			return r.finish(), nil
		case errors.Is(err, io.EOF) && r.inside():
			return nil, malformed("the request is incomplete; an empty line ends a request")
		case errors.Is(err, os.ErrDeadlineExceeded) && r.inside() && !r.stopped():
			return nil, closingError{408, "the request took too long to arrive; an empty line ends a request"}
		default:
			return nil, err
		}
	}
}

// whole returns the next request if all of it is in the buffer, and errMore if it is
// not. Any other error is a closingError. It does not read.
func (r *reader) whole() (*request, error) {
	for {
		line, err := r.line()
		if err != nil {
			return nil, err
		}
		if r.cur == nil {
			done, err := r.command(line)
			if err != nil {
				return nil, err
			}
			if done {
				return r.finish(), nil
			}
			continue
		}
		if len(line) == 0 {
			r.consume()
			return r.finish(), nil
		}
		colon := bytes.IndexByte(line, ':')
		if colon < 0 || bytes.ContainsAny(line[:colon], " \t") {
			if r.lines == 0 && r.cur.args.Complete() {
				if op, _ := r.operation(line); op != nil {
					return r.finish(), nil // the line is read again, as a command
				}
			}
			return nil, malformed("%.40q is not an argument; arguments are name:value, an empty line ends a request", line)
		}
		r.lines++
		if err := r.argument(line[:colon], line[colon+1:]); err != nil {
			return nil, err
		}
		r.consume()
	}
}

// command begins a request with its first line, and reports whether the request has
// no further lines.
func (r *reader) command(line []byte) (bool, error) {
	if len(line) == 0 {
		r.consume()
		return false, nil
	}
	op, n := r.operation(line)
	if op == nil {
		return false, malformed(`no command %.40q; "help" lists them`, line[:n])
	}
	r.cur = &request{op: op, args: op.Decoder()}
	r.args, r.size, r.lines = 0, 0, 0
	for rest := line[n:]; ; {
		rest = bytes.TrimLeft(rest, " \t")
		if len(rest) == 0 {
			break
		}
		colon := bytes.IndexByte(rest, ':')
		if colon <= 0 || bytes.ContainsAny(rest[:colon], " \t") {
			return false, malformed("%.40q is not an argument; arguments are name:value, and a value with blanks needs double quotes", rest)
		}
		name, value := rest[:colon], rest[colon+1:]
		n := wordLen(value)
		if err := r.argument(name, value[:n]); err != nil {
			return false, err
		}
		rest = value[n:]
	}
	r.consume()
	return len(op.Args()) == 0 && (r.cur.secret != "" || r.mayNow(op)), nil
}

// operation returns the operation that a line begins with, or nil, and the length of
// its name, which has one word or two.
func (r *reader) operation(line []byte) (*control.Op, int) {
	first := firstWord(line)
	rest := bytes.TrimLeft(line[len(first):], " \t")
	if second := firstWord(rest); len(second) > 0 && bytes.IndexByte(second, ':') < 0 {
		if op := r.lookup(r.lower(first, second)); op != nil {
			return op, len(line) - len(rest) + len(second)
		}
	}
	return r.lookup(r.lower(first)), len(first)
}

// argument sets one argument of the request. Its error is a closingError.
func (r *reader) argument(name, value []byte) error {
	r.args++
	r.size += len(name) + len(value)
	if r.args > r.lim.Arguments {
		return malformed("more than %d arguments", r.lim.Arguments)
	}
	if r.size > r.lim.Request {
		return malformed("a request of more than %d bytes", r.lim.Request)
	}
	if err := r.hold(int64(r.size) - pipeBuffer); err != nil {
		return err
	}
	name = r.lower(name)
	if string(name) == "token" && !r.cur.op.Takes(name) {
		secret, err := control.Unquote(value)
		r.cur.secret = cmp.Or(secret, "-") // an empty secret is a wrong one
		r.cur.err = cmp.Or(r.cur.err, err)
		return nil
	}
	r.cur.err = cmp.Or(r.cur.err, r.cur.args.Set(name, value))
	return nil
}

// finish returns the current request, which is complete now.
func (r *reader) finish() *request {
	req := r.cur
	r.cur, r.size = nil, 0
	return req
}

// startable reports whether the current request may run if nothing more comes.
func (r *reader) startable() bool {
	return r.cur != nil && r.lines == 0 && r.r == r.w && r.cur.args.Complete()
}

// inside reports whether a request, or a line, has begun.
func (r *reader) inside() bool { return r.cur != nil || r.r < r.w }

// line returns the next line without its end and without blanks at its beginning. The
// line is valid until the buffer is filled again, and stays the next one until consume
// is called.
func (r *reader) line() ([]byte, error) {
	i := bytes.IndexByte(r.buf[r.r+r.scanned:r.w], '\n')
	if i < 0 {
		r.scanned = r.w - r.r
		if r.scanned > r.lim.Line {
			return nil, malformed("a line of more than %d bytes", r.lim.Line)
		}
		return nil, errMore
	}
	r.scanned += i
	line := r.buf[r.r : r.r+r.scanned]
	if len(line) > r.lim.Line {
		return nil, malformed("a line of more than %d bytes", r.lim.Line)
	}
	if bytes.IndexByte(line, '\r') >= 0 {
		line = bytes.ReplaceAll(line, []byte("\r"), nil)
	}
	line = bytes.TrimLeft(line, " \t")
	if bytes.IndexByte(line, 0) >= 0 || !utf8.Valid(line) {
		return nil, malformed("%.40q is not text in UTF-8", line)
	}
	return line, nil
}

// consume goes on to the next line.
func (r *reader) consume() {
	r.r += r.scanned + 1
	r.scanned = 0
}

// fill makes room in the buffer and reads once.
func (r *reader) fill(deadline time.Time) error {
	if r.fail != nil {
		return r.fail
	}
	if r.r > 0 {
		r.w = copy(r.buf, r.buf[r.r:r.w])
		r.r = 0
	}
	if r.w == 0 && len(r.buf) > pipeBuffer || r.buf == nil {
		r.buf = make([]byte, smallBuffer)
	}
	if r.w == len(r.buf) {
		if err := r.grow(2 * len(r.buf)); err != nil {
			return err
		}
	}
	if err := r.src.SetReadDeadline(deadline); err != nil {
		return err
	}
	if r.stopped() { // checked after the deadline was set, so that a later stop interrupts the read
		return os.ErrDeadlineExceeded
	}
	n, err := r.src.Read(r.buf[r.w:])
	r.w += n
	if n > 0 {
		if r.cur == nil && r.w == n {
			r.began = time.Now()
		}
		if r.w == len(r.buf) && len(r.buf) < pipeBuffer {
			if gerr := r.grow(pipeBuffer); gerr != nil {
				return gerr
			}
		}
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			r.fail = err
		}
		return nil
	}
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		r.fail = err
	}
	return err
}

func (r *reader) grow(n int) error {
	if err := r.hold(int64(n) - pipeBuffer); err != nil {
		return err
	}
	buf := make([]byte, n)
	copy(buf, r.buf[:r.w])
	r.buf = buf
	return nil
}

// hold makes sure that n bytes of the memory that all connections share are reserved
// for this one.
func (r *reader) hold(n int64) error {
	if n <= r.held {
		return nil
	}
	more := n - r.held
	if r.memory.Add(-more) < 0 {
		r.memory.Add(more)
		return closingError{503, "too many large requests at once; try again later"}
	}
	r.held += more
	return nil
}

// letGo calls release unless the memory is still in use.
func (r *reader) letGo() {
	if r.held > 0 && r.cur == nil && r.r == r.w {
		r.release()
	}
}

// release returns the reserved memory, and drops a large buffer.
func (r *reader) release() {
	r.memory.Add(r.held)
	r.held = 0
	if len(r.buf) > pipeBuffer {
		r.buf, r.r, r.w, r.scanned = nil, 0, 0, 0
	}
}

func (r *reader) deadline(short bool) time.Time {
	switch {
	case short:
		return time.Now().Add(pause)
	case r.inside():
		return r.began.Add(r.lim.Partial + time.Duration(r.size+r.w-r.r)*time.Second/(16<<10))
	default:
		return time.Now().Add(r.lim.Idle)
	}
}

// lower returns the words of a name in lower case, in a scratch buffer, with a
// blank between them. ASCII is enough: no name has other letters.
func (r *reader) lower(words ...[]byte) []byte {
	r.name = r.name[:0]
	for i, w := range words {
		if i > 0 {
			r.name = append(r.name, ' ')
		}
		r.name = append(r.name, w[:min(len(w), 64)]...) // 64: longer than any name
	}
	for i, c := range r.name {
		if 'A' <= c && c <= 'Z' {
			r.name[i] = c + ('a' - 'A')
		}
	}
	return r.name
}

func firstWord(line []byte) []byte {
	if i := bytes.IndexAny(line, " \t"); i >= 0 {
		return line[:i]
	}
	return line
}

// wordLen returns the length of the value that s begins with: up to a blank, or
// to the closing quote.
func wordLen(s []byte) int {
	if len(s) > 0 && s[0] == '"' {
		for i := 1; i < len(s); i++ {
			switch s[i] {
			case '\\':
				i++
			case '"':
				return i + 1
			}
		}
		return len(s)
	}
	return len(firstWord(s))
}
