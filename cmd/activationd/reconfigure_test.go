package main

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

const example = "../../docs/activationd.example.yaml"

// TestExampleSaysWhatNeedsARestart compares restartNeeded with the comments:
// those of a key at the top stand above it, those of the others below.
func TestExampleSaysWhatNeedsARestart(t *testing.T) {
	data, err := os.ReadFile(example)
	if err != nil {
		t.Fatal(err)
	}
	_, body, _ := strings.Cut(string(data), "\n# ----") // the head has the words, too
	needs := func(comment string) bool {
		words := strings.Fields(strings.ReplaceAll(comment, "#", " "))
		return strings.Contains(strings.ToLower(strings.Join(words, " ")), "read at the start only")
	}
	for paragraph := range strings.SplitSeq(body, "\n\n") {
		at := regexp.MustCompile(`(?m)^#(\w+):`).FindStringSubmatchIndex(paragraph)
		if at == nil {
			continue // a heading
		}
		top, whole := paragraph[at[2]:at[3]], needs(paragraph[:at[0]])
		if got := restartNeeded(top); got != whole {
			t.Errorf("restartNeeded(%s) = %t, the example says %t", top, got, whole)
		}
		for _, m := range regexp.MustCompile(`(?m)^#  (\w+):.*\n((?: +#.*(?:\n|\z))*)`).FindAllStringSubmatch(paragraph, -1) {
			key, want := top+"."+m[1], whole || needs(m[2])
			if got := restartNeeded(key); got != want {
				t.Errorf("restartNeeded(%s) = %t, the example says %t", key, got, want)
			}
		}
	}
}
