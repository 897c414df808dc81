package lab

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"

	"activationd/internal/fault"
)

// A textMark finds the line that begins a text. The following lines are not commands, and the
// device shows no prompt, until a line ends the text.
type textMark struct {
	begin *regexp.Regexp
	// end matches the last line. Without it, the first group of begin is a mark, and the text
	// ends where the mark comes again, which may be on the same line.
	end *regexp.Regexp
}

// textMarks are those of IOS, EOS and similar systems. IOS shows every mark as the two
// characters ^C. It may have been typed as a letter, too.
var textMarks = []textMark{
	{regexp.MustCompile(`^banner (?:config-save|exec|incoming|login|motd|prompt-timeout|slip-ppp) (\^C|\S)`), nil},
	{regexp.MustCompile(`^banner(?: \S+)? (\^C|[^\sA-Za-z0-9])`), nil},
	{regexp.MustCompile(`^aaa authentication (?:banner|fail-message) (\^C|\S)`), nil},
	{regexp.MustCompile(`^ip (?:admission|auth-proxy) auth-proxy-banner \S+ (\^C|[^\sA-Za-z0-9])`), nil},
	{regexp.MustCompile(`^(?:vacant-message|refuse-message|busy-message \S+|menu \S+ (?:title|prompt)) (\^C|\S)`), nil},
	{regexp.MustCompile(`^banner \S+$`), regexp.MustCompile(`^EOF$`)},
	{regexp.MustCompile(`^(?:action bash|code(?: unit \S+)?|comment)$`), regexp.MustCompile(`^EOF$`)},
	{regexp.MustCompile(`^macro name .+$`), regexp.MustCompile(`^@$`)},
	{regexp.MustCompile(`^macro auto execute .*\{$`), regexp.MustCompile(`^\}$`)},
	{regexp.MustCompile(`^certificate(?: (?:self-signed|ca|rootca|pkcs7))?(?: [0-9A-Fa-f]+)?$`), regexp.MustCompile(`^quit$`)},
	{regexp.MustCompile(`^key-string$`), regexp.MustCompile(`^(quit|exit)$`)},
}

// readText reads a text that begins on the first line. It returns the text with its mark in
// one form, the number of its lines (0 if none begins there), and whether it goes on after its
// first line. A text without an end is only its first line, so that the lines behind it are
// not lost.
func readText(lines []string) (text string, length int, open bool) {
	first := strings.TrimSpace(lines[0])
	words := strings.Join(strings.Fields(first), " ")
	for _, mark := range textMarks {
		m := mark.begin.FindStringSubmatchIndex(words)
		if m == nil {
			continue
		}
		if mark.end != nil {
			for i := 1; i < len(lines); i++ {
				if mark.end.MatchString(strings.TrimSpace(lines[i])) {
					return joined(lines[:i+1]), i + 1, true
				}
			}
			return words, 1, true
		}
		sign := words[m[2]:m[3]]
		header := words[:m[2]] + "^C"
		rest := first
		for range strings.Fields(words[:m[2]]) {
			rest = strings.TrimLeftFunc(rest[strings.IndexFunc(rest, unicode.IsSpace):], unicode.IsSpace)
		}
		rest = rest[len(sign):]
		if said, _, closed := strings.Cut(rest, sign); closed {
			return header + said + "^C", 1, false
		}
		for i := 1; i < len(lines); i++ {
			if said, _, closed := strings.Cut(lines[i], sign); closed {
				return header + joined(append(append([]string{rest}, lines[1:i]...), said)) + "^C", i + 1, true
			}
		}
		return words, 1, true
	}
	return "", 0, false
}

func joined(lines []string) string {
	return strings.TrimLeft(strings.ReplaceAll(strings.Join(lines, "\n"), "\r", ""), " \t")
}

// restorable returns an error if the plan touches a text of several lines that the device has,
// as such a text can't be sent again.
func (d *dialect) restorable(plan *DevicePlan, running string) error {
	switch d.style {
	case setStyle:
		return d.restorableSets(plan, running)
	case menus:
		return d.restorableItems(plan, running)
	case commands:
		return nil
	}
	touched := map[string][]string{} // the lines under each path
	walk(d.blocks(strings.Join(plan.Apply, "\n")), "", func(b *block, path string) {
		parent := strings.TrimSuffix(strings.TrimSuffix(path, b.line), " / ")
		touched[parent] = append(touched[parent], b.line)
	})
	var err error
	walk(d.blocks(running), "", func(b *block, path string) {
		if !b.open || err != nil {
			return
		}
		header, _, _ := strings.Cut(b.line, "\n")
		if i := strings.Index(header, " ^C"); i > 0 {
			header = header[:i]
		}
		parents := strings.Split(strings.TrimSuffix(strings.TrimSuffix(path, b.line), " / "), " / ")
		for i := range parents { // removing a block removes everything in it
			above := parents[len(parents)-1-i]
			for _, l := range touched[strings.Join(parents[:len(parents)-1-i], " / ")] {
				if above != "" && l == "no "+above {
					err = cantRestore(plan.Name, header, l)
				}
			}
		}
		for _, l := range touched[strings.Join(parents, " / ")] {
			if startsWith(l, header) || startsWith(header, strings.TrimPrefix(l, "no ")) && strings.HasPrefix(l, "no ") {
				err = cantRestore(plan.Name, header, l)
			}
		}
	})
	return err
}

func cantRestore(device, header, line string) error {
	return fmt.Errorf("%s: has a text of several lines, %q, which the startup-config would change by %q, and which could not be restored; leave that line out: %w", device, header, line, fault.Conflict)
}
