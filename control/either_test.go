package control

import (
	"context"
	"testing"
)

// TestEither checks that a command that needs one of several arguments does not run
// before one has arrived: people type requests line by line.
func TestEither(t *testing.T) {
	op := Declare("add", Viewer, "", func(context.Context, Caller, AddIn) (Reply[Nothing], error) { return Reply[Nothing]{}, nil })
	for _, tt := range []struct {
		name string
		set  []string // name, value
		want string
	}{
		{"none", nil, "add needs arg or script: invalid"},
		{"another", []string{"in", "5m"}, "add needs arg or script: invalid"},
		{"the one", []string{"arg", "true"}, ""},
		{"the other", []string{"script", "true"}, ""},
	} {
		d := op.Decoder()
		for i := 0; i+1 < len(tt.set); i += 2 {
			if err := d.Set([]byte(tt.set[i]), []byte(tt.set[i+1])); err != nil {
				t.Fatal(err)
			}
		}
		_, err := d.Input()
		if got := d.Complete(); got != (tt.want == "") {
			t.Errorf("%s: Complete = %v", tt.name, got)
		}
		if (err == nil) != (tt.want == "") || err != nil && err.Error() != tt.want {
			t.Errorf("%s: Input = %v, want %q", tt.name, err, tt.want)
		}
	}
}
