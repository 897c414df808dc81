package device

import (
	"context"
	"fmt"
	"regexp"

	"activationd/internal/fault"
)

// A Guard keeps a secret that a device has refused from being tried again: some wrong
// passwords lock an account, on this device and on all that ask the same server. A session
// gives each secret once; a Guard remembers refusals for later sessions.
type Guard interface {
	// Refused returns an error of kind [fault.Denied], in words for the user, if the device is
	// known to have refused t.
	Refused(ctx context.Context, t Try) error
	// Begin is called before t is given. If it returns an error, of the same kind, t is not
	// given.
	Begin(ctx context.Context, t Try) error
	// End is called with whether the device has refused t, and in which words. It is not
	// called if that is not known.
	End(ctx context.Context, t Try, refused bool, said string)
}

// A Try is a secret that is given to a device, and its purpose.
type Try struct {
	Device, User string
	What         string // "password", "enable password" or "key"
	Secret       Secret
}

const (
	whatPassword = "password"
	whatEnable   = "enable password"
	whatKey      = "key"
)

func (t Try) String() string {
	if t.User == "" {
		return "the " + t.What
	}
	return "the " + t.What + " of " + t.User
}

func (t Target) try(what string, secret Secret) Try {
	return Try{Device: t.Name, User: t.Login.User, What: what, Secret: secret}
}

func (t Target) begin(ctx context.Context, try Try) error {
	if t.Guard == nil {
		return nil
	}
	return t.Guard.Begin(ctx, try)
}

// refusedBefore returns an error if every secret that the device could be given was refused
// before.
func (t Target) refusedBefore(ctx context.Context, ssh bool) error {
	if t.Guard == nil {
		return nil
	}
	var err error
	for _, try := range []Try{t.try(whatKey, t.Login.Key), t.try(whatPassword, t.Login.Password)} {
		if try.Secret == "" || try.What == whatKey && !ssh {
			continue
		}
		if err = t.Guard.Refused(ctx, try); err == nil {
			return nil
		}
	}
	return err
}

func (t Target) accepted(ctx context.Context, try Try) {
	if t.Guard != nil {
		t.Guard.End(ctx, try, false, "")
	}
}

// refused reports a refusal to the guard and returns the error for it.
func (t Target) refused(ctx context.Context, try Try, said string) error {
	if t.Guard != nil {
		t.Guard.End(ctx, try, true, said)
	}
	return fmt.Errorf("refused %s (%s): %w", try, said, fault.Denied)
}

var (
	// question matches a line that asks for something.
	question = regexp.MustCompile(`[:?]\s*$`)
	// anyKey matches a line that waits for return.
	anyKey = regexp.MustCompile(`(?i)\b(press|hit|type)\b.*\b(key|return|enter)\b`)
	// otherPassword matches a question for a password that is not the password of the login.
	otherPassword = regexp.MustCompile(`(?i)\b(new|old|current|re-?type|re-?enter|confirm|verify|again)\b`)
)

// unknownQuestion returns the error for a question that was not answered.
func unknownQuestion(asked string) error {
	return fmt.Errorf("asks %q at the login, a question that its platform does not know, so nothing was answered; "+
		"\"login: {user: PATTERN, password: PATTERN}\" of the device in the inventory adds patterns: %w", asked, fault.Invalid)
}
