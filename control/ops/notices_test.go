package ops_test

import (
	"log/slog"
	"testing"

	"activationd/activation"
	"activationd/control"
	"activationd/control/ops"
	"activationd/store/memstore"
	"activationd/supervisor/wrapper"
)

// The daemon looks for what a job's command needs only if the client asks: the look takes about
// as long as a submission among many.
func TestNoticesAreAskedFor(t *testing.T) {
	looks := 0
	engine := activation.New(activation.Parts{
		DB: memstore.New(), Runs: noRuns{}, Log: slog.New(slog.DiscardHandler),
		Missing: func(wrapper.Command) string {
			looks++
			return "there is no command ehco"
		},
	}, activation.Settings{})
	registry := ops.Registry(ops.Daemon{Engine: engine, Identity: func(c control.Caller) (*activation.Identity, error) {
		return &activation.Identity{UID: c.UID, Name: c.Name}, nil
	}})
	for _, asked := range []bool{false, true} {
		looks = 0
		in := control.AddIn{In: "20d", Arg: []string{"ehco"}, Notices: asked}
		answer := registry.Lookup("add").Call(t.Context(), admin, &in)[0]
		if answer.Err != nil {
			t.Fatal(answer.Err)
		}
		notices := 0
		for line, err := range answer.Lines {
			if err != nil {
				t.Fatal(err)
			}
			notices += len(line.(*control.AddOut).Notices)
		}
		want := 0
		if asked {
			want = 1
		}
		if looks != want || notices != want {
			t.Errorf("asked: %v; %d looks and %d notices, want %d", asked, looks, notices, want)
		}
	}
}
