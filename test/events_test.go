package test

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"activationd/control"
)

// events returns the next n events after one, of those that a pattern matches.
func (d *daemon) events(since uint64, n int, pattern string) (all []control.Event) {
	d.t.Helper()
	out := d.must("events", "--json", "--since", strconv.FormatUint(since, 10), "-n", strconv.Itoa(n), pattern)
	for line := range strings.Lines(out) {
		all = append(all, parse[control.Event](d.t, line))
	}
	if len(all) != n {
		d.t.Fatalf("%d events, want %d: %s", len(all), n, out)
	}
	return all
}

// topics are the ends of events' topics. Their numbers must rise.
func topics(t *testing.T, events []control.Event) (all []string) {
	t.Helper()
	last := uint64(0)
	for _, ev := range events {
		if ev.Seq <= last {
			t.Errorf("event %d comes after event %d", ev.Seq, last)
		}
		last = ev.Seq
		_, rest, _ := strings.Cut(ev.Topic, ".")
		_, end, _ := strings.Cut(rest, ".")
		all = append(all, end)
	}
	return all
}

// A reader that remembers the number of the last event continues after the daemon was
// killed: nothing is missing, and nothing comes twice, also not of a job that ended while
// there was no daemon.
func TestEventsSurviveTheDaemon(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, "")
	d.Start()
	b := d.beacon()
	script, gate := d.gate(b)
	id := d.add("--", script, "job")
	b.next()
	of := "activation." + id + ".#"
	begun := d.events(0, 4, of)
	if got, want := topics(t, begun), []string{"scheduled", "waiting", "activating", "attempt.started"}; !slices.Equal(got, want) {
		t.Errorf("events %q, want %q", got, want)
	}
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	if by := begun[0].Actor; by == nil || by.Kind != "uid" || by.Name == "" || by.Role == "" || begun[0].Host != host || begun[0].Owner != by.Name {
		t.Errorf("the first event is %+v", begun[0])
	}
	wrapper := d.wrapperOf(id + ".activate.1")
	d.Kill()
	d.open(gate, "on")
	awaitGone(t, wrapper)
	d.Start()
	d.ended(id, "failed", 5)

	if again := d.events(0, 4, of); !slices.Equal(topics(t, again), topics(t, begun)) || again[3].Seq != begun[3].Seq {
		t.Errorf("after the restart the events are %+v, and were %+v", again, begun)
	}
	ended := d.events(begun[3].Seq, 2, of)
	if got, want := topics(t, ended), []string{"attempt.ended", "finished"}; !slices.Equal(got, want) {
		t.Errorf("events %q, want %q", got, want)
	}
	if ev := ended[0]; ev.Seq <= begun[3].Seq || ev.Result != "exited" || ev.Exit == nil || *ev.Exit != 5 || ev.Attempt != 1 || ev.Actor != nil {
		t.Errorf("its end is %+v", ev)
	}
	if only := d.events(0, 2, "activation.*.attempt.#"); only[0].Seq != begun[3].Seq || only[1].Seq != ended[0].Seq {
		t.Errorf("of attempts there are %+v", only)
	}
}

// TestEventsThatAreGone checks that a client that asks for events that were removed, or
// for numbers that never were, first gets a line about that.
func TestEventsThatAreGone(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, "")
	d.Start()
	for range 3 {
		d.ended(d.add("--", "true"), "succeeded", 0)
	}
	newest := d.events(0, 6, "activation.3.#")[5]
	d.stop()
	d.configure("events: {count: 3}\n")
	d.Start() // it removes them when it starts
	var kept []control.Event
	// An event stays as long as another one of its transaction. How many of the last job's
	// six events share one depends on the machine's speed.
	d.await("the oldest events to be removed", func() bool {
		kept = d.events(1, 2, "#")
		return kept[0].What == control.EventGap && kept[1].Seq > newest.Seq-6
	})
	if kept[0].From != 2 || kept[0].Seq >= kept[1].Seq || kept[0].Reset {
		t.Errorf("the gap is %+v", kept[0])
	}
	if text := d.must("events", "--since", "1", "-n", "1"); !strings.Contains(text, "gap: events from #2 to #") {
		t.Errorf("atctl events says %q", text)
	}
	if got := d.events(newest.Seq+1000, 2, "#"); got[0].What != control.EventGap || !got[0].Reset || got[1].Seq > newest.Seq {
		t.Errorf("after a number that never was: %+v", got)
	}
}

// TestPublish publishes texts as users with different roles. A follower of the topic reads
// them, also one that comes after the daemon was killed, and nobody can publish what looks
// like an event of the daemon's own.
func TestPublish(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("needs root, to be several users")
	}
	d := newDaemon(t, "access: {viewers: [games], others: submitter}\n")
	d.Start()
	const games, other = 5, 4321
	before := parse[control.PublishOut](t, d.must("publish", "--json", "chat.1", "first"))
	if o := d.atctlAs(other, other, "publish", "chat.2", "two\nlines"); o.status != 0 {
		t.Errorf("as submitter: %+v", o)
	}
	for _, tt := range []struct {
		uid, status int
		topic, says string
	}{
		{games, 5, "chat.3", "submitter"},
		{0, 2, "activation.1.failed", "of activationd itself"},
		{0, 2, "gap", "of activationd itself"},
	} {
		if o := d.atctlAs(tt.uid, tt.uid, "publish", tt.topic, "x"); o.status != tt.status || !strings.Contains(o.err, tt.says) {
			t.Errorf("publish %s as %d: %+v", tt.topic, tt.uid, o)
		}
	}
	d.Kill()
	d.Start()
	d.must("publish", "chat.4", "last")
	o := d.atctlAs(games, games, "events", "--json", "--since", strconv.FormatUint(before.Since, 10), "-n", "3", "chat.#", "load.chat")
	var texts []string
	var from []string
	for line := range strings.Lines(o.out) {
		ev := parse[control.Event](t, line)
		texts = append(texts, ev.What+" "+ev.Topic+" "+ev.Text)
		if ev.Actor == nil || ev.Seq <= before.Since {
			t.Fatalf("the event is %+v", ev)
		}
		from = append(from, ev.Actor.Kind+" "+ev.Actor.Role)
	}
	if want := []string{"published chat.1 first", "published chat.2 two\nlines", "published chat.4 last"}; !slices.Equal(texts, want) {
		t.Errorf("a viewer reads %q, want %q: %+v", texts, want, o)
	}
	if want := []string{"uid admin", "uid submitter", "uid admin"}; !slices.Equal(from, want) {
		t.Errorf("published by %q, want %q", from, want)
	}
	if o := d.atctlAs(games, games, "audit"); strings.Contains(o.out, "chat") {
		t.Errorf("audit has what changed nothing: %s", o.out)
	}
}
