package activation

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"strings"
	"sync"

	"activationd/internal/fault"
	"activationd/store"
)

// Several daemons, each on its own host, may share a store. Each attempt names its host
// and that host's boot. Only its own host knows whether an attempt runs, so only that
// host starts, adopts or stops it, or decides that it is lost.

// A home is what an engine knows of its host and of the state in the store.
type home struct {
	mu    sync.Mutex
	ready bool
	host  string
}

const (
	// hostName is the name that this store's host has had from the start. A store that
	// several hosts share has none.
	hostName = "n/host"
	// layoutMark is the version of the layout of the keys.
	layoutMark = "n/layout"
	layout     = "2"
)

// prepare determines the host's name and migrates the state to this program's layout,
// before the first transaction.
func (e *Engine) prepare(ctx context.Context) error {
	h := &e.home
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ready {
		return nil
	}
	_, shared := e.parts.DB.(store.Session)
	var has, stored string
	var mark []byte
	err := e.parts.DB.View(ctx, func(tx store.Tx) error {
		has, stored = string(tx.Get(layoutMark)), string(tx.Get(hostName))
		return nil
	})
	if err != nil {
		return err
	}
	h.host = cmp.Or(strings.ReplaceAll(e.parts.Host, "/", "-"), "local")
	if !shared {
		h.host = cmp.Or(stored, h.host)
	}
	switch has {
	case layout:
	case "":
		if err := migrate(ctx, e.parts.DB, h.host, shared); err != nil {
			return fmt.Errorf("bring the state to layout %s: %w", layout, err)
		}
	default:
		return fmt.Errorf("the state has layout %s, and this activationd knows layouts up to %s: run the newer activationd that wrote it: %w", has, layout, fault.Conflict)
	}
	if err := indexCalendar(ctx, e.parts.DB); err != nil {
		return fmt.Errorf("make the calendar: %w", err)
	}
	if err := indexStatuses(ctx, e.parts.DB, h.host); err != nil {
		return fmt.Errorf("make the indexes of lists: %w", err)
	}
	err = e.parts.DB.View(ctx, func(tx store.Tx) error {
		mark = bytes.Clone(tx.Get(clockMark + h.host))
		return nil
	})
	if err != nil {
		return err
	}
	e.watch.load(mark)
	h.ready = true
	return nil
}

// here reports whether an attempt belongs to this host.
func (t *Txn) here(a *Attempt) bool { return t.hostOf(a) == t.host }

// hostOf returns the host of an attempt. An attempt that names none ended when the store
// had one host only.
func (t *Txn) hostOf(a *Attempt) string { return cmp.Or(a.Host, t.host) }

// rebooted reports whether this host was started again since it claimed an attempt.
func (t *Txn) rebooted(a *Attempt) bool { return t.here(a) && a.Boot != t.Boot }

// servedBy returns the newest attempt of phase activate, or nil.
func (r *Record) servedBy() *Attempt {
	for i := len(r.Attempts) - 1; i >= 0; i-- {
		if a := &r.Attempts[i]; a.Phase == Activate {
			return a
		}
	}
	return nil
}

// ofHost is the prefix of a host's part of an index; an id follows it.
func ofHost(index, host string) string { return index + host + "/" }

// stateCounts returns how many records are in each state.
func stateCounts(tx store.Tx) map[State]int { return counted[State](tx, stateNumber) }

// LiveReservations returns how many reservations of each source are not finished, by the sources'
// keys: see [SourceKey].
func (t *Txn) LiveReservations() map[string]int { return counted[string](t, liveNumber) }

// liveReservations returns about how many reservations are not finished, with those that the
// transaction has announced. It is only a hint: a store that is damaged may have any number.
func (t *Txn) liveReservations() int {
	n := 0
	for _, of := range t.LiveReservations() {
		n += of
	}
	for _, by := range t.live {
		n += int(by)
	}
	return min(max(0, n), 1<<20)
}

// counted returns numbers, added up over all hosts. Each host counts the records that it changed
// itself, so the count of a single host may be negative.
func counted[K ~string](tx store.Tx, prefix string) map[K]int {
	counts := make(map[K]int)
	for k, v := range tx.Scan(prefix, "") {
		if _, what, ok := strings.Cut(strings.TrimPrefix(k, prefix), "/"); ok {
			counts[K(what)] += int(int64(decodeNumber(v)))
		}
	}
	return counts
}

// stateCounts are those of the store with what the transaction has changed.
func (t *Txn) stateCounts() map[State]int {
	counts := stateCounts(t)
	for state, by := range t.states {
		counts[state] += int(by)
	}
	return counts
}

// changes are signals that another host has changed something that may concern this one.
type changes struct {
	runs     <-chan struct{} // of this host
	instants <-chan struct{}
}

// watchOthers watches for changes by other hosts, if the store has other hosts.
func (e *Engine) watchOthers(ctx context.Context) (c changes) {
	db, ok := e.parts.DB.(interface {
		store.Session
		store.Watcher
	})
	if ok {
		c.runs = db.Watch(ctx, ofHost(runKey, e.home.host))
		c.instants = db.Watch(ctx, instantsKey)
	}
	return c
}

// openRuns lists the activations that have an open attempt on this host.
func (e *Engine) openRuns(ctx context.Context) (ids []string) {
	err := e.View(ctx, func(t *Txn) error {
		ids = t.running()
		return nil
	})
	if err != nil && ctx.Err() == nil {
		e.parts.Log.Error("cannot read which runs other hosts want stopped", "err", err)
	}
	return ids
}
