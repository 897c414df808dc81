package control

import (
	"context"
	"fmt"
	"iter"
	"reflect"
	"strings"
)

// An Op is one operation, declared once: every face of the daemon (the line
// protocol, HTTP, help, the access rights) comes out of it.
type Op struct {
	Name string // a word, or two with a blank between them: "vlan list"
	Role Role   // the least that may
	Help string // one line
	In   reflect.Type
	Out  reflect.Type

	plan   *plan
	batch  bool
	call   func(ctx context.Context, c Caller, ins []any) []Answer
	stream func(ctx context.Context, c Caller, in any, send func(any) error) error
}

// Nothing is the input of an operation that takes no arguments, and the output
// of one that has no lines.
type Nothing struct{}

// A Reply is what an operation answers. Of Lines and Each one is enough; Each
// serves replies that should not be in memory as a whole. Each is run while
// the reply is written, as slowly as the client reads, so it must not hold a
// transaction or a lock over a yield.
type Reply[Out any] struct {
	Summary string // "added=3 changed=1", for the first line
	Lines   []Out
	Each    iter.Seq2[Out, error]
}

// A Result is the reply to one request of a batch. A reply may come with an
// error: the caller gets both.
type Result[Out any] struct {
	Reply Reply[Out]
	Err   error
}

// An Answer is a Result whose type was left behind.
type Answer struct {
	Summary string
	Lines   iter.Seq2[any, error] // nil: none
	Err     error
}

// Declare declares an operation that is asked and answers. In is a struct whose
// fields are tagged `arg:"name"`, `arg:"name,required"` or, for those of which at
// least one is required, `arg:"name,either"`, of type string,
// []string (the argument may be repeated), int, uint64 or bool. It panics when
// the declaration makes no sense, which shows at the daemon's first start.
func Declare[In, Out any](name string, role Role, help string,
	h func(ctx context.Context, c Caller, in In) (Reply[Out], error)) Op {
	op := newOp[In, Out](name, role, help)
	op.call = func(ctx context.Context, c Caller, ins []any) []Answer {
		as := make([]Answer, len(ins))
		for i, in := range ins {
			reply, err := h(ctx, c, input[In](in))
			as[i] = reply.erase(err)
		}
		return as
	}
	return op
}

// DeclareBatch declares an operation that can be asked several times at once:
// h gets the inputs of requests that one connection sent one after the other
// without waiting, at least one, and returns one result for each, in their
// order.
func DeclareBatch[In, Out any](name string, role Role, help string,
	h func(ctx context.Context, c Caller, ins []In) []Result[Out]) Op {
	op := newOp[In, Out](name, role, help)
	op.batch = true
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
			as[i] = results[i].Reply.erase(results[i].Err)
		}
		return as
	}
	return op
}

// DeclareStream declares an operation whose lines come as they happen, until h
// returns or the client hangs up; then ctx is done and send fails. An error
// that h returns before it has sent anything is the reply; a later one ends
// the lines.
func DeclareStream[In, Out any](name string, role Role, help string,
	h func(ctx context.Context, c Caller, in In, send func(Out) error) error) Op {
	op := newOp[In, Out](name, role, help)
	op.stream = func(ctx context.Context, c Caller, in any, send func(any) error) error {
		return h(ctx, c, input[In](in), func(out Out) error { return send(out) })
	}
	return op
}

// input returns what a Decoder of an operation with that input made.
func input[In any](in any) In {
	p, ok := in.(*In)
	if !ok {
		panic(fmt.Sprintf("input %T, want *%v", in, reflect.TypeFor[In]()))
	}
	return *p
}

func newOp[In, Out any](name string, role Role, help string) Op {
	in, out := reflect.TypeFor[In](), reflect.TypeFor[Out]()
	p, err := newPlan(in)
	if err != nil {
		panic(fmt.Sprintf("operation %s: %v", name, err))
	}
	if words := strings.Fields(name); len(words) < 1 || len(words) > 2 || name != strings.Join(words, " ") ||
		name != strings.ToLower(name) || strings.ContainsAny(name, ":\"") {
		panic(fmt.Sprintf("operation %q: not a name", name))
	}
	return Op{Name: name, Role: role, Help: help, In: in, Out: out, plan: p}
}

func (r Reply[Out]) erase(err error) Answer {
	a := Answer{Summary: r.Summary, Err: err}
	if len(r.Lines) > 0 || r.Each != nil {
		a.Lines = func(yield func(any, error) bool) {
			for i := range r.Lines {
				if !yield(&r.Lines[i], nil) {
					return
				}
			}
			if r.Each == nil {
				return
			}
			for out, err := range r.Each {
				if !yield(out, err) {
					return
				}
			}
		}
	}
	return a
}

// Streams reports whether op is to be run by Stream, and not by Call.
func (op *Op) Streams() bool { return op.stream != nil }

// Batches reports whether Call takes several inputs to be done together.
func (op *Op) Batches() bool { return op.batch }

// Args returns the arguments in the order of their declaration.
func (op *Op) Args() []Arg { return op.plan.args }

// Call runs op for each of ins, which its Decoder made, in order, if c may. It
// returns as many answers.
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

// Stream runs op for in, which its Decoder made, if c may.
func (op *Op) Stream(ctx context.Context, c Caller, in any, send func(any) error) error {
	if err := c.May(op.Name, op.Role); err != nil {
		return err
	}
	return op.stream(ctx, c, in, send)
}

// A Registry is the operations that there are.
type Registry struct {
	ops    []*Op
	byName map[string]*Op
}

// NewRegistry returns a registry of ops in their order. It panics when two have
// one name.
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

// Lookup returns the operation of that name, in whatever case, or nil.
func (r *Registry) Lookup(name string) *Op { return r.byName[strings.ToLower(name)] }

// Ops returns the operations in their order. The caller must not change them.
func (r *Registry) Ops() []*Op { return r.ops }
