package sql

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"activationd/internal/fault"
	"activationd/internal/timetext"
	"activationd/reservation"
)

// A merger makes reservations of rows.
type merger struct {
	cols   []column
	nodes  func(string) ([]string, error)
	mysql  bool
	values []any // of the row that was just read
	row    int   // its number, from 1
	buf    []byte

	byID     map[string]int // index in merged
	merged   []merged
	nameless []reservation.Reject // rows without an id
}

// merged is a reservation with the number of its first row, and what is wrong
// with it.
type merged struct {
	r     reservation.Reservation
	row   int
	fault string
	at    int // the row of the fault
}

// canonical is the row as bytes, so that two rows are equal if these are.
func (m *merger) canonical() []byte {
	b := m.buf[:0]
	for _, v := range m.values {
		var kind byte
		var text string
		switch v := v.(type) {
		case nil:
			kind = 'n'
		case time.Time:
			kind, text = 't', v.UTC().Format(time.RFC3339Nano)
		case []byte:
			kind, text = 's', string(v)
		default:
			kind, text = 's', fmt.Sprint(v)
		}
		b = append(b, kind)
		b = binary.AppendUvarint(b, uint64(len(text)))
		b = append(b, text...)
	}
	m.buf = b
	return b
}

// add takes in the row that was just read.
func (m *merger) add() {
	m.row++
	r, problems := m.reservation()
	if r.ID == "" {
		m.nameless = append(m.nameless, reservation.Reject{
			Where: fmt.Sprintf("row %d", m.row),
			Text:  cmp.Or(strings.Join(problems, "; "), "id: is missing"),
		})
		return
	}
	i, ok := m.byID[r.ID]
	if !ok {
		i = len(m.merged)
		m.byID[r.ID] = i
		m.merged = append(m.merged, merged{r: r, row: m.row})
	}
	first := &m.merged[i]
	if ok && len(problems) == 0 {
		if key := differs(&first.r, &r); key != "" && first.fault == "" {
			problems = append(problems, fmt.Sprintf("%s: is another than in row %d; rows of one id differ in their device only", key, first.row))
		}
		if len(first.r.Devices) <= reservation.MaxDevices { // one more is said to be too many
			first.r.Devices = append(first.r.Devices, r.Devices...)
		}
	}
	if len(problems) > 0 && first.fault == "" {
		first.fault, first.at = strings.Join(problems, "; "), m.row
	}
}

// reservation reads the row by itself.
func (m *merger) reservation() (r reservation.Reservation, problems []string) {
	for i, c := range m.cols {
		v := m.values[i]
		if b, ok := v.([]byte); ok {
			v = string(b)
		}
		if v == nil {
			continue
		}
		problem := ""
		switch c.key {
		case "start":
			r.Start, problem = c.instant(v)
		case "end":
			r.End, problem = c.instant(v)
		case "lead":
			r.Lead, problem = duration(v)
		case "tail":
			r.Tail, problem = duration(v)
		case "timeout":
			r.Timeout, problem = duration(v)
		case "grace":
			r.Grace, problem = duration(v)
		case "retries":
			n, err := strconv.Atoi(fmt.Sprint(v))
			if r.Retries = &n; err != nil {
				problem = fmt.Sprintf("%.80q is not a whole number", fmt.Sprint(v))
			}
		default:
			problem = m.setText(&r, c.key, v)
		}
		if problem != "" {
			problems = append(problems, c.name+": "+problem)
		}
	}
	return r, problems
}

func (m *merger) setText(r *reservation.Reservation, key string, v any) (problem string) {
	if t, ok := v.(time.Time); ok {
		return fmt.Sprintf("%v is a time, not a text", t)
	}
	text := fmt.Sprint(v)
	line := strings.TrimSpace(text) // CHAR(n) is filled up with spaces
	switch key {
	case "id":
		r.ID = line
	case "owner":
		r.Owner = line
	case "label":
		r.Label = line
	case "missed":
		r.Missed = line
	case "topology":
		if line != "" {
			r.Topology = text
		}
	case "devices":
		if strings.HasPrefix(line, "[") || strings.HasPrefix(line, "{") {
			return m.list(line)
		}
		for d := range strings.SplitSeq(line, ",") {
			if d = strings.TrimSpace(d); d != "" {
				r.Devices = append(r.Devices, d)
			}
		}
	}
	return ""
}

// list tells how to ask for the devices that are an array, or JSON: a query takes them
// apart as the server has put them together.
func (m *merger) list(text string) string {
	how := "text[] by array_to_string(devices, ','), JSON by jsonb_array_elements_text(devices)"
	if m.mysql {
		how = "JSON_TABLE(devices, '$[*]' COLUMNS (device TEXT PATH '$'))"
	}
	return fmt.Sprintf("%.60q is a list as one text; have the query give one device a row, or names with commas: %s", text, how)
}

// instant reads a time.
func (c *column) instant(v any) (time.Time, string) {
	switch v := v.(type) {
	case time.Time:
		if c.wall == nil {
			return v, ""
		}
		at, err := fromWall(v, c.wall)
		if err != nil {
			err = fmt.Errorf("%q %w", v.Format(time.DateTime), err)
		}
		return told(at, err)
	case string:
		if c.date && len(v) == len(time.DateOnly) {
			v += " 00:00:00"
		}
		var local func(time.Time) (time.Time, error)
		if c.wall != nil {
			local = func(wall time.Time) (time.Time, error) { return fromWall(wall, c.wall) }
		}
		return told(timetext.Instant(v, local))
	}
	return told(timetext.Instant(plain(v), nil))
}

func told(t time.Time, err error) (time.Time, string) {
	if err != nil {
		return t, err.Error()
	}
	return t, ""
}

// fromWall is when a clock in loc shows what t shows in its own zone: the first
// time if it does so twice.
func fromWall(t time.Time, loc *time.Location) (time.Time, error) {
	at := timetext.In(t, loc)
	if shown := t.Format(time.DateTime); at.Format(time.DateTime) != shown {
		return time.Time{}, fmt.Errorf("is never shown by a clock in %v, because of daylight saving", loc)
	}
	return at, nil
}

func duration(v any) (*time.Duration, string) {
	if t, ok := v.(time.Time); ok {
		return nil, fmt.Sprintf("%v is a time, not a duration", t)
	}
	text := strings.TrimSpace(plain(v)) // CHAR(n) is filled up with spaces
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		if n > int64(reservation.MaxSlot/time.Second)+1 || n < -1<<31 { // beyond what validation takes, and no overflow
			return nil, fmt.Sprintf("%d seconds is more than 10 years", n)
		}
		d := time.Duration(n) * time.Second
		return &d, ""
	}
	if text != "" && strings.Trim(text, "0123456789.") == "" { // NUMERIC, or a floating point number
		text += "s"
	}
	d, err := timetext.Duration(text)
	if err != nil {
		return nil, err.Error()
	}
	return &d, ""
}

// plain is a value as text, and a large number without an exponent.
func plain(v any) string {
	switch v := v.(type) {
	case float32:
		return strconv.FormatFloat(float64(v), 'f', -1, 32)
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return fmt.Sprint(v)
}

// differs names a field other than the devices in which two rows differ.
func differs(a, b *reservation.Reservation) string {
	switch {
	case !a.Start.Equal(b.Start):
		return "start"
	case !a.End.Equal(b.End):
		return "end"
	case a.Owner != b.Owner:
		return "owner"
	case a.Label != b.Label:
		return "label"
	case a.Topology != b.Topology:
		return "topology"
	case a.Missed != b.Missed:
		return "missed"
	case !same(a.Lead, b.Lead):
		return "lead"
	case !same(a.Tail, b.Tail):
		return "tail"
	case !same(a.Timeout, b.Timeout):
		return "timeout"
	case !same(a.Grace, b.Grace):
		return "grace"
	case !same(a.Retries, b.Retries):
		return "retries"
	}
	return ""
}

func same[T comparable](a, b *T) bool {
	return a == b || a != nil && b != nil && *a == *b
}

// set checks what was merged and sorts the good from the bad.
func (m *merger) set() reservation.Set {
	set := reservation.Set{Reservations: make([]reservation.Reservation, 0, len(m.merged)), Rejects: m.nameless}
	for i := range m.merged {
		e := &m.merged[i]
		if e.fault == "" {
			e.at = e.row
			e.fault = m.check(&e.r)
		}
		if e.fault == "" {
			e.r.Where = fmt.Sprintf("row %d", e.row)
			set.Reservations = append(set.Reservations, e.r)
			continue
		}
		set.Rejects = append(set.Rejects, reservation.Reject{
			Where: fmt.Sprintf("row %d (%.64s)", e.at, e.r.ID),
			ID:    e.r.ID,
			Text:  e.fault,
		})
	}
	return set
}

func (m *merger) check(r *reservation.Reservation) string {
	var problems []string
	if r.Topology != "" && m.nodes != nil && len(r.Topology) <= reservation.MaxTopology {
		nodes, err := m.nodes(r.Topology)
		if err != nil {
			problems = append(problems, "topology: "+strings.TrimSuffix(err.Error(), ": "+string(fault.Of(err))))
		} else if len(r.Devices) == 0 {
			r.Devices = slices.Clone(nodes)
		}
	}
	for _, f := range reservation.Faults(r) {
		problems = append(problems, f.Error())
	}
	return strings.Join(problems, "; ")
}
