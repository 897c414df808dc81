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
		key := rapid.StringOfN(rapid.RuneFrom([]rune("ab/")), 1, 4, -1)
		for range rapid.IntRange(1, 5).Draw(t, "transactions") {
			next := maps.Clone(truth)
			fail := rapid.Bool().Draw(t, "fail")
			err := s.Update(context.Background(), func(tx store.Tx) error {
				for range rapid.IntRange(0, 20).Draw(t, "steps") {
					step(t, tx, next, key)
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

func step(t *rapid.T, tx store.Tx, m map[string]string, key *rapid.Generator[string]) {
	k := key.Draw(t, "key")
	var err error
	switch rapid.IntRange(0, 4).Draw(t, "op") {
	case 0:
		v := rapid.StringN(0, 3, -1).Draw(t, "val")
		m[k], err = v, tx.Put(k, []byte(v))
	case 1:
		delete(m, k)
		err = tx.Delete(k)
	case 2:
		got := tx.Get(k)
		if want, ok := m[k]; string(got) != want || (got != nil) != ok {
			t.Fatalf("Get(%q) = %#v, want %q, %v", k, got, want, ok)
		}
	case 3:
		from := key.Draw(t, "from")
		if got, want := list(tx, k, from), expect(m, k, from); got != want {
			t.Fatalf("Scan(%q, %q) = %q, want %q", k, from, got, want)
		}
	case 4: // deletes while it scans
		for seen, val := range tx.Scan(k, "") {
			if want, ok := m[seen]; !ok || want != string(val) {
				t.Fatalf("Scan(%q) yields %q=%q, want %q, %v", k, seen, val, want, ok)
			}
			gone := key.Draw(t, "gone")
			delete(m, gone)
			err = errors.Join(err, tx.Delete(gone))
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

// expect is list for the model.
func expect(m map[string]string, prefix, from string) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		if strings.HasPrefix(k, prefix) && k >= from {
			out = append(out, k+"="+m[k])
		}
	}
	return strings.Join(out, " ")
}
