package activation

import (
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"activationd/supervisor/wrapper"
)

// stored hands each line of a file in testdata to fn: a name, and a record that the last
// release stored.
func stored(t *testing.T, file string, fn func(name string, data []byte)) {
	t.Helper()
	text, err := os.ReadFile("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		name, data, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		fn(name, []byte(data))
	}
}

// Records of the last release can be read, and nothing is lost when they are written
// again. The file has records of all kinds and states: records with every field that
// belongs to them, and records from random histories.
func TestRecordsOfTheLastRelease(t *testing.T) {
	stored(t, "records.txt", func(name string, data []byte) {
		r, err := decode(name, data)
		if err != nil {
			t.Error(err)
			return
		}
		again, err := r.encode(nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			return
		}
		var was, is map[string]any
		if err := json.Unmarshal(data, &was); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(again, &is); err != nil {
			t.Fatal(err)
		}
		for _, follows := range []string{"began", "ended", "use", "tried"} { // from the rest of the record
			delete(is, follows)
		}
		if !reflect.DeepEqual(was, is) {
			t.Errorf("%s was\n%s\nand is\n%s", name, data, again)
		}
		if got := stateIn(again); string(got) != was["state"] {
			t.Errorf("%s: stateIn = %q, want %q", name, got, was["state"])
		}
	})
}

// Each key has the same meaning as before, although some fields have other names.
func TestKeysOfRecords(t *testing.T) {
	at := func(s int) time.Time { return time.Date(2026, 11, 30, 0, 0, s, s, time.UTC) }
	const sec = time.Second
	seen := 0
	stored(t, "records.txt", func(name string, data []byte) {
		r, err := decode(name, data)
		if err != nil {
			t.Fatal(err)
		}
		enums := [...]any{waitsOnLocks, ifAnnounced, OnTime}
		switch name {
		case "reservation-waiting-slot":
			enums = [...]any{waitsOnSlot, neverAgain, AtOnce}
			got := []any{
				r.ID, r.Start, r.Slot, r.Owner, r.Label, r.User, r.Argv, r.Undo, r.Stdin, r.Dir, r.Env, r.Umask, r.Timeout, r.Grace,
				r.Retries, r.Backoff, r.Missed, r.Priority, r.Locks, r.After, r.Deadline, r.Tags,
				r.State, r.Outcome, r.Reason, r.Created, r.Since, r.LocksHeld, r.NeedsUndo, r.ending, r.HoldNext, r.Stopped, r.Until, r.retry,
				r.Queued, r.Progress, r.LastN, r.Attempts[0],
			}
			want := []any{
				"id3003", at(3012),
				Slot{
					End: at(3013), Lead: 3014 * sec, Tail: 3015 * sec, Source: "source3016", Hash: []byte("bytes3017"), Generation: 3018,
					Devices: []string{"devices3020", "devices3021"}, Linked: true, TopologyName: "topologyname3088",
				},
				"owner3005", "label3006",
				&Identity{3041, 3042, []int{3044, 3045}, "name3046", "home3047", "shell3048", []wrapper.Limit{{Name: "name3051", Soft: 3052, Hard: 3053}, {Name: "name3055", Soft: 3056, Hard: 3057}}, true, false},
				[]string{"argv3027", "argv3028"}, []string{"undo3030", "undo3031"}, []byte("bytes3032"), "dir3033",
				map[string]string{"env3035": "env3036"}, new(3038), new(3060 * sec), new(3062 * sec), new(3064), new(3066 * sec),
				"missed3067", 3068, []string{"locks3024", "locks3025"}, []string{"after3070", "after3071"}, at(3072), []string{"tags3086", "tags3087"},
				Waiting, Outcome("outcome3008"), "reason3009", at(3010), at(3011), []string{"held3099", "held3100"}, true, ending{"ending3102", "cause3103"},
				true, true, at(3113), retry{3108, 3109, 3110, at(3111), 3112 * sec}, uint64(3114), &Progress{3122, "text3123", at(3124)}, [2]int{3126, 3127},
				Attempt{
					Phase: "phase3130", N: 3131, Claimed: at(3132), NotBefore: at(3133), Forgiven: "forgiven3156", First: true, Bytes: 3158,
					Result: wrapper.Result{
						Reason: "reason3135", Text: "text3136", PID: 3137, WrapperPID: 3138, Exit: 3139, Signal: 3140, Started: at(3141), Ended: at(3142),
						Leftovers: 3150, Contained: "contained3151", User: 3152 * sec, System: 3153 * sec, MaxRSS: 3154,
					},
				},
			}
			for i := range want {
				if !reflect.DeepEqual(got[i], want[i]) {
					t.Errorf("%v, want %v", got[i], want[i])
				}
			}
		case "reservation-waiting-load":
			enums = [...]any{waitsOnLoadAvg, neverAgain, AtOnce}
		case "reservation-waiting-after":
			enums = [...]any{waitsOnEnd, neverAgain, AtOnce}
		case "reservation-waiting-late-renew":
			enums = [...]any{waitsOnLocks, serveAgain, Anyway}
		case "reservation-waiting":
		default:
			return
		}
		seen++
		if got := [...]any{r.WaitsOn, r.Comeback, r.Urgency}; got != enums {
			t.Errorf("%s: WaitsOn, Comeback, Urgency = %v, want %v", name, got, enums)
		}
	})
	if seen != 5 {
		t.Errorf("%d records were compared", seen)
	}
}

// Earlier releases did not mark attempts as past, nor the one that finished an activation.
func TestFactsOfTheLastRelease(t *testing.T) {
	at := func(minute int) time.Time { return time.Date(2026, 11, 30, 10, minute, 0, 0, time.UTC) }
	ran := func(phase string, first bool, from, to int) Attempt {
		return Attempt{Phase: phase, First: first, Result: wrapper.Result{Started: at(from), Ended: at(to)}}
	}
	tests := []struct {
		name           string
		r              Record
		started, ended time.Time
	}{
		{"a job", Record{Kind: Job, Life: Life{State: Finished, Since: at(9), Attempts: []Attempt{
			ran(Activate, true, 1, 2), ran(Activate, true, 3, 4),
		}}}, at(1), at(9)},
		{"a reservation that was served twice", Record{Kind: Reservation, Life: Life{State: Finished, Since: at(9), Attempts: []Attempt{
			ran(Activate, true, 1, 2), ran(Deactivate, false, 3, 4), ran(Activate, true, 5, 6), ran(Activate, false, 6, 7), ran(Deactivate, false, 8, 9),
		}}}, at(5), at(9)},
		{"one that did not start", Record{Kind: Job, Life: Life{State: Finished, Since: at(9)}}, time.Time{}, at(9)},
		{"the clock was set back while it ran", Record{Kind: Job, Life: Life{State: Finished, Since: at(3), Attempts: []Attempt{
			ran(Activate, true, 5, 3),
		}}}, at(5), at(5)},
	}
	for _, tt := range tests {
		if got := tt.r.Started(); !got.Equal(tt.started) {
			t.Errorf("%s: started %v, want %v", tt.name, got, tt.started)
		}
		if got := tt.r.Ended(); !got.Equal(tt.ended) {
			t.Errorf("%s: ended %v, want %v", tt.name, got, tt.ended)
		}
	}
}
