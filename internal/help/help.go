// Package help prints the help of a program's commands, no line wider than 80 columns.
//
// It fills paragraphs itself, so texts in the source may have lines of any length. Lines
// that begin with a blank, such as lists and examples, stay as they are.
package help

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"activationd/internal/fault"
)

const (
	width = 80
	// widest is the widest name of a flag whose description is beside it. The description of
	// a flag with a longer name begins below the name.
	widest = 26
)

// section is the annotation of flags that [Section] sets.
const section = "help_section"

// Use has root and its commands print their help by this package.
func Use(root *cobra.Command) {
	root.SetHelpFunc(func(cmd *cobra.Command, _ []string) {
		_, _ = io.WriteString(cmd.OutOrStdout(), Text(cmd)) // fails only if nobody reads it
	})
}

// NewCommand returns the command "help", in place of cobra's, which prints the help of the
// program and succeeds if there is no such command.
func NewCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]...",
		Short: "Show the help of a command",
		RunE: func(cmd *cobra.Command, args []string) error {
			about, rest, err := cmd.Root().Find(args)
			if err == nil {
				err = Unknown(about, rest)
			}
			if err != nil {
				return err
			}
			return about.Help()
		},
		ValidArgsFunction: func(cmd *cobra.Command, args []string, typed string) (names []string, _ cobra.ShellCompDirective) {
			about, rest, err := cmd.Root().Find(args)
			if err == nil && len(rest) == 0 {
				for _, sub := range about.Commands() {
					if sub.IsAvailableCommand() && strings.HasPrefix(sub.Name(), typed) {
						names = append(names, sub.Name()+"\t"+sub.Short)
					}
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
	}
}

// Unknown returns the error for the arguments of a command that only has commands below it:
// it gets arguments only if the first one is none of these.
func Unknown(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	_, path, below := strings.Cut(cmd.CommandPath(), " ")
	if below {
		path += " "
	}
	hint := fmt.Sprintf("see %q for the commands", cmd.CommandPath()+" --help")
	if near := near(cmd, args[0]); len(near) > 0 {
		hint = fmt.Sprintf("did you mean %s?", path+strings.Join(near, " or "+path))
	}
	return fmt.Errorf("there is no command %q; %s: %w", path+args[0], hint, fault.Invalid)
}

// elsewhere has what other programs call the commands.
var elsewhere = map[string][]string{
	"add": {"submit", "queue", "new"}, "list": {"ls", "ps", "jobs"}, "show": {"info", "inspect", "describe"},
	"log": {"logs", "output", "tail"}, "cancel": {"rm", "remove", "del", "delete", "kill"}, "remove": {"rm", "del", "delete", "cancel"},
	"edit": {"change", "modify"}, "run": {"start"}, "retry": {"rerun", "restart"}, "hold": {"pause", "suspend"},
	"release": {"unhold", "resume"}, "every": {"cron", "timer"},
}

// near returns the commands below cmd that a word may mean.
func near(cmd *cobra.Command, word string) []string {
	if cmd.SuggestionsMinimumDistance = 2; len(word) <= 3 { // most short words are that near
		cmd.SuggestionsMinimumDistance = 1
	}
	near := cmd.SuggestionsFor(word)
	for _, c := range cmd.Commands() {
		if slices.Contains(elsewhere[c.Name()], word) && !slices.Contains(near, c.Name()) {
			near = append(near, c.Name())
		}
	}
	slices.Sort(near)
	return near
}

// Section gives flags of cmd a heading of their own, in this order. Every name must be that
// of a flag.
func Section(cmd *cobra.Command, title string, names ...string) {
	for _, name := range names {
		f := cmd.Flags().Lookup(name)
		f.Annotations = map[string][]string{section: {title}}
	}
	cmd.Annotations = with(cmd.Annotations, section, strings.TrimSpace(cmd.Annotations[section]+" "+strings.Join(names, " ")))
}

func with(m map[string]string, key, value string) map[string]string {
	if m == nil {
		m = make(map[string]string)
	}
	m[key] = value
	return m
}

// Text returns the help of a command.
func Text(cmd *cobra.Command) string {
	cmd.InitDefaultHelpFlag()
	var b strings.Builder
	long := cmd.Long
	if long == "" {
		long = cmd.Short + "."
	}
	b.WriteString(Fill(long) + "\n\nUsage:\n")
	if cmd.Runnable() {
		hang(&b, "  ", "      ", cmd.UseLine())
	}
	if cmd.HasExample() {
		b.WriteString("\nExamples:\n" + strings.TrimRight(cmd.Example, "\n") + "\n")
	}
	commands(&b, cmd)
	flags(&b, cmd)
	if cmd.HasAvailableSubCommands() {
		fmt.Fprintf(&b, "\n%q describes a command.\n", cmd.CommandPath()+" COMMAND --help")
	}
	return b.String()
}

// commands lists the commands below cmd, by groups.
func commands(b *strings.Builder, cmd *cobra.Command) {
	groups := cmd.Groups()
	if len(groups) == 0 {
		groups = []*cobra.Group{{Title: "Commands:"}}
	}
	column := 0
	rows := make(map[string][][2]string)
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() || sub.Name() == "help" {
			rows[sub.GroupID] = append(rows[sub.GroupID], [2]string{sub.Name(), sub.Short})
			column = max(column, len(sub.Name()))
		}
	}
	for _, g := range groups {
		table(b, g.Title, column, rows[g.ID])
	}
}

// flags lists the flags of cmd, by sections, with all descriptions in one column.
func flags(b *strings.Builder, cmd *cobra.Command) {
	local, order := cmd.LocalFlags(), strings.Fields(cmd.Annotations[section])
	var titles []string
	column := 0
	rows := make(map[string][][2]string)
	add := func(title string, f *pflag.Flag) {
		if f.Hidden {
			return
		}
		if !slices.Contains(titles, title) {
			titles = append(titles, title)
		}
		r := row(f)
		rows[title] = append(rows[title], r)
		if n := utf8.RuneCountInString(r[0]); n <= widest {
			column = max(column, n)
		}
	}
	for _, name := range order {
		f := local.Lookup(name)
		add(f.Annotations[section][0], f)
	}
	local.VisitAll(func(f *pflag.Flag) {
		if !slices.Contains(order, f.Name) {
			add("Flags:", f)
		}
	})
	cmd.InheritedFlags().VisitAll(func(f *pflag.Flag) { add("Flags of all commands:", f) })
	for _, t := range titles {
		table(b, t, column, rows[t])
	}
}

// row returns a flag with its value, and its description.
func row(f *pflag.Flag) [2]string {
	value, usage := pflag.UnquoteUsage(f)
	name := "    --" + f.Name
	if f.Shorthand != "" {
		name = "-" + f.Shorthand + ", --" + f.Name
	}
	if value != "" && f.Value.Type() != "bool" {
		name += " " + value
	}
	switch f.DefValue {
	case "", "0", "0s", "[]", "false":
	default:
		usage += fmt.Sprintf(" (default: %s)", f.DefValue)
	}
	return [2]string{name, strings.Join(strings.Fields(usage), " ")}
}

// table prints rows below a title, or nothing if there are none. Their second cells begin
// right of column, or below a first cell that is wider.
func table(b *strings.Builder, title string, column int, rows [][2]string) {
	if len(rows) == 0 {
		return
	}
	fmt.Fprintf(b, "\n%s\n", title)
	indent := strings.Repeat(" ", column+5)
	for _, r := range rows {
		left := fmt.Sprintf("  %-*s   ", column, r[0])
		if utf8.RuneCountInString(r[0]) > column {
			b.WriteString("  " + r[0] + "\n")
			left = indent
		}
		hang(b, left, indent, r[1])
	}
}

// Fill fills the paragraphs of a text.
func Fill(text string) string {
	var b strings.Builder
	var words []string
	flush := func() {
		if len(words) > 0 {
			hang(&b, "", "", strings.Join(words, " "))
			words = nil
		}
	}
	for l := range strings.Lines(strings.TrimSpace(text)) {
		l = strings.TrimRight(l, "\n")
		if l != "" && l[0] != ' ' {
			words = append(words, l)
			continue
		}
		flush()
		b.WriteString(l + "\n")
	}
	flush()
	return strings.TrimRight(b.String(), "\n")
}

// hang prints words in lines, the first after first and the others after rest.
func hang(b *strings.Builder, first, rest, words string) {
	line := first
	fresh := true
	for w := range strings.SplitSeq(words, " ") {
		switch {
		case fresh:
			line += w
		case utf8.RuneCountInString(line)+1+utf8.RuneCountInString(w) > width:
			b.WriteString(line + "\n")
			line = rest + w
		default:
			line += " " + w
		}
		fresh = false
	}
	b.WriteString(strings.TrimRight(line, " ") + "\n")
}
