package activation

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"activationd/internal/fault"
)

// A Filter chooses activations, sorts them and cuts the list. Empty fields do not filter, and
// those that are set must all match.
type Filter struct {
	// In has lists of conditions: of each list, one condition must be met.
	In       [][]Condition
	Finished bool // finished ones too, when In is empty
	Owner    string
	Kind     Kind
	Label    string // may have wildcards: see [Like]
	ID       string // may have wildcards
	From     string // the producer's name whose activations are chosen
	Tags     []string
	Devices  []string // a reservation has one of these devices, or a job requests or holds one of them as a lock
	Text     string   // that the id, owner, label, reason, command, script or standard input contains, in upper or lower case

	// Since and Until choose by when something happened: see [Record.overlaps].
	Since, Until time.Time

	EndsAfter time.Time // only slots that end later; zero: all

	Verb string // one of [Verbs]; it chooses nothing, but [View.Can] says whether the actor can carry it out
	By   Actor  // what the actor may not see does not match

	Sort    string // see [SortWords]; empty: unfinished ones by the time at which they are due, then finished ones, the newest first
	Reverse bool
	Limit   int    // how many at most; 0: all
	After   string // only those after the one of this id, which need not be there any more; the list is sorted by id
}

// A Condition is a state, an outcome or a kind, or several of them. Empty fields do not
// matter.
type Condition struct {
	State       State
	Outcome     Outcome
	Kind        Kind
	Conflicting bool // it is marked as conflicting
}

// Met reports whether r is as c says.
func (c Condition) Met(r *Record) bool {
	return (c.State == "" || c.State == r.State) && (c.Outcome == "" || c.Outcome == r.Outcome) && (c.Kind == "" || c.Kind == r.Kind) &&
		(!c.Conflicting || len(r.Conflicts) > 0)
}

// states reports whether activations in a state may be chosen.
func (f *Filter) states(s State) bool {
	for _, list := range f.In {
		if !slices.ContainsFunc(list, func(c Condition) bool { return (c.State == "" || c.State == s) && (!c.Conflicting || s != Finished) }) {
			return false
		}
	}
	return f.Finished || len(f.In) > 0 || s != Finished
}

// wants returns what must be known of a record to match it and to sort it.
func (f *Filter) wants() (w wanted) {
	for _, n := range []struct {
		need bool
		what wanted
	}{
		{f.Owner != "" || f.Sort == "owner", wantOwner},
		{f.Label != "", wantLabel},
		{f.ID != "", wantID},
		{f.From != "", wantFrom},
		{len(f.Tags) > 0, wantTags},
		{len(f.Devices) > 0, wantSlot | wantLocks},
		{f.Text != "", wantID | wantOwner | wantLabel | wantTexts},
		{!f.Since.IsZero() || !f.Until.IsZero(), wantStart | wantSlot},
		{!f.EndsAfter.IsZero(), wantSlot},
		{f.Sort == "planned", wantStart},
		{slices.ContainsFunc(f.In, func(list []Condition) bool {
			return slices.ContainsFunc(list, func(c Condition) bool { return c.Conflicting })
		}), wantConflicts},
		{f.By.OnlyOwn || f.By.NoJobs || f.By.NoInputs, wantOwner | wantUser},
	} {
		if n.need {
			w |= n.what
		}
	}
	return w
}

// A stretch is when an activation began and ended; zero: not yet, or never.
type stretch struct {
	began, ended time.Time
	use          []byte // of a head that was read: see headUse
}

// stretch returns when r began and ended. Of an attempt that runs the record has no start: it
// began when it was claimed, or is to start.
func (r *Record) stretch() stretch {
	s := stretch{began: r.Started(), ended: r.Ended()}
	if a := r.openAttempt(); a != nil && s.began.IsZero() {
		s.began = a.Claimed
		if a.NotBefore.After(a.Claimed) {
			s.began = a.NotBefore
		}
	}
	return s
}

// overlaps reports whether something happened to r from since to until: r ended at since or
// later, or has not ended, and it began or was to begin at until or earlier. An activation
// that has not ended reaches to the end of its slot, and at least to now. A zero time is no
// limit.
func (r *Record) overlaps(s stretch, since, until, now time.Time) bool {
	from, to := r.Start, s.ended
	if !s.began.IsZero() && s.began.Before(from) {
		from = s.began
	}
	if to.IsZero() {
		for _, t := range []time.Time{from, now, r.End} {
			if t.After(to) {
				to = t
			}
		}
	} else if to.Before(from) { // it was cancelled before it was to begin
		from = to
	}
	return !to.Before(since) && (until.IsZero() || !from.After(until))
}

// says reports whether one of r's texts contains text, which is in lower case.
func (r *Record) says(text string) bool {
	for _, s := range [...]string{r.ID, r.Owner, r.Label, r.Reason, r.Script, strings.Join(r.Argv, " "), strings.Join(r.Undo, " ")} {
		if containsFold(s, text) {
			return true
		}
	}
	return containsFold(r.Stdin, text)
}

// containsFold reports whether s, in lower case, contains text. If s is ASCII, as most texts
// are, it does not allocate.
func containsFold[T string | []byte](s T, text string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return strings.Contains(strings.ToLower(string(s)), text)
		}
	}
	lower := func(c byte) byte {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		return c
	}
	for i := 0; i+len(text) <= len(s); i++ {
		n := 0
		for n < len(text) && lower(s[i+n]) == text[n] {
			n++
		}
		if n == len(text) {
			return true
		}
	}
	return false
}

// match reports whether f chooses r, of which the client sees no more than is set.
func (f *Filter) match(r *Record, s stretch, now time.Time) bool {
	switch {
	case !f.Finished && len(f.In) == 0 && r.State == Finished:
	case slices.ContainsFunc(f.In, func(list []Condition) bool {
		return !slices.ContainsFunc(list, func(c Condition) bool { return c.Met(r) })
	}):
	case f.Owner != "" && f.Owner != r.Owner:
	case f.Kind != r.Kind && (f.Kind != "" || r.Kind == Service): // services have a list of their own
	case f.Label != "" && !Like(f.Label, r.Label):
	case f.ID != "" && !Like(f.ID, r.ID):
	case f.From != "" && f.From != r.From:
	case slices.ContainsFunc(f.Tags, func(tag string) bool { return !slices.Contains(r.Tags, tag) }):
	case len(f.Devices) > 0 && !slices.ContainsFunc(f.Devices, r.uses):
	case !r.overlaps(s, f.Since, f.Until, now):
	case !f.EndsAfter.IsZero() && !r.End.After(f.EndsAfter):
	case f.Text != "" && !r.says(strings.ToLower(f.Text)):
	default:
		return true
	}
	return false
}

// uses reports whether r has a device, or requests or holds a lock of that name.
func (r *Record) uses(name string) bool {
	is := func(spec string) bool {
		how, ok := strings.CutPrefix(spec, name)
		return ok && (how == "" || how == sharedSuffix || how[0] == '=')
	}
	return slices.Contains(r.Devices, name) || slices.ContainsFunc(r.Locks, is) || slices.ContainsFunc(r.LocksHeld, is)
}

// Like reports whether text matches a pattern, in which * stands for any text and ?
// for one character.
func Like(pattern, text string) bool {
	p, s := []rune(pattern), []rune(text)
	i, j, star, from := 0, 0, -1, 0
	for j < len(s) {
		switch {
		case i < len(p) && p[i] == '*':
			star, from = i, j
			i++
		case i < len(p) && (p[i] == '?' || p[i] == s[j]):
			i++
			j++
		case star >= 0: // the last star stands for one more character
			from++
			i, j = star+1, from
		default:
			return false
		}
	}
	return strings.Trim(string(p[i:]), "*") == ""
}

// A sortKey is an activation's place in a list.
type sortKey struct {
	none   bool // it does not have what the list is sorted by, and comes last
	group  int
	number int64
	text   string
	key    string // of the record; decides if all else is the same
}

// sortKeys are what a list can be sorted by.
var sortKeys = map[string]func(r *Record, s stretch) sortKey{
	"": func(r *Record, s stretch) sortKey {
		if r.State == Finished {
			return sortKey{group: 1, number: -s.ended.UnixNano()}
		}
		return sortKey{number: r.listedAt().UnixNano()}
	},
	"id":    func(*Record, stretch) sortKey { return sortKey{} },
	"owner": func(r *Record, _ stretch) sortKey { return sortKey{text: strings.Clone(r.Owner)} }, // see readHead
	"state": func(r *Record, _ stretch) sortKey {
		return sortKey{group: slices.Index(States[:], r.State), text: string(r.Outcome)}
	},
	"planned": func(r *Record, _ stretch) sortKey { return byTime(r.Start) },
	"started": func(_ *Record, s stretch) sortKey { return byTime(s.began) },
	"ended":   func(_ *Record, s stretch) sortKey { return byTime(s.ended) },
	"took": func(_ *Record, s stretch) sortKey {
		if s.began.IsZero() || s.ended.IsZero() {
			return sortKey{none: true}
		}
		return sortKey{number: int64(s.ended.Sub(s.began))}
	},
	"due": func(r *Record, _ stretch) sortKey { return byTime(r.NextDue()) },
}

func byTime(t time.Time) sortKey {
	if t.IsZero() {
		return sortKey{none: true}
	}
	return sortKey{number: t.UnixNano()}
}

// SortWords are the possible values of [Filter.Sort].
func SortWords() []string { return slices.Sorted(maps.Keys(sortKeys))[1:] }

// compare orders two activations of a list.
func (f *Filter) compare(a, b *sortKey) int {
	if a.none != b.none {
		if a.none {
			return 1
		}
		return -1
	}
	c := cmp.Compare(a.group, b.group)
	if c == 0 {
		c = cmp.Compare(a.number, b.number)
	}
	if c == 0 {
		c = strings.Compare(a.text, b.text)
	}
	if f.Reverse {
		c = -c
	}
	if c == 0 {
		if c = strings.Compare(a.key, b.key); f.Sort == "id" && f.Reverse {
			c = -c
		}
	}
	return c
}

// Limits of what one transaction reads. A long one would keep the store from reusing its
// pages.
const (
	pageSize  = 1000    // records that are decoded for a page
	pageBytes = 4 << 20 // their size, as they are stored
	pagePast  = 20_000  // records of which only the head is read
)

// maxKeys bounds how many activations a list sorts at once, because their keys are in
// memory.
const maxKeys = 100_000

// List hands the activations that match to fn, sorted. It stops at an error of fn and returns
// that. The list is not a snapshot: changes that happen meanwhile may be in it or not. In a
// list of more than maxKeys, an activation that changes meanwhile may be missing or be there
// twice. Standard input and environment are left out.
//
// It first reads the heads of all records and keeps the keys of those that come first, and
// then decodes only these.
func (e *Engine) List(ctx context.Context, f Filter, fn func(View) error) error {
	return e.list(ctx, f, maxKeys, fn)
}

// list is List with at most so many keys in memory.
func (e *Engine) list(ctx context.Context, f Filter, most int, fn func(View) error) error {
	if sortKeys[f.Sort] == nil {
		return fmt.Errorf("sort: a list cannot be sorted by %q; use one of %s: %w", f.Sort, strings.Join(SortWords(), ", "), fault.Invalid)
	}
	left := f.Limit
	chosen := choice{f: &f}
	if f.byID() && f.Limit > 0 && f.Limit <= pageSize {
		chosen.views = make(map[string]View)
	}
	if f.After != "" {
		if !f.byID() {
			return fmt.Errorf("after: only a list that is sorted by id, and not reversed, can be continued: %w", fault.Invalid)
		}
		chosen.after = &sortKey{key: key(f.After)}
	}
	for {
		chosen.most = most
		if f.Limit > 0 {
			chosen.most = min(left, most)
		}
		if err := e.choose(ctx, &chosen); err != nil {
			return err
		}
		n, err := e.hand(ctx, &f, chosen.keys, chosen.views, fn)
		if left -= n; err != nil || f.Limit > 0 && left <= 0 || len(chosen.keys) < chosen.most {
			return err
		}
		chosen.after = &chosen.keys[len(chosen.keys)-1]
	}
}

// byID reports whether the list is in the order of the records in the store.
func (f *Filter) byID() bool { return f.Sort == "id" && !f.Reverse }

// CompareIDs orders ids as a list that is sorted by id does: those of jobs by their numbers.
func CompareIDs(a, b string) int { return strings.Compare(key(a), key(b)) }

// A choice has the keys of the activations that come first in a list.
type choice struct {
	f     *Filter
	after *sortKey // only those after it; nil: all
	most  int      // how many
	keys  []sortKey
	// views are those that had to be decoded to be chosen, so that a page of a list in the order of
	// the store decodes each record once; nil: they are not kept.
	views map[string]View
	last  *sortKey // with so many before it, those after it are not among them; nil: there are fewer
}

func (c *choice) add(k sortKey) {
	if c.after != nil && c.f.compare(&k, c.after) <= 0 || c.last != nil && c.f.compare(&k, c.last) >= 0 {
		return
	}
	if c.keys = append(c.keys, k); len(c.keys) == 2*c.most {
		c.cut()
	}
}

// cut sorts the keys and leaves at most c.most.
func (c *choice) cut() {
	slices.SortFunc(c.keys, func(a, b sortKey) int { return c.f.compare(&a, &b) })
	if len(c.keys) >= c.most {
		c.keys = c.keys[:c.most]
		last := c.keys[c.most-1]
		c.last = &last
	}
}

// choose fills c with the keys of all records that match.
func (e *Engine) choose(ctx context.Context, c *choice) error {
	c.keys, c.last = nil, nil
	keyOf := sortKeys[c.f.Sort]
	want, all := c.f.wants(), c.f.Finished && len(c.f.In) == 0
	from := ""
	if c.f.byID() && c.after != nil {
		from = c.after.key
	}
	for {
		page := choice{f: c.f, after: c.after, most: c.most}
		var next string // the first key of the next page; empty: there is none
		err := e.View(ctx, func(t *Txn) error {
			page.keys, page.last, next = page.keys[:0], c.last, ""
			read, decoded, size := 0, 0, 0
			var r Record
			var decodedView View
			for k, data := range t.candidates(c.f, from) {
				if read == pagePast || decoded == pageSize || size > pageBytes {
					next = k
					return nil
				}
				read++
				if !all && !c.f.states(stateIn(data)) {
					continue
				}
				r = Record{Order: Order{Stdin: r.Stdin[:0]}} // its buffer is used again
				s, ok := readHead(data, &r, want)
				if ok && r.State == Scheduled && t.PassedOver(r.activateAt()) {
					ok = false // its reason is another one
				}
				var inputs bool
				if ok {
					_, inputs = r.hide(c.f.By)
				} else {
					v, err := t.decodeView(k, data, c.f.By)
					if err != nil { // the list goes on with the others
						t.Log(slog.LevelError, "a record cannot be read", "key", k, "err", err)
						continue
					}
					r, s, inputs, decodedView = v.Record, v.stretch(), v.Inputs, v
					decoded++
					size += len(data)
				}
				if c.f.Text != "" && inputs {
					if err := t.readStdin(&r); err != nil {
						t.Log(slog.LevelError, "a record cannot be read", "key", k, "err", err)
						continue
					}
					size += r.StdinSize
				}
				if !c.f.match(&r, s, t.Now) {
					continue
				}
				if !ok && c.views != nil {
					decodedView.Can = decodedView.can(c.f.By, c.f.Verb, t.Moment)
					decodedView.Stdin, decodedView.Env = nil, nil
					c.views[k] = decodedView
				}
				at := keyOf(&r, s)
				at.key = k
				page.add(at)
				if c.f.byID() && len(c.keys)+len(page.keys) >= c.most {
					return nil // what follows in the store also follows in the list
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		for _, k := range page.keys {
			c.add(k)
		}
		if next == "" {
			c.cut()
			return nil
		}
		from = next
	}
}

// decodeView decodes a record and leaves out what the client may not see.
func (t *Txn) decodeView(key string, data []byte, by Actor) (View, error) {
	r, err := decode(key, data)
	if err != nil {
		return View{}, err
	}
	return t.view(r).For(by), nil
}

// hand decodes the chosen activations, except those in views, and hands those to fn that still
// match. It returns how many these are.
func (e *Engine) hand(ctx context.Context, f *Filter, keys []sortKey, views map[string]View, fn func(View) error) (n int, err error) {
	var page []View
	for len(keys) > 0 {
		read := 0
		err := e.View(ctx, func(t *Txn) error {
			page, read = page[:0], 0
			size := 0
			for _, k := range keys {
				if read == pageSize || size > pageBytes {
					return nil
				}
				read++
				if v, ok := views[k.key]; ok {
					page = append(page, v)
					continue
				}
				data := t.Get(k.key)
				if data == nil {
					continue // it has been removed
				}
				v, err := t.decodeView(k.key, data, f.By)
				if err == nil && f.Text != "" && v.Inputs {
					err = t.readStdin(&v.Record)
				}
				if err != nil {
					t.Log(slog.LevelError, "a record cannot be read", "key", k.key, "err", err)
					continue
				}
				size += len(data) + v.StdinSize
				if f.match(&v.Record, v.stretch(), t.Now) {
					v.Can = v.can(f.By, f.Verb, t.Moment)
					v.Stdin, v.Env = nil, nil // megabytes, perhaps, which a list does not have
					page = append(page, v)
				}
			}
			return nil
		})
		if err != nil {
			return n, err
		}
		keys = keys[read:]
		for _, v := range page {
			if v.Running() {
				e.seeRun(&v)
			}
			n++
			if err := fn(v); err != nil {
				return n, err
			}
		}
	}
	return n, nil
}
