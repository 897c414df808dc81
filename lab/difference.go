package lab

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"activationd/device"
)

// differenceName returns the name of the file that says what is sent to a device, as a difference: each line begins
// with +, - or a blank, and secrets are masked. It is for people, and not a part of the plan.
func differenceName(device string) string { return device + ".diff" }

// writeDifference writes the difference of a device into a directory. Before is the device's configuration; empty:
// it is not known.
func writeDifference(dir string, d *DevicePlan, before string) error {
	var b bytes.Buffer
	for _, l := range differenceTo(before, d.Apply) {
		b.WriteString(l.sign + device.MaskSecrets(l.text) + "\n") // many secrets are found by how their line begins
	}
	return os.WriteFile(filepath.Join(dir, differenceName(d.Name)), b.Bytes(), 0o600)
}

// A signedLine is a line of a difference.
type signedLine struct{ sign, text string }

// negations are the words with which lines remove others.
var negations = []string{"no ", "undo ", "delete "}

// differenceTo returns what lines do to a configuration, as far as their texts and indents say: which of them are there
// already, and which lines are removed by them. All others are new.
func differenceTo(before string, lines []string) (out []signedLine) {
	var above outline
	there := map[string][]string{} // the lines below a line, by its path
	for line := range strings.Lines(before) {
		path := above.enter(line)
		there[path] = append(there[path], strings.TrimSpace(line))
	}
	above = nil
	for _, line := range lines {
		path := above.enter(line)
		text := strings.TrimSpace(line)
		if text == "" || slices.Contains(there[path], text) {
			out = append(out, signedLine{" ", line})
			continue
		}
		gone := false
		for _, word := range negations {
			rest, ok := strings.CutPrefix(text, word)
			for _, was := range there[path] {
				if ok && (was == rest || strings.HasPrefix(was, rest+" ")) {
					gone = true
					out = append(out, signedLine{"-", line[:len(line)-len(strings.TrimLeft(line, " \t"))] + was})
				}
			}
		}
		if !gone {
			out = append(out, signedLine{"+", line})
		}
	}
	return out
}

// An outline has the lines that are above the next one, by their indents.
type outline []struct {
	indent int
	text   string
}

// enter returns the path of the lines above a line, and then counts the line among them.
func (o *outline) enter(line string) (path string) {
	text := strings.TrimSpace(line)
	indent := len(line) - len(strings.TrimLeft(line, " \t"))
	for len(*o) > 0 && (*o)[len(*o)-1].indent >= indent {
		*o = (*o)[:len(*o)-1]
	}
	for _, l := range *o {
		path += l.text + "\n"
	}
	*o = append(*o, struct {
		indent int
		text   string
	}{indent, text})
	return path
}
