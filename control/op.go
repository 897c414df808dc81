package control

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"
)

// An Op is one operation. It is declared once, and every face of the daemon (the line
// protocol, HTTP, help, the access rights) follows from the declaration.
type Op struct {
	Name string // a word, or two with a blank between them: "vlan list"
	Role Role   // the lowest role that may call it
	Help string // one line
	In   reflect.Type
	Out  reflect.Type
	// Method and Path are where HTTP serves it, under its prefix. A segment {ARGUMENT} of the
	// path is an argument. One says that the reply is one object instead of a list.
	Method, Path string
	One          bool
	Paging       *Paging // nil: the list is one reply
	// Created is the path of what it creates. Its segments {NAME} are fields of the reply, or else
	// arguments. Empty: it creates nothing that has a path.
	Created string
	// Resume is the argument that has the position after which a stream goes on; empty: none.
	Resume string

	spec   *argSpec
	batch  bool
	call   func(ctx context.Context, c Caller, ins []any) []Answer
	stream func(ctx context.Context, c Caller, in any, send func(any) error) error
}

// Nothing is the input of an operation without arguments, and the output of an operation
// without lines.
type Nothing struct{}

// A Reply is the reply of an operation. Its lines are in Lines or come from Each, which is
// for replies that should not be in memory as a whole. Each runs while the reply is written,
// as slowly as the client reads, so it must not hold a transaction or a lock over a yield.
type Reply[Out any] struct {
	Summary string // "added=3 changed=1", for the first line
	Lines   []Out
	Each    iter.Seq2[Out, error]
}

// A Result is the reply to one request of a batch. A reply may come with an error: the
// caller gets both.
type Result[Out any] struct {
	Reply Reply[Out]
	Err   error
}

// An Answer is a Result without its type.
type Answer struct {
	Summary string
	Lines   iter.Seq2[any, error] // nil: none
	Err     error
}

// Declare declares an operation with one reply to each request. In is a struct. Its fields
// are of type string, []string (the argument may be repeated), int, uint64 or bool, and have
// a tag `arg:"name"`, `arg:"name,required"` or `arg:"name,either"`; of the arguments with
// either, at least one is required. Declare panics if the declaration is not valid, which
// shows when the daemon is first started.
func Declare[In, Out any](name string, role Role, help string,
	h func(ctx context.Context, c Caller, in In) (Reply[Out], error)) Op {
	op := newOp[In, Out](name, role, help)
	settle := settling(op.Out)
	op.call = func(ctx context.Context, c Caller, ins []any) []Answer {
		as := make([]Answer, len(ins))
		for i, in := range ins {
			reply, err := h(ctx, c, input[In](in))
			as[i] = reply.erase(settle, err)
		}
		return as
	}
	return op
}

// DeclareBatch declares an operation that can do several requests at once: h gets the
// inputs of at least one request, which one connection sent without waiting for replies, and
// returns one result for each, in the same order.
func DeclareBatch[In, Out any](name string, role Role, help string,
	h func(ctx context.Context, c Caller, ins []In) []Result[Out]) Op {
	op := newOp[In, Out](name, role, help)
	op.batch = true
	settle := settling(op.Out)
	op.call = func(ctx context.Context, c Caller, ins []any) []Answer {
		typed := make([]In, len(ins))
		for i, in := range ins {
			typed[i] = input[In](in)
		}
		as := make([]Answer, len(ins))
		results := h(ctx, c, typed)
		for i := range as {
			if i >= len(results) {
				as[i].Err = fmt.Errorf("%s: %d results for %d requests", name, len(results), len(ins))
				continue
			}
			as[i] = results[i].Reply.erase(settle, results[i].Err)
		}
		return as
	}
	return op
}

// DeclareStream declares an operation whose lines are sent as they occur, until h returns
// or the client hangs up; then ctx is done and send fails. An error that h returns before it
// has sent anything is the reply; a later error ends the lines.
func DeclareStream[In, Out any](name string, role Role, help string,
	h func(ctx context.Context, c Caller, in In, send func(Out) error) error) Op {
	op := newOp[In, Out](name, role, help)
	settle := settling(op.Out)
	op.stream = func(ctx context.Context, c Caller, in any, send func(any) error) error {
		return h(ctx, c, input[In](in), func(out Out) error {
			settled(settle, &out)
			return send(out)
		})
	}
	return op
}

// input returns the input that a Decoder of such an operation made.
func input[In any](in any) In {
	p, ok := in.(*In)
	if !ok {
		panic(fmt.Sprintf("input %T, want *%v", in, reflect.TypeFor[In]()))
	}
	return *p
}

func newOp[In, Out any](name string, role Role, help string) Op {
	in, out := reflect.TypeFor[In](), reflect.TypeFor[Out]()
	spec, err := newArgSpec(in)
	if err != nil {
		panic(fmt.Sprintf("operation %s: %v", name, err))
	}
	if words := strings.Fields(name); len(words) < 1 || len(words) > 2 || name != strings.Join(words, " ") ||
		name != strings.ToLower(name) || strings.ContainsAny(name, ":\"") {
		panic(fmt.Sprintf("operation %q: the name is not valid", name))
	}
	return Op{
		Name: name, Role: role, Help: help, In: in, Out: out, spec: spec,
		Method: "POST", Path: "/" + strings.ReplaceAll(name, " ", "/"),
	}
}

// At returns op with its place in HTTP, such as "GET /activations/{id}"; without it, that is
// POST and the words of the name. Only what changes nothing may be a GET. It panics if the path
// has an argument that op does not take.
func (op Op) At(place string) Op {
	op.Method, op.Path, _ = strings.Cut(place, " ")
	for segment := range strings.SplitSeq(op.Path, "/") {
		if name, ok := strings.CutPrefix(segment, "{"); ok && !op.Takes([]byte(strings.TrimSuffix(name, "}"))) {
			panic(fmt.Sprintf("operation %s: %s: it takes no such argument", op.Name, place))
		}
	}
	return op
}

// Creates returns op with the path of what it creates, such as /activations/{id}. Over HTTP its
// reply has the status 201, with the path. If that is a list, its summary says how many were
// created, and the path is there if it has one item. It panics if a segment names neither a field of the
// reply nor an argument.
func (op Op) Creates(path string) Op {
	fields := jsonFields(op.Out)
	for segment := range strings.SplitSeq(path, "/") {
		name, ok := strings.CutPrefix(segment, "{")
		name = strings.TrimSuffix(name, "}")
		if ok && !fields[name] && !op.Takes([]byte(name)) {
			panic(fmt.Sprintf("operation %s: creates %s: %s is neither in its reply nor an argument", op.Name, path, name))
		}
	}
	op.Created = path
	return op
}

// jsonFields returns the names of the fields of a struct in JSON.
func jsonFields(t reflect.Type) map[string]bool {
	names := make(map[string]bool)
	for _, f := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		names[name] = f.IsExported()
	}
	return names
}

// A Paging says how a list is continued. Its operation takes the arguments limit and after.
type Paging struct {
	// After are the fields of an item that the argument after names, joined by slashes, to
	// continue behind it.
	After []string
	// Order has the arguments with which the list is in the order in which it can be continued.
	Order map[string]string
}

// OrderNames returns the names of the arguments in Order.
func (p *Paging) OrderNames() []string { return slices.Sorted(maps.Keys(p.Order)) }

// Pages returns op with pages over HTTP. It panics if op does not take an argument of p.
func (op Op) Pages(p Paging) Op {
	for _, name := range append(p.OrderNames(), "limit", "after") {
		if !op.Takes([]byte(name)) {
			panic(fmt.Sprintf("operation %s: pages: it takes no argument %s", op.Name, name))
		}
	}
	op.Paging = &p
	return op
}

// Single returns op with a reply over HTTP that is one object.
func (op Op) Single() Op {
	op.One = true
	return op
}

// Resuming returns op with the argument that takes the position of a line: what follows that line
// is sent. Its lines have a method Position.
func (op Op) Resuming(arg string) Op {
	op.Resume = arg
	return op
}

// settling returns a function that makes a value of type t fit for clients, or nil if any is. All
// times get into UTC: the records of the core have times in the zones of those who gave them,
// and clients compare times as text. And lists and maps are never null in JSON, so that clients
// need not ask: those that are nil become empty, unless they are left out then.
func settling(t reflect.Type) func(reflect.Value) {
	switch t.Kind() {
	case reflect.Pointer:
		if settle := settling(t.Elem()); settle != nil {
			return func(v reflect.Value) {
				if !v.IsNil() {
					settle(v.Elem())
				}
			}
		}
	case reflect.Slice:
		if settle := settling(t.Elem()); settle != nil {
			return func(v reflect.Value) {
				for i := range v.Len() {
					settle(v.Index(i))
				}
			}
		}
	case reflect.Struct:
		if t == reflect.TypeFor[time.Time]() {
			return func(v reflect.Value) {
				if p, ok := v.Addr().Interface().(*time.Time); ok {
					*p = p.UTC()
				}
			}
		}
		type field struct {
			i      int
			settle func(reflect.Value)
		}
		var fields []field
		for i := range t.NumField() {
			if settle := settling(t.Field(i).Type); settle != nil {
				fields = append(fields, field{i, settle})
			}
			if empty := emptied(t.Field(i)); empty != nil {
				fields = append(fields, field{i, empty})
			}
		}
		if fields != nil {
			return func(v reflect.Value) {
				for _, f := range fields {
					f.settle(v.Field(f.i))
				}
			}
		}
	}
	return nil
}

// emptied returns a function that replaces nil by an empty list or map, or nil if f is neither or is
// left out of JSON then.
func emptied(f reflect.StructField) func(reflect.Value) {
	_, options, _ := strings.Cut(f.Tag.Get("json"), ",")
	if !f.IsExported() || strings.Contains(options, "omit") || f.Tag.Get("json") == "-" {
		return nil
	}
	empty := func() reflect.Value { return reflect.MakeSlice(f.Type, 0, 0) }
	switch f.Type.Kind() {
	case reflect.Map:
		empty = func() reflect.Value { return reflect.MakeMap(f.Type) }
	case reflect.Slice:
	default:
		return nil
	}
	return func(v reflect.Value) {
		if v.IsNil() {
			v.Set(empty())
		}
	}
}

// settled makes out fit for clients; settle is the function of [settling] for its type.
func settled[Out any](settle func(reflect.Value), out *Out) {
	if settle != nil {
		settle(reflect.ValueOf(out).Elem())
	}
}

// Settle makes a line of op, to which out points, as clients get it. Call and Stream do so; it is for
// checks of what clients may get.
func (op *Op) Settle(out reflect.Value) {
	if settle := settling(op.Out); settle != nil {
		settle(out.Elem())
	}
}

func (r Reply[Out]) erase(settle func(reflect.Value), err error) Answer {
	a := Answer{Summary: r.Summary, Err: err}
	if len(r.Lines) > 0 || r.Each != nil {
		a.Lines = func(yield func(any, error) bool) {
			for i := range r.Lines {
				settled(settle, &r.Lines[i])
				if !yield(&r.Lines[i], nil) {
					return
				}
			}
			if r.Each == nil {
				return
			}
			for out, err := range r.Each {
				settled(settle, &out)
				if !yield(out, err) {
					return
				}
			}
		}
	}
	return a
}

// Streams reports whether op is run by Stream instead of Call.
func (op *Op) Streams() bool { return op.stream != nil }

// Batches reports whether Call does several inputs together.
func (op *Op) Batches() bool { return op.batch }

// Args returns the arguments in the order of their declaration.
func (op *Op) Args() []Arg { return op.spec.args }

// Call runs op for each of ins, in order, if c may call it. Op's Decoder made the inputs. It
// returns one answer for each.
func (op *Op) Call(ctx context.Context, c Caller, ins ...any) []Answer {
	if err := c.May(op.Name, op.Role); err != nil {
		as := make([]Answer, len(ins))
		for i := range as {
			as[i].Err = err
		}
		return as
	}
	return op.call(ctx, c, ins)
}

// Stream runs op for in, which op's Decoder made. The error is of kind fault.Denied if c
// may not call it.
func (op *Op) Stream(ctx context.Context, c Caller, in any, send func(any) error) error {
	if err := c.May(op.Name, op.Role); err != nil {
		return err
	}
	return op.stream(ctx, c, in, send)
}

// A Registry is a list of operations.
type Registry struct {
	ops    []*Op
	byName map[string]*Op
}

// NewRegistry returns a registry of ops in their order. It panics if two have the same
// name.
func NewRegistry(ops ...Op) *Registry {
	r := &Registry{byName: make(map[string]*Op)}
	for _, op := range ops {
		if r.byName[op.Name] != nil {
			panic(fmt.Sprintf("operation %s: declared twice", op.Name))
		}
		r.ops = append(r.ops, &op)
		r.byName[op.Name] = &op
	}
	return r
}

// Lookup returns the operation of that name, in upper or lower case, or nil.
func (r *Registry) Lookup(name string) *Op { return r.byName[strings.ToLower(name)] }

// Ops returns the operations in their order. The caller must not change them.
func (r *Registry) Ops() []*Op { return r.ops }
