package panel

import (
	"reflect"
	"strings"
	"testing"
)

// Escape sequences set colours or are left out, and control characters can be seen.
func TestPaint(t *testing.T) {
	plain := func(text string) []logSpan { return []logSpan{{"", text}} }
	for line, want := range map[string][]logSpan{
		"":                                  nil,
		"plain\ttext\r":                     plain("plain\ttext"),
		"\x1b[1;31mbad\x1b[0m good":         {{"bold f1", "bad"}, {"", " good"}},
		"\x1b[31mred\x1b[mplain":            {{"f1", "red"}, {"", "plain"}},
		"\x1b[97;44mx\x1b[39;49my":          {{"f15 b4", "x"}, {"", "y"}},
		"\x1b[7mx\x1b[31my\x1b[27mz":        {{"inverse", "x"}, {"b1", "y"}, {"f1", "z"}},
		"\x1b[38;5;196mx\x1b[38;2;0;90;0my": {{"f9", "x"}, {"f2", "y"}},
		"\x1b[48;5;232mx":                   {{"b0", "x"}},
		"\x1b[3m\x1b[4mx\x1b[23;24my":       {{"italic under", "x"}, {"", "y"}},
		"\x1b[2Kgone\x1b[10;20Hplaces":      plain("goneplaces"),
		"\x1b]0;a title\atext":              plain("text"),
		"\x1b]8;;http://x\x1b\\text":        plain("text"),
		"\x1b(Btext":                        plain("text"),
		"10%\r50%\r100%":                    plain("100%"),
		"a\x00b\x07c\x7fd":                  plain("a^@b^Gc^?d"),
		"a\xffb":                            plain("a\uFFFDb"),
		"</script><b>":                      plain("</script><b>"),
		"cut off \x1b[3":                    plain("cut off "),
		"cut off \x1b":                      plain("cut off "),
	} {
		if got := new(pen).paint(line); !reflect.DeepEqual(got, want) {
			t.Errorf("%q is painted as %q, want %q", line, got, want)
		}
	}
	if got := new(pen).paint(strings.Repeat("x", lineRunes+2)); len(got) != 2 || got[1].Text != " … 2 more characters" {
		t.Errorf("a line that is too long ends in %q", got[len(got)-1])
	}
}

// Colours go on in the next line, places are where lines begin, and after output that is missing nothing is known.
func TestPaintLines(t *testing.T) {
	red := pen{fore: 2}
	got, next := paintLines([]byte("\x1b[31ma\nb\n\n[activationd: 20480 bytes of output left out here]\nc"), 100, 1, pen{})
	want := []logLine{
		{At: 100, N: 1, Spans: []logSpan{{"f1", "a"}}}, {At: 107, N: 2, Spans: []logSpan{{"f1", "b"}}, pen: red}, {At: 109, N: 3, pen: red},
		{At: 110, N: 4, pen: red, Gap: "20 KiB of output were not kept, because of runs.output in the configuration."},
		{At: 161, Spans: []logSpan{{"", "c"}}},
	}
	if !reflect.DeepEqual(got, want) || !reflect.DeepEqual(next, logLine{At: 162}) {
		t.Errorf("the lines are %+v, and then %+v; want %+v", got, next, want)
	}
}

// A pen is the same after it was written into an address.
func TestPenCode(t *testing.T) {
	for _, p := range []pen{
		{}, {bold: true, fore: 16}, {italic: true, under: true, inverse: true, fore: 1, back: 9},
	} {
		var got pen
		if got.set(p.code()); got != p {
			t.Errorf("%+v becomes %q, and then %+v", p, p.code(), got)
		}
	}
}

func TestMarked(t *testing.T) {
	for text, want := range map[string][]logSpan{
		"no":           {{"", "no"}},
		"An error, ER": {{"", "An "}, {"hit", "er"}, {"", "ror, "}, {"hit", "ER"}, {"", ""}},
	} {
		if got := marked(text, "eR"); !reflect.DeepEqual(got, want) {
			t.Errorf("%q is marked as %q, want %q", text, got, want)
		}
	}
}
