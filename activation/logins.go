package activation

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"activationd/internal/fault"
	"activationd/loginstore"
	"activationd/store"
)

// The steps of a login.
const (
	LoginAsk      = "ask"      // may it be tried?
	LoginBegin    = "begin"    // it is tried next, if it may
	LoginAccepted = "accepted" // it was right
	LoginRefused  = "refused"  // it was wrong
)

// Login takes a step of a login to a device, for the processes of an activation that runs
// and for those who may touch everything. It returns why the login must not be tried; ""
// is that it may.
func (e *Engine) Login(ctx context.Context, by By, step string, try loginstore.Try, said string) (why string, err error) {
	if step == LoginAsk { // most are not known: no need to write
		var known *loginstore.Login
		err := e.parts.DB.View(ctx, func(tx store.Tx) (err error) {
			if err := e.begin(tx).mayLogin(by, try.Holder); err != nil {
				return err
			}
			known, err = loginstore.Known(tx, try)
			return err
		})
		if err != nil || known == nil || !known.Closed() {
			return "", err
		}
	}
	err = e.update(ctx, func(t *txn) error {
		why = ""
		if err := t.mayLogin(by, try.Holder); err != nil {
			return err
		}
		var l *loginstore.Login
		var err error
		switch step {
		case LoginAsk:
			if err = loginstore.Meet(t, try); err == nil {
				l, err = loginstore.Known(t, try)
			}
		case LoginBegin:
			was, e := loginstore.Known(t, try)
			if err = e; err == nil {
				_, err = loginstore.Begin(t, try, t.now)
			}
			l = was
		case LoginAccepted:
			_, err = loginstore.End(t, try, false, "", t.now)
		case LoginRefused:
			if l, err = loginstore.End(t, try, true, said, t.now); err == nil {
				t.news = append(t.news, Happening{Time: t.now, What: "login.refused", ID: try.Holder, Reason: l.String(), Failed: true})
			}
		default:
			err = fmt.Errorf("step: want ask, begin, accepted or refused, have %.40q: %w", step, fault.Invalid)
		}
		if err == nil && l != nil && l.Closed() {
			why = l.Why()
		}
		return err
	})
	return why, err
}

// mayLogin refuses those who may not say anything of logins for holder.
func (t *txn) mayLogin(by By, holder string) error {
	if holder == "" {
		if by.OnlyOwn {
			return fmt.Errorf("of logins by hand only operators may tell: %w", fault.Denied)
		}
		return nil
	}
	r, err := t.get(holder)
	switch {
	case errors.Is(err, fault.NotFound) && !by.OnlyOwn:
		return nil // by hand, under a name of his own
	case err != nil:
		return err
	}
	user := t.set.userOf(r)
	if err := by.check(r); err != nil && (user == nil || user.UID != by.UID) { // its script may, whose it ever is
		return err
	}
	if by.OnlyOwn && r.open() == nil {
		return fmt.Errorf("%s is %s: none of its scripts runs: %w", holder, r.State, fault.Conflict)
	}
	return nil
}

// Logins returns what must not be tried; of an activation, if id is not empty, only what that
// wanted.
func (e *Engine) Logins(ctx context.Context, id string) (ls []loginstore.Login, err error) {
	err = e.parts.DB.View(ctx, func(tx store.Tx) error {
		ls, err = loginstore.List(tx, func(l *loginstore.Login) bool {
			return l.Closed() && (id == "" || slices.Contains(l.Met, id))
		})
		return err
	})
	return ls, err
}

// RetryLogins has what a device has refused tried again. It is fault.NotFound if it has
// refused nothing.
func (e *Engine) RetryLogins(ctx context.Context, by By, device string) (ls []loginstore.Login, err error) {
	err = e.update(ctx, func(t *txn) error {
		ls, err = loginstore.Forget(t, func(l *loginstore.Login) bool { return l.Device == device })
		if err == nil && len(ls) == 0 {
			err = fmt.Errorf("%s has refused no login that is remembered: %w", device, fault.NotFound)
		}
		return err
	})
	if err == nil {
		e.parts.Log.Info("logins may be tried again", "device", device, "number", len(ls), "by", by.Name)
	}
	return ls, err
}

// openLogins has what r wanted tried again, as by who may touch everything has retried r.
func (t *txn) openLogins(by By, r *Record) error {
	if by.OnlyOwn {
		return nil
	}
	_, err := loginstore.Forget(t, func(l *loginstore.Login) bool { return slices.Contains(l.Met, r.ID) })
	return err
}
