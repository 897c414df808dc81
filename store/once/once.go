// Package once keeps the keys under which requests are carried out once. A client that does
// not know whether a request was carried out repeats it with the same key, and gets the answer
// to the first one.
//
// A key is written in the transaction of its request's effect: it is in the store if, and only
// if, the effect is. It travels in the request's context to [Update], which the packages that
// write use instead of a store's own. The answer is written in a second transaction, when it is
// known. If the daemon dies between the two, a repetition learns that the request was carried
// out, and what is known of it.
//
// The package does not know what a request or an answer means.
package once

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"activationd/internal/fault"
	"activationd/store"
)

// The keys in the store:
//
//	io/k/ID       a record
//	io/t/TIME/ID  when it was written, in milliseconds: see [Keeper.Prune]
const (
	recordKeys = "io/k/"
	timeKeys   = "io/t/"
)

// MaxAnswer is the size in bytes of the largest body of an answer that is kept.
const MaxAnswer = 256 << 10

// An Answer is what a request was answered.
type Answer struct {
	Status int               `json:"status"`
	Header map[string]string `json:"header,omitempty"`
	Body   []byte            `json:"body,omitempty"`
}

// A record is a key in the store.
type record struct {
	Request string    `json:"request"` // a digest of the request
	At      time.Time `json:"at"`
	Known   string    `json:"known,omitempty"` // what the effect was, for people
	Answer  *Answer   `json:"answer,omitempty"`
}

// ErrOther is the error of a request whose key was used for another request.
var ErrOther = fmt.Errorf("this key was used for another request already; use a new one for each request: %w", fault.Invalid)

// ErrBusy is the error of a request whose key is in use now.
var ErrBusy = fmt.Errorf("a request with this key is in progress; repeat it in a moment: %w", fault.Conflict)

// A DoneError is the error of a request that was carried out already. It is of kind
// fault.Conflict.
type DoneError struct {
	At     time.Time
	Known  string
	Answer *Answer // nil: it is not known
}

func (e *DoneError) Error() string {
	text := "the request with this key was carried out at " + e.At.UTC().Format(time.RFC3339)
	if e.Known != "" {
		text += " (" + e.Known + ")"
	}
	return text + ", but its answer was not kept; look at what it did instead of repeating it"
}

// Unwrap returns the kind.
func (e *DoneError) Unwrap() error { return fault.Conflict }

// A Keeper knows which requests with keys are in progress, and in which stores their effects
// can be.
type Keeper struct {
	stores []store.Store
	now    func() time.Time

	mu   sync.Mutex
	busy map[string]bool
}

// New returns a keeper. What belongs to no transaction of a request itself is written into the
// first store.
func New(now func() time.Time, stores ...store.Store) *Keeper {
	return &Keeper{stores: stores, now: now, busy: make(map[string]bool)}
}

// A Use is one request with a key.
type Use struct {
	keeper *Keeper
	id     string
	record

	mu    sync.Mutex
	taken store.Store // has the key; nil: none yet
}

type contextKey struct{}

// Of reports whether a context is that of a request with a key whose effect is still to come.
func Of(ctx context.Context) bool { return use(ctx) != nil }

func use(ctx context.Context) *Use {
	u, _ := ctx.Value(contextKey{}).(*Use)
	if u == nil {
		return nil
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.taken != nil {
		return nil
	}
	return u
}

// Without returns ctx for what precedes the effect of its request.
func Without(ctx context.Context) context.Context {
	if use(ctx) == nil {
		return ctx
	}
	return context.WithValue(ctx, contextKey{}, (*Use)(nil))
}

// Carry returns to with the key of from, for a goroutine that does the work of another one.
func Carry(to, from context.Context) context.Context {
	u := use(from)
	if u == nil {
		return to
	}
	return context.WithValue(to, contextKey{}, u)
}

// Known notes what the effect of a request is, for those who repeat it and cannot get its
// answer. Only a function of [Update] calls it.
func Known(ctx context.Context, text string) {
	if u := use(ctx); u != nil {
		u.record.Known = text
	}
}

// Begin begins a request of a caller. The digest of two requests is the same if they are the
// same. Its error is ErrOther, ErrBusy, a [DoneError], or the store's. If there is none, End
// must be called, and the work be done under the context that Begin returns.
func (k *Keeper) Begin(ctx context.Context, caller, key, digest string) (context.Context, *Use, error) {
	sum := sha256.Sum256([]byte(caller + "\x00" + key))
	u := &Use{keeper: k, id: hex.EncodeToString(sum[:16]), record: record{Request: digest, At: k.now()}}
	k.mu.Lock()
	busy := k.busy[u.id]
	k.busy[u.id] = true
	k.mu.Unlock()
	if busy {
		return ctx, nil, ErrBusy
	}
	for _, db := range k.stores {
		if err := db.View(ctx, u.check); err != nil {
			u.free()
			return ctx, nil, err
		}
	}
	return context.WithValue(ctx, contextKey{}, u), u, nil
}

func (u *Use) free() {
	u.keeper.mu.Lock()
	defer u.keeper.mu.Unlock()
	delete(u.keeper.busy, u.id)
}

// check returns an error if the key is in the store.
func (u *Use) check(tx store.Tx) error {
	data := tx.Get(recordKeys + u.id)
	if data == nil {
		return nil
	}
	var was record
	if err := json.Unmarshal(data, &was); err != nil {
		return fmt.Errorf("the key of a request cannot be read: %w", err)
	}
	if was.Request != u.Request {
		return ErrOther
	}
	return &DoneError{At: was.At, Known: was.Known, Answer: was.Answer}
}

// put writes the key.
func (u *Use) put(tx store.Tx) error {
	data, err := json.Marshal(&u.record)
	if err != nil {
		return err
	}
	at := fmt.Sprintf("%s%016d/%s", timeKeys, u.At.UnixMilli(), u.id)
	return errors.Join(tx.Put(recordKeys+u.id, data), tx.Put(at, nil))
}

// Update is db.Update. The first one of a request with a key that succeeds also writes the key;
// if it is in the store already, nothing is done, and the error is as that of [Keeper.Begin].
func Update(ctx context.Context, db store.Store, fn func(store.Tx) error) error {
	u := use(ctx)
	if u == nil {
		return db.Update(ctx, fn)
	}
	err := db.Update(ctx, func(tx store.Tx) error {
		u.record.Known = ""
		if err := u.check(tx); err != nil {
			return err
		}
		if err := fn(tx); err != nil {
			return err
		}
		return u.put(tx)
	})
	if err == nil {
		u.mu.Lock()
		u.taken = db
		u.mu.Unlock()
	}
	return err
}

// End ends a request. The answer is kept if the request had an effect, which its transaction
// tells; nil: the answer is not known. If there was no transaction, it is kept if effect is set.
// An answer that is too large is not kept.
func (u *Use) End(ctx context.Context, a *Answer, effect bool) error {
	defer u.free()
	u.mu.Lock()
	db := u.taken
	u.mu.Unlock()
	switch {
	case a == nil || db == nil && !effect:
		return nil
	case len(a.Body) <= MaxAnswer:
		u.record.Answer = a
	case db != nil:
		return nil
	}
	if db != nil {
		return db.Update(ctx, u.put)
	}
	return u.keeper.stores[0].Update(ctx, func(tx store.Tx) error {
		if err := u.check(tx); err != nil {
			return err
		}
		return u.put(tx)
	})
}

// atOnce is how many keys are removed in one transaction.
const atOnce = 50

// Prune removes the keys that were written before a time.
func (k *Keeper) Prune(ctx context.Context, before time.Time) error {
	limit := fmt.Sprintf("%s%016d/", timeKeys, before.UnixMilli())
	for _, db := range k.stores {
		for more := true; more; {
			var old []string
			err := db.View(ctx, func(tx store.Tx) error {
				old = old[:0]
				for key := range tx.Scan(timeKeys, "") {
					if key >= limit || len(old) == atOnce {
						break
					}
					old = append(old, key)
				}
				return nil
			})
			if err != nil {
				return err
			}
			if more = len(old) > 0; !more {
				break
			}
			err = db.Update(ctx, func(tx store.Tx) error {
				for _, key := range old {
					_, id, _ := strings.Cut(strings.TrimPrefix(key, timeKeys), "/")
					if err := errors.Join(tx.Delete(key), tx.Delete(recordKeys+id)); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}
