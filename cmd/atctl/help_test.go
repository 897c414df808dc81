package main

import (
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"activationd/internal/help"
)

// everyCommand calls fn with each command.
func everyCommand(root *cobra.Command, fn func(*cobra.Command)) {
	fn(root)
	for _, cmd := range root.Commands() {
		everyCommand(cmd, fn)
	}
}

// TestHelpWidth checks that all help fits a terminal of 80 columns.
func TestHelpWidth(t *testing.T) {
	texts := map[string]string{"at": atUsage}
	root := newRootCommand(nil)
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	everyCommand(root, func(cmd *cobra.Command) { texts[cmd.CommandPath()] = help.Text(cmd) })
	for name, text := range texts {
		for l := range strings.Lines(text) {
			if n := utf8.RuneCountInString(strings.TrimRight(l, "\n")); n > 80 {
				t.Errorf("%s: %d columns: %s", name, n, l)
			}
		}
	}
}

// TestWordsOfFlags gives each flag values that it may not have, and looks for texts of Go's
// parsers in the messages.
func TestWordsOfFlags(t *testing.T) {
	parsers := regexp.MustCompile(`strconv|invalid syntax|value out of range|time: |parse error|invalid argument|bad flag`)
	refused := 0
	everyCommand(newRootCommand(nil), func(cmd *cobra.Command) {
		cmd.InheritedFlags() // adds them to the command's own
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			for _, bad := range []string{"x", "", "-1x", "99999999999999999999", "5m30", "0x", "∞"} {
				err := cmd.ParseFlags([]string{"--" + f.Name + "=" + bad})
				if err == nil {
					continue
				}
				refused++
				if err = help.WrongFlag(cmd, err); parsers.MatchString(err.Error()) {
					t.Errorf("%s --%s=%s: %v", cmd.CommandPath(), f.Name, bad, err)
				}
			}
		})
	})
	if refused < 50 {
		t.Errorf("only %d values were refused", refused)
	}
}
