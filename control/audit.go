package control

import (
	"fmt"
	"strings"
	"time"
)

// AuditIn selects events that clients requested, and changes that sources announced.
type AuditIn struct {
	ID     []string `arg:"id"`     // only what is about one of these ids
	By     string   `arg:"by"`     // only what the client, or the source, of this name requested
	Action []string `arg:"action"` // only one of these: cancel, vlan free
	Since  string   `arg:"since"`  // since this time, or since so long ago: a time, or a duration before now
	Until  string   `arg:"until"`  // until this time, or until so long ago: a time, or a duration before now
	Match  string   `arg:"match"`  // only what has this text somewhere, in upper or lower case
	N      int      `arg:"n"`      // the newest so many; 0: all
	Limit  int      `arg:"limit"`  // at most so many, the oldest or, with n, the newest; 0: all
	After  string   `arg:"after"`  // only what follows the event of this number; not with n
}

// An Actor is a person or client whose request changed something, or a source whose content
// did.
type Actor struct {
	Kind string `json:"kind"` // uid | token | certificate | address | source
	Name string `json:"name"`
	Role string `json:"role,omitempty"`
}

// String names an actor for people: "ada", "ops (token)".
func (a Actor) String() string {
	switch {
	case a.Name == "":
		return "nobody"
	case a.Kind == "uid" || a.Kind == "":
		return a.Name
	}
	return fmt.Sprintf("%s (%s)", a.Name, a.Kind)
}

// A Change is a field that was changed. From and To are texts, in which a time is in UTC in
// the form of RFC 3339. Values that must stay secret, or are long, are left out.
type Change struct {
	Field string `json:"field"`
	From  string `json:"from,omitempty"`
	To    string `json:"to,omitempty"`
}

// ChangesText describes changes for people: "start: 10:00 -> 12:00; input: changed". It
// formats times by the given function.
func ChangesText(all []Change, format func(time.Time) string) string {
	value := func(s string) string {
		var t time.Time
		switch {
		case s == "":
			return "none"
		case t.UnmarshalText([]byte(s)) == nil:
			return format(t)
		}
		return s
	}
	words := make([]string, len(all))
	for i, c := range all {
		switch {
		case c.From == "" && c.To == "":
			words[i] = c.Field + ": changed"
		case c.Field == "env":
			words[i] = "env: " + c.To
		default:
			words[i] = c.Field + ": " + value(c.From) + " -> " + value(c.To)
		}
	}
	return strings.Join(words, "; ")
}
