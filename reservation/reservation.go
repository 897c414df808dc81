// Package reservation defines reservations, checks them, and compares the reservations of
// a source with the known ones.
//
// A [Source] is read as a whole, into a [Set]. [Compare] compares the set with the hashes of
// the known reservations and returns a [Diff], which package activation applies. An invalid
// reservation becomes a [Reject], and the others count. If a source cannot be read at all,
// that is an error, and nothing changes.
//
// # What it leaves to others
//
// Packages reservation/file and reservation/sql read files and databases. Package activation
// decides what is stored, and what happens to an activation whose reservation has changed or
// was removed. This package reads no clock: a slot in the past is as valid as any other.
package reservation

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
)

// A Reservation is one booking of the reservation system.
type Reservation struct {
	ID    string // "1042@ostrava"; see [Validate] for its syntax
	Owner string // may be empty
	Start time.Time
	End   time.Time // exclusive; after Start

	// Devices are the exclusive locks that it needs, sorted and unique. If the source names
	// none, they are the nodes of the topology.
	Devices []string

	Topology     string // the text of the topology in containerlab's format, YAML or JSON; may be empty
	TopologyName string // the name of the file, if it came from a file

	Activate   []string // a command and its arguments; nil: the default of the configuration
	Deactivate []string // the same
	Label      string

	// VLANs says how many VLANs it needs, by the domain of the pool. Nil: that follows from
	// its topology, or is not known.
	VLANs map[string]int
	// Priority decides between reservations that conflict. It is the source's.
	Priority int

	// Nil, or "" for Missed, means the default of the configuration.
	Lead    *time.Duration // how long before Start the activation begins; not negative
	Tail    *time.Duration // how long before End the deactivation begins; shorter than the slot
	Timeout *time.Duration // of one attempt; more than 0
	Grace   *time.Duration // from TERM to KILL; not negative
	Retries *int           // further attempts after the first; 0 to 1000
	Missed  string         // "run" or "skip"

	Env map[string]string // for the scripts, in addition to the daemon's own variables

	// Where is the position in the source, for messages: "lab.yml:12" or "row 3".
	Where string
}

// Hash returns a hash of all fields except Where; it does not depend on the zones of times.
// The hash is stored in the record of the reservation, so it must not change from one version
// of the program to the next. Call it after [Validate], which sorts the devices.
func (r Reservation) Hash() [16]byte {
	var few [512]byte                   // most need no more
	d := text(few[:0], "reservation 1") // the version of this very function
	d = text(d, r.ID)
	d = text(d, r.Owner)
	d = instant(d, r.Start)
	d = instant(d, r.End)
	d = list(d, r.Devices)
	d = text(d, r.Topology)
	d = text(d, r.TopologyName)
	d = list(d, r.Activate)
	d = list(d, r.Deactivate)
	d = text(d, r.Label)
	for _, p := range [...]*time.Duration{r.Lead, r.Tail, r.Timeout, r.Grace} {
		d = optional(d, p)
	}
	d = optional(d, r.Retries)
	d = text(d, r.Missed)
	d = number(d, len(r.Env))
	for _, k := range slices.Sorted(maps.Keys(r.Env)) {
		d = text(d, k)
		d = text(d, r.Env[k])
	}
	// What was added in later versions counts only where it is used.
	if r.Priority != 0 || len(r.VLANs) > 0 {
		d = number(d, r.Priority)
		d = number(d, len(r.VLANs))
		for _, domain := range slices.Sorted(maps.Keys(r.VLANs)) {
			d = text(d, domain)
			d = number(d, r.VLANs[domain])
		}
	}
	sum := sha256.Sum256(d)
	return [16]byte(sum[:])
}

// Hashes returns the hash of each reservation. All processors work on it: a hash of each of many
// takes a good part of a load.
func Hashes(rs []Reservation) [][16]byte {
	hashes := make([][16]byte, len(rs))
	part := max(1000, (len(rs)+runtime.GOMAXPROCS(0)-1)/runtime.GOMAXPROCS(0))
	var wg sync.WaitGroup
	for from := 0; from < len(rs); from += part {
		wg.Go(func() {
			for i := from; i < min(from+part, len(rs)); i++ {
				hashes[i] = rs[i].Hash()
			}
		})
	}
	wg.Wait()
	return hashes
}

// These append to what is hashed so that no two sequences of values give the same bytes: the
// length precedes each text and each list.

func number[T ~int | ~int64](d []byte, n T) []byte { return binary.AppendVarint(d, int64(n)) }
func text(d []byte, s string) []byte               { return append(number(d, len(s)), s...) }
func instant(d []byte, t time.Time) []byte         { return number(number(d, t.Unix()), t.Nanosecond()) }

func list(d []byte, l []string) []byte {
	d = number(d, len(l))
	for _, s := range l {
		d = text(d, s)
	}
	return d
}

func optional[T ~int | ~int64](d []byte, value *T) []byte {
	if value == nil {
		return number(d, 0)
	}
	return number(number(d, 1), *value)
}

// A Reject is a reservation of the source that cannot be used.
type Reject struct {
	Where string // "lab.yml:12" or "row 3 (1042@ostrava)"
	ID    string // empty if no id could be read
	Text  string // all errors, one a line: "end: is before start", "line 14: grase: unknown key"
}

// Faults returns the errors one by one, each after its position in the source.
func (r Reject) Faults() []string {
	faults := strings.Split(r.Text, "\n")
	for i, text := range faults {
		where := r.Where
		if rest, ok := strings.CutPrefix(text, "line "); ok && i > 0 {
			var line string
			line, text, _ = strings.Cut(rest, ": ")
			where = where[:strings.LastIndexByte(where, ':')+1] + line
		}
		faults[i] = where + ": " + text
	}
	return faults
}

// A Set is the content of a source at one time. No two of its reservations have the same id.
type Set struct {
	Reservations []Reservation
	Rejects      []Reject

	// Fingerprint identifies everything that was read, including topology files: two loads
	// with the same fingerprint have the same reservations. "" if it is not known.
	Fingerprint string

	// Notices are messages for an operator that are not about rejects.
	Notices []string
}

// A Source has reservations.
//
// An error of Load or LoadIfChanged means that the source could not be read as a whole; the
// caller then keeps the reservations that it knew. The error is of kind fault.Invalid if the
// content of the source is wrong, and fault.Unavailable if another try may succeed.
type Source interface {
	// Name is for messages and logs, and identifies the source. It contains no secrets.
	Name() string

	// Load reads all of it.
	Load(ctx context.Context) (Set, error)

	// LoadIfChanged reads all of it, unless its fingerprint is still the given one: then
	// unchanged is true and the set has only the fingerprint. It may also return the whole
	// set if nothing has changed, for instance if the source is new.
	LoadIfChanged(ctx context.Context, fingerprint string) (set Set, unchanged bool, err error)

	// Watch calls changed when the source may have changed, and once when the watch begins,
	// because earlier changes are not seen. The call is a hint to load and compare. Watch
	// returns nil when ctx is done, and an error if watching fails. If a source cannot be
	// watched in principle, Watch waits for ctx.
	Watch(ctx context.Context, changed func()) error
}
