package ops

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"activationd/activation"
	"activationd/control"
	"activationd/internal/fault"
	"activationd/schedule/timespec"
)

// pauseQueue is what can be paused besides what package activation knows.
const pauseQueue = "queue"

// pauseOps returns the operations on pauses.
func (d Daemon) pauseOps() []control.Op {
	return []control.Op{
		control.Declare("pause", control.Operator, "let nothing begin: of the daemon, a source, a queue or a device; what runs goes on", d.pause).At("POST /pauses").Single(),
		control.Declare("resume", control.Operator, "let what was paused begin again", d.resume).At("DELETE /pauses").Single(),
		control.Declare("pauses", control.Viewer, "list what is paused", d.pauses).At("GET /pauses"),
	}
}

func (d Daemon) pause(ctx context.Context, c control.Caller, in control.PauseIn) (reply control.Reply[control.Pause], err error) {
	if in.What == pauseQueue {
		if err := onlyQueue(in.Name); err != nil {
			return reply, err
		}
		out, err := d.queuePause(ctx, c, control.QueuePauseIn{Name: []string{in.Name}, Reason: in.Reason, Until: in.Until})
		return pausedQueues(out.Lines), err
	}
	until, err := pauseEnd(in.Until, time.Now())
	if err != nil {
		return reply, err
	}
	p, err := d.Engine.Pause(ctx, actor(c), activation.Pause{What: in.What, Name: in.Name, Until: until, Reason: control.OneLine(in.Reason)})
	if err != nil {
		return reply, err
	}
	reply = onePause(activation.PauseInForce{Pause: p})
	if p.What == activation.PauseDevice {
		reply.Lines[0].Notice, err = d.unknownDevice(ctx, p.Name)
	}
	return reply, err
}

// unknownDevice says that nobody has named a device; empty: somebody has. It is no error, because
// a job may get a lock of that name.
func (d Daemon) unknownDevice(ctx context.Context, name string) (string, error) {
	listed, err := d.inventory()
	if err != nil {
		return "", nil //nolint:nilerr // what is wrong with the inventory is reported elsewhere
	}
	return d.unnamedDevice(ctx, listed, name)
}

// unnamedDevice is unknownDevice with the devices of the inventory.
func (d Daemon) unnamedDevice(ctx context.Context, listed map[string][]string, name string) (string, error) {
	if _, has := listed[name]; has {
		return "", nil
	}
	named, err := d.Engine.NamesDevice(ctx, name)
	if named || err != nil {
		return "", err
	}
	return fmt.Sprintf("neither the inventory nor a reservation has a device %s: is that its name?", name), nil
}

// unknownDevices says which of the names of a filter nobody has given to a device, if nothing
// matches the filter that has it.
func (d Daemon) unknownDevices(ctx context.Context, f activation.Filter) (string, error) {
	if len(f.Devices) == 0 {
		return "", nil
	}
	listed, err := d.inventory() // once: it is a file
	if err != nil {
		return "", nil //nolint:nilerr // what is wrong with the inventory is reported elsewhere
	}
	errFound := errors.New("found")
	var texts []string
	f.Sort = "" // any is enough
	for _, name := range f.Devices {
		if name == "" {
			continue
		}
		text, err := d.unnamedDevice(ctx, listed, name)
		if text != "" {
			f.Devices = []string{name}
			err = d.Engine.List(ctx, f, func(activation.View) error { return errFound })
		}
		switch {
		case errors.Is(err, errFound) || text == "" && err == nil:
		case err != nil:
			return "", err
		default:
			texts = append(texts, text)
		}
	}
	return strings.Join(texts, "; "), nil
}

// pauseEnd reads the end of a pause: a time, or a duration from now.
func pauseEnd(text string, now time.Time) (time.Time, error) {
	if t, err := timespec.TypedUntil(text, now, time.Local); err == nil {
		return t, nil
	}
	return timeOrAfter("until", text, now, "from now", now)
}

func (d Daemon) resume(ctx context.Context, c control.Caller, in control.ResumeIn) (reply control.Reply[control.Pause], err error) {
	if in.What == pauseQueue {
		if err := onlyQueue(in.Name); err != nil {
			return reply, err
		}
		_, err := d.queueResume(ctx, c, control.QueueResumeIn{Name: []string{in.Name}})
		return reply, err
	}
	p, err := d.Engine.Resume(ctx, actor(c), in.What, in.Name)
	if err != nil {
		return reply, err
	}
	return onePause(p), nil
}

// onlyQueue returns an error if no queue is named.
func onlyQueue(name string) error {
	if name == "" {
		return fmt.Errorf("name: want the name of the queue: %w", fault.Invalid)
	}
	return nil
}

func (d Daemon) pauses(ctx context.Context, _ control.Caller, _ control.Nothing) (reply control.Reply[control.Pause], err error) {
	reply.Lines, err = d.paused(ctx)
	if err != nil || d.Queues == nil {
		return reply, err
	}
	queues, err := d.Queues.Queues(ctx)
	reply.Lines = append(reply.Lines, pausedQueues(queuesReply(queues).Lines).Lines...)
	reply.Summary = "paused=" + strconv.Itoa(len(reply.Lines))
	return reply, err
}

// paused returns what is paused, except queues.
func (d Daemon) paused(ctx context.Context) (all []control.Pause, err error) {
	ps, err := d.Engine.Pauses(ctx)
	for _, p := range ps {
		all = append(all, onePause(p).Lines...)
	}
	return all, err
}

func onePause(p activation.PauseInForce) control.Reply[control.Pause] {
	return control.Reply[control.Pause]{Lines: []control.Pause{{
		What: p.What, Name: p.Name, Since: p.Since, Until: control.Instant{Time: p.Until}, By: p.By, Reason: p.Reason, Waiting: p.Waiting,
	}}}
}

// pausedQueues are the pauses among queues.
func pausedQueues(queues []control.Queue) (reply control.Reply[control.Pause]) {
	for i := range queues {
		if p := queues[i].Paused; p != nil && !queues[i].Builtin {
			reply.Lines = append(reply.Lines, control.Pause{
				What: pauseQueue, Name: queues[i].Name, Since: p.At, Until: control.Instant{Time: p.Until}, By: p.By, Reason: p.Reason, Waiting: int(queues[i].Ready),
			})
		}
	}
	return reply
}
