package main

import (
	"slices"
	"testing"
	"time"
	_ "time/tzdata"

	"activationd/schedule/timespec"
)

func TestZoned(t *testing.T) {
	prague, err := time.LoadLocation("Europe/Prague")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 11, 30, 10, 0, 0, 0, prague)
	tests := []struct{ name, at, want string }{
		{"winter", "2026-11-21 10:00", "2026-11-21T10:00:00+01:00"},
		{"summer, with T and seconds", "2026-07-01T10:00:05", "2026-07-01T10:00:05+02:00"},
		{"a fraction of a second", "2026-07-01 10:00:05.25", "2026-07-01T10:00:05.25+02:00"},
		{"later today", "10:01", "2026-11-30T10:01:00+01:00"},
		{"this very minute is over", "10:00", "2026-12-01T10:00:00+01:00"},
		{"a digit and seconds", "9:30:15", "2026-12-01T09:30:15+01:00"},
		{"tomorrow, in another month", "tomorrow  18:00", "2026-12-01T18:00:00+01:00"},
		{"missing hour", "2026-03-29 02:30", "2026-03-29T03:30:00+02:00"},
		{"doubled hour, the first", "2026-10-25 02:30", "2026-10-25T02:30:00+02:00"},
		{"a zone of its own", "2026-11-21T10:00:00Z", "2026-11-21T10:00:00Z"},
		{"now", "now", "now"},
		{"at's times", "monday 10am", "2026-12-07T10:00:00+01:00"},
		{"no such day", "2026-02-30 10:00", "2026-02-30 10:00"},
		{"none", "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got, err := zoned(tt.at, now, timespec.Typed); got != tt.want || err != nil {
				t.Errorf("zoned(%q, %v) = %q, %v, want %q", tt.at, now, got, err, tt.want)
			}
		})
	}
}

func TestInterpreter(t *testing.T) {
	tests := []struct {
		name, script string
		want         []string
	}{
		{"none", "echo hello\n", nil},
		{"a plain one", "#!/bin/bash\necho hello\n", []string{"/bin/bash"}},
		{"blanks before and after", "#! /bin/bash \n", []string{"/bin/bash"}},
		{"the rest is one argument", "#!/usr/bin/env -S python3 -u\n", []string{"/usr/bin/env", "-S python3 -u"}},
		{"written on Windows", "#!/bin/sh\r\necho\r\n", []string{"/bin/sh"}},
		{"nothing named", "#!\n", nil},
		{"not in the first line", "\n#!/bin/sh\n", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := interpreter(tt.script); !slices.Equal(got, tt.want) {
				t.Errorf("interpreter(%q) = %q, want %q", tt.script, got, tt.want)
			}
		})
	}
}
