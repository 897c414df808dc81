package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"activationd/internal/help"
)

// commands asks the programs in bin for what their help says, and returns the commands of
// atctl by their names, those of the programs that it executes included.
func commands(ctx context.Context, bin string) (root help.Description, all map[string]help.Description, err error) {
	if root, err = describe(ctx, bin, "atctl"); err != nil {
		return root, nil, err
	}
	for i, cmd := range root.Commands {
		switch program := "atctl-" + name(cmd); program {
		case "atctl-lab", "atctl-top":
			if root.Commands[i], err = describe(ctx, bin, program); err != nil {
				return root, nil, err
			}
		}
	}
	all = make(map[string]help.Description)
	for _, cmd := range root.Commands {
		all[name(cmd)] = cmd
	}
	return root, all, nil
}

func describe(ctx context.Context, bin, program string) (d help.Description, err error) {
	cmd := exec.CommandContext(ctx, filepath.Join(bin, program), "manual")
	cmd.Env = []string{} // nothing of it is a default
	out, err := cmd.Output()
	if err != nil {
		return d, fmt.Errorf("%s manual: %w", program, err)
	}
	err = json.Unmarshal(out, &d)
	return d, err
}

// name returns the name of a command, without the program's.
func name(d help.Description) string {
	_, name, _ := strings.Cut(d.Path, " ")
	return name
}

// leaves returns the commands that do something: a command that has others below it only
// names them.
func leaves(d help.Description) []help.Description {
	if len(d.Commands) == 0 {
		return []help.Description{d}
	}
	var all []help.Description
	for _, sub := range d.Commands {
		all = append(all, leaves(sub)...)
	}
	return all
}

// synopsis writes how commands are called.
func (p *page) synopsis(cmds []help.Description) {
	p.heading("Synopsis")
	for _, cmd := range cmds {
		for _, leaf := range leaves(cmd) {
			p.macro("SY", escape(leaf.Path))
			p.fill(escape(strings.TrimPrefix(leaf.Usage, leaf.Path)))
		}
	}
	p.WriteString(".YS\n")
}

// describe writes what the help of commands says.
func (p *page) describe(cmds []help.Description) {
	for _, cmd := range cmds {
		p.sub(escape(cmd.Path))
		p.prose(cmd.Long)
		for _, f := range cmd.Flags {
			p.flag(f)
		}
		if cmd.Example != "" {
			p.para("Examples:")
			p.code(unindented(cmd.Example))
		}
		p.describe(cmd.Commands)
	}
}

// flag writes a flag as an entry of a list.
func (p *page) flag(f help.FlagDescription) {
	value := regexp.MustCompile(`(--[a-z-]+) (.*)`)
	term := bold(f.Name)
	if m := value.FindStringSubmatchIndex(f.Name); m != nil {
		term = bold(f.Name[:m[3]]) + " " + escape(f.Name[m[4]:])
	}
	p.tag(term, p.referring(f.Text))
}

// prose writes a text of --help: paragraphs, and lines that begin with a blank, which are
// lists or stay as they are.
func (p *page) prose(text string) {
	var kept, paragraph []string
	flush := func() {
		if len(paragraph) > 0 {
			p.para(p.referring(strings.Join(paragraph, " ")))
		}
		if len(kept) > 0 && !p.terms(kept) {
			p.code(unindented(strings.Join(kept, "\n")))
		}
		kept, paragraph = nil, nil
	}
	for line := range strings.Lines(strings.Trim(text, "\n")) {
		line = strings.TrimRight(line, "\n")
		switch {
		case line == "":
			flush()
		case line[0] == ' ':
			if len(paragraph) > 0 {
				flush()
			}
			kept = append(kept, line)
		default:
			if len(kept) > 0 {
				flush()
			}
			paragraph = append(paragraph, line)
		}
	}
	flush()
}

var term = regexp.MustCompile(`^( {1,4})(\S+(?: \S+)*) {2,}([^# ].*)$`)

// terms writes a list of terms, each with its description beside it, and reports whether the
// lines are one.
func (p *page) terms(lines []string) bool {
	var list [][2]string
	for _, line := range lines {
		rest := strings.TrimLeft(line, " ")
		m := term.FindStringSubmatch(line)
		switch {
		case m != nil:
			list = append(list, [2]string{m[2], m[3]})
		case len(list) > 0 && len(line)-len(rest) > 4:
			list[len(list)-1][1] += " " + rest
		default:
			return false
		}
	}
	for _, entry := range list {
		p.tag(bold(entry[0]), p.referring(entry[1]))
	}
	return true
}

// unindented returns the lines of a text without the blanks that all begin with.
func unindented(text string) []string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	least := len(text)
	for _, line := range lines {
		if rest := strings.TrimLeft(line, " "); rest != "" {
			least = min(least, len(line)-len(rest))
		}
	}
	for i, line := range lines {
		lines[i] = strings.TrimRight(line[min(least, len(line)):], " ")
	}
	return lines
}

// helpSections returns the sections of a program's help, "Flags:" and so on, by their titles.
func helpSections(text string) map[string]string {
	sections := make(map[string]string)
	title := ""
	for line := range strings.Lines(text) {
		if t, ok := strings.CutSuffix(line, ":\n"); ok && !strings.HasPrefix(t, " ") {
			title = t
			continue
		}
		sections[title] += line
	}
	return sections
}

var named = regexp.MustCompile(`(?:docs/)?[a-z]+(?:-[a-z]+)*\.md`)

// referring escapes a text, in which pages stand for the texts in docs that they have.
func (p *page) referring(text string) string {
	var b strings.Builder
	last := 0
	for _, at := range named.FindAllStringIndex(text, -1) {
		b.WriteString(escape(text[last:at[0]]))
		file := strings.TrimPrefix(text[at[0]:at[1]], "docs/")
		b.WriteString(p.link(file, escape(file)))
		last = at[1]
	}
	b.WriteString(escape(text[last:]))
	return b.String()
}

// index writes what the commands do, and which page describes them.
func (p *page) index(root help.Description, specs []spec) {
	for _, s := range specs {
		if len(s.commands) == 0 {
			continue
		}
		p.sub(reference(s) + ": " + escape(s.title))
		p.WriteString(".PD 0\n")
		for _, cmd := range root.Commands {
			if !slices.Contains(s.commands, name(cmd)) {
				continue
			}
			for _, leaf := range leaves(cmd) {
				p.begun = false
				p.macro("TP", "22")
				p.WriteString(bold(name(leaf)) + "\n")
				p.fill(escape(leaf.Short))
			}
		}
		p.WriteString(".PD\n")
	}
}
