package ops_test

import (
	"errors"
	"slices"
	"testing"

	"activationd/activation"
	"activationd/control"
	"activationd/internal/fault"
)

// TestCan compares what a list says of verbs with what the verbs do, for jobs in several states
// and for two callers.
func TestCan(t *testing.T) {
	other := control.Caller{Role: control.Submitter, Name: "other", UID: 4711, GID: 4711}
	for _, verb := range activation.Verbs() {
		for state, steps := range map[string][]string{
			"scheduled": nil, "held": {"hold"}, "waiting": {"run"}, "cancelled": {"cancel"}, "again": {"cancel", "retry"},
		} {
			for _, by := range []control.Caller{admin, other} {
				d := auditDaemon(t)
				if err := d.call(admin, "add", &control.AddIn{In: "20d", Arg: []string{"true"}}); err != nil {
					t.Fatal(err)
				}
				for _, step := range steps {
					if err := d.call(admin, step, verbIn(step, nil)); err != nil {
						t.Fatal(err)
					}
				}
				can := d.can(by, verb)
				if err := d.call(by, verb, verbIn(verb, nil)); can != (err == nil) {
					t.Errorf("%s, %s by %s: the list says %v, and then: %v", state, verb, by.Name, can, err)
				}
			}
		}
	}
}

// TestChangedSinceChosen has verbs come with the state in which a job was when it was chosen.
func TestChangedSinceChosen(t *testing.T) {
	d := auditDaemon(t)
	if err := d.call(admin, "add", &control.AddIn{In: "20d", Arg: []string{"true"}}); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		verb string
		was  []string
		want error
	}{
		{"cancel", []string{"held"}, fault.Conflict},
		{"edit", []string{"held,waiting"}, fault.Conflict},
		{"hold", []string{"asleep"}, fault.Invalid},
		{"hold", []string{"held", "scheduled"}, nil},
		{"release", []string{"scheduled"}, fault.Conflict},
		{"run", []string{"scheduled,stuck"}, fault.Conflict},
		{"edit", []string{"held"}, nil},
		{"cancel", []string{"Held"}, nil},
		{"retry", []string{"failed", "lost"}, fault.Conflict},
		{"retry", []string{"cancelled"}, nil},
	} {
		if err := d.call(admin, tt.verb, verbIn(tt.verb, tt.was)); !errors.Is(err, tt.want) {
			t.Errorf("%s, which was %q: %v, want %v", tt.verb, tt.was, err, tt.want)
		}
	}
}

// verbIn is the input of a verb on job 1.
func verbIn(verb string, was []string) any {
	switch verb {
	case "cancel":
		return &control.CancelIn{ID: "1", Was: was}
	case "retry":
		return &control.RetryIn{ID: "1", Was: was}
	case "edit":
		return &control.EditIn{ID: "1", JobEdit: control.JobEdit{Label: "x"}, Was: was}
	}
	return &control.VerbIn{ID: "1", Was: was}
}

// can reports what a list says of a verb on job 1.
func (d *audited) can(by control.Caller, verb string) bool {
	d.t.Helper()
	by.Kind = control.ByUID
	var all []control.Activation
	for _, a := range d.Lookup("list").Call(d.t.Context(), by, &control.ListIn{State: []string{"all"}, Verb: verb}) {
		for line, err := range a.Lines {
			if err != nil {
				d.t.Fatal(err)
			}
			act, ok := line.(control.Activation)
			if !ok {
				d.t.Fatalf("list sent %T", line)
			}
			all = append(all, act)
		}
	}
	return slices.ContainsFunc(all, func(a control.Activation) bool { return a.ID == "1" && a.Can })
}
