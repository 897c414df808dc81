package timespec_test

import (
	"flag"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"activationd/schedule/timespec"
)

var (
	atRuns = flag.Int("at-runs", 6000, "how many timespecs to try on the real at")
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
	faults, same, refused := map[string]int{}, 0, 0
	for range *atRuns {
		name := atZones[g.IntN(len(atZones))]
		loc := zone(t, name)
		now := g.now(loc)
		text := g.timespec(now.In(loc))
		words := g.words(text)
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
	if differ*20 > *atRuns || same*2 < *atRuns {
		t.Errorf("%d of %d differ and %d are the same: too little is compared", differ, *atRuns, same)
	}
}

var atZones = []string{
	"UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe",
	"America/St_Johns", "Pacific/Auckland", "Europe/Dublin", "America/Santiago",
}
