package web

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"activationd/control"
	"activationd/internal/fault"
)

// A problem is the body of a reply to a request that failed: RFC 9457.
type problem struct {
	Type   string `json:"type"` // urn:activationd:problem:KIND
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"` // says what to do
	Field  string `json:"field,omitempty"`
	// RetryAfter is after how many seconds the same request may succeed.
	RetryAfter int `json:"retry_after,omitempty"`
}

// kinds has the kinds of problems by their status. The status is that of [control.Code].
var kinds = map[int]struct{ kind, title string }{
	400: {"invalid", "The request can never succeed as it is"},
	401: {"unauthorized", "The request needs a token"},
	403: {"denied", "The caller may not do this"},
	404: {"not-found", "It is not there"},
	405: {"method", "This method is not possible here"},
	406: {"not-acceptable", "It is not possible in the form that is asked for"},
	408: {"timeout", "The request did not arrive in time"},
	409: {"conflict", "It is at odds with what is there now"},
	412: {"changed", "It has changed since it was read"},
	413: {"too-large", "The request is too large"},
	415: {"media-type", "The body is in a form that is not understood"},
	422: {"key", "The Idempotency-Key was used for another request"},
	429: {"too-many", "The caller makes too many requests"},
	500: {"internal", "The daemon has failed"},
	503: {"unavailable", "It is not possible now"},
	507: {"full", "There is no more room"},
}

// problemOf returns the problem of an error, with the status and the text of the reply.
func problemOf(err error, code int, text string) *problem {
	k, ok := kinds[code]
	if !ok {
		k.kind, k.title = "status-"+strconv.Itoa(code), http.StatusText(code)
	}
	p := &problem{Type: "urn:activationd:problem:" + k.kind, Title: k.title, Status: code, Detail: text}
	var known *control.ReplyError
	switch {
	case errors.As(err, &known) && known.RetryAfter > 0:
		p.RetryAfter = known.RetryAfter
	case code == http.StatusServiceUnavailable || code == http.StatusTooManyRequests:
		p.RetryAfter = 1
	}
	return p
}

// write writes the reply.
func (p *problem) write(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	if p.Status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", `Bearer realm="activationd"`)
	}
	if p.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(p.RetryAfter))
	}
	if b, ok := r.Body.(*body); ok && !b.ended { // net/http would wait for the rest of it before it sends a reply
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(atOnce)) // an error means that the reply is only recorded
	}
	w.WriteHeader(p.Status)
	if r.Method != http.MethodHead {
		_ = json.NewEncoder(w).Encode(p) // an error means that the client has gone
	}
}

// writeProblem replies with an error that no operation has caused.
func writeProblem(w http.ResponseWriter, r *http.Request, err error) {
	problemOf(err, control.Code(err), fault.Text(err)).write(w, r)
}
