package activation

import (
	"context"
	"fmt"
	"strings"
	"time"

	"pgregory.net/rapid"

	"activationd/store"
)

// recur does something with a recurrence.
func (m *machine) recur(rt *rapid.T) {
	ctx := context.Background()
	name := rapid.SampledFrom([]string{"e1", "e2", "e3"}).Draw(rt, "name")
	var err error
	switch rapid.SampledFrom([]string{"add", "add", "add", "hold", "release", "run", "remove", "declare"}).Draw(rt, "what") {
	case "add":
		_, err = m.l.e.AddRecurrence(ctx, m.rule(rt, name))
	case "hold":
		_, err = m.l.e.HoldRecurrence(ctx, admin, name)
	case "release":
		_, err = m.l.e.ReleaseRecurrence(ctx, admin, name)
	case "run":
		_, err = m.l.e.RunRecurrence(ctx, admin, name)
	case "remove":
		err = m.l.e.RemoveRecurrence(ctx, admin, name)
	case "declare":
		var rules []Rule
		for _, name := range subset(rt, []string{"e3", "e4"}, "declared") {
			rules = append(rules, m.rule(rt, name))
		}
		m.l.e.SetRecurrences(rules)
		m.l.e.AskLoad()
	}
	m.mind(rt, err)
}

func (m *machine) rule(rt *rapid.T, name string) Rule {
	r := Rule{
		Name:    name,
		Overlap: rapid.SampledFrom([]string{OverlapSkip, OverlapQueue, OverlapParallel, OverlapReplace}).Draw(rt, "overlap"),
		CatchUp: rapid.SampledFrom([]int{0, 0, 1, 5}).Draw(rt, "catch up"),
		Jitter:  rapid.SampledFrom([]time.Duration{0, 0, time.Second, hour}).Draw(rt, "jitter"),
		Job:     NewJob{Owner: "ada", Argv: []string{"true"}, Locks: subset(rt, testLocks, "locks")},
	}
	switch rapid.IntRange(0, 3).Draw(rt, "kind") {
	case 0:
		r.Cron, r.Zone = "*/20 * * * *", "America/New_York"
	case 1:
		r.Calendar, r.Zone = "*:0/30:07", "UTC"
	case 2:
		r.Cron = "@reboot"
	default:
		r.Every = rapid.SampledFrom([]time.Duration{10 * minute, 3 * hour}).Draw(rt, "every")
	}
	if rapid.IntRange(0, 3).Draw(rt, "ends") == 0 {
		r.End = time.Now().Add(hour)
	}
	return r
}

// recurred checks that no occurrence comes twice. What is not kept any more it
// has seen before.
func (m *machine) recurred() (faults []string) {
	_ = m.l.db.View(context.Background(), func(tx store.Tx) error {
		for k, data := range tx.Scan(recordKey, "") {
			a, err := decode(k, data)
			if err != nil || a.Occurrence.IsZero() {
				continue
			}
			r, err := decodeRecurrence(a.Recurrence, tx.Get(recurrenceKey+a.Recurrence))
			if err != nil || a.Created.Before(r.Created) || r.Cron == "@reboot" {
				continue // it is gone, or another now; and the machine starts twice in no time here
			}
			which := fmt.Sprint(a.Recurrence, r.Created, a.Occurrence.UTC())
			if other := m.occurred[which]; other != "" && other != a.ID {
				faults = append(faults, fmt.Sprintf("the occurrence %v of %s is %s and %s", a.Occurrence, a.Recurrence, other, a.ID))
			}
			m.occurred[which] = a.ID
		}
		return nil
	})
	return faults
}

// endRecurrences removes them all, or nothing would ever come to an end.
func (m *machine) endRecurrences(rt *rapid.T) {
	ctx := context.Background()
	m.l.e.SetRecurrences(nil)
	if _, err := m.l.e.Load(ctx, LoadOptions{}); err != nil {
		rt.Fatal(err)
	}
	for _, k := range m.l.mem.sorted(recurrenceKey) {
		if err := m.l.e.RemoveRecurrence(ctx, admin, strings.TrimPrefix(k, recurrenceKey)); err != nil {
			rt.Fatal(err)
		}
	}
}
