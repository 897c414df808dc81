package panel

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"activationd/control"
)

// A logTail is where the lines end that a page has of a log. A browser sends it back to get what comes after them.
type logTail struct {
	path string // of the page, for the addresses of lines
	key  string // of the attempt
	from int64  // where the first line begins that the page does not have as a whole
	seen int64  // up to where the page has the output
	n    int    // the number of the line at from; 0: it is not known
	pen  pen    // with which that line begins
	only bool   // it wants nothing of other attempts
}

// after moves the tail behind lines, which the line next comes after. If the last one is open, it is sent
// once more when more of it has come.
func (t *logTail) after(lines []logLine, next logLine, open bool) {
	t.from, t.seen, t.n, t.pen = next.At, next.At, next.N, next.pen
	if open && len(lines) > 0 {
		last := &lines[len(lines)-1]
		if last.Open = next.At-last.At < logBytes; last.Open {
			t.from, t.n, t.pen = last.At, last.N, last.pen
		}
	}
}

// moreOf returns the address of what comes after a tail.
func (p *Panel) moreOf(id string, t *logTail) string {
	q := url.Values{"page": {t.path}, "log": {t.key}}
	q.Set("from", strconv.FormatInt(t.from, 10))
	q.Set("seen", strconv.FormatInt(t.seen, 10))
	q.Set("n", strconv.Itoa(t.n))
	q.Set("pen", t.pen.code())
	if t.only {
		q.Set("only", "yes")
	}
	return p.base + "/activations/" + segment(id) + "/log.html?" + q.Encode()
}

// tailOf reads what moreOf has written. What a number cannot be is 0.
func (p *Panel) tailOf(q url.Values) (t logTail) {
	number := func(name string) int64 {
		n, _ := strconv.ParseInt(q.Get(name), 10, 64)
		return max(0, n)
	}
	t = logTail{path: p.local(q.Get("page")), key: q.Get("log"), seen: number("seen"), n: int(number("n")), only: q.Get("only") != ""}
	t.from = min(number("from"), t.seen)
	t.pen.set(q.Get("pen"))
	return t
}

// logPatience is how long the reply to a request for more output may take: front servers end those that are
// silent for a minute.
const logPatience = 25 * time.Second

// logMore serves the lines that come after those of a page, as soon as there is one.
func (p *Panel) logMore(w http.ResponseWriter, r *http.Request, c Client) {
	l, err := p.more(r.Context(), c.Caller, r.PathValue("id"), p.tailOf(r.URL.Query()))
	if err != nil {
		p.fail(w, r, c, page{name: "error"}, err)
		return
	}
	p.write(w, r, http.StatusOK, "log", "log-lines", l)
}

// more waits for output after a tail. What the page has of the line at the tail comes again.
func (p *Panel) more(ctx context.Context, c control.Caller, id string, t logTail) (l logView, err error) {
	if l.Lines, err = p.skip(ctx, c, id, &t); err != nil {
		return l, err
	}
	in := control.LogIn{ID: id, Next: t.key + "." + strconv.FormatInt(t.from, 10)}
	if t.only {
		in.Phase, in.Attempt, _ = strings.Cut(t.key, ".")
	}
	wait, cancel := context.WithTimeout(ctx, logPatience)
	defer cancel()
	var text []byte // from the tail on
	end, came, key := t.from, false, t.key
	err = p.readLog(wait, c, in, func(out *control.LogOut, data []byte, place int64) bool {
		if out.Activation != nil { // it says what the activation waits for, or how it ended
			return true
		}
		if now := out.Phase + "." + strconv.Itoa(out.N); now != t.key { // the next request is for its output
			l.paintMore(&t, text, end)
			l.Lines = append(l.Lines, logLine{Head: attemptTitle(out.Phase, out.N)})
			t, text, came = logTail{path: t.path, key: now, n: 1}, nil, true
			return false
		}
		text, end = append(text, data...), place
		came = came || end > t.seen
		return !came
	})
	late := errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil
	if err != nil && !late {
		return l, err
	}
	l.Over, l.Key, l.Link = !came && !late, key, t.path+"?log="+key+"&at="
	if came {
		l.paintMore(&t, text, end)
	}
	l.More = p.moreOf(id, &t)
	return l, nil
}

// paintMore adds the lines of a text that begins at a tail, and moves the tail behind them.
func (l *logView) paintMore(t *logTail, text []byte, end int64) {
	if len(text) == 0 {
		return
	}
	lines, next := paintLines(text, max(0, end-int64(len(text))), t.n, t.pen)
	t.after(lines, next, text[len(text)-1] != '\n')
	l.Lines = append(l.Lines, lines...)
}

// skip moves a tail that is far behind the end of its log, and returns a line that says so.
func (p *Panel) skip(ctx context.Context, c control.Caller, id string, t *logTail) (lines []logLine, err error) {
	in := control.LogIn{ID: id, Lines: "0"}
	in.Phase, in.Attempt, _ = strings.Cut(t.key, ".")
	err = p.readLog(ctx, c, in, func(_ *control.LogOut, _ []byte, end int64) bool {
		if end-t.seen > logBehind {
			from := end - logBytes
			lines = []logLine{{At: t.from, Gap: "This page did not follow fast enough: " + amount(from-t.from) + " are left out here."}}
			t.from, t.seen, t.n, t.pen = from, from, 0, pen{}
		}
		return false
	})
	return lines, err
}
