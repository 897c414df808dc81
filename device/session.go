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

// A Session is a device that was logged in to. It is not for use by several
// goroutines at once. After an error that is no [LineError] it is of no more use, but
// to be closed.
type Session struct {
	target  Target
	dialog  *dialog
	tr      *Transcript
	secrets masker

	client *ssh.Client // of a shell over SSH: each command has a channel
	link   *link       // of everything else
	under  part        // what the bytes of either go over

	term     terminal
	mode     mode
	prompt   string // the line at which commands are awaited, as it stands there
	marker   string // what no device says by itself
	chunk    int    // bytes on the way without an echo; 0: a line
	well     int    // lines without a repair since chunk was changed
	latency  time.Duration
	answered int  // bytes of the answer that is being read
	loggedIn bool // by a dialog on the line, which outlives the connection
	renamed  bool // the host in the prompt may be another
	strange  bool // as may the mode, and the host that its prompt names
	broken   error
}

// Open connects and logs in. When it returns, the device is in its privileged mode, a
// pager is off and a command is awaited. The caller closes the session.
//
// The kind of an error is [fault.Unavailable] for what may pass, [fault.Denied] for a
// login or a host key that was refused, and [fault.Invalid] for what the inventory has
// to say otherwise.
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
		_ = s.Close() // the first error is the one to tell
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
		if _, err := s.command(ctx, c); err != nil { // what a device doesn't know it needn't do
			return err
		}
	}
	_, err = s.confirm(ctx)
	return err
}

func (s *Session) connect(ctx context.Context, a address) error {
	switch a.scheme {
	case "ssh":
		client, conn, err := dialSSH(ctx, a.host, s.target, s.dialog)
		if err != nil {
			return err
		}
		s.under = conn
		if s.dialog.Shell {
			s.client = client
			return nil
		}
		stop := context.AfterFunc(ctx, func() { _ = client.Close() })
		shell, err := openShell(client, s.dialog.Terminal)
		if !stop() || err != nil {
			_ = client.Close()
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return err
		}
		s.link = newLink(shell, s.tr)
	case "serial":
		f, err := openSerial(a.host, a.line)
		if err != nil {
			return err
		}
		s.under = f
		s.link = newLink(f, s.tr)
	default:
		conn, err := dialDevice(ctx, a.host)
		if err != nil {
			return err
		}
		s.under = conn
		wire, err := overTCP(ctx, conn, a, s.tr)
		if err != nil {
			return err
		}
		s.link = newLink(wire, s.tr)
	}
	return nil
}

// fail makes an error whole, and the session useless unless it is a LineError.
func (s *Session) fail(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*LineError](err); ok && s.broken == nil {
		return err
	}
	if s.broken == nil {
		s.broken = err
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

// Close hangs up, after it has logged out where that matters: on a line that outlives
// the connection. It may be called again. When the dialogue went well, what was written
// last arrives; else what has not arrived never will.
func (s *Session) Close() error {
	if s.broken == nil && s.link != nil && s.loggedIn {
		ctx, cancel := context.WithTimeout(context.Background(), politeness)
		for _, c := range s.dialog.Logout {
			if s.typeLine(ctx, c) != nil || s.send(ctx, "\r") != nil {
				break
			}
			_, _ = s.read(ctx, firstLatency) // it is a courtesy
		}
		cancel()
	}
	if s.broken == nil {
		s.broken = errClosed
		ctx, cancel := context.WithTimeout(context.Background(), politeness)
		if delivered(ctx, s.under) {
			switch p := s.under.(type) {
			case *net.TCPConn:
				_ = p.SetLinger(-1) // an end, no reset; of a connection that is gone, neither
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

// politeness is how long a logout may take.
const politeness = 5 * time.Second

// limit returns a context for one command's answer.
func (s *Session) limit(ctx context.Context, what string) (context.Context, context.CancelFunc) {
	d := s.target.Limits.command() + s.target.line(len(what))
	return context.WithTimeoutCause(ctx, d, fmt.Errorf("no answer to %q within %v: %w", s.clean(what), d, fault.Unavailable))
}

// Show runs a command and returns what it says, lines ended by \n, without its echo,
// the prompt and what was logged in between. A refused command is a [LineError].
func (s *Session) Show(ctx context.Context, command string) (string, error) {
	if s.broken != nil {
		return "", s.fail(s.broken)
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
	// A refusal is short. In a long answer the same words are what was asked for.
	if said := s.dialog.refusals(lines); len(said) > 0 && len(lines) <= 5 {
		return nil, s.refused(0, command, lines)
	}
	return lines, nil
}

// tidy leaves out what is no answer: logs, parts of prompts, empty lines around it.
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

// Save makes the configuration survive a restart, where there is something to do. It is
// an error when the device does not say that it has.
func (s *Session) Save(ctx context.Context) error {
	if s.broken != nil {
		return s.fail(s.broken)
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
			// The storage may be busy.
			return s.fail(fmt.Errorf("the configuration is not saved; to %q it says %q: %w",
				c, cutText(s.clean(strings.Join(lines, "\n")), mostSaid), fault.Unavailable))
		}
	}
	return nil
}

// A LineError says which line a device refused, and with which words. Its kind is
// [fault.Invalid]. The session can be used on.
type LineError struct {
	Device string
	Number int    // of the lines given to Configure or Send, from 1; 0: a command of another kind
	Line   string // secrets masked
	Said   string // secrets masked
	Status int    // a shell command's exit status, else 0
}

func (e *LineError) Error() string {
	where := e.Device + ": "
	if e.Number > 0 {
		where += fmt.Sprintf("line %d, ", e.Number)
	}
	where += fmt.Sprintf("%q was refused", e.Line)
	if e.Status != 0 {
		where += fmt.Sprintf(" with exit status %d", e.Status)
	}
	if e.Said != "" {
		where += ": " + strings.ReplaceAll(e.Said, "\n", " / ")
	}
	return where
}

// plain is the error of a command that is not the caller's, and so not the caller's
// fault.
func (e *LineError) plain() error { return fmt.Errorf("it refused %q: %s", e.Line, e.Said) }

func (e *LineError) Unwrap() error { return fault.Invalid }

// clean masks the secrets of the login, of what was sent, of the transcript, and what
// stands where secrets do.
func (s *Session) clean(text string) string {
	return MaskSecrets(s.tr.clean(s.secrets.clean(text)))
}

// hide has the secrets of a line masked that is to be typed, wherever they come.
func (s *Session) hide(line string) {
	secrets := SecretsOf(line)
	s.secrets.mask(secrets...)
	s.tr.Mask(secrets...)
}

// most of what a device said to a refused line is kept.
const mostSaid = 500

func (s *Session) refused(number int, line string, said []string) *LineError {
	text := s.clean(strings.TrimSpace(strings.Join(s.tidy(said), "\n")))
	return &LineError{Device: s.target.Name, Number: number, Line: s.clean(line), Said: cutText(text, mostSaid)}
}

// cutText returns the beginning of a text, of at most so many bytes.
func cutText(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}
