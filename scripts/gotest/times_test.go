package main

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// TestSlowest checks the time of a test whose parts ran in parallel, over several runs:
// go test reports that it took no time, and it is listed with the time of its parts.
func TestSlowest(t *testing.T) {
	said := func(name string, took float64) string {
		return fmt.Sprintf(`{"Action":"pass","Package":"a/b","Test":%q,"Elapsed":%g}`+"\n", name, took)
	}
	var quick strings.Builder
	for i := range shown {
		quick.WriteString(said(fmt.Sprintf("TestQuick%d", i), 0.1))
	}
	file := filepath.Join(t.TempDir(), "times")
	var got string
	for _, out := range []string{
		quick.String() + said("TestOfBefore", 2),
		said("TestParallel/one/x", 3) + said("TestParallel/one/y", 2) + said("TestParallel/one", 0) + said("TestParallel/with/slashes", 4) + said("TestParallel", 0) +
			said("TestSerial/one", 3) + said("TestSerial/two", 2) + said("TestSerial", 5) + said("TestSerial", 0.5),
	} {
		tl := tally{output: map[string]*strings.Builder{}}
		tl.read(&bytes.Buffer{}, strings.NewReader(out))
		all, err := withEarlier(file, whole(tl.timings))
		if err != nil {
			t.Fatal(err)
		}
		var w bytes.Buffer
		tellSlowest(&w, all)
		got = w.String()
	}
	want := "\nslowest:\n      9.0s  a/b TestParallel\n      5.5s  a/b TestSerial\n      2.0s  a/b TestOfBefore\n      0.1s  a/b TestQuick0\n"
	if !strings.HasPrefix(got, want) || strings.Count(got, "\n") != shown+2 {
		t.Errorf("it tells %q\nwant %d tests, first %q", got, shown, want)
	}
}
