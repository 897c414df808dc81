package sql

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"activationd/reservation"
)

// TestDocumented compares the columns in docs/reservations.md with those that are read.
func TestDocumented(t *testing.T) {
	data, err := os.ReadFile("../../docs/reservations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(data), "| key | SQL column |")
	for _, f := range reservation.Fields {
		_, row, ok := strings.Cut(table, "\n| `"+f.Name+"` |")
		cell, _, _ := strings.Cut(row, "|")
		var want []string
		if !f.Command {
			want = append(want, f.Name)
			for alias, field := range aliases {
				if field == f.Name {
					want = append(want, alias)
				}
			}
		}
		got := regexp.MustCompile("`[^`]+`").FindAllString(cell, -1)
		if !ok || strings.ReplaceAll(strings.Join(got, " "), "`", "") != strings.Join(want, " ") {
			t.Errorf("%s: the columns are %v, want %v", f.Name, got, want)
		}
	}
}
