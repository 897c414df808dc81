package activation

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"

	"pgregory.net/rapid"
)

// TestStoredBytes stores and reads again what runs, made of any bytes: JSON would put
// U+FFFD in the place of what is no text, and another file would be run. What is text is
// stored as it always was.
func TestStoredBytes(t *testing.T) {
	word := rapid.OneOf(rapid.String(), rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }))
	name := rapid.Map(word, func(s string) string { return "N" + string(bytes.ReplaceAll([]byte(s), []byte("="), nil)) })
	rapid.Check(t, func(t *rapid.T) {
		r := Record{
			ID: "1", Kind: Job, State: Scheduled,
			Argv: rapid.SliceOfN(word, 1, 3).Draw(t, "argv"), Undo: rapid.SliceOfN(word, 1, 2).Draw(t, "undo"),
			Dir: word.Draw(t, "dir"), Env: rapid.MapOfN(name, word, 1, 3).Draw(t, "env"),
		}
		data, err := r.encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := decode("1", data)
		if err != nil || !reflect.DeepEqual(got, &r) {
			t.Errorf("%+v\nbecomes %+v, %v", r, got, err)
		}
		j := NewJob{Argv: r.Argv, Dir: r.Dir, Env: r.Env, Label: "x"}
		if data, err = json.Marshal(Rule{Job: j}); err != nil {
			t.Fatal(err)
		}
		var rule Rule
		if err := json.Unmarshal(data, &rule); err != nil || !reflect.DeepEqual(rule.Job, j) {
			t.Errorf("%+v\nbecomes %+v, %v", j, rule.Job, err)
		}
	})
	r := Record{ID: "1", Argv: []string{"é"}, Env: map[string]string{"A": "ü"}}
	if data, err := r.encode(); err != nil || bytes.Contains(data, []byte(`"raw"`)) {
		t.Errorf("text is stored as %s, %v", data, err)
	}
}
