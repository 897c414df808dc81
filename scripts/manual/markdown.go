package main

import (
	"fmt"
	"strings"
	"unicode/utf8"

	md "github.com/russross/blackfriday/v2"
)

// A text is one of the texts in docs, or sections of it.
type text struct {
	file     string
	sections []string // by their headings; none: the whole text
}

// A document renders texts into a page.
type document struct {
	*roff
	link func(dest, words string) string // what stands for a link in a page
	// top is the level of headings that are sections of the page.
	top int
}

// parse returns the parts of a text: what is before its first section, and its sections,
// each with its heading.
func parse(data []byte) [][]*md.Node {
	tree := md.New(md.WithExtensions(md.NoIntraEmphasis | md.Tables | md.FencedCode | md.SpaceHeadings)).Parse(data)
	parts := [][]*md.Node{nil}
	for n := tree.FirstChild; n != nil; n = n.Next {
		if n.Type == md.Heading && n.Level == 2 {
			parts = append(parts, nil)
		}
		parts[len(parts)-1] = append(parts[len(parts)-1], n)
	}
	return parts
}

// title returns the words of a heading.
func title(n *md.Node) string {
	var b strings.Builder
	n.Walk(func(n *md.Node, _ bool) md.WalkStatus {
		b.Write(n.Literal)
		return md.GoToNext
	})
	return b.String()
}

// chosen returns the sections of a text that have these headings, in the order of the text.
func chosen(parts [][]*md.Node, sections []string) ([][]*md.Node, error) {
	var out [][]*md.Node
	for _, want := range sections {
		found := false
		for _, p := range parts[1:] {
			if title(p[0]) == want {
				out, found = append(out, p), true
			}
		}
		if !found {
			return nil, fmt.Errorf("there is no section %q", want)
		}
	}
	return out, nil
}

func (d *document) blocks(nodes []*md.Node) {
	for _, n := range nodes {
		d.block(n)
	}
}

func (d *document) block(n *md.Node) {
	switch n.Type {
	case md.Heading:
		words := escape(title(n))
		switch n.Level - d.top {
		case 0:
			d.heading(title(n))
		case 1:
			d.sub(words)
		default:
			d.para(`\fB` + words + `\fR`)
		}
	case md.Paragraph:
		if s := d.inline(n); s != "" {
			d.para(s)
		}
	case md.CodeBlock:
		d.code(d.mentions(strings.Split(strings.TrimRight(string(n.Literal), "\n"), "\n")))
	case md.List:
		d.list(n)
	case md.Table:
		d.table(n)
	case md.HTMLBlock, md.HorizontalRule:
	default:
		panic(fmt.Sprintf("a block of type %v is unknown", n.Type))
	}
}

func (d *document) list(list *md.Node) {
	number := 0
	d.begun = false
	for item := list.FirstChild; item != nil; item = item.Next {
		number++
		if list.ListFlags&md.ListTypeOrdered != 0 {
			fmt.Fprintf(d, ".IP %d. 4\n", number)
		} else {
			d.WriteString(".IP \\(bu 2\n")
		}
		for n := item.FirstChild; n != nil; n = n.Next {
			if n == item.FirstChild && n.Type == md.Paragraph {
				d.fill(d.inline(n))
				continue
			}
			d.WriteString(".RS 2\n")
			d.block(n)
			d.WriteString(".RE\n")
		}
	}
}

// A row is what the cells of a row of a table have.
type row []string

// table writes a table as it is, if its columns are narrow, and otherwise as a list of what is
// in the first column.
func (d *document) table(table *md.Node) {
	var rows []row
	for part := table.FirstChild; part != nil; part = part.Next {
		for r := part.FirstChild; r != nil; r = r.Next {
			var cells row
			for c := r.FirstChild; c != nil; c = c.Next {
				cells = append(cells, d.inline(c))
			}
			rows = append(rows, cells)
		}
	}
	head, rows := rows[0], rows[1:]
	if len(head) > 2 && width(append(rows, head)) <= screen {
		d.grid(head, rows)
		return
	}
	for _, r := range rows {
		term := r[0]
		if len(head) > 2 && head[0] != "" && (term == "" || strings.Contains(head[0], "/")) {
			term = strings.TrimSpace(head[0] + " " + term) // the cell alone would say nothing
		}
		var texts []string
		for i, cell := range r[1:] {
			if cell != "" && len(head) > 2 && head[i+1] != "" {
				cell = head[i+1] + ": " + cell
			}
			if cell != "" {
				texts = append(texts, cell)
			}
		}
		if len(texts) == 0 {
			texts = []string{`\&`}
		}
		d.tag(term, texts...)
	}
}

// mentions returns lines that stay as they are, in which pages stand for the texts in docs.
func (d *document) mentions(lines []string) []string {
	for i, line := range lines {
		lines[i] = named.ReplaceAllStringFunc(line, func(file string) string {
			file = strings.TrimPrefix(file, "docs/")
			return shown.Replace(d.link(file, escape(file)))
		})
	}
	return lines
}

// grid writes a table for tbl(1).
func (d *document) grid(head row, rows []row) {
	d.apart()
	d.WriteString(".TS\n" + strings.TrimSpace(strings.Repeat("lb ", len(head))) + "\n" + strings.TrimSpace(strings.Repeat("l ", len(head))) + ".\n")
	for _, r := range append([]row{head}, rows...) {
		for i, cell := range r {
			if strings.HasPrefix(cell, ".") {
				r[i] = `\&` + cell
			}
		}
		d.WriteString(strings.Join(r, "\t") + "\n")
	}
	d.WriteString(".TE\n")
}

// width returns how many columns of a screen the rows need, one beside the other.
func width(rows []row) int {
	sum := 0
	for i := range rows[0] {
		widest := 0
		for _, r := range rows {
			if i < len(r) {
				widest = max(widest, seen(r[i]))
			}
		}
		sum += widest + 3
	}
	return sum
}

var shown = strings.NewReplacer(`\fB`, "", `\fI`, "", `\fR`, "", `\e`, `\`, `\-`, "-", `\(aq`, "'", `\(ga`, "`", `\(ha`, "^", `\(ti`, "~", `\(dq`, `"`, `\&`, "", `\:`, "")

// seen returns how wide text is on the screen.
func seen(text string) int { return utf8.RuneCountInString(shown.Replace(text)) }

// inline returns the text of a block.
func (d *document) inline(block *md.Node) string {
	var b strings.Builder
	for n := block.FirstChild; n != nil; n = n.Next {
		switch n.Type {
		case md.Text:
			b.WriteString(escape(string(n.Literal)))
		case md.Code:
			code := string(n.Literal)
			if block.Type == md.TableCell { // where a bar has to be marked
				code = strings.ReplaceAll(code, `\|`, "|")
			}
			b.WriteString(bold(code))
		case md.Strong:
			b.WriteString(`\fB` + d.inline(n) + `\fR`)
		case md.Emph:
			b.WriteString(`\fI` + d.inline(n) + `\fR`)
		case md.Link:
			b.WriteString(d.link(string(n.Destination), d.inline(n)))
		case md.Softbreak, md.Hardbreak:
			b.WriteString(" ")
		case md.Image, md.HTMLSpan:
		case md.Paragraph:
			b.WriteString(d.inline(n))
		default:
			panic(fmt.Sprintf("text of type %v is unknown", n.Type))
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}
