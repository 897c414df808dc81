package lab

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"activationd/internal/fault"
)

// TestNoticesAreSaid: a device's words about a line that it accepts are among the messages of
// an upload, and do not fail it.
func TestNoticesAreSaid(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.sims["r1"].says = map[string]string{"network 10.0.0.0 0.255.255.255 area 0": "% OSPF: There is room for one more."}
	if err := b.work.Upload(t.Context(), b.dir, b.keep); err != nil {
		t.Fatal(err)
	}
	want := "r1: the device says: % OSPF: There is room for one more., to: router ospf 1 / network 10.0.0.0 0.255.255.255 area 0"
	if !slices.Contains(b.said, want) {
		t.Errorf("said\n%s\nwant in it\n%s", strings.Join(b.said, "\n"), want)
	}
}

// TestSaveThatFails: if a device does not save its configuration, the upload fails with the
// device's words.
func TestSaveThatFails(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.sims["sw1"].busy = "startup-config file open failed (Device or resource busy)"
	err := b.work.Upload(t.Context(), b.dir, b.keep)
	if !errors.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "sw1: the configuration is not saved") || !strings.Contains(err.Error(), b.sims["sw1"].busy) {
		t.Errorf("Upload: %v, want it to fail with what the switch says", err)
	}
	for _, said := range b.said {
		if strings.HasPrefix(said, "sw1: sent") {
			t.Errorf("said %q of a switch that has not saved", said)
		}
	}
}
