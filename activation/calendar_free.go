package activation

import (
	"context"
	"fmt"
	"time"

	"activationd/calendar"
)

// overdue is how much longer what should be over already is taken to go on: nobody knows when
// it ends, and while it goes on, its end is always ahead.
const overdue = time.Minute

// A Vacancy is the answer to the question when devices are free.
type Vacancy struct {
	Slots []calendar.Slot
	// Never has the devices that nobody can have until somebody intervenes, and why.
	Never map[string]string
}

// Free returns the first n slots between from and to in which all needs are met for at least
// d: see [calendar.Free]. A reservation that conflicts keeps its devices, too: it gets them
// when the other one goes. A device that is paused is not free until the pause ends, nor is
// one whose reservation is stuck.
func (e *Engine) Free(ctx context.Context, needs []calendar.Need, d time.Duration, from, to time.Time, n int) (v Vacancy, err error) {
	busy := make(map[string][]calendar.Span)
	err = e.View(ctx, func(t *Txn) error {
		clear(busy)
		v.Never = make(map[string]string)
		for _, need := range needs {
			for _, device := range need.Devices {
				if _, known := busy[device]; known {
					continue
				}
				var why string
				busy[device], why = t.Busy(device, "", from, to)
				if why != "" {
					v.Never[device] = why
				}
			}
		}
		return nil
	})
	v.Slots = calendar.Free(busy, needs, d, from, to, n)
	return v, err
}

// Busy returns the spans in which a device is not free for a reservation with an id; empty: for a
// new one. If it is not free until somebody intervenes, it says why.
func (t *Txn) Busy(device, id string, from, to time.Time) (spans []calendar.Span, never string) {
	holder := string(t.Get(holderKey + device))
	if holder == id {
		holder = ""
	}
	uses := t.UsesOf(device, time.Time{}, to)
	for _, u := range uses {
		s := calendar.Span{From: u.From, To: u.To}
		if u.ID == holder {
			holder = ""
		}
		if u.ID == id {
			continue
		}
		if !u.To.After(t.Now) { // it should be over
			s.To = t.Now.Add(overdue)
			if r, err := t.Record(u.ID); err == nil && r.State == Stuck {
				s.To = time.Time{}
				never = fmt.Sprintf("%s has %s and is stuck", u.ID, device)
			}
		}
		if s.To.IsZero() || s.To.After(from) {
			spans = append(spans, s)
		}
	}
	if holder != "" { // a job, or a reservation that was announced without this device since
		spans = append(spans, calendar.Span{From: t.Now, To: t.Now.Add(overdue)})
	}
	if p := t.PauseOfDevice(device); p != nil {
		spans = append(spans, calendar.Span{From: t.Now, To: p.Until})
		if p.Until.IsZero() {
			never = device + " is paused"
			if p.Reason != "" {
				never += ": " + p.Reason
			}
		}
	}
	return spans, never
}

// Revision is a number that rises with each change of the reservation that others should
// know of: its slot, its devices, its owner, what it conflicts with, and its end. Changed is
// when the last of these was.
func (r *Record) Revision() (n uint64, changed time.Time) {
	n, changed = r.Generation+2*uint64(len(r.Acts)+r.ActsDropped+r.Marks.N), r.Created
	if k := len(r.Acts); k > 0 {
		changed = r.Acts[k-1].At
	}
	if r.Marks.At.After(changed) {
		changed = r.Marks.At
	}
	if r.State == Finished { // a retry is an act
		n++
		if r.Since.After(changed) {
			changed = r.Since
		}
	}
	return n, changed
}
