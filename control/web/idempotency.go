package web

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"activationd/control"
	"activationd/internal/fault"
	"activationd/store/once"
)

// keyHeader has the key under which a request is carried out once; replayedHeader says that a
// reply is that to an earlier request.
const (
	keyHeader      = "Idempotency-Key"
	replayedHeader = "Idempotency-Replayed"
)

// maxKey is the longest key, in bytes.
const maxKey = 255

// keyOf returns the key of a request; empty: it has none.
func (l *listening) keyOf(r *http.Request, op *control.Op) (string, error) {
	keys := r.Header.Values(keyHeader)
	if len(keys) == 0 {
		return "", nil
	}
	invalid := func(text string) error { return fmt.Errorf("%s: %s: %w", keyHeader, text, fault.Invalid) }
	switch key := keys[0]; {
	case len(keys) > 1:
		return "", invalid("given twice")
	case key == "" || len(key) > maxKey || strings.ContainsFunc(key, func(c rune) bool { return c < ' ' || c > '~' }):
		return "", invalid(fmt.Sprintf("want up to %d printable ASCII characters, such as a UUID", maxKey))
	case r.Method == http.MethodGet || r.Method == http.MethodHead:
		return "", invalid("a " + r.Method + " changes nothing and can be repeated without a key; leave it out")
	case op.Streams() && !op.One:
		return "", invalid(op.Name + " replies as long as it is connected, so its reply cannot be kept; leave it out")
	case l.Keys == nil:
		return "", invalid("this server keeps no keys; leave it out")
	default:
		return key, nil
	}
}

// digest is the same for two requests if they are the same. Read has what else is read of them.
func digest(r *http.Request, body []byte, read ...string) string {
	h := sha256.New()
	for _, part := range append([]string{r.Method, r.URL.EscapedPath(), r.URL.RawQuery, r.Header.Get("If-Match")}, read...) {
		fmt.Fprintf(h, "%d %s\n", len(part), part)
	}
	h.Write(body)
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// once carries out a call under its key.
func (l *listening) once(w http.ResponseWriter, r *http.Request, c *call) error {
	who := fmt.Sprintf("%s %s %d %s", c.caller.Kind, c.caller.Name, c.caller.UID, c.caller.Role)
	ctx, use, err := l.Keys.Begin(r.Context(), who, c.key, c.in.digest)
	if err != nil {
		return l.again(w, err)
	}
	r = r.WithContext(ctx)
	rec := &recorder{header: make(http.Header)}
	var answer *once.Answer // nil if run panics: the client has gone, and the reply is not known
	end := func() {
		if err := use.End(context.WithoutCancel(ctx), answer, answer != nil && answer.Status < 300); err != nil {
			l.Log.Error("the answer to a request with a key cannot be kept", "command", c.op.Name, "err", err)
		}
	}
	defer func() {
		if answer == nil {
			end()
		}
	}()
	err = l.run(rec, r, c)
	var done *once.DoneError
	switch {
	case errors.Is(err, once.ErrOther), errors.As(err, &done):
		return l.again(w, err)
	case err != nil:
		l.fail(rec, r, c.op.Name, err)
	}
	answer = rec.answer()
	end()
	return l.send(w, answer)
}

// again replies to a request whose key was used before.
func (l *listening) again(w http.ResponseWriter, err error) error {
	var done *once.DoneError
	switch {
	case errors.Is(err, once.ErrOther):
		return &control.ReplyError{Code: http.StatusUnprocessableEntity, Description: keyHeader + ": " + fault.Text(err)}
	case errors.As(err, &done) && done.Answer != nil:
		w.Header().Set(replayedHeader, "true")
		return l.send(w, done.Answer)
	}
	return err
}

// send writes an answer.
func (l *listening) send(w http.ResponseWriter, a *once.Answer) error {
	for name, value := range a.Header {
		w.Header().Set(name, value)
	}
	if err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(l.lim.Write)); err != nil {
		return err
	}
	w.WriteHeader(a.Status)
	if _, err := w.Write(a.Body); err != nil {
		panic(http.ErrAbortHandler)
	}
	return nil
}

// A recorder keeps a reply.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header { return r.header }

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
}

func (r *recorder) Write(b []byte) (int, error) {
	r.WriteHeader(http.StatusOK)
	return r.body.Write(b)
}

// FlushError and SetWriteDeadline are for [http.ResponseController].
func (r *recorder) FlushError() error { return nil }

// SetWriteDeadline does nothing: memory is never late.
func (r *recorder) SetWriteDeadline(time.Time) error { return nil }

func (r *recorder) answer() *once.Answer {
	a := &once.Answer{Status: max(r.status, http.StatusOK), Header: make(map[string]string, len(r.header)), Body: r.body.Bytes()}
	for name := range r.header {
		a.Header[name] = r.header.Get(name)
	}
	if a.Status == http.StatusOK && r.status == 0 {
		a.Header["Content-Length"] = "0"
	}
	return a
}
