package timespec

import "strings"

// A token is a kind of word in a timespec.
type token int

const (
	endOfText token = iota
	other           // a character that belongs to nothing

	oneOrTwo    // digits
	four        // digits
	fiveToEight // digits
	digits      // any other number of digits
	hourMinute  // 10:30
	dotted      // 21.11.2026
	hyphened    // 2099-12-21

	nowWord
	fromWord
	amWord
	pmWord
	noonWord
	midnightWord
	teatimeWord
	todayWord
	tomorrowWord
	nextWord
	utcWord
	minuteWord
	hourWord
	dayWord
	weekWord
	monthWord
	yearWord
	weekday // with its number
	month   // with its number
)

// A spelling is one of the known words.
type spelling struct {
	word  string
	kind  token
	value int
}

// spelled returns the longest word that text begins with.
func spelled(text string) (best spelling) {
	if text[0] < 'a' || text[0] > 'z' {
		return best
	}
	for _, s := range &spellings {
		if len(s.word) > len(best.word) && strings.HasPrefix(text, s.word) {
			best = s
		}
	}
	return best
}

// spellings is never written to.
var spellings = [...]spelling{
	{"now", nowWord, 0}, {"from", fromWord, 0}, {"am", amWord, 0}, {"pm", pmWord, 0},
	{"noon", noonWord, 0}, {"midnight", midnightWord, 0}, {"teatime", teatimeWord, 0},
	{"today", todayWord, 0}, {"tomorrow", tomorrowWord, 0}, {"next", nextWord, 0}, {"utc", utcWord, 0},
	{"min", minuteWord, 0}, {"minute", minuteWord, 0}, {"minutes", minuteWord, 0},
	{"hour", hourWord, 0}, {"hours", hourWord, 0}, {"day", dayWord, 0}, {"days", dayWord, 0},
	{"week", weekWord, 0}, {"weeks", weekWord, 0}, {"month", monthWord, 0}, {"months", monthWord, 0},
	{"year", yearWord, 0}, {"years", yearWord, 0},
	{"sun", weekday, 0}, {"sunday", weekday, 0}, {"mon", weekday, 1}, {"monday", weekday, 1},
	{"tue", weekday, 2}, {"tuesday", weekday, 2}, {"wed", weekday, 3}, {"wednesday", weekday, 3},
	{"thu", weekday, 4}, {"thursday", weekday, 4}, {"fri", weekday, 5}, {"friday", weekday, 5},
	{"sat", weekday, 6}, {"saturday", weekday, 6},
	{"jan", month, 1}, {"january", month, 1}, {"feb", month, 2}, {"february", month, 2},
	{"mar", month, 3}, {"march", month, 3}, {"apr", month, 4}, {"april", month, 4}, {"may", month, 5},
	{"jun", month, 6}, {"june", month, 6}, {"jul", month, 7}, {"july", month, 7},
	{"aug", month, 8}, {"august", month, 8}, {"sep", month, 9}, {"september", month, 9},
	{"oct", month, 10}, {"october", month, 10}, {"nov", month, 11}, {"november", month, 11},
	{"dec", month, 12}, {"december", month, 12},
}

// A lexeme is a token where it stands: text[start:end].
type lexeme struct {
	kind       token
	text       string
	value      int
	start, end int
}

// lex returns the lexeme at or after pos: the longest there.
func lex(text string, pos int) lexeme {
	for pos < len(text) && strings.IndexByte(" \t\n", text[pos]) >= 0 {
		pos++
	}
	l := lexeme{start: pos, end: pos}
	if pos == len(text) {
		return l
	}
	rest := text[pos:]
	var n int
	if s := spelled(rest); s.word != "" {
		l.kind, l.value, n = s.kind, s.value, len(s.word)
	} else if l.kind, n = number10(rest); n == 0 {
		l.kind, n = other, 1
	}
	l.text, l.end = rest[:n], pos+n
	return l
}

// number10 returns the token that text begins with if that begins with a digit,
// and its length.
func number10(text string) (token, int) {
	run := span(text)
	if run == 0 {
		return other, 0
	}
	if n := groups(text, '.', 2, 2, true); n > 0 {
		return dotted, n
	}
	if run == 2 || run == 4 {
		if n := groups(text, '-', 4, 2, false); n > 0 {
			return hyphened, n
		}
	}
	if run <= 2 && len(text) > run+2 && (run == 1 || text[0] <= '2') &&
		strings.IndexByte(":'h,.", text[run]) >= 0 && span(text[run+1:]) >= 2 {
		return hourMinute, run + 3
	}
	switch {
	case run <= 2:
		return oneOrTwo, run
	case run == 4:
		return four, run
	case run >= 5 && run <= 8:
		return fiveToEight, run
	}
	return digits, run
}

// groups returns the length of a date of three groups of digits that text begins
// with: at most first and second digits, and two, or two or four if the year is
// last; 0 if there is none.
func groups(text string, sep byte, first, second int, yearLast bool) int {
	n := span(text)
	if n > first || n == len(text) || text[n] != sep {
		return 0
	}
	m := span(text[n+1:])
	at := n + 1 + m
	if m == 0 || m > second || at == len(text) || text[at] != sep {
		return 0
	}
	switch last := span(text[at+1:]); {
	case yearLast && last >= 4:
		return at + 1 + 4
	case last >= 2:
		return at + 1 + 2
	case !yearLast && last == 1:
		return at + 1 + 1
	}
	return 0
}

// span returns how many digits text begins with.
func span(text string) int {
	n := 0
	for n < len(text) && text[n] >= '0' && text[n] <= '9' {
		n++
	}
	return n
}
