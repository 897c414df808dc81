package ops

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"activationd/internal/fault"
)

func TestNeeded(t *testing.T) {
	known := map[string][]string{
		"r1": {"frr", "linux"}, "r2": {"frr", "linux"}, "r3": {"frr", "linux"}, "e1": {"arista_eos"}, "e2": {"arista_eos"}, "h1": {"linux"},
	}
	bookable := func(name string) bool { return name != "e2" }
	tests := []struct {
		name, devices, kinds, want string
	}{
		{"by name", "r1,e1,r1", "", "[{[r1 e1] 0}]"},
		{"of a kind", "", "FRR:2", "[{[r1 r2 r3] 2}]"},
		{"one of a kind", "", "arista_eos", "[{[e1] 1}]"},
		{"those with names are not others of the kind", "r2", "frr:2", "[{[r2] 0} {[r1 r3] 2}]"},
		{"two kinds", "", "arista_eos,frr:1", "[{[e1] 1} {[r1 r2 r3] 1}]"},
		{"unknown device", "r1,r9", "", `the inventory has no device "r9"`},
		{"too many", "", "frr:4", "4 devices of kind frr are wanted, and the inventory has 3 (its kinds are arista_eos, frr, linux)"},
		{"too many others", "r1", "frr:3", "3 devices of kind frr are wanted besides r1, which devices names, and the inventory has 2 others"},
		{"kinds that have devices in common", "", "frr:1,linux:1", "r1 is of both kinds, frr and linux"},
		{"one that cannot be booked", "", "arista_eos:2", "2 devices of kind arista_eos are wanted, and 1 can be booked, of 2 in the inventory"},
		{"but it has a name", "e2", "arista_eos:1", "[{[e2] 0} {[e1] 1}]"},
		{"no number", "", "frr:x", `as frr:3, have "frr:x"`},
		{"none", "", "frr:0", `as frr:3, have "frr:0"`},
		{"nothing", ",", "", "devices: is empty"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var kinds []string
			if tt.kinds != "" {
				kinds = []string{tt.kinds}
			}
			needs, err := needed([]string{tt.devices}, kinds, known, bookable)
			got := fmt.Sprint(needs)
			if err != nil {
				got = err.Error()
			}
			if !strings.Contains(got, tt.want) {
				t.Errorf("needed(%q, %q) = %s, want %s", tt.devices, tt.kinds, got, tt.want)
			}
		})
	}
	if needs, err := needed([]string{"any"}, nil, nil, bookable); err != nil || fmt.Sprint(needs) != "[{[any] 0}]" {
		t.Errorf("without an inventory: %v, %v", needs, err)
	}
	if _, err := needed(nil, []string{"frr"}, nil, bookable); !errors.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "has no lab.inventory") {
		t.Errorf("a kind without an inventory: %v", err)
	}
}

func TestLookAhead(t *testing.T) {
	now := time.Date(2026, 11, 2, 9, 0, 0, 0, time.Local)
	tests := []struct{ name, from, to, want string }{
		{"a day", "", "", "11-02 09:00 11-03 09:00"},
		{"a week", "", "7d", "11-02 09:00 11-09 09:00"},
		{"next week", "sunday", "+7d", "11-08 00:00 11-15 00:00"},
		{"another day", "2026-11-20", "", "11-20 00:00 11-21 00:00"},
		{"yesterday", "yesterday", "today", "11-01 00:00 11-02 00:00"},
		{"not before", "today", "yesterday", "is not after from"},
		{"no time", "now", "now", "is not after from"},
		{"too long", "", "4000d", "more than 3660 days"},
		{"nonsense", "soon", "", `from: "soon" is not a time`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			from, to, err := lookAhead(tt.from, tt.to, now, 24*time.Hour)
			got := from.Format("01-02 15:04") + " " + to.Format("01-02 15:04")
			if err != nil {
				got = err.Error()
			}
			if (err != nil) != errors.Is(err, fault.Invalid) || !strings.Contains(got, tt.want) {
				t.Errorf("lookAhead(%q, %q) = %s, want %s", tt.from, tt.to, got, tt.want)
			}
		})
	}
}
