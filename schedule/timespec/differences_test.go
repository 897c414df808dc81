package timespec_test

import (
	"os"
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // the tests' zones are there wherever they run

	"activationd/schedule/timespec"
)

// A row is an example of a difference from at.
type row struct {
	heading, zone, text string
	now                 time.Time
	at, ours            string
}

// differences reads testdata/at-differences.txt.
func differences(t *testing.T) (rows []row) {
	t.Helper()
	data, err := os.ReadFile("testdata/at-differences.txt")
	if err != nil {
		t.Fatal(err)
	}
	heading := ""
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		if h, ok := strings.CutPrefix(line, "= "); ok {
			heading = h
			continue
		}
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		f := strings.Split(line, "|")
		for i := range f {
			f[i] = strings.TrimSpace(f[i])
		}
		now, err := time.Parse(time.RFC3339, f[1])
		if err != nil || len(f) != 5 {
			t.Fatalf("%q: %v", line, err)
		}
		rows = append(rows, row{heading, f[0], f[2], now, f[3], f[4]})
	}
	return rows
}

// TestDifferences checks what the list says of ours, and that Parse's
// comment has the same list.
func TestDifferences(t *testing.T) {
	source, err := os.ReadFile("timespec.go")
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ := strings.Cut(string(source), "# Where it differs from at")
	list, _, _ = strings.Cut(list, "func ")
	page, err := os.ReadFile("../../docs/at.md")
	if err != nil {
		t.Fatal(err)
	}
	headings := map[string]bool{}
	for _, r := range differences(t) {
		headings[r.heading] = true
		got := "refused"
		if at, err := timespec.Parse(strings.Fields(r.text), r.now, zone(t, r.zone)); err == nil {
			got = at.Format(time.RFC3339)
		}
		if got != r.ours {
			t.Errorf("TZ=%s, now %s: %q = %s, want %s", r.zone, r.now.Format(time.RFC3339), r.text, got, r.ours)
		}
	}
	for h := range headings {
		if !strings.Contains(list, "//   - "+h+"\n") {
			t.Errorf("the comment does not say: %s", h)
		}
		if !strings.Contains(string(page), "\n- "+h+"\n") {
			t.Errorf("docs/at.md does not say: %s", h)
		}
	}
	if n := strings.Count(list, "//   - "); n != len(headings) {
		t.Errorf("the comment lists %d differences, the examples are of %d", n, len(headings))
	}
}

// TestAtFaults checks what the list says of the real at.
func TestAtFaults(t *testing.T) {
	o := newOracle(t)
	for _, r := range differences(t) {
		got := "refused"
		args := append([]string{"--"}, strings.Fields(r.text)...)
		if a := o.ask(t, atQuestion{r.now.Unix(), r.zone, args}); a.OK {
			got = time.Unix(a.At, 0).In(zone(t, r.zone)).Format(time.RFC3339)
			if strings.Contains(strings.ToLower(r.text), "utc") {
				got = time.Unix(a.At, 0).UTC().Format(time.RFC3339)
			}
		}
		if got != r.at {
			t.Errorf("TZ=%s, now %s: at %s = %s, want %s", r.zone, r.now.Format(time.RFC3339), r.text, got, r.at)
		}
	}
}

const layout = "2006-01-02 15:04:05.999999999 -07:00"

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	loc, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return loc
}
