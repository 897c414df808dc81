package ops

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"activationd/activation"
	"activationd/control"
	"activationd/internal/fault"
	"activationd/internal/timetext"
	"activationd/schedule"
)

// shell is what runs a job that is given as a script. It reads the script from
// its standard input, as at(1)'s does.
const shell = "/bin/sh"

// add makes jobs: those of requests that came together in one transaction.
func (d Daemon) add(ctx context.Context, c control.Caller, ins []control.AddIn) []control.Result[control.AddOut] {
	results := make([]control.Result[control.AddOut], len(ins))
	user, err := d.Identity(c)
	if err != nil {
		for i := range results {
			results[i].Err = err
		}
		return results
	}
	now := time.Now()
	jobs := make([]activation.NewJob, 0, len(ins))
	index := make([]int, 0, len(ins))
	for i := range ins {
		j, err := newJob(&ins[i], now)
		if err != nil {
			results[i].Err = err
			continue
		}
		j.Owner, j.User = c.Name, user
		jobs = append(jobs, j)
		index = append(index, i)
	}
	added, err := d.Engine.Add(ctx, jobs)
	for k, i := range index {
		switch {
		case err != nil:
			results[i].Err = err
		case added[k].Err != nil:
			results[i].Err = added[k].Err
		default:
			results[i].Reply = control.Reply[control.AddOut]{
				Summary: "id=" + added[k].ID,
				Lines:   []control.AddOut{{ID: added[k].ID, Due: added[k].Due}},
			}
		}
	}
	return results
}

func newJob(in *control.AddIn, now time.Time) (j activation.NewJob, err error) {
	j = activation.NewJob{
		Argv: in.Arg, Stdin: []byte(in.Stdin), Dir: in.Dir, Locks: in.Lock, Label: in.Label, Missed: in.Missed, Hold: in.Hold,
		Priority: in.Priority, After: in.After, Tags: commas(in.Tag),
	}
	if j.At, err = when(in.At, in.In, now); err != nil {
		return j, err
	}
	if j.Deadline, err = deadline(in.Deadline, j.At, now); err != nil {
		return j, err
	}
	if j.Backoff, err = duration("backoff", in.Backoff); err != nil {
		return j, err
	}
	if in.Script != "" {
		if len(in.Arg) > 0 || in.Stdin != "" {
			return j, fmt.Errorf("script excludes arg and stdin: %w", fault.Invalid)
		}
		j.Argv, j.Stdin = []string{shell}, []byte(in.Script)
	}
	if len(in.Env) > 0 {
		j.Env = make(map[string]string, len(in.Env))
	}
	if err := setEnv(j.Env, in.Env); err != nil {
		return j, err
	}
	if j.Timeout, err = duration("timeout", in.Timeout); err != nil {
		return j, err
	}
	if j.Grace, err = duration("grace", in.Grace); err != nil {
		return j, err
	}
	if j.Retries, err = retries(in.Retries); err != nil {
		return j, err
	}
	if in.Umask != "" {
		n, err := strconv.ParseUint(in.Umask, 8, 9)
		if err != nil {
			return j, fmt.Errorf("umask: want an octal number up to 777, have %q: %w", in.Umask, fault.Invalid)
		}
		umask := int(n)
		j.Umask = &umask
	}
	return j, nil
}

// when reads a job's start: a time, or a duration from now. Zero: none is given.
func when(at, in string, now time.Time) (time.Time, error) {
	switch {
	case at != "" && in != "":
		return time.Time{}, fmt.Errorf("at and in exclude each other: give one of them: %w", fault.Invalid)
	case at != "":
		return instant("at", at, now, "")
	case in != "":
		d, err := pause("in", in)
		return now.Add(d), err
	}
	return time.Time{}, nil
}

// instant reads a time; one without a zone is local in the one that is named.
func instant(name, text string, now time.Time, zone string) (time.Time, error) {
	loc, err := schedule.LoadZone(zone)
	if err != nil {
		return time.Time{}, fmt.Errorf("tz: %w: %w", err, fault.Invalid)
	}
	t, err := timetext.Typed(text, now, loc)
	if err != nil {
		return t, fmt.Errorf("%s: %w: %w", name, err, fault.Invalid)
	}
	return t, nil
}

// deadline reads a deadline: a time, or a duration after the start. 10:00:00 is the time
// of day.
func deadline(text string, start, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	t, notTime := instant("deadline", text, now, "")
	if notTime == nil {
		return t, nil
	}
	if _, err := timetext.Duration(text); err != nil {
		return t, fmt.Errorf("deadline: want a duration after the start, or a time: %w; %w", err, notTime)
	}
	if start.IsZero() {
		start = now
	}
	d, err := pause("deadline", text)
	return start.Add(d), err
}

func setEnv(env map[string]string, assignments []string) error {
	for _, kv := range assignments {
		k, v, ok := strings.Cut(kv, "=")
		if !ok || k == "" {
			return fmt.Errorf("env: want NAME=VALUE, have %q: %w", kv, fault.Invalid)
		}
		env[k] = v
	}
	return nil
}

// commas takes lists apart that are words with commas between them.
func commas(lists []string) (words []string) {
	for _, list := range lists {
		words = append(words, strings.Split(list, ",")...)
	}
	return words
}

// retries reads how often to try again; nil: it is not said.
func retries(text string) (*int, error) {
	if text == "" {
		return nil, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return nil, fmt.Errorf("retries: %q is not a whole number: %w", text, fault.Invalid)
	}
	return &n, nil
}

// longest is the longest duration that a request may have.
const longest = 3660 * 24 * time.Hour

// duration reads an optional duration. Zero stands for none: no timeout, no grace.
func duration(name, text string) (*time.Duration, error) {
	if text == "" {
		return nil, nil
	}
	d, err := timetext.Duration(text)
	if err == nil && d > longest {
		err = fmt.Errorf("%.60q is more than 3660 days", text)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", name, err, fault.Invalid)
	}
	return &d, nil
}

// pause reads a duration that is more than nothing.
func pause(name, text string) (time.Duration, error) {
	d, err := duration(name, text)
	if err != nil {
		return 0, err
	}
	if *d <= 0 {
		return 0, fmt.Errorf("%s: %.60q is no time at all: %w", name, text, fault.Invalid)
	}
	return *d, nil
}
