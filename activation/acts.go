package activation

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"activationd/event"
)

// An Act is a change of an activation that a client requested, or that its source made by
// announcing it otherwise. A record keeps its own acts, so that they are known as long as
// the record, whatever happens to the log of events.
type Act struct {
	At      time.Time      `json:"t"`
	Action  string         `json:"a"`
	By      event.Actor    `json:"b"`
	Source  string         `json:"s,omitempty"` // the source that announced the change
	Load    uint64         `json:"l,omitempty"` // the load that applied it
	Reason  string         `json:"y,omitempty"`
	Changes []event.Change `json:"g,omitempty"`
}

// Limits of what a record keeps of its acts.
const (
	keepActs     = 64 // the first, and the newest ones
	maxActReason = 500
	maxChange    = 120 // bytes of each text of a change
)

// noteAct adds an act to the record, by its event. That the owner of a job submitted it, as
// a user of this machine, follows from the rest of the record: most jobs keep no act.
func (r *Record) noteAct(ev *event.Event) {
	if ev.Action == "" || ev.Action == "add" && *ev.Actor == r.ownerActor(ev.Actor.Role) {
		return
	}
	if n := len(r.Acts); n >= keepActs {
		r.Acts = slices.Delete(slices.Clone(r.Acts), 1, 2)
		r.ActsDropped++
	}
	r.Acts = append(slices.Clip(r.Acts), Act{
		At: ev.Time, Action: ev.Action, By: *ev.Actor, Source: ev.Source, Load: ev.Load,
		Reason: event.Shorten(ev.Reason, maxActReason), Changes: ev.Changes,
	})
}

// ownerActor is the owner of a job as the actor of its submission.
func (r *Record) ownerActor(role string) event.Actor {
	return event.Actor{Kind: event.ByUser, Name: r.Owner, Role: role}
}

// makes are the actions that make activations.
var makes = []string{"add", "every run", "announce", "book add"}

// Submitted returns how the activation came to be: the act that made it, the start and the
// end of its slot that it had then, and whether they are known. For a job the end is zero.
func (r *Record) Submitted() (made Act, start, end time.Time, planned bool) {
	rest := r.Acts
	switch {
	case len(rest) > 0 && rest[0].At.Equal(r.Created) && slices.Contains(makes, rest[0].Action):
		made, rest = rest[0], rest[1:]
	case r.policy().announced:
		made = Act{At: r.Created, Action: "announce"}
	case r.From != "" || r.MailOf != "":
		made = Act{At: r.Created}
	default:
		made = Act{At: r.Created, Action: "add", By: r.ownerActor("")}
	}
	start, end = r.Start, r.End
	for _, a := range slices.Backward(rest) {
		for _, c := range a.Changes {
			var at time.Time
			switch {
			case c.Field != fieldStart && c.Field != fieldEnd, at.UnmarshalText([]byte(c.From)) != nil: // as instantText wrote it
			case c.Field == fieldStart:
				start = at
			case c.Field == fieldEnd:
				end = at
			}
		}
	}
	return made, start, end, r.ActsDropped == 0
}

// On has the events from here on name a client, or a source of reservations, as their actor;
// nil: none.
func (t *Txn) On(by *event.Actor) { t.actor = by }

// Names of fields in changes.
const (
	fieldStart = "start"
	fieldEnd   = "end"
)

// changesOf lists the differences of what was requested or announced. The values of
// variables may be secrets, and are left out. So are those of commands that everybody would
// see: the changes of a reservation are not private.
func changesOf(old, r *Record) (all []event.Change) {
	add := func(field, from, to string) { all = AddChange(all, field, from, to) }
	secret := func(field string, same bool) {
		if !same {
			all = append(all, event.Change{Field: field})
		}
	}
	add(fieldStart, instantText(old.Start), instantText(r.Start))
	add(fieldEnd, instantText(old.End), instantText(r.End))
	add("lead", durationText(&old.Lead), durationText(&r.Lead))
	add("tail", durationText(&old.Tail), durationText(&r.Tail))
	add("deadline", instantText(old.Deadline), instantText(r.Deadline))
	if old.Source != "" {
		add("source", old.SourceName(), r.SourceName())
	}
	add("owner", old.Owner, r.Owner)
	add("label", old.Label, r.Label)
	add("devices", strings.Join(old.Devices, " "), strings.Join(r.Devices, " "))
	if r.policy().private {
		add("command", commandText(old.Argv), commandText(r.Argv))
	} else {
		secret("activate", slices.Equal(old.Argv, r.Argv))
		secret("deactivate", slices.Equal(old.Undo, r.Undo))
	}
	secret("input", bytes.Equal(old.Stdin, r.Stdin))
	add("dir", old.Dir, r.Dir)
	if names := envChanges(old.Env, r.Env); names != "" {
		all = append(all, event.Change{Field: "env", To: event.Shorten(names, maxChange)})
	}
	add("timeout", durationText(old.Timeout), durationText(r.Timeout))
	add("grace", durationText(old.Grace), durationText(r.Grace))
	add("retries", numberText(old.Retries), numberText(r.Retries))
	add("backoff", durationText(old.Backoff), durationText(r.Backoff))
	add("missed", old.Missed, r.Missed)
	add("priority", strconv.Itoa(old.Priority), strconv.Itoa(r.Priority))
	add("lock", strings.Join(old.Locks, " "), strings.Join(r.Locks, " "))
	add("tag", strings.Join(old.Tags, " "), strings.Join(r.Tags, " "))
	add("topology", old.TopologyName, r.TopologyName)
	return all
}

// AddChange adds a change to all, unless from is to. Long texts are shortened.
func AddChange(all []event.Change, field, from, to string) []event.Change {
	if from == to {
		return all
	}
	return append(all, event.Change{Field: field, From: event.Shorten(from, maxChange), To: event.Shorten(to, maxChange)})
}

// ChangesTo lists the differences of a job, as the event of an edit has them.
func (o *Order) ChangesTo(n *Order) []event.Change {
	return changesOf(&Record{Kind: Job, Order: *o}, &Record{Kind: Job, Order: *n})
}

// envChanges says which variables were added, changed or removed: "A added, B removed".
func envChanges(old, env map[string]string) string {
	var words []string
	for _, name := range slices.Sorted(maps.Keys(env)) {
		if was, ok := old[name]; !ok {
			words = append(words, name+" added")
		} else if was != env[name] {
			words = append(words, name+" changed")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(old)) {
		if _, ok := env[name]; !ok {
			words = append(words, name+" removed")
		}
	}
	return strings.Join(words, ", ")
}

func instantText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

func durationText(d *time.Duration) string {
	if d == nil {
		return ""
	}
	return d.String()
}

func numberText(n *int) string {
	if n == nil {
		return ""
	}
	return strconv.Itoa(*n)
}

// commandText returns a command in one line, in which blanks within a word are visible.
func commandText(argv []string) string {
	words := make([]string, len(argv))
	for i, w := range argv {
		if words[i] = w; w == "" || strings.ContainsAny(w, " \t\n'\"") {
			words[i] = strconv.Quote(w)
		}
	}
	return strings.Join(words, " ")
}

// Acts hands the acts that q chooses to fn, the oldest first, except those that by may not
// see: all that FollowFor would hide a part of.
func (e *Engine) Acts(ctx context.Context, by Actor, q event.Query, fn func(*event.Event) error) error {
	return e.events.Acts(ctx, q, func(ev *event.Event) error {
		if !by.mayRead(ev) {
			return nil
		}
		return fn(ev)
	})
}
