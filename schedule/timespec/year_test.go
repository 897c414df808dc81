package timespec_test

import (
	"testing"
	"time"

	"activationd/schedule/timespec"
)

// TestYears: of a year it is the number that counts, and not how many digits it has.
func TestYears(t *testing.T) {
	now := time.Date(2026, 11, 21, 9, 0, 0, 0, time.UTC)
	for _, date := range [][]string{{"December", "17", "0034"}, {"December", "17", "34"}, {"0034-12-17"}, {"17.12.0034"}, {"12/17/0034"}, {"12170034"}} {
		at, err := timespec.Parse(append([]string{"10:00"}, date...), now, time.UTC)
		if want := time.Date(2034, 12, 17, 10, 0, 0, 0, time.UTC); err != nil || !at.Equal(want) {
			t.Errorf("%q: %v, %v; want %v", date, at, err, want)
		}
	}
}
