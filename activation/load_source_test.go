package activation_test

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing/synctest"
	"time"

	. "activationd/activation"
	"activationd/activation/announce"

	"activationd/reservation"
)

// A fakeSource is a source whose content the test sets.
type fakeSource struct {
	name string
	mu   sync.Mutex
	set  reservation.Set
	err  error
	gate chan struct{} // if not nil: Load waits for it
	read int

	watchErr error // the error that Watch returns at once; nil: it watches
	watches  int
	late     bool // the content before the watch counts as a change
}

func (s *fakeSource) Name() string { return s.name }

func (s *fakeSource) Load(ctx context.Context) (reservation.Set, error) {
	s.mu.Lock()
	s.read++
	set, err, gate := s.set, s.err, s.gate
	s.mu.Unlock()
	set.Reservations = slices.Clone(set.Reservations)
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
		}
	}
	return set, err
}

func (s *fakeSource) LoadIfChanged(ctx context.Context, fingerprint string) (reservation.Set, bool, error) {
	set, err := s.Load(ctx)
	if err == nil && fingerprint != "" && set.Fingerprint == fingerprint {
		return reservation.Set{Fingerprint: fingerprint}, true, nil
	}
	return set, false, err
}

func (s *fakeSource) Watch(ctx context.Context, changed func()) error {
	s.mu.Lock()
	s.watches++
	err := s.watchErr
	s.mu.Unlock()
	if err != nil {
		return err
	}
	if s.late {
		changed() // the source may have changed before the watch began
	}
	<-ctx.Done()
	return nil
}

// says sets the source's content.
func (s *fakeSource) says(rs ...reservation.Reservation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.set.Reservations = rs
	h := ""
	for _, r := range rs {
		h += fmt.Sprintf("%x", r.Hash())
	}
	s.set.Fingerprint = cmp.Or(h, "empty")
}

// fakeNodes reads a topology in the tests' own format: the nodes' names, separated by
// blanks.
func fakeNodes(text string) ([]string, error) { return strings.Fields(text), nil }

// source adds a source to the rig.
func (rig *testRig) source(name string) *fakeSource {
	s := &fakeSource{name: name}
	s.says()
	rig.srcs = append(rig.srcs, announce.Source{Source: s, Missed: MissedRun})
	rig.configure()
	synctest.Wait()
	return s
}

// load makes a load, and returns its report.
func (rig *testRig) load(o announce.LoadOptions) Report {
	rig.t.Helper()
	rep, err := rig.loader.Load(context.Background(), o)
	if err != nil {
		rig.t.Fatalf("Load: %v", err)
	}
	synctest.Wait()
	return rep
}

// loads checks the counts of a load.
func (rig *testRig) loads(added, changed, removed, rejected int) Report {
	rig.t.Helper()
	rep := rig.load(announce.LoadOptions{})
	if rep.Added != added || rep.Changed != changed || rep.Removed != removed || rep.Rejected != rejected {
		rig.t.Errorf("load: %s, want added=%d changed=%d removed=%d rejected=%d (%v)", rep.Summary(), added, changed, removed, rejected, rep.Lines)
	}
	return rep
}

// slot makes a reservation with a slot from and to so far from now.
func slot(id string, from, to time.Duration, devices ...string) reservation.Reservation {
	now := time.Now()
	return reservation.Reservation{ID: id, Owner: "group7", Start: now.Add(from), End: now.Add(to), Devices: devices, Where: id + ".yml:1"}
}
