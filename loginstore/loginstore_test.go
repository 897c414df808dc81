package loginstore_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"activationd/internal/fault"
	"activationd/loginstore"
	"activationd/store"
	"activationd/store/bolt"
)

var now = time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)

func newStore(t testing.TB) store.Store {
	t.Helper()
	db, err := bolt.Open(t.TempDir() + "/state.db")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func do(t testing.TB, db store.Store, fn func(store.Tx) error) {
	t.Helper()
	if err := db.Update(context.Background(), fn); err != nil {
		t.Fatal(err)
	}
}

func digest(secret string) string { return fmt.Sprintf("%064x", []byte(secret)) }

// TestSteps takes logins through steps. A login that a device has refused is closed, and so is
// one that was begun twice without an end, as its processes may have been killed when the
// device had the password. No other login is: not with another secret, user or device, and not
// one that was accepted.
func TestSteps(t *testing.T) {
	pw := loginstore.Try{Device: "sw1", User: "lab", What: "password", Digest: digest("one"), Holder: "1@x"}
	key := pw
	key.What = loginstore.Key
	other := func(change func(*loginstore.Try)) loginstore.Try {
		o := pw
		change(&o)
		return o
	}
	type step struct {
		what string
		try  loginstore.Try
	}
	for _, tt := range []struct {
		name   string
		steps  []step
		ask    loginstore.Try
		closed bool
	}{
		{"nothing", nil, pw, false},
		{"refused", []step{{"begin", pw}, {"refused", pw}}, pw, true},
		{"refused without a beginning", []step{{"refused", pw}}, pw, true},
		{"accepted", []step{{"begin", pw}, {"accepted", pw}}, pw, false},
		{"accepted each time", []step{{"begin", pw}, {"accepted", pw}, {"begin", pw}, {"accepted", pw}, {"begin", pw}}, pw, false},
		{"killed once", []step{{"begin", pw}}, pw, false},
		{"killed twice", []step{{"begin", pw}, {"begin", pw}}, pw, true},
		{"killed and accepted", []step{{"begin", pw}, {"begin", pw}, {"accepted", pw}}, pw, false},
		{"killed and refused", []step{{"begin", pw}, {"begin", pw}, {"refused", pw}}, pw, true},
		{"accepted by somebody after it was refused", []step{{"refused", pw}, {"accepted", pw}}, pw, true},
		{"begun after it was refused", []step{{"refused", pw}, {"begin", pw}}, pw, true},
		{"retried", []step{{"refused", pw}, {"retry", pw}}, pw, false},
		{"a key that was begun twice", []step{{"begin", key}, {"begin", key}}, key, false},
		{"a key that was refused", []step{{"begin", key}, {"refused", key}}, key, true},
		{"another secret", []step{{"refused", pw}}, other(func(o *loginstore.Try) { o.Digest = digest("two") }), false},
		{"another user", []step{{"refused", pw}}, other(func(o *loginstore.Try) { o.User = "root" }), false},
		{"another device", []step{{"refused", pw}}, other(func(o *loginstore.Try) { o.Device = "sw2" }), false},
		{"for enable", []step{{"refused", pw}}, other(func(o *loginstore.Try) { o.What = "enable password" }), false},
		{"for another activation", []step{{"refused", pw}}, other(func(o *loginstore.Try) { o.Holder = "2@x" }), true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			db := newStore(t)
			for _, s := range tt.steps {
				do(t, db, func(tx store.Tx) (err error) {
					switch s.what {
					case "begin":
						_, err = loginstore.Begin(tx, s.try, now)
					case "retry":
						_, err = loginstore.Forget(tx, func(l *loginstore.Login) bool { return l.Device == "sw1" })
					default:
						_, err = loginstore.End(tx, s.try, s.what == "refused", "% Login invalid", now)
					}
					return err
				})
			}
			do(t, db, func(tx store.Tx) error {
				l, err := loginstore.Known(tx, tt.ask)
				if err == nil && (l != nil && l.Closed()) != tt.closed {
					t.Errorf("known is %+v, want closed: %v", l, tt.closed)
				}
				return err
			})
		})
	}
}

// TestNothingIsTold looks for anything by which a secret could be guessed without the key:
// neither the secret nor its digest is stored, and equal secrets can't be recognised.
func TestNothingIsTold(t *testing.T) {
	db := newStore(t)
	d := digest("hunter2")
	var kept []string
	do(t, db, func(tx store.Tx) error {
		for _, device := range []string{"sw1", "sw2"} {
			if _, err := loginstore.End(tx, loginstore.Try{Device: device, What: "password", Digest: d}, true, "no", now); err != nil {
				return err
			}
		}
		for k, v := range tx.Scan("login/of/", "") {
			kept = append(kept, k+string(v))
		}
		return nil
	})
	if len(kept) != 2 || strings.Contains(strings.Join(kept, ""), d) || strings.Contains(strings.Join(kept, ""), d[32:]) {
		t.Errorf("kept is %q", kept)
	}
	a, b := strings.TrimPrefix(kept[0], "login/of/sw1"), strings.TrimPrefix(kept[1], "login/of/sw2")
	if a[:34] == b[:34] {
		t.Errorf("equal passwords are kept as equals: %q", kept)
	}
}

// TestBounds records more logins, and longer ones, than are possible.
func TestBounds(t *testing.T) {
	db := newStore(t)
	do(t, db, func(tx store.Tx) error {
		for i := range 1010 {
			try := loginstore.Try{Device: fmt.Sprint("d/", i), What: "password", Digest: digest("x"), Holder: fmt.Sprint(i)}
			if _, err := loginstore.End(tx, try, true, strings.Repeat("ž", 1000), now.Add(time.Duration(i))); err != nil {
				return err
			}
		}
		all, err := loginstore.List(tx, (*loginstore.Login).Closed)
		if len(all) != 1000 {
			t.Errorf("%d are kept", len(all))
		}
		for _, l := range all {
			if l.Device == "d/9" || len(l.Said) > 500 {
				t.Errorf("kept is %.100v with %d bytes", l.Device, len(l.Said))
			}
		}
		return err
	})
	good := loginstore.Try{Device: "sw1", What: "password", Digest: digest("x")}
	for name, change := range map[string]func(*loginstore.Try){
		"no device":       func(t *loginstore.Try) { t.Device = "" },
		"a long user":     func(t *loginstore.Try) { t.User = strings.Repeat("x", 300) },
		"lines":           func(t *loginstore.Try) { t.User = "a\nb" },
		"no UTF-8":        func(t *loginstore.Try) { t.Holder = "\xff" },
		"another thing":   func(t *loginstore.Try) { t.What = "handshake" },
		"a short digest":  func(t *loginstore.Try) { t.Digest = "00" },
		"a secret itself": func(t *loginstore.Try) { t.Digest = strings.Repeat("hunter2!", 8) },
	} {
		try := good
		change(&try)
		err := db.Update(context.Background(), func(tx store.Tx) error {
			_, err := loginstore.Begin(tx, try, now)
			return err
		})
		if !errors.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
