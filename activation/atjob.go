package activation

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"activationd/internal/fault"
	"activationd/store"
)

// An AtJob is what at(1) knows of a job beside what every job has. Such a job
// runs as atd would run it: it may take as long as it likes, has only one try,
// may leave processes behind, and runs however late it is.
type AtJob struct {
	Queue  string `json:"queue"`            // a letter: see [AtJob.Batch] and [AtJob.Nice]
	Mail   string `json:"mail,omitempty"`   // MailAlways, MailNever; empty: when there is output
	MailTo string `json:"mailto,omitempty"` // a user's name
	// Spool, unless empty, tells the file of atd's spool that the job was
	// imported from, from all others that ever were: of each there is one job.
	Spool string `json:"spool,omitempty"`
}

// When the output of a job of at's is mailed.
const (
	MailAlways = "always"
	MailNever  = "never"
)

// ValidQueue reports whether q is one of at's queues.
func ValidQueue(q string) bool {
	return len(q) == 1 && (q[0] >= 'a' && q[0] <= 'z' || q[0] >= 'A' && q[0] <= 'Z')
}

// Batch reports whether the job waits for the load average to be low: in queue b,
// and in those of uppercase letters.
func (j *AtJob) Batch() bool { return j.Queue == "b" || j.Queue < "a" }

// Nice is the niceness of the job's queue: none in a, two more in each after it.
func (j *AtJob) Nice() int { return 2 * int(strings.ToLower(j.Queue)[0]-'a') }

func (j *AtJob) check() error {
	switch {
	case !ValidQueue(j.Queue):
		return fmt.Errorf("queue: want a letter from a to z or A to Z, have %q: %w", j.Queue, fault.Invalid)
	case j.Mail != "" && j.Mail != MailAlways && j.Mail != MailNever:
		return fmt.Errorf("mail: want always or never, have %q: %w", j.Mail, fault.Invalid)
	case strings.HasPrefix(j.MailTo, "-") || strings.ContainsAny(j.MailTo, " \t\n\x00"):
		return fmt.Errorf("mailto: %q is not a user: %w", j.MailTo, fault.Invalid)
	}
	return nil
}

// An AtLine is a line of atq.
type AtLine struct {
	ID      string    `json:"-"` // it is in the key
	Queue   string    `json:"q"`
	Start   time.Time `json:"-"`
	Unix    int64     `json:"t"` // Start
	Owner   string    `json:"o"`
	Running bool      `json:"r,omitempty"`
}

// atEntry is what the index of at's jobs has of r: all that a line needs, so
// that atq does not read the records, each of which has a whole environment.
func (r *Record) atEntry() entry {
	line, err := json.Marshal(AtLine{Queue: r.AtJob.Queue, Unix: r.Start.Unix(), Owner: r.Owner, Running: r.State == Activating})
	if err != nil { // nothing in it could not be encoded
		line = nil
	}
	return entry{atKey + strings.TrimPrefix(key(r.ID), recordKey), line}
}

// ListAt hands the jobs of at's that have not ended, and that by may see, to fn,
// in the order of their numbers.
func (e *Engine) ListAt(ctx context.Context, by By, fn func(AtLine) error) error {
	from := ""
	for {
		var page []AtLine
		var next string
		err := e.parts.DB.View(ctx, func(tx store.Tx) error {
			page, next = page[:0], ""
			read := 0
			for k, data := range tx.Scan(atKey, from) {
				if read == pageSize {
					next = k
					return nil
				}
				read++
				l := AtLine{ID: strings.TrimLeft(strings.TrimPrefix(k, atKey), "0")}
				if err := json.Unmarshal(data, &l); err != nil {
					return fmt.Errorf("index of at's jobs, %s: %w", k, err)
				}
				if by.OnlyOwn && l.Owner != by.Name {
					continue
				}
				l.Start = time.Unix(l.Unix, 0)
				page = append(page, l)
			}
			return nil
		})
		if err != nil {
			return err
		}
		for _, l := range page {
			if err := fn(l); err != nil {
				return err
			}
		}
		if next == "" {
			return nil
		}
		from = next
	}
}

// GetAt returns a job of at's that has not ended. It is fault.NotFound when there
// is none of that id, and fault.Denied when it is not by's.
func (e *Engine) GetAt(ctx context.Context, by By, id string) (*Record, error) {
	var r *Record
	err := e.parts.DB.View(ctx, func(tx store.Tx) (err error) {
		r, err = e.begin(tx).getAt(by, id)
		return err
	})
	return r, err
}

func (t *txn) getAt(by By, id string) (*Record, error) {
	r, err := t.get(id)
	switch {
	case err != nil:
		return nil, err
	case r.AtJob == nil || r.State == Finished:
		return nil, fmt.Errorf("there is no job %s of at's: %w", id, fault.NotFound)
	}
	return r, by.check(r)
}

// imported returns the job that was made of a file of atd's spool, "" if none was.
func (t *txn) imported(j *NewJob) string {
	if j.AtJob == nil || j.AtJob.Spool == "" {
		return ""
	}
	return string(t.Get(spoolKey + j.AtJob.Spool))
}

// noteImport remembers for ever that a file of atd's spool has become a job: the
// file may come back, from a backup or after an import that was interrupted.
func (t *txn) noteImport(r *Record) error {
	if r.AtJob == nil || r.AtJob.Spool == "" {
		return nil
	}
	return t.Put(spoolKey+r.AtJob.Spool, []byte(r.ID))
}
