// Bench measures the daemon beside the programs that people use today, all in
// one run on one machine, and prints a table of figures and ratios.
//
//	make bench                         # or: go run ./bench -row lateness -runs 5
//	go run ./bench -against /old/bin   # this build beside another one
//
// Figures of a shared machine are noisy. So the things that are compared take
// turns, and the table has the median of several rounds with the least and the
// most beside it. Compare rows of one run only. Bench uses the programs in bin/,
// which make builds.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"text/tabwriter"
	"time"
)

// A section measures something: each call of round adds figures to the table.
type section struct {
	name  string
	times int // rounds for each of -runs; 0: one round in all, because it takes long
	round func(*bench, *table) error
}

var sections = []section{
	{"submissions", 1, submissions},
	{"at submissions", 3, atSubmissions}, // short ones: what else the machine does comes and goes
	{"atq", 1, atqSpeed},
	{"lists", 0, lists},
	{"lateness", 0, lateness},
	{"restart", 0, restart},
	{"attached", 0, attached},
	{"burst", 1, burst},
	{"immediate", 1, immediate},
	{"waiting", 1, waiting},
	{"atd", 0, besideAtd},
	{"timers", 1, timers},
	{"throughput", 1, throughput},
	{"reload", 1, reload},
	{"starts in a load", 1, startsInLoad},
	{"services", 3, services}, // pairs
	{"queues", 3, queues},     // pairs
	{"http", 0, overHTTP},
	{"panel", 0, panelSpeed},
	{"idle", 0, idle},
	{"tree", 1, tree},
	{"generate", 1, generate},
	{"slow", 0, slow},
	{"vlans", 1, vlans},
}

// parts are what this program does in a process of its own if the argument is one of these words.
var parts = map[string]func(args []string) error{
	doNothing:     waitForInput,
	answers:       func([]string) error { return answerMessages() },
	followsEvents: followEvents,
	echoes:        echo,
	decodes:       decode,
}

// A bench is what a round needs to know.
type bench struct {
	bin     string // the directory of the programs that are measured
	dir     string // a new one for each round
	runs    int
	pending int  // how many wait while lateness, memory and restart are measured
	split   bool // whether daemons run as a user of their own, with a spawner
	peers   bool // whether the programs of others are measured, too
}

func main() {
	only := flag.String("row", "", "only sections whose name matches this `REGEXP`; with -against all that "+compared+" match, unless it is given")
	runs := flag.Int("runs", 0, "`N` rounds of whatever can be repeated, 3 unless it is given, with -quick 1; with -against N pairs, 9 unless it is given")
	quick := flag.Bool("quick", false, "50,000 pending instead of 1,000,000, and one round")
	against := flag.String("against", "", "compare with the programs of another build in `DIR`, instead of those of other people")
	split := flag.Bool("split", false, "run the daemons of this build as a user of their own, beside a spawner; with -against the other build's are root's")
	flag.Parse()
	if part, ok := parts[flag.Arg(0)]; ok {
		if err := part(flag.Args()[1:]); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	b := bench{bin: "bin", runs: *runs, pending: 1_000_000, split: *split, peers: *against == ""}
	if *quick {
		b.pending = 50_000
	}
	switch {
	case b.runs > 0:
	case *against != "":
		b.runs = enoughPairs
	case *quick:
		b.runs = 1
	default:
		b.runs = 3
	}
	if err := b.run(*only, *against); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func (b bench) run(only, against string) (err error) {
	if only == "" && against != "" {
		only = compared
	}
	match, err := regexp.Compile(only)
	if err != nil {
		return err
	}
	if b.bin, err = programs(b.bin); err != nil {
		return err
	}
	fmt.Printf("%s, %d processors, %s, load %s\n", time.Now().Format("2006-01-02 15:04"), runtime.NumCPU(), kernel(), load())
	if against != "" {
		return b.compare(against, match)
	}
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	for _, s := range sections {
		if !match.MatchString(s.name) {
			continue
		}
		var t table
		var dirs []string
		for range max(1, s.times*b.runs) {
			dir, err := b.round(s, &t)
			if err != nil {
				return err
			}
			dirs = append(dirs, dir)
		}
		for _, dir := range dirs { // not before: ext4 creates files slowly when many were deleted in the last seconds
			if err := os.RemoveAll(dir); err != nil {
				return err
			}
		}
		for _, r := range t.rows {
			fmt.Fprintln(out, r)
		}
		if err := out.Flush(); err != nil {
			return err
		}
	}
	return nil
}

// programs returns the absolute path of the programs of a build, which are in dir
// or in dir/bin.
func programs(dir string) (string, error) {
	for _, dir := range []string{dir, filepath.Join(dir, "bin")} {
		if _, err := os.Stat(filepath.Join(dir, "atwrap")); err == nil {
			return filepath.Abs(dir)
		}
	}
	return "", fmt.Errorf("there is no build in %s; run make build first", dir)
}

// round runs one round of a section in a new directory, which the caller removes. If it fails,
// only the logs of its daemons are kept.
func (b bench) round(s section, t *table) (dir string, err error) {
	if b.dir, err = os.MkdirTemp("", "activationd-bench-"); err != nil {
		return "", err
	}
	if err := s.round(&b, t); err != nil {
		return "", fmt.Errorf("%s: %w", s.name, errors.Join(err, b.keepLogs()))
	}
	return b.dir, nil
}

// keepLogs removes the directory of a round, except for the logs of its daemons, and
// returns an error that says where these are.
func (b bench) keepLogs() error {
	entries, err := os.ReadDir(b.dir)
	kept := false
	for _, e := range entries {
		name := filepath.Join(b.dir, e.Name())
		if _, err := os.Stat(filepath.Join(name, logName)); err == nil {
			err = os.Rename(filepath.Join(name, logName), name+".log")
			kept = kept || err == nil
		}
		err = errors.Join(err, os.RemoveAll(name))
	}
	if !kept {
		return errors.Join(err, os.RemoveAll(b.dir))
	}
	return errors.Join(err, errors.New("logs are kept in "+b.dir))
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
