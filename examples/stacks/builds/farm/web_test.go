package main

import (
	"slices"
	"testing"
)

// What the page shows of a build follows from its events, also if one of them comes late or
// twice.
func TestBoard(t *testing.T) {
	for _, tt := range []struct {
		name, state, text string
		events            []event
	}{
		{"requested", "requested", "hello, by web", []event{{Topic: "builds.1.requested", Text: "hello, by web"}}},
		{"fetched before it was said to be requested", "fetched", "hello abc", []event{
			{Topic: "builds.1.fetched", Text: "hello abc"}, {Topic: "builds.1.requested", Text: "hello, by web"},
		}},
		{"fetched again after the end", "finished", "works", []event{
			{Topic: "builds.1.requested", Text: "hello, by web"}, {Topic: "builds.1.finished", Text: "works"}, {Topic: "builds.1.fetched", Text: "hello abc"},
		}},
		{"failed", "failed", "error", []event{
			{Topic: "builds.1.requested", Text: "hello, by web"}, {Topic: "builds.1.failed", Text: "error"}, {Topic: "builds.x.finished"}, {Topic: "builds.1"},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBoard()
			for i, e := range tt.events {
				e.Seq = uint64(10 * (i + 1))
				b.take(e)
			}
			all, _ := b.list()
			if len(all) != 1 || all[0].Number != 1 || all[0].State != tt.state || all[0].Text != tt.text {
				t.Errorf("the builds are %+v, want 1 that is %s: %s", all, tt.state, tt.text)
			}
			for seq := range uint64(10*len(tt.events) + 2) {
				events, _ := b.after(seq)
				if want := len(tt.events) - int(seq)/10; len(events) != want || slices.ContainsFunc(events, func(e event) bool { return e.Seq <= seq }) {
					t.Errorf("after event %d are %+v, want %d later ones", seq, events, want)
				}
			}
		})
	}
}

// A worker is shown as long as the monitor has not said that it works again.
func TestBoardWorkers(t *testing.T) {
	b := newBoard()
	b.take(event{Seq: 1, Topic: "monitor.web@1.unhealthy", Text: "hangs"})
	b.take(event{Seq: 2, Topic: "monitor.cpu_build.unhealthy", Text: "paused"})
	b.take(event{Seq: 3, Topic: "monitor.cpu_build.healthy"})
	if _, workers := b.list(); len(workers) != 1 || workers["web@1"] != "hangs" {
		t.Errorf("the workers that do not work are %v, want web@1: hangs", workers)
	}
}
