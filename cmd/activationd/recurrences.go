package main

import (
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"

	"activationd/activation"
	"activationd/activation/recurring"
	"activationd/control"
	"activationd/control/ops"
	"activationd/internal/config"
	"activationd/internal/fault"
)

// ruleOf translates a recurrence of the configuration for the engine, except its user. The
// error has all that is wrong with the recurrence, one a line.
func ruleOf(r *config.Recurrence) (recurring.Rule, error) {
	fixed := time.Unix(0, 0).UTC() // what a file says must not depend on when it is read
	rule, errRule := ops.ParseRule(r.Name, control.RuleIn{
		Cron: r.Cron, Calendar: r.Calendar, Every: r.Every, TZ: r.TimeZone, Overlap: r.Overlap,
		Jitter: r.Jitter, CatchUp: r.CatchUp, Start: r.Start, End: r.End,
	}, fixed)
	errs := []error{errRule}
	for _, t := range []struct {
		key string
		at  *time.Time
	}{{"start", &rule.Start}, {"end", &rule.End}} {
		if !t.at.IsZero() && t.at.Before(fixed.AddDate(1, 0, 0)) {
			errs = append(errs, fmt.Errorf("%s: want a date and a time, such as 2099-12-21 10:00: %w", t.key, fault.Invalid))
			*t.at = time.Time{}
		}
	}
	rule.Job = activation.NewJob{
		Order: activation.Order{
			Argv:     r.Command,
			Dir:      r.Directory,
			Env:      r.Environment,
			Timeout:  r.Timeout,
			Grace:    r.Grace,
			Retries:  r.Retries,
			Backoff:  r.Backoff,
			Locks:    r.Locks,
			Priority: r.Priority,
			Label:    r.Label,
			Tags:     r.Tags,
			Missed:   r.Missed,
		},
	}
	if r.Umask != nil {
		umask := int(*r.Umask)
		rule.Job.Umask = &umask
	}
	if r.Script != "" || len(r.Command) == 0 {
		rule.Job.Argv, rule.Job.Stdin = []string{"/bin/sh"}, []byte(r.Script)
		rule.Job.Script = control.ScriptTitle(r.Script)
	}
	return rule, errors.Join(append(errs, rule.Check(time.Time{}))...)
}

// oneCommand reports whether a recurrence has either a command or a script. A command that
// could not be read is one, too: its fault has been noted.
func (v *validator) oneCommand(r *config.Recurrence) bool {
	_, given := v.config.Place(&r.Command)
	return (given && r.Command == nil || len(r.Command) > 0) != (r.Script != "")
}

// keyOf returns the field of a recurrence that a line of an error is about, and the rest of
// the line; nil if it is about none, or about several.
func keyOf(r *config.Recurrence, line string) (field any, rest string) {
	key, rest, _ := strings.Cut(line, ": ")
	others := map[string]string{"tz": "time_zone", "catch-up": "catch_up", "lock": "locks", "tag": "tags", "env": "environment", "dir": "directory"}
	v := reflect.ValueOf(r).Elem()
	for i := range v.NumField() {
		if name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ","); name == cmp.Or(others[key], key) {
			return v.Field(i).Addr().Interface(), rest
		}
	}
	return nil, line
}

// recurrence checks that a recurrence is a rule, by the machine's time zones, and that the
// machine has what it names.
func (v *validator) recurrence(r *config.Recurrence) {
	if !v.oneCommand(r) {
		v.wrong(r, errors.New("want either command or script"))
	}
	if _, err := ruleOf(r); err != nil {
		for line := range strings.SplitSeq(fault.Text(err), "\n") {
			field, text := keyOf(r, line)
			if _, given := v.config.Place(field); !given {
				field, text = r, line
			}
			v.wrong(field, errors.New(text))
		}
	}
	v.user(&r.User)
	if text := v.missing(r.Command, r.Directory, r.Environment, r.User); text != "" {
		v.notice(&r.Command, "%s", text)
	}
}

// recurrences translates the recurrences that a configuration declares, for the engine.
func (d *daemon) recurrences(conf *configuration) ([]recurring.Rule, error) {
	rules := make([]recurring.Rule, 0, len(conf.Recurrences))
	for i := range conf.Recurrences {
		r := &conf.Recurrences[i]
		rule, err := ruleOf(r)
		if err != nil {
			return nil, err
		}
		rule.Job.User = d.users.own()
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
