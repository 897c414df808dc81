package activation

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"activationd/internal/fault"
)

// Edit changes a job that has not begun: one that is scheduled, held or waiting.
// Change gets the job as it was asked for and its start, and says what is wrong by an error,
// after which nothing is changed. It may be called again. Whether the result is
// sound is checked as with [Engine.Add]. A job whose time or locks are changed
// loses its place in line. What a job comes after cannot be changed.
func (e *Engine) Edit(ctx context.Context, by By, id string, change func(j *NewJob, start time.Time) error) (*Record, error) {
	var r *Record
	err := e.update(ctx, func(t *txn) (err error) {
		if r, err = t.get(id); err != nil {
			return err
		}
		if err := by.check(r); err != nil {
			return err
		}
		switch {
		case r.Kind != Job:
			return fmt.Errorf("%s is a reservation: change it where it is booked: %w", id, fault.Conflict)
		case r.State != Scheduled && r.State != Held && r.State != Waiting:
			return fmt.Errorf("cannot edit what is %s: only what has not begun can be: %w", r.State, fault.Conflict)
		}
		old := r.clone()
		j := r.asked()
		if err := change(&j, r.Start); err != nil {
			return err
		}
		moved := !j.At.IsZero() && !j.At.Equal(r.Start)
		if err := j.check(t.now); err != nil {
			return err
		}
		if at := r.Start; !moved && !j.Deadline.IsZero() && !j.Deadline.After(at) {
			return fmt.Errorf("deadline: %s is not after the job's start: %w", stamp(j.Deadline), fault.Invalid)
		}
		n := j.record(id, t.now, t.set)
		if own := recurrenceLock(r.Recurrence); r.Recurrence != "" && slices.Contains(r.Locks, own) {
			n.Locks = sortedSet(append(n.Locks, own)) // it is not the job's, but its recurrence's
		}
		if r.AtJob != nil && !(slices.Equal(r.Argv, n.Argv) && bytes.Equal(r.Stdin, n.Stdin)) {
			return fmt.Errorf("%s is a job of at's, and its script is kept as it is; cancel it and submit another one: %w", id, fault.Conflict)
		}
		if !by.runsAs(r) && !sameRun(r, n) {
			return fmt.Errorf("%s runs as %s: what it runs, and with what, only he himself or root may change: %w", id, r.Owner, fault.Denied)
		}
		if !sameRun(r, n) {
			r.User = r.User.under(by.As)
		}
		if moved {
			r.Start, r.Late = n.Start, false
		}
		moved = moved || !slices.Equal(r.Locks, n.Locks)
		r.Label, r.Locks, r.Argv, r.Stdin, r.Dir, r.Env = n.Label, n.Locks, n.Argv, n.Stdin, n.Dir, n.Env
		r.Timeout, r.Grace, r.Retries, r.Backoff, r.Missed = n.Timeout, n.Grace, n.Retries, n.Backoff, n.Missed
		r.Priority, r.Deadline, r.Tags, r.Umask = n.Priority, n.Deadline, n.Tags, n.Umask
		if moved {
			if err := t.apply(r, Move, "edited by "+by.Name); err != nil {
				return err
			}
		} else {
			t.news = append(t.news, Happening{Time: t.now, What: "edited", ID: r.ID, State: string(r.State), Reason: "by " + by.Name})
		}
		return t.save(old, r)
	})
	if err != nil {
		return nil, err
	}
	e.touch(id)
	return r, nil
}

// asked is what r was asked for with, but for the time, which stays as it is.
func (r *Record) asked() NewJob {
	return NewJob{
		Owner: r.Owner, User: r.User, Argv: r.Argv, Stdin: r.Stdin, Dir: r.Dir, Env: r.Env, Umask: r.Umask,
		Timeout: r.Timeout, Grace: r.Grace, Retries: r.Retries, Backoff: r.Backoff, Label: r.Label, Missed: r.Missed,
		Priority: r.Priority, Deadline: r.Deadline, Tags: r.Tags,
		Locks: slices.DeleteFunc(slices.Clone(r.Locks), func(l string) bool { return strings.HasPrefix(l, recurrenceLocks) }),
	}
}

// maxProgress bounds the text of a progress, in bytes.
const maxProgress = 200

// Report notes how far a script says that it has come. It is fault.Conflict
// when no attempt of it runs.
func (e *Engine) Report(ctx context.Context, by By, id string, p Progress) error {
	if p.Percent < -1 || p.Percent > 100 || len(p.Text) > maxProgress {
		return fmt.Errorf("progress: want 0 to 100 percent, and a text of at most %d bytes: %w", maxProgress, fault.Invalid)
	}
	return e.update(ctx, func(t *txn) error {
		r, err := t.get(id)
		if err != nil {
			return err
		}
		user := t.set.userOf(r)
		if err := by.check(r); err != nil && (user == nil || user.UID != by.UID) { // its script may, whose it ever is
			return err
		}
		if r.open() == nil {
			return fmt.Errorf("%s is %s: none of its scripts runs: %w", id, r.State, fault.Conflict)
		}
		old := r.clone()
		p.At = t.now
		r.Progress = &p
		t.news = append(t.news, Happening{Time: t.now, What: "progress", ID: r.ID, State: string(r.State), Reason: p.String()})
		return t.save(old, r)
	})
}

// String is a progress in words.
func (p *Progress) String() string {
	switch {
	case p.Percent < 0:
		return p.Text
	case p.Text == "":
		return fmt.Sprintf("%d %%", p.Percent)
	}
	return fmt.Sprintf("%d %% %s", p.Percent, p.Text)
}
