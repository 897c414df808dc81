// Package file reads reservations from a YAML or JSON file, or from all such files in a
// directory, and watches them.
//
//	reservations:
//	  - id: 1042@ostrava
//	    owner: group7
//	    start: 2099-12-21T10:00:00+01:00
//	    end: 2099-12-21T12:00:00+01:00
//	    devices: [r1, r2]                  # optional: by default the nodes of the topology, except bridges
//	    topology: ospf-triangle.clab.yml   # a file beside this one, or the topology itself
//	    activate: [/usr/share/activationd/scripts/activate]
//	    deactivate: [/usr/share/activationd/scripts/deactivate]
//
// Further keys, all optional: label, lead, tail, timeout, grace (durations like
// 90s or 1h30m), retries, missed (run or skip), env and vlans (mappings).
//
// # Incomplete files
//
// A file that is not complete (it cannot be parsed, is empty, has no reservations key, or
// changes while it is read) is an error and changes nothing. A source without reservations
// must have "reservations: []". YAML has no end mark, so a program should write a file under
// another name and rename it. A file that is cut off within its last reservation is detected;
// one that is cut off between two reservations looks complete.
//
// In a directory, files ending in .yml, .yaml and .json are read in the order of their names.
// Hidden files, backups of editors, topologies (*.clab.yml, *.clab.yaml, *.clab.json, and
// files with a topology key but no reservations key) and directories are ignored.
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
	// Check, unless nil, is called for each file before it is read. Its error refuses the
	// file. It is set before the source is used.
	Check func(path string) error

	path string

	loaded chan struct{} // tells Watch about a load

	loading     sync.Mutex // held by a load
	fingerprint string     // of the last load, if it succeeded

	mu    sync.Mutex
	named []string // the names of the topology files that the last load used, sorted
}

// New returns a source for path, a file or a directory. It does not read it yet.
func New(path string) *Source {
	return &Source{path: filepath.Clean(path), loaded: make(chan struct{}, 1)}
}

// Name returns the path.
func (s *Source) Name() string { return s.path }

// Load implements [reservation.Source].
func (s *Source) Load(ctx context.Context) (reservation.Set, error) {
	set, _, err := s.LoadIfChanged(ctx, "")
	return set, err
}

// LoadIfChanged implements [reservation.Source]. The fingerprint is computed from the bytes
// of all files, so it reads an unchanged source, too, but does not parse it. A new source does
// not know yet which topologies belong to it, and loads everything.
func (s *Source) LoadIfChanged(ctx context.Context, fingerprint string) (reservation.Set, bool, error) {
	s.loading.Lock()
	defer s.loading.Unlock()
	defer func() {
		select {
		case s.loaded <- struct{}{}:
		default: // Watch has not yet received the token of an earlier load
		}
	}()
	pages, notices, err := s.read(ctx)
	if err != nil {
		return reservation.Set{}, false, err
	}
	files, err := openTopologyDir(s.directory(), s.check)
	if err != nil {
		return reservation.Set{}, false, err
	}
	defer files.close()

	if fingerprint != "" && fingerprint == s.fingerprint {
		for _, name := range s.topologies() {
			files.look(name)
		}
		if stamp(pages, notices, files) == fingerprint {
			return reservation.Set{Fingerprint: fingerprint}, true, nil
		}
		files.forget()
	}

	set, err := s.parse(ctx, pages, files)
	// The topologies are watched even if another file is broken.
	s.remember(files.names())
	if err != nil {
		return reservation.Set{}, false, err
	}
	set.Notices = notices
	set.Fingerprint = stamp(pages, notices, files)
	s.fingerprint = set.Fingerprint
	return set, false, nil
}

// parse makes one set of all pages. If pages are broken, it returns the errors of all of them.
func (s *Source) parse(ctx context.Context, pages []page, files *topologyDir) (reservation.Set, error) {
	var set reservation.Set
	var broken []error
	first := map[string]string{} // the first position of each id, in a valid or an invalid reservation
	found := false
	for i := range pages {
		if err := ctx.Err(); err != nil {
			return set, fmt.Errorf("%s: %w: %w", s.path, err, fault.Unavailable)
		}
		items, err := pages[i].parse(files)
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
			"if there are none, add a file with \"reservations: []\": %w", s.path, fault.Invalid)
	}
	return set, nil
}

// gather adds an item to set. Of two items with the same id the first counts, even if it is
// invalid: the second may be the entry from which the first was copied.
func gather(set *reservation.Set, first map[string]string, it *item) {
	where := it.r.Where
	if it.r.ID != "" {
		if at, ok := first[it.r.ID]; ok && it.fault == "" {
			it.fault = fmt.Sprintf("id: %s is already used at %s", it.r.ID, at)
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

// stamp returns the fingerprint of everything that was read.
func stamp(pages []page, notices []string, b *topologyDir) string {
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

// topologies returns the names of the topology files that the last load used.
func (s *Source) topologies() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.named
}

// remember records which topology files are part of the source.
func (s *Source) remember(names []string) {
	s.fingerprint = ""
	s.mu.Lock()
	defer s.mu.Unlock()
	s.named = names
}
