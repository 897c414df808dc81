package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	md "github.com/russross/blackfriday/v2"

	"activationd/control/ops"
	"activationd/internal/help"
)

// A page is one that is being written.
type page struct {
	document
	book *book
	spec spec
	file string // the text that is being written, to which its links without a file lead
}

// A part is a section of a text, or what is before its first section.
type part struct {
	file  string
	nodes []*md.Node
}

func (p *page) parts(parts []part) {
	for _, part := range parts {
		p.file = part.file
		p.blocks(part.nodes)
	}
	p.file = ""
}

// leftAligned ends lines where their words end, and divides no words, such as names of
// commands and files. The macros of man(7) set both again for each section: the register
// and the string have their defaults.
const leftAligned = ".nr HY 0\n.ds AD l\n.nh\n.ad l\n"

// page returns the source of a page.
func (b *book) page(s spec) (string, error) {
	p := &page{document: document{roff: &roff{}, top: 2}, book: b, spec: s}
	p.document.link = p.link
	var cmds []help.Description
	for _, name := range s.commands {
		cmd, ok := b.commands[name]
		if !ok {
			return "", fmt.Errorf("atctl has no command %s", name)
		}
		cmds = append(cmds, cmd)
	}
	p.WriteString("'\\\" t\n")
	p.macro("TH", escape(strings.ToUpper(s.name)), fmt.Sprint(s.section), b.date, escape(b.version), "activationd manual")
	p.WriteString(leftAligned)
	p.heading("Name")
	p.fill(escape(strings.Join(append([]string{s.name}, others(s)...), ", ")) + ` \- ` + escape(s.title))
	if err := p.body(cmds); err != nil {
		return "", err
	}
	p.end()
	return p.String(), nil
}

// body writes the sections that the page has of its own.
func (p *page) body(cmds []help.Description) error {
	s := p.spec
	first, later, err := p.read()
	if err != nil {
		return err
	}
	switch {
	case len(s.synopsis) > 0:
		p.heading("Synopsis")
		for _, form := range s.synopsis {
			name, rest, _ := strings.Cut(form, " ")
			p.macro("SY", escape(name))
			p.fill(escape(rest))
		}
		p.WriteString(".YS\n")
	case len(cmds) > 0:
		p.synopsis(cmds)
	}
	for i, part := range first { // at's is a text
		if i > 0 && title(part.nodes[0]) == "Synopsis" {
			p.parts(first[i : i+1])
			first = slices.Delete(first, i, i+1)
			break
		}
	}
	p.heading("Description")
	if s.about != "" {
		p.para(escape(s.about))
	} else if len(first) > 0 {
		p.parts(first[:1])
		first = first[1:]
	}
	p.options(cmds)
	p.parts(first)
	if err := p.example(); err != nil {
		return err
	}
	p.top = 1
	p.parts(later)
	if s.name == "activationd-protocol" {
		p.operations()
	}
	return nil
}

// read reads the texts of the page. The parts of the first file are sections of the page; a
// file that comes later is one section, with its title.
func (p *page) read() (first, later []part, err error) {
	for i, t := range p.spec.texts {
		data, err := os.ReadFile(filepath.Join(p.book.texts, t.file))
		if err != nil {
			return nil, nil, err
		}
		parts := parse(data)
		whole := true
		for _, other := range specs { // some sections may be on other pages
			for _, o := range other.texts {
				whole = whole && (o.file != t.file || o.sections == nil)
			}
		}
		isMain := t.file == p.spec.texts[0].file || t.sections != nil
		switch {
		case t.sections != nil:
			parts, err = chosen(parts, t.sections)
		case !whole:
			parts = parts[:1]
		}
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", t.file, err)
		}
		if t.sections == nil && i == 0 {
			parts[0] = parts[0][1:] // DESCRIPTION is its title
		}
		to := &later
		if isMain {
			to = &first
		}
		for _, nodes := range parts {
			*to = append(*to, part{t.file, nodes})
		}
	}
	return first, later, nil
}

// example writes the example file.
func (p *page) example() error {
	if p.spec.example == "" {
		return nil
	}
	data, err := os.ReadFile(filepath.Join(p.book.texts, p.spec.example))
	if err != nil {
		return err
	}
	if len(p.spec.texts) > 0 {
		p.heading("Example")
	}
	p.para(escape(p.spec.sentence) + " A copy is " + escape(filepath.Join(p.book.doc, p.spec.example)) + ".")
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	lines = slices.DeleteFunc(lines, func(line string) bool { return strings.Contains(line, "yaml-language-server") })
	p.code(p.mentions(lines))
	return nil
}

// options writes what programs say of their commands and flags.
func (p *page) options(cmds []help.Description) {
	switch {
	case p.spec.name == "atctl":
		p.heading("Commands")
		p.index(p.book.root, specs)
		p.heading("Options of all commands")
		for _, f := range slices.Concat(p.book.root.Shared, p.book.root.Flags) {
			p.flag(f)
		}
		p.heading("Commands of this page")
		p.describe(cmds)
	case len(cmds) > 0:
		p.heading("Commands")
		p.describe(cmds)
		p.heading("Options of all commands")
		p.para(escape("atctl(1) describes the options of all commands, such as --json and --socket, and the exit statuses."))
	case p.spec.name == "activationd":
		p.heading("Options")
		p.prose(p.book.daemonHelp["Flags"])
	}
}

// operations writes an index of the protocol's commands, of their declarations.
func (p *page) operations() {
	p.heading("Index of commands")
	p.para("Each entry has a command, the lowest role that may send it, what it does, and its arguments. " +
		"Arguments in brackets are optional, although some commands need one of several. " +
		"Arguments with dots can be repeated.")
	for _, op := range ops.Registry(ops.Daemon{}).Ops() {
		var args []string
		for _, a := range op.Args() {
			arg := a.Name + ":"
			if a.Repeated {
				arg += "..."
			}
			if !a.Required {
				arg = "[" + arg + "]"
			}
			args = append(args, escape(arg))
		}
		p.tag(bold(op.Name)+" ("+op.Role.String()+")", escape(op.Help), strings.Join(args, " "))
	}
}

var (
	mentioned = regexp.MustCompile(`\b[a-z]+(?:-[a-z]+)*(?:\.example\.yaml|\.md)\b`)
	schema    = regexp.MustCompile(`\b[a-z]+\.schema\.json\b`)
	referred  = regexp.MustCompile(`\b(?:activationd[a-z.-]*|atctl[a-z-]*)\([0-9]\)`)
)

// end writes the sections that pages end with.
func (p *page) end() {
	s := p.spec
	if s.name == "activationd" {
		p.heading("Exit status")
		p.prose(p.book.daemonHelp["Exit status"])
	}
	if len(s.variables) > 0 {
		p.heading("Environment")
		for _, v := range s.variables {
			p.tag(bold(v[0]), escape(v[1]))
		}
	}
	if files := append(slices.Clone(s.files), p.documents()...); len(files) > 0 {
		p.heading("Files")
		for _, f := range files {
			p.tag(italic(f[0]), escape(f[1]))
		}
	}
	if len(s.examples) > 0 {
		p.heading("Examples")
		p.code(s.examples)
	}
	own := fmt.Sprintf("%s(%d)", s.name, s.section)
	see := append(slices.Clone(s.see), referred.FindAllString(shown.Replace(p.String()), -1)...)
	slices.SortFunc(see, func(a, b string) int { // by section, then by name
		return strings.Compare(a[len(a)-2:]+a, b[len(b)-2:]+b)
	})
	see = slices.DeleteFunc(slices.Compact(see), func(name string) bool { return name == own })
	for i, name := range see {
		see[i] = bold(name[:len(name)-3]) + name[len(name)-3:]
	}
	if len(see) > 0 {
		p.heading("See also")
		p.fill(strings.Join(see, ", "))
	}
}

// documents returns the directories of the installed texts and schemas that the page names.
func (p *page) documents() (dirs [][2]string) {
	source := shown.Replace(p.String())
	texts := slices.Compact(slices.Sorted(slices.Values(mentioned.FindAllString(source, -1))))
	texts = slices.DeleteFunc(texts, func(name string) bool {
		_, err := os.Stat(filepath.Join(p.book.texts, name))
		return err != nil
	})
	if len(texts) > 0 {
		dirs = append(dirs, [2]string{p.book.doc, "the texts and examples that this page names: " + strings.Join(texts, ", ")})
	}
	schemas := slices.Compact(slices.Sorted(slices.Values(schema.FindAllString(source, -1))))
	if len(schemas) > 0 {
		dirs = append(dirs, [2]string{p.book.share, strings.Join(schemas, ", ")})
	}
	return dirs
}

// reference returns a page as texts name it.
func reference(s spec) string { return bold(s.name) + fmt.Sprintf("(%d)", s.section) }

// link returns what stands for a link in the page: another page if it has that text.
func (p *page) link(dest, words string) string {
	file, anchor, _ := strings.Cut(filepath.Base(dest), "#")
	switch {
	case strings.Contains(dest, "://"):
		return words + " (" + escape(dest) + ")"
	case file == "":
		file = p.file
	}
	home := -1
	for i, s := range specs {
		for _, t := range s.texts {
			if t.file == file && (home < 0 || slices.ContainsFunc(t.sections, func(s string) bool { return anchorOf(s) == anchor })) {
				home = i
			}
		}
		if s.example == file {
			home = i
		}
	}
	isName := strings.Contains(shown.Replace(words), file)
	if dest[0] == '#' { // the words "below" and "above" name no place on another page, or in a long one
		isName = words == "below" || words == "above"
	}
	switch {
	case home < 0:
		return words
	case specs[home].name == p.spec.name && isName:
		return p.sectionOf(file, anchor)
	case specs[home].name == p.spec.name:
		return words
	case isName:
		return reference(specs[home])
	}
	return words + " (" + reference(specs[home]) + ")"
}

// sectionOf returns the heading below which the page has a text, or the section of it that
// the anchor names.
func (p *page) sectionOf(file, anchor string) string {
	data, err := os.ReadFile(filepath.Join(p.book.texts, file))
	if i := slices.IndexFunc(p.spec.texts, func(t text) bool { return t.file == file }); err == nil && i >= 0 {
		parts := parse(data)
		isSection := i == 0 || p.spec.texts[i].sections != nil
		for _, part := range parts[1:] {
			switch heading := title(part[0]); {
			case anchor == "" && isSection && slices.Contains(p.spec.texts[i].sections, heading), anchor == anchorOf(heading) && isSection:
				return escape(strings.ToUpper(heading))
			case anchor == anchorOf(heading):
				return escape(heading)
			}
		}
		if i > 0 && len(parts[0]) > 0 {
			return escape(strings.ToUpper(title(parts[0][0])))
		}
	}
	if p.spec.example == file && len(p.spec.texts) > 0 {
		return "EXAMPLE"
	}
	return "DESCRIPTION"
}

// anchorOf returns the anchor of a heading.
func anchorOf(heading string) string {
	clean := strings.Map(func(r rune) rune {
		if strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789 -", r) {
			return r
		}
		return -1
	}, strings.ToLower(heading))
	return strings.ReplaceAll(clean, " ", "-")
}
