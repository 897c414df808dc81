package activation

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"activationd/internal/fault"
)

// recordVersion is the version of the encoding of records. Records of newer versions are
// refused: see [decode].
const recordVersion = 1

// A storedRecord is a record as the store has it.
type storedRecord struct {
	*Record
	recordFlags
}

// A finishedRecord is a storedRecord of a finished activation, whose fields are in another
// order.
type finishedRecord struct {
	head
	texts
	rest
	recordFlags
}

// A rest is one level deeper than head and texts, so package json takes the fields that they
// have in common from these.
type rest struct{ *Record }

// recordFlags are the flags of a stored record, for values that exclude each other.
type recordFlags struct {
	ForSlot    bool     `json:"for_slot,omitempty"`
	Awaits     bool     `json:"awaits,omitempty"`
	ForLoad    bool     `json:"for_load,omitempty"`
	WaitsOn    waitKind `json:"waits_on,omitempty"` // if it does not follow from the flags and the queue
	Unseen     bool     `json:"unseen,omitempty"`   // queued, and the engine must look at it
	Renew      bool     `json:"renew,omitempty"`
	Quit       bool     `json:"quit,omitempty"`
	Late       bool     `json:"late,omitempty"`
	ForcedLate bool     `json:"forced,omitempty"`
}

func (r *Record) encode() ([]byte, error) {
	r.V, r.Raw = recordVersion, rawOf(&r.Order)
	defer func() { r.Raw = nil }()
	on := waitsOnRetry
	switch r.WaitsOn {
	case waitsOnStart, waitsOnClock, waitsOnPause, waitsOnConflict:
		on = r.WaitsOn
	}
	flags := recordFlags{
		ForSlot: r.WaitsOn.queuedForSlot(), Awaits: r.WaitsOn == waitsOnEnd, ForLoad: r.WaitsOn == waitsOnLoadAvg,
		WaitsOn: on, Unseen: r.Queued > 0 && r.WaitsOn == waitsOnRetry,
		Renew: r.Comeback == serveAgain, Quit: r.Comeback == neverAgain,
		Late: r.Urgency >= Anyway, ForcedLate: r.Urgency == AtOnce,
	}
	switch {
	case r.State == Finished:
		return json.Marshal(&finishedRecord{headOf(r), textsOf(r), rest{r}, flags})
	case flags == (recordFlags{}): // as in each new record; it is encoded much faster so
		return json.Marshal(r)
	}
	return json.Marshal(&storedRecord{r, flags})
}

// Version returns a text that is the same only while nothing in r has changed. It compares what
// one program stores: a later one may give other versions.
func (r *Record) Version() (string, error) {
	c := *r
	data, err := c.withoutStdin().encode()
	if err != nil {
		return "", fmt.Errorf("record of %s: %w", r.ID, err)
	}
	h := sha256.New()
	h.Write(data)
	if c.StdinSize > 0 { // data has only its size
		h.Write(r.Stdin)
	}
	return hex.EncodeToString(h.Sum(nil)[:8]), nil
}

func decode(id string, data []byte) (*Record, error) {
	if data == nil {
		return nil, unknown(id)
	}
	r := new(Record)
	s := storedRecord{Record: r}
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, fmt.Errorf("record of %s: %w", id, err)
	}
	if r.V > recordVersion {
		return nil, fmt.Errorf("the record of %s has version %d, this program knows %d: %w", id, r.V, recordVersion, fault.Conflict)
	}
	r.unraw()
	switch {
	case s.WaitsOn != "":
		r.WaitsOn = s.WaitsOn
	case s.ForSlot:
		r.WaitsOn = waitsOnSlot
	case s.Awaits:
		r.WaitsOn = waitsOnEnd
	case s.ForLoad:
		r.WaitsOn = waitsOnLoadAvg
	case r.Queued > 0 && !s.Unseen:
		r.WaitsOn = waitsOnLocks
	}
	switch {
	case s.Quit:
		r.Comeback = neverAgain
	case s.Renew:
		r.Comeback = serveAgain
	}
	switch {
	case s.ForcedLate:
		r.Urgency = AtOnce
	case s.Late:
		r.Urgency = Anyway
	}
	return r, nil
}

// unknown returns the error for an id that no activation has. Jobs have numbers, and the
// ids of reservations usually name their source.
func unknown(id string) error {
	what := "job or reservation"
	switch {
	case isJob(id):
		what = "job"
	case strings.Contains(id, "/"):
		what = "instance of a service"
	case strings.Contains(id, "@"):
		what = "reservation"
	}
	return fmt.Errorf("there is no %s %s: %w", what, id, fault.NotFound)
}

// stateIn finds the state in a record without decoding the rest, for lists that skip many
// finished activations. No text before it in the record can look the same, because the
// quotes in a text are escaped.
func stateIn(data []byte) State {
	_, rest, _ := bytes.Cut(data, []byte(`"state":"`))
	state, _, _ := bytes.Cut(rest, []byte(`"`))
	return State(state)
}

// A rawWork has the bytes of fields that JSON would change: commands, file names and
// variables may be any bytes, and JSON replaces those that are not valid UTF-8.
type rawWork struct {
	Argv [][]byte `json:"argv,omitempty"`
	Undo [][]byte `json:"undo,omitempty"`
	Dir  []byte   `json:"dir,omitempty"`
	Env  [][]byte `json:"env,omitempty"` // NAME=VALUE
}

// rawOf returns the raw bytes of an order; nil if all of it is valid UTF-8.
func rawOf(o *Order) *rawWork {
	noText := func(s string) bool { return !utf8.ValidString(s) }
	if !noText(o.Dir) && !slices.ContainsFunc(o.Argv, noText) && !slices.ContainsFunc(o.Undo, noText) && !anyPair(o.Env, noText) {
		return nil
	}
	w := &rawWork{Argv: raw(o.Argv), Undo: raw(o.Undo), Dir: []byte(o.Dir)}
	for _, k := range slices.Sorted(maps.Keys(o.Env)) {
		w.Env = append(w.Env, []byte(k+"="+o.Env[k]))
	}
	return w
}

// unraw restores the bytes of an order that was stored.
func (o *Order) unraw() {
	if w := o.Raw; w != nil {
		o.Argv, o.Undo, o.Dir, o.Env, o.Raw = unraw(w.Argv), unraw(w.Undo), string(w.Dir), w.env(), nil
	}
}

func anyPair(env map[string]string, is func(string) bool) bool {
	for k, v := range env {
		if is(k) || is(v) {
			return true
		}
	}
	return false
}

func (w *rawWork) env() map[string]string {
	if w.Env == nil {
		return nil
	}
	env := make(map[string]string, len(w.Env))
	for _, kv := range w.Env {
		k, v, _ := strings.Cut(string(kv), "=")
		env[k] = v
	}
	return env
}

func raw(all []string) (out [][]byte) {
	for _, s := range all {
		out = append(out, []byte(s))
	}
	return out
}

func unraw(all [][]byte) (out []string) {
	for _, b := range all {
		out = append(out, string(b))
	}
	return out
}

// plainJob is a NewJob without its own encoding.
type plainJob NewJob

// MarshalJSON implements [json.Marshaler].
func (j NewJob) MarshalJSON() ([]byte, error) {
	j.Raw = rawOf(&j.Order)
	return json.Marshal(plainJob(j))
}

// UnmarshalJSON implements [json.Unmarshaler].
func (j *NewJob) UnmarshalJSON(data []byte) error {
	*j = NewJob{}
	s := struct {
		*plainJob
		AtJob *AtJob // the name in earlier versions; the other names differ in case only
	}{plainJob: (*plainJob)(j)}
	if err := json.Unmarshal(data, &s); err != nil {
		return err
	}
	j.AtJob = cmp.Or(j.AtJob, s.AtJob)
	j.unraw()
	return nil
}
