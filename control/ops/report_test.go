package ops_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"activationd/control"
	"activationd/internal/fault"
)

// report returns the rows of a report, with those that were cancelled before they began.
func (d *audited) report(c control.Caller, in control.ReportIn) (string, error) {
	d.t.Helper()
	answer := d.Lookup("report").Call(d.t.Context(), c, &in)[0]
	if answer.Err != nil || answer.Lines == nil {
		return answer.Summary, answer.Err
	}
	rows := []string{answer.Summary}
	for line, err := range answer.Lines {
		l, ok := line.(*control.ReportLine)
		if !ok || err != nil {
			d.t.Fatalf("report sent %T, %v", line, err)
		}
		if l.Total {
			l.Name = "total"
		}
		rows = append(rows, fmt.Sprintf("%s=%d", l.Name, l.NotBegun))
	}
	return strings.Join(rows, " "), nil
}

// Whose use a report shows, of which months, and in which order.
func TestReport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // it is January 2000
		d := auditDaemon(t)
		ada := control.Caller{Kind: control.ByUID, Role: control.Submitter, Name: "ada", UID: 1001}
		eve := control.Caller{Kind: control.ByUID, Role: control.Operator, Name: "eve", UID: 1002}
		tcp := control.Caller{Kind: control.ByAddress, Role: control.Operator, Name: "127.0.0.1", UID: -1}
		watcher := control.Caller{Kind: control.ByAddress, Role: control.Viewer, Name: "127.0.0.1", UID: -1}
		for i, by := range []control.Caller{ada, ada, eve} {
			if err := d.call(by, "add", &control.AddIn{In: []string{"20d", "40d", "20d"}[i], Arg: []string{"true"}, Tag: []string{"x", "y"}[i/2 : i/2+1]}); err != nil {
				t.Fatal(err)
			}
			if err := d.call(by, "cancel", &control.CancelIn{ID: fmt.Sprint(i + 1)}); err != nil {
				t.Fatal(err)
			}
		}
		for _, tt := range []struct {
			name string
			by   control.Caller
			in   control.ReportIn
			want string
		}{
			{"this month, by owner", eve, control.ReportIn{}, "by=owner from=2000-01 to=2000-01 rows=2 ada=1 eve=1 total=2"},
			{"to an owner", ada, control.ReportIn{}, "by=owner from=2000-01 to=2000-01 rows=1 ada=1 total=1"},
			{"tags to an owner", ada, control.ReportIn{By: "tag"}, "by=tag from=2000-01 to=2000-01 rows=1 x=1 total=1"},
			{"tags to an operator", eve, control.ReportIn{By: "tag"}, "by=tag from=2000-01 to=2000-01 rows=2 x=1 y=1 total=2"},
			{"of an owner", eve, control.ReportIn{By: "tag", Owner: "eve"}, "by=tag from=2000-01 to=2000-01 rows=1 y=1 total=1"},
			{"devices to a client without a name", tcp, control.ReportIn{By: "device"}, "by=device from=2000-01 to=2000-01 rows=1 =2 total=2"},
			{"a month", eve, control.ReportIn{Month: "2000-02"}, "by=owner from=2000-02 to=2000-02 rows=1 ada=1 total=1"},
			{"last month", eve, control.ReportIn{Month: "last"}, "by=owner from=1999-12 to=1999-12 rows=0"},
			{"this month, said", eve, control.ReportIn{Month: "This"}, "by=owner from=2000-01 to=2000-01 rows=2 ada=1 eve=1 total=2"},
			{"from a month", eve, control.ReportIn{From: "1999-11"}, "by=owner from=1999-11 to=2000-01 rows=2 ada=1 eve=1 total=2"},
			{"to a month", eve, control.ReportIn{To: "last"}, "by=owner from=1999-12 to=1999-12 rows=0"},
			{"several", eve, control.ReportIn{From: "last", To: "2000-02"}, "by=owner from=1999-12 to=2000-02 rows=2 ada=2 eve=1 total=3"},
			{"the same number of each", eve, control.ReportIn{Sort: "runs"}, "by=owner from=2000-01 to=2000-01 rows=2 ada=1 eve=1 total=2"},
		} {
			if got, err := d.report(tt.by, tt.in); err != nil || got != tt.want {
				t.Errorf("%s: %q, %v, want %q", tt.name, got, err, tt.want)
			}
		}
		for _, tt := range []struct {
			by   control.Caller
			in   control.ReportIn
			kind fault.Kind
			want string
		}{
			{ada, control.ReportIn{Owner: "eve"}, fault.Denied, "only operators may see what others used"},
			{watcher, control.ReportIn{}, fault.Denied, "only its address is known of this client"},
			{tcp, control.ReportIn{By: "tag"}, fault.Denied, "only its address is known of this client"},
			{eve, control.ReportIn{By: "box"}, fault.Invalid, `by: want owner, device or tag, have "box"`},
			{eve, control.ReportIn{Sort: "color"}, fault.Invalid, `sort: want booked-hours, device-hours, failures, job-hours, jobs, name, runs or slots, have "color"`},
			{eve, control.ReportIn{Month: "november"}, fault.Invalid, `month: "november" is not a month: write it like 2099-11, this or last`},
			{eve, control.ReportIn{From: "2000-13"}, fault.Invalid, `from: "2000-13" is not a month`},
			{eve, control.ReportIn{To: "2000"}, fault.Invalid, `to: "2000" is not a month`},
			{eve, control.ReportIn{Month: "this", To: "last"}, fault.Invalid, "month: give one month, or"},
			{eve, control.ReportIn{From: "2000-03", To: "2000-02"}, fault.Invalid, "to: 2000-02 is before 2000-03, the first month"},
			{eve, control.ReportIn{From: "2000-03"}, fault.Invalid, "to: 2000-01 is before 2000-03, the first month"},
		} {
			if got, err := d.report(tt.by, tt.in); !errors.Is(err, tt.kind) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%+v: %q, %v, want %q", tt.in, got, err, tt.want)
			}
		}
	})
}
