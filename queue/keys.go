package queue

import (
	"strconv"
	"strings"
	"time"
)

// The prefixes of the keys. The package's comment has the table.
const (
	queueKeys   = "mq/q/"
	numberKeys  = "mq/i/"
	countKeys   = "mq/n/"
	bodyKeys    = "mq/b/"
	readyKeys   = "mq/r/"
	delayedKeys = "mq/d/"
	deadKeys    = "mq/x/"
	stateKeys   = "mq/s/"
	holdKeys    = "mq/h/"
	uniqueKeys  = "mq/u/"
	resultKeys  = "mq/k/"
	expiryKeys  = "mq/e/"
	noticeLog   = "mq/v/"
)

const (
	numberWidth  = 16 // of store.MaxNumber
	instantWidth = 19 // of the last instant
	partWidth    = 4
)

// windowSuffix ends the key of the end of a window.
const windowSuffix = "/w"

// A keyMaker puts a key together.
type keyMaker []byte

func newKey(prefix string) keyMaker { return append(make(keyMaker, 0, 72), prefix...) }

func (k keyMaker) fixed(n uint64, width int) keyMaker {
	start := len(k)
	for range width {
		k = append(k, '0')
	}
	for i := len(k) - 1; n > 0 && i >= start; i-- {
		k[i] = byte('0' + n%10)
		n /= 10
	}
	return k
}

func (k keyMaker) number(n uint64) keyMaker { return k.fixed(n, numberWidth) }

func (k keyMaker) slash() keyMaker { return append(k, '/') }

func ofQueue(prefix string, n uint64) keyMaker { return newKey(prefix).number(n).slash() }

// pair is the key of a message of a queue.
func pair(prefix string, n, seq uint64) string { return string(ofQueue(prefix, n).number(seq)) }

func bodyKey(n, seq uint64) string   { return pair(bodyKeys, n, seq) }
func deadKey(n, seq uint64) string   { return pair(deadKeys, n, seq) }
func stateKey(n, seq uint64) string  { return pair(stateKeys, n, seq) }
func resultKey(n, seq uint64) string { return pair(resultKeys, n, seq) }

func numberKey(n uint64) string { return string(newKey(numberKeys).number(n)) }
func countKey(n uint64) string  { return string(newKey(countKeys).number(n)) }

func partKey(n, seq uint64, part int) string {
	return string(ofQueue(bodyKeys, n).number(seq).slash().fixed(uint64(part), partWidth))
}

func readyPrefix(n uint64, priority int) string {
	return string(append(ofQueue(readyKeys, n), byte('0'+MaxPriority-priority), '/'))
}

func readyKey(n uint64, priority int, seq uint64) string {
	return string(append(ofQueue(readyKeys, n), byte('0'+MaxPriority-priority), '/').number(seq))
}

func timed(prefix string, at time.Time, n, seq uint64) keyMaker {
	return newKey(prefix).fixed(uint64(nanos(at)), instantWidth).slash().number(n).slash().number(seq)
}

func delayedKey(at time.Time, n, seq uint64) string { return string(timed(delayedKeys, at, n, seq)) }
func holdKey(at time.Time, n, seq uint64) string    { return string(timed(holdKeys, at, n, seq)) }
func expiryKey(at time.Time, n, seq uint64) string  { return string(timed(expiryKeys, at, n, seq)) }

func windowKey(at time.Time, n, seq uint64) string {
	return string(append(timed(expiryKeys, at, n, seq), windowSuffix...))
}

func uniquePrefix(n uint64) string          { return string(ofQueue(uniqueKeys, n)) }
func uniqueKey(n uint64, key string) string { return string(append(ofQueue(uniqueKeys, n), key...)) }

// lastYear is the last year whose instants have keys, and lastNanos is the last of these instants.
const (
	lastYear  = 2200
	lastNanos = 7_289_654_399_999_999_999
)

// nanos is an instant as it is stored: nanoseconds since 1970, at least 1, as 0 stands for
// the zero time.
func nanos(t time.Time) int64 {
	switch {
	case t.IsZero():
		return 0
	case t.Year() > lastYear:
		return lastNanos
	case t.Year() < 1970:
		return 1
	}
	return max(t.UnixNano(), 1)
}

// instant reverses nanos.
func instant(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}

func isInstant(n int64) bool { return 0 <= n && n <= lastNanos }

// seqOf returns the id in a key of a message whose prefix ends with the queue's number. It
// is false for the part of a body.
func seqOf(prefix, key string) (seq uint64, ok bool) {
	text := key[len(prefix):]
	if len(text) != numberWidth {
		return 0, false
	}
	seq, err := strconv.ParseUint(text, 10, 64)
	return seq, err == nil
}

// parseTimed takes apart a key with an instant.
func parseTimed(prefix, key string) (at time.Time, n, seq uint64, rest string, ok bool) {
	text, ok := strings.CutPrefix(key, prefix)
	const length = instantWidth + 1 + numberWidth + 1 + numberWidth
	if !ok || len(text) < length || text[instantWidth] != '/' || text[instantWidth+1+numberWidth] != '/' {
		return at, 0, 0, "", false
	}
	ns, err1 := strconv.ParseUint(text[:instantWidth], 10, 63)
	n, err2 := strconv.ParseUint(text[instantWidth+1:instantWidth+1+numberWidth], 10, 64)
	seq, err3 := strconv.ParseUint(text[instantWidth+2+numberWidth:length], 10, 64)
	return instant(int64(ns)), n, seq, text[length:], err1 == nil && err2 == nil && err3 == nil && isInstant(int64(ns))
}
