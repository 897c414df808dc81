package main

import (
	"testing"
	"time"
)

// TestTimeFormat compares flags, widths and modifiers with the output of strftime of glibc.
// Package test compares all letters with atq.
func TestTimeFormat(t *testing.T) {
	at := time.Date(2030, 1, 2, 3, 4, 5, 0, time.FixedZone("CET", 3600))
	for format, want := range map[string]string{
		"%-d.%-m. %H:%M": "2.1. 03:04", "%_d|%e|%0e|%-e": " 2| 2|02|2", "%_-d|%-_d": "2| 2",
		"%^a %#a %^#b %#p %^P %#Z %^#Z %^c": "WED WED JAN am am cet cet WED JAN  2 03:04:05 2030",
		"%6d|%-6d|%_6d|%06e|%6e":            "000002|     2|     2|000002|     2",
		"%010Y|%6a|%06a|%6n|%07R|%2A":       "0000002030|   Wed|000Wed|     \n|0003:04|Wednesday",
		"%6z|%06z|%-z|%_z":                  "     +000100|00000+000100|+100|+ 100",
		"%Ed|%Od|%EY|%OY|%Ec|%Oc|%EOd|%E%d": "%Ed|02|2030|%OY|Wed Jan  2 03:04:05 2030|%Oc|%EOd|%d",
		"%5%|%6Q|%-Q|%^q|%^é|%5-d|%6E":      "    %|   %6Q|%-Q|%^Q|%^é|  %5-d|   %6E",
		"%-":                                "%-", "%5": "   %5", "%": "%",
	} {
		if got := string(timeFormat(format).append(nil, at)); got != want {
			t.Errorf("%s: %q, want %q", format, got, want)
		}
	}
	if n := len(timeFormat("%99999999999999999999d").append(nil, at)); n != maxWidth {
		t.Errorf("a width of much is %d", n)
	}
}
