package device

import (
	"regexp"
	"strings"
)

// A mode is one of the states in which a device awaits commands.
type mode int

const (
	noMode mode = iota
	userMode
	privileged
	configure
	unfinished // a shell awaits the rest of a command
)

// A dialog is a platform with compiled patterns.
type dialog struct {
	Platform
	prompts  map[mode]string // regular expressions with {host}
	known    map[mode]*regexp.Regexp
	anyHost  map[mode]*regexp.Regexp
	user     *regexp.Regexp
	password *regexp.Regexp
	failed   *regexp.Regexp
	more     *regexp.Regexp
	errors   *regexp.Regexp
	harmless *regexp.Regexp
	logs     *regexp.Regexp
	strip    *regexp.Regexp
	rename   *regexp.Regexp
	ok       *regexp.Regexp // matches the line that confirms a commit
	busy     *regexp.Regexp
	saved    *regexp.Regexp
	answers  []*regexp.Regexp
	above    *regexp.Regexp // matches the line above a prompt of the configuration mode
	term     *terminal      // the screen with that line
	was      mode           // the mode by the line above the last prompt
	welcome  []*regexp.Regexp
}

type badPattern struct {
	path []string
	text string
}

// compile checks a platform and makes its dialog.
func compile(p Platform) (*dialog, []badPattern) {
	var bad []badPattern
	one := func(expr string, path ...string) *regexp.Regexp {
		if expr == "" {
			return nil
		}
		re, err := regexp.Compile(`^(?:` + expr + `)$`)
		if err != nil {
			bad = append(bad, badPattern{path, err.Error()})
			return nil
		}
		return re
	}
	many := func(exprs []string, path ...string) *regexp.Regexp {
		known := len(bad)
		for _, e := range exprs {
			if one(e, path...); e == "" {
				bad = append(bad, badPattern{path, "is empty"})
			}
		}
		if len(bad) > known {
			return nil
		}
		return one(strings.Join(exprs, "|"), path...)
	}
	d := &dialog{
		Platform: p,
		user:     one(p.Login.User, "login", "user"),
		password: one(p.Login.Password, "login", "password"),
		failed:   one(p.Login.Failed, "login", "failed"),
		more:     many(p.More, "more"),
		errors:   many(fillRefusals(p.Errors), "errors"),
		harmless: many(p.Harmless, "harmless"),
		saved:    many(p.Saved, "saved"),
		logs:     many(p.Logs, "logs"),
		strip:    many(p.Strip, "strip"),
		rename:   one(p.Rename, "rename"),
		ok:       one(p.Configure.Committed, "configure", "committed"),
		above:    one(p.Prompts.Above, "prompts", "above"),
		term:     &terminal{},
		busy:     one(p.Configure.Busy, "configure", "busy"),
		prompts:  map[mode]string{},
		anyHost:  map[mode]*regexp.Regexp{},
	}
	for _, a := range p.Answers {
		d.answers = append(d.answers, one(a.Question, "answers"))
	}
	for _, a := range p.Welcome {
		d.welcome = append(d.welcome, one(a.Question, "welcome"))
	}
	if host := one(p.Host, "host"); host == nil && len(bad) == 0 {
		p.Host = `\S+`
	}
	for m, expr := range map[mode]string{userMode: p.Prompts.User, privileged: p.Prompts.Privileged, configure: p.Prompts.Configure} {
		if expr == "" {
			continue
		}
		d.prompts[m] = expr
		d.anyHost[m] = one(strings.Replace(expr, "{host}", "(?P<host>"+p.Host+")", 1), "prompts", modeNames[m])
	}
	if p.Prompts.Privileged == "" {
		bad = append(bad, badPattern{[]string{"prompts", "privileged"}, "must be there: it is the prompt at which commands are given"})
	}
	if (p.Prompts.Configure == "") != (len(p.Configure.Enter) == 0) {
		bad = append(bad, badPattern{[]string{"configure", "enter"}, "and prompts.configure must be there together, or neither"})
	}
	if len(p.Configure.Enter) > 0 && len(p.Configure.Leave) == 0 {
		bad = append(bad, badPattern{[]string{"configure", "leave"}, "must be there, as there are commands that enter the mode"})
	}
	return d, bad
}

var modeNames = map[mode]string{userMode: "user", privileged: "privileged", configure: "configure", unfinished: "unfinished"}

// learn makes the prompts of a host the known ones, in all modes.
func (d *dialog) learn(host string) {
	d.known = map[mode]*regexp.Regexp{}
	for m := range d.prompts {
		d.learnMode(m, host)
	}
}

// learnMode makes a host the known one in the prompt of one mode.
func (d *dialog) learnMode(m mode, host string) {
	host = strings.Map(func(r rune) rune { return r }, host)                                                            // noise on the line may be no valid UTF-8
	d.known[m] = regexp.MustCompile(`^(?:` + strings.Replace(d.prompts[m], "{host}", regexp.QuoteMeta(host), 1) + `)$`) // the expression was compiled before
}

// prompt returns the mode of which a line is the prompt, of the known host.
func (d *dialog) prompt(line string) mode {
	return d.modeByLineAbove(match(d.known, line))
}

// modeByLineAbove returns the mode of a prompt whose mode may be shown in the line above it.
// If there is another line, such as a message, the mode is the same as before.
func (d *dialog) modeByLineAbove(m mode) mode {
	switch {
	case d.above == nil || m != configure && m != privileged:
		return m
	case is(d.above, d.term.above):
		d.was = configure
	case is(d.strip, d.term.above) || d.was == noMode:
		d.was = privileged
	}
	return d.was
}

// candidate returns the mode and host of which a line could be the prompt.
func (d *dialog) candidate(line string) (mode, string) {
	m := match(d.anyHost, line)
	if m == noMode {
		return noMode, ""
	}
	re := d.anyHost[m]
	host := ""
	if i := re.SubexpIndex("host"); i >= 0 {
		host = re.FindStringSubmatch(strings.TrimRight(line, " "))[i]
	}
	return d.modeByLineAbove(m), host
}

// isPrompt reports whether a line could be a prompt.
func (d *dialog) isPrompt(line string) bool { return match(d.anyHost, line) != noMode }

func match(prompts map[mode]*regexp.Regexp, line string) mode {
	line = strings.TrimRight(line, " ")
	for _, m := range []mode{configure, privileged, userMode, unfinished} {
		if is(prompts[m], line) {
			return m
		}
	}
	return noMode
}

// is reports whether a pattern that is not nil matches a line without the blanks at its end.
func is(re *regexp.Regexp, line string) bool {
	return re != nil && re.MatchString(strings.TrimRight(line, " "))
}

// refusals returns the lines that refuse a command.
func (d *dialog) refusals(lines []string) []string {
	var said []string
	for _, l := range lines {
		if is(d.errors, l) && !is(d.harmless, l) && !is(d.logs, l) {
			said = append(said, strings.TrimSpace(l))
		}
	}
	return said
}
