package activation

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"activationd/event"
	"activationd/internal/fault"
	"activationd/loginstore"
)

// The steps of a login.
const (
	LoginAsk      = "ask"      // asks whether it may be tried
	LoginBegin    = "begin"    // the same; if it may, it is tried next
	LoginAccepted = "accepted" // the device accepted it
	LoginRefused  = "refused"  // the device refused it
)

// Login reports a step of a login to a device. The processes of a running activation may
// do that, and clients that may touch everything; for others the error is fault.Denied.
// If the login must not be tried, why says the reason; otherwise why is empty. The error
// is fault.Conflict if no attempt of the activation runs, and fault.Invalid for an
// unknown step.
func (e *Engine) Login(ctx context.Context, by Actor, step string, try loginstore.Try, said string) (why string, err error) {
	if step == LoginAsk { // most logins are not recorded: no need to write
		var known *loginstore.Login
		err := e.View(ctx, func(t *Txn) (err error) {
			if err := t.mayLogin(by, try.Holder); err != nil {
				return err
			}
			known, err = loginstore.Known(t, try)
			return err
		})
		if err != nil || known == nil || !known.Closed() {
			return "", err
		}
	}
	err = e.UpdateBy(ctx, by, func(t *Txn) error {
		why = ""
		if err := t.mayLogin(by, try.Holder); err != nil {
			return err
		}
		var l *loginstore.Login
		var err error
		switch step {
		case LoginAsk:
			if err = loginstore.NoteWanted(t, try); err == nil {
				l, err = loginstore.Known(t, try)
			}
		case LoginBegin:
			was, e := loginstore.Known(t, try)
			if err = e; err == nil {
				_, err = loginstore.Begin(t, try, t.Now)
			}
			l = was
		case LoginAccepted:
			_, err = loginstore.End(t, try, false, "", t.Now)
		case LoginRefused:
			if l, err = loginstore.End(t, try, true, said, t.Now); err == nil {
				ev := event.Event{Topic: event.Topic("login", try.Device, "refused"), What: "login.refused", ID: try.Holder, Reason: l.String(), Failed: true}
				t.concernHolder(&ev)
				t.Emit(ev)
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

// mayLogin returns an error unless by may take steps of logins for holder.
func (t *Txn) mayLogin(by Actor, holder string) error {
	if holder == "" {
		if by.OnlyOwn {
			return fmt.Errorf("only operators may report logins made by hand: %w", fault.Denied)
		}
		return nil
	}
	r, err := t.Record(holder)
	switch {
	case errors.Is(err, fault.NotFound) && !by.OnlyOwn:
		return nil // a login by hand, under any name
	case err != nil:
		return err
	}
	if err := t.checkScript(by, r); err != nil {
		return err
	}
	if by.OnlyOwn && r.openAttempt() == nil {
		return fmt.Errorf("%s is %s: none of its scripts runs: %w", holder, r.State, fault.Conflict)
	}
	return nil
}

// Logins returns the logins that must not be tried; if id is not empty, only those that
// the activation needed.
func (e *Engine) Logins(ctx context.Context, id string) (ls []loginstore.Login, err error) {
	err = e.View(ctx, func(t *Txn) error {
		ls, err = loginstore.List(t, func(l *loginstore.Login) bool {
			return l.Closed() && (id == "" || slices.Contains(l.WantedBy, id))
		})
		return err
	})
	return ls, err
}

// RetryLogins allows the logins that a device refused to be tried again. The error is
// fault.NotFound if it refused none.
func (e *Engine) RetryLogins(ctx context.Context, by Actor, device string) (ls []loginstore.Login, err error) {
	err = e.UpdateBy(ctx, by, func(t *Txn) error {
		ls, err = loginstore.Forget(t, func(l *loginstore.Login) bool { return l.Device == device })
		if err == nil && len(ls) == 0 {
			err = fmt.Errorf("%s has refused no login on record: %w", device, fault.NotFound)
		}
		t.Emit(event.Event{Topic: event.Topic("login", device, "retried"), What: "login.retried", Action: "login retry", Reason: device + ": its refused logins may be tried again"})
		return err
	})
	if err == nil {
		e.parts.Log.Info("logins may be tried again", "device", device, "number", len(ls), "by", by.Name)
	}
	return ls, err
}

// openLogins is called when by retries r. It allows the logins that r needed to be tried
// again, if by may touch everything.
func (t *Txn) openLogins(by Actor, r *Record) error {
	if by.OnlyOwn {
		return nil
	}
	_, err := loginstore.Forget(t, func(l *loginstore.Login) bool { return slices.Contains(l.WantedBy, r.ID) })
	return err
}
