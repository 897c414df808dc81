package activation

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// A rawWork has what runs byte by byte, beside the fields that JSON can have: it has
// texts only, and would put another character in the place of what is none. The names of
// commands, files and directories, and the values of variables, are bytes.
type rawWork struct {
	Argv [][]byte `json:"argv,omitempty"`
	Undo [][]byte `json:"undo,omitempty"`
	Dir  []byte   `json:"dir,omitempty"`
	Env  [][]byte `json:"env,omitempty"` // NAME=VALUE
}

// rawOf returns it; nil if all is text.
func rawOf(argv, undo []string, dir string, env map[string]string) *rawWork {
	noText := func(s string) bool { return !utf8.ValidString(s) }
	if !noText(dir) && !slices.ContainsFunc(argv, noText) && !slices.ContainsFunc(undo, noText) && !anyPair(env, noText) {
		return nil
	}
	w := &rawWork{Argv: raw(argv), Undo: raw(undo), Dir: []byte(dir)}
	for _, k := range slices.Sorted(maps.Keys(env)) {
		w.Env = append(w.Env, []byte(k+"="+env[k]))
	}
	return w
}

func anyPair(env map[string]string, is func(string) bool) bool {
	for k, v := range env {
		if is(k) || is(v) {
			return true
		}
	}
	return false
}

func (w *rawWork) argv() []string { return unraw(w.Argv) }

func (w *rawWork) env() map[string]string {
	if w.Env == nil {
		return nil
	}
	env := make(map[string]string, len(w.Env))
	for _, kv := range w.Env {
		k, v, _ := strings.Cut(string(kv), "=")
		env[k] = v
	}
	return env
}

func raw(all []string) (out [][]byte) {
	for _, s := range all {
		out = append(out, []byte(s))
	}
	return out
}

func unraw(all [][]byte) (out []string) {
	for _, b := range all {
		out = append(out, string(b))
	}
	return out
}

// plainJob is a NewJob as JSON has it by itself.
type plainJob NewJob

// A storedJob is a NewJob as it is stored, in a recurrence.
type storedJob struct {
	plainJob
	Raw *rawWork `json:"raw,omitempty"`
}

// MarshalJSON implements [json.Marshaler].
func (j NewJob) MarshalJSON() ([]byte, error) {
	return json.Marshal(storedJob{plainJob(j), rawOf(j.Argv, nil, j.Dir, j.Env)})
}

// UnmarshalJSON implements [json.Unmarshaler].
func (j *NewJob) UnmarshalJSON(data []byte) error {
	var s storedJob
	if err := json.Unmarshal(data, &s); err != nil {
		return err
	}
	*j = NewJob(s.plainJob)
	if s.Raw != nil {
		j.Argv, j.Dir, j.Env = s.Raw.argv(), string(s.Raw.Dir), s.Raw.env()
	}
	return nil
}
