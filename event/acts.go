package event

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"time"

	"activationd/store"
)

// A Query chooses acts. Empty fields do not choose.
type Query struct {
	Since, Until time.Time // acts of that time and later, and before that time
	Action       string
	By           string   // the actor's name
	IDs          []string // the subject is one of these
	After        uint64   // acts with greater numbers
}

// Acts hands the acts that q chooses to fn, the oldest first. Acts are kept longer than other
// events, so Acts also finds those that followers cannot read any more. It reads one page at
// a time, and is not a snapshot. Acts that cannot be read are left out.
func (l *Log) Acts(ctx context.Context, q Query, fn func(*Event) error) error {
	may := q.prefilter()
	for last, more := q.After, true; more; {
		var page []*Event
		end := last
		err := l.db.View(ctx, func(tx store.Tx) error {
			page, end, more = nil, last, false
			seen, size := 0, 0
			for _, en := range entries(tx, last+1) {
				if seen == countAtOnce || size >= pageBytes {
					more = true
					break
				}
				seen, end = seen+1, en.n
				if h, err := en.head(); err != nil || h.Action == "" || !q.during(h) || !may(en.data) {
					continue
				}
				events, err := en.decode(q.After)
				if err != nil {
					continue
				}
				size += len(en.data)
				page = append(page, slices.DeleteFunc(events, func(e *Event) bool { return !q.chooses(e) })...)
			}
			return nil
		})
		if err != nil {
			return err
		}
		for _, e := range page {
			if err := fn(e); err != nil {
				return err
			}
		}
		last = end
	}
	return nil
}

// during reports whether an entry may have acts that q chooses, by its head.
func (q *Query) during(h head) bool {
	at := time.Unix(0, h.Time)
	return (q.Action == "" || q.Action == h.Action) && !at.Before(q.Since) && (q.Until.IsZero() || at.Before(q.Until))
}

// prefilter returns a function that reports whether an encoded entry may have acts that q
// chooses. It decodes nothing: decoding an entry costs many times what searching it does.
func (q *Query) prefilter() func(data []byte) bool {
	member := func(key, value string) []byte {
		text, err := json.Marshal(value) // as in the entry
		if err != nil {
			return nil // which is in every entry
		}
		return append([]byte(key), text...)
	}
	by := member(`"n":`, q.By)
	var ids [][]byte
	for _, id := range q.IDs {
		ids = append(ids, member(`"i":`, id))
	}
	return func(data []byte) bool {
		return (q.By == "" || bytes.Contains(data, by)) &&
			(len(ids) == 0 || slices.ContainsFunc(ids, func(id []byte) bool { return bytes.Contains(data, id) }))
	}
}

// chooses reports whether q chooses an act whose entry it may choose.
func (q *Query) chooses(e *Event) bool {
	return (q.By == "" || e.Actor != nil && e.Actor.Name == q.By) && (len(q.IDs) == 0 || slices.Contains(q.IDs, e.ID))
}
