package queue

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"activationd/internal/fault"
)

// The fields of a stored message. A field is its number and a value: a number, or a text
// with its length before it. Only fields that are not zero are there; after the last one
// come a zero and the body, unless that is stored in parts.
const (
	fieldEnd = iota
	fieldPriority
	fieldPushed
	fieldNotBefore
	fieldKey
	fieldUnique
	fieldAttempts
	fieldTimeout
	fieldKeep
	fieldBy
	fieldUID
	fieldHeader // two texts
	fieldParted // the size of a body in parts
)

// format is the first byte of a stored message.
const format = 1

// A stored message is one as it was pushed, without its id and queue.
type stored struct {
	New
	pushed  time.Time
	parted  int64 // the size of a body that is stored in parts; 0: it is in Body
	inBytes int64 // of the headers and the body, for the Counts
}

// parts returns how many parts the body has.
func (s *stored) parts() int { return int((s.parted + partSize - 1) / partSize) }

// sizeOf is what a message counts for in the bytes of its queue.
func sizeOf(m New) int64 {
	n := int64(len(m.Body))
	for name, val := range m.Headers {
		n += int64(len(name) + len(val))
	}
	return n
}

// encode returns the value of a message's key.
func (s *stored) encode() []byte {
	size := 64 + len(s.Key) + len(s.By)
	for name, val := range s.Headers {
		size += len(name) + len(val) + 8
	}
	if s.parted == 0 {
		size += len(s.Body)
	}
	b := append(make([]byte, 0, size), format)
	number := func(field byte, n int64) {
		if n != 0 {
			b = binary.AppendVarint(append(b, field), n)
		}
	}
	text := func(s string) { b = append(binary.AppendUvarint(b, uint64(len(s))), s...) }
	number(fieldPriority, int64(s.Priority))
	number(fieldPushed, nanos(s.pushed))
	number(fieldNotBefore, nanos(s.NotBefore))
	if s.Key != "" {
		b = append(b, fieldKey)
		text(s.Key)
	}
	number(fieldUnique, int64(s.Unique))
	number(fieldAttempts, int64(s.Attempts))
	number(fieldTimeout, int64(s.Timeout))
	number(fieldKeep, int64(s.Keep))
	if s.By != "" {
		b = append(b, fieldBy)
		text(s.By)
	}
	if s.UID != nil {
		b = binary.AppendVarint(append(b, fieldUID), int64(*s.UID))
	}
	if len(s.Headers) > 0 {
		for _, name := range slices.Sorted(maps.Keys(s.Headers)) {
			b = append(b, fieldHeader)
			text(name)
			text(s.Headers[name])
		}
	}
	number(fieldParted, s.parted)
	b = append(b, fieldEnd)
	if s.parted == 0 {
		b = append(b, s.Body...)
	}
	return b
}

// decodeStored reads the value of a message's key. Without all, it leaves out the
// headers, which are only counted. Body refers to data.
func decodeStored(data []byte, all bool) (s stored, ok bool) {
	if len(data) == 0 || data[0] != format {
		return s, false
	}
	data = data[1:]
	number := func() int64 {
		n, size := binary.Varint(data)
		if size <= 0 {
			ok = false
			return 0
		}
		data = data[size:]
		return n
	}
	moment := func() time.Time {
		n := number()
		ok = ok && isInstant(n)
		return instant(n)
	}
	text := func() []byte {
		n, size := binary.Uvarint(data)
		if size <= 0 || n > uint64(len(data)-size) {
			ok = false
			return nil
		}
		t := data[size : size+int(n)]
		data = data[size+int(n):]
		return t
	}
	for ok = true; ok; {
		if len(data) == 0 {
			return s, false
		}
		field := data[0]
		data = data[1:]
		switch field {
		case fieldEnd:
			s.Body = data
			s.inBytes += int64(len(data)) + s.parted
			ok = s.sound()
			return s, ok
		case fieldPriority:
			s.Priority = int(number())
		case fieldPushed:
			s.pushed = moment()
		case fieldNotBefore:
			s.NotBefore = moment()
		case fieldKey:
			s.Key = string(text())
		case fieldUnique:
			s.Unique = time.Duration(number())
		case fieldAttempts:
			s.Attempts = int(number())
		case fieldTimeout:
			s.Timeout = time.Duration(number())
		case fieldKeep:
			s.Keep = time.Duration(number())
		case fieldBy:
			s.By = string(text())
		case fieldUID:
			uid := int(number())
			s.UID = &uid
		case fieldHeader:
			name, val := text(), text()
			s.inBytes += int64(len(name) + len(val))
			if !all {
				continue
			}
			if s.Headers == nil {
				s.Headers = make(map[string]string)
			}
			s.Headers[string(name)] = string(val)
		case fieldParted:
			s.parted = number()
		default:
			return s, false
		}
	}
	return s, false
}

// sound reports whether what was decoded can have been encoded.
func (s *stored) sound() bool {
	return s.Priority >= 0 && s.Priority <= MaxPriority && s.parted >= 0 && s.parted <= MaxBody && (s.parted == 0 || len(s.Body) == 0)
}

// A place is what the index entry of a ready or delayed message says of it: the beginning of
// what a listener and the broker need to know, without the message itself.
type place struct {
	pushed   time.Time
	attempts int
	flags    string    // of the letters below, in their order; empty: none
	until    time.Time // of an ordered queue: the message, and all behind it, wait until then
}

// The flags of a place.
const (
	flagState     = "s" // it has a State
	flagHeld      = "h"
	flagCancelled = "c"
)

func (p place) append(b []byte) []byte {
	b = strconv.AppendInt(b, nanos(p.pushed), 10)
	b = strconv.AppendInt(append(b, ' '), int64(p.attempts), 10)
	if p.flags != "" {
		b = append(append(b, ' '), p.flags...)
	}
	if !p.until.IsZero() {
		b = strconv.AppendInt(append(b, ' '), nanos(p.until), 10)
	}
	return b
}

func decodePlace(val []byte) (p place, ok bool) {
	text, rest, _ := strings.Cut(string(val), " ")
	pushed, err := strconv.ParseInt(text, 10, 64)
	if err != nil || !isInstant(pushed) {
		return p, false
	}
	p.pushed = instant(pushed)
	text, rest, more := strings.Cut(rest, " ")
	if p.attempts, err = strconv.Atoi(text); err != nil || p.attempts < 0 {
		return p, false
	}
	if !more {
		return p, true
	}
	if p.flags, rest, more = strings.Cut(rest, " "); p.flags == "" || !more {
		return p, p.flags != ""
	}
	until, err := strconv.ParseInt(rest, 10, 64)
	p.until = instant(until)
	return p, err == nil && isInstant(until)
}

func (p place) has(flag string) bool { return strings.Contains(p.flags, flag) }

// damaged is the error for an entry that cannot be read.
func damaged(key string) error {
	return fmt.Errorf("the state's entry %s cannot be read; restore a backup: %w", key, fault.Internal)
}

// decodeJSON reads an entry in JSON.
func decodeJSON(key string, val []byte, into any) error {
	if err := json.Unmarshal(val, into); err != nil {
		return fmt.Errorf("the state's entry %s: %w; restore a backup", key, err)
	}
	return nil
}
