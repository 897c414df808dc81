package reservation

import (
	"reflect"
	"slices"
	"testing"
	"time"
)

// given is a value that is not zero, as any type.
type given struct{}

func (given) Text() string                 { return "text" }
func (given) Word() string                 { return "skip" }
func (given) Instant() time.Time           { return time.Unix(1, 0) }
func (given) Duration() *time.Duration     { return new(time.Second) }
func (given) Number() *int                 { return new(1) }
func (given) List(int) []string            { return []string{"one"} }
func (given) Variables() map[string]string { return map[string]string{"A": "b"} }
func (given) Numbers() map[string]int      { return map[string]int{"lab": 1} }
func (given) Topology() (string, string)   { return "topology", "name" }

// TestFields checks that each field of a reservation, except Where, can be set by its name,
// and that Equal and Hash notice it.
func TestFields(t *testing.T) {
	set := map[string]string{"Where": "no field"} // the names of the fields that set each
	for i, f := range Fields {
		if FieldIndex(f.Name) != i {
			t.Errorf("FieldIndex(%s) = %d, want %d", f.Name, FieldIndex(f.Name), i)
		}
		var zero, r, again Reservation
		f.Set(&r, given{})
		f.Set(&again, given{})
		if f.Equal(&zero, &r) || !f.Equal(&r, &again) || r.Hash() == zero.Hash() {
			t.Errorf("%s: Equal or Hash does not see that it was set", f.Name)
		}
		for sf, v := range reflect.ValueOf(r).Fields() {
			if v.IsZero() {
				continue
			}
			if by, ok := set[sf.Name]; ok {
				t.Errorf("%s is set by %s and by %s", sf.Name, by, f.Name)
			}
			set[sf.Name] = f.Name
		}
		for _, g := range Fields {
			if g.Name != f.Name && !g.Equal(&zero, &r) {
				t.Errorf("%s sees that %s was set", g.Name, f.Name)
			}
		}
	}
	for sf := range reflect.TypeFor[Reservation]().Fields() {
		if set[sf.Name] == "" && sf.Name != "Priority" { // a source sets it, and not its content
			t.Errorf("no field sets %s", sf.Name)
		}
	}
	if i := FieldIndex("grase"); i != -1 || slices.Contains(FieldNames(), "grase") {
		t.Errorf("FieldIndex of a name that there is not = %d", i)
	}
}
