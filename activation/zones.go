package activation

import (
	"reflect"
	"sync"
	"time"

	"activationd/schedule"
)

// zonesEvery is how often Run looks whether the rules of a zone are others than those
// that recurrences were reckoned by. It is not told: an update of the time zones replaces
// files, and nobody has to reload.
const zonesEvery = time.Minute

// zones are the time zones that recurrences were reckoned in, with the rules that they
// had then, by name.
type zones struct {
	every time.Duration // zonesEvery, but in tests that live for months
	mu    sync.Mutex
	used  map[string]*time.Location
	check bool // a load asks for a look
}

// note keeps a zone that something was reckoned in; nil is none.
func (z *zones) note(loc *time.Location) {
	if loc == nil || loc == time.UTC {
		return
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.used == nil {
		z.used = make(map[string]*time.Location)
	}
	if z.used[loc.String()] == nil {
		z.used[loc.String()] = loc
	}
}

// some reports whether there are any.
func (z *zones) some() bool {
	z.mu.Lock()
	defer z.mu.Unlock()
	return len(z.used) > 0
}

// changed reports whether a zone that is used has other rules now, and keeps those.
func (z *zones) changed() (changed bool) {
	z.mu.Lock()
	defer z.mu.Unlock()
	for name, was := range z.used {
		from := name
		if name == time.Local.String() {
			from = ""
		}
		is, err := schedule.LoadZone(from)
		if err == nil && !reflect.DeepEqual(was, is) { // one that cannot be read is as it was
			z.used[name] = is
			changed = true
		}
	}
	return changed
}

// ask has the next turn look.
func (z *zones) ask() {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.check = true
}

// asked reports whether a look was asked for, and something has changed.
func (z *zones) asked() bool {
	z.mu.Lock()
	check := z.check
	z.check = false
	z.mu.Unlock()
	return check && z.changed()
}
