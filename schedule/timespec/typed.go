package timespec

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"activationd/internal/timetext"
)

// Typed reads a time as people type it: the forms of [timetext.Typed], and those of
// [Parse], where the date may also be before the time of day and the word "at" between
// them. Unlike for Parse, the time may be in the past.
func Typed(text string, now time.Time, loc *time.Location) (time.Time, error) {
	t, err := timetext.Typed(text, now, loc)
	if err == nil {
		return t, nil
	}
	words := strings.Fields(text)
	for i := 1; i < len(words)-1; i++ {
		if strings.EqualFold(words[i], "at") {
			words = append(words[:i:i], words[i+1:]...)
		}
	}
	t, atErr := parse(strings.Join(words, " "), now, loc, true)
	switch {
	case atErr == nil && t.Before(timetext.First):
		return t, fmt.Errorf("%.60q is before 1970", text)
	case atErr == nil:
		return t, nil
	case !errors.Is(err, timetext.ErrForm):
		return t, err
	case !errors.Is(atErr, errForms) && span(strings.TrimSpace(text)) < 4: // a year is no time of day
		return t, fmt.Errorf("%.60q: %w", text, atErr)
	}
	return t, fmt.Errorf("%.60q %w", text, errTyped)
}

// TypedUntil is Typed where a duration may be given, too. It refuses numbers that somebody may
// mean as one: 1730, and 1h30.
func TypedUntil(text string, now time.Time, loc *time.Location) (time.Time, error) {
	t, err := timetext.Typed(text, now, loc)
	if err == nil || strings.Trim(text, " 0123456789.,'hH") == "" {
		return t, err
	}
	return Typed(text, now, loc)
}

var errTyped = errors.New(`is not a time: write it like "2099-12-21 10:00", "10:00", "noon tomorrow", "monday 10am", "now + 5 minutes", ` +
	`or 2099-12-21T10:00:00+01:00`)

// TypedStart is Typed for the start of something. A duration with a plus sign counts from now:
// +2h is in two hours.
func TypedStart(text string, now time.Time, loc *time.Location) (time.Time, error) {
	return typedOrLater(text, now, now, loc)
}

// TypedEnd is Typed for the end of something that begins at start: a time of day alone is the
// first one after start, and a duration with a plus sign counts from start.
func TypedEnd(text string, start, now time.Time, loc *time.Location) (time.Time, error) {
	switch word := strings.ToLower(strings.TrimSpace(text)); {
	case word == "noon", word == "midnight", word == "teatime", strings.Trim(word, "0123456789: apm") == "":
		now = start
	}
	return typedOrLater(text, start, now, loc)
}

func typedOrLater(text string, start, now time.Time, loc *time.Location) (time.Time, error) {
	if strings.HasPrefix(strings.TrimSpace(text), "+") {
		if t, err := timetext.Later(text, start); !errors.Is(err, timetext.ErrForm) {
			return t, err
		}
	}
	return Typed(text, now, loc)
}
