package activation

import (
	"errors"
	"fmt"
	"strings"

	"activationd/internal/fault"
)

// How an activation must end so that a job that waits for it may run.
const (
	afterSuccess = "success"
	afterFailure = "failure" // any end except success
	afterAny     = "any"
)

// An after is another activation, whose end a job waits for, and how that must end.
type after struct {
	id, how string
}

// maxAfter bounds how many activations a job can wait for.
const maxAfter = 256

// parseAfter reads ID, ID:success, ID:failure or ID:any. The id itself may contain
// colons.
func parseAfter(s string) (after, error) {
	a := after{s, afterSuccess}
	if i := strings.LastIndexByte(s, ':'); i >= 0 {
		switch how := s[i+1:]; how {
		case afterSuccess, afterFailure, afterAny:
			a = after{s[:i], how}
		}
	}
	if !isJob(a.id) && !ValidName(a.id) {
		return a, fmt.Errorf("after: %q: want ID, ID:success, ID:failure or ID:any: %w", s, fault.Invalid)
	}
	return a, nil
}

// after lists the activations that r waits for. Once r has begun there are none: its
// later attempts do not wait for them again.
func (r *Record) after() []after {
	if r.LastN[0] > 0 {
		return nil
	}
	as := make([]after, 0, len(r.After))
	for _, s := range r.After {
		if a, err := parseAfter(s); err == nil { // checked when the job was added
			as = append(as, a)
		}
	}
	return as
}

// checkAfter returns an error unless the activations that a new job is to wait for exist.
func (t *Txn) checkAfter(specs []string) error {
	if len(specs) > maxAfter {
		return fmt.Errorf("after: at most %d activations are possible: %w", maxAfter, fault.Invalid)
	}
	for _, s := range specs {
		a, err := parseAfter(s)
		if err != nil {
			return err
		}
		if t.Get(key(a.id)) != nil {
			continue
		}
		if id, how, ok := strings.Cut(a.id, ":"); ok && (isJob(id) || t.Get(key(id)) != nil) { // 17:succeeded
			return fmt.Errorf("after: %q: after the colon, want success, failure or any, have %q: %w", s, how, fault.Invalid)
		}
		return fmt.Errorf("after: %w", unknown(a.id))
	}
	return nil
}

// dependents lists the jobs that wait for the end of id.
func (t *Txn) dependents(id string) (ids []string) {
	prefix := afterKey + id + "/"
	for k := range t.Scan(prefix, "") {
		ids = append(ids, strings.TrimPrefix(k, prefix))
	}
	return ids
}

// awaitedNoMore lists the jobs that wait for an activation that has ended. There are such
// jobs if the daemon died before it looked at them.
func (t *Txn) awaitedNoMore() (ids []string) {
	last, over := "", false
	for k := range t.Scan(afterKey, "") {
		id, dependent, _ := strings.Cut(strings.TrimPrefix(k, afterKey), "/")
		if id != last {
			r, err := t.Record(id)
			last, over = id, err != nil || r.State == Finished
		}
		if over {
			ids = append(ids, dependent)
		}
	}
	return ids
}

// awaitedBy reports whether a job waits for the end of id, or is going to.
func (t *Txn) awaitedBy(id string) bool {
	return t.has(afterKey + id + "/")
}

// awaited names the first unfinished activation that r waits for; empty: there is none.
func (t *Txn) awaited(r *Record) string {
	for _, a := range r.after() {
		if other, err := t.Record(a.id); err == nil && other.State != Finished {
			return fmt.Sprintf("the end of %s, which %s", a.id, other.is())
		}
	}
	return ""
}

// unmet says why r can never run: an activation that it waits for did not end as
// required. The text is empty if r can run, or if this is not known yet.
func (t *Txn) unmet(r *Record) string {
	for _, a := range r.after() {
		other, err := t.Record(a.id)
		switch {
		case errors.Is(err, fault.NotFound):
			return fmt.Sprintf("it was to run after %s, which is no longer known", a.id)
		case err != nil || other.State != Finished || a.how == afterAny:
		case a.how == afterSuccess && other.Outcome != Succeeded:
			return fmt.Sprintf("it was to run after the success of %s, which %s%s", a.id, other.is(), whyFor(r, other))
		case a.how == afterFailure && other.Outcome == Succeeded:
			return fmt.Sprintf("it was to run after a failure of %s, which has succeeded", a.id)
		}
	}
	return ""
}

// whyFor returns a colon and other's reason, for the owner of r to read. It is empty if
// other is a job of another owner. The reason is cut, because in a chain of jobs each
// reason contains the one before.
func whyFor(r, other *Record) string {
	const most = 200
	by := Actor{Name: r.Owner, UID: -1}
	if r.User != nil {
		by.UID = r.User.UID
	}
	switch {
	case other.policy().private && !by.owns(other):
		return ""
	case len(other.Reason) > most:
		return ": " + strings.ToValidUTF8(other.Reason[:most], "") + " ..."
	}
	return reasonAfter(other.Reason)
}
