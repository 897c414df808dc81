package event

import (
	"fmt"
	"strings"

	"activationd/internal/fault"
)

var escaper = strings.NewReplacer("%", "%25", ".", "%2E")

// Topic joins words with dots. It writes a dot within a word as %2E and a percent sign as
// %25, so an id is always one word.
func Topic(words ...string) string {
	if len(words) == 1 {
		return escaper.Replace(words[0])
	}
	var b strings.Builder
	for i, w := range words {
		if i > 0 {
			b.WriteByte('.')
		}
		_, _ = escaper.WriteString(&b, w) // a Builder does not fail
	}
	return b.String()
}

// maxPattern bounds the length of a pattern, in bytes.
const maxPattern = 1024

// A Pattern chooses topics, like a binding key of AMQP's topic exchanges. The word *
// stands for exactly one word, # for any number of words including none. All other words
// stand for themselves, also one such as a*.
type Pattern struct {
	words []string
	text  string
}

// ParsePattern reads a pattern. The error is of kind fault.Invalid.
func ParsePattern(s string) (Pattern, error) {
	if len(s) > maxPattern {
		return Pattern{}, fmt.Errorf("pattern: %.40q... has %d bytes, at most %d are possible: %w", s, len(s), maxPattern, fault.Invalid)
	}
	return Pattern{split(s), s}, nil
}

// String returns the text that [ParsePattern] read.
func (p Pattern) String() string { return p.text }

// split returns the words of a topic or a pattern. An empty one has none.
func split(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ".")
}

// Match reports whether p chooses the topic.
func (p Pattern) Match(topic string) bool {
	words := split(topic)
	hash, tried := -1, 0 // the last # so far, and the word of topic at which the words after it were tried last
	at, i := 0, 0        // the next words of p and of topic
	for i < len(words) {
		switch {
		case at < len(p.words) && p.words[at] == "#":
			hash, tried = at, i
			at++
		case at < len(p.words) && (p.words[at] == "*" || p.words[at] == words[i]):
			at++
			i++
		case hash >= 0: // one more word for the #
			tried++
			at, i = hash+1, tried
		default:
			return false
		}
	}
	for at < len(p.words) && p.words[at] == "#" {
		at++
	}
	return at == len(p.words)
}
