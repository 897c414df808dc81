package panel

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"activationd/control"
)

// eventsData is what the pages of events and of requests show.
type eventsData struct {
	Tabs  []link
	Chips []chip
	Match string
	Keep  []pair
	Rows  []eventRow
	Older string // the address of the page with older ones
	More  string // of a page that goes on with the search: this one has ended before it had enough
	Gone  bool   // older ones are not kept any more, or there are none
	Paged bool
	Any   bool // filters are in force
}

// An eventRow is an event in a list.
type eventRow struct {
	control.Event
	State   string // for the symbol; empty: none
	Word    string // what has happened
	Address string // of the page about the thing; empty: there is none
	Text    string
}

// eventFilters are the arguments of events that the address may have.
var eventFilters = []string{"topic", "id", "owner", "kind", "by", "action", "outcome", "since"}

// searched returns the page of events before a number that the address asks for, the newest first.
func (v *view) searched(in *control.EventsIn) (d eventsData, err error) {
	q := v.r.URL.Query()
	in.Topic, in.ID, in.Owner, in.Kind, in.By, in.Outcome = q["topic"], q.Get("id"), q.Get("owner"), q.Get("kind"), q.Get("by"), q["outcome"]
	in.Since, in.Match, in.Before, in.Newest = q.Get("since"), q.Get("match"), q.Get("before"), pageRows+1
	d = eventsData{Chips: v.chips(eventFilters...), Match: in.Match, Keep: v.keep("match", "before"), Paged: in.Before != ""}
	d.Any = len(d.Chips) > 0 || d.Match != ""
	all, err := get[control.Event](v.r.Context(), v.panel, v.Caller, "events", in)
	if err != nil {
		return d, err
	}
	if d.Paged {
		v.page.topics = "" // what is over stays as it is
	}
	if len(all) > 0 && all[0].What == control.EventGap && all[0].Seq > 0 && len(all) <= pageRows {
		d.More = v.With("before", strconv.FormatUint(all[0].Seq+1, 10))
		all = all[1:]
	}
	slices.Reverse(all)
	if len(all) > pageRows {
		all = all[:pageRows]
		d.Older, d.More = v.With("before", all[pageRows-1].Position()), ""
	}
	d.Gone = d.Older == "" && d.More == ""
	for i := range all {
		d.Rows = append(d.Rows, v.eventRow(&all[i]))
	}
	return d, nil
}

func (p *Panel) fillEvents(v *view) error {
	in := &control.EventsIn{}
	switch v.arg("show") {
	case "failed":
		in.Failed = true
	case "asked":
		in.Action = []string{"all"}
	}
	if actions := v.r.URL.Query()["action"]; len(actions) > 0 {
		in.Action = actions
	}
	d, err := v.searched(in)
	if err != nil {
		return err
	}
	d.Tabs = v.tabs("show", []string{"before"}, pair{"All", ""}, pair{"Failures", "failed"}, pair{"Requests", "asked"})
	v.Data = d
	return nil
}

func (p *Panel) fillAudit(v *view) error {
	in := &control.EventsIn{Action: []string{"all"}}
	if actions := v.r.URL.Query()["action"]; len(actions) > 0 {
		in.Action = actions
	}
	d, err := v.searched(in)
	if err != nil {
		return err
	}
	v.Data = d
	return nil
}

// eventRow says what has happened in words, and where more about it is.
func (v *view) eventRow(ev *control.Event) eventRow {
	row := eventRow{Event: *ev, Word: strings.ReplaceAll(word(ev.What), ".", " "), Text: ev.Reason}
	switch {
	case ev.Outcome != "":
		row.State, row.Word = ev.Outcome, word(ev.Outcome)
	case ev.What == "state" && ev.State != "":
		row.State = ev.State
		if ev.Kind == "service" {
			row.State = cmp.Or(instanceStates[ev.State], ev.State)
		}
		row.Word = word(row.State)
	case ev.Failed:
		row.State = "failed"
	}
	if ev.What == control.EventGap {
		row.Word, row.Text = "missing", "The events "+strconv.FormatUint(ev.From, 10)+" to "+ev.Position()+" are missing. "+sentence(ev.Reason)
	}
	if row.Text == "" {
		row.Text = ev.Text
	}
	if len(ev.Changes) > 0 {
		changes := control.ChangesText(ev.Changes, v.Clock)
		row.Text = strings.TrimPrefix(row.Text+"; "+changes, "; ")
	}
	if ev.Phase != "" && ev.Attempt > 0 && row.Text == "" {
		row.Text = ev.Phase + ", attempt " + strconv.Itoa(ev.Attempt)
	}
	row.Text = v.Told(row.Text)
	switch id := segment(ev.ID); {
	case ev.ID == "":
	case ev.Kind == "service":
		row.Address = v.panel.base + "/services/" + id
	case ev.Kind == "job", ev.Kind == "reservation":
		row.Address = v.panel.base + "/activations/" + id
	case ev.Kind == "queue":
		row.Address = v.panel.base + "/queues/" + id
	}
	return row
}

// instanceStates are the states of instances of services by those of the engine.
var instanceStates = map[string]string{"stuck": "fatal", "active": "ready", "activating": "starting", "deactivating": "stopping", "waiting": "backoff"}

// Seconds writes a time with its seconds: "10:46:05" today, "Mon 10:46:05" else.
func (v *view) Seconds(t time.Time) string {
	t = t.In(v.Zone)
	if t.Format(time.DateOnly) == v.Now.Format(time.DateOnly) {
		return t.Format(time.TimeOnly)
	}
	return v.Clock(t) + t.Format(":05")
}

// RFC writes a time for programs, and Exact for people.
func (v *view) RFC(t time.Time) string { return t.In(v.Zone).Format(time.RFC3339) }
func (v *view) Exact(t time.Time) string {
	return t.In(v.Zone).Format("Mon 2 Jan 2006 15:04:05 -07:00")
}
