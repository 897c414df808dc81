// Package webtest checks, in tests, that what goes over HTTP is what the OpenAPI document says.
package webtest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
)

// jsonLines is the form of a stream of which the messages of a WebSocket are the lines.
const jsonLines = "application/jsonl"

// A Transport makes requests, and reports every one that is not as the document says: a reply
// that does not match it, and a request that does not match it but succeeded.
type Transport struct {
	doc    *openapi3.T
	mux    *http.ServeMux
	next   http.RoundTripper
	report func(error)

	mu     sync.Mutex
	called map[string]int // by the operationId: replies without an error
}

// New returns a transport that checks what next carries. The paths of the document are below
// base, which may be empty.
func New(document []byte, base string, next http.RoundTripper, report func(error)) (*Transport, error) {
	doc, err := openapi3.NewLoader().LoadFromData(document)
	if err != nil {
		return nil, fmt.Errorf("the document: %w", err)
	}
	if err := doc.Validate(context.Background()); err != nil {
		return nil, fmt.Errorf("the document: %w", err)
	}
	doc.Servers = nil
	t := &Transport{doc: doc, mux: http.NewServeMux(), next: next, report: report, called: make(map[string]int)}
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			if path == "/" {
				path = "/{$}"
			}
			route := found{&routers.Route{Spec: doc, Path: path, PathItem: item, Method: method, Operation: op}}
			t.mux.Handle(method+" "+path, route)
			if base != "" {
				t.mux.Handle(method+" "+base+path, route)
			}
		}
	}
	return t, nil
}

// A found is a handler only to be found by a path.
type found struct{ route *routers.Route }

func (found) ServeHTTP(http.ResponseWriter, *http.Request) {}

// Called returns how often an operation was called and succeeded.
func (t *Transport) Called(operationID string) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.called[operationID]
}

// RoundTrip implements [http.RoundTripper].
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		var err error
		if body, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
		if err := r.Body.Close(); err != nil {
			return nil, err
		}
		r = r.Clone(r.Context())
		r.Body = http.NoBody
		if len(body) > 0 {
			r.Body = io.NopCloser(bytes.NewReader(body))
		}
	}
	resp, err := t.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	wrong := func(err error) {
		t.report(fmt.Errorf("%s %s %.100s: %d: %w", r.Method, r.URL.RequestURI(), body, resp.StatusCode, err))
	}
	asked := r.Clone(context.Background())
	asked.Body = io.NopCloser(bytes.NewReader(body))
	h, _ := t.mux.Handler(asked)
	f, ok := h.(found)
	if !ok {
		if s := resp.StatusCode; s != http.StatusNotFound && s != http.StatusMethodNotAllowed && s/100 != 3 {
			wrong(errors.New("the document does not have it"))
		}
		return resp, nil
	}
	in := &openapi3filter.RequestValidationInput{
		Request: asked, Route: f.route, PathParams: pathParams(f.route.Path, r.URL),
		Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, IncludeResponseStatus: true},
	}
	if resp.StatusCode < 300 {
		t.mu.Lock()
		t.called[f.route.Operation.OperationID]++
		t.mu.Unlock()
		err := openapi3filter.ValidateRequest(context.Background(), in)
		if errors.Is(err, openapi3filter.ErrInvalidEmptyValue) {
			err = nil // an empty argument is one that is not given; OpenAPI has no good word for that
		}
		if err := errors.Join(err, unknown(f.route.Operation, r.URL.Query())); err != nil {
			wrong(fmt.Errorf("it succeeded, and the document does not allow it: %w", err))
		}
	}
	if err := t.reply(in, resp, wrong); err != nil && r.Context().Err() == nil { // otherwise the caller has given up meanwhile
		wrong(err)
	}
	return resp, nil
}

// reply checks a reply. The lines of a stream are checked when they are read.
func (t *Transport) reply(in *openapi3filter.RequestValidationInput, resp *http.Response, wrong func(error)) error {
	op := in.Route.Operation
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return t.socket(op, resp, wrong)
	}
	kind, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";")
	if r := op.Responses.Status(resp.StatusCode); r != nil && r.Value.Content[kind] != nil {
		if line := r.Value.Content[kind].Extensions["x-event-schema"]; line != nil {
			s, err := t.schema(line)
			if err != nil {
				return err
			}
			resp.Body = &lines{body: resp.Body, check: func(text []byte) {
				if err := t.line(s, kind, text); err != nil {
					wrong(fmt.Errorf("%.200q: %w", text, err))
				}
			}}
			return nil
		}
		if strings.HasPrefix(kind, "text/") {
			return nil
		}
	}
	data, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		return fmt.Errorf("the reply ended early: %w", err)
	}
	resp.Body = io.NopCloser(bytes.NewReader(data))
	if in.Request.Method == http.MethodHead {
		return nil
	}
	out := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: in, Status: resp.StatusCode, Header: resp.Header, Options: in.Options,
	}
	out.SetBodyBytes(data)
	return openapi3filter.ValidateResponse(context.Background(), out)
}

// socket checks the messages of a WebSocket when they are read.
func (t *Transport) socket(op *openapi3.Operation, resp *http.Response, wrong func(error)) error {
	conn, ok := resp.Body.(io.ReadWriteCloser)
	if !ok {
		return fmt.Errorf("nothing can be sent over a %T", resp.Body)
	}
	r := op.Responses.Status(http.StatusOK)
	if r == nil || r.Value.Content[jsonLines] == nil {
		return errors.New("the document has no stream there")
	}
	s, err := t.schema(r.Value.Content[jsonLines].Extensions["x-event-schema"])
	if err != nil {
		return err
	}
	resp.Body = &frames{ReadWriteCloser: conn, check: func(text []byte, err error) {
		if err == nil {
			err = t.line(s, jsonLines, text)
		}
		if err != nil {
			wrong(fmt.Errorf("%.200q: %w", text, err))
		}
	}}
	return nil
}

// schema returns the schema that an extension refers to.
func (t *Transport) schema(extension any) (*openapi3.Schema, error) {
	data, err := json.Marshal(extension)
	if err != nil {
		return nil, err
	}
	var ref struct {
		Ref string `json:"$ref"`
	}
	if err := json.Unmarshal(data, &ref); err != nil {
		return nil, err
	}
	s := t.doc.Components.Schemas[strings.TrimPrefix(ref.Ref, "#/components/schemas/")]
	if s == nil {
		return nil, fmt.Errorf("there is no schema %s", data)
	}
	return s.Value, nil
}

// line checks a line of a stream.
func (t *Transport) line(s *openapi3.Schema, kind string, text []byte) error {
	if kind == "text/event-stream" {
		var ok bool
		if text, ok = bytes.CutPrefix(text, []byte("data: ")); !ok {
			return nil // another field of the event, or a comment
		}
	}
	if len(bytes.TrimSpace(text)) == 0 {
		return nil
	}
	var value map[string]any
	if err := json.Unmarshal(text, &value); err != nil {
		return err
	}
	problem := t.doc.Components.Schemas["Problem"].Value
	if failed, ok := value["error"].(map[string]any); ok && kind == jsonLines {
		s, value = problem, failed
	}
	if urn, ok := value["type"].(string); ok && strings.HasPrefix(urn, "urn:activationd:problem:") {
		s = problem
	}
	return s.VisitJSON(value, openapi3.EnableJSONSchema2020(), openapi3.VisitAsResponse())
}

// lines calls check with each line that is read.
type lines struct {
	body  io.ReadCloser
	rest  []byte
	check func([]byte)
}

func (l *lines) Read(p []byte) (int, error) {
	n, err := l.body.Read(p)
	l.rest = append(l.rest, p[:n]...)
	for {
		line, rest, ok := bytes.Cut(l.rest, []byte{'\n'})
		if !ok {
			return n, err
		}
		l.check(line)
		l.rest = rest
	}
}

func (l *lines) Close() error { return l.body.Close() }

// unknown returns an error if there is an argument that the operation does not have.
func unknown(op *openapi3.Operation, query url.Values) error {
	for name := range query {
		if op.Parameters.GetByInAndName("query", name) == nil {
			return fmt.Errorf("there is no argument %s", name)
		}
	}
	return nil
}

var placeholder = regexp.MustCompile(`\{([^}]*)\}`)

// pathParams returns the arguments in the path of u, whose last segments are those of pattern.
func pathParams(pattern string, u *url.URL) map[string]string {
	params := make(map[string]string)
	have, want := strings.Split(u.EscapedPath(), "/"), strings.Split(pattern, "/")
	slices.Reverse(have)
	slices.Reverse(want)
	for i := range min(len(have), len(want)) {
		if m := placeholder.FindStringSubmatch(want[i]); m != nil {
			params[m[1]], _ = url.PathUnescape(have[i])
		}
	}
	return params
}
