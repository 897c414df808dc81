package ops_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"activationd/activation"
	"activationd/activation/service"
	"activationd/control"
	"activationd/control/ops"
	"activationd/internal/fault"
	"activationd/store/memstore"
)

// While the first load lasts, a request about services waits for it, but not forever, and a
// stop of what is known from before does not wait.
func TestServicesBeforeTheFirstLoad(t *testing.T) {
	const waits = 10 * time.Second
	for _, tt := range []struct {
		op    string
		in    any
		ended bool          // the load ends after three seconds
		takes time.Duration // the reply
		kind  fault.Kind    // of its error
	}{
		{"service list", new(control.ServiceIn), true, 3 * time.Second, ""},
		{"service list", new(control.ServiceIn), false, waits, ""},
		{"service list", &control.ServiceIn{Name: []string{"new"}}, true, 3 * time.Second, fault.NotFound},
		{"service list", &control.ServiceIn{Name: []string{"new"}}, false, waits, fault.Unavailable},
		{"service start", &control.ServiceStartIn{ServiceIn: control.ServiceIn{Name: []string{"old"}}}, false, waits, ""},
		{"service restart", &control.ServiceRestartIn{ServiceIn: control.ServiceIn{Name: []string{"old"}}}, true, 3 * time.Second, ""},
		{"service restart", &control.ServiceRestartIn{ServiceIn: control.ServiceIn{Name: []string{"new"}}}, false, waits, fault.Unavailable},
		{"service restart", &control.ServiceRestartIn{ServiceIn: control.ServiceIn{Name: []string{"old"}}, Rolling: true}, false, waits, fault.Unavailable},
		{"service scale", &control.ServiceScaleIn{Name: "old", Instances: 2}, false, waits, fault.Unavailable},
		{"service env", &control.ServiceIn{Name: []string{"new"}}, false, waits, fault.Unavailable},
		{"service stop", &control.ServiceStopIn{ServiceIn: control.ServiceIn{Name: []string{"old"}}}, false, 0, ""},
		{"service stop", &control.ServiceStopIn{ServiceIn: control.ServiceIn{Name: []string{"new"}}}, true, 3 * time.Second, fault.NotFound},
		{"service stop", &control.ServiceStopIn{ServiceIn: control.ServiceIn{Group: "new"}}, false, waits, fault.Unavailable},
		{"service stop", new(control.ServiceStopIn), false, 0, fault.Invalid},
	} {
		synctest.Test(t, func(t *testing.T) {
			engine := activation.New(activation.Parts{DB: memstore.New(), Runs: noRuns{}, Log: slog.New(slog.DiscardHandler)}, activation.Settings{})
			roster := service.NewRoster(engine)
			old := service.New("old")
			old.Command = []string{"true"}
			steps, err := roster.Declare(t.Context(), []*service.Declaration{old}, nil, true)
			if err != nil {
				t.Fatal(err)
			}
			for _, step := range steps { // as the daemon before has left it
				if err := engine.Update(t.Context(), func(t *activation.Txn) error { _, err := step(t); return err }); err != nil {
					t.Fatal(err)
				}
			}
			loaded := make(chan struct{})
			if tt.ended {
				time.AfterFunc(3*time.Second, func() { close(loaded) })
			}
			registry := ops.Registry(ops.Daemon{Engine: engine, Services: roster, Loaded: loaded})
			began := time.Now()
			answer := registry.Lookup(tt.op).Call(context.Background(), control.Caller{Role: control.Admin, Kind: control.ByUID, Name: "root"}, tt.in)[0]
			if took := time.Since(began); took != tt.takes || (answer.Err == nil) != (tt.kind == "") || answer.Err != nil && fault.Of(answer.Err) != tt.kind {
				t.Errorf("%s %+v: %v after %v, want %q after %v", tt.op, tt.in, answer.Err, took, tt.kind, tt.takes)
			}
			if tt.kind == fault.Unavailable && !strings.Contains(answer.Err.Error(), "still reading what is declared") {
				t.Errorf("%s: %v", tt.op, answer.Err)
			}
		})
	}
}
