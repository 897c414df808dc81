package activation

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"activationd/internal/fault"
	"activationd/loginstore"
	"activationd/store"
	"activationd/supervisor"
	"activationd/supervisor/wrapper"
)

// A View is a record with what is not kept in it but follows from others.
type View struct {
	Record
	WaitsFor []string // what keeps it from running: "lock sw1, held by 1042@ostrava"
	Topology string   // of what runs, or else of what would run
	Hidden   bool     // what is not for whoever asked has been left out, see [View.For]
}

// Get returns one activation. It is fault.NotFound when there is none.
func (e *Engine) Get(ctx context.Context, id string) (View, error) {
	var v View
	err := e.parts.DB.View(ctx, func(tx store.Tx) error {
		t := e.begin(tx)
		r, err := t.get(id)
		if err != nil {
			return err
		}
		v = t.view(r)
		for _, which := range []string{"applied", "link", "source"} {
			if which == "applied" && !r.Dirty && r.State != Active {
				continue
			}
			if text := t.topology(id, which); text != nil {
				v.Topology = string(text)
				break
			}
		}
		return nil
	})
	if a := v.open(); err == nil && a != nil {
		k := supervisor.Key{ID: v.ID, Phase: a.Phase, N: a.N}
		a.Result.PID, a.Result.Started, _ = e.parts.Runs.Started(k)
		if cgroup := e.parts.Runs.Frozen(k); cgroup != "" {
			v.WaitsFor = append(v.WaitsFor, "the thaw of cgroup "+cgroup+", which is frozen")
		}
	}
	return v, err
}

func (t *txn) view(r *Record) View {
	v := View{Record: *r.clone()}
	if r.RetryAt.After(t.now) && r.open() == nil && (r.State == Waiting || r.State == Deactivating) {
		v.Reason += "; the next try is due at " + stamp(r.RetryAt)
	}
	if r.State == Scheduled && t.passedOver(r.activateAt()) {
		v.Reason = "its time was passed over when the clock was set, which is not trusted yet: it waits " + t.believedBy()
	}
	if a := r.hangs(); a != nil {
		v.WaitsFor = append(v.WaitsFor, "the end of process "+wrapper.HungText(a.Result.Hung)+
			", which hangs in the kernel and cannot be killed; if it can do no harm any more, forgive "+r.ID+" lets go of it")
	}
	if r.State == Waiting && r.Awaits {
		if a := t.awaited(r); a != "" {
			v.WaitsFor = append(v.WaitsFor, a)
			v.Reason = waitsFor + a
		}
	}
	if r.State == Waiting && r.Line > 0 {
		switch b := t.blocker(r); {
		case b != "":
			v.WaitsFor = append(v.WaitsFor, b)
			v.Reason = waitsFor + b // as it is now, not as it was when it came into line
		case r.mayBeOver(t.moment):
			v.WaitsFor, v.Reason = append(v.WaitsFor, trustedClock), waitsFor+trustedClock
		case r.ForSlot:
			v.WaitsFor = append(v.WaitsFor, "a free slot")
		case r.ForLoad:
			w := t.waitsForLoad()
			v.WaitsFor, v.Reason = append(v.WaitsFor, w), waitsFor+w
		}
	}
	return v
}

// A Filter says which activations are asked for. Empty fields do not filter.
type Filter struct {
	States   []State
	Finished bool // finished ones too, when States is empty
	Owner    string
	Kind     Kind
	Label    string
	// Recurrence is whose activations are asked for.
	Recurrence string
	Tags       []string // all of them
	By         By       // what is not for him to see is left out, and does not match
}

// states reports whether those in a state are asked for.
func (f *Filter) states(s State) bool {
	if len(f.States) > 0 {
		return slices.Contains(f.States, s)
	}
	return f.Finished || s != Finished
}

func (f *Filter) match(r *Record) bool {
	switch {
	case !f.states(r.State):
	case f.Owner != "" && f.Owner != r.Owner:
	case f.Kind != "" && f.Kind != r.Kind:
	case f.Label != "" && f.Label != r.Label:
	case f.Recurrence != "" && f.Recurrence != r.Recurrence:
	case slices.ContainsFunc(f.Tags, func(tag string) bool { return !slices.Contains(r.Tags, tag) }):
	default:
		return true
	}
	return false
}

// These bound what is read in one transaction: one that is long would keep the
// store from reusing its pages.
const (
	pageSize  = 1000    // records of a page
	pageBytes = 4 << 20 // their size, as they are stored
	pagePast  = 20_000  // records that are looked at, most of them to pass over
)

// List hands the activations that match to fn: jobs in the order of their
// numbers, then reservations in the order of their ids. The list is not of one
// instant: what changes meanwhile may be seen before or after. What goes to their
// standard input, and their variables, are left out.
func (e *Engine) List(ctx context.Context, f Filter, fn func(View) error) error {
	from := ""
	for {
		var page []View
		var next string // the first key of the next page; empty: there is none
		err := e.parts.DB.View(ctx, func(tx store.Tx) error {
			page, next = page[:0], ""
			read, size := 0, 0
			t := e.begin(tx)
			for k, data := range tx.Scan(recordKey, from) {
				if read == pagePast || len(page) == pageSize || size > pageBytes {
					next = k
					return nil
				}
				read++
				if !f.states(stateIn(data)) {
					continue
				}
				size += len(data)
				r, err := decode(k, data)
				if err != nil { // the others are there to be seen
					e.parts.Log.Error("a record cannot be read", "key", k, "err", err)
					continue
				}
				if !f.match(r) {
					continue
				}
				r.Stdin, r.Env = nil, nil // megabytes, perhaps, which a list does not have
				if v := t.view(r).For(f.By); !v.Hidden || f.match(&v.Record) {
					page = append(page, v)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		for _, v := range page {
			if err := fn(v); err != nil {
				return err
			}
		}
		if next == "" {
			return nil
		}
		from = next
	}
}

// Wait waits until the activation is finished and returns it then.
func (e *Engine) Wait(ctx context.Context, id string) (View, error) {
	since := e.hub.newest()
	errFinished := errors.New("finished")
	look := func() (v View, err error) {
		if v, err = e.Get(ctx, id); err == nil && v.State == Finished {
			err = errFinished
		}
		return v, err
	}
	v, err := look()
	if err == nil {
		err = e.Follow(ctx, since, func(h Happening) (err error) {
			if h.ID == id || h.Seq != since+1 { // some were missed: it may have been among them
				v, err = look()
			}
			since = h.Seq
			return err
		})
	}
	if errors.Is(err, errFinished) {
		return v, nil
	}
	return v, err
}

// LogFile returns the path of an attempt's output. No phase means the newest
// attempt's, n 0 the newest of the phase.
func (e *Engine) LogFile(ctx context.Context, by By, id, phase string, n int) (path string, err error) {
	v, err := e.Get(ctx, id)
	if err != nil {
		return "", err
	}
	if err := by.check(&v.Record); err != nil {
		return "", err
	}
	for _, a := range slices.Backward(v.Attempts) {
		switch a.Result.Reason {
		case wrapper.NotStarted, wrapper.Void, wrapper.Unborn:
			continue // what is there under its name may be another's, from before a backup was restored
		}
		if (phase == "" || phase == a.Phase) && (n == 0 || n == a.N) {
			return filepath.Join(e.RunDir(v.ID, a), "log"), nil // a job's number may have been given as 07
		}
	}
	return "", fmt.Errorf("%s: %w", id, ErrNoAttempt)
}

// ErrNoAttempt says that there is no such attempt (yet). It is of kind
// fault.NotFound.
var ErrNoAttempt = fmt.Errorf("has no such attempt, or none yet: %w", fault.NotFound)

// Writes reports whether the run of that name, one of id's attempts, may still
// write output.
func (e *Engine) Writes(ctx context.Context, id, run string) (bool, error) {
	v, err := e.Get(ctx, id)
	if err != nil {
		return false, err
	}
	a := v.open()
	return a != nil && supervisor.Key{ID: v.ID, Phase: a.Phase, N: a.N}.String() == run, nil
}

// Newest returns the number of the newest happening, to be followed from.
func (e *Engine) Newest() uint64 { return e.hub.newest() }

// Settings returns what is in force.
func (e *Engine) Settings() *Settings { return e.set.Load() }

// NextDue is the instant of what comes next for the activation; when there is
// none, that of its start.
func (r *Record) NextDue() time.Time {
	if at, _ := r.due(); !at.IsZero() && r.State != Finished {
		return at
	}
	return r.activateAt()
}

// SourceName is the name of the source that announces the reservation; empty if
// none does.
func (r *Record) SourceName() string {
	if name, err := url.PathUnescape(r.Source); err == nil {
		return name
	}
	return r.Source
}

// RunDir returns the directory of an attempt.
func (e *Engine) RunDir(id string, a Attempt) string {
	return e.parts.Runs.RunDir(supervisor.Key{ID: id, Phase: a.Phase, N: a.N})
}

// A Status is the engine's own state.
type Status struct {
	Began      time.Time
	Guard, Why string
	Generation uint64
	Next       time.Time // the next instant at which something may happen to what is not finished; zero: none
	Running    int       // open attempts
	Hanging    int       // those whose script has ended, but not all of its processes
	States     map[State]int
	Sources    []SourceStatus
	Draining   bool
	Doubt      string // why the clock is not trusted; empty: it is
	Logins     int    // that devices have refused, and are not tried again
}

// A SourceStatus is how a source's last load went.
type SourceStatus struct {
	Name  string
	Live  int
	Read  time.Time // when it was last applied
	Error string    // of a later load that was not
}

// Status tells the engine's own state. It reads no records, however many there
// are.
func (e *Engine) Status(ctx context.Context) (Status, error) {
	s := Status{Began: e.began, States: make(map[State]int), Draining: e.Draining()}
	s.Guard, s.Why = e.parts.Runs.Guard()
	err := e.parts.DB.View(ctx, func(tx store.Tx) error {
		t := e.begin(tx)
		s.Doubt = t.why()
		s.Generation = number(tx, generation)
		s.Next = earliest(first(tx, startKey), first(tx, instantKey))
		for _, mark := range tx.Scan(runKey, "") {
			if string(mark) == hangsMark {
				s.Hanging++
			} else {
				s.Running++
			}
		}
		for _, st := range States {
			s.States[st] = int(number(tx, stateNumber+string(st)))
		}
		for k, v := range tx.Scan(loadKey, "") {
			name := strings.TrimPrefix(k, loadKey)
			_, live := t.known(name)
			l, err := parseLastLoad(k, v)
			if err != nil {
				return err
			}
			if was, err := url.PathUnescape(name); err == nil {
				name = was
			}
			s.Sources = append(s.Sources, SourceStatus{Name: name, Live: len(live), Read: l.Read})
		}
		closed, err := loginstore.List(tx, (*loginstore.Login).Closed)
		s.Logins = len(closed)
		return err
	})
	e.loader.mu.Lock()
	defer e.loader.mu.Unlock()
	for _, src := range e.loader.sources {
		text := e.loader.failed[src.Name()]
		i := slices.IndexFunc(s.Sources, func(st SourceStatus) bool { return st.Name == src.Name() })
		if i < 0 {
			s.Sources = append(s.Sources, SourceStatus{Name: src.Name(), Error: text})
		} else {
			s.Sources[i].Error = text
		}
	}
	return s, err
}
