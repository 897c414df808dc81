package main

import (
	"strings"
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
		if got := relative(tt.d); got != tt.want {
			t.Errorf("relative(%v) = %q, want %q", tt.d, got, tt.want)
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
			if got := printable(tt.in); got != tt.want {
				t.Errorf("printable(%q) = %q, want %q", tt.in, got, tt.want)
			}
		})
	}
}

func TestTable(t *testing.T) {
	columns := []column{{"ID", 0}, {"LABEL", 8}, {"REASON", 0}}
	rows := [][]string{{"7", "čtvrtletní zpráva", "waits for lock sw1"}, {"1042@ostrava", "x"}}
	tests := []struct {
		name  string
		width int
		want  string
	}{
		{"a file is not cut", 0, "" +
			"ID            LABEL              REASON\n" +
			"7             čtvrtletní zpráva  waits for lock sw1\n" +
			"1042@ostrava  x\n"},
		{"a terminal is never overrun", 30, "" +
			"ID            LABEL     REASON\n" +
			"7             čtvrtle…  waits…\n" +
			"1042@ostrava  x\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out strings.Builder
			tab := newTable(&out, columns...)
			tab.width = tt.width
			for _, r := range rows {
				if err := tab.row(append([]string(nil), r...)...); err != nil {
					t.Fatal(err)
				}
			}
			if err := tab.flush(); err != nil {
				t.Fatal(err)
			}
			if out.String() != tt.want {
				t.Errorf("got\n%swant\n%s", out.String(), tt.want)
			}
		})
	}
}

// TestTableStreams checks that rows past those that size it are not held back.
func TestTableStreams(t *testing.T) {
	var out strings.Builder
	tab := newTable(&out, column{"ID", 0})
	for range sizedBy + 1 {
		if err := tab.row("1"); err != nil {
			t.Fatal(err)
		}
	}
	if got := strings.Count(out.String(), "\n"); got != sizedBy+2 {
		t.Errorf("%d lines after %d rows and no flush, want %d", got, sizedBy+1, sizedBy+2)
	}
}
