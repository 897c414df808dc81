package exposition_test

import (
	"strings"
	"testing"

	"activationd/metrics/exposition"
)

const good = `# HELP a_total What.
# TYPE a_total counter
a_total{x="1",y="a\"}, b"} 3
a_total{x="2"} 4
# HELP h_seconds How long.
# TYPE h_seconds histogram
h_seconds_bucket{le="0.5"} 1
h_seconds_bucket{le="1"} 1
h_seconds_bucket{le="+Inf"} 2
h_seconds_sum 3.5
h_seconds_count 2
`

func TestParse(t *testing.T) {
	s, err := exposition.Parse(good)
	if err != nil {
		t.Fatal(err)
	}
	if v, ok := s.Value("a_total", "y", `a"}, b`, "x", "1"); !ok || v != 3 {
		t.Errorf("a_total is %v, %t", v, ok)
	}
	later, err := exposition.Parse(strings.NewReplacer(`"2"} 4`, `"2"} 3`, "sum 3.5", "sum 4").Replace(good))
	if err != nil {
		t.Fatal(err)
	}
	if falls := s.Falls(later); len(falls) != 1 || !strings.Contains(falls[0], `x="2"`) {
		t.Errorf("what falls: %q", falls)
	}
}

// TestRefused has what promtool lets pass.
func TestRefused(t *testing.T) {
	for _, tt := range []struct{ name, old, new string }{
		{"a series twice", `a_total{x="2"} 4`, "a_total{x=\"2\"} 4\na_total{x=\"2\"} 4"},
		{"a label twice", `{x="2"}`, `{x="2",x="2"}`},
		{"a negative counter", `"2"} 4`, `"2"} -4`},
		{"a counter without a number", `"2"} 4`, `"2"} NaN`},
		{"a counter's name", "a_total", "a"},
		{"a time", `"2"} 4`, `"2"} 4 1700000000000`},
		{"a count that falls", `le="0.5"} 1`, `le="0.5"} 2`},
		{"bounds that fall", `le="0.5"`, `le="5"`},
		{"no last bucket", "h_seconds_bucket{le=\"+Inf\"} 2\n", ""},
		{"another count", "count 2", "count 3"},
		{"no type", "# TYPE h_seconds histogram\n", ""},
		{"another family", "h_seconds_sum", "g_seconds_sum"},
		{"a family twice", "# HELP h_seconds", "# HELP a_total"},
		{"cut off", "count 2\n", "count 2"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text := strings.ReplaceAll(good, tt.old, tt.new)
			if text == good {
				t.Fatal("nothing is changed")
			}
			if _, err := exposition.Parse(text); err == nil {
				t.Errorf("it is let pass:\n%s", text)
			}
		})
	}
}
