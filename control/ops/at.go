package ops

import (
	"bytes"
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

// atOps returns the operations of at, atq, atrm and batch.
func (d Daemon) atOps() []control.Op {
	return []control.Op{
		control.DeclareBatch("at", control.Submitter, "add a job as at(1) does", d.at).At("POST /at").Single().Creates("/activations/{id}"),
		control.Declare("atq", control.Submitter, "list your own at jobs; as operator, all", d.atq).At("GET /at"),
		control.Declare("atrm", control.Submitter, "remove at jobs", d.atrm).At("POST /at/remove"),
		control.Declare("atcat", control.Submitter, "print the scripts of at jobs", d.atcat).At("GET /at/scripts"),
		control.Declare("import-at", control.Submitter, "add your own job from the spool of atd; as admin, any", d.importAt).At("POST /at/import").Single().Creates("/activations/{id}"),
	}
}

// at adds jobs as at(1) does, in one transaction for all requests.
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
	added, err := d.Engine.Add(ctx, actor(c), jobs)
	for k, i := range index {
		results[i] = addReply(added, k, err)
	}
	return results
}

// addReply returns the reply for job k of those that were added.
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

// newAtJob returns the job of a request. The lines that at(1) writes before the script, with
// the user and the recipient of the mail, come from the daemon and not from the client.
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

// atJob returns a job as atd runs it: once, and without a timeout.
func atJob(in *control.AtIn, owner string, user *activation.Identity, script []byte) activation.NewJob {
	timeout, retries := time.Duration(0), 0
	j := activation.NewJob{
		Order: activation.Order{
			Owner:   owner,
			User:    user,
			Argv:    []string{shell},
			Stdin:   script,
			Script:  control.ScriptTitle(atCommands(script)),
			Timeout: &timeout,
			Retries: &retries,
			Missed:  activation.MissedRun,
			AtJob:   &activation.AtJob{Queue: in.Queue, Mail: in.Mail},
		},
		At: time.Unix(int64(in.When), 0),
	}
	if j.AtJob.Queue == "" {
		j.AtJob.Queue = "a"
	}
	return j
}

// atCommands returns what the user wrote in the script of an at job: at(1) puts the user's
// environment and directory before it.
func atCommands(script []byte) string {
	if _, rest, ok := bytes.Cut(script, []byte("\ncd ")); ok {
		if _, rest, ok := bytes.Cut(rest, []byte("\n}\n")); ok {
			return string(rest)
		}
	}
	return string(script)
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
			return nil, fmt.Errorf("script: %.40q is not base64: %w", piece, fault.Invalid)
		}
		script = append(script, b...)
	}
	return script, nil
}

// mailTo returns the user who gets the output: the one in the request, or else the caller.
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

// inGroup returns user with the group of the process, if the user is in that group.
func inGroup(user *activation.Identity, gid int) *activation.Identity {
	if user.GID == gid || !slices.Contains(user.Groups, gid) {
		return user
	}
	other := *user
	other.GID = gid
	return &other
}

// maxAtLines is the number of jobs in one line of a reply.
const maxAtLines = 500

func (d Daemon) atq(ctx context.Context, c control.Caller, in control.AtqIn) (control.Reply[control.AtLines], error) {
	if err := d.MayAt(c); err != nil {
		return control.Reply[control.AtLines]{}, err
	}
	return control.Reply[control.AtLines]{Each: func(yield func(control.AtLines, error) bool) {
		var some control.AtLines
		errEnough := errors.New("enough")
		err := d.Engine.ListAt(ctx, actor(c), func(l activation.AtLine) error {
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

// eachAt calls do for each of the jobs, and returns the results.
func (d Daemon) eachAt(ctx context.Context, c control.Caller, ids []string,
	do func(*activation.Record, *control.AtResult) error) (control.Reply[control.AtResult], error) {
	var reply control.Reply[control.AtResult]
	if err := d.MayAt(c); err != nil {
		return reply, err
	}
	for _, id := range ids {
		res := control.AtResult{ID: id, What: control.AtDone}
		r, err := d.Engine.GetAt(ctx, actor(c), strings.TrimLeft(id, "0"))
		if err == nil {
			err = do(r, &res)
		}
		switch {
		case errors.Is(err, fault.NotFound), errors.Is(err, fault.Conflict): // a conflict: it has just ended
			res.What = control.AtMissing
		case errors.Is(err, fault.Denied):
			res.What = control.AtDenied
		case err != nil:
			return reply, err
		}
		reply.Lines = append(reply.Lines, res)
		if res.What == control.AtDenied { // at stops there
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
		_, err := d.Engine.Do(ctx, actor(c), r.ID, activation.Cancel, "removed by "+c.Name+" with atrm")
		return err
	})
}

func (d Daemon) atcat(ctx context.Context, c control.Caller, in control.AtIDsIn) (control.Reply[control.AtResult], error) {
	return d.eachAt(ctx, c, in.ID, func(r *activation.Record, res *control.AtResult) error {
		if v := (activation.View{Record: *r}).For(actor(c)); !v.Inputs {
			return fault.Denied
		}
		res.Base64 = base64.StdEncoding.EncodeToString(r.Stdin)
		return nil
	})
}

// importAt adds the job of a file in the spool of atd. The same file makes only one job,
// however often it is imported.
func (d Daemon) importAt(ctx context.Context, c control.Caller, in control.ImportAtIn) (control.Reply[control.AddOut], error) {
	var none control.Reply[control.AddOut]
	var uid, gid int
	if n, err := fmt.Sscanf(in.User, "%d:%d", &uid, &gid); n != 2 || err != nil || uid < 0 || gid < 0 {
		return none, fmt.Errorf("user: want UID:GID, have %q: %w", in.User, fault.Invalid)
	}
	if uid != c.UID {
		if err := c.May("import-at of other users' jobs", control.Admin); err != nil {
			return none, err
		}
	}
	if in.Spool == "" || len(in.Spool) > 200 || strings.ContainsAny(in.Spool, "/ \n") {
		return none, fmt.Errorf("spool: %q does not identify a file: %w", in.Spool, fault.Invalid)
	}
	name, ok := d.User(strconv.Itoa(uid))
	if !ok {
		return none, fmt.Errorf("the user with the uid %d does not exist any more: %w", uid, fault.Conflict)
	}
	owner := control.Caller{Role: control.Submitter, Name: name, UID: uid, GID: gid, Via: c.Via}
	if uid == c.UID {
		owner.PID = c.PID // with the restrictions of the caller's process
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
	added, err := d.Engine.Add(ctx, actor(c), []activation.NewJob{j})
	res := addReply(added, 0, err)
	return res.Reply, res.Err
}
