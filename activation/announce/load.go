package announce

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"activationd/activation"
	"activationd/event"
	"activationd/internal/fault"
	"activationd/reservation"
)

// A Configuration is the part of the daemon's configuration that a load puts in force.
type Configuration struct {
	Settings activation.Settings
	// Sources are the sources of reservations. A load removes the reservations of sources
	// that are no longer here, within the limit for removals. Sources must be comparable:
	// if all are equal to those in force, the daemon goes on watching them.
	Sources []Source
	// Declare returns the steps that apply the declarations of the configuration itself.
	// Each runs in one transaction of a load, which may run again, and returns what it has
	// done; its error is the store's. Nil: there are no declarations.
	Declare func(ctx context.Context, dryRun bool) ([]func(*activation.Txn) (activation.Report, error), error)
	Notices []string // for the report of the load that puts it in force
}

// reload reads the configuration, puts it in force, and loads. If the configuration
// cannot be read, the one in force stays, and the report says why.
func (l *Loader) reload(ctx context.Context, read func(context.Context) (Configuration, error), o LoadOptions) (activation.Report, error) {
	if o.declared && l.inOrder() {
		conf := l.inForce()
		return l.load(ctx, conf, o, conf.Notices, nil)
	}
	conf, err := read(ctx)
	if err == nil {
		l.putInForce(conf)
	}
	return l.load(ctx, l.inForce(), o, conf.Notices, err)
}

// inOrder reports whether the last load could read the configuration.
func (l *Loader) inOrder() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, failed := l.failed[activation.Declared]
	return l.hasLoaded() && !failed
}

// load reads the sources of conf, and applies what they and the configuration declare.
// The report includes the notices, and broken if the configuration could not be read.
func (l *Loader) load(ctx context.Context, conf Configuration, o LoadOptions, notices []string, broken error) (activation.Report, error) {
	readings, err := l.read(ctx, conf.Sources, o)
	if err != nil {
		return activation.Report{}, err
	}
	for _, r := range readings {
		r.hashes = reservation.Hashes(r.set.Reservations)
	}
	l.mu.Lock()
	before := l.told
	l.mu.Unlock()
	p := &pass{o: o, notices: notices, broken: broken, before: before, first: !l.hasLoaded()}
	if err := l.engine.View(ctx, func(t *activation.Txn) error {
		p.compare(t, readings)
		return nil
	}); err != nil {
		return activation.Report{}, err
	}
	for _, d := range p.diffs {
		l.readNodes(d)
	}
	if conf.Declare != nil {
		if p.declare, err = conf.Declare(ctx, o.DryRun); err != nil {
			return activation.Report{}, err
		}
		p.declared = make([]activation.Report, len(p.declare))
	}
	steps := p.steps()
	if _, err := l.engine.Slices(len(steps), l.update(ctx, o.DryRun), func(t *activation.Txn, i int) error { return steps[i](t) }); err != nil {
		return activation.Report{}, err
	}
	rep := p.report()
	if !o.DryRun {
		l.noteReport(rep, p.told, p.diffs)
		l.log.Info("loaded", "generation", rep.Generation, "added", rep.Added, "changed", rep.Changed,
			"removed", rep.Removed, "rejected", rep.Rejected, "over", rep.Over, "conflicting", rep.Conflicting)
		if rep.Err != nil {
			l.log.Error("a source was not loaded", "err", fault.Text(rep.Err))
		}
	}
	return rep, nil
}

// errDryRun ends the transactions of a dry run.
var errDryRun = errors.New("dry run")

// update returns the function that runs transactions; in a dry run it writes nothing.
func (l *Loader) update(ctx context.Context, dry bool) func(func(*activation.Txn) error) error {
	if !dry {
		return func(fn func(*activation.Txn) error) error { return l.engine.Update(ctx, fn) }
	}
	return func(fn func(*activation.Txn) error) error {
		err := l.engine.Update(ctx, func(t *activation.Txn) error {
			if err := fn(t); err != nil {
				return err
			}
			return errDryRun
		})
		if errors.Is(err, errDryRun) {
			return nil
		}
		return err
	}
}

// A pass is the state of a load in progress. Each of its steps may run again, and then
// sets the same fields again.
type pass struct {
	o       LoadOptions
	notices []string
	broken  error
	before  map[activation.ReportLine]bool // what the last load emitted events about

	diffs     []*sourceDiff
	announced map[string]string // by id, the source that announced it in this load
	// leaving has, by id, the source of each reservation that its source no longer
	// announces. Another source may take it over.
	leaving map[string]string
	next    activation.Announcement // one for all, because 100,000 of them are 60 MiB

	newest   uint64 // the number of the newest load before this one
	number   uint64 // of this load, or of the newest if this one does not count
	declare  []func(*activation.Txn) (activation.Report, error)
	first    bool // no load was made since the daemon was started: limits may have changed meanwhile
	judged   activation.Judgement
	declared []activation.Report            // the result of each step of declare
	told     map[activation.ReportLine]bool // what this load emits events about
}

// A step is a part of a load that must be in one transaction.
type step func(*activation.Txn) error

// steps lists all steps of the load, in order.
func (p *pass) steps() []step {
	steps := []step{p.begin}
	for _, d := range p.diffs {
		for i := range d.changes {
			steps = append(steps, func(t *activation.Txn) error { return p.announce(t, d, i) })
		}
	}
	for _, d := range p.diffs {
		if !d.applies() {
			continue
		}
		for i := range d.diff.Removed {
			steps = append(steps, func(t *activation.Txn) error { return p.withdraw(t, d, i) })
		}
		steps = append(steps, d.keep)
	}
	for i, declare := range p.declare {
		steps = append(steps, func(t *activation.Txn) (err error) {
			t.On(p.by(activation.Declared))
			p.declared[i], err = declare(t)
			return err
		})
	}
	return append(steps, p.judge, p.end)
}

// judge looks for conflicts between all reservations, unless nothing has changed.
func (p *pass) judge(t *activation.Txn) error {
	t.On(p.o.By.Event())
	if p.first || slices.ContainsFunc(p.diffs, func(d *sourceDiff) bool { return len(d.changes)+len(d.diff.Removed) > 0 }) {
		t.On(nil) // nobody requested it
		if err := t.Judge(); err != nil {
			return err
		}
	}
	p.judged = t.Judged()
	return nil
}

// begin writes a mark, which end removes. If the daemon dies in between, the next load
// applies everything again.
func (p *pass) begin(t *activation.Txn) error {
	m := mark{Generation: p.newest + 1}
	for _, d := range p.diffs {
		if d.applies() {
			m.Sources = append(m.Sources, d.name())
		}
	}
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return t.Put(markKey, data)
}

// end removes the mark and counts the load. A load that could not read any source does
// not count.
func (p *pass) end(t *activation.Txn) (err error) {
	if err := t.Delete(markKey); err != nil {
		return err
	}
	if p.o.DryRun {
		return nil
	}
	applied := len(p.diffs) == 0 || slices.ContainsFunc(p.diffs, func(d *sourceDiff) bool { return d.refused == nil }) ||
		slices.ContainsFunc(p.declared, func(r activation.Report) bool { return r.Added+r.Changed+r.Removed > 0 })
	if p.number = t.Generation(); applied {
		if p.number, err = t.NextGeneration(); err != nil {
			return err
		}
	}
	rep := p.report()
	text := rep.Summary()
	for _, l := range rep.Lines {
		if l.What == "source" {
			text += "; " + l.Source + ": " + l.Text
		}
	}
	t.On(p.o.By.Event())
	t.Emit(event.Event{Topic: event.Topic("load"), What: "load", Action: "reload", Reason: text, Load: rep.Generation})
	p.told = emitUnused(t, rep, p.before)
	return nil
}

// by returns the client that requested the load, or else the source whose content is
// applied: it has changed by itself, or the daemon was started.
func (p *pass) by(source string) *event.Actor {
	return cmp.Or(p.o.By.Event(), &event.Actor{Kind: event.BySource, Name: source})
}

// report returns the report of the load.
func (p *pass) report() activation.Report {
	rep := activation.Report{Generation: p.number}
	if p.broken != nil {
		rep.Fail(activation.Declared, present(p.broken))
	}
	addSaid(&rep, activation.Declared, unused{}, p.notices)
	for _, d := range p.diffs {
		d.reportChanges(&rep)
	}
	for _, d := range p.diffs {
		for i, id := range d.diff.Removed {
			if d.withdrawn[i] {
				rep.Count("removed", id, d.Name())
			}
		}
	}
	for _, part := range p.declared {
		rep.Merge(part)
	}
	rep.Conflicting = p.judged.Conflicting
	rep.Lines = append(rep.Lines, p.judged.Lines...)
	if n := rep.Conflicting - len(p.judged.Lines); n > 0 {
		rep.Add(activation.ReportLine{What: "conflict", Text: fmt.Sprintf("and %d more; atctl list --state conflicting lists them", n)})
	}
	return rep
}

// announce announces one reservation.
func (p *pass) announce(t *activation.Txn, d *sourceDiff, i int) error {
	res, out := d.change(i), &d.outcomes[i]
	*out = outcome{}
	if p.announced[res.ID] == d.name() { // the step ran before
		delete(p.announced, res.ID)
	}
	if _, ok := p.announced[res.ID]; ok {
		out.refused = "another source announces this id already"
		return nil
	}
	p.next = Announcement(res, d.hashes[d.changes[i]][:], d.name(), p.newest+1)
	p.next.From, p.next.Nodes = p.leaving[res.ID], d.nodes[i]
	t.On(p.by(d.Name()))
	what, err := t.Announce(&p.next)
	if errors.Is(err, fault.Conflict) || errors.Is(err, fault.Invalid) {
		out.refused = fault.Text(err)
		return nil
	}
	if err != nil {
		return err
	}
	p.announced[res.ID] = d.name()
	if what == "over" {
		what, out.over = "", passedOver(t, res)
	}
	out.what = what
	out.otherwise = what == "changed" && t.RunsOtherwise(res.ID)
	return nil
}

// passedOver says why a reservation was passed over.
func passedOver(t *activation.Txn, res *reservation.Reservation) string {
	why := "before it was read"
	if res.End.Add(t.Settings.HistoryAge).Before(t.Now) {
		why = "and it is not in the history"
	}
	return fmt.Sprintf("its slot ended at %s, %s", activation.TimeText(res.End), why)
}

// withdraw withdraws one reservation.
func (p *pass) withdraw(t *activation.Txn, d *sourceDiff, i int) error {
	id := d.diff.Removed[i]
	d.withdrawn[i] = false
	if _, ok := p.announced[id]; ok { // another source has taken it over
		return nil
	}
	why, by := "its source no longer announces it", d.Name()
	if d.gone {
		why, by = "its source is no longer configured", activation.Declared
	}
	t.On(p.by(by))
	gone, err := t.Withdraw(id, d.name(), why, p.newest+1)
	d.withdrawn[i] = gone && d.live[id]
	return err
}

// Announcement converts a reservation of a source, as [activation.SourceKey] names it, to the
// engine's type. Its Lead and Tail must be set. Generation is the number of the load; 0: none.
func Announcement(res *reservation.Reservation, hash []byte, source string, generation uint64) activation.Announcement {
	return activation.Announcement{
		ID: res.ID, Start: res.Start.Round(0), Topology: res.Topology,
		Slot: activation.Slot{
			End: res.End.Round(0), Lead: *res.Lead, Tail: *res.Tail, Source: source, Hash: hash, Generation: generation,
			Devices: res.Devices, TopologyName: res.TopologyName, VLANs: res.VLANs,
		},
		Order: activation.Order{
			Owner: res.Owner, Label: res.Label, Argv: res.Activate, Undo: res.Deactivate, Env: res.Env,
			Timeout: res.Timeout, Grace: res.Grace, Retries: res.Retries, Missed: res.Missed, Priority: res.Priority,
		},
	}
}

// addSaid adds the unused reservations and the notices of a source or of the configuration.
func addSaid(rep *activation.Report, source string, u unused, notices []string) {
	rep.Rejected += u.Rejected
	rep.Over += u.Over
	if u.Rejected+u.Over > 0 {
		rep.Add(activation.ReportLine{What: "source", Source: source, Text: u.String()})
	}
	for what, list := range u.lists() {
		for _, x := range list {
			rep.Add(activation.ReportLine{What: what, ID: x.ID, Source: source, Text: fmt.Sprintf("%s: %s", x.Where, x.Text)})
		}
	}
	for _, n := range notices {
		rep.Add(activation.ReportLine{What: "notice", Source: source, Text: n})
	}
}
