package activation

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"activationd/store"
)

// The keys of this package, all of them written here and in txn.go only.
//
//	a/ID                     the record
//	d/s/INSTANT/ID           starts: instants that a run may be armed for
//	d/x/INSTANT/ID           all other instants at which a record is due for a look
//	d/f/INSTANT/ID           until when what is finished is kept
//	r/ID                     open attempts
//	l/ID                     reservations that are active
//	h/LOCK                   the lock's holder's id, if that has it for itself alone
//	h/LOCK/ID                how one of several holds it: see want
//	q/LOCK/PLACE/ID          who waits for it, by priority and in order of arrival: see position
//	q/=slot/PLACE/ID         who waits for a free slot
//	w/ID/ID                  who waits for the end of the first, as the second
//	o/INSTANT/ID             what is finished, in the order in which it may go
//	s/SOURCE/ID              what a source announced: see sourceMark
//	f/SOURCE                 fingerprint and rejects of the source's last load
//	t/ID/source|link|applied topologies: announced, by linkconf, in force
//	p/RUN                    evidence that is to be removed
//	at/q/ID                  at's jobs that have not ended: a line of atq
//	at/i/SPOOLFILE           files of atd's spool that were imported: the job's id
//	q/=load/LINE/ID          who waits for a low load average
//	n/NAME                   numbers: see the constants
//	e/ y/ m/ k/              recurrences: see recurrence.go
//
// Holders and queues are an index: they follow from the records' states, and
// are written in the transaction that changes these.
const (
	recordKey   = "a/"
	startKey    = "d/s/"
	instantKey  = "d/x/"
	forgetKey   = "d/f/"
	runKey      = "r/"
	activeKey   = "l/"
	holderKey   = "h/"
	queueKey    = "q/"
	afterKey    = "w/"
	oldKey      = "o/"
	slotQueue   = "=slot" // no lock's name: they begin with a letter or a digit
	sourceKey   = "s/"
	loadKey     = "f/"
	topologyKey = "t/"
	evidenceKey = "p/"
	atKey       = "at/q/"
	spoolKey    = "at/i/"
	loadQueue   = "=load"

	jobNumber   = "n/job"        // the newest job's
	generation  = "n/generation" // the newest load's
	lineNumber  = "n/line"       // the newest place in line
	fence       = "n/fence"      // the newest claim's
	clockMark   = "n/clock"      // what the clock showed, and when: see mark
	bootID      = "n/boot"       // of the machine when this daemon last started
	oldBytes    = "n/old-bytes"  // how many bytes the evidence of what is finished has
	stateNumber = "n/state/"     // how many records are in the state
)

// jobDigits pads the number of a job in its key, so that keys sort as numbers do.
const jobDigits = 12

func isJob(id string) bool {
	return id != "" && strings.Trim(id, "0123456789") == ""
}

// key returns the key of an id's record. A job has one name: 017 is none.
func key(id string) string {
	if isJob(id) && id[0] == '0' {
		return recordKey + "/" + id // no record has that
	}
	if isJob(id) && len(id) < jobDigits {
		return recordKey + strings.Repeat("0", jobDigits-len(id)) + id
	}
	return recordKey + id
}

// instant writes t so that instants sort as they follow each other.
func instant(t time.Time) string {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(max(0, t.UnixNano())))
	return hex.EncodeToString(b[:])
}

// parseInstant reads what [instant] wrote at the head of rest, and the id behind it.
func parseInstant(rest string) (time.Time, string, error) {
	head, id, ok := strings.Cut(rest, "/")
	b, err := hex.DecodeString(head)
	if !ok || err != nil || len(b) != 8 {
		return time.Time{}, "", fmt.Errorf("malformed key %q in the index of instants", rest)
	}
	return time.Unix(0, int64(binary.BigEndian.Uint64(b))), id, nil
}

func (r *Record) queueEntry(lock string) entry {
	return entry{queueKey + lock + "/" + r.position() + "/" + r.ID, []byte{}}
}

// number reads the number at k, 0 if there is none.
func number(tx store.Tx, k string) uint64 {
	if b := tx.Get(k); len(b) == 8 {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func putNumber(tx store.Tx, k string, n uint64) error {
	return tx.Put(k, binary.BigEndian.AppendUint64(nil, n))
}

// count raises the number at k by one and returns it.
func count(tx store.Tx, k string) (uint64, error) {
	n := number(tx, k) + 1
	return n, putNumber(tx, k, n)
}

// first returns the first instant of an index, or the zero time.
func first(tx store.Tx, prefix string) time.Time { return firstFrom(tx, prefix, "") }

// firstFrom is [first] of those from a key on.
func firstFrom(tx store.Tx, prefix, from string) time.Time {
	for k := range tx.Scan(prefix, from) {
		t, _, err := parseInstant(strings.TrimPrefix(k, prefix))
		if err != nil {
			continue
		}
		return t
	}
	return time.Time{}
}
