// Package loginstore remembers, in a store, which secrets devices have refused, so that
// nobody tries them again: after some wrong passwords an account is locked, on that device
// and wherever the same server is asked. A login is a device, a user, what is given (a
// password, an enable password or a key), and the secret.
//
// The secret is not kept, and is not known here. Of each there is a digest, which its holder
// makes, and what is kept of that is an HMAC under a random key. So the records alone tell
// nothing of a secret, and not even that two are equal. Who has the whole store has the key, too,
// and can try guesses as he could at a file of hashed passwords: the file is its owner's only.
//
// Who may say what of a login is for others to decide.
package loginstore

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"activationd/internal/fault"
	"activationd/store"
)

// Keys. A login's key has its [Login].
const (
	loginKeys = "login/of/" // + DEVICE/HMAC
	secretKey = "login/key"
)

// Bounds.
const (
	maxName   = 256
	maxSaid   = 500
	maxMet    = 100  // activations that are noted with a login
	maxLogins = 1000 // then the oldest is forgotten
	mostOpen  = 2    // tries that were begun and never ended
)

// Key is what is given by an SSH key. It locks no account, so that it is noted only when
// it was refused.
const Key = "key"

// A Try is a secret that is to be given to a device, or was.
type Try struct {
	Device, User string
	What         string // "password", "enable password" or [Key]
	Digest       string // of the secret: hexadecimal digits
	Holder       string // for which activation; "": for somebody by hand
}

// A State is what is known of a login.
type State string

// The states. A login that a device has accepted is none any more.
const (
	Trying  State = "trying"  // it was begun, and perhaps given
	Refused State = "refused" // the device has refused it
)

// A Login is one of which something is known.
type Login struct {
	Device string    `json:"device"`
	User   string    `json:"user,omitempty"`
	What   string    `json:"what"`
	State  State     `json:"state"`
	Tries  int       `json:"tries"` // that were begun and not ended; when it is refused, all
	Since  time.Time `json:"since"`
	Said   string    `json:"said,omitempty"`   // by the device
	Holder string    `json:"holder,omitempty"` // for whom it was tried last
	Met    []string  `json:"met,omitempty"`    // the activations that wanted it
}

// Closed reports whether the login must not be tried.
func (l *Login) Closed() bool { return l.State == Refused || l.Tries >= mostOpen }

// String says which login it is, and why it is closed.
func (l *Login) String() string { return l.Device + " " + l.Why() }

// Why says why it is closed, and what to do.
func (l *Login) Why() string {
	name := "the " + l.What
	if l.User != "" {
		name += " of " + l.User
	}
	what := fmt.Sprintf("refused %s at %s", name, l.Since.Format(time.RFC3339))
	if l.State == Trying {
		what = fmt.Sprintf("was given %s %d times, the last time at %s, and nobody knows whether it was right", name, l.Tries, l.Since.Format(time.RFC3339))
	}
	if l.Holder != "" {
		what += ", for " + l.Holder
	}
	if l.Said != "" {
		what += " (" + l.Said + ")"
	}
	return what + `; it is not tried again until there is another one, or an operator says "atctl retry --device ` + l.Device + `"`
}

func (t *Try) check() error {
	invalid := func(format string, args ...any) error {
		return fmt.Errorf(format+": %w", append(args, fault.Invalid)...)
	}
	for _, s := range []string{t.Device, t.User, t.Holder} {
		if len(s) > maxName || !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) {
			return invalid("%.80q: must be a line of at most %d bytes", s, maxName)
		}
	}
	if _, err := hex.DecodeString(t.Digest); err != nil || len(t.Digest) != 2*sha256.Size {
		return invalid("digest: must be %d hexadecimal digits", 2*sha256.Size)
	}
	if t.Device == "" || !slices.Contains([]string{"password", "enable password", Key}, t.What) {
		return invalid("a login has a device, and is of a password, an enable password or a key; this one is of %.40q at %.40q", t.What, t.Device)
	}
	return nil
}

// key returns the key of a login; "" is that nothing was kept of any yet.
func (t *Try) key(tx store.Tx) string {
	secret := tx.Get(secretKey)
	if secret == nil {
		return ""
	}
	mac := hmac.New(sha256.New, secret)
	for _, part := range []string{t.Device, t.User, t.What, t.Digest} {
		fmt.Fprintf(mac, "%d:%s", len(part), part)
	}
	return loginKeys + url.PathEscape(t.Device) + "/" + hex.EncodeToString(mac.Sum(nil)[:16])
}

// Known returns what is known of a login, nil if nothing is.
func Known(tx store.Tx, t Try) (*Login, error) {
	if err := t.check(); err != nil {
		return nil, err
	}
	k := t.key(tx)
	if k == "" {
		return nil, nil
	}
	return get(tx, k)
}

func get(tx store.Tx, k string) (*Login, error) {
	val := tx.Get(k)
	if val == nil {
		return nil, nil
	}
	l := new(Login)
	if err := json.Unmarshal(val, l); err != nil {
		return nil, fmt.Errorf("the record %s: %w", k, err)
	}
	return l, nil
}

// Meet notes that an activation wanted a login that is closed. Retrying the activation
// will open it.
func Meet(tx store.Tx, t Try) error {
	l, err := Known(tx, t)
	if err != nil || l == nil || !l.meet(t.Holder) {
		return err
	}
	return put(tx, t.key(tx), l)
}

func (l *Login) meet(holder string) bool {
	if holder == "" || slices.Contains(l.Met, holder) || len(l.Met) >= maxMet {
		return false
	}
	l.Met = append(l.Met, holder)
	return true
}

// Begin notes that a login is about to be tried, unless it is closed. It returns what is
// known of it. If nobody says how it ended, as its process was killed, it may be tried
// once more.
func Begin(tx store.Tx, t Try, now time.Time) (*Login, error) {
	l, err := Known(tx, t)
	switch {
	case err != nil:
		return nil, err
	case l != nil && l.Closed():
		return l, Meet(tx, t)
	case t.What == Key:
		return l, nil
	}
	tries := 1
	if l != nil {
		tries += l.Tries
	}
	return note(tx, t, Trying, tries, "", now)
}

// End notes how a try has ended, and what the device said.
func End(tx store.Tx, t Try, refused bool, said string, now time.Time) (*Login, error) {
	l, err := Known(tx, t)
	if err != nil {
		return nil, err
	}
	if refused {
		tries := 1
		if l != nil {
			tries = max(1, l.Tries)
		}
		return note(tx, t, Refused, tries, said, now)
	}
	if l != nil && l.State == Trying {
		return nil, tx.Delete(t.key(tx))
	}
	return l, nil
}

func note(tx store.Tx, t Try, state State, tries int, said string, now time.Time) (*Login, error) {
	if tx.Get(secretKey) == nil {
		secret := make([]byte, sha256.Size)
		_, _ = rand.Read(secret) // it never fails
		if err := tx.Put(secretKey, secret); err != nil {
			return nil, err
		}
	}
	k := t.key(tx)
	l, err := get(tx, k)
	if err != nil {
		return nil, err
	}
	if l == nil {
		if err := makeRoom(tx); err != nil {
			return nil, err
		}
		l = &Login{Device: t.Device, User: t.User, What: t.What}
	}
	l.State, l.Tries, l.Since, l.Said, l.Holder = state, tries, now, strings.ToValidUTF8(said[:min(len(said), maxSaid)], ""), t.Holder
	l.meet(t.Holder)
	return l, put(tx, k, l)
}

func put(tx store.Tx, k string, l *Login) error {
	val, err := json.Marshal(l)
	if err != nil {
		return err
	}
	return tx.Put(k, val)
}

// makeRoom forgets the oldest login when there are too many.
func makeRoom(tx store.Tx) error {
	n := 0
	for range tx.Scan(loginKeys, "") {
		n++
	}
	if n < maxLogins {
		return nil
	}
	oldest, since := "", time.Time{}
	for k := range tx.Scan(loginKeys, "") {
		l, err := get(tx, k)
		if err != nil {
			return err
		}
		if oldest == "" || l.Since.Before(since) {
			oldest, since = k, l.Since
		}
	}
	return tx.Delete(oldest)
}

// List returns the logins that want chooses, by device.
func List(tx store.Tx, want func(*Login) bool) (all []Login, err error) {
	for k := range tx.Scan(loginKeys, "") {
		l, err := get(tx, k)
		if err != nil {
			return nil, err
		}
		if want(l) {
			all = append(all, *l)
		}
	}
	return all, nil
}

// Forget opens the logins that want chooses: they may be tried again. It returns them.
func Forget(tx store.Tx, want func(*Login) bool) (gone []Login, err error) {
	for k := range tx.Scan(loginKeys, "") {
		l, err := get(tx, k)
		if err != nil {
			return nil, err
		}
		if want(l) {
			gone = append(gone, *l)
			if err := tx.Delete(k); err != nil {
				return nil, err
			}
		}
	}
	return gone, nil
}
