package ops_test

import (
	"fmt"
	"reflect"
	"strconv"
	"testing"
	"testing/synctest"

	"activationd/control"
)

// TestNewestEvents checks that a search for the newest events finds what following finds.
func TestNewestEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := auditDaemon(t)
		for i := range 3000 {
			topic := "even"
			if i%2 == 1 {
				topic = "odd"
			}
			if err := d.call(admin, "publish", &control.PublishIn{Topic: fmt.Sprint(topic, ".", i), Text: fmt.Sprint("text ", i)}); err != nil {
				t.Fatal(err)
			}
		}
		read := func(in control.EventsIn) (all []control.Event) {
			t.Helper()
			err := d.Lookup("events").Stream(t.Context(), admin, &in, func(out any) error {
				all = append(all, out.(control.Event))
				return nil
			})
			if err != nil {
				t.Fatalf("%+v: %v", in, err)
			}
			return all
		}
		for _, in := range []control.EventsIn{{}, {Topic: []string{"odd.*"}}, {Match: "TEXT 29"}, {Action: []string{"all"}}, {Action: []string{"cancel"}}} {
			whole := in
			whole.Limit = 10_000
			all := read(whole)
			for _, n := range []int{1, 7, 1500, 10_000} {
				for _, before := range []int{0, 1, len(all) / 2, len(all) - 1} {
					if before >= len(all) {
						continue
					}
					want := all
					in.Newest, in.Before = n, ""
					if before > 0 {
						want, in.Before = all[:before], strconv.FormatUint(all[before].Seq, 10)
					}
					want = want[max(0, len(want)-n):]
					if got := read(in); len(got) != len(want) || len(got) > 0 && !reflect.DeepEqual(numbers(got), numbers(want)) {
						t.Errorf("%+v: %d events %.60v, want %d %.60v", in, len(got), numbers(got), len(want), numbers(want))
					}
				}
			}
		}
		if got := read(control.EventsIn{Newest: 1, Before: "1000000000"}); !reflect.DeepEqual(numbers(got), numbers(read(control.EventsIn{Newest: 1}))) {
			t.Errorf("before a number that has not come yet there is %+v", got)
		}
		for _, in := range []control.EventsIn{{Newest: -1}, {Newest: 10_001}, {Newest: 1, Limit: 1}, {Before: "7"}, {Newest: 1, Before: "x"}} {
			if err := d.Lookup("events").Stream(t.Context(), admin, &in, func(any) error { return nil }); err == nil {
				t.Errorf("%+v is accepted", in)
			}
		}
	})
}

// numbers returns those of events.
func numbers(all []control.Event) (n []uint64) {
	for i := range all {
		n = append(n, all[i].Seq)
	}
	return n
}
