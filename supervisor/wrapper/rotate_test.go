package wrapper

import (
	"strings"
	"testing"
	"time"
)

// What belongs into the present file, of 10 bytes at most.
func TestFits(t *testing.T) {
	for _, tt := range []struct {
		name string
		size int64
		mid  bool
		b    string
		want string
		age  time.Duration
	}{
		{"all of it", 3, false, "abc\nef\n", "abc\nef\n", 0},
		{"all of it, without an end", 3, true, "abcdefg", "abcdefg", 0},
		{"the lines for which there is room", 3, false, "ab\ncd\nef\n", "ab\ncd\n", 0},
		{"only whole lines", 3, false, "ab\ncdefghijkl", "ab\n", 0},
		{"no line", 3, false, "abcdefgh\n", "", 0},
		{"none, it is full", 10, false, "a\n", "", 0},
		{"none, a line was longer", 15, false, "a\n", "", 0},
		{"the rest of a line", 8, true, "abc\nd\n", "abc\n", 0},
		{"the rest of a line, within a full file", 10, true, "abc\nd\n", "abc\n", 0},
		{"a part of that rest", 8, true, "abc", "abc", 0},
		{"no more than twice its size", 18, true, "abc\n", "ab", 0},
		{"nothing, it has twice its size", 20, true, "abc\n", "", 0},
		{"a long line at its beginning", 0, false, "abcdefghijkl\nm\n", "abcdefghijkl\n", 0},
		{"a very long line at its beginning", 0, false, strings.Repeat("x", 30) + "\n", strings.Repeat("x", 20), 0},
		{"the rest of a cut line", 0, true, strings.Repeat("x", 11) + "\na\n", strings.Repeat("x", 11) + "\n", 0},
		{"all of it, within the age", 3, false, "abc\n", "abc\n", 59 * time.Minute},
		{"none, it has its age", 3, false, "abc\n", "", time.Hour},
		{"none, it is older", 3, false, "a\n", "", 100 * time.Hour},
		{"the rest of a line, it has its age", 3, true, "c\nd\n", "c\n", time.Hour},
		{"a part of that rest, it has its age", 3, true, "cd", "cd", time.Hour},
		{"all of it, an empty file has no age", 0, false, "a\nb\n", "a\nb\n", time.Hour},
	} {
		r := rotation{limit: 10, age: time.Hour, size: tt.size, mid: tt.mid, begun: time.Unix(0, 0)}
		if got := tt.b[:r.fits([]byte(tt.b), r.begun.Add(tt.age))]; got != tt.want {
			t.Errorf("%s: of %q, %q fits into a file of %d bytes, want %q", tt.name, tt.b, got, tt.size, tt.want)
		}
	}
}

// The bounds of a rotated log, and that an older wrapper can read a specification that
// rotates nothing.
func TestRotationInASpec(t *testing.T) {
	plain := Spec{Argv: []string{"true"}, UID: -1, GID: -1, LogHead: 1, LogTail: 1}
	if data := string(plain.Encode()); strings.Contains(data, "rotate") || strings.Contains(data, "keep") || strings.Contains(data, "age") {
		t.Errorf("a wrapper that does not rotate logs would refuse\n%s", data)
	}
	for _, tt := range []struct {
		rotate int64
		keep   int
		age    time.Duration
		ok     bool
	}{
		{1 << 20, 0, 0, true}, {1, MaxLogKeep, 0, true}, {MaxLogRotate, 5, time.Hour, true},
		{-1, 1, 0, false}, {MaxLogRotate + 1, 1, 0, false}, {1, -1, 0, false}, {1, MaxLogKeep + 1, 0, false}, {1, 1, -1, false},
	} {
		s := plain
		s.LogRotate, s.LogKeep, s.LogAge = tt.rotate, tt.keep, tt.age
		got, err := ParseSpec(string(s.Encode()))
		if (err == nil) != tt.ok || err == nil && (got.LogRotate != tt.rotate || got.LogKeep != tt.keep || got.LogAge != tt.age) {
			t.Errorf("%d bytes in a file, %d old ones, age %v: read as %+v, %v", tt.rotate, tt.keep, tt.age, got, err)
		}
	}
}
