package device

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"activationd/internal/fault"
)

// loginQuiet is how long a silent device is awaited at the login before return is pressed.
// promptStable is how long a line must stay before it is tried as a prompt.
const (
	loginQuiet   = 2 * time.Second
	promptStable = 150 * time.Millisecond
)

// login leads from whatever the device shows first to a verified prompt. A console may be in
// any state: in a pager, in a half-typed line, or in a configuration mode in which a
// connection was cut.
func (s *Session) login(ctx context.Context, serial bool) error {
	var l login
	quiet := loginQuiet
	if serial {
		quiet = firstLatency // a serial line says nothing by itself, but the device may have spoken to us before
	}
	for {
		// A prompt is the line at the cursor when nothing more comes.
		known, err := s.until(ctx, quiet, func() bool { return s.knownAtLogin() && l.passed(&s.term) })
		if err == nil && known {
			err = s.settle(ctx, promptStable)
		}
		if err == nil {
			quiet = loginQuiet
			var done bool
			if done, err = s.loginStep(ctx, &l); done {
				if l.begun {
					s.target.accepted(ctx, s.password())
				}
				return s.leaveOldMode(ctx)
			}
		}
		if errors.Is(err, errHungUp) && l.given {
			s.readEndedLines(&l)
			if m, _ := s.dialog.candidate(s.term.line()); m != noMode && l.said == "" && l.passed(&s.term) {
				s.target.accepted(ctx, s.password()) // a prompt shows that the password was right
				return s.explain(err)
			}
			return s.target.refused(ctx, s.password(), l.words("it closed the connection"))
		}
		if err != nil {
			return s.explain(err)
		}
	}
}

// A login is the state of a login.
type login struct {
	named   int    // how often the user was given
	greeted int    // how many questions after the login were answered
	begun   bool   // the guard knows of the password
	given   bool   // the password was the last answer
	asked   string // the last question that was answered, until something else is shown
	typed   string // the line as it looks if return was lost after the user
	heard   bool   // a prompt or a log line was seen since the last answer
	quiet   int    // how often the device was silent since the last action
	said    string // the words of the refusal, with secrets masked
	blank   bool   // a return that we pressed was taken for an empty user
	bytes   int    // how many bytes had come when return was pressed to wake the device, plus one
}

// maxQuiet is how often a device may be silent after a password. maxSilent is how often it may
// be silent after a return: a return that nobody has read yet answers the next question, and
// several returns answer several.
const (
	maxQuiet  = 10
	maxSilent = 5
)

// passed reports whether the last question that was answered is no longer the line at the
// cursor.
func (l *login) passed(t *terminal) bool {
	return l.asked == "" || len(t.rows) > 0 || t.line() != l.asked
}

// words returns what the device said about the password, or did otherwise.
func (l *login) words(did string) string {
	if l.said != "" {
		return fmt.Sprintf("%q", l.said)
	}
	return did
}

func (s *Session) password() Try { return s.target.try(whatPassword, s.target.Login.Password) }

func (s *Session) knownAtLogin() bool {
	line := s.term.line()
	m, _ := s.dialog.candidate(line)
	return m != noMode || is(s.dialog.user, line) || is(s.dialog.password, line) || is(s.dialog.more, line) || s.welcomed(line) != ""
}

// welcomed returns the keys to press at a question after the login, or "".
func (s *Session) welcomed(line string) string {
	for i, q := range s.dialog.welcome {
		if is(q, line) {
			return s.dialog.Welcome[i].Answer
		}
	}
	return ""
}

// readEndedLines evaluates the lines that have ended.
func (s *Session) readEndedLines(l *login) {
	for _, row := range s.term.take() {
		row = strings.TrimSpace(row)
		if l.given && is(s.dialog.failed, row) && !is(s.dialog.logs, row) {
			l.said = s.clean(row) // some devices repeat what was typed
		}
		l.blank = l.blank || l.bytes > 0 && l.named == 0 && is(s.dialog.user, row)
		m, _ := s.dialog.candidate(row)
		l.heard = l.heard || m != noMode || is(s.dialog.logs, row)
	}
}

// loginStep acts on the line at the cursor.
func (s *Session) loginStep(ctx context.Context, l *login) (done bool, err error) {
	passed := l.passed(&s.term)
	s.readEndedLines(l)
	line := s.term.line()
	if !passed {
		return false, nil // the device has not reacted to our answer yet
	}
	l.asked = ""
	// On a console, the question may be for the password of another user, who was named
	// before, or of no user, as a return names an empty one. Then the device asks for the user
	// next, and has said nothing about our password.
	stale := l.named == 0 && s.target.Login.User != ""
	if l.given && l.said != "" && !stale {
		return false, s.target.refused(ctx, s.password(), l.words(""))
	}
	switch {
	case is(s.dialog.more, line):
		return false, s.send(ctx, "q")
	case s.welcomed(line) != "":
		if l.greeted++; l.greeted > maxGreetings {
			return false, unknownQuestion(s.clean(line))
		}
		l.asked, l.heard, l.quiet = line, false, 0
		return false, s.send(ctx, s.welcomed(line))
	case is(s.dialog.user, line):
		if l.given && !stale {
			return false, s.target.refused(ctx, s.password(), fmt.Sprintf("it asks %q again", s.clean(line)))
		}
		if l.named++; l.named > maxNames {
			return false, fmt.Errorf("asks %q again and again: %w", s.clean(line), fault.Denied)
		}
		if s.target.Login.User == "" {
			return false, fmt.Errorf("asks %q, and its credentials have no user: %w", s.clean(line), fault.Denied)
		}
		l.given, l.said, l.typed = false, "", line+s.target.userName()
		return false, s.reply(ctx, l, s.target.userName())
	case is(s.dialog.password, line) && l.blank && stale:
		l.blank = false
		return false, s.reply(ctx, l, "") // the question is for the password of an empty user
	case is(s.dialog.password, line) && !(l.given && otherPassword.MatchString(line)):
		if l.given {
			return false, s.target.refused(ctx, s.password(), fmt.Sprintf("it asks %q again", s.clean(line)))
		}
		if s.target.Login.Password == "" {
			return false, fmt.Errorf("asks %q, and its credentials have no password: %w", s.clean(line), fault.Denied)
		}
		if !l.begun {
			if err := s.target.begin(ctx, s.password()); err != nil {
				return false, err
			}
		}
		l.begun, l.given, l.typed = true, true, ""
		return false, s.reply(ctx, l, string(s.target.Login.Password))
	}
	if m, host := s.dialog.candidate(line); m != noMode {
		return s.tryPrompt(ctx, m, host)
	}
	return false, s.unknownLine(ctx, l, line)
}

// maxGreetings is how many questions may come after the login.
const maxGreetings = 8

// maxNames is how often the user is given: a device that lost the name asks again.
const maxNames = 3

// unknownLine acts on a line that matches nothing. A line that may be a question gets no
// answer.
func (s *Session) unknownLine(ctx context.Context, l *login, line string) error {
	empty := strings.TrimSpace(line) == ""
	awaited := l.named > 0 && !l.given // the question for a password
	switch {
	case l.typed != "" && strings.TrimRight(line, " ") == strings.TrimRight(l.typed, " "):
		return s.send(ctx, "\r") // the return after the user was lost
	case empty && awaited:
		return nil // the device is busy; typing now would answer its next question
	case l.given && !l.heard && !anyKey.MatchString(line) && !question.MatchString(line) && l.quiet < maxQuiet:
		l.quiet++ // the device is checking the password, whatever it says meanwhile
		return nil
	case !empty && !anyKey.MatchString(line) && (awaited || question.MatchString(line)):
		if l.given && l.begun { // it was right, or this question would not come
			s.target.accepted(ctx, s.password())
		}
		return unknownQuestion(s.clean(line))
	case l.bytes == s.answered+1 && l.quiet < maxSilent:
		l.quiet++
		return nil
	}
	l.bytes, l.quiet = s.answered+1, 0
	return s.nudge(ctx)
}

// reply answers the question at the cursor.
func (s *Session) reply(ctx context.Context, l *login, text string) error {
	l.asked, l.heard, l.quiet = s.term.line(), false, 0
	s.loggedIn = true
	return s.say(ctx, text)
}

// say sends an answer at the login, where the echo can't be verified, and waits until the line
// has ended.
func (s *Session) say(ctx context.Context, text string) error {
	if err := s.send(ctx, text+"\r"); err != nil {
		return err
	}
	_, err := s.until(ctx, loginQuiet, func() bool { return len(s.term.rows) > 0 })
	return err
}

// nudge makes a silent device show its state. It first erases what others may have typed.
func (s *Session) nudge(ctx context.Context) error {
	return s.send(ctx, s.dialog.Keys.Erase+"\r")
}

// tryPrompt tests a line that looks like a prompt. In a banner, a description or a password
// that looks like one, typed characters are not shown, or not behind it.
func (s *Session) tryPrompt(ctx context.Context, m mode, host string) (bool, error) {
	s.prompt, s.mode = s.term.line(), m
	s.dialog.learn(host)
	if s.dialog.Blind || s.dialog.Keys.Erase == "" {
		return s.tryPromptByReturn(ctx)
	}
	ok, err := s.typeOnce(ctx, s.marker, s.wait())
	if err != nil {
		return false, err
	}
	if !ok && s.dialog.prompt(s.prompt) == noMode { // the line does not match the prompt of its own host
		return false, s.nudge(ctx)
	}
	if ok {
		return true, s.erase(ctx, s.wait())
	}
	// Characters may have been lost, or the line is not a prompt. In both cases the line is
	// erased.
	if err := s.send(ctx, s.dialog.Keys.Erase); err != nil {
		return false, err
	}
	_, err = s.until(ctx, s.wait(), func() bool { return strings.TrimSpace(s.term.line()) == strings.TrimSpace(s.prompt) })
	if err != nil || s.dialog.prompt(s.term.line()) != noMode {
		return false, err
	}
	return false, s.nudge(ctx)
}

// tryPromptByReturn tests a prompt on devices that do not echo or can't erase: an empty
// command must bring the same prompt once more.
func (s *Session) tryPromptByReturn(ctx context.Context) (bool, error) {
	s.term.take()
	if err := s.send(ctx, "\r"); err != nil {
		return false, err
	}
	again := func() bool { return len(s.term.rows) > 0 && s.term.line() == s.prompt }
	ok, err := s.until(ctx, s.wait(), again)
	if err == nil && ok {
		err = s.settle(ctx, promptStable)
	}
	return ok && again(), err
}

// leaveOldMode leaves the configuration mode, if another user, or an earlier session, left the
// console in it.
func (s *Session) leaveOldMode(ctx context.Context) error {
	s.term.take()
	if s.mode != configure {
		return nil
	}
	s.tr.note("the console is in the configuration mode: leaving it")
	for _, c := range append(s.dialog.Configure.Abort[:len(s.dialog.Configure.Abort):len(s.dialog.Configure.Abort)], s.dialog.Configure.Leave...) {
		if _, err := s.change(ctx, c); err != nil {
			return err
		}
	}
	if s.mode == configure {
		return fmt.Errorf("stays in its configuration mode: %w", fault.Unavailable)
	}
	return nil
}

// privilege leads from the user mode to the privileged mode.
func (s *Session) privilege(ctx context.Context) error {
	if s.mode != userMode || s.dialog.Enable == "" {
		return nil
	}
	s.loggedIn = true // so that Close logs out: the next user of a console must not be privileged
	password := s.target.Login.Enable
	if password == "" {
		password = s.target.Login.Password
	}
	if err := s.typeLine(ctx, s.dialog.Enable); err != nil {
		return err
	}
	s.term.drop = true
	if err := s.send(ctx, "\r"); err != nil {
		return err
	}
	return s.enable(ctx, s.target.try(whatEnable, password))
}

// enable answers the question for the password once, and returns at the next prompt. Some
// devices ask for a user first.
func (s *Session) enable(ctx context.Context, try Try) error {
	asked, ended, named, given := "", 0, false, false
	passed := func() bool { return !s.term.drop && (len(s.term.rows) > ended || s.term.line() != asked) }
	for {
		ok, err := s.until(ctx, loginQuiet, func() bool {
			return s.atPrompt() || passed() && (is(s.dialog.password, s.term.line()) || is(s.dialog.user, s.term.line()))
		})
		line := s.term.line()
		switch {
		case errors.Is(err, errHungUp) && given:
			return s.target.refused(ctx, try, "it closed the connection")
		case err != nil:
			return s.explain(err)
		case ok && s.atPrompt():
			s.prompt = line
			said := s.clean(strings.TrimSpace(strings.Join(s.term.take(), "\n")))
			switch {
			case s.mode == privileged && given:
				s.target.accepted(ctx, try)
				return nil
			case s.mode == privileged:
				return nil
			case given:
				return s.target.refused(ctx, try, fmt.Sprintf("%q", said))
			}
			return fmt.Errorf("refuses the privileged mode (%q): %w", said, fault.Denied)
		case ok && given:
			return s.target.refused(ctx, try, fmt.Sprintf("it asks %q again", s.clean(line)))
		case ok && is(s.dialog.user, line) && (named || s.target.Login.User == ""):
			return fmt.Errorf("asks %q for the privileged mode, and its credentials have no other user: %w", s.clean(line), fault.Denied)
		case ok && is(s.dialog.user, line):
			asked, ended, named = line, len(s.term.rows), true
			if err := s.say(ctx, s.target.Login.User); err != nil {
				return err
			}
		case ok && try.Secret == "":
			return fmt.Errorf("asks for the password of the privileged mode, and its credentials have no enable: %w", fault.Denied)
		case ok:
			if err := s.target.begin(ctx, try); err != nil {
				return err
			}
			asked, ended, given = line, len(s.term.rows), true
			if err := s.say(ctx, string(try.Secret)); err != nil {
				return err
			}
		case passed() && question.MatchString(line):
			return unknownQuestion(s.clean(line))
		}
	}
}

// ownPrompt gives a shell a prompt that nothing else contains and that shows the exit status
// of each command.
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
