package line

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"activationd/control"
)

// A script is a source that yields the input of a client in pieces of size bytes.
type script struct {
	data []byte
	size int
}

func (s *script) Read(p []byte) (int, error) {
	if len(s.data) == 0 {
		return 0, io.EOF
	}
	n := copy(p, s.data[:min(len(s.data), s.size)])
	s.data = s.data[n:]
	return n, nil
}

func (s *script) SetReadDeadline(time.Time) error { return nil }

type fuzzIn struct {
	Text string   `arg:"text,required"`
	N    int      `arg:"n"`
	List []string `arg:"list"`
}

func fuzzRegistry() *control.Registry {
	type none = control.Nothing
	return control.NewRegistry(
		control.Declare[none, none]("ping", control.Viewer, "", nil),
		control.Declare[control.ReloadIn, none]("reload", control.Viewer, "", nil),
		control.Declare[fuzzIn, none]("echo", control.Viewer, "", nil),
		control.Declare[control.ReloadIn, none]("echo twice", control.Viewer, "", nil),
	)
}

// read reads all requests of data and returns them as text, and the error at the end.
func read(data []byte, size int, lim Limits) (requests []string, err error) {
	reg := fuzzRegistry()
	var memory atomic.Int64
	memory.Store(lim.Memory)
	r := reader{
		src: &script{data, size}, lim: lim, memory: &memory,
		lookup:     func(name []byte) *control.Op { return reg.Lookup(string(name)) },
		mayNow:     func(*control.Op) bool { return true },
		beforeWait: func() error { return nil },
		stopped:    func() bool { return false },
	}
	for {
		req, err := r.next()
		if len(r.buf) > 4*lim.Line+pipeBuffer || memory.Load() < 0 || memory.Load() > lim.Memory {
			return requests, fmt.Errorf("buffer of %d bytes, %d left of %d: %w", len(r.buf), memory.Load(), lim.Memory, errors.ErrUnsupported)
		}
		if err != nil {
			r.release()
			if memory.Load() != lim.Memory {
				return requests, fmt.Errorf("%d left of %d at the end: %w", memory.Load(), lim.Memory, errors.ErrUnsupported)
			}
			return requests, err
		}
		text := req.op.Name
		if req.err != nil {
			text += " " + req.err.Error()
		} else if in, err := req.args.Input(); err != nil {
			text += " " + err.Error()
		} else {
			text += fmt.Sprintf(" %+v", in)
		}
		requests = append(requests, text+" "+req.secret)
	}
}

// FuzzReader checks for any input that reading it ends without a panic, within the limits
// of memory, and with the same requests however the input is cut into pieces. Unless the
// input is malformed, the next request after it must be understood.
func FuzzReader(f *testing.F) {
	for _, s := range []string{
		"ping\n", "reload\nforce:yes\n\nping\n", "echo text:\"a b\" n:1\nreload\nping", "echo\ntext:\"\\u00e4\\n\"\nlist:\nlist:x\n\n",
		"\r\n \t\nPING\r\n", "foo\n", "reload\nping\nreload force:maybe\n\n", "echo\n", "ping\x00\n", "echo text:a token:b\n\n",
		"echo\n" + strings.Repeat("list:x\n", 40) + "\n", strings.Repeat("x", 600), "echo\ntext:" + strings.Repeat("x", 500) + "\n\n",
		"echo twice\nforce:yes\n\necho\ttwice dry-run:yes\nreload\nECHO  Twice\n", "reload\necho twice now\n",
	} {
		f.Add([]byte(s), 7)
	}
	lim := Limits{Line: 512, Arguments: 20, Request: 1024, Memory: 1 << 20}.orDefaults()
	f.Fuzz(func(t *testing.T, data []byte, size int) {
		whole, err := read(data, math.MaxInt, lim)
		if errors.Is(err, errors.ErrUnsupported) {
			t.Fatal(err)
		}
		parts, perr := read(data, max(1, size), lim)
		if fmt.Sprint(whole) != fmt.Sprint(parts) || err.Error() != perr.Error() {
			t.Fatalf("as a whole %q, %v; in pieces of %d %q, %v", whole, err, size, parts, perr)
		}
		var closing closingError
		if errors.As(err, &closing) && !strings.HasPrefix(closing.text, "the request is incomplete") {
			return
		}
		more := append(bytes.Clone(data), "\n\necho\ntext:next\nn:5\n\n"...)
		again, err := read(more, math.MaxInt, lim)
		if !errors.Is(err, io.EOF) {
			if errors.As(err, &closing) && closing.code == 400 && !bytes.HasSuffix(data, []byte("\n")) {
				return // its last line, which has no end, was malformed
			}
			t.Fatalf("with a request after it: %v", err)
		}
		if last := again[len(again)-1]; last != "echo &{Text:next N:5 List:[]} " {
			t.Fatalf("the request after it is understood as %q", last)
		}
	})
}
