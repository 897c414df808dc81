// Package completion completes the words of command lines, for the scripts of shells. The
// program answers these scripts through cobra's hidden command __complete. This package says
// how the values of flags are completed, and corrects what cobra would print.
//
// Names of files are completed only where files make sense: what nobody knows how to
// complete is not completed.
package completion

import (
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Command is a directive of our own. It says that the line has a command of its own, which
// the shell completes as if it stood alone. The only completion is the number of its words,
// with the one that is being typed.
const Command = cobra.ShellCompDirective(64)

// None is the directive for what is not completed, not even by names of files. Some
// completions are in an order that means something, so shells must not sort any.
const None = cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder

// Values says how to complete values of flags. A key is a flag with the name that its value
// has in the help, such as "--every NAME", or this name alone, for all other flags.
type Values map[string]cobra.CompletionFunc

// Arguments says how to complete arguments of commands. A key is the name of a command
// without that of the program, such as "every show".
type Arguments map[string]cobra.CompletionFunc

// Use prepares root and its commands for one completion. Flags that have a completion of
// their own keep it.
func Use(root *cobra.Command, values Values, arguments Arguments) {
	root.CompletionOptions.SetDefaultShellCompDirective(None)
	prepare(root, values, arguments)
}

func prepare(cmd *cobra.Command, values Values, arguments Arguments) {
	if fn := arguments.Of(cmd); fn != nil {
		cmd.ValidArgsFunction = fn
	}
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if fn := values.Of(f); fn != nil {
			_ = cmd.RegisterFlagCompletionFunc(f.Name, fn) // fails if it has a completion
		}
		_, usage := pflag.UnquoteUsage(f)
		f.Usage = strings.Join(strings.Fields(usage), " ") // cobra would print backquotes, and one line
	})
	for _, sub := range cmd.Commands() {
		prepare(sub, values, arguments)
	}
}

// Of returns the completion of a command's arguments, or nil if it is not known.
func (arguments Arguments) Of(cmd *cobra.Command) cobra.CompletionFunc {
	return arguments[strings.TrimPrefix(cmd.CommandPath(), cmd.Root().CommandPath()+" ")]
}

// Of returns the completion of a flag's values, or nil if it is not known. A value whose name
// lists words, such as run|skip, is one of these.
func (values Values) Of(f *pflag.Flag) cobra.CompletionFunc {
	name, _ := pflag.UnquoteUsage(f)
	fn := values["--"+f.Name+" "+name]
	switch {
	case f.Value.Type() == "bool":
		return Words("true", "false")
	case fn != nil:
	case strings.Contains(name, "|"):
		var words []string
		for w := range strings.SplitSeq(name, "|") {
			if w == strings.ToLower(w) { // not the name of a value, such as N
				words = append(words, w)
			}
		}
		fn = Words(words...)
	default:
		fn = values[name]
	}
	if fn != nil && f.Value.Type() == "stringSlice" {
		return List(fn)
	}
	return fn
}

// Words completes one of the given words, each of which may be followed by a tab and a
// description.
func Words(words ...string) cobra.CompletionFunc {
	return func(_ *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
		return Matching(words, typed), None
	}
}

// Matching returns the words that begin with what was typed.
func Matching(words []string, typed string) (matching []string) {
	for _, w := range words {
		if strings.HasPrefix(w, typed) {
			matching = append(matching, w)
		}
	}
	return matching
}

// List completes the last element of a list with commas.
func List(element cobra.CompletionFunc) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		before, last := "", typed
		if i := strings.LastIndexByte(typed, ','); i >= 0 {
			before, last = typed[:i+1], typed[i+1:]
		}
		words, directive := element(cmd, args, last)
		for i, w := range words {
			words[i] = before + w
		}
		return words, directive
	}
}

// Nothing completes nothing: a number, a duration, or any text.
func Nothing(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return nil, None
}

// Files completes names of files. Its directive is not cobra's for anything that has no
// completion, because that is also cobra's answer to a mistake in the line.
func Files(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveFilterFileExt
}

// Dirs completes names of directories.
func Dirs(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveFilterDirs
}
