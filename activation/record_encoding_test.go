package activation

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"activationd/internal/object/objecttest"
)

// TestStoredBytes stores and reads commands made of any bytes. JSON would replace invalid
// UTF-8 by U+FFFD, and another file would be run. Text must be stored as before.
func TestStoredBytes(t *testing.T) {
	word := rapid.OneOf(rapid.String(), rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }))
	name := rapid.Map(word, func(s string) string { return "N" + string(bytes.ReplaceAll([]byte(s), []byte("="), nil)) })
	rapid.Check(t, func(t *rapid.T) {
		r := Record{
			ID:   "1",
			Kind: Job,
			Life: Life{
				State: Scheduled,
			},
			Order: Order{
				Argv: rapid.SliceOfN(word, 1, 3).Draw(t, "argv"),
				Undo: rapid.SliceOfN(word, 1, 2).Draw(t, "undo"),
				Dir:  word.Draw(t, "dir"),
				Env:  rapid.MapOfN(name, word, 1, 3).Draw(t, "env"),
			},
		}
		data, err := r.encode(nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := decode("1", data)
		if err != nil || !reflect.DeepEqual(got, &r) {
			t.Errorf("%+v\nbecomes %+v, %v", r, got, err)
		}
		j := NewJob{Order: Order{Argv: r.Argv, Dir: r.Dir, Env: r.Env, Label: "x"}}
		if data, err = json.Marshal(j); err != nil {
			t.Fatal(err)
		}
		var read NewJob
		if err := json.Unmarshal(data, &read); err != nil || !reflect.DeepEqual(read, j) {
			t.Errorf("%+v\nbecomes %+v, %v", j, read, err)
		}
	})
	r := Record{ID: "1", Order: Order{Argv: []string{"é"}, Env: map[string]string{"A": "ü"}}}
	if data, err := r.encode(nil); err != nil || bytes.Contains(data, []byte(`"raw"`)) {
		t.Errorf("text is stored as %s, %v", data, err)
	}
}

// TestEncodeAsPackageJSON fills records by chance, every field of them, and compares their
// encoding with that of package json. A field that is added to the type and not to
// [Record.write] makes it fail.
func TestEncodeAsPackageJSON(t *testing.T) {
	seed := time.Now().UnixNano()
	rnd := rand.New(rand.NewPCG(0, uint64(seed)))
	for range 3000 {
		var r Record
		objecttest.Fill(rnd, &r)
		if r.State == Finished {
			r.State = Active
		}
		got, err := r.encode(nil)
		if err != nil {
			t.Fatal(err)
		}
		r.V, r.Raw = recordVersion, rawOf(&r.Order)
		want, err := json.Marshal(&storedRecord{&r, r.flags()})
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("seed %d: got\n%s\nwant\n%s", seed, got, want)
		}
	}
}
