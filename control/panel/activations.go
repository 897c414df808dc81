package panel

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"activationd/control"
	"activationd/internal/fault"
)

// pageRows is how many rows a page of a list has.
const pageRows = 100

// listData is what the list of activations shows.
type listData struct {
	Kind    string // reservation | job
	Tabs    []link
	Chips   []chip
	Match   string
	Keep    []pair // the arguments that a search keeps
	Columns []column
	Rows    []control.Activation
	Next    string // the address of the next page
	Paged   bool   // it is not the first page
	Limited bool   // there is more, but this order ends here
	Over    bool   // what is over is shown, too
	Bulk    []*button
}

// A column is a heading: its link sorts by it, or the other way round.
type column struct {
	Text, Class, Address string
	Sorted               string // ascending | descending, for aria-sort
}

// A chip is a filter that is in force.
type chip struct{ Name, Value, Without string }

type pair struct{ Name, Value string }

// filters are the arguments of list that the address may have, in the order of their chips.
var filters = []string{"state", "outcome", "failed", "owner", "device", "tag", "every", "since", "until", "match"}

// A list in another order than that of the store is made from the keys of all that match, for each
// page again. So it ends after a few pages: who wants to see more uses a filter.
const sortedPages = 10

func (p *Panel) fillActivations(v *view) error {
	q := v.r.URL.Query()
	d := listData{Kind: "reservation", Match: strings.TrimSpace(q.Get("match")), Chips: v.chips(filters...), Keep: v.keep("match", "after", "page")}
	if q.Get("kind") == "job" {
		d.Kind = "job"
	}
	for _, tab := range []struct{ kind, text string }{{"reservation", "Reservations"}, {"job", "Jobs"}} {
		d.Tabs = append(d.Tabs, link{Address: v.With("kind", tab.kind, "after", "", "page", ""), Text: tab.text, Here: tab.kind == d.Kind})
	}
	in := &control.ListIn{
		Kind: d.Kind, State: q["state"], Outcome: q["outcome"], Failed: q.Get("failed") != "", Owner: q.Get("owner"), Device: q["device"],
		Tag: q["tag"], Every: q.Get("every"), Since: q.Get("since"), Until: q.Get("until"), Match: d.Match,
		Sort: cmp.Or(q.Get("sort"), "id"), Reverse: q.Get("reverse") != "", Limit: pageRows + 1, After: q.Get("after"),
	}
	if len(in.State) == 0 && (len(in.Outcome) > 0 || in.Failed || in.Since != "") {
		in.State = []string{"all"}
	}
	number, stored := 1, in.Sort == "id" && !in.Reverse
	if !stored {
		var err error
		if number, err = pageNumber(q.Get("page")); err != nil {
			return err
		}
		in.After, in.Limit = "", number*pageRows+1
	}
	var err error
	if d.Rows, err = get[control.Activation](v.r.Context(), p, v.Caller, "list", in); err != nil {
		return err
	}
	d.Rows = d.Rows[min(len(d.Rows), (number-1)*pageRows):]
	if len(d.Rows) > pageRows {
		d.Rows = d.Rows[:pageRows]
		switch {
		case stored:
			d.Next = v.With("after", d.Rows[pageRows-1].ID)
		case number < sortedPages:
			d.Next = v.With("page", strconv.Itoa(number+1))
		default:
			d.Limited = true
		}
	}
	d.Paged, d.Over = in.After != "" || number > 1, slices.Contains(in.State, "all")
	d.Columns = v.columns(d.Kind, in.Sort, in.Reverse)
	for _, op := range []string{"run", "hold", "release", "retry", "cancel", "forgive"} {
		if b := v.Button(op); b != nil && len(d.Rows) > 0 {
			d.Bulk = append(d.Bulk, b)
		}
	}
	v.Data = d
	return nil
}

// find leads from what people type at the top of a page to the activation with that id, or to the
// list that has some: of reservations or jobs, first those that are not finished.
func (p *Panel) find(w http.ResponseWriter, r *http.Request, c Client) {
	ctx, text := r.Context(), strings.TrimSpace(r.URL.Query().Get("text"))
	to := url.Values{"match": {text}}
	lists := []*control.ListIn{{Kind: "reservation"}, {Kind: "job"}, {Kind: "reservation", State: []string{"all"}}, {Kind: "job", State: []string{"all"}}}
	if c.Caller.Role < control.Viewer || text == "" {
		lists = nil
	} else if it, err := one[control.Detail](ctx, p, c.Caller, "show", &control.IDIn{ID: text}); err == nil {
		http.Redirect(w, r, p.base+"/activations/"+segment(it.ID), http.StatusSeeOther)
		return
	}
	for _, in := range lists {
		in.Match, in.Limit = text, 1
		some, err := get[control.Activation](ctx, p, c.Caller, "list", in)
		if err != nil {
			p.fail(w, r, c, page{}, err)
			return
		}
		if len(some) > 0 {
			to["kind"], to["state"] = []string{in.Kind}, in.State
			break
		}
	}
	http.Redirect(w, r, p.base+"/activations?"+to.Encode(), http.StatusSeeOther)
}

// pageNumber reads the number of a page of a sorted list.
func pageNumber(text string) (int, error) {
	if text == "" {
		return 1, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > sortedPages {
		return 0, fmt.Errorf("page: want 1 to %d, have %.20q: %w", sortedPages, text, fault.Invalid)
	}
	return n, nil
}

// columns returns the headings of the list in an order.
func (v *view) columns(kind, sorted string, reverse bool) (all []column) {
	what, from, until := "Label", "From", "Until"
	if kind == "job" {
		what, from, until = "What", "Starts", "Ended"
	}
	for _, c := range []struct{ text, class, sort string }{
		{"Id", "", "id"}, {"State", "", "state"}, {"Owner", "", "owner"}, {what, "", ""}, {from, "num", "planned"}, {until, "num", "ended"}, {"Reason", "", ""},
	} {
		col := column{Text: c.text, Class: c.class}
		if kind == "reservation" && c.sort == "ended" { // that of an activation that is over
			c.sort = ""
		}
		if c.sort != "" {
			other := ""
			if c.sort == sorted {
				if col.Sorted = "descending"; !reverse {
					col.Sorted, other = "ascending", "yes"
				}
			}
			col.Address = v.With("sort", strings.TrimPrefix(c.sort, "id"), "reverse", other, "after", "", "page", "")
		}
		all = append(all, col)
	}
	return all
}

// without returns the page's address without one filter.
func (v *view) without(name, value string) string {
	q := v.r.URL.Query()
	q[name] = slices.DeleteFunc(slices.Clone(q[name]), func(s string) bool { return s == value })
	q.Del("after")
	if len(q) == 0 || q.Encode() == "" {
		return v.panel.base + v.r.URL.Path
	}
	return v.panel.base + v.r.URL.Path + "?" + q.Encode()
}

// Status returns the state of an activation for its symbol: one that conflicts has that of a
// conflict until it is over.
func (v *view) Status(a control.Activation) string {
	if a.Outcome == "" && len(a.Conflicts) > 0 {
		return "conflicting"
	}
	return a.Status
}

// Begins is when a slot begins, or the run of a job.
func (v *view) Begins(a control.Activation) time.Time {
	return cmp.Or(a.Start.Time, a.Started.Time, a.Planned)
}

// Because says why an activation is in its state, or what it cannot have.
func (v *view) Because(a control.Activation) string {
	if a.Reason == "" && a.Outcome == "" && len(a.Conflicts) > 0 {
		return v.conflict(&a.Conflicts[0])
	}
	return v.Told(a.Reason)
}

// What says what a job does.
func (v *view) What(a control.Activation) string { return cmp.Or(a.Label, a.Script, a.Command) }

// Passed is how much of a slot has passed, in percent; -1: it has not begun, or has no end.
func (v *view) Passed(a control.Activation) int {
	from, to := a.Start.Time, a.End.Time
	if from.IsZero() || to.IsZero() || !to.After(from) || v.Now.Before(from) {
		return -1
	}
	return int(min(100, 100*v.Now.Sub(from)/to.Sub(from)))
}

// segment writes an id as a segment of a path.
func segment(id string) string { return url.PathEscape(id) }

// activationData is what the page of an activation shows.
type activationData struct {
	It      control.Detail
	Why     []control.WhyLine
	Log     logView
	Left    filesView
	Buttons []*button
}

func (p *Panel) fillActivation(v *view) error {
	ctx, id := v.r.Context(), v.r.PathValue("id")
	var d activationData
	var err error
	if d.It, err = one[control.Detail](ctx, p, v.Caller, "show", &control.IDIn{ID: id}); err != nil {
		return err
	}
	if d.Why, err = get[control.WhyLine](ctx, p, v.Caller, "why", &control.IDIn{ID: id}); err != nil {
		return err
	}
	if d.Log, err = p.logOf(v, &d.It); err != nil {
		return err
	}
	if d.Left, err = p.filesOf(v, &d.It); err != nil {
		return err
	}
	ops := []string{"run", "hold", "release", "retry", "cancel", "forgive"}
	if d.It.Source == control.BookingSource {
		d.Buttons = v.bookingButtons(d.It.ID, d.It.Owner, d.It.State)
		ops = []string{"run", "hold", "release", "retry", "forgive"} // to end it is to cancel it
	}
	for _, op := range ops {
		if v.sensible(op, &d.It) {
			if b := v.Button(op, "id", d.It.ID); b != nil {
				d.Buttons = append(d.Buttons, b)
			}
		}
	}
	v.Title, v.Data = d.It.ID, d
	return nil
}

// sensible reports whether an operation can do something to an activation in its state.
func (v *view) sensible(op string, it *control.Detail) bool {
	state := it.State
	switch op {
	case "run", "hold":
		return state == "scheduled" || state == "waiting"
	case "release":
		return state == "held"
	case "retry":
		return state == "stuck" || it.Outcome != "" && it.Outcome != "succeeded"
	case "cancel":
		return it.Outcome == "" && state != "stuck" && state != "deactivating"
	case "forgive":
		return state == "stuck"
	}
	return false
}
