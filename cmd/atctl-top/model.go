package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"activationd/control"
	"activationd/internal/display"
	"activationd/internal/fault"
)

// The panels, from the top of the screen.
const (
	needs = iota
	running
	next
	panels // how many there are
)

// An order is what the model wants to be done: what changes an activation, or what only
// concerns this program.
type order struct {
	verb string // cancel, hold, release, retry; why, log, match, read, suspend, quit
	id   string
	text string // of match
}

// A tickMsg says that another second has passed.
type tickMsg time.Time

// A model is what the screen shows. It reads no clock and does nothing but change itself:
// what is to be done, it returns as orders.
type model struct {
	width, height int
	now           time.Time // of this machine

	readMsg
	clock *display.Clock
	ahead time.Duration // of the daemon's clock

	lost    time.Time // since when the daemon does not answer; zero: it does
	lostWhy error

	rows   [panels][]row // what the panels show, as settle has found it
	focus  int           // the panel
	chosen [panels]choice

	filter  string
	editing bool // the filter is being typed

	asked order  // waits for y or n
	wants string // the id whose explanation is to be shown when it comes
	said  string // the line near the bottom
	wrong bool   // it tells of a failure

	page *page // in front of the panels; nil: none
}

// A choice is the chosen row of a panel.
type choice struct {
	key   string // of the row, which may move
	index int
	top   int // the first row that is shown
}

// newModel returns a model of what the daemon has said first. What needs attention gets the
// focus.
func newModel(first readMsg) *model {
	m := &model{width: 80, height: 24, focus: running}
	if len(first.status.Attention) > 0 {
		m.focus = needs
	}
	m.update(first)
	return m
}

// resize takes the size of the terminal.
func (m *model) resize(width, height int) {
	m.width, m.height = max(width, 1), max(height, 1)
	m.settle()
}

// update takes a message.
func (m *model) update(msg any) (orders []order) {
	switch msg := msg.(type) {
	case tickMsg:
		m.now = time.Time(msg)
	case readMsg:
		orders = m.read(msg)
	case awayMsg:
		m.now = msg.at
		if m.lost.IsZero() {
			m.lost = msg.at
		}
		m.lostWhy = msg.err
	case doneMsg:
		m.done(msg)
	case whyMsg:
		m.why(msg)
	case logMsg:
		if m.page.is("log", msg.id) {
			m.page.output(msg)
		}
	case logEndMsg:
		m.logEnd(msg)
	}
	m.settle()
	return orders
}

// read takes what the daemon has.
func (m *model) read(msg readMsg) (orders []order) {
	back := !m.lost.IsZero()
	m.readMsg, m.now = msg, msg.at
	m.lost, m.lostWhy = time.Time{}, nil
	m.clock = display.NewClock(msg.status.Clock)
	m.ahead = msg.status.Now.Sub(msg.at)
	if back {
		m.say("the daemon is back", nil)
	}
	if m.page.is("why", "") {
		orders = append(orders, order{verb: "why", id: m.page.id})
	}
	return orders
}

// done takes what became of an order.
func (m *model) done(msg doneMsg) {
	if msg.err != nil {
		m.say(msg.verb+" "+msg.id, msg.err)
		return
	}
	text := display.NowIs(&msg.act)
	if msg.act.Reason != "" {
		text += ": " + msg.act.Reason
	}
	m.say(text, nil)
}

func (m *model) why(msg whyMsg) {
	switch {
	case m.page != nil && !m.page.is("why", msg.id):
	case m.page == nil && m.wants != msg.id: // the user has gone on
	case msg.err != nil && m.page == nil:
		m.say("why "+msg.id, msg.err)
	case msg.err != nil:
		m.page.note = errorText(msg.err)
	default:
		if m.page == nil {
			m.page = &page{kind: "why", id: msg.id, wraps: true}
		}
		m.page.note, m.page.lines = "", nil
		for _, l := range msg.lines {
			text := display.Printable(l.Text)
			if !l.Time.IsZero() {
				text = m.clock.Time(l.Time) + "  " + text
			}
			m.page.lines = append(m.page.lines, text)
		}
	}
}

func (m *model) logEnd(msg logEndMsg) {
	if !m.page.is("log", msg.id) {
		return
	}
	switch {
	case msg.again:
		m.page.note = "the daemon does not answer; this goes on when it does"
	case msg.err != nil:
		m.page = nil
		m.say("log "+msg.id, msg.err)
	default:
		m.page.ended = true
	}
}

// say shows a text, or an error after what it was about.
func (m *model) say(text string, err error) {
	m.said, m.wrong = display.Printable(text), err != nil
	if _, reply := errors.AsType[*control.ReplyError](err); reply { // it says what it is about
		m.said = errorText(err)
	} else if err != nil {
		m.said += ": " + errorText(err)
	}
}

// errorText returns an error in one line.
func errorText(err error) string {
	return display.Printable(control.OneLine(fault.Text(err)))
}

// A row is a line of a panel.
type row struct {
	key    string // tells it from the others
	id     string // of an activation; empty: none
	cells  []string
	state  int    // the index of the cell with the state
	detail string // in full
}

// find returns the rows of a panel.
func (m *model) find(panel int) []row {
	var all []row
	switch panel {
	case needs:
		for i := range m.status.Attention {
			all = append(all, m.needRow(&m.status.Attention[i]))
		}
	case running:
		for i := range m.running {
			all = append(all, m.runningRow(&m.running[i]))
		}
	case next:
		for i := range m.next {
			all = append(all, m.nextRow(&m.next[i]))
		}
	}
	if panel != needs && m.match == m.filter { // then the daemon has chosen, which knows more texts of each
		return all
	}
	return slices.DeleteFunc(all, func(r row) bool { return !m.matches(append([]string{r.detail}, r.cells...)...) })
}

// matches reports whether the filter occurs in one of some texts.
func (m *model) matches(texts ...string) bool {
	filter := strings.ToLower(m.filter)
	return slices.ContainsFunc(texts, func(t string) bool { return strings.Contains(strings.ToLower(t), filter) })
}

// needRow returns the row of what needs attention. It knows no kinds: a newer daemon has more.
func (m *model) needRow(n *control.Attention) row {
	text, subject, since := n.Text, display.Subject(n), ""
	if n.More > 0 {
		text = fmt.Sprintf("and %d more", n.More)
	}
	if !n.Since.IsZero() {
		since = m.distance(n.Since)
	}
	r := row{key: n.Kind + " " + subject, id: n.ID, cells: []string{n.Kind, subject, since, text}, detail: text}
	if n.Try != "" {
		r.detail = strings.TrimPrefix(text+"; try: "+n.Try, "; ")
		r.cells[3] = r.detail
	}
	if subject != "" {
		r.detail = subject + ": " + r.detail
	}
	return r.printable()
}

func (m *model) runningRow(act *control.Activation) row {
	since, end := "", ""
	if !act.Started.IsZero() {
		since = "for " + display.Span(max(m.daemonNow().Sub(act.Started.Time), 0))
	}
	if !act.End.IsZero() {
		end = "ends " + m.distance(act.End.Time)
	}
	name := display.Name(act)
	r := row{
		key: act.ID, id: act.ID, state: 1, detail: name,
		cells: []string{act.ID, display.State(act), since, end, act.Owner, display.Progress(act.Progress), name},
	}
	for _, more := range []string{display.Progress(act.Progress), display.Reason(act)} {
		if more != "" {
			r.detail = strings.TrimPrefix(r.detail+"; "+more, "; ")
		}
	}
	return r.printable()
}

func (m *model) nextRow(act *control.Activation) row {
	at := act.Due.Time
	if at.IsZero() {
		at = act.Planned
	}
	in, when := "", ""
	if !at.IsZero() {
		in = m.distance(at)
		when = m.clock.Time(at)
	}
	text := display.Name(act)
	if why := display.Reason(act); why != "" {
		text = strings.TrimPrefix(text+": "+why, ": ")
	}
	r := row{key: act.ID, id: act.ID, state: 1, detail: strings.Trim(when+"  "+text, " "), cells: []string{act.ID, display.State(act), in, act.Owner, text}}
	return r.printable()
}

// printable makes the texts of a row harmless.
func (r row) printable() row {
	for i, c := range r.cells {
		r.cells[i] = display.Printable(c)
	}
	r.detail = display.Printable(r.detail)
	return r
}

// daemonNow is the time of the daemon's clock.
func (m *model) daemonNow() time.Time { return m.now.Add(m.ahead) }

// distance returns how far a time is from now.
func (m *model) distance(t time.Time) string { return display.Relative(t.Sub(m.daemonNow())) }

// settle finds the rows, and the chosen ones again, which may have moved or gone, and scrolls to them.
func (m *model) settle() {
	if m.page != nil {
		m.page.settle(m.width, m.height)
		return
	}
	for p := range panels {
		m.rows[p] = m.find(p)
	}
	heights := m.layout().panels
	for p, all := range m.rows {
		c := &m.chosen[p]
		if i := slices.IndexFunc(all, func(r row) bool { return r.key == c.key }); i >= 0 {
			c.index = i
		}
		c.choose(all, c.index)
		h := max(heights[p], 1)
		c.top = min(max(c.top, c.index-h+1), c.index, max(len(all)-h, 0))
		c.top = max(c.top, 0)
	}
}

// choose chooses a row, or the nearest that there is.
func (c *choice) choose(all []row, index int) {
	c.index = min(max(index, 0), max(len(all)-1, 0))
	c.key = ""
	if c.index < len(all) {
		c.key = all[c.index].key
	}
}

// row returns the chosen row of the panel that has the focus.
func (m *model) row() (r row, ok bool) {
	all := m.rows[m.focus]
	if i := m.chosen[m.focus].index; i < len(all) {
		return all[i], true
	}
	return row{}, false
}

// A binding says what keys do in the panels.
type binding struct {
	keys        []string
	shown, help string // none: it is not in the help
	do          func(m *model) []order
}

func bindings() []binding {
	change := func(verb string) func(m *model) []order {
		return func(m *model) []order { return m.about(verb) }
	}
	move := func(by int) func(*model) []order {
		return func(m *model) []order { m.move(by); return nil }
	}
	turn := func(by int) func(*model) []order {
		return func(m *model) []order { m.focus = (m.focus + by + panels) % panels; return nil }
	}
	return []binding{
		{[]string{"down", "j"}, "", "", move(1)},
		{[]string{"up", "k"}, "Up, Down, j, k", "choose another row", move(-1)},
		{[]string{"pgdown", "ctrl+f"}, "", "", move(10)},
		{[]string{"pgup", "ctrl+b"}, "PgUp, PgDn", "move ten rows", move(-10)},
		{[]string{"home", "g"}, "", "", move(-mostMove)},
		{[]string{"end", "G"}, "Home, End, g, G", "go to the first row, to the last row", move(mostMove)},
		{[]string{"shift+tab", "left"}, "", "", turn(-1)},
		{[]string{"tab", "right"}, "Tab, Left, Right", "choose another panel", turn(1)},
		{[]string{"enter", "w"}, "Enter, w", "explain why it is in its state, as atctl why", func(m *model) []order {
			orders := m.about("why")
			for _, o := range orders {
				m.wants = o.id
			}
			return orders
		}},
		{[]string{"l"}, "l", "follow its output, as atctl log -f", func(m *model) []order {
			orders := m.about("log")
			for _, o := range orders {
				m.page = &page{kind: "log", id: o.id, follows: true}
			}
			return orders
		}},
		{[]string{"c"}, "c", "cancel it; top asks first", func(m *model) []order {
			for _, o := range m.about("cancel") {
				m.asked = o
			}
			return nil
		}},
		{[]string{"h"}, "h", "hold it: keep it from starting", change("hold")},
		{[]string{"u"}, "u", "release it when it is held", change("release")},
		{[]string{"r"}, "r", "retry it when it has failed or is stuck", change("retry")},
		{[]string{"/"}, "/", "show only what contains a text; Esc shows all again", func(m *model) []order { m.editing = true; return nil }},
		{[]string{"esc"}, "", "", func(m *model) []order {
			m.filter = ""
			return m.filtered()
		}},
		{[]string{"ctrl+l", "f5"}, "F5, Ctrl-L", "read everything again", func(*model) []order { return []order{{verb: "read"}} }},
		{[]string{"?"}, "?", "show these keys", func(m *model) []order { m.page = helpPage(); return nil }},
		{[]string{"ctrl+z"}, "", "", func(*model) []order { return []order{{verb: "suspend"}} }},
		{[]string{"q", "ctrl+c"}, "q, Ctrl-C", "leave top; in an explanation or output: back", func(*model) []order { return []order{{verb: "quit"}} }},
	}
}

// mostMove is more than a panel has rows.
const mostMove = 1 << 20

// keyHelp returns the lines of the help that say what the keys do.
func keyHelp() (lines []string) {
	for _, b := range bindings() {
		if b.help != "" {
			lines = append(lines, fmt.Sprintf("  %-17s %s", b.shown, b.help))
		}
	}
	return lines
}

// key takes a key that was pressed: its name, and the text that it types.
func (m *model) key(name, text string) (orders []order) {
	defer m.settle()
	m.said, m.wants = "", ""
	switch {
	case m.editing:
		return m.edit(name, text)
	case m.asked != order{}:
		o := m.asked
		m.asked = order{}
		if name == "y" || name == "Y" {
			return []order{o}
		}
		m.say("not done", nil)
		return nil
	case m.page != nil:
		return m.pageKey(name)
	}
	for _, b := range bindings() {
		if slices.Contains(b.keys, name) {
			return b.do(m)
		}
	}
	return nil
}

// pageKey takes a key while a page is in front of the panels.
func (m *model) pageKey(name string) []order {
	switch name {
	case "ctrl+c":
		return []order{{verb: "quit"}}
	case "ctrl+z":
		return []order{{verb: "suspend"}}
	case "q", "esc":
		closed := m.page
		m.page = nil
		if closed.kind == "log" {
			return []order{{verb: "log"}} // of nothing
		}
		return nil
	}
	m.page.key(name, m.width, m.height)
	return nil
}

// edit takes a key while the filter is typed.
func (m *model) edit(name, text string) []order {
	switch {
	case name == "enter":
		m.editing = false
		return nil
	case name == "esc", name == "ctrl+c":
		m.editing = false
		m.filter = ""
	case name == "backspace":
		_, n := utf8.DecodeLastRuneInString(m.filter)
		m.filter = m.filter[:len(m.filter)-n]
	case name == "ctrl+u":
		m.filter = ""
	default:
		m.filter += display.Printable(text)
	}
	return m.filtered()
}

// paste takes a text that was pasted.
func (m *model) paste(text string) {
	if m.editing {
		m.filter += display.Printable(control.OneLine(text))
	}
}

// filtered returns the order that follows from another filter.
func (m *model) filtered() []order {
	m.settle()
	return []order{{verb: "match", text: m.filter}}
}

// about returns an order about the chosen row, if it is about an activation.
func (m *model) about(verb string) []order {
	r, ok := m.row()
	switch {
	case !ok:
		m.say("nothing is chosen here; Tab chooses another panel", nil)
	case r.id == "":
		m.say("this is not about a single job or reservation: "+r.detail, nil)
	default:
		return []order{{verb: verb, id: r.id}}
	}
	return nil
}

// move chooses the row that is so many rows further.
func (m *model) move(by int) {
	m.chosen[m.focus].choose(m.rows[m.focus], m.chosen[m.focus].index+by)
}

// lostText says since when and why the daemon does not answer.
func (m *model) lostText() string {
	why := ""
	if m.lostWhy != nil && !errors.Is(m.lostWhy, fault.Unavailable) {
		why = ": " + errorText(m.lostWhy)
	}
	return fmt.Sprintf("the daemon has not answered for %s%s", cmp.Or(display.Span(max(m.now.Sub(m.lost), 0)), "0s"), why)
}
