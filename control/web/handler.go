package web

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"activationd/control"
	"activationd/control/access"
	"activationd/internal/fault"
	"activationd/internal/trace"
	"activationd/store/once"
)

// handler returns the handler of all requests.
func (l *listening) handler() http.Handler {
	mux := http.NewServeMux()
	short := make(map[string]http.Handler)
	for _, op := range l.Registry.Ops() {
		h := l.counted(op.Name, l.serving(op, l.input))
		mux.Handle(op.Method+" "+Prefix+op.Path, h)
		if op.Name == "events" {
			short[op.Method+" "+op.Path] = h // a short path for what everybody follows
		}
	}
	l.pages(mux, short)
	for pattern, h := range short {
		mux.Handle(pattern, h)
	}
	if l.Metrics != nil {
		mux.Handle("GET /metrics", l.counted("metrics", http.HandlerFunc(l.metrics)))
	}
	mux.HandleFunc("GET /healthz", l.healthz)
	mux.HandleFunc("GET /readyz", l.readyz)
	mux.HandleFunc("GET /version", l.version)
	l.documentation(mux)
	routed := l.routed()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { l.nothing(mux, routed, w, r) })
	var h http.Handler = mux
	origins := http.NewCrossOriginProtection() // browsers act for whoever has opened another page in them
	origins.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		writeProblem(w, r, fmt.Errorf("a page of another site (%.100q) may change nothing here: %w", r.Header.Get("Origin"), fault.Denied))
	}))
	h = l.named(origins.Handler(h))
	if l.Base != "" {
		h = l.below(h)
	}
	return l.safely(l.shortest(h))
}

// named refuses requests for the host of another site. The name of one can be made to lead to an
// address of this machine, and then the browser takes its pages for ours. Over TLS the certificate
// shows that it is not.
func (l *listening) named(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !l.foreign(r) {
			h.ServeHTTP(w, r)
			return
		}
		writeProblem(w, r, fmt.Errorf("the host %.100q is not known here; ask for localhost or an IP address, or add the name to http_hosts: %w", r.Host, fault.Denied))
	})
}

// foreign reports whether a request is for the host of another site.
func (l *listening) foreign(r *http.Request) bool {
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.Trim(host, "[]"))
	_, err := netip.ParseAddr(host)
	return l.tcp && r.TLS == nil && err != nil && host != "" && host != "localhost" && !slices.Contains(l.Hosts, host)
}

// nothing replies to a request that no handler is for, unless it is routed to a queue.
func (l *listening) nothing(mux *http.ServeMux, routed func(http.ResponseWriter, *http.Request) bool, w http.ResponseWriter, r *http.Request) {
	var allow []string
	for _, method := range []string{"DELETE", "GET", "HEAD", "PATCH", "POST", "PUT"} {
		other := *r
		other.Method = method
		if _, pattern := mux.Handler(&other); pattern != "/" {
			allow = append(allow, method)
		}
	}
	switch {
	case allow != nil:
		notAllowed(w, r, allow)
	case routed(w, r):
	case l.Panel != nil && forPeople(r):
		l.page(w, r, l.calls, l.Panel.Missing)
	default:
		writeProblem(w, r, fmt.Errorf("there is nothing at %.200q; %s%s describes what there is: %w", l.Base+r.URL.Path, l.Base, descriptionPath, fault.NotFound))
	}
}

// notAllowed replies to a request with a method that is not possible at its path.
func notAllowed(w http.ResponseWriter, r *http.Request, allow []string) {
	w.Header().Set("Allow", strings.Join(allow, ", "))
	writeProblem(w, r, &control.ReplyError{
		Code: http.StatusMethodNotAllowed, Description: fmt.Sprintf("%.20q is not possible here; use %s", r.Method, strings.Join(allow, ", ")),
	})
}

// descriptionPath is where the description of the interface is.
const descriptionPath = "/openapi.json"

// shortest redirects requests whose path has empty segments or dots to its shortest form. net/http
// does that, too, but without Base, and escapes the path twice. A request that changes something is
// refused: many clients would not follow, and take the redirection for success.
func (l *listening) shortest(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		have := r.URL.EscapedPath()
		want := path.Clean("/" + have)
		if strings.HasSuffix(have, "/") && want != "/" {
			want += "/"
		}
		if want == have || r.Method == http.MethodConnect {
			h.ServeHTTP(w, r)
			return
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			writeProblem(w, r, fmt.Errorf("the path %.200q has an empty segment or dots; use %.200q: %w", have, want, fault.Invalid))
			return
		}
		if _, below := cutBase(want, l.Base); !below { // a front server has removed it
			want = l.Base + want
		}
		redirect(w, r, want)
	})
}

// redirect sends the client to another path. It repeats its request there, with the same query.
func redirect(w http.ResponseWriter, r *http.Request, to string) {
	if r.URL.RawQuery != "" {
		to += "?" + r.URL.RawQuery
	}
	w.Header().Set("Location", to)
	w.WriteHeader(http.StatusTemporaryRedirect)
}

// below serves what is below Base, and what a front server has already removed Base from.
func (l *listening) below(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rest, below := cutBase(r.URL.EscapedPath(), l.Base)
		switch {
		case !below || rest != "":
		case r.Method == http.MethodGet || r.Method == http.MethodHead: // links of the page are relative to the path with a slash
			redirect(w, r, l.Base+"/")
			return
		default:
			rest = "/"
		}
		if plain, err := url.PathUnescape(rest); below && err == nil {
			at := *r.URL
			at.Path, at.RawPath = plain, rest
			inside := *r
			inside.URL = &at
			r = &inside
		}
		h.ServeHTTP(w, r)
	})
}

// cutBase returns what follows base in an escaped path, if the path is that of base or below it.
// In the path, characters of base may be escaped, but an escaped slash separates nothing.
func cutBase(path, base string) (rest string, ok bool) {
	if base == "" {
		return path, true
	}
	for want := range strings.SplitSeq(strings.TrimPrefix(base, "/"), "/") {
		if path == "" || path[0] != '/' {
			return "", false
		}
		have, after := path[1:], ""
		if i := strings.IndexByte(have, '/'); i >= 0 {
			have, after = have[:i], have[i:]
		}
		if plain, err := url.PathUnescape(have); err != nil || plain != want {
			return "", false
		}
		path = after
	}
	return path, true
}

// safely sets what all replies have, and how long a body may take. A request that panics ends its own connection only.
func (l *listening) safely(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			p := recover()
			if p == nil {
				return
			}
			if err, ok := p.(error); !ok || !errors.Is(err, http.ErrAbortHandler) {
				l.Log.Error("request panicked", "method", r.Method, "path", r.URL.Path, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			}
			panic(http.ErrAbortHandler) // the client sees that the reply is not whole
		}()
		if r.ContentLength != 0 { // a body that is not read is limited, too
			if err := http.NewResponseController(w).SetReadDeadline(time.Now().Add(l.lim.Partial)); err != nil {
				panic(http.ErrAbortHandler)
			}
			whole := *r
			whole.Body = &body{ReadCloser: r.Body}
			r = &whole
		}
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		h.ServeHTTP(w, r)
	})
}

// bearer returns the secret of a request, or nothing.
func bearer(r *http.Request) (string, error) {
	text := r.Header.Get("Authorization")
	if text == "" {
		return "", nil
	}
	scheme, secret, _ := strings.Cut(text, " ")
	if secret = strings.TrimSpace(secret); !strings.EqualFold(scheme, "Bearer") || secret == "" {
		return "", &control.ReplyError{Code: http.StatusUnauthorized, Description: "Authorization: only Bearer and a token is understood"}
	}
	return secret, nil
}

// identify returns who makes a request.
func (l *listening) identify(r *http.Request, what string) (control.Caller, error) {
	peer, ok := r.Context().Value(peerKey{}).(client)
	if !ok {
		return control.Caller{}, errors.New("a request without a peer")
	}
	opened, err := peer.Caller()
	if err != nil {
		return control.Caller{}, err
	}
	secret, err := bearer(r)
	if l.Front.Named(opened, r.Header) {
		secret, err = "", nil // what the front server has checked may come, too
	}
	if secret == "" && err == nil && l.Panel != nil && !l.Front.Named(opened, r.Header) {
		secret = l.Panel.Secret(r) // of a session; a token in a header is meant more
	}
	switch {
	case err != nil:
		return control.Caller{}, err
	case secret == "":
		return l.Front.Caller(opened, r.Header)
	}
	return peer.Identify(l.ctx, secret, what, l.Front.Address(opened, r.Header))
}

// A reader returns the input of an operation that a request asks for.
type reader func(w http.ResponseWriter, r *http.Request, op *control.Op, caller control.Caller) (input, error)

// serving returns the handler of an operation.
func (l *listening) serving(op *control.Op, read reader) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := l.operate(w, r, op, read); err != nil {
			l.fail(w, r, op.Name, err)
		}
	})
}

// A call is a request for an operation.
type call struct {
	op      *control.Op
	caller  control.Caller
	key     string // under which it is carried out once; empty: it has none
	in      input
	release func() // ends what it takes of its caller's share
}

// operate runs an operation. An error is for the client; nothing of a reply was written then.
//
// The frames of all functions that wait while a stream is idle must be small: together with those
// of net/http they must take less than a quarter of 16 KiB, or the stack of each stream stays
// that large.
func (l *listening) operate(w http.ResponseWriter, r *http.Request, op *control.Op, read reader) error {
	c, err := l.call(w, r, op, read)
	if err != nil {
		return err
	}
	defer c.release()
	switch {
	case c.key != "":
		return l.once(w, r, c)
	case op.Streams():
		return l.stream(w, r, c)
	}
	return l.run(w, r, c)
}

// call returns the call that a request makes.
func (l *listening) call(w http.ResponseWriter, r *http.Request, op *control.Op, read reader) (c *call, err error) {
	c = &call{op: op}
	if c.caller, err = l.identify(r, op.Name); err != nil {
		return nil, err
	}
	if err := c.caller.May(op.Name, op.Role); err != nil {
		return nil, unauthorized(c.caller, err)
	}
	quota := l.calls
	if op.Streams() {
		quota = l.streams
	}
	if c.release, err = l.take(quota, r, c.caller); err != nil {
		return nil, err
	}
	if c.key, err = l.keyOf(r, op); err == nil {
		c.in, err = read(w, r, op, c.caller)
	}
	if err != nil {
		c.release()
		return nil, err
	}
	if in, ok := c.in.value.(waiter); ok && in.Waits() {
		c.release() // so that those who wait leave room for calls
		if c.release, err = l.take(l.streams, r, c.caller); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// A waiter is an input that may say that the reply comes after a time that the client chooses.
type waiter interface{ Waits() bool }

// take takes a place in a quota for a request. Until release is called, the request's connection
// does not make room for others.
func (l *listening) take(quota *access.Quota, r *http.Request, caller control.Caller) (release func(), err error) {
	give, err := quota.Take(caller, remote(r))
	if err != nil {
		return nil, err
	}
	p, ok := r.Context().Value(peerKey{}).(client)
	if !ok || !l.conns.hold(p.conn) {
		give()
		panic(http.ErrAbortHandler) // it has made room, and nobody gets the reply
	}
	return func() {
		give()
		l.conns.release(p.conn)
	}, nil
}

// run carries out a call, and writes its reply.
func (l *listening) run(w http.ResponseWriter, r *http.Request, c *call) error {
	if c.op.Streams() {
		return l.stream(w, r, c)
	}
	answer := c.op.Call(traced(r), c.caller, c.in.value)[0]
	if answer.Err != nil {
		return answer.Err
	}
	return l.reply(w, r, c.op, c.in.page, answer)
}

// unauthorized is the error of a caller who has no role: with a token it would have one.
func unauthorized(c control.Caller, err error) error {
	if c.Role == control.NoRole && (c.Kind == control.ByAddress || c.Kind == control.ByFront) {
		return &control.ReplyError{Code: http.StatusUnauthorized, Description: fault.Text(err)}
	}
	return err
}

// remote is the address that a request comes from.
func remote(r *http.Request) address { return address(r.RemoteAddr) }

// An address is a net.Addr of its text.
type address string

func (address) Network() string  { return "tcp" }
func (a address) String() string { return string(a) }

// fail replies with an error.
func (l *listening) fail(w http.ResponseWriter, r *http.Request, what string, err error) {
	if r.Context().Err() != nil && errors.Is(err, context.Canceled) {
		panic(http.ErrAbortHandler) // the client has gone
	}
	code, text := access.Failure(r.Context(), l.Log, what, err)
	p := problemOf(err, code, text)
	if op := l.Registry.Lookup(what); op != nil {
		p.Field = fieldOf(op, text)
	}
	if errors.Is(err, once.ErrBusy) {
		p.RetryAfter = 1
	}
	p.write(w, r)
}

// fieldOf returns the argument that the text of an error is about: the text begins with its name.
func fieldOf(op *control.Op, text string) string {
	name, _, found := strings.Cut(text, ":")
	if found && op.Takes([]byte(name)) {
		return name
	}
	return ""
}

// traced returns the context of a request, with the trace that it is part of.
func traced(r *http.Request) context.Context {
	if all := r.Header.Values(trace.Header); len(all) == 1 {
		return trace.With(r.Context(), all[0])
	}
	return r.Context()
}

// query returns the arguments of a query.
func query(r *http.Request) (url.Values, error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, fmt.Errorf("the query cannot be read: %w: %w", err, fault.Invalid)
	}
	return values, nil
}
