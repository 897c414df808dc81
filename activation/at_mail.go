package activation

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"activationd/event"
	"activationd/internal/fault"
	"activationd/supervisor"
	"activationd/supervisor/wrapper"
)

// How the mail of a job is sent.
const (
	mailRetries = 3
	mailTimeout = 10 * time.Minute
	mailMost    = 16 << 20 // bytes of output in a mail
)

// mail adds a job that mails the output of an at job, if it is to be mailed. The
// transaction that records the end of the at job makes it. So no mail is forgotten, and a
// daemon that was killed sends none twice.
func (t *turn) mail(r *Record, a *Attempt) error {
	run := supervisor.Key{ID: r.ID, Phase: a.Phase, N: a.N}
	if !t.mailed(r, a) {
		return nil
	}
	n, err := count(t, jobNumber)
	if err != nil {
		return err
	}
	to := r.AtJob.MailTo
	m := &Record{
		ID:     strconv.FormatUint(n, 10),
		Kind:   Job,
		Start:  t.Now,
		MailOf: run.String(),
		Order: Order{
			Owner:  r.Owner,
			User:   r.User,
			Label:  "mail of job " + r.ID,
			Missed: MissedRun,
			Argv:   []string{t.Settings.Sendmail, "-i", to},
			Stdin:  fmt.Appendf(nil, "Subject: Output from your job %8s\nTo: %s\n\n", r.ID, to),
		},
		Life: Life{
			State:   Scheduled,
			Created: t.Now,
			Since:   t.Now,
		},
	}
	retries, timeout := mailRetries, mailTimeout
	m.Retries, m.Timeout = &retries, &timeout
	t.Later(m.ID)
	t.happened(m, event.State, event.Event{})
	return t.Save(nil, m)
}

// mailed reports whether the output of a run is to be mailed.
func (t *turn) mailed(r *Record, a *Attempt) bool {
	switch a.Result.Reason {
	case wrapper.NotStarted, wrapper.Void, wrapper.Unborn, wrapper.Disarmed:
		return false
	}
	if r.AtJob.Mail == MailNever {
		return false
	}
	return (r.AtJob.Mail == MailAlways || a.Output) && r.AtJob.MailTo != "" && t.mails
}

// mails reports whether the program that sends mails is installed. It may be installed at
// any time, so it is looked up each time.
func (e *Engine) mails() bool {
	info, err := os.Stat(e.Settings().Sendmail)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

// wrote reports whether a run has left any output.
func wrote(runs Runs, run supervisor.Key) bool {
	f, err := runs.Open(run, wrapper.LogFile)
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	return err == nil && info.Size() > 0
}

// letter returns a mail: head, then the output of the run that about names.
func letter(runs Runs, head []byte, about string) ([]byte, error) {
	run, ok := supervisor.ParseKey(about)
	if !ok {
		return nil, fmt.Errorf("%q is not the name of a run: %w", about, fault.Invalid)
	}
	f, err := runs.Open(run, wrapper.LogFile)
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
