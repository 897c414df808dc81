package main

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// A cronLine is a line of a crontab that runs a command, as cron(8) understands it.
type cronLine struct {
	line    int
	when    string // five fields, or a word such as @daily
	user    string // of a system's crontab; empty: the owner of the crontab
	command string
	stdin   string
	env     cronEnv // as it is set by the lines before
}

// A cronNote is something in a line that cannot be taken over, or that means something else.
type cronNote struct {
	line int
	text string
}

func (n cronNote) String() string {
	if n.line == 0 {
		return n.text
	}
	return fmt.Sprintf("line %d: %s", n.line, n.text)
}

// A cronEnv is what the lines NAME=VALUE before a line mean for it.
type cronEnv struct {
	vars   []string // NAME=VALUE
	shell  string
	home   string
	zone   string // CRON_TZ
	jitter string // RANDOM_DELAY
	noMail bool   // MAILTO is set and empty
}

// A crontab is what a file in the form of crontab(5) has.
type crontab struct {
	lines []cronLine
	bad   []cronNote // lines that cannot be imported
	notes []cronNote // what differs
}

// pattern compiles an expression when it is first used: most commands need none.
func pattern(text string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(text) })
}

var (
	cronVariable = pattern(`^("[^"]*"|'[^']*'|[A-Za-z_]\w*)\s*=\s*(.*)$`)
	cronEntry    = pattern(`^-?(@\S+|(?:\S+[ \t]+){4}\S+)[ \t]+(.*)$`)
	cronUser     = pattern(`^(\S+)[ \t]+(.*)$`)
	runParts     = pattern(`\brun-parts\b[^;&|]*?\s(/[^\s;&|)]+)`)
	simple       = pattern(`&&|\|\||[;|&()\n]`) // between simple commands
	assignment   = pattern(`^\w+=`)
	inner        = pattern("\\$\\([^)]*\\)|`[^`]*`|'[^']*'") // what is not the program: $(date), 'a text'
)

// parseCrontab reads a crontab. A system's one has users in it.
func parseCrontab(text string, system bool) (c crontab) {
	env := cronEnv{shell: "/bin/sh", vars: []string{"PATH=/usr/bin:/bin"}} // what cron itself sets
	note := func(line int, format string, args ...any) {
		c.notes = append(c.notes, cronNote{line, fmt.Sprintf(format, args...)})
	}
	bad := func(line int, format string, args ...any) {
		c.bad = append(c.bad, cronNote{line, fmt.Sprintf(format, args...)})
	}
	n := 0
	for row := range strings.Lines(text) {
		n++
		if !strings.HasSuffix(row, "\n") {
			note(n, "cron ignores a crontab whose last line has no end; it is imported nevertheless")
		}
		row = strings.TrimLeft(strings.TrimRight(row, "\r\n"), " \t")
		if row == "" || row[0] == '#' {
			continue
		}
		if m := cronVariable().FindStringSubmatch(row); m != nil {
			if text := env.set(withoutQuotes(m[1]), withoutQuotes(strings.TrimRight(m[2], " \t"))); text != "" {
				note(n, "%s", text)
			}
			continue
		}
		m := cronEntry().FindStringSubmatch(row)
		if m == nil {
			bad(n, "is neither five fields and a command, nor NAME=VALUE: %.60q", row)
			continue
		}
		l := cronLine{line: n, when: strings.Join(strings.Fields(m[1]), " "), env: env.clone()}
		rest := m[2]
		if system {
			u := cronUser().FindStringSubmatch(rest)
			if u == nil {
				bad(n, "has no command after the user")
				continue
			}
			l.user, rest = u[1], u[2]
		}
		if l.command, l.stdin = splitPercent(rest); strings.TrimSpace(l.command) == "" {
			bad(n, "has no command")
			continue
		}
		if l.stdin != "" {
			note(n, "the text after %% becomes the standard input of the command, as in cron")
		}
		if m := runParts().FindStringSubmatch(l.command); m != nil {
			note(n, "run-parts runs all programs in %s as one job, with one log and one exit status", m[1])
		}
		c.lines = append(c.lines, l)
	}
	return c
}

// withoutQuotes removes quotes around s.
func withoutQuotes(s string) string {
	if len(s) > 1 && (s[0] == '"' || s[0] == '\'') && s[len(s)-1] == s[0] {
		return s[1 : len(s)-1]
	}
	return s
}

func (e *cronEnv) clone() cronEnv {
	c := *e
	c.vars = slices.Clone(e.vars)
	return c
}

// set handles a line NAME=VALUE. It returns what is different from cron.
func (e *cronEnv) set(name, value string) (differs string) {
	switch name {
	case "MAILTO":
		if e.noMail = value == ""; e.noMail {
			return ""
		}
		return fmt.Sprintf("MAILTO=%s: no output is mailed; atctl log prints it, and a hook can send mail when a job fails", value)
	case "MAILFROM", "CONTENT_TYPE", "CONTENT_TRANSFER_ENCODING":
		return name + " is about cron's mail, and is left out"
	case "LOGNAME", "USER":
		return name + " cannot be changed, and is left out"
	case "CRON_TZ":
		e.zone = value
		return fmt.Sprintf("CRON_TZ=%s: the lines that follow occur in this zone; the cron of Debian does not know it", value)
	case "RANDOM_DELAY":
		if n, err := strconv.Atoi(value); err != nil || n < 0 {
			return fmt.Sprintf("RANDOM_DELAY=%s is no number of minutes, and is left out", value)
		}
		e.jitter = value + "m"
		return fmt.Sprintf("RANDOM_DELAY=%s: each occurrence has a delay of its own, which is always the same", value)
	case "SHELL":
		e.shell = value
	case "HOME":
		e.home = value
	case "TZ":
		differs = "TZ is set for the commands; as in cron, it does not change when they run"
	}
	e.vars = slices.DeleteFunc(e.vars, func(v string) bool { return strings.HasPrefix(v, name+"=") })
	e.vars = append(e.vars, name+"="+value)
	return differs
}

// splitPercent divides a command at the first % that has no backslash before it. What follows
// is the standard input, in which each other % is the end of a line. \% is %.
func splitPercent(text string) (command, stdin string) {
	var parts []string
	var part strings.Builder
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] == '\\' && i+1 < len(text):
			if i++; text[i] != '%' {
				part.WriteByte('\\')
			}
			part.WriteByte(text[i])
		case text[i] == '%':
			parts = append(parts, part.String())
			part.Reset()
		default:
			part.WriteByte(text[i])
		}
	}
	parts = append(parts, part.String())
	if len(parts) == 1 {
		return parts[0], ""
	}
	stdin = strings.Join(parts[1:], "\n")
	if !strings.HasSuffix(stdin, "\n") {
		stdin += "\n"
	}
	return parts[0], stdin
}

// What the first words of commands say nothing about: these only prepare or check something,
const preparing = " cd test [ [[ sleep export set umask ulimit . source if then else do true : "

// and these run the command that follows.
const wrapping = " nice ionice nohup env exec command time sudo chronic eatmydata setsid timeout flock systemd-cat perl python python3 php ruby sh bash ! { then else do "

// nameOf returns a name for a recurrence that runs command: that of its program.
func nameOf(command string) string {
	if m := runParts().FindStringSubmatch(command); m != nil {
		return nameFrom(path.Base(m[1]))
	}
	for _, part := range simple().Split(inner().ReplaceAllString(command, ""), -1) {
		words := strings.Fields(part)
		wrapped := false
		for len(words) > 0 {
			w := strings.Trim(words[0], `"'`)
			switch {
			case assignment().MatchString(w), strings.Contains(wrapping, " "+path.Base(w)+" "):
				wrapped = true
			case wrapped && (strings.HasPrefix(w, "-") || strings.Trim(w, "0123456789.smhd") == "" || strings.Contains(w, "/lock/") || strings.HasSuffix(w, ".lock")):
			default:
				if !strings.Contains(preparing, " "+w+" ") {
					if name := nameFrom(path.Base(w)); name != "" {
						return name
					}
				}
				words = nil
				continue
			}
			words = words[1:]
		}
	}
	return "cron"
}

// nameFrom returns the part of s that can be a name of a recurrence.
func nameFrom(s string) string {
	s = strings.Map(func(r rune) rune {
		if strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._@:+-", r) {
			return r
		}
		return -1
	}, s)
	s = strings.TrimLeft(s, "._@:+-")
	return s[:min(len(s), 48)] // there is room for a number
}
