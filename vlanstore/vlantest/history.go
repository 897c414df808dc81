// Package vlantest checks a daemon's VLANs from outside. Concurrent clients record their
// requests, the answers, and the times of both. [History.Check] reports whether some
// sequential order of the requests explains the answers.
package vlantest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"activationd/control"
	"activationd/internal/fault"
)

// A Request is the request of a client.
type Request struct {
	Do      string // an operation on VLANs, without the word "vlan"
	Holder  string
	Domain  string // for quarantine and free
	ID      int    // for quarantine and free
	Links   []string
	Domains []string // for alloc, of each link
	IDs     []int    // for alloc, of each link; 0: any
}

// An Answer is the answer of the daemon.
type Answer struct {
	Unknown bool   // there was none, as the daemon was killed; it may have done the request or not
	Code    int    // as in package control
	Leases  string // lines in the form of a state; empty unless Code is 200
}

// A History is the record of requests and answers.
type History struct {
	pools map[string]string // the ids by domain, as in "10-14"
	began time.Time

	mu  sync.Mutex
	ops []porcupine.Operation
	// open are the requests without an answer, until it is known that their daemon is dead.
	open []porcupine.Operation
}

// New returns an empty history for pools of ids, such as "10-14", by domain. There must be two
// pools, and the daemon must have no leases.
func New(pools map[string]string) *History {
	return &History{pools: pools, began: time.Now()}
}

func (h *History) now() int64 { return int64(time.Since(h.began)) }

// Ask makes a request for a client and records it with the answer. Its error is of kind
// fault.Unavailable if the daemon could not be reached, or did not answer.
func (h *History) Ask(ctx context.Context, c *control.Client, client int, r Request) error {
	var in any
	switch r.Do {
	case "alloc":
		alloc := control.VLANAllocIn{Holder: r.Holder, Link: r.Links, Domain: r.Domains}
		for _, id := range r.IDs {
			alloc.ID = append(alloc.ID, strconv.Itoa(id))
		}
		in = alloc
	case "release":
		in = control.VLANReleaseIn{Holder: r.Holder}
	case "quarantine":
		in = control.VLANQuarantineIn{Domain: r.Domain, ID: r.ID, Reason: "a test"}
	case "free":
		in = control.VLANIn{Domain: r.Domain, ID: r.ID}
	}
	op := porcupine.Operation{ClientId: client, Input: r, Call: h.now()}
	_, lines, err := control.Call[control.VLANLease](ctx, c, "vlan "+r.Do, in)
	op.Return = h.now()
	h.mu.Lock()
	defer h.mu.Unlock()
	answer := Answer{Code: control.Code(err)}
	if re := (*control.ReplyError)(nil); err != nil && !errors.As(err, &re) {
		op.Output = Answer{Unknown: true}
		h.open = append(h.open, op)
		return err
	}
	if err == nil {
		var all []string
		for _, l := range lines {
			all = append(all, line(l.Domain, l.ID, l.State, l.Holder, l.Link))
		}
		if r.Do != "alloc" { // the answers to alloc are in the order of the request
			slices.Sort(all)
		}
		answer.Leases = strings.Join(all, "\n")
	}
	op.Output = answer
	h.ops = append(h.ops, op)
	return nil
}

// Dead records that no earlier daemon runs any more. Their unanswered requests have been done
// by now, or never will be.
func (h *History) Dead() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, op := range h.open {
		op.Return = h.now()
		h.ops = append(h.ops, op)
	}
	h.open = nil
}

// Random returns a random request for one of a few holders.
func (h *History) Random(rnd *rand.Rand) Request {
	r := Request{Holder: fmt.Sprintf("holder %d", rnd.IntN(5))}
	var domains []string
	for d := range h.pools {
		domains = append(domains, d)
	}
	slices.Sort(domains)
	r.Domain = domains[rnd.IntN(len(domains))]
	first, last := ids(h.pools[r.Domain])
	r.ID = first + rnd.IntN(last-first+1)
	switch n := rnd.IntN(20); {
	case n < 9:
		r.Do = "alloc"
		for link := range 1 + rnd.IntN(3) {
			r.Links = append(r.Links, fmt.Sprint("link ", link))
			domain := domains[rnd.IntN(len(domains))]
			r.Domains = append(r.Domains, domain)
			id := 0
			if link == 0 && rnd.IntN(3) == 0 {
				first, last := ids(h.pools[domain])
				id = first + rnd.IntN(last-first+1)
			}
			r.IDs = append(r.IDs, id)
		}
	case n < 15:
		r.Do = "release"
	case n < 16:
		r.Do = "quarantine"
	case n < 18:
		r.Do = "free"
	default:
		r.Do = "list"
	}
	return r
}

// Check fails the test unless the history can be explained.
func (h *History) Check(t testing.TB) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.open) > 0 {
		t.Fatalf("%d requests have no answer, and their daemon was not reported dead", len(h.open))
	}
	codes, unknown := map[int]int{}, 0
	for _, op := range h.ops {
		if a, ok := op.Output.(Answer); ok && !a.Unknown {
			codes[a.Code]++
			continue
		}
		unknown++
	}
	t.Logf("%d requests, their codes %v, %d without an answer", len(h.ops), codes, unknown)
	if codes[500] > 0 || codes[400] > 0 {
		t.Errorf("codes: %v", codes)
	}
	switch res := porcupine.CheckOperationsTimeout(h.model().ToModel(), h.ops, time.Minute); res {
	case porcupine.Ok:
	case porcupine.Unknown:
		t.Error("no explanation was found within a minute")
	default:
		t.Errorf("no order of the requests explains the answers:\n%s", h.text())
	}
}

// text returns the history in readable form.
func (h *History) text() string {
	var b strings.Builder
	for _, op := range h.ops {
		fmt.Fprintf(&b, "%d-%d client %d: %+v: %+v\n", op.Call/1000, op.Return/1000, op.ClientId, op.Input, op.Output)
	}
	return b.String()
}

// Lie changes the answers of the second half of the history as if nothing had been leased, and
// reports whether it changed any. Tests of the check use it. One changed answer may remain
// unnoticed, if all ids were leased at that moment.
func (h *History) Lie() (lied bool) {
	for i, op := range h.ops {
		r, _ := op.Input.(Request)
		a, _ := op.Output.(Answer)
		if r.Do == "alloc" && a.Code == 200 && i > len(h.ops)/2 {
			h.ops[i].Output = Answer{Code: control.Code(fault.Conflict)}
			lied = true
		}
	}
	return lied
}
