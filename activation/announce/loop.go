package announce

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"activationd/activation"
	"activationd/internal/fault"
)

// LoadOptions modify a load.
type LoadOptions struct {
	Force  bool // load even if that removes more than Settings.MaxRemoval of the live reservations
	DryRun bool // change nothing
	By     activation.Actor
	// Put has the content of sources, by their names, which is new with this load. If it is not
	// applied, it is not kept.
	Put map[string]Put

	declared bool // only what the configuration declares has changed: sources that were read stay as they are
}

// A Put is the new content of a source.
type Put struct {
	Content []byte
	Force   bool // as of LoadOptions, for this source
}

// A Loader makes loads: each reads the configuration and the sources of reservations, and
// applies them. Loads run one at a time, in the goroutine of [Loader.Run]. A request
// waits for the first load that begins after it; requests that arrive during a load share
// the next one.
type Loader struct {
	engine *activation.Engine
	nodes  func(topology string) ([]string, error)
	log    *slog.Logger

	loaded chan struct{} // closed when the first load has ended

	mu     sync.Mutex
	conf   Configuration // in force
	next   *round
	failed map[string]failure // the sources that the last load could not read
	reads  map[string]reads   // of each source
	// declared are the declarations of the configuration that the last load rejected.
	declared []Unused
	told     map[activation.ReportLine]bool // what the last load emitted events about

	asked   chan struct{} // capacity one: a load was requested
	sources chan struct{} // capacity one: the sources have changed
}

// reads counts how often a source was read, and how often that failed.
type reads struct{ ok, failed uint64 }

// A failure is why a source could not be loaded.
type failure struct {
	text  string
	since time.Time // when the first of the loads in a row failed
}

// A round is a load that has not begun, and that requests share.
type round struct {
	force  bool
	all    bool // also the sources are to be read
	put    map[string]Put
	by     activation.Actor // the first client that forced it, or else requested it; zero: none
	done   chan struct{}
	report activation.Report
	err    error
}

// NewLoader returns a loader for an engine that already has the settings of conf. Nodes
// returns the names of a topology's nodes, as in [activation.Parts].
func NewLoader(e *activation.Engine, conf Configuration, nodes func(topology string) ([]string, error), log *slog.Logger) *Loader {
	l := &Loader{
		engine: e, nodes: nodes, log: log, conf: conf, failed: make(map[string]failure), reads: make(map[string]reads),
		loaded: make(chan struct{}), asked: make(chan struct{}, 1), sources: make(chan struct{}, 1),
	}
	token(l.sources)
	return l
}

// putInForce replaces the configuration.
func (l *Loader) putInForce(conf Configuration) {
	l.mu.Lock()
	same := slices.Equal(conf.Sources, l.conf.Sources)
	l.conf = conf
	l.mu.Unlock()
	l.engine.Configure(conf.Settings)
	if !same {
		token(l.sources)
	}
}

func (l *Loader) inForce() Configuration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.conf
}

// Ask requests a load and does not wait for it.
func (l *Loader) Ask() { l.join(LoadOptions{}) }

// Put is Load for a source whose content is handed to it. The other sources that the last load
// could read stay as they are.
func (l *Loader) Put(ctx context.Context, source string, p Put, o LoadOptions) (activation.Report, error) {
	o.Put, o.declared = map[string]Put{source: p}, true
	for {
		before := l.putting(source)
		if before == nil || o.DryRun {
			return l.Load(ctx, o)
		}
		select { // each content gets a load of its own
		case <-ctx.Done():
			return activation.Report{}, context.Cause(ctx)
		case <-before:
		}
	}
}

// putting returns a channel that is closed when the next load has ended, if it has a content for
// the source already; nil: it has none.
func (l *Loader) putting(source string) <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.next == nil {
		return nil
	}
	if _, ok := l.next.put[source]; !ok {
		return nil
	}
	return l.next.done
}

// AskDeclared is Ask when only what the configuration in force declares has changed, in files of
// others. The load does not read again the configuration and the sources that the last load
// could read.
func (l *Loader) AskDeclared() { l.join(LoadOptions{declared: true}) }

func (l *Loader) join(o LoadOptions) *round {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.next == nil {
		l.next = &round{done: make(chan struct{})}
	}
	if l.next.by == (activation.Actor{}) || o.Force && !l.next.force {
		l.next.by = o.By
	}
	l.next.force = l.next.force || o.Force
	l.next.all = l.next.all || !o.declared
	if len(o.Put) > 0 && l.next.put == nil {
		l.next.put = make(map[string]Put)
	}
	maps.Copy(l.next.put, o.Put)
	token(l.asked)
	return l.next
}

// Try reports what a load would do that puts conf in force, and changes nothing. The report
// includes the error broken, if there is one, as that of a configuration that cannot be read.
func (l *Loader) Try(ctx context.Context, conf Configuration, broken error, o LoadOptions) (activation.Report, error) {
	o.DryRun = true
	return l.load(ctx, conf, o, conf.Notices, broken)
}

// Load requests a load that begins after the call, and waits for it. A dry run is
// different: it begins at once, with the configuration in force. A source that could not
// be read is in the report, not in the error. The error is the store's, the cause of ctx,
// or of kind fault.Unavailable if the daemon stops first.
func (l *Loader) Load(ctx context.Context, o LoadOptions) (activation.Report, error) {
	if o.DryRun {
		return l.Try(ctx, l.inForce(), nil, o)
	}
	r := l.join(o)
	select {
	case <-ctx.Done():
		return activation.Report{}, context.Cause(ctx)
	case <-r.done:
		return r.report, r.err
	}
}

// judgeAgain is how long the loader waits before it looks for conflicts again, if the store has
// refused it.
const judgeAgain = time.Second

// Run makes the requested loads, and watches the sources, until ctx is done. Each load
// first calls read for the configuration to put in force. If read fails, the load uses
// the configuration in force.
func (l *Loader) Run(ctx context.Context, read func(context.Context) (Configuration, error)) error {
	stop := func() {}
	defer func() { stop() }()
	var first sync.Once
	var again <-chan time.Time // when conflicts are judged again, after the store has refused it
	judge := func() {
		again = nil
		if err := l.engine.Judge(ctx); err != nil && ctx.Err() == nil {
			l.log.Error("cannot look for conflicts; trying again", "err", err)
			again = time.After(judgeAgain)
		}
	}
	for {
		select {
		case <-ctx.Done():
		case <-l.sources:
			stop()
			stop = l.watch(ctx)
		case <-l.engine.Unjudged():
			judge()
		case <-again:
			judge()
		case <-l.asked:
			l.mu.Lock()
			r := l.next
			l.next = nil
			select {
			case <-l.asked: // a request that joined this round set it
			default:
			}
			l.mu.Unlock()
			r.report, r.err = l.reload(ctx, read, LoadOptions{Force: r.force, By: r.by, declared: !r.all, Put: r.put})
			first.Do(func() { close(l.loaded) })
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

// watchAgain is the pause before another attempt to watch a source that could not be
// watched.
const watchAgain = 10 * time.Second

// watch starts a goroutine for each source. Stop ends them and waits for them. While a
// source cannot be watched, for example because its directory is missing, it is read on
// reload only.
func (l *Loader) watch(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	for _, s := range l.inForce().Sources {
		wg.Go(func() {
			for logged := ""; ; {
				err := s.Watch(ctx, l.Ask)
				if err == nil || ctx.Err() != nil {
					return
				}
				if err.Error() != logged {
					logged = err.Error()
					l.log.Warn("cannot watch a source; until that is fixed it is read on reload only", "source", s.Name(), "err", err)
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

// token puts a token into a channel that has room for one.
func token(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default: // one is there already
	}
}
