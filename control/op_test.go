package control_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

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

// TestInvalidDeclarations checks that an invalid declaration panics before a daemon could
// serve it.
func TestInvalidDeclarations(t *testing.T) {
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

// TestCallerIsChecked checks that no face can forget to check the caller's role.
// Clients compare and sort times as text, so all times of all replies are in UTC.
func TestTimesAreUTC(t *testing.T) {
	type part struct{ At time.Time }
	type out struct {
		part
		Known   control.Instant
		Unknown control.Instant
		Some    []part
		None    *part
		One     *part
		Text    string
	}
	at := time.Date(2026, 11, 30, 10, 0, 0, 0, time.FixedZone("CET", 3600))
	value := func() out {
		return out{part{at}, control.Instant{Time: at}, control.Instant{}, []part{{at}, {at}}, nil, &part{at}, "+01:00"}
	}
	const want = `{"At":"2026-11-30T09:00:00Z","Known":"2026-11-30T09:00:00Z","Unknown":null,"Some":[{"At":"2026-11-30T09:00:00Z"},` +
		`{"At":"2026-11-30T09:00:00Z"}],"None":null,"One":{"At":"2026-11-30T09:00:00Z"},"Text":"+01:00"}`
	check := func(what string, got any) {
		if text, err := json.Marshal(got); err != nil || string(text) != want {
			t.Errorf("%s: %s, %v, want %s", what, text, err, want)
		}
	}
	reply := func() control.Reply[out] {
		return control.Reply[out]{Lines: []out{value()}, Each: func(yield func(out, error) bool) { yield(value(), nil) }}
	}
	var nobody control.Caller
	single := control.Declare("x", control.NoRole, "", func(context.Context, control.Caller, control.Nothing) (control.Reply[out], error) {
		return reply(), nil
	})
	batch := control.DeclareBatch("x", control.NoRole, "", func(context.Context, control.Caller, []control.Nothing) []control.Result[out] {
		return []control.Result[out]{{Reply: reply()}}
	})
	for _, op := range []control.Op{single, batch} {
		lines := 0
		for line := range op.Call(t.Context(), nobody, new(control.Nothing))[0].Lines {
			check(op.Name, line)
			lines++
		}
		if lines != 2 {
			t.Errorf("%d lines, want 2", lines)
		}
	}
	stream := control.DeclareStream("x", control.NoRole, "", func(_ context.Context, _ control.Caller, _ control.Nothing, send func(out) error) error {
		return send(value())
	})
	err := stream.Stream(t.Context(), nobody, new(control.Nothing), func(line any) error {
		check("a stream", line)
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestCallerIsChecked(t *testing.T) {
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
