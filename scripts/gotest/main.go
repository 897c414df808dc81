// Command gotest runs `go test` with the arguments it is given and tells, in
// place of a long log, each package's result, the whole output of each test that
// failed, each test that was skipped with its reason, and the slowest tests. Its last
// line counts.
//
//	go run ./scripts/gotest [-no-skips] [-times FILE] [go test's arguments]
//
// With -no-skips a skipped test is a failure: where everything can be installed,
// a skip is a hole. With -times the slowest are those of all runs that were given
// this file, to which this one is added.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// An event is what `go test -json` writes, one on each line.
type event struct {
	Action     string
	Package    string
	ImportPath string // in place of Package, in the output of a build
	Test       string
	Output     string
	Elapsed    float64
}

// A tally is the results of all tests.
type tally struct {
	passed, failed int
	timings        []timing
	skipped        []string                    // with their reasons
	output         map[string]*strings.Builder // of each package and test that has not ended
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	args, noSkips, times := os.Args[1:], false, ""
	if len(args) > 0 && args[0] == "-no-skips" {
		args, noSkips = args[1:], true
	}
	if len(args) > 1 && args[0] == "-times" {
		args, times = args[2:], args[1]
	}
	ok, err := run(ctx, os.Stdout, args, noSkips, times)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "gotest:", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

func run(ctx context.Context, w io.Writer, args []string, noSkips bool, times string) (bool, error) {
	cmd := exec.CommandContext(ctx, "go", append([]string{"test", "-json"}, args...)...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // let tests clean up
	cmd.WaitDelay = 30 * time.Second
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return false, err
	}
	if err := cmd.Start(); err != nil {
		return false, err
	}
	t := tally{output: map[string]*strings.Builder{}}
	t.read(w, out)
	testErr := cmd.Wait()

	timings := whole(t.timings)
	if times != "" {
		if timings, err = withEarlier(times, timings); err != nil {
			return false, err
		}
	}
	tellSlowest(w, timings)
	if len(t.skipped) > 0 {
		fmt.Fprintf(w, "\nskipped:\n  %s\n", strings.Join(t.skipped, "\n  "))
	}
	fmt.Fprintf(w, "\n%d passed, %d failed, %d skipped\n", t.passed, t.failed, len(t.skipped))
	if noSkips && len(t.skipped) > 0 {
		return false, fmt.Errorf("%d tests were skipped where all of them can run", len(t.skipped))
	}
	if t.passed == 0 {
		return false, fmt.Errorf("no test ran: %v", args)
	}
	return testErr == nil && t.failed == 0, nil
}

// read follows the tests' events to their end.
func (t *tally) read(w io.Writer, out io.Reader) {
	in := bufio.NewReader(out) // a test's line may be longer than a Scanner takes
	for {
		line, err := in.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) != nil {
				fmt.Fprintf(w, "%s", line) // go's own words, not a test's
			} else {
				t.note(w, e)
			}
		}
		if err != nil {
			return
		}
	}
}

func (t *tally) note(w io.Writer, e event) {
	key := e.Package + " " + e.Test
	switch e.Action {
	case "build-output":
		fmt.Fprint(w, e.Output)
	case "output":
		if t.output[key] == nil {
			t.output[key] = &strings.Builder{}
		}
		t.output[key].WriteString(e.Output)
	case "pass", "skip", "fail":
		said := ""
		if b := t.output[key]; b != nil {
			said = b.String()
			delete(t.output, key)
		}
		t.ended(w, e, said)
	}
}

func (t *tally) ended(w io.Writer, e event, said string) {
	name := strings.TrimSpace(e.Package + " " + e.Test)
	if e.Test != "" && e.Action != "skip" {
		t.timings = append(t.timings, timing{name, e.Elapsed})
	}
	switch {
	case e.Action == "fail":
		if e.Test != "" {
			t.failed++
		} else {
			said += t.unfinished(e.Package)
		}
		fmt.Fprintf(w, "FAIL  %s (%.1fs)\n%s\n", name, e.Elapsed, said)
	case e.Test == "" && e.Action == "pass":
		fmt.Fprintf(w, "ok    %s (%.1fs)\n", name, e.Elapsed)
	case e.Test == "": // a package without tests
	case e.Action == "skip":
		t.skipped = append(t.skipped, name+": "+reason(said))
	default:
		t.passed++
	}
}

// unfinished returns the output of a package's tests that were running when it
// failed: one of them may have ended the process.
func (t *tally) unfinished(pkg string) string {
	var all strings.Builder
	for key, b := range t.output {
		if strings.HasPrefix(key, pkg+" ") {
			all.WriteString(b.String())
			delete(t.output, key)
		}
	}
	return all.String()
}

// reason returns why a test was skipped, from its output.
func reason(said string) string {
	var words []string
	for line := range strings.Lines(said) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "=== ") && !strings.HasPrefix(line, "--- ") {
			words = append(words, line)
		}
	}
	if len(words) == 0 {
		return "no reason given"
	}
	return strings.Join(words, " ")
}
