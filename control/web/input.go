package web

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"activationd/control"
	"activationd/internal/fault"
)

// An input is the input of an operation.
type input struct {
	value  any
	digest string // if the request has a key: see [digest]
	page   *page  // nil: the operation has no pages
}

// input returns the input of an operation: from the path, and from the query or the body.
func (l *listening) input(w http.ResponseWriter, r *http.Request, op *control.Op, caller control.Caller) (in input, err error) {
	args := op.Decoder()
	inPath := make(map[string]bool)
	for _, a := range op.Args() {
		if strings.Contains(op.Path, "{"+a.Name+"}") {
			inPath[a.Name] = true
			if err := args.SetText([]byte(a.Name), r.PathValue(a.Name)); err != nil {
				return in, err
			}
		}
	}
	set := func(name, value string) error {
		if inPath[name] {
			return fmt.Errorf("%s: it is in the path already; leave it out here: %w", name, fault.Invalid)
		}
		return args.SetText([]byte(name), value)
	}
	versions, err := ifMatch(r, op)
	if err != nil {
		return in, err
	}
	for _, v := range versions {
		if err := args.SetText([]byte(versionArg), v); err != nil {
			return in, err
		}
	}
	values, err := query(r)
	if err != nil {
		return in, err
	}
	switch {
	case inQuery(op):
		if last := r.Header.Get("Last-Event-ID"); last != "" && op.Resume != "" {
			values.Set(op.Resume, last) // a browser that comes back sends the query again, too
		}
		if hasBody(r) {
			return in, fmt.Errorf("a %s takes its arguments from the query, not from a body: %w", r.Method, fault.Invalid)
		}
		if in.page, err = pageOf(op, values, inLines(r, op)); err != nil {
			return in, err
		}
		if in.page != nil {
			maps.Copy(values, in.page.sets)
		}
		for name, all := range values {
			for _, value := range all {
				if err := set(name, value); err != nil {
					return in, err
				}
			}
		}
	case len(values) > 0:
		return in, fmt.Errorf("a %s takes its arguments from a JSON object in the body, not from the query: %w", r.Method, fault.Invalid)
	default:
		if err := unencoded(r); err != nil {
			return in, err
		}
		if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); r.ContentLength != 0 && (err != nil || kind != "application/json") {
			return in, &control.ReplyError{Code: http.StatusUnsupportedMediaType, Description: "the body must be JSON; say so with Content-Type: application/json"}
		}
		release, body, err := l.body(w, r, caller)
		if err != nil {
			return in, err
		}
		defer release()
		if r.Header.Get(keyHeader) != "" {
			in.digest = digest(r, body)
		}
		if err := object(op, body, set); err != nil {
			return in, err
		}
	}
	if in.digest == "" && r.Header.Get(keyHeader) != "" {
		in.digest = digest(r, nil)
	}
	in.value, err = args.Input()
	return in, err
}

// unencoded refuses a body that is compressed, say.
func unencoded(r *http.Request) error {
	how := strings.Join(r.Header.Values("Content-Encoding"), ", ")
	if how == "" || strings.EqualFold(how, "identity") || r.ContentLength == 0 {
		return nil
	}
	return &control.ReplyError{
		Code:        http.StatusUnsupportedMediaType,
		Description: fmt.Sprintf("Content-Encoding: %.80q is not understood; send the body as it is, without Content-Encoding", how),
	}
}

// hasBody reports whether a request without a use for a body has one. In pieces it may be empty.
func hasBody(r *http.Request) bool {
	if r.ContentLength >= 0 {
		return r.ContentLength > 0
	}
	_, err := io.ReadFull(r.Body, make([]byte, 1))
	return !errors.Is(err, io.EOF)
}

// inQuery reports whether the arguments of op are in the query.
func inQuery(op *control.Op) bool {
	return op.Method == http.MethodGet || op.Method == http.MethodDelete
}

// body reads the body of a request; nil: there is none. Its memory is counted until release is
// called.
func (l *listening) body(w http.ResponseWriter, r *http.Request, caller control.Caller) (release func(), body []byte, err error) {
	if r.ContentLength == 0 {
		return func() {}, nil, nil
	}
	tooLarge := &control.ReplyError{Code: http.StatusRequestEntityTooLarge, Description: fmt.Sprintf("the body is larger than %d bytes, which is the limit", l.lim.Body)}
	if r.ContentLength > l.lim.Body {
		return nil, nil, tooLarge
	}
	in := &arriving{
		from: http.MaxBytesReader(w, r.Body, l.lim.Body), conn: http.NewResponseController(w), began: time.Now(), l: l, caller: caller, address: remote(r),
	}
	body, err = io.ReadAll(in)
	var over *http.MaxBytesError
	switch {
	case in.refused != nil:
		err = in.refused
	case errors.As(err, &over):
		err = tooLarge
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = &control.ReplyError{Code: http.StatusRequestTimeout, Description: fmt.Sprintf("the body did not arrive in time; send it within %v, and a second more for each 16 KiB", l.lim.Partial)}
	case err != nil:
		err = fmt.Errorf("the body did not arrive: %w: %w", err, fault.Invalid)
	}
	if err != nil {
		in.release()
		return nil, nil, err
	}
	return in.release, body, in.conn.SetReadDeadline(time.Time{})
}

// A body is that of a request.
type body struct {
	io.ReadCloser
	ended bool // it was read to its end
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.ended = b.ended || errors.Is(err, io.EOF)
	return n, err
}

// arriving reads a body. It counts the memory of what has arrived, and what has arrived gives its
// client time for the rest: who announces much and sends little takes nothing from others.
type arriving struct {
	from    io.Reader
	conn    *http.ResponseController
	began   time.Time
	l       *listening
	caller  control.Caller
	address net.Addr
	read    int // bytes
	counted int
	refused error // why there is no room for it
}

// uncounted is how many bytes of a body are not counted, step how many are at a time.
const (
	uncounted = 64 << 10
	step      = 64 << 10
)

func (a *arriving) Read(p []byte) (int, error) {
	limit := a.l.lim.Partial + time.Duration(a.read)*time.Second/(16<<10)
	if err := a.conn.SetReadDeadline(a.began.Add(limit)); err != nil {
		return 0, err
	}
	n, err := a.from.Read(p)
	a.read += n
	for a.read > uncounted && a.read > a.counted {
		if a.refused = a.l.bodies.take(a.caller, a.address, step); a.refused != nil {
			return n, a.refused
		}
		a.counted += step
	}
	return n, err
}

func (a *arriving) release() { a.l.bodies.give(a.caller, a.address, a.counted) }

// object calls set with each argument in a JSON object; a missing body is an empty object.
func object(op *control.Op, body []byte, set func(name, value string) error) error {
	if len(bytes.TrimSpace(body)) == 0 {
		return nil
	}
	if !utf8.Valid(body) {
		return fmt.Errorf("the body is not UTF-8; send what can be any bytes in base64, with .base64 after the name: %w", fault.Invalid)
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	invalid := func(err error) error {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return fmt.Errorf("the body is no JSON object: %w, at byte %d: %w", err, dec.InputOffset(), fault.Invalid)
	}
	token, err := dec.Token()
	if err != nil {
		return invalid(err)
	}
	if token != json.Delim('{') {
		return fmt.Errorf("the body must be a JSON object, such as {\"id\": \"1042@ostrava\"}: %w", fault.Invalid)
	}
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return invalid(err)
		}
		name, ok := token.(string)
		if !ok {
			return invalid(fmt.Errorf("%v is no name", token))
		}
		if isObjects(op, name) {
			var value json.RawMessage
			if err := dec.Decode(&value); err != nil {
				return invalid(err)
			}
			var list []json.RawMessage
			if json.Unmarshal(value, &list) != nil || list == nil || slices.ContainsFunc(list, func(v json.RawMessage) bool { return v[0] != '{' }) {
				return fmt.Errorf("%s: want a list of objects: %w", name, fault.Invalid)
			}
			if err := set(name, string(value)); err != nil {
				return err
			}
			continue
		}
		var value any
		if err := dec.Decode(&value); err != nil {
			return invalid(err)
		}
		if err := argument(op, name, value, set); err != nil {
			return err
		}
	}
	if _, err := dec.Token(); err != nil {
		return invalid(err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("something follows the JSON object in the body: %w", fault.Invalid)
	}
	return nil
}

// isObjects reports whether the value of an argument is a list of objects.
func isObjects(op *control.Op, name string) bool {
	return slices.ContainsFunc(op.Args(), func(a control.Arg) bool { return a.Name == name && a.Objects })
}

// argument calls set with the value of an argument, which must be of the argument's type.
func argument(op *control.Op, name string, value any, set func(name, value string) error) error {
	plain := strings.TrimSuffix(name, ".base64")
	for _, a := range op.Args() {
		if a.Name != plain {
			continue
		}
		list, isList := value.([]any)
		if !isList {
			list = []any{value}
		}
		if isList && !a.Repeated {
			return fmt.Errorf("%s: want %s, have a list: %w", name, a.JSONType(), fault.Invalid)
		}
		for _, v := range list {
			text, ok := textOf(a.Type, v)
			if !ok {
				return fmt.Errorf("%s: want %s, have %s: %w", name, a.JSONType(), shown(v), fault.Invalid)
			}
			if err := set(name, text); err != nil {
				return err
			}
		}
		return nil
	}
	return set(name, "") // its error names the arguments that there are
}

// textOf returns the text of a value in JSON for an argument of a type, if it is of that type.
func textOf(kind string, v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, kind == "string"
	case json.Number:
		return v.String(), kind != "bool" && kind != "string"
	case bool:
		if v {
			return "yes", kind == "bool"
		}
		return "no", kind == "bool"
	}
	return "", false
}

// shown is a value of JSON for a message.
func shown(v any) string {
	switch v.(type) {
	case nil:
		return "null; leave out what is not to be set"
	case []any:
		return "a list"
	case map[string]any:
		return "an object"
	}
	return fmt.Sprintf("%.40q", fmt.Sprint(v))
}
