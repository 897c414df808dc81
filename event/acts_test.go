package event

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"activationd/store"
)

// act appends an act. Its reason is the next number, and its time a second later than that of
// the last event.
func (l *testLog) act(by, action, id string) {
	l.n++
	l.append(&Event{
		Time: start.Add(time.Duration(l.n-1) * time.Second), What: "test", ID: id, Reason: fmt.Sprint(l.n),
		Actor: &Actor{Kind: "uid", Name: by}, Action: action,
	})
}

// acts lists the reasons of the acts that q chooses.
func (l *testLog) acts(q Query) (words []string) {
	l.t.Helper()
	if err := l.Acts(l.t.Context(), q, func(e *Event) error {
		words = append(words, e.Reason)
		return nil
	}); err != nil {
		l.t.Fatal(err)
	}
	return words
}

// Pruning leaves acts: followers get a gap as if they had been removed, and queries find them
// until they are too old or too many themselves.
func TestActsStay(t *testing.T) {
	l := newTestLog(t)
	l.put(2)
	l.act("ada", "add", "1") // 3
	l.put(400)               // more than one transaction of the strict store removes
	l.act("bob", "hold", "1")
	l.act("ada", "run", "1")
	l.put(4)
	all := []string{"3", "404", "405"}
	is := func(want ...string) {
		t.Helper()
		l.restart()
		if got := l.acts(Query{}); !slices.Equal(got, want) {
			t.Errorf("the acts are %q, want %q", got, want)
		}
	}
	is(all...)
	l.pruneTo(5, time.Time{})
	is(all...)
	l.has(0, counted(405, l.n, "gap")) // 405 has not been pruned
	count := 0
	_ = l.db.View(t.Context(), func(tx store.Tx) error {
		count = 0
		for range entries(tx, 0) {
			count++
		}
		return nil
	})
	if count != 2+5 {
		t.Errorf("%d entries are left, want two acts and five others", count)
	}
	oldest := l.prune(Retention{Count: 5, Acts: start.Add(3 * time.Second)})
	is("404", "405")
	if want := start.Add(404 * time.Second); !oldest.Equal(want) {
		t.Errorf("the oldest event is of %v, want %v", oldest, want)
	}
	l.put(5)
	l.pruneTo(1, time.Time{})
	is("405") // the newest one
	l.has(0, counted(l.n, l.n, "gap"))
	l.prune(Retention{Since: start.Add(time.Hour), Acts: start.Add(time.Hour)})
	is()
	l.has(0, []string{"gap"})
}

// More acts than one transaction of a strict store removes.
func TestManyActs(t *testing.T) {
	l := newTestLog(t)
	const many = 300
	for range many {
		l.act("ada", "add", "1")
	}
	l.put(1)
	l.pruneTo(1, time.Time{})
	if got := l.acts(Query{}); !slices.Equal(got, counted(many, many)) {
		t.Errorf("%d acts are left, want the newest", len(got))
	}
	l.prune(Retention{Acts: start.Add(time.Hour)})
	if got := l.acts(Query{}); len(got) != 0 {
		t.Errorf("the acts %q are left, want none", got)
	}
	l.has(0, counted(l.n, l.n, "gap"))
}

func TestQuery(t *testing.T) {
	l := newTestLog(t)
	l.put(1)
	l.act("ada", "add", "1")            // 2
	l.act(`o"<lga`, "hold", "1")        // 3
	l.act("ada", "add", "11")           // 4
	l.act("ada", "cancel", "r1@ost.va") // 5
	same := func(id string) *Event {
		return &Event{Time: start.Add(time.Hour), What: "test", ID: id, Reason: id, Actor: &Actor{Kind: "uid", Name: "ada"}, Action: "add"}
	}
	l.append(same("21"), same("22"), same("23")) // in one entry
	if err := l.db.Update(t.Context(), func(tx store.Tx) error { return tx.Append(logKey, []byte(`{"v":1,"t":1,"n":1,"c":"add",`), 1) }); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		q    Query
		want string
	}{
		{Query{}, "2 3 4 5 21 22 23"},
		{Query{By: "ada"}, "2 4 5 21 22 23"},
		{Query{By: "ad"}, ""},
		{Query{By: `o"<lga`}, "3"},
		{Query{Action: "add"}, "2 4 21 22 23"},
		{Query{Action: "ad"}, ""},
		{Query{IDs: []string{"1"}}, "2 3"},
		{Query{IDs: []string{"22", "r1@ost.va"}}, "5 22"},
		{Query{By: "ada", IDs: []string{"1"}, Action: "hold"}, ""},
		{Query{Since: start.Add(4 * time.Second)}, "5 21 22 23"},
		{Query{Until: start.Add(4 * time.Second)}, "2 3 4"},
	} {
		if got := strings.Join(l.acts(tt.q), " "); got != tt.want {
			t.Errorf("%+v chooses %q, want %q", tt.q, got, tt.want)
		}
	}
}

// TestActsContinued walks through the acts page by page while acts come and go: each that is there
// all the time is found exactly once, and all are in order.
func TestActsContinued(t *testing.T) {
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 1))
		l := newTestLog(t)
		grow := func() {
			switch random.IntN(3) {
			case 0:
				l.put(1 + random.IntN(3))
			case 1:
				l.act("ada", "hold", "1")
			case 2: // several in one entry
				var together []*Event
				for range 1 + random.IntN(5) {
					together = append(together, &Event{Time: start.Add(time.Duration(l.n) * time.Second), What: "test", ID: "1", Actor: &Actor{Kind: "uid", Name: "ada"}, Action: "hold"})
				}
				l.n += len(together)
				l.append(together...)
			}
		}
		for range 60 {
			grow()
		}
		numbers := func() (all []uint64) {
			if err := l.Acts(t.Context(), Query{}, func(e *Event) error {
				all = append(all, e.Seq)
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			return all
		}
		stays := numbers()
		times := make(map[uint64]int)
		enough := errors.New("enough")
		var after uint64
		for {
			n, page := 0, 1+random.IntN(6)
			err := l.Acts(t.Context(), Query{After: after}, func(e *Event) error {
				if e.Seq <= after {
					t.Fatalf("seed %d: %d comes after %d", seed, e.Seq, after)
				}
				after = e.Seq
				times[after]++
				if n++; n == page {
					return enough
				}
				return nil
			})
			if err == nil {
				break
			}
			if !errors.Is(err, enough) {
				t.Fatal(err)
			}
			if len(times) < len(stays)+20 {
				grow()
			}
			if random.IntN(4) == 0 {
				l.prune(Retention{Acts: start.Add(time.Duration(random.IntN(int(after)+10)) * time.Second)})
			}
		}
		left := numbers()
		for _, n := range stays {
			if slices.Contains(left, n) && times[n] != 1 || times[n] > 1 {
				t.Errorf("seed %d: the act %d was listed %d times", seed, n, times[n])
			}
		}
	}
}

// The head of an entry is read alike with and without decoding the rest.
func TestHead(t *testing.T) {
	for _, e := range []Event{
		{}, {Time: start}, {Time: start, Action: "vlan free"}, {Time: start, Action: `a"b\c`}, {Time: time.Unix(-7, 3), Action: "x"}, {Time: start, Host: "lab1"},
	} {
		data, err := encode([]*Event{&e, &e})
		if err != nil {
			t.Fatal(err)
		}
		var want head
		if err := json.Unmarshal(data, &want); err != nil {
			t.Fatal(err)
		}
		if got, err := (entry{2, data}).head(); err != nil || got != want || got.N != 2 || got.Action != e.Action {
			t.Errorf("the head of %s is %+v, %v; want %+v", data, got, err, want)
		}
	}
	for _, usual := range []Event{{Time: start}, {Time: start, Action: "vlan free"}} {
		data, err := encode([]*Event{&usual})
		if err != nil {
			t.Fatal(err)
		}
		if h, fast := parseHead(data); !fast || h.Time != start.UnixNano() {
			t.Errorf("the head of %s needs decoding", data)
		}
	}
	for _, broken := range []string{``, `{`, `{"v":1`, `{"v":1,"t":`, `{"v":1,"t":7,"n":2`, `{"v":1,"t":7,"n":2,"c":"ad`, `{"v":1,"t":99999999999999999999,"n":1}`} {
		if _, err := (entry{1, []byte(broken)}).head(); err == nil {
			t.Errorf("%q has a head", broken)
		}
	}
}
