package hook

import (
	"fmt"
	"slices"
	"strings"

	"activationd/activation"
	"activationd/event"
	"activationd/internal/document"
	"activationd/internal/fault"
)

// A Condition is a word that stands for the events that people most often wait for.
type Condition struct {
	Word    string
	Meaning string // of which events it holds, for documents and messages
	holds   func(*event.Event) bool
}

// Conditions are all conditions there are.
func Conditions() []Condition { return slices.Clone(conditions) }

var conditions = []Condition{
	{"stuck", "a reservation could not be deactivated and needs an operator", func(e *event.Event) bool {
		return became(e, activation.Stuck) && e.Kind != string(activation.Service)
	}},
	{"conflict", "a reservation cannot have what it wants in its slot: it is marked as conflicting", what("conflict")},
	{"rejected", "a load rejected a reservation, a recurrence or a service", what("rejected")},
	{"failed", "a job or reservation has finished with the outcome failed, timed_out, missed or lost", func(e *event.Event) bool {
		switch activation.Outcome(e.Outcome) {
		case "", activation.Succeeded, activation.Cancelled:
			return false
		}
		return became(e, activation.Finished)
	}},
	{"fatal", "an instance of a service failed too often", func(e *event.Event) bool {
		return became(e, activation.Stuck) && e.Kind == string(activation.Service)
	}},
	{"unready", "the check of readiness of a service's instance fails", what("unready")},
	{"ready", "a service's instance is ready, for the first time or again", func(e *event.Event) bool {
		return e.What == "ready" || became(e, activation.Active) && e.Kind == string(activation.Service)
	}},
	{"draining", "a service's instance is about to be stopped", what("draining")},
	{"quarantined", "a VLAN id was put into quarantine", what("vlan.quarantined")},
	{"refused", "a device has refused a login", what("login.refused")},
	{"dead", "a message of a queue has become a dead letter, except in the queues of hooks", what("queue.dead")},
	{"published", "a client published a text", what(event.Published)},
}

func what(kind string) func(*event.Event) bool {
	return func(e *event.Event) bool { return e.What == kind }
}

// became reports whether an event says that an activation has this state.
func became(e *event.Event, state activation.State) bool {
	return e.What == event.State && e.State == string(state)
}

// A Filter chooses events, by a pattern of topics or by a condition.
type Filter struct {
	text    string
	pattern event.Pattern
	holds   func(*event.Event) bool // nil: the pattern decides
}

// ParseFilter reads a filter. One word without a dot is a condition, except * and #; all else
// is a pattern. The error is of kind fault.Invalid.
func ParseFilter(text string) (f Filter, err error) {
	f.text = text
	if text == "" || strings.ContainsAny(text, " \t\r\n") {
		return f, fmt.Errorf("%q is no condition and no pattern of topics; write failed or activation.*.finished, for example: %w", text, fault.Invalid)
	}
	if !strings.ContainsAny(text, ".*#") {
		for _, c := range conditions {
			if c.Word == text {
				f.holds = c.holds
				return f, nil
			}
		}
		return f, unknown(text)
	}
	f.pattern, err = event.ParsePattern(text)
	return f, err
}

// unknown returns the error for a word that is no condition.
func unknown(text string) error {
	best, at := "", 0
	var words []string
	for _, c := range conditions {
		words = append(words, c.Word)
		if n := document.Distance(strings.ToLower(text), c.Word); best == "" || n < at {
			best, at = c.Word, n
		}
	}
	if at <= len(best)/3+1 {
		return fmt.Errorf("there is no condition %.40q; did you mean %s? For a topic of one word, write %.40s.#: %w", text, best, text, fault.Invalid)
	}
	last := len(words) - 1
	return fmt.Errorf("there is no condition %.40q; there are %s and %s. For a topic of one word, write %.40s.#: %w",
		text, strings.Join(words[:last], ", "), words[last], text, fault.Invalid)
}

// String returns the text of the filter.
func (f Filter) String() string { return f.text }

// Match reports whether f chooses an event.
func (f Filter) Match(e *event.Event) bool {
	if f.holds != nil {
		return f.holds(e)
	}
	return f.pattern.Match(e.Topic)
}

// Wants reports whether a hook with these filters gets an event. It always gets a gap, which
// may stand for events that it would get. No hook gets an event about a hook, because that
// would make more of them, forever.
func Wants(filters []Filter, e *event.Event) bool {
	if e.What == event.Gap {
		return true
	}
	if e.Kind == "queue" && strings.HasPrefix(e.ID, QueuePrefix) {
		return false
	}
	return slices.ContainsFunc(filters, func(f Filter) bool { return f.Match(e) })
}

// QueuePrefix is what the names of the queues of hooks begin with.
const QueuePrefix = "hook/"
