package activation

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"activationd/internal/fault"
)

// An AtJob is what at(1) keeps of a job in addition to what every job has. Such a job
// runs as atd would run it: without a time limit, with one attempt only, however late it
// is, and it may leave processes behind.
type AtJob struct {
	Queue  string `json:"queue"`            // a letter: see [AtJob.Batch] and [AtJob.Nice]
	Mail   string `json:"mail,omitempty"`   // MailAlways, MailNever; empty: when there is output
	MailTo string `json:"mailto,omitempty"` // a user's name
	// Spool identifies the file of atd's spool that the job was imported from, among all
	// that ever existed. Each file becomes one job. Empty: the job was not imported.
	Spool string `json:"spool,omitempty"`
}

// When the output of an at job is mailed.
const (
	MailAlways = "always"
	MailNever  = "never"
)

// ValidQueue reports whether q is one of at's queues.
func ValidQueue(q string) bool {
	return len(q) == 1 && (q[0] >= 'a' && q[0] <= 'z' || q[0] >= 'A' && q[0] <= 'Z')
}

// Batch reports whether the job waits for a low load average: it is in queue b or in one
// with an uppercase letter. For a nil AtJob, which is no at job, it is false.
func (j *AtJob) Batch() bool { return j != nil && (j.Queue == "b" || j.Queue < "a") }

// Nice is the niceness of the job's queue: 0 in a, 2 more for each letter after it.
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

// atEntry is r's entry in the index of at jobs. It has all that a line of atq needs, so
// that atq does not read the records, each of which has a whole environment.
func (r *Record) atEntry() entry {
	line, err := json.Marshal(AtLine{Queue: r.AtJob.Queue, Unix: r.Start.Unix(), Owner: r.Owner, Running: r.State == Activating})
	if err != nil { // cannot happen: all of it can be encoded
		line = nil
	}
	return entry{atKey + strings.TrimPrefix(key(r.ID), recordKey), line}
}

// ListAt hands the unfinished at jobs that by may see to fn, in the order of their
// numbers.
func (e *Engine) ListAt(ctx context.Context, by Actor, fn func(AtLine) error) error {
	from := ""
	for {
		var page []AtLine
		var next string
		err := e.View(ctx, func(t *Txn) error {
			page, next = page[:0], ""
			read := 0
			for k, data := range t.Scan(atKey, from) {
				if read == pageSize {
					next = k
					return nil
				}
				read++
				l := AtLine{ID: strings.TrimLeft(strings.TrimPrefix(k, atKey), "0")}
				if err := json.Unmarshal(data, &l); err != nil {
					return fmt.Errorf("index of at jobs, %s: %w", k, err)
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

// GetAt returns an unfinished at job. The error is fault.NotFound when there is none with
// that id, and fault.Denied when it belongs to another owner.
func (e *Engine) GetAt(ctx context.Context, by Actor, id string) (*Record, error) {
	var r *Record
	err := e.View(ctx, func(t *Txn) (err error) {
		r, err = t.getAt(by, id)
		return err
	})
	return r, err
}

func (t *Txn) getAt(by Actor, id string) (*Record, error) {
	r, err := t.Record(id)
	switch {
	case err != nil:
		return nil, err
	case !r.policy().atd || r.State == Finished:
		return nil, fmt.Errorf("there is no at job %s: %w", id, fault.NotFound)
	}
	return r, by.check(r)
}

// imported returns the id of the job that was made from the same file of atd's spool, or
// "".
func (t *Txn) imported(j *NewJob) string {
	if !j.policy().atd || j.AtJob.Spool == "" {
		return ""
	}
	return string(t.Get(spoolKey + j.AtJob.Spool))
}

// noteImport records forever that a file of atd's spool has become a job. The file may
// appear again, from a backup or after an import that was interrupted.
func (t *Txn) noteImport(r *Record) error {
	if !r.policy().atd || r.AtJob.Spool == "" {
		return nil
	}
	return t.Put(spoolKey+r.AtJob.Spool, []byte(r.ID))
}
