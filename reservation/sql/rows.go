package sql

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"

	"activationd/internal/fault"
	"activationd/reservation"
)

// A merger makes reservations of rows.
type merger struct {
	cols   []column
	nodes  func(string) ([]string, error)
	mysql  bool
	values []any // of the current row
	row    int   // its number, from 1
	buf    []byte

	byID     map[string]int // index in merged
	merged   []merged
	nameless []reservation.Reject // rows without an id
}

// merged is a reservation with the number of its first row, and its error.
type merged struct {
	r     reservation.Reservation
	row   int
	fault string
	at    int // the row of the fault
}

// canonical returns the row as bytes, which are equal for equal rows only.
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

// add adds the current row.
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
			problems = append(problems, fmt.Sprintf("%s: differs from row %d; rows with the same id may differ only in their device", key, first.row))
		}
		if len(first.r.Devices) <= reservation.MaxDevices { // one more suffices for the error
			first.r.Devices = append(first.r.Devices, r.Devices...)
		}
	}
	if len(problems) > 0 && first.fault == "" {
		first.fault, first.at = strings.Join(problems, "; "), m.row
	}
}

// reservation makes a reservation of the row alone.
func (m *merger) reservation() (r reservation.Reservation, problems []string) {
	for i := range m.cols {
		v := m.values[i]
		if b, ok := v.([]byte); ok {
			v = string(b)
		}
		if v == nil {
			continue
		}
		c := cell{column: &m.cols[i], v: v, mysql: m.mysql}
		if c.field.Set(&r, &c); c.problem != "" {
			problems = append(problems, c.name+": "+c.problem)
		}
	}
	return r, problems
}

// differs returns the name of a field other than the devices in which two rows differ.
func differs(a, b *reservation.Reservation) string {
	for i := range reservation.Fields {
		if f := &reservation.Fields[i]; f.Name != "devices" && f.Name != "id" && !f.Equal(a, b) {
			return f.Name
		}
	}
	return ""
}

// set checks the merged reservations and separates valid ones from invalid ones.
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
