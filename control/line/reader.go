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
)

const (
	smallBuffer = 4 << 10  // what a connection starts with, and idles with
	pipeBuffer  = 32 << 10 // what it grows to for one that pipelines; some 400 requests
	pause       = 100 * time.Millisecond
)

// A source is what a reader needs of a connection.
type source interface {
	io.Reader
	SetReadDeadline(time.Time) error
}

// A request is one that came whole. What is wrong with its arguments, but not
// with its form, is in err.
type request struct {
	op    *control.Op
	args  control.Decoder
	err   error
	token string // empty: none was given
}

// A nonsense is input after which nobody knows where the next request begins,
// or a limit passed: the connection ends with it.
type nonsense struct {
	code int
	text string
}

func (n nonsense) Error() string { return n.text }

func bad(format string, args ...any) error { return nonsense{400, fmt.Sprintf(format, args...)} }

// errMore says that no whole request is in the buffer.
var errMore = errors.New("no whole request yet")

// A reader cuts what a connection sends into requests.
type reader struct {
	src    source
	lim    Limits
	memory *atomic.Int64 // what all connections may still take for large requests
	lookup func(name []byte) *control.Op
	// mayNow reports whether the peer may run op as he stands, so that one
	// without arguments need not wait for a token.
	mayNow func(op *control.Op) bool
	// quiet is called before a read that may wait: replies go out.
	quiet func() error
	// ended reports that the server ends.
	ended func() bool

	buf     []byte
	r, w    int // buf[r:w] is to be read
	scanned int // of those, how many have no LF
	fail    error
	held    int64 // taken of memory

	cur   *request // in the making
	args  int      // its argument lines and words
	size  int      // its bytes
	lines int      // its lines after the first
	began time.Time
	name  []byte // scratch: a name in lower case
}

// next returns the next request, waiting for it. An error is a nonsense, io.EOF
// at the end between requests, or that of the connection.
func (r *reader) next() (*request, error) {
	r.letGo()
	r.began = time.Now() // the time that answers took is not the client's
	for {
		req, err := r.whole()
		if !errors.Is(err, errMore) {
			return req, err
		}
		if err := r.quiet(); err != nil {
			return nil, err
		}
		short := r.startable()
		err = r.fill(r.deadline(short))
		switch {
		case err == nil:
		case short && (errors.Is(err, io.EOF) || errors.Is(err, os.ErrDeadlineExceeded) && !r.ended()):
			return r.finish(), nil
		case errors.Is(err, io.EOF) && r.inside():
			return nil, bad("the request ends in its middle; an empty line ends a request")
		case errors.Is(err, os.ErrDeadlineExceeded) && r.inside() && !r.ended():
			return nil, nonsense{408, "the request took too long to arrive; an empty line ends a request"}
		default:
			return nil, err
		}
	}
}

// whole returns the next request if all of it is in the buffer, errMore if not,
// or a nonsense. It does not read.
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
					return r.finish(), nil // and the line is looked at again, as a command
				}
			}
			return nil, bad("%.40q is no argument; arguments are name:value, an empty line ends a request", line)
		}
		r.lines++
		if err := r.argument(line[:colon], line[colon+1:]); err != nil {
			return nil, err
		}
		r.consume()
	}
}

// command begins a request with its first line, and reports whether that is all
// of it.
func (r *reader) command(line []byte) (bool, error) {
	if len(line) == 0 {
		r.consume()
		return false, nil
	}
	op, n := r.operation(line)
	if op == nil {
		return false, bad(`no command %.40q; "help" lists them`, line[:n])
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
			return false, bad("%.40q is no argument; arguments are name:value, and a value with blanks stands in double quotes", rest)
		}
		name, value := rest[:colon], rest[colon+1:]
		n := wordLen(value)
		if err := r.argument(name, value[:n]); err != nil {
			return false, err
		}
		rest = value[n:]
	}
	r.consume()
	return len(op.Args()) == 0 && (r.cur.token != "" || r.mayNow(op)), nil
}

// operation returns the operation that a line begins with, whose name has one
// word or two, or nil; and the length of its name.
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

// argument sets one argument of the request. Its error is a nonsense.
func (r *reader) argument(name, value []byte) error {
	r.args++
	r.size += len(name) + len(value)
	if r.args > r.lim.Arguments {
		return bad("more than %d arguments", r.lim.Arguments)
	}
	if r.size > r.lim.Request {
		return bad("a request of more than %d bytes", r.lim.Request)
	}
	if err := r.hold(int64(r.size) - pipeBuffer); err != nil {
		return err
	}
	name = r.lower(name)
	if string(name) == "token" && !r.cur.op.Takes(name) {
		token, err := control.Unquote(value)
		r.cur.token = cmp.Or(token, "-") // no secret, but not nothing either
		r.cur.err = cmp.Or(r.cur.err, err)
		return nil
	}
	r.cur.err = cmp.Or(r.cur.err, r.cur.args.Set(name, value))
	return nil
}

// finish returns the request in the making, whole now.
func (r *reader) finish() *request {
	req := r.cur
	r.cur, r.size = nil, 0
	return req
}

// startable reports whether the request in the making may run if nothing more
// comes.
func (r *reader) startable() bool {
	return r.cur != nil && r.lines == 0 && r.r == r.w && r.cur.args.Complete()
}

// inside reports whether a request, or a line, has begun.
func (r *reader) inside() bool { return r.cur != nil || r.r < r.w }

// line returns the next line without its end and the blanks at its beginning;
// it is valid until the buffer is filled again. It stays until consume is called.
func (r *reader) line() ([]byte, error) {
	i := bytes.IndexByte(r.buf[r.r+r.scanned:r.w], '\n')
	if i < 0 {
		r.scanned = r.w - r.r
		if r.scanned > r.lim.Line {
			return nil, bad("a line of more than %d bytes", r.lim.Line)
		}
		return nil, errMore
	}
	r.scanned += i
	line := r.buf[r.r : r.r+r.scanned]
	if len(line) > r.lim.Line {
		return nil, bad("a line of more than %d bytes", r.lim.Line)
	}
	if bytes.IndexByte(line, '\r') >= 0 {
		line = bytes.ReplaceAll(line, []byte("\r"), nil)
	}
	line = bytes.TrimLeft(line, " \t")
	if bytes.IndexByte(line, 0) >= 0 || !utf8.Valid(line) {
		return nil, bad("%.40q is not text in UTF-8", line)
	}
	return line, nil
}

// consume goes on to the next line.
func (r *reader) consume() {
	r.r += r.scanned + 1
	r.scanned = 0
}

// fill reads once, making room before.
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
	if r.ended() { // after the deadline was set, so that an end that comes later interrupts the read
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

// hold sees to it that more bytes than the usual are taken of the memory that
// all connections share.
func (r *reader) hold(n int64) error {
	if n <= r.held {
		return nil
	}
	more := n - r.held
	if r.memory.Add(-more) < 0 {
		r.memory.Add(more)
		return nonsense{503, "too many large requests at once; try again later"}
	}
	r.held += more
	return nil
}

// letGo gives back what hold took, unless it is still in use.
func (r *reader) letGo() {
	if r.held > 0 && r.cur == nil && r.r == r.w {
		r.release()
	}
}

// release gives back what hold took. The buffer goes with it.
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
		r.name = append(r.name, w[:min(len(w), 64)]...) // 64: longer than any
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
