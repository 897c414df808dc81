package device

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"activationd/internal/fault"
)

// An sshLogin offers a server each secret once. The key comes first, then the password:
// as an answer to its question if the server asks, as OpenSSH does it, else by itself.
type sshLogin struct {
	target Target
	dialog *dialog
	signer ssh.Signer // nil: there is no key

	given   []Try // the password is the last of them
	key     bool  // it was offered, or the guard forbids it
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
	return true
}

// password tells whether it was given.
func (l *sshLogin) password() bool {
	return len(l.given) > 0 && l.given[len(l.given)-1].What == aPassword
}

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
				answers = append(answers, l.target.Login.User)
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
	if err == nil {
		if l.password() {
			l.target.accepted(ctx, l.given[len(l.given)-1])
		}
		return nil
	}
	if fault.Of(l.err) == fault.Invalid && l.password() { // it was right, or nothing else would be asked for
		l.target.accepted(ctx, l.given[len(l.given)-1])
		return l.err
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
