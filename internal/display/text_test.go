package display

import (
	"testing"
	"time"
)

func TestRelative(t *testing.T) {
	tests := []struct {
		d    time.Duration
		want string
	}{
		{0, "now"},
		{-400 * time.Millisecond, "now"},
		{600 * time.Millisecond, "in 1s"},
		{5 * time.Minute, "in 5m"},
		{-90 * time.Second, "1m30s ago"},
		{59*time.Minute + 59*time.Second + 700*time.Millisecond, "in 1h"},
		{3*time.Hour + 12*time.Minute, "in 3h12m"},
		{-26 * time.Hour, "1d2h ago"},
		{400 * 24 * time.Hour, "in 400d"},
	}
	for _, tt := range tests {
		if got := Relative(tt.d); got != tt.want {
			t.Errorf("Relative(%v) = %q, want %q", tt.d, got, tt.want)
		}
	}
}

func TestPrintable(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"plain", `say "hello", Ostravě`, `say "hello", Ostravě`},
		{"escape sequences", "\x1b[2Jgone", `\x1b[2Jgone`},
		{"new line", "a\nb \"c\"", `a\nb "c"`},
		{"not UTF-8", "\xff", `\xff`},
		{"right to left", "a\u202eb", `a\u202eb`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := Printable(tt.in); got != tt.want {
				t.Errorf("Printable(%q) = %q, want %q", tt.in, got, tt.want)
			}
		})
	}
}
