package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"strings"
	"time"

	"activationd/internal/fault"
)

// posixZone returns the zone that a value of TZ describes, such as CET-1CEST or
// <-03>3<-02>,M3.5.0/-2,M10.5.0/-1, or nil if it does not describe one. Package time knows
// only the names of files and uses UTC for everything else, so that a job would run at the
// wrong hour. But it understands such a description at the end of a zone file, so posixZone
// makes a file that has nothing else.
func posixZone(tz string) *time.Location {
	tz = strings.TrimPrefix(tz, ":")
	if !strings.ContainsAny(tz, "0123456789") || strings.ContainsAny(tz, "/\n\x00") && !strings.Contains(tz, ",") {
		return nil // a name
	}
	head := func(transitions, types, chars byte) []byte {
		h := append([]byte("TZif2"), make([]byte, 15+6*4)...)
		h[35], h[39], h[43] = transitions, types, chars
		return h
	}
	data := append(head(0, 0, 0), head(1, 1, 4)...)
	data = binary.BigEndian.AppendUint64(data, 1<<63|1<<62) // the first transition, earlier than any time: to
	data = append(data, 0)                                  // the first type of local time, which has
	data = append(data, 0, 0, 0, 0, 0, 0)                   // no offset, is not daylight saving, and is called
	data = append(data, "LMT\x00\n"+tz+"\n"...)
	loc, err := time.LoadLocationFromTZData(tz, data)
	if err != nil {
		return nil
	}
	if name, _ := time.Now().In(loc).Zone(); name == "LMT" { // package time did not understand it
		return nil
	}
	return loc
}

// useZone makes TZ the zone of local times.
func useZone(tz string) {
	if tz == "" || tz == "UTC" || time.Local.String() != "UTC" {
		return
	}
	if loc := posixZone(tz); loc != nil {
		time.Local = loc
	}
}

// zoneKnown returns an error of kind fault.Invalid if TZ names no zone: package time uses
// UTC then, without a word.
func zoneKnown() error {
	tz := os.Getenv("TZ")
	if name := strings.TrimPrefix(tz, ":"); name == "" || name == "UTC" || time.Local.String() != "UTC" {
		return nil
	}
	return fmt.Errorf("TZ=%s is not a time zone that this machine knows; set TZ to one, such as Europe/Prague, "+
		"or give the time with its offset from UTC, such as 2099-12-21T10:00:00+01:00: %w", tz, fault.Invalid)
}

// ownZone returns the name of the user's zone if TZ is set, as libc reads it. It is empty
// for the system's zone, which the daemon has, too. A zone without a name can be used to
// compute a time, but it cannot be sent.
func ownZone() (string, error) {
	tz, set := os.LookupEnv("TZ")
	name := strings.TrimPrefix(strings.TrimPrefix(tz, ":"), "/usr/share/zoneinfo/")
	switch {
	case !set || name == "/etc/localtime":
		return "", nil
	case name == "":
		return "UTC", nil
	}
	if _, err := time.LoadLocation(name); err != nil {
		return "", fmt.Errorf("TZ=%s is not the name of a time zone; use --tz ZONE, such as Europe/Prague: %w", tz, fault.Invalid)
	}
	return name, nil
}
