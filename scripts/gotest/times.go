package main

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
)

// shown is how many of the slowest tests are listed.
const shown = 20

// A timing is how long a test took, in seconds.
type timing struct {
	name string // "PACKAGE TEST"
	took float64
}

// whole returns the tests that are no part of another. A test whose parts ran in
// parallel reports that it took no time, so it counts with the sum of its parts if that
// is more. A test that ran several times counts with all its runs.
func whole(all []timing) []timing {
	own := map[string]float64{}
	for _, one := range all {
		own[one.name] += one.took
	}
	// Parts are before what they are parts of.
	names := slices.SortedFunc(maps.Keys(own), func(a, b string) int {
		return cmp.Or(cmp.Compare(strings.Count(b, "/"), strings.Count(a, "/")), cmp.Compare(a, b))
	})
	parts := map[string]float64{}
	var tops []timing
	for _, name := range names {
		took := max(own[name], parts[name])
		if of := partOf(name, own); of != "" {
			parts[of] += took
		} else {
			tops = append(tops, timing{name, took})
		}
	}
	return tops
}

// partOf returns the test that a test is a part of, if any. A part's own name may
// have slashes, too.
func partOf(name string, ran map[string]float64) string {
	pkg, test, _ := strings.Cut(name, " ")
	for i := strings.LastIndex(test, "/"); i >= 0; i = strings.LastIndex(test[:i], "/") {
		of := pkg + " " + test[:i]
		if _, ok := ran[of]; ok {
			return of
		}
	}
	return ""
}

// tellSlowest prints the slowest tests.
func tellSlowest(w io.Writer, all []timing) {
	if len(all) < 2 {
		return
	}
	slices.SortStableFunc(all, func(a, b timing) int { return cmp.Compare(b.took, a.took) })
	fmt.Fprintln(w, "\nslowest:")
	for _, one := range all[:min(len(all), shown)] {
		fmt.Fprintf(w, "  %7.1fs  %s\n", one.took, one.name)
	}
}

// withEarlier adds the timings to those of earlier runs in a file, and returns all
// of them.
func withEarlier(name string, now []timing) ([]timing, error) {
	data, err := os.ReadFile(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return now, err
	}
	all := slices.Clone(now)
	for in := bufio.NewScanner(strings.NewReader(string(data))); in.Scan(); {
		took, test, _ := strings.Cut(in.Text(), " ")
		seconds, err := strconv.ParseFloat(took, 64)
		if err != nil {
			return now, fmt.Errorf("%s: %w", name, err)
		}
		all = append(all, timing{test, seconds})
	}
	for _, one := range now {
		data = fmt.Appendf(data, "%.3f %s\n", one.took, one.name)
	}
	return all, os.WriteFile(name, data, 0o600)
}
