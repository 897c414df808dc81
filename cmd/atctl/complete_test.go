package main

import (
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// TestCompletionIsDecided checks that it is decided how the arguments of each command and
// the values of each flag are completed. What is not decided is not completed.
func TestCompletionIsDecided(t *testing.T) {
	a := new(app)
	values, arguments := a.values(), a.arguments()
	root := newRootCommand(nil)
	everyCommand(root, func(cmd *cobra.Command) {
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if values.Of(f) == nil {
				t.Errorf("%s --%s: the completion of its value is not decided", cmd.CommandPath(), f.Name)
			}
		})
		takes := strings.ContainsAny(strings.ReplaceAll(cmd.Use, "[flags]", ""), " ")
		if cmd.HasSubCommands() || cmd.ValidArgs != nil {
			takes = false
		}
		if decided := arguments.Of(cmd) != nil; decided != takes {
			t.Errorf("%s: takes arguments: %v; their completion is decided: %v", cmd.CommandPath(), takes, decided)
		}
	})
	for name := range arguments {
		if cmd, rest, err := root.Find(strings.Fields(name)); err != nil || len(rest) > 0 || !cmd.Runnable() {
			t.Errorf("completion of the arguments of %q, which is no command", name)
		}
	}
}

func TestUnquote(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"plain", `held`, `held`},
		{"backslash", `a\ b\$c`, `a b$c`},
		{"single quotes", `'a b\'c`, `a b\c`},
		{"double quotes", `"a \"b\" \x"`, `a "b" \x`},
		{"missing quote", `--label="two wor`, `--label=two wor`},
		{"nothing is expanded", `$(atctl add)~`, `$(atctl add)~`},
		{"backslash at the end", `a\`, `a\`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := unquote(tt.in); got != tt.want {
				t.Errorf("unquote(%s) = %s, want %s", tt.in, got, tt.want)
			}
		})
	}
}
