package panel

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"activationd/control"
	"activationd/internal/fault"
)

// queuesData is what the list of queues shows.
type queuesData struct {
	Lede  string
	Tabs  []link
	Match string
	Keep  []pair
	Rows  []queueRow
	All   int
	Next  string
	Paged bool
}

// A queueRow is a queue in the list.
type queueRow struct {
	control.Queue
	State, Text string
	Button      *button // the one thing that helps
}

func (p *Panel) fillQueues(v *view) error {
	all, err := get[control.Queue](v.r.Context(), p, v.Caller, "queue list", &control.QueueListIn{})
	if err != nil {
		return err
	}
	show, after := v.arg("show"), v.arg("after")
	d := queuesData{Match: v.arg("match"), Keep: v.keep("match", "after"), All: len(all), Paged: after != ""}
	d.Tabs = v.tabs("show", []string{"after"}, pair{"All", ""}, pair{"Need attention", "troubled"})
	slices.SortFunc(all, func(a, b control.Queue) int { return strings.Compare(a.Name, b.Name) })
	var waiting, dead, troubled int64
	for i := range all {
		q := &all[i]
		waiting, dead = waiting+q.Ready, dead+q.Dead
		row := v.queueRow(q)
		wrong := q.Dead > 0 || row.State == "fatal" || row.State == "paused" || q.Listener == "" && len(q.ByHand) == 0 && q.Ready > 0
		if wrong {
			troubled++
		}
		if show == "troubled" && !wrong || !contains(d.Match, q.Name, row.Text) || q.Name <= after {
			continue
		}
		if len(d.Rows) == pageRows {
			d.Next = v.With("after", d.Rows[pageRows-1].Name)
			continue
		}
		d.Rows = append(d.Rows, row)
	}
	d.Lede = fmt.Sprintf("%s, with %s ready and %s", plural(len(all), "queue", "queues"),
		plural(int(waiting), "message", "messages"), plural(int(dead), "dead letter", "dead letters"))
	if troubled > 0 {
		d.Lede += fmt.Sprintf("; %d of them need attention", troubled)
		if troubled == 1 {
			d.Lede = strings.TrimSuffix(d.Lede, "1 of them need attention") + "1 of them needs attention"
		}
	}
	v.Data = d
	return nil
}

// queueRow says what serves a queue, and what helps if that does not work.
func (v *view) queueRow(q *control.Queue) queueRow {
	row := queueRow{Queue: *q, State: "served", Text: fmt.Sprintf("%d of %s", q.Processes, plural(q.Instances, "process", "processes"))}
	switch {
	case q.Deleting != nil:
		row.State, row.Text = "draining", "is being deleted"+by(q.Deleting.By)
	case q.Paused != nil && q.Paused.Fault:
		row.State, row.Text = "fatal", q.Paused.Reason
	case q.Paused != nil:
		row.State, row.Text = "paused", strings.TrimPrefix(by(q.Paused.By), ", ")
		if q.Paused.Reason != "" {
			row.Text = strings.TrimPrefix(row.Text+": ", ": ") + q.Paused.Reason
		}
	case len(q.ByHand) > 0:
		row.Text = "by hand, " + q.ByHand[0].User
	case q.Builtin && q.Listener == "":
		row.Text = "the daemon"
	case q.Listener == "":
		row.State, row.Text = "unserved", cmp.Or(q.Reason, "no listener")
	case q.Reason != "":
		row.State, row.Text = "fatal", q.Reason
	case q.Processes > 0 || q.Work > 0:
		row.State = "served"
	}
	switch {
	case q.Deleting != nil:
	case q.Paused != nil:
		row.Button = v.Button("queue resume", "name", q.Name)
	case q.Dead > 0:
		row.Button = v.Button("queue retry", "name", q.Name).called("Retry dead letters…")
	}
	return row
}

// by says who did something; nobody: nothing.
func by(who string) string {
	if who == "" {
		return ""
	}
	return ", by " + who
}

// queueData is what the page of a queue shows.
type queueData struct {
	It      queueRow
	Buttons []*button
	Tabs    []link
	State   string // of the messages that are shown
	Rows    []*messageRow
	Next    string
	Paged   bool
	Open    *messageRow // the message that is shown whole
	Gone    string      // why it is not
}

// A messageRow is a message of a queue.
type messageRow struct {
	control.QueueMessage
	Address string   // where it is shown whole
	Names   []string // of its headers, sorted
	Buttons []*button
}

// messageRows is how many messages a page has, and openBody how much of a body is shown whole.
const (
	messageRows = 50
	openBody    = 64 << 10
)

func (p *Panel) fillQueue(v *view) error {
	ctx, name := v.r.Context(), v.r.PathValue("name")
	it, err := one[control.Queue](ctx, p, v.Caller, "queue show", &control.QueueNameIn{Name: name})
	if err != nil {
		return err
	}
	d := queueData{It: v.queueRow(&it), Paged: v.arg("after") != ""}
	d.State = cmp.Or(v.arg("state"), d.first())
	for _, tab := range []struct {
		state, text string
		n           int64
	}{{"ready", "Ready", it.Ready}, {"delayed", "Delayed", it.Delayed}, {"work", "In work", it.Work}, {"dead", "Dead letters", it.Dead}} {
		d.Tabs = append(d.Tabs, link{v.With("state", tab.state, "after", "", "message", ""), fmt.Sprintf("%s %d", tab.text, tab.n), tab.state == d.State})
	}
	if id, err := strconv.ParseUint(v.arg("message"), 10, 64); err == nil {
		m, err := one[control.QueueMessage](ctx, p, v.Caller, "queue peek", &control.QueuePeekIn{Name: name, ID: id, Body: strconv.Itoa(openBody)})
		switch {
		case err == nil:
			d.Open = v.messageRow(&m)
		case errors.Is(err, fault.NotFound):
			d.Gone = fmt.Sprintf("Message %d is not in the queue any more.", id)
		default:
			return err
		}
	}
	all, err := get[control.QueueMessage](ctx, p, v.Caller, "queue peek", &control.QueuePeekIn{
		Name: name, State: d.State, After: v.arg("after"), Limit: messageRows + 1, Body: "120",
	})
	if err != nil {
		return err
	}
	if len(all) > messageRows {
		all = all[:messageRows]
		last := &all[messageRows-1]
		d.Next = v.With("after", fmt.Sprintf("%d/%d", last.ID, last.Priority), "message", "")
	}
	for i := range all {
		d.Rows = append(d.Rows, v.messageRow(&all[i]))
	}
	d.Buttons = v.queueButtons(&it)
	v.Title, v.Data = it.Name, d
	return nil
}

// first is the state of the messages that people want to see first.
func (d *queueData) first() string {
	switch it := &d.It; {
	case it.Dead > 0:
		return "dead"
	case it.Ready == 0 && it.Work > 0:
		return "work"
	case it.Ready == 0 && it.Delayed > 0:
		return "delayed"
	}
	return "ready"
}

// queueButtons are for what can be done with a queue now.
func (v *view) queueButtons(q *control.Queue) (all []*button) {
	add := func(b *button) {
		if b != nil {
			all = append(all, b)
		}
	}
	if q.Deleting != nil {
		return nil
	}
	if q.Paused != nil {
		add(v.Button("queue resume", "name", q.Name))
	} else {
		add(v.Button("queue pause", "name", q.Name))
	}
	if q.Dead > 0 {
		add(v.Button("queue retry", "name", q.Name).called("Retry dead letters…"))
		add(v.Button("queue purge", "name", q.Name, "dead", "yes").called("Remove dead letters…"))
	}
	if q.Ready+q.Delayed > 0 {
		add(v.Button("queue purge", "name", q.Name).called("Remove what waits…"))
	}
	return all
}

// messageRow gives a message its address and its buttons.
func (v *view) messageRow(m *control.QueueMessage) *messageRow {
	id := strconv.FormatUint(m.ID, 10)
	row := &messageRow{QueueMessage: *m, Address: v.With("message", id) + "#message", Names: slices.Sorted(maps.Keys(m.Headers))}
	if m.State == "dead" {
		for _, b := range []*button{v.Button("queue retry", "name", m.Queue, "id", id), v.Button("queue purge", "name", m.Queue, "dead", "yes", "id", id)} {
			if b != nil {
				row.Buttons = append(row.Buttons, b)
			}
		}
	} else if b := v.Button("queue cancel", "name", m.Queue, "id", id); b != nil {
		row.Buttons = append(row.Buttons, b)
	}
	return row
}

// Length is the size of the body.
func (m *messageRow) Length() int64 { return int64(m.Size) }

// messages names the messages that an operation is about.
func messages(args url.Values) string {
	queue := args.Get("name")
	switch ids := args["id"]; {
	case len(ids) == 1:
		return "message " + ids[0] + " of " + queue
	case len(ids) > 1:
		return plural(len(ids), "message", "messages") + " of " + queue
	}
	return "the messages of " + queue
}

// deadLetters names the dead letters that an operation is about.
func deadLetters(args url.Values) string {
	if len(args["id"]) > 0 {
		return messages(args)
	}
	return "all dead letters of " + args.Get("name")
}

// purged names what a purge removes.
func purged(args url.Values) string {
	if args.Get("dead") != "" {
		return deadLetters(args)
	}
	return "all messages of " + args.Get("name") + " that wait"
}

// amount writes a number of bytes.
func amount(n int64) string {
	switch {
	case n >= 10<<20:
		return fmt.Sprintf("%d MiB", n>>20)
	case n >= 10<<10:
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d B", n)
}
