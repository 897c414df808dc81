package sql

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"activationd/internal/timetext"
	"activationd/reservation"
)

// A cell is the value of one column in one row; it is a [reservation.Value].
type cell struct {
	*column
	v       any // not nil
	mysql   bool
	problem string
}

// Text returns the text without the spaces that fill up a CHAR(n).
func (c *cell) Text() string { return strings.TrimSpace(c.raw()) }

func (c *cell) raw() string {
	if t, ok := c.v.(time.Time); ok {
		c.problem = fmt.Sprintf("%v is a time, not a text", t)
		return ""
	}
	return fmt.Sprint(c.v)
}

// Word implements [reservation.Value]. An empty text is the same as NULL.
func (c *cell) Word() string { return c.Text() }

// Instant implements [reservation.Value].
func (c *cell) Instant() time.Time {
	t, err := c.instant()
	if err != nil {
		c.problem = err.Error()
	}
	return t
}

func (c *cell) instant() (time.Time, error) {
	switch v := c.v.(type) {
	case time.Time:
		if c.wall == nil {
			return v, nil
		}
		t, err := fromWall(v, c.wall)
		if err != nil {
			err = fmt.Errorf("%q %w", v.Format(time.DateTime), err)
		}
		return t, err
	case string:
		if c.date && len(v) == len(time.DateOnly) {
			v += " 00:00:00"
		}
		var local func(time.Time) (time.Time, error)
		if c.wall != nil {
			local = func(wall time.Time) (time.Time, error) { return fromWall(wall, c.wall) }
		}
		return timetext.Instant(v, local)
	}
	return timetext.Instant(plain(c.v), nil)
}

// Duration implements [reservation.Value]. A number means seconds.
func (c *cell) Duration() *time.Duration {
	if t, ok := c.v.(time.Time); ok {
		c.problem = fmt.Sprintf("%v is a time, not a duration", t)
		return nil
	}
	text := strings.TrimSpace(plain(c.v))
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		if n > int64(reservation.MaxSlot/time.Second)+1 || n < -1<<31 { // validation refuses it, and a Duration could overflow
			c.problem = fmt.Sprintf("%d seconds is more than 10 years", n)
			return nil
		}
		d := time.Duration(n) * time.Second
		return &d
	}
	if text != "" && strings.Trim(text, "0123456789.") == "" { // NUMERIC, or a floating point number
		text += "s"
	}
	d, err := timetext.Duration(text)
	if err != nil {
		c.problem = err.Error()
		return nil
	}
	return &d
}

// Number implements [reservation.Value].
func (c *cell) Number() *int {
	n, err := strconv.Atoi(fmt.Sprint(c.v))
	if err != nil {
		c.problem = fmt.Sprintf("%.80q is not a whole number", fmt.Sprint(c.v))
		return nil
	}
	return &n
}

// List reads names that are separated by commas. It bounds nothing: the rows of a
// reservation are joined first.
func (c *cell) List(int) []string {
	text := c.Text()
	if strings.HasPrefix(text, "[") || strings.HasPrefix(text, "{") {
		c.problem = fmt.Sprintf("%.60q is a list as one text; have the query give one device a row, or names with commas: %s", text, c.unlist())
		return nil
	}
	var l []string
	for name := range strings.SplitSeq(text, ",") {
		if name = strings.TrimSpace(name); name != "" {
			l = append(l, name)
		}
	}
	return l
}

// unlist says how a query splits an array, or JSON, into its elements.
func (c *cell) unlist() string {
	if c.mysql {
		return "JSON_TABLE(devices, '$[*]' COLUMNS (device TEXT PATH '$'))"
	}
	return "text[] by array_to_string(devices, ','), JSON by jsonb_array_elements_text(devices)"
}

// Variables implements [reservation.Value]. No column has variables.
func (c *cell) Variables() map[string]string { return nil }

// Numbers reads names with their numbers, separated by commas: lab=3, core=1.
func (c *cell) Numbers() map[string]int {
	all := make(map[string]int)
	for _, part := range c.List(0) {
		name, text, _ := strings.Cut(part, "=")
		name = strings.TrimSpace(name)
		n, err := strconv.Atoi(strings.TrimSpace(text))
		if _, twice := all[name]; err != nil || twice {
			c.problem = fmt.Sprintf("%.80q is not a domain with a number, such as lab=3, or occurs twice", part)
			return nil
		}
		all[name] = n
	}
	return all
}

// Topology implements [reservation.Value].
func (c *cell) Topology() (text, name string) {
	if text = c.raw(); strings.TrimSpace(text) == "" {
		return "", ""
	}
	return text, ""
}

// fromWall returns the time at which a clock in loc shows what t shows in its own zone. If
// the clock shows it twice, that is the first of the two times.
func fromWall(t time.Time, loc *time.Location) (time.Time, error) {
	at := timetext.In(t, loc)
	if shown := t.Format(time.DateTime); at.Format(time.DateTime) != shown {
		return time.Time{}, fmt.Errorf("is never shown by a clock in %v, because of daylight saving", loc)
	}
	return at, nil
}

// plain returns a value as text, and a large number without an exponent.
func plain(v any) string {
	switch v := v.(type) {
	case float32:
		return strconv.FormatFloat(float64(v), 'f', -1, 32)
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return fmt.Sprint(v)
}
