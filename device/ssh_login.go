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

// An sshLogin offers each secret to a server once. First it offers the key, then the password:
// as an answer if the server asks for it, as OpenSSH does, or else by itself.
type sshLogin struct {
	target Target
	dialog *dialog
	signer ssh.Signer // nil if there is no key

	given         []Try // given, but not known to be right or wrong
	key           bool  // the key was offered, or the guard forbids it
	passwordGiven bool  // the password was given
	err           error // the error that ends the login
	blocked       error // the error by which the guard forbade a secret
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

// next returns a function that chooses the next method.
func (l *sshLogin) next(ctx context.Context) func(*ssh.ClientAuthContext) (ssh.AuthMethod, error) {
	return func(c *ssh.ClientAuthContext) (ssh.AuthMethod, error) {
		possible := func(method string) bool {
			return slices.Contains(c.AllowedMethods, method) && !slices.Contains(c.TriedMethods, method)
		}
		if l.err != nil {
			return nil, l.err
		}
		l.acceptedPartly(ctx, c.PartialSuccessMethods)
		if l.signer != nil && !l.key && possible("publickey") {
			l.key = true
			if l.begin(ctx, l.target.try(whatKey, l.target.Login.Key)) {
				return ssh.PublicKeys(l.signer), nil
			}
		}
		if l.target.Login.Password == "" || l.gavePassword() {
			return nil, nil // there is no other secret
		}
		if possible("keyboard-interactive") {
			return ssh.KeyboardInteractive(l.answer(ctx)), nil
		}
		if possible("password") && l.begin(ctx, l.target.try(whatPassword, l.target.Login.Password)) {
			return ssh.Password(string(l.target.Login.Password)), nil
		}
		return nil, nil
	}
}

// begin asks the guard whether a secret may be given.
func (l *sshLogin) begin(ctx context.Context, t Try) bool {
	if err := l.target.begin(ctx, t); err != nil {
		l.blocked = err
		return false
	}
	l.given = append(l.given, t)
	l.passwordGiven = l.passwordGiven || t.What == whatPassword
	return true
}

// acceptedPartly is for servers that ask for several secrets: it reports those that were
// accepted, whatever becomes of the others.
func (l *sshLogin) acceptedPartly(ctx context.Context, methods []string) {
	l.given = slices.DeleteFunc(l.given, func(t Try) bool {
		right := slices.ContainsFunc(methods, func(m string) bool { return (m == "publickey") == (t.What == whatKey) })
		if right {
			l.target.accepted(ctx, t)
		}
		return right
	})
}

// gavePassword reports whether the password was given.
func (l *sshLogin) gavePassword() bool { return l.passwordGiven }

// asksPassword matches how servers ask for a password on all platforms.
var asksPassword = regexp.MustCompile(`(?i)^(.*\s)?password( for .*)?:?\s*$`)

// answer returns a function that answers the questions of a server, if they are known.
func (l *sshLogin) answer(ctx context.Context) ssh.KeyboardInteractiveChallenge {
	return func(_, _ string, questions []string, echoes []bool) ([]string, error) {
		var answers []string
		for i, q := range questions {
			line := strings.TrimSpace(q)
			secret := is(l.dialog.password, line) || asksPassword.MatchString(line)
			switch {
			case echoes[i] && is(l.dialog.user, line) && l.target.Login.User != "":
				answers = append(answers, l.target.userName())
			case !secret || otherPassword.MatchString(line):
				l.err = unknownQuestion(line)
			case l.gavePassword(): // it was wrong
				l.err = fmt.Errorf("asks %q again: %w", line, fault.Denied)
			case l.begin(ctx, l.target.try(whatPassword, l.target.Login.Password)):
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

// ended returns the error for the end of the handshake, or nil if the login succeeded.
func (l *sshLogin) ended(ctx context.Context, err error) error {
	if last := len(l.given) - 1; last >= 0 && (err == nil || fault.Of(l.err) == fault.Invalid && l.gavePassword()) {
		// The secret was right, or the server would not ask for another thing.
		l.target.accepted(ctx, l.given[last])
	}
	switch {
	case err == nil:
		return nil
	case fault.Of(l.err) == fault.Invalid && l.gavePassword():
		return l.err
	case errors.Is(err, syscall.ETIMEDOUT), errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return sshFault(err) // the network, not the server, ended the handshake
	}
	// The package has no types for a server's messages.
	if !l.gavePassword() && l.err == nil && !strings.Contains(err.Error(), "unable to authenticate") && !strings.Contains(err.Error(), "ssh: disconnect") {
		return sshFault(err)
	}
	var all []string
	for _, t := range l.given {
		_ = l.target.refused(ctx, t, err.Error()) // the returned error has all of them
		all = append(all, t.String())
	}
	switch {
	case l.blocked != nil && !l.gavePassword():
		return l.blocked
	case l.err != nil && fault.Of(l.err) == fault.Invalid:
		return l.err
	case len(all) > 0:
		return fmt.Errorf("refuses %s (%v): %w", strings.Join(all, " and "), err, fault.Denied)
	}
	return sshFault(err)
}
