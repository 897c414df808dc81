#!/usr/bin/env bash
# python3-icalendar 4.0.3-5 (Debian 12).
#
# In a TEXT of RFC 5545 (3.3.11) "\\" is a backslash and "\n" is a new line. The library
# looks for "\n" first, so a backslash that is followed by an n in the text becomes a new
# line, also in what it wrote itself: a text does not survive writing and reading.
#
# Seen, for the text C:\new\temp:
#   written  SUMMARY:C:\\new\\temp      (right)
#   read     'C:\new\\temp'             (Python's notation: a new line before "ew")
#
# Needs Debian 12 with python3 and python3-pkg-resources; the packages are unpacked into a
# folder for the time being.
set -euo pipefail

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
(cd "$dir" && apt-get -q -o APT::Sandbox::User=root download python3-icalendar=4.0.3-5 python3-dateutil python3-tz python3-six >/dev/null)
for package in "$dir"/*.deb; do dpkg -x "$package" "$dir/root"; done
got=$(PYTHONPATH=$dir/root/usr/lib/python3/dist-packages /usr/bin/python3 - <<'END'
import icalendar

event = icalendar.Event()
event.add("summary", "C:\\new\\temp")
text = event.to_ical()
print("written ", text.decode().split("\r\n")[1])
print("read    ", repr(str(icalendar.Event.from_ical(text)["summary"])))
END
)
echo "$got"
[[ $got == 'written  SUMMARY:C:\\new\\temp
read     '\''C:\new\\temp'\' ]]
