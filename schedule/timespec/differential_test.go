package timespec_test

import (
	"cmp"
	"flag"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"activationd/schedule/timespec"
	"activationd/test/harness"
)

var (
	atRuns = flag.Int("at-runs", 0, "how many timespecs to try on the real at; 0: a part of 6000")
	atSeed = flag.Uint64("at-seed", 1, "the seed to generate them from; 0 is a new one")
)

// TestAtDifferential gives the same words, now and zone to the real at and to
// ours: the same instant, or both an error. Where they differ, it must be one of
// at's faults that Parse's comment lists.
func TestAtDifferential(t *testing.T) {
	o := newOracle(t)
	seed := *atSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d (repeat with -args -at-seed=%[1]d -at-runs=%d)", seed, *atRuns)
	g := generator{Rand: rand.New(rand.NewPCG(seed, 0))}
	type question struct {
		zone, text string
		now        time.Time
		words      []string
	}
	questions := make([]question, cmp.Or(*atRuns, 6000))
	for i := range questions {
		q := &questions[i]
		q.zone = atZones[g.IntN(len(atZones))]
		loc := zone(t, q.zone)
		q.now = g.now(loc)
		q.text = g.timespec(q.now.In(loc))
		q.words = g.words(q.text)
	}
	limit := len(questions) / 20
	if *atRuns == 0 && !harness.All() {
		questions = harness.Part(t, questions, 1500)
		limit = len(questions) / 10 // so that no choice of a part comes near it
	}
	faults, same, refused := map[string]int{}, 0, 0
	for _, q := range questions {
		name, text, now, words := q.zone, q.text, q.now, q.words
		loc := zone(t, name)
		want := o.ask(t, atQuestion{now.Unix(), name, append([]string{"--"}, words...)})
		got, err := timespec.Parse(words, now, loc)
		switch {
		case err != nil && !want.OK:
			refused++
		case err == nil && want.OK && got.Unix() == want.At:
			same++
		default:
			d := difference{text, now.In(loc), got, err, want}
			fault := d.fault()
			if fault == "" {
				t.Errorf("TZ=%s at %s, now %s: at says %v, ours is %v, error %v",
					name, strings.Join(words, " "), now.In(loc).Format(layout), want, got.Format(layout), err)
			}
			faults[fault]++
		}
	}
	t.Logf("%d the same instant, %d refused by both", same, refused)
	differ := 0
	for fault, n := range faults {
		t.Logf("%5d  %s", n, fault)
		differ += n
	}
	if differ > limit || same*2 < len(questions) {
		t.Errorf("%d of %d differ and %d are the same: too little is compared", differ, len(questions), same)
	}
}

var atZones = []string{
	"UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe",
	"America/St_Johns", "Pacific/Auckland", "Europe/Dublin", "America/Santiago",
}
