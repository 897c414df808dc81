package device

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"time"

	"activationd/internal/fault"
)

// How long a device that says nothing is waited for at the login, before it is nudged,
// and how long a line that could be a prompt must stand before it is believed enough
// to be tried.
const (
	silence = 2 * time.Second
	stands  = 150 * time.Millisecond
)

// login leads from whatever the device shows at the beginning to a prompt that was
// proved to be one. A console may be anywhere: in a pager, in a half-typed line, in a
// configuration mode where a connection was cut.
func (s *Session) login(ctx context.Context, console bool) error {
	tries := login{limit: s.target.Limits.logins()}
	quiet := silence
	if console {
		quiet = firstLatency // it says nothing by itself, but perhaps what it said to us
	}
	for {
		// A prompt is what the cursor stands behind when nothing more comes.
		known, err := s.until(ctx, quiet, s.knownAtLogin)
		if err == nil && known {
			err = s.settle(ctx, stands)
		}
		if err != nil {
			return tries.explain(s.explain(err))
		}
		quiet = silence
		done, err := s.loginStep(ctx, &tries)
		if err != nil {
			return tries.explain(err)
		}
		if done {
			return s.leaveOldMode(ctx)
		}
	}
}

// A login counts what was tried.
type login struct {
	limit    int
	user     int
	password int
	odd      bool
	said     string // by the device to the last one, secrets masked
}

func (l *login) explain(err error) error {
	if l.said != "" && l.password > 0 {
		return fmt.Errorf("after a login that was answered with %q: %w", l.said, err)
	}
	return err
}

func (s *Session) knownAtLogin() bool {
	line := s.term.line()
	m, _ := s.dialog.candidate(line)
	return m != noMode || is(s.dialog.user, line) || is(s.dialog.password, line) || is(s.dialog.more, line)
}

// loginStep reacts to the line that the cursor stands on.
func (s *Session) loginStep(ctx context.Context, tries *login) (done bool, err error) {
	line := s.term.line()
	for _, l := range s.term.take() {
		if is(s.dialog.failed, l) {
			tries.said = s.clean(strings.TrimSpace(l)) // some repeat what was typed
		}
	}
	switch {
	case is(s.dialog.more, line):
		return false, s.send(ctx, "q")
	case is(s.dialog.user, line):
		if tries.user++; tries.user > tries.limit {
			return false, tries.refused()
		}
		if s.target.Login.User == "" {
			return false, fmt.Errorf("asks %q, and its credentials have no user: %w", s.clean(line), fault.Denied)
		}
		s.loggedIn = true
		return false, s.say(ctx, s.target.Login.User)
	case is(s.dialog.password, line):
		if tries.user > 0 || tries.odd || s.target.Login.User == "" {
			tries.password++
		}
		tries.odd = true // asked before any user was named: a nudge had named an empty one, or there is none
		if tries.password > tries.limit {
			return false, tries.refused()
		}
		if s.target.Login.Password == "" {
			return false, fmt.Errorf("asks %q, and its credentials have no password: %w", s.clean(line), fault.Denied)
		}
		s.loggedIn = true
		return false, s.say(ctx, string(s.target.Login.Password))
	}
	if m, host := s.dialog.candidate(line); m != noMode {
		return s.believe(ctx, m, host)
	}
	return false, s.nudge(ctx)
}

func (l *login) refused() error {
	return fmt.Errorf("refused the user or the password %d times (%q): %w", l.limit, l.said, fault.Denied)
}

// say sends an answer at the login, where no echo can be checked, and waits until the
// line has ended.
func (s *Session) say(ctx context.Context, text string) error {
	if err := s.send(ctx, text+"\r"); err != nil {
		return err
	}
	_, err := s.until(ctx, silence, func() bool { return len(s.term.rows) > 0 })
	return err
}

// nudge makes a silent device show where it is: what may have been typed by others is
// erased first.
func (s *Session) nudge(ctx context.Context) error {
	return s.send(ctx, s.dialog.Keys.Erase+"\r")
}

// believe tries a line that looks like a prompt. Of a banner, a description or a
// password that looks like one, nothing stands behind it: what is typed doesn't appear,
// or appears elsewhere.
func (s *Session) believe(ctx context.Context, m mode, host string) (bool, error) {
	s.prompt, s.mode = s.term.line(), m
	s.dialog.learn(host)
	if s.dialog.Blind || s.dialog.Keys.Erase == "" {
		return s.believeTwice(ctx)
	}
	ok, err := s.typeOnce(ctx, s.marker, s.wait())
	if err != nil {
		return false, err
	}
	if !ok && s.dialog.prompt(s.prompt) == noMode { // not even now
		return false, s.nudge(ctx)
	}
	if ok {
		return true, s.erase(ctx, s.wait())
	}
	// Characters may have been lost, or it was none. Both end with an erased line.
	if err := s.send(ctx, s.dialog.Keys.Erase); err != nil {
		return false, err
	}
	_, err = s.until(ctx, s.wait(), func() bool { return strings.TrimSpace(s.term.line()) == strings.TrimSpace(s.prompt) })
	if err != nil || s.dialog.prompt(s.term.line()) != noMode {
		return false, err
	}
	return false, s.nudge(ctx)
}

// believeTwice is for devices that echo nothing or can't erase: an empty command must
// bring the same prompt once more.
func (s *Session) believeTwice(ctx context.Context) (bool, error) {
	s.term.take()
	if err := s.send(ctx, "\r"); err != nil {
		return false, err
	}
	again := func() bool { return len(s.term.rows) > 0 && s.term.line() == s.prompt }
	ok, err := s.until(ctx, s.wait(), again)
	if err == nil && ok {
		err = s.settle(ctx, stands)
	}
	return ok && again(), err
}

// leaveOldMode leaves a configuration mode that somebody, perhaps we before a cut, is
// still in.
func (s *Session) leaveOldMode(ctx context.Context) error {
	s.term.take()
	if s.mode != configure {
		return nil
	}
	s.tr.note("the console is in the configuration mode: leaving it")
	for _, c := range append(s.dialog.Configure.Abort[:len(s.dialog.Configure.Abort):len(s.dialog.Configure.Abort)], s.dialog.Configure.Leave...) {
		if _, err := s.command(ctx, c); err != nil {
			return err
		}
	}
	if s.mode == configure {
		return fmt.Errorf("stays in its configuration mode: %w", fault.Unavailable)
	}
	return nil
}

// privilege leads from the user's mode to the privileged one.
func (s *Session) privilege(ctx context.Context) error {
	if s.mode != userMode || s.dialog.Enable == "" {
		return nil
	}
	s.loggedIn = true // in a way: who comes next to a console shall not be privileged
	password := s.target.Login.Enable
	if password == "" {
		password = s.target.Login.Password
	}
	for range s.target.Limits.logins() {
		if err := s.typeLine(ctx, s.dialog.Enable); err != nil {
			return err
		}
		s.term.drop = true
		if err := s.send(ctx, "\r"); err != nil {
			return err
		}
		said, err := s.enable(ctx, password)
		if err != nil || s.mode == privileged {
			return err
		}
		s.tr.note("the privileged mode was refused: %q", s.clean(strings.Join(said, "\n")))
	}
	return fmt.Errorf("refuses its privileged mode; is the enable password right? %w", fault.Denied)
}

// enable answers the questions for a password until there is a prompt again.
func (s *Session) enable(ctx context.Context, password Secret) ([]string, error) {
	for asked := 0; ; {
		ok, err := s.until(ctx, silence, func() bool {
			return s.atPrompt() || !s.term.drop && is(s.dialog.password, s.term.line())
		})
		switch {
		case err != nil:
			return nil, s.explain(err)
		case !ok:
		case s.atPrompt():
			s.prompt = s.term.line()
			return s.term.take(), nil
		default:
			if asked++; asked > s.target.Limits.logins() {
				return nil, fmt.Errorf("asks for the enable password again and again: %w", fault.Denied)
			}
			if password == "" {
				return nil, fmt.Errorf("asks for a password of its privileged mode, and its credentials have no enable: %w", fault.Denied)
			}
			if err := s.say(ctx, string(password)); err != nil {
				return nil, err
			}
		}
	}
}

// ownPrompt gives a shell a prompt that nothing else says, and that tells the exit
// status of each command.
func (s *Session) ownPrompt(ctx context.Context) error {
	setup := fmt.Sprintf(`PS1='[%[1]s:$?]# ' PS2='[%[1]s:more]> ' PS0=; unset PROMPT_COMMAND; stty columns %[2]d 2>/dev/null; set +H 2>/dev/null; :`,
		s.marker, columns)
	s.dialog.known = map[mode]*regexp.Regexp{
		privileged: regexp.MustCompile(`^\[` + s.marker + `:\d+\]#$`),
		unfinished: regexp.MustCompile(`^\[` + s.marker + `:more\]>$`),
	}
	if err := s.typeLine(ctx, setup); err != nil {
		return err
	}
	if _, err := s.enter(ctx); err != nil {
		return err
	}
	for _, c := range s.dialog.Setup {
		if _, err := s.command(ctx, c); err != nil {
			return err
		}
	}
	_, err := s.confirm(ctx)
	return err
}
