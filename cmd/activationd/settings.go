package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"activationd/activation"
	"activationd/activation/announce"
	"activationd/activation/booking"
	"activationd/internal/config"
	"activationd/internal/fault"
	"activationd/reservation"
	"activationd/reservation/file"
	"activationd/reservation/sql"
	"activationd/schedule"
	"activationd/supervisor/wrapper"
	"activationd/topology"
)

// translate makes of a configuration what the engine goes by.
func (d *daemon) translate(conf *configuration) (c announce.Configuration, err error) {
	if c.Sources, err = d.sources(conf); err != nil {
		return c, err
	}
	if c.Settings, err = d.settings(conf, c.Sources); err != nil {
		return c, err
	}
	rules, err := d.recurrences(conf)
	if err != nil {
		return c, err
	}
	services, rejected, err := d.services(conf)
	if err != nil {
		return c, err
	}
	entries, err := entriesOf(conf)
	c.Declare = func(ctx context.Context, dryRun bool) ([]func(*activation.Txn) (activation.Report, error), error) {
		recurrences, errRules := d.book.Declare(ctx, rules)
		found, wrong := d.host.discovered(conf, d.scan(entries, dryRun), services, rejected, d.users.lookup)
		instances, err := d.roster.Declare(ctx, slices.Concat(services, found), slices.Concat(rejected, wrong), dryRun)
		return append(recurrences, instances...), errors.Join(errRules, err)
	}
	return c, err
}

// settings translates a configuration's settings; sources are its sources, in order.
func (d *daemon) settings(conf *configuration, sources []announce.Source) (activation.Settings, error) {
	set := activation.Settings{
		MaxParallel:  conf.Runs.MaxParallel,
		ArmAhead:     conf.Runs.ArmAhead,
		MissedGrace:  conf.Jobs.MissedGrace,
		MaxRemoval:   float64(conf.MaxRemoval),
		HistoryAge:   conf.History.Keep,
		HistoryCount: conf.History.Count,
		HistoryBytes: int64(conf.History.Size),
		UsageAge:     conf.History.Reports,
		EventsAge:    conf.Events.Keep,
		EventsCount:  conf.Events.Count,
		StopLimit:    conf.StopLimit,
		Jobs: activation.Defaults{
			Timeout: conf.Jobs.Timeout, Grace: conf.Jobs.Grace, Retries: conf.Jobs.Retries,
			BackoffFirst: conf.Jobs.Backoff.First, BackoffMax: conf.Jobs.Backoff.Max,
			Missed: conf.Jobs.Missed, WaitLimit: conf.Jobs.WaitLimit, Env: conf.Jobs.Environment,
		},
		Sources:       make(map[string]activation.Defaults),
		Socket:        d.socket, // another one is not opened before the next start
		BaseEnv:       d.baseEnv(),
		LogHead:       int64(conf.Runs.Output.Head),
		LogTail:       int64(conf.Runs.Output.Tail),
		KeepLeftovers: conf.Runs.Leftovers == "keep",
		Nice:          conf.Runs.Nice,
		NoNewPrivs:    conf.Runs.NoNewPrivileges,
		Umask:         int(conf.Runs.Umask),
		Inventory:     conf.Lab.Inventory,
		Pools:         conf.pools,
		SwitchUsers:   d.users.switches,

		BatchLoad: float64(conf.At.LoadAverage), BatchInterval: conf.At.Interval, Sendmail: conf.At.Sendmail,
	}
	for name, l := range conf.Runs.Limits {
		set.Limits = append(set.Limits, wrapper.Limit{Name: name, Soft: l.Soft, Hard: l.Hard})
	}
	var err error
	if set.Reservations, err = d.defaults(conf.Reservations); err != nil {
		return set, err
	}
	for i := range sources {
		if set.Sources[activation.SourceKey(sources[i].Name())], err = d.defaults(conf.Sources[i].Reservations); err != nil {
			return set, err
		}
	}
	if conf.Booking != nil {
		if set.Sources[activation.BookingSource], err = d.defaults(conf.Booking.Reservations); err != nil {
			return set, err
		}
	}
	return set, nil
}

// bookingRules translates the rules of bookings; nil: nothing can be booked.
func bookingRules(conf *configuration) *booking.Rules {
	b := conf.Booking
	if b == nil {
		return nil
	}
	quota := func(q config.Quota) (out booking.Quota) {
		if q.HoursPerWeek != nil {
			out.PerWeek = *q.HoursPerWeek
		}
		if q.Devices != nil {
			out.Devices = *q.Devices
		}
		if q.DaysAhead != nil {
			out.DaysAhead = *q.DaysAhead
		}
		return out
	}
	const submitter = "submitter"
	rules := &booking.Rules{
		Submitters: b.Role == submitter, Topologies: b.Topology == submitter, Devices: conf.bookable, Variables: b.Variables, Max: b.Max,
		Quota: quota(b.Quota), Owners: make(map[string]booking.Quota, len(b.Owners)),
		Lead: b.Reservations.Lead, Tail: b.Reservations.Tail, Missed: b.Reservations.Missed,
	}
	for owner, q := range b.Owners {
		rules.Owners[owner] = quota(q.Under(b.Quota))
	}
	return rules
}

// scriptUsers lists the users that reservations' scripts run as, without root.
func scriptUsers(set *activation.Settings) []int {
	uids := make(map[int]bool)
	for _, d := range append(slices.Collect(maps.Values(set.Sources)), set.Reservations) {
		if d.User != nil && d.User.UID != 0 {
			uids[d.User.UID] = true
		}
	}
	return slices.Sorted(maps.Keys(uids))
}

func (d *daemon) defaults(r config.Reservations) (activation.Defaults, error) {
	def := activation.Defaults{
		Activate: r.Activate, Deactivate: r.Deactivate, Timeout: r.Timeout, UndoTimeout: r.DeactivateTimeout,
		Grace: r.Grace, Retries: r.Retries, UndoRetries: r.DeactivateRetries,
		BackoffFirst: r.Backoff.First, BackoffMax: r.Backoff.Max, Lead: r.Lead, Tail: r.Tail,
		Missed: r.Missed, WaitLimit: r.WaitLimit, Env: r.Environment,
	}
	if r.User != "" {
		id, err := lookupIdentity(r.User)
		if err != nil {
			return def, err
		}
		def.User = id
	}
	return def, nil
}

// sources makes the sources that a configuration names.
func (d *daemon) sources(conf *configuration) ([]announce.Source, error) {
	var sources []announce.Source
	for i := range conf.Sources {
		src := &conf.Sources[i]
		s, err := d.newSource(src)
		if err != nil {
			return nil, err
		}
		sources = append(sources, announce.Source{
			Source: checked(s, conf), Lead: src.Reservations.Lead, Tail: src.Reservations.Tail, Missed: src.Reservations.Missed,
			Priority: src.Priority,
		})
	}
	return sources, nil
}

// newSource makes a source. Only the daemon itself has the content of those that clients put.
func (d *daemon) newSource(src *config.Source) (reservation.Source, error) {
	if src.HTTP == "" {
		return d.host.newSource(src)
	}
	return file.NewPut(src.HTTP, func(ctx context.Context) ([]byte, error) { return d.loader.Content(ctx, src.HTTP) }), nil
}

// putSource puts new content into a source, and loads it. The error is of kind fault.Invalid if it
// cannot be read, and of kind fault.Conflict if it would remove too many reservations: then
// nothing has changed.
func (d *daemon) putSource(ctx context.Context, name string, p announce.Put, o announce.LoadOptions) (activation.Report, error) {
	s, err := d.clientsSource(name)
	if err != nil {
		return activation.Report{}, err
	}
	if _, err := s.Load(reservation.WithContent(ctx, p.Content)); err != nil {
		return activation.Report{}, err
	}
	if !o.DryRun && !p.Force { // what is refused leaves no trace of a failed load
		try := o
		try.DryRun = true
		rep, err := d.loader.Put(ctx, name, p, try)
		if err != nil || slices.ContainsFunc(rep.Lines, func(l activation.ReportLine) bool { return l.What == "failed" && l.Source == name }) {
			return rep, err
		}
	}
	return d.loader.Put(ctx, name, p, o)
}

// sourceContent returns what was put into a source last; nil: nothing was.
func (d *daemon) sourceContent(ctx context.Context, name string) ([]byte, error) {
	if _, err := d.clientsSource(name); err != nil {
		return nil, err
	}
	return d.loader.Content(ctx, name)
}

// clientsSource returns a source into which clients put reservations. The error is of kind
// fault.NotFound if there is none of that name.
func (d *daemon) clientsSource(name string) (*announce.Source, error) {
	var names []string
	d.mu.Lock()
	for _, c := range d.current.Sources {
		if c.HTTP != "" {
			names = append(names, c.HTTP)
		}
	}
	d.mu.Unlock()
	all := d.configured().Sources
	i := slices.IndexFunc(all, func(s announce.Source) bool { return s.Name() == name })
	switch {
	case i >= 0 && slices.Contains(names, name):
		return &all[i], nil
	case names == nil:
		return nil, fmt.Errorf("no source takes reservations from clients; sources: [{http: %s}] in the configuration makes one: %w", name, fault.NotFound)
	}
	return nil, fmt.Errorf("no source %.80q takes reservations from clients; there are %s: %w", name, strings.Join(names, ", "), fault.NotFound)
}

func (h *host) newSource(src *config.Source) (reservation.Source, error) {
	if src.SQL == nil {
		return h.fileSource(src), nil
	}
	return sql.New(sql.Config{
		Driver: src.SQL.Driver, DSN: src.SQL.DSN, Query: src.SQL.Query, Name: src.SQL.Name, Nodes: topology.Devices,
		Zone: func() (*time.Location, error) { return schedule.LoadZone(src.SQL.TimeZone) },
	})
}

// fileSource makes a source of files, which must belong to whom the host trusts.
func (h *host) fileSource(src *config.Source) *file.Source {
	s := file.New(src.Files)
	s.Check = func(path string) error {
		if err := h.trusted(path, src.Reservations.User); err != nil {
			return fmt.Errorf("%w: %w", err, fault.Invalid)
		}
		return nil
	}
	return s
}

// baseEnv is the environment of every run. It is clean, so that runs do not depend on the
// environment in which the daemon was started.
func (d *daemon) baseEnv() []string {
	own := d.users.own()
	env := []string{"PATH=" + d.host.path(), "HOME=" + own.Home, "USER=" + own.Name, "LOGNAME=" + own.Name, "SHELL=" + own.Shell}
	for _, k := range []string{"LANG", "LC_ALL", "TZ"} {
		if v := os.Getenv(k); v != "" {
			env = append(env, k+"="+v)
		}
	}
	return env
}

// userMemory is how long a user's groups and home are remembered.
const userMemory = 10 * time.Second

// checkUsers is how often the files that list users and groups are looked at, at most. Clients that
// submit many jobs at once share a look. It is less than a client needs to start after a change.
const checkUsers = time.Millisecond
