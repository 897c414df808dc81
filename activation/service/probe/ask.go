package probe

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"unicode"
)

// A Runner runs the commands of an instance's checks.
type Runner interface {
	// Run runs a command as the instance's user, in its directory, with its environment and
	// under its limits. It returns nil if the command exited with status 0; otherwise the
	// error says how it ended and may have its last output. When ctx ends, Run kills the
	// command with all its processes and returns, also if one of them cannot be killed.
	Run(ctx context.Context, argv []string) error
}

// A question makes one check: it returns nil if the check succeeds. It is never asked twice at
// the same time.
type question struct {
	ask   func(ctx context.Context) error
	close func() // when it will not be asked again
}

// question returns how a check is made; nil for the kinds that need no question.
func (c *Check) question(i *Instance) (*question, error) {
	nothing := func() {}
	switch c.Kind {
	case TCP:
		to, err := addresses(c.Target)
		return &question{func(ctx context.Context) error { return connect(ctx, to) }, nothing}, err
	case HTTP:
		u, err := c.url()
		if err != nil {
			return nil, err
		}
		req := &http.Request{Method: http.MethodGet, URL: u, Host: c.Host, Header: http.Header{"User-Agent": {"activationd"}}}
		if password, ok := u.User.Password(); ok {
			req.SetBasicAuth(u.User.Username(), password)
		}
		return &question{func(ctx context.Context) error { return get(req.WithContext(ctx), c.Unix) }, nothing}, nil
	case Exec:
		if i.Runner == nil {
			return nil, errors.New("exec: the instance has no runner for commands")
		}
		return &question{func(ctx context.Context) error { return i.Runner.Run(ctx, c.Command) }, nothing}, nil
	case Log:
		if i.Log == nil {
			return nil, errors.New("log: the instance has no log")
		}
		re, err := c.pattern()
		l := &logReader{open: i.Log, pattern: re}
		return &question{l.look, l.close}, err
	}
	return nil, nil
}

// connect returns nil if one of the addresses accepts a connection, otherwise why the first
// one did not.
func connect(ctx context.Context, to []address) error {
	var first error
	for _, a := range to {
		var d net.Dialer
		c, err := d.DialContext(ctx, a.network, a.text)
		if err == nil {
			return c.Close()
		}
		first = cmp.Or(first, err)
	}
	return first
}

// maxBody is how much of an answer is read. The check needs only the status; a server that
// can send its whole answer does not log a broken connection.
const maxBody = 64 << 10

// get sends a request over a connection of its own. It does not follow redirects, because
// another host could answer them: that there is one is an answer too.
func get(req *http.Request, unix string) error {
	t := &http.Transport{
		DisableKeepAlives:      true,
		DisableCompression:     true,
		MaxResponseHeaderBytes: maxBody,
		// The question is whether the instance answers, not who it is.
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12},
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if unix != "" {
				network, addr = "unix", unix
			}
			var d net.Dialer
			return d.DialContext(ctx, network, addr)
		},
	}
	defer t.CloseIdleConnections()
	resp, err := t.RoundTrip(req) // a Client would follow redirects
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if resp.StatusCode < 200 || resp.StatusCode > 399 {
		return fmt.Errorf("status %s%s", resp.Status, firstLine(body))
	}
	if err != nil {
		return fmt.Errorf("status %s, but the answer breaks off: %w", resp.Status, err)
	}
	return nil
}

// firstLine returns what an answer begins with, to follow a status, if that is readable text.
func firstLine(body []byte) string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(body)), "\n")
	line = strings.TrimSpace(line)
	if line == "" || len(line) > 200 || strings.HasPrefix(line, "<") || strings.ContainsFunc(line, func(r rune) bool { return r == unicode.ReplacementChar || !unicode.IsPrint(r) }) {
		return ""
	}
	return ": " + line
}

// A logReader looks for a line of a log that matches. It follows the log when it is rotated:
// when its file is renamed and another one begun.
type logReader struct {
	open    func(back int) (*os.File, error)
	pattern *regexp.Regexp
	file    *os.File // the file that is being read; it is kept open, or another could get its inode number
	in      *bufio.Reader
	line    []byte // the beginning of a line whose end is not written yet
}

// maxLine is how much of a line is compared with the pattern.
const maxLine = 64 << 10

var errNoLine = errors.New("no line of the log matches yet")

// look reads what was written since the last look.
func (l *logReader) look(ctx context.Context) error {
	for {
		if l.file != nil {
			if err := l.scan(ctx); err != errNoLine { //nolint:errorlint // scan does not wrap it
				return err
			}
		}
		next, err := l.newer()
		if err != nil {
			return err
		}
		if next == nil {
			return errNoLine
		}
		if l.file != nil {
			// Between the scan and the rotation, more may have been written.
			if err := l.scan(ctx); err != errNoLine { //nolint:errorlint // as above
				_ = next.Close()
				return err
			}
			l.close()
		}
		l.file, l.in = next, bufio.NewReaderSize(next, 32<<10)
	}
}

// scan reads the file to its present end.
func (l *logReader) scan(ctx context.Context) error {
	for ctx.Err() == nil {
		piece, err := l.in.ReadSlice('\n')
		l.line = append(l.line, piece[:min(len(piece), maxLine-len(l.line))]...)
		switch {
		case err == nil:
			found := l.pattern.Match(bytes.TrimRight(l.line, "\r\n"))
			l.line = l.line[:0]
			if found {
				return nil
			}
		case errors.Is(err, io.EOF):
			return errNoLine
		case !errors.Is(err, bufio.ErrBufferFull):
			return err
		}
	}
	return context.Cause(ctx)
}

// newer returns the file of the log that was begun after the one that is being read; if none
// is being read, the oldest; nil if there is none. While it looks, files may be renamed,
// which makes each of them one older: it can see a file twice, but does not miss one.
func (l *logReader) newer() (*os.File, error) {
	var found *os.File
	missing := 0
	for back := 0; missing < 2; back++ { // one may be missing, between two renames
		f, err := l.open(back)
		if errors.Is(err, fs.ErrNotExist) {
			missing++
			continue
		}
		if err != nil {
			if found != nil {
				_ = found.Close()
			}
			return nil, err
		}
		missing = 0
		if l.file != nil && same(f, l.file) {
			_ = f.Close()
			break
		}
		if found != nil {
			_ = found.Close()
		}
		found = f
	}
	return found, nil
}

func same(a, b *os.File) bool {
	x, err := a.Stat()
	if err != nil {
		return false
	}
	y, err := b.Stat()
	return err == nil && os.SameFile(x, y)
}

func (l *logReader) close() {
	if l.file != nil {
		_ = l.file.Close()
		l.file = nil
	}
}
