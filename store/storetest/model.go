package storetest

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"activationd/store"
)

// model compares random transactions with a map.
func model(t *testing.T, s store.Store) {
	truth := map[string]string{}
	rapid.Check(t, func(t *rapid.T) {
		for range rapid.IntRange(1, 5).Draw(t, "transactions") {
			var next map[string]string
			fail := rapid.Bool().Draw(t, "fail")
			steps := rapid.SliceOfN(drawStep, 0, 20).Draw(t, "steps") // before, as fn may run again
			err := s.Update(context.Background(), func(tx store.Tx) error {
				next = maps.Clone(truth)
				for _, st := range steps {
					st.do(t, tx, next)
				}
				if fail {
					return errFail
				}
				return nil
			})
			if fail != (err != nil) {
				t.Fatalf("Update = %v, fail %v", err, fail)
			}
			if !fail {
				truth = next
			}
			err = s.View(context.Background(), func(tx store.Tx) error {
				if got, want := list(tx, "", ""), expect(truth, "", ""); got != want {
					t.Fatalf("View has %q, want %q", got, want)
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	})
}

// A step is something that a transaction does.
type step struct {
	op             int
	key, from, val string
	gone           []string // keys that are deleted during a scan, one after the other
}

var (
	drawKey  = rapid.StringOfN(rapid.RuneFrom([]rune("ab/")), 1, 4, -1)
	drawStep = rapid.Custom(func(t *rapid.T) step {
		return step{
			op: rapid.IntRange(0, 4).Draw(t, "op"), key: drawKey.Draw(t, "key"), from: drawKey.Draw(t, "from"),
			val: rapid.StringN(0, 3, -1).Draw(t, "val"), gone: rapid.SliceOfN(drawKey, 1, 4).Draw(t, "gone"),
		}
	})
)

// do does the step to the store and to the model, and compares them.
func (st step) do(t *rapid.T, tx store.Tx, m map[string]string) {
	k := st.key
	var err error
	switch st.op {
	case 0:
		m[k], err = st.val, tx.Put(k, []byte(st.val))
	case 1:
		delete(m, k)
		err = tx.Delete(k)
	case 2:
		got := tx.Get(k)
		if want, ok := m[k]; string(got) != want || (got != nil) != ok {
			t.Fatalf("Get(%q) = %#v, want %q, %v", k, got, want, ok)
		}
	case 3:
		if got, want := list(tx, k, st.from), expect(m, k, st.from); got != want {
			t.Fatalf("Scan(%q, %q) = %q, want %q", k, st.from, got, want)
		}
	case 4: // deletes while it scans
		n := 0
		for seen, val := range tx.Scan(k, "") {
			if want, ok := m[seen]; !ok || want != string(val) {
				t.Fatalf("Scan(%q) yields %q=%q, want %q, %v", k, seen, val, want, ok)
			}
			gone := st.gone[n%len(st.gone)]
			n++
			delete(m, gone)
			err = errors.Join(err, tx.Delete(gone))
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

// expect returns what list should return, by the model.
func expect(m map[string]string, prefix, from string) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		if strings.HasPrefix(k, prefix) && k >= from {
			out = append(out, k+"="+m[k])
		}
	}
	return strings.Join(out, " ")
}
