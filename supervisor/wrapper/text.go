package wrapper

import (
	"errors"
	"strconv"
	"strings"
	"time"
)

// All files in the run directory that are read again have one form: a first
// line with the form's name and version, then lines with a key, a space and a
// value, then a line "end". Without that last line a file is
// incomplete. Values are words, numbers, or quoted as in Go.

// A text is such a file as it is being written.
type text struct{ b []byte }

// smallText is the size of most buffers for text. They have one size, because the first
// object of each size occupies two pages of memory.
const smallText = 512

func newText(head string, size int) *text {
	return &text{append(append(make([]byte, 0, size), head...), '\n')}
}

func (t *text) key(k string) { t.b = append(append(t.b, k...), ' ') }

func (t *text) str(k, v string) {
	if v != "" {
		t.key(k)
		t.b = append(strconv.AppendQuote(t.b, v), '\n')
	}
}

func (t *text) int(k string, v int64) {
	t.key(k)
	t.b = append(strconv.AppendInt(t.b, v, 10), '\n')
}

func (t *text) bool(k string, v bool) {
	if v {
		t.int(k, 1)
	}
}

// time writes nanoseconds since 1970, which need no zone and no parser.
func (t *text) time(k string, v time.Time) {
	if !v.IsZero() {
		t.int(k, v.UnixNano())
	}
}

func (t *text) end() []byte { return append(t.b, "end\n"...) }

// A line is one key and its value, as they stand in the file.
type line struct {
	key, value string
	bad        *error // the first error in the line
}

// parseText checks the first and the last line and calls each for the lines in
// between. If each returns false, it does not know the key. That is an error, because
// what a newer writer asked for must not be ignored.
func parseText(data, head string, each func(line) bool) error {
	data, ok := strings.CutPrefix(data, head+"\n")
	if !ok {
		first, _, _ := strings.Cut(data, "\n")
		return errors.New("want " + strconv.Quote(head) + ", is " + strconv.Quote(cut(first, 80)))
	}
	for n := 2; ; n++ {
		l, rest, ok := strings.Cut(data, "\n")
		if !ok {
			return errIncomplete
		}
		if l == "end" && rest == "" {
			return nil
		}
		var bad error
		k, v, _ := strings.Cut(l, " ")
		if !each(line{k, v, &bad}) {
			bad = errors.New("unknown key " + strconv.Quote(cut(k, 80)))
		}
		if bad != nil {
			return errors.New("line " + strconv.Itoa(n) + ": " + bad.Error())
		}
		data = rest
	}
}

var errIncomplete = errors.New("incomplete: the last line is missing")

func cut(s string, n int) string { return s[:min(n, len(s))] }

func (l line) fault(err error) {
	if err != nil && *l.bad == nil {
		*l.bad = errors.New(l.key + ": " + err.Error())
	}
}

func (l line) str() string {
	s, err := strconv.Unquote(l.value)
	if err == nil && (len(l.value) == 0 || l.value[0] != '"') {
		err = strconv.ErrSyntax
	}
	l.fault(err)
	return s
}

func (l line) int64() int64 {
	i, err := strconv.ParseInt(l.value, 10, 64)
	l.fault(err)
	return i
}

func (l line) int() int                { return int(l.int64()) }
func (l line) bool() bool              { return l.int64() != 0 }
func (l line) duration() time.Duration { return time.Duration(l.int64()) }
func (l line) time() time.Time         { return time.Unix(0, l.int64()) }
