package describe

import (
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"

	"activationd/control"
	"activationd/control/web"
)

// Texts are the comments beside the declarations.
type Texts interface {
	Type(t reflect.Type) string
	Field(declaredIn reflect.Type, field string) string
}

// A tag is a group of operations: those whose paths begin with one of its words.
type tag struct {
	name, text string
	paths      []string
}

// tags has the groups in the order of the reference page.
var tags = []tag{
	{"activations", "Jobs and reservations: what runs at a time, and what became of it.", []string{"activations", "inputs", "locks"}},
	{"recurrences", "Rules that make jobs again and again.", []string{"recurrences", "occurrences"}},
	{"bookings", "Reservations that are booked at the daemon itself.", []string{"bookings"}},
	{"calendar", "Who has which device when, and which devices are free.", []string{"calendar", "free"}},
	{"queues", "Messages, and what handles them.", []string{"queues", "allowed-queues"}},
	{"services", "What always runs.", []string{"services"}},
	{"events", "What happened, and who requested it.", []string{"events", "audit", "report"}},
	{"vlans", "The VLANs of the laboratory, and critical sections for scripts.", []string{"vlans"}},
	{"devices", "Logins to devices.", []string{"logins"}},
	{"at", "Jobs as at(1) submits them.", []string{"at"}},
	{"daemon", "The daemon itself.", []string{"status", "clock", "pauses", "reload", "stop", "kill", "backup", "sources"}},
}

// tagOf returns the group of a path: one that is not in the table is named after its first word.
func tagOf(path string) string {
	first, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	for _, t := range tags {
		if slices.Contains(t.paths, first) {
			return t.name
		}
	}
	return first
}

const about = `Everything that activationd can do, for programs. docs/http.md explains the interface and has examples.

Arguments of a GET or a DELETE are in the query, those of other methods in a JSON object in the body. What an operation does not take is refused, and so is null: leave out what is not to be set. Where a description says "none: ...", that is what holds if the argument is left out.

Replies can get new fields at any time; ignore those that you do not know.

A time or a duration in an argument is a text, in the forms of docs/times.md: 2099-12-21T10:00:00+01:00, 90s, 1h30m. Times in replies are in UTC, in the form of RFC 3339.

Numbers of events and messages can be larger than 2^53, which JavaScript does not represent exactly.`

var placeholder = regexp.MustCompile(`\{([^}]*)\}`)

// Document returns the OpenAPI document of the operations.
func Document(registry *control.Registry, texts Texts) (*openapi3.T, error) {
	out := &output{texts: newTexts(texts, registry), schemas: make(openapi3.Schemas), types: make(map[string]reflect.Type)}
	doc := &openapi3.T{
		OpenAPI: "3.1.0",
		Info: &openapi3.Info{
			Title: "activationd", Version: strings.TrimPrefix(web.Prefix, "/api/"), Description: about,
			License: &openapi3.License{Name: "see the file LICENSE", Extensions: map[string]any{"identifier": "LicenseRef-activationd"}},
		},
		// Relative to the document: it holds behind any front server.
		Servers:  openapi3.Servers{{URL: "."}},
		Paths:    openapi3.NewPaths(),
		Security: openapi3.SecurityRequirements{{"token": {}}, {"certificate": {}}, {}},
		Components: &openapi3.Components{
			Schemas: out.schemas, Responses: make(openapi3.ResponseBodies),
			SecuritySchemes: openapi3.SecuritySchemes{
				"token":       {Value: &openapi3.SecurityScheme{Type: "http", Scheme: "bearer", Description: "The secret of a token. On a Unix socket none is needed: the kernel says who the user is."}},
				"certificate": {Value: &openapi3.SecurityScheme{Type: "mutualTLS", Description: "A certificate that tls.client_ca has signed."}},
			},
		},
	}
	used := make(map[string]bool)
	shapes := make(map[string]string) // paths that differ only in the names of arguments are one path
	for _, op := range registry.Ops() {
		o, err := out.operation(op)
		if err != nil {
			return nil, fmt.Errorf("operation %s: %w", op.Name, err)
		}
		used[o.Tags[0]] = true
		path, shape := web.Prefix+op.Path, placeholder.ReplaceAllString(op.Path, "{}")
		if first := shapes[shape]; first != "" {
			path = first
			names := placeholder.FindAllStringSubmatch(path, -1)
			for i := range names { // an operation's parameters in the path come first, in their order
				o.Parameters[i].Value.Name = names[i][1]
			}
		}
		shapes[shape] = path
		add(doc, op.Method, path, o)
		if op.Name == "events" { // it has a short path, too
			short := *o
			short.OperationID, short.Extensions = "follow", map[string]any{"x-role": op.Role.String()}
			add(doc, op.Method, op.Path, &short)
		}
	}
	for _, p := range plain {
		used[p.tag] = true
		add(doc, http.MethodGet, p.Path, p.operation())
	}
	for _, t := range tags {
		if used[t.name] {
			doc.Tags = append(doc.Tags, &openapi3.Tag{Name: t.name, Description: t.text})
		}
	}
	out.problems(doc)
	return doc, nil
}

func add(doc *openapi3.T, method, path string, o *openapi3.Operation) {
	item := doc.Paths.Value(path)
	if item == nil {
		item = &openapi3.PathItem{}
		doc.Paths.Set(path, item)
	}
	item.SetOperation(method, o)
}

// ID returns the operationId of an operation: its name, in which a hyphen joins the words.
func ID(op *control.Op) string { return strings.ReplaceAll(op.Name, " ", "-") }

// operation describes an operation.
func (o *output) operation(op *control.Op) (*openapi3.Operation, error) {
	d := &openapi3.Operation{
		OperationID: ID(op), Tags: []string{tagOf(op.Path)}, Summary: sentence(op.Help), Responses: openapi3.NewResponsesWithCapacity(0),
		Description: "For callers with the role " + op.Role.String() + " or a higher one. In the line protocol it is `" + op.Name + "`.",
		Extensions:  map[string]any{"x-role": op.Role.String(), "x-name": op.Name},
	}
	if op.Role == control.NoRole {
		d.Description = "For all callers. In the line protocol it is `" + op.Name + "`."
	}
	inPath, others := o.arguments(op)
	for _, a := range inPath {
		d.Parameters = append(d.Parameters, parameter(a, "path", argument(&a.Arg)))
	}
	inBody := op.Method != http.MethodGet && op.Method != http.MethodDelete
	if inBody {
		d.RequestBody = body(others)
	} else {
		for _, a := range others {
			s := argument(&a.Arg)
			switch {
			case op.Paging == nil:
			case a.Name == "limit":
				s = typed("integer").WithMin(1).WithMax(web.MostItems)
				if !op.Streams() {
					s.Default = web.ItemsOfPage
				}
			case a.Name == "after":
				s = typed("string")
			}
			d.Parameters = append(d.Parameters, parameter(a, "query", s))
			if a.Bytes {
				a.Name, a.Required, a.text = a.Name+".base64", false, ""
				plain := a.Arg
				plain.Name = strings.TrimSuffix(a.Name, ".base64")
				d.Parameters = append(d.Parameters, parameter(a, "query", encodedArgument(&plain)))
			}
		}
	}
	if op.Resume != "" {
		d.Parameters = append(d.Parameters, &openapi3.ParameterRef{Value: &openapi3.Parameter{
			Name: "Last-Event-ID", In: "header", Schema: typed("string").NewRef(),
			Description: "The id of the last event that the client has got: it counts instead of " + op.Resume + ".",
		}})
	}
	if keyed(op) {
		d.Parameters = append(d.Parameters, &openapi3.ParameterRef{Value: &openapi3.Parameter{
			Name: "Idempotency-Key", In: "header", Schema: typed("string").WithMinLength(1).WithMaxLength(255).NewRef(),
			Description: "A text of the client's choice, such as a UUID: a request that is sent again with it is carried out once.",
		}})
	}
	o.conditions(op, d)
	if op.Streams() && !op.One {
		d.Description += " It is a stream: of server-sent events, JSON lines or, with the headers of an upgrade, messages of a WebSocket."
	}
	if either := eitherOf(others); either != nil {
		d.Description += " At least one of these arguments is needed: " + strings.Join(either, ", ") + "."
		d.Extensions["x-either"] = either
	}
	reply, err := o.reply(op)
	if err != nil {
		return nil, err
	}
	if op.Created != "" {
		addHeader(reply, "Location", typed("string").WithFormat("uri-reference"), "Where what was created is.")
		d.Responses.Set("201", &openapi3.ResponseRef{Value: reply})
	}
	if _, again := op.Out.FieldByName("Duplicate"); op.Created == "" || again || !op.One {
		d.Responses.Set("200", &openapi3.ResponseRef{Value: reply})
	}
	if _, pends := reflect.PointerTo(op.Out).MethodByName("Pending"); pends {
		d.Responses.Set("202", &openapi3.ResponseRef{Value: reply})
	}
	if op.Method == http.MethodGet && op.One {
		addHeader(reply, "ETag", typed("string"), "Changes whenever the reply does.")
		text := "The client has this reply already."
		d.Responses.Set("304", &openapi3.ResponseRef{Value: &openapi3.Response{Description: &text}})
	}
	for status := range web.Problems() {
		if mayFail(op, status, inBody) {
			d.Responses.Set(strconv.Itoa(status), &openapi3.ResponseRef{Ref: "#/components/responses/" + problemName(status)})
		}
	}
	return d, nil
}

// conditions describes the headers with which a client says under which conditions it wants a
// request to be carried out.
func (o *output) conditions(op *control.Op, d *openapi3.Operation) {
	header := func(name, text string) {
		d.Parameters = append(d.Parameters, &openapi3.ParameterRef{Value: &openapi3.Parameter{
			Name: name, In: "header", Schema: typed("string").NewRef(), Description: text,
		}})
	}
	if op.Method == http.MethodGet {
		if op.One {
			header("If-None-Match", "The ETag of a reply that the client has: if it would be the same, the reply is 304.")
		}
		return
	}
	if op.Takes([]byte("version")) {
		header("If-Match", "The ETag of a reply: if the activation has changed since then, the request fails with 412.")
	}
}

// eitherOf returns the names of the arguments of which one is needed.
func eitherOf(args []argumentOf) (names []string) {
	for _, a := range args {
		if a.Either || a.Required && a.Bytes {
			names = append(names, a.Name)
			if a.Bytes {
				names = append(names, a.Name+".base64")
			}
		}
	}
	return names
}

func parameter(a argumentOf, in string, s *openapi3.Schema) *openapi3.ParameterRef {
	p := &openapi3.Parameter{Name: a.Name, In: in, Description: a.text, Required: a.Required || in == "path", Schema: s.NewRef()}
	if s.Description != "" {
		p.Description, s.Description = s.Description, ""
	}
	if in == "query" && a.Bytes {
		p.Required = false
	}
	return &openapi3.ParameterRef{Value: p}
}

// body describes the JSON object that has the arguments.
func body(args []argumentOf) *openapi3.RequestBodyRef {
	s := typed("object")
	s.Properties = make(openapi3.Schemas)
	no := false
	s.AdditionalProperties = openapi3.AdditionalProperties{Has: &no}
	for _, a := range args {
		p := argument(&a.Arg)
		p.Description = a.text
		s.Properties[a.Name] = p.NewRef()
		if a.Bytes {
			s.Properties[a.Name+".base64"] = encodedArgument(&a.Arg).NewRef()
		} else if a.Required {
			s.Required = append(s.Required, a.Name)
		}
	}
	return &openapi3.RequestBodyRef{Value: &openapi3.RequestBody{
		Required: s.Required != nil, Content: openapi3.NewContentWithJSONSchema(s),
	}}
}

// reply describes the reply of an operation that has not failed.
func (o *output) reply(op *control.Op) (*openapi3.Response, error) {
	var line *openapi3.SchemaRef
	if op.Out != reflect.TypeFor[control.Nothing]() {
		var err error
		if line, err = o.ref(op.Out); err != nil {
			return nil, err
		}
	}
	text := "It is done."
	r := &openapi3.Response{Description: &text}
	switch {
	case op.One && line == nil:
		r.Content = openapi3.NewContentWithJSONSchemaRef(o.summary())
	case op.One:
		r.Content = openapi3.NewContentWithJSONSchemaRef(line)
	default:
		list := o.list(line)
		if op.Paging != nil {
			next := typed("string")
			next.Description = "The value of after for the next page; absent on the last one."
			list.Properties["next"] = next.NewRef()
		}
		r.Content = openapi3.NewContentWithJSONSchema(list)
	}
	if op.Streams() && !op.One {
		text = "The lines, as they come; as application/json, all of them when the last one has come."
		if op.Paging != nil {
			text = "The lines, as they come; as application/json, a page of those that are there."
		}
		x := map[string]any{"x-event-schema": line}
		for kind, form := range map[string]string{
			"application/jsonl": "A line of JSON for each, in the form of x-event-schema. Lines without text keep the connection alive. A last line with a field error, which is a problem, says why the stream ended.",
			"text/event-stream": "Server-sent events, whose data have the form of x-event-schema. An event of the type problem says why the stream ended.",
		} {
			s := typed("string")
			s.Description = form
			r.Content[kind] = &openapi3.MediaType{Schema: s.NewRef(), Extensions: x}
		}
	}
	if keyed(op) {
		addHeader(r, "Idempotency-Replayed", typed("boolean"), "It is the reply to an earlier request with the same Idempotency-Key.")
	}
	return r, nil
}

// addHeader adds a header to a reply.
func addHeader(r *openapi3.Response, name string, s *openapi3.Schema, text string) {
	if r.Headers == nil {
		r.Headers = make(openapi3.Headers)
	}
	r.Headers[name] = &openapi3.HeaderRef{Value: &openapi3.Header{Parameter: openapi3.Parameter{Description: text, Schema: s.NewRef()}}}
}

// list returns the schema of a reply with several lines; nil: it has none.
func (o *output) list(line *openapi3.SchemaRef) *openapi3.Schema {
	s, items := typed("object"), typed("array")
	items.Items = line
	if line == nil {
		items.Items = typed("object").NewRef()
	}
	s.Properties = openapi3.Schemas{"summary": o.summary(), "items": items.NewRef()}
	s.Required = []string{"summary", "items"}
	return s
}

// summary returns the schema of a summary.
func (o *output) summary() *openapi3.SchemaRef {
	if o.schemas["Summary"] == nil {
		s := typed("object")
		s.Description = "What the first line of a reply of the line protocol says, such as how many there are: texts and integers."
		open := true // generators of clients do not know a choice of types
		s.AdditionalProperties = openapi3.AdditionalProperties{Has: &open}
		o.schemas["Summary"] = s.NewRef()
	}
	return openapi3.NewSchemaRef("#/components/schemas/Summary", nil)
}

// keyed reports whether a request can have an Idempotency-Key.
func keyed(op *control.Op) bool {
	return op.Method != http.MethodGet && (!op.Streams() || op.One)
}

// mayFail reports whether an operation can fail with a status.
func mayFail(op *control.Op, status int, inBody bool) bool {
	switch status {
	case http.StatusMethodNotAllowed:
		return false // then it is not this operation
	case http.StatusRequestTimeout, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType:
		return inBody
	case http.StatusNotAcceptable:
		return op.Streams() && !op.One // too large for one object
	case http.StatusUnprocessableEntity:
		return keyed(op)
	case http.StatusPreconditionFailed:
		return op.Takes([]byte("version"))
	case http.StatusInsufficientStorage:
		return op.Method != http.MethodGet
	}
	return true
}

// problemName returns the name of a response with a problem.
func problemName(status int) string {
	return strings.ReplaceAll(http.StatusText(status), " ", "")
}

// problems adds the responses with problems.
func (o *output) problems(doc *openapi3.T) {
	s := typed("object")
	s.Description = "Why a request failed: RFC 9457."
	field := func(kind, text string) *openapi3.SchemaRef {
		p := typed(kind)
		p.Description = text
		return p.NewRef()
	}
	all := web.Problems()
	kinds := make([]string, 0, len(all))
	for _, status := range slices.Sorted(maps.Keys(all)) {
		kinds = append(kinds, all[status].Kind)
	}
	s.Properties = openapi3.Schemas{
		"type":        field("string", "urn:activationd:problem: and the kind: "+strings.Join(kinds, ", ")+"."),
		"title":       field("string", "The kind in words."),
		"status":      field("integer", "The status of the reply."),
		"detail":      field("string", "What is wrong, and what to do."),
		"field":       field("string", "The argument that it is about."),
		"retry_after": field("integer", "After how many seconds the same request may succeed."),
	}
	s.Required = []string{"type", "title", "status", "detail"}
	o.schemas["Problem"] = s.NewRef()
	for status, p := range all {
		if status == http.StatusMethodNotAllowed {
			continue // no operation has it
		}
		text := p.Title + "."
		r := &openapi3.Response{Description: &text, Content: openapi3.NewContentWithSchemaRef(
			openapi3.NewSchemaRef("#/components/schemas/Problem", nil), []string{"application/problem+json"})}
		switch status {
		case http.StatusTooManyRequests, http.StatusServiceUnavailable:
			addHeader(r, "Retry-After", typed("integer"), "After how many seconds the same request may succeed.")
		case http.StatusUnauthorized:
			addHeader(r, "WWW-Authenticate", typed("string"), "How to identify oneself.")
		}
		doc.Components.Responses[problemName(status)] = &openapi3.ResponseRef{Value: r}
	}
}

// A page is what is served besides the operations.
type page struct {
	Path, id, kind, Text, tag string
	role                      control.Role
}

var plain = []page{
	{"/healthz", "healthz", "text/plain", "Reply while the process answers.", "daemon", control.NoRole},
	{"/readyz", "readyz", "text/plain", "Reply with 200 if the daemon can do its work, and with 503 otherwise.", "daemon", control.NoRole},
	{"/metrics", "metrics", "text/plain", "Show what the daemon does, in the form that Prometheus reads.", "daemon", control.Viewer},
	{"/version", "version", "application/json", "Show the versions of the program and of the interface.", "daemon", control.NoRole},
	{"/openapi.json", "openapi", "application/json", "Show this document.", "daemon", control.NoRole},
	{"/", "start", "text/html", "Show a page with links to the others.", "daemon", control.NoRole},
	{"/docs", "docs", "text/html", "Show the reference of all operations as a page.", "daemon", control.NoRole},
}

func (p page) operation() *openapi3.Operation {
	s := typed("string")
	if p.kind == "application/json" {
		s = typed("object")
	}
	text := "It is done."
	o := &openapi3.Operation{
		OperationID: p.id, Tags: []string{p.tag}, Summary: p.Text, Description: "For all callers.", Security: &openapi3.SecurityRequirements{{}},
		Responses: openapi3.NewResponsesWithCapacity(0), Extensions: map[string]any{"x-role": p.role.String()},
	}
	if p.role > control.NoRole {
		o.Description, o.Security = "For callers with the role "+p.role.String()+" or a higher one.", nil
		for _, status := range []int{401, 403, 429, 500, 503} {
			o.Responses.Set(strconv.Itoa(status), &openapi3.ResponseRef{Ref: "#/components/responses/" + problemName(status)})
		}
	}
	o.Responses.Set("200", &openapi3.ResponseRef{Value: &openapi3.Response{Description: &text, Content: openapi3.Content{p.kind: {Schema: s.NewRef()}}}})
	if p.id == "readyz" {
		no := "It cannot, and this is why."
		o.Responses.Set("503", &openapi3.ResponseRef{Value: &openapi3.Response{Description: &no, Content: openapi3.Content{p.kind: {Schema: s.NewRef()}}}})
	}
	return o
}
