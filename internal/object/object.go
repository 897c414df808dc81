// Package object writes JSON objects member by member. The result has the same bytes as package
// json writes for a struct with these members, but package json takes several times as long. It is
// for what the daemon stores very often.
package object

import (
	"encoding/base64"
	"encoding/json"
	"strconv"
	"time"
)

// A Writer writes one object. Most methods leave out a member whose value is zero or empty, as
// the options omitempty and omitzero do. Those that begin with Put always write it.
type Writer struct {
	buf []byte
	err error
}

// Begin returns a writer that appends an object to buf.
func Begin(buf []byte) Writer { return Writer{buf: append(buf, '{')} }

// End ends the object, and returns the buffer. The error is that of the first member that could
// not be written.
func (w *Writer) End() ([]byte, error) { return append(w.buf, '}'), w.err }

// name writes the name of the next member, which needs no escapes.
func (w *Writer) name(name string) {
	if w.buf[len(w.buf)-1] != '{' { // no value ends in that
		w.buf = append(w.buf, ',')
	}
	w.buf = append(w.buf, '"')
	w.buf = append(w.buf, name...)
	w.buf = append(w.buf, '"', ':')
}

// PutText writes a text.
func (w *Writer) PutText(name, text string) {
	w.name(name)
	w.text(text)
}

// Text writes a text, unless it is empty.
func (w *Writer) Text(name, text string) {
	if text != "" {
		w.PutText(name, text)
	}
}

// Texts writes a list of texts, unless it is empty.
func (w *Writer) Texts(name string, texts []string) {
	if len(texts) == 0 {
		return
	}
	w.name(name)
	w.buf = append(w.buf, '[')
	for i, text := range texts {
		if i > 0 {
			w.buf = append(w.buf, ',')
		}
		w.text(text)
	}
	w.buf = append(w.buf, ']')
}

// text writes a text. Package json writes those that need escapes.
func (w *Writer) text(text string) {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			w.other(text)
			return
		}
	}
	w.buf = append(w.buf, '"')
	w.buf = append(w.buf, text...)
	w.buf = append(w.buf, '"')
}

// PutNumber writes a number.
func (w *Writer) PutNumber(name string, n int64) {
	w.name(name)
	w.buf = strconv.AppendInt(w.buf, n, 10)
}

// Number writes a number, unless it is 0.
func (w *Writer) Number(name string, n int64) {
	if n != 0 {
		w.PutNumber(name, n)
	}
}

// Unsigned writes a number, unless it is 0.
func (w *Writer) Unsigned(name string, n uint64) {
	if n != 0 {
		w.name(name)
		w.buf = strconv.AppendUint(w.buf, n, 10)
	}
}

// Optional writes a number, unless the pointer to it is nil.
func Optional[T ~int | ~int64](w *Writer, name string, n *T) {
	if n != nil {
		w.PutNumber(name, int64(*n))
	}
}

// Flag writes true, unless it is not set.
func (w *Writer) Flag(name string, set bool) {
	if set {
		w.name(name)
		w.buf = append(w.buf, "true"...)
	}
}

// PutTime writes a time.
func (w *Writer) PutTime(name string, t time.Time) {
	w.name(name)
	w.buf = append(w.buf, '"')
	var err error
	if w.buf, err = t.AppendText(w.buf); err != nil {
		w.fail(err)
	}
	w.buf = append(w.buf, '"')
}

// Time writes a time, unless it is the zero time.
func (w *Writer) Time(name string, t time.Time) {
	if !t.IsZero() {
		w.PutTime(name, t)
	}
}

// Bytes writes bytes in base64, unless there are none.
func (w *Writer) Bytes(name string, b []byte) {
	if len(b) > 0 {
		w.name(name)
		w.buf = append(w.buf, '"')
		w.buf = base64.StdEncoding.AppendEncode(w.buf, b)
		w.buf = append(w.buf, '"')
	}
}

// PutOther has package json write a value. It is for what few objects have.
func (w *Writer) PutOther(name string, v any) {
	w.name(name)
	w.other(v)
}

// Pointer has package json write what a pointer points to, unless it is nil.
func Pointer[T any](w *Writer, name string, v *T) {
	if v != nil {
		w.PutOther(name, v)
	}
}

func (w *Writer) other(v any) {
	data, err := json.Marshal(v)
	if err != nil {
		w.fail(err)
	}
	w.buf = append(w.buf, data...)
}

func (w *Writer) fail(err error) {
	if w.err == nil {
		w.err = err
	}
}

// PutObject writes an object. The function writes its members.
func (w *Writer) PutObject(name string, members func()) {
	w.name(name)
	w.buf = append(w.buf, '{')
	members()
	w.buf = append(w.buf, '}')
}

// Objects writes a list of n objects, unless n is 0. The function writes the members of the i-th.
func (w *Writer) Objects(name string, n int, members func(i int)) {
	if n == 0 {
		return
	}
	w.name(name)
	w.buf = append(w.buf, '[')
	for i := range n {
		if i > 0 {
			w.buf = append(w.buf, ',')
		}
		w.buf = append(w.buf, '{')
		members(i)
		w.buf = append(w.buf, '}')
	}
	w.buf = append(w.buf, ']')
}
