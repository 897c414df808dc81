package main

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"activationd/internal/config"
	"activationd/internal/timetext/timeforms"
)

// faultsOf returns the faults of a configuration with this text, as --check-config shows
// them for a file d.
func faultsOf(t *testing.T, text string) string {
	t.Helper()
	_, dir, err := loading(t, 77, map[string]string{"d.yaml": text})
	return strings.ReplaceAll(fmt.Sprint(err), dir+"/d.yaml:", "d:")
}

func TestFaultsOfZonesAndRules(t *testing.T) {
	for _, tt := range []struct{ name, file, want string }{
		{"no zone", "sources: [{sql: {driver: mysql, dsn: d, time_zone: Mars}}]\n",
			`d:1: sources[0].sql.time_zone: no such zone: "Mars"; write one such as Europe/Prague`},
		{"recurs never", "recurrences: [{name: a, command: [x]}]\n", "d:1: recurrences[0]: when: want one of cron, calendar and every"},
		{"recurs nothing", "recurrences: [{name: a, every: 5m}]\n", "d:1: recurrences[0]: want either command or script"},
		{"not cron", "recurrences: [{name: a, cron: '0 24 * * *', script: x}]\n",
			`d:1: recurrences[0].cron: "0 24 * * *": hour: want 0 to 23, have "24"`},
		{"recurs from no day", "recurrences: [{name: a, every: 5m, start: '10:00', script: x}]\n",
			"d:1: recurrences[0].start: want a date and a time, such as 2099-12-21 10:00"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := faultsOf(t, tt.file); got != tt.want {
				t.Errorf("got:\n%v\nwant:\n%s", got, tt.want)
			}
		})
	}
}

// TestTimesOfRecurrences tries every setting of a recurrence that is a duration or a time with
// every form of one.
func TestTimesOfRecurrences(t *testing.T) {
	try := func(key, text string) string {
		c := config.Default()
		yaml := fmt.Sprintf("recurrences: [{name: x, command: [true], %s: %s}]\n", key, strconv.Quote(text))
		if key != "every" {
			yaml = strings.Replace(yaml, "name: x", "name: x, every: 1h", 1)
		}
		if err := c.Read("c", []byte(yaml)).Err(); err != nil {
			return err.Error()
		}
		_, err := ruleOf(&c.Recurrences[0])
		return fmt.Sprint(err)
	}
	for _, key := range []string{"every", "jitter"} {
		for _, f := range timeforms.Durations() {
			said := try(key, f.Text)
			if f.Text != "" && (f.Why == "" && strings.Contains(said, key+": ") || !strings.Contains(said, f.Why)) {
				t.Errorf("%s: %s: the error for %q is %q, want %q in it", key, f.Name, f.Text, said, f.Why)
			}
		}
	}
	for _, key := range []string{"start", "end"} {
		for _, f := range timeforms.Instants() {
			said := try(key, f.Text)
			early := f.Want.Year() < 1972 || f.Want.Before(time.Now()) // a rule's own range
			if f.Why == "" && !early && strings.Contains(said, key+": ") || !strings.Contains(said, f.Why) {
				t.Errorf("%s: %s: the error for %q is %q, want %q in it", key, f.Name, f.Text, said, f.Why)
			}
		}
		for _, f := range timeforms.Local() {
			if said := try(key, f.Text); strings.Contains(said, key+": ") {
				t.Errorf("%s: %s: the error for %q is %q, want none", key, f.Name, f.Text, said)
			}
		}
	}
}

// TestRecurrencesOfTheExample translates the example's recurrence for the engine, once with
// each of the keys that exclude each other.
func TestRecurrencesOfTheExample(t *testing.T) {
	data, err := os.ReadFile(example)
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(data), "\n#recurrences:")
	text, _, _ = strings.Cut(text, "\n\n")
	text = "recurrences:" + regexp.MustCompile(`(?m)^#((?:  )+\S)`).ReplaceAllString(text, "$1")
	for _, others := range []string{"calendar|every|script", "cron|every|script", "cron|calendar|command"} {
		c := config.Default()
		text := regexp.MustCompile(`(?m)^ +(`+others+`):.*$`).ReplaceAllString(strings.Replace(text, "  - name:", "  -\n    name:", 1), "")
		if err := c.Read("example", []byte(text)).Err(); err != nil {
			t.Fatal(err)
		}
		if rule, err := ruleOf(&c.Recurrences[0]); err != nil {
			t.Errorf("without %s: %v", others, err)
		} else if rule.Name != "nightly" {
			t.Errorf("without %s: %+v", others, rule)
		}
	}
}
