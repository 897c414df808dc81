package activation

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"activationd/internal/fault"
	"activationd/supervisor"
	"activationd/supervisor/wrapper"
)

// What becomes of a mail.
const (
	mailRetries = 3
	mailTimeout = 10 * time.Minute
	mailMost    = 16 << 20 // bytes of output in it
)

// mail has the output of a job of at's sent, if it is to be: by a job of its
// own, which is made in the transaction that records the end of the first. So no
// mail is forgotten, and none is sent twice by a daemon that was killed.
func (t *turn) mail(r *Record, a *Attempt) error {
	run := supervisor.Key{ID: r.ID, Phase: a.Phase, N: a.N}
	if !t.mailed(r, a, run) {
		return nil
	}
	n, err := count(t, jobNumber)
	if err != nil {
		return err
	}
	to := r.AtJob.MailTo
	m := &Record{
		ID: strconv.FormatUint(n, 10), Kind: Job, Owner: r.Owner, User: r.User, Label: "mail of job " + r.ID,
		State: Scheduled, Created: t.now, Since: t.now, Start: t.now, Missed: MissedRun, MailOf: run.String(),
		Argv:  []string{t.set.Sendmail, "-i", to},
		Stdin: fmt.Appendf(nil, "Subject: Output from your job %8s\nTo: %s\n\n", r.ID, to),
	}
	retries, timeout := mailRetries, mailTimeout
	m.Retries, m.Timeout = &retries, &timeout
	t.later = append(t.later, m.ID)
	t.news = append(t.news, Happening{Time: t.now, What: "state", ID: m.ID, State: string(m.State)})
	return t.save(nil, m)
}

// mailed reports whether the output of a run is to be mailed.
func (t *turn) mailed(r *Record, a *Attempt, run supervisor.Key) bool {
	switch a.Result.Reason {
	case wrapper.NotStarted, wrapper.Void, wrapper.Unborn, wrapper.Disarmed:
		return false
	}
	if r.AtJob.Mail == MailNever {
		return false
	}
	if r.AtJob.Mail != MailAlways {
		if info, err := os.Stat(t.logFile(run)); err != nil || info.Size() == 0 {
			return false
		}
	}
	if r.AtJob.MailTo == "" {
		return false
	}
	info, err := os.Stat(t.set.Sendmail) // it may be installed at any time
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

func (t *txn) logFile(run supervisor.Key) string { return logFile(t.parts.Runs, run) }

func logFile(runs Runs, run supervisor.Key) string {
	return filepath.Join(runs.RunDir(run), wrapper.LogFile)
}

// letter returns a mail: its head, and the output of the run that it is about.
func letter(runs Runs, head []byte, about string) ([]byte, error) {
	run, ok := parseRun(about)
	if !ok {
		return nil, fmt.Errorf("%q is not the name of a run: %w", about, fault.Invalid)
	}
	f, err := os.Open(logFile(runs, run))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w: %w", err, fault.Invalid)
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	body, err := io.ReadAll(io.LimitReader(f, mailMost+1))
	if len(body) > mailMost {
		body = fmt.Appendf(body[:mailMost], "\n[the rest is too much for a mail: see atctl log %s]\n", run.ID)
	}
	return append(head[:len(head):len(head)], body...), err
}
