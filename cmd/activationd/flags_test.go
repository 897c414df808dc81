package main

import (
	"flag"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestHelpNamesEveryFlag compares the help with what is parsed: whatever the
// help lists is a flag, and a flag is in the list.
func TestHelpNamesEveryFlag(t *testing.T) {
	var listed []string
	for _, m := range regexp.MustCompile(`(?m)^  --([a-z-]+)`).FindAllStringSubmatch(help, -1) {
		listed = append(listed, m[1])
	}
	var o options
	defined := []string{"help"}
	o.flagSet().VisitAll(func(f *flag.Flag) { defined = append(defined, f.Name) })
	slices.Sort(listed)
	slices.Sort(defined)
	if !slices.Equal(listed, defined) {
		t.Errorf("the help lists %v, the flags are %v", listed, defined)
	}
}

// TestHelpWidth checks that the help fits a terminal of 80 columns.
func TestHelpWidth(t *testing.T) {
	for l := range strings.Lines(help) {
		if n := len(strings.TrimRight(l, "\n")); n > 80 {
			t.Errorf("%d columns: %s", n, l)
		}
	}
}

func TestParseFlags(t *testing.T) {
	o, err := parseFlags([]string{"--listen", "a:1", "-listen=b:2", "--state-dir", "/s/../t", "--drain"})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(o.listen, []string{"a:1", "b:2"}) || o.stateDir != "/t" || !o.drain || o.checkConfig {
		t.Errorf("got %+v", o)
	}
}
