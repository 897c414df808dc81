package queue

import (
	"bytes"
	"reflect"
	"testing"
	"time"
)

// again reports whether what was decoded is the same after it is encoded and decoded.
func again(t *testing.T, s stored) {
	t.Helper()
	data := s.encode()
	got, ok := decodeStored(data, true)
	if !ok || !bytes.Equal(got.Body, s.Body) {
		t.Fatalf("%+v is encoded as %q, which cannot be decoded", s, data)
	}
	got.Body, s.Body = nil, nil
	if !reflect.DeepEqual(got, s) {
		t.Fatalf("%+v becomes %+v", s, got)
	}
}

func FuzzStored(f *testing.F) {
	uid := -1
	whole := stored{
		New: New{
			Body: []byte("body"), Headers: map[string]string{"a": "b", "c": ""}, Priority: 9, NotBefore: time.Unix(1, 2).UTC(), Key: "k", Unique: time.Second,
			Attempts: 3, Timeout: time.Minute, Keep: time.Hour, By: "ada", UID: &uid,
		},
		pushed: time.Unix(3, 4).UTC(),
	}
	parted := stored{New: New{Key: "k"}, parted: 100_000}
	f.Add(whole.encode())
	f.Add(parted.encode())
	f.Add([]byte{format})
	f.Add([]byte{format, fieldKey, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Add([]byte{format, fieldPriority, 20, fieldEnd})
	f.Fuzz(func(t *testing.T, data []byte) {
		s, ok := decodeStored(data, true)
		short, ok2 := decodeStored(data, false)
		if ok != ok2 {
			t.Fatalf("%q can be decoded: %v, and in part: %v", data, ok, ok2)
		}
		if !ok {
			return
		}
		if short.Key != s.Key || short.Priority != s.Priority || short.inBytes < s.inBytes || !bytes.Equal(short.Body, s.Body) {
			t.Fatalf("%q is %+v, and in part %+v", data, s, short)
		}
		s.inBytes = sizeOf(s.New) + s.parted // a header may occur twice here
		again(t, s)
	})
}

func FuzzPlace(f *testing.F) {
	for _, text := range []string{"1 0", "1795255200000000000 3 shc 1795255200000000000", "1 0 s", "1  s", "1 0 ", "x 0", "1 0 s -5"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		p, ok := decodePlace(data)
		if !ok {
			return
		}
		if got, ok := decodePlace(p.append(nil)); !ok || got != p {
			t.Fatalf("%q is %+v, which becomes %+v, %v", data, p, got, ok)
		}
	})
}

func FuzzOthers(f *testing.F) {
	c := Counts{Messages: 1, Bytes: 2, Delayed: 3, Dead: 4, DeadBytes: 5, Pushed: 6, Done: 7, Failed: 8, Cancelled: 9, Expired: 10, Again: 11, Dropped: 12}
	f.Add(c.encode())
	f.Add([]byte("12 1795255200000000000"))
	f.Add([]byte("9 " + string(place{pushed: time.Unix(1, 0)}.append(nil))))
	f.Add([]byte(delayedKey(time.Unix(5, 0), 7, 8)))
	f.Add([]byte(windowKey(time.Unix(5, 0), 7, 8)))
	f.Fuzz(func(t *testing.T, data []byte) {
		if c, ok := decodeCounts(data); ok {
			if got, ok := decodeCounts(c.encode()); !ok || got != c {
				t.Fatalf("%q is %+v, which becomes %+v, %v", data, c, got, ok)
			}
		}
		if ref, p, ok := decodeDelayed(1, 2, data); ok {
			val := p.append([]byte{byte('0' + ref.Priority), ' '})
			if got, _, ok := decodeDelayed(1, 2, val); !ok || got != ref {
				t.Fatalf("%q is %+v, which becomes %+v, %v", data, ref, got, ok)
			}
		}
		if at, n, seq, rest, ok := parseTimed(delayedKeys, string(data)); ok && rest == "" {
			if key := delayedKey(at, n, seq); key != string(data) && !at.IsZero() {
				t.Fatalf("%q becomes %q", data, key)
			}
		}
		_, _, _ = decodeHolder(data)
		_, _ = decodeResult("k", data)
		_, _ = decodeQueue("k", data)
	})
}

// TestNumbers: the order of keys is the order of numbers and times.
func TestNumbers(t *testing.T) {
	at := time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)
	keys := []string{
		delayedKey(time.Unix(-5, 0), 1, 1), delayedKey(time.Unix(9, 0), 1, 1), delayedKey(at, 1, 1), delayedKey(at, 2, 1), delayedKey(at, 2, 10), delayedKey(at, 10, 9),
		delayedKey(at.Add(1), 1, 1), delayedKey(time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC), 1, 1),
	}
	for i := 1; i < len(keys); i++ {
		if keys[i-1] >= keys[i] {
			t.Errorf("%s comes after %s", keys[i-1], keys[i])
		}
	}
	if got := instant(nanos(at)); !got.Equal(at) {
		t.Errorf("%v becomes %v", at, got)
	}
}
