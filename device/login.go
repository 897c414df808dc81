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
func (s *Session) login(ctx context.Context, serial bool) error {
	var l login
	quiet := silence
	if serial {
		quiet = firstLatency // it says nothing by itself, but perhaps what it said to us
	}
	for {
		// A prompt is what the cursor stands behind when nothing more comes.
		known, err := s.until(ctx, quiet, func() bool { return s.knownAtLogin() && l.passed(&s.term) })
		if err == nil && known {
			err = s.settle(ctx, stands)
		}
		if err == nil {
			quiet = silence
			var done bool
			if done, err = s.loginStep(ctx, &l); done {
				if l.begun {
					s.target.accepted(ctx, s.password())
				}
				return s.leaveOldMode(ctx)
			}
		}
		if errors.Is(err, errHungUp) && l.given {
			s.hear(&l)
			if m, _ := s.dialog.candidate(s.term.line()); m != noMode && l.said == "" && l.passed(&s.term) {
				s.target.accepted(ctx, s.password()) // it would not show a prompt else
				return s.explain(err)
			}
			return s.target.refused(ctx, s.password(), l.words("it closed the connection"))
		}
		if err != nil {
			return s.explain(err)
		}
	}
}

// A login is how far it has come.
type login struct {
	named   int    // how often a user was named
	greeted int    // how many questions behind the login were answered
	begun   bool   // the guard knows of the password
	given   bool   // the password, to the question that was asked last
	asked   string // the question that was answered last, until something else is seen
	typed   string // the line as it is when return was lost behind the name
	heard   bool   // a prompt or a log was seen since the last answer
	quiet   int    // for how many silences nothing was done since then
	said    string // by which the password was refused, secrets masked
	blank   bool   // that return has named nobody
	bytes   int    // that had come when return was pressed to see something, and one more
}

// mostQuiet is how many silences a password may be thought about, and mostSilent how many a
// return: one that nobody has read yet is an answer to the first question that comes, and
// several are as many.
const (
	mostQuiet  = 10
	mostSilent = 5
)

// passed reports whether the question that was answered last is gone from the cursor's line.
func (l *login) passed(t *terminal) bool {
	return l.asked == "" || len(t.rows) > 0 || t.line() != l.asked
}

// words are what the device said of the password, or else what it did.
func (l *login) words(did string) string {
	if l.said != "" {
		return fmt.Sprintf("%q", l.said)
	}
	return did
}

func (s *Session) password() Try { return s.target.try(aPassword, s.target.Login.Password) }

func (s *Session) knownAtLogin() bool {
	line := s.term.line()
	m, _ := s.dialog.candidate(line)
	return m != noMode || is(s.dialog.user, line) || is(s.dialog.password, line) || is(s.dialog.more, line) || s.welcomed(line) != ""
}

// welcomed returns the keys to press at a question behind the login, or "".
func (s *Session) welcomed(line string) string {
	for i, q := range s.dialog.welcome {
		if is(q, line) {
			return s.dialog.Welcome[i].Answer
		}
	}
	return ""
}

// hear takes notice of the lines that have ended.
func (s *Session) hear(l *login) {
	for _, row := range s.term.take() {
		row = strings.TrimSpace(row)
		if l.given && is(s.dialog.failed, row) && !is(s.dialog.logs, row) {
			l.said = s.clean(row) // some repeat what was typed
		}
		l.blank = l.blank || l.bytes > 0 && l.named == 0 && is(s.dialog.user, row)
		m, _ := s.dialog.candidate(row)
		l.heard = l.heard || m != noMode || is(s.dialog.logs, row)
	}
}

// loginStep reacts to the line that the cursor stands on.
func (s *Session) loginStep(ctx context.Context, l *login) (done bool, err error) {
	passed := l.passed(&s.term)
	s.hear(l)
	line := s.term.line()
	if !passed {
		return false, nil // it thinks about our answer
	}
	l.asked = ""
	// On a console the question may have been for the password of somebody else, who has
	// named himself and gone, or of nobody: a nudge names an empty user. Then our user is
	// asked for next, and nothing was said of our password yet.
	stale := l.named == 0 && s.target.Login.User != ""
	if l.given && l.said != "" && !stale {
		return false, s.target.refused(ctx, s.password(), l.words(""))
	}
	switch {
	case is(s.dialog.more, line):
		return false, s.send(ctx, "q")
	case s.welcomed(line) != "":
		if l.greeted++; l.greeted > mostGreetings {
			return false, unknown(s.clean(line))
		}
		l.asked, l.heard, l.quiet = line, false, 0
		return false, s.send(ctx, s.welcomed(line))
	case is(s.dialog.user, line):
		if l.given && !stale {
			return false, s.target.refused(ctx, s.password(), fmt.Sprintf("it asks %q again", s.clean(line)))
		}
		if l.named++; l.named > mostNames {
			return false, fmt.Errorf("asks %q again and again: %w", s.clean(line), fault.Denied)
		}
		if s.target.Login.User == "" {
			return false, fmt.Errorf("asks %q, and its credentials have no user: %w", s.clean(line), fault.Denied)
		}
		l.given, l.said, l.typed = false, "", line+s.target.userName()
		return false, s.reply(ctx, l, s.target.userName())
	case is(s.dialog.password, line) && l.blank && stale:
		l.blank = false
		return false, s.reply(ctx, l, "") // it is nobody's, and ours is not for nobody
	case is(s.dialog.password, line) && !(l.given && another.MatchString(line)):
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
		return s.believe(ctx, m, host)
	}
	return false, s.wonder(ctx, l, line)
}

// mostGreetings is how many questions may come behind the login.
const mostGreetings = 8

// mostNames is how often a user is named: a device that has lost it asks again.
const mostNames = 3

// wonder is for a line that says nothing to us. What could be a question gets no answer.
func (s *Session) wonder(ctx context.Context, l *login, line string) error {
	empty := strings.TrimSpace(line) == ""
	awaited := l.named > 0 && !l.given // the question for the password
	switch {
	case l.typed != "" && strings.TrimRight(line, " ") == strings.TrimRight(l.typed, " "):
		return s.send(ctx, "\r") // which was lost
	case empty && awaited:
		return nil // it thinks; what is typed now would answer what it asks next
	case l.given && !l.heard && !anyKey.MatchString(line) && !question.MatchString(line) && l.quiet < mostQuiet:
		l.quiet++ // it thinks about the password, whatever it says meanwhile
		return nil
	case !empty && !anyKey.MatchString(line) && (awaited || question.MatchString(line)):
		if l.given && l.begun { // it was right, or this would not come
			s.target.accepted(ctx, s.password())
		}
		return unknown(s.clean(line))
	case l.bytes == s.answered+1 && l.quiet < mostSilent:
		l.quiet++
		return nil
	}
	l.bytes, l.quiet = s.answered+1, 0
	return s.nudge(ctx)
}

// reply answers the question that the cursor stands behind.
func (s *Session) reply(ctx context.Context, l *login, text string) error {
	l.asked, l.heard, l.quiet = s.term.line(), false, 0
	s.loggedIn = true
	return s.say(ctx, text)
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
		if _, err := s.change(ctx, c); err != nil {
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
	if err := s.typeLine(ctx, s.dialog.Enable); err != nil {
		return err
	}
	s.term.drop = true
	if err := s.send(ctx, "\r"); err != nil {
		return err
	}
	return s.enable(ctx, s.target.try(anEnable, password))
}

// enable answers the question for a password, once, until there is a prompt again. Some
// ask for a user first.
func (s *Session) enable(ctx context.Context, try Try) error {
	asked, ended, named, given := "", 0, false, false
	passed := func() bool { return !s.term.drop && (len(s.term.rows) > ended || s.term.line() != asked) }
	for {
		ok, err := s.until(ctx, silence, func() bool {
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
			return fmt.Errorf("refuses its privileged mode (%q): %w", said, fault.Denied)
		case ok && given:
			return s.target.refused(ctx, try, fmt.Sprintf("it asks %q again", s.clean(line)))
		case ok && is(s.dialog.user, line) && (named || s.target.Login.User == ""):
			return fmt.Errorf("asks %q for its privileged mode, and its credentials have no other user: %w", s.clean(line), fault.Denied)
		case ok && is(s.dialog.user, line):
			asked, ended, named = line, len(s.term.rows), true
			if err := s.say(ctx, s.target.Login.User); err != nil {
				return err
			}
		case ok && try.Secret == "":
			return fmt.Errorf("asks for a password of its privileged mode, and its credentials have no enable: %w", fault.Denied)
		case ok:
			if err := s.target.begin(ctx, try); err != nil {
				return err
			}
			asked, ended, given = line, len(s.term.rows), true
			if err := s.say(ctx, string(try.Secret)); err != nil {
				return err
			}
		case passed() && question.MatchString(line):
			return unknown(s.clean(line))
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
