package device

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/crypto/ssh"

	"activationd/internal/fault"
)

// An sshLogin offers a server each secret once. The key comes first, then the password:
// as an answer to its question if the server asks, as OpenSSH does it, else by itself.
type sshLogin struct {
	target Target
	dialog *dialog
	signer ssh.Signer // nil: there is no key

	given   []Try // of which nobody knows yet whether they are right
	key     bool  // it was offered, or the guard forbids it
	asked   bool  // the password was given
	err     error // which ends it
	blocked error // by the guard
}

func newSSHLogin(t Target, d *dialog) (*sshLogin, error) {
	l := &sshLogin{target: t, dialog: d}
	if t.Login.Key != "" {
		var err error
		if l.signer, err = ssh.ParsePrivateKey([]byte(t.Login.Key)); err != nil {
			return nil, fmt.Errorf("the private key can't be read (%v): %w", err, fault.Invalid)
		}
	}
	return l, nil
}

// next chooses how to go on.
func (l *sshLogin) next(ctx context.Context) func(*ssh.ClientAuthContext) (ssh.AuthMethod, error) {
	return func(c *ssh.ClientAuthContext) (ssh.AuthMethod, error) {
		possible := func(method string) bool {
			return slices.Contains(c.AllowedMethods, method) && !slices.Contains(c.TriedMethods, method)
		}
		if l.err != nil {
			return nil, l.err
		}
		l.taken(ctx, c.PartialSuccessMethods)
		if l.signer != nil && !l.key && possible("publickey") {
			l.key = true
			if l.give(ctx, l.target.try(aKey, l.target.Login.Key)) {
				return ssh.PublicKeys(l.signer), nil
			}
		}
		if l.target.Login.Password == "" || l.password() {
			return nil, nil // there is nothing more to give
		}
		if possible("keyboard-interactive") {
			return ssh.KeyboardInteractive(l.answer(ctx)), nil
		}
		if possible("password") && l.give(ctx, l.target.try(aPassword, l.target.Login.Password)) {
			return ssh.Password(string(l.target.Login.Password)), nil
		}
		return nil, nil
	}
}

// give asks the guard.
func (l *sshLogin) give(ctx context.Context, t Try) bool {
	if err := l.target.begin(ctx, t); err != nil {
		l.blocked = err
		return false
	}
	l.given = append(l.given, t)
	l.asked = l.asked || t.What == aPassword
	return true
}

// taken is for a server that asks for more than one thing: what it has accepted of them stays
// right, whatever becomes of the others.
func (l *sshLogin) taken(ctx context.Context, methods []string) {
	l.given = slices.DeleteFunc(l.given, func(t Try) bool {
		right := slices.ContainsFunc(methods, func(m string) bool { return (m == "publickey") == (t.What == aKey) })
		if right {
			l.target.accepted(ctx, t)
		}
		return right
	})
}

// password reports whether it was given.
func (l *sshLogin) password() bool { return l.asked }

// asksPassword matches how servers ask that are no consoles, whatever the platform.
var asksPassword = regexp.MustCompile(`(?i)^(.*\s)?password( for .*)?:?\s*$`)

// answer answers a server's questions, if they are known.
func (l *sshLogin) answer(ctx context.Context) ssh.KeyboardInteractiveChallenge {
	return func(_, _ string, questions []string, echoes []bool) ([]string, error) {
		var answers []string
		for i, q := range questions {
			line := strings.TrimSpace(q)
			secret := is(l.dialog.password, line) || asksPassword.MatchString(line)
			switch {
			case echoes[i] && is(l.dialog.user, line) && l.target.Login.User != "":
				answers = append(answers, l.target.userName())
			case !secret || another.MatchString(line):
				l.err = unknown(line)
			case l.password(): // and was wrong
				l.err = fmt.Errorf("asks %q again: %w", line, fault.Denied)
			case l.give(ctx, l.target.try(aPassword, l.target.Login.Password)):
				answers = append(answers, string(l.target.Login.Password))
			default:
				l.err = l.blocked
			}
			if l.err != nil {
				return nil, l.err
			}
		}
		return answers, nil
	}
}

// ended says what the end of the handshake means; nil is that we are in.
func (l *sshLogin) ended(ctx context.Context, err error) error {
	if last := len(l.given) - 1; last >= 0 && (err == nil || fault.Of(l.err) == fault.Invalid && l.password()) {
		// It was right, or nothing else would be asked for.
		l.target.accepted(ctx, l.given[last])
	}
	switch {
	case err == nil:
		return nil
	case fault.Of(l.err) == fault.Invalid && l.password():
		return l.err
	case errors.Is(err, syscall.ETIMEDOUT), errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return sshFault(err) // it is not the server that has ended it
	}
	// The package has no types for what a server says.
	if !l.password() && l.err == nil && !strings.Contains(err.Error(), "unable to authenticate") && !strings.Contains(err.Error(), "ssh: disconnect") {
		return sshFault(err)
	}
	var all []string
	for _, t := range l.given {
		_ = l.target.refused(ctx, t, err.Error()) // one error tells of all
		all = append(all, t.String())
	}
	switch {
	case l.blocked != nil && !l.password():
		return l.blocked
	case l.err != nil && fault.Of(l.err) == fault.Invalid:
		return l.err
	case len(all) > 0:
		return fmt.Errorf("refuses %s (%v): %w", strings.Join(all, " and "), err, fault.Denied)
	}
	return sshFault(err)
}
