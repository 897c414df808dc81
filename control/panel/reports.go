package panel

import (
	"cmp"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"activationd/control"
	"activationd/internal/fault"
	"activationd/internal/timetext"
)

// reportsData is what the page of reports shows.
type reportsData struct {
	By      []link
	Of      []link
	Chips   []chip
	Months  []monthBar
	What    string // the bars show
	Month   string // "November 2026"
	Columns []reportColumn
	Rows    []reportRow
	Total   *control.ReportLine
	Next    string
	Paged   bool
	ByName  string // owner | device | tag
	Owner   string // of the filter's form
	Keep    []pair
}

// A monthBar is a month in the chart.
type monthBar struct {
	link

	Value  string
	Height int // in percent of the largest one
}

// A reportColumn is a number of each row. Its heading sorts by it.
type reportColumn struct {
	link

	Name string
}

// A reportRow is a row with the share that the bar shows.
type reportRow struct {
	control.ReportLine
	Address string // of the list of what it is about; empty: there is none
	Percent int
}

// reportMonths is how many months the chart has.
const reportMonths = 12

// A measure is what the chart and the bars in the rows can show.
type measure struct {
	name, text string
	of         func(*control.ReportLine) float64
}

var measures = []measure{
	{"device-hours", "Device hours", func(l *control.ReportLine) float64 { return l.DeviceHours }},
	{"job-hours", "Job hours", func(l *control.ReportLine) float64 { return l.JobHours }},
	{"slots", "Slots", func(l *control.ReportLine) float64 { return float64(l.Slots) }},
	{"jobs", "Jobs", func(l *control.ReportLine) float64 { return float64(l.Jobs) }},
	{"failures", "Failures", func(l *control.ReportLine) float64 { return float64(l.Failures) }},
}

func (p *Panel) fillReports(v *view) error {
	ctx := v.r.Context()
	of := measures[0]
	for _, m := range measures {
		if m.name == v.arg("of") {
			of = m
		}
	}
	by := cmp.Or(v.arg("by"), "owner")
	now := v.Now.In(time.Local) // months are those of the daemon's zone
	month := cmp.Or(v.arg("month"), now.Format("2006-01"))
	year, name, err := timetext.Month(month)
	if err != nil {
		return fmt.Errorf("month: %w: %w", err, fault.Invalid)
	}
	at := time.Date(year, name, 1, 0, 0, 0, 0, time.UTC)
	d := reportsData{What: of.text, Month: at.Format("January 2006"), ByName: by, Paged: v.arg("page") != "", Chips: v.chips("owner"), Owner: v.arg("owner"), Keep: v.keep("owner", "page")}
	d.By = v.tabs("by", []string{"page"}, pair{"Owners", "owner"}, pair{"Devices", "device"}, pair{"Tags", "tag"})
	var choices []pair
	for _, m := range measures {
		choices = append(choices, pair{m.text, m.name})
	}
	d.Of = v.tabs("of", []string{"page", "sort"}, choices...)
	if err := d.chart(v, of, now, at); err != nil {
		return err
	}
	sort := cmp.Or(v.arg("sort"), of.name)
	for _, c := range []reportColumn{
		{Name: "name", link: link{Text: sentenceStart(by)}},
		{Name: "slots", link: link{Text: "Slots"}},
		{Name: "jobs", link: link{Text: "Jobs"}},
		{Name: "runs", link: link{Text: "Runs"}},
		{Name: "failures", link: link{Text: "Failures"}},
		{Name: "device-hours", link: link{Text: "Device hours"}},
		{Name: "booked-hours", link: link{Text: "Booked hours"}},
		{Name: "job-hours", link: link{Text: "Job hours"}},
	} {
		c.Address, c.Here = v.With("sort", c.Name, "page", ""), c.Name == sort
		d.Columns = append(d.Columns, c)
	}
	all, err := get[control.ReportLine](ctx, p, v.Caller, "report", &control.ReportIn{By: by, Month: month, Owner: d.Owner, Sort: sort})
	if err != nil {
		return err
	}
	if n := len(all); n > 0 && all[n-1].Total {
		d.Total, all = &all[n-1], all[:n-1]
	}
	largest := 0.0
	for i := range all {
		largest = max(largest, of.of(&all[i]))
	}
	page, _ := strconv.Atoi(v.arg("page"))
	all = all[min(max(page, 0)*pageRows, len(all)):]
	if len(all) > pageRows {
		d.Next, all = v.With("page", strconv.Itoa(max(page, 0)+1)), all[:pageRows]
	}
	for i := range all {
		row := reportRow{ReportLine: all[i], Address: v.usedBy(&all[i])}
		if largest > 0 {
			row.Percent = int(100 * of.of(&all[i]) / largest)
		}
		d.Rows = append(d.Rows, row)
	}
	v.Data = d
	return nil
}

// chart draws the totals of the months up to the present one, or up to the chosen one if that is
// earlier than they.
func (d *reportsData) chart(v *view, of measure, now, chosen time.Time) error {
	last := time.Date(now.Year(), now.Month(), 1, 0, 0, 0, 0, time.UTC)
	if chosen.Before(last.AddDate(0, 1-reportMonths, 0)) {
		last = chosen
	}
	values, largest := make([]float64, reportMonths), 0.0
	for i := range values {
		at := last.AddDate(0, i+1-reportMonths, 0)
		lines, err := get[control.ReportLine](v.r.Context(), v.panel, v.Caller, "report", &control.ReportIn{Month: at.Format("2006-01"), Owner: d.Owner})
		if err != nil {
			return err
		}
		if n := len(lines); n > 0 {
			values[i] = of.of(&lines[n-1])
		}
		largest = max(largest, values[i])
	}
	for i, value := range values {
		at := last.AddDate(0, i+1-reportMonths, 0)
		name := at.Format("2006-01")
		text := at.Format("Jan")
		if i == 0 || at.Month() == time.January {
			text = at.Format("Jan 2006")
		}
		bar := monthBar{link: link{Address: v.With("month", name, "page", ""), Text: text, Here: at.Equal(chosen)}, Value: number(value)}
		if largest > 0 {
			bar.Height = int(100 * value / largest)
		}
		if value > 0 {
			bar.Height = max(bar.Height, 2)
		}
		d.Months = append(d.Months, bar)
	}
	return nil
}

// number writes a number with two digits after the point at most, and without any from 100 on.
func number(x float64) string {
	if x >= 100 {
		return strconv.FormatFloat(x, 'f', 0, 64)
	}
	return strconv.FormatFloat(x, 'f', -1, 64)
}

// usedBy is the address of the list of what a row of a report is about; empty: there is none.
func (v *view) usedBy(l *control.ReportLine) string {
	if l.Name == "" {
		return ""
	}
	q := url.Values{l.By: {l.Name}, "state": {"all"}}
	return v.panel.base + "/activations?" + q.Encode()
}
