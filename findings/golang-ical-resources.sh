#!/usr/bin/env bash
# github.com/arran4/golang-ical v0.3.4 (Go).
#
# RESOURCES is a list in RFC 5545 (3.8.1.10): a comma separates two resources, and "\," is a
# comma within one. The library reads the list as one text and writes each comma as "\,". So
# a calendar that is read and written again has one resource with the name "r1,r2" where it
# had two, and a program that sets the property cannot write two in one line.
#
# Seen:
#   read     RESOURCES:r1,r2
#   written  RESOURCES:r1\,r2
#
# Needs Go.
set -euo pipefail

dir=$(mktemp -d)
trap 'chmod -R u+w "$dir"; rm -rf "$dir"' EXIT
cd "$dir"
cat >go.mod <<'END'
module finding

go 1.25

require github.com/arran4/golang-ical v0.3.4
END
cat >main.go <<'END'
package main

import (
	"fmt"
	"os"

	ics "github.com/arran4/golang-ical"
)

func main() {
	c, err := ics.ParseCalendar(os.Stdin)
	if err != nil {
		panic(err)
	}
	fmt.Print(c.Serialize())
}
END
export GOMODCACHE=$dir/mod GOFLAGS=-mod=mod
go build -o finding . 2>build.log || { cat build.log; exit 1; }
printf '%s\r\n' BEGIN:VCALENDAR VERSION:2.0 PRODID:finding BEGIN:VEVENT UID:1 DTSTAMP:20261201T000000Z \
	DTSTART:20261201T100000Z RESOURCES:r1,r2 END:VEVENT END:VCALENDAR >in.ics
got=$(./finding <in.ics | tr -d '\r' | grep '^RESOURCES')
echo "read     RESOURCES:r1,r2"
echo "written  $got"
[[ $got == 'RESOURCES:r1\,r2' ]]
