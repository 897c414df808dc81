package main

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spf13/pflag"

	"activationd/internal/help"
)

// TestCompletion checks that it is decided how the value of each flag is completed.
func TestCompletion(t *testing.T) {
	newRootCommand().Flags().VisitAll(func(f *pflag.Flag) {
		if values().Of(f) == nil {
			t.Errorf("--%s: the completion of its value is not decided", f.Name)
		}
	})
}

// TestHelpWidth checks that the help, and the page with the keys, fit a terminal of 80 columns.
func TestHelpWidth(t *testing.T) {
	lines := append(strings.Split(help.Text(newRootCommand()), "\n"), helpPage().lines...)
	for _, l := range lines {
		if n := utf8.RuneCountInString(l); n > 80 {
			t.Errorf("%d columns: %s", n, l)
		}
	}
}
