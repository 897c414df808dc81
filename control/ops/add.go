package ops

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"activationd/activation"
	"activationd/control"
	"activationd/internal/fault"
	"activationd/internal/timetext"
	"activationd/internal/trace"
	"activationd/schedule"
	"activationd/schedule/timespec"
)

// shell runs a job that is a script. As for at(1), it reads the script from its standard
// input.
const shell = "/bin/sh"

// add adds jobs, in one transaction for all requests.
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
		if t := trace.Of(ctx); t != "" && j.Env[trace.Variable] == "" {
			if j.Env == nil {
				j.Env = make(map[string]string, 1)
			}
			j.Env[trace.Variable] = t
		}
		jobs = append(jobs, j)
		index = append(index, i)
	}
	added, err := d.Engine.Add(ctx, actor(c), jobs)
	for k, i := range index {
		switch {
		case err != nil:
			results[i].Err = err
		case added[k].Err != nil:
			results[i].Err = added[k].Err
		default:
			results[i].Reply = control.Reply[control.AddOut]{
				Summary: "id=" + added[k].ID,
				Lines:   []control.AddOut{{ID: added[k].ID, Due: added[k].Due, Notices: d.notices(ins[i].Notices, &jobs[k].Order)}},
			}
		}
	}
	return results
}

// notices says why a job could not run now, if the caller asks: the look takes as long as a
// submission among many. The job is accepted all the same: what is missing may be there when
// it is due.
func (d Daemon) notices(asked bool, o *activation.Order) (all []string) {
	if !asked {
		return nil
	}
	if text := d.Engine.Missing(o); text != "" {
		all = append(all, text)
	}
	if line, _, _ := bytes.Cut(o.Stdin, []byte("\n")); bytes.HasSuffix(line, []byte("\r")) && len(o.Argv) == 1 && o.Argv[0] == shell {
		all = append(all, "the lines of the script end with CR LF, as Windows writes them; the shell takes the CR for a part of the last word")
	}
	return all
}

func newJob(in *control.AddIn, now time.Time) (j activation.NewJob, err error) {
	j = activation.NewJob{
		Order: activation.Order{
			Argv:     in.Arg,
			Stdin:    []byte(in.Stdin),
			Dir:      in.Dir,
			Locks:    in.Lock,
			Label:    in.Label,
			Script:   control.ScriptTitle(cmp.Or(in.Title, in.Script)),
			Missed:   in.Missed,
			Priority: in.Priority,
			After:    in.After,
			Tags:     commas(in.Tag),
		},
		Hold: in.Hold,
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
			return j, fmt.Errorf("script cannot be used together with arg or stdin: %w", fault.Invalid)
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

// when reads the start of a job: a time, or a duration from now. It is zero if none is given.
func when(at, in string, now time.Time) (time.Time, error) {
	switch {
	case at != "" && in != "":
		return time.Time{}, fmt.Errorf("at and in exclude each other: use one of them: %w", fault.Invalid)
	case at != "":
		t, err := timespec.Typed(at, now, time.Local)
		if err != nil {
			return t, fmt.Errorf("at: %w: %w", err, fault.Invalid)
		}
		return t, nil
	case in != "":
		d, err := pause("in", in)
		return now.Add(d), err
	}
	return time.Time{}, nil
}

// instant reads a time. If it has no zone, it is local in the given one.
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

// deadline reads a deadline: a time, or a duration after the start. 10:00:00 is a time of
// day.
func deadline(text string, start, now time.Time) (time.Time, error) {
	if start.IsZero() {
		start = now
	}
	return timeOrAfter("deadline", text, start, "after the start", now)
}

// timeOrAfter reads a time, or a duration after another time, which has a name. It is zero if
// there is no text.
func timeOrAfter(name, text string, start time.Time, after string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	t, notTime := instant(name, text, now, "")
	if notTime == nil {
		return t, nil
	}
	if _, err := timetext.Duration(text); err != nil {
		return t, fmt.Errorf("%s: want a duration %s, or a time: %w; %w", name, after, err, notTime)
	}
	d, err := pause(name, text)
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

// commas splits lists of words that are separated by commas.
func commas(lists []string) (words []string) {
	for _, list := range lists {
		words = append(words, strings.Split(list, ",")...)
	}
	return words
}

// retries reads the number of further attempts. It is nil if none is given.
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

// longest is the longest duration in a request.
const longest = 3660 * 24 * time.Hour

// duration reads an optional duration. Zero means without: no timeout, no grace.
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

// pause reads a duration that must be more than zero.
func pause(name, text string) (time.Duration, error) {
	d, err := duration(name, text)
	if err != nil {
		return 0, err
	}
	if *d <= 0 {
		return 0, fmt.Errorf("%s: %.60q must be more than 0: %w", name, text, fault.Invalid)
	}
	return *d, nil
}
