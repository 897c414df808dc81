// Package reservation says what a reservation is, which ones are sound, and how
// what a source says now differs from what was known before.
//
// A [Source] is read whole, into a [Set]. [Compare] turns the set and the hashes
// of what is known into a [Diff], which package activation applies. One bad
// reservation is a [Reject] and the rest goes on; a source that cannot be read
// at all is an error, and an error changes nothing.
//
// # What it leaves to others
//
// Files and databases are read by reservation/file and reservation/sql. What is
// written where, and what happens to an activation whose reservation moved or
// went away, is package activation's affair. This package reads no clock: a
// slot that is over is as sound as any other.
package reservation

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"maps"
	"slices"
	"time"
)

// A Reservation is what the reservation system booked.
type Reservation struct {
	ID    string // "1042@ostrava"; see [Validate] for its syntax
	Owner string // may be empty
	Start time.Time
	End   time.Time // exclusive; after Start

	// Devices are the exclusive locks that it needs, sorted and unique. When the
	// source names none, they are the topology's nodes.
	Devices []string

	Topology     string // the topology's text: containerlab's format in YAML or JSON; may be empty
	TopologyName string // the file's name, when it came from a file

	Activate   []string // a command and its arguments; nil: the configuration's default
	Deactivate []string // likewise
	Label      string

	// Nil, or "" for Missed, means the configuration's default.
	Lead    *time.Duration // so long before Start the activation begins; not negative
	Tail    *time.Duration // so long before End the deactivation begins; shorter than the slot
	Timeout *time.Duration // of one attempt; more than 0
	Grace   *time.Duration // from TERM to KILL; not negative
	Retries *int           // further attempts after the first; 0 to 1000
	Missed  string         // "run" or "skip"

	Env map[string]string // for the scripts, in addition to the daemon's own variables

	// Where is its place in the source, for messages: "lab.yml:12" or "row 3".
	Where string
}

// Hash is over everything that matters: all fields but Where, times as
// instants, whatever their zone. It is kept with the reservation's record, so it
// must stay the same from one version of the program to the next, and it is
// meant to be taken after [Validate], which sorts the devices.
func (r Reservation) Hash() [16]byte {
	d := digest{h: sha256.New()}
	d.text("reservation 1") // the version of this very function
	d.text(r.ID)
	d.text(r.Owner)
	d.instant(r.Start)
	d.instant(r.End)
	d.list(r.Devices)
	d.text(r.Topology)
	d.text(r.TopologyName)
	d.list(r.Activate)
	d.list(r.Deactivate)
	d.text(r.Label)
	for _, p := range []*time.Duration{r.Lead, r.Tail, r.Timeout, r.Grace} {
		d.optional(p != nil, func() int64 { return int64(*p) })
	}
	d.optional(r.Retries != nil, func() int64 { return int64(*r.Retries) })
	d.text(r.Missed)
	d.number(int64(len(r.Env)))
	for _, k := range slices.Sorted(maps.Keys(r.Env)) {
		d.text(k)
		d.text(r.Env[k])
	}
	return [16]byte(d.sum())
}

// A digest writes values so that no two sequences of them look alike: each text
// and each list is preceded by its length.
type digest struct {
	h   hash.Hash
	buf []byte
}

func (d *digest) number(n int64)      { d.buf = binary.AppendVarint(d.buf, n) }
func (d *digest) text(s string)       { d.number(int64(len(s))); d.buf = append(d.buf, s...) }
func (d *digest) instant(t time.Time) { d.number(t.Unix()); d.number(int64(t.Nanosecond())) }

func (d *digest) list(l []string) {
	d.number(int64(len(l)))
	for _, s := range l {
		d.text(s)
	}
}

func (d *digest) optional(is bool, value func() int64) {
	if !is {
		d.number(0)
		return
	}
	d.number(1)
	d.number(value())
}

func (d *digest) sum() []byte {
	_, _ = d.h.Write(d.buf) // a hash never fails
	return d.h.Sum(nil)[:16]
}

// A Reject is a reservation that the source has but that cannot be used.
type Reject struct {
	Where string // "lab.yml:12" or "row 3 (1042@ostrava)"
	ID    string // empty when it has none that could be read
	Text  string // all that is wrong with it: "end: is before start; line 14: grase: unknown key"
}

// A Set is all that a source says at one time. No two of its reservations have
// the same id.
type Set struct {
	Reservations []Reservation
	Rejects      []Reject

	// Fingerprint stands for all that was read, topology files included: two loads
	// with the same one have the same reservations. "" if it is not known.
	Fingerprint string

	// Notices are what an operator should know though nothing was rejected.
	Notices []string
}

// A Source is where reservations come from.
//
// An error of Load or LoadIfChanged means that the source could not be read as a
// whole; the caller then keeps what it knew. It is of kind fault.Invalid when
// the source's content is at fault and fault.Unavailable when trying again may
// help.
type Source interface {
	// Name is for messages and logs, and tells one source from another. It has no
	// secret in it.
	Name() string

	// Load reads all of it.
	Load(ctx context.Context) (Set, error)

	// LoadIfChanged reads all of it unless its fingerprint is still the given one:
	// then unchanged is true and the set has nothing but the fingerprint. What is
	// unchanged may still be answered with the whole set, for instance by a source
	// that has just been made.
	LoadIfChanged(ctx context.Context, fingerprint string) (set Set, unchanged bool, err error)

	// Watch calls changed when the source may have changed, and once when the watch
	// begins, because what happened before that is not seen. It is a hint: load and
	// compare. It returns nil when ctx is done, and an error when nothing can be
	// watched; a source that has no way to be watched waits for ctx.
	Watch(ctx context.Context, changed func()) error
}
