package main

import (
	"bytes"
	"strings"

	"github.com/charmbracelet/x/ansi"

	"activationd/internal/display"
)

// Limits of what is kept of an output.
const (
	mostLines = 20_000
	mostLine  = 16 << 10 // bytes of a line
)

// A page is a text in front of the panels that can be scrolled: an explanation, an output or
// the keys.
type page struct {
	kind string // why, log, help
	id   string
	note string // what is wrong at present

	lines []string // printable; wraps: they are broken where the screen ends, and not cut
	wraps bool
	shown []string // the lines as they are on the screen

	top, left int
	follows   bool // it shows the last lines

	// Of an output:
	rest    []byte // the beginning of the last line, whose end has not come yet
	attempt string // whose output is the last
	ended   bool
}

// is reports whether p, which may be nil, is of a kind and about an id; empty: any.
func (p *page) is(kind, id string) bool {
	return p != nil && p.kind == kind && (id == "" || p.id == id)
}

func helpPage() *page {
	return &page{kind: "help", lines: append(keyHelp(), "",
		"In an explanation or an output:",
		"  Up, Down, PgUp, PgDn, Home scroll; Left and Right show more of long lines,",
		"  End and f follow the output, q and Esc go back.")}
}

// title says what the page is.
func (p *page) title() string {
	switch {
	case p.kind == "help":
		return "KEYS"
	case p.kind == "why":
		return "WHY " + p.id
	case p.ended:
		return "OUTPUT of " + p.id + ", which has ended"
	case p.follows:
		return "OUTPUT of " + p.id + ", followed"
	}
	return "OUTPUT of " + p.id
}

// output adds a piece of output.
func (p *page) output(msg logMsg) {
	p.note = ""
	if act := msg.out.Activation; act != nil {
		text := display.NowIs(act)
		if act.Reason != "" {
			text += ": " + act.Reason
		}
		p.heading(text)
		return
	}
	if name := display.AttemptName(p.id, msg.out.Phase, msg.out.N); msg.out.N > 0 && name != p.attempt {
		p.attempt = name
		p.heading(name)
	}
	for line := range bytes.Lines(msg.data) {
		p.rest = append(p.rest, line[:min(len(line), mostLine-len(p.rest))]...)
		if line[len(line)-1] == '\n' {
			p.add(outputLine(p.rest))
			p.rest = nil
		}
	}
	if at := msg.out.Attempt; at != nil && !at.Ended.IsZero() {
		p.heading(p.attempt + " has ended: " + display.EndedBy(at))
	}
}

// heading adds a line of our own.
func (p *page) heading(text string) {
	if len(p.rest) > 0 {
		p.add(outputLine(p.rest))
		p.rest = nil
	}
	p.add("==> " + display.Printable(text) + " <==")
}

// add adds a line, and removes the oldest if there are too many.
func (p *page) add(line string) {
	p.lines = append(p.lines, line)
	if n := len(p.lines) - mostLines; n > mostLines/10 {
		p.lines = append([]string(nil), p.lines[n:]...)
		p.top = max(p.top-n, 0)
	}
}

// outputLine makes a line of output harmless: it has no escape sequences, blanks for
// tabs, and of what a carriage return overwrites only the last.
func outputLine(raw []byte) string {
	line := strings.TrimRight(string(raw), "\r\n")
	if i := strings.LastIndexByte(line, '\r'); i >= 0 {
		line = line[i+1:]
	}
	line = ansi.Strip(line)
	if !strings.Contains(line, "\t") {
		return display.Printable(line)
	}
	var b strings.Builder
	for i, part := range strings.Split(line, "\t") {
		if i > 0 {
			b.WriteString(strings.Repeat(" ", 8-b.Len()%8))
		}
		b.WriteString(display.Printable(part))
	}
	return b.String()
}

// room is how many lines of a page a screen of a height shows.
func room(height int) int { return max(height-2, 1) }

// settle finds what is on the screen.
func (p *page) settle(width, height int) {
	p.shown = p.lines
	if len(p.rest) > 0 {
		p.shown = append(p.shown[:len(p.shown):len(p.shown)], outputLine(p.rest))
	}
	if p.wraps {
		p.shown = nil
		for _, l := range p.lines {
			p.shown = append(p.shown, strings.Split(ansi.Wrap(l, width, ""), "\n")...)
		}
	}
	last := max(len(p.shown)-room(height), 0)
	if p.follows {
		p.top = last
	}
	p.top = min(max(p.top, 0), last)
}

// key takes a key.
func (p *page) key(name string, width, height int) {
	by := 0
	switch name {
	case "down", "j", "enter":
		by = 1
	case "up", "k":
		by = -1
	case "pgdown", "space", "ctrl+f":
		by = room(height)
	case "pgup", "b", "ctrl+b":
		by = -room(height)
	case "home", "g":
		by = -len(p.shown)
	case "end", "G":
		by = len(p.shown)
	case "f":
		by = len(p.shown)
	case "left":
		p.left = max(p.left-width/2, 0)
	case "right":
		if !p.wraps {
			p.left = min(p.left+width/2, mostLine)
		}
	}
	if by == 0 {
		return
	}
	p.top += by
	p.follows = p.kind == "log" && by > 0 && p.top >= len(p.shown)-room(height)
}
