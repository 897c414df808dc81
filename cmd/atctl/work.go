package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"activationd/control"
	"activationd/internal/display"
	"activationd/internal/fault"
)

// workOptions are the flags of show and every show that print exact bytes instead of a
// description.
type workOptions struct {
	script, input bool
}

func (o *workOptions) flags(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&o.script, "script", false, "print only the script, byte for byte")
	cmd.Flags().BoolVar(&o.input, "input", false, "print only the standard input, byte for byte")
}

// exact reports whether exact bytes are wanted.
func (o *workOptions) exact() bool { return o.script || o.input }

// print prints them.
func (o *workOptions) print(ctx context.Context, a *app, in control.InputIn) error {
	if o.script && o.input {
		return fmt.Errorf("--script and --input exclude each other; use one of them: %w", fault.Invalid)
	}
	in.Script = o.script
	if a.json {
		return a.printJSON(ctx, "input", in)
	}
	return stream(ctx, a, "input", in, func(out control.InputOut) error {
		data, err := base64.StdEncoding.DecodeString(out.Base64)
		if err != nil {
			return fmt.Errorf("the daemon's reply: %w: %w", err, fault.Internal)
		}
		_, err = os.Stdout.Write(data)
		return err
	})
}

// workFields are the fields for a script or input and for variables; show is the command
// that shows more.
func workFields(in *control.Stdin, env map[string]string, show string) [][2]string {
	script, input := "", ""
	switch {
	case in == nil:
	case in.Script:
		script = scriptText(in, show)
	default:
		input = fmt.Sprintf("%d bytes (%s --input)", in.Size, show)
	}
	var variables []string
	for _, name := range slices.Sorted(maps.Keys(env)) {
		variables = append(variables, display.Shorten(printable(name+"="+env[name]), 200))
	}
	return [][2]string{{"script", script}, {"input", input}, {"environment", strings.Join(variables, "\n")}}
}

// scriptText returns the beginning of a script, and says how much more there is.
func scriptText(in *control.Stdin, show string) string {
	text := in.Text
	if in.Base64 != "" {
		data, _ := base64.StdEncoding.DecodeString(in.Base64) // what cannot be read is left out
		text = string(data)
	}
	text = strings.TrimRight(text, "\n")
	var more []string
	if n := in.Lines - in.Before - in.Shown; n > 0 {
		more = append(more, fmt.Sprintf("%d more lines", n))
	}
	if in.Before > 0 {
		more = append(more, fmt.Sprintf("before it %d lines that set the environment", in.Before))
	}
	if len(more) == 0 {
		return text
	}
	return text + "\n(" + strings.Join(more, ", ") + ": " + show + " --script)"
}

// limit returns a duration that limits something, of which 0 is none.
func limit(text string) string {
	if text == "0s" {
		return "none"
	}
	return text
}

// mailText says when the output of an at job is mailed, and to whom.
func mailText(d *control.Detail) string {
	switch {
	case d.Queue == "" || d.Mail == "never":
		return d.Mail
	case d.Mail == "":
		return "to " + d.MailTo + ", if there is output"
	}
	return "to " + d.MailTo + ", " + d.Mail
}
