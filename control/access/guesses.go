package access

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"sync"
	"time"

	"activationd/control"
)

const (
	freeGuesses  = 10                         // secrets from an address that are looked at without a pause
	guessPause   = 6 * time.Second            // how long each further one takes
	freeFor      = freeGuesses * guessPause   // how long it takes until all are forgotten
	maxWait      = 5 * guessPause             // how long one waits for its turn at most
	maxAddresses = 4096                       // with wrong secrets, of which they are counted
	maxSecrets   = 4096                       // that are remembered
	manyTogether = "more addresses than that" // are counted as one
)

// Guesses slows down who tries secrets. From an address, ten wrong ones are free. Then one in
// six seconds is looked at, right or wrong: it waits for its turn, and is refused if too many
// wait already. So the time says nothing of a secret, and somebody who shares the address has
// to wait, but is let in.
//
// Two kinds of secrets take no turn, because nobody learns anything by them: those that were
// wrong before, which a forgotten program may send forever, and those that were right before
// when they came from this address.
//
// The zero Guesses is ready to use; its methods may be called at the same time.
type Guesses struct {
	mu    sync.Mutex
	empty map[string]time.Time       // by address: when its wrong secrets will all be forgotten
	right map[proof]bool             // what was right
	wrong map[[sha256.Size]byte]bool // the sums of what was wrong
}

// A proof is a secret that was right when it came from an address.
type proof struct {
	sum     [sha256.Size]byte
	address string
}

// Check returns the caller to whom a secret belongs, as lookup says. A secret waits for its turn
// as long as ctx lasts. The error stands for the code 401, or 429 if too many wait, or it is
// [ErrShutdown].
func (g *Guesses) Check(ctx context.Context, secret, address string, lookup func(string) (control.Caller, bool)) (control.Caller, error) {
	p := proof{sumOf(secret), address}
	c, ok := lookup(secret)
	known, wait, err := g.turn(p, ok, time.Now())
	switch {
	case err != nil:
		return control.Caller{}, err
	case known && ok:
		return c, nil
	case known:
		return control.Caller{}, errUnknown
	}
	if wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return control.Caller{}, ErrShutdown
		}
		c, ok = lookup(secret) // the tokens may be others now
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if !ok {
		remember(&g.wrong, p.sum)
		return control.Caller{}, errUnknown
	}
	remember(&g.right, p)
	return c, nil
}

// errUnknown is the reply to a wrong secret.
var errUnknown = &control.ReplyError{Code: http.StatusUnauthorized, Description: "this token is not known; ask an admin for one"}

// turn returns how long a secret waits, and counts it. A known one takes no turn.
func (g *Guesses) turn(p proof, ok bool, now time.Time) (known bool, wait time.Duration, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if ok && g.right[p] || !ok && g.wrong[p.sum] {
		return true, 0, nil
	}
	address := g.bucket(p.address, now)
	until := g.empty[address]
	if until.Before(now) {
		until = now
	}
	switch wait = until.Sub(now) - (freeFor - guessPause); {
	case wait > maxWait:
		after := int((wait-maxWait-1)/time.Second) + 1
		return false, 0, &control.ReplyError{
			Code:        http.StatusTooManyRequests,
			Description: fmt.Sprintf("too many wrong tokens came from %s; try again in %d seconds", p.address, after),
			RetryAfter:  after,
		}
	case wait <= 0 && ok:
		return false, 0, nil // only wrong ones count, unless that could be seen
	}
	if g.empty == nil {
		g.empty = make(map[string]time.Time)
	}
	g.empty[address] = until.Add(guessPause)
	return false, wait, nil
}

// bucket returns what an address is counted by.
func (g *Guesses) bucket(address string, now time.Time) string {
	if _, ok := g.empty[address]; ok || len(g.empty) < maxAddresses {
		return address
	}
	for a, until := range g.empty {
		if !until.After(now) {
			delete(g.empty, a)
		}
	}
	if len(g.empty) < maxAddresses {
		return address
	}
	return manyTogether
}

// remember adds to a set. Of a set that is full it forgets all: then they take a turn again.
func remember[K comparable](set *map[K]bool, k K) {
	if *set == nil || len(*set) >= maxSecrets {
		*set = make(map[K]bool)
	}
	(*set)[k] = true
}
