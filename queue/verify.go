package queue

import (
	"fmt"
	"strings"

	"activationd/internal/fault"
	"activationd/store"
)

// Verify returns an error if the entries of queues contradict each other, which should never
// happen.
func Verify(tx store.Tx) error {
	v := verifier{tx: tx, queues: make(map[uint64]*Queue), counts: make(map[uint64]*Counts), expected: make(map[string]string)}
	for _, step := range [...]func() error{v.readQueues, v.readMessages, v.readResults, v.readKeys, v.compare, v.compareCounts} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// A verifier goes through all entries.
type verifier struct {
	tx       store.Tx
	queues   map[uint64]*Queue
	counts   map[uint64]*Counts // as they should be
	expected map[string]string  // the entries of all indexes, as they should be
}

// derived are the prefixes of the entries that follow from others.
var derived = [...]string{numberKeys, readyKeys, delayedKeys, deadKeys, stateKeys, holdKeys, expiryKeys}

func wrong(format string, args ...any) error {
	return fmt.Errorf("the state's queues: "+format+": %w", append(args, fault.Internal)...)
}

func (v *verifier) readQueues() error {
	for q, err := range All(v.tx) {
		if err != nil {
			return err
		}
		if v.queues[q.N] != nil || q.N == 0 {
			return wrong("two queues have the number %d", q.N)
		}
		v.queues[q.N] = q
		v.counts[q.N] = new(Counts)
		v.expected[numberKey(q.N)] = q.Name
	}
	return nil
}

// numbers takes apart a key that begins with a prefix and the number of a queue.
func (v *verifier) numbers(prefix, key string) (n uint64, rest string, err error) {
	text, _ := strings.CutPrefix(key, prefix)
	number, rest, ok := strings.Cut(text, "/")
	n, ok2 := seqOf("", number)
	if !ok || !ok2 {
		return 0, "", damaged(key)
	}
	if v.queues[n] == nil {
		return 0, "", wrong("the entry %s is of a queue that is gone", key)
	}
	return n, rest, nil
}

func (v *verifier) readMessages() error {
	var last *message
	var parts int
	whole := func() error {
		if last != nil && parts != last.parts() {
			return wrong("message %d has %d of the %d parts of its body", last.seq, parts, last.parts())
		}
		return nil
	}
	for key := range v.tx.Scan(bodyKeys, "") {
		n, rest, err := v.numbers(bodyKeys, key)
		if err != nil {
			return err
		}
		seq, ok := seqOf("", rest)
		if !ok {
			if last == nil || key != partKey(last.n, last.seq, parts) {
				return wrong("the entry %s has no message before it", key)
			}
			parts++
			continue
		}
		if err := whole(); err != nil {
			return err
		}
		m, err := find(v.tx, n, seq, true)
		if err != nil {
			return err
		}
		last, parts = m, 0
		m.count(v.counts[n], m.where, 1)
		k, val := m.index()
		if m.where == Ready && m.state.zero() && m.wasState != nil { // it was delayed, and the rest is the rule
			val = append(val, ' ')
			val = append(val, flagState...)
		}
		v.expected[k] = string(val)
		if m.Key != "" && m.where != Dead {
			if has, _, _ := decodeHolder(v.tx.Get(uniqueKey(n, m.Key))); has != seq {
				return wrong("message %d lives, and its key %q belongs to message %d", seq, m.Key, has)
			}
		}
		if m.wasState != nil {
			v.expected[stateKey(n, seq)] = string(m.wasState)
		}
		if m.state.Held != nil {
			v.expected[holdKey(m.state.Held.Until, n, seq)] = string([]byte{byte('0' + m.Priority)})
		}
	}
	return whole()
}

func (v *verifier) readResults() error {
	for key, val := range v.tx.Scan(resultKeys, "") {
		n, _, err := v.numbers(resultKeys, key)
		if err != nil {
			return err
		}
		r, err := decodeResult(key, val)
		if err != nil {
			return err
		}
		if key != resultKey(n, r.ID) {
			return wrong("the entry %s has the result of message %d", key, r.ID)
		}
		v.expected[expiryKey(r.Until, n, r.ID)] = ""
	}
	return nil
}

func (v *verifier) readKeys() error {
	for key := range v.tx.Scan(uniqueKeys, "") {
		n, name, err := v.numbers(uniqueKeys, key)
		if err != nil {
			return err
		}
		h, err := readHolder(v.tx, n, name)
		if err != nil {
			return err
		}
		switch {
		case h.live == nil && h.until.IsZero():
			return wrong("message %d has the key %q, and does not live", h.seq, name)
		case h.live != nil && h.live.Key != name:
			return wrong("message %d has the key %q, but was pushed with %q", h.seq, name, h.live.Key)
		case !h.until.IsZero():
			v.expected[windowKey(h.until, n, h.seq)] = name
		}
	}
	return nil
}

// compare compares the indexes with what they should be.
func (v *verifier) compare() error {
	for _, prefix := range derived {
		for key, val := range v.tx.Scan(prefix, "") {
			want, ok := v.expected[key]
			if !ok {
				return wrong("nothing has the entry %s", key)
			}
			if want != string(val) {
				return wrong("the entry %s is %q and should be %q", key, val, want)
			}
			delete(v.expected, key)
		}
	}
	for key := range v.expected {
		return wrong("the entry %s is missing", key)
	}
	return nil
}

func (v *verifier) compareCounts() error {
	for key := range v.tx.Scan(countKeys, "") {
		if n, ok := seqOf(countKeys, key); !ok || v.queues[n] == nil {
			return wrong("the entry %s is of a queue that is gone", key)
		}
	}
	for n, q := range v.queues {
		got, err := readCounts(v.tx, n)
		if err != nil {
			return err
		}
		want := v.counts[n]
		if got.Messages != want.Messages || got.Bytes != want.Bytes || got.Delayed != want.Delayed || got.Dead != want.Dead || got.DeadBytes != want.DeadBytes {
			return wrong("queue %s has the numbers %+v, and its messages %+v", q.Name, got, *want)
		}
		if got.Pushed != uint64(got.Messages+got.Dead)+got.Done+got.Cancelled+got.Expired+got.Dropped {
			return wrong("queue %s has the numbers %+v, which do not add up", q.Name, got)
		}
	}
	return nil
}
