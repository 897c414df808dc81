package queue

import (
	"encoding/json"
	"time"

	"activationd/store"
)

// A Notice is something that the daemon is to put into its log of events, which may be in
// another store. It is written in the transaction that makes it true, and removed when it is
// in the log.
type Notice struct {
	Queue    string    `json:"queue"`
	N        uint64    `json:"n,omitempty"` // the queue's number
	Message  uint64    `json:"message,omitempty"`
	What     string    `json:"what"` // see below
	Reason   string    `json:"reason,omitempty"`
	Actor    *Actor    `json:"actor,omitempty"` // who requested it; nil: nobody
	Attempts int       `json:"attempts,omitempty"`
	Exit     int       `json:"exit,omitempty"`
	Time     time.Time `json:"time"`
	Number   uint64    `json:"-"` // that the store gave it; it rises
}

// An Actor is who requests a change: how it was identified, its name and its role.
type Actor struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
	Role string `json:"role,omitempty"`
}

// What a notice says of a queue, or of a message.
const (
	NoticeCreated   = "created"
	NoticeDeleted   = "deleted"
	NoticePaused    = "paused" // without an actor: its listener cannot run
	NoticeResumed   = "resumed"
	NoticeRestarted = "restarted" // its listener
	NoticePurged    = "purged"    // of messages, or of dead letters
	NoticeRetried   = "retried"   // of dead letters
	NoticeDead      = "dead"
	NoticeCancelled = "cancelled"
)

// Notify adds a notice.
func Notify(tx store.Tx, n Notice) error {
	val, err := json.Marshal(n)
	if err != nil {
		return err
	}
	return tx.Append(noticeLog, val, 1)
}

// Notices returns the notices after a number, at most that many, and the number of the last. A notice that
// cannot be read has only its number.
func Notices(tx store.Tx, after uint64, most int) (list []Notice, last uint64) {
	last = after
	for key, val := range tx.Scan(noticeLog, store.EntryKey(noticeLog, after+1)) {
		if len(list) >= most {
			break
		}
		number, ok := store.EntryNumber(noticeLog, key)
		if !ok {
			continue
		}
		var n Notice
		if json.Unmarshal(val, &n) != nil {
			n = Notice{}
		}
		n.Number, last = number, number
		list = append(list, n)
	}
	return list, last
}

// DropNotices removes the notices up to a number, at most that many. It reports whether there are others.
func DropNotices(tx store.Tx, upTo uint64, most int) (more bool, err error) {
	count := 0
	for key := range tx.Scan(noticeLog, "") {
		if number, ok := store.EntryNumber(noticeLog, key); !ok || number > upTo {
			return false, nil
		}
		if count == most {
			return true, nil
		}
		count++
		if err := tx.Delete(key); err != nil {
			return false, err
		}
	}
	return false, nil
}
