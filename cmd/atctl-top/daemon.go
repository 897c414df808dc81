package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"net"
	"sync"
	"time"

	tea "charm.land/bubbletea/v2"

	"activationd/control"
	"activationd/internal/fault"
)

const (
	patience  = 10 * time.Second       // for a reply of the daemon
	readEvery = 250 * time.Millisecond // the lists are not read more often
	mostRows  = 200                    // of a list
	logLines  = "1000"                 // of each attempt, that are read first
)

// What the daemon says, and what became of orders.
type (
	// A readMsg has everything that the panels show.
	readMsg struct {
		status        control.StatusOut
		running, next []control.Activation
		match         string // the lists have only what matches
		at            time.Time
	}
	// An awayMsg says that the daemon does not answer.
	awayMsg struct {
		err error
		at  time.Time
	}
	// A whyMsg explains an activation.
	whyMsg struct {
		id    string
		lines []control.WhyLine
		err   error
	}
	// A logMsg has a piece of output.
	logMsg struct {
		id   string
		out  control.LogOut
		data []byte
	}
	// A logEndMsg says that a log has ended, or cannot be read at present.
	logEndMsg struct {
		id    string
		err   error
		again bool // it goes on when the daemon answers again
	}
	// A doneMsg says what became of an order that changes something.
	doneMsg struct {
		order
		act control.Activation
		err error
	}
)

// A daemon asks the daemon for what the screen shows. Only setMatch and showLog do not wait
// for it.
type daemon struct {
	client   *control.Client
	happened chan struct{} // the lists may have changed

	mu    sync.Mutex
	match string

	logs chan string // the id whose output is wanted; empty: none
}

func newDaemon(client *control.Client) *daemon {
	dial := client.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	client.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, patience) // of a daemon that accepts nothing
		defer cancel()
		return dial(ctx, network, address)
	}
	return &daemon{client: client, happened: make(chan struct{}, 1), logs: make(chan string, 1)}
}

// notify wakes who waits for c, which has room for one.
func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (d *daemon) setMatch(text string) {
	d.mu.Lock()
	d.match = text
	d.mu.Unlock()
	notify(d.happened)
}

// showLog asks for the output of id, and no longer for that of another.
func (d *daemon) showLog(id string) {
	select {
	case <-d.logs: // nobody has seen it yet
	default:
	}
	d.logs <- id // only showLog sends
}

// follow sends what the daemon has, and again after each event, until ctx ends.
func (d *daemon) follow(ctx context.Context, send func(tea.Msg)) {
	outlast(ctx, func() error { return d.connected(ctx, send) }, func(err error) {
		send(awayMsg{err, time.Now()})
	})
}

// outlast calls request again and again until it succeeds or ctx ends, with a pause between
// the calls. It reports each failure.
func outlast(ctx context.Context, request func() error, report func(error)) {
	const first = 50 * time.Millisecond
	for pause := first; ; pause = min(2*pause, time.Second) {
		asked := time.Now()
		err := request()
		if err == nil || ctx.Err() != nil {
			return
		}
		report(err)
		if time.Since(asked) > time.Second { // the daemon was there in the meantime
			pause = first
		}
		if !sleep(ctx, pause) {
			return
		}
	}
}

// sleep reports whether it slept for d; it does not if ctx ends first.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// connected follows events until that fails.
func (d *daemon) connected(ctx context.Context, send func(tea.Msg)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r, err := d.client.Do(ctx, "events", control.EventsIn{})
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel(nil)
	wg.Go(func() {
		defer func() { _ = r.Close() }() // nothing more is read from it
		for _, err := range r.Lines() {
			if err != nil {
				cancel(err)
				return
			}
			notify(d.happened)
		}
		cancel(fmt.Errorf("the daemon has ended the stream of events: %w", fault.Unavailable))
	})
	// An event may happen after the beginning of the reply and before the daemon follows: a
	// last look at what happened in that moment.
	defer time.AfterFunc(time.Second, func() { notify(d.happened) }).Stop()
	for {
		began := time.Now()
		msg, err := d.read(ctx)
		if err != nil {
			return err
		}
		send(msg)
		// A daemon with very many records needs long for its lists, and is left alone for longer.
		if !sleep(ctx, max(readEvery-time.Since(began), 3*time.Since(began))) {
			return context.Cause(ctx)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-d.happened:
		}
	}
}

// read reads what the panels show.
func (d *daemon) read(ctx context.Context) (msg readMsg, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	d.mu.Lock()
	msg.match = d.match
	d.mu.Unlock()
	_, status, err := control.Call[control.StatusOut](ctx, d.client, "status", nil)
	if err != nil {
		return msg, err
	}
	if len(status) != 1 {
		return msg, fmt.Errorf("the daemon's status has %d lines instead of 1: %w", len(status), fault.Internal)
	}
	msg.status, msg.at = status[0], time.Now()
	runs := control.ListIn{State: []string{"activating", "active", "deactivating"}, Match: msg.match, Sort: "started", Limit: mostRows}
	instances := runs
	instances.Kind = "service"
	next := control.ListIn{State: []string{"scheduled", "waiting", "held"}, Match: msg.match, Limit: mostRows}
	for _, l := range []struct {
		in   control.ListIn
		into *[]control.Activation
	}{{runs, &msg.running}, {instances, &msg.running}, {next, &msg.next}} {
		_, acts, err := control.Call[control.Activation](ctx, d.client, "list", l.in)
		if err != nil {
			return msg, err
		}
		*l.into = append(*l.into, acts...)
	}
	return msg, nil
}

// why asks for the explanation of an activation.
func (d *daemon) why(id string) whyMsg {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, lines, err := control.Call[control.WhyLine](ctx, d.client, "why", control.IDIn{ID: id})
	return whyMsg{id, lines, err}
}

// do carries out an order that changes something.
func (d *daemon) do(o order) doneMsg {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	in := any(control.IDIn{ID: o.id})
	switch o.verb {
	case "cancel":
		in = control.CancelIn{ID: o.id}
	case "retry":
		in = control.RetryIn{ID: o.id, Failed: true}
	}
	_, acts, err := control.Call[control.Activation](ctx, d.client, o.verb, in)
	if err == nil && len(acts) == 0 {
		err = fmt.Errorf("the daemon's reply to %s is empty: %w", o.verb, fault.Internal)
	}
	if err != nil {
		return doneMsg{order: o, err: err}
	}
	return doneMsg{order: o, act: acts[0]}
}

// copyLogs sends the output of the id that showLog was called with last, until ctx ends.
func (d *daemon) copyLogs(ctx context.Context, send func(tea.Msg)) {
	for id := ""; ctx.Err() == nil; {
		id = d.copyUntilNext(ctx, id, send)
	}
}

// copyUntilNext sends the output of an id, if it is not empty, until showLog is called, and
// returns the id that it was called with.
func (d *daemon) copyUntilNext(ctx context.Context, id string, send func(tea.Msg)) (next string) {
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if id != "" {
		wg.Go(func() { d.copyLog(ctx, id, send) })
	}
	select {
	case <-ctx.Done():
	case next = <-d.logs:
	}
	return next
}

// copyLog sends the output of an activation as it grows, until that is finished. If the daemon
// is restarted, it goes on where it was.
func (d *daemon) copyLog(ctx context.Context, id string, send func(tea.Msg)) {
	in := control.LogIn{ID: id, Lines: logLines, Follow: true}
	outlast(ctx, func() error {
		err := control.Stream(ctx, d.client, "log", in, func(out control.LogOut) error {
			data := []byte(out.Text)
			if out.Base64 != "" {
				var err error
				if data, err = base64.StdEncoding.DecodeString(out.Base64); err != nil {
					return fmt.Errorf("the daemon's reply: %w: %w", err, fault.Internal)
				}
			}
			if out.Next != "" {
				in.Next = out.Next
			}
			send(logMsg{id, out, data})
			return ctx.Err() // no more of it is wanted
		})
		if fault.Of(err) == fault.Unavailable {
			return err
		}
		if ctx.Err() == nil {
			send(logEndMsg{id: id, err: err})
		}
		return nil
	}, func(err error) { send(logEndMsg{id, err, true}) })
}
