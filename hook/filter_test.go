package hook

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"activationd/event"
	"activationd/internal/fault"
)

func filters(t *testing.T, texts ...string) (all []Filter) {
	t.Helper()
	for _, text := range texts {
		f, err := ParseFilter(text)
		if err != nil || f.String() != text {
			t.Fatalf("ParseFilter(%q) = %q, %v", text, f, err)
		}
		all = append(all, f)
	}
	return all
}

// TestConditions has events as the engine writes them, each with all conditions that hold.
func TestConditions(t *testing.T) {
	state := func(kind, state, outcome string) event.Event {
		return event.Event{What: event.State, Kind: kind, State: state, Outcome: outcome}
	}
	for _, tt := range []struct {
		ev   event.Event
		want string
	}{
		{state("reservation", "stuck", ""), "stuck"},
		{state("service", "stuck", ""), "fatal"},
		{state("job", "finished", "failed"), "failed"},
		{state("job", "finished", "timed_out"), "failed"},
		{state("reservation", "finished", "missed"), "failed"},
		{state("job", "finished", "lost"), "failed"},
		{state("job", "finished", "succeeded"), ""},
		{state("job", "finished", "cancelled"), ""},
		{state("reservation", "deactivating", "failed"), ""},
		{state("reservation", "active", ""), ""},
		{state("service", "active", ""), "ready"},
		{event.Event{What: "ready", Kind: "service", State: "active"}, "ready"},
		{event.Event{What: "unready", Kind: "service", State: "active"}, "unready"},
		{event.Event{What: "draining", Kind: "service", State: "active"}, "draining"},
		{event.Event{What: "attempt.ended", Kind: "job", State: "finished", Outcome: "failed", Failed: true}, ""},
		{event.Event{What: "conflict", Kind: "reservation", State: "scheduled", Failed: true}, "conflict"},
		{event.Event{What: "conflict.over", Kind: "reservation", State: "scheduled"}, ""},
		{event.Event{What: "rejected", Topic: "load.rejected"}, "rejected"},
		{event.Event{What: "vlan.quarantined"}, "quarantined"},
		{event.Event{What: "login.refused"}, "refused"},
		{event.Event{What: "queue.dead", Kind: "queue", ID: "pool"}, "dead"},
		{event.Event{What: event.Published, Topic: "failed"}, "published"},
	} {
		var got []string
		for _, c := range Conditions() {
			if filters(t, c.Word)[0].Match(&tt.ev) {
				got = append(got, c.Word)
			}
		}
		if text := strings.Join(got, " "); text != tt.want {
			t.Errorf("of %+v hold %q, want %q", tt.ev, text, tt.want)
		}
	}
	for _, c := range Conditions() {
		if c.Meaning == "" || c.Word != strings.ToLower(c.Word) {
			t.Errorf("condition %+v", c)
		}
	}
}

func TestParseFilter(t *testing.T) {
	filters(t, "#", "*", "activation.#", "activation.*.finished", "load.#", "a.b", "build#.x")
	for _, tt := range []struct{ text, says string }{
		{"fail", "did you mean failed?"},
		{"Stuck", "did you mean stuck?"},
		{"reject", "did you mean rejected?"},
		{"load", "load.#"},
		{"everything", "there are stuck, conflict, rejected"},
		{"", "no pattern of topics"},
		{"a. b", "no pattern"},
		{strings.Repeat("a.", 1000), "at most"},
	} {
		if _, err := ParseFilter(tt.text); !errors.Is(err, fault.Invalid) || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("ParseFilter(%.20q): %v, want %q", tt.text, err, tt.says)
		}
	}
}

func TestWants(t *testing.T) {
	all, some := filters(t, "#"), filters(t, "failed", "build.*")
	for _, tt := range []struct {
		ev        event.Event
		all, some bool
	}{
		{event.Event{Topic: "activation.1.scheduled", What: event.State}, true, false},
		{event.Event{Topic: "activation.1.finished", What: event.State, State: "finished", Outcome: "lost"}, true, true},
		{event.Event{Topic: "build.1", What: event.Published}, true, true},
		{event.Event{Topic: "gap", What: event.Gap}, true, true},
		{event.Event{Topic: "queue.hook/oncall.dead", What: "dead", Kind: "queue", ID: "hook/oncall"}, false, false},
		{event.Event{Topic: "queue.pool.dead", What: "dead", Kind: "queue", ID: "pool"}, true, false},
		{event.Event{Topic: "hooks.x", What: event.Published}, true, false},
	} {
		if got := []bool{Wants(all, &tt.ev), Wants(some, &tt.ev), Wants(nil, &tt.ev)}; !slices.Equal(got, []bool{tt.all, tt.some, tt.ev.What == event.Gap}) {
			t.Errorf("%+v: %v", tt.ev, got)
		}
	}
}
