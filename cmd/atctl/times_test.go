package main

import (
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"activationd/internal/timetext"
	"activationd/internal/timetext/timeforms"
)

// TestTimesOfFlags checks that a time is sent to the daemon with its zone, and that a flag
// that atctl parses accepts every form, too.
func TestTimesOfFlags(t *testing.T) {
	prague, err := time.LoadLocation("Europe/Prague")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 11, 30, 10, 0, 0, 0, prague)
	for _, f := range append(timeforms.Instants(), timeforms.Local()...) {
		want := f.Want
		switch {
		case strings.HasPrefix(f.Why, "has no zone"):
			want = want.Add(-time.Hour)
		case f.Why != "": // the daemon refuses it
			if got, _ := zoned(f.Text, now, timetext.Typed); got != f.Text {
				t.Errorf("%s: %q becomes %q", f.Name, f.Text, got)
			}
			continue
		}
		text, _ := zoned(f.Text, now, timetext.Typed)
		if got, err := timetext.Instant(text, nil); err != nil || !got.Equal(want) {
			t.Errorf("%s: %q becomes %v, %v, want %v", f.Name, f.Text, got, err, want)
		}
	}
	durations, texts := 0, 0
	var walk func(*cobra.Command)
	walk = func(cmd *cobra.Command) {
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
			what, _ := pflag.UnquoteUsage(f)
			switch f.Value.Type() {
			case "string":
				if what == "DURATION" || what == "WHEN" || what == "TIME" { // sent to the daemon
					texts++
				}
				return
			case "duration":
			default:
				if what == "DURATION" || what == "WHEN" || what == "TIME" {
					t.Errorf("%s --%s: is a %s", cmd.Name(), f.Name, f.Value.Type())
				}
				return
			}
			durations++
			for _, form := range timeforms.Durations() {
				err := f.Value.Set(form.Text)
				if form.Why == "" && (err != nil || f.Value.String() != form.Want.String()) {
					t.Errorf("%s --%s: %s: %q is %s, %v, want %v", cmd.Name(), f.Name, form.Name, form.Text, f.Value, err, form.Want)
				}
				if form.Why != "" && (err == nil || !strings.Contains(err.Error(), form.Why)) {
					t.Errorf("%s --%s: %s: of %q is said %v, want that it %s", cmd.Name(), f.Name, form.Name, form.Text, err, form.Why)
				}
			}
		})
		for _, c := range cmd.Commands() {
			walk(c)
		}
	}
	walk(newRootCommand(nil))
	if durations != 4 || texts < 15 {
		t.Errorf("%d flags with a duration of atctl's own, and %d that the daemon reads", durations, texts)
	}
}
