// Package display has what the programs for people show alike: words for states, times,
// colours, and texts from others, made harmless for a terminal.
package display

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Printable makes text from others harmless for a terminal and a table.
func Printable(s string) string {
	bad := func(r rune) bool { return !unicode.IsPrint(r) }
	if strings.IndexFunc(s, bad) < 0 && utf8.ValidString(s) {
		return s
	}
	quoted := strconv.Quote(s)
	return strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`)
}

// Shorten returns at most n runes of s. If it cuts s, the last rune is an ellipsis.
func Shorten(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n-1]) + "…"
}

// leastWidth is how narrow lines may become.
const leastWidth = 10

// Wrap divides text into lines of at most width characters, at blanks where it can.
func Wrap(text string, width int) (lines []string) {
	width = max(width, leastWidth)
	rest := []rune(text)
	for len(rest) > width {
		end := width
		for end > 0 && rest[end] != ' ' {
			end--
		}
		if end == 0 { // a word that is longer than a line
			end = width
		}
		lines = append(lines, string(rest[:end]))
		rest = []rune(strings.TrimLeft(string(rest[end:]), " "))
	}
	if len(rest) > 0 {
		lines = append(lines, string(rest))
	}
	return lines
}

// Colour returns text that begins with a state or an outcome in its colour.
func Colour(text string) string {
	word, _, _ := strings.Cut(text, " ")
	return ColourAs(text, word)
}

// ColourAs returns text in the colour of a state or an outcome.
func ColourAs(text, word string) string {
	var code string
	switch word {
	case "stuck", "conflicting", "failed", "timed_out", "lost", "missed", "quarantined", "refused":
		code = "31" // red
	case "waiting", "held", "cancelled", "trying":
		code = "33" // yellow
	case "running", "active", "activating", "deactivating":
		code = "36" // cyan
	case "succeeded":
		code = "32" // green
	default:
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}
