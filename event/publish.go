package event

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"activationd/internal/fault"
)

// Published is the kind of an event that a client published.
const Published = "published"

// Limits of what a client publishes, in bytes.
const (
	MaxTopic = 255
	MaxText  = 4 << 10
)

// own are the first words of the topics of activationd's own events, and of those that it may
// have later. Clients cannot publish such topics, so whoever follows a topic knows who speaks.
var own = []string{
	"activation", "cluster", "daemon", "device", Gap, "hook", "host", "listener", "load", "lock", "login", "message", "queue",
	"recurrence", "reservation", "service", "source", "vlan",
}

// Publish returns the event for a text that a client publishes. The error is of kind
// fault.Invalid and says what is wrong with the topic or the text.
func Publish(topic, text string) (Event, error) {
	words := strings.Split(topic, ".")
	var wrong string
	switch {
	case topic == "":
		wrong = "is empty; give words joined by dots, such as build.42.done"
	case len(topic) > MaxTopic:
		return Event{}, fmt.Errorf("topic: %.40q... has %d bytes, at most %d are possible: %w", topic, len(topic), MaxTopic, fault.Invalid)
	case !utf8.ValidString(topic) || strings.ContainsFunc(topic, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }):
		wrong = "has a blank or a character that cannot be printed"
	case slices.Contains(words, ""):
		wrong = "has an empty word; one dot joins two words"
	case strings.ContainsAny(topic, "*#"):
		wrong = "has a * or #; these are for patterns"
	case slices.Contains(own, words[0]):
		wrong = fmt.Sprintf("begins with %q, and such topics are for the events of activationd itself; begin with another word", words[0])
	}
	if wrong != "" {
		return Event{}, fmt.Errorf("topic: %q %s: %w", topic, wrong, fault.Invalid)
	}
	switch {
	case len(text) > MaxText:
		return Event{}, fmt.Errorf("text: it has %d bytes, at most %d are possible: %w", len(text), MaxText, fault.Invalid)
	case !utf8.ValidString(text):
		return Event{}, fmt.Errorf("text: it is not UTF-8: %w", fault.Invalid)
	}
	return Event{Topic: topic, What: Published, Text: text}, nil
}
