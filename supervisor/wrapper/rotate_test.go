package wrapper

import (
	"strings"
	"testing"
)

// What belongs into the present file, of 10 bytes at most.
func TestFits(t *testing.T) {
	for _, tt := range []struct {
		name string
		size int64
		mid  bool
		b    string
		want string
	}{
		{"all of it", 3, false, "abc\nef\n", "abc\nef\n"},
		{"all of it, without an end", 3, true, "abcdefg", "abcdefg"},
		{"the lines for which there is room", 3, false, "ab\ncd\nef\n", "ab\ncd\n"},
		{"only whole lines", 3, false, "ab\ncdefghijkl", "ab\n"},
		{"no line", 3, false, "abcdefgh\n", ""},
		{"none, it is full", 10, false, "a\n", ""},
		{"none, a line was longer", 15, false, "a\n", ""},
		{"the rest of a line", 8, true, "abc\nd\n", "abc\n"},
		{"the rest of a line, within a full file", 10, true, "abc\nd\n", "abc\n"},
		{"a part of that rest", 8, true, "abc", "abc"},
		{"no more than twice its size", 18, true, "abc\n", "ab"},
		{"nothing, it has twice its size", 20, true, "abc\n", ""},
		{"a long line at its beginning", 0, false, "abcdefghijkl\nm\n", "abcdefghijkl\n"},
		{"a very long line at its beginning", 0, false, strings.Repeat("x", 30) + "\n", strings.Repeat("x", 20)},
		{"the rest of a cut line", 0, true, strings.Repeat("x", 11) + "\na\n", strings.Repeat("x", 11) + "\n"},
	} {
		r := rotation{limit: 10, size: tt.size, mid: tt.mid}
		if got := tt.b[:r.fits([]byte(tt.b))]; got != tt.want {
			t.Errorf("%s: of %q, %q fits into a file of %d bytes, want %q", tt.name, tt.b, got, tt.size, tt.want)
		}
	}
}

// The bounds of a rotated log, and that an older wrapper can read a specification that
// rotates nothing.
func TestRotationInASpec(t *testing.T) {
	plain := Spec{Argv: []string{"true"}, UID: -1, GID: -1, LogHead: 1, LogTail: 1}
	if data := string(plain.Encode()); strings.Contains(data, "rotate") || strings.Contains(data, "keep") {
		t.Errorf("a wrapper that does not rotate logs would refuse\n%s", data)
	}
	for _, tt := range []struct {
		rotate int64
		keep   int
		ok     bool
	}{
		{1 << 20, 0, true}, {1, MaxLogKeep, true}, {MaxLogRotate, 5, true},
		{-1, 1, false}, {MaxLogRotate + 1, 1, false}, {1, -1, false}, {1, MaxLogKeep + 1, false},
	} {
		s := plain
		s.LogRotate, s.LogKeep = tt.rotate, tt.keep
		got, err := ParseSpec(string(s.Encode()))
		if (err == nil) != tt.ok || err == nil && (got.LogRotate != tt.rotate || got.LogKeep != tt.keep) {
			t.Errorf("%d bytes in a file, %d old ones: read as %+v, %v", tt.rotate, tt.keep, got, err)
		}
	}
}
