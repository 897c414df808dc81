// Package file reads reservations from a YAML or JSON file, or from all such
// files in a directory, and watches them.
//
//	reservations:
//	  - id: 1042@ostrava
//	    owner: group7
//	    start: 2026-11-21T10:00:00+01:00
//	    end: 2026-11-21T12:00:00+01:00
//	    devices: [r1, r2]                  # optional: otherwise the topology's nodes but bridges
//	    topology: ospf-triangle.clab.yml   # a file beside this one, or the topology itself
//	    activate: [/usr/share/activationd/scripts/activate]
//	    deactivate: [/usr/share/activationd/scripts/deactivate]
//
// Further keys, all optional: label, lead, tail, timeout, grace (durations like
// 90s or 1h30m), retries, missed (run or skip), env (a mapping).
//
// # What is never believed
//
// A file that is not whole (not parseable, empty, without a reservations key, or
// changing while it is read) is an error and changes nothing: that there are no
// reservations has to be said, with "reservations: []". YAML has no end, so a
// writer should write another name and rename it; what is cut within the last
// reservation is noticed, what is cut between two cannot be told from what is
// meant.
//
// In a directory, files ending in .yml, .yaml and .json are read in the order of
// their names. Hidden files, editors' backups, topologies (*.clab.yml,
// *.clab.yaml, *.clab.json, and what has a topology key but no reservations key)
// and directories are passed over.
package file

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"

	"activationd/internal/fault"
	"activationd/reservation"
)

// A Source reads one path. Its methods may be called at the same time.
type Source struct {
	// Check, unless nil, is asked of each file before it is read, and refuses it with an
	// error. It is set before the source is used.
	Check func(path string) error

	path string

	loaded chan struct{} // tells Watch that there was a load

	loading     sync.Mutex // held by a load
	fingerprint string     // of the last load, if it was good

	mu    sync.Mutex
	named []string // the topologies that the last load looked for, sorted
}

// New makes a source of path, a file or a directory. Nothing is read yet.
func New(path string) *Source {
	return &Source{path: filepath.Clean(path), loaded: make(chan struct{}, 1)}
}

// Name is the path.
func (s *Source) Name() string { return s.path }

// Load implements [reservation.Source].
func (s *Source) Load(ctx context.Context) (reservation.Set, error) {
	set, _, err := s.LoadIfChanged(ctx, "")
	return set, err
}

// LoadIfChanged implements [reservation.Source]. The fingerprint is over the
// bytes of all files, so an unchanged source costs reading and hashing them. A
// source that was just made does not know yet which topologies belong to it and
// loads everything.
func (s *Source) LoadIfChanged(ctx context.Context, fingerprint string) (reservation.Set, bool, error) {
	s.loading.Lock()
	defer s.loading.Unlock()
	defer func() {
		select {
		case s.loaded <- struct{}{}:
		default: // it has not heard of the one before yet
		}
	}()
	pages, notices, err := s.read(ctx)
	if err != nil {
		return reservation.Set{}, false, err
	}
	beside, err := openBeside(s.directory(), s.check)
	if err != nil {
		return reservation.Set{}, false, err
	}
	defer beside.close()

	if fingerprint != "" && fingerprint == s.fingerprint {
		for _, name := range s.topologies() {
			beside.look(name)
		}
		if stamp(pages, notices, beside) == fingerprint {
			return reservation.Set{Fingerprint: fingerprint}, true, nil
		}
		beside.forget()
	}

	set, err := s.parse(ctx, pages, beside)
	// Also when a file is broken the topologies that the others name are watched.
	s.remember(beside.names())
	if err != nil {
		return reservation.Set{}, false, err
	}
	set.Notices = notices
	set.Fingerprint = stamp(pages, notices, beside)
	s.fingerprint = set.Fingerprint
	return set, false, nil
}

// parse makes one set of all pages. If any of them is broken it reports all that
// are.
func (s *Source) parse(ctx context.Context, pages []page, beside *beside) (reservation.Set, error) {
	var set reservation.Set
	var broken []error
	first := map[string]string{} // where each id was seen first, in a good or in a bad reservation
	found := false
	for i := range pages {
		if err := ctx.Err(); err != nil {
			return set, fmt.Errorf("%s: %w: %w", s.path, err, fault.Unavailable)
		}
		items, err := pages[i].parse(beside)
		if errors.Is(err, errTopology) {
			if s.isDir(pages[i].path) {
				continue
			}
			err = pages[i].fault(1, noKey)
		}
		if err != nil {
			broken = append(broken, err)
			continue
		}
		found = true
		set.Reservations = slices.Grow(set.Reservations, len(items))
		for j := range items {
			gather(&set, first, &items[j])
		}
	}
	if len(broken) > 0 {
		return reservation.Set{}, errors.Join(broken...)
	}
	if !found {
		return set, fmt.Errorf("%s: has no file with reservations; "+
			"to say that there are none, put one there that says \"reservations: []\": %w", s.path, fault.Invalid)
	}
	return set, nil
}

// gather adds one item to set. Of two with the same id the first counts, even if
// it is no good: a later one may be what it was copied from.
func gather(set *reservation.Set, first map[string]string, it *item) {
	where := it.r.Where
	if it.r.ID != "" {
		if at, ok := first[it.r.ID]; ok && it.fault == "" {
			it.fault = fmt.Sprintf("id: %s is already at %s", it.r.ID, at)
		} else if !ok {
			first[it.r.ID] = where
		}
	}
	if it.fault == "" {
		set.Reservations = append(set.Reservations, it.r)
		return
	}
	set.Rejects = append(set.Rejects, reservation.Reject{Where: where, ID: it.r.ID, Text: it.fault})
}

// stamp is the fingerprint of all that was read.
func stamp(pages []page, notices []string, b *beside) string {
	h := sha256.New()
	for i := range pages {
		_, _ = fmt.Fprintf(h, "file %d %s %d\n", len(pages[i].name), pages[i].name, len(pages[i].data))
		_, _ = h.Write(pages[i].data)
	}
	for _, name := range b.names() {
		t := b.look(name)
		_, _ = fmt.Fprintf(h, "topology %d %s %d %s\n", len(name), name, len(t.text), t.fault)
		_, _ = h.Write([]byte(t.text))
	}
	for _, n := range notices {
		_, _ = fmt.Fprintln(h, n)
	}
	return "file1:" + hex.EncodeToString(h.Sum(nil))
}

func (s *Source) check(path string) error {
	if s.Check == nil {
		return nil
	}
	return s.Check(path)
}

// topologies are the names that the last load looked for.
func (s *Source) topologies() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.named
}

// remember notes which topologies are part of the source.
func (s *Source) remember(names []string) {
	s.fingerprint = ""
	s.mu.Lock()
	defer s.mu.Unlock()
	s.named = names
}
