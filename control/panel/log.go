package panel

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"activationd/control"
	"activationd/internal/fault"
)

const (
	pageLines = 500       // how many lines a page shows
	logBytes  = 128 << 10 // in how many bytes they must be
	logBehind = 1 << 20   // how far a page that follows may be behind before it leaves something out
	logBefore = 16 << 10  // how many bytes before a place are shown with it
	logHits   = 200       // how many lines a search shows
	logSearch = 64 << 20  // in how many bytes it looks before it asks whether to go on
)

// A logView is a part of the output of one attempt.
type logView struct {
	Attempt *control.Attempt // nil: there is none yet
	Key     string           // of the attempt, as in addresses: activate.1
	Empty   string           // why there is nothing to show
	Lines   []logLine
	Size    int64
	tail    logTail
	Live    bool   // more may come: of this attempt, or of others
	Over    bool   // nothing more comes
	More    string // the address of what comes after Lines
	Link    string // the address of a line, without its place
	Text    string // the address of all of it as text

	First, Earlier, Later, Last string // addresses of other parts
	Whole                       string // the address of its end
	Placed                      bool   // it is around a place
	Keep                        []pair // the arguments that a search keeps
	Find                        string // what is searched for
	On                          string // the address of where the search goes on
	Looked                      int64  // the place at which it stopped
}

// Ends reports whether the last line is the last one of the output, which is shown first then.
func (l logView) Ends() bool { return l.Find == "" && !l.Placed }

// Title says which attempt it is of: "activate, attempt 2", or of a service "run 7".
func (l logView) Title() string { return attemptTitle(l.Attempt.Phase, l.Attempt.N) }

func attemptTitle(phase string, n int) string {
	if phase == "serve" {
		return "run " + strconv.Itoa(n)
	}
	return phase + ", attempt " + strconv.Itoa(n)
}

// A logLine is one line, or something that stands between lines.
type logLine struct {
	At    int64 // where it begins, in bytes
	N     int   // its number; 0: it is not known
	Spans []logSpan
	Open  bool // more of it may come

	Head string // not empty: the title of the attempt whose lines follow
	Gap  string // not empty: a sentence about lines that are not here
	pen  pen    // with which it begins
}

// Numbered is what stands before a line: its number, or else its place.
func (l logLine) Numbered() string {
	if l.N > 0 {
		return strconv.Itoa(l.N)
	}
	return "@" + strconv.FormatInt(l.At, 10)
}

// errRead ends a stream of which enough was read.
var errRead = errors.New("enough was read")

// readLog reads output, piece by piece, until take wants no more of it. It gets the reply's line, its
// bytes and the place after them.
func (p *Panel) readLog(ctx context.Context, c control.Caller, in control.LogIn, take func(out *control.LogOut, data []byte, end int64) bool) error {
	op := p.registry.Lookup("log")
	in.Follow = true // replies that follow say where their pieces are
	err := op.Stream(ctx, c, &in, func(line any) error {
		out, ok := line.(control.LogOut)
		if !ok {
			return fmt.Errorf("log: a line is %T: %w", line, fault.Internal)
		}
		data, err := logData(&out)
		if err != nil {
			return err
		}
		if !take(&out, data, placeOf(out.Next)) {
			return errRead
		}
		return nil
	})
	if errors.Is(err, errRead) {
		return nil
	}
	return err
}

// placeOf returns the number of bytes in a place, phase.attempt.bytes.
func placeOf(next string) int64 {
	n, _ := strconv.ParseInt(next[strings.LastIndexByte(next, '.')+1:], 10, 64)
	return n
}

// logOf returns the part of an activation's output that an address asks for: its end, what is
// around a place, or the lines with a text.
func (p *Panel) logOf(v *view, it *control.Detail) (l logView, err error) {
	ctx, q, path := v.r.Context(), v.r.URL.Query(), p.base+v.r.URL.EscapedPath()
	in := control.LogIn{ID: it.ID, Lines: "0"}
	chosen := q.Get("log")
	if chosen != "" {
		in.Phase, in.Attempt, _ = strings.Cut(chosen, ".")
	}
	err = p.readLog(ctx, v.Caller, in, func(out *control.LogOut, _ []byte, end int64) bool {
		l.Attempt, l.Size, l.Key = out.Attempt, end, out.Phase+"."+strconv.Itoa(out.N)
		if out.Activation != nil {
			l.Empty, l.Key = "Nothing has been written yet.", ""
		}
		return false
	})
	if fault.Of(err) == fault.NotFound || fault.Of(err) == fault.Denied {
		l.Empty = sentence(control.OneLine(fault.Text(err)))
		err = nil
	}
	l.Live = it.Outcome == "" && l.Key != "" && (chosen == "" || l.Attempt != nil && l.Attempt.Ended.IsZero())
	if err != nil || l.Key == "" {
		return l, err
	}
	in = control.LogIn{ID: it.ID, Phase: l.Attempt.Phase, Attempt: strconv.Itoa(l.Attempt.N)}
	l.Link = path + "?log=" + l.Key + "&at="
	l.Whole = path + "?log=" + l.Key + "#log"
	l.Text = p.base + "/activations/" + segment(it.ID) + "/log.txt?log=" + l.Key
	l.Keep = []pair{{"log", l.Key}}
	at, err := logPlace(q.Get("at"), l.Size)
	if err != nil {
		return l, err
	}
	if l.Find = q.Get("find"); l.Find != "" {
		err = p.search(ctx, v.Caller, in, &l, at)
	} else {
		err = p.window(ctx, v.Caller, in, &l, at, q.Get("at") != "")
	}
	if l.Ends() {
		l.tail.key, l.tail.path, l.tail.only = l.Key, path, chosen != ""
		l.More = p.moreOf(it.ID, &l.tail)
	}
	return l, err
}

// logPlace returns the place that an address names: the number of a byte, or a share of the output
// such as 50%.
func logPlace(text string, size int64) (int64, error) {
	if text == "" {
		return 0, nil
	}
	number, percent := strings.CutSuffix(strings.TrimSpace(text), "%")
	at, err := strconv.ParseInt(number, 10, 64)
	if err != nil || at < 0 || percent && at > 100 {
		return 0, fmt.Errorf("at: want the number of a byte, or a share of the output such as 50%%, have %.40q: %w", text, fault.Invalid)
	}
	if percent {
		at = int64(float64(size) * float64(at) / 100)
	}
	return at, nil
}

// window reads the lines around a place, or the last ones.
func (p *Panel) window(ctx context.Context, c control.Caller, in control.LogIn, l *logView, at int64, placed bool) error {
	from, to := max(0, l.Size-logBytes), l.Size
	if placed {
		from = max(0, min(at, l.Size)-logBefore)
		to = min(l.Size, from+logBytes)
	}
	data, begin, err := p.readBytes(ctx, c, in, l.Key, from, to)
	if err != nil {
		return err
	}
	if i := bytes.IndexByte(data, '\n'); begin > 0 && i >= 0 && i+1 < len(data) { // it begins within a line
		data, begin = data[i+1:], begin+int64(i)+1
	}
	number := 0
	if begin == 0 {
		number = 1
	}
	all, after := paintLines(data, begin, number, pen{})
	first := len(all) - pageLines
	if placed {
		if i := slices.IndexFunc(all, func(line logLine) bool { return line.At >= at }); i >= 0 {
			first = i - pageLines/5
		}
	}
	first = max(0, first)
	l.Lines = all[first:min(len(all), first+pageLines)]
	end := begin + int64(len(data))
	if n := first + len(l.Lines); n < len(all) {
		end = all[n].At
	}
	l.tail.after(l.Lines, after, l.Attempt.Ended.IsZero() && len(data) > 0 && data[len(data)-1] != '\n')
	if len(l.Lines) > 0 && l.Lines[0].At > 0 {
		l.First = l.Link + "0#log"
		l.Earlier = l.Link + strconv.FormatInt(max(0, l.Lines[0].At-logBytes/2), 10) + "#log"
	}
	l.Placed = placed
	if placed && end < l.Size {
		l.Later = l.Link + strconv.FormatInt(end, 10) + "#log"
		l.Last = l.Whole
	}
	l.Live = l.Live && (!placed || end >= l.Size)
	return nil
}

// readBytes reads the bytes of an attempt's output between two places. What is gone stands in it as a
// text, so begin is only what the bytes say of themselves.
func (p *Panel) readBytes(ctx context.Context, c control.Caller, in control.LogIn, key string, from, to int64) (data []byte, begin int64, err error) {
	if from >= to {
		return nil, from, nil
	}
	end := from
	in.Next = key + "." + strconv.FormatInt(from, 10)
	err = p.readLog(ctx, c, in, func(_ *control.LogOut, piece []byte, at int64) bool {
		data, end = append(data, piece...), at
		return at < to
	})
	if most := to - from + 64<<10; int64(len(data)) > most {
		data = data[int64(len(data))-most:]
	}
	return data, max(0, end-int64(len(data))), err
}

// search looks for a text, whatever its case, from a place on.
func (p *Panel) search(ctx context.Context, c control.Caller, in control.LogIn, l *logView, from int64) error {
	want := strings.ToLower(l.Find)
	var rest []byte
	begin, n := from, 0 // of rest; lines before it
	look := func(line []byte) {
		n++
		if text := stripped(string(line)); strings.Contains(strings.ToLower(text), want) {
			found := logLine{At: begin, Spans: marked(text, l.Find)}
			if from == 0 {
				found.N = n
			}
			l.Lines = append(l.Lines, found)
		}
		begin += int64(len(line)) + 1
	}
	if from >= l.Size {
		return nil
	}
	in.Next = l.Key + "." + strconv.FormatInt(from, 10)
	err := p.readLog(ctx, c, in, func(_ *control.LogOut, piece []byte, end int64) bool {
		rest = append(rest, piece...)
		begin = max(0, end-int64(len(rest)))
		for len(l.Lines) < logHits {
			i := bytes.IndexByte(rest, '\n')
			if i < 0 {
				break
			}
			look(rest[:i])
			rest = rest[i+1:]
		}
		if len(rest) > logBytes { // a line without an end
			look(rest)
			begin--
			rest = nil
		}
		return end < l.Size && len(l.Lines) < logHits && end-from < logSearch
	})
	if err != nil {
		return err
	}
	if begin+int64(len(rest)) >= l.Size && len(l.Lines) < logHits && len(rest) > 0 {
		look(rest)
	}
	if l.Looked = min(begin, l.Size); l.Looked < l.Size {
		l.On = l.Link + strconv.FormatInt(l.Looked, 10) + "&find=" + url.QueryEscape(l.Find) + "#log"
	}
	return nil
}

// logText serves the whole output of an attempt as it is.
func (p *Panel) logText(w http.ResponseWriter, r *http.Request, c Client) {
	in := control.LogIn{ID: r.PathValue("id")}
	in.Phase, in.Attempt, _ = strings.Cut(r.URL.Query().Get("log"), ".")
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	begun := false
	err := p.registry.Lookup("log").Stream(r.Context(), c.Caller, &in, func(line any) error {
		out, ok := line.(control.LogOut)
		if !ok {
			return fmt.Errorf("log: a line is %T: %w", line, fault.Internal)
		}
		data, err := logData(&out)
		if err == nil && !begun {
			h.Set("Content-Type", "text/plain; charset=utf-8")
			begun = true
		}
		if err == nil {
			_, err = w.Write(data)
		}
		return err
	})
	switch {
	case err != nil && begun:
		panic(http.ErrAbortHandler) // so that what has come is not taken for all of it
	case err != nil:
		p.fail(w, r, c, page{name: "error"}, err)
	}
}

// logData returns the bytes of a piece of output.
func logData(out *control.LogOut) ([]byte, error) {
	if out.Base64 != "" {
		return base64.StdEncoding.DecodeString(out.Base64)
	}
	return []byte(out.Text), nil
}
