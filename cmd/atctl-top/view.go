package main

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/charmbracelet/x/ansi"

	"activationd/internal/display"
)

// Ways to show a text. A terminal without colours has these, too.
const (
	bold    = "\x1b[1m"
	faint   = "\x1b[2m"
	reverse = "\x1b[7m"
	red     = "\x1b[31m"
	plain   = "\x1b[0m"
)

// A layout says how many lines the parts of the screen have.
type layout struct {
	head   int
	panels [panels]int // without their titles
	detail int
	keys   bool
}

// layout divides the lines of the screen. On a low one, what helps only beginners is left
// out first.
func (m *model) layout() layout {
	l := layout{head: 2, detail: 2, keys: true}
	switch h := m.height; {
	case h < 10:
		l = layout{head: 1}
	case h < 16:
		l = layout{head: 1, detail: 1}
	case h >= 32:
		l.detail = 3
	}
	left := m.height - l.head - l.detail - panels - 1 // the line for questions and answers
	if l.keys {
		left--
	}
	var want [panels]int
	for p := range panels {
		want[p] = max(len(m.rows[p]), 1)
	}
	l.panels = share(max(left, 0), want, m.focus)
	return l
}

// share divides lines fairly among panels: what one does not want, the others get. If there
// are too few for all, the one that has the focus is served first.
func share(lines int, want [panels]int, focus int) (got [panels]int) {
	for p := focus; lines > 0; p = (p + 1) % panels {
		if got[p] < want[p] {
			got[p]++
			lines--
		}
		if got == want {
			break
		}
	}
	got[next] += lines
	return got
}

// view returns the screen: as many lines as it has, none wider.
func (m *model) view() string {
	var lines []string
	if m.page != nil {
		lines = m.viewPage()
	} else {
		lines = m.viewPanels()
	}
	if len(lines) > m.height {
		lines = lines[:m.height]
	}
	for i, l := range lines {
		lines[i] = ansi.Truncate(l, m.width, "…") + plain
	}
	return strings.Join(lines, "\n")
}

func (m *model) viewPanels() (lines []string) {
	l := m.layout()
	lines = append(lines, m.header()[:l.head]...)
	titles := [panels]string{"NEEDS ATTENTION", "RUNNING", "NEXT"}
	for p, title := range titles {
		all := m.rows[p]
		lines = append(lines, m.panelTitle(p, title, len(all), l.panels[p]))
		lines = append(lines, m.panel(p, all, l.panels[p])...)
	}
	if l.detail > 0 {
		lines = append(lines, m.details(l.detail)...)
	}
	lines = append(lines, m.statusLine())
	if l.keys {
		lines = append(lines, faint+"enter why  l log  c cancel  h hold  u release  r retry  / filter  ? help  q quit"+plain)
	}
	return lines
}

// header returns two lines about the daemon.
func (m *model) header() []string {
	s := &m.status
	now := m.clock.In(m.daemonNow()).Format(time.DateTime) + " " + path.Base(m.clock.Zone)
	left := fmt.Sprintf("activationd %s, load %d", display.Printable(s.Version), s.Generation)
	first := bold + columns(left, now, m.width) + plain
	var counts []string
	for _, name := range slices.Sorted(maps.Keys(s.States)) {
		if n := s.States[name]; n > 0 && name != "finished" && !strings.HasSuffix(name, "activating") { // these run
			counts = append(counts, fmt.Sprintf("%d %s", n, display.Printable(name)))
		}
	}
	text := strings.Join(append([]string{fmt.Sprintf("%d running", s.Running)}, counts...), ", ")
	var paused []string
	for _, p := range s.Paused {
		paused = append(paused, display.Printable(strings.TrimSpace(p.What+" "+p.Name)))
	}
	if len(paused) > 0 {
		text += "; paused: " + strings.Join(paused, ", ")
	}
	if trouble := m.trouble(); trouble != "" {
		return []string{first, trouble}
	}
	return []string{first, columns(text, "clock trusted", m.width)}
}

// trouble says what is wrong with the daemon itself, if anything is.
func (m *model) trouble() string {
	s := &m.status
	switch {
	case !m.lost.IsZero():
		return red + m.lostText() + plain
	case s.ClockWhy != "":
		return red + "clock not trusted: " + display.Printable(s.ClockWhy) + plain
	case s.Draining:
		return fmt.Sprintf("%d running; the daemon starts nothing new, and stops when nothing runs", s.Running)
	case s.Loading:
		return "the daemon reads its sources of reservations for the first time"
	}
	return ""
}

// columns puts one text at the left and one at the right, which is left out if there is no
// room.
func columns(left, right string, width int) string {
	gap := width - ansi.StringWidth(left) - ansi.StringWidth(right)
	if gap < 2 {
		return left
	}
	return left + strings.Repeat(" ", gap) + right
}

// panelTitle returns the line above a panel.
func (m *model) panelTitle(p int, title string, rows, height int) string {
	text := fmt.Sprintf("── %s (%s) ", title, count(rows))
	if m.filter != "" {
		text = fmt.Sprintf("── %s with %q (%s) ", title, m.filter, count(rows))
	}
	if c := m.chosen[p]; rows > height && height > 0 {
		text += fmt.Sprintf("%d–%d ", c.top+1, min(c.top+height, rows))
	}
	text += strings.Repeat("─", max(m.width-ansi.StringWidth(text), 0))
	if p == m.focus {
		return bold + text + plain
	}
	return faint + text + plain
}

// count returns the number of rows of a panel. A list of the daemon may have been cut.
func count(rows int) string {
	if rows >= mostRows {
		return fmt.Sprintf("the first %d", rows)
	}
	return fmt.Sprint(rows)
}

// panel returns the rows of a panel that are on the screen.
func (m *model) panel(p int, all []row, height int) (lines []string) {
	if len(all) == 0 && height > 0 {
		none := [panels]string{"nothing", "nothing runs", "nothing is scheduled"}[p]
		if m.filter != "" {
			none = "nothing matches"
		}
		lines = append(lines, faint+"  "+none+plain)
	}
	widths := fit(all, m.width-1)
	c := m.chosen[p]
	for i := c.top; i < len(all) && len(lines) < height; i++ {
		chosen := p == m.focus && i == c.index
		text := " " + line(&all[i], widths, p, !chosen)
		if chosen {
			text = reverse + ansi.Truncate(text+strings.Repeat(" ", max(m.width-ansi.StringWidth(text), 0)), m.width, "…") + plain
		}
		lines = append(lines, text)
	}
	for len(lines) < height {
		lines = append(lines, "")
	}
	return lines
}

// Limits of columns. The last one gets what is left.
const (
	mostCell  = 20
	leastCell = 6
	leastLast = 16
)

// fit returns the widths of the columns of rows; 0: the column is left out.
func fit(all []row, width int) []int {
	if len(all) == 0 {
		return nil
	}
	n := len(all[0].cells)
	widths := make([]int, n)
	least := 1
	for _, r := range all {
		least = max(least, min(ansi.StringWidth(r.cells[n-1]), leastLast))
		for i, c := range r.cells[:n-1] {
			widths[i] = max(widths[i], min(ansi.StringWidth(c), mostCell))
		}
	}
	left := func() int {
		left := width
		for _, w := range widths[:n-1] {
			if w > 0 {
				left -= w + 2
			}
		}
		return left
	}
	for i := n - 2; i > 1 && left() < least; i-- { // narrower ones first, then fewer
		widths[i] = min(widths[i], max(leastCell, widths[i]-(least-left())))
	}
	for i := n - 2; i > 1 && left() < least; i-- {
		widths[i] = 0
	}
	widths[n-1] = max(left(), 1)
	return widths
}

// line returns a row with columns of some widths.
func line(r *row, widths []int, panel int, colours bool) string {
	var b strings.Builder
	for i, w := range widths {
		if w == 0 {
			continue
		}
		c := ansi.Truncate(r.cells[i], w, "…")
		pad := strings.Repeat(" ", max(w-ansi.StringWidth(c), 0))
		switch {
		case !colours:
		case panel == needs && i == 0:
			c = bold + c + plain
		case panel != needs && i == r.state:
			c = display.Colour(c)
		}
		b.WriteString(c + pad + "  ")
	}
	return strings.TrimRight(b.String(), " ")
}

// details says all of the chosen row, in so many lines.
func (m *model) details(lines int) []string {
	r, _ := m.row()
	all := strings.Split(ansi.Wrap(r.detail, m.width-1, ""), "\n")
	if len(all) > lines {
		all[lines-1] = ansi.Truncate(all[lines-1]+" "+all[lines], max(m.width-2, 1), "…")
		if !strings.HasSuffix(all[lines-1], "…") {
			all[lines-1] += "…"
		}
		all = all[:lines]
	}
	for len(all) < lines {
		all = append(all, "")
	}
	for i := range all {
		all[i] = " " + all[i]
	}
	return all
}

// statusLine returns the line for questions, and for what became of orders.
func (m *model) statusLine() string {
	switch {
	case m.editing:
		return "/" + m.filter + reverse + " " + plain
	case m.asked != order{}:
		return bold + fmt.Sprintf("%s %s? y/n", m.asked.verb, display.Printable(m.asked.id)) + plain
	case m.wrong:
		return red + m.said + plain
	}
	return m.said
}

func (m *model) viewPage() (lines []string) {
	p := m.page
	right := fmt.Sprintf("%d–%d of %d", min(p.top+1, len(p.shown)), min(p.top+room(m.height), len(p.shown)), len(p.shown))
	lines = append(lines, bold+columns(display.Printable(p.title()), right, m.width)+plain)
	end := min(p.top+room(m.height), len(p.shown))
	for _, l := range p.shown[min(p.top, end):end] {
		if p.left > 0 {
			l = ansi.TruncateLeft(l, p.left, "")
		}
		lines = append(lines, l)
	}
	for len(lines) < m.height-1 {
		lines = append(lines, "")
	}
	bottom := faint + "q back" + plain
	switch {
	case p.note != "":
		bottom = red + p.note + plain
	case !m.lost.IsZero():
		bottom = m.trouble()
	case p.kind == "log":
		bottom = faint + "q back  arrows PgUp PgDn Home scroll  f follow  Left Right long lines" + plain
	}
	return append(lines, bottom)
}
