package announce

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"time"

	"activationd/activation"
	"activationd/reservation"
)

// Limits of what is kept of a source's unused reservations: a file may have nothing else,
// and one transaction writes all of them.
const (
	maxUnused   = 1000 // of each kind
	unusedBytes = 200 << 10
)

// An unused has the reservations of a source that a load did not use. All are counted; the
// first are kept, with reasons.
type unused struct {
	Rejects  []reservation.Reject `json:"rejects,omitempty"`
	Overs    []reservation.Reject `json:"overs,omitempty"`    // their slots had ended when they were read first
	Rejected int                  `json:"rejected,omitempty"` // how many
	Over     int                  `json:"over,omitempty"`     // how many

	bytes int // of those that are kept
}

func (u *unused) reject(x reservation.Reject) {
	u.Rejected++
	u.keep(&u.Rejects, x)
}

func (u *unused) passOver(x reservation.Reject) {
	u.Over++
	u.keep(&u.Overs, x)
}

func (u *unused) keep(list *[]reservation.Reject, x reservation.Reject) {
	size := len(x.Where) + len(x.ID) + len(x.Text)
	if len(*list) == maxUnused || u.bytes+size > unusedBytes {
		return
	}
	u.bytes += size
	*list = append(*list, x)
}

// lists returns the two lists, by the word for each in reports.
func (u *unused) lists() iter.Seq2[string, []reservation.Reject] {
	return func(yield func(string, []reservation.Reject) bool) {
		_ = yield("rejected", u.Rejects) && yield("over", u.Overs)
	}
}

func (u *unused) String() string {
	text := fmt.Sprintf("rejected=%d over=%d", u.Rejected, u.Over)
	if n := len(u.Rejects) + len(u.Overs); n < u.Rejected+u.Over {
		text += fmt.Sprintf(" (only %d of them are listed)", n)
	}
	return text
}

// An Unused is a reservation that a source has, and that its last load did not use. If the
// source is [activation.Declared], it is a recurrence of the configuration.
type Unused struct {
	Source string
	reservation.Reject
	Over bool      // its slot had ended when it was read first; otherwise it was rejected
	Read time.Time // when the source was read
}

// Unused returns the unused reservations with an id, or all of them if id is empty. Of a
// source that has very many, only the first are known.
func (l *Loader) Unused(ctx context.Context, id string) (all []Unused, err error) {
	err = l.engine.View(ctx, func(t *activation.Txn) error {
		all = nil
		for k, v := range t.Scan(loadKey, "") {
			last, err := parseLast(k, v)
			if err != nil {
				return err
			}
			source := activation.SourceName(strings.TrimPrefix(k, loadKey))
			for what, list := range last.lists() {
				for _, x := range list {
					if id == "" || id == x.ID {
						all = append(all, Unused{Source: source, Reject: x, Over: what == "over", Read: last.Read})
					}
				}
			}
		}
		return nil
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, u := range l.declared {
		if id == "" || id == u.ID {
			all = append(all, u)
		}
	}
	return all, err
}
