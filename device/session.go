package device

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"activationd/internal/fault"
)

// A Session is a logged-in connection to a device. It must not be used by several goroutines
// at once. After an error that is not a [LineError], it can only be closed.
type Session struct {
	target  Target
	dialog  *dialog
	tr      *Transcript
	secrets masker

	client *ssh.Client // for a shell over SSH: each command has a channel of its own
	link   *link       // for everything else
	conn   rawConn     // the connection under client or link

	term       terminal
	mode       mode
	prompt     string // the line at which the device awaits commands, as it is shown
	marker     string // a word that no device says by itself
	chunk      int    // bytes that are typed without waiting for their echo; 0: a line
	cleanLines int    // lines without a loss since chunk was changed
	latency    time.Duration
	answered   int  // bytes received of the current answer
	loggedIn   bool // we logged in on a line, where the login outlasts the connection
	renamed    bool // the host in the prompt may have changed
	anyHost    bool // the mode, and the host in its prompt, may have changed
	failed     error
}

// Open connects and logs in. When it returns, the device is in its privileged mode, its pager
// is off, and it awaits a command. The caller closes the session.
//
// The kind of an error is [fault.Unavailable] for a failure that may pass, [fault.Denied] for
// a login or a host key that was refused, and [fault.Invalid] if the inventory must be
// changed.
func Open(ctx context.Context, t Target, tr *Transcript) (*Session, error) {
	s, err := newSession(t, tr)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", t.Name, err)
	}
	tr.Mask(t.Login.Password, t.Login.Enable)
	limited, cancel := context.WithTimeoutCause(ctx, t.Limits.connect(),
		fmt.Errorf("no login within %v: %w", t.Limits.connect(), fault.Unavailable))
	defer cancel()
	if err := s.open(limited); err != nil {
		err = s.fail(err)
		_ = s.Close() // the first error is returned
		return nil, err
	}
	return s, nil
}

func newSession(t Target, tr *Transcript) (*Session, error) {
	t.Platform.Login = t.Platform.Login.with(t.Questions)
	d, bad := compile(t.Platform)
	if len(bad) > 0 {
		return nil, fmt.Errorf("platform %s: %s: %s: %w", t.Platform.Name, strings.Join(bad[0].path, "."), bad[0].text, fault.Invalid)
	}
	if err := t.Pace.check(); err != nil {
		return nil, err
	}
	s := &Session{target: t, dialog: d, tr: tr, chunk: t.Pace.Chunk, latency: firstLatency}
	d.term = &s.term
	s.marker = "q" + strings.ToLower(rand.Text()[:7])
	s.secrets.mask(t.Login.Password, t.Login.Enable)
	return s, nil
}

func (s *Session) open(ctx context.Context) error {
	a, err := parseURL(s.target.URL)
	if err != nil {
		return err
	}
	if err := s.target.refusedBefore(ctx, a.scheme == "ssh"); err != nil {
		return err
	}
	s.tr.note("%s: connecting to %s", s.target.Name, s.target.URL)
	if err := s.connect(ctx, a); err != nil {
		return err
	}
	if s.client != nil {
		return nil
	}
	if err := s.login(ctx, a.scheme == "serial"); err != nil {
		return err
	}
	if s.dialog.Shell {
		return s.ownPrompt(ctx)
	}
	if err := s.privilege(ctx); err != nil {
		return err
	}
	for _, c := range s.dialog.Setup {
		if _, err := s.command(ctx, c); err != nil { // a device may refuse a command that it does not need
			return err
		}
	}
	_, err = s.confirm(ctx)
	return err
}

// fail completes an error. Unless it is a LineError, the session can't be used any more.
func (s *Session) fail(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*LineError](err); ok && s.failed == nil {
		return err
	}
	if s.failed == nil {
		s.failed = err
		s.tr.note("%s: %v", s.target.Name, err)
		s.hangUp()
	}
	if fault.Of(err) == fault.Internal && !errors.Is(err, fault.Internal) {
		return fmt.Errorf("%s: %w: %w", s.target.Name, err, fault.Unavailable)
	}
	return fmt.Errorf("%s: %w", s.target.Name, err)
}

func (s *Session) hangUp() {
	if s.client != nil {
		_ = s.client.Close()
	}
	if s.link != nil {
		s.link.hangUp()
	}
}

// Close ends the connection. On a line, where a login outlasts the connection, it logs out
// first. It may be called again. If there was no error, the bytes written last still arrive;
// after an error, bytes that have not arrived yet never will.
func (s *Session) Close() error {
	if s.failed == nil && s.link != nil && s.loggedIn {
		ctx, cancel := context.WithTimeout(context.Background(), logoutTimeout)
		for _, c := range s.dialog.Logout {
			if s.typeLine(ctx, c) != nil || s.send(ctx, "\r") != nil {
				break
			}
			_, _ = s.read(ctx, firstLatency) // the answer does not matter
		}
		cancel()
	}
	if s.failed == nil {
		s.failed = errClosed
		ctx, cancel := context.WithTimeout(context.Background(), logoutTimeout)
		if delivered(ctx, s.conn) {
			switch p := s.conn.(type) {
			case *net.TCPConn:
				_ = p.SetLinger(-1) // end the connection normally, without a reset
			case *serialWire:
				p.ended = true
			}
		}
		cancel()
	}
	s.hangUp()
	if s.link != nil {
		s.link.close()
	}
	s.tr.flush()
	return nil
}

// logoutTimeout is how long a logout may take.
const logoutTimeout = 5 * time.Second

// limit returns a context for the answer to one command.
func (s *Session) limit(ctx context.Context, what string) (context.Context, context.CancelFunc) {
	d := s.target.Limits.command() + s.target.line(len(what))
	return context.WithTimeoutCause(ctx, d, fmt.Errorf("no answer to %q within %v: %w", s.clean(what), d, fault.Unavailable))
}

// Show runs a command and returns the answer: lines that end with \n, without the echo, the
// prompt, and the log lines in between. If the device refuses the command, the error is a
// [LineError].
func (s *Session) Show(ctx context.Context, command string) (string, error) {
	if s.failed != nil {
		return "", s.fail(s.failed)
	}
	lines, err := s.show(ctx, command)
	if err != nil {
		return "", s.fail(err)
	}
	return strings.Join(append(lines, ""), "\n"), nil
}

func (s *Session) show(ctx context.Context, command string) ([]string, error) {
	lines, err := s.command(ctx, command)
	if err != nil {
		return nil, err
	}
	if s.client == nil {
		late, err := s.confirm(ctx)
		if err != nil {
			return nil, err
		}
		lines = append(lines, late...)
	}
	lines = s.tidy(lines)
	// A refusal is short. In a long answer the same words are part of the answer.
	if said := s.dialog.refusals(lines); len(said) > 0 && len(lines) <= 5 {
		return nil, s.refused(0, command, lines)
	}
	return lines, nil
}

// tidy removes lines that do not belong to an answer: log lines, parts of prompts, and empty
// lines around it.
func (s *Session) tidy(lines []string) []string {
	var out []string
	for _, l := range lines {
		if !is(s.dialog.logs, l) && !is(s.dialog.more, l) {
			out = append(out, l)
		}
	}
	for len(out) > 0 && (out[len(out)-1] == "" || is(s.dialog.strip, out[len(out)-1]) || s.dialog.prompt(out[len(out)-1]) != noMode) {
		out = out[:len(out)-1]
	}
	for len(out) > 0 && out[0] == "" {
		out = out[1:]
	}
	return out
}

// Save makes the configuration survive a restart, if the platform has a command for it. If the
// device does not confirm it, that is an error.
func (s *Session) Save(ctx context.Context) error {
	if s.failed != nil {
		return s.fail(s.failed)
	}
	for _, c := range s.dialog.Save {
		lines, err := s.show(ctx, c)
		if err != nil {
			return s.fail(err)
		}
		if len(s.dialog.refusals(lines)) > 0 {
			return s.fail(s.refused(0, c, lines))
		}
		if s.dialog.saved != nil && !slices.ContainsFunc(lines, func(l string) bool { return is(s.dialog.saved, l) }) {
			// The device's storage may be busy.
			return s.fail(fmt.Errorf("the configuration is not saved; the device answers %q to %q: %w",
				cutText(s.clean(strings.Join(lines, "\n")), maxSaid), c, fault.Unavailable))
		}
	}
	return nil
}

// clean masks secrets in a text: those of the login, of the lines that were sent and of the
// transcript, and the words where configurations have secrets.
func (s *Session) clean(text string) string {
	return MaskSecrets(s.tr.clean(s.secrets.clean(text)))
}

// hide masks the secrets of a line that will be typed, wherever they appear.
func (s *Session) hide(line string) {
	secrets := SecretsOf(line)
	s.secrets.mask(secrets...)
	s.tr.Mask(secrets...)
}
