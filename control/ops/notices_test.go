package ops_test

import (
	"log/slog"
	"strings"
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

// Whether devices are known is a question about many names at once: the inventory, which is a file, is
// not read again for each.
func TestManyDevicesReadTheInventoryOnce(t *testing.T) {
	engine := activation.New(activation.Parts{DB: memstore.New(), Runs: noRuns{}, Log: slog.New(slog.DiscardHandler)}, activation.Settings{})
	reads := 0
	registry := ops.Registry(ops.Daemon{Engine: engine, Inventory: func() (map[string][]string, error) {
		reads++
		return map[string][]string{"r1": nil, "r2": nil, "r3": nil}, nil
	}})
	answer := registry.Lookup("calendar").Call(t.Context(), admin, &control.CalendarIn{Device: []string{"r1", "r2", "r3", "r4"}})[0]
	if answer.Err != nil {
		t.Fatal(answer.Err)
	}
	if !strings.Contains(answer.Summary, "a device r4") || strings.Contains(answer.Summary, "r3") {
		t.Errorf("the notice is %q", answer.Summary)
	}
	if reads > 2 {
		t.Errorf("the calendar of four devices reads the inventory %d times", reads)
	}
}
