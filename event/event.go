package event

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"activationd/internal/fault"
	"activationd/internal/object"
	"activationd/store"
)

// An Event is a fact about something that happened. Fields that do not apply are empty. Its
// names in the store are short, because most of what the daemon writes is events.
type Event struct {
	Seq   uint64    `json:"-"` // the number, which the store chooses; zero until it is read from the log
	Time  time.Time `json:"-"`
	Topic string    `json:"-"` // see [Topic]; empty when it is appended: that of [Event.Subject]
	What  string    `json:"-"` // the kind of event: [State], "attempt.ended", [Gap]

	ID    string `json:"i,omitempty"` // the id of the event's subject
	Kind  string `json:"-"`           // what ID names: "job", "reservation"
	Host  string `json:"-"`           // the machine whose daemon wrote it
	Label string `json:"l,omitempty"` // the subject's, which its owner chose

	// Actor is the client whose request caused it, or the source whose content did. Action
	// is what the actor requested, in the words of the commands: "cancel", "vlan free". It is
	// empty if the event only follows from what was requested. An event with an action is an
	// act: see [Log.Acts].
	Actor   *Actor   `json:"-"`
	Action  string   `json:"-"`
	Changes []Change `json:"g,omitempty"` // what an edit changed
	// Source is the source of reservations whose content changed the subject, and Load is the
	// number of the load that applied it.
	Source string `json:"-"`
	Load   uint64 `json:"-"`

	// Owner and OwnerUID are the owner of the subject. They decide who else may see
	// Reason, Label, Changes and Actor.
	Owner    string `json:"-"`
	OwnerUID *int   `json:"-"`

	State    string `json:"s,omitempty"`
	WaitsFor string `json:"f,omitempty"`  // in one word: "lock", "slot"
	Outcome  string `json:"oc,omitempty"` // of a subject that has finished
	Phase    string `json:"p,omitempty"`  // the phase of an attempt
	Attempt  int    `json:"n,omitempty"`  // the attempt's number
	Result   string `json:"r,omitempty"`  // how the attempt ended: "exited", "timeout", "lost"
	Exit     *int   `json:"e,omitempty"`  // the attempt's exit status, if it has one
	Signal   string `json:"sg,omitempty"` // the signal that ended the attempt: "KILL"
	Failed   bool   `json:"x,omitempty"`  // the event reports a failure
	Reason   string `json:"y,omitempty"`  // in words
	Text     string `json:"tx,omitempty"` // what a client published, see [Publish]
	Trace    string `json:"tr,omitempty"` // the traceparent of the subject's request

	// From and Reset are set in a [Gap] only.
	From  uint64 `json:"-"`
	Reset bool   `json:"-"`
}

// State is the kind of an event that reports an activation's new state, or a new reason for
// its state.
const State = "state"

// Gap is the kind of an event that replaces events that can no longer be read: those with
// the numbers From to Seq. It is never stored. If Reset is set, the requested number is
// greater than any in this log. Then it is from another log, or from this one before an
// older copy was restored, and all events that follow are all that the log has.
const Gap = "gap"

// An Actor is a user or client whose request changed something, or a source of reservations
// whose content did.
type Actor struct {
	Kind string `json:"k"` // how it was identified: "uid", "token", "certificate", "address"; or "source"
	Name string `json:"n"`
	Role string `json:"r,omitempty"`
}

// Kinds of actors.
const (
	ByUser   = "uid"
	BySource = "source" // of reservations, or the configuration
)

// A Change is a field that has another value than before. From and To are in words; a time
// is in the form of RFC 3339, in UTC. Values that must stay secret are left out.
type Change struct {
	Field string `json:"f"`
	From  string `json:"o,omitempty"`
	To    string `json:"t,omitempty"`
}

// Versions of the encoding. Events of newer versions are not read.
const (
	oneOwner   = 1 // all events of the entry have the owner that the entry has
	manyOwners = 2 // each event has its own
)

// maxReason bounds the text of an event, in bytes, so that a page of events has a
// bounded size.
const maxReason = 4 << 10

// maxChange bounds each text of a [Change], in bytes.
const maxChange = 200

// shared is what all events of an entry have in common: one transaction often writes many
// that differ in little else.
type shared struct {
	Kind  string `json:"k,omitempty"`
	Host  string `json:"h,omitempty"`
	Actor *Actor `json:"a,omitempty"`
	owner
	Source string `json:"so,omitempty"`
	Load   uint64 `json:"ld,omitempty"`
}

// owner is the owner of the subject of an event, in an entry or in one of its events.
type owner struct {
	Name string `json:"o,omitempty"`
	UID  *int   `json:"u,omitempty"`
}

// head is what is known of an entry before its events are decoded. It is stored first, see
// parseHead.
type head struct {
	V      int    `json:"v"`
	Time   int64  `json:"t"`           // nanoseconds since 1970
	N      int    `json:"n"`           // how many events it has
	Action string `json:"c,omitempty"` // of all its events
}

// stored is an entry as it is stored.
type stored struct {
	head
	shared
	Events []single `json:"e"`
}

// single is what only one event of an entry has.
type single struct {
	Topic string `json:"tp,omitempty"` // if it is not the one of [Event.Subject]
	What  string `json:"w,omitempty"`  // if it is not [State]
	owner        // if the entry has [manyOwners]
	*Event
}

// joins reports whether e can be in one entry with o.
func (e *Event) joins(o *Event) bool {
	return e.Time.Equal(o.Time) && e.Action == o.Action && e.Kind == o.Kind && e.Host == o.Host && same(e.Actor, o.Actor) &&
		e.Source == o.Source && e.Load == o.Load
}

// ofOwnerOf reports whether e has the owner that o has.
func (e *Event) ofOwnerOf(o *Event) bool { return e.Owner == o.Owner && same(e.OwnerUID, o.OwnerUID) }

// same reports whether both are nil, or point to equal values.
func same[T comparable](a, b *T) bool { return a == b || a != nil && b != nil && *a == *b }

// Subject returns the topic of an event about an activation: its id, and its new state or
// what happened to it.
func (e *Event) Subject() string {
	last := e.What
	if last == State {
		last = e.State
	}
	return Topic("activation", e.ID) + "." + last
}

// encode returns an entry of events that join the first. It shortens texts that are too
// long.
func encode(events []*Event) ([]byte, error) {
	first := events[0]
	s := stored{
		head:   head{oneOwner, first.Time.UnixNano(), len(events), first.Action},
		shared: shared{first.Kind, first.Host, first.Actor, owner{first.Owner, first.OwnerUID}, first.Source, first.Load},
		Events: make([]single, len(events)),
	}
	if slices.ContainsFunc(events, func(e *Event) bool { return !e.ofOwnerOf(first) }) {
		s.V, s.owner = manyOwners, owner{}
	}
	for i, e := range events {
		e.Reason = Shorten(e.Reason, maxReason)
		for i, c := range e.Changes {
			e.Changes[i].From, e.Changes[i].To = Shorten(c.From, maxChange), Shorten(c.To, maxChange)
		}
		s.Events[i] = single{Topic: e.Topic, What: e.What, Event: e}
		if s.V == manyOwners {
			s.Events[i].owner = owner{e.Owner, e.OwnerUID}
		}
		if e.What == State {
			s.Events[i].What = ""
		}
	}
	return s.encode()
}

// encode writes what package json would write, in the same order. A test compares the two.
func (s *stored) encode() ([]byte, error) {
	w := object.Begin(make([]byte, 0, 200+100*len(s.Events)))
	w.PutNumber("v", int64(s.V))
	w.PutNumber("t", s.Time)
	w.PutNumber("n", int64(s.N))
	w.Text("c", s.Action)
	w.Text("k", s.Kind)
	w.Text("h", s.Host)
	if s.Actor != nil {
		w.PutObject("a", func() { s.Actor.Write(&w) })
	}
	s.owner.write(&w)
	w.Text("so", s.Source)
	w.Unsigned("ld", s.Load)
	w.Objects("e", len(s.Events), func(i int) { s.Events[i].write(&w) })
	return w.End()
}

// Write writes the members of an actor.
func (a *Actor) Write(w *object.Writer) {
	w.PutText("k", a.Kind)
	w.PutText("n", a.Name)
	w.Text("r", a.Role)
}

func (o *owner) write(w *object.Writer) {
	w.Text("o", o.Name)
	object.Optional(w, "u", o.UID)
}

func (s *single) write(w *object.Writer) {
	w.Text("tp", s.Topic)
	w.Text("w", s.What)
	s.owner.write(w)
	w.Text("i", s.ID)
	w.Text("l", s.Label)
	if len(s.Changes) > 0 {
		w.PutOther("g", s.Changes)
	}
	w.Text("s", s.State)
	w.Text("f", s.WaitsFor)
	w.Text("oc", s.Outcome)
	w.Text("p", s.Phase)
	w.Number("n", int64(s.Attempt))
	w.Text("r", s.Result)
	object.Optional(w, "e", s.Exit)
	w.Text("sg", s.Signal)
	w.Flag("x", s.Failed)
	w.Text("y", s.Reason)
	w.Text("tx", s.Text)
	w.Text("tr", s.Trace)
}

// Shorten returns at most so many bytes of s; if it cuts s, an ellipsis follows.
func Shorten(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + " ..."
}

// arrive sets what an event has only once it is in the log.
func (e *Event) arrive(seq uint64) {
	e.Seq, e.Time = seq, time.Unix(0, e.Time.UnixNano())
	if e.Topic == "" {
		e.Topic = e.Subject()
	}
}

// An entry is some events that are not decoded, and the number of the last.
type entry struct {
	n    uint64
	data []byte
}

func (en entry) head() (h head, err error) {
	if h, ok := parseHead(en.data); ok {
		return h, h.check(en.n)
	}
	if err = json.Unmarshal(en.data, &h); err != nil {
		return h, fmt.Errorf("events up to %d: %w", en.n, err)
	}
	return h, h.check(en.n)
}

// parseHead reads the head of an entry in the form in which encode writes it. It decodes
// nothing else, so that all entries can be counted in little time.
func parseHead(data []byte) (h head, ok bool) {
	rest := data
	number := func(name string) (n int64) {
		rest, ok = bytes.CutPrefix(rest, []byte(name))
		digits := 0
		for ; ok && digits < len(rest) && '0' <= rest[digits] && rest[digits] <= '9'; digits++ {
			n = n*10 + int64(rest[digits]-'0')
		}
		ok = ok && 0 < digits && digits <= 19 && n >= 0 && digits < len(rest) // more would not fit into n
		if ok {
			rest = rest[digits:]
		}
		return n
	}
	h.V = int(number(`{"v":`))
	if ok {
		h.Time = number(`,"t":`)
	}
	if ok {
		h.N = int(number(`,"n":`))
	}
	if !ok {
		return head{}, false
	}
	if word, has := bytes.CutPrefix(rest, []byte(`,"c":"`)); has {
		action, _, closed := bytes.Cut(word, []byte(`"`))
		h.Action = string(action)
		return h, closed && !bytes.Contains(action, []byte(`\`))
	}
	return h, true
}

func (h head) check(last uint64) error {
	if h.V != oneOwner && h.V != manyOwners {
		return fmt.Errorf("events up to %d have version %d, this program knows %d: %w", last, h.V, manyOwners, fault.Conflict)
	}
	return nil
}

// count returns how many events the entry has, without decoding it: pruning counts all of
// them. One that cannot be read counts as one.
func (en entry) count() (n int) {
	_, rest, _ := bytes.Cut(en.data, []byte(`,"n":`)) // as in head, before any text
	for i := 0; i < len(rest) && rest[i] >= '0' && rest[i] <= '9' && n <= store.MaxParts; i++ {
		n = n*10 + int(rest[i]-'0')
	}
	return max(n, 1)
}

// isAct reports whether the entry's events are acts. One that cannot be read has none.
func (en entry) isAct() bool {
	h, err := en.head()
	return err == nil && h.Action != ""
}

// decode returns the entry's events with numbers after the given one.
func (en entry) decode(after uint64) ([]*Event, error) {
	var s stored
	if err := json.Unmarshal(en.data, &s); err != nil {
		return nil, fmt.Errorf("events up to %d: %w", en.n, err)
	}
	if err := s.head.check(en.n); err != nil {
		return nil, err
	}
	all := make([]*Event, 0, len(s.Events))
	for i, one := range s.Events {
		seq := en.n - uint64(len(s.Events)-1-i)
		if seq <= after {
			continue
		}
		e := cmp.Or(one.Event, new(Event))
		e.Time, e.Topic, e.What = time.Unix(0, s.Time), one.Topic, cmp.Or(one.What, State)
		e.Kind, e.Host, e.Actor, e.Action, e.Source, e.Load = s.Kind, s.Host, s.Actor, s.Action, s.Source, s.Load
		e.Owner, e.OwnerUID = cmp.Or(one.Name, s.Name), cmp.Or(one.UID, s.UID)
		e.arrive(seq)
		all = append(all, e)
	}
	return all, nil
}
