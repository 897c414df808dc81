package panel

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"activationd/control"
)

// comingTimes is how many coming times the page of a recurrence shows.
const comingTimes = 10

// recurrencesData is what the list of recurrences shows.
type recurrencesData struct {
	Match string
	Rows  []recurrenceRow
	All   int    // how many there are
	Next  string // the address of the next page
	Paged bool
}

type recurrenceRow struct {
	control.Recurrence
	Ends    string // how its jobs have ended, in words
	Buttons []*button
}

func (v *view) recurrence(r control.Recurrence) recurrenceRow {
	row := recurrenceRow{Recurrence: r}
	var ends []string
	for _, outcome := range slices.Sorted(maps.Keys(r.Outcomes)) {
		ends = append(ends, strconv.Itoa(r.Outcomes[outcome])+" "+word(outcome))
	}
	row.Ends = strings.Join(ends, ", ")
	ops := []string{"every hold", "every run"}
	switch r.State {
	case "held":
		ops[0] = "every release"
	case "over":
		ops = ops[1:]
	}
	for _, op := range ops {
		if b := v.Button(op, "name", r.Name); b != nil {
			row.Buttons = append(row.Buttons, b)
		}
	}
	return row
}

func (p *Panel) fillRecurrences(v *view) error {
	d := recurrencesData{Match: v.arg("match")}
	all, err := get[control.Recurrence](v.r.Context(), p, v.Caller, "every list", &control.EveryListIn{})
	if err != nil {
		return err
	}
	d.All = len(all)
	after := v.arg("after")
	d.Paged = after != ""
	for _, r := range all {
		if after != "" && r.Name <= after || !contains(d.Match, r.Name, r.Owner, r.Label, r.Command, r.When) {
			continue
		}
		if len(d.Rows) == pageRows {
			d.Next = v.With("after", d.Rows[pageRows-1].Name)
			break
		}
		d.Rows = append(d.Rows, v.recurrence(r))
	}
	v.Data = d
	return nil
}

// recurrenceData is what the page of a recurrence shows.
type recurrenceData struct {
	It      control.RecurrenceDetail
	Row     recurrenceRow
	Coming  []control.Coming
	Command string
}

func (p *Panel) fillRecurrence(v *view) error {
	ctx, name := v.r.Context(), v.r.PathValue("name")
	var d recurrenceData
	var err error
	if d.It, err = one[control.RecurrenceDetail](ctx, p, v.Caller, "every show", &control.NameIn{Name: name}); err != nil {
		return err
	}
	if d.It.State != "over" {
		if d.Coming, err = get[control.Coming](ctx, p, v.Caller, "next", &control.NextIn{Name: name, N: comingTimes}); err != nil {
			return err
		}
	}
	d.Row, d.Command = v.recurrence(d.It.Recurrence), control.ShellWords(d.It.Argv)
	v.Title, v.Data = d.It.Name, d
	return nil
}
