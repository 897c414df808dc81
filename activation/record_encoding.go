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
	"activationd/internal/object"
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

// encode returns r as the store has it. Scratch is memory that it may write to, or nil.
func (r *Record) encode(scratch []byte) ([]byte, error) {
	r.V, r.Raw = recordVersion, rawOf(&r.Order)
	defer func() { r.Raw = nil }()
	flags := r.flags()
	if r.State == Finished {
		return json.Marshal(&finishedRecord{headOf(r), textsOf(r), rest{r}, flags})
	}
	w := object.Begin(slices.Grow(scratch, 1<<9))
	r.write(&w)
	flags.write(&w)
	data, err := w.End()
	if err != nil {
		return nil, err
	}
	return bytes.Clone(data), nil
}

func (r *Record) flags() recordFlags {
	on := waitsOnRetry
	switch r.WaitsOn {
	case waitsOnStart, waitsOnClock, waitsOnPause, waitsOnConflict:
		on = r.WaitsOn
	}
	return recordFlags{
		ForSlot: r.WaitsOn.queuedForSlot(), Awaits: r.WaitsOn == waitsOnEnd, ForLoad: r.WaitsOn == waitsOnLoadAvg,
		WaitsOn: on, Unseen: r.Queued > 0 && r.WaitsOn == waitsOnRetry,
		Renew: r.Comeback == serveAgain, Quit: r.Comeback == neverAgain,
		Late: r.Urgency >= Anyway, ForcedLate: r.Urgency == AtOnce,
	}
}

// write writes what package json would write for the same storedRecord, in the same order.
// A test compares the two.
func (r *Record) write(w *object.Writer) {
	w.PutNumber("v", int64(r.V))
	w.PutText("id", r.ID)
	w.PutText("kind", string(r.Kind))
	r.Life.write(w)
	w.PutTime("start", r.Start)
	r.Slot.write(w)
	r.Order.write(w)
	w.Text("recurrence", r.From)
	w.Time("occurrence", r.Occurrence)
	w.Text("mail_of", r.MailOf)
	w.Number("stdin_size", int64(r.StdinSize))
	object.Pointer(w, "serving", r.Serving)
}

func (l *Life) write(w *object.Writer) {
	w.PutText("state", string(l.State))
	w.Text("outcome", string(l.Outcome))
	w.Text("reason", l.Reason)
	w.PutTime("created", l.Created)
	w.PutTime("since", l.Since)
	w.Texts("held", l.LocksHeld)
	w.Flag("dirty", l.NeedsUndo)
	w.Text("ending", string(l.PendingOutcome))
	w.Text("cause", l.PendingReason)
	w.Flag("pause", l.HoldNext)
	w.Flag("stopped", l.Stopped)
	w.Text("recalled", l.Recalled)
	w.Time("until", l.Until)
	w.Number("tries", int64(l.Tries))
	w.Number("voids", int64(l.UnprovenStarts))
	w.Number("no_starts", int64(l.FailedStarts))
	w.Time("retry_at", l.RetryAt)
	w.Number("retry_in", int64(l.RetryIn))
	w.Unsigned("line", l.Queued)
	w.Text("paused_by", l.PausedBy)
	if len(l.Conflicts) > 0 {
		w.PutOther("conflicts", l.Conflicts)
	}
	w.Time("conflict_since", l.ConflictSince)
	if l.Marks != (marks{}) {
		w.PutOther("marks", l.Marks)
	}
	object.Pointer(w, "progress", l.Progress)
	if l.LastN != [2]int{} {
		w.PutOther("ns", l.LastN)
	}
	if len(l.Attempts) > 0 {
		w.PutOther("attempts", l.Attempts)
	}
	w.Objects("acts", len(l.Acts), func(i int) { l.Acts[i].write(w) })
	w.Number("acts_dropped", int64(l.ActsDropped))
}

func (a *Act) write(w *object.Writer) {
	w.PutTime("t", a.At)
	w.PutText("a", a.Action)
	w.PutObject("b", func() { a.By.Write(w) })
	w.Text("s", a.Source)
	w.Unsigned("l", a.Load)
	w.Text("y", a.Reason)
	if len(a.Changes) > 0 {
		w.PutOther("g", a.Changes)
	}
}

func (s *Slot) write(w *object.Writer) {
	w.Time("end", s.End)
	w.Number("lead", int64(s.Lead))
	w.Number("tail", int64(s.Tail))
	w.Text("source", s.Source)
	w.Bytes("hash", s.Hash)
	w.Unsigned("gen", s.Generation)
	w.Texts("devices", s.Devices)
	w.Flag("linked", s.Linked)
	w.Text("topology", s.TopologyName)
	if len(s.VLANs) > 0 {
		w.PutOther("vlans", s.VLANs)
	}
	w.Unsigned("announced", s.Announced)
	object.Pointer(w, "booked", s.Booked)
}

func (o *Order) write(w *object.Writer) {
	w.Text("owner", o.Owner)
	w.Text("label", o.Label)
	object.Pointer(w, "user", o.User)
	w.Texts("argv", o.Argv)
	w.Texts("undo", o.Undo)
	w.Bytes("stdin", o.Stdin)
	w.Text("dir", o.Dir)
	if len(o.Env) > 0 {
		w.PutOther("env", o.Env)
	}
	object.Optional(w, "umask", o.Umask)
	object.Optional(w, "timeout", o.Timeout)
	object.Optional(w, "grace", o.Grace)
	object.Optional(w, "retries", o.Retries)
	object.Optional(w, "backoff", o.Backoff)
	w.Text("missed", o.Missed)
	w.Number("priority", int64(o.Priority))
	w.Texts("locks", o.Locks)
	w.Texts("after", o.After)
	w.Time("deadline", o.Deadline)
	w.Texts("tags", o.Tags)
	object.Pointer(w, "at_job", o.AtJob)
	w.Text("script", o.Script)
	object.Pointer(w, "raw", o.Raw)
}

func (f *recordFlags) write(w *object.Writer) {
	w.Flag("for_slot", f.ForSlot)
	w.Flag("awaits", f.Awaits)
	w.Flag("for_load", f.ForLoad)
	w.Text("waits_on", string(f.WaitsOn))
	w.Flag("unseen", f.Unseen)
	w.Flag("renew", f.Renew)
	w.Flag("quit", f.Quit)
	w.Flag("late", f.Late)
	w.Flag("forced", f.ForcedLate)
}

// Version returns a text that is the same only while nothing in r has changed. It compares what
// one program stores: a later one may give other versions.
func (r *Record) Version() (string, error) {
	c := *r
	data, err := c.withoutStdin().encode(nil)
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
