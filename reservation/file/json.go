package file

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strconv"
	"time"

	"activationd/internal/document"
	"activationd/reservation"
)

// parseJSON reads the page one reservation after the other. Simple and valid ones are read
// directly; the others become the nodes that YAML is parsed into, so that both formats have
// the same rules and the same messages.
func (p *page) parseJSON(files *topologyDir) ([]item, error) {
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
		key, _ := t.(string) // no other kind of token is possible here
		line := p.lineAt(int(dec.InputOffset()))
		switch {
		case key == "reservations" && found:
			return nil, p.fault(line, "reservations: occurs twice")
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
		return nil, p.fault(p.lineAt(int(dec.InputOffset())), "there is text after the end; a file must be one document")
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

func (p *page) jsonItems(dec *json.Decoder, files *topologyDir) ([]item, error) {
	if t, err := dec.Token(); err != nil {
		return nil, p.jsonFault(dec, err)
	} else if t != json.Delim('[') {
		return nil, p.fault(p.lineAt(int(dec.InputOffset())), notList)
	}
	// Space for all reservations; even the shortest has more than 64 bytes.
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
		items = append(items, item{})
		it := &items[len(items)-1]
		if it.r.Where = p.name + ":" + strconv.Itoa(line); !quick(raw, &it.r, files) {
			*it = itemOf(document.JSON(raw, line), p.name, b, files)
		}
	}
	if _, err := dec.Token(); err != nil {
		return nil, p.jsonFault(dec, err)
	}
	return items, nil
}

// jsonFault returns the error of the decoder with its line.
func (p *page) jsonFault(dec *json.Decoder, err error) error {
	offset := int(dec.InputOffset())
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &syntax):
		offset = max(int(syntax.Offset)-1, 0)
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return p.fault(p.lineAt(len(bytes.TrimRight(p.data, " \t\r\n"))), "ends too early")
	}
	return p.fault(p.lineAt(offset), "%s", document.NotJSON(err))
}

// quick reads a valid reservation that has only texts without escapes and lists of them. It
// reports whether the reservation is one; if not, only Where of r is of use. The input is
// known to be valid JSON.
func quick(raw []byte, r *reservation.Reservation, files *topologyDir) (ok bool) {
	s := &scan{raw: raw}
	if !s.next('{') {
		return false
	}
	seen := 0
	for !s.next('}') {
		key, ok := s.text()
		at := reservation.FieldIndex(key)
		if !ok || at < 0 || seen&(1<<at) != 0 || !s.next(':') {
			return false
		}
		seen |= 1 << at
		if reservation.Fields[at].Set(r, s); s.failed {
			return false
		}
		s.next(',')
	}
	return complete(r, nil, files) == "" && len(reservation.Faults(r)) == 0
}

// A scan reads valid JSON. As a [reservation.Value] it is the next value; it fails if it would
// have to report a problem, or to understand more of JSON.
type scan struct {
	raw    []byte
	at     int
	failed bool
}

// Text implements [reservation.Value].
func (s *scan) Text() string {
	t, ok := s.text()
	s.failed = !ok
	return t
}

// scanned reads the text by a function that returns what is wrong with it.
func scanned[T any](s *scan, read func(string) (T, string)) (t T) {
	text, ok := s.text()
	if !ok {
		s.failed = true
		return t
	}
	t, problem := read(text)
	s.failed = problem != ""
	return t
}

// Word implements [reservation.Value].
func (s *scan) Word() string { return scanned(s, word) }

// Instant implements [reservation.Value].
func (s *scan) Instant() time.Time { return scanned(s, instant) }

// Duration implements [reservation.Value].
func (s *scan) Duration() *time.Duration { return scanned(s, duration) }

// Number implements [reservation.Value].
func (s *scan) Number() *int { return scanned(s, number) }

// List implements [reservation.Value].
func (s *scan) List(int) []string {
	l, ok := s.texts()
	s.failed = !ok
	return l
}

// Variables implements [reservation.Value].
func (s *scan) Variables() map[string]string {
	s.failed = true
	return nil
}

// Numbers implements [reservation.Value].
func (s *scan) Numbers() map[string]int {
	s.failed = true
	return nil
}

// Topology implements [reservation.Value].
func (s *scan) Topology() (text, name string) { return "", scanned(s, topologyName) }

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
