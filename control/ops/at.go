package ops

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"activationd/activation"
	"activationd/control"
	"activationd/internal/fault"
)

// atOps are the operations behind at, atq, atrm and batch.
func (d Daemon) atOps() []control.Op {
	return []control.Op{
		control.DeclareBatch("at", control.Submitter, "add a job as at(1) does", d.at),
		control.Declare("atq", control.Submitter, "list your jobs of at's, or all as operator", d.atq),
		control.Declare("atrm", control.Submitter, "remove jobs of at's", d.atrm),
		control.Declare("atcat", control.Submitter, "the scripts of jobs of at's", d.atcat),
		control.Declare("import-at", control.Submitter, "add a job that was found in atd's spool; others' as admin", d.importAt),
	}
}

// at makes jobs as at(1) would: those of requests that came together in one
// transaction.
func (d Daemon) at(ctx context.Context, c control.Caller, ins []control.AtIn) []control.Result[control.AddOut] {
	results := make([]control.Result[control.AddOut], len(ins))
	user, err := d.Identity(c)
	if err == nil {
		err = d.MayAt(c)
	}
	var jobs []activation.NewJob
	var index []int
	for i := range ins {
		if err != nil {
			results[i].Err = err
			continue
		}
		j, err := d.newAtJob(&ins[i], c, user)
		if err != nil {
			results[i].Err = err
			continue
		}
		jobs, index = append(jobs, j), append(index, i)
	}
	if len(jobs) == 0 {
		return results
	}
	added, err := d.Engine.Add(ctx, jobs)
	for k, i := range index {
		results[i] = addReply(added, k, err)
	}
	return results
}

// addReply is the reply for the job k of those added.
func addReply(added []activation.Added, k int, err error) (r control.Result[control.AddOut]) {
	switch {
	case err != nil:
		r.Err = err
	case added[k].Err != nil:
		r.Err = added[k].Err
	default:
		r.Reply = control.Reply[control.AddOut]{
			Summary: "id=" + added[k].ID,
			Lines:   []control.AddOut{{ID: added[k].ID, Due: added[k].Due}},
		}
	}
	return r
}

// newAtJob makes a job of a request of at's. What at(1) writes before what the
// client has sent, of who runs it and who gets the mail, is the daemon's to say.
func (d Daemon) newAtJob(in *control.AtIn, c control.Caller, user *activation.Identity) (activation.NewJob, error) {
	script, err := atScript(in)
	if err != nil {
		return activation.NewJob{}, err
	}
	to, err := d.mailTo(in, c)
	if err != nil {
		return activation.NewJob{}, err
	}
	user = inGroup(user, c.GID)
	flag := map[string]string{activation.MailAlways: "1", activation.MailNever: "-1"}[in.Mail]
	if flag == "" {
		flag = "0"
	}
	head := fmt.Sprintf("#!/bin/sh\n# atrun uid=%d gid=%d\n# mail %s %s\n", user.UID, user.GID, to, flag)
	j := atJob(in, c.Name, user, append([]byte(head), script...))
	j.AtJob.MailTo = to
	return j, nil
}

// atJob is a job as atd runs them: for as long as it takes, and once.
func atJob(in *control.AtIn, owner string, user *activation.Identity, script []byte) activation.NewJob {
	timeout, retries := time.Duration(0), 0
	j := activation.NewJob{
		Owner: owner, User: user, At: time.Unix(int64(in.When), 0), Argv: []string{shell}, Stdin: script,
		Timeout: &timeout, Retries: &retries, Missed: activation.MissedRun,
		AtJob: &activation.AtJob{Queue: in.Queue, Mail: in.Mail},
	}
	if j.AtJob.Queue == "" {
		j.AtJob.Queue = "a"
	}
	return j
}

func atScript(in *control.AtIn) ([]byte, error) {
	var script []byte
	for _, piece := range in.Script {
		if !in.Base64 {
			script = append(script, piece...)
			continue
		}
		b, err := base64.StdEncoding.DecodeString(piece)
		if err != nil {
			return nil, fmt.Errorf("script: not base64: %w: %w", err, fault.Invalid)
		}
		script = append(script, b...)
	}
	return script, nil
}

// mailTo is who gets the output: who was named, or else who submits the job.
func (d Daemon) mailTo(in *control.AtIn, c control.Caller) (string, error) {
	if in.Mailto != "" {
		name, ok := d.User(in.Mailto)
		if !ok {
			return "", fmt.Errorf("there is no user %s to send mail to: %w", in.Mailto, fault.NotFound)
		}
		return name, nil
	}
	return c.Name, nil
}

// inGroup is user with the group that his process had, if it is one of his.
func inGroup(user *activation.Identity, gid int) *activation.Identity {
	if user.GID == gid || !slices.Contains(user.Groups, gid) {
		return user
	}
	other := *user
	other.GID = gid
	return &other
}

// maxAtLines is how many jobs go into one line of a reply.
const maxAtLines = 500

func (d Daemon) atq(ctx context.Context, c control.Caller, in control.AtqIn) (control.Reply[control.AtLines], error) {
	if err := d.MayAt(c); err != nil {
		return control.Reply[control.AtLines]{}, err
	}
	return control.Reply[control.AtLines]{Each: func(yield func(control.AtLines, error) bool) {
		var some control.AtLines
		errEnough := errors.New("enough")
		err := d.Engine.ListAt(ctx, by(c), func(l activation.AtLine) error {
			queue := l.Queue
			if l.Running {
				queue = "="
			}
			if in.Queue != "" && in.Queue != queue || len(in.ID) > 0 && !slices.Contains(in.ID, l.ID) {
				return nil
			}
			some.Jobs = append(some.Jobs, control.AtLine{ID: l.ID, Start: l.Start.Unix(), Queue: queue, Owner: l.Owner})
			if len(some.Jobs) < maxAtLines {
				return nil
			}
			if !yield(some, nil) {
				return errEnough
			}
			some.Jobs = nil
			return nil
		})
		switch {
		case errors.Is(err, errEnough):
		case err != nil:
			yield(control.AtLines{}, err)
		case len(some.Jobs) > 0:
			yield(some, nil)
		}
	}}, nil
}

// eachAt does something with each of some jobs, and tells what became of it.
func (d Daemon) eachAt(ctx context.Context, c control.Caller, ids []string,
	do func(*activation.Record, *control.AtResult) error) (control.Reply[control.AtResult], error) {
	var reply control.Reply[control.AtResult]
	if err := d.MayAt(c); err != nil {
		return reply, err
	}
	for _, id := range ids {
		res := control.AtResult{ID: id, What: control.AtDone}
		r, err := d.Engine.GetAt(ctx, by(c), strings.TrimLeft(id, "0"))
		if err == nil {
			err = do(r, &res)
		}
		switch {
		case errors.Is(err, fault.NotFound), errors.Is(err, fault.Conflict): // it has just ended
			res.What = control.AtMissing
		case errors.Is(err, fault.Denied):
			res.What = control.AtDenied
		case err != nil:
			return reply, err
		}
		reply.Lines = append(reply.Lines, res)
		if res.What == control.AtDenied { // at goes no further
			break
		}
	}
	return reply, nil
}

func (d Daemon) atrm(ctx context.Context, c control.Caller, in control.AtIDsIn) (control.Reply[control.AtResult], error) {
	return d.eachAt(ctx, c, in.ID, func(r *activation.Record, res *control.AtResult) error {
		if r.State == activation.Activating {
			res.What = control.AtRunning
		}
		_, err := d.Engine.Do(ctx, by(c), r.ID, activation.Cancel, "removed by "+c.Name+" with atrm")
		return err
	})
}

func (d Daemon) atcat(ctx context.Context, c control.Caller, in control.AtIDsIn) (control.Reply[control.AtResult], error) {
	return d.eachAt(ctx, c, in.ID, func(r *activation.Record, res *control.AtResult) error {
		res.Base64 = base64.StdEncoding.EncodeToString(r.Stdin)
		return nil
	})
}

// importAt makes a job of a file of atd's spool. One file makes one job, however
// often it is asked for.
func (d Daemon) importAt(ctx context.Context, c control.Caller, in control.ImportAtIn) (control.Reply[control.AddOut], error) {
	var none control.Reply[control.AddOut]
	var uid, gid int
	if n, err := fmt.Sscanf(in.User, "%d:%d", &uid, &gid); n != 2 || err != nil || uid < 0 || gid < 0 {
		return none, fmt.Errorf("user: want UID:GID, have %q: %w", in.User, fault.Invalid)
	}
	if uid != c.UID {
		if err := c.May("import-at of others' jobs", control.Admin); err != nil {
			return none, err
		}
	}
	if in.Spool == "" || len(in.Spool) > 200 || strings.ContainsAny(in.Spool, "/ \n") {
		return none, fmt.Errorf("spool: %q does not tell a file: %w", in.Spool, fault.Invalid)
	}
	name, ok := d.User(strconv.Itoa(uid))
	if !ok {
		return none, fmt.Errorf("there is no user with the uid %d any more: %w", uid, fault.Conflict)
	}
	owner := control.Caller{Role: control.Submitter, Name: name, UID: uid, GID: gid, Via: c.Via}
	if uid == c.UID {
		owner.PID = c.PID // and what his process is under
	}
	user, err := d.Identity(owner)
	if err != nil {
		return none, err
	}
	script, err := atScript(&in.AtIn)
	if err != nil {
		return none, err
	}
	j := atJob(&in.AtIn, name, inGroup(user, gid), script)
	j.AtJob.MailTo, j.AtJob.Spool = in.Mailto, in.Spool
	added, err := d.Engine.Add(ctx, []activation.NewJob{j})
	res := addReply(added, 0, err)
	return res.Reply, res.Err
}
