package help

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// NewManualCommand returns the hidden command "manual", which prints the commands of a
// program and their flags for its manual page.
func NewManualCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "manual",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprint(cmd.OutOrStdout(), Manual(cmd.Root()))
			return err
		},
	}
}

// Manual returns what the help of all commands says, in Markdown.
func Manual(root *cobra.Command) string {
	var b strings.Builder
	b.WriteString("# COMMANDS\n\n")
	describe(&b, root)
	b.WriteString("# OPTIONS OF ALL COMMANDS\n\n")
	root.PersistentFlags().VisitAll(func(f *pflag.Flag) { option(&b, f) })
	return b.String()
}

func describe(b *strings.Builder, parent *cobra.Command) {
	for _, cmd := range parent.Commands() {
		if !cmd.IsAvailableCommand() || cmd.Name() == "help" {
			continue
		}
		fmt.Fprintf(b, "### %s\n\n", cmd.CommandPath())
		if cmd.Runnable() {
			fmt.Fprintf(b, "    %s\n\n", cmd.UseLine())
		}
		text := cmd.Long
		if text == "" {
			text = cmd.Short + "."
		}
		verbatim := false
		for l := range strings.Lines(strings.TrimSpace(text) + "\n\n") {
			if is := strings.HasPrefix(l, " "); is != verbatim && l != "\n" {
				b.WriteString("\n")
				verbatim = is
			}
			if verbatim && l != "\n" {
				l = "    " + l
			} else {
				l = plain.Replace(l)
			}
			b.WriteString(l)
		}
		cmd.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
			if f.Name != "help" {
				option(b, f)
			}
		})
		if cmd.HasExample() {
			b.WriteString("\nExamples:\n\n")
			for l := range strings.Lines(strings.TrimRight(cmd.Example, "\n") + "\n") {
				b.WriteString("    " + strings.TrimPrefix(l, "  "))
			}
			b.WriteString("\n")
		}
		describe(b, cmd)
	}
}

func option(b *strings.Builder, f *pflag.Flag) {
	if f.Hidden {
		return
	}
	r := row(f)
	name, value, _ := strings.Cut(strings.TrimSpace(strings.Replace(r[0], ", --", ",--", 1)), " ")
	fmt.Fprintf(b, "**%s**", strings.Replace(name, ",--", ", --", 1))
	if value != "" {
		fmt.Fprintf(b, " %s", plain.Replace(value))
	}
	fmt.Fprintf(b, "\n: %s\n\n", plain.Replace(r[1]))
}

// plain marks characters that mean something to Markdown.
var plain = strings.NewReplacer(`\`, `\\`, "*", `\*`, "_", `\_`, "`", "\\`", "<", `\<`, "[", `\[`, "]", `\]`, "#", `\#`)
