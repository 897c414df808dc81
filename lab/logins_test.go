package lab

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"activationd/device"
	"activationd/internal/fault"
)

// TestLogins follows a secret through one command: if it was not accepted it is not given
// again, also if there is no daemon to remember it, or if the daemon cannot be asked.
func TestLogins(t *testing.T) {
	ctx := context.Background()
	try := device.Try{Device: "sw1", User: "lab", What: "password", Secret: "hunter2"}
	other := try
	other.Secret = "hunter3"
	for _, tt := range []struct {
		name string
		err  error
	}{{"a daemon", nil}, {"none", errors.New("no such daemon")}} {
		t.Run(tt.name, func(t *testing.T) {
			var said, told []string
			w := &Work{
				Say: func(device, text string) { said = append(said, device+": "+text) },
				Logins: func(_ context.Context, s LoginStep) (string, error) {
					if strings.Contains(fmt.Sprintf("%+v", s), "hunter") || !regexp.MustCompile(`^[0-9a-f]{64}$`).MatchString(s.Digest) {
						t.Errorf("the daemon gets %+v", s)
					}
					told = append(told, s.Step)
					if s.Step == "refused" && tt.err == nil {
						return "refused it just now", nil
					}
					return "", tt.err
				},
			}
			g := guard{w}
			must := func(what string, err error) {
				t.Helper()
				if err != nil {
					t.Errorf("%s: %v", what, err)
				}
			}
			must("ask", g.Refused(ctx, try))
			must("the first", g.Begin(ctx, try))
			g.End(ctx, try, false, "")
			must("after it was accepted", g.Begin(ctx, try))
			if err := g.Refused(ctx, try); !errors.Is(err, fault.Denied) {
				t.Errorf("when nobody knows whether it was right: %v", err)
			}
			g.End(ctx, try, true, "no")
			if err := g.Begin(ctx, try); !errors.Is(err, fault.Denied) {
				t.Errorf("after it was refused: %v", err)
			}
			must("another secret", g.Begin(ctx, other))
			if want := []string{"ask", "begin", "accepted", "begin", "refused", "begin"}; !slices.Equal(told, want) {
				t.Errorf("the daemon got %q, want %q", told, want)
			}
			text := "sw1: the password of lab is not tried again until it is changed, or an operator runs \"atctl retry --device sw1\""
			if tt.err != nil {
				text = ": the daemon does not keep track of refused passwords: no such daemon"
			}
			if !slices.Equal(said, []string{text}) {
				t.Errorf("it says %q, want %q", said, text)
			}
		})
	}
	w := &Work{Logins: func(context.Context, LoginStep) (string, error) { return "refused it yesterday", nil }}
	if err := (guard{w}).Refused(ctx, try); !errors.Is(err, fault.Denied) || !strings.Contains(err.Error(), "yesterday") {
		t.Errorf("what the daemon knows to be wrong: %v", err)
	}
}
