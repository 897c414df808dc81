// Bench measures the daemon beside the programs that people use today, all in
// one run on one machine, and prints a table of figures and ratios.
//
//	make bench                    # or: go run ./bench -row lateness -runs 5
//
// Figures of a shared machine are noisy: what is compared is measured in turn,
// and the median of several runs is what the table has, with the least and the
// most beside it. Compare rows of one run only. It uses bin/, which make builds.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// A row is one line of the table.
type row struct {
	what    string
	figures []float64
	unit    string
	goal    string
	reached string // "yes", "no", or empty: there is no goal
	note    string
}

// A section measures something and returns its rows.
type section struct {
	name string
	run  func(*bench) ([]row, error)
}

// A bench is one run of the program.
type bench struct {
	bin     string
	dir     string
	runs    int // of what is cheap to repeat
	pending int // how many wait while lateness, memory and restart are measured
}

func main() {
	only := flag.String("row", "", "only sections whose name matches this `REGEXP`")
	runs := flag.Int("runs", 3, "`N` runs of what can be repeated")
	quick := flag.Bool("quick", false, "50,000 pending instead of 1,000,000")
	flag.Parse()
	if flag.Arg(0) == doNothing {
		_, _ = io.Copy(io.Discard, os.Stdin) // until the parent closes it
		return
	}
	if err := run(*only, *runs, *quick); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(only string, runs int, quick bool) (err error) {
	match, err := regexp.Compile(only)
	if err != nil {
		return err
	}
	bin, err := filepath.Abs("bin")
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(bin, "atwrap")); err != nil {
		return fmt.Errorf("%w; run make build first", err)
	}
	dir, err := os.MkdirTemp("", "activationd-bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	b := &bench{bin: bin, dir: dir, runs: runs, pending: 1_000_000}
	if quick {
		b.pending = 50_000
	}
	fmt.Printf("%s, %d processors, %s, load %s\n", time.Now().Format("2006-01-02 15:04"), runtime.NumCPU(), kernel(), load())
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	defer func() { _ = t.Flush() }()
	for _, s := range []section{
		{"submissions", submissions},
		{"at submissions", atSubmissions},
		{"atq", atqSpeed},
		{"lateness", lateness},
		{"restart", restart},
		{"burst", burst},
		{"timers", timers},
		{"throughput", throughput},
		{"reload", reload},
		{"idle", idle},
		{"tree", tree},
		{"generate", generate},
		{"slow", slow},
		{"vlans", vlanSpeed},
	} {
		if !match.MatchString(s.name) {
			continue
		}
		rows, err := s.run(b)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		for _, r := range rows {
			fmt.Fprintln(t, r)
		}
		if err := t.Flush(); err != nil {
			return err
		}
	}
	return nil
}

// String is the row as the table has it.
func (r row) String() string {
	f := slices.Sorted(slices.Values(r.figures))
	figure := "-"
	if len(f) > 0 {
		figure = fmt.Sprintf("%s %s", short(median(f)), r.unit)
	}
	spread := ""
	if len(f) > 1 {
		spread = fmt.Sprintf("%s-%s", short(f[0]), short(f[len(f)-1]))
	}
	return strings.Join([]string{r.what, figure, spread, r.goal, r.reached, r.note}, "\t")
}

// than compares a figure with its goal.
func (r row) than(goal string, reached bool) row {
	r.goal, r.reached = goal, "no"
	if reached {
		r.reached = "yes"
	}
	return r
}

func median(f []float64) float64 {
	f = slices.Sorted(slices.Values(f))
	if len(f) == 0 {
		return 0
	}
	return (f[(len(f)-1)/2] + f[len(f)/2]) / 2
}

// percentile is that of f, p from 0 to 1.
func percentile(f []float64, p float64) float64 {
	f = slices.Sorted(slices.Values(f))
	return f[min(len(f)-1, int(p*float64(len(f))))]
}

func short(f float64) string {
	switch {
	case f >= 1000:
		return fmt.Sprintf("%.0f", f)
	case f >= 10:
		return fmt.Sprintf("%.1f", f)
	}
	return fmt.Sprintf("%.2f", f)
}

func kernel() string {
	b, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return "unknown kernel"
	}
	return "Linux " + strings.TrimSpace(string(b))
}

func load() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Fields(string(b))[0]
}
