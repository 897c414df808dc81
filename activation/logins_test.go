package activation_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	. "activationd/activation"

	"activationd/event"
	"activationd/internal/fault"
	"activationd/loginstore"
)

// TestWhoTellsOfLogins: steps of logins may be reported only by the processes of a
// running activation, as the user that it runs as, and by clients that may touch
// everything. Otherwise anybody could lock a laboratory out of its devices.
func TestWhoTellsOfLogins(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		ada := &Identity{UID: 1001, Name: "ada"}
		rig.script("1", Activate, script{lasts: hour})
		runs := rig.add(NewJob{At: time.Now(), Order: Order{Owner: "ada", User: ada, Argv: []string{"x"}}})
		waits := rig.add(NewJob{At: time.Now().Add(hour), Order: Order{Owner: "ada", User: ada, Argv: []string{"x"}}})
		rig.is(runs, "activating")
		try := func(holder string) loginstore.Try {
			return loginstore.Try{Device: "sw1", User: "lab", What: "password", Digest: strings.Repeat("ab", 32), Holder: holder}
		}
		for _, tt := range []struct {
			name   string
			by     Actor
			holder string
			want   error
		}{
			{"its own process", Actor{Name: "ada", UID: 1001, OnlyOwn: true}, runs, nil},
			{"of one that does not run", Actor{Name: "ada", UID: 1001, OnlyOwn: true}, waits, fault.Conflict},
			{"another user", Actor{Name: "eve", UID: 1002, OnlyOwn: true}, runs, fault.Denied},
			{"by hand", Actor{Name: "ada", UID: 1001, OnlyOwn: true}, "", fault.Denied},
			{"for nobody that is known", Actor{Name: "ada", UID: 1001, OnlyOwn: true}, "7@x", fault.NotFound},
			{"an operator by hand", Actor{Name: "olga", UID: 1003}, "", nil},
			{"an operator for one that does not run", Actor{Name: "olga", UID: 1003}, waits, nil},
			{"root", Actor{Name: "root"}, "7@x", nil},
		} {
			for _, step := range []string{LoginAsk, LoginBegin, LoginAccepted} {
				if _, err := rig.e.Login(context.Background(), tt.by, step, try(tt.holder), ""); !errors.Is(err, tt.want) {
					t.Errorf("%s, %s: %v, want %v", tt.name, step, err, tt.want)
				}
			}
		}
	})
}

// TestRetryOpensLogins: when an operator retries an activation, the logins that it needed
// may be tried again, whoever tried them, and no others. A retry by its owner, who may
// retry as often as possible, allows none.
func TestRetryOpensLogins(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		ctx, root, ada := context.Background(), Actor{Name: "root"}, Actor{Name: "ada", UID: 1001, OnlyOwn: true}
		rig.script("1", Activate, script{lasts: minute, exit: 5})
		id := rig.add(NewJob{At: time.Now(), Order: Order{Owner: "ada", User: &Identity{UID: 1001, Name: "ada"}, Argv: []string{"x"}}})
		rig.is(id, "activating")
		step := func(step, device, holder string) string {
			t.Helper()
			why, err := rig.e.Login(ctx, root, step, loginstore.Try{Device: device, What: "password", Digest: strings.Repeat("ab", 32), Holder: holder}, `"no"`)
			if err != nil {
				t.Fatal(err)
			}
			return why
		}
		from := rig.newest()
		step(LoginRefused, "sw1", "somebody")
		step(LoginRefused, "sw2", "somebody")
		if why := step(LoginAsk, "sw1", id); !strings.Contains(why, `refused the password at `) || !strings.Contains(why, "atctl retry --device sw1") {
			t.Errorf("it says %q", why)
		}
		events := rig.eventsAfter(from)
		if !slices.ContainsFunc(events, func(ev *event.Event) bool {
			return ev.Topic == "login.sw2.refused" && ev.Failed && strings.Contains(ev.Reason, "sw2")
		}) {
			t.Errorf("the events are %+v", events)
		}
		rig.sleep(2 * minute)
		rig.is(id, "failed")
		closed := func() string {
			t.Helper()
			all, err := rig.e.Logins(ctx, "")
			if err != nil {
				t.Fatal(err)
			}
			devices := []string{}
			for _, l := range all {
				devices = append(devices, l.Device)
			}
			return fmt.Sprint(devices)
		}
		if mine, err := rig.e.Logins(ctx, id); err != nil || len(mine) != 1 || mine[0].Device != "sw1" {
			t.Errorf("what it wanted is %+v, %v", mine, err)
		}
		for _, tt := range []struct {
			by   Actor
			want string
		}{{ada, "[sw1 sw2]"}, {root, "[sw2]"}} {
			if _, err := rig.e.Do(ctx, tt.by, id, Retry, ""); err != nil {
				t.Fatal(err)
			}
			if got := closed(); got != tt.want {
				t.Errorf("after a retry by %s closed are %s, want %s", tt.by.Name, got, tt.want)
			}
			rig.sleep(2 * minute)
			rig.is(id, "failed")
		}
		if _, err := rig.e.RetryLogins(ctx, root, "sw1"); !errors.Is(err, fault.NotFound) {
			t.Errorf("a retry of a device that has refused nothing: %v", err)
		}
		if _, err := rig.e.RetryLogins(ctx, root, "sw2"); err != nil || closed() != "[]" {
			t.Errorf("a retry of the device: %v, closed are %s", err, closed())
		}
	})
}
