package device

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"activationd/internal/diag"
	"activationd/internal/fault"
)

//go:embed platforms/*.yaml
var builtIn embed.FS

// BuiltIn returns a platform that comes with the program. The kind of its error is
// [fault.NotFound].
func BuiltIn(name string) (Platform, error) {
	file := "platforms/" + name + ".yaml"
	data, err := builtIn.ReadFile(file)
	if err != nil || strings.ContainsAny(name, "/\\") {
		return Platform{}, fmt.Errorf("platform %q: those that come with the program are %s: %w",
			name, strings.Join(BuiltInNames(), ", "), fault.NotFound)
	}
	p, err := ParsePlatform(file, data)
	p.Name = name
	return p, err
}

// BuiltInNames returns the names that BuiltIn knows, sorted.
func BuiltInNames() []string {
	entries, _ := builtIn.ReadDir("platforms") // it is there, or this would not compile
	var names []string
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), ".yaml"))
	}
	return names
}

// ParsePlatform reads a platform's file: YAML, strict, all faults at once and each with
// its line. The kind of its error is [fault.Invalid]. Name is the caller's to set.
func ParsePlatform(file string, data []byte) (Platform, error) {
	var p Platform
	faults := diag.List{File: file}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	decoder.KnownFields(true)
	err := decoder.Decode(&p)
	if types, ok := errors.AsType[*yaml.TypeError](err); ok {
		for _, text := range types.Errors {
			addYAML(&faults, text)
		}
		return Platform{}, faults.Err()
	}
	if err != nil && !errors.Is(err, io.EOF) {
		addYAML(&faults, strings.TrimPrefix(err.Error(), "yaml: "))
		return Platform{}, faults.Err()
	}
	if err == nil && decoder.Decode(new(yaml.Node)) == nil {
		faults.Add(0, "has more than one document")
	}
	var root yaml.Node
	_ = yaml.Unmarshal(data, &root) // it was read once already: this is for the lines
	_, bad := compile(p)
	for _, b := range bad {
		faults.Add(lineOf(&root, b.path), "%s: %s", strings.Join(b.path, "."), b.text)
	}
	return p, faults.Err()
}

func addYAML(faults *diag.List, text string) {
	var line int
	if _, err := fmt.Sscanf(text, "line %d: ", &line); err == nil {
		_, text, _ = strings.Cut(text, ": ")
	}
	faults.Add(line, "%s", text)
}

// lineOf finds the line of the last key of path that is there.
func lineOf(n *yaml.Node, path []string) int {
	line := 1
	if n.Kind == yaml.DocumentNode && len(n.Content) > 0 {
		n = n.Content[0]
	}
	for _, key := range path {
		if n.Kind != yaml.MappingNode {
			return line
		}
		at := slices.IndexFunc(n.Content, func(k *yaml.Node) bool { return k.Value == key })
		if at < 0 || at+1 >= len(n.Content) {
			return line
		}
		line, n = n.Content[at].Line, n.Content[at+1]
	}
	return line
}

// A mode is what a device awaits commands in.
type mode int

const (
	noMode mode = iota
	userMode
	privileged
	configure
	unfinished // a shell's command goes on in the next line
)

// A dialog is a platform with its patterns compiled.
type dialog struct {
	Platform
	prompts  map[mode]string // as regular expressions, {host} in them
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
	ok       *regexp.Regexp // committed
	busy     *regexp.Regexp
	saved    *regexp.Regexp
	answers  []*regexp.Regexp
	above    *regexp.Regexp // the line above a prompt of the configuration mode
	term     *terminal      // that shows it
	was      mode           // by the last line above a prompt
	welcome  []*regexp.Regexp
}

type badPattern struct {
	path []string
	text string
}

// compile checks a platform and makes a dialog of it.
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
		d.anyHost[m] = one(strings.Replace(expr, "{host}", "(?P<host>"+p.Host+")", 1), "prompts", names[m])
	}
	if p.Prompts.Privileged == "" {
		bad = append(bad, badPattern{[]string{"prompts", "privileged"}, "must be there: it is the prompt at which commands are given"})
	}
	if (p.Prompts.Configure == "") != (len(p.Configure.Enter) == 0) {
		bad = append(bad, badPattern{[]string{"configure", "enter"}, "and prompts.configure are there together, or neither"})
	}
	if len(p.Configure.Enter) > 0 && len(p.Configure.Leave) == 0 {
		bad = append(bad, badPattern{[]string{"configure", "leave"}, "must be there, as there is a way in"})
	}
	return d, bad
}

var names = map[mode]string{userMode: "user", privileged: "privileged", configure: "configure", unfinished: "unfinished"}

// learn makes the prompts of this host, and no others, the known ones.
func (d *dialog) learn(host string) {
	d.known = map[mode]*regexp.Regexp{}
	for m := range d.prompts {
		d.learnMode(m, host)
	}
}

// learnMode makes a host the known one in the prompt of one mode.
func (d *dialog) learnMode(m mode, host string) {
	host = strings.Map(func(r rune) rune { return r }, host)                                                            // noise on the line is no UTF-8, and no expression
	d.known[m] = regexp.MustCompile(`^(?:` + strings.Replace(d.prompts[m], "{host}", regexp.QuoteMeta(host), 1) + `)$`) // it compiled before
}

// prompt tells which mode's prompt a line is: of the known host.
func (d *dialog) prompt(line string) mode {
	return d.told(match(d.known, line))
}

// told is the mode of a prompt, which the line above it may tell. Where something else
// stands there, as a message, it is the one of before.
func (d *dialog) told(m mode) mode {
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

// candidate tells which mode's prompt a line could be, and of which host.
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
	return d.told(m), host
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

// is reports whether a pattern, if there is one, matches a line without the blanks at
// its end.
func is(re *regexp.Regexp, line string) bool {
	return re != nil && re.MatchString(strings.TrimRight(line, " "))
}

// refusals returns the lines by which a command was refused.
func (d *dialog) refusals(lines []string) []string {
	var said []string
	for _, l := range lines {
		if is(d.errors, l) && !is(d.harmless, l) && !is(d.logs, l) {
			said = append(said, strings.TrimSpace(l))
		}
	}
	return said
}
