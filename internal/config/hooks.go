package config

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// A Hook hands events to others, in one of three ways: Post, Command or Mail. What its filters
// and its URL mean is decided by package hook.
type Hook struct {
	Name         string            `yaml:"name"`
	On           []string          `yaml:"on"`   // conditions, or patterns of topics
	Post         string            `yaml:"post"` // a URL
	SecretFile   string            `yaml:"secret_file,path"`
	AllowPrivate bool              `yaml:"allow_private"` // Post may lead to an address that is not public
	Command      []string          `yaml:"command,command"`
	User         string            `yaml:"user"` // of Command, as the next two; empty: the daemon's own
	Directory    string            `yaml:"directory,path"`
	Environment  map[string]string `yaml:"environment"`
	Mail         string            `yaml:"mail"` // an address
	Timeout      time.Duration     `yaml:"timeout"`
	Attempts     int               `yaml:"attempts" range:"1 1000"`
	Backoff      Backoff           `yaml:"backoff"`

	Secret []byte `yaml:"-"` // what SecretFile has
}

func defaultHook() Hook {
	return Hook{Timeout: 30 * time.Second, Attempts: 20, Backoff: Backoff{First: 5 * time.Second, Max: 30 * time.Minute}}
}

func (p *checker) checkHooks() {
	names := map[string]int{}
	for i := range p.Hooks {
		h := &p.Hooks[i]
		if h.Name == "" {
			p.missing(h, &h.Name, "name", "a name such as oncall")
		} else if !listenerName.MatchString(h.Name) {
			p.wrong(&h.Name, "%q: want letters, digits and ._-, and a letter, a digit or _ first, at most 64", h.Name)
		}
		if other, twice := names[h.Name]; twice && h.Name != "" {
			p.wrong(h, "name: %s is already there on line %d; give each its own name", h.Name, other)
		}
		names[h.Name] = p.places[h].Line
		if len(h.On) == 0 {
			p.missing(h, &h.On, "on", "conditions or patterns of topics, such as [failed, stuck]")
		}
		p.checkWay(h)
		positive(p, &h.Timeout)
		p.checkBackoff(&h.Backoff)
		p.checkEnvironment(h.Environment)
		for _, name := range slices.Sorted(maps.Keys(h.Environment)) {
			if strings.HasPrefix(name, "EVENT_") || name == "QUEUE" || strings.HasPrefix(name, "MESSAGE_") {
				p.wrong(entryOf(h.Environment, name), "QUEUE and names that begin with EVENT_ or MESSAGE_ are the daemon's own")
			}
		}
	}
}

// checkWay checks that a hook has one way to hand events on, and only the keys of that.
func (p *checker) checkWay(h *Hook) {
	var ways []string
	for _, w := range []struct {
		key   string
		field any
		given bool
	}{{"post", &h.Post, h.Post != ""}, {"command", &h.Command, len(h.Command) > 0 && h.Command[0] != ""}, {"mail", &h.Mail, h.Mail != ""}} {
		if _, written := p.places[w.field]; w.given || written {
			ways = append(ways, w.key)
		}
		if !w.given && !p.faults.Has(p.places[w.field].Line) {
			p.wrong(w.field, "is empty")
		}
	}
	if len(ways) != 1 {
		have := strings.Join(ways, " and ")
		if have == "" {
			have = "none"
		}
		p.wrong(h, "want one of post, command and mail, have %s", have)
		return
	}
	for _, only := range []struct {
		way    string
		fields []any
	}{{"post", []any{&h.SecretFile, &h.AllowPrivate}}, {"command", []any{&h.User, &h.Directory, &h.Environment}}} {
		for _, field := range only.fields {
			if only.way != ways[0] {
				p.wrong(field, "has a meaning only with %s", only.way)
			}
		}
	}
}
