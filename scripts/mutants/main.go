// Command mutants puts one fault at a time into the code and runs the tests that
// must find it. A fault that no test finds survives: it shows a promise that nothing
// holds.
//
//	go run ./scripts/mutants [-p N] [REGEXP]
//
// The faults are in mutants.txt. A fault is a piece of a line and the text that
// replaces it, so it outlives moves of code within a package; a piece that is not
// there exactly once is an error, which make test reports, too. The source tree is
// never changed: the changed file is an overlay (go help build), which the programs
// that a test builds have, too.
//
// The exit status is 1 if a fault survives, does not build or cannot be tried.
package main

import (
	"bytes"
	"cmp"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
)

//go:embed mutants.txt
var list string

// A mutant is one fault.
type mutant struct {
	name     string   // what the program does wrong
	files    string   // a pattern; test files are left out
	old, new string   // pieces of a line
	tests    []string // go test's arguments
}

// An outcome is what came of a mutant. All but killed are failures.
type outcome string

const (
	killed   outcome = "killed"
	survived outcome = "SURVIVED"
	unbuilt  outcome = "DOES NOT BUILD"
	untried  outcome = "NOT TRIED"
)

func main() {
	atOnce := flag.Int("p", runtime.NumCPU(), "try `N` mutants at a time")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	ok, err := run(ctx, os.Stdout, *atOnce, flag.Arg(0))
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

// run tries the mutants whose names or files match, and reports whether all were killed.
func run(ctx context.Context, out io.Writer, atOnce int, only string) (bool, error) {
	match, err := regexp.Compile(only)
	if err != nil {
		return false, err
	}
	mutants, err := parse(list)
	if err != nil {
		return false, err
	}
	mutants = slices.DeleteFunc(mutants, func(m mutant) bool { return !match.MatchString(m.files + ": " + m.name) })
	dir, err := os.MkdirTemp("", "mutants-")
	if err != nil {
		return false, err
	}
	defer func() { _ = os.RemoveAll(dir) }()

	var mu sync.Mutex
	counts := map[outcome]int{}
	var wg sync.WaitGroup
	room := make(chan struct{}, atOnce)
	for i, m := range mutants {
		room <- struct{}{}
		wg.Go(func() {
			defer func() { <-room }()
			o, why := m.try(ctx, filepath.Join(dir, fmt.Sprint(i)))
			mu.Lock()
			defer mu.Unlock()
			counts[o]++
			fmt.Fprintf(out, "%s: %s: %s\n", o, filepath.Dir(m.files), m.name)
			if why != "" {
				fmt.Fprintf(out, "\t%s\n", strings.ReplaceAll(strings.TrimSpace(why), "\n", "\n\t"))
			}
		})
	}
	wg.Wait()
	fmt.Fprintf(out, "%d mutants: %d killed, %d survived, %d do not build, %d not tried\n",
		len(mutants), counts[killed], counts[survived], counts[unbuilt], counts[untried])
	return counts[killed] == len(mutants), ctx.Err()
}

// parse reads the list: paragraphs of a name, "in FILES", "- OLD", "+ NEW" and
// "test ARGUMENTS". A line that begins with # is a comment.
func parse(text string) (all []mutant, err error) {
	for paragraph := range strings.SplitSeq(text, "\n\n") {
		var m mutant
		for line := range strings.Lines(strings.TrimSpace(paragraph)) {
			word, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
			switch {
			case strings.HasPrefix(word, "#"):
			case m.name == "":
				m.name = strings.TrimSuffix(line, "\n")
			case word == "in":
				m.files = rest
			case word == "-":
				m.old = rest
			case word == "+":
				m.new = rest
			case word == "test":
				m.tests = strings.Fields(rest)
			default:
				return nil, fmt.Errorf("%q: there is no such line: %q", m.name, line)
			}
		}
		if m.name == "" {
			continue // comments
		}
		if m.files == "" || m.old == "" || m.old == m.new || m.tests == nil {
			return nil, fmt.Errorf("%q: a mutant has the lines in, -, + and test", m.name)
		}
		all = append(all, m)
	}
	return all, nil
}

// find returns the file with the piece of the mutant, and its text with the fault.
func (m mutant) find(root string) (file string, text []byte, err error) {
	files, err := filepath.Glob(filepath.Join(root, m.files))
	if err != nil {
		return "", nil, err
	}
	n := 0
	for _, f := range files {
		if strings.HasSuffix(f, "_test.go") {
			continue
		}
		data, err := os.ReadFile(f)
		if err != nil {
			return "", nil, err
		}
		if k := bytes.Count(data, []byte(m.old)); k > 0 {
			n += k
			file, text = f, bytes.Replace(data, []byte(m.old), []byte(m.new), 1)
		}
	}
	if n != 1 {
		return "", nil, fmt.Errorf("%q is %d times in %s, want once", m.old, n, m.files)
	}
	file, err = filepath.Abs(file)
	return file, text, err
}

// try runs the tests with the fault, after they have passed without it.
func (m mutant) try(ctx context.Context, dir string) (o outcome, why string) {
	file, text, err := m.find(".")
	if err != nil {
		return untried, err.Error()
	}
	changed, overlay := dir+".go", dir+".json"
	data, err := json.Marshal(map[string]any{"Replace": map[string]string{file: changed}})
	if err := cmp.Or(err, os.WriteFile(changed, text, 0o600), os.WriteFile(overlay, data, 0o600)); err != nil {
		return untried, err.Error()
	}
	if said, err := goTest(ctx, "", m.tests...); err != nil {
		return untried, "the tests fail without it: " + said
	} else if strings.Contains(said, "[no tests to run]") {
		return untried, "there is no such test: " + said
	}
	// A cached result is of no use: the test's own program may be the same, and one that it builds not.
	said, err := goTest(ctx, "-overlay="+overlay, append([]string{"-count=1"}, m.tests...)...)
	switch {
	case ctx.Err() != nil:
		return untried, ""
	case err == nil:
		return survived, "go test " + strings.Join(m.tests, " ")
	case strings.Contains(said, "[build failed]"):
		return unbuilt, said
	}
	return killed, ""
}

func goTest(ctx context.Context, flags string, args ...string) (said string, err error) {
	cmd := exec.CommandContext(ctx, "go", append([]string{"test", "-vet=off", "-failfast", "-timeout=10m"}, args...)...)
	cmd.Env = append(os.Environ(), "GOFLAGS="+flags)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	out, err := cmd.CombinedOutput()
	if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		return err.Error(), err
	}
	return string(out), err
}
