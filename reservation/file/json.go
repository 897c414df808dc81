package file

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strconv"

	"activationd/internal/document"
	"activationd/reservation"
)

// parseJSON reads the page one reservation after the other. Those that are plain
// and sound take a short way; the others become the same nodes that YAML is
// parsed into, so that both have the same rules and the same messages.
func (p *page) parseJSON(files *beside) ([]item, error) {
	dec := json.NewDecoder(bytes.NewReader(p.data))
	if t, err := dec.Token(); err != nil {
		return nil, p.jsonFault(dec, err)
	} else if t != json.Delim('{') {
		return nil, p.fault(1, noKey)
	}
	var items []item
	found, isTopology := false, false
	unknown, unknownLine := "", 0
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return nil, p.jsonFault(dec, err)
		}
		key, _ := t.(string) // here there is no other kind of token
		line := p.lineAt(int(dec.InputOffset()))
		switch {
		case key == "reservations" && found:
			return nil, p.fault(line, "reservations: is there twice")
		case key == "reservations":
			found = true
			if items, err = p.jsonItems(dec, files); err != nil {
				return nil, err
			}
			continue
		case key == "topology":
			isTopology = true
		}
		if unknownLine == 0 {
			unknown, unknownLine = key, line
		}
		var skipped json.RawMessage
		if err := dec.Decode(&skipped); err != nil {
			return nil, p.jsonFault(dec, err)
		}
	}
	if _, err := dec.Token(); err != nil { // the last brace
		return nil, p.jsonFault(dec, err)
	}
	if _, err := dec.Token(); err == nil {
		return nil, p.fault(p.lineAt(int(dec.InputOffset())), "something follows the end; one file is one document")
	} else if !errors.Is(err, io.EOF) {
		return nil, p.jsonFault(dec, err)
	}
	switch {
	case !found && isTopology:
		return nil, errTopology
	case !found:
		return nil, p.fault(1, noKey)
	case unknownLine != 0:
		return nil, p.fault(unknownLine, unknownTop, unknown)
	}
	return items, nil
}

func (p *page) jsonItems(dec *json.Decoder, files *beside) ([]item, error) {
	if t, err := dec.Token(); err != nil {
		return nil, p.jsonFault(dec, err)
	} else if t != json.Delim('[') {
		return nil, p.fault(p.lineAt(int(dec.InputOffset())), notList)
	}
	// Room for all of them at once; even the shortest has more than 64 bytes.
	items := make([]item, 0, min(bytes.Count(p.data, []byte(`"id"`)), len(p.data)/64))
	b := budgetFor(len(p.data))
	line, counted := 1, 0 // the number of the line at the offset counted
	for dec.More() {
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return nil, p.jsonFault(dec, err)
		}
		start := int(dec.InputOffset()) - len(raw)
		line += bytes.Count(p.data[counted:start], []byte{'\n'})
		counted = start
		it := item{}
		if it.r.Where = p.name + ":" + strconv.Itoa(line); !quick(raw, &it.r, files) {
			it = itemOf(document.JSON(raw, line), p.name, b, files)
		}
		items = append(items, it)
	}
	if _, err := dec.Token(); err != nil {
		return nil, p.jsonFault(dec, err)
	}
	return items, nil
}

// jsonFault tells the line of what the decoder does not understand.
func (p *page) jsonFault(dec *json.Decoder, err error) error {
	offset := int(dec.InputOffset())
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &syntax):
		offset = max(int(syntax.Offset)-1, 0)
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return p.fault(p.lineAt(len(bytes.TrimRight(p.data, " \t\r\n"))), "ends in the middle")
	}
	return p.fault(p.lineAt(offset), "%v", err)
}

// quick reads a reservation that has nothing but texts without escapes and lists
// of them, and is sound. If it is not so, ok is false, and r is of no use but
// for Where. The input is known to be sound JSON.
func quick(raw []byte, r *reservation.Reservation, files *beside) (ok bool) {
	s := scan{raw: raw}
	if !s.next('{') {
		return false
	}
	seen := 0
	for !s.next('}') {
		key, ok := s.text()
		at := slices.Index(keys[:], key)
		if !ok || at < 0 || seen&(1<<at) != 0 || !s.next(':') {
			return false
		}
		seen |= 1 << at
		switch key {
		case "devices":
			r.Devices, ok = s.texts()
		case "activate":
			r.Activate, ok = s.texts()
		case "deactivate":
			r.Deactivate, ok = s.texts()
		case "env":
			return false
		default:
			var v string
			if v, ok = s.text(); ok {
				ok = setText(r, key, v) == ""
			}
		}
		if !ok {
			return false
		}
		s.next(',')
	}
	return complete(r, nil, files) == "" && len(reservation.Faults(r)) == 0
}

// A scan goes through sound JSON.
type scan struct {
	raw []byte
	at  int
}

// next skips white space, and c if that is what follows.
func (s *scan) next(c byte) bool {
	for s.at < len(s.raw) {
		switch b := s.raw[s.at]; b {
		case ' ', '\t', '\r', '\n':
			s.at++
		default:
			if b == c {
				s.at++
			}
			return b == c
		}
	}
	return false
}

func (s *scan) text() (string, bool) {
	if !s.next('"') {
		return "", false
	}
	n := bytes.IndexAny(s.raw[s.at:], `"\`)
	if n < 0 || s.raw[s.at+n] == '\\' {
		return "", false
	}
	t := string(s.raw[s.at : s.at+n])
	s.at += n + 1
	return t, true
}

func (s *scan) texts() ([]string, bool) {
	if !s.next('[') {
		return nil, false
	}
	l := []string{}
	for !s.next(']') {
		t, ok := s.text()
		if !ok {
			return nil, false
		}
		l = append(l, t)
		s.next(',')
	}
	return l, true
}
