package web

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"activationd/control"
	"activationd/internal/fault"
)

// A Push is what a request at a path of the configuration pushes into a queue. Its body is that
// of the message, whatever it is.
type Push struct {
	Queue   string
	Headers map[string]string // of the message
	Forward []string          // names of the request's headers that the message gets, too
	Create  bool              // the queue, if there is none
}

// pushOp is the operation that such requests call.
const pushOp = "queue push"

// routed returns the handler of requests at paths of the configuration. It reports whether a
// request is one. What else is served has precedence.
func (l *listening) routed() func(w http.ResponseWriter, r *http.Request) bool {
	op := l.Registry.Lookup(pushOp)
	if l.Routes == nil || op == nil {
		return func(http.ResponseWriter, *http.Request) bool { return false }
	}
	return func(w http.ResponseWriter, r *http.Request) bool {
		push, ok := l.Routes(r.URL.EscapedPath())
		switch {
		case !ok:
			return false
		case r.Method != http.MethodPost:
			notAllowed(w, r, []string{http.MethodPost})
			return true
		}
		r.SetPathValue("name", push.Queue) // Location is made of it
		read := func(w http.ResponseWriter, r *http.Request, op *control.Op, caller control.Caller) (input, error) {
			return l.pushed(w, r, op, caller, push)
		}
		l.counted(op.Name, l.serving(op, read)).ServeHTTP(w, r)
		return true
	}
}

// pushed returns the input of a push. The query may have its other arguments.
func (l *listening) pushed(w http.ResponseWriter, r *http.Request, op *control.Op, caller control.Caller, push *Push) (in input, err error) {
	args := op.Decoder()
	set := func(name, value string) {
		if err == nil {
			err = args.SetText([]byte(name), value)
		}
	}
	set("name", push.Queue)
	for name, value := range push.Headers {
		set("header", name+"="+value)
	}
	var forwarded []string
	for _, name := range push.Forward {
		if all := r.Header.Values(name); len(all) > 0 {
			forwarded = append(forwarded, name+"="+strings.Join(all, ", "))
			set("header", forwarded[len(forwarded)-1])
		}
	}
	if push.Create {
		set("create", "yes")
	}
	values, failed := query(r)
	if err == nil {
		err = failed
	}
	for name, all := range values {
		if slices.Contains([]string{"name", "header", "create", "body"}, strings.TrimSuffix(name, ".base64")) {
			return in, fmt.Errorf("%s: the path and the configuration say this; leave it out: %w", name, fault.Invalid)
		}
		for _, value := range all {
			set(name, value)
		}
	}
	if _, failed := ifMatch(r, op); err == nil {
		err = failed
	}
	if !slices.ContainsFunc(push.Forward, func(name string) bool { return strings.EqualFold(name, "Content-Encoding") }) {
		if failed := unencoded(r); err == nil { // otherwise the message says what its body is
			err = failed
		}
	}
	if err != nil {
		return in, err
	}
	release, body, err := l.body(w, r, caller)
	if err != nil {
		return in, err
	}
	defer release()
	if r.Header.Get(keyHeader) != "" {
		in.digest = digest(r, body, forwarded...)
	}
	if set("body", string(body)); err != nil {
		return in, err
	}
	in.value, err = args.Input()
	return in, err
}
