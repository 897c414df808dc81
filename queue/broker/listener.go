package broker

import (
	"context"
	"path"
	"strings"
	"time"

	"activationd/queue"
	"activationd/supervisor/wrapper"
)

// A Listener says how the messages of some queues are handled.
type Listener struct {
	Name   string
	Queues []string // names or patterns, as of path.Match
	// Together says how one set of processes serves all queues that match; [Apart]: each
	// queue has a set of its own.
	Together  Together
	Weights   map[string]int // for [Weighted], by name or pattern; 1 for a queue without a weight
	Stream    bool           // each process handles many messages; otherwise each message has a process
	Instances int            // how many processes a set has, at least 1
	Window    int            // how many messages a stream listener has at once, at least 1
	Policy    queue.Policy
	Timeout   time.Duration // of a message, from its delivery; 0: none
	Grace     time.Duration // from TERM to KILL
	MaxWait   time.Duration // a message that has waited at least so long goes before all others; 0: priorities alone decide
	Keep      time.Duration // how long results are kept
	Limits    queue.Limits  // of each queue
	Replace   Replace
	// Command is what the process executes, for those who start a listener of their own.
	Command []string
	// Version differs if the process must be another one: then it is replaced when it has
	// finished what it has in work.
	Version string
	// Prepare returns what the process runs as, and within which limits. It is called
	// before each start. After an error of kind fault.Unavailable, the start is tried again; any
	// other error pauses the queues.
	Prepare func() (wrapper.Spec, error)
	// Fill adds to the specification what depends on the message. It may be nil, and is not called for a stream listener.
	Fill func(spec *wrapper.Spec, m *queue.Message) error
	// Do handles a message inside this process. If it is set, no process is started.
	Do func(ctx context.Context, m *queue.Message, attempt int) (result []byte, e queue.Ending)
}

// Replace says when a stream listener is replaced, between two messages. Zero: never.
type Replace struct {
	Messages int
	Age      time.Duration
	Memory   int64 // bytes
}

// Together says how a set of processes chooses among the queues that it serves.
type Together string

// The ways to choose.
const (
	Apart    Together = ""         // there is nothing to choose: each queue has a set of its own
	Strict   Together = "strict"   // by the order of the listener's patterns, then by name
	Weighted Together = "weighted" // in turns, by weight
)

// serves reports whether the listener serves a queue, and the place of the pattern that
// matched.
func (l *Listener) serves(name string) (place int, ok bool) {
	for i, pattern := range l.Queues {
		if hit, err := path.Match(pattern, name); err == nil && hit || pattern == name {
			return i, true
		}
	}
	return 0, false
}

func (l *Listener) weight(name string) int {
	if w := l.Weights[name]; w > 0 {
		return w
	}
	for pattern, w := range l.Weights {
		if hit, err := path.Match(pattern, name); err == nil && hit && w > 0 {
			return w
		}
	}
	return 1
}

// listenerOf returns the listener of a queue and the place of its pattern; if there is
// none, it says why.
func (s *Settings) listenerOf(name string) (l *Listener, place int, why string) {
	if s.Allowed != nil && !strings.Contains(name, "/") { // a queue of the daemon's own is always served
		if ok, why := s.Allowed(name); !ok {
			return nil, 0, why
		}
	}
	for i := range s.Listeners {
		if place, ok := s.Listeners[i].serves(name); ok {
			return &s.Listeners[i], place, ""
		}
	}
	return nil, 0, "no entry of listeners matches"
}

// version is what a pause of a queue remembers of the listener that could not run.
func (l *Listener) version() string { return l.Name + " " + l.Version }
