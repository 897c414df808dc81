package main

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spf13/pflag"

	"activationd/internal/help"
)

// TestCompletion checks that it is decided how the values of each flag are completed.
func TestCompletion(t *testing.T) {
	root := newRootCommand()
	for _, cmd := range append(root.Commands(), root) {
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if values().Of(f) == nil {
				t.Errorf("%s --%s: the completion of its value is not decided", cmd.CommandPath(), f.Name)
			}
		})
	}
}

// TestHelpWidth checks that all help fits a terminal of 80 columns.
func TestHelpWidth(t *testing.T) {
	root := newRootCommand()
	root.InitDefaultHelpCmd()
	for _, cmd := range append(root.Commands(), root) {
		for l := range strings.Lines(help.Text(cmd)) {
			if n := utf8.RuneCountInString(strings.TrimRight(l, "\n")); n > 80 {
				t.Errorf("%s: %d columns: %s", cmd.CommandPath(), n, l)
			}
		}
	}
}
