package activation

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"activationd/internal/fault"
	"activationd/loginstore"
)

// TestWhoTellsOfLogins: only the processes of an activation that runs, as the user that it
// runs as, and those who may touch everything. Else anybody could keep a laboratory from its devices.
func TestWhoTellsOfLogins(t *testing.T) {
	bubble(t, nil, func(l *lab) {
		ada := &Identity{UID: 1001, Name: "ada"}
		l.script("1", Activate, script{lasts: hour})
		runs := l.add(NewJob{At: time.Now(), Owner: "ada", User: ada, Argv: []string{"x"}})
		waits := l.add(NewJob{At: time.Now().Add(hour), Owner: "ada", User: ada, Argv: []string{"x"}})
		l.is(runs, "activating")
		try := func(holder string) loginstore.Try {
			return loginstore.Try{Device: "sw1", User: "lab", What: "password", Digest: strings.Repeat("ab", 32), Holder: holder}
		}
		for _, tt := range []struct {
			name   string
			by     By
			holder string
			want   error
		}{
			{"its own process", By{Name: "ada", UID: 1001, OnlyOwn: true}, runs, nil},
			{"of one that does not run", By{Name: "ada", UID: 1001, OnlyOwn: true}, waits, fault.Conflict},
			{"another user", By{Name: "eve", UID: 1002, OnlyOwn: true}, runs, fault.Denied},
			{"by hand", By{Name: "ada", UID: 1001, OnlyOwn: true}, "", fault.Denied},
			{"for nobody that is known", By{Name: "ada", UID: 1001, OnlyOwn: true}, "7@x", fault.NotFound},
			{"an operator by hand", By{Name: "olga", UID: 1003}, "", nil},
			{"an operator for one that does not run", By{Name: "olga", UID: 1003}, waits, nil},
			{"root", By{Name: "root"}, "7@x", nil},
		} {
			for _, step := range []string{LoginAsk, LoginBegin, LoginAccepted} {
				if _, err := l.e.Login(context.Background(), tt.by, step, try(tt.holder), ""); !errors.Is(err, tt.want) {
					t.Errorf("%s, %s: %v, want %v", tt.name, step, err, tt.want)
				}
			}
		}
	})
}

// TestRetryOpensLogins: when an operator retries an activation, what it wanted may be tried again,
// whoever had tried it, and nothing else. A retry by its owner, who may do so
// as often as he likes, opens nothing.
func TestRetryOpensLogins(t *testing.T) {
	bubble(t, nil, func(l *lab) {
		ctx, root, ada := context.Background(), By{Name: "root"}, By{Name: "ada", UID: 1001, OnlyOwn: true}
		l.script("1", Activate, script{lasts: minute, exit: 5})
		id := l.add(NewJob{At: time.Now(), Owner: "ada", User: &Identity{UID: 1001, Name: "ada"}, Argv: []string{"x"}})
		l.is(id, "activating")
		step := func(step, device, holder string) string {
			t.Helper()
			why, err := l.e.Login(ctx, root, step, loginstore.Try{Device: device, What: "password", Digest: strings.Repeat("ab", 32), Holder: holder}, `"no"`)
			if err != nil {
				t.Fatal(err)
			}
			return why
		}
		from := l.e.hub.newest()
		step(LoginRefused, "sw1", "somebody")
		step(LoginRefused, "sw2", "somebody")
		if why := step(LoginAsk, "sw1", id); !strings.Contains(why, `refused the password at `) || !strings.Contains(why, "atctl retry --device sw1") {
			t.Errorf("it says %q", why)
		}
		news, _ := l.e.hub.after(from)
		if !slices.ContainsFunc(news, func(h Happening) bool {
			return h.What == "login.refused" && h.Failed && strings.Contains(h.Reason, "sw2")
		}) {
			t.Errorf("the happenings are %+v", news)
		}
		l.sleep(2 * minute)
		l.is(id, "failed")
		closed := func() string {
			t.Helper()
			all, err := l.e.Logins(ctx, "")
			if err != nil {
				t.Fatal(err)
			}
			devices := []string{}
			for _, l := range all {
				devices = append(devices, l.Device)
			}
			return fmt.Sprint(devices)
		}
		if mine, err := l.e.Logins(ctx, id); err != nil || len(mine) != 1 || mine[0].Device != "sw1" {
			t.Errorf("what it wanted is %+v, %v", mine, err)
		}
		for _, tt := range []struct {
			by   By
			want string
		}{{ada, "[sw1 sw2]"}, {root, "[sw2]"}} {
			if _, err := l.e.Do(ctx, tt.by, id, Retry, ""); err != nil {
				t.Fatal(err)
			}
			if got := closed(); got != tt.want {
				t.Errorf("after a retry by %s closed are %s, want %s", tt.by.Name, got, tt.want)
			}
			l.sleep(2 * minute)
			l.is(id, "failed")
		}
		if _, err := l.e.RetryLogins(ctx, root, "sw1"); !errors.Is(err, fault.NotFound) {
			t.Errorf("a retry of a device that has refused nothing: %v", err)
		}
		if _, err := l.e.RetryLogins(ctx, root, "sw2"); err != nil || closed() != "[]" {
			t.Errorf("a retry of the device: %v, closed are %s", err, closed())
		}
	})
}
