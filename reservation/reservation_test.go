package reservation_test

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"activationd/internal/fault"
	"activationd/reservation"
)

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func valid() reservation.Reservation {
	return reservation.Reservation{ID: "1042@ostrava", Owner: "group7", Start: noon, End: noon.Add(2 * time.Hour), Devices: []string{"r1", "r2"}}
}

func ptr[T any](v T) *T { return &v }

// changes are all changes that make a different reservation.
var changes = map[string]func(*reservation.Reservation){
	"id":                func(r *reservation.Reservation) { r.ID = "1043@ostrava" },
	"owner":             func(r *reservation.Reservation) { r.Owner = "group8" },
	"start":             func(r *reservation.Reservation) { r.Start = r.Start.Add(time.Nanosecond) },
	"end":               func(r *reservation.Reservation) { r.End = r.End.Add(time.Second) },
	"device more":       func(r *reservation.Reservation) { r.Devices = []string{"r1", "r2", "r3"} },
	"device less":       func(r *reservation.Reservation) { r.Devices = []string{"r1"} },
	"devices glued":     func(r *reservation.Reservation) { r.Devices = []string{"r1r2"} },
	"topology":          func(r *reservation.Reservation) { r.Topology = "{}" },
	"topology's name":   func(r *reservation.Reservation) { r.TopologyName = "{}" },
	"activate":          func(r *reservation.Reservation) { r.Activate = []string{"/bin/true"} },
	"activate, 2 words": func(r *reservation.Reservation) { r.Activate = []string{"/bin/true", ""} },
	"deactivate":        func(r *reservation.Reservation) { r.Deactivate = []string{"/bin/true"} },
	"label":             func(r *reservation.Reservation) { r.Label = "x" },
	"lead 0":            func(r *reservation.Reservation) { r.Lead = ptr(time.Duration(0)) },
	"lead":              func(r *reservation.Reservation) { r.Lead = ptr(time.Second) },
	"tail":              func(r *reservation.Reservation) { r.Tail = ptr(time.Second) },
	"timeout":           func(r *reservation.Reservation) { r.Timeout = ptr(time.Second) },
	"grace":             func(r *reservation.Reservation) { r.Grace = ptr(time.Second) },
	"retries":           func(r *reservation.Reservation) { r.Retries = ptr(0) },
	"missed":            func(r *reservation.Reservation) { r.Missed = "run" },
	"env":               func(r *reservation.Reservation) { r.Env = map[string]string{"A": "b"} },
	"env, other cut":    func(r *reservation.Reservation) { r.Env = map[string]string{"Ab": ""} },
}

func TestHashTellsAllApart(t *testing.T) {
	seen := map[[16]byte]string{valid().Hash(): "unchanged"}
	for _, name := range slices.Sorted(maps.Keys(changes)) {
		r := valid()
		changes[name](&r)
		if other, ok := seen[r.Hash()]; ok {
			t.Errorf("%q and %q have the same hash", name, other)
		}
		seen[r.Hash()] = name
	}
}

func TestHashIsOfWhatMatters(t *testing.T) {
	a, b := valid(), valid()
	b.Where = "lab.yml:12"
	b.Start = b.Start.In(time.FixedZone("", 3600))
	b.Env = map[string]string{}
	b.Activate = nil
	if a.Hash() != b.Hash() {
		t.Error("place and zone make another hash")
	}
}

// TestHashStays checks that the hash is the same as in existing stores: after an upgrade, a
// reload must not find everything changed.
func TestHashStays(t *testing.T) {
	r := valid()
	changes["env"](&r)
	changes["lead"](&r)
	want := [16]byte{0x50, 0xb8, 0x46, 0xee, 0xd3, 0x98, 0x2, 0x80, 0x2e, 0xa, 0x40, 0x21, 0x42, 0xe8, 0x98, 0x77}
	if got := r.Hash(); got != want {
		t.Errorf("Hash() = %#v, want %#v", got, want)
	}
}

func TestValidate(t *testing.T) {
	set := func(f func(*reservation.Reservation)) func(*reservation.Reservation) { return f }
	tests := []struct {
		name   string
		change func(*reservation.Reservation)
		want   string // "" if it is valid
	}{
		{"valid", set(func(*reservation.Reservation) {}), ""},
		{"no id", set(func(r *reservation.Reservation) { r.ID = "" }), "id: is missing"},
		{"a job's id", set(func(r *reservation.Reservation) { r.ID = "1042" }), "id: 1042 consists of digits only, like the ids of jobs; write 1042@site, for instance"},
		{"id with a slash", set(func(r *reservation.Reservation) { r.ID = "a/b" }), `id: "a/b" is not 1 to 64`},
		{"id with dots", set(func(r *reservation.Reservation) { r.ID = "a..b" }), `id: "a..b" is not 1 to 64`},
		{"id begins with a dot", set(func(r *reservation.Reservation) { r.ID = ".a" }), `id: ".a" is not`},
		{"id of 64", set(func(r *reservation.Reservation) { r.ID = strings.Repeat("a", 64) }), ""},
		{"id of 65", set(func(r *reservation.Reservation) { r.ID = strings.Repeat("a", 65) }), "id: "},
		{"id of all signs", set(func(r *reservation.Reservation) { r.ID = "1._@:+-" }), ""},
		{"id with a line's end", set(func(r *reservation.Reservation) { r.ID = "a\n" }), `id: "a\n" is not`},
		{"no start", set(func(r *reservation.Reservation) { r.Start = time.Time{} }), "start: is missing"},
		{"no end", set(func(r *reservation.Reservation) { r.End = time.Time{} }), "end: is missing"},
		{"no length", set(func(r *reservation.Reservation) { r.End = r.Start }), "end: is the same as start"},
		{"backwards", set(func(r *reservation.Reservation) { r.End = r.Start.Add(-1) }), "end: is before start"},
		{"11 years", set(func(r *reservation.Reservation) { r.End = r.Start.AddDate(11, 0, 0) }), "end: is more than 10 years after start"},
		{"10 years", set(func(r *reservation.Reservation) { r.End = r.Start.AddDate(10, 0, 0) }), ""},
		{"far future", set(func(r *reservation.Reservation) { r.End = r.End.AddDate(500, 0, 0) }), "end: is in the year 2526"},
		{"tail eats the slot", set(func(r *reservation.Reservation) { r.Tail = ptr(2 * time.Hour) }), "tail: 2h0m0s is not shorter than the slot of 2h0m0s"},
		{"negative lead", set(func(r *reservation.Reservation) { r.Lead = ptr(-time.Second) }), "lead: -1s is negative"},
		{"no timeout", set(func(r *reservation.Reservation) { r.Timeout = ptr(time.Duration(0)) }), "timeout: must be more than 0"},
		{"no grace", set(func(r *reservation.Reservation) { r.Grace = ptr(time.Duration(0)) }), ""},
		{"too many retries", set(func(r *reservation.Reservation) { r.Retries = ptr(1001) }), "retries: 1001 is not from 0 to 1000"},
		{"missed", set(func(r *reservation.Reservation) { r.Missed = "maybe" }), `missed: "maybe" is neither run nor skip`},
		{"device of another site", set(func(r *reservation.Reservation) { r.Devices = []string{"sw1@praha", "_x", "7"} }), ""},
		{"device with a space", set(func(r *reservation.Reservation) { r.Devices = []string{"sw 1"} }), `devices: "sw 1" is not`},
		{"too many devices", set(func(r *reservation.Reservation) {
			r.Devices = nil
			for i := range 1025 {
				r.Devices = append(r.Devices, "d"+strings.Repeat("x", i%60)+string(rune('a'+i%26))+string(rune('a'+i/26%26)))
			}
		}), "devices: are 1025, more than 1024"},
		{"empty command", set(func(r *reservation.Reservation) { r.Activate = []string{} }), "activate: has no command"},
		{"nameless command", set(func(r *reservation.Reservation) { r.Deactivate = []string{"", "x"} }), "deactivate: has no command"},
		{"argument with a NUL", set(func(r *reservation.Reservation) { r.Activate = []string{"x", "a\x00b"} }), `activate: "a\x00b" has a NUL byte`},
		{"variable's name", set(func(r *reservation.Reservation) { r.Env = map[string]string{"1A": ""} }), `env: "1A" is not a variable's name`},
		{"the daemon's variable", set(func(r *reservation.Reservation) { r.Env = map[string]string{"ACTIVATION_ID": "7"} }), "env: ACTIVATION_ID: names that begin with ACTIVATION are reserved for the daemon"},
		{"owner of two lines", set(func(r *reservation.Reservation) { r.Owner = "a\nb" }), `owner: "a\nb" has control characters`},
		{"long label", set(func(r *reservation.Reservation) { r.Label = strings.Repeat("x", 257) }), "label: has 257 bytes, more than 256"},
		{"large topology", set(func(r *reservation.Reservation) { r.Topology = strings.Repeat("x", 1<<20+1) }), "topology: has 1048577 bytes, more than 1048576"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := valid()
			tt.change(&r)
			err := reservation.Validate(&r)
			if tt.want == "" {
				if err != nil {
					t.Errorf("Validate() = %v, want nil", err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) || !errors.Is(err, fault.Invalid) {
				t.Errorf("Validate() = %v, want %q and kind invalid", err, tt.want)
			}
		})
	}
}

func TestValidateTellsAll(t *testing.T) {
	r := reservation.Reservation{Missed: "x", Retries: ptr(-1)}
	want := "id: is missing\nstart: is missing\nend: is missing\nretries: -1 is not from 0 to 1000\nmissed: \"x\" is neither run nor skip"
	if err := reservation.Validate(&r); err == nil || err.Error() != want {
		t.Errorf("Validate() = %v, want\n%s", err, want)
	}
}

func TestValidateSortsDevices(t *testing.T) {
	shared := []string{"r2", "r1", "r2"}
	r := valid()
	r.Devices = shared
	if err := reservation.Validate(&r); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(r.Devices, []string{"r1", "r2"}) {
		t.Errorf("Devices = %v, want [r1 r2]", r.Devices)
	}
	if !slices.Equal(shared, []string{"r2", "r1", "r2"}) {
		t.Errorf("the caller's slice became %v", shared)
	}
}

func TestGuard(t *testing.T) {
	tests := []struct {
		name          string
		live, removed int
		share         float64
		refused       bool
	}{
		{"nothing", 10, 0, 0, false},
		{"the only one", 1, 1, 0, false},
		{"two of two", 2, 2, 0.5, true},
		{"exactly the share", 10, 5, 0.5, false},
		{"one above", 10, 6, 0.5, true},
		{"exactly, where floating point is not", 100, 29, 0.29, false},
		{"all are allowed", 10, 10, 1, false},
		{"none is allowed", 1000, 2, 0, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := reservation.Guard(tt.live, tt.removed, tt.share)
			if got := errors.Is(err, fault.Conflict); got != tt.refused {
				t.Errorf("Guard(%d, %d, %v) = %v, refused should be %v", tt.live, tt.removed, tt.share, err, tt.refused)
			}
		})
	}
	want := "the load would remove 40 of 50 live reservations, and more than 25 % at once needs the argument force; " +
		"nothing was changed; if they are really gone, reload with force: conflict"
	if err := reservation.Guard(50, 40, 0.25); err == nil || err.Error() != want {
		t.Errorf("Guard(50, 40, 0.25) = %v, want %s", err, want)
	}
}

// TestCompare applies the difference to the known reservations and expects those of the set,
// and the known ones that the set rejects.
func TestCompare(t *testing.T) {
	names := slices.Sorted(maps.Keys(changes))
	rapid.Check(t, func(t *rapid.T) {
		id := rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "f"})
		version := rapid.SampledFrom(names)
		draw := func(id string) reservation.Reservation {
			r := valid()
			changes[version.Draw(t, "version")](&r)
			r.ID = id
			return r
		}
		known := map[string][16]byte{}
		for _, i := range rapid.SliceOfDistinct(id, rapid.ID[string]).Draw(t, "known") {
			known[i] = draw(i).Hash()
		}
		var set reservation.Set
		for _, i := range rapid.SliceOfDistinct(id, rapid.ID[string]).Draw(t, "said") {
			set.Reservations = append(set.Reservations, draw(i))
		}
		for _, i := range rapid.SliceOf(rapid.OneOf(id, rapid.Just(""))).Draw(t, "rejected") {
			set.Rejects = append(set.Rejects, reservation.Reject{ID: i})
		}

		d := reservation.Compare(known, set, reservation.Hashes(set.Reservations))

		after := maps.Clone(known)
		for _, i := range d.Added {
			r := set.Reservations[i]
			if _, ok := known[r.ID]; ok {
				t.Errorf("%s is added but was known", r.ID)
			}
			after[r.ID] = r.Hash()
		}
		for _, i := range d.Changed {
			r := set.Reservations[i]
			if h, ok := known[r.ID]; !ok || h == r.Hash() {
				t.Errorf("%s is changed but was not known or is the same", r.ID)
			}
			after[r.ID] = r.Hash()
		}
		for _, i := range d.Removed {
			if _, ok := after[i]; !ok {
				t.Errorf("%s is removed but was not known", i)
			}
			delete(after, i)
		}
		want := map[string][16]byte{}
		for _, r := range set.Rejects {
			if h, ok := known[r.ID]; ok {
				want[r.ID] = h
			}
		}
		kept := len(want)
		for _, r := range set.Reservations {
			if _, ok := want[r.ID]; ok {
				kept--
			}
			want[r.ID] = r.Hash()
		}
		if !maps.Equal(after, want) {
			t.Errorf("after the difference %v, want %v", after, want)
		}
		if len(d.StillInForce) != kept {
			t.Errorf("Kept = %v, want %d", d.StillInForce, kept)
		}
		if got, want := len(d.Added)+len(d.Changed)+d.Unchanged, len(set.Reservations); got != want {
			t.Errorf("added, changed and unchanged are %d, want %d", got, want)
		}
		if d.Empty() != maps.Equal(known, after) {
			t.Errorf("Empty() = %v, known %v, after %v", d.Empty(), known, after)
		}
	})
}
