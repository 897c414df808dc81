package activation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"activationd/reservation"
	"activationd/store"
)

// A lastLoad is what is kept of a source's last load.
type lastLoad struct {
	Fingerprint string               `json:"fingerprint"`
	Read        time.Time            `json:"read"`
	Count       int                  `json:"count"`
	Rejects     []reservation.Reject `json:"rejects,omitempty"`
	Notices     []string             `json:"notices,omitempty"`
}

func parseLastLoad(key string, data []byte) (l lastLoad, err error) {
	if err := json.Unmarshal(data, &l); err != nil {
		return l, fmt.Errorf("record of a source's last load, %s: %w", key, err)
	}
	return l, nil
}

// A reading is what a source said.
type reading struct {
	Source
	set       reservation.Set
	unchanged bool
	gone      bool // it is not configured any more
	last      lastLoad
	err       error
}

func (r *reading) name() string { return SourceKey(r.Name()) }

// settle settles what the source's reservations leave open. One whose slot is
// too short for what is assumed then is rejected.
func (s *Source) settle(set *reservation.Set) {
	sound := set.Reservations[:0]
	for _, r := range set.Reservations {
		s.fill(&r)
		if *r.Tail >= r.End.Sub(r.Start) {
			set.Rejects = append(set.Rejects, reservation.Reject{Where: r.Where, ID: r.ID, Text: fmt.Sprintf(
				"tail: the default of %v is not shorter than the slot; give it a tail of its own", *r.Tail)})
			continue
		}
		sound = append(sound, r)
	}
	set.Reservations = sound
}

// SourceKey is how a source of that name is called in records and in
// Settings.Sources: without a slash, which separates the parts of a key.
func SourceKey(name string) string { return url.PathEscape(name) }

// A goneSource stands for a source that is not configured any more. It is never read.
type goneSource struct {
	reservation.Source
	name string
}

// Name is the name that it had.
func (g goneSource) Name() string { return g.name }

// errDryRun ends the transaction of a dry run.
var errDryRun = errors.New("dry run")

func (e *Engine) load(ctx context.Context, o LoadOptions) (Report, error) {
	var notices []string
	var broken error
	if e.loader.before != nil && !o.DryRun {
		notices, broken = e.loader.before(ctx)
	}
	readings, err := e.read(ctx)
	if err != nil {
		return Report{}, err
	}
	var rep Report
	err = e.update(ctx, func(t *txn) error {
		rep = Report{}
		if broken != nil {
			rep.fail("configuration", broken)
		}
		rep.tell("configuration", nil, notices)
		rep.Generation = number(t, generation)
		applied := false
		plans := t.plans(readings, o)
		for _, p := range plans {
			part, err := e.applyPlan(t, p, rep.Generation+1)
			if err != nil {
				return err
			}
			applied = applied || part.Err == nil
			rep.merge(part)
		}
		for _, p := range plans {
			part, err := t.finishPlan(p)
			if err != nil {
				return err
			}
			rep.merge(part)
		}
		part, err := e.declare(t)
		if err != nil {
			return err
		}
		applied = applied || part.Added+part.Changed+part.Removed > 0
		rep.merge(part)
		if o.DryRun {
			return errDryRun
		}
		if applied || len(readings) == 0 { // a load that could read nothing is none
			if rep.Generation, err = count(t, generation); err != nil {
				return err
			}
		}
		t.news = append(t.news, Happening{Time: t.now, What: "load", Reason: rep.Summary()})
		return nil
	})
	if err != nil && !errors.Is(err, errDryRun) {
		return Report{}, err
	}
	if !o.DryRun {
		e.noteFailures(readings, rep)
		e.tellRejects(rep)
		e.zones.ask()
		e.poke()
		e.parts.Log.Info("loaded", "generation", rep.Generation, "added", rep.Added, "changed", rep.Changed,
			"removed", rep.Removed, "rejected", rep.Rejected)
		if rep.Err != nil {
			e.parts.Log.Error("a source was not loaded", "err", rep.Err)
		}
	}
	return rep, nil
}

// read asks all sources, one after the other, and those that are not configured
// any more for nothing.
func (e *Engine) read(ctx context.Context) ([]*reading, error) {
	last := make(map[string]lastLoad)
	err := e.parts.DB.View(ctx, func(tx store.Tx) error {
		for k, v := range tx.Scan(loadKey, "") {
			l, err := parseLastLoad(k, v)
			if err != nil {
				return err
			}
			last[strings.TrimPrefix(k, loadKey)] = l
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	var readings []*reading
	for _, s := range e.sources() {
		r := &reading{Source: s}
		r.last = last[r.name()]
		delete(last, r.name())
		read, suffix, _ := strings.Cut(r.last.Fingerprint, " ")
		if s.fingerprint(read) != read+" "+suffix { // other defaults: read it whole
			read = ""
		}
		r.set, r.unchanged, r.err = s.LoadIfChanged(ctx, read)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		s.settle(&r.set)
		readings = append(readings, r)
	}
	for name := range last {
		if was, err := url.PathUnescape(name); err == nil {
			readings = append(readings, &reading{Source: Source{Source: goneSource{name: was}}, gone: true})
		}
	}
	return readings, nil
}

func (e *Engine) noteFailures(readings []*reading, rep Report) {
	e.loader.mu.Lock()
	defer e.loader.mu.Unlock()
	clear(e.loader.failed)
	for _, l := range rep.Lines {
		if l.What == "failed" {
			e.loader.failed[l.Source] = l.Text
		}
	}
}

// maxTold bounds how many rejected reservations and notices of one load are told.
const maxTold = 20

// tellRejects tells those who follow along which reservations were rejected and
// why, and what the sources say to operators: most loads nobody waits for, so
// nobody sees their reports. One that is
// as it was in the load before is not told again.
func (e *Engine) tellRejects(rep Report) {
	e.loader.mu.Lock()
	defer e.loader.mu.Unlock()
	var news []Happening
	more := 0
	all := make(map[ReportLine]bool)
	for _, l := range rep.Lines {
		if l.What != "rejected" && (l.What != "notice" || l.Source == configuration) { // whoever reads that tells it
			continue
		}
		all[l] = true
		switch {
		case e.loader.rejected[l]:
		case len(news) == maxTold:
			more++
		default:
			news = append(news, Happening{Time: e.parts.Clock.Now(), What: l.What, ID: l.ID, Reason: l.Source + ": " + l.Text, Failed: true})
		}
	}
	if more > 0 {
		news = append(news, Happening{Time: e.parts.Clock.Now(), What: "rejected", Failed: true,
			Reason: fmt.Sprintf("and %d more; atctl reload --dry-run tells them all", more)})
	}
	e.loader.rejected = all
	e.hub.publish(news)
}
