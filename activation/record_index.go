package activation

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"activationd/store"
)

// The keys of this package. Only this file writes them.
//
//	a/ID                     the record
//	d/s/INSTANT/ID           due times of starts, for which a run may be armed
//	d/x/INSTANT/ID           all other due times of records
//	d/f/INSTANT/ID           when a finished activation is removed
//	rh/HOST/ID               open attempts: see runMark
//	lh/HOST/ID               reservations that are active; the value is the boot of that host
//	h/LOCK                   the id of the holder of an exclusive lock
//	h/LOCK/ID                one of several holders of a lock; the value is its lockRequest
//	q/LOCK/PLACE/ID          the queue for a lock, by priority and arrival: see queuePosition
//	q/=slot/PLACE/ID         the queue for a free slot
//	w/ID/ID                  the second waits for the end of the first
//	o/INSTANT/ID             finished activations, in the order in which they may be removed
//	st/KIND/STATUS/ID        all activations, for lists: see query_pick.go
//	fe/INSTANT/ID            finished reservations, by the ends of their slots
//	ff/INSTANT/ID            finished activations that failed, by when that was
//	s/SOURCE/ID              what a source announced: see sourceMark
//	bo/OWNER/INSTANT/ID      bookings by the ends of what they take of their owners' quotas, a BookedPart
//	bk/OWNER/KEY/ID          unfinished bookings by the keys of the requests
//	t/ID/source|link|applied topologies: announced, by linkconf, in force
//	ph/HOST/RUN              runs whose directories must be removed
//	us/HOST/ADDRESS          where sockets of services may be open: see sockets.go
//	up/ID/FENCE/...          undo plans: see undo_plan.go
//	b/ID/NUMBER              large standard inputs: see stdin.go
//	at/q/ID                  unfinished at jobs; the value is a line of atq
//	at/i/SPOOLFILE           imported files of atd's spool; the value is the job's id
//	q/=load/LINE/ID          the queue for a low load average
//	pz/NAME                  pauses, by what is paused: daemon, source/SOURCE, device/DEVICE; see pause.go
//	pw/NAME/PLACE/ID         those that wait for the end of a pause
//	u/MONTH/HOST/OWNER       what an owner used, of what this host has forgotten: see usage.go
//	n/NAME                   numbers: see the constants
//	m/NAME/ID                unfinished activations that a producer made under a name
//	e/ y/ k/                 recurrences: see package recurring
//	f/ n/loading             loads: see package announce
//	dv/DEVICE/INSTANT/ID     the calendar, by the ends of the spans: see calendar.go
//	cf/ID                    reservations that conflict; the value is the conflicts
//
// Holders and queues are indexes: they follow from the records, and are written in the
// transaction that changes these.
const (
	recordKey    = "a/"
	instantsKey  = "d/"
	startKey     = "d/s/"
	instantKey   = "d/x/"
	forgetKey    = "d/f/"
	runKey       = "rh/"
	activeKey    = "lh/"
	holderKey    = "h/"
	queueKey     = "q/"
	afterKey     = "w/"
	finishedKey  = "o/"
	statusKey    = "st/"
	slotEndKey   = "fe/"
	failedKey    = "ff/"
	slotQueue    = "=slot" // cannot be a lock's name: those begin with a letter, a digit or _
	sourceKey    = "s/"
	bookingKey   = "bo/"
	requestKey   = "bk/"
	topologyKey  = "t/"
	removalKey   = "ph/"
	memberKey    = "m/"
	usageKey     = "u/"
	atKey        = "at/q/"
	spoolKey     = "at/i/"
	loadAvgQueue = "=load"
	pauseKey     = "pz/"
	pausedKey    = "pw/"
	calendarKey  = "dv/"
	conflictKey  = "cf/"

	jobNumber     = "n/job"        // the newest job's
	generation    = "n/generation" // the newest load's
	bookingNumber = "n/booking"    // the newest booking's
	clockMark     = "n/clock/"     // + HOST: see mark
	bootID        = "n/boot/"      // + HOST: the host's boot when its daemon last started
	finishedBytes = "n/old-bytes/" // + HOST: the size in bytes of the history's run directories there
	calendarMade  = "n/calendar"   // the calendar has all reservations
	statusesMade  = "n/status"     // the indexes for lists have all activations
	stateNumber   = "n/state/"     // + HOST/STATE: see stateCounts
	longestSpan   = "n/longest"    // the longest span in the calendar so far, in nanoseconds
	liveNumber    = "n/live/"      // + HOST/SOURCE: see LiveReservations
)

// jobDigits is the width to which the number of a job is padded in its key, so that keys
// sort as numbers do.
const jobDigits = 12

func isJob(id string) bool {
	return id != "" && strings.Trim(id, "0123456789") == ""
}

// key returns the key of an id's record. A job has one id only: 017 is not the id of job
// 17.
func key(id string) string {
	if isJob(id) && id[0] == '0' {
		return recordKey + "/" + id // no record has this key
	}
	if isJob(id) && len(id) < jobDigits {
		return recordKey + "000000000000"[:jobDigits-len(id)] + id
	}
	return recordKey + id
}

// Instant encodes t so that the encodings sort by time.
func Instant(t time.Time) string {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(max(0, t.UnixNano())))
	return hex.EncodeToString(b[:])
}

// parseInstant decodes the time at the head of rest, and returns the id behind it.
func parseInstant(rest string) (time.Time, string, error) {
	head, id, ok := strings.Cut(rest, "/")
	b, err := hex.DecodeString(head)
	if !ok || err != nil || len(b) != 8 {
		return time.Time{}, "", fmt.Errorf("malformed key %q in the index of instants", rest)
	}
	return time.Unix(0, int64(binary.BigEndian.Uint64(b))), id, nil
}

func (r *Record) queueEntry(lock string) entry {
	return entry{queueKey + lock + "/" + r.queuePosition() + "/" + r.ID, []byte{}}
}

// number returns the number at k, 0 if there is none.
func number(tx store.Tx, k string) uint64 {
	return decodeNumber(tx.Get(k))
}

func decodeNumber(b []byte) uint64 {
	if len(b) != 8 {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}

func putNumber(tx store.Tx, k string, n uint64) error {
	return tx.Put(k, binary.BigEndian.AppendUint64(nil, n))
}

// count raises the number at k by one and returns it.
func count(tx store.Tx, k string) (uint64, error) {
	n := number(tx, k) + 1
	return n, putNumber(tx, k, n)
}

// first returns the first time in an index, or the zero time.
func first(tx store.Tx, prefix string) time.Time { return firstFrom(tx, prefix, "") }

// firstFrom returns the first time in an index at or after the key from, or the zero
// time.
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

// An entry is one key of an index, with its value.
type entry struct {
	key string
	val []byte
}

// index returns all index entries that follow from r; the indexes have no others. A
// record is saved together with the changes of its entries, so an index cannot go stale.
func (r *Record) index() []entry {
	es := make([]entry, 0, 4+len(r.Devices))
	if at, armable := r.due(); !at.IsZero() {
		prefix := instantKey
		switch {
		case armable:
			prefix = startKey
		case r.State == Finished:
			prefix = forgetKey
		}
		es = append(es, entry{prefix + Instant(at) + "/" + r.ID, []byte(priorityPrefix(r.Priority))})
	}
	if a := r.openAttempt(); a != nil {
		es = append(es, entry{ofHost(runKey, a.Host) + r.ID, r.runMark()})
	}
	if a := r.servedBy(); a != nil && r.State == Active {
		es = append(es, entry{ofHost(activeKey, a.Host) + r.ID, []byte(a.Boot)})
	}
	for _, w := range r.lockRequestsOf(r.LocksHeld) {
		es = append(es, r.holding(w))
	}
	if r.Queued > 0 {
		for _, w := range r.lockRequests() {
			es = append(es, r.queueEntry(w.name))
		}
		switch {
		case r.WaitsOn.queuedForSlot():
			es = append(es, r.queueEntry(slotQueue))
		case r.WaitsOn == waitsOnLoadAvg:
			es = append(es, r.queueEntry(loadAvgQueue))
		}
	}
	if r.WaitsOn == waitsOnPause {
		es = append(es, r.pausedEntry())
	}
	if r.policy().atd && r.State != Finished {
		es = append(es, r.atEntry())
	}
	if r.From != "" && r.State != Finished {
		es = append(es, entry{member(r.From, r.ID), []byte{}})
	}
	if s := r.Serving; s != nil && (r.State == Waiting || r.openAttempt() != nil && (s.Bind || r.stopsForGood())) {
		for _, need := range r.Serving.Needs {
			es = append(es, entry{afterKey + ServiceFrom(need.Service) + "/" + r.ID, []byte{}})
		}
	}
	if len(r.After) > 0 && (r.State == Scheduled || r.State == Held || r.State == Waiting) {
		for _, a := range r.after() {
			es = append(es, entry{afterKey + a.id + "/" + r.ID, []byte{}})
		}
	}
	if r.State == Finished {
		es = append(es, entry{finishedKey + Instant(r.removableFrom()) + "/" + r.ID, []byte{}})
	}
	es = append(es, r.listEntries()...)
	es = append(es, r.calendarEntries()...)
	if len(r.Conflicts) > 0 {
		es = append(es, r.conflictEntry())
	}
	if r.Source != "" {
		es = append(es, entry{sourceKey + r.Source + "/" + r.ID, sourceMark(r.Hash, r.State != Finished)})
	}
	if r.Source == BookingSource {
		es = append(es, r.bookingEntries()...)
	}
	return es
}

// Values in the index of open attempts for an attempt that hangs, and for one that its
// host must stop. Others have an empty value.
const (
	hangsMark = "hangs"
	stopMark  = "stop"
)

func (r *Record) runMark() []byte {
	switch {
	case r.hangs() != nil:
		return []byte(hangsMark)
	case r.toBeStopped():
		return []byte(stopMark)
	}
	return []byte{}
}

// sourceMark is the value in a source's index for each id: the hash of the announcement,
// and whether the activation is live.
func sourceMark(hash []byte, live bool) []byte {
	flag := byte('f')
	if live {
		flag = 'l'
	}
	return append(slices.Clone(hash), flag)
}

// parseMark decodes a [sourceMark].
func parseMark(b []byte) (hash [16]byte, live bool) {
	if len(b) == len(hash)+1 {
		copy(hash[:], b)
		live = b[len(hash)] == 'l'
	}
	return hash, live
}
