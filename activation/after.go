package activation

import (
	"errors"
	"fmt"
	"strings"

	"activationd/internal/fault"
)

// How something may have ended so that one who comes after it may run.
const (
	afterSuccess = "success"
	afterFailure = "failure" // any end but success
	afterAny     = "any"
)

// An after is another activation whose end a job waits for.
type after struct {
	id, how string
}

// maxAfter bounds how many others a job can wait for.
const maxAfter = 256

// parseAfter reads ID, ID:success, ID:failure or ID:any. An id may have colons
// of its own.
func parseAfter(s string) (after, error) {
	a := after{s, afterSuccess}
	if i := strings.LastIndexByte(s, ':'); i >= 0 {
		switch how := s[i+1:]; how {
		case afterSuccess, afterFailure, afterAny:
			a = after{s[:i], how}
		}
	}
	if !isJob(a.id) && !validName(a.id) {
		return a, fmt.Errorf("after: %q: want ID, ID:success, ID:failure or ID:any: %w", s, fault.Invalid)
	}
	return a, nil
}

// after lists what r, which has never begun, is to come after. What has begun
// need not ask again when it is tried again.
func (r *Record) after() []after {
	if r.Ns[0] > 0 {
		return nil
	}
	as := make([]after, 0, len(r.After))
	for _, s := range r.After {
		if a, err := parseAfter(s); err == nil { // it was checked when the job was added
			as = append(as, a)
		}
	}
	return as
}

// checkAfter returns what is wrong with what a new job is to come after.
func (t *txn) checkAfter(specs []string) error {
	if len(specs) > maxAfter {
		return fmt.Errorf("after: at most %d are possible: %w", maxAfter, fault.Invalid)
	}
	for _, s := range specs {
		a, err := parseAfter(s)
		if err != nil {
			return err
		}
		if t.Get(key(a.id)) == nil {
			return fmt.Errorf("after: there is no activation %s: %w", a.id, fault.NotFound)
		}
	}
	return nil
}

// dependents lists those who wait for the end of id.
func (t *txn) dependents(id string) (ids []string) {
	prefix := afterKey + id + "/"
	for k := range t.Scan(prefix, "") {
		ids = append(ids, strings.TrimPrefix(k, prefix))
	}
	return ids
}

// awaitedNoMore lists those who wait for the end of what has ended: nobody may
// have told them, if the daemon died in between.
func (t *txn) awaitedNoMore() (ids []string) {
	last, over := "", false
	for k := range t.Scan(afterKey, "") {
		id, dependent, _ := strings.Cut(strings.TrimPrefix(k, afterKey), "/")
		if id != last {
			r, err := t.get(id)
			last, over = id, err != nil || r.State == Finished
		}
		if over {
			ids = append(ids, dependent)
		}
	}
	return ids
}

// awaitedBy reports whether somebody waits for the end of id, or will.
func (t *txn) awaitedBy(id string) bool {
	for range t.Scan(afterKey+id+"/", "") {
		return true
	}
	return false
}

// awaited says whose end r waits for; empty: nobody's.
func (t *txn) awaited(r *Record) string {
	for _, a := range r.after() {
		if other, err := t.get(a.id); err == nil && other.State != Finished {
			return fmt.Sprintf("the end of %s, which is %s", a.id, other.State)
		}
	}
	return ""
}

// unmet says why r cannot run any more: one that it was to come after has ended
// otherwise. Empty: it may, or that is not known yet.
func (t *txn) unmet(r *Record) string {
	for _, a := range r.after() {
		other, err := t.get(a.id)
		switch {
		case errors.Is(err, fault.NotFound):
			return fmt.Sprintf("it was to run after %s, of which nothing is known any more", a.id)
		case err != nil || other.State != Finished || a.how == afterAny:
		case a.how == afterSuccess && other.Outcome != Succeeded:
			return fmt.Sprintf("it was to run after the success of %s, which ended as %s%s", a.id, other.Outcome, whyFor(r, other))
		case a.how == afterFailure && other.Outcome == Succeeded:
			return fmt.Sprintf("it was to run after a failure of %s, which has succeeded", a.id)
		}
	}
	return ""
}

// whyFor is as much of another's reason as r's may tell: of somebody else's job nothing,
// and not all in a chain of jobs, where each would tell what came before.
func whyFor(r, other *Record) string {
	const most = 200
	by := By{Name: r.Owner, UID: -1}
	if r.User != nil {
		by.UID = r.User.UID
	}
	switch {
	case other.Kind == Job && !by.owns(other):
		return ""
	case len(other.Reason) > most:
		return ": " + strings.ToValidUTF8(other.Reason[:most], "") + " ..."
	}
	return reasonAfter(other.Reason)
}
