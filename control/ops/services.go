package ops

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"activationd/activation"
	"activationd/activation/service"
	"activationd/control"
	"activationd/internal/fault"
)

// serviceOps returns the operations on services.
func (d Daemon) serviceOps() []control.Op {
	return []control.Op{
		control.Declare("service list", control.Viewer, "list the instances of services", d.serviceList).At("GET /services"),
		control.Declare("service start", control.Operator, "start services, and what they need", d.serviceStart).At("POST /services/start"),
		control.Declare("service stop", control.Operator, "stop services, those that need others first", d.serviceStop).At("POST /services/stop"),
		control.Declare("service restart", control.Operator, "restart services", d.serviceRestart).At("POST /services/restart"),
		control.Declare("service scale", control.Operator, "change the number of instances of services", d.serviceScale).At("POST /services/{name}/scale"),
		control.Declare("service env", control.Admin, "compare the environment of services with what is declared", d.serviceEnv).At("GET /services/env"),
		control.Declare("service places", control.Viewer, "list where .env files declare services", d.servicePlaces).At("GET /services/places"),
	}
}

func (d Daemon) serviceList(ctx context.Context, c control.Caller, in control.ServiceIn) (reply control.Reply[control.ServiceInstance], err error) {
	all, err := d.selected(ctx, c, in)
	if err != nil {
		return reply, err
	}
	return d.instances(all), nil
}

// now returns instances, or those of services, as they are after a change. Some may be gone
// already.
func (d Daemon) now(ctx context.Context, c control.Caller, names []string) (reply control.Reply[control.ServiceInstance], err error) {
	all, err := d.Services.Select(ctx, actor(c), names, "")
	if err != nil && fault.Of(err) != fault.NotFound {
		return reply, err
	}
	return d.instances(all), nil
}

func (d Daemon) instances(all []service.Status) (reply control.Reply[control.ServiceInstance]) {
	counts := make(map[string]int)
	for i := range all {
		one := d.instance(&all[i])
		counts[one.State]++
		reply.Lines = append(reply.Lines, one)
	}
	reply.Summary = fmt.Sprintf("instances=%d", len(all))
	for _, state := range serviceStates {
		if n := counts[state]; n > 0 {
			reply.Summary += fmt.Sprintf(" %s=%d", state, n)
		}
	}
	return reply
}

// serviceStates are the states of instances, in the order of a life.
var serviceStates = []string{"down", "waiting", "starting", "ready", "unready", "draining", "stopping", "backoff", "fatal"}

// instance translates an instance.
func (d Daemon) instance(s *service.Status) control.ServiceInstance {
	r := &s.Record
	i := control.ServiceInstance{
		ID: r.ID, Service: r.Serving.Service, Instance: r.Serving.N, State: r.InstanceState(), Reason: r.Reason, Since: r.Since,
		Run: r.LastN[0], Failures: r.Tries, Groups: r.Tags, Listen: r.Serving.Listen, Command: beginning(control.ShellWords(r.Argv)),
	}
	switch {
	case i.State == "unready":
		i.Reason = r.Serving.Unready
	case i.State == "starting":
		i.Reason = d.lacks(r)
	case (i.State == "stopping" || i.State == "draining") && r.Serving.Stop != nil:
		i.Reason = r.Serving.Stop.Why
	}
	if s.Declaration != nil {
		i.Service = s.Declaration.Shown
		if s.Scale != nil {
			i.Scaled = &control.ServiceScale{Instances: s.Scale.Instances, Declared: s.Declaration.Instances, By: s.Scale.By, At: s.Scale.At}
		}
	}
	if o := s.Rollout; o != nil && (o.State != service.Rolled || o.Back) {
		i.Rollout = &control.ServiceRollout{State: o.State, By: o.By, At: o.At, Back: o.Back, Done: o.Done, Left: o.Todo, Text: o.String()}
		for _, turn := range o.Now {
			i.Rollout.Now = append(i.Rollout.Now, turn.N)
		}
		if o.Failed != nil {
			i.Rollout.Failed, i.Rollout.FailedRun, i.Rollout.Reason = o.Failed.ID, o.Failed.Run, o.Failed.Why
		}
		i.Extra = slices.Contains(o.Extra, i.Instance)
	}
	i.Killed = r.Serving.Killed > 0 && r.Serving.Killed == r.LastN[0]
	if r.User != nil {
		i.User = r.User.Name
	}
	if !r.RetryAt.IsZero() && r.State == activation.Waiting {
		i.Next.Time = r.RetryAt
	}
	if r.State == activation.Stuck {
		i.Next.Time = r.Until
	}
	if r.Running() {
		if a := r.LastAttempt(""); a != nil {
			i.PID, i.Started.Time = d.Engine.Process(r.ID, a)
		}
	}
	for _, a := range slices.Backward(r.Attempts) {
		if a.Open {
			continue
		}
		e := &control.LastExit{Run: a.N, At: a.Result.Ended, Reason: r.Describe(&a), Signal: a.Result.SignalName()}
		if status, ok := a.Result.ExitStatus(); ok {
			e.Exit = &status
		}
		i.LastExit = e
		break
	}
	return i
}

// lacks says why an instance is not ready yet; empty: that is not known, or it is in another
// state.
func (d Daemon) lacks(r *activation.Record) string {
	if d.Services == nil || r.Serving == nil || r.InstanceState() != "starting" {
		return ""
	}
	if lacks := d.Services.Lacks(r); lacks != "" {
		return "not ready yet: " + lacks
	}
	return ""
}

// chosen returns the instances that a request names. A request must say which.
func (d Daemon) chosen(ctx context.Context, c control.Caller, in control.ServiceIn) ([]service.Status, error) {
	if err := isChoice(in); err != nil {
		return nil, err
	}
	return d.selected(ctx, c, in)
}

func isChoice(in control.ServiceIn) error {
	if len(in.Name) == 0 && in.Group == "" {
		return fmt.Errorf("which services? want a NAME, a pattern such as 'web*', or --group; '*' means all: %w", fault.Invalid)
	}
	return nil
}

func (d Daemon) selected(ctx context.Context, c control.Caller, in control.ServiceIn) ([]service.Status, error) {
	if err := d.awaitLoad(ctx); err != nil {
		return nil, err
	}
	all, err := d.Services.Select(ctx, actor(c), in.Name, in.Group)
	return all, d.early(err)
}

// loadPatience is how long a request about services waits for the first load. A source that
// does not answer makes that last longer.
const loadPatience = 10 * time.Second

// awaitLoad waits until the daemon has read what is declared. If that takes too long, what is
// known from before counts.
func (d Daemon) awaitLoad(ctx context.Context) error {
	if !d.loading() {
		return nil
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(loadPatience):
	case <-d.Loaded:
	}
	return nil
}

// loading reports whether the first load has not ended yet.
func (d Daemon) loading() bool {
	select {
	case <-d.Loaded:
		return false
	default:
		return d.Loaded != nil
	}
}

// early returns a better error if a service is not known because it has not been read.
func (d Daemon) early(err error) error {
	if fault.Of(err) == fault.NotFound && d.loading() {
		return errLoading
	}
	return err
}

var errLoading = fmt.Errorf("the daemon has just started, and is still reading what is declared; try again, or look at atctl status: %w", fault.Unavailable)

func (d Daemon) serviceStart(ctx context.Context, c control.Caller, in control.ServiceStartIn) (reply control.Reply[control.ServiceInstance], err error) {
	all, err := d.chosen(ctx, c, in.ServiceIn)
	if err != nil {
		return reply, err
	}
	all, err = d.Services.WithNeeded(ctx, actor(c), all)
	if err != nil {
		return reply, err
	}
	newest, err := d.Engine.Newest(ctx)
	if err != nil {
		return reply, err
	}
	runs := make(map[string]int)
	ranks, err := d.Services.Order(ctx, actor(c), all)
	if err != nil {
		return reply, err
	}
	for _, rank := range ranks {
		records, err := d.Engine.Up(ctx, actor(c), ids(rank)...)
		if err != nil {
			return reply, err
		}
		for _, r := range records {
			runs[r.ID] = r.LastN[0]
		}
	}
	if in.Wait {
		err = d.Services.Await(ctx, newest, ids(all), func(s *service.Status) (bool, error) { return readyAfter(s, runs[s.ID]) })
		if err != nil {
			return reply, err
		}
	}
	return d.now(ctx, c, ids(all))
}

func ids(all []service.Status) (names []string) {
	for _, s := range all {
		names = append(names, s.ID)
	}
	return names
}

// readyAfter reports whether an instance is ready. The error says so when its run after the
// given one has failed.
func readyAfter(s *service.Status, run int) (bool, error) {
	switch state := s.InstanceState(); {
	case s.LastN[0] > run+1, s.LastN[0] > run && !s.Running(), state == "fatal", state == "down":
		return false, fmt.Errorf("%s did not get ready: it is %s: %s: %w", s.ID, state, s.Reason, fault.Conflict)
	default:
		return s.Ready(), nil
	}
}

func (d Daemon) serviceStop(ctx context.Context, c control.Caller, in control.ServiceStopIn) (reply control.Reply[control.ServiceInstance], err error) {
	if err := isChoice(in.ServiceIn); err != nil {
		return reply, err
	}
	all, err := d.Services.Select(ctx, actor(c), in.Name, in.Group) // what runs is stopped at once, without waiting for a load
	if fault.Of(err) == fault.NotFound {
		all, err = d.selected(ctx, c, in.ServiceIn)
	}
	if err != nil {
		return reply, err
	}
	more, err := d.Services.Dependants(ctx, actor(c), all)
	if err != nil {
		return reply, err
	}
	if len(more) > 0 && !in.Dependants {
		return reply, fmt.Errorf("the running %s would lose what they need; --with-dependants stops them, too, and first: %w", strings.Join(ids(more), ", "), fault.Conflict)
	}
	all = append(all, more...)
	ranks, err := d.Services.Order(ctx, actor(c), all)
	if err != nil {
		return reply, err
	}
	slices.Reverse(ranks) // the engine stops first those that need others: they must be the first that it knows of
	newest, err := d.Engine.Newest(ctx)
	if err != nil {
		return reply, err
	}
	if _, err := d.Engine.Down(ctx, actor(c), ids(slices.Concat(ranks...))...); err != nil {
		return reply, err
	}
	err = d.Services.Await(ctx, newest, ids(all), func(s *service.Status) (bool, error) { return !s.Running(), nil })
	if err != nil {
		return reply, err
	}
	return d.now(ctx, c, ids(all))
}

func (d Daemon) serviceRestart(ctx context.Context, c control.Caller, in control.ServiceRestartIn) (reply control.Reply[control.ServiceInstance], err error) {
	all, err := d.chosen(ctx, c, in.ServiceIn)
	if err != nil {
		return reply, err
	}
	ranks, err := d.Services.Order(ctx, actor(c), all)
	if err != nil {
		return reply, err
	}
	how, rolling := service.Begin, in.Rolling || in.Continue || in.Back
	switch {
	case in.Continue && in.Back:
		return reply, fmt.Errorf("continue and back exclude each other: %w", fault.Invalid)
	case in.Continue:
		how = service.Continue
	case in.Back:
		how = service.Back
	}
	switch {
	case rolling && d.loading():
		return reply, errLoading
	case rolling:
		return d.roll(ctx, c, ranks, how)
	}
	for _, rank := range ranks {
		for _, s := range rank {
			if _, err := d.Engine.Restart(ctx, actor(c), s.ID); err != nil {
				return reply, err
			}
		}
	}
	return d.now(ctx, c, ids(all))
}

// roll begins rolling restarts, and waits for their end. They go on if the client does not
// wait.
func (d Daemon) roll(ctx context.Context, c control.Caller, ranks [][]service.Status, how service.Manner) (reply control.Reply[control.ServiceInstance], err error) {
	newest, err := d.Engine.Newest(ctx)
	if err != nil {
		return reply, err
	}
	names, err := d.Services.Roll(ctx, actor(c), ranks, how)
	if err != nil {
		return reply, err
	}
	stopped := d.Services.Rolled(ctx, newest, names)
	reply, err = d.now(ctx, c, names)
	for i := range reply.Lines {
		one := &reply.Lines[i]
		if r := one.Rollout; r != nil && r.State == service.Stopped && r.Failed == one.ID {
			one.Output = d.lastOutput(ctx, c, one.ID, r.FailedRun)
		}
	}
	return reply, cmp.Or(stopped, err)
}

// lastOutput returns the last lines of a run of an instance, as many as there are of a few.
func (d Daemon) lastOutput(ctx context.Context, c control.Caller, id string, run int) (lines []string) {
	const most, bytes = 10, 4 << 10
	_, logs, err := d.Engine.Logs(ctx, actor(c), id)
	i := slices.IndexFunc(logs, func(l activation.Log) bool { return l.Attempt.N == run })
	if err != nil || i < 0 {
		return nil
	}
	f, err := logs[i].Open()
	if err != nil {
		return nil
	}
	defer f.Close()
	from, err := lastLines(f, f.Size(), most)
	if err != nil {
		return nil
	}
	text := make([]byte, min(bytes, f.Size()-from))
	if n, err := f.ReadAt(text, f.Size()-int64(len(text))); n < len(text) && err != nil {
		return nil
	}
	for line := range strings.Lines(string(text)) {
		lines = append(lines, control.Text(strings.TrimSuffix(line, "\n")))
	}
	return lines
}

func (d Daemon) serviceScale(ctx context.Context, c control.Caller, in control.ServiceScaleIn) (reply control.Reply[control.ServiceInstance], err error) {
	switch {
	case in.Declared && in.Instances != 0:
		return reply, fmt.Errorf("instances and declared exclude each other: %w", fault.Invalid)
	case !in.Declared && in.Instances == 0:
		return reply, fmt.Errorf("instances: want 1 or more; to have none run, stop the service: %w", fault.Invalid)
	}
	if err := d.awaitLoad(ctx); err != nil {
		return reply, err
	}
	names, err := d.Services.Scale(ctx, actor(c), in.Name, in.Instances)
	if err != nil {
		return reply, d.early(err)
	}
	return d.now(ctx, c, names)
}

func (d Daemon) serviceEnv(ctx context.Context, c control.Caller, in control.ServiceIn) (reply control.Reply[control.ServiceVariable], err error) {
	all, err := d.chosen(ctx, c, in)
	if err != nil {
		return reply, err
	}
	declared, rejected, err := d.Declared()
	if err != nil {
		return reply, err
	}
	differ := 0
	for i := range all {
		s := &all[i]
		name, n := s.Serving.Service, s.Serving.N
		at := slices.IndexFunc(declared, func(d *service.Declaration) bool { return d.Name == name })
		if at < 0 {
			for _, f := range rejected {
				if f.Service.Name == name && f.Text != "" {
					return reply, f
				}
			}
			return reply, fmt.Errorf("%s is not declared any more, or its file is just being changed; try again: %w", s.ID, fault.NotFound)
		}
		order, err := declared[at].Order(n)
		if err != nil {
			return reply, err
		}
		runs, then, err := d.Engine.Environments(&s.Record, order)
		if err != nil {
			return reply, err
		}
		for _, v := range compareVariables(runs, then) {
			v.ID, v.Service, v.Instance = s.ID, declared[at].Shown, n
			if v.Differs {
				differ++
			}
			reply.Lines = append(reply.Lines, v)
		}
	}
	reply.Summary = fmt.Sprintf("instances=%d differ=%d", len(all), differ)
	return reply, nil
}

// compareVariables compares the variables of a process with those of the next one. Runs is nil
// if there is no process.
func compareVariables(runs, then map[string]string) (all []control.ServiceVariable) {
	both := maps.Clone(then)
	maps.Copy(both, runs)
	seen, hidden := variables(runs)
	next, more := variables(then)
	for _, name := range slices.Sorted(maps.Keys(both)) {
		was, had := runs[name]
		is, has := then[name]
		v := control.ServiceVariable{Name: control.Text(name), Differs: runs != nil && (had != has || was != is)}
		v.Masked = slices.Contains(hidden, v.Name) || slices.Contains(more, v.Name)
		if had {
			v.Runs = new(seen[v.Name])
		}
		if has {
			v.Declared = new(next[v.Name])
		}
		all = append(all, v)
	}
	return all
}

func (d Daemon) servicePlaces(context.Context, control.Caller, control.Nothing) (control.Reply[control.ServicePlace], error) {
	return control.Reply[control.ServicePlace]{Lines: d.Places()}, nil
}
