package ops

import (
	"slices"
	"testing"
	"time"

	"activationd/activation"
	"activationd/event"
	"activationd/supervisor/wrapper"
)

// TestExplain tells the lives of jobs and reservations.
func TestExplain(t *testing.T) {
	at := func(hour, minute int) time.Time { return time.Date(2090, 11, 29, hour, minute, 0, 0, time.Local) }
	utc := func(hour int) string { return at(hour, 0).UTC().Format(time.RFC3339Nano) }
	ada, olga := event.Actor{Kind: "uid", Name: "ada"}, event.Actor{Kind: "token", Name: "olga"}
	lab := event.Actor{Kind: event.BySource, Name: "lab.yml"}
	exited := func(phase string, n int, from, to time.Time, status int) activation.Attempt {
		return activation.Attempt{Phase: phase, N: n, Claimed: from, Result: wrapper.Result{Reason: wrapper.Exited, Exit: status, Started: from, Ended: to}}
	}
	tests := []struct {
		name string
		r    activation.Record
		want []string
	}{
		{"a job that was edited, held, run and retried", activation.Record{
			ID: "342", Kind: activation.Job, Start: at(12, 0),
			Order: activation.Order{Owner: "ada", Label: "report", User: &activation.Identity{UID: 1000}},
			Life: activation.Life{
				State: activation.Finished, Outcome: activation.Succeeded, Created: at(9, 0), Since: at(9, 50),
				Acts: []activation.Act{
					{At: at(9, 5), Action: "edit", By: olga, Reason: "by olga", Changes: []event.Change{
						{Field: "start", From: utc(11), To: utc(12)}, {Field: "priority", From: "0", To: "5"}, {Field: "input"}, {Field: "env", To: "A changed"},
						{Field: "label", To: "report"}}},
					{At: at(9, 10), Action: "hold", By: ada, Reason: "held by ada"},
					{At: at(9, 20), Action: "release", By: ada, Reason: "released by ada"},
					{At: at(9, 30), Action: "run", By: olga, Reason: "run now by olga"},
					{At: at(9, 40), Action: "retry", By: ada, Reason: "its slot has ended"},
				},
				Attempts: []activation.Attempt{exited("activate", 1, at(9, 30), at(9, 31), 1), exited("activate", 2, at(9, 40), at(9, 50), 0)},
			},
		}, []string{
			"job 342 of ada: report",
			"09:00 submitted by ada (uid 1000), due at 2090-11-29 11:00:00",
			"09:05 edited by olga (token): start: 2090-11-29 11:00:00 -> 2090-11-29 12:00:00; priority: 0 -> 5; input: changed; env: A changed; label: none -> report",
			"09:10 held by ada", "09:20 released by ada", "09:30 run now by olga (token)",
			"09:30 started", "09:31 exited with status 1",
			"09:40 retried by ada", "09:40 attempt 2 started", "09:50 attempt 2 exited with status 0",
			"09:50 it is finished, succeeded",
		}},
		{"a job that somebody else submitted, and that was cancelled", activation.Record{
			ID: "7", Kind: activation.Job, Start: at(12, 0), Order: activation.Order{Owner: "ada"},
			Life: activation.Life{
				State: activation.Finished, Outcome: activation.Cancelled, Reason: "cancelled by olga: not today", Created: at(9, 0), Since: at(9, 50),
				Acts: []activation.Act{
					{At: at(9, 0), Action: "add", By: olga},
					{At: at(9, 50), Action: "cancel", By: olga, Reason: "cancelled by olga: not today"},
				},
			},
		}, []string{
			"job 7 of ada", "09:00 submitted by olga (token), due at 2090-11-29 12:00:00",
			"09:50 cancelled by olga (token): not today", "09:50 it is finished, cancelled: cancelled by olga: not today",
		}},
		{"a held job", activation.Record{
			ID: "8", Kind: activation.Job, Start: at(12, 0), Order: activation.Order{Owner: "ada"},
			Life: activation.Life{State: activation.Held, Reason: "added on hold", Created: at(9, 0), Since: at(9, 0)},
		}, []string{
			"job 8 of ada", "09:00 submitted by ada, due at 2090-11-29 12:00:00", "09:00 it is held: added on hold",
			"to let it start at its time: atctl release 8; to start it at once: atctl run 8",
		}},
		{"an occurrence of a recurrence", activation.Record{
			ID: "9", Kind: activation.Job, Start: at(12, 0), Order: activation.Order{Owner: "ada"}, From: "nightly", Occurrence: at(11, 59),
			Life: activation.Life{State: activation.Scheduled, Created: at(11, 59), Since: at(11, 59), ActsDropped: 3},
		}, []string{
			"job 9 of ada", "11:59 made for the occurrence of nightly at 2090-11-29 11:59:00",
			"11:59 3 changes are not listed here: see atctl audit 9", "11:59 it is scheduled", "its next step is due at 2090-11-29 12:00:00",
		}},
		{"a job of a recurrence that was run once", activation.Record{
			ID: "10", Kind: activation.Job, Order: activation.Order{Owner: "ada"}, From: "nightly",
			Life: activation.Life{State: activation.Finished, Outcome: activation.Failed, Created: at(9, 0), Since: at(9, 1),
				Acts: []activation.Act{{At: at(9, 0), Action: "every run", By: olga}}},
		}, []string{
			"job 10 of ada", "09:00 made by olga (token), who ran the recurrence nightly once", "09:01 it is finished, failed",
		}},
		{"a mail", activation.Record{
			ID: "11", Kind: activation.Job, Order: activation.Order{Owner: "ada"}, MailOf: "10.activate.1",
			Life: activation.Life{State: activation.Finished, Outcome: activation.Succeeded, Created: at(9, 0), Since: at(9, 1)},
		}, []string{"job 11 of ada", "09:00 made to mail the output of 10.activate.1", "09:01 it is finished, succeeded"}},
		{"a reservation that was moved, and is stuck", activation.Record{
			ID: "1@x", Kind: activation.Reservation, Start: at(11, 0), Slot: activation.Slot{End: at(13, 0)}, Order: activation.Order{Owner: "group7"},
			Life: activation.Life{
				State: activation.Stuck, Reason: "deactivate attempt 1 exited with status 1", Created: at(8, 0), Since: at(12, 31),
				Acts: []activation.Act{
					{At: at(8, 0), Action: "announce", By: lab, Source: "lab.yml", Load: 18},
					{At: at(8, 30), Action: "change", By: olga, Source: "lab.yml", Load: 19, Changes: []event.Change{
						{Field: "start", From: utc(10), To: utc(11)}, {Field: "devices", From: "r1", To: "r1 r2"}}},
					{At: at(12, 30), Action: "remove", By: lab, Source: "lab.yml", Load: 20, Reason: "its source no longer announces it"},
				},
				Attempts: []activation.Attempt{exited("deactivate", 1, at(12, 30), at(12, 31), 1)},
			},
		}, []string{
			"reservation 1@x of group7",
			"08:00 announced by source lab.yml, load 18, for the slot from 2090-11-29 10:00:00 to 2090-11-29 13:00:00",
			"08:30 changed by source lab.yml, load 19, which olga (token) requested: start: 2090-11-29 10:00:00 -> 2090-11-29 11:00:00; devices: r1 -> r1 r2",
			"12:30 withdrawn by source lab.yml, load 20: its source no longer announces it",
			"12:30 deactivate attempt 1 started", "12:31 deactivate attempt 1 exited with status 1",
			"12:31 it is stuck: deactivate attempt 1 exited with status 1",
			"to run its deactivation again: atctl retry 1@x; after cleaning up by hand: atctl forgive 1@x",
		}},
		{"a held reservation", activation.Record{
			ID: "2@x", Kind: activation.Reservation, Start: at(11, 0), Slot: activation.Slot{End: at(13, 0)},
			Life: activation.Life{State: activation.Held, Reason: "held by olga", Created: at(8, 0), Since: at(9, 0),
				Acts: []activation.Act{{At: at(9, 0), Action: "hold", By: olga, Reason: "held by olga"}}},
		}, []string{
			"reservation 2@x of nobody", "08:00 announced by a source, for the slot from 2090-11-29 11:00:00 to 2090-11-29 13:00:00",
			"09:00 held by olga (token)", "09:00 it is held: held by olga",
			"to let it start at its time: atctl release 2@x; to start it at once: atctl run 2@x",
			"its slot ends at 2090-11-29 13:00:00, also if it is still held then",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, l := range explain(&activation.View{Record: tt.r}) {
				text := l.Text
				if !l.Time.IsZero() {
					text = l.Time.Format("15:04 ") + text
				}
				got = append(got, text)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("the explanation is\n%q\nwant\n%q", got, tt.want)
			}
		})
	}
}
