package config

import (
	"cmp"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Queues has the settings of all queues.
type Queues struct {
	Store       string   `yaml:"store,path"`                        // a file; empty: the daemon's own store
	MaxMessages int      `yaml:"max_messages" range:"0 1000000000"` // of all queues together; 0: any number
	MaxBytes    Size     `yaml:"max_bytes"`                         // of all of them; 0: any size
	MaxBody     Size     `yaml:"max_body"`                          // of one
	MaxCreated  int      `yaml:"max_created" range:"0 1000000"`     // queues that are there and that one client has created by pushes; 0: any number
	Pools       string   `yaml:"pools,path"`                        // a file with a list of the queues that are served; if it does not exist, all are
	Allow       []string `yaml:"allow"`                             // patterns of the names of queues that may be served; none: all
	Deny        []string `yaml:"deny"`                              // patterns of those that may not
	Routes      []Route  `yaml:"routes"`                            // paths of HTTP at which messages can be pushed
}

// A Listener says how the messages of some queues are handled: the first listener one of whose
// patterns matches a queue's name serves it.
type Listener struct {
	Name        string            `yaml:"name"` // of the first pattern, if it has none of its own
	Queues      []string          `yaml:"queues"`
	Per         string            `yaml:"per" words:"message stream"`
	Command     []string          `yaml:"command,command"`
	Instances   int               `yaml:"instances" range:"1 1000"`
	Window      int               `yaml:"window" range:"1 10000"` // messages that one process of a stream has at the same time
	Attempts    int               `yaml:"attempts" range:"1 1000"`
	Backoff     Backoff           `yaml:"backoff"`
	Timeout     time.Duration     `yaml:"timeout"` // of a message; 0: none
	Grace       time.Duration     `yaml:"grace"`
	MaxWait     time.Duration     `yaml:"max_wait"`                          // a message that has waited so long is next, whatever its priority; 0: none
	Keep        time.Duration     `yaml:"keep"`                              // how long results are kept; 0: not at all
	MaxMessages int               `yaml:"max_messages" range:"0 1000000000"` // of one queue; 0: any number
	MaxBytes    Size              `yaml:"max_bytes"`                         // of one queue; 0: any size
	Overflow    string            `yaml:"overflow" words:"refuse drop_oldest"`
	Replace     Replace           `yaml:"replace"`
	Exits       Exits             `yaml:"exits"`
	Together    string            `yaml:"together" words:"no strict weighted"`
	Weights     map[string]int    `yaml:"weights"` // by pattern; others have 1
	User        string            `yaml:"user"`    // empty: the daemon's own
	Group       string            `yaml:"group"`   // empty: the user's
	Directory   string            `yaml:"directory,path"`
	Environment map[string]string `yaml:"environment"`
	Umask       *Mode             `yaml:"umask"` // nil, here and below: as of [Runs]
	Nice        *int              `yaml:"nice" range:"-20 19"`
	Limits      map[string]Rlimit `yaml:"limits"`
}

// How a listener gets its messages.
const (
	PerMessage = "message" // a process for each
	PerStream  = "stream"  // one process for many
)

// What happens to a push to a queue that is full.
const (
	Refuse     = "refuse"
	DropOldest = "drop_oldest"
)

// Whether one set of processes serves all queues of a listener, and in which order.
const (
	Separate = "no"       // each queue has its own
	Strict   = "strict"   // the queues of the first pattern first
	Weighted = "weighted" // in turn, by weight
)

// Replace says when a process of a stream is replaced, between two messages. 0: never.
type Replace struct {
	Messages int           `yaml:"messages" range:"0 1000000000"`
	Age      time.Duration `yaml:"age"`
	Memory   Size          `yaml:"memory"`
}

// Exits lists exit statuses by what becomes of the message. All others mean another attempt,
// until none is left.
type Exits struct {
	Done  []int `yaml:"done"`
	Again []int `yaml:"again"` // another attempt, after the pause
	Dead  []int `yaml:"dead"`  // a dead letter at once
	Fault []int `yaml:"fault"` // the listener cannot run: its queue is paused
}

// all returns the lists with their keys.
func (e *Exits) all() []exitList {
	return []exitList{{"done", &e.Done}, {"again", &e.Again}, {"dead", &e.Dead}, {"fault", &e.Fault}}
}

type exitList struct {
	key      string
	statuses *[]int
}

// Verdicts returns what becomes of a message by the exit status: done, again, dead or fault.
func (e Exits) Verdicts() map[int]string {
	verdicts := make(map[int]string)
	for _, list := range e.all() {
		for _, status := range *list.statuses {
			verdicts[status] = list.key
		}
	}
	return verdicts
}

func defaultListener() Listener {
	return Listener{
		Per: PerMessage, Instances: 1, Window: 1, Attempts: 3, Backoff: Backoff{First: time.Second, Max: time.Hour}, Grace: 10 * time.Second,
		Overflow: Refuse, Exits: Exits{Done: []int{0}, Again: []int{75}, Dead: []int{65}, Fault: []int{126, 127}}, Together: Separate,
	}
}

func (p *checker) checkQueues() {
	q := &p.Queues
	within(p, &q.MaxBody, 1, 16<<20)
	p.checkPatterns(q.Allow)
	p.checkPatterns(q.Deny)
	p.checkRoutes()
	names := map[string]int{}
	var before []queuePattern
	for i := range p.Listeners {
		l := &p.Listeners[i]
		p.checkListener(l)
		for _, pattern := range l.Queues {
			before = p.checkHidden(l, pattern, before)
		}
		line := p.places[l].Line
		if other, twice := names[l.Name]; twice && l.Name != "" {
			p.wrong(l, "name: %s is already there on line %d; give each its own name", l.Name, other)
		}
		names[l.Name] = line
	}
}

// A queuePattern is a pattern of a listener.
type queuePattern struct {
	text string
	of   *Listener
}

// checkHidden checks that the first match of some queue's name is pattern; before has the
// patterns in front of it. It returns these and pattern.
func (p *checker) checkHidden(l *Listener, pattern string, before []queuePattern) []queuePattern {
	for _, other := range before {
		if !covers(other.text, pattern) {
			continue
		}
		if other.of == l {
			p.wrong(&l.Queues, "%s matches all that %s does, so one of them is needless", other.text, pattern)
		} else {
			p.wrong(&l.Queues, "%s: never used, as %s on line %d matches all these queues and is first; put this listener before that one", pattern, other.text, p.places[other.of].Line)
		}
		return before
	}
	return append(before, queuePattern{pattern, l})
}

var (
	listenerName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$`)
	queueName    = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$`)
)

// checkPatterns checks patterns of the names of queues.
func (p *checker) checkPatterns(patterns []string) {
	for i, pattern := range patterns {
		field := &patterns[i]
		if _, err := path.Match(pattern, ""); err != nil || pattern == "" {
			p.wrong(field, "%q is not a pattern", pattern)
		} else if !strings.ContainsAny(pattern, `*?[\`) && !queueName.MatchString(pattern) {
			p.wrong(field, "%q is not the name of a queue: want letters, digits and ._-, and a letter, a digit or _ first", pattern)
		} else if strings.Contains(pattern, "/") {
			p.wrong(field, "%q: no name of a queue has a /", pattern)
		}
	}
}

func (p *checker) checkListener(l *Listener) {
	if len(l.Queues) == 0 {
		p.missing(l, &l.Queues, "queues", `patterns of names, such as ["_model_*"]`)
	}
	p.checkPatterns(l.Queues)
	if _, given := p.places[&l.Name]; !given && len(l.Queues) > 0 {
		l.Name = nameOfPattern(l.Queues[0])
	} else if given && !listenerName.MatchString(l.Name) {
		p.wrong(&l.Name, "%q: want letters, digits and ._-, and a letter, a digit or _ first, at most 64", l.Name)
	}
	if len(l.Command) == 0 || l.Command[0] == "" {
		p.missing(l, &l.Command, "command", "a command and its arguments, such as [/usr/local/bin/work]")
	}
	p.checkBackoff(&l.Backoff)
	const onlyStream = "has a meaning only with per: stream; with per: message each message has a process of its own"
	if l.Per == PerMessage && l.Window > 1 {
		p.wrong(&l.Window, onlyStream)
	}
	if l.Per == PerMessage && l.Replace != (Replace{}) {
		p.wrong(&l.Replace, onlyStream)
	}
	if l.Overflow == DropOldest && l.MaxMessages == 0 && l.MaxBytes == 0 {
		p.wrong(&l.Overflow, "has a meaning only with max_messages or max_bytes")
	}
	p.checkExits(&l.Exits)
	p.checkWeights(l)
	p.checkEnvironment(l.Environment)
	for _, name := range slices.Sorted(maps.Keys(l.Environment)) {
		if name == "QUEUE" || strings.HasPrefix(name, "MESSAGE_") || strings.HasPrefix(name, "HEADER_") {
			p.wrong(entryOf(l.Environment, name), "QUEUE and names that begin with MESSAGE_ or HEADER_ are the daemon's own")
		}
	}
	p.checkLimits(l.Limits)
}

// missing notes that a mapping lacks a key, unless what the file has for it could not be read.
func (p *checker) missing(mapping, field any, key, want string) {
	if _, given := p.places[field]; !given {
		p.wrong(mapping, "%s: missing; want %s", key, want)
	} else if !p.faults.Has(p.places[field].Line) {
		p.wrong(field, "want %s", want)
	}
}

// checkExits checks the exit statuses of a listener. A status for which the file has a key
// is not in the other keys' defaults any more.
func (p *checker) checkExits(e *Exits) {
	given := map[int]string{}
	for _, list := range e.all() {
		if _, ok := p.places[list.statuses]; !ok {
			continue
		}
		for i, status := range *list.statuses {
			field := &(*list.statuses)[i]
			switch other := given[status]; {
			case status < 0 || status > 255:
				p.wrong(field, "must be from 0 to 255, is %d", status)
			case other != "":
				p.wrong(field, "%d is under %s already", status, other)
			}
			given[status] = cmp.Or(given[status], list.key)
		}
	}
	for _, list := range e.all() {
		if _, ok := p.places[list.statuses]; !ok {
			*list.statuses = slices.DeleteFunc(*list.statuses, func(status int) bool { return given[status] != "" })
		}
	}
	if _, known := e.Verdicts()[0]; !known {
		p.wrong(&e.Done, "0 is missing; add it here or under another key")
	}
}

func (p *checker) checkWeights(l *Listener) {
	if l.Together == Separate || l.Together == Strict {
		p.wrong(&l.Weights, "has a meaning only with together: weighted")
	}
	for _, pattern := range slices.Sorted(maps.Keys(l.Weights)) {
		switch at, weight := entryOf(l.Weights, pattern), l.Weights[pattern]; {
		case !slices.Contains(l.Queues, pattern):
			p.wrong(at, "is not among the patterns of queues")
		case weight < 1 || weight > 1000:
			p.wrong(at, "must be from 1 to 1000, is %d", weight)
		}
	}
}

// nameOfPattern makes the name of a listener from a pattern: model from _model_*.
func nameOfPattern(pattern string) string {
	name := regexp.MustCompile(`\[[^]]*\]|[^A-Za-z0-9_.-]`).ReplaceAllString(pattern, "")
	name = strings.Trim(name, "_.-")
	return cmp.Or(name[:min(len(name), 64)], "all")
}

// covers reports whether pattern a matches every text that b matches. Of sets of characters
// it knows only equal ones.
func covers(a, b string) bool {
	x, y := parts(a), parts(b)
	var match func(i, j int) bool
	match = func(i, j int) bool {
		switch {
		case i == len(x):
			return j == len(y)
		case x[i] == "*":
			return match(i+1, j) || j < len(y) && match(i, j+1)
		case j == len(y) || y[j] == "*":
			return false
		case x[i] == "?" || x[i] == y[j]:
			return match(i+1, j+1)
		case x[i][0] == '[' && len(y[j]) == 1 && y[j] != "?":
			ok, _ := path.Match(x[i], y[j])
			return ok && match(i+1, j+1)
		}
		return false
	}
	return match(0, 0)
}

// parts divides a pattern into what each matches one character, and stars.
func parts(pattern string) (all []string) {
	for part := range slices.Values(regexp.MustCompile(`\*+|\[(?:\\.|[^]\\])*\]|\\.|(?s:.)`).FindAllString(pattern, -1)) {
		switch part[0] {
		case '*':
			part = "*"
		case '\\':
			if !strings.ContainsAny(part[1:], `*?[`) {
				part = part[1:]
			}
		}
		all = append(all, part)
	}
	return all
}
