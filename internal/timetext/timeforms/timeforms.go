// Package timeforms is the table of the forms of instants and durations for tests: one row
// for each form that is accepted, and for each that is refused with a reason of its own. The
// tests try every setting with all of them.
package timeforms

import "time"

// A Form is a text, and its meaning, or why it is refused.
type Form[T any] struct {
	Name, Text string
	Want       T
	Why        string // a part of the error; empty: it is accepted
}

// At is the instant of most rows.
var At = time.Date(2099, 12, 21, 9, 0, 0, 0, time.UTC)

// Instants have a zone, or are refused everywhere.
func Instants() []Form[time.Time] {
	fine := At.Add(250 * time.Millisecond)
	taken := func(name, text string, want time.Time) Form[time.Time] {
		return Form[time.Time]{Name: name, Text: text, Want: want}
	}
	refused := func(name, text, why string) Form[time.Time] {
		return Form[time.Time]{Name: name, Text: text, Why: why}
	}
	return []Form[time.Time]{
		taken("RFC 3339", "2099-12-21T10:00:00+01:00", At),
		taken("RFC 3339 in UTC", "2099-12-21T09:00:00Z", At),
		taken("RFC 3339 in lower case", "2099-12-21t09:00:00z", At),
		taken("RFC 3339 with a fraction", "2099-12-21T10:00:00.25+01:00", fine),
		taken("an unknown offset", "2099-12-21T09:00:00-00:00", At),
		taken("without seconds", "2099-12-21T09:00Z", At),
		taken("an hour alone", "2099-12-21T10+01:00", At),
		taken("Python", "2099-12-21 10:00:00+01:00", At),
		taken("Python, microseconds", "2099-12-21 10:00:00.250000+01:00", fine),
		taken("a space before the offset", "2099-12-21 10:00:00 +01:00", At),
		taken("more spaces", "  2099-12-21   10:00:00   +01:00\n", At),
		taken("west", "2099-12-21 03:30:00-05:30", At),
		taken("an offset without a colon", "2099-12-21T10:00:00+0100", At),
		taken("PostgreSQL", "2099-12-21 10:00:00+01", At),
		taken("PostgreSQL, an old offset", "2099-12-21 09:44:30+00:44:30", At),
		taken("PostgreSQL, a fraction", "2099-12-21 10:00:00.25+01", fine),
		taken("YAML", "2099-12-21t10:00:00.25+01:00", fine),
		taken("YAML with spaces", "2099-12-21 10:00:00 +1", At),
		taken("YAML in UTC", "2099-12-21 9:00:00 Z", At),
		taken("a comma", "2099-12-21T10:00:00,25+01:00", fine),
		taken("more digits than nanoseconds have", "2099-12-21T10:00:00.2500000000009+01:00", fine),
		taken("basic", "20991221T090000Z", At),
		taken("basic with an offset", "20991221T100000+0100", At),
		taken("basic without seconds", "20991221T1000+0100", At),
		taken("basic with a fraction", "20991221T090000.25Z", fine),
		taken("LDAP", "20991221090000Z", At),
		taken("LDAP with a fraction", "20991221100000.25+0100", fine),
		taken("UTC", "2099-12-21 09:00:00 UTC", At),
		taken("GMT", "2099-12-21 09:00:00 GMT", At),
		taken("systemd", "Mon 2099-12-21 09:00:00 UTC", At),
		taken("HTTP", "Mon, 21 Dec 2099 09:00:00 GMT", At),
		taken("RFC 5322", "Mon, 21 Dec 2099 10:00:00 +0100", At),
		taken("RFC 5322 without a weekday", "21 Dec 2099 10:00 +0100", At),
		taken("RFC 5322 with a comment", "Mon, 21 Dec 2099 10:00:00 +0100 (CET)", At),
		taken("git", "Mon Dec 21 10:00:00 2099 +0100", At),
		taken("date", "Mon Dec 21 09:00:00 UTC 2099", At),
		taken("Ruby", "Mon Dec 21 10:00:00 +0100 2099", At),
		taken("date in American English", "Mon Dec 21 09:00:00 AM UTC 2099", At),
		taken("date in Indian English", "Monday 21 December 2099 09:00:00 AM UTC", At),
		taken("an hour after noon", "Mon Dec 21 11:30:00 PM +1430 2099", At),
		taken("half an hour after midnight", "Mon Dec 21 12:30:00 AM -0830 2099", At),
		taken("date in British English", "Mon 21 Dec 09:00:00 UTC 2099", At),
		taken("PostgreSQL, a day before the month", "Mon 21 Dec 09:00:00.25 2099 UTC", fine),
		taken("PHP's cookies", "Monday, 21-Dec-2099 09:00:00 UTC", At),
		taken("HTTP cookies", "Mon, 21-Dec-2099 09:00:00 GMT", At),
		taken("logs of web servers", "21/Dec/2099:10:00:00 +0100", At),
		taken("months with their whole names", "Monday, December 21, 2099 10:00:00 +0100", At),
		taken("slashes behind the year", "2099/12/21 10:00:00 +0100", At),
		taken("UTC without a space", "2099-12-21T09:00:00UTC", At),
		taken("JavaScript", "Mon Dec 21 2099 10:00:00 GMT+0100 (Central European Standard Time)", At),
		taken("JavaScript, toISOString", "2099-12-21T09:00:00.250Z", fine),
		taken("Java", "2099-12-21T10:00+01:00[Europe/Prague]", At),
		taken("Java in UTC", "2099-12-21T09:00Z[UTC]", At),
		taken("RFC 9557", "2099-12-21T10:00:00+01:00[!Europe/Prague][u-ca=gregory]", At),
		taken("Go", "2099-12-21 10:00:00 +0100 CET", At),
		taken("Go, a zone without a name", "2099-12-21 06:00:00 -0300 -03", At),
		taken("Go, in UTC", "2099-12-21 09:00:00.25 +0000 UTC", fine),
		taken("Go, now", "2099-12-21 10:00:00 +0100 CET m=+0.000012", At),
		taken("seconds since 1970", "@4101526800", At),
		taken("seconds since 1970, a fraction", "@4101526800.25", fine),
		taken("the first", "1970-01-01T00:00:00Z", time.Unix(0, 0)),
		taken("the last", "2199-12-31T23:59:59.999999999Z", time.Date(2199, 12, 31, 23, 59, 59, 999999999, time.UTC)),

		refused("a day in February", "2099-02-30T10:00:00Z", "a day that does not exist"),
		refused("no leap year", "2097-02-29 10:00:00+01:00", "a day that does not exist"),
		refused("no month", "2099-00-10T10:00:00Z", "a day that does not exist"),
		refused("no day", "20991200T100000Z", "a day that does not exist"),
		refused("nothing", "0000-00-00 00:00:00+00:00", "a day that does not exist"),
		refused("month 13", "2099-13-01T10:00:00Z", "a day that does not exist"),
		refused("April 31", "31 Apr 2099 10:00:00 +0000", "a day that does not exist"),
		refused("another weekday", "Tue, 21 Dec 2099 10:00:00 +0100", "that day is a Monday"),
		refused("24:00", "2099-12-21T24:00:00Z", "the end of that day is 2099-12-22T00:00:00"),
		refused("a leap second", "2099-12-31T23:59:60Z", "00:00:00 to 23:59:59"),
		refused("minute 60", "2099-12-21T10:60:00Z", "00:00:00 to 23:59:59"),
		refused("offset of a day", "2099-12-21T10:00:00+24:00", "-23:59 to +23:59"),
		refused("minute 60 of an offset", "2099-12-21T10:00:00+01:60", "says no offset"),
		refused("an offset of three digits", "2099-12-21T10:00:00+100", "says no offset"),
		refused("before 1970", "1969-12-31T23:59:59Z", "1970 to 2199"),
		refused("year 1", "0001-01-01T00:00:00Z", "1970 to 2199"),
		refused("after 2199", "2200-01-01T00:00:00Z", "1970 to 2199"),
		refused("too many seconds", "@999999999999", "1970 to 2199"),
		refused("an abbreviation", "2099-12-21 10:00:00 CET", `ends in "CET", which says no offset from UTC: write it with its offset from UTC, like 2099-12-21T10:00:00+01:00, or 2099-12-21T10:00:00Z if it is UTC`),
		refused("an abbreviation in words", "Mon Dec 21 10:00:00 CET 2099", `like 2099-12-21T10:00:00+01:00`),
		refused("a zone's name", "2099-12-21 10:00:00 Europe/Prague", `"Europe/Prague", which says no offset`),
		refused("a zone's name in brackets", "2099-12-21T10:00:00[Europe/Prague]", "says no offset"),
		refused("UTC+1, which is west in TZ", "2099-12-21 10:00:00 UTC+1", "says no offset"),
		refused("two offsets", "2099-12-21 10:00:00 +0100 +02", "says no offset"),
		refused("an offset and UTC", "2099-12-21 10:00:00 +0100 UTC", "says no offset"),
		refused("afternoon", "2099-12-21 10:00:00 PM", `"PM", which says no offset`),
		refused("seconds without a sign", "4101526800", "write @4101526800 for seconds since 1970"),
		refused("milliseconds", "4101526800250", "write @4101526800.250 for seconds since 1970"),
		refused("a fraction of seconds", "4101526800.25", "write @4101526800.25 for"),
		refused("an exponent", "@1e9", "is not a time: write it like"),
		refused("before 1970 in seconds", "@-5", "is not a time"),
		refused("a day first", "21.12.2099 10:00", "is not a time"),
		refused("a month first", "12/21/2099 10:00", "is not a time"),
		refused("an hour 13 in the afternoon", "Mon Dec 21 13:00:00 PM UTC 2099", "is not a time"),
		refused("morning and afternoon", "Mon Dec 21 10:00:00 AM PM 2099", `"PM", which says no offset`),
		refused("an hour 0 in the morning", "Mon Dec 21 00:00:00 AM UTC 2099", "is not a time"),
		refused("two signs between numbers", "2099-12/21 10:00:00Z", "is not a time"),
		refused("half a month's name", "21 Decem 2099 10:00:00 +0100", "is not a time"),
		refused("two digits of the year", "Mon, 21-Dec-26 09:00:00 GMT", "is not a time"),
		refused("a week", "2099-W52-1T10:00:00Z", "is not a time"),
		refused("a day of the year", "2099-355T10:00:00Z", "is not a time"),
		refused("a minute of one digit", "2099-12-21T10:0:00Z", "is not a time"),
		refused("a point and no digit", "2099-12-21T10:00:00.Z", "is not a time"),
		refused("a sign before it", "+2099-12-21T10:00:00Z", "is not a time"),
		refused("infinity", "infinity", "is not a time"),
		refused("before Christ", "2044-03-15 10:00:00+00 BC", "says no offset"),
		refused("afternoon, with an offset", "2099-12-21 10:00:00 +0100 PM", "says no offset"),
		refused("a word", "soon", "is not a time"),
	}
}

// Local have no zone: they are this local time where a zone is known. Elsewhere they are
// refused because they have none.
func Local() []Form[time.Time] {
	wall := time.Date(2099, 12, 21, 10, 0, 0, 0, time.UTC)
	var forms []Form[time.Time]
	for name, text := range map[string]string{
		"T": "2099-12-21T10:00:00", "a space": "2099-12-21 10:00:00", "no seconds": "2099-12-21 10:00",
		"basic": "20991221T100000", "fourteen digits": "20991221100000", "asctime": "Mon Dec 21 10:00:00 2099", "words": "21 Dec 2099 10:00",
	} {
		forms = append(forms, Form[time.Time]{name, text, wall, "has no zone: write it with its offset from UTC, like 2099-12-21T10:00:00+01:00"})
	}
	return forms
}

// Durations are accepted, or refused, everywhere. The accepted ones are from a second to a
// week.
func Durations() []Form[time.Duration] {
	const day = 24 * time.Hour
	taken := func(name, text string, want time.Duration) Form[time.Duration] {
		return Form[time.Duration]{Name: name, Text: text, Want: want}
	}
	refused := func(name, text, why string) Form[time.Duration] {
		return Form[time.Duration]{Name: name, Text: text, Why: why}
	}
	return []Form[time.Duration]{
		taken("seconds", "90s", 90*time.Second),
		taken("two units", "1h30m", 90*time.Minute),
		taken("a day", "1d", day),
		taken("days and hours", "2d12h", 60*time.Hour),
		taken("a week", "1w", 7*day),
		taken("all units", "1d2h3m4s5ms6us7ns", day+2*time.Hour+3*time.Minute+4*time.Second+5*time.Millisecond+6*time.Microsecond+7),
		taken("a fraction", "1.5h", 90*time.Minute),
		taken("a fraction of a day", "1.5d", 36*time.Hour),
		taken("nothing before the point", ".5h", 30*time.Minute),
		taken("Go", "1h30m0s", 90*time.Minute),
		taken("Go, microseconds", "1m0.000001s", time.Minute+time.Microsecond),
		taken("a plus", "+5m", 5*time.Minute),
		taken("spaces", " 1h 30m\n", 90*time.Minute),
		taken("systemd", "1d 2h 30min 10s", day+2*time.Hour+30*time.Minute+10*time.Second),
		taken("words", "5 minutes", 5*time.Minute),
		taken("more words", "1 hour 30 minutes", 90*time.Minute),
		taken("words of small units", "1 second 5 milliseconds 6 microseconds 7 nanoseconds", time.Second+5*time.Millisecond+6*time.Microsecond+7),
		taken("one of each", "1 second 1 millisecond 1 microsecond 1 nanosecond", time.Second+time.Millisecond+time.Microsecond+1),
		taken("words of SQL", "90 SECOND", 90*time.Second),
		taken("capital letters", "1D 2H 3Min", day+2*time.Hour+3*time.Minute),
		taken("PostgreSQL, in many words", "@ 1 hour 30 mins", 90*time.Minute),
		taken("ISO 8601", "PT1H30M", 90*time.Minute),
		taken("ISO 8601, days", "P1D", day),
		taken("ISO 8601, a week", "P1W", 7*day),
		taken("ISO 8601, both", "P1DT2H30M10S", day+2*time.Hour+30*time.Minute+10*time.Second),
		taken("ISO 8601, a fraction", "PT90.5S", 90*time.Second+500*time.Millisecond),
		taken("ISO 8601, a comma", "PT1,5H", 90*time.Minute),
		taken("ISO 8601, no years", "P0Y0M1DT0S", day),
		taken("ISO 8601 in lower case", "pt1h", time.Hour),
		taken("PostgreSQL", "1 day 02:00:00", 26*time.Hour),
		taken("PostgreSQL, days", "2 days", 2*day),
		taken("PostgreSQL, hours", "01:30:00", 90*time.Minute),
		taken("PostgreSQL, a fraction", "00:01:30.5", 90*time.Second+500*time.Millisecond),
		taken("standard SQL", "1 2:00:00", 26*time.Hour),
		taken("MySQL", "100:59:59", 100*time.Hour+59*time.Minute+59*time.Second),
		taken("Python", "1 day, 2:00:00", 26*time.Hour),

		refused("nothing", "", "is not a duration: write it like 90s"),
		refused("no unit", "90", "has no unit: write 90s for seconds, 90m for minutes"),
		refused("no unit, a fraction", "1.5", "has no unit"),
		refused("no unit at the end", "1h30", "has no unit"),
		refused("a minus", "-5m", "has a minus sign"),
		refused("a minus in ISO 8601", "PT-5M", "has a minus sign"),
		refused("a minus in a part", "1 day -02:00:00", "has a minus sign"),
		refused("a month", "1mo", "has a unit of no fixed length, mo: write days"),
		refused("months", "1 mon 2 days", "has a unit of no fixed length, mon: write days"),
		refused("a year", "1y", "no fixed length"),
		refused("M, a minute or a month", "5M", "has the unit M, which may mean minutes or months: write m for minutes"),
		refused("M after hours", "1H30M", "has the unit M, which may mean minutes or months: write m for minutes"),
		refused("a year in ISO 8601", "P1Y", "years or months"),
		refused("a month in ISO 8601", "P1M", "years or months"),
		refused("hours or minutes", "1:30", "write 1h30m or 1m30s"),
		refused("60 minutes", "01:60:00", "more than 59 minutes or seconds"),
		refused("60 seconds", "01:00:60", "more than 59 minutes or seconds"),
		refused("P alone", "P", "is not a duration"),
		refused("T alone", "PT", "is not a duration"),
		refused("T at the end", "P1DT", "is not a duration"),
		refused("no T", "P1H", "is not a duration"),
		refused("the wrong order", "PT1S1H", "is not a duration"),
		refused("a unit alone", "m", "is not a duration"),
		refused("an exponent", "1e3s", "is not a duration"),
		refused("hexadecimal", "0x1d", "is not a duration"),
		refused("parsecs", "5 parsecs", "is not a duration"),
		refused("a word", "soon", "is not a duration"),
		refused("300 years", "110000d", "is too long"),
		refused("very long", "99999999999999999999999h", "is too long"),
		refused("a long sum", "15000w15000w", "is too long"),
		refused("very long in ISO 8601", "P99999999999999D", "is too long"),
	}
}
