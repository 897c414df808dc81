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
type patch struct{ runs [][]entry }

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

// seek returns the first write whose key is not less than key.
func (p *patch) seek(key string) (entry, bool) {
	if p.empty() {
		return entry{}, false
	}
	run, i, _ := p.find(key)
	if i == len(p.runs[run]) {
		run, i = run+1, 0
	}
	if run == len(p.runs) {
		return entry{}, false
	}
	return p.runs[run][i], true
}

func (p *patch) set(e entry) {
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
