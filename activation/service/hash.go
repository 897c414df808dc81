package service

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"

	"activationd/supervisor/wrapper"
)

// RestartHash is a hash of what a process gets at its start. If it changes, the instances
// must restart.
func (d *Declaration) RestartHash() string {
	type identity struct {
		Name     string
		UID, GID int
	}
	s := struct {
		Command      []string
		User         *identity // a login shell or a group that changed is no reason for a restart
		Dir          string
		Env, FileEnv map[string]string
		Umask, Nice  *int
		Limits       []wrapper.Limit
		Listen       []string
		Notify       bool
		Watchdog     time.Duration
	}{
		quoted(d.Command), nil, d.Dir, quotedMap(d.Env), quotedMap(d.FileEnv), d.Umask, d.Nice, slices.Concat([]wrapper.Limit{}, d.Limits),
		slices.Concat([]string{}, d.Listen), d.UsesNotify(), d.Watchdog(),
	}
	if d.User != nil {
		s.User = &identity{d.User.Name, d.User.UID, d.User.GID}
	}
	return hash(s)
}

// quoted keeps texts apart that differ only in bytes that are no UTF-8: in JSON they would be
// alike.
func quoted(list []string) []string {
	q := make([]string, len(list))
	for i, text := range list {
		q[i] = strconv.Quote(text)
	}
	return q
}

func quotedMap(m map[string]string) map[string]string {
	q := make(map[string]string, len(m))
	for k, v := range m {
		q[strconv.Quote(k)] = strconv.Quote(v)
	}
	return q
}

// LiveHash is a hash of all the rest but the number of instances, which is no affair of any of
// them. The rest is the daemon's affair, and takes effect at once.
func (d *Declaration) LiveHash() string {
	rest := *d
	rest.Command, rest.User, rest.Dir, rest.Env, rest.FileEnv, rest.EnvFile = nil, nil, "", nil, nil, ""
	rest.Umask, rest.Nice, rest.Limits, rest.Listen, rest.Instances = nil, nil, nil, nil, 0
	rest.After = slices.SortedFunc(slices.Values(d.After), func(a, b Dependency) int {
		return strings.Compare(a.String(), b.String())
	})
	rest.Groups = slices.Sorted(slices.Values(d.Groups))
	return hash(rest)
}

func hash(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic("service: " + err.Error()) // a fault of ours: these types can be written
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:12])
}
