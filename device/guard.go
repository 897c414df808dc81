package device

import (
	"context"
	"fmt"
	"regexp"

	"activationd/internal/fault"
)

// A Guard keeps what a device has refused from being tried again: after some wrong
// passwords an account is locked, here and wherever the same server is asked. A session
// gives each secret once; a Guard remembers it for those that come later.
type Guard interface {
	// Refused returns an error of kind [fault.Denied], with words for the user, if the
	// device is known to have refused t.
	Refused(ctx context.Context, t Try) error
	// Begin is called before t is given. With an error, of the same kind, it is not.
	Begin(ctx context.Context, t Try) error
	// End reports whether the device has refused t, and in which words. It is not called
	// when nobody knows.
	End(ctx context.Context, t Try, refused bool, said string)
}

// A Try is a secret that is given to a device, and for what.
type Try struct {
	Device, User string
	What         string // "password", "enable password" or "key"
	Secret       Secret
}

const (
	aPassword = "password"
	anEnable  = "enable password"
	aKey      = "key"
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

// refusedBefore returns an error if there is no secret left that the device could be given.
func (t Target) refusedBefore(ctx context.Context, ssh bool) error {
	if t.Guard == nil {
		return nil
	}
	var err error
	for _, try := range []Try{t.try(aKey, t.Login.Key), t.try(aPassword, t.Login.Password)} {
		if try.Secret == "" || try.What == aKey && !ssh {
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

// refused tells the guard, and returns the error.
func (t Target) refused(ctx context.Context, try Try, said string) error {
	if t.Guard != nil {
		t.Guard.End(ctx, try, true, said)
	}
	return fmt.Errorf("refused %s (%s): %w", try, said, fault.Denied)
}

var (
	// question matches a line that asks for something.
	question = regexp.MustCompile(`[:?]\s*$`)
	// anyKey matches what is satisfied by return.
	anyKey = regexp.MustCompile(`(?i)\b(press|hit|type)\b.*\b(key|return|enter)\b`)
	// another matches a question for a password that is not the one that we have.
	another = regexp.MustCompile(`(?i)\b(new|old|current|re-?type|re-?enter|confirm|verify|again)\b`)
)

// unknown says that a question was left without an answer.
func unknown(asked string) error {
	return fmt.Errorf("asks %q at the login, a question that its platform does not know, so nothing was given; "+
		"the device's login: {user: PATTERN, password: PATTERN} in the inventory adds to what it knows: %w", asked, fault.Invalid)
}
