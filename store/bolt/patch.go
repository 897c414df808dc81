package bolt

import (
	"slices"
	"strings"

	"go.etcd.io/bbolt"
)

// A patch holds the writes of one function that has not returned yet, in the order
// of their keys. It is a list of sorted runs, so that each of a hundred thousand
// writes costs as little as the first. They are applied in order because a page
// grows until the commit: inserting in its middle would take quadratic time.
type patch struct {
	runs   [][]entry
	writes int // how many there were, also to keys that were written before
}

// An entry is a write. Its val is nil for a deletion.
type entry struct {
	key string
	val []byte
}

const maxRun = 256

func (p *patch) empty() bool { return len(p.runs) == 0 }

// find returns where key is, or where it would be inserted.
func (p *patch) find(key string) (run, i int, found bool) {
	// The run is the last one that begins at or before key.
	run, found = slices.BinarySearchFunc(p.runs, key, func(r []entry, key string) int {
		return strings.Compare(r[0].key, key)
	})
	if found {
		return run, 0, true
	}
	if run == 0 {
		return 0, 0, false
	}
	run--
	i, found = slices.BinarySearchFunc(p.runs[run], key, func(e entry, key string) int {
		return strings.Compare(e.key, key)
	})
	return run, i, found
}

// get returns the write to key, if there is one.
func (p *patch) get(key string) (entry, bool) {
	run, i, found := p.find(key)
	if !found {
		return entry{}, false
	}
	return p.runs[run][i], true
}

// A place is where the last seek of a scan ended. Keys are sought in order, so while nothing is
// written the next one is there or next to it, and need not be looked for.
type place struct{ run, i, writes int }

// seek returns the first write whose key is not less than key, which is not less than the one
// that was sought before.
func (at *place) seek(p *patch, key string) (entry, bool) {
	if at.writes != p.writes || p.empty() {
		if p.empty() {
			return entry{}, false
		}
		at.run, at.i, _ = p.find(key)
		at.writes = p.writes
	}
	for at.run < len(p.runs) {
		r := p.runs[at.run]
		for ; at.i < len(r); at.i++ {
			if r[at.i].key >= key {
				return r[at.i], true
			}
		}
		at.run, at.i = at.run+1, 0
	}
	return entry{}, false
}

func (p *patch) set(e entry) {
	p.writes++
	if p.empty() {
		p.runs = append(p.runs, []entry{e})
		return
	}
	run, i, found := p.find(e.key)
	r := p.runs[run]
	switch {
	case found:
		r[i] = e
		return
	case len(r) < maxRun:
	case i == len(r): // keys that come in order fill their runs
		p.runs = slices.Insert(p.runs, run+1, []entry{e})
		return
	default:
		p.runs = slices.Insert(p.runs, run+1, slices.Clone(r[maxRun/2:]))
		r = r[:maxRun/2]
		p.runs[run] = r
		if i > len(r) {
			run, i = run+1, i-len(r)
			r = p.runs[run]
		}
	}
	p.runs[run] = slices.Insert(r, i, e)
}

// apply moves the patch into b, and calls touch before each write. It can be
// done once.
func (p *patch) apply(b *bbolt.Bucket, touch func()) (err error) {
	defer asDamage()
	var key []byte // bbolt clones it
	for i, r := range p.runs {
		for _, e := range r {
			touch()
			key = append(key[:0], e.key...)
			if e.val == nil {
				err = b.Delete(key)
			} else {
				err = b.Put(key, e.val)
			}
			if err != nil {
				return err
			}
		}
		p.runs[i] = nil // bbolt has it now
	}
	return nil
}
