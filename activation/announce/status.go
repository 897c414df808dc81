package announce

import (
	"context"
	"slices"
	"strings"
	"time"

	"activationd/activation"
)

// A SourceStatus is the state of a source after its last load.
type SourceStatus struct {
	Name     string
	Live     int
	Rejected int
	Over     int       // passed over: their slots had ended when they were read first
	Read     time.Time // the time at which it was last applied; zero: never
	Error    string    // the error of a later load that failed; empty: none
	Failing  time.Time // since when loads fail; zero: they do not
	// How often it was read, and how often that failed, since the daemon was started.
	Reads, Failures uint64
}

// Sources returns the status of each source, and of [activation.Declared] if the
// configuration could not be read or has declarations that were rejected. What is booked at the
// daemon itself counts as a source that is never read.
func (l *Loader) Sources(ctx context.Context) ([]SourceStatus, error) {
	var all []SourceStatus
	var live map[string]int
	on := false
	err := l.engine.View(ctx, func(t *activation.Txn) error {
		all, live = nil, t.LiveReservations()
		for k, v := range t.Scan(loadKey, "") {
			key := strings.TrimPrefix(k, loadKey)
			last, err := parseLast(k, v)
			if err != nil {
				return err
			}
			all = append(all, SourceStatus{
				Name: activation.SourceName(key), Live: live[key], Rejected: last.Rejected, Over: last.Over, Read: last.Read,
			})
		}
		_, on = t.Settings.Sources[activation.BookingSource]
		return nil
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, src := range l.conf.Sources {
		i := slices.IndexFunc(all, func(st SourceStatus) bool { return st.Name == src.Name() })
		if i < 0 {
			i = len(all)
			all = append(all, SourceStatus{Name: src.Name()})
		}
		f := l.failed[src.Name()]
		all[i].Error, all[i].Failing = f.text, f.since
		n := l.reads[src.Name()]
		all[i].Reads, all[i].Failures = n.ok, n.failed
	}
	if booked := live[activation.BookingSource]; on || booked > 0 {
		all = append(all, SourceStatus{Name: activation.BookingSource, Live: booked})
	}
	if f := l.failed[activation.Declared]; f.text != "" || len(l.declared) > 0 {
		all = append(all, SourceStatus{Name: activation.Declared, Rejected: len(l.declared), Error: f.text, Failing: f.since})
	}
	return all, err
}

// Unread reports whether a source has never been read since it is configured, and could not be read
// by the last load either.
func (l *Loader) Unread(ctx context.Context) (unread bool, err error) {
	l.mu.Lock()
	var failed []string
	for _, src := range l.conf.Sources {
		if _, ok := l.failed[src.Name()]; ok {
			failed = append(failed, src.Name())
		}
	}
	l.mu.Unlock()
	if failed == nil {
		return false, nil
	}
	err = l.engine.View(ctx, func(t *activation.Txn) error {
		unread = slices.ContainsFunc(failed, func(name string) bool { return t.Get(loadKey+activation.SourceKey(name)) == nil })
		return nil
	})
	return unread, err
}

// Loaded is closed when the first load since the daemon was started has ended.
func (l *Loader) Loaded() <-chan struct{} { return l.loaded }

func (l *Loader) hasLoaded() bool {
	select {
	case <-l.loaded:
		return true
	default:
		return false
	}
}
