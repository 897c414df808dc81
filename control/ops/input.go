package ops

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"activationd/activation"
	"activationd/control"
	"activationd/internal/fault"
)

// How much of a script show sends; the operation input sends all of it.
const (
	shownLines = 10
	shownBytes = 2000
)

// runsScript reports whether a command is what runs a script that it reads from its
// standard input: the shell, or the interpreter that the script's first line names.
func runsScript(o *activation.Order) bool {
	if len(o.Stdin) == 0 {
		return false
	}
	line, _, _ := strings.Cut(string(o.Stdin[:min(len(o.Stdin), shownBytes)]), "\n")
	interpreter, ok := strings.CutPrefix(line, "#!")
	command := strings.Join(o.Argv, " ")
	return command == shell || ok && strings.Join(strings.Fields(interpreter), " ") == command
}

// stdin describes the standard input of a job, or returns nil if there is none.
func stdin(o *activation.Order) *control.Stdin {
	if len(o.Stdin) == 0 {
		return nil
	}
	out := &control.Stdin{Script: runsScript(o), Size: len(o.Stdin), Lines: countLines(o.Stdin)}
	if !out.Script {
		return out
	}
	text := o.Stdin
	if o.AtJob != nil { // what the user wrote; at(1) has put the environment before it
		text = text[len(text)-len(atCommands(text)):]
		out.Before = out.Lines - countLines(text)
	}
	shown := 0
	for line := range bytes.Lines(text) {
		if out.Shown == shownLines || shown+len(line) > shownBytes {
			break
		}
		shown += len(line)
		out.Shown++
	}
	if text = text[:shown]; utf8.Valid(text) {
		out.Text = string(text)
	} else {
		out.Base64 = base64.StdEncoding.EncodeToString(text)
	}
	return out
}

// countLines counts lines, of which the last may have no end.
func countLines(text []byte) int {
	n := bytes.Count(text, []byte{'\n'})
	if len(text) > 0 && text[len(text)-1] != '\n' {
		n++
	}
	return n
}

// masked stands for the value of a variable that looks like a secret.
const masked = "***"

// urlPassword is the password in a URL.
var urlPassword = regexp.MustCompile(`(://[^/?#@\s:]*:)[^/?#@\s]*@`)

// variables returns variables for a client to see, and the names of those whose values are
// masked: later maps override earlier ones.
func variables(all ...map[string]string) (env map[string]string, hidden []string) {
	for _, some := range all {
		for name, value := range some {
			if env == nil {
				env = make(map[string]string)
			}
			env[control.Text(name)] = control.Text(value)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(env)) {
		shown := urlPassword.ReplaceAllString(env[name], "${1}"+masked+"@")
		if secretName(name) {
			shown = masked
		}
		if shown != env[name] {
			env[name], hidden = shown, append(hidden, name)
		}
	}
	return env, hidden
}

// secretName reports whether the name of a variable looks like that of a secret.
func secretName(name string) bool {
	name = strings.ToUpper(name)
	return slices.ContainsFunc([]string{"PASSWORD", "PASSWD", "PASSPHRASE", "SECRET", "TOKEN", "CREDENTIAL", "KEY"},
		func(word string) bool { return strings.Contains(name, word) })
}

// input sends the standard input of a job, or of the jobs of a recurrence, in pieces.
func (d Daemon) input(ctx context.Context, c control.Caller, in control.InputIn, send func(control.InputOut) error) error {
	o, what, may, err := d.order(ctx, c, in)
	switch {
	case err != nil:
		return err
	case !may:
		return fmt.Errorf("only the owner and admins may read the script or input of %s: %w", what, fault.Denied)
	case in.Script && !runsScript(o):
		return fmt.Errorf("%s was given no script; it runs %s: %w", what, control.OneLine(control.ShellWords(o.Argv)), fault.NotFound)
	case len(o.Stdin) == 0:
		return fmt.Errorf("%s was given no input: %w", what, fault.NotFound)
	}
	for piece := range slices.Chunk(o.Stdin, logPiece) {
		if err := send(control.InputOut{Base64: base64.StdEncoding.EncodeToString(piece)}); err != nil {
			return err
		}
	}
	return nil
}

// order returns what a job or the jobs of a recurrence run, its name for people, and
// whether the caller may read all of it.
func (d Daemon) order(ctx context.Context, c control.Caller, in control.InputIn) (o *activation.Order, what string, may bool, err error) {
	if in.ID != "" && in.Name != "" {
		return nil, "", false, fmt.Errorf("id and name exclude each other: use one of them: %w", fault.Invalid)
	}
	if in.Name != "" {
		v, err := d.Recurrences.Get(ctx, in.Name, 0)
		v = v.For(actor(c))
		return &v.Job.Order, "the recurrence " + in.Name, v.Inputs, err
	}
	v, err := d.get(ctx, c, in.ID)
	o = &v.Order
	if err == nil && v.Kind == activation.Reservation {
		if o.Argv == nil {
			o.Argv = d.Engine.Settings().Of(&v.Record).Activate
		}
	}
	return o, fmt.Sprintf("%s %s", v.Kind, v.ID), v.Inputs, err
}
