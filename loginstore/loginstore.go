// Package loginstore records in a store which secrets devices have refused, so that nobody
// tries them again: some wrong passwords lock an account, on the device and on all that ask
// the same server. A login is a device, a user, the kind of the secret (a password, an enable
// password or a key), and the secret.
//
// This package never gets the secret itself, but a digest that its holder makes. It stores an
// HMAC of that under a random key. So a record alone reveals nothing of the secret, not even
// whether two secrets are equal. Whoever has the whole store has the key, too, and can try
// guesses, as with a file of hashed passwords: only the owner of the store can read it.
//
// This package does not check who may record or read what.
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

// The keys. The key of a login has its [Login].
const (
	loginKeys = "login/of/" // + DEVICE/HMAC
	secretKey = "login/key"
)

// The limits.
const (
	maxName     = 256
	maxSaid     = 500
	maxWantedBy = 100  // activations that are recorded with a login
	maxLogins   = 1000 // beyond that the oldest login is forgotten
	maxOpen     = 2    // tries that began and never ended
)

// Key is the What of an SSH key. Keys lock no accounts, so they are recorded only when they
// are refused.
const Key = "key"

// A Try is a secret that is, or was, given to a device.
type Try struct {
	Device, User string
	What         string // "password", "enable password" or [Key]
	Digest       string // of the secret, in hexadecimal digits
	Holder       string // the activation for which it is tried; "" for a person
}

// A State is the state of a recorded login.
type State string

// The states. A login that a device has accepted is forgotten.
const (
	Trying  State = "trying"  // a try has begun, and the secret was perhaps given
	Refused State = "refused" // the device has refused it
)

// A Login is a recorded login.
type Login struct {
	Device   string    `json:"device"`
	User     string    `json:"user,omitempty"`
	What     string    `json:"what"`
	State    State     `json:"state"`
	Tries    int       `json:"tries"` // tries that began and did not end; of a refused login, all tries
	Since    time.Time `json:"since"`
	Said     string    `json:"said,omitempty"`   // the words of the device
	Holder   string    `json:"holder,omitempty"` // the activation for which it was tried last
	WantedBy []string  `json:"met,omitempty"`    // the activations that wanted it
}

// Closed reports whether the login must not be tried.
func (l *Login) Closed() bool { return l.State == Refused || l.Tries >= maxOpen }

// String returns which login it is and why it is closed.
func (l *Login) String() string { return l.Device + " " + l.Why() }

// peopleTime is the form of times in texts for people.
const peopleTime = "2006-01-02 15:04:05 MST"

// Why returns why the login is closed and what to do.
func (l *Login) Why() string {
	return l.Refusal() + `; it is not tried again until it is changed, or an operator runs "atctl retry --device ` + l.Device + `"`
}

// Refusal returns why the login is closed.
func (l *Login) Refusal() string {
	name := "the " + l.What
	if l.User != "" {
		name += " of " + l.User
	}
	what := fmt.Sprintf("refused %s at %s", name, l.Since.Local().Format(peopleTime))
	if l.State == Trying {
		what = fmt.Sprintf("was given %s %d times, the last time at %s, and nobody knows whether it was right", name, l.Tries, l.Since.Local().Format(peopleTime))
	}
	if l.Holder != "" {
		what += ", for " + l.Holder
	}
	if l.Said != "" {
		what += " (" + l.Said + ")"
	}
	return what
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
		return invalid("a login must have a device, and be of a password, an enable password or a key; this one is of %.40q at %.40q", t.What, t.Device)
	}
	return nil
}

// key returns the key of a login, or "" if no login was ever recorded.
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

// Known returns the record of a login, or nil if there is none.
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

// NoteWanted records that an activation wanted a closed login. Retrying the activation will
// open the login.
func NoteWanted(tx store.Tx, t Try) error {
	l, err := Known(tx, t)
	if err != nil || l == nil || !l.noteWanted(t.Holder) {
		return err
	}
	return put(tx, t.key(tx), l)
}

func (l *Login) noteWanted(holder string) bool {
	if holder == "" || slices.Contains(l.WantedBy, holder) || len(l.WantedBy) >= maxWantedBy {
		return false
	}
	l.WantedBy = append(l.WantedBy, holder)
	return true
}

// Begin records that a login is about to be tried, unless it is closed. It returns the login's
// record. If the end of a try is never reported, because its process was killed, the login may
// be tried once more.
func Begin(tx store.Tx, t Try, now time.Time) (*Login, error) {
	l, err := Known(tx, t)
	switch {
	case err != nil:
		return nil, err
	case l != nil && l.Closed():
		return l, NoteWanted(tx, t)
	case t.What == Key:
		return l, nil
	}
	tries := 1
	if l != nil {
		tries += l.Tries
	}
	return note(tx, t, Trying, tries, "", now)
}

// End records how a try has ended, and the words of the device.
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
	l.noteWanted(t.Holder)
	return l, put(tx, k, l)
}

func put(tx store.Tx, k string, l *Login) error {
	val, err := json.Marshal(l)
	if err != nil {
		return err
	}
	return tx.Put(k, val)
}

// makeRoom forgets the oldest login if there are too many.
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

// Forget opens the logins that want chooses, so that they may be tried again. It returns them.
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
