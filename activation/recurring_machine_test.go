package activation_test

import (
	"context"
	"fmt"
	"strings"
	"time"

	. "activationd/activation"
	"activationd/activation/announce"
	"activationd/activation/recurring"

	"pgregory.net/rapid"

	"activationd/store"
)

// recur does something with a recurrence.
func (m *machine) recur(rt *rapid.T) {
	ctx := context.Background()
	name := rapid.SampledFrom([]string{"e1", "e2", "e3"}).Draw(rt, "name")
	var err error
	switch rapid.SampledFrom([]string{"add", "add", "add", "edit", "hold", "release", "run", "remove", "declare"}).Draw(rt, "what") {
	case "add":
		_, err = m.l.book.Add(ctx, admin, m.rule(rt, name))
	case "edit":
		rule := m.rule(rt, name)
		_, err = m.l.book.Edit(ctx, admin, name, func(r *recurring.Rule) error {
			*r = rule
			return nil
		})
	case "hold":
		_, err = m.l.book.Hold(ctx, admin, name)
	case "release":
		_, err = m.l.book.Release(ctx, admin, name)
	case "run":
		_, err = m.l.book.RunOnce(ctx, admin, name)
	case "remove":
		err = m.l.book.Remove(ctx, admin, name)
	case "declare":
		var rules []recurring.Rule
		for _, name := range subset(rt, []string{"e3", "e4"}, "declared") {
			rules = append(rules, m.rule(rt, name))
		}
		m.l.declare(rules...)
		m.l.loader.Ask()
	}
	m.mind(rt, err)
}

func (m *machine) rule(rt *rapid.T, name string) recurring.Rule {
	r := recurring.Rule{
		Name:    name,
		Overlap: rapid.SampledFrom([]string{recurring.OverlapSkip, recurring.OverlapQueue, recurring.OverlapParallel, recurring.OverlapReplace}).Draw(rt, "overlap"),
		CatchUp: rapid.SampledFrom([]int{0, 0, 1, 5}).Draw(rt, "catch up"),
		Jitter:  rapid.SampledFrom([]time.Duration{0, 0, time.Second, hour}).Draw(rt, "jitter"),
		Job:     NewJob{Order: Order{Owner: "ada", Argv: []string{"true"}, Locks: subset(rt, testLocks, "locks")}},
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

// recurred checks that no occurrence comes twice. It remembers those whose records were
// removed.
func (m *machine) recurred() (faults []string) {
	_ = m.l.mem.View(context.Background(), func(tx store.Tx) error {
		for k, data := range tx.Scan(RecordKey, "") {
			a, err := Decode(k, data)
			if err != nil || a.Occurrence.IsZero() {
				continue
			}
			r, err := stored(tx, a.From)
			if err != nil || a.Created.Before(r.Created) || r.Cron == "@reboot" {
				continue // it was removed or replaced; and here the machine starts twice within no time
			}
			which := fmt.Sprint(a.From, r.Created, a.Occurrence.UTC())
			if other := m.occurred[which]; other != "" && other != a.ID {
				faults = append(faults, fmt.Sprintf("the occurrence %v of %s is %s and %s", a.Occurrence, a.From, other, a.ID))
			}
			m.occurred[which] = a.ID
		}
		return nil
	})
	return faults
}

// endRecurrences removes all recurrences; otherwise the history would never end.
func (m *machine) endRecurrences(rt *rapid.T) {
	ctx := context.Background()
	m.l.declare()
	if _, err := m.l.loader.Load(ctx, announce.LoadOptions{}); err != nil {
		rt.Fatal(err)
	}
	for _, k := range m.l.mem.Keys(recurrenceKey) {
		if err := m.l.book.Remove(ctx, admin, strings.TrimPrefix(k, recurrenceKey)); err != nil {
			rt.Fatal(err)
		}
	}
}
