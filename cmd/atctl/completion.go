package main

import (
	_ "embed" // of the scripts
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"activationd/internal/fault"
)

// The scripts differ from those that cobra generates: pressing a key never carries out
// $(atctl add ...), ids may contain @, which bash takes for the end of a word, and commands
// after "add --" are completed, too.
var (
	//go:embed completion/atctl.bash
	bashScript string
	//go:embed completion/atctl.zsh
	zshScript string
	//go:embed completion/atctl.fish
	fishScript string
)

func newCompletionCommand(*app) *cobra.Command {
	return &cobra.Command{
		Use:   "completion bash|zsh|fish|powershell",
		Short: "Print a script that completes command lines in a shell",
		Long: `Completion prints a script for a shell. With it, the shell completes command lines of
atctl and activationd: commands, flags and their values, ids of jobs and reservations. In
bash it completes those of at, atq, atrm and batch, too; zsh and fish know these programs.

The package and "make install" install the scripts. Otherwise put them where the shell looks for them:
  atctl completion bash >/etc/bash_completion.d/atctl
  atctl completion zsh >/usr/local/share/zsh/site-functions/_atctl
  atctl completion fish >/etc/fish/completions/atctl.fish
To try a script, use: source <(atctl completion bash)`,
		Args:      takes(1, 1, "the name of a shell: bash, zsh, fish or powershell"),
		ValidArgs: []string{"bash", "zsh", "fish", "powershell"},
		RunE: func(cmd *cobra.Command, args []string) error {
			script, ok := map[string]string{"bash": bashScript, "zsh": zshScript, "fish": fishScript}[args[0]]
			switch {
			case ok:
				_, err := fmt.Print(script)
				return err
			case args[0] == "powershell":
				return newRootCommand(nil).GenPowerShellCompletionWithDesc(os.Stdout)
			}
			return fmt.Errorf("there is no script for %q, only for bash, zsh, fish and powershell: %w", args[0], fault.Invalid)
		},
	}
}

// completeTyped is cobra's request for completions, with words as they were typed.
const completeTyped = cobra.ShellCompRequestCmd + "_typed"

// typed returns the arguments for a completion of words that are as they were typed in
// bash: with quotes and backslashes.
func typed(words []string) []string {
	args := []string{cobra.ShellCompRequestCmd}
	for _, w := range words {
		args = append(args, unquote(w))
	}
	return args
}

// unquote removes the quotes and backslashes of a shell's word. It expands nothing. The last
// quote may be missing.
func unquote(word string) string {
	var b strings.Builder
	quote := byte(0)
	for i := 0; i < len(word); i++ {
		c := word[i]
		switch {
		case quote == 0 && (c == '\'' || c == '"'):
			quote = c
		case quote != 0 && c == quote:
			quote = 0
		case c == '\\' && quote != '\'' && i+1 < len(word) && (quote == 0 || strings.IndexByte("$`\"\\", word[i+1]) >= 0):
			i++
			b.WriteByte(word[i])
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}
