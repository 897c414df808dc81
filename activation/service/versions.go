package service

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"

	"activationd/activation"
)

// versions are the declarations with which the instances of a service run. There are several
// while a rolling restart replaces one by another.
type versions struct {
	All     []*stored `json:"all"`              // those of the hashes below, and of all instances
	Target  string    `json:"target"`           // the hash of the one that all instances are to have
	Before  string    `json:"before,omitempty"` // the hash of the one that they had before the last change; empty: it is not known
	Refused string    `json:"refused,omitempty"`
	// Refused is the hash of a declaration that somebody took back with --back, though the
	// configuration still has it.
	// Instances do not get it until another one is declared, or somebody restarts them.
}

// versionsKey begins the keys of versions, by the services' keys.
const versionsKey = "sd/"

// versionsOf returns the versions of a service; none are known: it has no target.
func versionsOf(t *activation.Txn, name string) *versions {
	v := new(versions)
	data := t.Get(versionsKey + name)
	if data == nil {
		return v
	}
	if err := json.Unmarshal(data, v); err != nil || v.of(v.Target) == nil {
		t.Log(slog.LevelError, "the earlier declarations of a service cannot be read; they are forgotten", "service", name, "err", err)
		return new(versions)
	}
	return v
}

// of returns the declaration with a hash; nil: there is none.
func (v *versions) of(hash string) *Declaration {
	for _, d := range v.All {
		if d.RestartHash() == hash {
			return (*Declaration)(d)
		}
	}
	return nil
}

// save writes the versions that are still of use.
func (v *versions) save(t *activation.Txn, name string) error {
	used := map[string]bool{v.Target: true, v.Before: true}
	for _, id := range t.Instances(name) {
		if r, err := t.Record(id); err == nil {
			used[string(r.Serving.Hash)] = true
		}
	}
	v.All = slices.DeleteFunc(v.All, func(d *stored) bool { return !used[(*Declaration)(d).RestartHash()] })
	data, err := json.Marshal(v)
	if err != nil || bytes.Equal(data, t.Get(versionsKey+name)) {
		return err
	}
	return t.Put(versionsKey+name, data)
}

// set replaces the declaration that has the same hash.
func (v *versions) set(d *Declaration) {
	hash := d.RestartHash()
	v.All = slices.DeleteFunc(v.All, func(o *stored) bool { return o.RestartHash() == hash })
	v.All = append(v.All, (*stored)(d))
}

// change makes d what all instances are to have. Proven says that all instances had the one
// before, and that one of them was ready with it.
func (v *versions) change(d *Declaration, proven bool) {
	if hash := d.RestartHash(); hash != v.Target {
		if proven {
			v.Before = v.Target
		}
		v.Target = hash
	}
	v.Refused = ""
	v.set(d)
}

// A stored is a declaration as the store has it.
type stored Declaration

// RestartHash is that of the declaration.
func (s *stored) RestartHash() string { return (*Declaration)(s).RestartHash() }

// MarshalJSON implements [json.Marshaler]. What can be any bytes is quoted, because JSON
// replaces those that are not valid UTF-8.
func (s *stored) MarshalJSON() ([]byte, error) {
	d := Declaration(*s)
	d.Command, d.Env, d.FileEnv = quoted(d.Command), quotedMap(d.Env), quotedMap(d.FileEnv)
	d.Dir, d.EnvFile = strconv.Quote(d.Dir), strconv.Quote(d.EnvFile)
	return json.Marshal(d)
}

// UnmarshalJSON implements [json.Unmarshaler].
func (s *stored) UnmarshalJSON(data []byte) error {
	var d Declaration
	if err := json.Unmarshal(data, &d); err != nil {
		return err
	}
	var err error
	unquote := func(text *string) {
		var wrong error
		if *text, wrong = strconv.Unquote(*text); wrong != nil {
			err = fmt.Errorf("a text of the service %s: %w", d.Name, wrong)
		}
	}
	for i := range d.Command {
		unquote(&d.Command[i])
	}
	for _, m := range []*map[string]string{&d.Env, &d.FileEnv} {
		plain := make(map[string]string, len(*m))
		for k, v := range maps.All(*m) {
			unquote(&k)
			unquote(&v)
			plain[k] = v
		}
		*m = plain
	}
	unquote(&d.Dir)
	unquote(&d.EnvFile)
	*s = stored(d)
	return err
}
