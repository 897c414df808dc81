package activation

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"activationd/internal/fault"
	"activationd/reservation"
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

// A loader merges the requests for a load: whoever asks waits for the load that
// began after he asked, and all who ask meanwhile share the next one.
type loader struct {
	mu       sync.Mutex
	sources  []Source
	rules    []Rule // recurrences that the configuration declares
	ruled    bool   // that was said
	next     *round
	failed   map[string]string   // by source, of its last load
	rejected map[ReportLine]bool // by the last load
	token    chan struct{}       // capacity one
	watch    chan struct{}       // capacity one: the sources are others now
	before   func(context.Context) ([]string, error)
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
	token(e.loader.watch)
}

// BeforeLoad has fn called at the beginning of each load that was asked for, to
// read again what else may have changed. If it fails, the load goes on with
// what was in force, and the report says so, as it does what fn has to note. It
// must be set before RunLoads.
func (e *Engine) BeforeLoad(fn func(context.Context) (notices []string, err error)) {
	e.loader.before = fn
}

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
	token(l.token)
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
			select {
			case <-l.token: // of one who joined this round since
			default:
			}
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

// watchAgain is how long a source that cannot be watched is left alone.
const watchAgain = 10 * time.Second

// watchSources starts a goroutine for each source, and returns what ends them
// and waits for that. A source that cannot be watched, since its directory is
// missing for instance, is read on reload meanwhile.
func (e *Engine) watchSources(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	for _, s := range e.sources() {
		wg.Go(func() {
			for said := ""; ; {
				err := s.Watch(ctx, e.AskLoad)
				if err == nil || ctx.Err() != nil {
					return
				}
				if err.Error() != said {
					said = err.Error()
					e.parts.Log.Warn("cannot watch a source; until that is mended it is read on reload only", "source", s.Name(), "err", err)
				}
				select {
				case <-ctx.Done():
				case <-time.After(watchAgain):
				}
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
