package ops

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"io/fs"
	"runtime"
	"unicode/utf8"

	"activationd/activation"
	"activationd/control"
)

const (
	logPiece = 64 << 10 // the largest number of bytes of output in a line of the reply
	logLine  = 1 << 20  // the longest line of output that a pattern is compared with as a whole
)

// A logCopy sends the output of one attempt.
type logCopy struct {
	w     *logWish
	id    string
	log   *activation.Log
	lines int // only so many lines of what is there when it is opened, the last ones
	send  func(control.LogOut) error
	head  control.LogOut     // facts about the attempt, which are sent together with the next piece of output
	said  bool               // something was sent
	file  *activation.Output // nil: there is none yet
	at    int64              // up to where the output was sent, or compared with the pattern
	skip  int                // how many more matching lines are not sent
	buf   []byte
}

func newLogCopy(w *logWish, id string, l *activation.Log, send func(control.LogOut) error) *logCopy {
	o := &logCopy{w: w, id: id, log: l, lines: w.lines, send: send}
	if o.resumes() { // the client knows the attempt
		o.lines, o.said = everyLine, true
		return o
	}
	o.head.Attempt = new(attempt(l.Attempt))
	return o
}

// resumes reports whether the client has seen the beginning of the output.
func (o *logCopy) resumes() bool { return o.w.Next != "" && o.w.from.logKey == keyOf(o.log) }

// open opens the output, unless it is open, and finds where to begin.
func (o *logCopy) open(ctx context.Context) error {
	if o.file != nil {
		return nil
	}
	f, err := o.log.Open()
	if err != nil {
		return err
	}
	if err := o.begin(ctx, f); err != nil {
		f.Close()
		return err
	}
	o.file = f
	return nil
}

func (o *logCopy) close() {
	if o.file != nil {
		o.file.Close()
	}
}

// look has the watch watch the newest file of the output. Missing is as in
// [activation.Output].
func (o *logCopy) look(w *watch) (missing bool, err error) {
	for err == nil {
		if w.newest != o.file.Newest() {
			err = w.add(o.file.Newest())
		}
		if err == nil { // after add, as what happened before it gives no event
			missing, err = o.file.Look(o.at)
		}
		if w.newest == o.file.Newest() {
			break
		}
	}
	return missing, err
}

func (o *logCopy) begin(ctx context.Context, f *activation.Output) (err error) {
	if o.resumes() {
		o.at = f.Find(o.w.from.at)
	}
	if o.lines == everyLine {
		return nil
	}
	if o.w.match == nil {
		o.at, err = lastLines(f, f.Size(), o.lines)
		return err
	}
	matches := 0
	err = o.scan(ctx, io.NewSectionReader(f, 0, f.Size()), true, func(part []byte) error {
		o.matching(part, func([]byte) { matches++ })
		return nil
	})
	o.skip = max(0, matches-o.lines)
	return err
}

// copy sends the output from o.at on. What is incomplete at its end (a character, or with
// a pattern a line) is left for the next time, unless the output is complete.
func (o *logCopy) copy(ctx context.Context, complete bool) error {
	if o.file == nil {
		return nil
	}
	return o.scan(ctx, o.file, complete, func(part []byte) error {
		o.at += int64(len(part))
		if o.w.match != nil {
			var lines []byte
			o.matching(part, func(line []byte) {
				if o.skip == 0 {
					lines = append(lines, line...)
				} else {
					o.skip--
				}
			})
			part = lines
		}
		switch {
		case len(part) == 0:
			return nil
		case utf8.Valid(part):
			return o.line(control.LogOut{Text: string(part)})
		}
		return o.line(control.LogOut{Base64: base64.StdEncoding.EncodeToString(part)})
	})
}

// scan hands the content of r from o.at on to do, in parts that end where a character
// does, or with a pattern a line. Only the end of the content may be incomplete, if
// complete is set.
func (o *logCopy) scan(ctx context.Context, r io.ReaderAt, complete bool, do func(part []byte) error) error {
	if o.buf == nil {
		o.buf = make([]byte, logPiece)
	}
	for at := o.at; ctx.Err() == nil; runtime.Gosched() { // a pattern can take long
		n, err := r.ReadAt(o.buf, at)
		end := errors.Is(err, io.EOF)
		if err != nil && !end {
			return err
		}
		part := o.buf[:n]
		switch {
		case end && complete:
		case o.w.match == nil:
			part = part[:wholeRunes(part)]
		default:
			part = part[:bytes.LastIndexByte(part, '\n')+1]
			if len(part) > 0 || end {
				break
			}
			if len(o.buf) < logLine {
				o.buf = make([]byte, 2*len(o.buf))
				continue
			}
			part = o.buf
		}
		if len(part) > 0 {
			if err := do(part); err != nil {
				return err
			}
		}
		if end {
			return nil
		}
		at += int64(len(part))
	}
	return context.Cause(ctx)
}

// matching hands the lines of text that match the pattern to do, with their ends.
func (o *logCopy) matching(text []byte, do func(line []byte)) {
	for line := range bytes.Lines(text) {
		if o.w.match.Match(bytes.TrimSuffix(bytes.TrimSuffix(line, []byte{'\n'}), []byte{'\r'})) {
			do(line)
		}
	}
}

// line sends a line of the reply.
func (o *logCopy) line(out control.LogOut) error {
	key := keyOf(o.log)
	out.ID, out.Phase, out.N, out.Attempt, out.Others = o.id, key.phase, key.n, o.head.Attempt, o.head.Others
	if o.w.Follow {
		var place int64
		if o.file != nil {
			place = o.file.Place(o.at)
		} else if o.resumes() {
			place = o.w.from.at
		}
		out.Next = logPlace{key, place}.String()
	}
	o.head, o.said = control.LogOut{}, true
	return o.send(out)
}

// sendHead sends the facts about the attempt that were not sent with output. With a
// pattern, an attempt without a line that matches is not mentioned.
func (o *logCopy) sendHead() error {
	if o.head.Attempt == nil || o.w.match != nil && !o.said {
		return nil
	}
	return o.line(control.LogOut{})
}

// whole sends the output that is there.
func (o *logCopy) whole(ctx context.Context) error {
	if err := o.open(ctx); err != nil && !errors.Is(err, fs.ErrNotExist) { // not written yet, or its run directory was removed
		return err
	}
	defer o.close()
	if err := o.copy(ctx, true); err != nil {
		return err
	}
	return o.sendHead()
}

// lastLines returns where the last n lines of r begin. It reads r from its end, and only
// as much of it as it needs.
func lastLines(r io.ReaderAt, size int64, n int) (int64, error) {
	if n == 0 {
		return size, nil
	}
	buf := make([]byte, logPiece)
	for end := size; end > 0; {
		part := buf[:min(int64(len(buf)), end)]
		end -= int64(len(part))
		if k, err := r.ReadAt(part, end); k < len(part) {
			return 0, err
		}
		for i := len(part); i > 0; {
			i = bytes.LastIndexByte(part[:i], '\n')
			if next := end + int64(i) + 1; i >= 0 && next < size { // a line begins after it
				if n--; n == 0 {
					return next, nil
				}
			}
		}
	}
	return 0, nil
}

// wholeRunes returns the length of b without an incomplete character at its end.
func wholeRunes(b []byte) int {
	for i := 1; i < utf8.UTFMax && i <= len(b); i++ {
		if c := b[len(b)-i]; utf8.RuneStart(c) {
			if !utf8.FullRune(b[len(b)-i:]) {
				return len(b) - i
			}
			break
		}
	}
	return len(b)
}
