package help

import (
	"testing"

	"github.com/spf13/cobra"
)

func TestFill(t *testing.T) {
	const long = "a paragraph whose one line in the source is wider than the eighty columns of a terminal"
	tests := []struct{ name, in, want string }{
		{"a long line", long, "a paragraph whose one line in the source is wider than the eighty columns of a\nterminal"},
		{"short lines are joined", "one\ntwo\n\nthree", "one two\n\nthree"},
		{"lists stay", "exits with\n  0  done\n  1  not\nfor ever", "exits with\n  0  done\n  1  not\nfor ever"},
		{"a word that is too wide", "see\nhttps://" + long[:1] + "/0123456789012345678901234567890123456789012345678901234567890123456789012345678",
			"see\nhttps://a/0123456789012345678901234567890123456789012345678901234567890123456789012345678"},
		{"runes, not bytes", "ééééééééé ééééééééé ééééééééé ééééééééé ééééééééé ééééééééé ééééééééé ééééééééé\né",
			"ééééééééé ééééééééé ééééééééé ééééééééé ééééééééé ééééééééé ééééééééé ééééééééé\né"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := Fill(tt.in); got != tt.want {
				t.Errorf("Fill gives\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

// TestGroups checks that commands are listed by groups, "help" included.
func TestGroups(t *testing.T) {
	root := &cobra.Command{Use: "frob COMMAND", Short: "Frob things", Run: func(*cobra.Command, []string) {}}
	root.CompletionOptions.DisableDefaultCmd = true
	run := func(*cobra.Command, []string) {}
	root.AddGroup(&cobra.Group{ID: "a", Title: "Things:"}, &cobra.Group{ID: "b", Title: "This program:"})
	root.AddCommand(&cobra.Command{Use: "list", Short: "List things", GroupID: "a", Run: run},
		&cobra.Command{Use: "configure", Short: "Configure frob", GroupID: "b", Run: run},
		&cobra.Command{Use: "secret", GroupID: "b", Hidden: true, Run: run})
	cmd := NewCommand()
	cmd.GroupID = "b"
	root.SetHelpCommand(cmd)
	root.InitDefaultHelpCmd()
	const want = `Frob things.

Usage:
  frob COMMAND [flags]

Things:
  list        List things

This program:
  configure   Configure frob
  help        Show the help of a command

Flags:
  -h, --help   help for frob

"frob COMMAND --help" describes a command.
`
	if got := Text(root); got != want {
		t.Errorf("Text gives\n%s\nwant\n%s", got, want)
	}
}

func TestText(t *testing.T) {
	cmd := &cobra.Command{
		Use: "frob [flags] THING", Short: "Frob a thing", Example: "  frob it",
		RunE: func(*cobra.Command, []string) error { return nil },
	}
	f := cmd.Flags()
	f.Int("times", 3, "frob `N` times")
	f.BoolP("keep-going", "k", false, "go on after a failure of one of the things, and report all failures at the end")
	f.String("with", "", "use `TOOL[:SIZE][,TOOL[:SIZE]]...`, one after another")
	f.String("in", "", "frob in `DIR`")
	Section(cmd, "Tools:", "with")
	const want = `Frob a thing.

Usage:
  frob [flags] THING

Examples:
  frob it

Tools:
      --with TOOL[:SIZE][,TOOL[:SIZE]]...
                     use TOOL[:SIZE][,TOOL[:SIZE]]..., one after another

Flags:
  -h, --help         help for frob
      --in DIR       frob in DIR
  -k, --keep-going   go on after a failure of one of the things, and report all
                     failures at the end
      --times N      frob N times (default: 3)
`
	if got := Text(cmd); got != want {
		t.Errorf("Text gives\n%s\nwant\n%s", got, want)
	}
}
