package main

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"time"

	"activationd/activation"
	"activationd/internal/fault"
	"activationd/reservation"
	"activationd/reservation/file"
	"activationd/reservation/sql"
	"activationd/schedule"
	"activationd/supervisor/wrapper"
	"activationd/topology"
)

// standardPath is where scripts find their commands, unless the configuration
// says otherwise.
const standardPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// settings translates a configuration for the engine.
func (c *core) settings(conf *Config) (activation.Settings, error) {
	set := activation.Settings{
		MaxParallel: conf.Runs.MaxParallel,
		ArmAhead:    conf.Runs.ArmAhead,
		MissedGrace: conf.Jobs.MissedGrace,
		MaxRemoval:  float64(conf.MaxRemoval),
		Keep:        conf.History.Keep,
		KeepCount:   conf.History.Count,
		KeepBytes:   int64(conf.History.Size),
		Jobs: activation.Defaults{
			Timeout: conf.Jobs.Timeout, Grace: conf.Jobs.Grace, Retries: conf.Jobs.Retries,
			BackoffFirst: conf.Jobs.Backoff.First, BackoffMax: conf.Jobs.Backoff.Max,
			Missed: conf.Jobs.Missed, WaitLimit: conf.Jobs.WaitLimit, Env: conf.Jobs.Environment,
		},
		Sources:     make(map[string]activation.Defaults),
		Socket:      c.socket, // another one is not opened before the next start
		BaseEnv:     c.baseEnv(),
		LogHead:     int64(conf.Runs.Output.Head),
		LogTail:     int64(conf.Runs.Output.Tail),
		Keepers:     conf.Runs.Leftovers == "keep",
		Nice:        conf.Runs.Nice,
		NoNewPrivs:  conf.Runs.NoNewPrivileges,
		Umask:       int(conf.Runs.Umask),
		Inventory:   conf.Lab.Inventory,
		Pools:       conf.Lab.pools,
		SwitchUsers: c.users.uid == 0,

		BatchLoad: float64(conf.At.Load), BatchInterval: conf.At.Interval, Sendmail: conf.At.Sendmail,
	}
	for name, l := range conf.Runs.Limits {
		set.Limits = append(set.Limits, wrapper.Limit{Name: name, Soft: l.Soft, Hard: l.Hard})
	}
	var err error
	if set.Reservations, err = c.defaults(conf.Reservations); err != nil {
		return set, err
	}
	for i := range conf.Sources {
		src := &conf.Sources[i]
		d, err := c.defaults(src.Reservations)
		if err != nil {
			return set, err
		}
		s, err := c.newSource(src)
		if err != nil {
			return set, err
		}
		set.Sources[activation.SourceKey(s.Name())] = d
	}
	err = c.Dirs.lendDevices(scriptUsers(&set))
	return set, err
}

// scriptUsers lists as whom reservations' scripts run, but root.
func scriptUsers(set *activation.Settings) []int {
	uids := make(map[int]bool)
	for _, d := range append(slices.Collect(maps.Values(set.Sources)), set.Reservations) {
		if d.User != nil && d.User.UID != 0 {
			uids[d.User.UID] = true
		}
	}
	return slices.Sorted(maps.Keys(uids))
}

func (c *core) defaults(r Reservations) (activation.Defaults, error) {
	d := activation.Defaults{
		Activate: r.Activate, Deactivate: r.Deactivate, Timeout: r.Timeout, UndoTimeout: r.DeactivateTimeout,
		Grace: r.Grace, Retries: r.Retries, UndoRetries: r.DeactivateRetries,
		BackoffFirst: r.Backoff.First, BackoffMax: r.Backoff.Max, Lead: r.Lead, Tail: r.Tail,
		Missed: r.Missed, WaitLimit: r.WaitLimit, Env: r.Environment,
	}
	if r.User != "" {
		id, err := lookupIdentity(r.User)
		if err != nil {
			return d, err
		}
		d.User = id
	}
	return d, nil
}

// sources makes the sources that a configuration names.
func (c *core) sources(conf *Config) ([]activation.Source, error) {
	var sources []activation.Source
	for i := range conf.Sources {
		src := &conf.Sources[i]
		s, err := c.newSource(src)
		if err != nil {
			return nil, err
		}
		if conf.Lab.Inventory != "" {
			s = fitting{s, conf.Lab.Inventory}
		}
		sources = append(sources, activation.Source{
			Source: s, Lead: src.Reservations.Lead, Tail: src.Reservations.Tail, Missed: src.Reservations.Missed,
		})
	}
	return sources, nil
}

func (c *core) newSource(src *Source) (reservation.Source, error) {
	if src.SQL == nil {
		s := file.New(src.Files)
		s.Check = func(path string) error {
			if err := c.surroundings.trusted(path, src.Reservations.User); err != nil {
				return fmt.Errorf("%w: %w", err, fault.Invalid)
			}
			return nil
		}
		return s, nil
	}
	return sql.New(sql.Config{
		Driver: src.SQL.Driver, DSN: src.SQL.DSN, Query: src.SQL.Query, Name: src.SQL.Name, Nodes: topology.Devices,
		Zone: func() (*time.Location, error) { return schedule.LoadZone(src.SQL.TimeZone) },
	})
}

// baseEnv is the environment of every run: clean, so that what runs by the
// daemon runs the same whoever started the daemon.
func (c *core) baseEnv() []string {
	own := c.users.own()
	env := []string{standardPath, "HOME=" + own.Home, "USER=" + own.Name, "LOGNAME=" + own.Name, "SHELL=" + own.Shell}
	for _, k := range []string{"LANG", "LC_ALL", "TZ"} {
		if v := os.Getenv(k); v != "" {
			env = append(env, k+"="+v)
		}
	}
	return env
}

// userMemory is how long a user's groups and home are remembered.
const userMemory = 10 * time.Second
