package bolt

import (
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// A patch behaves like a map with sorted keys, also when it has many runs.
func TestPatch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var p patch
		m := map[string]string{}
		key := rapid.StringMatching(`[a-d]{1,7}`)
		for range rapid.IntRange(1, 4).Draw(t, "rounds") {
			keys := rapid.SliceOfN(key, 0, 3*maxRun).Draw(t, "keys")
			if rapid.Bool().Draw(t, "ascending") {
				slices.Sort(keys)
			}
			for i, k := range keys {
				if i%7 == 3 {
					p.set(entry{k, nil})
					m[k] = "deleted"
				} else {
					p.set(entry{k, []byte(k)})
					m[k] = k
				}
			}
			sorted := slices.Sorted(maps.Keys(m))
			i := 0
			var ahead place
			for e, ok := ahead.seek(&p, ""); ok; e, ok = ahead.seek(&p, e.key+"\x00") {
				if i >= len(sorted) || e.key != sorted[i] || (e.val == nil) != (m[e.key] == "deleted") {
					t.Fatalf("entry %d is %q=%q of %d", i, e.key, e.val, len(sorted))
				}
				i++
				if i%5 == 0 { // what is written behind moves what is ahead
					p.set(entry{"!" + e.key, []byte("!" + e.key)})
					m["!"+e.key] = "!" + e.key
				}
			}
			if i != len(sorted) {
				t.Fatalf("%d entries, want %d", i, len(sorted))
			}
			sorted = slices.Sorted(maps.Keys(m))
			k := key.Draw(t, "key")
			if _, ok := p.get(k); ok != (m[k] != "") {
				t.Fatalf("get(%q) = %v", k, ok)
			}
			at, found := slices.BinarySearch(sorted, k)
			if e, ok := new(place).seek(&p, k); ok != (at < len(sorted)) || ok && e.key != sorted[at] || found && e.key != k {
				t.Fatalf("seek(%q) = %q, %v", k, e.key, ok)
			}
		}
		for _, r := range p.runs {
			if len(r) == 0 || len(r) > maxRun {
				t.Fatalf("a run of %d", len(r))
			}
		}
	})
}
