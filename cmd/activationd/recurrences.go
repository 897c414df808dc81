package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"activationd/activation"
	"activationd/control"
	"activationd/control/ops"
	"activationd/internal/fault"
)

// A Recurrence is what the configuration has run again and again. Of Cron,
// Calendar and Every one is there, and of Command and Script.
type Recurrence struct {
	Name        string            `yaml:"name"`
	Cron        string            `yaml:"cron"`
	Calendar    string            `yaml:"calendar"`
	Every       string            `yaml:"every"`
	TimeZone    string            `yaml:"time_zone"` // empty: the daemon's
	Overlap     string            `yaml:"overlap"`   // skip, queue, parallel, replace
	Jitter      string            `yaml:"jitter"`
	CatchUp     string            `yaml:"catch_up"` // none, last, all, a number
	Start       string            `yaml:"start"`
	End         string            `yaml:"end"`
	Command     []string          `yaml:"command,command"`
	Script      string            `yaml:"script"`
	User        string            `yaml:"user"` // empty: the daemon's own
	Directory   string            `yaml:"directory,path"`
	Environment map[string]string `yaml:"environment"`
	Umask       *Mode             `yaml:"umask"`   // nil, as all that follow: what holds for every job
	Timeout     *time.Duration    `yaml:"timeout"` // 0: none
	Grace       *time.Duration    `yaml:"grace"`
	Retries     *int              `yaml:"retries"`
	Backoff     *time.Duration    `yaml:"backoff"`
	Priority    int               `yaml:"priority"`
	Tags        []string          `yaml:"tags"`
	Locks       []string          `yaml:"locks"`
	Label       string            `yaml:"label"`
	Missed      string            `yaml:"missed"` // run, skip
}

// rule returns it as the engine has it, but for the user.
func (r *Recurrence) rule() (activation.Rule, error) {
	fixed := time.Unix(0, 0).UTC() // what a file says must not depend on when it is read
	rule, err := ops.ParseRule(r.Name, control.RuleIn{
		Cron: r.Cron, Calendar: r.Calendar, Every: r.Every, TZ: r.TimeZone, Overlap: r.Overlap,
		Jitter: r.Jitter, CatchUp: r.CatchUp, Start: r.Start, End: r.End,
	}, fixed)
	if err != nil {
		return rule, err
	}
	for _, at := range []time.Time{rule.Start, rule.End} {
		if !at.IsZero() && at.Before(fixed.AddDate(1, 0, 0)) {
			return rule, fmt.Errorf("start, end: want a date and a time, such as 2026-11-21 10:00: %w", fault.Invalid)
		}
	}
	rule.Job = activation.NewJob{
		Argv: r.Command, Dir: r.Directory, Env: r.Environment, Timeout: r.Timeout, Grace: r.Grace, Retries: r.Retries,
		Backoff: r.Backoff, Locks: r.Locks, Priority: r.Priority, Label: r.Label, Tags: r.Tags, Missed: r.Missed,
	}
	if r.Umask != nil {
		umask := int(*r.Umask)
		rule.Job.Umask = &umask
	}
	switch {
	case (len(r.Command) == 0) == (r.Script == ""):
		return rule, errors.New("want either command or script")
	case r.Script != "":
		rule.Job.Argv, rule.Job.Stdin = []string{"/bin/sh"}, []byte(r.Script)
	}
	err = rule.Check(time.Time{})
	return rule, err
}

func (p *parser) checkRecurrences() {
	names := map[string]int{}
	for i := range p.Recurrences {
		r := &p.Recurrences[i]
		line := p.places[r].line
		if _, err := r.rule(); err != nil {
			p.wrong(r, "%s", fault.Text(err))
		}
		if other, twice := names[r.Name]; twice && r.Name != "" {
			p.wrong(r, "name: %s is already there on line %d", r.Name, other)
		}
		names[r.Name] = line
	}
}

// recurrence looks at what the machine must have for one.
func (l *looker) recurrence(r *Recurrence) {
	l.user(&r.User)
	if len(r.Command) > 0 && filepath.IsAbs(r.Command[0]) {
		if err := executable(r.Command[0]); err != nil {
			l.notice(&r.Command, "%v", err)
		}
	}
}

// recurrences translates those that a configuration declares, for the engine.
func (c *core) recurrences(conf *Config) ([]activation.Rule, error) {
	rules := make([]activation.Rule, 0, len(conf.Recurrences))
	for i := range conf.Recurrences {
		r := &conf.Recurrences[i]
		rule, err := r.rule()
		if err != nil {
			return nil, err
		}
		rule.Job.User = c.users.own()
		if r.User != "" {
			if rule.Job.User, err = lookupIdentity(r.User); err != nil {
				return nil, err
			}
		}
		rule.Job.Owner = rule.Job.User.Name
		rules = append(rules, rule)
	}
	return rules, nil
}
