// Package exposition reads metrics in the text form of Prometheus, for tests. It refuses what
// Prometheus and promtool let pass, though something is wrong: series that occur twice,
// histograms whose buckets fall, counters that are negative, and times of samples.
package exposition

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// A Scrape is what GET /metrics replied.
type Scrape struct {
	Families map[string]*Family
}

// A Family is a metric with all its series.
type Family struct {
	Name, Type, Help string
	Series           map[string]float64 // by name and labels, as they were written
	order            []string
}

// A sample is one line.
type sample struct {
	name   string
	labels [][2]string
	value  float64
}

// Parse reads metrics, and checks them.
func Parse(text string) (*Scrape, error) {
	s := &Scrape{Families: make(map[string]*Family)}
	if !strings.HasSuffix(text, "\n") {
		return nil, errors.New("the last line has no end")
	}
	var now *Family
	for i, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		if err := s.line(line, &now); err != nil {
			return nil, fmt.Errorf("line %d: %q: %w", i+1, line, err)
		}
	}
	for _, f := range s.Families {
		if err := f.check(); err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name, err)
		}
	}
	return s, nil
}

func (s *Scrape) line(line string, now **Family) error {
	if comment, ok := strings.CutPrefix(line, "# "); ok {
		word, rest, _ := strings.Cut(comment, " ")
		name, text, _ := strings.Cut(rest, " ")
		switch word {
		case "HELP":
			if s.Families[name] != nil {
				return errors.New("the family occurs twice")
			}
			*now = &Family{Name: name, Help: text, Series: make(map[string]float64)}
			s.Families[name] = *now
			return nil
		case "TYPE":
			if *now == nil || (*now).Name != name || (*now).Type != "" {
				return errors.New("the type of another family, or without a help")
			}
			(*now).Type = text
			return nil
		}
		return errors.New("a comment of no use")
	}
	one, err := parseSample(line)
	if err != nil {
		return err
	}
	f := *now
	if f == nil || f.Type == "" {
		return errors.New("a series without a family and its type")
	}
	base := one.name
	if f.Type == "histogram" || f.Type == "summary" {
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			base = strings.TrimSuffix(base, suffix)
		}
	}
	if base != f.Name {
		return fmt.Errorf("a series of another family than %s", f.Name)
	}
	key := Key(one.name, one.labels)
	if _, ok := f.Series[key]; ok {
		return errors.New("the series occurs twice")
	}
	if f.Type == "counter" && !(one.value >= 0) {
		return errors.New("a counter that is negative or no number")
	}
	if f.Type == "counter" && !strings.HasSuffix(f.Name, "_total") {
		return errors.New("a counter whose name does not end in _total")
	}
	f.Series[key] = one.value
	f.order = append(f.order, key)
	return nil
}

// Key is how a series is named in [Family.Series]. The labels are sorted.
func Key(name string, labels [][2]string) string {
	labels = slices.Clone(labels)
	slices.SortFunc(labels, func(a, b [2]string) int { return strings.Compare(a[0], b[0]) })
	var b strings.Builder
	b.WriteString(name)
	for _, l := range labels {
		fmt.Fprintf(&b, "|%s=%q", l[0], l[1])
	}
	return b.String()
}

func parseSample(line string) (s sample, err error) {
	end := strings.IndexAny(line, "{ ")
	if end <= 0 {
		return s, errors.New("no series")
	}
	s.name = line[:end]
	rest := line[end:]
	if rest[0] == '{' {
		if s.labels, rest, err = parseLabels(rest[1:]); err != nil {
			return s, err
		}
	}
	words := strings.Fields(rest)
	if len(words) != 1 {
		return s, errors.New("want one value, and no time")
	}
	s.value, err = strconv.ParseFloat(words[0], 64)
	return s, err
}

func parseLabels(text string) (labels [][2]string, rest string, err error) {
	for {
		if rest, ok := strings.CutPrefix(text, "}"); ok {
			return labels, rest, nil
		}
		name, after, ok := strings.Cut(text, `="`)
		if !ok {
			return nil, "", errors.New("a label without a value")
		}
		value := strings.Builder{}
		i := 0
		for ; i < len(after) && after[i] != '"'; i++ {
			if after[i] == '\\' && i+1 < len(after) {
				if i++; after[i] == 'n' {
					value.WriteByte('\n')
					continue
				}
			}
			value.WriteByte(after[i])
		}
		if i == len(after) {
			return nil, "", errors.New("a label whose value does not end")
		}
		if slices.ContainsFunc(labels, func(l [2]string) bool { return l[0] == name }) {
			return nil, "", fmt.Errorf("the label %s occurs twice", name)
		}
		labels = append(labels, [2]string{name, value.String()})
		text = strings.TrimPrefix(after[i+1:], ",")
	}
}

// check checks a family as a whole.
func (f *Family) check() error {
	if f.Type == "" || f.Help == "" {
		return errors.New("no type or no help")
	}
	if f.Type != "histogram" {
		return nil
	}
	type buckets struct {
		bound, n float64
		seen     bool
	}
	last := make(map[string]buckets) // by the labels without le
	for _, key := range f.order {
		name, rest, _ := strings.Cut(key, "|")
		var le string
		var others []string
		for part := range strings.SplitSeq(rest, "|") {
			if value, ok := strings.CutPrefix(part, "le="); ok {
				le, _ = strconv.Unquote(value)
			} else {
				others = append(others, part)
			}
		}
		series := strings.Join(others, "|")
		before := last[series]
		value := f.Series[key]
		switch strings.TrimPrefix(name, f.Name) {
		case "_bucket":
			bound, err := strconv.ParseFloat(le, 64)
			if err != nil {
				return fmt.Errorf("%s: the bound: %w", key, err)
			}
			if before.seen && (bound <= before.bound || value < before.n) {
				return fmt.Errorf("%s: its bound or its count falls", key)
			}
			last[series] = buckets{bound, value, true}
		case "_count":
			if !math.IsInf(before.bound, 1) || before.n != value {
				return fmt.Errorf("%s is %v, and the last bucket has %v up to %v", key, value, before.n, before.bound)
			}
		}
	}
	return nil
}

// Value returns the value of a series with these labels and no others.
func (s *Scrape) Value(name string, labels ...string) (value float64, ok bool) {
	var pairs [][2]string
	for i := 0; i+1 < len(labels); i += 2 {
		pairs = append(pairs, [2]string{labels[i], labels[i+1]})
	}
	key := Key(name, pairs)
	for _, f := range s.Families {
		if v, ok := f.Series[key]; ok {
			return v, true
		}
	}
	return 0, false
}

// Falls returns the counters of s, and the counts of histograms, that are lower in a later
// scrape. Series that are gone do not count.
func (s *Scrape) Falls(later *Scrape) (falls []string) {
	for name, f := range s.Families {
		g := later.Families[name]
		if g == nil || f.Type != "counter" && f.Type != "histogram" {
			continue
		}
		for key, was := range f.Series {
			if is, ok := g.Series[key]; ok && is < was {
				falls = append(falls, fmt.Sprintf("%s: %v, then %v", key, was, is))
			}
		}
	}
	slices.Sort(falls)
	return falls
}
