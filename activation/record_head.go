package activation

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"iter"
	"strconv"
	"time"
	"unsafe"
)

// A head is the beginning of the stored record of a finished activation. Lists choose and
// sort by it, because there are many finished activations, and decoding a whole record takes
// twenty times as long. The state comes before all texts of clients: see [stateIn].
type head struct {
	V       int     `json:"v"`
	ID      string  `json:"id"`
	Kind    Kind    `json:"kind"`
	State   State   `json:"state"`
	Outcome Outcome `json:"outcome,omitempty"`
	Began   int64   `json:"began,omitempty"` // see stretch; in nanoseconds since 1970; 0: never
	Ended   int64   `json:"ended,omitempty"` // the same
	Use     []int64 `json:"use,omitempty"`   // see headUse
	Slot
	Owner     string    `json:"owner,omitempty"`
	Label     string    `json:"label,omitempty"`
	Tags      []string  `json:"tags,omitempty"`
	Locks     []string  `json:"locks,omitempty"`
	LocksHeld []string  `json:"held,omitempty"`
	From      string    `json:"recurrence,omitempty"`
	Start     time.Time `json:"start"` // ends the head, and is always there
}

// The texts follow the head. Lists search them, and User says who may see them.
type texts struct {
	User      *Identity `json:"user,omitempty"`
	Reason    string    `json:"reason,omitempty"`
	Script    string    `json:"script,omitempty"`
	Argv      []string  `json:"argv,omitempty"`
	Undo      []string  `json:"undo,omitempty"`
	Stdin     []byte    `json:"stdin,omitempty"`
	StdinSize int       `json:"stdin_size,omitempty"`
	Created   time.Time `json:"created"` // ends the texts, and is always there
}

func headOf(r *Record) head {
	s := r.stretch()
	var use []int64
	if r.Kind != Service { // of which reports say nothing
		u := r.use(r.Since)
		use = u.headUse(s)
	}
	return head{
		V: r.V, ID: r.ID, Kind: r.Kind, State: r.State, Outcome: r.Outcome, Began: nanoseconds(s.began), Ended: nanoseconds(s.ended), Use: use, Slot: r.Slot,
		Owner: r.Owner, Label: r.Label, Tags: r.Tags, Locks: r.Locks, LocksHeld: r.LocksHeld, From: r.From, Start: r.Start,
	}
}

func textsOf(r *Record) texts {
	return texts{
		User: r.User, Reason: r.Reason, Script: r.Script, Argv: r.Argv, Undo: r.Undo, Stdin: r.Stdin, StdinSize: r.StdinSize, Created: r.Created,
	}
}

func nanoseconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func fromNanoseconds(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n)
}

// wanted says what readHead reads of a record besides its kind, state and outcome, and when
// it began and ended.
type wanted uint

const (
	wantID wanted = 1 << iota
	wantStart
	wantSlot // its end and devices
	wantOwner
	wantLabel
	wantTags
	wantLocks
	wantFrom
	wantConflicts
	wantUser  // of the user the number alone
	wantTexts // all other texts

	wantAfterHead = wantUser | wantTexts // follows the head of a finished record
)

// readHead reads what is wanted into r, which is empty, but may have a buffer for a standard
// input. Its texts are valid as long as data is. It reads from the head of a finished record, or
// from the whole of a scheduled one, which has no attempts. Of the latter it always reads the
// time of the start. It reports whether it could. If not, the record must be decoded: it is
// neither finished nor scheduled, it has been scheduled again, or an earlier release stored it.
func readHead(data []byte, r *Record, want wanted) (s stretch, ok bool) {
	ok = true
	number := func(v []byte) int64 {
		n, err := strconv.ParseInt(string(v), 10, 64)
		ok = ok && err == nil
		return n
	}
	set := func(to *string, v []byte, is wanted) {
		if want&is != 0 {
			t, valid := unquote(v)
			*to, ok = t, ok && valid
		}
	}
	setAll := func(to *[]string, v []byte, is wanted) {
		if want&is != 0 {
			ts, valid := unquoteAll(v)
			*to, ok = ts, ok && valid
		}
	}
	started := false
	for k, v := range members(data) {
		switch string(k) {
		case "v":
			ok = number(v) <= recordVersion
		case "kind":
			r.Kind = oneOf(v, Job, Reservation, Service)
		case "state":
			r.State = oneOf(v, States[:]...)
			ok = ok && (r.State == Finished || r.State == Scheduled)
			if r.State == Scheduled {
				want |= wantStart
			}
		case "outcome":
			r.Outcome = oneOf(v, Outcomes[:]...)
			ok = ok && r.Outcome != ""
		case "began":
			s.began = fromNanoseconds(number(v))
		case "ended":
			s.ended = fromNanoseconds(number(v))
		case "use":
			s.use = v
		case "end":
			if want&wantSlot != 0 {
				ok = ok && r.End.UnmarshalJSON(v) == nil
			}
		case "lead":
			r.Lead = time.Duration(number(v))
		case "start":
			started = true
			if want&wantStart != 0 {
				ok = ok && r.Start.UnmarshalJSON(v) == nil
			}
			if r.State == Finished && want&wantAfterHead == 0 {
				return s, ok
			}
		case "id":
			set(&r.ID, v, wantID)
		case "devices":
			setAll(&r.Devices, v, wantSlot)
		case "owner":
			set(&r.Owner, v, wantOwner)
		case "label":
			set(&r.Label, v, wantLabel)
		case "tags":
			setAll(&r.Tags, v, wantTags)
		case "locks":
			setAll(&r.Locks, v, wantLocks)
		case "held":
			setAll(&r.LocksHeld, v, wantLocks)
		case "recurrence":
			set(&r.From, v, wantFrom)
		case "user":
			if want&wantUser != 0 {
				uid, _ := bytes.CutPrefix(v, []byte(`{"uid":`))
				uid, _, _ = bytes.Cut(uid, []byte(","))
				r.User = &Identity{UID: int(number(uid))}
			}
		case "reason":
			set(&r.Reason, v, wantTexts)
		case "script":
			set(&r.Script, v, wantTexts)
		case "argv":
			setAll(&r.Argv, v, wantTexts)
		case "undo":
			setAll(&r.Undo, v, wantTexts)
		case "stdin":
			if want&wantTexts != 0 && len(v) > 1 {
				stdin, err := base64.StdEncoding.AppendDecode(r.Stdin, v[1:len(v)-1])
				r.Stdin, ok = stdin, ok && err == nil
			}
		case "stdin_size":
			r.StdinSize = int(number(v))
		case "created":
			if r.State == Finished {
				return s, ok && started // earlier releases stored the start later
			}
		case "conflicts":
			if want&wantConflicts != 0 {
				ok = ok && json.Unmarshal(v, &r.Conflicts) == nil
			}
		case "attempts":
			ok = false
		}
		if !ok {
			return s, false
		}
	}
	return s, r.State == Scheduled && started
}

// members yields the members of a JSON object as package json writes it, without blanks. It
// stops at the first byte that it does not expect.
func members(data []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(key, val []byte) bool) {
		for len(data) > 1 && (data[0] == '{' || data[0] == ',') && data[1] == '"' {
			key, rest := cutValue(data[1:])
			if len(rest) < 2 || rest[0] != ':' {
				return
			}
			var val []byte
			val, data = cutValue(rest[1:])
			if !yield(key[1:len(key)-1], val) {
				return
			}
		}
	}
}

// cutValue returns the JSON value with which data begins, and what follows it. Of data that
// is cut off nothing follows.
func cutValue(data []byte) (val, rest []byte) {
	depth := 0
	for i := 0; i < len(data); i++ {
		switch data[i] {
		case '"':
			i = closing(data, i)
			if depth == 0 && i < len(data) {
				return data[:i+1], data[i+1:]
			}
		case '{', '[':
			depth++
		case '}', ']', ',', ':':
			if depth == 0 {
				return data[:i], data[i:]
			}
			if c := data[i]; c == '}' || c == ']' {
				if depth--; depth == 0 {
					return data[:i+1], data[i+1:]
				}
			}
		}
	}
	return data, nil
}

// closing returns the index of the quote that ends the string that begins at i, or the
// length of data if there is none.
func closing(data []byte, i int) int {
	for {
		n := bytes.IndexByte(data[i+1:], '"')
		if n < 0 {
			return len(data)
		}
		i += 1 + n
		escapes := 0
		for data[i-1-escapes] == '\\' {
			escapes++
		}
		if escapes%2 == 0 {
			return i
		}
	}
}

// oneOf returns the text of a JSON string if it is one of some, and no text otherwise. Unlike
// unquote it does not allocate.
func oneOf[T ~string](v []byte, texts ...T) T {
	for _, t := range texts {
		if len(v) == len(t)+2 && string(v[1:len(v)-1]) == string(t) {
			return t
		}
	}
	return ""
}

// unquote returns the text of a JSON string, and reports whether v is one. The text is valid
// as long as v is: a search for a text would otherwise copy several texts of each record.
func unquote(v []byte) (text string, ok bool) {
	if len(v) < 2 || v[0] != '"' {
		return "", false
	}
	if bytes.IndexByte(v, '\\') < 0 {
		return unsafe.String(&v[1], len(v)-2), true
	}
	return unescape(v)
}

// unescape is a function of its own because package json makes its text escape to the heap.
func unescape(v []byte) (text string, ok bool) {
	err := json.Unmarshal(v, &text)
	return text, err == nil
}

// unquoteAll returns the texts of a JSON array of strings.
func unquoteAll(v []byte) (texts []string, ok bool) {
	for len(v) > 1 && (v[0] == '[' || v[0] == ',') {
		var val []byte
		val, v = cutValue(v[1:])
		text, ok := unquote(val)
		if !ok {
			return nil, false
		}
		texts = append(texts, text)
	}
	return texts, len(v) == 1 && v[0] == ']'
}
