package main

import "testing"

func TestHanging(t *testing.T) {
	tests := []struct {
		name, text    string
		indent, width int
		want          string
	}{
		{"no limit", "one two three", 2, 0, "one two three"},
		{"it fits exactly", "one two", 2, 9, "one two"},
		{"one column less", "one two", 2, 8, "one\n  two"},
		{"several lines", "a bb ccc dddd", 1, 5, "a bb\n ccc\n dddd"},
		{"a word that is too long", "a longer b", 2, 5, "a\n  longer\n  b"},
		{"letters, not bytes", "äää ööö", 0, 7, "äää ööö"},
		{"narrower than the indent", "a b", 13, 10, "a b"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := hanging(tt.text, tt.indent, tt.width); got != tt.want {
				t.Errorf("hanging(%q, %d, %d) = %q, want %q", tt.text, tt.indent, tt.width, got, tt.want)
			}
		})
	}
}
