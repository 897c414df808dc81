package reservation

import (
	"maps"
	"slices"
	"time"
)

// A Value is the value of one field, as a source has it. Each method reads it as one
// type. A method that cannot do so reports the problem to the source, and returns what it
// could read.
type Value interface {
	Text() string
	Word() string // a text that must not be empty, if the source can tell an empty text from a missing value
	Instant() time.Time
	Duration() *time.Duration
	Number() *int
	List(most int) []string
	Variables() map[string]string
	Numbers() map[string]int       // numbers by names
	Topology() (text, name string) // the text, or only the name of a file that is still to be read
}

// A Field is a field of a reservation that a source can set.
type Field struct {
	Name string

	// Command reports whether the field decides what is run on this machine. A source
	// that others than the machine's administrators write must not set it.
	Command bool

	Set   func(*Reservation, Value)
	Equal func(a, b *Reservation) bool
}

// Fields are all fields, in the order in which messages list them.
var Fields = [...]Field{
	field("id", func(r *Reservation) *string { return &r.ID }, Value.Text, same),
	field("owner", func(r *Reservation) *string { return &r.Owner }, Value.Text, same),
	field("start", func(r *Reservation) *time.Time { return &r.Start }, Value.Instant, time.Time.Equal),
	field("end", func(r *Reservation) *time.Time { return &r.End }, Value.Instant, time.Time.Equal),
	field("devices", func(r *Reservation) *[]string { return &r.Devices }, devices, slices.Equal),
	field("vlans", func(r *Reservation) *map[string]int { return &r.VLANs }, Value.Numbers, maps.Equal),
	{
		Name:  "topology",
		Set:   func(r *Reservation, v Value) { r.Topology, r.TopologyName = v.Topology() },
		Equal: func(a, b *Reservation) bool { return a.Topology == b.Topology && a.TopologyName == b.TopologyName },
	},
	command(field("activate", func(r *Reservation) *[]string { return &r.Activate }, arguments, slices.Equal)),
	command(field("deactivate", func(r *Reservation) *[]string { return &r.Deactivate }, arguments, slices.Equal)),
	field("label", func(r *Reservation) *string { return &r.Label }, Value.Text, same),
	field("lead", func(r *Reservation) **time.Duration { return &r.Lead }, Value.Duration, sameTarget),
	field("tail", func(r *Reservation) **time.Duration { return &r.Tail }, Value.Duration, sameTarget),
	field("timeout", func(r *Reservation) **time.Duration { return &r.Timeout }, Value.Duration, sameTarget),
	field("grace", func(r *Reservation) **time.Duration { return &r.Grace }, Value.Duration, sameTarget),
	field("retries", func(r *Reservation) **int { return &r.Retries }, Value.Number, sameTarget),
	field("missed", func(r *Reservation) *string { return &r.Missed }, Value.Word, same),
	command(field("env", func(r *Reservation) *map[string]string { return &r.Env }, Value.Variables, maps.Equal)),
}

func field[T any](name string, in func(*Reservation) *T, read func(Value) T, equal func(a, b T) bool) Field {
	return Field{
		Name:  name,
		Set:   func(r *Reservation, v Value) { *in(r) = read(v) },
		Equal: func(a, b *Reservation) bool { return equal(*in(a), *in(b)) },
	}
}

func command(f Field) Field {
	f.Command = true
	return f
}

func devices(v Value) []string   { return v.List(MaxDevices) }
func arguments(v Value) []string { return v.List(MaxArgs) }

func same[T comparable](a, b T) bool { return a == b }

func sameTarget[T comparable](a, b *T) bool {
	return a == b || a != nil && b != nil && *a == *b
}

// FieldIndex returns the index in Fields of the field of that name, or -1.
func FieldIndex(name string) int {
	for i := range Fields {
		if Fields[i].Name == name {
			return i
		}
	}
	return -1
}

// FieldNames returns the names of all fields.
func FieldNames() []string {
	names := make([]string, len(Fields))
	for i, f := range Fields {
		names[i] = f.Name
	}
	return names
}
