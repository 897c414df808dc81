package main

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"
)

// compared matches the sections that show whether a change made the daemon slower.
const compared = "^((at )?submissions|lateness|burst|immediate|waiting)$"

const (
	enoughPairs = 9
	slowdown    = 1.1 // the median ratio must not be more, unless a row has another goal

	splitSlowdown = 1.15 // of a daemon with a spawner to one that is root's
)

// compare measures this build and another one by turns. A pair is one round of
// each; the order changes from pair to pair, so that neither build gains if the
// machine becomes slower meanwhile. Each round has a daemon and a state directory
// of its own.
//
// A ratio is what this build costs to what the other one costs: more than 1 means
// that this build is slower, or larger.
func (b bench) compare(dir string, match *regexp.Regexp) error {
	other := b
	var err error
	if other.bin, err = programs(dir); err != nil {
		return err
	}
	pairs := b.runs
	b.runs, other.runs, other.split = 1, 1, false
	fmt.Printf("this build is %s, the other one is %s in %s\n", b.version(), other.version(), other.bin)
	for _, s := range sections {
		if !match.MatchString(s.name) {
			continue
		}
		var ratios table
		for i := range pairs {
			fmt.Printf("%s, pair %d of %d, load %s\n", s.name, i+1, pairs, load())
			if err := pair(s, b, other, i%2 == 1, &ratios); err != nil {
				return err
			}
		}
		fmt.Printf("%s, ratio of this build to the other in %d pairs\n", s.name, pairs)
		out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
		fmt.Fprintln(out, "\tmedian\tquartiles\tgoal\treached")
		for _, r := range ratios.rows {
			reached := "no"
			if median(r.figures) <= r.slowdown {
				reached = "yes"
			}
			fmt.Fprintf(out, "%s\t%.3f\t%.3f-%.3f\t<= %.2f\t%s\n", r.what, median(r.figures),
				percentile(r.figures, 0.25), percentile(r.figures, 0.75), r.slowdown, reached)
		}
		if err := out.Flush(); err != nil {
			return err
		}
	}
	return nil
}

// pair runs a round of each build, prints their figures and adds the ratios.
func pair(s section, b, other bench, otherFirst bool, ratios *table) error {
	var ours, theirs table
	sides := []func() (string, error){
		func() (string, error) { return b.round(s, &ours) },
		func() (string, error) { return other.round(s, &theirs) },
	}
	if otherFirst {
		slices.Reverse(sides)
	}
	for _, side := range sides {
		dir, err := side()
		if err == nil {
			err = os.RemoveAll(dir)
		}
		if err != nil {
			return err
		}
	}
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	for _, r := range ours.rows {
		goal := cmp.Or(r.slowdown, slowdown)
		if b.split {
			goal = splitSlowdown
		}
		a, z := median(r.figures), median(theirs.row(r.what, r.unit).figures)
		ratio := a / z
		if strings.HasSuffix(r.unit, "/s") { // the more the better
			ratio = z / a
		}
		what := strings.TrimSpace(r.what)
		ratios.add(what, "x", ratio).before(goal)
		fmt.Fprintf(out, "  %s\t%s\t%s\t%.3f x\n", what, r.figure(a), r.figure(z), ratio)
	}
	return out.Flush()
}

func (b bench) version() string {
	out, err := exec.Command(filepath.Join(b.bin, "activationd"), "--version").Output()
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(strings.TrimPrefix(string(out), "activationd "))
}
