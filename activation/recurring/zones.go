package recurring

import (
	"reflect"
	"sync"
	"time"

	"activationd/schedule"
)

// zones are the time zones in which recurrences were scheduled, by name, with the rules
// of that time.
type zones struct {
	first chan struct{} // capacity one: the first zone was noted
	mu    sync.Mutex
	used  map[string]*time.Location
}

// note keeps a zone in which a recurrence was scheduled; nil is none.
func (z *zones) note(loc *time.Location) {
	if loc == nil || loc == time.UTC {
		return
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.used == nil {
		z.used = make(map[string]*time.Location)
		z.first <- struct{}{}
	}
	if z.used[loc.String()] == nil {
		z.used[loc.String()] = loc
	}
}

// changed reports whether the rules of a zone in use have changed, and keeps the new
// ones.
func (z *zones) changed() (changed bool) {
	z.mu.Lock()
	defer z.mu.Unlock()
	for name, was := range z.used {
		from := name
		if name == time.Local.String() {
			from = ""
		}
		is, err := schedule.LoadZone(from)
		if err == nil && !reflect.DeepEqual(was, is) { // if the zone cannot be read, its old rules stay
			z.used[name] = is
			changed = true
		}
	}
	return changed
}
