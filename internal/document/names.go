package document

import (
	"fmt"
	"strings"
)

const maxName = 64

func letterOrDigit(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// CheckName returns what is wrong with the name of a device, pool, node or domain: it is
// used in the names of files, and is shown to users.
func CheckName(s string) error {
	if s == "" || len(s) > maxName {
		return fmt.Errorf("a name has 1 to %d letters", maxName)
	}
	for i, c := range []byte(s) {
		if !letterOrDigit(c) && (i == 0 || !strings.ContainsRune("._-", rune(c))) {
			return fmt.Errorf("%.80q: a name has letters, digits, and inside also . _ -", s)
		}
	}
	return nil
}

// CheckPort returns what is wrong with the name of a port or an interface: it may have no
// character with a meaning to a shell or a command line.
func CheckPort(s string) error {
	if s == "" || len(s) > maxName {
		return fmt.Errorf("an interface's name has 1 to %d letters", maxName)
	}
	for i, c := range []byte(s) {
		if !letterOrDigit(c) && (i == 0 || !strings.ContainsRune("._-/:@", rune(c))) {
			return fmt.Errorf("%.80q: an interface's name has letters, digits, and inside also . _ - / : @", s)
		}
	}
	return nil
}

// Nearest returns the word that the writer of s may have meant, or "".
func Nearest(s string, words []string) (best string) {
	at := len(s)/3 + 2
	for _, w := range words {
		if n := Distance(strings.ToLower(s), w); n < at && n < len(w) {
			best, at = w, n
		}
	}
	return best
}

// Distance is the number of letters to add, drop, change or swap with their
// neighbour to make b of a.
func Distance(a, b string) int {
	if len(a) > 64 {
		return len(a) // no key is as long
	}
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
