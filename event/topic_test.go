package event

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"activationd/internal/fault"
)

func TestTopic(t *testing.T) {
	for _, tt := range []struct {
		words []string
		want  string
	}{
		{[]string{"activation", "1042@ostrava", "active"}, "activation.1042@ostrava.active"},
		{[]string{"activation", "lab.1", "active"}, "activation.lab%2E1.active"},
		{[]string{"recurrence", "50%.", "held"}, "recurrence.50%25%2E.held"},
		{[]string{"load"}, "load"},
		{[]string{"a.b"}, "a%2Eb"},
	} {
		got := Topic(tt.words...)
		if got != tt.want {
			t.Errorf("Topic(%q) = %q, want %q", tt.words, got, tt.want)
		}
		if n := strings.Count(got, "."); n != len(tt.words)-1 {
			t.Errorf("Topic(%q) = %q has %d dots", tt.words, got, n)
		}
	}
}

// TestMatch has the observed behaviour of RabbitMQ 3.10.8: each key with all patterns
// that match it.
func TestMatch(t *testing.T) {
	patterns := strings.Fields("# #.# #.* #.a.# * *.# a.# a.#.# *.* a.* a.*.# *.a #.#.b a.#.b a.b a.*.b a..b .")
	for key, matched := range map[string]string{
		"":        "# #.#",
		"a":       "# #.# #.* #.a.# * *.# a.# a.#.#",
		"a.":      "# #.# #.* #.a.# *.# *.* a.# a.#.# a.* a.*.#",
		".a":      "# #.# #.* #.a.# *.# *.* *.a",
		"a.b":     "# #.# #.#.b #.* #.a.# *.# *.* a.# a.#.# a.#.b a.* a.*.# a.b",
		"a..b":    "# #.# #.#.b #.* #.a.# *.# a.# a.#.# a.#.b a.*.# a.*.b a..b",
		".":       "# #.# #.* *.# *.* .",
		"a.x.b":   "# #.# #.#.b #.* #.a.# *.# a.# a.#.# a.#.b a.*.# a.*.b",
		"a.x.y.b": "# #.# #.#.b #.* #.a.# *.# a.# a.#.# a.#.b a.*.#",
		"a.*":     "# #.# #.* #.a.# *.# *.* a.# a.#.# a.* a.*.#",
		"ab":      "# #.# #.* * *.#",
		"A":       "# #.# #.* * *.#",
		"*":       "# #.# #.* * *.#",
		"#":       "# #.# #.* * *.#",
	} {
		want := strings.Fields(matched)
		for _, text := range patterns {
			if got := pattern(t, text).Match(key); got != slices.Contains(want, text) {
				t.Errorf("pattern %q, topic %q: %v", text, key, got)
			}
		}
	}
	for _, tt := range []struct {
		pattern, topic string
		want           bool
	}{
		{"", "", true}, {"", "a", false}, {"a*", "ab", false}, {"a*", "a*", true}, {"#a", "#a", true}, {"#a", "ba", false},
		{"activation.lab%2E1.*", Topic("activation", "lab.1", "active"), true},
		{"activation.lab.1.*", Topic("activation", "lab.1", "active"), false},
	} {
		if got := pattern(t, tt.pattern).Match(tt.topic); got != tt.want {
			t.Errorf("pattern %q, topic %q: %v", tt.pattern, tt.topic, got)
		}
	}
	if _, err := ParsePattern(strings.Repeat("#", maxPattern+1)); !errors.Is(err, fault.Invalid) {
		t.Errorf("a pattern that is too long: %v", err)
	}
}

func pattern(t *testing.T, text string) Pattern {
	t.Helper()
	p, err := ParsePattern(text)
	if err != nil || p.String() != text {
		t.Fatalf("pattern %q: %q, %v", text, p, err)
	}
	return p
}

// matches defines what a pattern means, without regard to speed.
func matches(pattern, topic []string) bool {
	switch {
	case len(pattern) == 0:
		return len(topic) == 0
	case pattern[0] == "#":
		return matches(pattern[1:], topic) || len(topic) > 0 && matches(pattern, topic[1:])
	case len(topic) == 0:
		return false
	}
	return (pattern[0] == "*" || pattern[0] == topic[0]) && matches(pattern[1:], topic[1:])
}

func FuzzMatch(f *testing.F) {
	for _, seed := range [][2]string{{"#.a.#.b", "a.x.a.b"}, {"*.#.*", "a.b"}, {"a..#", "a."}, {"", ""}, {"#.#.#.a", "b.a.b"}} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, text, topic string) {
		if len(text) > 24 || len(topic) > 24 { // matches takes exponential time
			return
		}
		if got, want := pattern(t, text).Match(topic), matches(split(text), split(topic)); got != want {
			t.Errorf("pattern %q, topic %q: %v, want %v", text, topic, got, want)
		}
		word := Topic(topic)
		if strings.ContainsRune(word, '.') {
			t.Errorf("Topic(%q) = %q has several words", topic, word)
		}
		if back := strings.NewReplacer("%2E", ".", "%25", "%").Replace(word); back != topic {
			t.Errorf("Topic(%q) = %q stands for %q", topic, word, back)
		}
	})
}
