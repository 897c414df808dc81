package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"strings"
	"time"

	"activationd/internal/fault"
)

// posixZone returns the zone that a value of TZ such as CET-1CEST or
// <-03>3<-02>,M3.5.0/-2,M10.5.0/-1 describes, nil if it describes none. Package
// time knows only the names of files, and takes UTC for all else, so that
// somebody's job would run at another hour. But it understands such a
// description at the end of a file: so here is a file with nothing else in it.
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
	data = binary.BigEndian.AppendUint64(data, 1<<63|1<<62) // the first transition, before everything: to
	data = append(data, 0)                                  // the first type of local time, which has
	data = append(data, 0, 0, 0, 0, 0, 0)                   // no offset, is not in summer, and is called
	data = append(data, "LMT\x00\n"+tz+"\n"...)
	loc, err := time.LoadLocationFromTZData(tz, data)
	if err != nil {
		return nil
	}
	if name, _ := time.Now().In(loc).Zone(); name == "LMT" { // it was not understood
		return nil
	}
	return loc
}

// useZone has local times be those of TZ.
func useZone(tz string) {
	if tz == "" || tz == "UTC" || time.Local.String() != "UTC" {
		return
	}
	if loc := posixZone(tz); loc != nil {
		time.Local = loc
	}
}

// ownZone is the name of the caller's zone if TZ is set, as libc reads it; else
// the system's holds, which the daemon has, too. A zone without a name is
// understood where there is an instant to be sent, but there is no keeping it.
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
		return "", fmt.Errorf("TZ=%s is no name of a time zone: say --tz ZONE, such as Europe/Prague: %w", tz, fault.Invalid)
	}
	return name, nil
}
