package queue

import (
	"iter"

	"activationd/store"
)

// A Look says which messages [Peek] yields.
type Look struct {
	Where         Where  // empty: all
	After         uint64 // only messages behind the one with that id in the list
	AfterPriority int    // if Where is Ready: the priority of that one
	Most          int    // at most that many; 0: all
	Body          int64  // without bodies of more bytes
}

// Peek yields messages of a queue: those that are ready in the order of their delivery,
// others by their ids.
func Peek(tx store.Tx, n uint64, look Look) iter.Seq2[*Message, error] {
	return func(yield func(*Message, error) bool) {
		count := 0
		one := func(seq uint64) (more bool) {
			m, err := find(tx, n, seq, true)
			if err == nil && (m == nil || look.Where != "" && m.where != look.Where) {
				return true
			}
			var got *Message
			if err == nil {
				got, err = m.full(tx, look.Body)
			}
			count++
			return yield(got, err) && err == nil && (look.Most == 0 || count < look.Most)
		}
		scan := func(prefix string, after uint64) (more bool) {
			from := string(append([]byte(prefix), newKey("").number(after+1)...))
			for key := range tx.Scan(prefix, from) {
				if seq, ok := seqOf(prefix, key); ok && !one(seq) {
					return false
				}
			}
			return true
		}
		switch look.Where {
		case Ready:
			first := MaxPriority
			if look.After > 0 {
				first = look.AfterPriority
			}
			for p := first; p >= 0; p-- {
				after := uint64(0)
				if p == first {
					after = look.After
				}
				if !scan(readyPrefix(n, p), after) {
					return
				}
			}
		case Dead:
			scan(string(ofQueue(deadKeys, n)), look.After)
		default:
			scan(string(ofQueue(bodyKeys, n)), look.After)
		}
	}
}
