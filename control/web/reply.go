package web

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"activationd/control"
	"activationd/internal/fault"
)

// A writer writes a reply in pieces, as fast as the client reads. What is in the first piece is
// not sent before it is full, so an error up to then can still be the reply.
type writer struct {
	w     http.ResponseWriter
	lim   Limits
	kind  string // the Content-Type
	code  int    // the status; 0: 200
	buf   bytes.Buffer
	begun bool
}

// piece is how many bytes are sent at a time.
const piece = 64 << 10

// full sends what there is, if that is enough for a piece.
func (w *writer) full() error {
	if w.buf.Len() < piece {
		return nil
	}
	return w.send()
}

// send sends what there is.
func (w *writer) send() error {
	if !w.begun {
		w.begun = true
		w.w.Header().Set("Content-Type", w.kind)
		if w.code != 0 {
			w.w.WriteHeader(w.code)
		}
	}
	c := http.NewResponseController(w.w)
	if err := c.SetWriteDeadline(time.Now().Add(w.lim.Write)); err != nil {
		return err
	}
	if _, err := w.buf.WriteTo(w.w); err != nil {
		return err
	}
	return c.Flush()
}

// reply writes the reply of an operation that has not failed.
func (l *listening) reply(w http.ResponseWriter, r *http.Request, op *control.Op, page *page, a control.Answer) error {
	out := &writer{w: w, lim: l.lim, kind: "application/json"}
	enc := json.NewEncoder(&out.buf)
	enc.SetEscapeHTML(false)
	n, next, first := 0, "", []byte(nil)
	if !op.One {
		out.buf.WriteString(`{"summary":`)
		if err := enc.Encode(summary(a.Summary)); err != nil {
			return err
		}
		out.buf.WriteString(`,"items":[`)
	}
	if a.Lines != nil {
		for line, err := range a.Lines {
			if err == nil && n > 0 {
				if op.One {
					break
				}
				out.buf.WriteByte(',')
			}
			n++
			if begin := out.buf.Len(); err == nil {
				if err = enc.Encode(line); err == nil {
					if n == 1 && op.Created != "" && !op.One {
						first = bytes.Clone(out.buf.Bytes()[begin:])
					}
					next, err = page.cursor(n, out.buf.Bytes()[begin:])
				}
			}
			switch {
			case err != nil || !op.One:
			case r.Method == http.MethodGet || r.Method == http.MethodHead:
				if known(w, r, out.buf.Bytes()) {
					w.WriteHeader(http.StatusNotModified)
					return nil
				}
			default:
				out.code, err = l.changed(w, r, op, out.buf.Bytes())
				if p, ok := line.(pending); ok && p.Pending() {
					out.code = http.StatusAccepted
				}
			}
			switch {
			case err != nil && !out.begun:
				return err
			case err != nil:
				l.Log.Error("a reply ended early", "command", op.Name, "err", err)
				panic(http.ErrAbortHandler)
			}
			if out.full() != nil {
				panic(http.ErrAbortHandler) // the client does not read it
			}
		}
	}
	switch {
	case !op.One:
		if op.Created != "" && !out.begun {
			if n == 1 {
				if _, err := l.changed(w, r, op, first); err != nil {
					return err
				}
			}
			if created, _ := summary(a.Summary)["created"].(int64); created > 0 {
				out.code = http.StatusCreated
			}
		}
		out.buf.WriteByte(']')
		if next != "" {
			out.buf.WriteString(`,"next":"` + next + `"`)
		}
		out.buf.WriteString("}\n")
	case n == 0: // it has only a summary
		if err := enc.Encode(summary(a.Summary)); err != nil {
			return err
		}
	}
	if !out.begun {
		w.Header().Set("Content-Length", strconv.Itoa(out.buf.Len()))
	}
	if out.send() != nil {
		panic(http.ErrAbortHandler)
	}
	return nil
}

// A pending is a reply that may say that what was asked for goes on.
type pending interface{ Pending() bool }

// changed sets the headers of the reply to a change: what was created, and the version of what
// was changed. It returns the status.
func (l *listening) changed(w http.ResponseWriter, r *http.Request, op *control.Op, body []byte) (status int, err error) {
	if version := versionOf(body); version != "" {
		known(w, r, body)
	}
	if op.Created == "" {
		return http.StatusOK, nil
	}
	var fields map[string]any
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	if err := dec.Decode(&fields); err != nil {
		return 0, err
	}
	segments := strings.Split(op.Created, "/")
	for i, s := range segments {
		name, ok := strings.CutPrefix(s, "{")
		if !ok {
			continue
		}
		name = strings.TrimSuffix(name, "}")
		if value := fields[name]; value != nil {
			segments[i] = url.PathEscape(fmt.Sprint(value))
		} else {
			segments[i] = url.PathEscape(r.PathValue(name))
		}
	}
	w.Header().Set("Location", l.Base+Prefix+strings.Join(segments, "/"))
	if fields["duplicate"] == true { // it was there already
		return http.StatusOK, nil
	}
	return http.StatusCreated, nil
}

// summary makes an object of the text of a summary: "added=3 reason=x" is {"added": 3,
// "reason": "x"}. A word that is no pair is part of "text".
func summary(text string) map[string]any {
	pairs := make(map[string]any)
	var rest []string
	for word := range strings.FieldsSeq(text) {
		name, value, ok := strings.Cut(word, "=")
		if !ok || name == "" {
			rest = append(rest, word)
			continue
		}
		if n, err := strconv.ParseInt(value, 10, 64); err == nil && strconv.FormatInt(n, 10) == value {
			pairs[name] = n
		} else {
			pairs[name] = value
		}
	}
	if rest != nil {
		pairs["text"] = strings.Join(rest, " ")
	}
	return pairs
}

func (l *listening) healthz(w http.ResponseWriter, _ *http.Request) {
	writePlain(w, http.StatusOK, "ok")
}

// readyz says whether the daemon can do its work. Paused, it can: that is what its
// administrator wants.
func (l *listening) readyz(w http.ResponseWriter, r *http.Request) {
	if l.Ready != nil {
		if err := l.Ready(r.Context()); err != nil {
			writePlain(w, http.StatusServiceUnavailable, fault.Text(err))
			return
		}
	}
	writePlain(w, http.StatusOK, "ok")
}

func (l *listening) version(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]string{"version": l.Version, "api": strings.TrimPrefix(Prefix, "/api/")})
}

func writePlain(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	fmt.Fprintln(w, text)
}
