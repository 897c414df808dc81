# Prints what Debian's python3-icalendar finds in a calendar, one event a line.
import json
import sys

from icalendar import Calendar


def texts(value):
    for v in value if isinstance(value, list) else [value]:
        yield str(v)


cal = Calendar.from_ical(open(sys.argv[1], "rb").read())
assert cal["VERSION"] == "2.0", cal["VERSION"]
assert not cal.errors, cal.errors
for event in cal.walk("VEVENT"):
    assert not event.errors, event.errors
    found = {}
    for name, value in event.property_items(recursive=False):
        if name in ("BEGIN", "END"):
            continue
        if name in ("DTSTART", "DTEND", "DTSTAMP", "CREATED", "LAST-MODIFIED"):
            assert value.dt.utcoffset().total_seconds() == 0, value.dt
            value = value.dt.strftime("%Y-%m-%dT%H:%M:%SZ")
        found[name] = str(value)
    print(json.dumps(found))
