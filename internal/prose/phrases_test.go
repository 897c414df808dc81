package prose

import (
	"regexp/syntax"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// Regular expressions are slow, and much slower with the race detector, and almost no passage
// has what a rule looks for. So each rule has phrases: what it matches contains one of them, when
// both are written as [plain] writes them. Only a passage with such a phrase is searched.

// mostPhrases bounds the phrases of a part of a pattern. A part with more has none.
const mostPhrases = 200

// plain writes a text in lower case, with one blank in place of each run of anything but letters
// and digits of ASCII and _. So a blank is a word boundary, or the white space between words. A ?
// stands for ſ and for the sign of kelvin, which s and k match if a pattern ignores case.
func plain(text string) string {
	out := make([]byte, 0, len(text))
	for _, c := range text {
		switch {
		case 'A' <= c && c <= 'Z':
			c += 'a' - 'A'
		case c == 'ſ' || c == '\u212A':
			out = append(out, '?')
			continue
		}
		if c == '_' || 'a' <= c && c <= 'z' || '0' <= c && c <= '9' {
			out = append(out, byte(c))
		} else if len(out) == 0 || out[len(out)-1] != ' ' {
			out = append(out, ' ')
		}
	}
	return string(out)
}

// plainText is plain for a whole passage, whose ends are word boundaries.
func plainText(text string) string { return plain(" " + text + " ") }

// exact returns all that re matches, as plain writes it; nil: it is not finite, or too much.
func exact(re *syntax.Regexp) []string {
	all := []string{""}
	switch re.Op {
	case syntax.OpEmptyMatch:
	case syntax.OpWordBoundary:
		all = []string{" "}
	case syntax.OpLiteral:
		all = []string{string(re.Rune)}
	case syntax.OpCharClass:
		all = nil
		for i := 0; i < len(re.Rune); i += 2 {
			for c := re.Rune[i]; c <= re.Rune[i+1]; c++ {
				if all = append(all, string(c)); len(all) > mostPhrases {
					return nil
				}
			}
		}
	case syntax.OpCapture, syntax.OpPlus:
		all = exact(re.Sub[0])
		if re.Op == syntax.OpPlus && !slices.Equal(all, []string{" "}) { // white space is plain however long it is
			return nil
		}
	case syntax.OpQuest:
		if all = exact(re.Sub[0]); all == nil {
			return nil
		}
		all = append(all, "")
	case syntax.OpAlternate:
		all = nil
		for _, sub := range re.Sub {
			words := exact(sub)
			if words == nil {
				return nil
			}
			all = append(all, words...)
		}
	case syntax.OpConcat:
		for _, sub := range re.Sub {
			var longer []string
			for _, end := range exact(sub) {
				for _, begin := range all {
					longer = append(longer, begin+end)
				}
			}
			if all = longer; len(all) == 0 || len(all) > mostPhrases {
				return nil
			}
		}
	default:
		return nil
	}
	for i := range all {
		all[i] = plain(all[i])
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// phrases returns texts of which each match of re contains one; nil: none is known.
func phrases(re *syntax.Regexp) []string {
	if all := exact(re); all != nil {
		return all
	}
	var best []string
	switch re.Op {
	case syntax.OpCapture, syntax.OpPlus:
		return phrases(re.Sub[0])
	case syntax.OpAlternate:
		for _, sub := range re.Sub {
			all := phrases(sub)
			if all == nil {
				return nil
			}
			best = append(best, all...)
		}
	case syntax.OpConcat:
		// The longest part in a row that is exact, or else a part that has phrases.
		shortest := func(all []string) (n int) {
			if len(all) > 0 {
				n = len(slices.MinFunc(all, func(a, b string) int { return len(a) - len(b) }))
			}
			return n
		}
		for i := range re.Sub {
			candidates := [][]string{phrases(re.Sub[i])}
			for j := i + 2; j <= len(re.Sub); j++ {
				candidates = append(candidates, exact(&syntax.Regexp{Op: syntax.OpConcat, Sub: re.Sub[i:j]}))
			}
			for _, all := range candidates {
				if shortest(all) > shortest(best) {
					best = all
				}
			}
		}
	}
	return best
}

// meets reports whether r must be looked for in a text that [plainText] has written.
func (r *rule) meets(text string) bool {
	return r.phrases == nil || strings.Contains(text, "?") || slices.ContainsFunc(r.phrases, func(p string) bool { return strings.Contains(text, p) })
}

// TestPhrases holds that nothing that a rule matches is without its phrases, and that each rule
// has some.
func TestPhrases(t *testing.T) {
	for _, r := range readRules(t) {
		if len(r.phrases) == 0 || slices.ContainsFunc(r.phrases, func(p string) bool { return len(strings.TrimSpace(p)) < 2 }) {
			t.Errorf("%s: the phrases %q choose nothing", r.pattern, r.phrases)
		}
		matches := rapid.StringMatching(r.pattern.String())
		rapid.Check(t, func(t *rapid.T) {
			text := rapid.SampledFrom([]string{"", "x ", "x", "ä"}).Draw(t, "before") + matches.Draw(t, "match") + rapid.SampledFrom([]string{"", ".", "s", "ä"}).Draw(t, "after")
			if r.pattern.MatchString(text) && !r.meets(plainText(text)) {
				t.Fatalf("%s matches %q, and it has none of %q", r.pattern, text, r.phrases)
			}
		})
	}
}
