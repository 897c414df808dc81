package activation

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"activationd/supervisor/wrapper"
)

// spec is what the wrapper is told of an attempt of r's. Number is the claim's
// fencing number.
func (t *turn) spec(r *Record, a *Attempt, number uint64) wrapper.Spec {
	d, phase := t.set.Of(r), a.Phase
	s := wrapper.Spec{
		ID: r.ID, Phase: phase, Attempt: a.N, NotBefore: a.NotBefore,
		Argv: r.Argv, Dir: r.Dir, Stdin: r.Stdin,
		UID: -1, GID: -1, Umask: t.set.Umask, Nice: t.set.Nice, Limits: t.set.Limits, NoNewPrivs: t.set.NoNewPrivs,
		Timeout: d.Timeout, Grace: d.Grace,
		LogHead: t.set.LogHead, LogTail: t.set.LogTail, Keep: t.set.Keepers,
	}
	if r.slot() {
		if s.Argv == nil {
			s.Argv = d.Activate
		}
		if phase == Deactivate {
			s.Argv, s.Timeout = t.set.undoCommand(r), d.UndoTimeout
		}
	}
	if r.Timeout != nil && phase == Activate {
		s.Timeout = *r.Timeout
	}
	if !r.Deadline.IsZero() {
		begins := t.now
		if a.NotBefore.After(begins) {
			begins = a.NotBefore
		}
		left := max(time.Millisecond, r.Deadline.Sub(begins)) // none at all would mean no limit
		if s.Timeout == 0 || left < s.Timeout {
			s.Timeout = left
		}
	}
	if r.Grace != nil {
		s.Grace = *r.Grace
	}
	if r.Umask != nil {
		s.Umask = *r.Umask
	}
	if r.AtJob != nil {
		s.Nice, s.Keep = s.Nice+r.AtJob.Nice(), true
		s.LogHead, s.LogTail = max(s.LogHead, mailMost*3/4), max(s.LogTail, mailMost/4)
	}
	user := t.set.userOf(r)
	if to := t.set.switchTo(r); to != nil {
		s.UID, s.GID, s.Groups = to.UID, to.GID, to.Groups
	}
	if user != nil {
		s.AtMost, s.NoNewPrivs = user.Limits, s.NoNewPrivs || user.NoNewPrivs
	}
	// A job of the daemon's own user shall have no more than he has himself; a
	// reservation's script may need what the daemon was given for it.
	s.NoCaps = !r.slot() && !t.set.SwitchUsers && user != nil && user.UID != 0
	s.Topology = slices.Clone(t.topology(r.ID, "applied"))
	s.Env = environment(t.set, d, r, phase, s.Attempt, number, user)
	return s
}

// userOf is the user as whom r's scripts run; nil: the daemon's own.
func (s *Settings) userOf(r *Record) *Identity {
	if r.User != nil {
		return r.User
	}
	return s.Of(r).User
}

// switchTo is the user who r's scripts are to become; nil: they stay the daemon's own.
func (s *Settings) switchTo(r *Record) *Identity {
	if !s.SwitchUsers {
		return nil
	}
	return s.userOf(r)
}

// become makes a run of a user one of that user as he is now.
func (e *Engine) become(spec *wrapper.Spec, then *Identity) error {
	if then == nil || e.parts.User == nil {
		return nil
	}
	now, err := e.parts.User(*then)
	if err != nil {
		return err
	}
	spec.UID, spec.GID, spec.Groups = now.UID, now.GID, now.Groups
	spec.Env = slices.Clone(spec.Env)
	for _, v := range [][2]string{{"HOME=" + then.Home, "HOME=" + now.Home}, {"SHELL=" + then.Shell, "SHELL=" + now.Shell}} {
		if i := slices.Index(spec.Env, v[0]); i >= 0 { // the job does not say otherwise
			spec.Env[i] = v[1]
		}
	}
	return nil
}

// environment is the script's, but for what only its wrapper knows.
func environment(set *Settings, d Defaults, r *Record, phase string, n int, number uint64, user *Identity) []string {
	env := slices.Clone(set.BaseEnv)
	if r.AtJob != nil { // its script sets what its submitter had, and the daemon's own is not to be added
		env = slices.DeleteFunc(env, func(kv string) bool {
			k, _, _ := strings.Cut(kv, "=")
			return k == "LANG" || k == "LC_ALL" || k == "TZ"
		})
	}
	if user != nil && user.Name != "" {
		env = append(env, "USER="+user.Name, "LOGNAME="+user.Name, "HOME="+user.Home, "SHELL="+user.Shell)
	}
	for _, more := range []map[string]string{d.Env, r.Env} {
		for _, k := range slices.Sorted(maps.Keys(more)) {
			env = append(env, k+"="+more[k])
		}
	}
	var devices []string
	for _, w := range r.wantsOf(r.Held) {
		devices = append(devices, w.name)
	}
	env = append(env,
		"ACTIVATION_ID="+r.ID,
		"ACTIVATION_PHASE="+phase,
		"ACTIVATION_ATTEMPT="+strconv.Itoa(n),
		"ACTIVATION_FENCE="+strconv.FormatUint(number, 10),
		"ACTIVATION_OWNER="+r.Owner,
		"ACTIVATION_START="+r.Start.Format(time.RFC3339Nano),
		"ACTIVATION_DEVICES="+strings.Join(devices, " "),
		"ACTIVATIOND_SOCKET="+set.Socket,
	)
	if r.Recurrence != "" {
		env = append(env, "ACTIVATION_RECURRENCE="+r.Recurrence)
		if !r.Occurrence.IsZero() {
			env = append(env, "ACTIVATION_OCCURRENCE="+r.Occurrence.Format(time.RFC3339Nano))
		}
	}
	if set.Inventory != "" {
		env = append(env, "ACTIVATION_INVENTORY="+set.Inventory)
	}
	if r.slot() {
		env = append(env, "ACTIVATION_END="+r.End.Format(time.RFC3339Nano))
		if d.UndoTimeout > 0 {
			env = append(env, "ACTIVATION_DEACTIVATE_TIMEOUT="+d.UndoTimeout.String())
		}
	}
	return lastWins(env)
}

// lastWins drops all but the last assignment to each variable.
func lastWins(env []string) []string {
	last := make(map[string]int, len(env))
	for i, kv := range env {
		k, _, _ := strings.Cut(kv, "=")
		last[k] = i
	}
	kept := env[:0]
	for i, kv := range env {
		if k, _, _ := strings.Cut(kv, "="); last[k] == i {
			kept = append(kept, kv)
		}
	}
	return kept
}

// A reservation has up to three topologies: what its source announced, what
// linkconf attached to it (which comes first), and what the newest activation
// was claimed with, which is what is to be undone.
func topologyOf(id, which string) string { return topologyKey + id + "/" + which }

func (t *txn) topology(id, which string) []byte { return t.Get(topologyOf(id, which)) }

// fixTopology makes the topology that holds now the one that is applied.
func (t *txn) fixTopology(id string) error {
	text := t.topology(id, "link")
	if text == nil {
		text = t.topology(id, "source")
	}
	switch old := t.topology(id, "applied"); {
	case text == nil && old == nil:
		return nil
	case text == nil:
		return t.Delete(topologyOf(id, "applied"))
	}
	return t.Put(topologyOf(id, "applied"), slices.Clone(text))
}

func (t *txn) dropTopology(id, which string) error {
	if t.topology(id, which) == nil {
		return nil
	}
	return t.Delete(topologyOf(id, which))
}

func (t *txn) dropTopologies(id string) error {
	for _, which := range []string{"link", "source", "applied"} {
		if err := t.dropTopology(id, which); err != nil {
			return err
		}
	}
	return nil
}
