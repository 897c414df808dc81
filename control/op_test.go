package control_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"activationd/control"
	"activationd/internal/fault"
)

type (
	untagged struct{ A string }
	optioned struct {
		A string `arg:"a,needed"`
	}
	unexported struct {
		a string `arg:"a"` //nolint:unused // that is the point
	}
	float struct {
		A float64 `arg:"a"`
	}
	double struct {
		A, B string `arg:"a"`
	}
	colon struct {
		A string `arg:"a:b"`
	}
)

// TestDeclareNonsense checks that a declaration without sense does not get as
// far as a daemon that serves.
func TestDeclareNonsense(t *testing.T) {
	for name, declare := range map[string]func(){
		"no name":           func() { declared[control.Nothing]("") },
		"upper case":        func() { declared[control.Nothing]("Reload") },
		"two blanks":        func() { declared[control.Nothing]("re  load") },
		"three words":       func() { declared[control.Nothing]("re load it") },
		"no struct":         func() { declared[string]("x") },
		"no tag":            func() { declared[untagged]("x") },
		"an unknown option": func() { declared[optioned]("x") },
		"not exported":      func() { declared[unexported]("x") },
		"a float":           func() { declared[float]("x") },
		"twice":             func() { declared[double]("x") },
		"a colon":           func() { declared[colon]("x") },
		"two of one name": func() {
			control.NewRegistry(declared[control.Nothing]("x"), declared[control.Nothing]("x"))
		},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: was accepted", name)
				}
			}()
			declare()
		}()
	}
}

func declared[In any](name string) control.Op {
	return control.Declare[In, control.Nothing](name, control.Viewer, "", nil)
}

// TestWireForms checks that the inputs of the wire forms can be declared.
func TestWireForms(t *testing.T) {
	r := control.NewRegistry(declared[control.AddIn]("add"), declared[control.IDIn]("show"), declared[control.ListIn]("list"),
		declared[control.LogIn]("log"), declared[control.ReloadIn]("reload"), declared[control.EventsIn]("events"),
		declared[control.LinkconfIn]("linkconf"), declared[control.DellinkconfIn]("dellinkconf"), declared[control.KillIn]("kill"),
		declared[control.CancelIn]("cancel"), declared[control.Nothing]("status"))
	if got := r.Lookup("LinkConf"); got == nil || got.Name != "linkconf" {
		t.Errorf("Lookup(LinkConf) = %v", got)
	}
	if got := r.Lookup("nothing"); got != nil {
		t.Errorf("Lookup(nothing) = %v", got)
	}
	if ops := r.Ops(); len(ops) != 11 || ops[10].Name != "status" || len(ops[10].Args()) != 0 {
		t.Errorf("Ops() = %v", ops)
	}
	want := control.Arg{Name: "resid", Type: "string", Required: true}
	if got := r.Lookup("linkconf").Args()[0]; got != want {
		t.Errorf("linkconf's first argument is %+v, want %+v", got, want)
	}
}

// TestNoWayAround checks that no face can forget to ask who calls.
func TestNoWayAround(t *testing.T) {
	type none = control.Nothing
	ops := control.NewRegistry(
		control.Declare("one", control.Operator, "", func(context.Context, control.Caller, none) (control.Reply[none], error) {
			return control.Reply[none]{}, nil
		}),
		control.DeclareBatch("many", control.Operator, "", func(_ context.Context, _ control.Caller, ins []none) []control.Result[none] {
			return make([]control.Result[none], len(ins)-1) // one too few
		}),
		control.DeclareStream("stream", control.Operator, "", func(context.Context, control.Caller, none, func(none) error) error {
			return nil
		}),
	)
	for role := control.NoRole; role <= control.Admin; role++ {
		for _, op := range ops.Ops() {
			c := control.Caller{Role: role, Name: "x", Via: "test"}
			var err error
			if op.Streams() {
				err = op.Stream(t.Context(), c, new(none), func(any) error { return nil })
			} else {
				as := op.Call(t.Context(), c, new(none), new(none))
				if len(as) != 2 {
					t.Fatalf("%s: %d answers", op.Name, len(as))
				}
				err = as[0].Err
				if op.Batches() && role >= op.Role && fault.Of(as[1].Err) != fault.Internal {
					t.Errorf("an answer that is missing is %v", as[1].Err)
				}
			}
			if denied := errors.Is(err, fault.Denied); denied != (role < control.Operator) {
				t.Errorf("%s as %v: %v", op.Name, role, err)
			}
		}
	}
}

func TestRoles(t *testing.T) {
	for r := control.NoRole; r <= control.Admin; r++ {
		if got, err := control.ParseRole(r.String()); got != r || err != nil {
			t.Errorf("ParseRole(%q) = %v, %v", r.String(), got, err)
		}
	}
	for _, s := range []string{"", "Admin", "role 7", control.Role(7).String()} {
		if got, err := control.ParseRole(s); got != control.NoRole || !errors.Is(err, fault.Invalid) {
			t.Errorf("ParseRole(%q) = %v, %v", s, got, err)
		}
	}
}

func TestCode(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want int
	}{
		{nil, 200}, {fault.Invalid, 400}, {fault.Denied, 403}, {fault.NotFound, 404}, {fault.Conflict, 409},
		{fault.Unavailable, 503}, {fault.Internal, 500}, {io.EOF, 500},
		{fmt.Errorf("x: %w", &control.ReplyError{Code: 429}), 429},
	} {
		if got := control.Code(tt.err); got != tt.want {
			t.Errorf("Code(%v) = %d, want %d", tt.err, got, tt.want)
		}
	}
}

func TestOneLine(t *testing.T) {
	for in, want := range map[string]string{
		"all well: ä": "all well: ä", "a:1: x\na:2: y\n": "a:1: x; a:2: y", "a\tb\r\x1b[2J\x7f": "a b  [2J ",
	} {
		if got := control.OneLine(in); got != want {
			t.Errorf("OneLine(%q) = %q, want %q", in, got, want)
		}
	}
}
