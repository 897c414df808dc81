package access_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"activationd/control"
	"activationd/control/access"
)

// TestGuesses tries secrets from addresses. Ten wrong ones are looked at immediately. Then one in
// six seconds is, and right ones wait just like wrong ones.
func TestGuesses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g access.Guesses
		n := 0
		lookup := func(secret string) (control.Caller, bool) {
			return control.Caller{Name: secret}, strings.HasPrefix(secret, "right")
		}
		try := func(secret, address string) (code int, took time.Duration) {
			if secret == "wrong" {
				n++
				secret = fmt.Sprintf("wrong %d", n)
			}
			began := time.Now()
			c, err := g.Check(t.Context(), secret, address, lookup)
			if err == nil && c.Name != secret {
				t.Errorf("%s is %s", secret, c.Name)
			}
			return control.Code(err), time.Since(began)
		}
		want := func(secret, address string, code int, took time.Duration) {
			t.Helper()
			if c, d := try(secret, address); c != code || d != took {
				t.Errorf("%s from %s: %d after %v, want %d after %v", secret, address, c, d, code, took)
			}
		}
		want("right before", "a", 200, 0)
		for range 10 {
			want("wrong", "a", 401, 0)
		}
		want("right before", "a", 200, 0)
		want("right before", "b", 200, 0)
		want("wrong 1", "a", 401, 0) // a program that sends what is not right any more
		want("right", "a", 200, 6*time.Second)
		want("right", "a", 200, 0)
		want("wrong", "a", 401, 6*time.Second)
		for range 10 {
			want("wrong", "b", 401, 0)
		}
		want("right", "b", 200, 6*time.Second) // it was right from another address only
		time.Sleep(time.Minute)
		for range 10 {
			want("wrong", "a", 401, 0)
		}
		want("right before", "a", 200, 0)

		// Many at the same time: those for whose turn there is no time are refused.
		var (
			all   sync.WaitGroup
			mu    sync.Mutex
			codes = make(map[int]int)
		)
		for i := range 600 { // ten minutes
			all.Go(func() {
				code, took := try(fmt.Sprint("guess ", i), "a")
				if took > 30*time.Second || code == 429 && took > 0 {
					t.Errorf("%d after %v", code, took)
				}
				mu.Lock()
				defer mu.Unlock()
				codes[code]++
			})
			time.Sleep(time.Second)
		}
		all.Wait()
		if looked := codes[401]; looked < 100 || looked > 106 || looked+codes[429] != 600 {
			t.Errorf("guesses in ten minutes: %v, want one in six seconds to be looked at, and five that wait", codes)
		}
	})
}

// TestRetryAfter checks that a refused secret is not refused again after the time that the refusal
// says.
func TestRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g access.Guesses
		ctx, cancel := context.WithCancel(t.Context())
		lookup := func(secret string) (control.Caller, bool) { return control.Caller{}, secret == "right" }
		errs := make(chan error, 100)
		for i := range 20 {
			go func() {
				_, err := g.Check(ctx, fmt.Sprint(i), "a", lookup)
				errs <- err
			}()
			time.Sleep(10 * time.Millisecond)
		}
		_, err := g.Check(ctx, "right", "a", lookup)
		refused, ok := errors.AsType[*control.ReplyError](err)
		if !ok || refused.RetryAfter < 1 || !strings.Contains(refused.Description, fmt.Sprintf("try again in %d seconds", refused.RetryAfter)) {
			t.Fatalf("%v, and to be tried again after %d s", err, refused.RetryAfter)
		}
		time.Sleep(time.Duration(refused.RetryAfter) * time.Second)
		go func() {
			_, err := g.Check(ctx, "right", "a", lookup)
			errs <- err
		}()
		synctest.Wait()
		cancel()
		synctest.Wait()
		close(errs)
		codes := make(map[int]int)
		for err := range errs {
			codes[control.Code(err)]++
			if control.Code(err) == 503 && !errors.Is(err, access.ErrShutdown) {
				t.Error(err)
			}
		}
		if codes[401] != 11 || codes[429] != 5 || codes[503] != 5 { // the first who waited had its turn meanwhile
			t.Errorf("%v, want 11 that were looked at, 5 refused and 5 that wait, with the one that came back", codes)
		}
	})
}

// TestManyAddresses tries secrets from more addresses than are counted: the others count as one.
func TestManyAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g access.Guesses
		codes := make(map[int]int)
		for i := range 4200 {
			ctx, cancel := context.WithCancel(t.Context())
			cancel() // nobody waits
			_, err := g.Check(ctx, fmt.Sprint(i), fmt.Sprint(i), func(string) (control.Caller, bool) { return control.Caller{}, false })
			codes[control.Code(err)]++
		}
		if codes[401] != 4096+10 || codes[503] != 5 && codes[503] != 6 {
			t.Errorf("%v, want 4096 and 10 to be looked at", codes)
		}
	})
}

// TestFront checks whom a front server may name, and that nobody else may.
func TestFront(t *testing.T) {
	f := &access.Front{
		Header: "X-Remote-User", Is: func(uid int) bool { return uid == 33 },
		User: func(name string) (control.Caller, error) {
			return control.Caller{Name: name, Role: control.Operator, UID: 1000}, nil
		},
	}
	front := control.Caller{Kind: control.ByUID, UID: 33, Name: "www-data", Role: control.Submitter, PID: 7, Via: "unix pid 7"}
	for _, tt := range []struct {
		what string
		peer control.Caller
		head http.Header
		want string // role and name
	}{
		{"a user", front, http.Header{"X-Remote-User": {"amy"}}, "operator amy"},
		{"nobody", front, http.Header{}, "none nobody"},
		{"an empty name", front, http.Header{"X-Remote-User": {" "}}, "none nobody"},
		{"a client's header passed on", front, http.Header{"X-Remote-User": {"root", "amy"}}, "have it replace"},
		{"another peer", control.Caller{Kind: control.ByUID, UID: 34, Name: "eve"}, http.Header{"X-Remote-User": {"amy"}}, "none eve"},
		{"by address", control.Caller{Kind: control.ByAddress, UID: 33, Name: "eve"}, http.Header{"X-Remote-User": {"amy"}}, "none eve"},
	} {
		c, err := f.Caller(tt.peer, tt.head)
		got := c.Role.String() + " " + c.Name
		if err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, tt.want) || c.PID != 0 {
			t.Errorf("%s: %s (pid %d), want %s", tt.what, got, c.PID, tt.want)
		}
	}
	head := http.Header{"X-Forwarded-For": {"6.6.6.6, 10.0.0.1", "10.0.0.2"}}
	if got := f.Address(front, head); got != "10.0.0.2" {
		t.Errorf("address %s", got)
	}
	if got := f.Address(control.Caller{Kind: control.ByUID, UID: 34}, head); got != "" {
		t.Errorf("address %s of another peer's making", got)
	}
	var none *access.Front
	if c, err := none.Caller(front, head); err != nil || c != front {
		t.Errorf("without a front server: %+v, %v", c, err)
	}
}
