package service

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"activationd/activation"
	"activationd/internal/fault"
	"activationd/supervisor"
)

// An Instance is one numbered process of a service: the texts of its declaration, filled in.
type Instance struct {
	Service string // its key
	N       int    // from 1
	ID      string // shop_web@2

	Command []string
	Dir     string
	Env     map[string]string // the variables of the environment file, and the declared ones over them
	Ready   *Check            // nil: see Declaration
	Alive   *Check
	Listen  []string
}

// ID returns the id of an instance's activation.
func ID(name string, n int) string { return activation.InstanceID(name, n) }

// ParseID returns the key of the service and the number of the instance that an id names.
func ParseID(id string) (name string, n int, ok bool) {
	name, number, found := strings.Cut(id, "@")
	n, err := strconv.Atoi(number)
	if !found || err != nil || n < 1 || n > MaxInstances || strconv.Itoa(n) != number || CheckName(name) != nil || Key(name) != name {
		return "", 0, false
	}
	return name, n, true
}

// Named fills in a service's name in a text: {{service}} stands for it without its project,
// and {{project}} for its project, if it has one.
func Named(text, shown string) string {
	project, name, ok := strings.Cut(shown, "/")
	if !ok {
		project, name = "", shown
	}
	return nameInBraces.ReplaceAllStringFunc(text, func(word string) string {
		switch {
		case strings.Contains(word, "service"):
			return name
		case project != "":
			return project
		}
		return word // it has a fault, as other words have
	})
}

// FillNames fills in the service's name in all texts but those of After, as [Named] does.
func (d *Declaration) FillNames() {
	list := func(texts []string) []string {
		filled := slices.Clone(texts)
		for i := range filled {
			filled[i] = Named(filled[i], d.Shown)
		}
		return filled
	}
	d.Command, d.Listen, d.Groups = list(d.Command), list(d.Listen), list(d.Groups)
	d.Dir = Named(d.Dir, d.Shown)
	d.Env = maps.Clone(d.Env)
	for k, text := range d.Env {
		d.Env[k] = Named(text, d.Shown)
	}
	for _, c := range []**Check{&d.Ready, &d.Alive} {
		if *c != nil {
			filled := **c
			filled.Target, filled.Host, filled.Unix = Named(filled.Target, d.Shown), Named(filled.Host, d.Shown), Named(filled.Unix, d.Shown)
			filled.Command = list(filled.Command)
			*c = &filled
		}
	}
}

// Instance returns what the declaration says of instance n. Each text of the declaration is a
// template:
//
//   - {{instance}} stands for the instance's number. Blanks inside the braces don't matter.
//   - NUMBER+{{instance}} and NUMBER-{{instance}} are calculated if they are a whole word, the
//     port of an address or the value of an assignment. So what is before NUMBER must be the
//     text's beginning, a blank, a comma, "=" or ":", and what is after {{instance}} the text's
//     end, a blank, a comma, "/", "?" or "#". The result must not be negative.
//   - Another word in double braces is a fault. All else stays as it is, such as {{.Name}}.
//
// The error has everything that is wrong, one fault a line, each with its key before it.
func (d *Declaration) Instance(n int) (Instance, error) {
	i, t := d.fill(n)
	return i, t.err()
}

func (d *Declaration) fill(n int) (Instance, *template) {
	t := &template{number: n}
	i := Instance{
		Service: d.Name, N: n, ID: ID(d.Name, n),
		Command: t.list("command", d.Command),
		Dir:     t.text("directory", d.Dir),
		Env:     make(map[string]string, len(d.FileEnv)+len(d.Env)),
		Ready:   t.check("ready", d.Ready),
		Alive:   t.check("alive", d.Alive),
		Listen:  t.list("listen", d.Listen),
	}
	maps.Copy(i.Env, d.FileEnv)
	for _, k := range slices.Sorted(maps.Keys(d.Env)) {
		i.Env[k] = t.text("environment."+k, d.Env[k])
	}
	for _, a := range i.Listen {
		t.wrong("listen", listenError(a))
	}
	return i, t
}

// A template fills in texts, and gathers what is wrong with them.
type template struct {
	number int // of the instance
	faults []fieldError
}

// A fieldError is what is wrong with a key's value.
type fieldError struct{ key, text string }

func (t *template) wrong(key string, err error) {
	if err != nil {
		t.faults = append(t.faults, fieldError{key, err.Error()})
	}
}

func (t *template) err() error {
	if len(t.faults) == 0 {
		return nil
	}
	lines := make([]string, len(t.faults))
	for i, f := range t.faults {
		lines[i] = f.key + ": " + f.text
	}
	return fmt.Errorf("%s: %w", strings.Join(lines, "\n"), fault.Invalid)
}

func (t *template) list(key string, list []string) []string {
	filled := make([]string, len(list))
	for i, text := range list {
		filled[i] = t.text(key, text)
	}
	return filled
}

// Patterns of templates.
var (
	// inBraces is a word in double braces, and a number and a sign before it.
	inBraces     = regexp.MustCompile(`([0-9]+[+-])?\{\{ *([A-Za-z_]+) *\}\}`)
	nameInBraces = regexp.MustCompile(`\{\{ *(project|service) *\}\}`)
	before       = " ,=:"
	after        = " ,/?#"
)

func (t *template) text(key, text string) string {
	var b strings.Builder
	done := 0
	for _, m := range inBraces.FindAllStringSubmatchIndex(text, -1) {
		if word := text[m[4]:m[5]]; word != "instance" {
			t.wrong(key, fmt.Errorf("%s is unknown here; there are {{instance}}, {{service}} and, in PROJECT/SERVICE, {{project}}", text[strings.LastIndex(text[:m[4]], "{{"):m[1]]))
			continue
		}
		begin, value := m[0], strconv.Itoa(t.number)
		if m[2] >= 0 {
			sum := text[m[2]:m[3]]
			whole := (begin == 0 || strings.Contains(before, text[begin-1:begin])) && (m[1] == len(text) || strings.Contains(after, text[m[1]:m[1]+1]))
			wide, err := strconv.ParseUint(sum[:len(sum)-1], 10, 62) // the sum is an int
			first := int(wide)
			switch {
			case !whole:
				begin = m[3]
			case err != nil:
				t.wrong(key, fmt.Errorf("%s is too large", sum[:len(sum)-1]))
			case sum[len(sum)-1] == '+':
				value = strconv.Itoa(first + t.number)
			case first < t.number:
				t.wrong(key, fmt.Errorf("%s is negative for instance %d", text[m[0]:m[1]], t.number))
			default:
				value = strconv.Itoa(first - t.number)
			}
		}
		b.WriteString(text[done:begin] + value)
		done = m[1]
	}
	return b.String() + text[done:]
}

func (t *template) check(key string, c *Check) *Check {
	if c == nil {
		return nil
	}
	filled := *c
	filled.Target, filled.Command = t.text(key, c.Target), t.list(key, c.Command)
	filled.Host, filled.Unix = t.text(key, c.Host), t.text(key, c.Unix)
	t.wrong(key, filled.Validate(key == "alive"))
	return &filled
}

// listenError is what is wrong with an address of listen.
func listenError(address string) error {
	if err := supervisor.CheckAddress(address); err != nil {
		return errors.New(fault.Text(err))
	}
	return nil
}
