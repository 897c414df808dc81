package control

import (
	"context"
	"fmt"
	"iter"
	"reflect"
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
	utc := timesIn(op.Out)
	op.call = func(ctx context.Context, c Caller, ins []any) []Answer {
		as := make([]Answer, len(ins))
		for i, in := range ins {
			reply, err := h(ctx, c, input[In](in))
			as[i] = reply.erase(utc, err)
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
	utc := timesIn(op.Out)
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
			as[i] = results[i].Reply.erase(utc, results[i].Err)
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
	utc := timesIn(op.Out)
	op.stream = func(ctx context.Context, c Caller, in any, send func(any) error) error {
		return h(ctx, c, input[In](in), func(out Out) error {
			inUTC(utc, &out)
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
	return Op{Name: name, Role: role, Help: help, In: in, Out: out, spec: spec}
}

// timesIn returns a function that sets all times in a value of type t to UTC, or nil if it
// has none. The records of the core have times in the zones of those who gave them, and
// clients compare times as text.
func timesIn(t reflect.Type) func(reflect.Value) {
	switch t.Kind() {
	case reflect.Pointer:
		if set := timesIn(t.Elem()); set != nil {
			return func(v reflect.Value) {
				if !v.IsNil() {
					set(v.Elem())
				}
			}
		}
	case reflect.Slice:
		if set := timesIn(t.Elem()); set != nil {
			return func(v reflect.Value) {
				for i := range v.Len() {
					set(v.Index(i))
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
			i   int
			set func(reflect.Value)
		}
		var fields []field
		for i := range t.NumField() {
			if set := timesIn(t.Field(i).Type); set != nil {
				fields = append(fields, field{i, set})
			}
		}
		if fields != nil {
			return func(v reflect.Value) {
				for _, f := range fields {
					f.set(v.Field(f.i))
				}
			}
		}
	}
	return nil
}

// inUTC sets the times in out to UTC; utc is the function of [timesIn] for its type.
func inUTC[Out any](utc func(reflect.Value), out *Out) {
	if utc != nil {
		utc(reflect.ValueOf(out).Elem())
	}
}

func (r Reply[Out]) erase(utc func(reflect.Value), err error) Answer {
	a := Answer{Summary: r.Summary, Err: err}
	if len(r.Lines) > 0 || r.Each != nil {
		a.Lines = func(yield func(any, error) bool) {
			for i := range r.Lines {
				inUTC(utc, &r.Lines[i])
				if !yield(&r.Lines[i], nil) {
					return
				}
			}
			if r.Each == nil {
				return
			}
			for out, err := range r.Each {
				inUTC(utc, &out)
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
