package activation

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"activationd/supervisor/wrapper"
)

// spec returns the specification of an attempt of r for its wrapper.
func (t *turn) spec(r *Record, a *Attempt) wrapper.Spec {
	d, phase := t.Settings.Of(r), a.Phase
	s := wrapper.Spec{
		ID: r.ID, Phase: phase, Attempt: a.N, NotBefore: a.NotBefore,
		Argv: r.Argv, Dir: r.Dir, Stdin: r.Stdin,
		UID: -1, GID: -1, Umask: t.Settings.Umask, Nice: t.Settings.Nice, Limits: t.Settings.Limits, NoNewPrivs: t.Settings.NoNewPrivs,
		Timeout: d.Timeout, Grace: d.Grace,
		LogHead: t.Settings.LogHead, LogTail: t.Settings.LogTail, KeepLeftovers: t.Settings.KeepLeftovers,
	}
	if r.policy().serves {
		s.Timeout, s.TermSignal = 0, r.Serving.StopSignal
		s.Notify, s.Watchdog = r.Serving.Notify, r.Serving.Watchdog
		if r.Serving.Nice != nil {
			s.Nice = *r.Serving.Nice
		}
		s.Limits = OverLimits(s.Limits, r.Serving.Limits)
		s.LogRotate, s.LogKeep, s.LogAge = r.Serving.LogSize, r.Serving.LogKeep, r.Serving.LogAge
		s.Addresses = r.Serving.Listen
		s.Listen = slices.Repeat([]string{r.Serving.Service}, len(s.Addresses))
	}
	if r.policy().undoes {
		if s.Argv == nil {
			s.Argv = d.Activate
		}
		if phase == Deactivate {
			s.Argv, s.Timeout = t.Settings.undoCommand(r), d.UndoTimeout
		}
	}
	if r.Timeout != nil && phase == Activate {
		s.Timeout = *r.Timeout
	}
	if !r.Deadline.IsZero() {
		begins := t.Now
		if a.NotBefore.After(begins) {
			begins = a.NotBefore
		}
		left := max(time.Millisecond, r.Deadline.Sub(begins)) // zero would mean no limit
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
	if r.policy().atd {
		s.Nice, s.KeepLeftovers = s.Nice+r.AtJob.Nice(), true
		s.LogHead, s.LogTail = max(s.LogHead, mailMost*3/4), max(s.LogTail, mailMost/4)
	}
	user := t.Settings.userOf(r)
	if to := t.Settings.switchTo(r); to != nil {
		s.UID, s.GID, s.Groups = to.UID, to.GID, to.Groups
	}
	if user != nil {
		s.AtMost, s.NoNewPrivs = user.Limits, s.NoNewPrivs || user.NoNewPrivs
	}
	// A daemon that cannot switch users may have capabilities that its user lacks. Jobs
	// do not get them; a reservation's script may need them.
	s.NoCaps = r.policy().noCaps && !t.Settings.SwitchUsers && user != nil && user.UID != 0
	s.Topology = slices.Clone(t.topology(r.ID, "applied"))
	s.Env = environment(t.Settings, d, r, phase, s.Attempt, a.Fence, user)
	return s
}

// OverLimits returns limits with others over them.
func OverLimits(limits, others []wrapper.Limit) []wrapper.Limit {
	kept := slices.DeleteFunc(slices.Clone(limits), func(l wrapper.Limit) bool {
		return slices.ContainsFunc(others, func(o wrapper.Limit) bool { return o.Name == l.Name })
	})
	return append(kept, others...)
}

// Missing says what would keep the script of a job from being started now; empty: nothing
// is known to.
func (e *Engine) Missing(o *Order) string {
	if e.parts.Missing == nil || len(o.Argv) == 0 {
		return ""
	}
	set, r := e.Settings(), &Record{Kind: Job, Order: *o}
	s := wrapper.Spec{Argv: o.Argv, Dir: o.Dir, UID: -1, GID: -1, Env: environment(set, set.Of(r), r, Activate, 1, 0, set.userOf(r))}
	if to := set.switchTo(r); to != nil {
		s.UID, s.GID, s.Groups = to.UID, to.GID, to.Groups
	}
	return e.parts.Missing(s.Command())
}

// userOf is the user as whom r's scripts run; nil: the daemon's own user.
func (s *Settings) userOf(r *Record) *Identity {
	if r.User != nil {
		return r.User
	}
	return s.Of(r).User
}

// switchTo is the user to switch to for r's scripts; nil: no switch.
func (s *Settings) switchTo(r *Record) *Identity {
	if !s.SwitchUsers {
		return nil
	}
	return s.userOf(r)
}

// become sets the user in a specification. Then is the user at the time of the request;
// become looks up what it is now.
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
		if i := slices.Index(spec.Env, v[0]); i >= 0 { // the job does not set it itself
			spec.Env[i] = v[1]
		}
	}
	return nil
}

// environment is the script's environment, without the variables that only its wrapper
// knows.
func environment(set *Settings, d Defaults, r *Record, phase string, n int, number uint64, user *Identity) []string {
	env := slices.Clone(set.BaseEnv)
	if r.policy().atd { // its script sets the submitter's environment, to which nothing may be added
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
	for _, w := range r.lockRequestsOf(r.LocksHeld) {
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
	if r.From != "" {
		env = append(env, "ACTIVATION_RECURRENCE="+r.From)
		if !r.Occurrence.IsZero() {
			env = append(env, "ACTIVATION_OCCURRENCE="+r.Occurrence.Format(time.RFC3339Nano))
		}
	}
	if set.Inventory != "" {
		env = append(env, "ACTIVATION_INVENTORY="+set.Inventory)
	}
	if r.policy().ends {
		env = append(env, "ACTIVATION_END="+r.End.Format(time.RFC3339Nano))
		if d.UndoTimeout > 0 {
			env = append(env, "ACTIVATION_DEACTIVATE_TIMEOUT="+d.UndoTimeout.String())
		}
	}
	return LastWins(env)
}

// LastWins removes, in place, all but the last assignment to each variable.
func LastWins(env []string) []string {
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
