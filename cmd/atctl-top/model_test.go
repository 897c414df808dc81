package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/charmbracelet/x/ansi"

	"activationd/control"
	"activationd/internal/fault"
)

// now is the time of both clocks in these tests.
var now = time.Date(2026, 3, 2, 10, 0, 0, 0, time.UTC)

// example is what a daemon with some of everything sends.
func example() readMsg {
	at := func(d time.Duration) control.Instant { return control.Instant{Time: now.Add(d)} }
	percent := 40
	return readMsg{
		at: now,
		status: control.StatusOut{
			Clock: control.Clock{Now: now, Zone: "Europe/Prague"}, Version: "v1.2.3", Generation: 18, Running: 2,
			States: map[string]int{"activating": 2, "waiting": 1, "scheduled": 1, "held": 1, "active": 1, "finished": 7}, ClockTrusted: true,
			Attention: []control.Attention{
				{Kind: "stuck", ID: "1042@ostrava", Since: now.Add(-time.Hour), Text: "exited with status 1",
					Try: "atctl retry 1042@ostrava; or, after cleaning up by hand, atctl forgive 1042@ostrava"},
				{Kind: "eclipse", Text: "a kind that this program does not know"},
				{Kind: "failed", ID: "4", Label: "broken", Since: now.Add(-5 * time.Minute), Text: "exited with status 3", Try: "atctl why 4"},
				{Kind: "failed", More: 3, Try: "atctl list --failed --since 24h"},
			},
		},
		running: []control.Activation{
			{ID: "7", Kind: "job", Owner: "ada", State: "activating", Status: "running", Started: at(-90 * time.Second), Label: "backup",
				Progress: &control.Progress{Percent: &percent, Text: "sw2"}},
			{ID: "1041@ostrava", Kind: "reservation", Owner: "group9", State: "active", Started: at(-time.Hour), End: at(2 * time.Hour)},
		},
		next: []control.Activation{
			{ID: "8", Kind: "job", Owner: "ada", State: "waiting", Planned: now.Add(-time.Minute), Reason: "waits for lock disk, held by 7", Command: "nightly"},
			{ID: "9", Kind: "job", Owner: "bob", State: "held", Planned: now.Add(time.Hour), Label: "evil \x1b[2J\u202e 日本語"},
			{ID: "10", Kind: "job", Owner: "bob", State: "scheduled", Due: at(26 * time.Hour), Planned: now.Add(26 * time.Hour)},
		},
	}
}

// shown returns a model of a size that shows the example.
func shown(width, height int) *model {
	m := newModel(example())
	m.resize(width, height)
	return m
}

// screenOf returns what the screen shows, without its colours.
func screenOf(m *model) string {
	lines := strings.Split(ansi.Strip(m.view()), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.Join(lines, "\n")
}

func TestScreen(t *testing.T) {
	want := `activationd v1.2.3, load 18                           2026-03-02 11:00:00 Prague
2 running, 1 active, 1 held, 1 scheduled, 1 waiting                clock trusted
── NEEDS ATTENTION (4) ─────────────────────────────────────────────────────────
 stuck    1042@ostrava  1h ago  exited with status 1; try: atctl retry 1042@ost…
 eclipse                        a kind that this program does not know
 failed   4 (broken)    5m ago  exited with status 3; try: atctl why 4
 failed                         and 3 more; try: atctl list --failed --since 24h
── RUNNING (2) ─────────────────────────────────────────────────────────────────
 7             running  for 1m30s              ada     40 % sw2  backup
 1041@ostrava  active   for 1h     ends in 2h  group9
── NEXT (3) ────────────────────────────────────────────────────────────────────
 8   waiting    1m ago   ada  nightly: waits for lock disk, held by 7
 9   held       in 1h    bob  evil \x1b[2J\u202e 日本語
 10  scheduled  in 1d2h  bob






 1042@ostrava: exited with status 1; try: atctl retry 1042@ostrava; or, after
 cleaning up by hand, atctl forgive 1042@ostrava

enter why  l log  c cancel  h hold  u release  r retry  / filter  ? help  q quit`
	if got := screenOf(shown(80, 24)); got != want {
		t.Errorf("the screen is\n%s\nwant\n%s", got, want)
	}
}

// TestConflicts: what cannot have its device says so, although its state is another one.
func TestConflicts(t *testing.T) {
	lost := []control.ConflictLine{{Text: "6@x has r1"}, {Text: "r2 is paused"}}
	msg := example()
	msg.running = []control.Activation{{ID: "5@x", Kind: "reservation", State: "active", Conflicts: lost[1:]}}
	msg.next = []control.Activation{
		{ID: "7@x", Kind: "reservation", State: "scheduled", Reason: "released by root", Conflicts: lost},
		{ID: "8@x", Kind: "reservation", State: "waiting", Reason: "waits for the end of a conflict: 6@x has r1", Conflicts: lost[:1]},
	}
	m := newModel(msg)
	m.resize(120, 30)
	press(m, "\t")
	got := screenOf(m)
	for _, want := range []string{
		"\n conflict: r2 is paused\n", "  released by root; conflict: 6@x has r1; conflict: r2 is paused\n",
		"  waits for the end of a conflict: 6@x has r1\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the screen is\n%s\nand lacks %q", got, want)
		}
	}
}

// TestAnySize shows everything on screens of all sizes: no line may be too wide, and the
// screen must have no more lines than the terminal.
func TestAnySize(t *testing.T) {
	for _, width := range []int{1, 2, 7, 20, 40, 60, 80, 130} {
		for _, height := range []int{1, 2, 3, 6, 9, 10, 15, 16, 24, 31, 32, 33} {
			m := shown(width, height)
			for _, keys := range []string{"", "?", "q/x\x00", "c", "n"} {
				press(m, keys)
				lines := strings.Split(m.view(), "\n")
				if len(lines) > height {
					t.Fatalf("%dx%d: %d lines", width, height, len(lines))
				}
				for _, l := range lines {
					if n := ansi.StringWidth(l); n > width {
						t.Fatalf("%dx%d: a line has %d columns: %q", width, height, n, l)
					}
				}
			}
		}
	}
}

// press presses keys: letters, and some that have names.
func press(m *model, keys string) (orders []order) {
	names := map[rune]string{'\n': "enter", '\t': "tab", '\x00': "esc", '\b': "backspace", '↓': "down", '↑': "up", '→': "right", '←': "left", '⇟': "pgdown"}
	for _, k := range keys {
		name, text := string(k), string(k)
		if names[k] != "" {
			name, text = names[k], ""
		}
		orders = append(orders, m.key(name, text)...)
	}
	return orders
}

func TestKeys(t *testing.T) {
	tests := []struct {
		name, keys string
		want       []order
		said       string // in the line near the bottom
	}{
		{"why of what needs attention", "\n", []order{{verb: "why", id: "1042@ostrava"}}, ""},
		{"retry what is stuck", "r", []order{{verb: "retry", id: "1042@ostrava"}}, ""},
		{"no id", "jh", nil, "this is not about a single job or reservation"},
		{"cancel and yes", "\tcy", []order{{verb: "cancel", id: "7"}}, ""},
		{"cancel asks", "\tc", nil, "cancel 7? y/n"},
		{"cancel and no", "\tcn", nil, "not done"},
		{"cancel and another key", "\tcq", nil, "not done"},
		{"hold the second of the next", "\t\tjh", []order{{verb: "hold", id: "9"}}, ""},
		{"release it", "\t\t↓u", []order{{verb: "release", id: "9"}}, ""},
		{"no further than the last", "\t\tjjjjjw", []order{{verb: "why", id: "10"}}, ""},
		{"and back", "\t\tjjjjjkkkkkkw", []order{{verb: "why", id: "8"}}, ""},
		{"around the panels", "→→→l", []order{{verb: "log", id: "1042@ostrava"}}, ""},
		{"a filter", "/ab\b\n", []order{{verb: "match", text: "a"}, {verb: "match", text: "ab"}, {verb: "match", text: "a"}}, ""},
		{"leave a filter", "/\x00q", []order{{verb: "match"}, {verb: "quit"}}, ""},
		{"letters of a filter are no keys", "/q", []order{{verb: "match", text: "q"}}, "/q"},
		{"back from the keys", "?q", nil, ""},
		{"back from an output", "\tlq", []order{{verb: "log", id: "7"}, {verb: "log"}}, ""},
		{"quit", "q", []order{{verb: "quit"}}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := shown(80, 24)
			if got := press(m, tt.keys); !slices.Equal(got, tt.want) {
				t.Errorf("%q gives %+v, want %+v", tt.keys, got, tt.want)
			}
			if lines := strings.Split(screenOf(m), "\n"); !strings.Contains(lines[len(lines)-2], tt.said) || tt.said == "" && lines[len(lines)-2] != "" {
				t.Errorf("%q shows %q, want %q", tt.keys, lines[len(lines)-2], tt.said)
			}
		})
	}
}

// TestHelpOfKeys checks that each key is explained, and that the names of the keys of a
// binding occur only once.
func TestHelpOfKeys(t *testing.T) {
	help := strings.ToLower(strings.Join(keyHelp(), "\n"))
	seen := make(map[string]bool)
	for _, b := range bindings() {
		for _, k := range b.keys {
			if seen[k] {
				t.Errorf("the key %s does two things", k)
			}
			seen[k] = true
		}
		if b.shown != "" && !strings.Contains(help, strings.ToLower(b.shown)) {
			t.Errorf("the help lacks %s", b.shown)
		}
	}
}

// TestSays checks what is said of orders.
func TestSays(t *testing.T) {
	tests := []struct {
		name string
		msg  doneMsg
		want string
	}{
		{"done", doneMsg{order: order{verb: "cancel", id: "7"}, act: control.Activation{ID: "7", Outcome: "cancelled", Reason: "cancelled by ada"}},
			"7 was cancelled: cancelled by ada"},
		{"refused", doneMsg{order: order{verb: "cancel", id: "7"}, err: &control.ReplyError{Code: 403, Description: "you may not cancel 7: it belongs to bob"}},
			"you may not cancel 7: it belongs to bob"},
		{"not known", doneMsg{order: order{verb: "hold", id: "7"}, err: fmt.Errorf("the connection broke\nlate: %w", fault.Unavailable)},
			"hold 7: the connection broke; late"},
		{"evil", doneMsg{order: order{verb: "hold", id: "7"}, err: errors.New("\x1b[2J")}, "hold 7:  [2J"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := shown(80, 24)
			m.update(tt.msg)
			if m.said != tt.want {
				t.Errorf("it says %q, want %q", m.said, tt.want)
			}
		})
	}
}

// TestChoiceFollows checks that the chosen row stays the chosen one when others come and go.
func TestChoiceFollows(t *testing.T) {
	m := shown(80, 24)
	press(m, "\t\tj") // 9
	for _, tt := range []struct {
		name, ids, want string
	}{
		{"one came before", "5 8 9 10", "9"},
		{"it moved", "9 8 10", "9"},
		{"it is gone: its neighbour", "8 10", "8"},
		{"only one is left", "10", "10"},
		{"none is left", "", ""},
		{"some are there again", "1 2", "1"},
	} {
		msg := example()
		msg.next = nil
		for id := range strings.FieldsSeq(tt.ids) {
			msg.next = append(msg.next, control.Activation{ID: id, Kind: "job", State: "scheduled"})
		}
		m.update(msg)
		if r, _ := m.row(); r.id != tt.want {
			t.Errorf("%s: %q is chosen, want %q", tt.name, r.id, tt.want)
		}
	}
}

// TestManyRows checks that the chosen row is always on the screen.
func TestManyRows(t *testing.T) {
	m := shown(80, 24)
	msg := example()
	msg.running = nil
	for i := range 60 {
		msg.running = append(msg.running, control.Activation{ID: fmt.Sprint(1000 + i), Kind: "job", State: "activating"})
	}
	m.update(msg)
	press(m, "\t")
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	for range 200 {
		press(m, string([]rune("jjjkkgG⇟\t")[random.IntN(9)]))
		if random.IntN(10) == 0 {
			m.resize(10+random.IntN(100), 16+random.IntN(40))
		}
		r, ok := m.row()
		if !ok || !strings.Contains(screenOf(m), r.cells[0]) {
			t.Fatalf("seed %d: the chosen row %v is not on the screen:\n%s", seed, r.cells, screenOf(m))
		}
	}
}

func TestFilter(t *testing.T) {
	m := shown(80, 24)
	count := func() string {
		return fmt.Sprint(len(m.rows[needs]), len(m.rows[running]), len(m.rows[next]))
	}
	for _, tt := range []struct{ keys, want string }{
		{"", "4 2 3"}, {"/bACkup", "0 1 0"}, {"\b\b\b\b\b\bbob", "0 0 2"}, {"\b\b\bostrava\n", "1 1 0"}, {"\x00", "4 2 3"},
	} {
		press(m, tt.keys)
		if got := count(); got != tt.want {
			t.Errorf("%q: the panels have %s rows, want %s", tt.keys, got, tt.want)
		}
	}
	// What the daemon has chosen is shown, though the text is in what only the daemon knows.
	press(m, "/script\n")
	msg := example()
	msg.match = "script"
	m.update(msg)
	if got := count(); got != "0 2 3" {
		t.Errorf("the panels have %s rows of the daemon's choice, want 0 2 3", got)
	}
}

// TestAway checks what is shown while the daemon does not answer, and when it is back.
func TestAway(t *testing.T) {
	m := shown(80, 24)
	steps := []struct {
		msg  any
		want string
	}{
		{awayMsg{fmt.Errorf("gone: %w", fault.Unavailable), now}, "the daemon has not answered for 0s"},
		{tickMsg(now.Add(35 * time.Second)), "the daemon has not answered for 35s"},
		{awayMsg{&control.ReplyError{Code: 403, Description: "your token is no longer valid"}, now.Add(40 * time.Second)},
			"the daemon has not answered for 40s: your token is no longer valid"},
		{example(), "the daemon is back"},
	}
	for _, s := range steps {
		m.update(s.msg)
		if got := screenOf(m); !strings.Contains(got, s.want) || !strings.Contains(got, "backup") {
			t.Errorf("after %+v the screen is\n%s\nwant %q", s.msg, got, s.want)
		}
	}
	if m.update(awayMsg{errors.New("x"), now}); strings.Contains(screenOf(shown(80, 24)), "not answered") {
		t.Error("a daemon that answers is said not to")
	}
}

// TestNothing checks that keys do nothing where there are no rows.
func TestNothing(t *testing.T) {
	m := newModel(readMsg{at: now, status: control.StatusOut{Clock: control.Clock{Now: now, Zone: "UTC"}}})
	if orders := press(m, "jcyhlu\tkw\n\tr"); len(orders) > 0 {
		t.Errorf("keys give %+v", orders)
	}
	for _, want := range []string{"  nothing\n", "nothing runs", "nothing is scheduled", "nothing is chosen here"} {
		if got := screenOf(m); !strings.Contains(got, want) {
			t.Errorf("the screen is\n%s\nwant %q", got, want)
		}
	}
}

// TestTrouble checks that the second line says what is wrong with the daemon.
func TestTrouble(t *testing.T) {
	for want, set := range map[string]func(*control.StatusOut){
		"clock trusted":                       func(*control.StatusOut) {},
		"clock not trusted: it was set by 3h": func(s *control.StatusOut) { s.ClockWhy = "it was set by 3h" },
		"1 waiting; paused: daemon, device sw1": func(s *control.StatusOut) {
			s.Paused = []control.Pause{{What: "daemon"}, {What: "device", Name: "sw1"}}
		},
		"2 running; the daemon starts nothing new":     func(s *control.StatusOut) { s.Draining = true },
		"reads its sources of reservations for the fi": func(s *control.StatusOut) { s.Loading = true },
	} {
		msg := example()
		set(&msg.status)
		m := newModel(msg)
		if line := strings.Split(screenOf(m), "\n")[1]; !strings.Contains(line, want) {
			t.Errorf("the second line is %q, want %q", line, want)
		}
	}
}

// TestWhy checks that an explanation is shown when it comes, is kept up to date, and is not
// shown any more when the user has gone on.
func TestWhy(t *testing.T) {
	m := shown(80, 24)
	press(m, "\t\n")
	m.update(whyMsg{id: "7", lines: []control.WhyLine{{Time: now, Text: "submitted by \x07ada"}, {Text: strings.Repeat("long ", 30)}}})
	if got := screenOf(m); !strings.Contains(got, "WHY 7") || !strings.Contains(got, `2026-03-02 11:00:00  submitted by \aada`) {
		t.Errorf("the screen is\n%s", got)
	}
	if orders := m.update(example()); !slices.Equal(orders, []order{{verb: "why", id: "7"}}) {
		t.Errorf("after a change the orders are %+v", orders)
	}
	press(m, "q")
	m.update(whyMsg{id: "7", lines: []control.WhyLine{{Text: "late"}}})
	if m.page != nil {
		t.Error("an explanation that comes late is shown")
	}
	press(m, "w")
	m.update(whyMsg{id: "7", err: &control.ReplyError{Code: 404, Description: "there is no 7"}})
	if m.page != nil || m.said != "there is no 7" {
		t.Errorf("after an error the page is %+v, and it says %q", m.page, m.said)
	}
}

func TestOutput(t *testing.T) {
	m := shown(80, 10)
	press(m, "\tl")
	send := func(text string, out control.LogOut) {
		out.ID = "7"
		m.update(logMsg{"7", out, []byte(text)})
	}
	lines := func() string { return strings.Join(m.page.shown, "|") }
	exit := 3
	first := control.LogOut{Phase: "activate", N: 1}
	for _, s := range []struct {
		text string
		out  control.LogOut
		want string
	}{
		{"one\ntw", first, "==> attempt 1 <==|one|tw"},
		{"o\xc5", first, `==> attempt 1 <==|one|two\xc5`},
		{"\x99\n", first, "==> attempt 1 <==|one|twoř"},
		{"\x1b[31mred\x1b[0m\a\tx\r\n 10 %\r 20 %", first, `==> attempt 1 <==|one|twoř|red\a   x| 20 %`},
		{"", control.LogOut{Phase: "activate", N: 1, Attempt: &control.Attempt{Ended: now, Exit: &exit, Reason: "exited"}},
			`==> attempt 1 <==|one|twoř|red\a   x| 20 %|==> attempt 1 has ended: exit 3 <==`},
		{"again\n", control.LogOut{Phase: "activate", N: 2},
			`==> attempt 1 <==|one|twoř|red\a   x| 20 %|==> attempt 1 has ended: exit 3 <==|==> attempt 2 <==|again`},
	} {
		if send(s.text, s.out); lines() != s.want {
			t.Errorf("after %q the lines are\n%s\nwant\n%s", s.text, lines(), s.want)
		}
	}
	if got := screenOf(m); !strings.Contains(got, "OUTPUT of 7, followed") || !strings.Contains(got, "again") {
		t.Errorf("the screen is\n%s", got)
	}
	press(m, "k") // it stays where it is while more comes
	top := m.page.top
	send(strings.Repeat("more\n", 100), control.LogOut{Phase: "activate", N: 2})
	if m.page.top != top || strings.Contains(screenOf(m), "followed") {
		t.Errorf("line %d is the first one, want %d", m.page.top, top)
	}
	press(m, "f")
	if send("last\n", first); !strings.Contains(screenOf(m), "last") {
		t.Errorf("the screen does not follow:\n%s", screenOf(m))
	}
	m.update(logMsg{"8", control.LogOut{ID: "8"}, []byte("of another\n")})
	if strings.Contains(lines(), "of another") {
		t.Error("there is output of another job")
	}
	m.update(logEndMsg{id: "7", err: fmt.Errorf("gone: %w", fault.Unavailable), again: true})
	if got := screenOf(m); !strings.Contains(got, "does not answer") {
		t.Errorf("the screen is\n%s", got)
	}
	m.update(logEndMsg{id: "7"})
	if got := screenOf(m); !strings.Contains(got, "which has ended") {
		t.Errorf("the screen is\n%s", got)
	}
	m.update(logEndMsg{id: "7", err: &control.ReplyError{Code: 403, Description: "not your job"}})
	if m.page != nil || m.said != "not your job" {
		t.Errorf("after an error the page is %+v, and it says %q", m.page, m.said)
	}
}

// TestLongOutput checks that memory is bounded, and that long lines can be read.
func TestLongOutput(t *testing.T) {
	m := shown(40, 10)
	press(m, "\tl")
	out := control.LogOut{ID: "7", Phase: "activate", N: 1}
	for range 1000 {
		m.update(logMsg{"7", out, []byte(strings.Repeat("y\n", 100))})
	}
	if n := len(m.page.lines); n < mostLines || n > mostLines*11/10 {
		t.Errorf("%d lines are kept", n)
	}
	m.update(logMsg{"7", out, []byte(strings.Repeat("x", 3*mostLine))})
	m.update(logMsg{"7", out, []byte(strings.Repeat("x", mostLine) + "\nnext: 0123456789 0123456789 0123456789 the end\n")})
	last := m.page.lines[len(m.page.lines)-2:]
	if len(last[0]) != mostLine || !strings.HasPrefix(last[1], "next") {
		t.Errorf("the last lines have %d and %d bytes", len(last[0]), len(last[1]))
	}
	if press(m, "→"); !strings.Contains(screenOf(m), "the end") || strings.Contains(screenOf(m), "next") {
		t.Errorf("the screen is\n%s", screenOf(m))
	}
	if press(m, "←"); !strings.Contains(screenOf(m), "next") {
		t.Errorf("the screen is\n%s", screenOf(m))
	}
}

// TestHarmless shows texts of others that contain what a terminal would act on.
func TestHarmless(t *testing.T) {
	const evil = "\x1b]0;title\x07\x1b[2J\r\n\x9b31m\u202e\xff"
	msg := example()
	msg.status.Version, msg.status.ClockWhy, msg.status.Paused = evil, evil, []control.Pause{{What: evil}}
	msg.status.Attention = []control.Attention{{Kind: evil, ID: evil, Label: evil, Text: evil, Try: evil}}
	msg.running = []control.Activation{{ID: evil, Owner: evil, Status: evil, Label: evil, Reason: evil, Progress: &control.Progress{Text: evil}}}
	msg.next = []control.Activation{{ID: evil, Owner: evil, Status: evil, Command: evil, Reason: evil}}
	m := newModel(msg)
	m.resize(200, 30)
	check := func(what string) {
		t.Helper()
		// The colours are the only escape sequences.
		text := m.view()
		for _, code := range []string{bold, faint, reverse, red, plain} {
			text = strings.ReplaceAll(text, code, "")
		}
		for l := range strings.SplitSeq(text, "\n") {
			if i := strings.IndexFunc(l, func(r rune) bool { return !unicode.IsPrint(r) }); i >= 0 {
				t.Errorf("%s: %q", what, l)
			}
		}
	}
	for range panels {
		check("the panels")
		press(m, "c")
		check("a question")
		press(m, "n\t")
	}
	m.update(doneMsg{order: order{verb: "hold", id: evil}, err: errors.New(evil)})
	check("an error")
	press(m, "/")
	m.paste(evil)
	check("a filter")
	press(m, "\x00\tw")
	m.update(whyMsg{id: m.wants, lines: []control.WhyLine{{Text: evil}}})
	check("an explanation")
	press(m, "ql")
	m.update(logMsg{id: m.page.id, out: control.LogOut{N: 1, Phase: evil}, data: []byte(evil + "\n" + evil)})
	m.update(logMsg{id: m.page.id, out: control.LogOut{Activation: &control.Activation{ID: evil, Outcome: evil, Reason: evil}}})
	check("an output")
}

func TestShare(t *testing.T) {
	tests := []struct {
		lines     int
		want, got [panels]int
		focus     int
	}{
		{15, [panels]int{1, 1, 1}, [panels]int{1, 1, 13}, 0}, // the rest is below the last
		{15, [panels]int{2, 50, 3}, [panels]int{2, 10, 3}, 0},
		{15, [panels]int{50, 50, 50}, [panels]int{5, 5, 5}, 0},
		{4, [panels]int{9, 9, 9}, [panels]int{1, 2, 1}, 1},
		{1, [panels]int{9, 9, 9}, [panels]int{0, 0, 1}, 2},
		{0, [panels]int{9, 9, 9}, [panels]int{}, 0},
	}
	for _, tt := range tests {
		if got := share(tt.lines, tt.want, tt.focus); got != tt.got {
			t.Errorf("share(%d, %v, %d) = %v, want %v", tt.lines, tt.want, tt.focus, got, tt.got)
		}
	}
}
