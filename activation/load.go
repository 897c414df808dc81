package activation

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"activationd/internal/fault"
	"activationd/reservation"
	"activationd/store"
)

// A Source is a source of reservations with what is to be assumed for them.
type Source struct {
	reservation.Source
	Lead, Tail time.Duration
	Missed     string
}

// fill settles what the source's own reservations leave open, so that a changed
// default is a changed reservation.
func (s *Source) fill(r *reservation.Reservation) {
	if r.Lead == nil {
		r.Lead = &s.Lead
	}
	if r.Tail == nil {
		r.Tail = &s.Tail
	}
	if r.Missed == "" {
		r.Missed = s.Missed
	}
}

// fingerprint stands for what was read and what was assumed for it.
func (s *Source) fingerprint(read string) string {
	return fmt.Sprintf("%s %d %d %s", read, s.Lead, s.Tail, s.Missed)
}

// A LoadOptions modifies a load.
type LoadOptions struct {
	Force  bool // also when it removes more than Settings.MaxRemoval of what is live
	DryRun bool // change nothing
}

// A Report is what a load did, or would do.
type Report struct {
	Generation uint64
	Added      int
	Changed    int
	Removed    int
	Rejected   int
	Unchanged  int
	Lines      []ReportLine
	// Err is why a source was not applied; the others were. Its kind is that of
	// the first that failed.
	Err error
}

// A ReportLine is one thing to know about a load.
type ReportLine struct {
	What   string // added, changed, removed, rejected, kept, failed, notice
	ID     string
	Source string
	Text   string
}

// maxChangeLines bounds how many changed reservations a report names.
const maxChangeLines = 1000

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

// A loader merges the requests for a load: whoever asks waits for the load that
// began after he asked, and all who ask meanwhile share the next one.
type loader struct {
	mu      sync.Mutex
	sources []Source
	next    *round
	failed  map[string]string // by source, of its last load
	token   chan struct{}     // capacity one
	watch   chan struct{}     // capacity one: the sources are others now
	before  func(context.Context) error
}

// A round is a load that has not begun.
type round struct {
	force  bool
	done   chan struct{}
	report Report
	err    error
}

func (l *loader) init() {
	l.token, l.watch = make(chan struct{}, 1), make(chan struct{}, 1)
	l.failed = make(map[string]string)
}

func newRound() *round { return &round{done: make(chan struct{})} }

// SetSources says where reservations come from, from the next load on. The
// reservations of a source that is not among them any more are removed by that
// load, within the limit for removals.
func (e *Engine) SetSources(sources []Source) {
	e.loader.mu.Lock()
	e.loader.sources = sources
	e.loader.mu.Unlock()
	select {
	case e.loader.watch <- struct{}{}:
	default:
	}
}

// BeforeLoad has fn called at the beginning of each load that was asked for, to
// read again what else may have changed. If it fails, the load goes on with
// what was in force, and the report says so. It must be set before RunLoads.
func (e *Engine) BeforeLoad(fn func(context.Context) error) { e.loader.before = fn }

// AskLoad asks for a load and does not wait for it.
func (e *Engine) AskLoad() { e.join(false) }

func (e *Engine) join(force bool) *round {
	l := &e.loader
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.next == nil {
		l.next = newRound()
	}
	l.next.force = l.next.force || force
	select {
	case l.token <- struct{}{}:
	default:
	}
	return l.next
}

// Load asks for a load that begins after the call, and waits for it.
func (e *Engine) Load(ctx context.Context, o LoadOptions) (Report, error) {
	if o.DryRun {
		return e.load(ctx, o)
	}
	r := e.join(o.Force)
	select {
	case <-ctx.Done():
		return Report{}, context.Cause(ctx)
	case <-r.done:
		return r.report, r.err
	}
}

// RunLoads does the loads that are asked for, and watches the sources, until
// ctx is done.
func (e *Engine) RunLoads(ctx context.Context) error {
	l := &e.loader
	stop := func() {}
	defer func() { stop() }()
	for {
		select {
		case <-ctx.Done():
		case <-l.watch:
			stop()
			stop = e.watchSources(ctx)
		case <-l.token:
			l.mu.Lock()
			r := l.next
			l.next = nil
			l.mu.Unlock()
			r.report, r.err = e.load(ctx, LoadOptions{Force: r.force})
			close(r.done)
		}
		if ctx.Err() != nil {
			l.mu.Lock()
			defer l.mu.Unlock()
			if l.next != nil {
				l.next.err = fmt.Errorf("the daemon is stopping: %w", fault.Unavailable)
				close(l.next.done)
				l.next = nil
			}
			return context.Cause(ctx)
		}
	}
}

// watchSources starts a goroutine for each source, and returns what ends them
// and waits for that.
func (e *Engine) watchSources(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	for _, s := range e.sources() {
		wg.Go(func() {
			if err := s.Watch(ctx, e.AskLoad); err != nil && ctx.Err() == nil {
				e.parts.Log.Warn("cannot watch a source; it is read on reload only", "source", s.Name(), "err", err)
			}
		})
	}
	return func() { cancel(); wg.Wait() }
}

func (e *Engine) sources() []Source {
	e.loader.mu.Lock()
	defer e.loader.mu.Unlock()
	return slices.Clone(e.loader.sources)
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
	var broken error
	if e.loader.before != nil && !o.DryRun {
		broken = e.loader.before(ctx)
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
		rep.Generation = number(t, generation)
		applied := false
		for _, r := range readings {
			part, err := e.applyReading(t, r, rep.Generation+1, o)
			if err != nil {
				return err
			}
			applied = applied || part.Err == nil
			rep.merge(part)
		}
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
		for i := range r.set.Reservations {
			s.fill(&r.set.Reservations[i])
		}
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

// applyReading applies what one source said. Its error is of the store.
func (e *Engine) applyReading(t *txn, r *reading, gen uint64, o LoadOptions) (rep Report, err error) {
	if r.err != nil {
		rep.fail(r.Name(), r.err)
		return rep, nil
	}
	if r.unchanged {
		rep.Unchanged = r.last.Count
		rep.tell(r.Name(), r.last.Rejects, r.last.Notices)
		return rep, nil
	}
	known, live := t.known(r.name())
	diff := reservation.Compare(known, r.set)
	goingLive := 0
	for _, id := range diff.Removed {
		if live[id] {
			goingLive++
		}
	}
	if err := reservation.Guard(len(live), goingLive, t.set.MaxRemoval); err != nil && !o.Force {
		rep.fail(r.Name(), err)
		return rep, nil
	}
	rejects := slices.Clone(r.set.Rejects)
	for _, id := range diff.Kept {
		rep.add(ReportLine{"kept", id, r.Name(), "rejected now; its earlier version stays in force"})
	}
	rep.Unchanged = diff.Unchanged
	for _, res := range slices.Concat(diff.Added, diff.Changed) {
		what, err := e.announce(t, r, &res, gen)
		if err != nil {
			return rep, err
		}
		if what == "foreign" {
			rejects = append(rejects, reservation.Reject{Where: res.Where, ID: res.ID, Text: "another source announces this id already"})
			continue
		}
		rep.count(what, res.ID, r.Name())
	}
	rep.tell(r.Name(), rejects, r.set.Notices)
	for _, id := range diff.Removed {
		if err := t.withdraw(id, r.gone); err != nil {
			return rep, err
		}
		if live[id] {
			rep.count("removed", id, r.Name())
		}
	}
	if r.gone {
		return rep, t.Delete(loadKey + r.name())
	}
	data, err := json.Marshal(lastLoad{
		Fingerprint: r.fingerprint(r.set.Fingerprint), Read: t.now, Count: len(r.set.Reservations),
		Rejects: rejects, Notices: r.set.Notices,
	})
	if err != nil {
		return rep, err
	}
	return rep, t.Put(loadKey+r.name(), data)
}

// known lists what a source announces by its last load, and what of that is live.
func (t *txn) known(source string) (hashes map[string][16]byte, live map[string]bool) {
	hashes, live = make(map[string][16]byte), make(map[string]bool)
	prefix := sourceKey + source + "/"
	for k, v := range t.Scan(prefix, "") {
		id := strings.TrimPrefix(k, prefix)
		h, l := parseMark(v)
		hashes[id] = h
		if l {
			live[id] = true
		}
	}
	return hashes, live
}

// announce makes so what a source says of one reservation. It returns how it
// counts: added, changed, foreign (another source has it), or not at all.
func (e *Engine) announce(t *txn, src *reading, res *reservation.Reservation, gen uint64) (what string, err error) {
	r, err := t.get(res.ID)
	switch {
	case errors.Is(err, fault.NotFound):
		r = &Record{ID: res.ID, Kind: Reservation, State: Scheduled, Created: t.now, Since: t.now}
		if err := r.announced(e, t, src, res, gen); err != nil {
			return "", err
		}
		if r.over(t.now) { // its slot was over before it was heard of
			return "", nil
		}
		t.news = append(t.news, Happening{Time: t.now, What: "state", ID: r.ID, State: string(r.State)})
		return "added", t.save(nil, r)
	case err != nil:
		return "", err
	case r.Source != "" && r.Source != src.name():
		return "foreign", nil
	}
	old := r.clone()
	what = "changed"
	if r.Source == "" {
		what = "added"
		r.Quit = false
	}
	if err := r.announced(e, t, src, res, gen); err != nil {
		return "", err
	}
	if old.State == Finished && r.over(t.now) {
		what = ""
	}
	moved := what == "added" || !old.Start.Equal(r.Start) || !old.End.Equal(r.End) || old.Lead != r.Lead || old.Tail != r.Tail ||
		!slices.Equal(old.Devices, r.Devices)
	if moved {
		if err := t.move(r); err != nil {
			return "", err
		}
	}
	t.later = append(t.later, r.ID)
	return what, t.save(old, r)
}

// move takes r through what follows from another slot.
func (t *txn) move(r *Record) error {
	const why = "its reservation was changed"
	future := r.activateAt().After(t.now.Add(t.set.ArmAhead))
	switch r.State {
	case Activating, Active:
		if !future || r.Ending != "" { // only its end is another, which the index follows
			r.Renew = r.Ending != "" && !r.Quit
			return nil
		}
		r.Renew = true
		return t.apply(r, Cancel, why)
	case Deactivating, Stuck:
		r.Renew = !r.Quit
		return nil
	case Finished:
		if r.Quit || r.over(t.now) {
			return nil
		}
	}
	r.Renew = true
	if err := t.apply(r, Move, why); err != nil {
		return err
	}
	if r.State == Scheduled || r.State == Held {
		r.Renew, r.Reason = false, ""
	}
	return nil
}

// announced sets what the source says.
func (r *Record) announced(e *Engine, t *txn, src *reading, res *reservation.Reservation, gen uint64) error {
	hash := res.Hash()
	r.Source, r.Hash, r.Generation = src.name(), hash[:], gen
	r.Owner, r.Label, r.Start, r.End = res.Owner, res.Label, res.Start.Round(0), res.End.Round(0)
	r.Lead, r.Tail, r.Missed = *res.Lead, *res.Tail, res.Missed
	r.Devices, r.Linked = res.Devices, false
	r.Argv, r.Undo, r.Env = res.Activate, res.Deactivate, res.Env
	r.Timeout, r.Grace, r.Retries = res.Timeout, res.Grace, res.Retries
	r.TopologyName = res.TopologyName
	if res.Topology != "" && r.TopologyName == "" {
		r.TopologyName = "inline"
	}
	if now := t.topology(r.ID, "source"); res.Topology == "" && now != nil {
		if err := t.Delete(topologyOf(r.ID, "source")); err != nil {
			return err
		}
	} else if res.Topology != "" && !bytes.Equal(now, []byte(res.Topology)) {
		if err := t.Put(topologyOf(r.ID, "source"), []byte(res.Topology)); err != nil {
			return err
		}
	}
	return e.devicesOf(t, r)
}

// devicesOf gives r, whose source names no devices, those of the topology that
// linkconf attached to it.
func (e *Engine) devicesOf(t *txn, r *Record) error {
	if len(r.Devices) > 0 && !r.Linked {
		return nil
	}
	link := t.topology(r.ID, "link")
	r.Devices, r.Linked = nil, link != nil
	if link == nil {
		return nil
	}
	nodes, err := e.parts.Nodes(string(link))
	r.Devices = nodes
	return err
}

// withdraw ends a reservation that its source announces no more.
func (t *txn) withdraw(id string, sourceGone bool) error {
	r, err := t.get(id)
	if err != nil {
		return err
	}
	old := r.clone()
	r.Source, r.Hash = "", nil
	why := "its source announces it no more"
	if sourceGone {
		why = "its source is not configured any more"
	}
	if _, ok := next(r.State, Remove, r.facts(t.now)); ok {
		r.Renew = false
		if err := t.apply(r, Remove, why); err != nil {
			return err
		}
	}
	t.later = append(t.later, id)
	return t.save(old, r)
}

// Summary is the report's first line, without the code.
func (r *Report) Summary() string {
	return fmt.Sprintf("generation=%d added=%d changed=%d removed=%d rejected=%d", r.Generation, r.Added, r.Changed, r.Removed, r.Rejected)
}

func (r *Report) add(l ReportLine) { r.Lines = append(r.Lines, l) }

func (r *Report) fail(source string, err error) {
	r.add(ReportLine{"failed", "", source, err.Error()})
	if r.Err == nil {
		r.Err = fmt.Errorf("%s: %w", source, err)
	}
}

func (r *Report) tell(source string, rejects []reservation.Reject, notices []string) {
	for _, x := range rejects {
		r.Rejected++
		r.add(ReportLine{"rejected", x.ID, source, x.Where + ": " + x.Text})
	}
	for _, n := range notices {
		r.add(ReportLine{"notice", "", source, n})
	}
}

// count counts a change, and names it unless there are too many.
func (r *Report) count(what, id, source string) {
	switch {
	case what == "":
		return
	case what == "added":
		r.Added++
	case what == "changed":
		r.Changed++
	case what == "removed":
		r.Removed++
	}
	if len(r.Lines) < maxChangeLines {
		r.add(ReportLine{What: what, ID: id, Source: source})
	}
}

func (r *Report) merge(part Report) {
	r.Added += part.Added
	r.Changed += part.Changed
	r.Removed += part.Removed
	r.Rejected += part.Rejected
	r.Unchanged += part.Unchanged
	r.Lines = append(r.Lines, part.Lines...)
	if r.Err == nil {
		r.Err = part.Err
	}
}
