package trace_test

import (
	"testing"

	"activationd/internal/trace"
)

func TestTrace(t *testing.T) {
	const good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for _, tt := range []struct {
		name, text string
		want       bool
	}{
		{"valid", good, true},
		{"not sampled", good[:53] + "00", true},
		{"empty", "", false},
		{"capital letters", "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01", false},
		{"a later version", "01" + good[2:], false},
		{"no version", "ff" + good[2:], false},
		{"no trace", "00-00000000000000000000000000000000-b7ad6b7169203331-01", false},
		{"no span", "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", false},
		{"more", good + "-x", false},
		{"a line more", good[:54] + "\n", false},
		{"other lengths", "00-0af7651916cd43dd8448eb211c80319cb-7ad6b7169203331-01", false},
		{"other signs", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b716920333g-01", false},
		{"dashes", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b71692033-1-01", false},
	} {
		if got := trace.Valid(tt.text); got != tt.want {
			t.Errorf("%s: Valid(%q) = %t", tt.name, tt.text, got)
		}
		if got := trace.Of(trace.With(t.Context(), tt.text)); (got == tt.text && got != "") != tt.want {
			t.Errorf("%s: the context has %q", tt.name, got)
		}
	}
}
